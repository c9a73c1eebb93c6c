#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# The store: images arrive whole whatever happens on the way, and go only when nobody uses them.

load helper

OTHER_HASH=6b4e03423667dbb73b6e15454f0eb1abd4597f9a1b078e3f5b5a6bc7

setup_file()
{
	e2e_setup_file
	export WWW=$BATS_FILE_TMPDIR/www LOG=$BATS_FILE_TMPDIR/requests
	mkdir "$WWW"
	: >"$LOG"
	/usr/bin/python3 "$E2E/faults.py" make "$WWW/big" 6000000
	/usr/bin/python3 "$E2E/faults.py" make "$WWW/small" 200000
	local name
	for name in one two three; do
		/usr/bin/python3 "$E2E/faults.py" make "$WWW/$name" 100000
	done
	/usr/bin/python3 "$E2E/faults.py" "$BATS_FILE_TMPDIR/port" "$WWW" "$LOG" >/dev/null 2>&1 </dev/null 3>&- 4>&- &
	echo $! >"$BATS_FILE_TMPDIR/pid"
	wait_until test -e "$BATS_FILE_TMPDIR/port"
	URL=http://127.0.0.1:$(cat "$BATS_FILE_TMPDIR/port")
	BIG=$(hash_of "$WWW/big") SMALL=$(hash_of "$WWW/small")
	export URL BIG SMALL
}

teardown_file() { kill "$(cat "$BATS_FILE_TMPDIR/pid")"; }

setup()
{
	e2e_setup
	export HOME=$BATS_TEST_TMPDIR/home XDG_DATA_HOME=$BATS_TEST_TMPDIR/data
	export STORE=$XDG_DATA_HOME/gvmkit/images
	# A registry that is not there: nothing here may ask the real one.
	export GOLEM_REGISTRY_URL=$URL/registry
	mkdir "$HOME"
	unset REGISTRY_URL XDG_CONFIG_HOME GOLEM_DEV_MODE
}

teardown() { assert_nothing_left; }

hash_of() { gvmkit hash "$1" | cut -d ' ' -f 1; }

pull() { gvmkit pull --progress none "$@"; }

# The requests since the last call: ranges asked for, one a line.
requests()
{
	grep -F " $1 " "$LOG" | awk '{ print $3 }'
}

assert_stored() { cmp "$WWW/$2" "$STORE/$1.gvmi"; }

# Nothing but what belongs to complete images.
assert_no_leftovers()
{
	local left
	left=$(cd "$STORE" && find . -name '*.part' -o -name '*.state' -o -name '.*.*')
	assert_equal "$left" ""
}

@test "pull fetches an image, and needs no server the second time" {
	run -0 pull "hash:sha3:$SMALL:$URL/small"
	assert_contains "$output" "$SMALL"
	assert_stored "$SMALL" small
	run -0 pull "HASH://sha3:0x${SMALL^^}:$URL/not-there"
	assert_contains "$output" "was there already"
	run -0 --separate-stderr pull --json "$URL/small#$SMALL"
	assert_equal "$(jq -r '.[0].hash, .[0].fetched, .[0].size' <<<"$output" | tr '\n' ' ')" "$SMALL false 200000 "
	run -0 pull --hash "$SMALL" "$URL/x"
	run -1 pull "$URL/small"
	assert_contains "$output" "says no hash"
	assert_no_leftovers
}

@test "a lost connection is made again, and the rest asked for" {
	run -0 pull "$URL/drop-3/big#$BIG"
	assert_stored "$BIG" big
	assert_equal "$(requests /drop-3/big | tr '\n' ' ')" "- bytes=2000000- bytes=3333333- bytes=4222222- "
	assert_contains "$(grep -F 'drop-3' "$LOG" | tail -1)" ' "'
	assert_no_leftovers
}

