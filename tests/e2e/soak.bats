#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# ya-runtime-vm over and over, in short; `make soak` does it in full.

load helper

setup_file()
{
	e2e_setup_file
	gvmkit build "$IMAGES/user.tar" -o "$IMAGES/user.gvmi" >/dev/null
}

setup() { e2e_setup; }
teardown() { assert_nothing_left; }

soak()
{
	/usr/bin/python3 "$E2E/../soak/soak.py" --prefix "$GVMKIT_TEST_PREFIX" --images "$IMAGES" --accel "$ACCEL" "$@"
}

@test "cycles of deploy, start, run and shutdown leave no process, file, mount or descriptor" {
	soak --cycles 11 --runs 0
}

@test "hundreds of runs in one VM leave no memory, descriptor or process, neither in the runtime nor in the guest" {
	soak --cycles 0 --runs 400
}
