#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Free slab objects that are mapped for a device, and others beside them: what is
# mapped is reported, once, and nothing else. Needs root, a kernel that was booted
# with iommu.debug_objects=, and a PCI device without a driver; DMA_OBJECT_DEV is its
# name.

dir=$(dirname "$0")
module=$dir/test_modules/dma_object.ko
device=${DMA_OBJECT_DEV:-0000:00:04.0}
stats=/sys/kernel/debug/iommu_debug_objects/stats
# shellcheck source-path=SCRIPTDIR source=dma_ktap_lib.sh
. "$dir/dma_ktap_lib.sh"

need
[ -f "$module" ] || skip "dma_object.ko is not built"
[ -d "/sys/bus/pci/devices/$device" ] || skip "no device $device"
[ ! -e "/sys/bus/pci/devices/$device/driver" ] || skip "$device has a driver"
[ -f "$stats" ] || skip "no iommu.debug_objects="

stat()
{
	sed -n "s/^$1 //p" "$stats"
}

reports()
{
	dmesg | grep -c 'BUG: DMA: object freed while mapped'
}

# comes_of REPORTS WHAT: so many, and nothing stays recorded
comes_of()
{
	before=$(reports)
	mapped=$(stat mapped)
	insmod "$module" dev="$device" what="$2" && loaded=1 &&
		rmmod dma_object && loaded=
	status=$?
	after=$(reports)
	[ "$((after - before))" = "$1" ] ||
		{ status=1; echo "# $((after - before)) reports, not $1"; }
	[ "$(stat mapped)" = "$mapped" ] ||
		{ status=1; echo "# $(stat mapped) recorded, not $mapped"; }
	return $status
}

# try WHAT REPORTS
try()
{
	test_that "$1" comes_of "$2" "$1"
}

# The report of WHAT has all that it is to have.
tells()
{
	dmesg | sed -n '/object freed while mapped: .*kmalloc/,/=====/p' | tail -n 80 \
		>/tmp/dma_object.report
	for text in "mapped for $device: 100 bytes, 16 bytes into it, from the device" \
		    "freed here:"; do
		grep -q "$text" /tmp/dma_object.report && continue
		echo "# no \"$text\""
		return 1
	done
	# In both stacks
	[ "$(sed '/freed here:/,$d' /tmp/dma_object.report | grep -c '\[dma_object')" -gt 0 ] &&
		[ "$(sed '1,/freed here:/d' /tmp/dma_object.report |
			grep -c '\[dma_object')" -gt 0 ]
}

# If there was no room, and only then
tells_what_is_lost()
{
	if [ "$(stat room)" -lt 200 ]; then
		[ "$(stat lost)" -gt "$lost" ] &&
			dmesg | grep -q 'not all frees are checked: see iommu.debug_objects'
	else
		[ "$(stat lost)" = "$lost" ]
	fi
}

cleanup()
{
	panic_as_before
	[ -z "$loaded" ] || rmmod dma_object || exit 1
}

for name in mapped room lost; do
	[ -n "$(stat $name)" ] && continue
	echo "# no $name in $stats"
	exit 1
done
loaded=
at_end cleanup
keep_going
echo "TAP version 13"
echo "1..14"
try freed 1
test_that "a report tells who has mapped, and who frees" tells
try freed-twice-mapped 1
try freed-by-rcu 1
try freed-by-kfree-rcu 1
try freed-by-irq 1
try freed-in-bulk 1
try neighbours 0
try neighbours-overrun 0
try list 1
try link 1
try unmapped 0
lost=$(stat lost)
try lots 0
test_that "what has no room is told" tells_what_is_lost
[ $failed -eq 0 ]
