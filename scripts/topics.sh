# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The parts of the series that can be posted on their own: source it after lib.sh, and
# call load_lane before what is here.
#
# A line of 'series' begins a topic, to which the patches up to the next such line
# belong; what it needs stands before it:
#
#   # topic NAME: needs NAME, NAME
#   # topic NAME: needs nothing

# topics: the topics in the order of series, each with what it needs, one per line.
topics() {
	local line='^# topic ([a-z0-9-]+): needs ([a-z0-9-]+(, [a-z0-9-]+)*)$' topic needs
	while read -r topic; do
		[[ $topic =~ $line ]] || die "series: not '# topic NAME: needs NAME, NAME': $topic"
		needs=${BASH_REMATCH[2]//,/}
		[[ $needs != nothing ]] || needs=
		printf '%s\n' "${BASH_REMATCH[1]}${needs:+ $needs}"
	done < <(grep '^# topic' "$LANE_FOLDER/series")
}

# with_needs NAME...: the topics that these stand on, and these, in the order of series.
with_needs() {
	local all name
	all=$(topics)
	for name; do
		grep -qE "^$name( |\$)" <<<"$all" ||
			die "no topic '$name' in the series of lane $LANE: choose one of$(cut -d' ' -f1 <<<"$all" | sed 's/^/ /' | tr -d '\n')"
	done
	tac <<<"$all" | awk -v want="$*" '
		BEGIN { split(want, names, " "); for (i in names) wanted[names[i]] = 1 }
		$1 in wanted { for (i = 2; i <= NF; i++) wanted[$i] = 1; print $1 }' | tac
}

# patches_of NAME...: file names of the patches of these topics, in the order of series.
patches_of() {
	awk -v names="$*" '
		BEGIN { split(names, list, " "); for (i in list) wanted[list[i]] = 1 }
		/^# topic / { on = substr($3, 1, length($3) - 1) in wanted; next }
		/^#/ || !NF { next }
		on { print $1 }' "$LANE_FOLDER/series"
}

# letter_of [TOPIC]: the file with the cover letter of a topic, or of the series.  A lane
# has its own, where the same topic has other patches, in docs/cover-letters/LANE.
letter_of() {
	local own=$ROOT/docs/cover-letters/$LANE/${1:-series} shared=$ROOT/docs/cover-letter.md
	[[ $# -eq 0 ]] || shared=$ROOT/docs/cover-letters/$1
	if [[ -f $own ]]; then echo "$own"; else echo "$shared"; fi
}

# change_id [TOPIC]: that of its cover letter, by which b4 knows later postings
change_id() {
	local letter id
	letter=$(letter_of ${1:+"$1"})
	[[ -f $letter ]] || die "no cover letter ${letter#"$ROOT/"}: write it"
	id=$(sed -n 's/^change-id: \([a-z0-9-]*\)$/\1/p' "$letter")
	[[ -n $id && $id != *$'\n'* ]] || die "${letter#"$ROOT/"} has no line 'change-id: DATE-NAME-HASH', or more than one"
	echo "$id"
}

# patches_repository DIR PATCH...: make DIR what am_series takes for the repository of a
# series that is these patches.
patches_repository() {
	mkdir -p "$1"
	printf '%s\n' "${@:2}" >"$1/series"
	ln -sfn "$LANE_FOLDER/patches" "$1/patches"
}

# topic_repository DIR NAME...: the same of these topics and what they need.
topic_repository() {
	local names patches
	names=$(with_needs "${@:2}")
	# shellcheck disable=SC2086 # names
	mapfile -t patches < <(patches_of $names)
	patches_repository "$1" "${patches[@]}"
}
