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

# mark_external_port DIR QEMU-COMMAND...: set EXTERNAL_PORT, what QEMU is told so
# that its firmware declares the port of scripts/vm --external-port external-facing.
# A device tree fits one machine: it is made from the one that QEMU-COMMAND has.
mark_external_port() {
	local source=$ROOT/scripts/external-port/arm64.dtso log=$1/external-port.log tree=$1/external-port
	"${@:2}" -machine "dumpdtb=$tree-qemu.dtb" >"$log" 2>&1 || die "QEMU does not tell its device tree: see $log"
	dtc -q -I dts -O dtb -o "$tree.dtbo" "$source" >>"$log" 2>&1 || die "dtc does not compile $source: see $log"
	fdtoverlay -i "$tree-qemu.dtb" -o "$tree.dtb" "$tree.dtbo" >>"$log" 2>&1 ||
		die "$source does not fit QEMU's device tree: see $log"
	EXTERNAL_PORT=(-dtb "$tree.dtb")
}
