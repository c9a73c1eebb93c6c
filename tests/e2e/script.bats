#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit script`: scripts of requestors, with a real VM, with servers that fail, and with runtimes that are not ours.

load helper

setup_file()
{
	e2e_setup_file
	for image in base user; do
		gvmkit build "$IMAGES/$image.tar" -o "$IMAGES/$image.gvmi" >/dev/null
	done
	export GVMKIT_ALLOW_TCG=1
	export FILES=$BATS_FILE_TMPDIR/files
	mkdir "$FILES"
	/usr/bin/python3 "$E2E/fileserver.py" "$FILES" "$BATS_FILE_TMPDIR/port" >/dev/null 2>&1 3>&- &
	echo $! >"$BATS_FILE_TMPDIR/server"
	wait_until [ -e "$BATS_FILE_TMPDIR/port" ]
	URL=http://127.0.0.1:$(cat "$BATS_FILE_TMPDIR/port")
	export URL
}

teardown_file()
{
	kill "$(cat "$BATS_FILE_TMPDIR/server")"
}

setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# script [OPTIONS]: the script is on stdin.
script()
{
	gvmkit script - --image "$IMAGES/base.gvmi" "$@" -- --accel "$ACCEL"
}

# A command that runs a line in the VM and has its output in the result.
sh_()
{
	jq -nc --arg line "$1" '{run: {entry_point: "/bin/sh", args: ["-c", $line], capture: {stdout: {atEnd: {}}, stderr: {atEnd: {}}}}}'
}

transfer_()
{
	jq -nc --arg from "$1" --arg to "$2" --argjson more "${3:-{\}}" '{transfer: ({from: $from, to: $to} + $more)}'
}

# Commands, one an argument, as a script after deploy and start.
job()
{
	printf '%s\n' '{"deploy":{"volumes":["/in","/out"]}}' '{"start":{}}' "$@" | jq -sc .
}

@test "a script deploys, starts, runs and transfers both ways, with the results of a provider" {
	echo from-the-server >"$FILES/input"
	echo from-a-file >local
	job "$(transfer_ "$URL/input" container:/in/a/input)" "$(transfer_ file:local /in/local)" \
		"$(sh_ 'cat /in/a/input /in/local; stat -c "%u %g %a" /in /in/a /in/local; echo err >&2; echo result >/out/result; ln -s result /out/link')" \
		"$(transfer_ container:/out/link "$URL/output")" "$(transfer_ container:/out/result container:/in/copy)" \
		"$(transfer_ container:/in/copy file:got)" "$(sh_ 'cat /in/copy')" '{"terminate":{}}' >job.json
	run --separate-stderr script <job.json
	assert_equal "$status" 0
	assert_equal "$stderr" ""
	assert_equal "$(jq -c '[.index, .result, .message, .isBatchFinished]' <<<"$output" | tr -d '\n')" \
		'[0,"Ok",null,false][1,"Ok",null,false][2,"Ok",null,false][3,"Ok",null,false][4,"Ok",null,false][5,"Ok",null,false][6,"Ok",null,false][7,"Ok",null,false][8,"Ok",null,false][9,"Ok",null,true]'
	assert_equal "$(jq -r 'select(.index == 4) | .stdout' <<<"$output")" $'from-the-server\nfrom-a-file\n0 0 755\n0 0 755\n0 0 644'
	assert_equal "$(jq -r 'select(.index == 4) | .stderr' <<<"$output")" err
	assert_equal "$(jq -r 'select(.index == 8) | .stdout' <<<"$output")" result
	assert_equal "$(head -n 1 <<<"$output" | jq -r '.stdout | fromjson | .startMode')" blocking
	assert_equal "$(head -n 1 <<<"$output" | jq -c keys_unsorted)" '["index","result","stdout","stderr","message","isBatchFinished","eventDate"]'
	[[ $(head -n 1 <<<"$output" | jq -r .eventDate) =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z$ ]]
	assert_equal "$(cat "$FILES/output")" result
	assert_equal "$(cat got)" result
}

