#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the seeds of fuzz_extract, which are the attacks of tests/unit/extract/test_extract_hostile.c as well: images whose names were changed after
# they were made, for no tool makes such ones. "../victim" is what they would like to reach. Run as root; needs squashfs-tools and python3.
set -eu
corpus=$(cd "$(dirname "$0")/../corpus" && pwd)/fuzz_extract
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p "$corpus"

# seed NAME [FROM TO]...: packs ./tree as it is, with one name put in the place of another of the same length; then removes it.
seed()
{
	name=$1
	shift
	mksquashfs tree image -b 4096 -noI -noId -noX -noappend -nopad -quiet -no-progress -mkfs-time 0 -all-time 0
	python3 - "$corpus/$name" "$@" <<'PY'
import sys
data = open('image', 'rb').read()
for old, new in zip(sys.argv[2::2], sys.argv[3::2]):
    old, new = old.encode(), new.encode()
    assert len(old) == len(new) and old in data, (old, new)
    data = data.replace(old, new)
open(sys.argv[1], 'wb').write(data)
PY
	rm -rf tree image
	mkdir tree
}
mkdir tree

# A directory where a symbolic link was (CVE-2021-41072), and the other way round.
ln -s ../victim tree/twin_a
mkdir tree/twin_b
echo planted >tree/twin_b/planted
seed twins-link-dir twin_b twin_a
mkdir tree/twin_a
echo planted >tree/twin_a/planted
ln -s ../victim tree/twin_b
seed twins-dir-link twin_b twin_a

# A file where a link to a file was.
ln -s ../victim/file tree/twin_a
echo planted >tree/twin_b
seed twins-link-file twin_b twin_a

# A hard link whose first name became a symbolic link.
echo planted >tree/hard_a
ln -s ../victim/file tree/hard_b
ln tree/hard_a tree/hard_c
seed hard-link-to-link hard_b hard_a

# Names that climb (CVE-2021-40153).
mkdir tree/zy
echo planted >tree/zy/file
seed dotdot zy ..
echo planted >tree/aaavictimaplanted
seed slash aaavictimaplanted ../victim/planted
echo planted >tree/aetcaplanted
seed absolute aetcaplanted /etc/planted

# Directory, then a link in it through which more is reached.
mkdir -p tree/dir/one
ln -s ../../victim tree/dir/out
mkdir tree/dir/oux
echo planted >tree/dir/oux/file
seed deep-twins oux out

# What gives privileges, in an image that is right.
echo s >tree/setuid
echo s >tree/setgid
mkdir tree/shared tree/sticky
chmod 4755 tree/setuid
chmod 2755 tree/setgid
chmod 2775 tree/shared
chmod 1777 tree/sticky
mknod tree/null c 1 3
mknod tree/disk b 8 0
mkfifo tree/fifo
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('tree/socket')"
python3 -c "import os; os.setxattr('tree/setgid', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))
os.setxattr('tree/setuid', 'user.colour', b'blue')"
seed privileges

# Everything ordinary.
mkdir -p tree/bin tree/etc tree/locked
echo tool >tree/bin/tool
ln tree/bin/tool tree/bin/same
ln -s bin/tool tree/link
ln -s loop tree/loop
truncate -s 20000 tree/etc/sparse
echo end >>tree/etc/sparse
echo secret >tree/locked/file
chmod 555 tree/locked
seed plain
