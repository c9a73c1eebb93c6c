#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit build` and `gvmkit inspect`.

load helper

setup_file() { e2e_setup_file; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# type mode uid gid mtime size/target path, and digests of contents, of a squashfs.
listing()
{
	rm -rf "$2.d"
	unsquashfs -quiet -no-progress -d "$2.d" "$1" >/dev/null
	(cd "$2.d" && find . -printf '%y %m %U %G %T@ %n %l %p\n' | sort -k8 && find . -type f -exec sha256sum {} + | sort -k2) >"$2"
	rm -rf "$2.d"
}

@test "two builds of one image are the same bytes, whatever the threads, the directory, the locale and the umask" {
	gvmkit build "$IMAGES/layers.tar" -o a.gvmi -j 1
	mkdir sub
	(cd sub && umask 077 && LC_ALL=C.UTF-8 TZ=Asia/Tokyo gvmkit build "$IMAGES/layers.tar" -o ../b.gvmi -j 4)
	cmp a.gvmi b.gvmi
}

@test "one image from every kind of archive is the same bytes" {
	gvmkit build "docker-archive:$IMAGES/layers.tar" -o a.gvmi
	gvmkit build "$IMAGES/layers.tar.gz" -o b.gvmi
	gvmkit build "oci-archive:$IMAGES/layers.oci.tar" -o c.gvmi
	gvmkit build "oci:$IMAGES/layers.oci" -o d.gvmi
	gvmkit build "$IMAGES/layers.zstd.tar" -o e.gvmi
	for other in b c d e; do cmp a.gvmi $other.gvmi; done
}

@test "layers are merged by the rules: whiteouts, opaque directories, types, hard links, attributes" {
	gvmkit build "$IMAGES/layers.tar" -o a.gvmi
	unsquashfs -quiet -no-progress -d root a.gvmi >/dev/null
	[ -e root/w/keep ]
	[ ! -e root/w/gone ]
	assert_equal "$(ls root/w/opaque)" new
	[ ! -e root/w/target ]
	assert_equal "$(cat root/w/link)" "hard link content"
	[ ! -e root/w/dir ]
	assert_equal "$(cat root/w/file/in)" "now a directory"
	assert_equal "$(stat -c %a root/w/suid)" 4755
	assert_equal "$(find root -name '.wh.*')" ""
	[ "$(id -u)" -ne 0 ] ||
		assert_equal "$(/usr/bin/python3 -c 'import os; print(os.getxattr("root/w/cap", "security.capability").hex())')" 0100000200200000000000000000000000000000
}

@test "a .gvmi is read alike by the kernel's rules and by ours" {
	gvmkit build "$IMAGES/layers.tar" -o a.gvmi
	unsquashfs -stat a.gvmi | grep -q 'Compression gzip'
	unsquashfs -stat a.gvmi | grep -q 'Block size 131072'
	rdsquashfs -l / a.gvmi >/dev/null
	listing a.gvmi one
	sqfs2tar a.gvmi >again.tar
	[ -s again.tar ]
}

@test "the result as umoci unpacks it is the result as we pack it" {
	[ "$(id -u)" -eq 0 ] || skip "unpacking with owners needs root"
	umoci raw unpack --image "$IMAGES/layers.oci:latest" bundle >/dev/null 2>&1 || umoci unpack --image "$IMAGES/layers.oci:latest" bundle >/dev/null
	gvmkit build --as-is "oci:$IMAGES/layers.oci" -o a.gvmi
	unsquashfs -quiet -no-progress -d ours a.gvmi >/dev/null
	root=bundle
	[ ! -d bundle/rootfs ] || root=bundle/rootfs
	# Times of directories that no layer names are the unpacker's own.
	(cd "$root" && find . -mindepth 1 -printf '%y %m %U %G %n %l %p\n' | sort -k7) >theirs.list
	(cd ours && find . -mindepth 1 -printf '%y %m %U %G %n %l %p\n' | sort -k7) >ours.list
	diff theirs.list ours.list
	(cd "$root" && find . -type f -exec sha256sum {} + | sort -k2) >theirs.sums
	(cd ours && find . -type f -exec sha256sum {} + | sort -k2) >ours.sums
	diff theirs.sums ours.sums
}

@test "the hash that is printed is the SHA3-224 of the file" {
	run --separate-stderr gvmkit build "$IMAGES/base.tar" -o a.gvmi
	assert_equal "$status" 0
	sum=$(openssl dgst -sha3-224 -r a.gvmi | cut -d' ' -f1)
	assert_contains "$output" "$sum"
	assert_contains "$(gvmkit inspect --hash a.gvmi)" "$sum"
	assert_equal "$(gvmkit build "$IMAGES/base.tar" -o b.gvmi --json | jq -r .hash)" "$sum"
}

@test "the trailer is the one that the original runtime reads" {
	gvmkit build "$IMAGES/user.tar" -o a.gvmi
	/usr/bin/python3 - a.gvmi <<-'PYTHON'
		import json, struct, sys, zlib
		data = open(sys.argv[1], "rb").read()
		n = int(data[-8:].decode("ascii"))
		text = data[-8 - n:-8]
		assert struct.unpack("<I", data[-12 - n:-8 - n])[0] == zlib.crc32(text)
		assert (len(data) - 12 - n) % 4096 == 0
		config = json.loads(text)
		assert config["Env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], config
		assert config["User"] == "alice" and config["WorkingDir"] == "/home/alice/made/later"
		assert config["Volumes"] == {"/data": {}, "/data/inner": {}, "/srv/v": {}}
		assert config["Entrypoint"][0] == "/bin/sh" and config["Cmd"] == ["one", "two words"]
		assert len(config["Image"]) == 64
	PYTHON
}

@test "inspect shows the configuration, as text and as JSON" {
	gvmkit build "$IMAGES/user.tar" -o a.gvmi
	run --separate-stderr gvmkit inspect a.gvmi
	for text in alice /home/alice/made/later /data/inner 'two words' gzip '128.0 KiB'; do assert_contains "$output" "$text"; done
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r .config.User)" alice
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r .compression)" gzip
}

