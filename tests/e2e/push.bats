#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Publishing and finding images, against a registry that takes nothing but what the protocol says.

load helper

setup_file()
{
	e2e_setup_file
	gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null
	gvmkit hash "$IMAGES/base.gvmi" | cut -d ' ' -f 1 >"$IMAGES/hash"
}

setup()
{
	e2e_setup
	export HOME=$BATS_TEST_TMPDIR/home
	mkdir "$HOME"
	unset GOLEM_REGISTRY_URL REGISTRY_URL REGISTRY_USER REGISTRY_TOKEN XDG_DATA_HOME XDG_CONFIG_HOME GOLEM_DEV_MODE
	HASH=$(cat "$IMAGES/hash")
	MOCK=$BATS_TEST_TMPDIR/mock
}

teardown()
{
	[ ! -e "$BATS_TEST_TMPDIR/pid" ] || kill "$(cat "$BATS_TEST_TMPDIR/pid")"
	assert_nothing_left
}

# A registry of this test's own.
start_registry()
{
	/usr/bin/python3 "$E2E/mock_registry.py" "$BATS_TEST_TMPDIR/port" "$MOCK" "$@" >"$BATS_TEST_TMPDIR/mock.log" 2>&1 </dev/null 3>&- 4>&- &
	echo $! >"$BATS_TEST_TMPDIR/pid"
	wait_until test -e "$BATS_TEST_TMPDIR/port"
	GOLEM_REGISTRY_URL=http://127.0.0.1:$(cat "$BATS_TEST_TMPDIR/port")/
	export GOLEM_REGISTRY_URL
}

as_alice() { export REGISTRY_USER=alice REGISTRY_TOKEN=secret:1; }

push() { gvmkit push --progress none "$@"; }

requests() { cut -d ' ' -f 1 "$MOCK/requests" | tr -d '\n'; }

assert_protocol() { assert_equal "$(cat "$MOCK/wrong")" ""; }

@test "push sends what the protocol says, in its order, and pull gets it" {
	start_registry
	as_alice
	run -0 push --chunk-size 64k "$IMAGES/base.gvmi" alice/demo:1.0 alice/demo:latest
	assert_contains "$output" "$HASH"
	assert_protocol
	cmp "$MOCK/images/$HASH" "$IMAGES/base.gvmi"
	[[ $(requests) =~ ^ABCEEBD+B+EE$ ]]
	assert_equal "$(grep '^E' "$MOCK/requests")" "$(printf '%s\n' 'E alice/demo:1.0 alice check' 'E alice/demo:latest alice check' 'E alice/demo:1.0 alice' 'E alice/demo:latest alice')"
	[ "$(cat "$MOCK/most")" -gt 1 ]
	run -0 gvmkit pull alice/demo:1.0
	assert_contains "$output" "$HASH"
	cmp "$HOME/.local/share/gvmkit/images/$HASH.gvmi" "$IMAGES/base.gvmi"
	run -0 gvmkit images
	assert_contains "$output" "alice/demo:1.0"
	assert_protocol
}

@test "what the registry has is not sent again" {
	start_registry
	as_alice
	push --chunk-size 64k "$IMAGES/base.gvmi" alice/demo:1.0
	: >"$MOCK/requests"
	run -0 --separate-stderr push --json --chunk-size 64k "$IMAGES/base.gvmi" alice/demo:2
	assert_equal "$(jq -r '.sent, .chunks_sent, .names[0], .hash' <<<"$output" | tr '\n' ' ')" "0 0 alice/demo:2 $HASH "
	assert_equal "$(requests)" ABE
	assert_protocol
}

@test "lost and refused chunks are sent again, and nothing else" {
	start_registry chunk-500=1 chunk-drop=3 slow-full=3
	as_alice
	run -0 push --workers 2 --chunk-size 64k "$IMAGES/base.gvmi" alice/demo:1.0
	assert_protocol
	cmp "$MOCK/images/$HASH" "$IMAGES/base.gvmi"
	assert_contains "$(cat "$MOCK/requests")" "D 1 500"
	assert_contains "$(cat "$MOCK/requests")" "D 3 dropped"
	assert_equal "$(grep -c '^D [0-9]*$' "$MOCK/requests")" "$((($(stat -c %s "$IMAGES/base.gvmi") + 65535) / 65536))"
}

