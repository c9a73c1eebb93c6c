#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The demonstration behind `make demo`: an image archive becomes a .gvmi, which boots in a microVM and runs.
#
#   demo.sh PREFIX    with the gvmkit that is installed below PREFIX

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$(cd "$1" && pwd)/bin:$PATH
export PATH

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	bold=$'\033[1m' plain=$'\033[0m'
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

archive=$("$here/make-demo-image.sh")
image=${archive%.tar}.gvmi

say "\$ gvmkit build docker-archive:$archive -o $image --force"
gvmkit build "docker-archive:$archive" -o "$image" --force

say "\$ gvmkit inspect $image"
gvmkit inspect "$image"

say "\$ gvmkit run -e WHO=you $image"
gvmkit run -e WHO=you "$image"
