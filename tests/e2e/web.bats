#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# The registry's pages, as curl and as a browser see them.

load helper

setup_file()
{
	e2e_setup_file
	export WEB=$BATS_FILE_TMPDIR/web
	mkdir "$WEB" && cd "$WEB" || return 1
	unset GOLEM_REGISTRY_URL REGISTRY_URL
	gvmkit build "$IMAGES/layers.tar" -o a.gvmi
	gvmkit edit a.gvmi -o b.gvmi --env 'EVIL=<script>document.title="owned"</script>' --label 'x="y"' >/dev/null
	for word in 'user add me' 'repo add me/thing' 'repo add me/empty'; do
		# shellcheck disable=SC2086
		gvmkit serve --data data admin $word </dev/null >/dev/null
	done
	gvmkit serve --data data --listen 127.0.0.1:0 --gc-interval 1h >url 2>log 3>&- 4>&- &
	echo $! >pid
	local i
	for ((i = 0; i < 100; i++)); do
		[ -s url ] && break
		sleep 0.1
	done
	read -r URL <url
	export URL GOLEM_REGISTRY_URL=$URL REGISTRY_USER=me
	REGISTRY_TOKEN=$(gvmkit serve --data data admin token add me)
	export REGISTRY_TOKEN
	gvmkit push a.gvmi me/thing:1 >/dev/null
	gvmkit push b.gvmi me/thing:2 me/thing:latest >/dev/null
	A=$(gvmkit hash a.gvmi | cut -c1-56) B=$(gvmkit hash b.gvmi | cut -c1-56)
	export A B
}

teardown_file() { kill "$(cat "$WEB/pid")"; }
setup() { e2e_setup; }
teardown()
{
	# The server is the file's, not the test's; everything else must be gone.
	[ -z "$(marked_processes)" ]
}

page() { curl -sf "$URL/$1"; }

# What a browser makes of a page, after its script has run; its complaints are in browser.log.
browser()
{
	timeout 60 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$BATS_TEST_TMPDIR/profile" \
		--enable-logging=stderr --v=0 --virtual-time-budget=3000 "$@" 2>"$BATS_TEST_TMPDIR/browser.log" 3>&- 4>&-
}

@test "search, repository, image, files and comparison, without a script" {
	page '' | grep -q 'href="/r/me/thing"'
	[ "$(page '?q=THING:1' | grep -c '<tr><td')" -eq 1 ]
	page '?q=nothing' | grep -q 'No image has a name like that'
	[ "$(curl -s -o /dev/null -w '%{http_code} %{redirect_url}' "$URL/?q=$A")" = "303 $URL/i/$A" ]
	page r/me/thing | grep -q "href=\"/i/$B\""
	page r/me/empty | grep -q 'no tags'
	page "i/$A" >image
	grep -q "$URL/download/" image
	grep -q "hash:sha3:$A:$URL/download/" image
	grep -q "image_hash=&quot;$A&quot;" image
	grep -q "imageHash: &quot;$A&quot;" image
	grep -q "gvmkit run me/thing:1" image
	page "i/$A/files/" >root
	for name in $(gvmkit ls "$WEB/a.gvmi" /); do
		grep -qF "href=\"/i/$A/files/$name\"" root
	done
	page "compare?from=$A&to=$B" >compare
	grep -q '0 added, 0 removed, 0 changed' compare
	grep -q '<ins>' compare
}

@test "what an update moves is on the page, and is what pull then moves" {
	local i
	for ((i = 0; i < 100; i++)); do
		page "compare?from=$A&to=$B" >compare
		grep -q 'An update moves' compare && break
		sleep 0.1
	done
	told=$(sed -n 's/.*An update moves <span title="\([0-9]*\) bytes".*/\1/p' compare)
	[ "$told" -gt 0 ]
	[ "$told" -lt "$(stat -c %s "$WEB/b.gvmi")" ]
	[ "$told" -eq "$(gvmkit diff --json "$WEB/a.gvmi" "$WEB/b.gvmi" | jq '.update.bytes')" ]
}

@test "pages that are not there, and requests that are wrong" {
	for path in r/no/thing r/x i/00 "i/${A%?}0" "i/$A/files/no" "i/$A/other" "i/$A/files/%2e%2e/%2e%2e/etc" assets/none; do
		[ "$(curl -s --path-as-is -o out -w '%{http_code}' "$URL/$path")" = 404 ]
		[ -s out ]
	done
	for path in compare "compare?from=$A"; do
		[ "$(curl -s -o out -w '%{http_code}' "$URL/$path")" = 400 ]
	done
	[ "$(curl -s -o out -w '%{http_code}' -X POST "$URL/i/$A")" = 405 ]
	long=$(printf 'x%.0s' {1..300})
	[ "$(curl -s -o out -w '%{http_code}' "$URL/?q=$long")" = 400 ]
}

@test "every page forbids the browser everything but our two files" {
	for path in '' r/me/thing "i/$B" "i/$B/files/" "compare?from=$A&to=$B" nowhere/at/all r/no/no; do
		curl -s -D headers -o out "$URL/$path"
		case $path in nowhere*) continue ;; esac
		grep -qi "^content-security-policy: default-src 'none'; style-src 'self'; script-src 'self';" headers
		grep -qi '^x-content-type-options: nosniff' headers
	done
	etag=$(curl -s -D - -o style "$URL/assets/style.css" | tr -d '\r' | sed -n 's/^ETag: //ip')
	[ "$(curl -s -o out -w '%{http_code}' -H "If-None-Match: $etag" "$URL/assets/style.css")" = 304 ]
}

@test "in a browser: nothing of an image runs, and the script adds its buttons" {
	browser --dump-dom "$URL/i/$B" >dom
	grep -q '<button type="button">Copy</button>' dom
	grep -q '<title>me/thing:' dom
	grep -q 'EVIL=&lt;script&gt;' dom
	run ! grep -iE 'Content Security Policy|Uncaught|Failed to load' "$BATS_TEST_TMPDIR/browser.log"
	browser --dump-dom "$URL/i/$A/files/bin" >dom
	if [ "$(grep -o '<tr' dom | wc -l)" -gt 15 ]; then
		grep -q 'class="filter"' dom
	fi
}

@test "screenshots, wide and narrow, light and dark" {
	export SHOTS=${GVMKIT_SCREENSHOTS:-$BATS_TEST_TMPDIR}
	mkdir -p "$SHOTS"
	for size in 1200,900 500,900; do
		for dark in 0 1; do
			# 0 is dark, 1 is light in Chromium's list.
			browser --hide-scrollbars --window-size=$size --blink-settings=preferredColorScheme=$((1 - dark)) \
				--screenshot="$SHOTS/image-$size-$dark.png" "$URL/i/$B" >/dev/null
			# A page that failed would be a small picture of one colour.
			[ "$(stat -c %s "$SHOTS/image-$size-$dark.png")" -gt 20000 ]
		done
	done
	run ! cmp -s "$SHOTS/image-1200,900-0.png" "$SHOTS/image-1200,900-1.png"
}
