# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
KERNEL_ARCH=arm64		# make ARCH=
KERNEL_IMAGE=arch/arm64/boot/Image
KERNEL_TARGET=Image
HOST_MACHINE=aarch64		# no cross compiler where 'uname -m' says so
CROSS_PREFIX=aarch64-linux-gnu-
CROSS_PACKAGES=build-arm64	# of scripts/packages, with the cross compiler
VM_PACKAGES=vm-arm64
DEBIAN_ARCH=arm64
QEMU=qemu-system-aarch64
IOMMU=smmuv3			# of scripts/iommu, where none is named
BOOT_ARGS="console=ttyAMA0 earlycon"

# set_firmware DIR QEMU-COMMAND...: set FIRMWARE, what QEMU is told so that the
# kernel finds what scripts/vm was asked for with $external and $non_coherent.
# A device tree fits one machine: it is made from the one that QEMU-COMMAND has.
set_firmware() {
	local source=$ROOT/scripts/external-port/arm64.dtso log=$1/device-tree.log tree=$1/device-tree
	"${@:2}" -machine "dumpdtb=$tree.dtb" >"$log" 2>&1 || die "QEMU does not tell its device tree: see $log"
	if [[ -n $external ]]; then
		dtc -q -I dts -O dtb -o "$tree.dtbo" "$source" >>"$log" 2>&1 || die "dtc does not compile $source: see $log"
		fdtoverlay -i "$tree.dtb" -o "$tree-external.dtb" "$tree.dtbo" >>"$log" 2>&1 ||
			die "$source does not fit QEMU's device tree: see $log"
		mv "$tree-external.dtb" "$tree.dtb"
	fi
	if [[ -n $non_coherent ]]; then
		fdtput -d "$tree.dtb" /pcie@10000000 dma-coherent >>"$log" 2>&1 ||
			die "the host bridge in QEMU's device tree is not dma-coherent: see $log"
	fi
	FIRMWARE=(-dtb "$tree.dtb")
}
