#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Check that each room below src/ includes headers only of the rooms that the drawing in docs/architecture.md lets it know: those in
# rows below its own, and, in its own row, those before an arrow that leads to it.

set -euo pipefail
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")/.."
declare -A row=() arrow=()
fence='```'
bad=0

complain() { printf '%s\n' "$*" >&2; bad=1; }

while read -r number words; do
	previous=
	from=
	for word in $words; do
		if [ "$word" = '->' ]; then
			from=$previous
			continue
		fi
		row[$word]=$number
		[ -z "$from" ] || arrow[$from:$word]=1
		from=
		previous=$word
	done
done < <(sed -n "/^$fence\$/,/^$fence\$/s/^ *\\([0-9]\\) \\+\\([a-z]\\)/\\1 \\2/p" docs/architecture.md)
[ ${#row[@]} -gt 0 ] || complain 'docs/architecture.md has no drawing of the rooms'

for directory in src/*/; do
	room=$(basename "$directory")
	if [ -z "${row[$room]-}" ]; then
		complain "docs/architecture.md does not draw the room $room"
		continue
	fi
	while read -r known; do
		[ "$known" != "$room" ] || continue
		if [ -z "${row[$known]-}" ]; then
			complain "src/$room includes headers of $known, which is no room"
		elif [ "${row[$known]}" -ge "${row[$room]}" ] && [ -z "${arrow[$known:$room]-}" ]; then
			complain "src/$room must not know $known: docs/architecture.md has it in row ${row[$known]}, and $room in row ${row[$room]}"
		fi
	done < <(find "$directory" -maxdepth 1 -name '*.[ch]' -exec grep -hoE '^#include "[a-z]+/' {} + | sed 's/.*"//; s#/##' | sort -u)
done
[ "$bad" -eq 0 ] && echo "${#row[@]} rooms"
exit "$bad"