@test "a download goes on in another process" {
	gvmkit pull --progress none "$URL/slow-2000000/big#$BIG" >/dev/null 2>&1 3>&- &
	local pid=$!
	wait_until test -s "$STORE/$BIG.part"
	sleep 0.5
	kill -KILL $pid
	wait $pid || true
	local have
	have=$(stat -c %s "$STORE/$BIG.part")
	[ "$have" -gt 0 ] && [ "$have" -lt 6000000 ]
	run -0 pull "$URL/slow-2000000/big#$BIG"
	assert_equal "$(requests /slow-2000000/big | tail -1)" "bytes=$have-"
	assert_stored "$BIG" big
	assert_no_leftovers
}

@test "stale bytes are never joined: the server's file has changed meanwhile" {
	local way
	for way in changed blind mixed; do
		run -0 pull "$URL/$way/big#$BIG"
		assert_stored "$BIG" big
		gvmkit rm "$BIG"
	done
	assert_equal "$(requests /changed/big | tr '\n' ' ')" "- bytes=3000000- "
	assert_equal "$(requests /blind/big | tr '\n' ' ')" "- bytes=3000000- - "
	assert_equal "$(requests /mixed/big | tr '\n' ' ')" "- bytes=3000000- - "
	assert_no_leftovers
}

@test "what cannot be told apart is fetched again from its beginning" {
	mkdir -p "$STORE"
	head -c 1000 "$WWW/small" >"$STORE/$SMALL.part"
	run -0 pull "$URL/no-etag/small#$SMALL"
	assert_equal "$(requests /no-etag/small)" "-"
	gvmkit rm "$SMALL"
	# A part that lost its end with the machine's power, of the right version: only the hash tells.
	head -c 100000 /dev/zero >"$STORE/$SMALL.part"
	printf '{"url":"%s","version":"Mon, 01 Jan 2024 00:00:00 GMT"}' "$URL/dated/small" >"$STORE/$SMALL.state"
	run -0 pull "$URL/dated/small#$SMALL"
	assert_contains "$output" "does not fit the rest"
	assert_stored "$SMALL" small
	assert_equal "$(requests /dated/small | tr '\n' ' ')" "bytes=100000- - "
	assert_no_leftovers
}

@test "servers without ranges, with redirects, with a bad day" {
	local way
	for way in no-range redirect status-500-2 status-503-1 typed; do
		run -0 pull "$URL/$way/small#$SMALL"
		assert_stored "$SMALL" small
		gvmkit rm "$SMALL"
	done
	head -c 1000 "$WWW/small" >"$STORE/$SMALL.part"
	printf '{"url":"%s","version":"\\"x\\""}' "$URL/no-range/small" >"$STORE/$SMALL.state"
	run -0 pull "$URL/no-range/small#$SMALL"
	assert_stored "$SMALL" small
	assert_no_leftovers
}

@test "what went wrong is said: not found, a page, a wrong file, a status" {
	local way said
	while read -r way said; do
		run -1 pull "$URL/$way#$SMALL"
		assert_one_line_error "$output"
		assert_contains "$output" "$said"
		[ ! -e "$STORE/$SMALL.gvmi" ]
	done <<-EOF
		nowhere there is no such file (status 404)
		page-404/small there is no such file (status 404)
		page-200/small is a web page
		page-403/small does not let us have it (status 403)
		loop/small redirects more than
		empty/small is empty
		other/small is another image than $SMALL
		short-length/small is another image than $SMALL
		status-416/small does not send a file (status 416)
	EOF
	run -1 pull "http://127.0.0.1:1/x#$SMALL"
	assert_contains "$output" "cannot connect"
	assert_no_leftovers
	run -0 gvmkit images --json
	assert_equal "$output" "[]"
	assert_equal "$(ls "$STORE")" ""
}

