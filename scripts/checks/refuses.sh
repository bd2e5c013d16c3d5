# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# For checks of bad input: source it after lib.sh.  A refusal that does not come sets
# 'status' to 1; 'count' is how many were asked for.
status=0 count=0

# refuses LINE COMMAND...: COMMAND fails, and the last line it says has LINE, an extended
# regexp, in it.
refuses() {
	local line=$1 code=0
	shift
	count=$((count + 1))
	"$@" >"$OUT/stdout" 2>"$OUT/stderr" </dev/null || code=$?
	if [[ $code -eq 0 ]] || ! tail -n1 "$OUT/stderr" | grep -qE -- "$line"; then
		say "exit $code from '$*', its last line is not '$line':"
		cat "$OUT/stderr" >&2
		# shellcheck disable=SC2034 # the check's own exit status
		status=1
	fi
}
