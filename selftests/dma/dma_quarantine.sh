#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_quarantine, and leave everything as it was,
# but for the taint of the reports. Needs root and QEMU's edu device behind an IOMMU,
# e.g.
#
#	-device intel-iommu,intremap=on -device edu
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_quarantine
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

need "$prog"
edu_attrs="$edu_attrs dma_quarantine"
edu_setup
keep_going
"$prog" "$@"