@test "captures and events are those of a provider" {
	printf '%s\n' '{"deploy":{}}' '{"start":{}}' \
		'{"run":{"entry_point":"/bin/sh","args":["-c","printf 0123456789; printf \"\\\\377x\" >&2"],"capture":{"stdout":{"atEnd":{"headTail":5}},"stderr":{"stream":{"format":"bin"}}}}}' \
		'{"run":{"entry_point":"/bin/echo","args":["$0","a  b"],"capture":{"stdout":{"stream":{"limit":4}}}}}' \
		'{"run":{"entry_point":"/bin/echo","args":["unseen"]}}' '{"run":{"entry_point":"/bin/sh","args":["-c","kill -9 $$"]}}' | jq -sc . >job.json
	run --separate-stderr script --json <job.json
	assert_equal "$status" 137
	assert_equal "$(jq -c '.[2] | [.stdout, .stderr]' <<<"$output")" '["01289",[255,120]]'
	assert_equal "$(jq -c '.[3] | [.stdout, .stderr]' <<<"$output")" '["$0 a",null]'
	assert_equal "$(jq -c '.[4] | [.stdout, .stderr]' <<<"$output")" '[null,null]'
	assert_equal "$(jq -c '.[5] | [.result, .message, .isBatchFinished]' <<<"$output")" \
		'["Error","ExeScript command exited with code 137",true]'
	run --separate-stderr script --stream <job.json
	assert_equal "$status" 137
	assert_equal "$(head -n 1 <<<"$output" | jq -c '[keys_unsorted, .index, .kind]')" \
		'[["batch_id","index","timestamp","kind"],0,{"started":{"command":{"deploy":{}}}}]'
	assert_equal "$(jq -c 'select(.index == 2) | .kind | keys[0]' <<<"$output" | tr -d '\n')" '"started""stderr""finished"'
	assert_equal "$(jq -c 'select(.index == 2) | .kind.stderr // empty' <<<"$output")" '[255,120]'
	assert_equal "$(jq -c 'select(.index == 3) | .kind.stdout // empty' <<<"$output")" '"$0 a"'
	assert_equal "$(tail -n 1 <<<"$output" | jq -c '.kind')" \
		'{"finished":{"return_code":137,"message":"ExeScript command exited with code 137"}}'
}

@test "archives of every format go both ways, and filesets choose" {
	job "$(sh_ 'cd /out && mkdir -p d/e && echo 1 >one && echo 2 >d/two.tmp && echo 3 >d/e/three && ln -s ../one d/link && ln -s /etc/passwd d/far && chmod 755 one')" \
		"$(for f in tar tar.gz tar.bz2 tar.xz zip zip.0; do
			transfer_ container:/out "$URL/a.$f" "{\"format\":\"$f\"}"
			transfer_ "$URL/a.$f" "container:/in/$f" "{\"format\":\"$f\"}"
		done)" \
		"$(transfer_ /out "file:some.tar" '{"format":"tar","fileset":{"includes":["**"],"excludes":"**/*.tmp"},"depth":1}')" \
		"$(sh_ 'cd /in && for f in *; do (cd $f && cat one d/two.tmp d/e/three d/link && readlink d/far && stat -c %a one); done | sort | uniq -c')" >job.json
	run --separate-stderr script <job.json
	assert_equal "$status" 0
	assert_equal "$(tail -n 1 <<<"$output" | jq -r .stdout | tr -s ' ')" $' 6 /etc/passwd\n 12 1\n 6 2\n 6 3\n 6 755'
	assert_equal "$(tar -tf some.tar | tr '\n' ' ')" "d/ d/e/ d/far d/link one "
	assert_equal "$(tar -tzf "$FILES/a.tar.gz" | grep -c .)" 7
	assert_equal "$(/usr/bin/python3 -m zipfile -l "$FILES/a.zip" | grep -c 'd/two.tmp')" 1
}

