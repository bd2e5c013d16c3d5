#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the VM: maps ranges of the BAR of ivshmem-plain for the edu device, and
# prints one line of JSON for each line of the file 'cases'.
set -eu

# vendor and device of QEMU's edu
for dev in /sys/bus/pci/devices/*; do
	[ "$(cat "$dev/vendor" "$dev/device" | tr '\n' ' ')" = '0x1234 0x11e8 ' ] && break
	dev=
done
[ -n "$dev" ] || { echo 'no edu device' >&2; exit 1; }

# A driver that is bound, and does nothing
echo dma_map_benchmark >"$dev/driver_override"
echo "${dev##*/}" >/sys/bus/pci/drivers/dma_map_benchmark/bind
insmod dma_bar.ko trust_host_bridge=1

guard=0
[ ! -e "$dev/iommu_group/dma_guard_kb" ] || guard=$(cat "$dev/iommu_group/dma_guard_kb")
printf '{"guard_kb":%s,"domain":"%s, BAR","kernel":"%s"}\n' \
	"$guard" "$(cat "$dev/iommu_group/type")" "$(uname -r)"

grep '^-' cases | while read -r args; do
	# shellcheck disable=SC2086 # a line holds several arguments
	./dma_buf_time $args "${dev##*/}"
done
