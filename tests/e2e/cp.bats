#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit cp`: files between this machine and a running VM. Most tests share one VM, whose owner is the file's, each in a directory of its own there.

load helper

setup_file() {
	e2e_setup_file
	export XDG_STATE_HOME=$BATS_FILE_TMPDIR/state TMPDIR=$BATS_FILE_TMPDIR/owner VOLUME=$BATS_FILE_TMPDIR/volume BIG=$BATS_FILE_TMPDIR/big
	export MIDDLE=$BATS_FILE_TMPDIR/middle
	mkdir -p "$TMPDIR" "$VOLUME"
	gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" 2>/dev/null >/dev/null
	vm -d --name shared -m 768m --root-size 512m -v "$VOLUME:/data" "$IMAGES/base.gvmi" sleep 100000 >/dev/null
	head -c 104857601 /dev/urandom >"$BIG"
	head -c 40000000 "$BIG" >"$MIDDLE"
}

teardown_file() {
	gvmkit kill shared >/dev/null
	wait_until gone shared
}

setup() {
	e2e_setup
	here=/t/$BATS_TEST_NUMBER
	inside mkdir -p "$here"
}

# The shared VM lives on; whatever else a test has started does not.
teardown() {
	local left
	left=$(marked_processes | xargs -r ps -o comm= -p | grep -v qemu || true)
	assert_equal "$left" ""
	assert_equal "$(ls -A "$TMPDIR")" ""
}

gone() { ! gvmkit ps | grep -q "^$1 "; }
inside() { gvmkit exec shared "$@"; }
# What is in a directory, with all that a copy keeps: not the times of directories.
listing() { find . -type d -printf '%P d %m\n' -o -type l -printf '%P l %l\n' -o -printf '%P %y %m %s %T@ %n\n' | sort; }

@test "a tree goes into the VM and comes back as it was: names, sizes, times, modes, links, holes" {
	long=$(printf 'x%.0s' {1..200})
	mkdir -p "tree/$long/$long" tree/d
	echo one >tree/d/one && ln tree/d/one tree/d/two && ln -s ../none tree/d/dangling && ln -s d tree/link
	: >tree/empty && echo odd >"tree/"$'new\nline \377\376' && echo deep >"tree/$long/$long/$long"
	chmod 640 tree/empty && chmod 711 tree/d && touch -d '2001-02-03 04:05:06.789' tree/d/one
	truncate -s 30M tree/sparse && echo end >>tree/sparse
	gvmkit cp tree "shared:$here"
	assert_equal "$(inside stat -c '%u:%g %a %h' "$here/tree/d/one")" "0:0 644 2"
	[ "$(inside stat -c %b "$here/tree/sparse")" -lt 1000 ]
	gvmkit cp "shared:$here/tree" back
	diff -r --no-dereference tree back
	diff <(cd tree && listing) <(cd back && listing)
	[ "$(stat -c %b back/sparse)" -lt 1000 ]
	[ back/d/one -ef back/d/two ]
}

@test "large and empty files arrive whole, in the root and in a volume" {
	: >empty
	for place in "$here" /data; do
		gvmkit cp "$BIG" "shared:$place/big"
		gvmkit cp empty "shared:$place"
		gvmkit cp "shared:$place/big" back
		assert_equal "$(sha256sum <back)" "$(sha256sum <"$BIG")"
		gvmkit cp "shared:$place/empty" empty2
		[ -f empty2 ] && [ ! -s empty2 ]
	done
	# What is in the volume is the host's.
	cmp "$BIG" "$VOLUME/big"
	inside rm "$here/big" /data/big
	echo through >"$VOLUME/through"
	gvmkit cp shared:/data/through .
	assert_equal "$(cat through)" through
}

@test "a copy comes to lie where docker cp puts it" {
	mkdir -p src/dir/sub && echo new >src/file && echo f >src/dir/f && echo s >src/dir/sub/s
	# SRC DST, and what must be there then: within a directory with an empty directory "d" and a file "old"; "!" if it is refused.
	local rows=(
		"file|new|new" "file|new/|!" "file|old|old" "file|d|d/file" "file|d/|d/file" "file|old/|!" "file/|d|!"
		"dir|new|new/sub/s" "dir|new/|new/sub/s" "dir/.|new|new/sub/s" "dir|old|!" "dir|d|d/dir/sub/s" "dir/|d|d/dir/sub/s" "dir/.|d|d/sub/s"
		"none|d|!" "file|none/new|!" "file|link|d/file" "dir|link/|d/dir/f"
	)
	gvmkit cp src "shared:$here/src"
	for row in "${rows[@]}"; do
		IFS='|' read -r from to there <<<"$row"
		inside sh -c "cd $here && rm -rf to && mkdir -p to/d && ln -s d to/link && echo old > to/old"
		rm -rf to && mkdir -p to/d && ln -s d to/link && echo old >to/old
		if [ "$there" = '!' ]; then
			run -1 --separate-stderr gvmkit cp "src/$from" "shared:$here/to/$to"
			assert_one_line_error "$stderr"
			run -1 --separate-stderr gvmkit cp "shared:$here/src/$from" "to/$to"
			assert_one_line_error "$stderr"
			there=old
			assert_equal "$(cat to/old)" old
		else
			gvmkit cp "src/$from" "shared:$here/to/$to"
			gvmkit cp "shared:$here/src/$from" "to/$to"
			[ "$there" != old ] || assert_equal "$(cat to/old)" new
		fi
		[ -f "to/$there" ] || { echo "out: $row" && false; }
		inside test -f "$here/to/$there" || { echo "in: $row" && false; }
	done
}

