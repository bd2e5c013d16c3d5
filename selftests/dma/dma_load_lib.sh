# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # of and for those who source it
#
# PCI functions that can be put under load: with disks that are blank, which
# dma_load_block tells, network interfaces that are down, or sound that can be played
# or recorded. To be sourced; $DMA_HONEST_PCI limits it to the functions it names,
# whose disks need not be blank. $functions are those that all_below looks at.

# shellcheck source-path=SCRIPTDIR source=dma_ktap_lib.sh
. "$(dirname "$0")/dma_ktap_lib.sh"

block=$(dirname "$0")/dma_load_block
pci=/sys/bus/pci/devices
marks=0

# below FUNCTION CLASS: names of the devices of CLASS that belong to it
below()
{
	top=$(readlink -f "$pci/$1")
	for entry in /sys/class/"$2"/*; do
		[ ! -e "$entry/partition" ] || continue
		case $(readlink -f "$entry") in
		"$top"/*) echo "${entry##*/}" ;;
		esac
	done
}

# sound_below FUNCTION: what can be played or recorded there
sound_below()
{
	below "$1" sound | grep '^pcm'
}

# all_below CLASS: the same of all functions under test
all_below()
{
	for fn in $functions; do
		below "$fn" "$1"
	done
}

run_block()
{
	"$block" ${DMA_HONEST_PCI:+-f} "$@"
}

# free FUNCTION: has it something to load, itself, and does nobody use it?
free()
{
	case $(cat "$pci/$1/class") in
	0x0604*) return 1 ;; # a bridge: what is behind it counts
	esac
	disks=$(below "$1" block) nics=$(below "$1" net)
	[ -e "$pci/$1/iommu_group" ] && [ -n "$disks$nics$(sound_below "$1")" ] || return
	for disk in $disks; do
		run_block -n "/dev/$disk" || return
	done
	for nic in $nics; do
		[ $(($(cat "/sys/class/net/$nic/flags") & 1)) -eq 0 ] || return
	done
}

# What is named may not be there yet: USB and SCSI look for their disks by and by.
wait_for_named()
{
	for fn in $DMA_HONEST_PCI; do
		for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
			[ -z "$(below "$fn" block)$(below "$fn" net)$(sound_below "$fn")" ] || break
			sleep 1
		done
	done
}

find_functions()
{
	wait_for_named
	for path in "$pci"/*; do
		case " ${DMA_HONEST_PCI:-${path##*/}} " in
		*" ${path##*/} "*) free "${path##*/}" >&2 && echo "${path##*/}" ;;
		esac
	done
}

# mark: from here on left_mapped counts
mark()
{
	marks=$((marks + 1))
	echo "<6>${0##*/} $$ $marks" >/dev/kmsg
}

# left_mapped FUNCTIONS: how often the kernel has said, since the mark, that something
# was left mapped: when the driver of a function that matches was unbound, a domain was
# freed, or pages were. Empty if the mark is gone.
left_mapped()
{
	dmesg | awk -v mark="${0##*/} $$ $marks" -v fn="$1" '
		index($0, mark) { found = 1; lines = 0 }
		$0 ~ "DMA: driver of " fn " unbound with" { lines++ }
		$0 ~ fn ": DMA: [0-9]+ pages still mapped after" { lines++ }
		/DMA: domain of .* freed with|BUG: DMA: page/ { lines++ }
		END { if (found) print lines }'
}
