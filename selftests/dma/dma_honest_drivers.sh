#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2046 # lists of names
# shellcheck source-path=SCRIPTDIR
#
# Put drivers of disks and network cards behind an IOMMU under verified load,
# unbind and bind them, twice. Data must be right throughout; the sanitizer of
# iommu.debug_pagealloc=1 must have checked and found nothing, and the second
# round may leave no more mapped than the first.
#
# Takes PCI functions that nobody uses: with disks that are blank, which
# dma_load_block tells, or network interfaces that are down. Needs root.
#
# Environment:
# DMA_HONEST_PCI: the PCI functions to take, e.g. "0000:00:04.0 0000:00:05.0";
#	what is on their disks is LOST, blank or not
# DMA_HONEST_SECONDS: how long each load takes, 5 if not set
# DMA_HONEST_MTU: for long frames, 9000 if not set

net=$(dirname "$0")/dma_load_net
nvme=$(dirname "$0")/dma_nvme_passthru
stats=/sys/kernel/debug/iommu_debug_pagealloc/stats
seconds=${DMA_HONEST_SECONDS:-5} jumbo=${DMA_HONEST_MTU:-9000}

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

load_nics()
{
	[ "$have_nics" -eq 0 ] || "$net" -m 10 "$@" $(all_below net)
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

# load MTU: disks and network at the same time
load()
{
	load_disks -t "$seconds" &
	load_nics -t "$seconds" -M "$1"
	status=$?
	wait $! && return $status
}

unbind_all()
{
	echo "$bindings" | while read -r fn name; do
		echo "$fn" > "/sys/bus/pci/drivers/$name/unbind" || exit
	done || return
	sleep 1
	[ -z "$(all_below block)$(all_below net)" ]
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
		[ "$(all_below block | wc -l)" -lt "$have_disks" ] ||
			[ "$(all_below net | wc -l)" -lt "$have_nics" ] || return 0
	done
	return 1
}

# one_round NUMBER: sets unbound and bound to the pages mapped then
one_round()
{
	test_that "round $1: data is right, MTU 1500" load 1500
	test_that "round $1: data is right, MTU $jumbo" load "$jumbo"
	[ -z "$(namespaces)" ] ||
		test_that "round $1: pass-through data is right" load_namespaces
	test_that "round $1: drivers unbind" unbind_all
	unbound=$(counter mapped)
	test_that "round $1: drivers bind" bind_all
	bound=$(counter mapped)
	echo "# round $1: $unbound pages mapped while unbound, $bound at rest"
}

# counter NAME: of the sanitizer, empty without it
counter()
{
	[ ! -r "$stats" ] || sed -n "s/^$1[[:space:]]*//p" "$stats"
}

[ "$(id -u)" -eq 0 ] || skip "not root"
[ -x "$block" ] || skip "the programs are not built"
functions=$(find_functions)
[ -n "$functions" ] || skip "no disk or network card is free and behind an IOMMU"
have_disks=$(all_below block | grep -c .)
have_nics=$(all_below net | grep -c .)
bindings=$(for fn in $functions; do
	echo "$fn $(basename "$(readlink "$pci/$fn/driver")")"
done)
# Pages that the second round may leave mapped: with more than one page per frame
# e1000e may forget two of a slot that is not refilled when the card goes down.
slack=$(($(echo "$bindings" | grep -c ' e1000e$') * 2))
echo "$bindings" | sed 's/^/# /'
trap bind_all EXIT
trap 'exit 1' HUP INT TERM

test_that "domains translate" translates
[ "$have_disks" -eq 0 ] || test_that "damage on disks is found" load_disks -x -t 1
[ -z "$(namespaces)" ] ||
	test_that "damage of pass-through is found" load_namespaces -x
[ "$have_nics" -eq 0 ] || test_that "damage of frames is found" load_nics -x -t 1

checks=$(counter checks) violations=$(counter violations)
one_round 1
unbound_first=$unbound bound_first=$bound
one_round 2

if [ -r "$stats" ]; then
	sed 's/^/# /' "$stats"
	test_that "sanitizer has checked" [ "$(counter checks)" -gt "$checks" ]
	test_that "sanitizer has found nothing" \
		[ "$(counter violations)" -eq "$violations" ]
	test_that "round 2 leaves no more mapped while unbound" \
		[ "$unbound" -le $((unbound_first + slack)) ]
	test_that "round 2 leaves no more mapped at rest" \
		[ "$bound" -le $((bound_first + slack)) ]
else
	test_that "sanitizer # SKIP no $stats" true
fi
echo "1..$tests"
[ $failed -eq 0 ]
