# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# virtio-iommu, the IOMMU of virtual machines that is the host's own
IOMMU_ARCH=x86_64
QEMU_MACHINE=(-machine "q35,kernel-irqchip=split" -device "virtio-iommu-pci,addr=1e.0")
