// SPDX-License-Identifier: GPL-2.0
// The port of scripts/vm --external-port is external-facing: what is behind it
// can be plugged by anybody.  QEMU's DSDT names function 0 of slot 12 S60.
DefinitionBlock ("", "SSDT", 2, "DMAGRD", "EXTPORT", 1)
{
    External (\_SB.PCI0.S60, DeviceObj)

    Scope (\_SB.PCI0.S60)
    {
        Name (_DSD, Package ()
        {
            ToUUID ("efcc06cc-73ac-4bc3-bff0-76143807c389"),
            Package ()
            {
                Package () { "ExternalFacingPort", 1 }
            }
        })
    }
}
