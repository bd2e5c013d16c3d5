#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2154 # of the file that is sourced
# shellcheck source-path=SCRIPTDIR
#
# Read from a disk of the nvme driver into the drive's own peer-to-peer memory, in two
# pieces, after the same into memory was mapped as one range of IOVA: the state of that
# request must not be taken for that of the next one. Needs root, an IOMMU, and a blank
# disk of a drive with a controller memory buffer.
#
# Environment:
# DMA_NVME: the disk, /dev/nvme0n1 if not set; it must be blank

# shellcheck source=dma_load_lib.sh
. "$(dirname "$0")/dma_load_lib.sh"

read=$(dirname "$0")/dma_nvme_p2p
disk=${DMA_NVME:-/dev/nvme0n1}
threshold=/sys/module/nvme/parameters/sgl_threshold
was=''

# A drive may refuse a list in memory for what is in its own buffer, as QEMU's does, but
# not because the list has another length than the request (0xf).
with_sgls()
{
	"$read" "$disk" "$allocate" || ! dmesg | grep "sct 0x0 / sc 0xf)" | sed 's/^/# /' | grep .
}

put_back()
{
	[ -z "$was" ] || echo "$was" >"$threshold"
}

need "$block"
need "$read"
[ -b "$disk" ] || skip "no $disk"
"$block" -n "$disk" || skip "$disk is in use, or not blank"
allocate=/sys/block/${disk##*/}/device/device/p2pmem/allocate
[ -w "$allocate" ] || skip "$disk has no peer-to-peer memory"
[ -w "$threshold" ] || skip "no $threshold"
at_end put_back
was=$(cat "$threshold")

echo 1..2
echo 0 >"$threshold"
test_that "PRPs of peer-to-peer memory" "$read" "$disk" "$allocate"
echo 4096 >"$threshold"
test_that "SGLs of peer-to-peer memory" with_sgls
[ $failed -eq 0 ]
