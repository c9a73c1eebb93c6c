#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Lay a finished build out as it is installed.
#
#   install.sh BUILDDIR DESTDIR PREFIX     install below DESTDIR/PREFIX
#   install.sh --uninstall DESTDIR PREFIX  remove what was installed there
#   install.sh --targets                   print what the build has to make for that, below BUILDDIR
#
# Below the prefix:
#   bin/gvmkit
#   bin/gvmkit-build                       a link to gvmkit: another name, another command line
#   lib/gvmkit/vmlinux, initramfs.cpio     the guest; gvmkit finds it from where its own executable is
#   lib/gvmkit/gvmkit-jail                 what QEMU is started through
#   lib/gvmkit/gvmkit-net                  the user-space network of `gvmkit run --net user`
#   lib/gvmkit/self-test.gvmi              the image of `ya-runtime-vm test`
#   lib/yagna/plugins/ya-runtime-vm.json   the runtime for a provider's ExeUnit: what says that it is there,
#   lib/yagna/plugins/ya-runtime-vm/       and the program
#   share/man/man1/*.1
#   share/bash-completion/completions/gvmkit
#   share/doc/gvmkit/copyright
#
# Nothing is compiled here, so it can run as another user than the one who built.

set -euo pipefail
export LC_ALL=C
umask 022

src=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly src

die() { printf 'install: %s\n' "$*" >&2; exit 1; }

# Put a file in place by renaming, so that a gvmkit that is running keeps the one it has open. What is there already
# keeps its times: verdicts about the host are remembered by them.
put()
{
	[ -f "$2" ] || die "there is no $2; run make first"
	[ ! -f "$3" ] || [ "$(stat -c %a "$3")" != "$1" ] || ! cmp -s "$2" "$3" || return 0
	install -D -m "$1" "$2" "$3.new"
	mv -f "$3.new" "$3"
}

# The lines below are the only list of what is installed; the Makefile builds what they name.
if [ "${1-}" = --targets ]; then
	# shellcheck disable=SC2016
	sed -n 's/^put [0-9]* "$build\/\([^"]*\)".*/\1/p' "${BASH_SOURCE[0]}"
	exit 0
fi

if [ "${1-}" = --uninstall ]; then
	[ $# -eq 3 ] || die 'usage: install.sh --uninstall DESTDIR PREFIX'
	root=$2$3
	rm -f "$root/bin/gvmkit" "$root/bin/gvmkit-build" "$root/share/bash-completion/completions/gvmkit"
	rm -rf "$root/lib/gvmkit" "$root/share/doc/gvmkit"
	rm -f "$root/lib/yagna/plugins/ya-runtime-vm.json" "$root/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm"
	rmdir -p --ignore-fail-on-non-empty "$root/lib/yagna/plugins/ya-runtime-vm" 2>/dev/null || true
	for page in "$src"/man/*.1; do
		rm -f "$root/share/man/man1/${page##*/}"
	done
	exit 0
fi

[ $# -eq 3 ] || die 'usage: install.sh BUILDDIR DESTDIR PREFIX'
build=$1
root=$2$3
[ -n "$root" ] || die 'DESTDIR and PREFIX are both empty'
kernel=$("$src/guest/kernel/build.sh" --print-path)

put 755 "$build/src/cli/gvmkit" "$root/bin/gvmkit"
ln -sfn gvmkit "$root/bin/gvmkit-build"
put 755 "$build/src/exeunit/ya-runtime-vm" "$root/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm"
put 644 "$src/src/exeunit/ya-runtime-vm.json" "$root/lib/yagna/plugins/ya-runtime-vm.json"
put 755 "$build/src/jail/gvmkit-jail" "$root/lib/gvmkit/gvmkit-jail"
put 644 "$kernel/vmlinux" "$root/lib/gvmkit/vmlinux"
put 644 "$build/guest/initramfs.cpio" "$root/lib/gvmkit/initramfs.cpio"
put 755 "$build/src/usernet/gvmkit-net" "$root/lib/gvmkit/gvmkit-net"
put 644 "$build/src/exeunit/self-test.gvmi" "$root/lib/gvmkit/self-test.gvmi"
for page in "$src"/man/*.1; do
	put 644 "$page" "$root/share/man/man1/${page##*/}"
done
put 644 "$src/completion/gvmkit" "$root/share/bash-completion/completions/gvmkit"
put 644 "$src/scripts/copyright" "$root/share/doc/gvmkit/copyright"
