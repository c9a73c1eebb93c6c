#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# The world inside: what a program finds, whatever the image lacks or carries, and what it cannot reach.

load helper

setup_file() { e2e_setup_file; for i in base bare twisted; do gvmkit build "$IMAGES/$i.tar" -o "$IMAGES/$i.gvmi" >/dev/null; done; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

@test "an image with nothing but a program runs" {
	run --separate-stderr vm "$IMAGES/bare.gvmi" /bin/busybox sh -c 'cd /; /bin/busybox ls -d proc sys dev tmp etc run; /bin/busybox cat /proc/self/stat | /bin/busybox wc -l; /bin/busybox stat -c %a /tmp'
	assert_equal "$status" 0
	assert_contains "$output" proc
	assert_contains "$output" 1777
}

@test "an image of links and wrong types runs, with all its volumes" {
	run --separate-stderr vm "$IMAGES/twisted.gvmi" sh -c 'cat /etc/hosts | grep -c localhost; echo x >/dev/null && echo null; for v in /var/lib/x /tmp/deep/er /dev/vol /outside/v /run/v; do
		echo x >$v/file && echo ok; done; grep -c " 9p " /proc/mounts; ls -d /data/var/lib/x /data/v; test -L /etc/resolv.conf || echo regular'
	echo "$stderr"
	assert_equal "$status" 0
	assert_contains "$output" null
	assert_equal "$(grep -c '^ok$' <<<"$output")" 5
	assert_contains "$output" $'\n5\n'
	assert_contains "$output" regular
}

@test "devices, links and mounts are what programs expect" {
	run --separate-stderr vm "$IMAGES/base.gvmi" sh -c '
		for d in null zero full random urandom tty ptmx; do test -c /dev/$d || echo "no $d"; done
		for l in stdin stdout stderr fd; do test -L /dev/$l || echo "no link $l"; done
		test -d /dev/pts && test -d /dev/shm && test -d /dev/mqueue || echo "no directories"
		stat -c %a /tmp /dev/shm; stat -f -c %T /dev/shm; mount -t tmpfs none /mnt 2>/dev/null || { mkdir -p /mnt && mount -t tmpfs none /mnt; } && echo mounted
		echo via /dev/stdout >/dev/stdout; ls -ld / | cut -c1-10'
	echo "$output"
	assert_equal "$status" 0
	assert_equal "$output" $'1777\n1777\ntmpfs\nmounted\nvia /dev/stdout\ndrwxr-xr-x'
}

@test "processes see only their own world" {
	run --separate-stderr vm "$IMAGES/base.gvmi" sh -c '
		ls /proc | grep -c "^[0-9]"; cat /proc/1/comm; kill -9 1; echo alive
		ls /dev/vport* /dev/virtio-ports 2>/dev/null
		cut -d" " -f3 /proc/mounts | grep -vc "^\(overlay\|proc\|sysfs\|tmpfs\|devpts\|mqueue\|cgroup2\)$"'
	echo "$output"
	[ "${lines[0]}" -le 8 ]
	assert_contains "$output" alive
	assert_equal "${lines[-1]}" 0
}

@test "killing and remounting everything in sight leaves the session in order" {
	run --separate-stderr timeout 60 gvmkit run --accel "$ACCEL" "$IMAGES/base.gvmi" sh -c '
		trap "" TERM; kill -9 -1 2>/dev/null; umount -a -l 2>/dev/null; umount -l / 2>/dev/null
		for d in /dev/vport*; do echo garbage >$d; done 2>/dev/null; echo still here; exit 9'
	assert_equal "$status" 9
	assert_contains "$output" "still here"
}

@test "a chroot escape reaches nothing of the agent" {
	run --separate-stderr vm "$IMAGES/base.gvmi" sh -c '
		mkdir -p /esc && cat >/esc.sh <<-"X"
		ls /init /gvmkit /initramfs 2>/dev/null
		X
		mkdir -p /a/b; chroot /a/b /bin/true 2>/dev/null; cd /; ls ../../.. | sort | head -n 3; test ! -e /init && echo no init'
	assert_contains "$output" "no init"
}

@test "namespaces, shared memory, and everyday programs of the shell work" {
	run --separate-stderr vm "$IMAGES/base.gvmi" sh -c '
		unshare -Urm true && echo userns; unshare -pf true && echo pidns; unshare -n true && echo netns
		ping -c 1 -W 2 127.0.0.1 >/dev/null && echo ping; ping -c 1 -W 2 localhost >/dev/null && echo name
		mkfifo /tmp/f && echo fifo; (sleep 0.1; echo x >/tmp/f) & cat /tmp/f
		df /dev/shm >/dev/null && echo shm; date +%Y'
	echo "$output"
	for word in userns pidns netns ping name fifo shm; do assert_contains "$output" "$word"; done
	assert_equal "${lines[-1]}" "$(date +%Y)"
}

@test "the clock is right and random numbers differ from VM to VM" {
	now=$(date +%s)
	there=$(vm "$IMAGES/base.gvmi" date +%s)
	[ $((there - now)) -ge 0 ] && [ $((there - now)) -le 90 ]
	one=$(vm "$IMAGES/base.gvmi" head -c 16 /dev/urandom | od -An -tx1)
	two=$(vm "$IMAGES/base.gvmi" head -c 16 /dev/urandom | od -An -tx1)
	[ "$one" != "$two" ]
}

@test "a network is there only as loopback" {
	run --separate-stderr vm "$IMAGES/base.gvmi" ip -o link
	assert_equal "$(wc -l <<<"$output")" 1
	assert_contains "$output" "lo:"
	assert_contains "$output" UP
}

@test "memory that runs out ends the program, not the VM" {
	run --separate-stderr vm -m 128m "$IMAGES/base.gvmi" sh -c 'tail /dev/zero; echo after $?'
	assert_equal "$status" 0
	assert_contains "$output" "after 137"
}
