#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_debug_pagealloc, and leave everything as it
# was, but for the taint of the reports. Needs root, iommu.debug_pagealloc=1 and
# QEMU's edu device behind an IOMMU, e.g.
#
#	-device intel-iommu,intremap=on -device edu
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_debug_pagealloc
stats=/sys/kernel/debug/iommu_debug_pagealloc/stats
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

need "$prog"
[ -f "$stats" ] ||
	skip "no $stats: kernel without IOMMU_DEBUG_PAGEALLOC, or no debugfs"
grep -q '^enabled 1$' "$stats" ||
	skip "IOMMU_DEBUG_PAGEALLOC is off: boot with iommu.debug_pagealloc=1"
edu_setup
keep_going

"$prog" "$@"
