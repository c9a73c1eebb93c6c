#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# VMs by name: `gvmkit run -d` and --name, exec, ps, logs, stats, stop, kill, wait.

load helper

setup_file() { e2e_setup_file; gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null; gvmkit build "$IMAGES/user.tar" -o "$IMAGES/user.gvmi" >/dev/null; }

setup()
{
	e2e_setup
	export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state
	image=$IMAGES/base.gvmi
}

teardown()
{
	local name
	for name in $(gvmkit ps -q); do
		gvmkit kill "$name" >/dev/null && gvmkit stop "$name" >/dev/null
	done
	assert_nothing_left
}

# start NAME COMMAND...: a detached VM.
start()
{
	local name=$1
	shift
	assert_equal "$(vm -d --name "$name" "$image" "$@")" "$name"
}

status_of()
{
	gvmkit ps -a --json | /usr/bin/python3 -c 'import json, sys; print([v.get("status", v["state"]) for v in json.load(sys.stdin) if v["name"] == sys.argv[1]][0])' "$1"
}

printed() { gvmkit logs "$1" | grep -q "$2"; }

# owner NAME: its process; qemu NAME: that of QEMU.
owner() { gvmkit ps -a --json | /usr/bin/python3 -c 'import json, sys; print([v["owner"] for v in json.load(sys.stdin) if v["name"] == sys.argv[1]][0])' "$1"; }
qemu() { gvmkit ps -a --json | /usr/bin/python3 -c 'import json, sys; print([v["qemu"] for v in json.load(sys.stdin) if v["name"] == sys.argv[1]][0])' "$1"; }

@test "exec has the command's exit status, its output and its errors" {
	start web sleep 600
	for code in 0 1 125 255; do
		run -$code gvmkit exec web sh -c "exit $code"
	done
	run --separate-stderr gvmkit exec web sh -c 'echo out; echo err >&2; kill -9 $$'
	assert_equal "$status" 137
	assert_equal "$output" out
	assert_equal "$stderr" err
	run -127 --separate-stderr gvmkit exec web no-such-program
	assert_one_line_error "$stderr"
	run -126 --separate-stderr gvmkit exec web /bin/notexec
	assert_contains "$stderr" "Permission denied"
	run -125 --separate-stderr gvmkit exec nobody true
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "gvmkit ps"
}

@test "megabytes go into an exec and come out of it, whole" {
	start web sleep 600
	seq 1 3000000 >data
	gvmkit exec -i web cat <data | cmp - data
	gvmkit exec web seq 1 3000000 >out
	cmp out data
	gvmkit exec -i web sh -c 'cat >&2' <data 2>err
	cmp err data
	run -0 gvmkit exec web cat <data
	assert_equal "$output" ""
	run -141 bash -c 'gvmkit exec web yes | head -n 1; exit ${PIPESTATUS[0]}'
	assert_equal "$output" y
	run -125 --separate-stderr bash -c 'gvmkit exec web seq 1 100000 >/dev/full'
	assert_contains "$stderr" "No space left"
}

@test "exec -t is a terminal, with its size and its signals" {
	start web sleep 600
	/usr/bin/python3 "$E2E/terminal.py" shell gvmkit exec -it web sh
	run -125 --separate-stderr gvmkit exec -t web true </dev/null
	assert_one_line_error "$stderr"
}

@test "exec begins with ENV, WORKDIR and USER of the VM's command" {
	image=$IMAGES/user.gvmi
	vm -d --name web -e OF_RUN=1 -w /tmp --entrypoint sleep "$image" 600
	run -0 gvmkit exec -e OF_EXEC=2 web sh -c 'echo $OF_RUN $OF_EXEC; pwd; id -un'
	assert_equal "$output" $'1 2\n/tmp\nalice'
	run -0 gvmkit exec -e OF_RUN=3 -w / -u root web sh -c 'echo $OF_RUN; pwd; id -un'
	assert_equal "$output" $'3\n/\nroot'
}

