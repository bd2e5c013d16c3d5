#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_fault, and leave everything as it was, but
# for the taint of the reports and the counters. Needs root and QEMU's edu device
# behind an IOMMU, e.g.
#
#	-device intel-iommu,intremap=on -device edu
#
# A device alone behind a port can be reset, which one test wants to be done:
#
#	-device pcie-root-port,id=rp,addr=7,chassis=9 -device edu,bus=rp
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_fault
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

need "$prog"
edu_setup
[ -d "/sys/bus/pci/devices/$DMA_EDU_DEV/dma_faults" ] ||
	booted_with 'iommu\.dma_fault=off' ||
	skip "kernel without IOMMU_DMA_FAULT"
keep_going

"$prog" "$@"
