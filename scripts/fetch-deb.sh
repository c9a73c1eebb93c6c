#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Download packages from the Debian archive into the current directory. Nothing is installed, and no root is needed.
#
#   fetch-deb.sh PACKAGE...
#
# Where the system has no package lists, or old ones, fresh ones are fetched for this call alone.

set -euo pipefail
export LC_ALL=C

work=$(mktemp -d ./.fetch.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

apt=(apt-get -qq -o "APT::Sandbox::User=$(id -un)")
"${apt[@]}" download "$@" >"$work/log" 2>&1 && exit 0

mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
apt+=(-o "Dir::State::Lists=$(realpath "$work")/lists" -o "Dir::Cache=$(realpath "$work")/cache")
"${apt[@]}" update >>"$work/log" 2>&1 && "${apt[@]}" download "$@" >>"$work/log" 2>&1 && exit 0

cat "$work/log" >&2
echo "cannot download $* from the Debian archive; is the network there?" >&2
exit 1
