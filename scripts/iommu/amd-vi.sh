# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# AMD-Vi.  QEMU 7.2 raises no event for an address that is not mapped.
IOMMU_ARCH=x86_64
QEMU_MACHINE=(-machine "q35,kernel-irqchip=split" -device "amd-iommu,intremap=on")
