#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu and dma_bar test modules, run dma_buf_bar, and leave everything
# as it was. Needs root, and QEMU's edu and ivshmem-plain devices, with an IOMMU
# or without, e.g.
#
#	-object memory-backend-ram,id=bar,size=4M
#	-device ivshmem-plain,memdev=bar
#	-device edu,dma_mask=0xffffffffffffffff
#
# The kernel lets devices reach each other if both are behind one bridge, or the
# CPU is one of AMD's (-cpu EPYC). With DMA_BAR_TRUST_HOST_BRIDGE=1 in the
# environment it is made to do so in any case; QEMU's host bridges all can.
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_buf_bar
bar_module=$dir/test_modules/dma_bar.ko
bar_loaded=
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"

cleanup()
{
	[ -z "$bar_loaded" ] || rmmod dma_bar
	edu_cleanup
}

edu_need "$prog"
# shellcheck disable=SC2034 # for edu_setup
edu_without_iommu=1
edu_setup
trap cleanup EXIT
edu_keep_going

if [ ! -c /dev/dma_bar ]; then
	if [ -f "$bar_module" ]; then
		insmod "$bar_module" \
			"trust_host_bridge=${DMA_BAR_TRUST_HOST_BRIDGE:-0}" || exit 1
	else
		modprobe dma_bar "trust_host_bridge=${DMA_BAR_TRUST_HOST_BRIDGE:-0}" ||
			skip "no module dma_bar"
	fi
	bar_loaded=1
fi
[ -c /dev/dma_bar ] ||
	skip "no ivshmem-plain device, or kernel without PCI_P2PDMA"

"$prog" "$@"
