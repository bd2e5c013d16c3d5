#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Load the dma_edu test module, run dma_debug_pagealloc, and leave everything as it
# was, but for the taint of the reports. Needs root, iommu.debug_pagealloc=1 and
# QEMU's edu device behind an IOMMU, e.g.
#
#	-device intel-iommu,intremap=on -device edu
#
# The reports would end a kernel that panics on warnings: it does not meanwhile.
#
# Arguments are for the program, e.g. "-l" or "-t <name of one test>".

ksft_skip=4

dir=$(dirname "$0")
prog=$dir/dma_debug_pagealloc
module=$dir/test_modules/dma_edu.ko
driver=/sys/bus/pci/drivers/dma_edu
stats=/sys/kernel/debug/iommu_debug_pagealloc/stats
panic=/proc/sys/kernel/panic_on_warn
panics=
loaded=
saved=

skip()
{
	echo "1..0 # SKIP $1"
	exit $ksft_skip
}

# PCI folder of the device to test: $DMA_EDU_DEV, or the first one
find_edu()
{
	for dev in /sys/bus/pci/devices/*; do
		[ "${dev##*/}" = "${DMA_EDU_DEV:-${dev##*/}}" ] || continue
		[ "$(cat "$dev/vendor")" = 0x1234 ] || continue
		[ "$(cat "$dev/device")" = 0x11e8 ] || continue
		echo "$dev"
		return 0
	done
	return 1
}

# The program puts the group back by itself unless it is killed.
cleanup()
{
	[ -z "$loaded" ] || restore_group
	[ -z "$panics" ] || echo "$panics" > "$panic"
}

restore_group()
{
	rmmod dma_edu || return
	for attr in type dma_guard_kb; do
		[ -f "$group/$attr" ] || continue
		was=$(echo "$saved" | sed -n "s/^$attr=//p")
		[ "$(cat "$group/$attr")" = "$was" ] ||
			echo "$was" > "$group/$attr"
	done
}

[ "$(id -u)" -eq 0 ] || skip "not root"
[ -x "$prog" ] || skip "$prog is not built"
[ -f "$stats" ] ||
	skip "no $stats: kernel without IOMMU_DEBUG_PAGEALLOC, or no debugfs"
grep -q '^enabled 1$' "$stats" ||
	skip "IOMMU_DEBUG_PAGEALLOC is off: boot with iommu.debug_pagealloc=1"
[ -d /sys/bus/pci/devices ] || skip "no PCI bus"
edu=$(find_edu) || skip "no edu device"
# Of several devices the program must take the one that is put back here.
export DMA_EDU_DEV="${edu##*/}"
group=$edu/iommu_group
[ -d "$group" ] || skip "the edu device is not behind an IOMMU"

for attr in type dma_guard_kb; do
	[ -f "$group/$attr" ] || continue
	saved="$saved$attr=$(cat "$group/$attr")
"
done

trap cleanup EXIT
trap 'exit 1' HUP INT TERM

if [ ! -d "$driver" ]; then
	if [ -f "$module" ]; then
		insmod "$module" || exit 1
	else
		modprobe dma_edu || skip "no module dma_edu"
	fi
	loaded=1
fi

if [ -f "$panic" ] && [ "$(cat "$panic")" != 0 ]; then
	panics=$(cat "$panic")
	echo 0 > "$panic"
fi

"$prog" "$@"
