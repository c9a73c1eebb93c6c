#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The demonstration: an example image made from Debian's archive, converted and run.

bats_require_minimum_version 1.5.0

setup_file() {
	top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	export top
	archive=$("$top/scripts/make-demo-image.sh")
	export archive
}

@test "the demo prints what its program says" {
	cp "$archive" "$BATS_TEST_TMPDIR/hello.tar"
	gvmkit build "docker-archive:$BATS_TEST_TMPDIR/hello.tar" -o "$BATS_TEST_TMPDIR/hello.gvmi"
	run -0 --separate-stderr gvmkit run -e WHO=bats "$BATS_TEST_TMPDIR/hello.gvmi"
	[[ ${lines[0]} == 'hello, bats: this is process '*' of gvmkit, Linux '*' on x86_64' ]]
	[[ ${lines[1]} == 'I am visitor in /app, with '*' MiB of memory' ]]
	[ "${lines[2]}" = '/ is overlay' ]
	[ "${lines[3]}" = '/data is 9p' ]
	[ "${lines[4]}" = 'wrote last-run' ]
	[ "${lines[5]}" = 'arguments: one two' ]
	[ "${#lines[@]}" -eq 6 ]
}

@test "the example image is made once" {
	before=$(stat -c '%i %Y' "$archive")
	[ "$("$top/scripts/make-demo-image.sh")" = "$archive" ]
	[ "$(stat -c '%i %Y' "$archive")" = "$before" ]
}

@test "the example image is the same however often it is made, also for an ordinary user" {
	"$top/scripts/make-demo-image.sh" "$BATS_TEST_TMPDIR/again.tar"
	cmp "$archive" "$BATS_TEST_TMPDIR/again.tar"
	[ "$(id -u)" -eq 0 ] || return 0
	# A user who can read neither the tree nor the home of root: the scripts are all that is needed.
	mkdir "$BATS_TEST_TMPDIR/user"
	cp "$top"/scripts/{make-demo-image,get-busybox,fetch-deb}.sh "$BATS_TEST_TMPDIR/user/"
	chown -R 65534:65534 "$BATS_TEST_TMPDIR/user"
	chmod a+x "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_TEST_TMPDIR" "$(dirname "$BATS_TEST_TMPDIR")"
	setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$BATS_TEST_TMPDIR/user" XDG_CACHE_HOME= \
		"$BATS_TEST_TMPDIR/user/make-demo-image.sh" "$BATS_TEST_TMPDIR/user/hello.tar"
	cmp "$archive" "$BATS_TEST_TMPDIR/user/hello.tar"
	[ -z "$(find "$BATS_TEST_TMPDIR/user" -name '.work.*')" ]
}

@test "no network and no package: an error, and nothing left behind" {
	mkdir "$BATS_TEST_TMPDIR/bin"
	printf '#!/bin/sh\nexit 100\n' >"$BATS_TEST_TMPDIR/bin/apt-get"
	chmod +x "$BATS_TEST_TMPDIR/bin/apt-get"
	XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache PATH=$BATS_TEST_TMPDIR/bin:$PATH run -1 "$top/scripts/make-demo-image.sh"
	[[ $output == *'cannot download busybox-static'* ]]
	[ -z "$(find "$BATS_TEST_TMPDIR/cache" -type f)" ]
	[ -z "$(find "$BATS_TEST_TMPDIR/cache" -name '.work.*')" ]
}
