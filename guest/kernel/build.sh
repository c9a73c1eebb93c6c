#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Build the gvmkit guest kernel from Debian's linux-source package, once.
#
#   build.sh               build if needed; print the result directory
#   build.sh --print-path  print that directory without building (it may not exist)
#   build.sh --help
#
# How it works
#   The result depends on gvmkit.config, patches/, this script, the kernel source
#   package and the compiler.  A hash over them names the directory
#
#       ${XDG_CACHE_HOME:-$HOME/.cache}/gvmkit/kernel/<hash>/
#           vmlinux      stripped PVH kernel, what QEMU's -kernel takes
#           System.map   addresses for decoding an oops
#           config       the complete .config
#           version      what it was built from, "key value" lines
#
#   A build happens in ".<hash>.build" next to it and becomes <hash> by one
#   rename, so <hash> is either complete or absent.  ".<hash>.lock" is held for
#   the whole build: a second build waits and then finds the finished result.
#   Leftovers of a killed build are swept by the next one that gets the lock.
#
# stdout carries the directory and nothing else; progress goes to stderr.
#
# Environment
#   GVMKIT_KERNEL_SOURCE  tarball, default /usr/src/linux-source-6.1.tar.xz
#   GVMKIT_KERNEL_CC      compiler, default gcc
#   GVMKIT_KERNEL_JOBS    parallel jobs, default: number of processors

