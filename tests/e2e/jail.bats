#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# What QEMU can reach of the host, seen from outside on running VMs, and tried by one that has gone over to the enemy.

load helper

setup_file()
{
	e2e_setup_file
	gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null
	gvmkit doctor --json >"$BATS_FILE_TMPDIR/doctor"
}

setup()
{
	e2e_setup
	mkdir volume readonly
	user=()
}

teardown()
{
	[ -z "${pid-}" ] || kill -TERM "$pid" 2>/dev/null || true
	[ -z "${pid-}" ] || wait "$pid" || true
	assert_nothing_left
}

complete_or_skip()
{
	[ "$(jq -r .jail_complete "$BATS_FILE_TMPDIR/doctor")" = true ] || skip "this host does not allow a complete jail: see gvmkit doctor"
}

# What follows is done by a user who owns nothing but a home.
as_ordinary_user()
{
	[ "$(id -u)" -eq 0 ] || skip "only root can become somebody else"
	chown -R 65534:65534 "$BATS_TEST_TMPDIR"
	user=(setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$PWD" XDG_CACHE_HOME="$PWD/cache")
}

# A VM with a writable and a read-only volume; $pid is its supervisor, $qemu its QEMU.
start_vm()
{
	"${user[@]}" gvmkit run --accel "$ACCEL" --require-jail -v ./volume:/v -v ./readonly:/r:ro "$IMAGES/base.gvmi" \
		sh -c 'echo text >/v/file; echo up; exec sleep 300' >out 2>err &
	pid=$!
	wait_until grep -q up out || { cat err; return 1; }
	qemu=
	for p in $(marked_processes); do
		case $(readlink "/proc/$p/exe") in */qemu-system-*) qemu=$p ;; esac
	done
	[ -n "$qemu" ]
}

status_of()
{
	sed -n "s/^$1:\t//p" "/proc/$qemu/status"
}

limit_of()
{
	sed -n "s/^$1  *\([^ ]*\)  *\([^ ]*\) .*/\1 \2/p" "/proc/$qemu/limits"
}

# $1: the capabilities it is to have.
assert_confined()
{
	for kind in user mnt pid net ipc uts; do
		[ "$(readlink "/proc/$qemu/ns/$kind")" != "$(readlink "/proc/self/ns/$kind")" ]
	done
	assert_equal "$(status_of NoNewPrivs)" 1
	assert_equal "$(status_of Seccomp)" 2
	[ "$(status_of Seccomp_filters)" -ge 2 ] # ours, and QEMU's own
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do assert_equal "$(status_of $set)" "$1"; done
	assert_equal "$(status_of NSpid | cut -f2)" 1
	assert_equal "$(limit_of 'Max core file size')" "0 0"
	assert_equal "$(limit_of 'Max locked memory')" "0 0"
	[ "$(limit_of 'Max open files' | cut -d' ' -f2)" -le 4096 ]
}

@test "QEMU is in a jail: namespaces, capabilities, no new privileges, two filters, limits" {
	complete_or_skip
	start_vm
	if [ "$(id -u)" -eq 0 ]; then
		assert_confined 000000000000000a # files of other owners in the volumes: CAP_DAC_OVERRIDE, CAP_FOWNER
	else
		assert_confined 0000000000000000
	fi
	assert_equal "$(cat volume/file)" text
	assert_equal "$(cat err)" ""
}

@test "an ordinary user's QEMU is in the same jail, without any capability" {
	complete_or_skip
	as_ordinary_user
	start_vm
	assert_confined 0000000000000000
	assert_equal "$(status_of Uid)" "$(printf '65534\t65534\t65534\t65534')"
	assert_equal "$(cat volume/file)" text
}

@test "root's QEMU has no capability without a directory to share" {
	complete_or_skip
	gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" sh -c 'echo up; exec sleep 300' >out 2>err &
	pid=$!
	wait_until grep -q up out
	for p in $(marked_processes); do
		case $(readlink "/proc/$p/exe") in */qemu-system-*) qemu=$p ;; esac
	done
	assert_confined 0000000000000000
}