@test "inspect reads images of the original converter" {
	image=$E2E/../../../shared/testdata/alpine.gvmi
	[ -e "$image" ] || skip "the real files of the original tools are not here"
	run --separate-stderr gvmkit inspect --hash "$image"
	assert_equal "$status" 0
	assert_contains "$output" 72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1
	assert_contains "$output" lzo
}

@test "one of several images is chosen by name, and a wrong choice lists them" {
	run --separate-stderr gvmkit build "docker-archive:$IMAGES/two.tar:second" -o a.gvmi
	assert_equal "$status" 0
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r '.config.Cmd[1]')" second
	gvmkit build "docker-archive:$IMAGES/two.tar:localhost:5000/first/app:1.0" -o b.gvmi
	assert_equal "$(gvmkit inspect --json b.gvmi | jq -r '.config.Cmd[1]')" first
	for reference in "$IMAGES/two.tar" "docker-archive:$IMAGES/two.tar:third"; do
		run --separate-stderr gvmkit build "$reference" -o c.gvmi
		assert_equal "$status" 1
		assert_one_line_error "$stderr"
		assert_contains "$stderr" first/app:1.0
		assert_contains "$stderr" second:latest
		[ ! -e c.gvmi ]
	done
}

@test "without -o the file is named after the image and its id" {
	gvmkit build "docker-archive:$IMAGES/two.tar:first/app:1.0"
	id=$(gvmkit inspect --json -- *.gvmi | jq -r .config.Image)
	[ -e "first-app-1.0-${id:0:10}.gvmi" ]
}

@test "an existing file is kept unless --force is given" {
	echo precious >a.gvmi
	run --separate-stderr gvmkit build "$IMAGES/bare.tar" -o a.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_equal "$(cat a.gvmi)" precious
	gvmkit build "$IMAGES/bare.tar" -o a.gvmi --force
	gvmkit inspect a.gvmi
}

@test "an image for another architecture is refused with what there is" {
	run --separate-stderr gvmkit build "$IMAGES/arm.oci.tar" -o a.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" arm64
	[ ! -e a.gvmi ]
	gvmkit build --platform linux/arm64 "$IMAGES/arm.oci.tar" -o a.gvmi
}

@test "xz, zstd and lz4 images can be made and run" {
	for how in xz zstd lz4; do
		gvmkit build --compression $how "$IMAGES/base.tar" -o $how.gvmi
		unsquashfs -stat $how.gvmi | grep -q "Compression $how"
		run --separate-stderr vm $how.gvmi cat /etc/motd
		assert_equal "$output" "made for tests"
	done
}

