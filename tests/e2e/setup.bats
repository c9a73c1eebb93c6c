#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Set-up: packages are installed when they are missing, without asking, and nothing is done when they are there.
# dpkg-query, apt-get, sudo and id are replaced here by programs that write down how they were called.

bats_require_minimum_version 1.5.0

setup() {
	top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	fakes=$BATS_TEST_TMPDIR/bin
	calls=$BATS_TEST_TMPDIR/calls
	mkdir "$fakes"
	: >"$calls"
	fake apt-get 'printf "apt-get %s (%s)\n" "$*" "${DEBIAN_FRONTEND-}" >>"$calls"'
	fake sudo 'printf "sudo\n" >>"$calls"; [ "$1" != -n ] || shift; exec "$@"'
	fake id 'echo 0'
}

fake() {
	printf '#!/bin/bash\ncalls=%q\n%s\n' "$calls" "$2" >"$fakes/$1"
	chmod +x "$fakes/$1"
}

# Run setup.sh where only the packages given are missing.
setup_missing() {
	local missing=$1
	shift
	fake dpkg-query "shift 2; for p in \"\$@\"; do [[ ' $missing ' == *\" \$p \"* ]] || echo \"installed \$p\"; done"
	PATH=$fakes:$PATH "$top/scripts/setup.sh" "$@" </dev/null
}

@test "nothing missing: apt-get is not called" {
	run -0 setup_missing '' build demo check bench
	[ -z "$output" ]
	[ ! -s "$calls" ]
}

@test "as root: the missing packages are installed without asking" {
	run -0 setup_missing 'meson bats' build check
	[ "$(wc -l <"$calls")" -eq 2 ]
	grep -qE '^apt-get .*update \(noninteractive\)$' "$calls"
	grep -qE '^apt-get .*-y .*install --no-install-recommends (bats meson|meson bats) \(noninteractive\)$' "$calls"
}

@test "only the groups asked for are installed" {
	run -0 setup_missing 'meson bats' build
	run -1 grep -q bats "$calls"
}

@test "as a user with sudo: through sudo" {
	fake id 'echo 1000'
	run -0 setup_missing 'meson' build
	grep -q '^sudo$' "$calls"
	grep -qE '^apt-get .*install .* meson \(noninteractive\)$' "$calls"
}

@test "as a user without sudo: one line that says what to do" {
	fake id 'echo 1000'
	rm "$fakes/sudo"
	# No other directory in PATH: the sudo of this machine must not be found either.
	for tool in bash sort sed comm; do
		ln -s "$(command -v "$tool")" "$fakes/$tool"
	done
	fake dpkg-query 'shift 2; for p in "$@"; do [ "$p" = meson ] || echo "installed $p"; done'
	run -1 env PATH="$fakes" "$BASH" "$top/scripts/setup.sh" build
	[ "${#lines[@]}" -eq 1 ]
	[[ $output == *meson*root*sudo*'apt-get install meson'* ]]
	[ ! -s "$calls" ]
}

@test "a sudo that refuses is told from one that is missing" {
	fake id 'echo 1000'
	fake sudo 'exit 1'
	run -1 setup_missing 'meson' build
	[[ $output == *'sudo does not let you'* ]]
}

@test "apt-get fails: said with the names of the packages" {
	fake apt-get 'exit 100'
	run -1 setup_missing 'meson bats' build check
	[[ $output == *'could not install'*meson* ]]
}

@test "the lists can be printed, and hold no name twice" {
	run -0 "$top/scripts/setup.sh" --print build demo check bench
	[ "$(sort -u <<<"$output")" = "$output" ]
	[[ $'\n'$output$'\n' == *$'\n'gcc$'\n'* && $'\n'$output$'\n' == *$'\n'qemu-system-x86$'\n'* ]]
	run -1 setup_missing 'meson bats' --missing build check
	[ "$output" = $'bats\nmeson' ]
	run -1 "$top/scripts/setup.sh" --print nonsense
	[[ $output == *nonsense* ]]
}
