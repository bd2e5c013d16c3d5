#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_field_cases, and leave everything as it was, but
# for the taint of the reports. Needs root, QEMU's edu device behind an IOMMU that tells
# of faults, and a kernel that was booted with
#
#	iommu.strict=1 iommu.dma_guard_pages=64 iommu.dma_bounce=all
#	iommu.dma_canary=1 iommu.dma_fault_history=1024 iommu.dma_quarantine=1024
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_field_cases
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

need "$prog"
edu_setup
keep_going
for option in dma_canary dma_fault_history dma_quarantine; do
	booted_with "iommu\.$option=[1-9]" ||
		skip "boot with iommu.$option="
done
booted_with 'iommu\.dma_bounce=all' || skip "boot with iommu.dma_bounce=all"
"$prog" "$@"
