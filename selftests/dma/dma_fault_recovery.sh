#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A network card of e1000e loses its receive ring: a register gets an address that
# nothing is mapped at. Its driver is told of the DMA faults, and has to have it
# receive again. FOR QEMU ONLY. Needs root, an IOMMU, and two network cards on one
# wire, which are down; DMA_FAULT_NIC is the PCI name of the one with that driver.

dir=$(dirname "$0")
nic=${DMA_FAULT_NIC:-}
pci=/sys/bus/pci/devices
# Base address of the receive ring, lower half
rdbal=0x2800

# shellcheck source-path=SCRIPTDIR source=dma_ktap_lib.sh
. "$dir/dma_ktap_lib.sh"

need "$dir/dma_load_net" "$dir/dma_bar_poke"
[ "$(basename "$(readlink "$pci/$nic/driver")")" = e1000e ] ||
	skip "DMA_FAULT_NIC is not a card of e1000e"
[ -d "$pci/$nic/iommu_group" ] || skip "no IOMMU"

name=$(basename "$pci/$nic"/net/*)
for other in /sys/class/net/*; do
	other=${other##*/}
	[ "$other" != "$name" ] && [ "$other" != lo ] && break
done

cleanup()
{
	if [ -n "$load" ]; then
		kill "$load" 2>/dev/null
		wait "$load"
		ip link set "$name" down
		ip link set "$other" down
	fi
	panic_as_before
}

received()
{
	cat "/sys/class/net/$name/statistics/rx_packets"
}

# grows: whether frames come in
grows()
{
	before=$(received)
	sleep 1
	[ "$(received)" -gt "$before" ]
}

begins_to_grow()
{
	tries=0
	until grows; do
		tries=$((tries + 1))
		[ "$tries" -lt 10 ] || return
	done
}

said()
{
	dmesg | grep -c "$name: .* DMA faults, .* resetting"
}

is_told()
{
	[ "$(said)" -gt "$was" ]
}

load=
at_end cleanup
keep_going
echo "TAP version 13"
echo "1..3"
"$dir/dma_load_net" -t 20 "$name" "$other" >/dev/null 2>&1 &
load=$!
test_that "frames come in" begins_to_grow

was=$(said)
ring=$("$dir/dma_bar_poke" "$nic" 0 $rdbal 0x10000)
echo "# the ring was at $ring"
sleep 4
test_that "the driver is told" is_told
test_that "frames come in again" grows
echo "# the ring is at $("$dir/dma_bar_poke" "$nic" 0 $rdbal)"
[ $failed -eq 0 ]
