# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034 # of and for those who source it
#
# KTAP, and what a script needs to run. It does without kselftest's ktap_helpers.sh,
# because this folder may be all that is copied to the machine under test. To be
# sourced from that folder.

ksft_skip=4
tests=0 failed=0

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