@test "an upload that failed goes on where it was" {
	start_registry chunk-400=2
	as_alice
	run -1 push --workers 1 --chunk-size 64k "$IMAGES/base.gvmi" alice/demo:1.0
	assert_contains "$output" "chunk 3 of"
	assert_contains "$output" "this chunk is not wanted"
	assert_one_line_error "$output"
	assert_equal "$(grep -c '^D [0-9]*$' "$MOCK/requests")" 2
	assert_equal "$(grep '^E' "$MOCK/requests")" "E alice/demo:1.0 alice check"
	: >"$MOCK/requests"
	run -1 push --workers 1 --chunk-size 64k "$IMAGES/base.gvmi" alice/demo:1.0
	assert_equal "$(requests)" ABEBD
	assert_protocol
}

@test "anonymous: no login, no name" {
	start_registry
	run -0 push --anonymous "$IMAGES/base.gvmi"
	[[ $(requests) =~ ^BCBD+B+$ ]]
	run -2 push --anonymous "$IMAGES/base.gvmi" alice/demo:1
	run -2 push "$IMAGES/base.gvmi"
	run -0 gvmkit pull "$HASH"
	run -0 gvmkit ls "${HASH^^}"
	assert_protocol
}

@test "who may not set the tag learns it before anything is sent" {
	start_registry
	as_alice
	run -1 push "$IMAGES/base.gvmi" alice/nowhere:1
	assert_contains "$output" "not possible to add to repository: \`alice/nowhere:1\`: the server says 404, Repository not found"
	assert_equal "$(requests)" ABCE
	export REGISTRY_TOKEN=wrong
	run -1 push "$IMAGES/base.gvmi" alice/demo:1
	assert_contains "$output" "not logged in: \`alice\`"
	assert_contains "$output" "Invalid username or token"
	unset REGISTRY_TOKEN
	run -1 push "$IMAGES/base.gvmi" alice/demo:1
	assert_contains "$output" "use \`gvmkit login\`"
	run -2 push "$IMAGES/base.gvmi" 'alice/demo:1/2'
	run -1 push "$IMAGES/base.tar" --anonymous
	assert_contains "$output" "not a .gvmi"
	assert_protocol
}

@test "login keeps the token for its owner alone, logout forgets it" {
	start_registry
	run -1 gvmkit login --user alice <<<wrong
	[ ! -e "$HOME/.config/gvmkit/registry.json" ]
	run -1 gvmkit login --check
	run -0 gvmkit login --user alice <<<secret:1
	assert_contains "$output" "as alice"
	assert_equal "$(stat -c %a "$HOME/.config/gvmkit/registry.json")" 600
	run -0 gvmkit login --check
	run -0 push "$IMAGES/base.gvmi" alice/demo:1
	chmod 644 "$HOME/.config/gvmkit/registry.json"
	run -1 gvmkit login --check
	assert_contains "$output" "can be read by others"
	chmod 600 "$HOME/.config/gvmkit/registry.json"
	printf 'bob\nhunter2\n' >both
	run -0 gvmkit login <both
	assert_contains "$output" "as bob"
	run -0 gvmkit logout
	run -1 gvmkit login --check
	run -0 gvmkit logout
	assert_contains "$output" "was not logged in"
	run -1 grep -r 'secret:1\|hunter2' "$HOME"
	GOLEM_REGISTRY_URL=http://registry.example run -1 gvmkit login --user alice <<<secret:1
	assert_contains "$output" "is not encrypted"
	assert_protocol
}

@test "tag moves names without any data" {
	start_registry
	as_alice
	push "$IMAGES/base.gvmi" alice/demo:1.0
	: >"$MOCK/requests"
	run -0 gvmkit tag alice/demo:1.0 alice/demo:latest alice/demo:stable
	assert_equal "$(requests)" FABEEEE
	run -0 gvmkit tag "$HASH" alice/demo:2
	run -1 gvmkit tag alice/demo:9 alice/demo:3
	assert_contains "$output" "Image not found"
	run -0 gvmkit pull alice/demo:2
	assert_protocol
}

