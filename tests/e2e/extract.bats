#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit extract`: what comes out is what is in, and nothing outside of the target is touched.

load helper

setup_file()
{
	e2e_setup_file
	mkdir -p "$BATS_FILE_TMPDIR/made" && cd "$BATS_FILE_TMPDIR/made" || return 1
	chmod 755 .
	gvmkit build "$IMAGES/layers.tar" -o layers.gvmi
	gvmkit build "$IMAGES/user.tar" -o user.gvmi
	mkdir -p tree/bin tree/locked tree/shared tree/open
	printf 'tool\n' >tree/bin/tool
	ln tree/bin/tool tree/bin/same
	ln -s ../bin/tool tree/open/link
	ln -s /etc/passwd tree/open/absolute
	seq 1 50000 >tree/open/numbers
	truncate -s 3000000 tree/open/sparse
	printf 'end' >>tree/open/sparse
	printf 'secret\n' >tree/locked/file
	printf 'x' >tree/open/$'new\nline'
	mkfifo tree/open/fifo
	chmod 4755 tree/bin/tool
	chmod 2775 tree/shared
	chmod 1777 tree/open
	chmod 400 tree/locked/file
	find tree -exec touch -h -d '2023-01-02 03:04:05 UTC' {} +
	chmod 555 tree/locked
	for compression in gzip lzma lzo xz lz4 zstd; do
		mksquashfs tree "$compression.gvmi" -comp "$compression" -b 16384 -noappend -quiet -no-progress >/dev/null
		/usr/bin/python3 "$E2E/trailer.py" "$compression.gvmi"
	done
	export MADE=$PWD
}
teardown_file() { chmod -R u+w "$MADE/tree"; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# An option for root only, one for everybody else: unsquashfs of others stores no setuid bits and not all attributes.
option_of_root() { [ "$(id -u)" -ne 0 ] || echo "$1"; }
option_of_others() { [ "$(id -u)" -eq 0 ] || echo "$1"; }

# Type, mode, owner, time, size, number of names, target, path of everything, and digests of contents.
entries()
{
	(cd "$1" && find . -type d -printf '%y %m %U %G %T@ %P\0' -o -printf '%y %m %U %G %T@ %s %n %l %P\0' | sort -z | tr '\0' '\n'
		find . -type f -exec sha256sum {} + | sort -k 2)
}

# The extended attributes of everything.
attributes()
{
	/usr/bin/python3 -c '
import os, sys
os.chdir(sys.argv[1])
for directory, names, files in sorted(os.walk(".")):
    for path in sorted(os.path.join(directory, n) for n in names + files):
        for name in sorted(os.listxattr(path, follow_symlinks=False)):
            print(path, name, os.getxattr(path, name, follow_symlinks=False))' "$1"
}

# As an ordinary user, in the current directory.
as_user()
{
	if [ "$(id -u)" -eq 0 ]; then
		setpriv --reuid 65534 --regid 65534 --clear-groups env TMPDIR=/tmp HOME=/nonexistent "$@"
	else
		"$@"
	fi
}

@test "what is extracted is what unsquashfs extracts, for every compression" {
	for image in "$MADE"/{layers,user,gzip,lzma,lzo,xz,lz4,zstd}.gvmi; do
		# shellcheck disable=SC2046
		gvmkit extract $(option_of_root --setuid) --devices --xattrs -o ours "$image"
		# shellcheck disable=SC2046
		unsquashfs $(option_of_others -user-xattrs) -quiet -no-progress -d theirs "$image" >/dev/null
		diff <(entries ours) <(entries theirs)
		diff <(attributes ours) <(attributes theirs)
		chmod -R u+w ours theirs
		rm -rf ours theirs
	done
}

@test "what is extracted is what tar extracts from the layers" {
	tar -xf "$IMAGES/base.tar"
	mkdir theirs
	tar -xp --delay-directory-restore -f ./*/layer.tar -C theirs
	gvmkit build --as-is "$IMAGES/base.tar" -o base.gvmi
	gvmkit extract -C ours base.gvmi
	# The root has no entry in the layer.
	diff <(entries ours | grep -v '^d.* $') <(entries theirs | grep -v '^d.* $')
}

@test "modes and times are kept whatever the umask, holes and hard links too" {
	(umask 077 && gvmkit extract -o out --setuid "$MADE/gzip.gvmi")
	diff <(entries out) <(entries "$MADE/tree")
	[ out/bin/tool -ef out/bin/same ]
	[ "$(stat -c %b out/open/sparse)" -le 64 ]
	assert_equal "$(stat -c %a out/locked out/open out/bin/tool)" $'555\n1777\n4755'
	chmod -R u+w out
}

@test "an ordinary user can extract, and owns it all" {
	mkdir home
	[ "$(id -u)" -ne 0 ] || chown 65534:65534 home
	cd home
	as_user gvmkit extract "$MADE/layers.gvmi"
	assert_equal "$(find layers ! -user "$(stat -c %U .)" -printf '%p ')" ''
	gvmkit extract -o "$BATS_TEST_TMPDIR/root" "$MADE/layers.gvmi"
	without_owner() { sed -E 's/^(.) ([0-7]+) [0-9]+ [0-9]+/\1 \2/' | sort; }
	diff <(entries layers | without_owner) <(entries "$BATS_TEST_TMPDIR/root" | without_owner)
	as_user gvmkit extract -o out "$MADE/gzip.gvmi"
	assert_equal "$(stat -c %a out/locked)" 555
	# Again into what is read-only by now.
	as_user gvmkit extract -f -o out "$MADE/gzip.gvmi"
	assert_equal "$(stat -c %a out/locked out/locked/file)" $'555\n400'
	as_user chmod u+w out/locked
}

@test "paths choose what is extracted" {
	gvmkit extract -o out "$MADE/gzip.gvmi" open/link locked
	assert_equal "$(cd out && find . | sort)" $'.\n./locked\n./locked/file\n./open\n./open/link'
	chmod u+w out/locked
	run --separate-stderr gvmkit extract -o other "$MADE/gzip.gvmi" open/nothing
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" open/nothing
	[ ! -e other ]
	# Through a symbolic link of the image, to its target in the image.
	mkdir -p tree/usr/bin
	ln -s usr/bin tree/bin
	ln -s /usr/bin tree/usr/sbin
	printf 'sh\n' >tree/usr/bin/sh
	printf 'no\n' >tree/usr/bin/other
	mksquashfs tree a.gvmi -noappend -quiet -no-progress >/dev/null
	/usr/bin/python3 "$E2E/trailer.py" a.gvmi
	gvmkit extract -o linked a.gvmi /bin/sh usr/sbin/sh
	assert_equal "$(cat linked/bin/sh)" sh
	assert_equal "$(cd linked && find . | sort)" $'.\n./bin\n./usr\n./usr/bin\n./usr/bin/sh\n./usr/sbin'
}

@test "a target that holds something is refused unless asked for" {
	mkdir out
	printf 'mine\n' >out/mine
	run --separate-stderr gvmkit extract -o out "$MADE/gzip.gvmi"
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" '--force'
	assert_equal "$(ls out)" mine
	chmod 750 out
	gvmkit extract --force -o out "$MADE/gzip.gvmi"
	assert_equal "$(cat out/mine out/bin/tool)" $'mine\ntool'
	assert_equal "$(stat -c %a out)" 750
	mkdir empty
	gvmkit extract -o empty "$MADE/gzip.gvmi" bin
	assert_equal "$(cat empty/bin/tool)" tool
	run --separate-stderr gvmkit extract -o out/mine "$MADE/gzip.gvmi"
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	chmod u+w out/locked
}

@test "nothing is written through what lies in the target" {
	mkdir -p out/bin victim
	printf 'untouched\n' >victim/file
	ln -s "$PWD/victim/file" out/bin/tool
	ln victim/file out/bin/same
	ln -s "$PWD/victim" out/open
	ln -s /nonexistent/x out/locked
	gvmkit extract --force -o out "$MADE/gzip.gvmi"
	assert_equal "$(ls -A victim)" file
	assert_equal "$(cat victim/file)" untouched
	assert_equal "$(stat -c %a:%h victim/file)" 644:1
	[ ! -L out/open ]
	[ out/bin/tool -ef out/bin/same ]
	assert_equal "$(cat out/bin/tool)" tool
	chmod u+w out/locked
}

@test "attacks by an image reach nothing: names twice, names that climb" {
	for seed in "$E2E"/../fuzz/corpus/fuzz_extract/*; do
		name=${seed##*/}
		mkdir "$name" "$name/victim"
		printf 'untouched\n' >"$name/victim/file"
		cp "$seed" "$name/a.gvmi"
		/usr/bin/python3 "$E2E/trailer.py" "$name/a.gvmi"
		for words in "" "--force" "--force --setuid --devices --xattrs"; do
			# shellcheck disable=SC2086
			(cd "$name" && run --separate-stderr gvmkit extract -o out $words a.gvmi
				case $name in
				plain) assert_equal "$status" 0 ;;
				privileges) ;; # not everybody may make devices
				*)
					# The names that climb are refused always; twins when nothing was there before.
					if [ -z "$words" ] || [[ $name == dotdot || $name == slash || $name == absolute ]]; then
						assert_equal "$status" 1
						assert_one_line_error "$stderr"
						[ -n "$words" ] || [ ! -e out ]
					fi
					;;
				esac)
			assert_equal "$(ls -A "$name/victim")" file
			assert_equal "$(cat "$name/victim/file")" untouched
			assert_equal "$(stat -c '%a %h' "$name/victim/file")" '644 1'
			mkdir -p "$name/out"
			assert_equal "$(ls -A "$name")" $'a.gvmi\nout\nvictim'
		done
		chmod -R u+w "$name"
	done
	[ ! -e /etc/planted ]
}