@test "signals reach the command of an exec; a client that is killed takes it along" {
	start web sleep 600
	gvmkit exec web sh -c 'trap "echo got; exit 4" TERM; echo up; while :; do sleep 0.1; done' >out &
	pid=$!
	wait_until grep -q up out
	kill -TERM "$pid"
	status=0
	wait "$pid" || status=$?
	assert_equal "$status" 4
	assert_equal "$(tail -n 1 out)" got

	gvmkit exec web sh -c 'echo up; exec sleep 599' >out &
	pid=$!
	wait_until grep -q up out
	gvmkit exec web sh -c 'ps | grep -q "[s]leep 599"'
	kill -KILL "$pid"
	wait "$pid" || true
	gone() { ! gvmkit exec web sh -c 'ps | grep -q "[s]leep 599"'; }
	wait_until gone
}

@test "twenty execs at once" {
	start web sleep 600
	pids=()
	for i in {1..20}; do
		gvmkit exec web sh -c "seq $i 20000; exit $i" >"out$i" &
		pids+=($!)
	done
	for i in {1..20}; do
		status=0
		wait "${pids[i - 1]}" || status=$?
		assert_equal "$status" "$i"
		seq "$i" 20000 | cmp - "out$i"
	done
}

@test "SIGKILL of the owner leaves nothing but a record that says died" {
	start web sleep 600
	gvmkit exec web sh -c 'echo up; exec sleep 600' >out &
	pid=$!
	wait_until grep -q up out
	kill -KILL "$(owner web)"
	status=0
	wait "$pid" || status=$?
	assert_equal "$status" 125
	assert_nothing_left
	assert_equal "$(gvmkit ps -q)" ""
	assert_equal "$(status_of web)" died
	run -1 --separate-stderr gvmkit wait web
	assert_one_line_error "$stderr"
	run -1 --separate-stderr gvmkit kill web
	assert_one_line_error "$stderr"
	assert_equal "$(gvmkit stop web)" web
	start web true
}

@test "the end of QEMU is told to those who wait" {
	start web sleep 600
	gvmkit exec web sh -c 'echo up; exec sleep 600' >out &
	pid=$!
	wait_until grep -q up out
	kill -KILL "$(qemu web)"
	status=0
	wait "$pid" || status=$?
	assert_equal "$status" 137
	assert_equal "$(gvmkit wait web)" 125
	gvmkit ps -a --json | grep -q '"error"'
}

@test "a name is that of one VM, and of the next one when that has ended" {
	start web sleep 600
	run -125 --separate-stderr vm -d --name web "$image" true
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "gvmkit stop web"
	run -125 --separate-stderr vm --name web "$image" true
	run -125 --separate-stderr vm --name ../web "$image" true
	gvmkit kill web
	assert_equal "$(gvmkit wait web)" 137
	start web sh -c 'exit 3'
	assert_equal "$(gvmkit wait web)" 3
	name=$(vm -d "$image" true)
	[[ $name =~ ^[a-z]+-[a-z]+ ]]
	assert_equal "$(gvmkit wait "$name" web)" $'0\n3'
}

@test "a VM on a terminal can have a name, too, and leaves no record" {
	gvmkit run --accel "$ACCEL" --name front "$image" sh -c 'echo up; sleep 600 & wait; echo over' >out &
	pid=$!
	wait_until grep -q up out
	run -0 gvmkit exec front echo inside
	assert_equal "$output" inside
	run -1 --separate-stderr gvmkit logs front
	assert_one_line_error "$stderr"
	gvmkit wait front >waited &
	waiter=$!
	# The end of the VM may be the end of this command, too.
	gvmkit exec front sh -c 'kill $(pidof sleep)' || [ $? -eq 137 ]
	wait "$pid"
	wait "$waiter"
	assert_equal "$(cat waited)" 0
	assert_equal "$(tail -n 1 out)" over
	assert_equal "$(gvmkit ps -aq)" ""
}

