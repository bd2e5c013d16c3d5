# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The series patch by patch: for what builds each step.  Source it after lib.sh, and call
# load_lane before what is here.

# shellcheck source=scripts/touched.sh
source "$ROOT/scripts/touched.sh"

# steps_tree BASE [NAME]: set 'tree' to a work tree of its own, at the base, in which
# only what a patch touches is rewritten.
steps_tree() {
	tree=$(work_tree "$1" "${2:-steps}")
	lock "${2:-steps}-$SOURCE_NAME"
	new_work_tree "$1" "$tree"
	forget_git "$tree"
	run_git "$tree" checkout -q -f --detach base	# of a run that was ended in the middle, too
}

# The options of the series that the tree has at this step.
known_options() {
	local symbol line kconfig
	kconfig=$(run_git "$tree" diff --name-only base HEAD -- '*Kconfig*')
	[[ -n $kconfig ]] || return 0
	while read -r line; do
		symbol=${line#CONFIG_}
		symbol=${symbol%%=*}
		! (cd "$tree" && xargs grep -qw "config $symbol" <<<"$kconfig") || echo "$line"
	done < <(grep -h '^CONFIG_' "$LANE_FOLDER/Kconfig.fragment")
}

# all_options: those of the series at this step.  The form that IOMMU_DEBUG_PAGEALLOC has in
# mainline, before the series, needs DEBUG_PAGEALLOC.
all_options() {
	! run_git "$tree" grep -q '^config IOMMU_DEBUG_PAGEALLOC$' base -- drivers/iommu/Kconfig ||
		echo CONFIG_DEBUG_PAGEALLOC=y
	known_options
}

# fragments_of ARCH VARIANT FILE: set 'fragments'.  What depends on the step goes to FILE.
#   on           with the options of the series, tests as modules
#   y            the same, all of it built in
#   no-tests     with the options of the series, without KUnit
#   off          without the options
#   code         the same, to compare code
#   allnoconfig  nothing else, either
fragments_of() {
	fragments=()
	add_fragment base
	add_fragment "$1"
	add_fragment test
	add_fragment touched "$1"
	fragments+=("$3")
	: >"$3"
	case $2 in
	on) all_options >"$3" ;;
	y) { all_options | sed 's/=m$/=y/'; echo CONFIG_KUNIT=y; } >"$3" ;;
	no-tests)
		all_options >"$3"
		{ grep -hv KUNIT "${fragments[@]}"; echo '# CONFIG_KUNIT is not set'; } >"$3.no-tests"
		fragments=("$3.no-tests")
		;;
	off) ;;
	code) add_fragment off; add_fragment code ;;
	allnoconfig) fragments=("$3") ;;
	*) die "no variant '$2': choose on, y, no-tests, off, code or allnoconfig" ;;
	esac
}

# configure_if_changed ARCH BUILD: what takes seconds, for what may give another
# configuration: other fragments, another Kconfig.
configure_if_changed() {
	local key
	key=$({
		cat "${fragments[@]}"
		run_git "$tree" ls-tree -r HEAD | grep 'Kconfig'
	} | sha256sum)
	[[ ! -f $2/configured || $(<"$2/configured") != "$key" ]] || return 0
	"$ROOT/scripts/configure" --tree "$tree" --build "$2" --arch "$1" "${fragments[@]}" >&2 &&
		"${MAKE[@]}" -s -C "$tree" "O=$2" "${MAKE_ARCH[@]}" "-j$(nproc)" prepare >&2 &&
		echo "$key" >"$2/configured"
}

# compilers N: how many each of N builds may start that go on at the same time
compilers() {
	local cpus each
	cpus=$(nproc)
	each=$(((cpus + $1 - 1) / $1 + 1))
	echo $((each < cpus ? each : cpus))
}

# objects_of ARCH VARIANT COMMIT [FROM]: of the files that the series has touched up to
# COMMIT, or between FROM and there, those that ARCH has; 'off' and 'code' are without those
# that only an option builds, 'no-tests' without those that only a test is.
objects_of() {
	local optional=''
	[[ $2 = on ]] || optional=$(optional_objects "$tree" "$3")
	[[ $2 != no-tests ]] || optional=$(grep KUNIT <<<"$optional" || [[ $? -eq 1 ]])
	optional=$(cut -d' ' -f1 <<<"$optional")
	touched_code "$tree" "${4:-base}" "$3" | code_of "$1" | sed 's/c$/o/' |
		{ grep -vxFf <(echo "$optional") || [[ $? -eq 1 ]]; }
}

# objects_besides ARCH VARIANT COMMIT [FROM]: of these those that x86_64 does not have, and what
# reads the tables of ACPI that it does not have.
objects_besides() {
	local objects files
	objects=$(objects_of "$@")
	[[ -n $objects ]] || return 0
	mapfile -t files <<<"${objects//.o/.c}"
	{
		grep -E "${own_code[$1]}" <<<"$objects" || [[ $? -eq 1 ]]
		{ run_git "$tree" grep -l 'linux/acpi_iort\.h' "$3" -- "${files[@]}" || [[ $? -eq 1 ]]; } |
			sed 's,^[^:]*:,,; s/c$/o/'
	} | sort -u
}

# there_at COMMIT: of the objects on stdin those whose source it has
there_at() {
	local files
	mapfile -t files < <(sed 's/o$/c/')
	[[ ${#files[@]} -eq 0 ]] || run_git "$tree" ls-tree -r --name-only "$1" -- "${files[@]}" | sed 's/c$/o/'
}

# commit_of DIR TOPIC...: the base with these topics and what they need; DIR has them then.
# For topics.sh.
commit_of() {
	[[ -d $1 ]] || topic_repository "$@"
	GIT_COMMITTER_NAME=series GIT_COMMITTER_EMAIL=series@localhost am_series "$1" "$tree" base
}

# make_objects BUILD OBJECT...
make_objects() {
	"${MAKE[@]}" -s -C "$tree" "O=$1" "${MAKE_ARCH[@]}" "-j$(nproc)" "${@:2}"
}

# compile_to DIR ARCH BUILD OBJECT...: of what is checked out in 'tree', as 'fragments' have
# it; copies of the objects go to DIR.
compile_to() {
	local dir=$1 arch=$2 build=$3 object log=$1.log
	shift 3
	mkdir -p "$dir" "$build"
	configure_if_changed "$arch" "$build" || die "$arch ${dir##*/}: see above"
	with_progress "$arch ${dir##*/}" "$log" make_objects "$build" "$@" ||
		{ tail -n 20 "$log" >&2; die "build of $arch ${dir##*/} failed: see $log"; }
	for object; do
		install -D "$build/$object" "$dir/$object"
	done
}