@test "profiles choose compression and blocks, and options override them" {
	gvmkit build "$IMAGES/base.tar" -o golem.gvmi
	gvmkit build --profile golem "$IMAGES/base.tar" -o same.gvmi
	cmp golem.gvmi same.gvmi
	gvmkit build --profile small "$IMAGES/base.tar" -o small.gvmi
	assert_equal "$(gvmkit inspect --json small.gvmi | jq -r '"\(.compression) \(.block_size)"')" "xz 1048576"
	[ "$(stat -c %s small.gvmi)" -lt "$(stat -c %s golem.gvmi)" ]
	gvmkit build --profile small --compression gzip --block-size 64k "$IMAGES/base.tar" -o mixed.gvmi
	assert_equal "$(gvmkit inspect --json mixed.gvmi | jq -r '"\(.compression) \(.block_size)"')" "gzip 65536"
	gvmkit build --profile fast "$IMAGES/base.tar" -o fast.gvmi
	assert_contains "$(gvmkit build --help)" "for this runtime only"
	assert_contains "$(gvmkit inspect fast.gvmi)" "providers cannot mount it"
	run --separate-stderr gvmkit build --profile best "$IMAGES/base.tar" -o x.gvmi
	assert_equal "$status" 2
	assert_contains "$stderr" "golem, small and fast"
	# A level that there is not is told before the image is read.
	run --separate-stderr gvmkit build --compression xz --level 22 "$IMAGES/base.tar" -o x.gvmi
	assert_equal "$status" 1
	assert_equal "$stderr" "gvmkit: xz has no level 22; it has 1 to 9"
	[ ! -e x.gvmi ]
}

@test "progress can be a line or JSON, and none on request" {
	run --separate-stderr gvmkit build --as-is --progress none "$IMAGES/base.tar" -o a.gvmi
	assert_equal "$stderr" ""
	run --separate-stderr gvmkit build --progress json "$IMAGES/base.tar" -o b.gvmi
	assert_equal "$status" 0
	# Every line is an object, notes too, and each phase is seen to its end.
	printf '%s\n' "$stderr" >events
	assert_equal "$(jq -r .event events | sort -u)" $'note\nprogress'
	for what in 'reading layers' compressing hashing; do
		jq -e -s --arg what "$what" 'any(.event == "progress" and .what == $what and .done == .total and .done > 0)' events
	done
	run --separate-stderr gvmkit build --progress sideways "$IMAGES/base.tar" -o b.gvmi
	assert_equal "$status" 2
}

@test "the summary has the sizes before and after, as text and as JSON" {
	run --separate-stderr gvmkit build "$IMAGES/layers.tar" -o a.gvmi
	for word in image source content file size hash 'of the layers' 'of the content'; do assert_contains "$output" "$word"; done
	gvmkit build "$IMAGES/layers.tar" -o b.gvmi --json >json
	jq -e '.size > 0 and .archive_size > .size and .layers == 4 and .layers_size >= .content_size and .content_size > .size and .ratio > 1' json
	assert_equal "$(jq -r .size json)" "$(stat -c %s b.gvmi)"
}

@test "an ordinary user can build and run" {
	[ "$(id -u)" -eq 0 ] || skip "we are an ordinary user in every test"
	mkdir home
	chown 65534:65534 home
	cd home
	run --separate-stderr setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$PWD" XDG_CACHE_HOME="$PWD" TMPDIR="$PWD" \
		gvmkit build "$IMAGES/layers.tar" -o user.gvmi
	assert_equal "$status" 0
	gvmkit build "$IMAGES/layers.tar" -o "$BATS_TEST_TMPDIR/root.gvmi"
	cmp user.gvmi "$BATS_TEST_TMPDIR/root.gvmi"
	run --separate-stderr setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$PWD" XDG_CACHE_HOME="$PWD" TMPDIR="$PWD" \
		gvmkit run --accel "$ACCEL" -v "$PWD/v:/v" user.gvmi sh -c 'id -u; echo x >/v/f; chown 12:34 /v/f; stat -c %u:%g /v/f'
	assert_equal "$output" $'0\n12:34'
	assert_equal "$(stat -c %u v/f)" 65534
}