@test "a detached command that cannot start fails the run, and leaves nothing" {
	run -127 --separate-stderr vm -d --name web "$image" no-such-program
	assert_one_line_error "$stderr"
	assert_equal "$output" ""
	for option in -i -t --debug; do
		run -125 --separate-stderr vm -d "$option" "$image" true
		assert_one_line_error "$stderr"
	done
	gvmkit run --accel "$ACCEL" -d --name web "$image" sleep 600 >out &
	pid=$!
	wait_until test -e "$XDG_STATE_HOME/gvmkit/vms/web"
	kill -KILL "$pid"
	wait "$pid" || true
	assert_nothing_left
	assert_equal "$(gvmkit ps -aq)" ""
}

@test "stop gives the command its time, then ends the VM" {
	start good sh -c 'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done'
	start bad sh -c 'trap "" TERM; echo up; while :; do sleep 0.1; done'
	wait_until printed good up
	wait_until printed bad up
	assert_equal "$(gvmkit stop -t 1 good bad)" $'good\nbad'
	assert_equal "$(gvmkit wait good bad)" $'9\n137'
	assert_equal "$(gvmkit stop good)" good
	run -1 --separate-stderr gvmkit stop nobody
	assert_one_line_error "$stderr"
}

@test "stop sends the stop signal of the image" {
	/usr/bin/python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); import images; images.docker("quits.tar", {"Cmd": ["sh"], "StopSignal": "SIGQUIT"}, [images.base_layer()])' "$E2E"
	image=quits.tar
	start web sh -c 'trap "exit 8" QUIT; echo up; while :; do sleep 0.1; done'
	wait_until printed web up
	gvmkit stop web
	assert_equal "$(gvmkit wait web)" 8
}

@test "kill sends any signal to the command" {
	start web sh -c 'trap "echo one" USR1; trap "exit 6" HUP; echo up; while :; do sleep 0.1; done'
	wait_until printed web up
	assert_equal "$(gvmkit kill -s SIGUSR1 web)" web
	wait_until printed web one
	gvmkit kill -s 1 web
	assert_equal "$(gvmkit wait web)" 6
	run -2 gvmkit kill -s NONSENSE web
}

@test "logs keeps both streams apart, follows, and gives the tail" {
	start web sh -c 'echo one; echo two >&2; until [ -e /go ]; do sleep 0.1; done; echo three; printf four'
	gvmkit logs -f web >followed 2>/dev/null &
	pid=$!
	wait_until grep -q one followed
	gvmkit exec web touch /go
	wait "$pid"
	assert_equal "$(cat followed)" $'one\nthree\nfour'
	run -0 --separate-stderr gvmkit logs web
	assert_equal "$output" $'one\nthree\nfour'
	assert_equal "$stderr" two
	assert_equal "$(gvmkit logs --tail 2 web)" $'three\nfour'
	assert_equal "$(gvmkit logs -n 3 web 2>&1 >/dev/null)" two
	assert_equal "$(gvmkit logs -n 0 web)" ""
	gvmkit logs -t web | grep -qE '^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z one$'
	assert_equal "$(gvmkit logs -t web | wc -l)" 2
}

@test "a log is bounded, and ends with the last line" {
	start web seq 1 5000000
	gvmkit wait web
	[ "$(cat "$XDG_STATE_HOME/gvmkit/vms/web/log"* | wc -c)" -le 33554432 ]
	gvmkit logs web >got
	[ "$(wc -c <got)" -gt 16000000 ]
	seq 1 5000000 | tail -c "$(wc -c <got)" | cmp - got
	seq 4999001 5000000 >want
	gvmkit logs -n 1000 web | cmp - want
}

