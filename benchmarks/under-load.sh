#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the VM of under-load: packets between two e1000e, and requests to an nvme.
set -eu
for name in e1000e nvme; do
	[ -d "/sys/bus/pci/drivers/$name" ] || { echo "no driver $name" >&2; exit 1; }
done
nics=
for nic in /sys/class/net/*; do
	case $(readlink "$nic/device/driver" 2>/dev/null) in
	*/e1000e) nics="$nics ${nic##*/}" ;;
	esac
done
# shellcheck disable=SC2086 # two words
set -- $nics
[ $# -eq 2 ] || { echo "there are $# e1000e, not 2" >&2; exit 1; }

./under-load net "$1" "$2" 64 20000
./under-load net "$1" "$2" 1514 20000
./under-load disk /dev/nvme0n1 4096 5000
./under-load disk /dev/nvme0n1 65536 3000
[ ! -e /sys/kernel/debug/iommu_dma_sample/stats ] || sed 's/^/# /' /sys/kernel/debug/iommu_dma_sample/stats
