#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2046,SC2086 # lists of names
# shellcheck source-path=SCRIPTDIR
#
# Put drivers of disks, network cards and sound behind an IOMMU under verified
# load, unbind and bind them, twice. Data must be right throughout; the sanitizer
# of iommu.debug_pagealloc=1 must have checked and found nothing, and when the
# drivers are unbound nothing may be mapped or bounced but what was before.
# Network cards whose drivers take XDP programs are loaded without and with one, since
# they receive to other memory then.
#
# Takes PCI functions that nobody uses: with disks that are blank, which
# dma_load_block tells, network interfaces that are down, or sound. Needs root.
#
# Environment:
# DMA_HONEST_PCI: the PCI functions to take, e.g. "0000:00:04.0 0000:00:05.0";
#	what is on their disks is LOST, blank or not
# DMA_HONEST_SECONDS: how long each load takes, 5 if not set
# DMA_HONEST_MTU: of long frames, 9000 if not set; for the interfaces that take it
# DMA_HONEST_SLACK: pages that drivers which are not taken may have mapped in the
#	meantime, 0 if not set

net=$(dirname "$0")/dma_load_net
nvme=$(dirname "$0")/dma_nvme_passthru
sound=$(dirname "$0")/dma_load_sound
xdp=$(dirname "$0")/test_modules/dma_xdp.ko
stats=/sys/kernel/debug/iommu_debug_pagealloc/stats
bounced=/sys/kernel/debug/swiotlb/io_tlb_used
seconds=${DMA_HONEST_SECONDS:-5} jumbo=${DMA_HONEST_MTU:-9000}
slack=${DMA_HONEST_SLACK:-0}

# shellcheck source=dma_load_lib.sh
. "$(dirname "$0")/dma_load_lib.sh"

translates()
{
	for fn in $functions; do
		type=$(cat "$pci/$fn/iommu_group/type")
		echo "# $fn $type"
		[ "$type" = DMA ] || [ "$type" = DMA-FQ ] || return
	done
}

load_disks()
{
	[ "$have_disks" -eq 0 ] || run_block "$@" $(all_below block | sed 's,^,/dev/,')
}

# load_nics MTU [OPTION]...: those that take it
load_nics()
{
	mtu=$1
	shift
	nics=$(all_below net)
	[ "$mtu" -le 1500 ] || nics=$(all_that_take "$mtu")
	[ -z "$nics" ] || "$net" -m 10 -M "$mtu" "$@" $nics
}

# all_that_take MTU: network interfaces
all_that_take()
{
	for nic in $(all_below net); do
		was=$(cat "/sys/class/net/$nic/mtu")
		{ echo "$1" > "/sys/class/net/$nic/mtu"; } 2>/dev/null || continue
		echo "$was" > "/sys/class/net/$nic/mtu"
		echo "$nic"
	done
}

# with_xdp NICS DROP COMMAND...: while their drivers have an XDP program, which drops all
# frames if DROP is 1
with_xdp()
{
	insmod "$xdp" "netdevs=$(echo $1 | tr ' ' ,)" "drop=$2" 2>/dev/null || return
	shift 2
	"$@"
	xdp_status=$?
	rmmod dma_xdp && return $xdp_status
}

# all_that_take_xdp: network interfaces, none without the module
all_that_take_xdp()
{
	[ -f "$xdp" ] || return 0
	for nic in $(all_below net); do
		! with_xdp "$nic" 0 true || echo "$nic"
	done
}

load_xdp()
{
	nics=$(all_that_take_xdp)
	with_xdp "$nics" 0 "$net" -m 10 -t "$seconds" $nics
}

receives_nothing()
{
	! "$net" -m 1 -t 1 "$@"
}

# Is the program run?
xdp_drops()
{
	nics=$(all_that_take_xdp)
	with_xdp "$nics" 1 receives_nothing $nics
}

all_sound()
{
	for fn in $functions; do
		sound_below "$fn"
	done
}

load_sound()
{
	[ "$have_sound" -eq 0 ] || "$sound" -t "$seconds" $(all_sound | sed 's,^,/dev/snd/,')
}

namespaces()
{
	all_below block | grep '^nvme' | sed 's,^,/dev/,'
}

# Commands from memory that starts and ends anywhere
load_namespaces()
{
	"$nvme" "$@" $(namespaces)
}

# load MTU: all at the same time
load()
{
	load_disks -t "$seconds" &
	disks_pid=$!
	load_sound &
	sound_pid=$!
	load_nics "$1" -t "$seconds"
	status=$?
	wait "$disks_pid" || status=1
	wait "$sound_pid" || status=1
	return $status
}

