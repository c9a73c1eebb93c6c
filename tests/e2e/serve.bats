#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit serve`: the registry's server, asked by what the original clients send (golem_client.py).

load helper

setup_file()
{
	e2e_setup_file
	export IMAGE=$BATS_FILE_TMPDIR/image.gvmi
	mkdir "$BATS_FILE_TMPDIR/root"
	/usr/bin/python3 -c 'import random; open("'"$BATS_FILE_TMPDIR"'/root/data", "wb").write(random.Random(1).randbytes(300000))'
	gvmkit build "dir:$BATS_FILE_TMPDIR/root" -o "$IMAGE" >/dev/null
}

setup() { e2e_setup; }
teardown() { assert_nothing_left; }

serve_case()
{
	timeout 300 /usr/bin/python3 "$E2E/serve_cases.py" "$@"
}

@test "the requests of gvmkit-build, yapapi, golem-js and a provider are answered as they expect" {
	serve_case protocol
}

@test "eight clients push at once" {
	serve_case parallel
}

@test "an interrupted upload goes on where it was, also after a restart" {
	serve_case resume
}

@test "the chunk map beside an image is true" {
	serve_case map
}

@test "lying lengths, wrong hashes and tricks in names are refused" {
	serve_case hostile
}

@test "requests whose arguments have no room leave nothing behind" {
	serve_case arguments
}

@test "quotas by size and by number" {
	serve_case quotas
}

@test "rates of requests and of failed logins, by address" {
	serve_case limits
}

@test "what has no tag expires, and uploads that do not go on" {
	serve_case expiry
}

@test "tags move, and go" {
	serve_case tags
}

@test "an image that is removed and collected is still downloaded to its end" {
	serve_case collected_while_downloading
}

@test "ranges, conditions and HEAD" {
	serve_case ranges
}

@test "TLS with a certificate of one's own" {
	serve_case tls
}

@test "a renewed certificate is taken without a restart, and a pair that does not fit is not" {
	serve_case renewal
}

@test "an address to listen at is taken as it is written, or refused" {
	serve_case address
}

@test "SIGHUP without a certificate does no harm" {
	serve_case hangup
}

@test "a thousand idle connections and slow clients are outlived" {
	serve_case idle
}

@test "more connections than are allowed hinder those that are there not" {
	serve_case crowd
}

@test "SIGTERM lets downloads end" {
	serve_case graceful
}

@test "a line about each request" {
	serve_case log
}

@test "SIGKILL at any moment loses nothing that was acknowledged, and serves nothing partial" {
	serve_case killed
}