@test "names: the store first, pull asks again, GOLEM_REGISTRY_URL before REGISTRY_URL, statistics" {
	start_registry
	as_alice
	push "$IMAGES/base.gvmi" alice/demo:1
	export REGISTRY_URL=http://127.0.0.1:1
	: >"$MOCK/requests"
	run -0 gvmkit inspect alice/demo:1
	run -0 gvmkit inspect golem:alice/demo:1
	assert_equal "$(grep '^F' "$MOCK/requests")" "F tag=alice/demo:1&count=true"
	GOLEM_DEV_MODE=true run -0 gvmkit pull alice/demo:1
	assert_contains "$output" "was there already"
	assert_equal "$(grep '^F' "$MOCK/requests" | tail -1)" "F tag=alice/demo:1&dev=true"
	run -1 gvmkit pull alice/demo:7
	assert_contains "$output" "404, Image not found"
	run -0 gvmkit rm alice/demo:1
	assert_protocol
}

@test "run USER/REPO:TAG on an empty store" {
	start_registry
	as_alice
	push "$IMAGES/base.gvmi" alice/demo:1
	run -0 vm alice/demo:1 sh -c 'echo from the registry'
	assert_contains "$output" "from the registry"
	# Without the registry, and with another one where the name means nothing.
	kill "$(cat "$BATS_TEST_TMPDIR/pid")"
	rm "$BATS_TEST_TMPDIR/pid"
	run -0 vm alice/demo:1 sh -c 'echo from the store'
	assert_contains "$output" "from the store"
}

@test "link files of the former repository" {
	start_registry
	push --anonymous "$IMAGES/base.gvmi"
	local id
	id=$(gvmkit push --json --anonymous "$IMAGES/base.gvmi" | jq -r .descriptor)
	local link=${GOLEM_REGISTRY_URL}image.$HASH.link
	run -1 gvmkit pull "$link"
	assert_contains "$output" "404"
	printf '%sdownload/%s\n' "$GOLEM_REGISTRY_URL" "$id" >"$MOCK/image.$HASH.link"
	run -0 gvmkit pull "$link"
	cmp "$HOME/.local/share/gvmkit/images/$HASH.gvmi" "$IMAGES/base.gvmi"
	assert_protocol
}

@test "build --push and gvmkit-build --push-to" {
	start_registry
	run -1 gvmkit build "$IMAGES/base.tar" -o pushed.gvmi --push alice/demo:b
	assert_contains "$output" "not logged in"
	[ ! -e pushed.gvmi ]
	as_alice
	run -0 gvmkit build "$IMAGES/base.tar" -o pushed.gvmi --push alice/demo:b
	assert_contains "$output" "sent to http://127.0.0.1"
	run -0 gvmkit-build --hide-progress -d pushed.gvmi --push-to alice/demo:c --extra-json-info-path info.json
	assert_contains "$output" "the registry had all of it"
	assert_equal "$(jq -r '.repoInfo.user, .repoInfo.repo, .repoInfo.tag' info.json | tr '\n' ' ')" "alice demo c "
	run -0 gvmkit-build --hide-progress -d pushed.gvmi --push --nologin
	run -2 gvmkit-build -d pushed.gvmi --push-to alice/demo:c --nologin
	run -2 gvmkit-build -d pushed.gvmi --push
	run -0 gvmkit-build --login-check
	assert_contains "$output" "as alice"
	run -0 gvmkit-build --logout
	run -0 gvmkit pull alice/demo:c
	assert_protocol
}

@test "a registry that is none, and one that lies" {
	start_registry no-status
	as_alice
	run -1 push "$IMAGES/base.gvmi" alice/demo:1
	assert_contains "$output" "does not know the image that was just announced"
	GOLEM_REGISTRY_URL=http://127.0.0.1:1 run -1 push --anonymous "$IMAGES/base.gvmi"
	assert_contains "$output" "cannot connect"
	GOLEM_REGISTRY_URL=ftp://x run -1 push --anonymous "$IMAGES/base.gvmi"
	assert_contains "$output" "not a URL of http or https"
}
