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

# Page owner is what has mm/page_ext.c built before there is an option that does.  The
# form that IOMMU_DEBUG_PAGEALLOC has in mainline, before the series, needs DEBUG_PAGEALLOC.
before_the_series() {
	echo CONFIG_PAGE_OWNER=y
	! run_git "$tree" grep -q '^config IOMMU_DEBUG_PAGEALLOC$' base -- drivers/iommu/Kconfig ||
		echo CONFIG_DEBUG_PAGEALLOC=y
}

# driver_options ARCH: what drivers that patches touch do not build without
driver_options() {
	[[ $1 = arm64 ]] || printf '%s\n' CONFIG_I2C=y CONFIG_IGB=y
}

# all_options ARCH: of a step with the options of the series, and all that patches touch
all_options() {
	before_the_series
	driver_options "$1"
	[[ $1 != arm64 ]] || printf '%s\n' CONFIG_ARCH_QCOM=y CONFIG_ARM_SMMU_QCOM_DEBUG=y
	known_options
}

# fragments_of ARCH VARIANT FILE: set 'fragments'.  What depends on the step goes to FILE.
#   on           with the options of the series, tests as modules
#   y            the same, all of it built in
#   off          without the options
#   allnoconfig  nothing else, either
fragments_of() {
	fragments=()
	add_fragment base
	add_fragment "$1"
	add_fragment test
	fragments+=("$3")
	case $2 in
	on) all_options "$1" >"$3" ;;
	y) { all_options "$1" | sed 's/=m$/=y/'; echo CONFIG_KUNIT=y; } >"$3" ;;
	off) driver_options "$1" >"$3" ;;
	allnoconfig) : >"$3"; fragments=("$3") ;;
	*) die "no variant '$2': choose on, y, off or allnoconfig" ;;
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
# there, or between FROM and there.  arm64 has those that only it builds; 'off' is
# without those that only an option builds.
objects_of() {
	local arm='drivers/iommu/(arm/|io-pgtable)' skip='^$'
	[[ $2 = on ]] || skip='dma-guard|dma-bounce|dma-canary|dma-fault|dma-quarantine|dma-sample|iova-quarantine|iommu-stack|debug-objects|debug-pagealloc|kunit|page_ext|p2pdma|dma-buf|vfio'
	run_git "$tree" diff --name-only "${4:-base}" "$3" -- "${code[@]/%//*.c}" | built |
		sed 's/\.c$/.o/' |
		if [[ $1 = arm64 ]]; then grep -E "$arm"; else grep -Ev "$arm"; fi | grep -Ev "$skip"
}

# built: of the .c files on stdin those that are no part of another, as some tests are.
built() {
	local file
	while read -r file; do
		run_git "$tree" grep -qF "#include \"${file##*/}\"" HEAD -- "${file%/*}/*.c" || echo "$file"
	done
}
