#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Images of certain people only: --require-signature, wherever the image comes from, and nothing of it moves before it is known whose it is.

load helper

setup_file()
{
	e2e_setup_file
	mkdir "$BATS_FILE_TMPDIR/made" && cd "$BATS_FILE_TMPDIR/made" || return 1
	export MADE=$PWD
	gvmkit build "$IMAGES/layers.tar" -o a.gvmi
	gvmkit build "$IMAGES/user.tar" -o b.gvmi
	gvmkit sign --generate me --no-password
	gvmkit sign --generate other --no-password
	gvmkit sign --key me.key --name me/thing:1 a.gvmi
	gvmkit sign --key me.key b.gvmi
}

setup()
{
	e2e_setup
	export HOME=$BATS_TEST_TMPDIR/home XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache XDG_DATA_HOME=$BATS_TEST_TMPDIR/data
	mkdir "$HOME"
	unset REGISTRY_USER REGISTRY_TOKEN XDG_CONFIG_HOME
	cp "$MADE"/* .
	A=$(gvmkit hash a.gvmi | cut -c1-56)
	STORE=$XDG_DATA_HOME/gvmkit/images
	pids=()
}

teardown()
{
	local pid
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null && while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
	done
	assert_nothing_left
}

# In the background, with its output in a file.
start()
{
	local log=$1
	shift
	"$@" >"$log" 2>&1 </dev/null 3>&- 4>&- &
	pids+=($!)
}

# A server of the files in ./web; its log of requests is web/.log.
serve_files()
{
	mkdir web
	cp "$@" web
	start web.out /usr/bin/python3 "$E2E/fileserver.py" "$PWD/web" "$PWD/port"
	wait_until test -s port
	WEB=http://127.0.0.1:$(cat port)
}

# Our registry, with the accounts alice and bob; its log is registry.log.
serve_registry()
{
	local admin=(gvmkit serve --data "$PWD/registry" admin) name
	for name in alice bob; do
		"${admin[@]}" user add "$name"
		"${admin[@]}" repo add "$name/thing"
		"${admin[@]}" token add "$name" >"$name.token"
	done
	start registry.log gvmkit serve --data "$PWD/registry" --listen 127.0.0.1:0 --log plain
	wait_until grep -q '^http' registry.log
	GOLEM_REGISTRY_URL=$(grep -m1 '^http' registry.log)
	export GOLEM_REGISTRY_URL
	as alice
}

as()
{
	export REGISTRY_USER=$1
	REGISTRY_TOKEN=$(cat "$1.token")
	export REGISTRY_TOKEN
}

pull() { gvmkit pull --progress none --require-signature "${KEY:-me.pub}" "$@"; }

# What was refused is not in the store, and one line says so.
assert_refused()
{
	assert_one_line_error "$output"
	assert_contains "$output" "not signed as required"
	assert_contains "$output" "$1"
	run -1 compgen -G "$STORE/*.gvmi"
	run -1 compgen -G "$STORE/*.part"
}

@test "a file is run only when its signature beside it is good" {
	run -0 vm --require-signature me.pub a.gvmi echo good
	[ "$output" = good ]
	local refused=(run -125 gvmkit run --accel "$ACCEL")
	"${refused[@]}" --require-signature other.pub a.gvmi true
	assert_contains "$output" 'another key'
	assert_one_line_error "$output"
	run -0 vm --require-signature other.pub --require-signature "$(sed -n 2p me.pub)" a.gvmi echo any
	[ "$output" = any ]
	cp a.gvmi tampered.gvmi
	cp a.gvmi.minisig tampered.gvmi.minisig
	printf x | dd of=tampered.gvmi bs=1 seek=500 conv=notrunc status=none
	"${refused[@]}" --require-signature me.pub tampered.gvmi true
	assert_contains "$output" 'not what was signed'
	cp b.gvmi.minisig a.gvmi.minisig
	"${refused[@]}" --require-signature me.pub "file:$PWD/a.gvmi" true
	assert_contains "$output" 'not what was signed'
	rm a.gvmi.minisig
	"${refused[@]}" --require-signature me.pub a.gvmi true
	assert_contains "$output" 'there is no signature'
	run -125 gvmkit shell --require-signature me.pub a.gvmi
	assert_contains "$output" 'there is no signature'
	"${refused[@]}" --require-signature nokey a.gvmi true
	assert_contains "$output" nokey
}

@test "what would be converted is refused" {
	run -125 gvmkit run --require-signature me.pub "$IMAGES/layers.tar" true
	assert_contains "$output" 'would be converted'
	assert_one_line_error "$output"
	run -125 gvmkit run --require-signature me.pub alpine/thing:latest true
	assert_contains "$output" 'would be converted'
	mkdir root
	run -125 gvmkit run --require-signature me.pub ./root true
	assert_contains "$output" 'would be converted'
	[ ! -e "$XDG_CACHE_HOME/gvmkit/images" ]
}

@test "a web server: the signature comes first, then the image, and both are kept" {
	serve_files a.gvmi a.gvmi.minisig
	run -0 pull "$WEB/a.gvmi#$A"
	[[ $(head -1 web/.log) == 'GET /a.gvmi.minisig '* ]]
	cmp "$STORE/$A.gvmi.minisig" a.gvmi.minisig
	run -0 gvmkit verify --key me.pub "$A"
	assert_contains "$output" 'signed as me/thing:1'
	# From the store, and nobody is asked.
	before=$(wc -l <web/.log)
	run -0 vm --require-signature me.pub "$A" echo from the store
	[ "$output" = 'from the store' ]
	run -0 pull "$A"
	[ "$(wc -l <web/.log)" -eq "$before" ]
	run -125 gvmkit run --require-signature other.pub "$A" true
	assert_contains "$output" 'another key'
	gvmkit rm "$A"
	[ -z "$(ls "$STORE")" ]
}

@test "what is not signed as required is refused before any of it moves" {
	serve_files a.gvmi a.gvmi.minisig
	KEY=other.pub run -1 pull "$WEB/a.gvmi#$A"
	assert_refused 'another key'
	sed -i 's/name:me/name:us/' web/a.gvmi.minisig
	run -1 pull "$WEB/a.gvmi#$A"
	assert_refused 'signature is wrong'
	cp b.gvmi.minisig web/a.gvmi.minisig
	run -1 pull "$WEB/a.gvmi#$A"
	assert_refused 'of another image'
	head -c 70000 /dev/zero >web/a.gvmi.minisig
	run -1 pull "$WEB/a.gvmi#$A"
	assert_refused "$WEB/a.gvmi"
	rm web/a.gvmi.minisig
	run -1 pull "$WEB/a.gvmi#$A"
	assert_refused 404
	run -125 gvmkit run --require-signature me.pub "$WEB/a.gvmi#$A" true
	assert_contains "$output" 'not signed as required'
	run -1 grep -v '^GET /a.gvmi.minisig ' web/.log
	[ "$(wc -l <web/.log)" -ge 6 ]
}

@test "a signature that is given, one of a mirror, and an image that is not what was signed" {
	serve_files a.gvmi b.gvmi
	run -0 pull --signature a.gvmi.minisig "$WEB/a.gvmi#$A"
	[[ $(cat web/.log) != *minisig* ]]
	cmp "$STORE/$A.gvmi.minisig" a.gvmi.minisig
	gvmkit rm "$A"
	run -1 pull --signature b.gvmi.minisig "$WEB/a.gvmi#$A"
	assert_refused 'of another image'
	run -2 pull --signature a.gvmi.minisig "$WEB/a.gvmi#$A" "$WEB/b.gvmi#$A"
	run -2 gvmkit pull --signature a.gvmi.minisig "$WEB/a.gvmi#$A"
	# The signature is good, and the image is another one.
	run -1 pull --signature a.gvmi.minisig "$WEB/b.gvmi#$A"
	assert_contains "$output" 'another image'
	[ ! -e "$STORE/$A.gvmi" ]
	cp a.gvmi.minisig web/b.gvmi.minisig
	run -0 pull --mirror "$WEB/b.gvmi" "$WEB/a.gvmi#$A"
	cmp "$STORE/$A.gvmi" a.gvmi
}

@test "an image of the store without a signature gets the one from where it came; rot takes it away" {
	serve_files a.gvmi a.gvmi.minisig
	gvmkit pull --progress none "$WEB/a.gvmi#$A"
	[[ $(cat web/.log) != *minisig* ]]
	[ ! -e "$STORE/$A.gvmi.minisig" ]
	run -0 vm --require-signature me.pub "$A" echo late
	[ "$output" = late ]
	cmp "$STORE/$A.gvmi.minisig" a.gvmi.minisig
	rm web/*
	chmod u+w "$STORE/$A.gvmi"
	printf x | dd of="$STORE/$A.gvmi" bs=1 seek=500 conv=notrunc status=none
	run -1 env "GOLEM_REGISTRY_URL=$WEB" gvmkit verify --all
	[ ! -e "$STORE/$A.gvmi" ]
	[ ! -e "$STORE/$A.gvmi.minisig" ]
}

@test "our registry keeps what push sends along, and gives it out" {
	serve_registry
	run -0 gvmkit push --progress none a.gvmi alice/thing:1
	run -0 pull alice/thing:1
	cmp "$STORE/$A.gvmi.minisig" a.gvmi.minisig
	url=$(curl -sf "$GOLEM_REGISTRY_URL/v1/image/info?tag=alice/thing:1" | jq -r .http)
	curl -sf "$url.minisig" | cmp - a.gvmi.minisig
	curl -sfD head "$GOLEM_REGISTRY_URL/download/$A.gvmi.minisig" | cmp - a.gvmi.minisig
	etag=$(sed -nE 's/^ETag: (.*)\r$/\1/pI' head)
	[ "$(curl -so /dev/null -w '%{http_code}' -H "If-None-Match: $etag" "$url.minisig")" = 304 ]
	curl -sf "$GOLEM_REGISTRY_URL/i/$A" >page
	grep -q "it is said, with the key <code>$(sed -nE '1s/.* ([0-9A-F]{16})$/\1/p' me.pub)</code> as me/thing:1" page
	# A new signature of the same key takes its place, one of another image is not even sent.
	gvmkit sign --key me.key --name me/thing:2 a.gvmi
	run -0 gvmkit push --progress none a.gvmi alice/thing:2
	curl -sf "$url.minisig" | cmp - a.gvmi.minisig
	[ "$(curl -so /dev/null -w '%{http_code}' -H "If-None-Match: $etag" "$url.minisig")" = 200 ]
	cp b.gvmi.minisig a.gvmi.minisig
	run -1 gvmkit push --progress none a.gvmi alice/thing:3
	assert_contains "$output" 'of another image'
	gvmkit rm "$A"
	KEY=other.pub run -1 pull alice/thing:1
	assert_refused 'another key'
	gvmkit serve --data registry admin image rm "$A"
	[ "$(curl -so /dev/null -w '%{http_code}' "$url.minisig")" = 404 ]
}

@test "our registry refuses signatures of strangers, of other images, and what is none" {
	serve_registry
	id=$(gvmkit push --json --progress none a.gvmi alice/thing:1 | jq -r .descriptor)
	post() {
		local file=$1 name=$2 token
		token=$(cat "${3:-$name.token}")
		curl -s -o answer -w '%{http_code}' -F "descr-sha256=${4:-$id}" -F "login=$name" -F "token=$token" -F "file=@$file" "$GOLEM_REGISTRY_URL/v1/image/signature"
	}
	[ "$(post a.gvmi.minisig alice)" = 200 ]
	[ "$(post a.gvmi.minisig bob)" = 403 ]
	[ "$(post a.gvmi.minisig alice bob.token)" = 401 ]
	[ "$(post b.gvmi.minisig alice)" = 400 ]
	[ "$(post me.pub alice)" = 400 ]
	head -c 66000 /dev/zero >long
	[ "$(post long alice)" = 413 ]
	[ "$(post a.gvmi.minisig alice alice.token "${id//[0-9]/0}")" = 400 ]
	[ "$(post a.gvmi.minisig alice alice.token nothing)" = 400 ]
	# Who gives the image a tag of his own still cannot put his key in the place of hers.
	as bob
	gvmkit push --progress none b.gvmi bob/thing:b
	gvmkit tag "$A" bob/thing:mine
	gvmkit sign --key other.key a.gvmi
	[ "$(post a.gvmi.minisig bob)" = 409 ]
	[ "$(post a.gvmi.minisig alice)" = 409 ]
	curl -sf "$GOLEM_REGISTRY_URL/download/$A.gvmi.minisig" | cmp - "$MADE/a.gvmi.minisig"
	as alice
	rm a.gvmi.minisig
	run -0 pull alice/thing:1
}

@test "an unsigned image of our registry is refused before it moves; a registry that keeps no signatures gets the image" {
	serve_registry
	rm a.gvmi.minisig
	gvmkit push --progress none a.gvmi alice/thing:1
	run -1 pull alice/thing:1
	assert_refused 404
	run -125 gvmkit run --require-signature me.pub alice/thing:1 true
	assert_contains "$output" 'not signed as required'
	run -1 grep -E 'GET /download/[0-9a-f]+ ' registry.log
	[ "$(grep -c 'GET /download/[0-9a-f]*.minisig ' registry.log)" -ge 2 ]
	cp "$MADE/a.gvmi.minisig" .
	start mock.log /usr/bin/python3 "$E2E/mock_registry.py" "$PWD/mock.port" "$PWD/mock"
	wait_until test -s mock.port
	GOLEM_REGISTRY_URL=http://127.0.0.1:$(cat mock.port) REGISTRY_USER=alice REGISTRY_TOKEN=secret:1 run -0 gvmkit push --progress none a.gvmi alice/demo:1
	assert_contains "$output" 'does not keep signatures'
	[ ! -s mock/wrong ]
}

@test "a registry of OCI has the signature in the artifact" {
	port=$(/usr/bin/python3 "$E2E/registry.py" port)
	repo=oci://localhost:$port/me/thing
	printf 'version: 0.1\nstorage:\n  filesystem: {rootdirectory: %s}\nhttp: {addr: 127.0.0.1:%s}\n' "$PWD/data" "$port" >config.yml
	start oci.log docker-registry serve config.yml
	wait_until curl -sf "http://localhost:$port/v2/"
	gvmkit push a.gvmi "$repo:signed"
	rm a.gvmi.minisig
	gvmkit push a.gvmi "$repo:unsigned"
	layer=sha256:$(sha256sum a.gvmi | cut -d' ' -f1)
	run -1 pull "$repo:unsigned"
	assert_refused 'has none'
	KEY=other.pub run -1 pull "$repo:signed"
	assert_refused 'another key'
	run -1 grep "GET /v2/me/thing/blobs/$layer" oci.log
	run -0 pull "$repo:signed"
	cmp "$STORE/$A.gvmi.minisig" "$MADE/a.gvmi.minisig"
	gvmkit rm "$A"
	run -0 gvmkit pull "$repo:signed"
	[ ! -e "$STORE/$A.gvmi.minisig" ]
	curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://localhost:$port/v2/me/thing/manifests/signed" |
		jq -e '.layers | length == 2 and .[1].mediaType == "application/vnd.golem.gvmi.minisig" and .[1].annotations["org.opencontainers.image.title"] == "a.gvmi.minisig"'
}