@test "a link of the guest does not lead a transfer out of the volume" {
	echo secret >secret
	check()
	{
		run --separate-stderr script --workdir w <<<"$(job "$@")"
		assert_equal "$status" 125
		assert_equal "$(tail -n 1 <<<"$output" | jq -r .result)" Error
		assert_contains "$(tail -n 1 <<<"$output" | jq -r .message)" "leads out of the volume"
	}
	check "$(sh_ 'ln -s /etc/passwd /out/p')" "$(transfer_ /out/p file:stolen)"
	check "$(sh_ 'ln -s ../../../../../../../../etc /out/e')" "$(transfer_ /out/e/passwd file:stolen)"
	check "$(sh_ "ln -s ../../secret /out/s; ln -s ../.. /out/up")" "$(transfer_ file:secret /out/s)" "$(transfer_ file:secret /out/up/new)"
	[ ! -e stolen ] && [ ! -e new ]
	assert_equal "$(cat secret)" secret
}

@test "what servers do wrong is said as such, and nothing stale is kept" {
	head -c 300000 /dev/urandom >"$FILES/big"
	hash=$(openssl dgst -sha3-224 -r "$FILES/big" | cut -d' ' -f1)
	job "$(transfer_ "hash:sha3:$hash:$URL/drop/big" /in/big)" "$(transfer_ "$URL/to/big" /in/big)" "$(transfer_ "http://u:p@${URL#http://}/user/big" /in/big)" \
		"$(sh_ 'echo old content that is longer >/in/f; md5sum </in/big')" "$(transfer_ /in/big "http://u:p@${URL#http://}/user/back")" >job.json
	run --separate-stderr script <job.json
	assert_equal "$status" 0
	assert_equal "$(jq -r 'select(.index == 5) | .stdout' <<<"$output")" "$(md5sum <"$FILES/big")"
	cmp "$FILES/big" "$FILES/back"
	grep -q 'GET /drop/big bytes=150000- -' "$FILES/.log"
	# What fails leaves the file that was there. No VM is needed for that.
	fake_runtime pass
	export ANSWER='{"startMode":"blocking","valid":{"Ok":""},"vols":[{"name":"vol-1","path":"/in"}]}'
	fails()
	{
		mkdir -p w/vol-1
		echo before >w/vol-1/f
		run --separate-stderr gvmkit script - --runtime ./runtime --workdir w <<<"$(job "$1")"
		assert_equal "$status" 125
		assert_equal "$(wc -l <<<"$output")" 3
		assert_contains "$(tail -n 1 <<<"$output" | jq -r .message)" "Local service error: Transfer error: "
		assert_contains "$(tail -n 1 <<<"$output" | jq -r .message)" "$2"
		assert_equal "$(ls -A w/vol-1)" f
		assert_equal "$(cat w/vol-1/f)" before
	}
	fails "$(transfer_ "$URL/status/404" /in/f)" "is not there: the server answers with status 404"
	fails "$(transfer_ "hash:sha3:${hash/[0-9]/x}:$URL/big" /in/f)" "hash"
	fails "$(transfer_ "hash:sha3:$(printf '%056d' 0):$URL/big" /in/f)" "another hash than was asked for: sha3:$hash"
	fails "$(transfer_ "gftp://0x1/2" /in/f)" "Unsupported scheme: gftp"
}

