# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Arm SMMUv3
IOMMU_ARCH=arm64
QEMU_MACHINE=(-machine "virt,gic-version=3,iommu=smmuv3")