@test "a page in the place of the rest throws nothing away" {
	mkdir -p "$STORE"
	head -c 150000 "$WWW/small" >"$STORE/$SMALL.part"
	printf '{"url":"%s","version":"\\"%s\\""}' "$URL/small" "$(sha256sum "$WWW/small" | head -c 16)" >"$STORE/$SMALL.state"
	run -1 pull "$URL/page-200/small#$SMALL"
	run -1 pull "$URL/page-404/small#$SMALL"
	: >"$LOG"
	run -0 pull "$URL/small#$SMALL"
	assert_equal "$(requests /small)" "bytes=150000-"
	assert_stored "$SMALL" small
}

@test "several URLs are tried in turn" {
	run -0 --separate-stderr pull --mirror "$URL/other/small" --mirror "$URL/small" "$URL/nowhere#$SMALL"
	# shellcheck disable=SC2154 # run sets it
	assert_contains "$stderr" "status 404"
	assert_contains "$stderr" "is another image"
	assert_stored "$SMALL" small
	run -0 gvmkit images --json
	assert_equal "$(jq -r '.[0].origins[]' <<<"$output")" "$URL/small"
}

@test "a body that is always cut off fails in the end, and the part is kept" {
	run -1 pull "$URL/part-100000/small#$SMALL"
	assert_contains "$output" "connection to"
	assert_equal "$(stat -c %s "$STORE/$SMALL.part")" 100000
	# A mirror with the same entity tag goes on from there.
	run -0 pull "$URL/small#$SMALL"
	assert_equal "$(requests /small | tail -1)" "bytes=100000-"
	assert_stored "$SMALL" small
}

@test "two processes that pull the same image fetch it once" {
	: >"$LOG"
	gvmkit pull --progress none "$URL/slow-6000000/big#$BIG" >one.out 2>&1 3>&- &
	local first=$!
	wait_until test -s "$STORE/$BIG.part"
	run -0 pull "$URL/slow-6000000/big#$BIG"
	assert_contains "$output" "waiting for it"
	wait $first
	assert_equal "$(requests /slow-6000000/big)" "-"
	assert_stored "$BIG" big
}

@test "one that waits takes over when the other is killed" {
	gvmkit pull --progress none "$URL/slow-4000000/big#$BIG" >one.out 2>&1 3>&- &
	local first=$!
	wait_until test -s "$STORE/$BIG.part"
	gvmkit pull --progress none "$URL/slow-4000000/big#$BIG" >two.out 2>&1 3>&- &
	local second=$!
	wait_until grep -qs "waiting" two.out
	kill -KILL $first
	wait $first || true
	wait $second
	assert_stored "$BIG" big
	assert_contains "$(requests /slow-4000000/big | tail -1)" "bytes="
}

@test "killed at any moment, nothing is lost or wrong" {
	local round pid rounds=${GVMKIT_TEST_ROUNDS:-15} whole=0
	for ((round = 0; round < rounds; round++)); do
		gvmkit pull --progress none "$URL/slow-20000000/big#$BIG" >/dev/null 2>&1 3>&- &
		pid=$!
		sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
		kill -KILL $pid 2>/dev/null || true
		wait $pid || true
		[ -e "$STORE/$BIG.gvmi" ] || continue
		assert_stored "$BIG" big
		whole=$((whole + 1))
		gvmkit rm "$BIG"
	done
	echo "$rounds rounds, $whole downloads were complete"
	run -0 pull "$URL/slow-20000000/big#$BIG"
	assert_stored "$BIG" big
	assert_no_leftovers
}

