# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared parts of the scripts: source it right after 'set -euo pipefail'.

shopt -s inherit_errexit
# What programs print is read here, so they say it in one language, and numbers have a
# point; make of a kernel drops LC_ALL.
export LC_ALL=C.UTF-8 LANG=C.UTF-8 LC_MESSAGES=C
unset LANGUAGE
# Where 'cd' and git go is up to what they are told here, not to the environment, as of a
# hook of git that starts a script.
unset CDPATH GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES \
	GIT_COMMON_DIR GIT_NAMESPACE GIT_PREFIX GIT_DEFAULT_HASH GIT_QUARANTINE_PATH
# Nor is what make says, of a make that starts a script.
unset MAKEFLAGS MFLAGS GNUMAKEFLAGS MAKELEVEL
PROG=${0##*/}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${DMA_GUARDS_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or DMA_GUARDS_CACHE}/.cache}/dma-guards}
# As make and compilers name what is in it
CACHE=$(realpath -m -- "$CACHE")
export DMA_GUARDS_CACHE=$CACHE
if [[ $CACHE$ROOT = *[[:space:]:,]* ]]; then
	echo "$PROG: make and QEMU do not take paths with a space, a colon or a comma: $ROOT, or the cache, $CACHE" >&2
	exit 1
fi

say() { printf '%s: %s\n' "$PROG" "$*" >&2; }
die() { say "$*"; exit 1; }

# The comment block at the top of a script, after the SPDX line, is its help.
usage() { awk 'NR > 2 && !/^#/ { exit } NR > 2 { sub(/^# ?/, ""); print }' "$0"; }
bad_option() { die "unknown option '$1': see $PROG --help"; }
# need_value OPTION [VALUE]: for options that take a value.
need_value() { [[ $# -ge 2 ]] || die "$1 needs a value: see $PROG --help"; }

# need_packages GROUP...: install what is missing of these groups of scripts/packages,
# once for a whole tree of scripts.
need_packages() {
	local group missing=()
	for group in base "$@"; do
		[[ " ${DMA_GUARDS_PACKAGES:-} " =~ \ ($group|checked)\  ]] || missing+=("$group")
	done
	[[ ${#missing[@]} -gt 0 ]] || return 0
	"$ROOT/scripts/setup" "${missing[@]}"
	export DMA_GUARDS_PACKAGES="${DMA_GUARDS_PACKAGES:-} ${missing[*]}"
}

# architectures: their names, one per line.
architectures() { (cd "$ROOT/scripts/arch" && printf '%s\n' *.sh | sed 's/\.sh$//'); }

# load_arch NAME: set the per-architecture variables, MAKE, with which to build, and
# MAKE_ARCH, what it is told; both depend on what is installed, so the packages come first.
load_arch() {
	[[ $1 =~ ^[a-z0-9_]+$ && -f $ROOT/scripts/arch/$1.sh ]] ||
		die "unknown architecture '$1': choose one of $(architectures | paste -sd ' ')"
	# shellcheck source=scripts/arch/x86_64.sh
	source "$ROOT/scripts/arch/$1.sh"
	CROSS=$CROSS_PREFIX
	[[ $(uname -m) != "$HOST_MACHINE" ]] || CROSS=
	need_packages build ${CROSS:+"$CROSS_PACKAGES"}
	# shellcheck disable=SC2034 # for the caller
	MAKE_ARCH=("ARCH=$KERNEL_ARCH" "CROSS_COMPILE=$CROSS")
	load_make
	# The kernel is the same whoever builds it and whenever.
	export KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:00 UTC' KBUILD_BUILD_USER=build KBUILD_BUILD_HOST=host
}

# load_make: set MAKE.  What it is told is told by the scripts alone: what is built with
# other options has no other name.  Compilers get their memory in huge pages where they need only ask.
# shellcheck disable=SC2034 # for the caller
load_make() {
	local source=$ROOT/scripts/huge-pages.c library=$CACHE/huge-pages.so new=$CACHE/huge-pages.so.$BASHPID
	unset LLVM LLVM_IAS KCFLAGS KAFLAGS KCPPFLAGS KBUILD_OUTPUT KBUILD_EXTRA_WARN W C V LOCALVERSION \
		CFLAGS CPPFLAGS LDFLAGS
	MAKE=(make)
	grep -qsF '[madvise]' /sys/kernel/mm/transparent_hugepage/enabled || return 0
	if [[ ! $library -nt $source ]]; then
		mkdir -p "$CACHE"
		gcc -O2 -shared -fPIC -o "$new" "$source" && mv "$new" "$library" || return 0
	fi
	# Beside what the user has there
	MAKE=(env "LD_PRELOAD=$library${LD_PRELOAD:+:$LD_PRELOAD}"
		"GLIBC_TUNABLES=glibc.malloc.hugetlb=1${GLIBC_TUNABLES:+:$GLIBC_TUNABLES}" make)
}

# load_iommu NAME: set IOMMU_ARCH and QEMU_MACHINE.
load_iommu() {
	[[ $1 =~ ^[a-z0-9-]+$ && -f $ROOT/scripts/iommu/$1.sh ]] ||
		die "unknown IOMMU '$1': choose one of $(cd "$ROOT/scripts/iommu" && printf '%s\n' *.sh | sed 's/\.sh$//' | paste -sd ' ')"
	# shellcheck source=scripts/iommu/vt-d.sh
	source "$ROOT/scripts/iommu/$1.sh"
}

# A lane is a kernel version and the series for it.  That of mainline is at the top, with
# its pin in scripts/; each other is a folder of lts/.  Nothing but what stands from here
# to load_lane knows that.

# lane_of_pin FILE: the lane that this linux.pin is of.
lane_of_pin() { sed -nE 's/^LINUX_VERSION=([0-9]+\.[0-9]+).*/\1/p' "$1"; }

# The lane of tools that need one and are told neither a lane nor a tree: that of 'series'.
# Its tests and what is measured of it have names without a lane.
DEFAULT_LANE=$(lane_of_pin "$ROOT/scripts/linux.pin")

# lanes: those that there are, mainline first, one per line.
lanes() {
	local pin
	echo "$DEFAULT_LANE"
	for pin in "$ROOT"/lts/*/linux.pin; do
		[[ ! -f $pin ]] || lane_of_pin "$pin"
	done
}

# must_be_lane LANE
must_be_lane() {
	grep -qxF -- "$1" <<<"$(lanes)" || die "no lane '$1': choose one of $(lanes | paste -sd ' ')"
}

# lane_folder LANE: where its patches/ and series are.
lane_folder() {
	must_be_lane "$1"
	if [[ $1 = "$DEFAULT_LANE" ]]; then echo "$ROOT"; else echo "$ROOT/lts/$1"; fi
}

# tree_lane TREE: the lane that is for the kernel version that TREE says it has.
tree_lane() {
	local version
	[[ -f $1/Makefile ]] || die "$1 is not a Linux source tree: it has no Makefile"
	version=$(sed -nE 's/^(VERSION|PATCHLEVEL) *= *([0-9]+)$/\2/p' "$1/Makefile" | paste -sd .)
	grep -qxF -- "$version" <<<"$(lanes)" ||
		die "$1 is Linux ${version:-of unknown version}, and there is no lane for it: choose one of $(lanes | paste -sd ' ') with --lane"
	echo "$version"
}

# source_name LANE: what names of folders have of the source that is built in them: the
# lane, and of which tree of the user's.
source_name() {
	local sum
	[[ -n ${LINUX:-} ]] || { echo "$1"; return; }
	sum=$(realpath -m -- "$LINUX" | sha256sum)
	echo "$1-${sum:0:6}"
}

# load_lane [TREE]: set LANE, LANE_FOLDER, LANE_SUFFIX, SOURCE_NAME, and the variables of the lane's
# pin.  The lane is that of --lane, of whoever started this, or else of the tree, TREE
# or $LINUX; without one it is the default.
load_lane() {
	local tree=${1:-${LINUX:-}} pin
	if [[ -z ${LANE:-} ]]; then
		LANE=$DEFAULT_LANE
		[[ -z $tree ]] || LANE=$(tree_lane "$tree")
	fi
	LANE_FOLDER=$(lane_folder "$LANE")
	pin=$LANE_FOLDER/linux.pin
	[[ $LANE_FOLDER != "$ROOT" ]] || pin=$ROOT/scripts/linux.pin
	# What the user sees of the default lane has names without it.
	LANE_SUFFIX=-$LANE
	[[ $LANE != "$DEFAULT_LANE" ]] || LANE_SUFFIX=
	# shellcheck disable=SC2034 # for the caller
	SOURCE_NAME=$(source_name "$LANE")
	# shellcheck source=scripts/linux.pin
	source "$pin"
	export LANE
}

# excepted_selftest FILE: has the lane this file of selftests/ otherwise, or not at all?
excepted_selftest() {
	local lane pattern
	while read -r lane pattern; do
		# shellcheck disable=SC2053 # a pattern
		[[ $lane != "$LANE" || $1 != $pattern ]] || return 0
	done <"$ROOT/scripts/selftests-exceptions"
	return 1
}

# add_fragment NAME [ARCH]: add scripts/configs/NAME.config to 'fragments', and what the lane
# and the architecture have to say to it, NAME-LANE.config and NAME-ARCH.config.
add_fragment() {
	local name
	for name in "$1" "$1-$LANE" ${2:+"$1-$2"}; do
		[[ $name != "$1" && ! -f $ROOT/scripts/configs/$name.config ]] ||
			fragments+=("$ROOT/scripts/configs/$name.config")
	done
}

# variants [ARCH]: the names in scripts/configs/variants, one per line; with ARCH those
# for it and the lane.  A word with an @ names the only architecture, or lane, that a
# variant is for.
variants() {
	awk -v arch="${1:+@$1}" -v lane="@${LANE:-}" '/^[a-z0-9]/ {
		for (i = 2; arch && i <= NF; i++)
			if ($i ~ /^@/ && $i != arch && $i != lane)
				next
		print $1 }' "$ROOT/scripts/configs/variants"
}

# results_folder LANE: where the figures that are kept of a lane are.
results_folder() {
	local folder=$ROOT/benchmarks/results
	[[ $1 = "$DEFAULT_LANE" ]] || folder+=/$1
	echo "$folder"
}

# lane_tree: the tree of the lane that load_lane has loaded, where none is named.
lane_tree() { echo "$ROOT/out/linux$LANE_SUFFIX"; }

# branch_lane TREE BRANCH: load the lane that scripts/apply made BRANCH of, or else that
# of TREE, unless another is insisted on.
branch_lane() {
	: "${LANE:=$(run_git "$1" config --default '' --get "branch.$2.dmaguardsLane")}"
	load_lane "$1"
}

# lock NAME: hold the cache's lock NAME until this process ends.
lock() {
	local fd
	mkdir -p "$CACHE/locks"
	exec {fd}>"$CACHE/locks/$1"
	! flock -n "$fd" || return 0
	say "waiting for another run that holds $CACHE/locks/$1"
	flock "$fd"
}

# What was found good is kept in the cache, by a name that is made of all that this depends
# on, so that a change of any of it is looked at anew.  DMA_GUARDS_FRESH=1 has all looked at.

# kept_file NAME: path of the file that is for the inputs on stdin, of what NAME finds.
kept_file() {
	mkdir -p "$CACHE/passed/$1"
	echo "$CACHE/passed/$1/$(sha256sum | cut -c1-40)"
}
# is_kept FILE: whether these inputs were found good.
is_kept() { [[ -z ${DMA_GUARDS_FRESH:-} && -f $1 ]]; }
# not_kept FILE: of the lines on stdin those that FILE, which has one for each input that was
# found good, has not.
not_kept() { if is_kept "$1"; then grep -vxFf "$1" || [[ $? -eq 1 ]]; else cat; fi; }

# module_folder BUILD DIR: DIR for modules outside of the tree.  kbuild takes no notice
# that those in there were built for another configuration: then they go.
module_folder() {
	cmp -s "$1/.config" "$2/config" || rm -rf "$2"
	mkdir -p "$2" && cp "$1/.config" "$2/config"
}

# need_space MB: refuse early when the cache's file system is too full.
need_space() {
	local free
	mkdir -p "$CACHE"
	free=$(df --output=avail -BM "$CACHE" | tail -n1 | tr -dc 0-9)
	[[ $free -ge $1 ]] ||
		die "only $free MB free in $CACHE, $1 MB needed: make room or set DMA_GUARDS_CACHE to a folder elsewhere"
}

# with_progress LABEL LOG COMMAND...: run COMMAND with its output in LOG, tell
# every $PROGRESS_SECONDS how far it is, and end it with everything it started when this
# script is interrupted.  Returns COMMAND's status.
PROGRESS_SECONDS=10
with_progress() {
	local label=$1 log=$2 pid='' never status=0 start=$SECONDS next=$((SECONDS + PROGRESS_SECONDS))
	trap 'kill -TERM -- "-${pid:-${!:-}}" || :; wait; exit 130' INT TERM HUP PIPE
	set -m
	"${@:3}" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	exec {never}<> <(:)	# where a read waits: a sleep would be a process each time
	while kill -0 "$pid" 2>/dev/null; do
		read -rt 0.2 -u "$never" || :
		[[ $SECONDS -ge $next ]] || continue
		next=$((SECONDS + PROGRESS_SECONDS))
		say "$label: $((SECONDS - start)) s, $(wc -l <"$log") lines: $(tail -n1 "$log" | tr -d '\r' | cut -c1-70)"
	done
	wait "$pid" || status=$?
	trap - INT TERM HUP PIPE
	exec {never}>&-
	return "$status"
}

# mirror SUITE: the URI of the configured Debian mirror that carries SUITE.
mirror() {
	command -v apt-get >/dev/null || return 1
	# shellcheck disable=SC2016 # apt-get itself expands these
	apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk -v suite="$1" '$1 == suite && !found { print $2; found = 1 } END { exit !found }'
}

# private_apt DIR ARCH TYPE SUITE: set APT_PRIVATE, options that make apt-get
# use a configuration of its own in DIR, with one source on the machine's mirror.
private_apt() {
	local dir=$1 arch=$2 type=$3 suite=$4 codename uri
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	uri=$(mirror "$codename") || return 1
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	printf '%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
		"$type" "$uri" "$suite" >"$dir/sources.list"
	# shellcheck disable=SC2034 # for the caller
	APT_PRIVATE=(-q -o "APT::Architecture=$arch" -o "APT::Architectures::=$arch"
		-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir" -o APT::Sandbox::User=root)
}

# fetch_deb PACKAGE DIR: the files of Debian's PACKAGE for the architecture of
# load_arch, in DIR, from the machine's mirror, checked by apt.  Nothing is installed.
fetch_deb() (
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	private_apt "$work" "$DEBIAN_ARCH" deb "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" || exit
	say "downloading $1 for $DEBIAN_ARCH"
	cd "$work" &&
		apt-get "${APT_PRIVATE[@]}" update >&2 &&
		apt-get "${APT_PRIVATE[@]}" download "$1:$DEBIAN_ARCH" >&2 &&
		dpkg-deb -x "$work/$1"_*.deb "$2"
)

# run_git DIR ...: git with nothing but the repository's own configuration, no
# hooks, no automatic gc.
run_git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null \
		git -C "$1" -c core.hooksPath=/dev/null -c gc.auto=0 -c maintenance.auto=false \
		-c commit.gpgSign=false -c safe.directory='*' -c advice.detachedHead=false "${@:2}"
}

# new_work_tree BASE TREE: make the work tree TREE of BASE, if there is none, whole or not at
# all.
new_work_tree() {
	[[ ! -d $2 ]] || return 0
	rm -rf "$2.new"	# of a run that was killed
	run_git "$1" worktree prune
	run_git "$1" worktree add -q --detach "$2.new" base
	run_git "$1" worktree move "$2.new" "$2"
}

# work_tree BASE NAME: path of the lane's work tree NAME of the base tree BASE, which lanes
# share if it is of LINUX=DIR.
work_tree() { echo "${1%/*}/$2${LINUX:+-$LANE}"; }

# forget_git TREE: of a git that was killed in TREE, which is the cache's and which nobody
# else uses now, for whoever calls this holds its lock.
forget_git() { rm -f "$(run_git "$1" rev-parse --path-format=absolute --git-path index.lock)"; }

# check_kernel_tree DIR: refuse what is not a kernel source tree.
check_kernel_tree() {
	[[ -d $1 ]] || die "$1 is not a folder: name a Linux source tree"
	[[ -f $1/Kconfig && -f $1/Kbuild && -f $1/Makefile ]] ||
		die "$1 is not a Linux source tree: Kconfig, Kbuild or Makefile is missing"
}

# check_git_tree DIR: refuse what is not the top of a git tree without changes.
check_git_tree() {
	local top
	[[ -d $1 ]] || die "$1 is not a folder: name a git tree"
	if ! top=$(run_git "$1" rev-parse --show-toplevel 2>&1) || [[ ! $top -ef $1 ]]; then
		die "$1 is not the top of a git tree: name one, or run 'git init', 'git add -f .' and 'git commit' there"
	fi
	run_git "$1" rev-parse --verify -q 'HEAD^{commit}' >/dev/null || die "$1 has no commit yet: run 'git add -f .' and 'git commit' there"
	[[ -z $(run_git "$1" --no-optional-locks status --porcelain --untracked-files=no) ]] ||
		die "$1 has uncommitted changes: commit or stash them first"
}

# series_patches DIR: paths of the patches that DIR/series names, at least one, one per
# line; DIR is $LANE_FOLDER, or what has the same in it.  Ends if one is missing: so take
# it by $(), whose status counts, not by <(), of which even 'wait' may tell a wrong one.
series_patches() {
	local name names
	[[ -f $1/series ]] || die "$1/series does not exist"
	names=$(sed -e 's/[[:space:]]*#.*//' -e '/^$/d' "$1/series")
	[[ -n $names ]] || die "the series is empty: $1/series names no patch"
	while read -r name; do
		[[ -s $1/patches/$name ]] || die "series names $name, which is not in $1/patches, or is empty there"
		printf '%s\n' "$1/patches/$name"
	done <<<"$names"
}

# files_of PATCH: those that it changes or makes.
files_of() { sed -n 's,^+++ b/,,p' "$1"; }

# touched_by PATCH...: files that these change, make, remove or rename, one per line.
touched_by() { sed -nE 's,^(diff --git a/.* b|--- a|\+\+\+ b)/,,p; s,^(rename|copy) (from|to) ,,p' "$@" | sort -u; }

# base_of TREE COMMIT PATCH...: what COMMIT has of the files that these patches touch, as
# 'git ls-tree' has it.
base_of() {
	local files
	mapfile -t files < <(touched_by "${@:3}")
	run_git "$1" ls-tree -r "$2" -- "${files[@]}"
}

# files_before TREE COMMIT DIR PATCH...: put those files into DIR as COMMIT has them.
files_before() {
	local files
	mapfile -t files < <(base_of "$1" "$2" "${@:4}" | cut -f2)
	mkdir -p "$3"
	run_git "$1" archive --format=tar "$2" -- "${files[@]}" | tar -x -C "$3"
}

# moved_from TREE COMMIT PATCH...: whether COMMIT lacks a file that is there before these.
moved_from() {
	local there
	there=$(base_of "$@" | cut -f2)
	awk 'NR == FNR { there[$0]; next }
		/^--- a\// && !(substr($0, 7) in there) { lacking = 1 }
		/^\+\+\+ b\// { there[substr($0, 7)] }
		/^rename to / { there[substr($0, 11)] }
		END { exit !lacking }' - "${@:3}" <<<"$there"
}

# mainline_commit PATCH: the commit of mainline that it names, if any.
mainline_commit() { sed -nE 's/^Mainline has this as commit ([0-9a-f]{12,40})\.$/\1/p' "$1"; }

# tree_has TREE PATCH COMMIT: whether TREE has what PATCH does, by its text, or by a
# commit up to COMMIT that is, or names, the one of mainline that PATCH names.
tree_has() {
	local id files
	! run_git "$1" apply --cached --reverse --check "$2" 2>/dev/null || return 0
	id=$(mainline_commit "$2")
	[[ -n $id ]] || return 1
	! run_git "$1" merge-base --is-ancestor "$id" "$3" 2>/dev/null || return 0
	mapfile -t files < <(files_of "$2")
	[[ -n $(run_git "$1" log -1 --format=%h -E --grep="commit ${id}[0-9a-f]* upstream" "$3" -- "${files[@]}") ]]
}

# am_series REPO TREE COMMIT [other]: apply the series of REPO on top of COMMIT in the
# object store of git tree TREE and print the resulting commit.  Changes neither TREE's
# files nor its branches.  With 'other', COMMIT may be another than
# the patches are of: what it has already is left out, and lines that have moved are
# found by a merge.
am_series() (
	work=$(mktemp -d) tree=$2 commit=$3 next=0 import=refs/dma-guards/am-$$-$BASHPID
	trap 'rm -rf "$work"' EXIT
	list=$(series_patches "$1")
	mapfile -t patches <<<"$list"
	# On a commit that has no files but those that the patches touch: with all of a
	# kernel git takes several times as long.
	# Objects of this go with it.
	GIT_ALTERNATE_OBJECT_DIRECTORIES=$(run_git "$tree" rev-parse --path-format=absolute --git-path objects)
	export GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_OBJECT_DIRECTORY=$work/objects
	mkdir "$work/objects"
	if [[ -n ${4:-} ]] && moved_from "$tree" "$commit" "${patches[@]}"; then
		few=$commit	# git follows a file that has moved where it sees all of them
	else
		export GIT_INDEX_FILE=$work/index
		base_of "$tree" "$commit" "${patches[@]}" | run_git "$tree" update-index --index-info
		few=$(run_git "$tree" write-tree)
		unset GIT_INDEX_FILE
		few=$(run_git "$tree" -c user.name=few -c user.email=few@localhost commit-tree -m few "$few")
	fi
	trap 'run_git "$tree" worktree remove --force "$work/tree"; run_git "$tree" update-ref -d "$import"; rm -rf "$work"' EXIT
	run_git "$tree" worktree add -q --detach --no-checkout "$work/tree" "$few"
	run_git "$work/tree" read-tree HEAD
	am=(run_git "$work/tree" am -q --patch-format=mbox --keep-non-patch --committer-date-is-author-date
		--whitespace=nowarn)	# whatever apply.whitespace is in TREE
	while [[ $next -lt ${#patches[@]} ]] && ! "${am[@]}" --no-3way "${patches[@]:next}" >"$work/log" 2>&1; do
		stopped=$(run_git "$work/tree" rev-parse --git-path rebase-apply/next)
		[[ -f $stopped ]] || die "git am does not begin: $(tail -n1 "$work/log"); nothing was changed"
		next=$((next + $(<"$stopped") - 1))
		patch=${patches[next]}
		if [[ -n ${4:-} ]]; then
			run_git "$work/tree" am --quit
			if tree_has "$work/tree" "$patch" "$commit"; then
				say "left out ${patch##*/}: the tree has it"
				next=$((next + 1))
				continue
			fi
			# A merge takes a file that is not there for one that was removed.
			mapfile -t files < <(files_of "$patch")
			run_git "$work/tree" checkout-index -f -q -- "${files[@]}" || :	# new ones are not there
			if "${am[@]}" -3 "$patch" >"$work/log" 2>&1; then
				say "merged ${patch##*/}: look at it"
				next=$((next + 1))
				continue
			fi
		fi
		sed '/^hint:/d; /^When you have/,$d; s/^/    /' "$work/log" >&2
		die "${patch##*/} does not apply: see above; nothing was changed"
	done
	tip=$(run_git "$work/tree" rev-parse HEAD)
	[[ $tip != "$few" ]] || { echo "$commit"; exit; }
	# The same commits on top of the whole
	run_git "$work/tree" fast-export --reencode=no --reference-excluded-parents "--refspec=HEAD:$import" "$few..HEAD" |
		LC_ALL=C sed "s,^from $few\$,from $commit," |
		(unset GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES; run_git "$tree" fast-import --quiet)
	unset GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
	run_git "$tree" rev-parse "$import"
)
