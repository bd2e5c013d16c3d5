# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
KERNEL_ARCH=x86_64		# make ARCH=
KERNEL_IMAGE=arch/x86/boot/bzImage
KERNEL_TARGET=bzImage
HOST_MACHINE=x86_64		# no cross compiler where 'uname -m' says so
CROSS_PREFIX=x86_64-linux-gnu-
CROSS_PACKAGES=build-x86_64	# of scripts/packages, with the cross compiler
VM_PACKAGES=
DEBIAN_ARCH=amd64
QEMU=qemu-system-x86_64
IOMMU=vt-d			# of scripts/iommu, where none is named
# no_timer_check: the timer may be late where the host is busy.
# tsc=nowatchdog: watchdog_wait_seq() of Linux 7.3 waits for the other CPU with interrupts
# off, for a time that it takes from jiffies while they are the clocksource, and these stand
# still meanwhile. Where that CPU is in stop_machine() the two wait for ever.
BOOT_ARGS="console=ttyS0 earlyprintk=ttyS0 no_timer_check tsc=nowatchdog"

# set_firmware DIR QEMU-COMMAND...: set FIRMWARE, what QEMU is told so that the
# kernel finds what scripts/vm was asked for with $external and $non_coherent.
set_firmware() {
	local source=$ROOT/scripts/external-port/x86_64.asl log=$1/external-port.log
	[[ -z $non_coherent ]] || die "--non-coherent: caches of x86_64 are coherent with all devices: use --arch arm64"
	iasl -p "$1/external-port" "$source" >"$log" 2>&1 || die "iasl does not compile $source: see $log"
	FIRMWARE=(-acpitable "file=$1/external-port.aml")
}