@test "a full disk is said, and what has arrived is used when there is room" {
	[ "$(id -u)" -eq 0 ] || skip "only root can make a small file system"
	mkdir "$XDG_DATA_HOME"
	mount -t tmpfs -o size=5m none "$XDG_DATA_HOME" || skip "no file system can be mounted here"
	run pull "$URL/big#$BIG"
	local before="$status $output"
	run pull "$URL/endless/big#$BIG"
	local endless="$status $output" left
	left=$(ls "$STORE")
	mount -o remount,size=8m "$XDG_DATA_HOME"
	gvmkit pull --progress none "$URL/slow-3000000/big#$BIG" >slow.out 2>&1 3>&- &
	local pid=$! slow=0 same=0
	wait_until test -s "$STORE/$BIG.part"
	head -c 7000000 /dev/zero >"$XDG_DATA_HOME/filler" 2>/dev/null || true
	wait $pid || slow=$?
	rm "$XDG_DATA_HOME/filler"
	run pull "$URL/slow-3000000/big#$BIG"
	local after=$status
	cmp "$WWW/big" "$STORE/$BIG.gvmi" || same=1
	umount "$XDG_DATA_HOME"
	assert_equal "${before%% *} ${endless%% *} $slow $after $same" "1 1 1 0 0"
	assert_contains "$before" "No space left on device"
	assert_contains "$before" "gvmkit prune"
	assert_contains "$endless" "No space left on device"
	assert_equal "$left" ""
	assert_contains "$(cat slow.out)" "No space left on device"
	assert_contains "$(requests /slow-3000000/big | tail -1)" "bytes="
}

@test "images lists, rm removes by name or hash, and nothing in use" {
	pull "$URL/one#$(hash_of "$WWW/one")" "$URL/two#$(hash_of "$WWW/two")"
	run -0 gvmkit images
	assert_equal "${#lines[@]}" 3
	local one two
	one=$(hash_of "$WWW/one") two=$(hash_of "$WWW/two")
	exec 7<"$STORE/$one.lock"
	flock -s 7
	run -0 gvmkit images --json
	assert_equal "$(jq -c --arg h "$one" 'map(select(.hash == $h))[0].in_use' <<<"$output")" true
	run -1 gvmkit rm "$one"
	assert_contains "$output" "is in use"
	exec 7<&-
	run -0 gvmkit rm "${one:0:8}" "$two"
	run -1 gvmkit rm "$one"
	assert_contains "$output" "there is no image"
	assert_equal "$(ls "$STORE")" ""
}

@test "prune keeps the most recently used ones, and those in use, whatever the clock says" {
	local name
	for name in one two three; do
		pull "$URL/$name#$(hash_of "$WWW/$name")" >/dev/null
	done
	local one two three
	one=$(hash_of "$WWW/one") two=$(hash_of "$WWW/two") three=$(hash_of "$WWW/three")
	touch -d '2020-01-01' "$STORE/$one.gvmi"
	touch -d '2021-01-01' "$STORE/$two.gvmi"
	touch -d '2099-01-01' "$STORE/$three.gvmi"
	head -c 100 /dev/zero >"$STORE/$SMALL.part"
	: >"$STORE/$OTHER_HASH.lock"
	run -0 gvmkit prune
	assert_contains "$output" "$SMALL (a download that was interrupted)"
	assert_equal "$(find "$STORE" -name '*.gvmi' | wc -l)" 3
	[ ! -e "$STORE/$OTHER_HASH.lock" ]
	# A time to come is none: it became now, and the image will grow old again.
	[ "$(stat -c %Y "$STORE/$three.gvmi")" -le "$(date +%s)" ]
	exec 7<"$STORE/$one.lock"
	flock -s 7
	run -0 --separate-stderr gvmkit prune --json --max-size 150000
	assert_equal "$(jq -r '.removed[].hash' <<<"$output" | sort)" "$(printf '%s\n' "$two" "$three" | sort)"
	[ -e "$STORE/$one.gvmi" ]
	exec 7<&-
	run -0 gvmkit prune --max-size 0
	assert_equal "$(ls "$STORE")" ""
}

