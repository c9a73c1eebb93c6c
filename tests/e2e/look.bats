#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# The commands that look into images without booting them: ls, cat, inspect, diff, verify, lint, hash, mount.

load helper

setup_file()
{
	e2e_setup_file
	export TZ=UTC
	mkdir -p "$BATS_FILE_TMPDIR/made" && cd "$BATS_FILE_TMPDIR/made" || return 1
	gvmkit build "$IMAGES/layers.tar" -o layers.gvmi
	gvmkit build "$IMAGES/user.tar" -o user.gvmi
	make_tree
	for compression in gzip lzma lzo xz lz4 zstd; do
		mksquashfs tree "$compression.gvmi" -comp "$compression" -b 16384 -noappend -quiet -no-progress >/dev/null
		/usr/bin/python3 "$E2E/trailer.py" "$compression.gvmi" '{"Cmd":["/bin/tool"],"Volumes":{"/data":{}}}'
	done
	export MADE=$PWD
}
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# A tree with every type that an ordinary user can make, names that are trouble, and files with and without fragments.
make_tree()
{
	mkdir -p tree/bin tree/etc tree/data tree/'with blank' tree/proc tree/sys
	printf 'a tool\n' >tree/bin/tool
	chmod 4755 tree/bin/tool
	ln tree/bin/tool tree/bin/same
	ln -s ../bin/tool tree/etc/link
	ln -s /etc/link tree/etc/chain
	ln -s loop tree/etc/loop
	mkfifo tree/data/fifo
	seq 1 20000 >tree/data/numbers
	truncate -s 100000 tree/data/sparse
	: >tree/data/empty
	printf 'x' >"tree/with blank/a b"
	printf 'x' >tree/'with blank'/$'escape\e[31m'
	printf 'x' >tree/'with blank'/$'two\nlines'
	printf 'x' >tree/'with blank'/$'latin\xe9'
	chmod 1777 tree/data
	[ "$(id -u)" -ne 0 ] || mknod tree/data/null c 1 3
	[ "$(id -u)" -ne 0 ] || chown -h 12:34 tree/etc/link
	find tree -exec touch -h -d '2023-01-02 03:04:00 UTC' {} +
}

# What ls -lR prints, in the form of unsquashfs -lln: mode owner/group size date time path.
as_unsquashfs()
{
	awk '
		/^\/.*:$/ { dir = substr($0, 1, length($0) - 1); sub(/\/$/, "", dir); next }
		/^$/ { next }
		{
			size = $5; next_at = 6
			if ($5 ~ /,$/) { size = $5 $6; next_at = 7 }
			name = $(next_at + 2)
			for (i = next_at + 3; i <= NF; i++) name = name " " $i
			print $1, $3 "/" $4, size, $next_at, $(next_at + 1), dir "/" name
		}' | sort
}

@test "ls -lR lists what unsquashfs lists, for every compression" {
	for image in "$MADE"/{layers,user,gzip,lzma,lzo,xz,lz4,zstd}.gvmi; do
		gvmkit ls -lR "$image" | as_unsquashfs | grep -v -e 'two' -e 'latin' -e 'escape' >ours
		unsquashfs -d '' -lln "$image" | grep '^[-dlcbps]' | grep -v '/$' | sed -E 's/, +/,/; s/ +/ /g' |
			awk 'NF >= 6' | sort | grep -v -e 'two' -e 'latin' -e 'escape' >theirs
		[ "$(wc -l <ours)" -gt 10 ]
		diff ours theirs
	done
}

@test "ls takes paths like ls does" {
	image=$MADE/gzip.gvmi
	assert_equal "$(gvmkit ls "$image")" $'bin\ndata\netc\nproc\nsys\nwith blank'
	assert_equal "$(gvmkit ls "$image" /bin)" $'same\ntool'
	assert_equal "$(gvmkit ls "$image" bin/)" $'same\ntool'
	assert_equal "$(gvmkit ls "$image" etc/../bin)" $'same\ntool'
	assert_equal "$(gvmkit ls "$image" /bin/tool)" /bin/tool
	assert_equal "$(gvmkit ls -d "$image" /bin /etc)" $'/bin\n/etc'
	assert_equal "$(gvmkit ls "$image" /proc /bin)" $'/proc:\n\n/bin:\nsame\ntool'
	assert_contains "$(gvmkit ls -l "$image" /etc/link)" 'lrwxrwxrwx'
	assert_contains "$(gvmkit ls -l "$image" /etc/link)" ' 2023-01-02 03:04 /etc/link -> ../bin/tool'
	assert_contains "$(gvmkit ls -l "$image" /bin)" '-rwsr-xr-x 2 '
	assert_contains "$(gvmkit ls -ld "$image" /data)" 'drwxrwxrwt'
	[ "$(id -u)" -ne 0 ] || assert_contains "$(gvmkit ls -l "$image" /data)" ' 1, 3 2023-01-02 03:04 null'
	run --separate-stderr gvmkit ls "$image" /nothing /bin
	assert_equal "$status" 1
	assert_contains "$output" tool
	assert_one_line_error "$stderr"
	assert_contains "$stderr" /nothing
	run --separate-stderr gvmkit ls "$image" /etc/loop/x
	assert_equal "$status" 1
	assert_contains "$stderr" 'too many symbolic links'
}

