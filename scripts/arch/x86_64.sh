# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
KERNEL_ARCH=x86_64		# make ARCH=
KERNEL_IMAGE=arch/x86/boot/bzImage
KERNEL_TARGET=bzImage
HOST_MACHINE=x86_64		# no cross compiler where 'uname -m' says so
CROSS_PREFIX=x86_64-linux-gnu-
DEBIAN_ARCH=amd64
QEMU=qemu-system-x86_64
QEMU_MACHINE=(-machine "q35,kernel-irqchip=split" -device "intel-iommu,intremap=on")
CONSOLE="console=ttyS0 earlyprintk=ttyS0"