@test "verify --all finds rot and fetches the image again, or removes it" {
	pull --hash "$SMALL" "$URL/small" >/dev/null
	run -0 gvmkit verify --all
	assert_equal "$output" "$SMALL: ok"
	chmod 644 "$STORE/$SMALL.gvmi"
	printf rot | dd of="$STORE/$SMALL.gvmi" bs=1 seek=5000 conv=notrunc 2>/dev/null
	run -0 gvmkit verify --all --progress none
	assert_contains "$output" "$SMALL: was damaged, is repaired"
	assert_stored "$SMALL" small
	truncate -s 1000 "$STORE/$SMALL.gvmi"
	printf '{"origins":["%s"]}' "$URL/nowhere" >"$STORE/$SMALL.json"
	run -1 --separate-stderr gvmkit verify --all --progress none --json
	assert_equal "$(jq -r '.[0].ok' <<<"$output")" false
	assert_contains "$stderr" "cannot be fetched again"
	[ ! -e "$STORE/$SMALL.gvmi" ]
}

@test "verify --all does not mind an image that is removed meanwhile" {
	pull --hash "$SMALL" "$URL/small" >/dev/null
	pull --hash "$BIG" "$URL/big" >/dev/null
	# it waits with its first line until both its list is made and the other image is gone
	run -0 /usr/bin/python3 - "$STORE" <<-'END'
		import fcntl, os, subprocess, sys, time
		out, into = os.pipe()
		fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
		os.write(into, b"-" * 4096)
		p = subprocess.Popen(["gvmkit", "verify", "--all", "--progress", "none"], stdout=into, stderr=subprocess.PIPE)
		os.close(into)
		end = time.monotonic() + 60
		while not open(f"/proc/{p.pid}/syscall").read().startswith("1 0x1 ") and time.monotonic() < end:
		    time.sleep(0.01)
		for name in os.listdir(sys.argv[1]):
		    if name.endswith(".gvmi"):
		        os.unlink(os.path.join(sys.argv[1], name))
		text = b""
		while piece := os.read(out, 65536):
		    text += piece
		print(text.lstrip(b"-").decode(), p.stderr.read().decode(), p.wait())
	END
	[[ $output =~ ^[0-9a-f]{56}:\ ok$'\n'\ *\ 0$ ]]
}

@test "commands take references: hash, hash:sha3, file:" {
	local hash
	gvmkit build -o "$WWW/hello.gvmi" --force "$IMAGES/base.tar" >/dev/null
	hash=$(hash_of "$WWW/hello.gvmi")
	run -0 gvmkit inspect --json "hash:sha3:$hash:$URL/hello.gvmi"
	assert_equal "$(jq -r .file <<<"$output")" "$STORE/$hash.gvmi"
	run -0 gvmkit ls "$hash"
	run -0 gvmkit verify "$hash"
	run -0 gvmkit lint "file:$WWW/hello%2Egvmi"
	run -0 gvmkit ls "hash:sha3:$hash:file://$WWW/hello.gvmi"
	run -1 gvmkit ls "hash:sha3:$SMALL:file://$WWW/hello.gvmi"
	assert_contains "$output" "the hash is $hash, not $SMALL"
	run -1 gvmkit ls "hash:sha3:${hash:0:10}:$URL/hello.gvmi"
	assert_one_line_error "$output"
	run -1 gvmkit ls "$OTHER_HASH"
	assert_one_line_error "$output"
	run -0 vm "$hash" sh -c "exit 0"
	gvmkit rm "$hash"
	run -1 pull --hash "$SMALL" "file:$WWW/hello.gvmi"
	run -1 pull "file:$WWW/small"
	run -0 pull "file:$WWW/hello.gvmi"
	assert_contains "$output" "$hash"
	assert_stored "$hash" hello.gvmi
}