@test "names from images cannot steer the terminal" {
	listing=$(gvmkit ls -lR "$MADE/gzip.gvmi")
	assert_contains "$listing" 'escape\x1b[31m'
	assert_contains "$listing" 'two\x0alines'
	assert_contains "$listing" 'latin\xe9'
	[[ $listing != *$'\e'* ]]
	assert_equal "$(gvmkit ls --json "$MADE/gzip.gvmi" '/with blank' | jq -r '.[] | select(.path_hex).path_hex')" \
		"$(printf '/with blank/latin\xe9' | od -An -v -tx1 | tr -d ' \n')"
}

@test "ls --json tells everything" {
	image=$MADE/gzip.gvmi
	gvmkit ls -R --json "$image" >all
	assert_equal "$(jq length all)" "$(($(find "$MADE/tree" -printf x | wc -c) - 1))"
	assert_equal "$(jq -c '.[] | select(.path == "/bin/tool") | [.type, .mode, .size, .mtime, .nlink]' all)" '["file","4755",7,1672628640,2]'
	assert_equal "$(jq -r '.[] | select(.path == "/etc/link").target' all)" ../bin/tool
	assert_equal "$(jq -r '[.[] | select(.type == "file" and .nlink == 2).inode] | unique | length' all)" 1
	[ "$(id -u)" -ne 0 ] || assert_equal "$(jq -c '.[] | select(.path == "/data/null") | [.type, .major, .minor]' all)" '["char",1,3]'
	assert_equal "$(gvmkit ls --json "$image" /proc)" '[]'
	assert_equal "$(gvmkit ls -R --json "$MADE/layers.gvmi" | jq -r '.[] | select(.path == "/w/cap").xattrs["security.capability"]')" \
		0100000200200000000000000000000000000000
}

@test "cat prints what is in the file, for every compression" {
	for compression in gzip lzma lzo xz lz4 zstd; do
		image=$MADE/$compression.gvmi
		for file in bin/tool data/numbers data/sparse data/empty 'with blank/a b' $'with blank/latin\xe9'; do
			gvmkit cat "$image" "$file" | cmp - "$MADE/tree/$file"
		done
	done
	for image in "$MADE"/{layers,gzip,xz,zstd}.gvmi; do
		for file in $(gvmkit ls -R --json "$image" | jq -r '[.[] | select(.type == "file" and .size > 0 and (.path | test("^/[a-z/]*$")))][:5][].path'); do
			gvmkit cat "$image" "$file" | cmp - <(rdsquashfs -c "$file" "$image")
		done
	done
	image=$MADE/gzip.gvmi
	gvmkit cat "$image" /etc/chain data/numbers /bin/same | cmp - <(cat "$MADE"/tree/{bin/tool,data/numbers,bin/tool})
	gvmkit cat --json "$image" data/numbers bin/tool >out
	assert_equal "$(jq -r '.[1].base64' out | base64 -d)" 'a tool'
	jq -r '.[0].base64' out | base64 -d | cmp - "$MADE/tree/data/numbers"
	run --separate-stderr gvmkit cat "$image" /bin /nothing /bin/tool
	assert_equal "$status" 1
	assert_equal "$output" 'a tool'
	assert_contains "$stderr" 'not a regular file but a directory'
	assert_contains "$stderr" '/nothing'
}

