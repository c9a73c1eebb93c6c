#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Images made to attack or confuse: what is refused, what is only data to us, and that nothing on the host is ever touched. docs/edge-cases.md has
# the whole list.

load helper

setup_file()
{
	e2e_setup_file
	for kind in hostile bombs good deep; do /usr/bin/python3 "$E2E/edge_images.py" $kind "$IMAGES/$kind"; done
}
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# refused INPUT TEXT: within seconds, in little memory, with one line that says TEXT, and nothing is written.
refused()
{
	# shellcheck disable=SC2016
	run --separate-stderr timeout 60 /usr/bin/python3 -c 'if True:
		import resource, subprocess, sys
		done = subprocess.run(["gvmkit", "build", "--progress", "none", sys.argv[1], "-o", "out.gvmi"])
		used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
		sys.exit(done.returncode if used < 300000 else f"{used} KiB of memory")' "$1"
	echo "$1: $status: $stderr"
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "$2"
	assert_equal "$(ls -A)" ""
}

@test "hostile manifests, indexes and layers are refused, each for its reason" {
	while IFS=$'\t' read -r name text; do
		refused "$IMAGES/hostile/$name" "$text"
	done <"$IMAGES/hostile/list"
}

@test "two gigabytes of zeros are refused in every compression, as a layer and as an archive" {
	for how in gzip xz bzip2 zstd; do
		refused "$IMAGES/bombs/$how.oci.tar" "looks like a decompression bomb"
		refused "$IMAGES/bombs/$how.whole" "looks like a decompression bomb"
	done
}

@test "a pax header of a gigabyte is refused by its size" {
	refused "$IMAGES/bombs/pax.oci.tar" "1073741824 bytes"
}

@test "attacks on whoever unpacks are only data, and nothing on the host is touched" {
	[ "$(id -u)" -eq 0 ] || skip "making everything read-only needs root"
	mkdir out
	# The whole host is read-only, but for one directory. What is tried elsewhere fails and would be seen; what is made there is, too.
	# shellcheck disable=SC2016
	unshare --mount sh -euc '
		mount -t tmpfs none out
		mount -o remount,bind,ro / 2>/dev/null || mount -o remount,ro,bind "$(findmnt -no TARGET -T .)"
		cd out
		export TMPDIR=$PWD
		for image in "$1"/inert-*.tar; do
			gvmkit build --absolute-names --progress none "$image" -o image.gvmi >/dev/null
			gvmkit inspect image.gvmi >/dev/null
			[ "$(ls -A)" = image.gvmi ] || exit 1
			rm image.gvmi
		done
		while IFS="	" read -r name text; do
			! gvmkit build "$1/$name" -o image.gvmi 2>/dev/null || exit 2
			[ -z "$(ls -A)" ] || exit 3
		done <"$1/list"' sh "$IMAGES/hostile"
	[ ! -e /tmp/escaped ]
	[ ! -e /tmp/label ]
}

@test "what an attack has in it is in the image as it was" {
	gvmkit build "$IMAGES/hostile/inert-CVE-2024-9676.tar" -o passwd.gvmi
	assert_contains "$(unsquashfs -ll passwd.gvmi)" "squashfs-root/etc/passwd -> /etc/shadow"
	gvmkit build "$IMAGES/hostile/inert-absolute-link.tar" -o link.gvmi
	assert_contains "$(unsquashfs -l link.gvmi)" squashfs-root/tmp/escaped
	gvmkit build "$IMAGES/hostile/inert-containerd-2026.tar" -o names.gvmi
	# shellcheck disable=SC2016
	assert_contains "$(unsquashfs -l names.gvmi)" 'squashfs-root/$(touch escaped)'
	# shellcheck disable=SC2016
	assert_equal "$(gvmkit inspect --json names.gvmi | jq -r .config.Labels.maker)" '$(touch /tmp/label)'
	[ ! -e escaped ]
}

@test "volumes that climb out of the root are not made (CVE-2022-23648)" {
	gvmkit build "$IMAGES/good/volumes.tar" -o volumes.gvmi
	run --separate-stderr vm volumes.gvmi sh -c 'test -d /data && echo inside'
	assert_equal "$output" inside
	assert_equal "$status" 0
	[ ! -e /etc/escaped ]
}

@test "one layer twice is two layers" {
	gvmkit build "$IMAGES/good/same-layer-twice.oci.tar" -o a.gvmi
	gvmkit build "$IMAGES/good/same-layer-twice.tar" -o b.gvmi
	cmp a.gvmi b.gvmi
	assert_equal "$(unsquashfs -cat a.gvmi d/a)" 1
}

@test "sparse files of every dialect of GNU tar have the same content" {
	mkdir root
	truncate -s 3M root/hole
	truncate -s 2M root/islands
	for i in 0 1 7 8 100 300 511; do printf 'island %d' $i | dd of=root/islands bs=1 seek=$((i * 4096)) conv=notrunc status=none; done
	for i in $(seq 0 60); do printf 'piece %d' "$i" | dd of=root/many bs=1 seek=$((i * 20480)) conv=notrunc status=none; done
	printf 'no hole' >root/plain
	first=
	for how in gnu 'gnu -S' 'oldgnu -S' 'posix -S --sparse-version=0.0' 'posix -S --sparse-version=0.1' 'posix -S --sparse-version=1.0'; do
		# shellcheck disable=SC2086
		tar --format=$how --owner=0 --group=0 --numeric-owner --mtime=@1700000000 --sort=name -C root -cf layer.tar .
		rm -f image.tar image.gvmi
		/usr/bin/python3 "$E2E/edge_images.py" wrap image.tar layer.tar
		gvmkit build image.tar -o image.gvmi
		for file in hole islands many plain; do unsquashfs -cat image.gvmi $file | cmp - root/$file; done
	done
}

@test "the deepest path that Linux has is read and written, a deeper one refused" {
	gvmkit build "$IMAGES/deep/deep.tar" -o deep.gvmi
	assert_equal "$(unsquashfs -l deep.gvmi | awk '{ if (length > n) n = length } END { print n }')" $((14 + 4095))
	refused=$(gvmkit build "$IMAGES/deep/deeper.tar" -o deeper.gvmi 2>&1) && return 1
	assert_contains "$refused" "4095 bytes"
}