@test "states, refusals and failures have the words of a provider" {
	fake_runtime "say(field(2, id) + field(3, field(1, 1) + field(2, 'no such program')))"
	check()
	{
		run --separate-stderr gvmkit script - --runtime ./runtime --workdir w <<<"$1"
		assert_equal "$status" "$2"
		assert_equal "$(tail -n 1 <<<"$output" | jq -r '.message')" "$3"
		assert_equal "$(tail -n 1 <<<"$output" | jq -r '.isBatchFinished')" true
	}
	start='{"deploy":{}},{"start":{}}'
	state='Local service error: State error: '
	check '[{"start":{}},{"terminate":{}}]' 125 "${state}Activity is initialized - deploy() command is expected now"
	check '[{"run":{"entry_point":"/a"}}]' 125 "${state}Activity is initialized - deploy() command is expected now"
	check '[{"deploy":{}},{"transfer":{"from":"/a","to":"/b"}}]' 125 "${state}Activity is deployed - start() command is expected now"
	check "[$start,{\"deploy\":{}}]" 125 "${state}Cannot send command after a successful start()"
	check "[$start,{\"run\":{\"entry_point\":\"/a\"}}]" 125 "Runtime error: no such program"
	check "[$start,{\"run\":{\"entry_point\":\"/..\"}}]" 125 "Runtime error: Invalid binary name: /.."
	check "[$start,{\"sign\":{}}]" 125 "Runtime error: sign is not supported: only a runtime in an enclave can sign what it has done"
	check "[$start,{\"transfer\":{\"from\":\"/a\",\"to\":\"/b\"}}]" 125 \
		"Local service error: Transfer error: path not found in container: /b; only directories that the host shares as volumes can be reached"
	# After terminate everything begins anew.
	check "[$start,{\"terminate\":{}},$start,{\"terminate\":{}},{\"start\":{}}]" 125 \
		"${state}Activity is initialized - deploy() command is expected now"
	check "[$start,{\"terminate\":{}}]" 0 null
	STATUS=3 check '[{"deploy":{}}]' 3 "ExeScript command exited with code 3"
	ANSWER='{"valid":{}} x' check '[{"deploy":{}}]' 125 "ExeScript command error: the runtime's deploy has not said a JSON object: end of file expected near 'x'"
}

@test "a runtime is called as an ExeUnit calls it" {
	export ANSWER='noise {"startMode":"blocking","valid":{"Ok":""},"vols":[]}'
	fake_runtime "say(field(2, id) + field(10, field(1, 1))); status(1, 1); status(1, 0)"
	touch image
	gvmkit script - --runtime ./runtime --workdir w --image image >/dev/null -- --cpu-cores 2 <<-'END'
		[{"deploy":{"volumes":["/a"],"hostname":"h"}},{"start":{"args":["-x","y"]}},{"run":{"entry_point":"/bin/true"}}]
	END
	prefix="[\"--workdir\",\"$PWD/w\",\"--task-package\",\"$PWD/image\",\"--cpu-cores\",\"2\","
	assert_equal "$(jq -c . calls)" "${prefix}\"--volume-override\",\"{\\\"/a\\\":{\\\"host\\\":{}}}\",\"--hostname\",\"h\",\"deploy\",\"--\"]
${prefix}\"start\",\"-x\",\"y\"]"
	# One process for each command, when deploy does not say that it serves.
	rm calls
	cat >runtime <<-'END'
		#!/bin/sh
		echo "$*" >>calls
		case "$*" in
		*" run "*) echo out; echo err >&2; exit 4 ;;
		esac
	END
	run --separate-stderr gvmkit script - --runtime ./runtime --workdir w \
		<<<'[{"deploy":{}},{"start":{"args":["x"]}},{"run":{"entry_point":"/bin/p","args":["y"],"capture":{"stdout":{"atEnd":{}}}}}]'
	assert_equal "$status" 4
	assert_equal "$(tail -n 1 <<<"$output" | jq -c '[.stdout, .stderr]')" '["out\n",null]'
	assert_equal "$(cat w/calls)" "--workdir $PWD/w deploy --
--workdir $PWD/w start -- x
--workdir $PWD/w run --entrypoint /bin/p -- y"
}

@test "a runtime that dies fails the command, also with status 0" {
	check()
	{
		fake_runtime "$2" "$1"
		run --separate-stderr timeout 60 gvmkit script - --runtime ./runtime --workdir w \
			<<<'[{"deploy":{}},{"start":{}},{"run":{"entry_point":"/a"}}]'
		assert_equal "$status" "$3"
		assert_equal "$(tail -n 1 <<<"$output" | jq -r '.message')" "$4"
	}
	check 'sys.exit(3)' pass 3 "ExeScript command exited with code 3"
	check 'sys.exit(0)' pass 125 "Runtime error: the runtime has ended"
	check '' 'sys.exit(0)' 125 "Runtime error: the runtime has ended"
	check '' 'sys.exit(9)' 9 "ExeScript command exited with code 9"
	check '' 'os.write(1, bytes([255]) * 20)' 125 "Runtime error: the runtime sent something that is no frame"
}

