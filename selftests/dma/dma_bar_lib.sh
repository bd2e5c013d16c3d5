# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034 # for edu_cleanup
#
# What the tests with another device's BAR have in common. A script sources this
# after dma_edu_lib.sh, calls edu_setup, and then
#
#	bar_setup		to load the dma_bar module,
#
# before the program. The end of the script unloads it again.
#
# The kernel lets devices reach each other if both are behind one bridge, or the
# CPU is one of AMD's (-cpu EPYC). With DMA_BAR_TRUST_HOST_BRIDGE=1 in the
# environment it is made to do so in any case; QEMU's host bridges all can.

bar_module=$(dirname "$0")/test_modules/dma_bar.ko
bar_loaded=

bar_cleanup()
{
	[ -z "$bar_loaded" ] || rmmod dma_bar || edu_failed=1
	edu_cleanup
}

bar_setup()
{
	at_end bar_cleanup
	if [ ! -c /dev/dma_bar ]; then
		bar_trust=trust_host_bridge=${DMA_BAR_TRUST_HOST_BRIDGE:-0}
		if [ -f "$bar_module" ]; then
			edu_insmod "$bar_module" "$bar_trust"
		else
			modprobe dma_bar "$bar_trust" || skip "no module dma_bar"
		fi
		bar_loaded=1
	fi
	[ -c /dev/dma_bar ] ||
		skip "no ivshmem-plain device, or kernel without PCI_P2PDMA"
}