@test "what gives privileges is left out, and told" {
	run --separate-stderr gvmkit extract -o out "$MADE/gzip.gvmi"
	assert_equal "$status" 0
	assert_contains "$stderr" 'setuid and setgid bits of 2 files left out'
	assert_equal "$(find out -perm /6000)" ''
	run --separate-stderr gvmkit extract -o all --setuid "$MADE/gzip.gvmi"
	assert_equal "$stderr" ''
	assert_equal "$(find all -perm /6000 | sort)" $'all/bin/same\nall/bin/tool\nall/shared'
	cp "$E2E/../fuzz/corpus/fuzz_extract/privileges" a.gvmi
	/usr/bin/python3 "$E2E/trailer.py" a.gvmi
	run --separate-stderr gvmkit extract -o devices a.gvmi
	assert_contains "$stderr" '2 device nodes left out'
	assert_equal "$(find devices -type b -o -type c)" ''
	if [ "$(id -u)" -eq 0 ] && mknod probe c 1 3; then
		gvmkit extract --devices -o made a.gvmi
		assert_equal "$(stat -c %t:%T made/null)" 1:3
		assert_equal "$(gvmkit extract --json -o json a.gvmi 2>/dev/null | jq -c '[.devices_left_out, .capabilities_left_out, .specials]')" '[2,1,2]'
	else
		run --separate-stderr gvmkit extract --devices -o made a.gvmi
		assert_equal "$status" 1
		assert_one_line_error "$stderr"
		[ ! -e made ]
	fi
	chmod u+w out/locked all/locked
}

