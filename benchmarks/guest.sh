#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the VM: binds dma_map_benchmark to the edu device and prints one line
# of JSON for each line of the file 'cases'.
set -eu

# vendor and device of QEMU's edu
for dev in /sys/bus/pci/devices/*; do
	[ "$(cat "$dev/vendor" "$dev/device" | tr '\n' ' ')" = '0x1234 0x11e8 ' ] && break
	dev=
done
[ -n "$dev" ] || { echo 'no edu device' >&2; exit 1; }

echo dma_map_benchmark >"$dev/driver_override"
echo "${dev##*/}" >/sys/bus/pci/drivers/dma_map_benchmark/bind

guard=0
[ ! -e "$dev/iommu_group/dma_guard_kb" ] || guard=$(cat "$dev/iommu_group/dma_guard_kb")
printf '{"guard_kb":%s,"domain":"%s","kernel":"%s"}\n' \
	"$guard" "$(cat "$dev/iommu_group/type")" "$(uname -r)"

grep '^-' cases | while read -r args; do
	# shellcheck disable=SC2086 # a line holds several arguments
	./dma_map_benchmark $args -b 64 -j
done