@test "a reader that goes away is no error, a full disk is one" {
	gvmkit ls -R "$MADE/layers.gvmi" | head -n 1 >/dev/null
	for words in "ls -lR" "ls -R --json" "cat" "diff --json --no-chunks"; do
		set -- $words
		case $words in
		cat) set -- cat "$MADE/gzip.gvmi" data/numbers ;;
		diff*) set -- "$@" "$MADE/gzip.gvmi" "$MADE/layers.gvmi" ;;
		*) set -- "$@" "$MADE/layers.gvmi" ;;
		esac
		run bash -c '"$@" 2>err | true; exit "${PIPESTATUS[0]}"' bash gvmkit "$@"
		[ "$status" -eq 141 ] || [ "$status" -eq 0 ]
		assert_equal "$(cat err)" ''
		run --separate-stderr bash -c '"$@" >/dev/full' bash gvmkit "$@"
		assert_equal "$status" 1
		assert_one_line_error "$stderr"
		assert_contains "$stderr" 'No space left'
	done
}

@test "looking at 2 GB reads tables, never the data" {
	command -v strace >/dev/null || skip "strace is not there"
	mkdir tree
	truncate -s 2G tree/large
	printf 'small\n' >tree/small
	seq -f 'tree/file-%g' 1 500 | xargs touch
	# Nothing is compressed, and zeros are stored: an image of 2 GB.
	mksquashfs tree large.gvmi -noD -noF -no-sparse -no-duplicates -noappend -quiet -no-progress >/dev/null
	fallocate --dig-holes large.gvmi
	/usr/bin/python3 "$E2E/trailer.py" large.gvmi
	[ "$(stat -c %s large.gvmi)" -gt 2000000000 ]
	bytes_read()
	{
		strace -f -e trace=read,pread64,readv,preadv,sendfile,copy_file_range,splice -o trace gvmkit "$@" >out
		sed -nE 's/.* = ([0-9]+)$/\1/p' trace | awk '{ sum += $1 } END { print sum + 0 }'
	}
	for words in "inspect large.gvmi" "ls large.gvmi" "ls -lR large.gvmi" "cat large.gvmi small" "lint large.gvmi" "ls -l large.gvmi large"; do
		# shellcheck disable=SC2086
		bytes=$(bytes_read $words)
		echo "$words: $bytes bytes"
		[ "$bytes" -lt 1000000 ]
	done
	assert_equal "$(bytes_read hash large.gvmi | awk '{ print ($1 > 2000000000) }')" 1
}

@test "hash is the SHA3-224 of the file" {
	sum=$(openssl dgst -sha3-224 "$MADE/gzip.gvmi" | sed 's/.*= //')
	assert_equal "$(gvmkit hash "$MADE/gzip.gvmi")" "$sum  $MADE/gzip.gvmi"
	assert_equal "$(gvmkit hash --json "$MADE/gzip.gvmi" | jq -r '.[0].hash')" "$sum"
	assert_equal "$(gvmkit inspect --json --hash "$MADE/gzip.gvmi" | jq -r .hash)" "$sum"
	run --separate-stderr gvmkit hash nothing "$MADE/gzip.gvmi"
	assert_equal "$status" 1
	assert_contains "$output" "$sum"
	assert_one_line_error "$stderr"
}

@test "verify finds any damage" {
	for compression in gzip lzma lzo xz lz4 zstd; do
		run --separate-stderr gvmkit verify "$MADE/$compression.gvmi"
		assert_equal "$status" 0
		assert_contains "$output" ": ok, "
	done
	sum=$(gvmkit hash "$MADE/gzip.gvmi" | cut -d ' ' -f 1)
	gvmkit verify --hash "$sum" "$MADE/gzip.gvmi"
	gvmkit verify --hash "${sum^^}" "$MADE/gzip.gvmi"
	run --separate-stderr gvmkit verify --hash "${sum/[0-9]/f}" "$MADE/gzip.gvmi"
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	run --separate-stderr gvmkit verify --hash 1234 "$MADE/gzip.gvmi"
	assert_equal "$status" 2
	# a byte of the data, of the tables, of the trailer
	size=$(stat -c %s "$MADE/gzip.gvmi")
	tables=$(gvmkit inspect --json "$MADE/gzip.gvmi" | jq .filesystem_size)
	for at in 500 $((tables - 100)) $((size - 20)); do
		cp "$MADE/gzip.gvmi" bad.gvmi
		old=$(od -An -tu1 -j "$at" -N 1 bad.gvmi)
		printf '%b' "\\x$(printf %02x $((old ^ 0x55)))" | dd of=bad.gvmi bs=1 seek="$at" conv=notrunc status=none
		run --separate-stderr gvmkit verify bad.gvmi "$MADE/gzip.gvmi"
		assert_equal "$status" 1
		assert_one_line_error "$stderr"
		assert_contains "$stderr" bad.gvmi
		assert_contains "$output" 'gzip.gvmi: ok'
	done
	assert_equal "$(gvmkit verify --json bad.gvmi "$MADE/gzip.gvmi" 2>/dev/null | jq -c '[.[].ok]')" '[false,true]'
}

