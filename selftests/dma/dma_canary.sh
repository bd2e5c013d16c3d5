#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_canary, and leave everything as it
# was. Needs root, QEMU's edu device behind an IOMMU, and a kernel that was booted with
#
#	iommu.dma_canary=1 iommu.dma_guard_pages=64
#
# Each report of the kernel is waited for as long as the kernel limits them to a few.
# Transfers of this device take 100 ms each. QEMU's "-icount shift=0,sleep=off" does not
# wait for either.
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_canary
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

need "$prog"
edu_setup
keep_going
[ -f "$edu_group/dma_bounce" ] ||
	skip "kernel without IOMMU_DMA_PARTIAL_BOUNCE"
booted_with 'iommu\.dma_canary=1' ||
	skip "no canaries: boot with iommu.dma_canary=1"
"$prog" "$@"
