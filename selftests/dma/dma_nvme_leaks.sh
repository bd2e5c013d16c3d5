#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2086,SC2154 # lists; of the file that is sourced
# shellcheck source-path=SCRIPTDIR
#
# Read from a disk of the nvme driver, with each memory allocation of the first read
# after the driver was bound failing in turn: when the driver is unbound, nothing may
# be left mapped. A second time the driver is told to use no SGLs: a request that is
# mapped as one range of IOVA has one SGL and needs no memory for it, but PRPs are a list
# all the same. Takes the driver away from its disk, over and over. Needs root,
# iommu.debug_pagealloc=1 and fault injection.
#
# Environment:
# DMA_NVME: the PCI function, by default the first one of the driver that nobody
#	uses: its disks are blank

driver=/sys/bus/pci/drivers/nvme
read=$(dirname "$0")/dma_nvme_read
fail=/sys/kernel/debug
threshold=/sys/module/nvme/parameters/sgl_threshold
# shellcheck source=dma_load_lib.sh
. "$(dirname "$0")/dma_load_lib.sh"

knobs="failslab/ignore-gfp-wait=N failslab/verbose=0 fail_page_alloc/ignore-gfp-wait=N
	fail_page_alloc/min-order=0 fail_page_alloc/verbose=0"
was='' was_threshold=''

# set_knobs NAME=VALUE...: of fault injection; $was is what they were
set_knobs()
{
	for knob; do
		[ -w "$fail/${knob%%=*}" ] || return
		was="$was ${knob%%=*}=$(cat "$fail/${knob%%=*}")"
		echo "${knob#*=}" >"$fail/${knob%%=*}" || return
	done
}

put_back()
{
	bound
	set_knobs $was
	[ -z "$was_threshold" ] || echo "$was_threshold" >"$threshold"
}

find_nvme()
{
	for path in "$driver"/0*; do
		[ ! -e "$path" ] || ! free "${path##*/}" >&2 || { echo "${path##*/}"; return; }
	done
}

# bound: bind the driver, and wait for its disk
bound()
{
	[ -e "$driver/$fn" ] || echo "$fn" >"$driver/bind" || return
	tries=0
	until disk=$(below "$fn" block | head -n 1) && [ -b "/dev/$disk" ]; do
		tries=$((tries + 1))
		[ $tries -lt 60 ] || return
		sleep 1
	done
}

# Does it count what is mapped? Where there are no statistics it says so at boot.
counting()
{
	if [ -r "$stats" ]; then
		grep -q '^enabled 1$' "$stats"
	else
		dmesg | grep -q 'iommu: Debugging page allocations'
	fi
}

# read_once NTH: 0 or 3 from the program, and nothing is left
read_once()
{
	bound || return 1
	mark
	"$read" "/dev/$disk" "$1"
	status=$?
	echo "$fn" >"$driver/unbind" || return 1
	[ "$(left_mapped "$fn")" = 0 ] || { echo "# allocation $1: pages are left"; return 1; }
	return $status
}

no_memory()
{
	nth=0
	while nth=$((nth + 1)); [ $nth -lt 200 ]; do
		read_once $nth
		case $? in
		0) ;;
		3) break ;;
		*) return 1 ;;
		esac
	done
	echo "# $((nth - 1)) allocations"
	# There are fewer with larger pages.
	[ $nth -gt 5 ] && [ $nth -lt 200 ]
}

# The driver uses SGLs if segments are as long as the threshold; never if it is 0.
no_memory_prp()
{
	was_threshold=$(cat "$threshold") && echo 0 >"$threshold" || return
	no_memory
}

need "$read" "$block"
stats=$fail/iommu_debug_pagealloc/stats
counting || skip "nothing tells what is left mapped: boot with iommu.debug_pagealloc=1"
fn=${DMA_NVME:-$(find_nvme)}
[ -e "$driver/${fn:-none}" ] || skip "no function of the nvme driver that nobody uses"
at_end put_back
set_knobs $knobs || skip "no fault injection"

echo 1..3
echo "# $fn $(cat "$pci/$fn/iommu_group/type")"
test_that scattered read_once 0
test_that no_memory no_memory
test_that no_memory_prp no_memory_prp
[ $failed -eq 0 ]
