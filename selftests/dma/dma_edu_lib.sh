# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the tests with QEMU's edu device have in common. A script sources this
# from the folder that it is in, and calls
#
#	need PROGRAM		to skip unless root runs it and PROGRAM is built,
#	edu_setup		to find the device and to load the dma_edu module,
#	keep_going		if the kernel is to report what the program does: those
#				reports would end a kernel that panics on warnings,
#
# then the program. In between it may skip for reasons of its own: "skip REASON".
# From edu_setup on, the end of the script puts back what the program may have
# left changed. A script that has more to put back calls at_end after edu_setup, with a
# function that sets edu_failed if that fails, and ends with edu_cleanup.
#
# $DMA_EDU_DEV, in: PCI name of the device, the first edu device if not set; from
# edu_setup on that of the device under test. $edu_group: its IOMMU group.
# $edu_without_iommu: a script that sets it takes a device without a group, too.

# shellcheck source-path=SCRIPTDIR source=dma_ktap_lib.sh
. "$(dirname "$0")/dma_ktap_lib.sh"

# Attributes of the group that a test may change, in the order to put them back
edu_attrs="type dma_guard_kb dma_bounce"
edu_module=$(dirname "$0")/test_modules/dma_edu.ko
edu_group=
edu_without_iommu=
edu_loaded=
edu_saved=
edu_failed=

# edu_insmod MODULE [PARAMETER]...: skips if it was built for another kernel
edu_insmod()
{
	edu_error=$(insmod "$@" 2>&1) && return
	echo "# $edu_error"
	echo "$edu_error" | grep -qiE "unknown symbol|invalid module format" &&
		skip "$1 is for another kernel"
	exit 1
}

# PCI name of the device to test
edu_find()
{
	for edu_dev in /sys/bus/pci/devices/*; do
		[ "${edu_dev##*/}" = "${DMA_EDU_DEV:-${edu_dev##*/}}" ] ||
			continue
		[ "$(cat "$edu_dev/vendor")" = 0x1234 ] || continue
		[ "$(cat "$edu_dev/device")" = 0x11e8 ] || continue
		echo "${edu_dev##*/}"
		return 0
	done
	return 1
}

edu_save_group()
{
	for edu_attr in $edu_attrs; do
		[ -f "$edu_group/$edu_attr" ] || continue
		edu_saved="$edu_saved$edu_attr=$(cat "$edu_group/$edu_attr")
"
	done
}

edu_restore_group()
{
	for edu_attr in $edu_attrs; do
		[ -f "$edu_group/$edu_attr" ] || continue
		edu_was=$(echo "$edu_saved" | sed -n "s/^$edu_attr=//p")
		[ "$(cat "$edu_group/$edu_attr")" = "$edu_was" ] ||
			echo "$edu_was" > "$edu_group/$edu_attr" || return
	done
}

# The program puts the group back by itself unless it is killed. What cannot be put
# back is a failure: a driver that is still bound, as that of a module which was
# there before, does not let the group be changed.
edu_cleanup()
{
	[ -z "$edu_loaded" ] || rmmod dma_edu || edu_failed=1
	edu_restore_group || edu_failed=1
	panic_as_before || edu_failed=1
	[ -z "$edu_failed" ] || exit 1
}

edu_setup()
{
	[ -d /sys/bus/pci/devices ] || skip "no PCI bus"
	# Of several devices the program must take the one that is put back here.
	DMA_EDU_DEV=$(edu_find) || skip "no edu device"
	export DMA_EDU_DEV
	edu_group=/sys/bus/pci/devices/$DMA_EDU_DEV/iommu_group
	[ -d "$edu_group" ] || [ -n "$edu_without_iommu" ] ||
		skip "the edu device is not behind an IOMMU"
	edu_save_group

	at_end edu_cleanup

	[ ! -d /sys/bus/pci/drivers/dma_edu ] || return 0
	if [ -f "$edu_module" ]; then
		edu_insmod "$edu_module"
	else
		modprobe dma_edu || skip "no module dma_edu"
	fi
	edu_loaded=1
}
