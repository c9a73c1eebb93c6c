#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# From a requestor's build to a provider's run and back, with our own server, one real VM each: build, push, run by name on an empty store, update, a script
# with transfers both ways.

load helper

setup_file()
{
	e2e_setup_file
	export GVMKIT_ALLOW_TCG=1
}

setup()
{
	e2e_setup
	export HOME=$BATS_TEST_TMPDIR/home XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache XDG_DATA_HOME=$BATS_TEST_TMPDIR/data
	mkdir "$HOME"
	unset XDG_CONFIG_HOME REGISTRY_USER REGISTRY_TOKEN REGISTRY_URL
	local admin=(gvmkit serve --data "$PWD/registry" admin)
	"${admin[@]}" user add alice
	"${admin[@]}" repo add alice/demo
	TOKEN=$("${admin[@]}" token add alice)
	gvmkit serve --data "$PWD/registry" --listen 127.0.0.1:0 --log json >url 2>log </dev/null 3>&- 4>&- &
	SERVER=$!
	wait_until test -s url
	GOLEM_REGISTRY_URL=$(cat url)
	export GOLEM_REGISTRY_URL
}

teardown()
{
	[ -z "$SERVER" ] || stop_server
	[ -z "$FILES_SERVER" ] || kill "$FILES_SERVER"
	assert_nothing_left
}

stop_server()
{
	kill "$SERVER"
	wait "$SERVER"
	SERVER=
}

login() { gvmkit login --user alice <<<"$TOKEN"; }

# An image of a program and 6 MiB that do not compress; the last 200 KiB depend on the argument.
make_image()
{
	[ -d root ] || { gvmkit build "$IMAGES/base.tar" -o image.gvmi && gvmkit extract image.gvmi -o root; }
	/usr/bin/python3 - "$1" <<-'PYTHON'
		import random, sys
		for name, seed, n in (("same", 1, 6 << 20), ("new", int(sys.argv[1]), 200 << 10)):
		    with open("root/" + name, "wb") as f:
		        f.write(random.Random(seed).randbytes(n))
	PYTHON
	gvmkit build --force dir:root -o image.gvmi
}

has_chunks() { curl -sf "$GOLEM_REGISTRY_URL/v1/image/info?tag=alice/demo:$1" | jq -e .chunks >/dev/null; }

# Bytes of images and chunk maps that the server has sent, by its log from line $1 on.
sent() { tail -n "+$1" log | jq -s '[.[] | select(.route == "download" and (.status == 200 or .status == 206)) | .length] | add // 0'; }

@test "build, push, run by name on an empty store" {
	run -0 gvmkit build "$IMAGES/base.tar" -o image.gvmi
	login
	run -0 gvmkit push --progress none image.gvmi alice/demo:1
	run -0 vm alice/demo:1 sh -c 'echo the output of a program'
	assert_contains "$output" 'the output of a program'
	[ "$(gvmkit images --json | jq length)" = 1 ]
	stop_server
	run -0 vm alice/demo:1 sh -c 'echo and without the server'
	assert_contains "$output" 'and without the server'
}

@test "an update moves only what changed" {
	login
	make_image 1
	gvmkit push --progress none image.gvmi alice/demo:1
	run -0 gvmkit pull --progress none alice/demo:1
	make_image 2
	gvmkit push --progress none image.gvmi alice/demo:1
	wait_until has_chunks 1
	local before size
	before=$(($(wc -l <log) + 1))
	run -0 gvmkit pull --json --progress none alice/demo:1
	size=$(stat -c %s image.gvmi)
	cmp "$(jq -r '.[0].file' <<<"$output")" image.gvmi
	[ "$size" -gt $((6 << 20)) ]
	# What changed lies in at most a few chunks of a MiB; the bytes of its map are counted, too.
	[ "$(sent "$before")" -gt $((200 << 10)) ]
	[ "$(sent "$before")" -lt $((size / 4)) ]
	[ "$(jq -r '.[0].received' <<<"$output")" -le "$(sent "$before")" ]
	run -0 vm alice/demo:1 sha256sum /new
	assert_equal "${output%% *}" "$(sha256sum <root/new | cut -d ' ' -f 1)"
}

@test "a script with the name of an image, and transfers both ways" {
	gvmkit build "$IMAGES/base.tar" -o image.gvmi
	login
	gvmkit push --progress none image.gvmi alice/demo:1
	mkdir web
	echo 'from a server' >web/input
	/usr/bin/python3 "$E2E/fileserver.py" "$PWD/web" "$PWD/port" >web.log 2>&1 3>&- 4>&- &
	FILES_SERVER=$!
	wait_until test -s port
	local url
	url=http://127.0.0.1:$(cat port)
	jq -n --arg url "$url" '[
		{deploy: {volumes: ["/data"]}}, {start: {}},
		{transfer: {from: ($url + "/input"), to: "container:/data/input"}},
		{run: {entry_point: "/bin/sh", args: ["-c", "tr a-z A-Z </data/input >/data/output"]}},
		{transfer: {from: "container:/data/output", to: ($url + "/output")}},
		{transfer: {from: "container:/data/output", to: "file:got"}},
		{terminate: {}}]' >job.json
	run -0 gvmkit script job.json --image alice/demo:1 -- --accel "$ACCEL"
	assert_equal "$(cat web/output)" 'FROM A SERVER'
	assert_equal "$(cat got)" 'FROM A SERVER'
	[ "$(gvmkit images --json | jq length)" = 1 ]
}

@test "gvmkit-build --push by the name in Docker, and run what it has pushed" {
	gvmkit build "$IMAGES/base.tar" -o image.gvmi
	local id
	id=$(gvmkit inspect --json image.gvmi | jq -r .config.Image)
	/usr/bin/python3 "$E2E/daemon.py" "$IMAGES/base.tar" "$id" alice/demo:built >daemon.log 2>&1 3>&- 4>&- &
	FILES_SERVER=$!
	wait_until test -S socket
	printf 'alice\n%s\n' "$TOKEN" | gvmkit-build --login
	DOCKER_HOST=unix://$PWD/socket run -0 gvmkit-build --hide-progress --push alice/demo:built
	run -0 vm alice/demo:built sh -c 'echo pushed by the other door'
	assert_contains "$output" 'pushed by the other door'
}
