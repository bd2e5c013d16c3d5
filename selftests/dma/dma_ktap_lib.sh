# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034 # of and for those who source it
#
# KTAP, and what a script needs to run. It does without kselftest's ktap_helpers.sh,
# because this folder may be all that is copied to the machine under test. To be
# sourced from that folder.

ksft_skip=4
tests=0 failed=0
ktap_panic=/proc/sys/kernel/panic_on_warn
ktap_panics=
ktap_at_end=

skip()
{
	echo "1..0 # SKIP $1"
	exit $ksft_skip
}

# need [PROGRAM]...: to be run by root, and to have these
need()
{
	[ "$(id -u)" -eq 0 ] || skip "not root"
	for ktap_program; do
		[ -x "$ktap_program" ] || skip "$ktap_program is not built"
	done
}

# booted_with PATTERN: does a word of the command line begin so?
booted_with()
{
	grep -qE "(^| )$1" /proc/cmdline
}

# at_end COMMAND: however the script ends. A signal is the end, and a second one does
# not end what puts everything back. It replaces what was to be done before.
at_end()
{
	ktap_at_end=$1
	trap 'trap "" HUP INT TERM; $ktap_at_end' EXIT
	trap 'exit 1' HUP INT TERM
}

# Do not let the kernel panic if it warns. What is done at the end has to call
# panic_as_before: the program may set it itself, and be killed then.
keep_going()
{
	[ -f "$ktap_panic" ] || return 0
	ktap_panics=$(cat "$ktap_panic")
	[ "$ktap_panics" = 0 ] || echo 0 >"$ktap_panic"
}

panic_as_before()
{
	[ -z "$ktap_panics" ] || echo "$ktap_panics" >"$ktap_panic"
}

# test_that NAME COMMAND...
test_that()
{
	tests=$((tests + 1))
	ktap_name=$1
	shift
	if "$@"; then
		echo "ok $tests $ktap_name"
	else
		failed=$((failed + 1))
		echo "not ok $tests $ktap_name"
	fi
}
