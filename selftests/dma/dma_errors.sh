#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_errors, and leave everything as it was, but for
# the taint of the reports. Needs root, QEMU's edu device behind an IOMMU that tells of
# faults, and a kernel that was booted with
#
#	iommu.strict=1 iommu.dma_guard_pages=64 iommu.dma_bounce=all
#	iommu.dma_canary=1 iommu.dma_fault_history=4096 iommu.dma_quarantine=2048
#
# or with
#
#	iommu.strict=1 iommu.dma_sample_interval=100 iommu.dma_sample_canary=1
#
# Arguments are for the program, e.g. "-t everything_on" or "-t sampled".

dir=$(dirname "$0")
prog=$dir/dma_errors
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

need "$prog"
edu_setup
keep_going
booted_with 'iommu\.dma_(sample_)?canary=1' ||
	skip "boot with iommu.dma_canary=1 or iommu.dma_sample_canary=1"
"$prog" "$@"
