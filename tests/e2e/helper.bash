# SPDX-License-Identifier: GPL-3.0-or-later
# What the end-to-end tests share. `gvmkit` is found in PATH: the installed program, not one of the source tree.

bats_require_minimum_version 1.5.0

E2E=$(dirname "${BASH_SOURCE[0]}")

# The accelerator of the tests: emulation works everywhere. The test of `auto` is in doctor.bats.
ACCEL=${GVMKIT_TEST_ACCEL:-tcg}

# Once for each file of tests: the images, and a place of our own for every cache and temporary file.
e2e_setup_file()
{
	export IMAGES=$BATS_FILE_TMPDIR/images
	export XDG_CACHE_HOME=$BATS_FILE_TMPDIR/cache XDG_DATA_HOME=$BATS_FILE_TMPDIR/data
	unset GOLEM_REGISTRY_URL REGISTRY_URL
	mkdir -p "$IMAGES" "$XDG_CACHE_HOME"
	chmod 755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR"
	/usr/bin/python3 "$E2E/images.py" "$IMAGES"
}

# Everything that a gvmkit of this test starts inherits this mark, so that what is left behind can be told from what others run.
e2e_setup()
{
	export GVMKIT_TEST_MARK="$BATS_TEST_NAME-$BASHPID-$RANDOM"
	export TMPDIR=$BATS_TEST_TMPDIR/tmp
	mkdir "$TMPDIR" "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return 1
	chmod 755 "$BATS_TEST_TMPDIR"
}

# QEMU gets an environment of its own: it is known by the images and directories of ours that it has open.
marked_processes()
{
	local pid
	for pid in /proc/[0-9]*; do
		pid=${pid#/proc/}
		[ "$pid" != "$BASHPID" ] || continue
		case $(readlink "/proc/$pid/exe" 2>/dev/null) in
		*/gvmkit* | */ya-runtime-vm*)
			if grep -qzF "GVMKIT_TEST_MARK=$GVMKIT_TEST_MARK" "/proc/$pid/environ" 2>/dev/null; then
				echo "$pid"
			fi
			;;
		*/qemu-system-*)
			if find "/proc/$pid/fd" -lname "$BATS_RUN_TMPDIR/*" 2>/dev/null | grep -q .; then
				echo "$pid"
			fi
			;;
		esac
	done
}

# Nothing of ours runs any more, and no directory of a run is left. A second is what the design promises.
assert_nothing_left()
{
	local try
	for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
		if [ -z "$(marked_processes)" ] && ! compgen -G "$TMPDIR/*" >/dev/null; then
			return 0
		fi
		sleep 0.1
	done
	local left
	left=$(marked_processes | tr '\n' ' ')
	echo "after $try tries: processes: $left, files: $(ls -A "$TMPDIR")"
	# shellcheck disable=SC2086 # a list
	[ -z "$left" ] || kill -KILL $left
	return 1
}

vm()
{
	gvmkit run --accel "$ACCEL" "$@"
}

assert_equal()
{
	[ "$1" = "$2" ] || {
		printf 'expected: %s\n     got: %s\n' "$2" "$1"
		return 1
	}
}

assert_contains()
{
	case $1 in
	*"$2"*) ;;
	*)
		printf 'expected to find: %s\n              in: %s\n' "$2" "$1"
		return 1
		;;
	esac
}

# An error is one line that begins with the program's name, and says something.
assert_one_line_error()
{
	local lines
	lines=$(printf '%s\n' "$1" | grep -vc '^gvmkit: \(note: \|reading layers: \|compressing: \|downloading: \|exporting from the daemon: \)')
	assert_equal "$lines" 1
	assert_contains "$1" "gvmkit: "
}

# Wait until a command succeeds, at most 20 seconds.
wait_until()
{
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" && return 0
		sleep 0.1
	done
	echo "gave up waiting for: $*"
	return 1
}

# fake_runtime PYTHON [PYTHON]: a runtime, ./runtime, that writes down in ./calls how it was called, and answers Hello and Shutdown, as a VM that is never any trouble
# would. The first program is what it does when a process is to be run, the second one is executed at its start. $ANSWER is what deploy prints.
fake_runtime()
{
	local on_run=$1 at_start=${2-}
	cat >runtime - <<END
#!/usr/bin/python3
import json, os, sys
sys.path.insert(0, "$E2E")
from exeunit import *
with open("$PWD/calls", "a") as f:
    print(json.dumps(sys.argv[1:]), file=f)
if "deploy" in sys.argv:
    print(os.environ.get("ANSWER", '{"startMode":"blocking","valid":{"Ok":""},"vols":[]}'), end="")
    sys.exit(int(os.environ.get("STATUS", "0")))
def say(message):
    os.write(1, varint(len(message)) + message)
def status(pid, running, code=None, out=None):
    say(field(1, 1) + field(20, field(1, pid) + field(2, 1 if running else None) + field(3, code) + field(4, out)))
buffer = b""
$at_start
while True:
    data = os.read(0, 65536)
    if not data:
        sys.exit(0)
    buffer += data
    while buffer:
        size, start = read_varint(buffer, 0)
        request = dict(fields(buffer[start:start + size]))
        buffer = buffer[start + size:]
        id = request.pop(1)
        if 2 in request:
            say(field(2, id) + field(4, field(1, "fake")))
        if 12 in request:
            say(field(2, id) + field(12, b""))
        if 10 in request:
            $on_run
END
	chmod +x runtime
}
