#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make a small example image as `docker save` writes one, without Docker and without root, from a package of Debian's
# archive. Prints the path of the archive.
#
#   make-demo-image.sh [FILE]    default: $XDG_CACHE_HOME/gvmkit/demo/hello-HASH.tar, kept and used again
#
# How it works
#   The lower layer is Debian's busybox-static with a link for every applet, the upper one a program, a data
#   directory and a whiteout for a file of the lower layer. Owners, times and order inside the layers are fixed, so
#   the same package gives the same archive; it appears under its name only when it is complete. HASH is of this
#   script, so that a changed script makes a new image.

set -euo pipefail
export LC_ALL=C
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/gvmkit/demo
version=$(sha256sum <"$here/${BASH_SOURCE[0]##*/}")
out=${1:-$cache/hello-${version:0:12}.tar}
if [ $# -eq 0 ] && [ -f "$out" ]; then
	printf '%s\n' "$out"
	exit 0
fi
mkdir -p "$cache" "$(dirname "$out")"
out=$(realpath "$out")

work=$(mktemp -d "$cache/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"

# One layer from a directory: the name of the file is the digest of its content.
layer()
{
	local digest
	tar -C "$1" --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
		--sort=name --mtime=@1700000000 --owner=0 --group=0 --numeric-owner -cf layer.tmp .
	digest=$(sha256sum <layer.tmp)
	digest=${digest%% *}
	mkdir "image/$digest"
	mv layer.tmp "image/$digest/layer.tar"
	printf '%s' "$digest"
}

busybox=$("$here/get-busybox.sh")
mkdir app image
cp -a "${busybox%/bin/busybox}" base
mkdir -p base/{dev,etc,proc,root,sys,tmp,usr/bin,usr/sbin,var}
chmod 1777 base/tmp
for applet in $(base/bin/busybox --list); do
	[ -e "base/bin/$applet" ] || ln -s /bin/busybox "base/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nvisitor:x:1000:1000::/data:/bin/sh\n' >base/etc/passwd
printf 'root:x:0:\nvisitor:x:1000:\n' >base/etc/group
printf 'the upper layer takes this file away\n' >base/etc/gone

mkdir -p app/{app,data,etc}
: >app/etc/.wh.gone
cat >app/app/hello <<'PROGRAM'
#!/bin/sh
echo "hello, ${WHO:-world}: this is process $$ of $(hostname), Linux $(uname -r) on $(uname -m)"
echo "I am $(id -un) in $(pwd), with $(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo) MiB of memory"
for dir in / /data; do
	echo "$dir is $(awk -v dir=$dir '$2 == dir { print $3 }' /proc/mounts | tail -n 1)"
done
date >/data/last-run && echo "wrote $(ls /data)"
[ ! -e /etc/gone ] || { echo "the whiteout of the upper layer was lost"; exit 1; }
[ $# -eq 0 ] || echo "arguments: $*"
PROGRAM
chmod 755 app/app/hello

lower=$(layer base)
upper=$(layer app)
cat >config.json <<CONFIG
{"architecture":"amd64","os":"linux","created":"2023-11-14T22:13:20Z",
"config":{"User":"visitor","Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","WHO=world"],
"Entrypoint":["/app/hello"],"Cmd":["one","two"],"WorkingDir":"/app","Volumes":{"/data":{}},
"Labels":{"org.opencontainers.image.title":"gvmkit demo"}},
"rootfs":{"type":"layers","diff_ids":["sha256:$lower","sha256:$upper"]},
"history":[{"created":"2023-11-14T22:13:20Z","created_by":"busybox-static"},
{"created":"2023-11-14T22:13:20Z","created_by":"COPY hello /app/"}]}
CONFIG
id=$(sha256sum <config.json)
id=${id%% *}
mv config.json "image/$id.json"
printf '[{"Config":"%s.json","RepoTags":["gvmkit/hello:latest"],"Layers":["%s/layer.tar","%s/layer.tar"]}]\n' \
	"$id" "$lower" "$upper" >image/manifest.json
printf '{"gvmkit/hello":{"latest":"%s"}}\n' "$upper" >image/repositories

tar -C image --format=ustar --sort=name --mtime=@1700000000 --owner=0 --group=0 --numeric-owner \
	-cf archive.tmp "$lower" "$upper" "$id.json" manifest.json repositories
mv archive.tmp "$out"
printf '%s\n' "$out"
