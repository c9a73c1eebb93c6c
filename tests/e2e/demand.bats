#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# What a requestor asks for, after a look at what the URL really serves.

load helper

setup_file()
{
	e2e_setup_file
	export WWW=$BATS_FILE_TMPDIR/www
	mkdir "$WWW" && cd "$WWW" || return 1
	gvmkit build "$IMAGES/layers.tar" -o a.gvmi
	/usr/bin/python3 -u -m http.server --bind 127.0.0.1 0 >"$BATS_FILE_TMPDIR/log" 2>&1 3>&- 4>&- &
	echo $! >"$BATS_FILE_TMPDIR/pid"
	local i
	for ((i = 0; i < 100; i++)); do
		URL=$(sed -n 's/.*(\(http:[^)]*\)\/).*/\1/p' "$BATS_FILE_TMPDIR/log")
		[ -z "$URL" ] || break
		sleep 0.1
	done
	export URL
}

teardown_file() { kill "$(cat "$BATS_FILE_TMPDIR/pid")"; }

setup()
{
	e2e_setup
	export XDG_DATA_HOME=$BATS_TEST_TMPDIR/data
	A=$(gvmkit hash "$WWW/a.gvmi" | cut -c1-56)
}
teardown() { assert_nothing_left; }

@test "properties, constraints and the lines of the SDKs" {
	run -0 --separate-stderr gvmkit demand --json --memory 1.5 --capability vpn --subnet public "$URL/a.gvmi#$A"
	[ "$(jq -r '.properties["golem.srv.comp.task_package"]' <<<"$output")" = "hash:sha3:$A:$URL/a.gvmi" ]
	[ "$(jq -r '.properties["golem.node.debug.subnet"]' <<<"$output")" = public ]
	[[ $(jq -r .constraints <<<"$output") == '(&(golem.inf.mem.gib>=1.5)'*'(golem.runtime.capabilities=vpn)'*')' ]]
	# shellcheck disable=SC2154
	[[ $stderr == *'is on this machine'* ]]
	run -0 --separate-stderr gvmkit demand "hash:sha3:$A:$URL/a.gvmi"
	[[ $output == *"image_hash=\"$A\""*"imageUrl: \"$URL/a.gvmi\""* ]]
}

@test "a URL that serves something else, or nothing, is found out" {
	run -1 gvmkit demand --json "$URL/a.gvmi#${A%?}0"
	[[ $output == *'another image'* ]]
	run -1 gvmkit demand --json "$URL/none.gvmi#$A"
	[[ $output == *404* ]]
	run -0 --separate-stderr gvmkit demand --json --no-check "$URL/none.gvmi#$A"
	run -1 gvmkit demand "$WWW/a.gvmi"
	[[ $output == *'gvmkit push'* ]]
	run -1 gvmkit demand "$URL/a.gvmi"
	[[ $output == *'URL#HASH'* ]]
	run -1 gvmkit demand --no-check --subnet 'a)(b=c' "$URL/a.gvmi#$A"
	run -2 gvmkit demand
}

@test "what was fetched to look at it is gone, also of a store that has it" {
	gvmkit pull "$URL/a.gvmi#$A" >/dev/null
	printf 'something else' >"$WWW/changes.gvmi"
	run -1 gvmkit demand --json "$URL/changes.gvmi#$A"
	[[ $output == *'no image'* ]]
	[ "$(find "$XDG_DATA_HOME" -name '*.gvmi' | wc -l)" -eq 1 ]
}

@test "a manifest and its signature are part of the demand" {
	gvmkit manifest create --hash "$A" --url "$URL/a.gvmi" -o manifest.json
	openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=me -days 2 2>/dev/null
	gvmkit manifest sign --key key.pem manifest.json
	run -0 --separate-stderr gvmkit demand --json --manifest manifest.json --signature manifest.sig --certificate cert.pem
	jq -r '.properties["golem.srv.comp.payload"]' <<<"$output" | base64 -d | cmp - manifest.json
	[ "$(jq -r '.properties["golem.srv.comp.payload.sig.algorithm"]' <<<"$output")" = sha256 ]
	jq -r '.properties["golem.srv.comp.payload.cert"]' <<<"$output" | base64 -d | cmp - cert.pem
	sed -i 's/linux/linvx/' manifest.json
	run -1 gvmkit demand --manifest manifest.json --signature manifest.sig --certificate cert.pem
}
