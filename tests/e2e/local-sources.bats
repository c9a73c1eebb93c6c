#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Sources that are there as they are: directories, tars of root file systems, standard input, Dockerfiles.

load helper

setup_file() { e2e_setup_file; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# A small root file system in $1, with one of everything that an ordinary user can make.
make_root()
{
	mkdir -p "$1/bin" "$1/etc" "$1/tmp" "$1/usr/share/deep/er"
	cp "$(busybox)" "$1/bin/busybox"
	ln "$1/bin/busybox" "$1/bin/sh"
	ln -s busybox "$1/bin/cat"
	echo "made here" >"$1/etc/motd"
	: >"$1/usr/share/deep/er/.wh.name"
	printf 'a name with\nlines' >"$1/usr/share/odd
name"
	truncate -s 40M "$1/usr/share/sparse"
	printf end >>"$1/usr/share/sparse"
	mkfifo "$1/tmp/fifo"
	chmod 1777 "$1/tmp"
	chmod 4755 "$1/bin/busybox"
	find "$1" -exec touch -h -d @1700000000 {} +
}

busybox()
{
	"$E2E/../../scripts/get-busybox.sh"
}

# type mode uid gid mtime links target path and digests of all that is in a directory.
tree()
{
	(cd "$1" && find . -printf '%y %m %U %G %Ts %s %l %p\0' | sed -z 's/^\(d [^ ]* [^ ]* [^ ]* [^ ]*\) [^ ]*/\1 -/' | sort -z -k8 | tr '\0' '\n'
		find . -type f -exec sha256sum {} + | sort -k2)
}

@test "a directory, its tar of every kind, and either by content or from standard input are the same bytes" {
	make_root root
	[ "$(id -u)" -eq 0 ] || owner=(--owner=0:0 --group=0:0 --numeric-owner)
	gvmkit build dir:root -o dir.gvmi 2>/dev/null
	for format in gnu pax; do
		tar "${owner[@]}" --format=$format --pax-option=delete=atime,delete=ctime -C root -cf $format.tar . 2>/dev/null ||
			tar "${owner[@]}" --format=$format -C root -cf $format.tar .
	done
	tar "${owner[@]}" --format=gnu --sparse -C root -cf sparse.tar .
	tar "${owner[@]}" --format=ustar -C root -cf ustar.tar .
	(cd root && find . -print0 | cpio -0o -H ustar --quiet --owner=0:0 >../cpio.tar)
	gzip -k gnu.tar
	zstd -q gnu.tar -o gnu.tar.zst
	xz -k pax.tar
	xz -k --format=lzma pax.tar
	bzip2 -k ustar.tar
	{ head -c 100000 pax.tar | gzip && tail -c +100001 pax.tar | gzip; } >members.gz
	for f in gnu.tar pax.tar sparse.tar ustar.tar cpio.tar gnu.tar.gz gnu.tar.zst pax.tar.xz pax.tar.lzma ustar.tar.bz2 members.gz; do
		gvmkit build "tar:$f" -o one.gvmi -f 2>/dev/null
		cmp dir.gvmi one.gvmi
		gvmkit build "$f" -o one.gvmi -f 2>/dev/null
		cmp dir.gvmi one.gvmi
	done
	gvmkit build root -o one.gvmi -f 2>/dev/null
	cmp dir.gvmi one.gvmi
	gvmkit build - -o one.gvmi -f <gnu.tar 2>/dev/null
	cmp dir.gvmi one.gvmi
	cat sparse.tar | gvmkit build tar:- -o one.gvmi -f 2>/dev/null
	cmp dir.gvmi one.gvmi
	cat gnu.tar.zst | gvmkit build - -o one.gvmi -f 2>/dev/null
	cmp dir.gvmi one.gvmi
	gvmkit build dir:root -o one.gvmi -f -j 1 2>/dev/null
	cmp dir.gvmi one.gvmi
}

@test "a directory comes back as it was: types, modes, owners, times, links, holes, contents, attributes" {
	make_root root
	if [ "$(id -u)" -eq 0 ]; then
		mknod root/etc/null c 1 3
		mknod root/etc/whiteout c 0 0
		chown 12:34 root/etc/motd
		chown -h 56:78 root/bin/cat
		find root -exec touch -h -d @1700000000 {} +
		/usr/bin/python3 -c 'import os; os.setxattr("root/bin/busybox", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))'
	fi
	gvmkit build dir:root -o a.gvmi 2>/dev/null
	unsquashfs -quiet -no-progress -d back a.gvmi >/dev/null
	tree root >before
	tree back >after
	# What every container has is added to it.
	diff <(grep -vE ' \./(dev|proc|sys|var|etc/(hosts|hostname|resolv.conf|mtab))|^[^ ]{64} .*/etc/(hosts|hostname|resolv.conf)$| \.$|d .* \./etc$' before) \
		<(grep -vE ' \./(dev|proc|sys|var|etc/(hosts|hostname|resolv.conf|mtab))|^[^ ]{64} .*/etc/(hosts|hostname|resolv.conf)$| \.$|d .* \./etc$' after)
	assert_equal "$(stat -c %i back/bin/sh)" "$(stat -c %i back/bin/busybox)"
	[ "$(stat -c %s a.gvmi)" -lt 4000000 ]
	[ "$(id -u)" -ne 0 ] ||
		assert_equal "$(/usr/bin/python3 -c 'import os; print(os.getxattr("back/bin/sh", "security.capability").hex())')" 0100000200200000000000000000000000000000
}

@test "what an ordinary user converts is root's in the image, and what he may not read is refused by name" {
	make_root root
	if [ "$(id -u)" -eq 0 ]; then
		as=(setpriv --reuid 65534 --regid 65534 --clear-groups --)
		chown -R 65534:65534 root .
	else
		as=()
	fi
	run --separate-stderr "${as[@]}" gvmkit build dir:root -o a.gvmi
	assert_equal "$status" 0
	assert_contains "$stderr" "belong to root in the image"
	unsquashfs -lln a.gvmi | grep -q ' 0/0 .*/etc/motd$'
	assert_equal "$(unsquashfs -lln a.gvmi | awk '/^[-dlps]/ && $2 != "0/0"')" ""
	chmod 000 root/etc/motd root/usr/share/deep
	run --separate-stderr "${as[@]}" gvmkit build dir:root -o b.gvmi
	chmod 755 root/etc/motd root/usr/share/deep
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "\`/etc/motd\` and 1 more cannot be read: Permission denied"
	[ ! -e b.gvmi ]
}

@test "a directory that fakeroot made has the owners and devices that fakeroot shows" {
	command -v fakeroot >/dev/null || skip "fakeroot is not installed"
	cat >script <<-'END'
		mkdir -p root/dev root/etc
		echo x >root/etc/passwd
		chown 3:4 root/etc/passwd
		mknod root/dev/null c 1 3
		chmod 666 root/dev/null
		gvmkit build dir:root -o a.gvmi 2>/dev/null
	END
	fakeroot sh script
	unsquashfs -lln a.gvmi >list
	grep -q '^crw-rw-rw- 0/0  *1,  3 .*/dev/null$' list
	grep -q '^-rw-r--r-- 3/4 .*/etc/passwd$' list
	grep -q '^drwxr-xr-x 0/0 .*squashfs-root$' list
}

@test "other file systems below a directory are left out, and it is said" {
	[ "$(id -u)" -eq 0 ] || skip "mounting needs root"
	make_root root
	mkdir root/proc root/mnt
	cat >script <<-'END'
		mount -t proc proc root/proc && mount -t tmpfs none root/mnt && echo x >root/mnt/inside && gvmkit build dir:root -o a.gvmi
	END
	run --separate-stderr unshare -m sh script
	assert_equal "$status" 0
	assert_contains "$stderr" "/mnt\` and others are left out: other file systems are mounted there"
	assert_equal "$(unsquashfs -l a.gvmi | grep -cE 'root/(proc|mnt)/.')" 0
	unsquashfs -l a.gvmi | grep -q 'root/mnt$'
}

@test "a file that changes while its directory is converted fails the conversion" {
	make_root root
	head -c 300M /dev/zero | tr '\0' x >root/usr/share/large
	(
		for _ in $(seq 200); do
			echo more >>root/usr/share/large
			sleep 0.02
		done
	) 3>&- &
	changer=$!
	run --separate-stderr gvmkit build dir:root -o a.gvmi
	kill $changer
	wait $changer || true
	assert_equal "$status" 1
	assert_contains "$stderr" "\`/usr/share/large\` has changed while it was read"
	[ ! -e a.gvmi ]
}

@test "docker save and docker export can be piped in, and a terminal is no archive" {
	cat "$IMAGES/layers.tar" | gvmkit build - -o a.gvmi
	gzip -c "$IMAGES/layers.tar" | gvmkit build docker-archive:- -o b.gvmi
	gvmkit build - -o c.gvmi <"$IMAGES/layers.tar"
	cat "$IMAGES/layers.oci.tar" | gvmkit build oci-archive:- -o d.gvmi
	gvmkit build "$IMAGES/layers.tar" -o e.gvmi
	for f in a b c d; do cmp $f.gvmi e.gvmi; done
	# What `docker export` writes begins with the file of which its daemon knows a container.
	make_root root
	: >root/.dockerenv
	(cd root && tar --format=pax --owner=0:0 --group=0:0 -cf - .dockerenv bin etc tmp usr) | gvmkit build - -o x.gvmi 2>/dev/null
	unsquashfs -l x.gvmi | grep -q 'root/.dockerenv$'
	run script -qec "gvmkit build - -o y.gvmi" /dev/null </dev/null
	assert_equal "$status" 1
	assert_contains "$output" "it is a terminal"
	run --separate-stderr gvmkit build - -o y.gvmi </dev/null
	assert_equal "$status" 1
	assert_contains "$stderr" "standard input: the file is empty"
	[ ! -e y.gvmi ]
}

@test "what is neither an image nor a root file system is not guessed at" {
	mkdir project
	echo x >project/readme
	tar -cf project.tar project
	run --separate-stderr gvmkit build project -o a.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "write dir:project"
	run --separate-stderr gvmkit build project.tar -o a.gvmi
	assert_equal "$status" 1
	assert_contains "$stderr" "write tar: before its name"
	echo "FROM scratch" >project/Dockerfile
	run --separate-stderr gvmkit build project -o a.gvmi
	assert_contains "$stderr" "dockerfile:project"
	gvmkit build dir:project -o a.gvmi 2>/dev/null
	gvmkit build tar:project.tar -o b.gvmi 2>/dev/null
	unsquashfs -l b.gvmi | grep -q root/project/readme
}

# How many conversions the cache holds.
kept()
{
	find "$XDG_CACHE_HOME/gvmkit/images" -name '*.gvmi' | wc -l
}

@test "a directory can be run, and equal ones are kept once" {
	make_root root
	assert_equal "$(vm dir:root /bin/sh -c '/bin/cat /etc/motd' 2>/dev/null)" "made here"
	kept >before
	assert_equal "$(vm dir:root /bin/sh -c '/bin/cat /etc/motd' 2>/dev/null)" "made here"
	assert_equal "$(kept)" "$(cat before)"
	echo changed >root/etc/motd
	assert_equal "$(vm dir:root /bin/sh -c '/bin/cat /etc/motd' 2>/dev/null)" "changed"
	assert_equal "$(compgen -G "$XDG_CACHE_HOME/gvmkit/images/new*" || true)" ""
}

# A store of its own, so that nothing of the user's is touched, and what works in a container.
setup_buildah()
{
	command -v buildah >/dev/null || skip "buildah is not installed"
	[ "$(id -u)" -eq 0 ] || skip "buildah without root needs a range of user ids"
	export CONTAINERS_STORAGE_CONF=$BATS_TEST_TMPDIR/storage.conf BUILDAH_ISOLATION=chroot
	printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/store"\nrunroot = "%s/run"\n' "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR" >"$CONTAINERS_STORAGE_CONF"
}

@test "a Dockerfile is built by buildah, again from its cache, and nothing of ours stays" {
	setup_buildah
	mkdir context
	cp "$(busybox)" context/sh
	printf 'FROM scratch\nCOPY sh /bin/sh\nENV GREETING=hello\nRUN echo built >/etc/made\nCMD ["/bin/sh"]\n' >context/Dockerfile
	run --separate-stderr gvmkit build dockerfile:context -o a.gvmi
	assert_equal "$status" 0
	assert_contains "$stderr" "RUN echo built"
	assert_equal "$(grep -c STEP <<<"$output")" 0
	unsquashfs -cat a.gvmi etc/made | grep -qx built
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -c .config.Cmd)" '["/bin/sh"]'
	gvmkit inspect --json a.gvmi | jq -r '.config.Env[]' | grep -qx GREETING=hello
	gvmkit build dockerfile:context/Dockerfile -o b.gvmi --platform linux/amd64 2>/dev/null
	cmp a.gvmi b.gvmi
	assert_equal "$(buildah containers -q)" ""
	assert_equal "$(buildah images --format '{{.Name}}' | sort -u)" "<none>"
}