@test "nothing that a virtual machine uses is removed" {
	gvmkit build -o "$WWW/used.gvmi" --force "$IMAGES/base.tar" >/dev/null
	local hash pid
	hash=$(hash_of "$WWW/used.gvmi")
	pull "file:$WWW/used.gvmi" >/dev/null
	gvmkit run --accel "$ACCEL" "$hash" sh -c 'echo up; sleep 60' >vm.out 2>&1 3>&- &
	pid=$!
	wait_until grep -qs up vm.out
	run -0 gvmkit prune --max-size 0
	run -1 gvmkit rm "$hash"
	[ -e "$STORE/$hash.gvmi" ]
	kill $pid
	wait $pid || true
	run -0 gvmkit prune --max-size 0
	assert_equal "$(ls "$STORE")" ""
}

# Two builds of an image, of which the second has other content in some files, and their maps.
make_update()
{
	/usr/bin/python3 - "$BATS_TEST_TMPDIR/root" <<-'EOF'
		import os, random, sys
		rng = random.Random(1)
		for number in (1, 2):
		    top = f"{sys.argv[1]}{number}"
		    os.makedirs(top + "/data")
		    rng.seed(1)
		    for i in range(40):
		        content = rng.randbytes(120000)
		        if number == 2 and i in (7, 21):
		            content = random.Random(i).randbytes(130000)
		        with open(f"{top}/data/{i:02}", "wb") as f:
		            f.write(content)
		        os.utime(f"{top}/data/{i:02}", (0, 0))
	EOF
	local number
	for number in 1 2; do
		gvmkit build --force --root-owned "dir:$BATS_TEST_TMPDIR/root$number" -o "$WWW/v$number.gvmi" >/dev/null
		gvmkit hash --chunks "$WWW/v$number.gvmi" | cut -d ' ' -f 1 >"$WWW/v$number.hash"
	done
	V1=$(cat "$WWW/v1.hash") V2=$(cat "$WWW/v2.hash")
}

@test "an update moves only what has changed, of any server of files" {
	make_update
	local size received
	pull "$URL/v1.gvmi#$V1" >/dev/null
	: >"$LOG"
	run -0 --separate-stderr pull --json "$URL/v2.gvmi#$V2"
	received=$(jq '.[0].received' <<<"$output") size=$(jq '.[0].size' <<<"$output")
	[ "$received" -lt $((size / 10)) ]
	[ "$received" -ge 260000 ]
	[ "$(requests /v2.gvmi | wc -l)" -le 4 ]
	assert_stored "$V2" v2.gvmi
	assert_no_leftovers
	# The other way round, and from an image of which there is no map.
	gvmkit rm "$V1" >/dev/null
	rm "$STORE/$V2.chunks"
	run -0 --separate-stderr pull --json "$URL/v1.gvmi#$V1"
	[ "$(jq '.[0].received' <<<"$output")" -lt $((size / 10)) ]
	assert_stored "$V1" v1.gvmi
}

@test "an update that goes wrong is a download: no ranges, wrong bytes, wrong map, rot" {
	make_update
	pull "$URL/v1.gvmi#$V1" >/dev/null
	local way
	for way in no-range torn no-etag; do
		run -0 pull "$URL/$way/v2.gvmi#$V2"
		assert_stored "$V2" v2.gvmi
		gvmkit rm "$V2" >/dev/null
	done
	# Maps of other images, damaged ones and none; and one that tells of chunks that are not in the image.
	cp "$WWW/v2.gvmi.chunks" good.chunks
	for way in "$WWW/v1.gvmi.chunks" /dev/null "$WWW/v2.gvmi"; do
		cp "$way" "$WWW/v2.gvmi.chunks"
		run -0 pull "$URL/v2.gvmi#$V2"
		assert_stored "$V2" v2.gvmi
		gvmkit rm "$V2" >/dev/null
	done
	/usr/bin/python3 - "$WWW/v1.gvmi.chunks" "$V2" "$(stat -c %s "$WWW/v2.gvmi")" >"$WWW/v2.gvmi.chunks" <<-'EOF'
		import hashlib, struct, sys
		data = open(sys.argv[1], "rb").read()
		count, size = struct.unpack("<IQ", data[12:24])
		body = bytearray(data[52:-32])
		length = struct.unpack("<I", body[-36:-32])[0] + int(sys.argv[3]) - size
		body[-36:-32] = struct.pack("<I", length)
		lie = data[:16] + struct.pack("<Q", int(sys.argv[3])) + bytes.fromhex(sys.argv[2]) + bytes(body)
		sys.stdout.buffer.write(lie + hashlib.sha256(lie).digest())
	EOF
	run -0 pull "$URL/v2.gvmi#$V2"
	assert_contains "$output" "cannot be put together by its chunk map"
	assert_stored "$V2" v2.gvmi
	gvmkit rm "$V2" >/dev/null
	# What has rotted here comes from the server.
	cp good.chunks "$WWW/v2.gvmi.chunks"
	chmod 644 "$STORE/$V1.gvmi"
	printf rot | dd of="$STORE/$V1.gvmi" bs=1 seek=1000000 conv=notrunc 2>/dev/null
	run -0 pull "$URL/v2.gvmi#$V2"
	assert_stored "$V2" v2.gvmi
	assert_no_leftovers
}

