#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the seeds of fuzz_squashfs, fuzz_gvmi_open and fuzz_gvmi_codec: small images with metadata that is not compressed, so that a changed byte is a
# changed field. Run as root (device nodes, trusted attributes); needs squashfs-tools and python3.
set -eu
corpus=$(cd "$(dirname "$0")/../corpus" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p tree/dir/sub tree/empty tree/etc tree/proc
cd tree
printf 'hello\n' > dir/file
ln dir/file dir/hard
ln -s file dir/link
ln -s loop loop
printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:\n' > etc/passwd
head -c 9000 /dev/zero | tr '\0' 'a' > dir/blocks
truncate -s 20000 dir/sparse
printf 'x' >> dir/sparse
mkfifo dir/sub/fifo
mknod dir/sub/null c 1 3
mknod dir/sub/disk b 8 17
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('dir/sub/socket')"
python3 - <<'PY'
import os
def put(path, name, value): os.setxattr(path, name, value, follow_symlinks=False)
put('dir/file', 'user.colour', b'blue')
put('etc/passwd', 'user.colour', b'blue')
put('dir', 'trusted.x', b'y')
put('loop', 'trusted.z', b'z' * 80)
PY
cd ..
for comp in gzip lzma lzo xz lz4 zstd; do
	mksquashfs tree "$corpus/fuzz_squashfs/$comp" -comp $comp -b 4096 -noI -noId -noX -noappend -nopad -quiet -no-progress -mkfs-time 0 -all-time 0
done
mksquashfs tree "$corpus/fuzz_squashfs/raw" -b 4096 -noI -noD -noF -noX -noappend -nopad -quiet -no-progress -mkfs-time 0 -all-time 0
mksquashfs tree/empty "$corpus/fuzz_squashfs/empty" -noI -noId -noX -noappend -nopad -quiet -no-progress -mkfs-time 0 -all-time 0
mkdir many
(cd many && seq -f 'entry_%g' 1 700 | xargs touch)
mksquashfs many "$corpus/fuzz_squashfs/many" -noappend -nopad -quiet -no-progress -mkfs-time 0 -all-time 0
python3 - "$corpus" <<'PY'
import struct, sys, zlib, lzma
corpus = sys.argv[1]
def trailer(json): return struct.pack('<I', zlib.crc32(json)) + json + b'%08d' % len(json)
raw, empty = (open(f'{corpus}/fuzz_squashfs/{n}', 'rb').read() for n in ('raw', 'empty'))
json = b'{"Env":["PATH=/bin"],"Cmd":["sh"],"User":"1:2","Volumes":{"/golem/work":{}},"WorkingDir":"/golem/work","Labels":{"a":"b"}}'
open(f'{corpus}/fuzz_gvmi_open/raw', 'wb').write(raw + trailer(json))
open(f'{corpus}/fuzz_gvmi_open/empty', 'wb').write(empty + trailer(b'{}'))
text = b'hello hello hello hello world ' * 20
open(f'{corpus}/fuzz_gvmi_codec/gzip', 'wb').write(b'\0\x40' + zlib.compress(text))
open(f'{corpus}/fuzz_gvmi_codec/lzma', 'wb').write(b'\1\x40' + lzma.compress(text, format=lzma.FORMAT_ALONE))
open(f'{corpus}/fuzz_gvmi_codec/xz', 'wb').write(b'\3\x40' + lzma.compress(text, check=lzma.CHECK_CRC32))
for i, name in ((2, 'lzo'), (4, 'lz4'), (5, 'zstd')):
    open(f'{corpus}/fuzz_gvmi_codec/{name}', 'wb').write(bytes([i, 0x40]) + text)
PY
