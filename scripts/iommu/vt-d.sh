# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Intel VT-d
IOMMU_ARCH=x86_64
QEMU_MACHINE=(-machine "q35,kernel-irqchip=split" -device "intel-iommu,intremap=on")