@test "an update finds rot and lies in what the store has, and fetches only that again" {
	make_update
	local size
	size=$(stat -c %s "$WWW/v2.gvmi")
	pull "$URL/v1.gvmi#$V1" >/dev/null
	chmod 644 "$STORE/$V1.gvmi"
	cp "$STORE/$V1.chunks" true.chunks
	# Pull the newer image, of which most is to come from the store, and forget it again.
	mended()
	{
		run -0 --separate-stderr pull --json "$URL/v2.gvmi#$V2"
		assert_contains "$stderr" "the image $V1 is not what its chunk map says"
		[ "$(jq '.[0].received' <<<"$output")" -lt $((size / 4)) ]
		assert_stored "$V2" v2.gvmi
		assert_no_leftovers
		[ ! -e "$STORE/$V1.chunks" ]
		gvmkit rm "$V2" >/dev/null
	}
	# Rot, also at the end of what is there.
	printf rot | dd of="$STORE/$V1.gvmi" bs=1 seek=1000000 conv=notrunc 2>/dev/null
	truncate -s -300000 "$STORE/$V1.gvmi"
	mended
	# A map of which two chunks have each other's digest, as a server can have sent it together with the image.
	cp "$WWW/v1.gvmi" "$STORE/$V1.gvmi"
	/usr/bin/python3 - true.chunks "$STORE/$V1.chunks" <<-'EOF'
		import hashlib, struct, sys
		data = bytearray(open(sys.argv[1], "rb").read()[:-32])
		entries = range(52, len(data), 36)
		equal = [(a, b) for a in entries for b in entries if a < b and data[a:a + 4] == data[b:b + 4]
		         and struct.unpack("<I", data[a:a + 4])[0] > 100000 and data[a:a + 36] != data[b:b + 36]]
		a, b = equal[0]
		data[a:a + 36], data[b:b + 36] = data[b:b + 36], data[a:a + 36]
		open(sys.argv[2], "wb").write(data + hashlib.sha256(data).digest())
	EOF
	mended
	# It has been made again, and is true now.
	run -0 --separate-stderr pull --json "$URL/v2.gvmi#$V2"
	assert_equal "$stderr" ""
	[ "$(jq '.[0].received' <<<"$output")" -lt $((size / 10)) ]
	cmp "$STORE/$V1.chunks" true.chunks
}

