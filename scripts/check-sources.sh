#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Check the rules that hold for every source file of this tree: who licenses it is said at its top, no file is
# longer than 800 lines, no marks of unfinished work are left.

set -euo pipefail
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bad=0
complain() { printf '%s\n' "$*"; bad=1; }

list()
{
	git ls-files -co --exclude-standard -- "$@" 2>/dev/null || find . -path './build*' -prune -o -type f -printf '%P\n'
}

while IFS= read -r file; do
	[ -f "$file" ] || continue
	case $file in
	*.c | *.h | *.S | *.sh | *.bash | *.bats | .ci/run | tests/run | bench/run) ;;
	*) continue ;;
	esac
	head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-3.0-or-later' ||
		complain "$file: no SPDX-License-Identifier at its top"
	lines=$(wc -l <"$file")
	[ "$lines" -le 800 ] || complain "$file: $lines lines; what are its parts?"
	# The words are put together here so that this file does not hold them.
	mark=$(grep -nwE 'TO''DO|FIX''ME|XX''X|HA''CK' "$file" | head -n 3) || true
	[ -z "$mark" ] || complain "$file: unfinished work: $mark"
done < <(list .)
exit "$bad"
