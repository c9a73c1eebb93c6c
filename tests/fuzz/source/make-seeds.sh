#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the binary seeds of the fuzzers of `source` anew, below tests/fuzz/corpus. Needs GNU tar, gzip, zstd, xz, bzip2, lz4, lzip.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
corpus=$here/../corpus
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$corpus/fuzz_tar" "$corpus/fuzz_stream" "$corpus/fuzz_root"
cd "$work"
mkdir t sparse
printf hello > t/a
ln t/a t/b
ln -s a t/s
mkfifo t/p
long=$(printf 'x%.0s' $(seq 120))
printf long > "t/$long"
truncate -s 100000 sparse/hole
printf data | dd of=sparse/hole bs=1 seek=50000 conv=notrunc status=none
touch -d @-100 t/a
pack() {
    name=$1 what=$2
    shift 2
    # One byte of options for the fuzzer, then the archive without its long tail of zeros.
    tar -b 1 --sort=name --owner=0 --group=0 --mtime=@1000 "$@" -cf o.tar "$what" 2> /dev/null || true
    { printf '\003'; cat o.tar; } > "$corpus/fuzz_tar/$name"
}
pack v7 t --format=v7
pack gnu t --format=gnu
pack gnu-sparse sparse --format=oldgnu -S
pack ustar t --format=ustar
pack pax t --format=posix
pack pax-sparse-0.0 sparse --format=posix -S --sparse-version=0.0
pack pax-sparse-0.1 sparse --format=posix -S --sparse-version=0.1
pack pax-sparse-1.0 sparse --format=posix -S --sparse-version=1.0
seq 1 300 > text
{ printf '\042'; gzip -n -c text; } > "$corpus/fuzz_stream/gzip"
{ printf '\042'; gzip -n -c text; gzip -n -c t/a; printf '\0\0\0'; } > "$corpus/fuzz_stream/gzip-members"
{ printf '\042'; zstd -q -c text; zstd -q -c t/a; } > "$corpus/fuzz_stream/zstd"
{ printf '\042'; xz -c text; } > "$corpus/fuzz_stream/xz"
{ printf '\042'; bzip2 -c text; } > "$corpus/fuzz_stream/bzip2"
{ printf '\042'; xz --format=lzma -c text; } > "$corpus/fuzz_stream/lzma"
{ printf '\042'; lz4 -q -c text; lz4 -q -c t/a; } > "$corpus/fuzz_stream/lz4"
{ printf '\042'; lzip -c text; } > "$corpus/fuzz_stream/lzip"
# Root file systems and what is like them; the options for the fuzzer come first.
mkdir root
cp -a t root/etc
cp -a sparse root/usr
printf x > root/.wh.name
tar -b 1 --sort=name --owner=0 --group=0 --mtime=@1000 --format=posix -S -cf root.tar -C root .
{ printf '\000'; cat root.tar; } > "$corpus/fuzz_root/plain"
{ printf '\001'; gzip -n -c root.tar; } > "$corpus/fuzz_root/gzip"
printf '[{"Config":"c.json","Layers":["l"]}]' > manifest.json
printf '{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$(sha256sum root.tar | cut -c-64)" > c.json
cp root.tar l
tar -b 1 --owner=0 --group=0 --mtime=@1000 --format=ustar -cf docker.tar manifest.json c.json l
{ printf '\010'; cat docker.tar; } > "$corpus/fuzz_root/docker"
