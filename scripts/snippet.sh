# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# MAINTAINERS.snippet against the trees with the patches: source it after lib.sh.

# added_to_maintainers TREE: the lines that the patches add there
added_to_maintainers() { run_git "$1" diff -U0 base HEAD -- MAINTAINERS | sed -n 's/^+\([^+]\)/\1/p'; }

# snippet_lines TREE: those of the snippet, which has what all lanes add.  The patches add
# new sections, and lines to old ones; in the snippet these stand under the header of
# their section, which the base has already.
snippet_lines() {
	grep -vxF -f <(run_git "$1" show base:MAINTAINERS | grep '^[A-Z0-9].*[^:]$' | grep -v '^.:') \
		"$ROOT/MAINTAINERS.snippet" | grep .
}