@test "links are copied as links, and followed with -L" {
	mkdir d && echo x >d/f && ln -s d/f link && ln -s d dirlink
	for option in "" -L; do
		gvmkit cp $option link "shared:$here/in$option"
		gvmkit cp $option dirlink "shared:$here/dir$option"
		gvmkit cp $option "shared:$here/in$option" "out$option"
	done
	assert_equal "$(inside readlink "$here/in")" d/f
	assert_equal "$(readlink out)" d/f
	assert_equal "$(cat out-L)" x
	inside test -f "$here/dir-L/f"
	inside ln -s in-L "$here/again"
	gvmkit cp -L "shared:$here/again" again
	[ ! -L again ] && assert_equal "$(cat again)" x
	# A link at the destination is followed.
	inside ln -s in-L "$here/to"
	echo y >y && gvmkit cp y "shared:$here/to"
	assert_equal "$(inside cat "$here/in-L")" y
}

@test "a tar goes in and comes out by -, with its owners" {
	mkdir d && echo x >d/f && chmod 4755 d/f
	tar c --owner=1000 --group=50 d | gvmkit cp - "shared:$here"
	assert_equal "$(inside stat -c '%u:%g %a' "$here/d/f")" "1000:50 4755"
	gvmkit cp "shared:$here/d" - | tar tv --numeric-owner | grep -q '^-rwsr-xr-x 1000/50 .* d/f$'
	assert_equal "$(gvmkit cp "shared:$here/d/." - | tar t | sort | tr '\n' ' ')" "./ ./f "
	gvmkit cp "shared:$here/d" - | gvmkit cp - "shared:/data"
	assert_equal "$(inside cat /data/d/f)" x
	# Out of a VM nobody gets privileges.
	gvmkit cp "shared:$here/d/f" f
	assert_equal "$(stat -c '%U %a' f)" "$(id -un) 755"
	# What is no tar, or only a part of one, is said.
	run -1 --separate-stderr gvmkit cp - "shared:$here" <<<"no tar"
	assert_contains "$stderr" tar
	run -1 --separate-stderr gvmkit cp - "shared:$here" < <(tar c d | head -c 600)
	assert_contains "$stderr" "ends in the middle"
	run -1 --separate-stderr gvmkit cp - "shared:$here/d/f" < <(tar c d)
	assert_contains "$stderr" "not a directory"
	# Names of a tar lead nowhere else.
	ln -s / root && tar cf harm root && tar rf harm --transform 's,^d,root/etc,' d/f && tar cPf up --transform 's,^d,../../escaped,' d/f
	for tar in harm up; do
		run -1 --separate-stderr gvmkit cp - "shared:$here" <$tar
		assert_contains "$stderr" "leads out"
	done
	run ! inside test -e /etc/f -o -e /escaped -o -e /t/escaped
}

@test "owners are root's, or kept with --archive" {
	echo x >f
	gvmkit cp f "shared:$here/f"
	gvmkit cp -a f "shared:$here/kept"
	assert_equal "$(inside stat -c '%u:%g' "$here/f" "$here/kept" | tr '\n' ' ')" "0:0 $(id -u):$(id -g) "
}

@test "an image that has nothing but its program can be copied to and from" {
	printf '#include <unistd.h>\nint main(void) { for (;;) pause(); }\n' | musl-gcc -static -Os -x c -o pause -
	/usr/bin/python3 -c "import sys; sys.path.insert(0, '$E2E'); from images import *
docker('scratch.tar', {'Cmd': ['/pause']}, [Layer().add('pause', data=open('pause', 'rb').read(), mode=0o755).bytes()])"
	gvmkit build scratch.tar -o scratch.gvmi 2>/dev/null >/dev/null
	vm -d --name scratch scratch.gvmi >/dev/null
	mkdir d && echo x >d/f
	gvmkit cp d scratch:/copy
	gvmkit cp scratch:/copy/f out
	cmp d/f out
	gvmkit cp scratch:/pause out
	cmp pause out
	gvmkit cp scratch:/proc/version - | tar xO | grep -q Linux
	gvmkit kill scratch >/dev/null
	wait_until gone scratch
}

