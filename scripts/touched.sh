# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Which code of the kernel the series touches: source it after lib.sh, and call load_lane
# before what is here.

# Where it is; each-patch fails if it is elsewhere.
code=(block drivers include kernel mm net)

# touched_code TREE FROM TO: the C files that the series touches between these commits, but
# for those that are part of another, as some tests are.
touched_code() {
	local files parts
	files=$(run_git "$1" diff --name-only --no-renames --diff-filter=d "$2" "$3" -- "${code[@]/%//*.c}")
	[[ -n $files ]] || return 0
	parts=$(parts_of_others "$1" "$3" "$files")
	grep -vxFf <(echo "$parts") <<<"$files" || [[ $? -eq 1 ]]
}

# parts_of_others TREE COMMIT FILES: C files that one beside FILES includes
parts_of_others() {
	local beside
	mapfile -t beside < <(sed -E 's,[^/]+$,*.c,; s,^,:(glob),' <<<"$3" | sort -u)
	{ run_git "$1" grep -oE '^#include "[^"/]+\.c"' "$2" -- "${beside[@]}" || [[ $? -eq 1 ]]; } |
		sed -E 's,^[^:]*:,,; s,[^/]+:#include "(.*)"$,\1,'
}

# touched_objects TREE COMMIT: the objects of all that the series touches up to there, but for tests.
touched_objects() {
	local tests
	tests=$(optional_objects "$@" | awk '$2 ~ /KUNIT/ { print $1 }')
	touched_code "$1" base "$2" | sed 's/c$/o/' | grep -vxFf <(echo "$tests")
}

# What no other architecture has, by a regular expression
declare -A own_code=(
	[arm64]='^drivers/iommu/(arm/|io-pgtable)'
	[x86_64]='^drivers/iommu/(amd|intel)/'
)

# code_of ARCH: of the files, or objects, on stdin those that kernels of ARCH have.
code_of() {
	local arch others=()
	for arch in "${!own_code[@]}"; do
		[[ $arch = "$1" ]] || others+=("${own_code[$arch]}")
	done
	grep -vE "$(IFS='|'; echo "${others[*]}")" || [[ $? -eq 1 ]]
}

# series_options TREE COMMIT: the options that the series adds, or has on in its tests.
series_options() {
	{
		run_git "$1" diff base "$2" -- '*Kconfig*' | sed -nE 's/^\+(menu)?config ([A-Z0-9_]+)$/\2/p'
		sed -nE 's/^CONFIG_([A-Z0-9_]+)=.*/\1/p' "$LANE_FOLDER/Kconfig.fragment"
	} | sort -u
}

# optional_objects TREE COMMIT: the objects that only one of these options builds, and that
# option, one per line; of the parts of an object that is one the same.
optional_objects() {
	local folders options
	options=$(series_options "$@" | paste -sd '|')
	mapfile -t folders < <(run_git "$1" diff --name-only base "$2" -- "${code[@]/%//*.c}" | sed 's,[^/]*$,Makefile,' | sort -u)
	[[ ${#folders[@]} -gt 0 ]] || return 0
	run_git "$1" grep -E '\.o\>' "$2" -- "${folders[@]}" | awk -v options="^($options)\$" '
		{
			sub(/^[^:]*:/, "")
			folder = line = $0
			sub(/Makefile:.*/, "", folder)
			sub(/^[^:]*:/, "", line)
			folders[NR] = folder
			lines[NR] = line
		}
		# Twice: a part may stand before its whole.
		END {
			for (pass = 1; pass <= 2; pass++)
				for (n = 1; n <= NR; n++)
					look(folders[n], lines[n])
		}
		function look(folder, line,    words, count, i, option, whole) {
			count = split(line, words)
			if (!continued)
				head = words[1]
			continued = line ~ /\\$/
			option = whole = head
			sub(/-(y|m|objs|\$\(.*)$/, "", whole)
			if (!sub(/^.*-\$\(CONFIG_/, "", option) || !sub(/\)$/, "", option) || option !~ options)
				option = of[folder whole ".o"]
			for (i = 1; option && i <= count; i++)
				if (words[i] ~ /\.o$/ && of[folder words[i]] == "") {
					of[folder words[i]] = option
					print folder words[i], option
				}
		}'
}
