#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in a VM with edu, e1000e and nvme: on-this-machine measures each, and gives
# it back to its driver, whatever happens meanwhile.
set -u
count=0 failed=0

# result NAME STATUS: one line of the test's output.
result() {
	count=$((count + 1))
	[ "$2" -eq 0 ] && echo "ok $count - $1" && return
	failed=$((failed + 1))
	sed 's/^/# /' said
	echo "not ok $count - $1"
}
# find_device VENDOR DEVICE: its address.
find_device() {
	for d in /sys/bus/pci/devices/*; do
		[ "$(cat "$d/vendor" "$d/device" | tr '\n' ' ')" != "$1 $2 " ] || echo "${d##*/}"
	done
}
# state DEVICE: what has to be after as it was before.
state() {
	basename "$(readlink "/sys/bus/pci/devices/$1/driver" || echo none)"
	cat "/sys/bus/pci/devices/$1/driver_override"
	ls /sys/bus/pci/drivers/dma_map_benchmark
}
# try NAME STATUS PATTERN DEVICE COMMAND...: COMMAND ends with STATUS, says PATTERN,
# and leaves DEVICE as it was.
try() {
	name=$1 wanted=$2 pattern=$3 device=$4
	shift 4
	before=$(state "$device")
	"$@" >said 2>&1
	status=$?
	[ "$before" = "$(state "$device")" ] || echo "before: $before after: $(state "$device")" >>said
	[ "$status" -eq "$wanted" ] && grep -q "$pattern" said && [ "$before" = "$(state "$device")" ] &&
		! grep -s '^dma.map.bench' /proc/[0-9]*/comm >>said
	result "$name" $?
}

run() { ./on-this-machine --program ./dma_map_benchmark --json json "$@"; }

echo 'TAP version 13'
edu=$(find_device 0x1234 0x11e8) net=$(find_device 0x8086 0x10d3) nvme=$(find_device 0x1b36 0x0010)
disk=/sys/class/block/nvme0n1
if [ -z "$edu" ] || [ -z "$net" ] || [ -z "$nvme" ]; then
	echo 'Bail out! This runs in the VM of scripts/check real-machine.'
	exit 1
fi
echo '-m single -l 4K -w 10 -i 100' >short
echo '-m single -l 4K -w 10 -i 100000 -x 1000000' >long
echo '-m single -l 1G -i 1' >bad

try 'a device without a driver' 0 'figures kept' "$edu" run --cases short "$edu"
try 'a network card' 0 'figures kept' "$net" run --cases short --name net --repeat 2 "$net"
ln -s /proc/self/fd/1 stdout
try 'figures to a pipe' 0 '"runs"' "$net" \
	./on-this-machine --program ./dma_map_benchmark --json stdout --cases short --repeat 2 "$net"
[ -h stdout ]
result 'what is no file stays what it is' $?
grep -q '"driver":"e1000e"' json && [ "$(grep -c '"mode":"single"' json)" -eq 2 ]
result 'its figures' $?
cp json kept.json
try 'a disk, by its short name' 0 'figures kept' "$nvme" run --cases short "${nvme#0000:}"
[ -e "$disk" ]
result 'the disk is back' $?

ip link set eth0 up
try 'a network card that is up' 1 'in use, eth0 is up' "$net" run --cases short "$net"
try 'by force' 0 'figures kept' "$net" run --cases short --force "$net"
echo "30 1 $(cat $disk/dev) / /mnt rw - ext4 /dev/nvme0n1 rw" >mounts
cp json before.json
MOUNTINFO=mounts try 'a disk that is mounted' 1 'in use, nvme0n1 is mounted' "$nvme" run --cases short "$nvme"
cmp json before.json
result 'the figures of before are kept' $?
# A file system of several disks has a number of its own.
echo '30 1 0:35 /@ /mnt rw shared:1 - btrfs /dev/nvme0n1 rw,subvol=/@' >mounts
MOUNTINFO=mounts try 'a disk that is mounted, by its name' 1 'in use, nvme0n1 is mounted' "$nvme" run --cases short "$nvme"
mkdir -p file-systems/btrfs/1-2-3/devices
ln -s "$(readlink -f $disk)" file-systems/btrfs/1-2-3/devices/nvme0n1
FILE_SYSTEMS=file-systems try 'a disk of a file system of several' 1 'in use, nvme0n1 is mounted' "$nvme" run --cases short "$nvme"

for signal in 'INT 130' 'TERM 143' 'HUP 129'; do
	try "a disk, ended by SIG${signal% *} while it measures" "${signal#* }" '1 cases' "$nvme" \
		timeout -s "${signal% *}" 3 ./on-this-machine --program ./dma_map_benchmark --json json --cases long "$nvme"
done
[ -e "$disk" ]
result 'the disk is back' $?
try 'a case that fails' 1 'dma_map_benchmark failed' "$nvme" run --cases bad "$nvme"
echo nvme >"/sys/bus/pci/devices/$nvme/driver_override"
try 'a device that was assigned to its driver' 0 'figures kept' "$nvme" run --cases short "$nvme"

try 'no device' 1 'no PCI device' "$edu" run 0000:ff:1f.7
try 'no cases' 1 'no cases' "$edu" run --cases /dev/null "$edu"
try 'once' 1 'is 2 at least' "$edu" run --repeat 1 "$edu"
try 'no program' 1 'cannot run' "$edu" ./on-this-machine --program ./none "$edu"
try 'an unknown option' 1 'see --help' "$edu" run --bogus "$edu"
try 'help' 0 '^Usage: on-this-machine' "$edu" run --help

echo "1..$count"
# For the table that is made outside
sed 's/^/#json /' kept.json
[ "$failed" -eq 0 ]
