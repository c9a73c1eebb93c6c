#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install the Debian packages that a part of the work needs, if any is missing.
#
#   setup.sh GROUP...           install what is missing of these groups, without asking
#   setup.sh --print GROUP...   print the packages of these groups, one a line
#   setup.sh --missing GROUP... print only those that are missing; status 1 if there are any
#   setup.sh --help
#
# Groups
#   build   compile gvmkit, its guest kernel and its guest agent
#   demo    what `make demo` needs beyond that: run it
#   check   what `make check` needs beyond those two: test tools
#   bench   what `make bench` needs beyond those two: what gvmkit is measured against
#
# When nothing is missing neither apt-get nor the network is touched. Installing
# needs root; an ordinary user gets it through sudo.

set -euo pipefail
export LC_ALL=C

build=(
gcc libc6-dev make meson ninja-build pkg-config musl-tools
libarchive-dev libbz2-dev libcmocka-dev libcurl4-openssl-dev libdeflate-dev libisal-dev libjansson-dev liblz4-dev liblzma-dev
liblzo2-dev libmicrohttpd-dev libreadline-dev libseccomp-dev libslirp-dev libsodium-dev libsqlite3-dev libssl-dev libuv1-dev libzstd-dev zlib1g-dev
linux-source-6.1 bc bison flex libelf-dev cpio xz-utils kmod
binutils dpkg-dev python3
)
demo=(
qemu-system-x86 e2fsprogs ca-certificates
)
check=(
bats chromium clang clang-format-14 jq libclang-rt-14-dev llvm-14 mandoc shellcheck
squashfs-tools squashfs-tools-ng squashfuse umoci skopeo buildah podman docker.io docker-registry
apache2-utils curl e2fsprogs fakeroot fuse3 minisign openssl strace
procps util-linux zstd
)
bench=(
casync mmdebstrap nginx-light skopeo uidmap umoci squashfs-tools squashfs-tools-ng python3
)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# The packages of the groups given, one a line, each once.
packages()
{
	local group
	for group in "$@"; do
		case $group in
		build) printf '%s\n' "${build[@]}" ;;
		demo) printf '%s\n' "${demo[@]}" ;;
		check) printf '%s\n' "${check[@]}" ;;
		bench) printf '%s\n' "${bench[@]}" ;;
		*) die "unknown group '$group' (build, demo, check or bench)" ;;
		esac
	done | sort -u
}

# Those of the packages given that are not installed.
missing()
{
	local installed
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
		sed -n 's/^installed //p' | sort -u) || true
	comm -23 <(printf '%s\n' "$@" | sort -u) <(printf '%s\n' "$installed")
}

install_packages()
{
	local -a root=() options=(-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null ||
			die "missing: $*; installing them needs root, and there is no sudo: as root, run apt-get install $*"
		root=(sudo)
		# Without a terminal sudo cannot ask for a password: then it must not try.
		[ -t 0 ] || root+=(-n)
		"${root[@]}" true ||
			die "missing: $*; sudo does not let you install them: as root, run apt-get install $*"
	fi
	say "installing $*"
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "${options[@]}" update >&2 ||
		say 'apt-get update failed; trying with the package lists that are here'
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "${options[@]}" \
		install --no-install-recommends "$@" >&2 </dev/null ||
		die "apt-get could not install: $*; its messages are above"
}

mode=install
case ${1-} in
--help) sed -n '4,/^$/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
--print) mode=print; shift ;;
--missing) mode=missing; shift ;;
-*) die "unknown option '$1' (try --help)" ;;
esac
[ $# -gt 0 ] || die 'which groups? (build, demo, check, bench; try --help)'
wanted=$(packages "$@")
mapfile -t wanted <<<"$wanted"

if [ "$mode" = print ]; then
	printf '%s\n' "${wanted[@]}"
	exit 0
fi
command -v dpkg-query >/dev/null ||
	die "this is not a Debian system: install what Debian calls ${wanted[*]}"

mapfile -t needed < <(missing "${wanted[@]}")
if [ "$mode" = missing ]; then
	[ ${#needed[@]} -eq 0 ] && exit 0
	printf '%s\n' "${needed[@]}"
	exit 1
fi
[ ${#needed[@]} -gt 0 ] || exit 0
install_packages "${needed[@]}"
