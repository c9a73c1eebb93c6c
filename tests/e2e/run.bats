#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit run`: what goes in and what comes out.

load helper

setup_file() { e2e_setup_file; gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

@test "a command's output and status come back" {
	run --separate-stderr vm "$IMAGES/base.gvmi" sh -c 'echo out; echo err >&2; exit 7'
	assert_equal "$status" 7
	assert_equal "$output" out
	assert_contains "$stderr" err
}

@test "without a command CMD runs" {
	run --separate-stderr vm "$IMAGES/base.gvmi"
	assert_equal "$status" 0
	assert_equal "$output" "default command"
}

@test "every exit status from 0 to 255 comes back as it is" {
	for code in 0 1 2 124 125 126 127 128 255; do
		run -$code vm "$IMAGES/base.gvmi" sh -c "exit $code"
		assert_equal "$status" "$code"
	done
}

@test "a command ended by signal N gives 128+N" {
	run vm "$IMAGES/base.gvmi" sh -c 'kill -9 $$'
	assert_equal "$status" 137
	run vm "$IMAGES/base.gvmi" sh -c 'kill -SEGV $$'
	assert_equal "$status" 139
}

@test "a missing program is status 127 and says so" {
	run -127 --separate-stderr vm "$IMAGES/base.gvmi" no-such-program
	assert_one_line_error "$stderr"
	assert_contains "$stderr" no-such-program
	assert_contains "$stderr" "No such file"
}

@test "a program that cannot be executed is status 126 and says why" {
	run --separate-stderr vm "$IMAGES/base.gvmi" /bin/notexec
	assert_equal "$status" 126
	assert_contains "$stderr" "Permission denied"
	run --separate-stderr vm "$IMAGES/base.gvmi" /bin/noformat
	assert_equal "$status" 126
	assert_contains "$stderr" "Exec format error"
}

@test "all output arrives before the end, however fast the program ends" {
	for i in 1 2 3; do
		vm "$IMAGES/base.gvmi" seq 1 100000 >out
		seq 1 100000 | cmp - out
	done
}

@test "a hundred megabytes of output arrive whole and in order" {
	vm "$IMAGES/base.gvmi" seq 1 13000000 | sha256sum >got
	seq 1 13000000 | sha256sum >want
	cmp got want
}

@test "stdout and stderr stay apart" {
	vm "$IMAGES/base.gvmi" sh -c 'seq 1 20000; seq 20001 40000 >&2' >out 2>err
	seq 1 20000 | cmp - out
	seq 20001 40000 >want
	grep -v '^gvmkit: note: ' err | cmp - want
}

@test "a background child that keeps the output open does not delay the end" {
	start=$SECONDS
	run vm "$IMAGES/base.gvmi" sh -c 'sleep 300 & echo done'
	assert_equal "$status" 0
	assert_equal "$output" done
	[ $((SECONDS - start)) -lt 60 ]
}

@test "a reader that goes away ends the command, with SIGPIPE's status and without a word" {
	run --separate-stderr timeout 60 bash -c "gvmkit run --accel $ACCEL $IMAGES/base.gvmi yes | head -n 3; exit \${PIPESTATUS[0]}"
	assert_equal "$status" 141
	assert_equal "$output" $'y\ny\ny'
	assert_equal "$stderr" ""
}

@test "a full disk under our output is an error" {
	run --separate-stderr bash -c "gvmkit run --accel $ACCEL $IMAGES/base.gvmi seq 1 100000 >/dev/full"
	assert_equal "$status" 125
	assert_contains "$stderr" "No space left"
}

@test "stdin is closed without -i and passed with it" {
	run vm "$IMAGES/base.gvmi" cat </etc/passwd
	assert_equal "$status" 0
	assert_equal "$output" ""
	head -c 5000000 /dev/urandom >data
	vm -i "$IMAGES/base.gvmi" sha256sum <data | cut -d' ' -f1 >got
	sha256sum <data | cut -d' ' -f1 | cmp - got
	run bash -c "echo through a pipe | gvmkit run --accel $ACCEL -i $IMAGES/base.gvmi cat"
	assert_equal "$output" "through a pipe"
}

@test "a command that does not read its stdin still ends" {
	run timeout 60 bash -c "yes | gvmkit run --accel $ACCEL -i $IMAGES/base.gvmi true"
	assert_equal "$status" 0
}

@test "ENV of the image and -e apply, -e NAME takes our value, PATH HOME HOSTNAME are there" {
	export FROM_HERE=ours
	run --separate-stderr vm -e GREETING=bye -e NEW=x=y -e FROM_HERE -e NOT_SET_HERE "$IMAGES/base.gvmi" env
	assert_contains "$output" "GREETING=bye"
	assert_contains "$output" "NEW=x=y"
	assert_contains "$output" "FROM_HERE=ours"
	assert_contains "$output" "HOME=/root"
	assert_contains "$output" "HOSTNAME=gvmkit"
	assert_contains "$output" "PATH=/usr/local/sbin"
	[[ $output != *NOT_SET_HERE* ]]
	[[ $output != *TERM=* ]]
}

@test "USER, WORKDIR, ENTRYPOINT and CMD of the image apply" {
	run --separate-stderr vm "$IMAGES/user.tar"
	assert_equal "$status" 0
	assert_contains "${lines[0]}" "uid=1000(alice) gid=1000(alice)"
	assert_contains "${lines[0]}" "50(staff)"
	assert_contains "${lines[0]}" "29(audio)"
	assert_equal "${lines[1]}" /home/alice/made/later
	assert_equal "${lines[2]}" "args: zero one two words"
}

@test "arguments replace CMD, and -u -w --entrypoint replace what the image says" {
	run --separate-stderr vm -u 1001:50 -w /tmp "$IMAGES/user.tar" three
	assert_contains "${lines[0]}" "uid=1001(bob) gid=50(staff)"
	assert_equal "${lines[1]}" /tmp
	assert_equal "${lines[2]}" "args: zero three"
	run --separate-stderr vm -u 4242 --entrypoint id "$IMAGES/user.tar"
	assert_contains "$output" "uid=4242 gid=0"
	run --separate-stderr vm -u nobody-here --entrypoint id "$IMAGES/user.tar"
	assert_equal "$status" 125
	assert_contains "$stderr" nobody-here
}

@test "VOLUMEs are empty directories of the host that the image's user can write" {
	run --separate-stderr vm --entrypoint sh "$IMAGES/user.tar" -c 'for v in /data /data/inner /srv/v; do
		grep -q " $v 9p " /proc/mounts || echo "$v is not a volume"; [ "$(ls -A $v | grep -v inner)" = "" ] || echo "$v is not empty"
		echo text >$v/file && cat $v/file; stat -c %U $v/file; done'
	assert_equal "$status" 0
	assert_equal "$output" $'text\nalice\ntext\nalice\ntext\nalice'
}

@test "a directory given with -v is shared both ways and stays" {
	mkdir shared
	echo from the host >shared/in
	vm -v ./shared:/mnt/s "$IMAGES/base.gvmi" sh -c 'cat /mnt/s/in; echo from the guest >/mnt/s/out; mkdir /mnt/s/d; ln -s in /mnt/s/l' >got
	assert_equal "$(cat got)" "from the host"
	assert_equal "$(cat shared/out)" "from the guest"
	[ -d shared/d ]
	run vm -v "$PWD/shared:/mnt/s:ro" "$IMAGES/base.gvmi" sh -c 'echo x >/mnt/s/new'
	[ "$status" -ne 0 ]
	[ ! -e shared/new ]
	vm -u alice -v ./shared:/mnt/s "$IMAGES/base.gvmi" sh -c 'echo mine >/mnt/s/alice'
	assert_equal "$(cat shared/alice)" mine
}

@test "names with commas and equals signs in shared paths are only names" {
	mkdir 'a,b=c,,path=x'
	vm -v './a,b=c,,path=x:/v' "$IMAGES/base.gvmi" touch /v/here
	[ -e 'a,b=c,,path=x/here' ]
}

@test "the root takes the writes it is given space for, and no more" {
	run --separate-stderr vm --root-size 16m "$IMAGES/base.gvmi" sh -c 'dd if=/dev/zero of=/big bs=1M count=12 2>/dev/null && echo fits; dd if=/dev/zero of=/more bs=1M count=12'
	assert_equal "$output" fits
	assert_contains "$stderr" "No space left"
	run --separate-stderr vm "$IMAGES/base.gvmi" df -m /
	assert_contains "${lines[1]}" " 128 "
}

@test "--cpus and --memory are what the guest gets" {
	run --separate-stderr vm --cpus 2 -m 384m "$IMAGES/base.gvmi" sh -c 'nproc; grep MemTotal /proc/meminfo'
	assert_equal "${lines[0]}" 2
	kb=$(echo "${lines[1]}" | tr -dc 0-9)
	[ "$kb" -gt 330000 ] && [ "$kb" -lt 394000 ]
}

@test "--hostname is the host name, and it resolves" {
	run --separate-stderr vm --hostname tester "$IMAGES/base.gvmi" sh -c 'hostname; echo $HOSTNAME; grep -c tester /etc/hosts; cat /etc/hostname'
	assert_equal "$output" $'tester\ntester\n1\ntester'
}

@test "--timeout ends the command with status 124" {
	run --separate-stderr vm --timeout 1 "$IMAGES/base.gvmi" sleep 300
	assert_equal "$status" 124
	assert_contains "$stderr" "longer than 1.000 s"
}

@test "--debug shows the guest's console, and without it nothing is said" {
	run --separate-stderr vm --debug "$IMAGES/base.gvmi" echo result
	assert_equal "$output" result
	assert_contains "$stderr" "Linux version"
	run --separate-stderr vm "$IMAGES/base.gvmi" echo result
	assert_equal "$stderr" ""
}

@test "-t gives a terminal, with its size and its signals" {
	/usr/bin/python3 "$E2E/terminal.py" shell gvmkit run --accel "$ACCEL" -it "$IMAGES/base.gvmi" sh
}

@test "-t without a terminal is refused" {
	run --separate-stderr vm -t "$IMAGES/base.gvmi" true </dev/null
	assert_equal "$status" 125
	assert_one_line_error "$stderr"
}

@test "shell gives a shell, from a terminal and from a pipe" {
	/usr/bin/python3 "$E2E/terminal.py" shell gvmkit shell --accel "$ACCEL" "$IMAGES/base.gvmi"
	run --separate-stderr bash -c "printf 'echo a\nexit 3\n' | gvmkit shell --accel $ACCEL $IMAGES/base.gvmi"
	assert_equal "$status" 3
	assert_equal "$output" a
}

@test "an archive runs as it is, and is converted once" {
	run --separate-stderr vm "$IMAGES/base.tar" echo one
	assert_equal "$output" one
	files=$(ls "$XDG_CACHE_HOME/gvmkit/images/"*.gvmi | wc -l)
	run --separate-stderr vm "docker-archive:$IMAGES/base.tar" echo two
	assert_equal "$output" two
	run --separate-stderr vm "$IMAGES/base.tar" echo three
	assert_equal "$output" three
	[ "$(ls "$XDG_CACHE_HOME/gvmkit/images/"*.gvmi | wc -l)" -le $((files + 1)) ]
}

@test "the original converter's image runs" {
	image=$E2E/../../../shared/testdata/alpine.gvmi
	[ -e "$image" ] || skip "the real files of the original tools are not here"
	run --separate-stderr vm "$image" cat /etc/alpine-release
	assert_equal "$status" 0
	assert_contains "$output" 3.
}

@test "a real docker save prints what docker run prints" {
	image=$E2E/../../../shared/testdata/hello.docker.tar.gz
	[ -e "$image" ] || skip "the real files of the original tools are not here"
	run --separate-stderr vm --hostname tester "$image"
	assert_equal "$status" 0
	assert_equal "$output" "hello from tester, nice to meet you"
}
