#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make a Debian package of a finished build: BUILDDIR/gvmkit_VERSION_ARCH.deb
#
#   make-deb.sh BUILDDIR [OUTDIR]
#
# The libraries that the package depends on are found by dpkg-shlibdeps. Needs no root. The same build gives the same
# package when SOURCE_DATE_EPOCH is set (default: the time of the last commit).

set -euo pipefail
export LC_ALL=C
umask 022

die() { printf 'deb: %s\n' "$*" >&2; exit 1; }

src=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(cd "$1" && pwd)
out=$(cd "${2:-$1}" && pwd)
version=$(meson introspect --projectinfo "$build" | sed -n 's/.*"version": "\([^"]*\)".*/\1/p')
[ -n "$version" ] || die "$build is not a build of gvmkit"
arch=$(dpkg --print-architecture)
if [ -z "${SOURCE_DATE_EPOCH-}" ]; then
	SOURCE_DATE_EPOCH=$(git -C "$src" log -1 --format=%ct 2>/dev/null || stat -c %Y "$src/meson.build")
fi
export SOURCE_DATE_EPOCH

work=$(mktemp -d "$build/.deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

"$src/scripts/install.sh" "$build" "$root" /usr
programs=(usr/bin/gvmkit usr/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm)
for helper in "$root"/usr/lib/gvmkit/gvmkit-*; do
	programs+=("usr/lib/gvmkit/${helper##*/}")
done
strip --strip-unneeded "${programs[@]/#/$root/}"
gzip -9n "$root"/usr/share/man/man1/*.1

# dpkg-shlibdeps wants to see a source package around it.
mkdir -p "$work/debian" "$root/DEBIAN"
printf 'Source: gvmkit\n\nPackage: gvmkit\nArchitecture: %s\n' "$arch" >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O "${programs[@]/#/root/}" | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || die 'dpkg-shlibdeps found no library'
# Loaded when first needed (src/http/curl.c), so dpkg-shlibdeps does not see it.
depends+=', libcurl4'

cat >"$root/DEBIAN/control" <<CONTROL
Package: gvmkit
Version: $version
Architecture: $arch
Maintainer: the authors of gvmkit <gvmkit@localhost>
Installed-Size: $(du -k -s --apparent-size "$root/usr" | cut -f 1)
Depends: $depends, qemu-system-x86 (>= 1:7.2), e2fsprogs
Recommends: ca-certificates, libarchive13, libmicrohttpd12, libreadline8, squashfuse
Section: admin
Priority: optional
Description: container images as small files, run in microVMs
 gvmkit turns a Docker or OCI image into one small .gvmi file and runs it in a
 microVM under QEMU, with complete output, real exit codes and host-backed
 volumes. Neither Docker nor root is needed.
 .
 The package holds the program, the runtime for a Golem provider, the guest
 kernel and the guest agent.
CONTROL
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

deb=gvmkit_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$work/$deb" >/dev/null
mv "$work/$deb" "$out/$deb"
printf '%s\n' "$out/$deb"
