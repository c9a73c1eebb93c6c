#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Whoever dies, nothing is left: no process, no file, within a second.

load helper

setup_file() { e2e_setup_file; gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null; gvmkit build "$IMAGES/user.tar" -o "$IMAGES/user.gvmi" >/dev/null; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# Starts a VM with volumes that says "up" and then sleeps; $pid is the supervisor.
start_vm()
{
	gvmkit run --accel "$ACCEL" --entrypoint sh "$IMAGES/user.gvmi" -c 'echo text >/data/file; echo up; sleep 300' >out 2>err &
	pid=$!
	wait_until grep -q up out
}

qemu_pid()
{
	local p
	for p in $(marked_processes); do
		case $(readlink "/proc/$p/exe") in */qemu-system-*) echo "$p" ;; esac
	done
}

# named NAME: the process of ours that calls itself so.
named()
{
	local p
	for p in $(marked_processes); do
		[ "$(cat "/proc/$p/comm")" != "$1" ] || echo "$p"
	done
}

finish()
{
	status=0
	wait "$pid" || status=$?
}

@test "SIGKILL of the supervisor ends everything" {
	start_vm
	kill -KILL "$pid"
	finish
	assert_nothing_left
}

@test "SIGKILL of the supervisor during the boot ends everything" {
	for wait in 0.01 0.05 0.1 0.2 0.4 0.7; do
		gvmkit run --accel "$ACCEL" --entrypoint sleep "$IMAGES/user.gvmi" 60 >/dev/null 2>&1 &
		pid=$!
		sleep $wait
		kill -KILL "$pid"
		finish
		assert_nothing_left
	done
}

@test "SIGKILL of QEMU is told and ends everything" {
	start_vm
	kill -KILL "$(qemu_pid)"
	finish
	assert_equal "$status" 125
	assert_one_line_error "$(cat err)"
	assert_nothing_left
}

@test "SIGKILL of the guardian is told and ends everything" {
	start_vm
	kill -KILL "$(named gvmkit-guardian)"
	finish
	assert_equal "$status" 125
	assert_one_line_error "$(cat err)"
	assert_nothing_left
}

@test "SIGKILL of the volumes' keeper leaves nothing in the end" {
	start_vm
	kill -KILL "$(named gvmkit-keeper)"
	kill -TERM "$pid"
	finish
	assert_nothing_left
}

@test "the guest's own end is told and ends everything" {
	run --separate-stderr timeout 60 gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" sh -c 'echo c >/proc/sysrq-trigger; poweroff -f; reboot -f; sleep 60'
	[ "$status" -ne 0 ] && [ "$status" -ne 124 ]
}

@test "SIGTERM reaches the command, whose status comes back" {
	gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" sh -c 'trap "echo got it; exit 6" TERM; echo up; while :; do sleep 0.1; done' >out 2>err &
	pid=$!
	wait_until grep -q up out
	kill -TERM "$pid"
	finish
	assert_equal "$status" 6
	assert_contains "$(cat out)" "got it"
}

@test "Ctrl-C ends the command with 130, a second one whatever it does" {
	start_vm
	kill -INT "$pid"
	finish
	assert_equal "$status" 130
	gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" sh -c 'trap "" INT; echo up; while :; do sleep 1; done' >out 2>err &
	pid=$!
	wait_until grep -q up out
	kill -INT "$pid"
	sleep 0.3
	kill -INT "$pid"
	finish
	assert_equal "$status" 130
}

@test "a frozen QEMU or guardian holds nothing up" {
	start_vm
	kill -STOP "$(qemu_pid)"
	kill -INT "$pid"
	sleep 0.3
	kill -INT "$pid"
	finish
	assert_equal "$status" 130
	assert_nothing_left
	start_vm
	kill -STOP "$(named gvmkit-guardian)"
	kill -INT "$pid"
	finish
	assert_equal "$status" 130
	assert_nothing_left
}

@test "Ctrl-C during the boot is clean" {
	for wait in 0.05 0.2 0.5; do
		gvmkit run --accel "$ACCEL" --entrypoint sleep "$IMAGES/user.gvmi" 60 >out 2>err &
		pid=$!
		sleep $wait
		kill -INT "$pid"
		finish
		assert_equal "$status" 130
		assert_nothing_left
	done
}

@test "missing QEMU is said, with what to install" {
	mkdir bin
	for tool in sh ls; do ln -s "$(command -v $tool)" bin/; done
	run --separate-stderr env PATH="$PWD/bin" "$(command -v gvmkit)" run "$IMAGES/base.gvmi" true
	assert_equal "$status" 125
	assert_one_line_error "$stderr"
	assert_contains "$stderr" qemu-system-x86
}

@test "more memory than there is is refused, and said" {
	run --separate-stderr bash -c "ulimit -v 4000000; timeout 60 gvmkit run --accel $ACCEL -m 64g $IMAGES/base.gvmi true"
	assert_equal "$status" 125
	assert_one_line_error "$stderr"
	assert_contains "$stderr" emory
}

@test "a place for volumes that cannot be written is said" {
	run --separate-stderr env TMPDIR=/proc gvmkit run --accel "$ACCEL" "$IMAGES/user.gvmi"
	assert_equal "$status" 125
	assert_one_line_error "$stderr"
	assert_contains "$stderr" TMPDIR
}

@test "a guest that does not boot is told with the last words of its console" {
	guest=$(dirname "$(readlink -f "$(command -v gvmkit)")")/../lib/gvmkit
	mkdir guest
	cp "$guest"/* guest/
	printf 'no cpio at all, but long enough to be looked at ........................................................' >guest/initramfs.cpio
	run --separate-stderr timeout 100 env GVMKIT_GUEST_DIR="$PWD/guest" gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" true
	echo "$stderr"
	assert_equal "$status" 125
	assert_contains "$stderr" panic
}

@test "many at once do not disturb one another" {
	for i in 1 2 3 4; do
		gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" sh -c "sleep 0.$i; echo $i; exit $i" >out$i 2>/dev/null &
		pids[i]=$!
	done
	for i in 1 2 3 4; do
		status=0
		wait "${pids[i]}" || status=$?
		assert_equal "$status" "$i"
		assert_equal "$(cat out$i)" "$i"
	done
}
