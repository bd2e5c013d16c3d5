# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # variables of, and for, scripts/bench
# What a line of the matrix is as a boot of a VM, and how it is measured.

declare -A kernel_options=([unpatched]=--unpatched [off]='--variant off' [on]='')
# Without the series only a machine whose memory exceeds 4 GiB can bounce on x86.
declare -A places=(
	[inside]="--mem 4096 --device edu,addr=4,dma_mask=0xffffffffffffffff"
	[peer]="--mem 4096 --device edu,addr=4,dma_mask=0xffffffffffffffff
		--device ivshmem-plain,addr=5,memdev=bar
		--qemu-arg -object --qemu-arg memory-backend-ram,id=bar,size=2G"
	[outside]="--mem 6144 --external-port --device edu,bus=ext,addr=0,dma_mask=0xffffffffffffffff"
)
declare -A lanes=([icount]="--icount" [wall]="--smp 4 --accel auto")
declare -A repeats=([icount]=1 [wall]=5)
# Seconds that a boot may take, where none is known of an earlier run
declare -A guess=([quick]=8 [full]=30 [bar]=8 [live]=60 [threads]=60)

# make_payload KERNEL CASES: set dir to the folder, made once in a run.
declare -A payloads
make_payload() {
	local files=("$bench"/{guest,measure}.sh)
	dir=$work/payload-$1-$2
	[[ -z ${payloads[$dir]:-} ]] || return 0
	payloads[$dir]=made
	if [[ $2 = bar ]]; then
		files+=("$programs/dma_buf_time" "$programs/test_modules/dma_bar.ko")
	else
		files+=("$programs/dma_map_benchmark")
	fi
	[[ $1 != unpatched ]] || files+=("$module")
	rm -rf "$dir"
	mkdir -p "$dir"
	cp "${files[@]}" "$dir/"
	cp "$bench/cases.$2" "$dir/cases"
}

# plan BOOT: set lane, kernel, place, cases, name, cmdline, dir, vm, key, pace, time and
# weight (of its time, of all slots) of it.
plan() {
	read -r lane kernel place cases name cmdline <<<"$1"
	[[ $kernel != unpatched ]] || cmdline+=" initcall_blacklist=map_benchmark_init"
	make_payload "$kernel" "$cases"
	read -ra vm <<<"${lanes[$lane]} ${places[$place]//$'\n'/ }"
	key=$({
		echo "$lane ${kernels[$kernel]} ${vm[*]} $cmdline ${repeats[$lane]} $qemu"
		[[ $lane = icount ]] || echo "$cpu"
		cat "$ROOT"/scripts/{vm,vm-init,initramfs} "$ROOT/scripts/arch/$arch.sh" "$ROOT"/scripts/external-port/*
		find "$dir" -type f -print0 | sort -z | xargs -0 sha256sum | sed "s,  $dir/,  ,"
	} | sha256sum | cut -c1-40)
	pace=$kept/seconds/$arch-$lane-$kernel-$place-$cases-$name
	time=${guess[$cases]:-60} weight=1
	[[ $lane != wall ]] || weight=$slots
	[[ ! -f $pace ]] || time=$(<"$pace")
}
# duration SECONDS: as one says it.
duration() { if [[ $1 -lt 120 ]]; then echo "$1 s"; else echo "$((($1 + 30) / 60)) min"; fi; }

# measure N: boot what plan() has set, keep the figures.
measure() {
	local log=$work/vm-$1.log start=$SECONDS accel
	with_progress "boot $(($1 + 1)) of ${#boots[@]}, $name" "$log" "$ROOT/scripts/vm" --arch "$arch" \
		--build "${builds[$kernel]}" --payload "$dir" --run "REPEAT=${repeats[$lane]} sh ./guest.sh" "${vm[@]}" \
		--timeout 1800 --append "quiet $cmdline" --out "$work/vm-$1" ||
		{ tail -n 20 "$log" >&2; die "boot '$name' failed: see $work/vm-$1"; }
	echo $((SECONDS - start)) >"$pace"
	accel=$(grep -oE -- '-accel [a-z]+' "$work/vm-$1/qemu-command" | cut -d' ' -f2)
	jq -sc --arg accel "$accel" --arg date "$(date -u +%FT%TZ)" --argjson seconds $((SECONDS - start)) \
		'.[0] + {accel: $accel, date: $date, seconds: $seconds, samples: .[1:]}' \
		"$work/vm-$1/result.log" >"$kept/$key.new"
	mv "$kept/$key.new" "$kept/$key.json"
}