set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly fragment=$here/gvmkit.config
readonly patches=("$here"/patches/*.patch)
readonly tarball=${GVMKIT_KERNEL_SOURCE:-/usr/src/linux-source-6.1.tar.xz}
readonly cc=${GVMKIT_KERNEL_CC:-gcc}
readonly cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/gvmkit/kernel
readonly packages='linux-source-6.1 gcc make bc bison flex libelf-dev patch xz-utils'

say() { printf 'kernel: %s\n' "$*" >&2; }
die() { printf 'kernel: %s\n' "$*" >&2; exit 1; }

# The version of the package that owns the tarball, or a word saying that none does.
source_version()
{
	local v
	v=$(dpkg-query -W -f '${Version}' linux-source-6.1 2>/dev/null) || v=unpackaged
	printf '%s %s %s' "$v" "$(basename "$tarball")" "$(stat -Lc %s "$tarball")"
}

require_tools()
{
	local tool missing=
	for tool in "$cc" make bc bison flex ld objcopy strip patch tar xz flock; do
		command -v "$tool" >/dev/null || missing+=" $tool"
	done
	echo '#include <gelf.h>' | "$cc" -E -x c - >/dev/null 2>&1 || missing+=' gelf.h'
	[ -z "$missing" ] || die "cannot build, missing:$missing (Debian: apt-get install $packages)"
}

# Print each fragment line that the configuration in $1 does not honour; fail if there is any.
check_config()
{
	awk '
		FNR == NR {
			if (match($0, /^CONFIG_[A-Za-z0-9_]+=/))
				have[substr($0, 1, RLENGTH - 1)] = substr($0, RLENGTH + 1)
			next
		}
		match($0, /^CONFIG_[A-Za-z0-9_]+=/) {
			name = substr($0, 1, RLENGTH - 1)
			want = substr($0, RLENGTH + 1)
			got = (name in have) ? have[name] : "n"
			if (want != got) {
				printf "  %s: wanted %s, got %s\n", name, want, got
				lost++
			}
		}
		END { exit lost > 0 }
	' "$1" "$fragment"
}

# Run make on the tree without anything of the caller in its environment: an outer
# make's MAKEFLAGS, ARCH, CFLAGS or O would otherwise change what is built.
kmake()
{
	env -i PATH="$PATH" LC_ALL=C TZ=UTC \
		KBUILD_BUILD_TIMESTAMP='2024-01-01 00:00:00 UTC' \
		KBUILD_BUILD_VERSION=1 KBUILD_BUILD_USER=gvmkit KBUILD_BUILD_HOST=gvmkit \
		make -C "$tree" -j "${GVMKIT_KERNEL_JOBS:-$(nproc)}" CC="$cc" "$@"
}

# Everything between an empty directory and a finished one.  Runs in the background
# of main so that a signal is acted on at once, not when make returns.
build()
{
	say "unpacking $tarball"
	mkdir -p "$tree" "$out"
	# Leave out what is never built.  The Kconfig files of drivers must stay.
	tar -xf "$tarball" -C "$tree" --strip-components=1 --no-same-owner \
		--wildcards --wildcards-match-slash \
		--exclude='linux-source-*/arch/[!x.]*/*.[chS]' --exclude='*.dts' --exclude='*.dtsi' \
		--exclude='*/drivers/gpu/*.[ch]' --exclude='*/drivers/media/*.[ch]' \
		--exclude='*/drivers/net/ethernet/*.[ch]' --exclude='*/drivers/net/wireless/*.[ch]' \
		--exclude='*/drivers/staging/*.[ch]' --exclude='*/drivers/infiniband/*.[ch]' \
		--exclude='*/sound/*.[ch]' --exclude='*/tools/testing/*' --exclude='*/tools/perf/*' \
		--exclude='*/Documentation/*.rst' --exclude='*/Documentation/*.yaml' \
		--exclude='*/samples/*.[chS]'

	local p
	for p in "${patches[@]}"; do
		patch -s -p1 --fuzz=0 --no-backup-if-mismatch -d "$tree" <"$p" >&2 ||
			die "$p does not apply to this kernel source"
	done

	say 'configuring'
	kmake -s tinyconfig >"$work/tinyconfig.log" 2>&1 ||
		{ cat "$work/tinyconfig.log" >&2; die 'make tinyconfig failed'; }
	(cd "$tree" && env -i PATH="$PATH" LC_ALL=C \
		scripts/kconfig/merge_config.sh -m .config "$fragment") >"$work/merge.log" 2>&1 ||
		{ cat "$work/merge.log" >&2; die 'merge_config.sh failed'; }
	kmake -s olddefconfig >"$work/olddefconfig.log" 2>&1 ||
		{ cat "$work/olddefconfig.log" >&2; die 'make olddefconfig failed'; }
	if ! lost=$(check_config "$tree/.config"); then
		die "these lines of $fragment did not take effect:"$'\n'"$lost"
	fi

	say 'compiling (about five minutes on two processors)'
	kmake -s vmlinux >&2
	strip -s -o "$out/vmlinux" "$tree/vmlinux"
	cp "$tree/System.map" "$out/System.map"
	cp "$tree/.config" "$out/config"
	{
		echo "release $(kmake -s --no-print-directory kernelrelease)"
		echo "source $(source_version)"
		echo "compiler $("$cc" --version | sed -n 1p)"
		echo "linker $(ld --version | sed -n 1p)"
		echo "hash $hash"
	} >"$out/version"
}

cleanup()
{
	trap - EXIT
	trap '' HUP INT TERM
	# The builder leads its own process group: the whole make goes with it.
	[ -z "${builder:-}" ] || kill -TERM -- "-$builder" 2>/dev/null || true
	[ -z "${builder:-}" ] || wait "$builder" 2>/dev/null || true
	[ -z "${work:-}" ] || rm -rf "$work"
}

# One function, so that the whole script is read before anything runs.
main()
{
	case ${1-} in
	'' | --print-path) ;;
	--help) sed -n '3,/^$/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
	*) die "unknown argument '$1' (try --help)" ;;
	esac
	[ $# -le 1 ] || die 'one argument at most (try --help)'

	[ -r "$tarball" ] || die "no kernel source at $tarball (Debian: apt-get install $packages)"
	command -v "$cc" >/dev/null || die "no compiler '$cc' (Debian: apt-get install $packages)"

	hash=$({
		source_version
		echo
		"$cc" --version | sed -n 1p
		ld --version | sed -n 1p
		cat "$fragment" "${patches[@]}" "$here/build.sh"
	} | sha256sum)
	readonly hash=${hash:0:16}
	readonly result=$cache/$hash

	if [ "${1-}" = --print-path ] || [ -e "$result/version" ]; then
		echo "$result"
		exit 0
	fi

	require_tools
	mkdir -p "$cache"
	exec 9>"$cache/.$hash.lock"
	if ! flock -n 9; then
		say 'another build of the same kernel is running; waiting for it'
		flock 9
	fi
	if [ -e "$result/version" ]; then
		echo "$result"
		exit 0
	fi

	work=$cache/.$hash.build
	tree=$work/linux
	out=$work/out
	rm -rf "$work"
	trap cleanup EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	set -m
	build &
	builder=$!
	set +m
	status=0
	wait "$builder" || status=$?
	builder=
	[ "$status" -eq 0 ] || die "build failed (exit $status)"

	mv -T "$out" "$result"
	say "built $result"
	echo "$result"
}

main "$@"
