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

skip()
{
	echo "1..0 # SKIP $1"
	exit 4
}

[ "$(id -u)" -eq 0 ] || skip "not root"
[ -x "$dir/dma_load_net" ] || skip "dma_load_net is not built"
[ "$(basename "$(readlink "$pci/$nic/driver")")" = e1000e ] ||
	skip "DMA_FAULT_NIC is not a card of e1000e"
[ -d "$pci/$nic/iommu_group" ] || skip "no IOMMU"

name=$(basename "$pci/$nic"/net/*)
for other in /sys/class/net/*; do
	other=${other##*/}
	[ "$other" != "$name" ] && [ "$other" != lo ] && break
done
panic=$(cat /proc/sys/kernel/panic_on_warn)
echo 0 >/proc/sys/kernel/panic_on_warn

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

said()
{
	dmesg | grep -c "$name: .* DMA faults, .* resetting"
}

echo "TAP version 13"
echo "1..3"
"$dir/dma_load_net" -t 20 "$name" "$other" >/dev/null 2>&1 &
load=$!
tries=0
until grows || [ "$tries" -ge 10 ]; do
	tries=$((tries + 1))
done
[ "$tries" -lt 10 ] && echo "ok 1 frames come in" ||
	echo "not ok 1 frames come in"

was=$(said)
ring=$("$dir/dma_bar_poke" "$nic" 0 $rdbal 0x10000)
echo "# the ring was at $ring"
sleep 4
[ "$(said)" -gt "$was" ] && echo "ok 2 the driver is told" ||
	echo "not ok 2 the driver is told"
grows && echo "ok 3 frames come in again" ||
	echo "not ok 3 frames come in again"
echo "# the ring is at $("$dir/dma_bar_poke" "$nic" 0 $rdbal)"
kill "$load"
wait "$load"
ip link set "$name" down
ip link set "$other" down
echo "$panic" >/proc/sys/kernel/panic_on_warn
