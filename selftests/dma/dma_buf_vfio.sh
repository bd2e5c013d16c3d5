#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu and dma_bar test modules, run dma_buf_vfio, and leave
# everything as it was. Needs root, an IOMMU, and QEMU's edu device and
# ivshmem-plain twice: one for dma_bar, the other, below a port that can reset it,
# and NVMe if there is one, for vfio-pci, e.g.
#
#	-object memory-backend-ram,id=bar,size=4M
#	-object memory-backend-ram,id=vfio,size=4M
#	-device ivshmem-plain,memdev=bar
#	-device pcie-root-port,id=port1,chassis=1
#	-device ivshmem-plain,memdev=vfio,bus=port1
#	-device pcie-root-port,id=port2,chassis=2
#	-device nvme,serial=1,cmb_size_mb=4,bus=port2
#	-device edu,dma_mask=0xffffffffffffffff
#
# See dma_bar_lib.sh for when the kernel lets them reach each other.
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

dir=$(dirname "$0")
prog=$dir/dma_buf_vfio
# shellcheck source-path=SCRIPTDIR source=dma_edu_lib.sh
. "$dir/dma_edu_lib.sh"
# shellcheck source-path=SCRIPTDIR source=dma_bar_lib.sh
. "$dir/dma_bar_lib.sh"

need "$prog"
edu_setup
keep_going
bar_setup
"$prog" "$@"