@test "whatever is said on the socket, the VM goes on" {
	start web sleep 600
	/usr/bin/python3 - "$XDG_STATE_HOME/gvmkit/vms/web" <<'END'
import array, json, os, socket, sys
os.chdir(sys.argv[1])
def say(data, fds=()):
    s = socket.socket(socket.AF_UNIX)
    s.connect("socket")
    s.settimeout(20)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        s.sendmsg([data[:60000]], rights)
        s.sendall(data[60000:])
    except OSError:
        pass
    return s
def heard(s):
    try:
        return s.recv(65536)
    except ConnectionError:
        return b""
null = os.open("/dev/null", os.O_RDWR)
for line in (b"\n", b"{}\n", b"[]\n", b"\0\n", b"\xff\xfe\n", b"{\n", b'{"op":"exec"}\n', b'{"op":"exec","argv":["true"]}\n', b'{"op":"kill"}\n',
             b'{"op":"kill","signal":-1}\n', b'{"op":"stop","grace":1e99}\n', b"[" * 100000 + b"\n", b'{"op":"' + b"x" * 3000000):
    answer = heard(say(line))
    assert not answer or b'"error"' in answer, (line[:50], answer)
for fds in ([null], [null] * 2, [null] * 4, [null] * 200):
    assert b"started" not in heard(say(b'{"op":"exec","argv":["true"]}\n', fds))
assert b'"error"' in heard(say(b'{"op":"exec","argv":[]}\n', [null] * 3))
assert b'"error"' in heard(say(b'{"op":"builtin","builtin":99,"argv":["x"]}\n', [null] * 3))
assert b'"error"' in heard(say(b'{"op":"exec","argv":["a\\u0000b"]}\n', [null] * 3))
s = say(b'{"op":"exec","argv":["sleep","600"]}\n', [null] * 3)
assert b"started" in heard(s)
s.sendall(b'{"signal":100000}\n')
assert heard(s) == b""
# Halves of lines, and callers who read nothing, hold nobody up.
held = [say(b'{"op":') for i in range(30)] + [say(b'{"op":"stats"}\n') for i in range(30)]
s = say(b'{"op":"exec","argv":["sh","-c","exit 3"]}\n', [null] * 3)
answer = b""
while b"exit" not in answer:
    answer += heard(s)
assert b'{"exit":3}' in answer
END
	run -0 gvmkit exec web echo still
	assert_equal "$output" still
	assert_equal "$(stat -c %a "$XDG_STATE_HOME/gvmkit/vms/web")" 700
}

@test "ps and stats tell what runs" {
	mkdir shared
	vm -d --name web -v "$PWD/shared:/mnt/s:ro" "$image" sleep 600
	start old true
	gvmkit wait old
	assert_equal "$(gvmkit ps -q)" web
	assert_equal "$(gvmkit ps -aq)" $'web\nold'
	run -0 gvmkit ps -a
	assert_contains "${lines[1]}" "sleep 600"
	assert_contains "${lines[1]}" "up "
	assert_contains "${lines[2]}" "exited (0)"
	gvmkit ps --json | /usr/bin/python3 -c '
import json, sys
v, = json.load(sys.stdin)
assert v["name"] == "web" and v["state"] == "running" and v["command"] == ["sleep", "600"] and v["detached"], v
assert v["volumes"] == [{"host": sys.argv[1], "guest": "/mnt/s", "readonly": True}], v' "$PWD/shared"
	gvmkit stats --json | /usr/bin/python3 -c '
import json, sys
v, = json.load(sys.stdin)
assert v["name"] == "web" and v["memory"] > 1 << 24 and v["cpu_percent"] >= 0 and v["processes"] == 1, v
assert 1 << 27 < v["guest_memory_total"] <= 1 << 28 and 0 < v["guest_memory_used"] < v["guest_memory_total"], v'
	run -0 gvmkit stats --no-stream web
	assert_contains "${lines[1]}" "web "
	run -1 --separate-stderr gvmkit stats --no-stream nobody
	assert_one_line_error "$stderr"
}

@test "of the VMs that have ended the last twenty are known" {
	start first true
	gvmkit wait first
	cd "$XDG_STATE_HOME/gvmkit/vms"
	for i in {1..30}; do
		cp -r first "copy$i"
		sed -i "s/\"first\"/\"copy$i\"/" "copy$i/json"
	done
	mkdir .new-crash
	start last true
	gvmkit wait last
	assert_equal "$(gvmkit ps -aq | wc -l)" 20
	assert_contains "$(gvmkit ps -aq)" last
	[ ! -e .new-crash ]
}