@test "Ctrl-C ends what runs, and leaves nothing" {
	for signal in INT TERM; do
		job "$(sh_ 'echo up; exec sleep 1000')" >job.json
		# A shell has its background jobs ignore SIGINT.
		env --default-signal=INT gvmkit script job.json --stream --image "$IMAGES/base.gvmi" -- --accel "$ACCEL" >out 2>err 3>&- &
		pid=$!
		wait_until grep -q '"started":{"command":{"run"' out
		kill -"$signal" "$pid"
		status=0
		wait "$pid" || status=$?
		assert_equal "$status" "$((128 + $(kill -l "$signal")))"
		assert_equal "$(tail -n 1 out | jq -c '.kind.finished')" '{"return_code":-1,"message":"Runtime error: interrupted"}'
		assert_contains "$(cat err)" "gvmkit: interrupted"
		assert_nothing_left
	done
}

@test "an image is found by its hash, fetched once, and never taken with another one" {
	cp "$IMAGES/base.gvmi" "$FILES/image.gvmi"
	hash=$(gvmkit hash "$IMAGES/base.gvmi" | cut -d' ' -f1)
	: >"$FILES/.log"
	go() { gvmkit script - --image "$1" -- --accel "$ACCEL" <<<'[{"deploy":{}}]'; }
	go "hash:sha3:$hash:$URL/drop/image.gvmi" >/dev/null
	go "hash://sha3:0x${hash^^}:$URL/gone" >/dev/null
	go "hash:sha3:$hash:file:$IMAGES/base.gvmi" >/dev/null
	go "file:$IMAGES/base.gvmi" >/dev/null
	assert_equal "$(grep 'GET.*image.gvmi' "$FILES/.log" | grep -vc chunks)" 2
	cmp "$XDG_DATA_HOME/gvmkit/images/$hash.gvmi" "$IMAGES/base.gvmi"
	fails()
	{
		run --separate-stderr go "$1"
		assert_equal "$status" 125
		assert_contains "$(jq -r .message <<<"$output")" "$2"
	}
	fails "hash:sha3:$(printf '%056d' 1):$URL/image.gvmi" "another image"
	fails "hash:sha3:$(printf '%056d' 1):file:$IMAGES/base.gvmi" "the hash is"
	fails "hash:sha3:$(printf '%056d' 1):$URL/status/404" "no such file"
	fails "$URL/image.gvmi" "says no hash"
	fails nowhere "cannot find the image"
}

@test "the work directory is kept when it was asked for, and a script that is none is refused" {
	echo content >local
	job "$(transfer_ file:local /in/f)" | script --workdir w >/dev/null
	assert_equal "$(cat w/vol-*/f)" content
	fails()
	{
		run --separate-stderr gvmkit script - <<<"$1"
		assert_equal "$status" 125
		assert_one_line_error "$stderr"
		assert_contains "$stderr" "$2"
		assert_equal "$output" ""
	}
	fails '[{"run":{"entryPoint":"/bin/sh"}}]' 'command 0: run: `entry_point` is missing'
	fails 'x' "no JSON"
	fails '[]' "no commands"
	run --separate-stderr gvmkit script
	assert_equal "$status" 2
	run --separate-stderr gvmkit script nowhere.json
	assert_equal "$status" 125
	assert_one_line_error "$stderr"
}

@test "files of the user of the image are the user's" {
	echo content >local
	run --separate-stderr gvmkit script - --image "$IMAGES/user.gvmi" -- --accel "$ACCEL" <<<"$(
		printf '%s\n' '{"deploy":{}}' '{"start":{}}' "$(transfer_ file:local /data/d/f)" \
			"$(sh_ 'cd /data/d && stat -c "%U %a" . f && echo more >>f && cat f')" | jq -sc .)"
	assert_equal "$status" 0
	assert_equal "$(tail -n 1 <<<"$output" | jq -r .stdout)" $'alice 755\nalice 644\ncontent\nmore'
}
