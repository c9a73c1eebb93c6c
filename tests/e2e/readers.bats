#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# One image, many readers: ours, unsquashfs, sqfs2tar, the kernel. Entry by entry (type, mode, owner, time, size, content, names of one file, target,
# device, extended attributes) they find the same, and what umoci unpacks as root.

load helper

OURS=${GVMKIT_TEST_BUILD:-}/tests/unit/gvmi/gvmi_dump

setup_file()
{
	e2e_setup_file
	for kind in zoo crowd; do /usr/bin/python3 "$E2E/edge_images.py" $kind "$IMAGES"; done
}
setup()
{
	e2e_setup
	[ "$(id -u)" -eq 0 ] || skip "unpacking with owners needs root"
	mkdir trees
}
teardown()
{
	rm -rf --one-file-system trees
	assert_nothing_left
}

listing() { /usr/bin/python3 "$E2E/listing.py" "$@"; }

same()
{
	cmp -s "$1" "$2" || {
		echo "$1 and $2 differ:"
		diff "$1" "$2" | cut -c1-300 | head -n 20
		return 1
	}
}

# What the kernel shows of an image, mounted where nobody else sees it.
kernel_listing()
{
	mkdir -p mnt
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount -t squashfs -o loop,ro,nodev "$1" mnt && exec /usr/bin/python3 "$2" dir mnt' sh "$1" "$E2E/listing.py"
}

# read_by_all IMAGE: IMAGE.ours is what our reader finds, and everybody else finds that, too.
read_by_all()
{
	"$OURS" "$1" >"$1.dump"
	listing dump "$1.dump" >"$1.ours"
	sqfs2tar --root-becomes . "$1" >trees/image.tar
	listing tar trees/image.tar >"$1.sqfs2tar"
	same "$1.ours" "$1.sqfs2tar"
	unsquashfs -quiet -no-progress -d trees/unsquashfs "$1" >/dev/null
	listing dir trees/unsquashfs >"$1.unsquashfs"
	same "$1.ours" "$1.unsquashfs"
	rm -rf trees/unsquashfs trees/image.tar
	if losetup --find >/dev/null 2>&1; then
		kernel_listing "$1" >"$1.kernel"
		same "$1.ours" "$1.kernel"
	fi
}

@test "everything that can be in an image is read alike by all, in every profile and compression, and is what umoci unpacks" {
	umoci raw unpack --image "$IMAGES/zoo:latest" trees/umoci
	listing dir trees/umoci >umoci.list
	[ "$(wc -l <umoci.list)" -gt 3800 ]
	local how image=0
	for how in '--profile golem' '--profile small' '--profile fast' '--compression lzo' '--compression xz --block-size 4k' '--compression lz4' \
		'--compression zstd --block-size 1m'; do
		image=$((image + 1))
		echo "$how"
		# shellcheck disable=SC2086
		gvmkit build --progress none $how "oci:$IMAGES/zoo" -o $image.gvmi
		read_by_all $image.gvmi
		same umoci.list $image.gvmi.ours
	done
}

@test "the root of a real system, packed and changed with umoci, is read alike by all" {
	umoci init --layout real
	umoci new --image real:latest
	umoci unpack --image real:latest trees/bundle
	root=trees/bundle/rootfs
	mkdir -p $root/{proc,sys,dev/pts,dev/shm,tmp,var/tmp,var/lib,usr/share,usr/bin}
	cp -a /etc $root
	cp -a /var/lib/dpkg $root/var/lib
	cp -a /usr/lib/*/perl-base $root/usr
	cp -a /bin/bash /usr/bin/find $root/usr/bin
	rm -f $root/etc/mtab $root/etc/hosts $root/etc/resolv.conf $root/etc/hostname
	ln -s /proc/mounts $root/etc/mtab
	touch $root/etc/hosts $root/etc/resolv.conf $root/etc/hostname
	find $root -type s -delete
	umoci repack --image real:latest trees/bundle
	rm -rf trees/bundle
	umoci unpack --image real:latest trees/bundle
	# A second layer, with whiteouts as umoci writes them.
	rm -rf $root/var/lib/dpkg/info $root/etc/apt
	ln $root/etc/passwd $root/etc/passwd.hard
	rm $root/etc/passwd
	echo changed >$root/etc/group
	mkdir $root/etc/apt
	chown 12:34 $root/usr/bin
	umoci repack --image real:latest trees/bundle
	rm -rf trees/bundle
	umoci raw unpack --image real:latest trees/umoci
	listing dir trees/umoci >umoci.list
	gvmkit build oci:real:latest -o real.gvmi
	read_by_all real.gvmi
	same umoci.list real.gvmi.ours
}

@test "98,804 files in one directory and 70,001 names of one file are read alike by all" {
	gvmkit build "oci:$IMAGES/crowd" -o crowd.gvmi
	"$OURS" crowd.gvmi >dump
	assert_equal "$(grep -c '^all/' dump)" 98804
	assert_equal "$(grep -c '^names/.* 70001 9 ' dump)" 70001
	cut -d' ' -f1 dump | grep -vx '\.' | LC_ALL=C sort >ours
	unsquashfs -l crowd.gvmi | sed -n 's,^squashfs-root/,,p' | LC_ALL=C sort >theirs
	same ours theirs
	rdsquashfs -d crowd.gvmi | cut -d' ' -f2 | sed 's,^/,,' | LC_ALL=C sort >theirs
	same ours theirs
	losetup --find >/dev/null 2>&1 || return 0
	mkdir mnt
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount -t squashfs -o loop,ro,nodev crowd.gvmi mnt && find mnt -mindepth 1 -printf "%P\n" &&
		stat -c %h:%s mnt/names/first mnt/names/0 mnt/names/69999 >links && cat mnt/names/35000 >content &&
		for i in 0 98803 49402 9999; do stat -c %n mnt/all/$i; done >found' >theirs
	LC_ALL=C sort -o theirs theirs
	same ours theirs
	assert_equal "$(sort -u links)" 70001:9
	assert_equal "$(cat content)" "one file"
	assert_equal "$(wc -l <found)" 4
}

@test "images of the original converter are read alike by all" {
	found=
	for image in "$E2E"/../../../shared/testdata/*.gvmi; do
		[ -e "$image" ] || continue
		found=yes
		cp "$image" .
		read_by_all "${image##*/}"
	done
	[ -n "$found" ] || skip "the real files of the original tools are not here"
}

@test "the kernel's own reader took part" {
	losetup --find >/dev/null 2>&1 || skip "there are no loop devices here"
}
