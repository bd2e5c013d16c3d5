# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What a VM and a real machine have in common: source it.  JSON goes to stdout.

# free_kb: memory that nobody uses, without starting a program.
free_kb() {
	while read -r name value _; do
		[ "$name" != MemFree: ] || echo "$value"
	done </proc/meminfo
}

# least_free FILE: the least of that until FILE exists.
least_free() {
	least=$(free_kb)
	while [ ! -e "$1" ]; do
		now=$(free_kb)
		[ "$now" -ge "$least" ] || least=$now
	done
	echo "$least"
}

# describe DEVICE [SUFFIX]: the machine, the kernel, and how DEVICE (in sysfs) is
# translated; SUFFIX comes after the type of its domain.
describe() {
	guard=0
	[ ! -e "$1/iommu_group/dma_guard_kb" ] || guard=$(cat "$1/iommu_group/dma_guard_kb")
	type=none
	[ ! -e "$1/iommu_group/type" ] || type=$(cat "$1/iommu_group/type")
	untrusted=false
	[ "$(cat "$1/removable" 2>/dev/null)" != removable ] || untrusted=true
	init=$(dmesg | sed -n 's/^\[ *\([0-9]*\)\.\([0-9]*\)\] Run .* as init process$/\1\2/p' | sed 's/^0*//')
	free_before=$(free_kb)
	export free_before
	printf '{"guard_kb":%s,"domain":"%s","untrusted":%s,"release":"%s","cpus":%s' \
		"$guard" "$type${2:-}" "$untrusted" "$(uname -r)" "$(grep -c '^processor' /proc/cpuinfo)"
	printf ',"page_size":%s,"init_us":%s,"mem_total_kb":%s,"mem_free_kb":%s}\n' \
		"$(getconf PAGESIZE 2>/dev/null || echo 4096)" "${init:-null}" \
		"$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)" "$free_before"
}

# sample COMMAND...: one case, one line. Of mappings that live meanwhile (-k) also
# the memory that is used more than before the first case.
sample() {
	case " $* " in
	*' -k '*) ;;
	*) "$@"; return ;;
	esac
	dir=$(mktemp -d)
	{ "$@" >"$dir/line" || : >"$dir/failed"; : >"$dir/done"; } &
	least=$(least_free "$dir/done")
	wait $!
	status=0
	[ ! -e "$dir/failed" ] || status=1
	sed "s/}\$/,\"memory_kb\":$((free_before - least))}/" "$dir/line"
	rm -r "$dir"
	return "$status"
}

# samples FILE COMMAND...: COMMAND with the arguments of each line of FILE.  As many
# times as $REPEAT says, all lines in turn, so that a change of pace shows in each.
samples() {
	file=$1
	shift
	round=0
	while [ "$round" -lt "${REPEAT:-1}" ]; do
		round=$((round + 1))
		grep '^-' "$file" | while read -r args; do
			# shellcheck disable=SC2086 # a line holds several arguments
			sample "$@" $args || exit 1
		done || return
	done
}
