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

# mark_external_port DIR QEMU-COMMAND...: set EXTERNAL_PORT, what QEMU is told so
# that its firmware declares the port of scripts/vm --external-port external-facing.
mark_external_port() {
	local source=$ROOT/scripts/external-port/x86_64.asl log=$1/external-port.log
	iasl -p "$1/external-port" "$source" >"$log" 2>&1 || die "iasl does not compile $source: see $log"
	EXTERNAL_PORT=(-acpitable "file=$1/external-port.aml")
}
