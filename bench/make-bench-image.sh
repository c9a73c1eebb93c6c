#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make a large image of real Debian packages for the bench: an OCI image layout with three gzip layers, about 900 MB
# unpacked. Prints its directory, which is kept in $XDG_CACHE_HOME/gvmkit/bench and used again.
#
# The layers are what a Dockerfile would leave: a minimal Debian; what `apt-get install` of compilers and interpreters
# added and changed; and a last one that removes documentation (whiteouts) and adds a user. They are made
# inside one run of mmdebstrap, which needs root or user namespaces (package uidmap, /etc/subuid).

set -euo pipefail
export LC_ALL=C
umask 022

die() { printf 'bench image: %s\n' "$*" >&2; exit 1; }

readonly packages='build-essential git python3-scipy'

# ---- inside mmdebstrap: $1 is the root that is being made ----------------------------------------------------------

# Name, type, size, times and inode of everything, to see later what changed.
record()
{
	(cd "$1" && find . -path ./.layers -prune -o -path ./proc -prune -o -path ./sys -prune -o -path ./dev -prune -o \
		-path ./var/lib/apt/lists -prune -o -path ./var/cache/apt -prune -o \
		-printf '%p\t%y %m %U:%G %s %T@ %C@ %i\n' | sort)
}

# Put what differs between the records $2 and $3 of the root $1 into the layer $4: changed things, and whiteouts.
layer()
{
	local root=$1 before=$2 after=$3 out=$4
	local marks=$root/.layers/marks
	mkdir -p "$marks"
	comm -13 "$before" "$after" | cut -f 1 >"$out.changed"
	comm -23 <(cut -f 1 "$before" | sort) <(cut -f 1 "$after" | sort) >"$out.gone"
	tar -C "$root" --no-recursion --null -T <(tr '\n' '\0' <"$out.changed") --numeric-owner --xattrs -cf "$out"
	# A whiteout for each topmost thing that is gone.
	awk -F / '{ p = $0; sub(/\/[^\/]*$/, "", p); if (!(p in gone)) print; gone[$0] = 1 }' "$out.gone" |
		while IFS= read -r path; do
			mkdir -p "$marks/${path%/*}"
			: >"$marks/${path%/*}/.wh.${path##*/}"
		done
	(cd "$marks" && find . -type f -print0 | sort -z) |
		tar -C "$marks" --null -T - --numeric-owner --owner=0 --group=0 --append -f "$out"
	rm -rf "$marks" "$out.changed" "$out.gone"
}

if [ "${1-}" = --hook ]; then
	root=$2
	layers=$root/.layers
	mkdir "$layers"
	: >"$layers/0"
	record "$root" >"$layers/1"
	layer "$root" "$layers/0" "$layers/1" "$layers/layer1.tar"
	# shellcheck disable=SC2086 # words
	chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends install $packages
	chroot "$root" apt-get clean
	record "$root" >"$layers/2"
	layer "$root" "$layers/1" "$layers/2" "$layers/layer2.tar"
	rm -rf "$root"/usr/share/doc/[a-m]* "$root/var/cache/debconf"
	chroot "$root" useradd -m bench
	printf '#!/bin/sh\necho bench\n' >"$root/home/bench/start"
	chmod 755 "$root/home/bench/start"
	record "$root" >"$layers/3"
	layer "$root" "$layers/2" "$layers/3" "$layers/layer3.tar"
	exit 0
fi

# ---- outside -------------------------------------------------------------------------------------------------------

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/layout.sh
. "$here/layout.sh"
version=$(cat "$here/${BASH_SOURCE[0]##*/}" "$here/layout.sh" | sha256sum)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/gvmkit/bench
out=$cache/image-${version:0:12}
if [ -d "$out" ]; then
	printf '%s\n' "$out"
	exit 0
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

printf 'bench image: making it with mmdebstrap, which takes some minutes\n' >&2
mkdir "$work/tars"
chmod 777 "$work" "$work/tars" # in a user namespace the hooks are somebody else
mmdebstrap --quiet --variant=minbase --customize-hook="'$here/${BASH_SOURCE[0]##*/}' --hook \"\$1\"" \
	--customize-hook="copy-out /.layers/layer1.tar /.layers/layer2.tar /.layers/layer3.tar '$work/tars'" \
	bookworm /dev/null >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die 'mmdebstrap failed'; }

total=$(cat "$work"/tars/layer[123].tar | wc -c)
layout "$work/image" "$work"/tars/layer[123].tar
printf 'bench image: layers of %d MB\n' $((total / 1000000)) >&2
mv -T "$work/image" "$out" 2>/dev/null || [ -d "$out" ] # somebody else was faster
printf '%s\n' "$out"