@test "lint tells what inspect warns of" {
	run --separate-stderr gvmkit lint "$MADE/user.gvmi" "$MADE/zstd.gvmi"
	assert_equal "$status" 0
	assert_contains "$output" 'zstd.gvmi: zstd compression'
	assert_contains "$output" 'user.gvmi: '
	run --separate-stderr gvmkit lint --exit-code "$MADE/zstd.gvmi"
	assert_equal "$status" 1
	assert_equal "$(gvmkit lint --json "$MADE/zstd.gvmi" | jq -c '.[0].warnings')" "$(gvmkit inspect --json "$MADE/zstd.gvmi" | jq -c .warnings)"
}

@test "inspect tells the compressor's options" {
	cp -a "$MADE/tree/bin" tree
	mksquashfs tree a.gvmi -comp gzip -Xcompression-level 3 -Xwindow-size 12 -quiet -no-progress >/dev/null
	mksquashfs tree b.gvmi -comp xz -Xbcj x86 -b 64k -quiet -no-progress >/dev/null
	mksquashfs tree c.gvmi -comp zstd -Xcompression-level 7 -quiet -no-progress >/dev/null
	mksquashfs tree d.gvmi -comp lz4 -Xhc -quiet -no-progress >/dev/null
	mksquashfs tree e.gvmi -comp lzo -Xalgorithm lzo1x_1_15 -quiet -no-progress >/dev/null
	for image in a b c d e; do /usr/bin/python3 "$E2E/trailer.py" $image.gvmi; done
	assert_contains "$(gvmkit inspect a.gvmi)" 'gzip (level 3, window 12), blocks of 128'
	assert_contains "$(gvmkit inspect b.gvmi)" 'filters x86), blocks of 64'
	assert_contains "$(gvmkit inspect c.gvmi)" 'zstd (level 7)'
	assert_contains "$(gvmkit inspect d.gvmi)" 'lz4 (high compression)'
	assert_contains "$(gvmkit inspect e.gvmi)" 'lzo (lzo1x_1_15'
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -c '[.content.files, .content.hard_links, .block_size]')" '[1,1,131072]'
}

@test "diff of an image and itself is nothing, whatever its compression" {
	run --separate-stderr gvmkit diff --exit-code "$MADE/gzip.gvmi" "$MADE/xz.gvmi"
	assert_equal "$status" 0
	assert_contains "$output" '0 added, 0 removed, 0 changed'
	run --separate-stderr gvmkit diff --exit-code "$MADE/gzip.gvmi" "$MADE/gzip.gvmi"
	assert_contains "$output" 'an update moves 0 B of'
}

@test "diff tells what differs" {
	cp -a "$MADE/tree" old
	cp -a old new
	printf 'another tool\n' >new/bin/tool
	rm -r new/etc
	mkdir -p new/usr/share
	seq 1 100 >new/usr/share/numbers
	chmod 700 new/data/empty
	touch -d @5 new/data/sparse
	mksquashfs old old.gvmi -noappend -quiet -no-progress >/dev/null
	mksquashfs new new.gvmi -comp zstd -noappend -quiet -no-progress >/dev/null
	/usr/bin/python3 "$E2E/trailer.py" old.gvmi '{"Cmd":["one"],"Env":["A=1","B=2"],"User":"root"}'
	/usr/bin/python3 "$E2E/trailer.py" new.gvmi '{"Cmd":["two"],"Env":["A=1","B=3"],"Volumes":{"/data":{}}}'
	run --separate-stderr gvmkit diff old.gvmi new.gvmi
	assert_equal "$status" 0
	assert_contains "$output" '- Cmd          ["one"]'
	assert_contains "$output" '+ Cmd          ["two"]'
	assert_contains "$output" $'- Env          B=2\n  + Env          B=3'
	assert_contains "$output" '+ Volumes      /data'
	assert_contains "$output" '~ /bin/tool  content 7 -> 13 bytes'
	assert_contains "$output" '- /etc/  with 3 below it'
	assert_contains "$output" '+ /usr/  with 2 below it'
	assert_contains "$output" '~ /data/empty  mode 0644 -> 0700'
	assert_contains "$output" '~ /data/sparse  time'
	assert_contains "$output" 'an update moves'
	run --separate-stderr gvmkit diff --exit-code --no-chunks old.gvmi new.gvmi
	assert_equal "$status" 1
	assert_equal "$stderr" ''
	gvmkit diff --json old.gvmi new.gvmi >out
	assert_equal "$(jq -c '.config.User' out)" '{"new":null,"old":"root"}'
	assert_equal "$(jq -r '.files[] | select(.change == "added").path' out)" $'/usr\n/usr/share\n/usr/share/numbers'
	assert_equal "$(jq -c '.files[] | select(.path == "/data/empty") | [.change, .what, .old.mode, .new.mode]' out)" '["changed",["mode"],"0644","0700"]'
	assert_equal "$(jq '.update.bytes + .update.shared_bytes == .b.size' out)" true
	assert_equal "$(jq '[.files[].change] | group_by(.) | map(length)' -c out)" "$(jq -c '[.totals.added, .totals.changed, .totals.removed]' out)"
}

