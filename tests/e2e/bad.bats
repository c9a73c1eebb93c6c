#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Bad input: one clear line, status 1, no output file, nothing left, bounded memory.

load helper

setup_file() { e2e_setup_file; mkdir "$IMAGES/bad"; /usr/bin/python3 "$E2E/images.py" --bad "$IMAGES/bad"; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# refused INPUT TEXT...: `gvmkit build INPUT` fails as it should and says TEXT.
refused()
{
	local input=$1
	shift
	run --separate-stderr gvmkit build "$input" -o out.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	local text
	for text; do assert_contains "$stderr" "$text"; done
	assert_equal "$(ls -A)" ""
}

# peak MEMORY_KIB COMMAND...: runs it and fails when it ever used more memory.
peak()
{
	/usr/bin/python3 - "$@" <<-'PYTHON'
		import resource, subprocess, sys
		limit, status = int(sys.argv[1]), subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode
		used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
		print("peak", used, "KiB", file=sys.stderr)
		sys.exit(status if used <= limit else 99)
	PYTHON
}

@test "what is not an archive is refused" {
	refused "$IMAGES/bad/noarchive" noarchive
	refused "$IMAGES/bad/empty" empty
	refused /nonexistent/file.tar /nonexistent/file.tar
	refused "$IMAGES" "$IMAGES"
	refused docker-archive:/etc/passwd passwd
	refused nosuchtransport:thing
}

@test "a truncated archive is refused" {
	refused "$IMAGES/bad/truncated.tar"
}

@test "a missing layer is refused by its name" {
	refused "$IMAGES/bad/nolayer.tar" layer.tar
}

@test "a wrong digest is refused" {
	refused "$IMAGES/bad/digest.tar" sha256
	refused "$IMAGES/bad/digest.oci.tar" sha256
}

@test "names that climb out of the root are refused" {
	refused "$IMAGES/bad/dotdot.tar" ..
	refused "$IMAGES/bad/dotdot-inside.tar" ..
	refused "$IMAGES/bad/climb.tar" ..
	refused "$IMAGES/bad/absolute.tar" "absolute name" --absolute-names
	gvmkit build --absolute-names "$IMAGES/bad/absolute.tar" -o out.gvmi
	rm out.gvmi
	refused "$IMAGES/bad/hardlink-out.tar" passwd
	refused "$IMAGES/bad/hardlink-nowhere.tar" etc/nothing
}

@test "a bomb of ten gigabytes is refused early and in little memory" {
	start=$SECONDS
	run peak 100000 gvmkit build "$IMAGES/bad/bomb.oci.tar" -o out.gvmi
	assert_equal "$status" 1
	assert_contains "$output" max-size
	[ $((SECONDS - start)) -lt 60 ]
	assert_equal "$(ls -A)" ""
}

@test "two million entries are refused unless they are wished for, in memory in proportion" {
	/usr/bin/python3 "$E2E/images.py" --many 2000000 many.tar
	limit=$(((64000000 + 2000000 * 300) / 1024)) # 64 MB and 300 bytes a file
	run peak "$limit" gvmkit build many.tar -o out.gvmi
	assert_equal "$status" 1
	assert_contains "$output" "entries"
	assert_contains "$output" "--max-size"
	[ ! -e out.gvmi ]
	run peak "$limit" gvmkit build --as-is --max-size 10g many.tar -o out.gvmi
	echo "$output"
	assert_equal "$status" 0
	rm many.tar
	assert_equal "$(gvmkit inspect --json out.gvmi | jq .inodes)" 2000101
}

@test "a full disk leaves nothing and is said" {
	[ "$(id -u)" -eq 0 ] || skip "making a small file system needs root"
	mkdir small
	mount -t tmpfs -o size=256k none small
	run --separate-stderr gvmkit build "$IMAGES/base.tar" -o small/out.gvmi
	left=$(ls -A small)
	umount small
	rmdir small
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "No space left"
	assert_equal "$left" ""
}

@test "a directory that cannot be written is said" {
	run --separate-stderr gvmkit build "$IMAGES/base.tar" -o /proc/out.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	run --separate-stderr gvmkit build "$IMAGES/base.tar" -o missing/directory/out.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" missing/directory
}

@test "Ctrl-C during a build leaves nothing" {
	gvmkit build "$IMAGES/base.tar" --compression xz -o out.gvmi &
	pid=$!
	sleep 0.2
	kill -INT "$pid" 2>/dev/null || true
	wait "$pid" || true
	[ ! -e out.gvmi ] || gvmkit inspect out.gvmi >/dev/null
	rm -f out.gvmi
	assert_equal "$(ls -A)" ""
}

@test "a .gvmi with a broken trailer or superblock is refused before a VM starts" {
	gvmkit build "$IMAGES/base.tar" -o good.gvmi
	size=$(stat -c %s good.gvmi)
	break_at()
	{
		cp good.gvmi broken.gvmi
		printf '%b' "$2" | dd of=broken.gvmi bs=1 seek="$1" conv=notrunc status=none
		run --separate-stderr timeout 20 gvmkit run --accel "$ACCEL" broken.gvmi true
		assert_equal "$status" 125
		assert_one_line_error "$stderr"
		assert_contains "$stderr" broken.gvmi
		run --separate-stderr gvmkit inspect broken.gvmi
		assert_equal "$status" 1
	}
	break_at $((size - 1)) x
	break_at $((size - 20)) '\xff'
	break_at $((size - 8)) 99999999
	break_at 28 '\xff'           # superblock: version
	break_at 12 '\x00\x00\x10\x01' # superblock: block size
	break_at 64 '\xff\xff\xff\xff\xff\xff\xff\x7f' # superblock: inode table
	head -c 100000 good.gvmi >broken.gvmi
	run --separate-stderr gvmkit run --accel "$ACCEL" broken.gvmi true
	assert_equal "$status" 125
}

@test "wrong usage is status 2 and one line" {
	for words in "" "nosuch" "build" "build a b" "inspect" "build --nosuch x" "build --level 99 x" "build --block-size 5000 x" "doctor x"; do
		# shellcheck disable=SC2086
		run --separate-stderr gvmkit $words
		assert_equal "$status" 2
		[ -n "$stderr" ]
	done
	for words in "run" "run --memory 1 x" "run -v relative:/x x" "run -v /x x" "run --accel warp x" "run --cpus 0 x" "run --hostname -x x" "run --timeout 0 x"; do
		# shellcheck disable=SC2086
		run --separate-stderr gvmkit $words
		assert_equal "$status" 125
		assert_one_line_error "$stderr"
	done
}

@test "every subcommand has help with an example" {
	run --separate-stderr gvmkit --help
	assert_equal "$status" 0
	for command in build inspect run shell doctor; do
		assert_contains "$output" "$command"
	done
	for command in build inspect run shell doctor; do
		run --separate-stderr gvmkit $command --help
		assert_equal "$status" 0
		assert_contains "$output" "Usage: gvmkit $command"
		assert_contains "$output" "Example:"
	done
	assert_contains "$(gvmkit --version)" "gvmkit "
}
