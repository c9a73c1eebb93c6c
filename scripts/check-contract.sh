#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Check that every promise in docs/contract.md and every case in docs/edge-cases.md names tests that exist.
#
#   check-contract.sh [FILE...]    default: both of this tree
#
# A promise is a row of a table; its last column says what shows it, with one or more of
#
#   tests/e2e/run.bats: "name of the test"          a @test "name of the test" in that file
#   tests/unit/wire/test_frames.c: "test_short"     a cmocka_unit_test...(test_short) there
#   tests/unit/source/test_merge.c: "a whiteout"    a string there that names a case of a table
#   tests/fuzz/source/fuzz_tar.c                    a fuzzer
#   bench/run: "cold start"                         a figure of the bench, by its name
#
# or "not applicable: " and the reason. Header rows and the line below them are no promises.

set -euo pipefail
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bad=0

complain() { printf '%s:%d: %s\n' "$file" "$number" "$*" >&2; bad=1; }

# check_reference PATH NAME
check_reference()
{
	local path=$1 name=$2
	if [ ! -f "$path" ]; then
		complain "there is no file $path"
		return
	fi
	case $path in
	tests/e2e/*.bats)
		grep -qxF -- "@test \"$name\" {" "$path" || complain "$path has no test \"$name\"" ;;
	tests/unit/*.c)
		grep -oE '(cmocka_unit_test[a-z_]*|TEST)\([A-Za-z0-9_]*' "$path" | sed 's/.*(//' | grep -qxF -- "$name" ||
			grep -qF -- "\"$name\"" "$path" || complain "$path has no test \"$name\"" ;;
	tests/fuzz/*.c)
		grep -q LLVMFuzzerTestOneInput "$path" || complain "$path is not a fuzzer" ;;
	bench/run)
		grep -qF -- "\"$name\"" "$path" || complain "$path has no figure \"$name\"" ;;
	*)
		complain "$path is no test" ;;
	esac
}

readonly reference='((tests|bench)/[A-Za-z0-9_./-]+)(: "([^"]*)")?(.*)'

check_file()
{
	local file=$1 promises=0 number=0 previous='' line row shown
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
		shown=${shown##*'| '}
		[[ $shown != 'not applicable: '?* ]] || continue
		[[ $shown =~ $reference ]] || complain 'no test is named'
		while [[ $shown =~ $reference ]]; do
			shown=${BASH_REMATCH[5]}
			check_reference "${BASH_REMATCH[1]}" "${BASH_REMATCH[4]}"
		done
	done <"$file"
	[ "$promises" -gt 0 ] || { echo "$file: no promise found" >&2; exit 1; }
	echo "$file: $promises rows"
}

[ $# -gt 0 ] || set -- docs/contract.md docs/edge-cases.md
for name; do check_file "$name"; done
exit "$bad"