@test "a Dockerfile that fails, and an interrupted build, leave nothing and no process" {
	setup_buildah
	mkdir context
	cp "$(busybox)" context/sh
	printf 'FROM scratch\nCOPY sh /bin/sh\nRUN exit 3\n' >context/Dockerfile
	run --separate-stderr gvmkit build dockerfile:context -o a.gvmi
	assert_equal "$status" 1
	assert_contains "$stderr" "\`buildah bud\` failed with the status"
	assert_equal "$(buildah containers -q)" ""
	printf 'FROM scratch\nCOPY sh /bin/sh\nRUN echo started >&2; sleep 7654\n' >context/Dockerfile
	for signal in TERM KILL; do
		gvmkit build dockerfile:context -o a.gvmi 2>log 3>&- &
		pid=$!
		wait_until grep -qx started log
		kill -$signal $pid
		wait $pid || true
		wait_until eval '! pgrep -f "^sleep 7654$" >/dev/null'
		assert_nothing_left
	done
	[ ! -e a.gvmi ]
}

@test "without anything that builds Dockerfiles, one line says what to install" {
	mkdir context empty
	echo "FROM scratch" >context/Dockerfile
	run --separate-stderr env "PATH=$PWD/empty" "$(command -v gvmkit)" build dockerfile:context -o a.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "apt install buildah"
}
