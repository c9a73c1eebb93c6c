#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# A guest that lies in every field, and a QEMU that it has taken over: tests/unit/vm/fake_lies.c tells the lies, hostile.py knows what has to come of each.

load helper

setup_file()
{
	e2e_setup_file
	gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null
	RUNTIME=$(dirname "$(dirname "$(command -v gvmkit)")")/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm
	export RUNTIME ACCEL
	# The fake of the build that is tested; or, without one, our own.
	export FAKE=${GVMKIT_TEST_BUILD:-/nowhere}/tests/unit/vm/fake_qemu
	if [ ! -x "$FAKE" ]; then
		FAKE=$BATS_FILE_TMPDIR/fake_qemu
		cc -std=gnu17 -D_GNU_SOURCE -I "$E2E/../../src" -o "$FAKE" "$E2E"/../unit/vm/fake_{qemu,lies}.c "$E2E/../../src/wire/wire.c"
	fi
}

setup() { e2e_setup; }
teardown() { assert_nothing_left; }

@test "every lie of a guest ends gvmkit run with one clear error, or does no harm" {
	/usr/bin/python3 "$E2E/hostile.py" run "$FAKE"
}

@test "every lie of a guest ends the runtime with one clear error, or does no harm" {
	/usr/bin/python3 "$E2E/hostile.py" runtime "$FAKE"
}
