#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_sample, and leave everything as it was,
# but for the taint of the reports. Needs root and QEMU's edu device behind an IOMMU,
# e.g.
#
#	-device intel-iommu,intremap=on -device edu
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_sample
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

edu_attrs="$edu_attrs dma_sample"
interval=/sys/module/iommu/parameters/dma_sample_interval
canary=/sys/module/iommu/parameters/dma_sample_canary

# back FILE VALUE
back()
{
	[ -z "$2" ] || [ "$(cat "$1")" = "$2" ] || echo "$2" >"$1" || edu_failed=1
}

cleanup()
{
	back "$interval" "$was"
	back "$canary" "$had_canary"
	edu_cleanup
}

need "$prog"
was=$(cat "$interval" 2>/dev/null)
had_canary=$(cat "$canary" 2>/dev/null)
edu_setup
at_end cleanup
keep_going
"$prog" "$@"