@test "a full disk is said, and leaves the file that was there" {
	head -c 3000000 "$BIG" >file
	inside sh -c "mount -t tmpfs -o size=1m small $here && echo old > $here/file"
	run -1 --separate-stderr gvmkit cp file "shared:$here"
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "No space left"
	assert_equal "$(inside sh -c "ls -A $here; cat $here/file")" $'file\nold'
	inside umount "$here"
	gvmkit cp file "shared:$here"
	unshare -rm true 2>/dev/null || skip "no namespaces for a small file system of our own"
	mkdir small
	run -1 --separate-stderr unshare -rm sh -c "mount -t tmpfs -o size=1m small small && echo old > small/file && gvmkit cp shared:$here/file small; s=\$?
		ls -A small; cat small/file; exit \$s"
	assert_equal "$output" $'file\nold'
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "No space left"
}

@test "wrong words are told" {
	for words in "a b" "shared:/a shared:/b" "shared: b" "a" "-x a b"; do
		# shellcheck disable=SC2086 # words
		run -2 gvmkit cp $words
	done
	run -1 --separate-stderr gvmkit cp none:/x .
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "gvmkit ps"
	echo x >"a:b"
	gvmkit cp ./a:b "shared:$here/a:b"
	gvmkit cp "shared:$here/a:b" "$PWD/c:d"
	cmp a:b c:d
	inside mkfifo "$here/pipe"
	run -0 --separate-stderr gvmkit cp "shared:$here" out
	assert_contains "$stderr" "left out"
	[ -f out/a:b ] && [ ! -e out/pipe ]
}

@test "a guest that lies touches nothing but the copy" {
	# Its root writes into the pipe of the agent that packs (whose directory is descriptor 3), between two files, whatever it likes.
	echo safe >secret && mkdir out && echo safe >out/other
	mkdir -p lie/many && cd lie && echo harm >many/f && ln -s ../.. many/up
	tar cf ../lie.tar many/up && tar rf ../lie.tar --transform 's,^many/f$,many/up/secret,' many/f
	cd .. && gvmkit cp lie.tar "shared:$here/lie.tar"
	cat >liar <<-'END'
		mkdir many && cd many && seq 1 6000 | xargs touch -d @0 && cd .. && touch ready
		while :; do
			for p in /proc/[0-9]*; do
				if [ "$(readlink $p/fd/3)" = "$PWD/many" ]; then
					kill -STOP "${p#/proc/}" && cat lie.tar >"$p/fd/1" && touch lied; kill -KILL "${p#/proc/}"; exit
				fi
			done
		done
	END
	gvmkit cp liar "shared:$here"
	inside sh -c "cd $here && sh liar" &
	wait_until inside test -e "$here/ready"
	for ((i = 0; i < 100; i++)); do
		run gvmkit cp "shared:$here/many" out
		[ "$status" -eq 0 ] || break
	done
	assert_equal "$status" 1
	assert_contains "$output" "leads out"
	wait $! || true
	inside test -e "$here/lied"
	assert_equal "$(cat secret out/other)" $'safe\nsafe'
	[ -L out/many/up ] && [ ! -e out/secret ]
	# And it may change what is packed meanwhile.
	inside sh -c "cd $here && rm -rf many && mkdir -p a/x b && touch a/x/f && (while [ -e a/x ]; do mv a/x b/x; ln -s / a/x; rm a/x; mv b/x a/x; done) > /dev/null 2>&1 & " &
	for ((i = 0; i < 5; i++)); do
		run gvmkit cp "shared:$here/a" race
		[ "$status" -le 1 ]
	done
	[ ! -e race/x/bin ]
	inside rm -rf "$here/a"
	wait
}

@test "Ctrl-C ends a copy, and leaves the file that was there on either side" {
	mkfifo fifo && echo old >file
	gvmkit cp file "shared:$here"
	head -c 1000000 "$BIG" >file && tar cf file.tar file
	gvmkit cp - "shared:$here" <fifo &
	cp=$!
	exec 7>fifo
	head -c 500000 file.tar >&7
	sleep 0.3
	kill -INT $cp
	run wait $cp
	exec 7>&-
	assert_equal "$(inside sh -c "ls -A $here; cat $here/file")" $'file\nold'
	gvmkit cp "$MIDDLE" "shared:$here/big"
	echo old >out
	gvmkit cp "shared:$here/big" out &
	cp=$!
	sleep 0.2
	kill -INT $cp || true
	wait $cp || assert_equal $? 130
	assert_equal "$(cat out)" old || cmp out "$MIDDLE"
	assert_equal "$(ls -A)" "$(printf 'fifo\nfile\nfile.tar\nout')"
	inside rm "$here/big"
}

@test "a VM that dies in the middle leaves the file that was there" {
	vm -d --name mortal -m 256m --root-size 128m "$IMAGES/base.gvmi" sleep 1000 >/dev/null
	gvmkit cp "$MIDDLE" mortal:/big
	echo old >out
	gvmkit cp mortal:/big out &
	cp=$!
	sleep 0.2
	gvmkit kill mortal >/dev/null
	if wait $cp; then
		cmp out "$MIDDLE"
	else
		assert_equal "$(cat out)" old
	fi
	assert_equal "$(ls -A)" out
	wait_until gone mortal
}
