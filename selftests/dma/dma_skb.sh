#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck source-path=SCRIPTDIR
#
# Load the dma_skb test module and run dma_skb on the interface of a device that is not
# trusted. Needs root, one CPU, a network card that is not trusted, and another one that
# is joined to it.
#
# Environment:
# DMA_SKB_PCI: PCI function of the card under test, e.g. "0000:01:00.0"
# DMA_SKB_PEER: that of the other one
# DMA_EDU_DEV: an edu device in the IOMMU group of the first, which then attacks; none
#	if not set
#
# Arguments are for the program.

prog=$(dirname "$0")/dma_skb
# shellcheck source=dma_load_lib.sh
. "$(dirname "$0")/dma_load_lib.sh"
attacker=${DMA_EDU_DEV:-}
# shellcheck source=dma_edu_lib.sh
. "$(dirname "$0")/dma_edu_lib.sh"

# interface FUNCTION
interface()
{
	below "$1" net | head -n 1
}

unload()
{
	rmmod dma_skb || edu_failed=1
	edu_cleanup
}

need "$prog"
[ "$(nproc)" -eq 1 ] || skip "more than one CPU"
[ -n "${DMA_SKB_PCI:-}" ] || skip "no network card is named"
[ -n "${DMA_SKB_PEER:-}" ] || skip "no other network card is named"
DMA_HONEST_PCI="$DMA_SKB_PCI $DMA_SKB_PEER"
wait_for_named
out=$(interface "$DMA_SKB_PCI") in=$(interface "$DMA_SKB_PEER")
[ -n "$out" ] || skip "no network interface at $DMA_SKB_PCI"
[ -n "$in" ] || skip "no network interface at $DMA_SKB_PEER"
if [ -n "$attacker" ]; then
	edu_setup
	keep_going
fi
edu_insmod "$(dirname "$0")/test_modules/dma_skb.ko"
at_end unload
"$prog" "$@" "$out" "$in"
