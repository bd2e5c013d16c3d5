#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the VM: binds dma_map_benchmark to the edu device and prints one line of
# JSON that describes the guest, and one for each line of the file 'cases'; with
# dma_bar.ko of ranges of the BAR of ivshmem-plain, mapped for the edu device.
set -eu
# shellcheck source=benchmarks/measure.sh
. ./measure.sh

# vendor and device of QEMU's edu
for dev in /sys/bus/pci/devices/*; do
	[ "$(cat "$dev/vendor" "$dev/device" | tr '\n' ' ')" = '0x1234 0x11e8 ' ] && break
	dev=
done
[ -n "$dev" ] || { echo 'no edu device' >&2; exit 1; }

# The driver of a kernel whose own one cannot count rounds
[ ! -e dma_map_benchmark.ko ] || insmod dma_map_benchmark.ko
echo dma_map_benchmark >"$dev/driver_override"
echo "${dev##*/}" >/sys/bus/pci/drivers/dma_map_benchmark/bind

if [ -e dma_bar.ko ]; then
	insmod dma_bar.ko trust_host_bridge=1
	describe "$dev" ', BAR'
	samples cases ./dma_buf_time "${dev##*/}"
else
	describe "$dev"
	samples cases ./dma_map_benchmark -b 64 -j
fi
