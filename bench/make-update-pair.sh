#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make two builds of one image for the bench, as they are a few months apart: a minimal Debian with Python, Perl, git and
# vim of the last point release, and the same with the updates since then, which are some twenty packages. Each is an OCI
# image layout with one layer, made by its own run of mmdebstrap. Prints three lines: the older layout, the newer one,
# and the number of packages that differ. Kept in $XDG_CACHE_HOME/gvmkit/bench and used again.
#
# The pair must stay some twenty packages apart for the figure to mean something; just after a point release it is not.

set -euo pipefail
export LC_ALL=C
umask 022

die() { printf 'update pair: %s\n' "$*" >&2; exit 1; }

readonly packages=python3,perl,git,vim,openssl
readonly mirror=${BENCH_MIRROR:-http://deb.debian.org}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/layout.sh
. "$here/layout.sh"
version=$(cat "$here/${BASH_SOURCE[0]##*/}" "$here/layout.sh" | sha256sum)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/gvmkit/bench
out=$cache/pair-${version:0:12}

show() { printf '%s\n' "$out/1" "$out/2" "$(cat "$out/packages")"; }

if [ -d "$out" ]; then
	show
	exit 0
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/pair"
chmod 755 "$work"

# Make the build $1 from the pockets $2...
build()
{
	local number=$1
	shift
	mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$work/$number.tar" "$@" >"$work/log" 2>&1 ||
		{ tail -n 20 "$work/log" >&2; die 'mmdebstrap failed'; }
	tar -xOf "$work/$number.tar" ./var/lib/dpkg/status |
		awk '/^Package: /{ p = $2 } /^Version: /{ print p, $2 }' | sort >"$work/$number.packages"
}

printf 'update pair: making it with mmdebstrap, which takes some minutes\n' >&2
build 1 "deb $mirror/debian bookworm main"
build 2 "deb $mirror/debian bookworm main" "deb $mirror/debian bookworm-updates main" \
	"deb $mirror/debian-security bookworm-security main"
differ=$(comm -13 "$work/1.packages" "$work/2.packages" | wc -l)
printf 'update pair: %d of %d packages differ\n' "$differ" "$(wc -l <"$work/2.packages")" >&2
if [ "$differ" -lt 15 ] || [ "$differ" -gt 25 ]; then
	die 'that is not an update of some twenty packages; set BENCH_MIRROR to a mirror (a snapshot) where it is'
fi
printf '%d\n' "$differ" >"$work/pair/packages"
layout "$work/pair/1" "$work/1.tar"
layout "$work/pair/2" "$work/2.tar"
chmod 755 "$work/pair"
mv -T "$work/pair" "$out" 2>/dev/null || [ -d "$out" ] # somebody else was faster
show
