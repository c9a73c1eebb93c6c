#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Print the path of a static busybox: that of Debian's package busybox-static, unpacked into
# $XDG_CACHE_HOME/gvmkit/demo/busybox and not installed, where it would push another busybox out.

set -euo pipefail
export LC_ALL=C
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/gvmkit/demo
program=$cache/busybox/bin/busybox
if [ -x "$program" ]; then
	printf '%s\n' "$program"
	exit 0
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"
"$here/fetch-deb.sh" busybox-static
mkdir busybox
dpkg-deb -x busybox-static_*.deb busybox
# Another one may have been quicker.
mv -T busybox "$cache/busybox" 2>/dev/null || [ -x "$program" ]
printf '%s\n' "$program"