@test "rot is mended with what is left of the image" {
	make_update
	run -0 --separate-stderr pull --json "$URL/v2.gvmi#$V2"
	[ "$(jq '.[0].received' <<<"$output")" -eq "$(stat -c %s "$WWW/v2.gvmi")" ]
	[ -e "$STORE/$V2.chunks" ]
	chmod 644 "$STORE/$V2.gvmi"
	printf rot | dd of="$STORE/$V2.gvmi" bs=1 seek=1000000 conv=notrunc 2>/dev/null
	: >"$LOG"
	run -0 gvmkit verify --all --progress none
	assert_contains "$output" "is repaired"
	assert_stored "$V2" v2.gvmi
	[[ $(requests /v2.gvmi) =~ ^bytes=[0-9]+-[0-9]+$ ]]
	# A map that does not belong to the image is not believed.
	cp "$WWW/v1.gvmi.chunks" "$STORE/$V2.chunks"
	run -0 pull "$URL/v1.gvmi#$V1"
	assert_stored "$V1" v1.gvmi
}

@test "an update that was killed goes on with what it has" {
	make_update
	pull "$URL/v1.gvmi#$V1" >/dev/null
	head -c 3000000 "$WWW/v2.gvmi" >"$STORE/$V2.part"
	: >"$LOG"
	run -0 --separate-stderr pull --json "$URL/v2.gvmi#$V2"
	[ "$(jq '.[0].received' <<<"$output")" -lt 250000 ]
	assert_stored "$V2" v2.gvmi
	assert_no_leftovers
	# What is wrong in it ends what it has.
	gvmkit rm "$V2" >/dev/null
	head -c 4000000 "$WWW/v2.gvmi" >"$STORE/$V2.part"
	printf rot | dd of="$STORE/$V2.part" bs=1 seek=100000 conv=notrunc 2>/dev/null
	run -0 --separate-stderr pull --json "$URL/v2.gvmi#$V2"
	assert_equal "$stderr" ""
	[ "$(jq '.[0].received' <<<"$output")" -ge 260000 ]
	assert_stored "$V2" v2.gvmi
	assert_no_leftovers
}

@test "killed at any moment, an update goes on, also with rot beside it" {
	make_update
	local round pid rounds=${GVMKIT_TEST_ROUNDS:-15} whole=0
	pull "$URL/v1.gvmi#$V1" >/dev/null
	chmod 644 "$STORE/$V1.gvmi"
	for ((round = 0; round < rounds; round++)); do
		if [ "$round" -eq $((rounds / 2)) ]; then
			printf rot | dd of="$STORE/$V1.gvmi" bs=1 seek=1000000 conv=notrunc 2>/dev/null
		fi
		gvmkit pull --progress none "$URL/slow-2000000/v2.gvmi#$V2" >/dev/null 2>&1 3>&- &
		pid=$!
		sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
		kill -KILL $pid 2>/dev/null || true
		wait $pid || true
		[ -e "$STORE/$V2.gvmi" ] || continue
		assert_stored "$V2" v2.gvmi
		whole=$((whole + 1))
		gvmkit rm "$V2"
	done
	echo "$rounds rounds, $whole updates were complete"
	run -0 pull "$URL/slow-2000000/v2.gvmi#$V2"
	assert_stored "$V2" v2.gvmi
	assert_no_leftovers
}

@test "a thousand images: list, resolve and prune are quick" {
	mkdir -p "$STORE"
	local start
	/usr/bin/python3 - "$STORE" <<-'EOF'
		import hashlib, json, os, sys
		for i in range(1000):
		    name = os.path.join(sys.argv[1], hashlib.sha3_224(b"%d" % i).hexdigest())
		    with open(name + ".gvmi", "wb") as f:
		        f.write(b"x" * 100)
		    with open(name + ".json", "w") as f:
		        json.dump({"origins": ["http://h/%d" % i]}, f)
		    open(name + ".lock", "w").close()
	EOF
	local what
	for what in images "images --json" prune "prune --max-size 50000"; do
		start=$(date +%s%N)
		# shellcheck disable=SC2086 # words
		gvmkit $what >/dev/null
		echo "$what: $((($(date +%s%N) - start) / 1000000)) ms"
	done
	assert_equal "$(find "$STORE" -name '*.gvmi' | wc -l)" 500
}
