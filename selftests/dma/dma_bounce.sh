#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_bounce, dma_bounce_data and
# dma_bounce_pool, and leave everything as it was. Needs root and QEMU's edu
# device behind an IOMMU, e.g.
#
#	-device intel-iommu,intremap=on -device edu
#
# The device is untrusted where it is behind a port that the firmware declares
# external-facing; a trusted one is made to bounce. Transfers of this device take
# 100 ms each, which QEMU's "-icount shift=0,sleep=off" does not wait for.
#
# A machine whose memory is all below 4 GiB bounces only with CONFIG_SWIOTLB_DYNAMIC
# or swiotlb=force, and dma_bounce_pool wants the latter.
#
# Arguments are for the programs, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
progs="dma_bounce dma_bounce_data dma_bounce_pool"
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

# run NUMBER PROGRAM [ARGUMENT]...: its result as that of one test
run()
{
	nr=$1 prog=$2
	shift 2
	{
		"$dir/$prog" "$@" 2>&1
		# What it printed last may have no end of line.
		printf '\nstatus %d\n' $?
	} | awk -v title="$nr - $prog" -v status=1 '
		/^status [0-9]+$/ { status = $2; next }
		/^$/ { next }
		{ print "    " $0; fflush() }
		/^1\.\.0 # SKIP/ { reason = " # SKIP" substr($0, 12) }
		END {
			print (status == 0 || status == 4 ? "ok " : "not ok ") \
				title (status == 4 ? reason : "")
			exit status != 0 && status != 4
		}'
}

for prog in $progs; do
	need "$dir/$prog"
done
edu_setup
keep_going
[ -f "$edu_group/dma_bounce" ] ||
	skip "kernel without IOMMU_DMA_PARTIAL_BOUNCE"

echo "TAP version 13"
echo "1..$(echo "$progs" | wc -w)"
nr=0
failed=0
for prog in $progs; do
	nr=$((nr + 1))
	run $nr "$prog" "$@" || failed=1
done
exit $failed
