# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
KERNEL_ARCH=arm64		# make ARCH=
KERNEL_IMAGE=arch/arm64/boot/Image
KERNEL_TARGET=Image
HOST_MACHINE=aarch64		# no cross compiler where 'uname -m' says so
CROSS_PREFIX=aarch64-linux-gnu-
DEBIAN_ARCH=arm64
QEMU=qemu-system-aarch64
QEMU_MACHINE=(-machine "virt,gic-version=3,iommu=smmuv3")
CONSOLE="console=ttyAMA0 earlycon"
