#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Check that every promise in docs/contract.md names tests that exist.
#
#   check-contract.sh [FILE]    default: docs/contract.md of this tree
#
# A promise is a row of a table with two columns, the promise and what shows it. What shows it is one or more of
#
#   `tests/e2e/run.bats: name of the test`            a @test "name of the test" in that file
#   `tests/unit/wire/test_frames.c: test_short`       a cmocka_unit_test...(test_short) there
#   `tests/fuzz/source/fuzz_tar.c`                    a fuzzer
#   `bench/run: cold start`                           a figure of the bench, by its name
#
# each in backquotes, with anything between them. Header rows and the line below them are no promises.

set -euo pipefail
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")/.."
file=${1:-docs/contract.md}
bad=0 promises=0

complain() { printf '%s:%d: %s\n' "$file" "$number" "$*" >&2; bad=1; }

check_reference()
{
	local path=${1%%: *} name=
	case $1 in *': '*) name=${1#*: } ;; esac
	if [ ! -f "$path" ]; then
		complain "there is no file $path"
		return
	fi
	case $path in
	tests/e2e/*.bats)
		grep -qF -- "@test \"$name\" {" "$path" || complain "$path has no test \"$name\"" ;;
	tests/unit/*.c)
		grep -o 'cmocka_unit_test[a-z_]*([A-Za-z0-9_]*' "$path" | sed 's/.*(//' | grep -qxF -- "$name" ||
			complain "$path has no test $name" ;;
	tests/fuzz/*.c)
		grep -q LLVMFuzzerTestOneInput "$path" || complain "$path is not a fuzzer" ;;
	bench/run)
		grep -qF -- "\"$name\"" "$path" || complain "$path has no figure \"$name\"" ;;
	*)
		complain "$path is no test" ;;
	esac
}

readonly quoted="\`[^\`]*\`"
number=0
previous=
[ -f "$file" ] || { echo "there is no $file" >&2; exit 1; }
while IFS= read -r line || [ -n "$line" ]; do
	number=$((number + 1))
	row=$previous
	previous=$line
	[[ $line == '|'* ]] || continue
	[[ $line =~ ^\|[-:\ |]+$ ]] && continue # below a header
	[[ $row == '|'* ]] || continue # a header
	promises=$((promises + 1))
	shown=${line%|*}
	shown=${shown##*|}
	references=$(grep -o "$quoted" <<<"$shown" | tr -d '`') || complain 'no test is named'
	while IFS= read -r reference; do
		[ -z "$reference" ] || check_reference "$reference"
	done <<<"$references"
done <"$file"
[ "$promises" -gt 0 ] || { echo "$file: no promise found" >&2; exit 1; }
echo "$promises promises"
exit "$bad"