@test "QEMU sees its own files and the volumes, and only the latter can be written" {
	complete_or_skip
	start_vm
	guest=$(jq -r .initramfs "$BATS_FILE_TMPDIR/doctor")
	while read -r _ _ _ _ place options _; do
		case $place in
		/share/*) ;;
		/ | /usr/lib | /usr/lib64 | /usr/local/lib | /lib | /lib64 | /etc/ld.so.cache | /dev/null | /dev/urandom | /dev/kvm | /proc/self/fd | \
			/usr/share/qemu | /usr/share/seabios | "$guest" | */bin/qemu-system-x86_64 | */share/qemu) [[ $options == ro,* ]] ;;
		*) echo "mounted there: $place" && false ;;
		esac
	done <"/proc/$qemu/mountinfo"
	assert_equal "$(grep -c ' /share/' "/proc/$qemu/mountinfo")" 2
	assert_equal "$(grep ' /share/' "/proc/$qemu/mountinfo" | grep -c ' rw,nosuid,nodev,noexec')" 1
	[ "$(id -u)" -eq 0 ] || return 0 # others cannot look inside
	root=/proc/$qemu/root
	assert_equal "$(ls "$root/etc" "$root/proc" "$root/proc/self" | xargs)" \
		"$root/etc: ld.so.cache $root/proc: self $root/proc/self: fd"
	for name in "$root"/*; do
		case ${name#"$root"} in /dev | /etc | /lib | /lib64 | /proc | /share | /usr | /"$(cut -d/ -f2 <<<"$guest")") ;; *) echo "$name" && false ;; esac
	done
}

@test "QEMU has no descriptor but what it works with" {
	complete_or_skip
	exec 7</etc/passwd 8>leak
	start_vm
	exec 7<&- 8>&-
	for fd in "/proc/$qemu/fd"/*; do
		case $(readlink "$fd") in
		"$IMAGES/base.gvmi" | /share/* | socket:* | pipe:* | anon_inode:* | /memfd:gvmkit-kernel* | /null | /dev/null | /dev/kvm) ;;
		*) ls -l "$fd" && false ;;
		esac
	done
}

# In a user namespace that gives no further ones.
without_namespaces()
{
	unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"' sh "$@"
}

@test "where the host gives no user namespaces the rest holds, with a note; with --require-jail nothing runs" {
	unshare -Ur true 2>/dev/null || skip "there is no namespace to try it in"
	run --separate-stderr without_namespaces gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" echo it runs
	assert_equal "$status" 0
	assert_equal "$output" "it runs"
	assert_contains "$stderr" "note: the jail is not complete"
	assert_contains "$stderr" "user namespace (No space left on device)"
	run --separate-stderr without_namespaces gvmkit run --require-jail --accel "$ACCEL" "$IMAGES/base.gvmi" echo it runs
	assert_equal "$status" 125
	assert_equal "$output" ""
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "user.max_user_namespaces"
	run --separate-stderr without_namespaces env GVMKIT_REQUIRE_JAIL=1 gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" echo it runs
	assert_equal "$status" 125
	run --separate-stderr without_namespaces gvmkit doctor
	assert_equal "$status" 0
	assert_contains "$output" "user namespace: No space left on device; set the sysctl user.max_user_namespaces"
	run --separate-stderr without_namespaces env GVMKIT_REQUIRE_JAIL=1 gvmkit doctor --json
	assert_equal "$status" 1
	assert_equal "$(jq -r '.jail["user namespace"]' <<<"$output")" "No space left on device"
	assert_equal "$(jq -r '.jail["system call filter"]' <<<"$output")" null
}

@test "ya-runtime-vm can be told to need the jail, too" {
	runtime=$(dirname "$(readlink -f "$(command -v gvmkit)")")/../lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm
	unshare -Ur true 2>/dev/null || skip "there is no namespace to try it in"
	run --separate-stderr without_namespaces env GVMKIT_ALLOW_TCG=1 "$runtime" --require-jail --accel "$ACCEL" test
	assert_equal "$status" 1
	assert_contains "$stderr" "a complete jail is required"
	run --separate-stderr without_namespaces env GVMKIT_ALLOW_TCG=1 GVMKIT_REQUIRE_JAIL=1 "$runtime" --accel "$ACCEL" test
	assert_equal "$status" 1
	complete_or_skip
	run --separate-stderr env GVMKIT_ALLOW_TCG=1 "$runtime" --require-jail --accel "$ACCEL" --test-timeout 60 test
	assert_equal "$status" 0
}

# attempt NAME OUTCOME: a QEMU that does it, and what gvmkit has to say of that.
attempt()
{
	mkdir -p "$1"
	cp "$captive" "$1/qemu-system-x86_64"
	run --separate-stderr env PATH="$PWD/$1:$PATH" timeout 60 gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" true
	assert_equal "$status" 125
	assert_contains "$stderr" "$2"
}

@test "a QEMU that has gone over to the enemy gets nowhere" {
	complete_or_skip
	captive=${GVMKIT_TEST_BUILD-}/tests/unit/jail/captive
	[ -x "$captive" ] || skip "the program of the test is not built"
	for end in mount fsopen unshare clone fork setns chroot "ptrace=$$" "memory=$$" keyctl bpf perf userfaultfd module setuid \
		"exec=%bin%sh" "execveat=%bin%sh" "exec=%lib64%ld-linux-x86-64.so.2"; do
		attempt "$end" "QEMU was killed by signal 31"
	done
	for unknown in "tcp=22" raw packet unix io_uring "kill=$$" pdeathsig rlimit tiocsti; do
		attempt "$unknown" "QEMU failed with status 3: ENOSYS"
	done
	for hidden in "open=%etc%shadow" "open=%etc%passwd" "open=%proc%$$%environ" "open=%proc%self%mem" "open=${IMAGES//\//%}%base.tar" "open=%root"; do
		attempt "$hidden" "QEMU failed with status 3: ENOENT"
	done
	attempt "write=%new" "QEMU failed with status 3: EROFS"
	attempt "open=%usr%lib" "QEMU failed with status 3: done" # and it was really there
}