# how_many: disks, interfaces, sound
how_many()
{
	echo "$(all_below block | grep -c .) $(all_below net | grep -c .) $(all_sound | grep -c .)"
}

unbind_all()
{
	echo "$bindings" | while read -r fn name; do
		echo "$fn" > "/sys/bus/pci/drivers/$name/unbind" || exit
	done || return
	sleep 1
	[ "$(how_many)" = "0 0 0" ]
}

# To the drivers they had, until there is what was there before
bind_all()
{
	echo "$bindings" | while read -r fn name; do
		[ -e "$pci/$fn/driver" ] ||
			echo "$fn" > "/sys/bus/pci/drivers/$name/bind" || exit
	done || return
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
		sleep 1
		[ "$(how_many)" != "$have" ] || return 0
	done
	return 1
}

put_back()
{
	rmmod dma_xdp 2>/dev/null
	bind_all
}

# As little as before the first round, or soon
nothing_is_left()
{
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		mapped=$(counter mapped) slots=$(cat "$bounced" 2>/dev/null)
		[ "${mapped:-0}" -gt $((${base_mapped:-0} + slack)) ] ||
			[ "${slots:-0}" -gt "${base_slots:-0}" ] || break
		sleep 1
	done
	echo "# unbound: ${mapped:-?} pages mapped, ${slots:-?} slots in use;" \
		"before ${base_mapped:-?} and ${base_slots:-?}"
	[ -r "$stats" ] || [ "$(left_mapped '.*')" = 0 ] || return
	[ "${mapped:-0}" -le $((${base_mapped:-0} + slack)) ] &&
		[ "${slots:-0}" -le "${base_slots:-0}" ]
}

# one_round NUMBER
one_round()
{
	test_that "round $1: data is right, MTU 1500" load 1500
	[ "$have_long" -lt 2 ] ||
		test_that "round $1: data is right, MTU $jumbo" load "$jumbo"
	[ "$have_xdp" -lt 2 ] ||
		test_that "round $1: data is right, XDP program" load_xdp
	[ -z "$(namespaces)" ] ||
		test_that "round $1: pass-through data is right" load_namespaces
	[ -r "$stats" ] || mark
	test_that "round $1: drivers unbind" unbind_all
	test_that "round $1: nothing is left mapped or bounced" nothing_is_left
	test_that "round $1: drivers bind" bind_all
}

# counter NAME: of the sanitizer, empty without it
counter()
{
	[ ! -r "$stats" ] || sed -n "s/^$1[[:space:]]*//p" "$stats"
}

need
[ -x "$block" ] || skip "the programs are not built"
functions=$(find_functions)
[ -n "$functions" ] || skip "no disk, network card or sound is free and behind an IOMMU"
have=$(how_many)
have_disks=${have%% *} have_sound=${have##* }
have_nics=${have#* } have_nics=${have_nics% *}
have_long=$(all_that_take "$jumbo" | grep -c .)
have_xdp=$(all_that_take_xdp | grep -c .)
bindings=$(for fn in $functions; do
	echo "$fn $(basename "$(readlink "$pci/$fn/driver")")"
done)
echo "$bindings" | sed 's/^/# /'
echo "# disks, interfaces, sound: $have; $have_long interfaces take an MTU of $jumbo"
echo "# $have_xdp interfaces take an XDP program"
at_end put_back

test_that "domains translate" translates
# vmxnet3 receives no long frames after it had a program, until it is bound again.
[ "$have_xdp" -lt 2 ] || test_that "XDP program is run" xdp_drops
# What is mapped without them, before any load
test_that "drivers unbind" unbind_all
sleep 1
base_mapped=$(counter mapped) base_slots=$(cat "$bounced" 2>/dev/null)
test_that "drivers bind" bind_all

[ "$have_disks" -eq 0 ] || test_that "damage on disks is found" load_disks -x -t 1
[ -z "$(namespaces)" ] ||
	test_that "damage of pass-through is found" load_namespaces -x
[ "$have_nics" -eq 0 ] ||
	test_that "damage of frames is found" load_nics 1500 -x -t 1

checks=$(counter checks) violations=$(counter violations)
one_round 1
one_round 2

if [ -r "$stats" ]; then
	sed 's/^/# /' "$stats"
	test_that "sanitizer has checked" [ "$(counter checks)" -gt "$checks" ]
	test_that "sanitizer has found nothing" \
		[ "$(counter violations)" -eq "$violations" ]
else
	test_that "sanitizer # SKIP no $stats" true
fi
echo "1..$tests"
[ $failed -eq 0 ]
