#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
#
# make install and make deb: everything is put in place, and what is installed needs nothing of the source tree.

bats_require_minimum_version 1.5.0

setup_file() {
	top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	build=${GVMKIT_TEST_BUILD:-$top/build}
	export top build
	"$top/scripts/install.sh" "$build" "$BATS_FILE_TMPDIR/dest" /usr/local
	"$top/scripts/make-deb.sh" "$build" "$BATS_FILE_TMPDIR"
	dpkg-deb -x "$BATS_FILE_TMPDIR"/gvmkit_*.deb "$BATS_FILE_TMPDIR/deb"
}

# The pages as they are named in a tree: with or without .gz.
expected() {
	printf '%s\n' bin/gvmkit bin/gvmkit-build lib/gvmkit/initramfs.cpio lib/gvmkit/self-test.gvmi lib/gvmkit/vmlinux share/bash-completion/completions/gvmkit \
		lib/yagna/plugins/ya-runtime-vm.json lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm share/doc/gvmkit/copyright lib/gvmkit/gvmkit-jail lib/gvmkit/gvmkit-net
	for page in "$top"/man/*.1; do
		printf 'share/man/man1/%s\n' "${page##*/}$1"
	done
}

@test "make install puts binaries, guest, manual pages and completion in place, and nothing else" {
	diff <(expected '' | sort) <(cd "$BATS_FILE_TMPDIR/dest/usr/local" && find . ! -type d -printf '%P\n' | sort)
}

@test "the package holds the same below /usr" {
	diff <(expected .gz | sort) <(cd "$BATS_FILE_TMPDIR/deb/usr" && find . ! -type d -printf '%P\n' | sort)
	[ "$(ls "$BATS_FILE_TMPDIR/deb")" = usr ]
}

@test "files belong to root and are not writable for others" {
	files=$(dpkg-deb -c "$BATS_FILE_TMPDIR"/gvmkit_*.deb)
	grep -qE '^-rwxr-xr-x .* \./usr/bin/gvmkit$' <<<"$files"
	run -1 grep -v ' root/root ' <<<"$files"
	run -1 grep -E '^[^l].......w' <<<"$files"
}

@test "the package depends on QEMU and on the libraries of the program" {
	run -0 dpkg-deb -f "$BATS_FILE_TMPDIR"/gvmkit_*.deb Depends
	[[ $output == *qemu-system-x86* && $output == *libc6* && $output == *libuv1* && $output == *libdeflate0* && $output == *libseccomp2* ]]
	# every library that is linked comes from one of these packages
	for library in $(ldd "$BATS_FILE_TMPDIR/deb/usr/bin/gvmkit" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p'); do
		[ -e "$library" ]
	done
	run -0 dpkg-deb -f "$BATS_FILE_TMPDIR"/gvmkit_*.deb Version
	[[ gvmkit\ $output == "$(gvmkit --version)"* ]]
}

@test "the same build gives the same package" {
	mkdir "$BATS_TEST_TMPDIR/again"
	"$top/scripts/make-deb.sh" "$build" "$BATS_TEST_TMPDIR/again"
	cmp "$BATS_FILE_TMPDIR"/gvmkit_*.deb "$BATS_TEST_TMPDIR"/again/gvmkit_*.deb
}

@test "the installed program finds its guest where it is installed" {
	cd /
	for root in "$BATS_FILE_TMPDIR/dest/usr/local" "$BATS_FILE_TMPDIR/deb/usr"; do
		run -0 env -i HOME="$BATS_TEST_TMPDIR" PATH=/usr/bin:/bin "$root/bin/gvmkit" doctor --json
		[[ $output == *"\"kernel\": \"$root/lib/gvmkit/vmlinux\""* ]]
		[[ $output == *"\"initramfs\": \"$root/lib/gvmkit/initramfs.cpio\""* ]]
	done
}

@test "no path of the source tree is in what is installed" {
	run -1 grep -rqF -- "$top" "$BATS_FILE_TMPDIR/deb/usr/bin" "$BATS_FILE_TMPDIR/deb/usr/lib"
}

@test "make uninstall removes it all" {
	cp -a "$BATS_FILE_TMPDIR/dest" "$BATS_TEST_TMPDIR/dest"
	mkdir -p "$BATS_TEST_TMPDIR/dest/usr/local/bin"
	touch "$BATS_TEST_TMPDIR/dest/usr/local/bin/other"
	"$top/scripts/install.sh" --uninstall "$BATS_TEST_TMPDIR/dest" /usr/local
	[ "$(cd "$BATS_TEST_TMPDIR/dest" && find . -type f)" = ./usr/local/bin/other ]
}

@test "what make builds is all that an installation needs of the build" {
	for target in $("$top/scripts/install.sh" --targets); do
		mkdir -p "$(dirname "$BATS_TEST_TMPDIR/build/$target")"
		echo "$target" >"$BATS_TEST_TMPDIR/build/$target"
	done
	"$top/scripts/install.sh" "$BATS_TEST_TMPDIR/build" "$BATS_TEST_TMPDIR/dest" /usr
	diff <(expected '' | sort) <(cd "$BATS_TEST_TMPDIR/dest/usr" && find . ! -type d -printf '%P\n' | sort)
}

@test "an incomplete build is not installed" {
	run -1 "$top/scripts/install.sh" "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/dest" /usr
	[[ $output == *'run make first'* ]]
}
