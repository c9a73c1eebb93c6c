#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# The same image gives the same bytes: whatever the machine, the user and the place, and from whichever source it comes.

load helper

setup_file()
{
	e2e_setup_file
	/usr/bin/python3 "$E2E/edge_images.py" sources "$IMAGES/sources"
	chmod -R a+rX "$IMAGES"
	gvmkit build "docker-archive:$IMAGES/sources/old.docker.tar" -o "$IMAGES/expected.gvmi"
}
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# build SOURCE [OPTION...]: the result must be as expected.
build()
{
	local source=$1
	shift
	rm -f out.gvmi
	gvmkit build --progress none "$@" "$source" -o out.gvmi >/dev/null
	cmp out.gvmi "$IMAGES/expected.gvmi" || {
		echo "$source $* differs"
		return 1
	}
}

@test "one image from archives of both kinds of docker save, layouts and archives of them, with layers packed in any way, is the same bytes" {
	build "docker-archive:$IMAGES/sources/new.docker.tar"
	build "docker-archive:$IMAGES/sources/new.docker.tar:test/zoo:v1"
	build "$IMAGES/sources/old.docker.tar"
	for how in none gzip zstd; do
		build "oci:$IMAGES/sources/$how.oci"
		build "oci:$IMAGES/sources/$how.oci:latest"
		build "oci-archive:$IMAGES/sources/$how.oci.tar"
		build "$IMAGES/sources/$how.oci.tar"
		build "$IMAGES/sources/$how.oci"
	done
}

@test "archives that are compressed as a whole give the same bytes" {
	for archive in old.docker gzip.oci; do
		gzip -1 -c "$IMAGES/sources/$archive.tar" >a
		build "$PWD/a"
		zstd -1 -q -c "$IMAGES/sources/$archive.tar" >a
		build "$PWD/a"
	done
	xz -0 -c "$IMAGES/sources/new.docker.tar" >a
	build "docker-archive:$PWD/a"
	bzip2 -1 -c "$IMAGES/sources/new.docker.tar" >a
	build "docker-archive:$PWD/a"
}

@test "what skopeo and umoci make of an image gives the same bytes" {
	skopeo copy --quiet "oci:$IMAGES/sources/gzip.oci:latest" docker-archive:skopeo.tar:test/zoo:v1
	build docker-archive:skopeo.tar
	skopeo copy --quiet "oci:$IMAGES/sources/gzip.oci:latest" oci-archive:skopeo.oci.tar:zoo
	build oci-archive:skopeo.oci.tar
	skopeo copy --quiet "oci:$IMAGES/sources/zstd.oci:latest" oci:skopeo.oci:zoo
	umoci tag --image skopeo.oci:zoo other
	build oci:skopeo.oci:other
}

@test "any number of threads gives the same bytes, in every profile and compression" {
	for jobs in 1 2 5; do
		build "$IMAGES/sources/gzip.oci" --jobs $jobs
	done
	for how in 'profile small' 'profile fast' 'compression lzo' 'compression xz' 'compression zstd' 'compression lz4'; do
		for jobs in 1 2 5; do
			# shellcheck disable=SC2086
			gvmkit build --progress none --force --jobs $jobs --$how "$IMAGES/sources/gzip.oci" -o $jobs.gvmi
		done
		cmp 1.gvmi 2.gvmi
		cmp 1.gvmi 5.gvmi
	done
}

@test "directory, locale, time zone, umask, date and environment make no difference" {
	local image=$IMAGES/sources/zstd.oci
	mkdir -p "$BATS_TEST_TMPDIR/a very/long way/from here"
	cd "$BATS_TEST_TMPDIR/a very/long way/from here"
	build "$image"
	cp -r "$image" .
	build ./zstd.oci
	build "oci:zstd.oci"
	for locale in C C.UTF-8 POSIX tr_TR.UTF-8 nonsense; do LC_ALL=$locale build "$image"; done
	for zone in UTC Asia/Kathmandu America/St_Johns :nonsense; do TZ=$zone build "$image"; done
	for mask in 000 022 077 777; do (umask $mask && build "$image") || return 1; done
	SOURCE_DATE_EPOCH=1 build "$image"
	HOME=/nonexistent USER=nobody LANG=de_DE.UTF-8 build "$image"
	env -i PATH="$PATH" gvmkit build --progress none "$image" -o empty.gvmi
	cmp empty.gvmi "$IMAGES/expected.gvmi"
	touch -d '1999-01-01' zstd.oci/index.json zstd.oci/blobs/sha256/*
	build ./zstd.oci
}

@test "an ordinary user makes the same bytes as root" {
	[ "$(id -u)" -eq 0 ] || skip "we are an ordinary user in every test"
	mkdir home
	chown 65534:65534 home
	cd home
	for source in gzip.oci old.docker.tar; do
		setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$PWD" XDG_CACHE_HOME="$PWD" TMPDIR="$PWD" \
			gvmkit build --progress none "$IMAGES/sources/$source" -o "$source.gvmi"
		cmp "$source.gvmi" "$IMAGES/expected.gvmi"
	done
}

@test "the file system below makes no difference: tmpfs, ext4 with small and with large blocks" {
	[ "$(id -u)" -eq 0 ] || skip "making file systems needs root"
	mkdir fs
	# shellcheck disable=SC2016
	local work='mount "$@" fs && cp -r "$IMAGES/sources/gzip.oci" fs && export TMPDIR=$PWD/fs &&
		gvmkit build --progress none fs/gzip.oci -o fs/out.gvmi && cmp fs/out.gvmi "$IMAGES/expected.gvmi"'
	unshare --mount sh -c "$work" sh -t tmpfs -o size=64m none
	losetup --find >/dev/null 2>&1 || skip "there are no loop devices here"
	for size in 1024 4096; do
		truncate -s 96M disk
		mkfs.ext4 -q -F -b $size disk
		unshare --mount sh -c "$work" sh -o loop disk
		rm disk
	done
}
