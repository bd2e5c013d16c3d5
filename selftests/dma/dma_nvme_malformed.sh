#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2154 # of the file that is sourced
# shellcheck source-path=SCRIPTDIR
#
# Submit a request to a disk of the nvme driver that is longer than its segments.
# The driver must refuse it and warn of it, what is read next must not go by a PRP
# list that is not the driver's, and nothing may be left when the driver is unbound.
# Needs root, a disk that is not behind an IOMMU, and a kernel that does not panic
# when it warns.
#
# Environment:
# DMA_NVME: the disk, /dev/nvme0n1 if not set; it must be blank

# shellcheck source=dma_load_lib.sh
. "$(dirname "$0")/dma_load_lib.sh"

module=$(dirname "$0")/test_modules/dma_nvme_malformed.ko
driver=/sys/bus/pci/drivers/nvme
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

echo 1..3
test_that "read after a malformed request" insmod "$module" "disk=$disk"
test_that "malformed request is refused" refused
rmmod dma_nvme_malformed 2>/dev/null
test_that "nothing is left" nothing_is_left
[ $failed -eq 0 ]
