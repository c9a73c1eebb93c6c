#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit doctor` and the choice of the accelerator.

load helper

setup_file() { e2e_setup_file; gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

@test "doctor says what works and what does not, as text and as JSON" {
	run --separate-stderr gvmkit doctor
	assert_equal "$status" 0
	for word in qemu guest kvm memory disk; do assert_contains "$output" "$word"; done
	run --separate-stderr gvmkit doctor --json
	assert_equal "$(jq -r .can_run <<<"$output")" true
	[ -e "$(jq -r .kernel <<<"$output")" ]
}

@test "auto takes KVM only where our kernel boots under it, and says so where not" {
	boots=$(gvmkit doctor --json | jq -r .kvm_boots)
	run --separate-stderr timeout 120 gvmkit run "$IMAGES/base.gvmi" echo it runs
	assert_equal "$status" 0
	assert_equal "$output" "it runs"
	if [ "$boots" = true ]; then
		[[ $stderr != *TCG* ]]
	else
		assert_contains "$stderr" note
		run --separate-stderr gvmkit run --accel kvm "$IMAGES/base.gvmi" true
		assert_equal "$status" 125
		assert_one_line_error "$stderr"
	fi
}

@test "the verdict on KVM is kept: the second run does not probe again" {
	timeout 120 gvmkit run "$IMAGES/base.gvmi" true
	files=$(find "$XDG_CACHE_HOME/gvmkit" -newer "$IMAGES/base.gvmi" -name '*kvm*' | wc -l)
	[ ! -e /dev/kvm ] || [ "$files" -ge 1 ]
	before=$(find "$XDG_CACHE_HOME/gvmkit" -name '*kvm*' -printf '%p %T@ %i\n')
	timeout 60 gvmkit run "$IMAGES/base.gvmi" true
	assert_equal "$(find "$XDG_CACHE_HOME/gvmkit" -name '*kvm*' -printf '%p %T@ %i\n')" "$before"
}

@test "missing parts make doctor fail and say how to mend it" {
	run --separate-stderr env GVMKIT_GUEST_DIR=/nonexistent gvmkit doctor
	assert_equal "$status" 1
	assert_contains "$output" /nonexistent
	mkdir bin
	run --separate-stderr env PATH="$PWD/bin" "$(command -v gvmkit)" doctor
	assert_equal "$status" 1
	assert_contains "$output" qemu-system-x86
}
