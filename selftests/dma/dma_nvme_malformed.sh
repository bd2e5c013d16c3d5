#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2154 # of the file that is sourced
# shellcheck source-path=SCRIPTDIR
#
# Submit requests to a disk of the nvme driver that are longer than their segments, or
# have more segments than they say. The driver must refuse them and warn of them, what
# is read next must not go by a PRP list that is not the driver's, and nothing may be
# left when the driver is unbound, nor mapped before, which is only seen with
# swiotlb=force. Needs root, a disk that is not behind an IOMMU, and a kernel that does
# not panic when it warns.
#
# Environment:
# DMA_NVME: the disk, /dev/nvme0n1 if not set; it must be blank

# shellcheck source=dma_load_lib.sh
. "$(dirname "$0")/dma_load_lib.sh"

module=$(dirname "$0")/test_modules/dma_nvme_malformed.ko
driver=/sys/bus/pci/drivers/nvme
bounced=/sys/kernel/debug/swiotlb/io_tlb_used
disk=${DMA_NVME:-/dev/nvme0n1}

# find_function: the one that the disk belongs to
find_function()
{
	for path in "$driver"/0*; do
		[ "$(below "${path##*/}" block)" != "${disk##*/}" ] || echo "${path##*/}"
	done
}

refused()
{
	dmesg | grep "Incorrectly formed request" | sed 's/^/# /' | grep .
}

# Each mapping has slots of the swiotlb.
nothing_is_mapped()
{
	for _ in 1 2 3 4 5; do
		now=$(cat "$bounced") || return
		[ "$now" -gt "$slots" ] || break
		sleep 1
	done
	echo "# $now slots in use; before $slots"
	[ "$now" -le "$slots" ]
}

# The driver's pools are empty when they are destroyed.
nothing_is_left()
{
	echo "$fn" >"$driver/unbind" || return
	! dmesg | grep "$fn: dma_pool_destroy .* busy" | sed 's/^/# /' | grep .
}

put_back()
{
	rmmod dma_nvme_malformed 2>/dev/null
	[ -e "$driver/$fn" ] || echo "$fn" >"$driver/bind"
}

need "$block"
[ -f "$module" ] || skip "$module is not built"
[ -b "$disk" ] || skip "no $disk"
"$block" -n "$disk" || skip "$disk is in use, or not blank"
fn=$(find_function)
[ -n "$fn" ] || skip "$disk is not of the nvme driver"
[ "$(cat /proc/sys/kernel/panic_on_warn 2>/dev/null)" != 1 ] ||
	skip "a warning is a panic"
at_end put_back
slots=$(cat "$bounced" 2>/dev/null)

echo 1..4
test_that "read after a malformed request" insmod "$module" "disk=$disk"
dmesg | sed -n 's/.*dma_nvme_malformed: /# /p'
test_that "malformed request is refused" refused
rmmod dma_nvme_malformed 2>/dev/null
if booted_with swiotlb=force; then
	test_that "nothing is mapped" nothing_is_mapped
else
	test_that "nothing is mapped # SKIP not booted with swiotlb=force" true
fi
test_that "nothing is left" nothing_is_left
[ $failed -eq 0 ]