@test "an update of one file moves little" {
	cp -a "$MADE/tree" tree
	seq 1 300000 >tree/data/first
	seq 300000 600000 >tree/data/second
	mksquashfs tree old.gvmi -noappend -quiet -no-progress >/dev/null
	echo changed >>tree/data/second
	mksquashfs tree new.gvmi -noappend -quiet -no-progress >/dev/null
	for image in old new; do /usr/bin/python3 "$E2E/trailer.py" $image.gvmi; done
	assert_equal "$(gvmkit diff --json old.gvmi new.gvmi | jq '.update.bytes < .b.size / 2')" true
}

@test "images of the original tools answer every question" {
	image=$E2E/../../../shared/testdata/alpine.gvmi
	[ -f "$image" ] || skip "alpine.gvmi of the test data is not there"
	assert_contains "$(gvmkit cat "$image" /etc/os-release)" 'ID=alpine'
	assert_contains "$(gvmkit ls -l "$image" /bin)" 'ls -> /bin/busybox'
	assert_contains "$(gvmkit verify "$image")" ': ok, '
	assert_contains "$(gvmkit lint "$image")" 'no VOLUME'
	gvmkit diff --exit-code "$image" "$image"
	gvmkit extract -o out "$image" /etc
	unsquashfs -no-xattrs -quiet -no-progress -d theirs "$image" etc >/dev/null
	diff -r --no-dereference out theirs
}

@test "mount shows the files through squashfuse" {
	mkdir mnt
	if ! { : <>/dev/fuse; } 2>/dev/null || ! command -v squashfuse >/dev/null; then
		skip "FUSE is not there"
	fi
	gvmkit mount "$MADE/gzip.gvmi" mnt || skip "FUSE does not work here"
	cmp mnt/data/numbers "$MADE/tree/data/numbers"
	run --separate-stderr gvmkit mount "$MADE/gzip.gvmi" mnt
	assert_equal "$status" 1
	assert_contains "$stderr" 'mounted at `mnt` already'
	gvmkit mount --unmount mnt
	[ ! -e mnt/data ]
	gvmkit mount --foreground "$MADE/gzip.gvmi" mnt 3>&- &
	pid=$!
	wait_until test -e mnt/data/numbers
	gvmkit mount -u mnt
	wait "$pid"
}

@test "mount says what is missing" {
	mkdir mnt bin
	ln -s "$(command -v gvmkit)" bin/gvmkit
	run --separate-stderr env PATH="$PWD/bin" gvmkit mount "$MADE/gzip.gvmi" mnt
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" 'install the packages squashfuse'
	run --separate-stderr gvmkit mount "$MADE/gzip.gvmi" nowhere
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	run --separate-stderr gvmkit mount nowhere mnt
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	run --separate-stderr gvmkit mount --unmount mnt
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
}

@test "wrong usage of the commands that look is status 2 and one line" {
	for words in "ls" "cat" "cat x" "extract" "diff" "diff x" "diff x y z" "verify" "verify --hash 12 x" "lint" "hash" "mount" "mount x" \
		"mount -u" "ls -x y" "extract --max-size z x"; do
		# shellcheck disable=SC2086
		run --separate-stderr gvmkit $words
		assert_equal "$status" 2
		assert_one_line_error "$stderr"
	done
	printf 'not an image, but long enough to hold a trailer\n' >junk
	for words in "ls junk" "cat junk x" "extract junk" "diff junk junk" "verify junk" "lint junk" "inspect junk" "mount junk ." "ls nothing"; do
		# shellcheck disable=SC2086
		run --separate-stderr gvmkit $words
		assert_equal "$status" 1
		assert_one_line_error "$stderr"
	done
	assert_equal "$(ls -A)" junk
}
