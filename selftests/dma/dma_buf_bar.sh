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
# See dma_bar_lib.sh for when the kernel lets them reach each other.
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_buf_bar
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"
# shellcheck source-path=SCRIPTDIR source=dma_bar_lib.sh
. "$dir/dma_bar_lib.sh"

need "$prog"
# shellcheck disable=SC2034 # for edu_setup
edu_without_iommu=1
edu_setup
keep_going
bar_setup
"$prog" "$@"