@test "a new target appears whole or not at all" {
	# A block in the middle of the image is damaged.
	cp "$MADE/layers.gvmi" bad.gvmi
	printf '\377\377\377\377\377\377\377\377' | dd of=bad.gvmi bs=1 seek=100000 conv=notrunc status=none
	run --separate-stderr gvmkit extract -o out bad.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_equal "$(ls -A)" bad.gvmi
	run --separate-stderr gvmkit extract --max-size 1000 -o out "$MADE/layers.gvmi"
	assert_equal "$status" 1
	assert_contains "$stderr" '--max-size'
	assert_equal "$(ls -A)" bad.gvmi
}

@test "Ctrl-C and kill leave nothing of a new target" {
	mkdir tree
	for i in 1 2 3 4 5 6 7 8; do seq $((i * 100000)) $((i * 100000 + 900000)) >tree/$i; done
	mksquashfs tree large.gvmi -comp xz -b 1M -noappend -quiet -no-progress >/dev/null
	/usr/bin/python3 "$E2E/trailer.py" large.gvmi
	rm -r tree
	for signal in INT TERM KILL; do
		env --default-signal=INT gvmkit extract -o out large.gvmi 3>&- >/dev/null 2>&1 &
		pid=$!
		wait_until compgen -G '.out-*' >/dev/null
		kill -"$signal" "$pid"
		wait "$pid" && { echo "it was faster than the signal"; rm -rf out; continue; }
		wait_until bash -c '[ "$(ls -A)" = large.gvmi ]'
	done
}

@test "a full disk is one line, and leaves nothing of a new target" {
	[ "$(id -u)" -eq 0 ] || skip "making a small file system needs root"
	mkdir small
	mount -t tmpfs -o size=200k none small
	run --separate-stderr gvmkit extract -o small/out "$MADE/layers.gvmi"
	wait_until bash -c '[ -z "$(ls -A small)" ]' || { umount small; return 1; }
	umount small
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" 'No space left'
}

@test "the default name of the target, and the result as JSON" {
	cp "$MADE/gzip.gvmi" 'my image.gvmi'
	assert_contains "$(gvmkit extract 'my image.gvmi' 2>/dev/null)" 'my image: 5 files of'
	[ -e 'my image/bin/tool' ]
	cp "$MADE/gzip.gvmi" noending
	gvmkit extract noending bin 2>/dev/null
	[ -e noending.root/bin/tool ]
	gvmkit extract --json -o json "$MADE/gzip.gvmi" >out 2>/dev/null
	assert_equal "$(jq -c '[.directory, .files, .directories, .symlinks, .hard_links, .specials, .privilege_bits_left_out]' out)" \
		"$(jq -nc '["json", 5, 4, 2, 1, 1, 2]')"
	gvmkit extract --progress json -o more "$MADE/layers.gvmi" 2>progress
	assert_equal "$(grep -v '^{' progress)" ''
	chmod u+w 'my image/locked' json/locked
}
