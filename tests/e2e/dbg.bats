#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit dbg`: a supervisor for people and scripts, against our runtime and against bad ones.

load helper

setup_file()
{
	e2e_setup_file
	gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null
	RUNTIME=$(dirname "$(dirname "$(command -v gvmkit)")")/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm
	export RUNTIME GVMKIT_ALLOW_TCG=1
}

setup() { e2e_setup; }
teardown() { assert_nothing_left; }

dbg()
{
	gvmkit dbg --runtime "$RUNTIME" --workdir w --task-package "$IMAGES/base.gvmi" "$@" -- --accel "$ACCEL"
}

@test "a script runs line by line, and the status is that of its last command" {
	run --separate-stderr dbg < <(printf 'echo one; cd /tmp\npwd\n\n  \necho err >&2\nexit 7\n')
	assert_equal "$status" 7
	assert_equal "$output" $'one\n/'
	assert_contains "$stderr" err
	assert_contains "$stderr" "code 7"
	run --separate-stderr dbg < <(printf 'exit 7\ntrue\n')
	assert_equal "$status" 0
	assert_equal "$stderr" "gvmkit: note: the command has failed with code 7"
}

@test "exec mode splits lines into words, and says what cannot be run" {
	run -127 --separate-stderr dbg --exec-mode exec < <(printf '/bin/echo "a  b" c\\ d\nnothing-here\n')
	assert_equal "$status" 127
	assert_equal "$output" "a  b c d"
	assert_contains "$stderr" nothing-here
	run --separate-stderr dbg --exec-mode exec < <(printf '/bin/notexec\n')
	assert_equal "$status" 126
	run --separate-stderr dbg --exec-mode exec < <(printf 'echo "a\n')
	assert_equal "$status" 125
}

@test "the transcript has everything, as JSON" {
	printf 'printf "\\\\377x"; echo text >&2\nexit 3\n' | dbg --transcript t >/dev/null 2>&1 || true
	assert_equal "$(jq -r .type t | tr '\n' ' ')" "deploy hello run run end "
	assert_equal "$(jq -c 'select(.type == "run") | [.code, .pid, .stderr]' t)" $'[0,1,"text\\n"]\n[3,2,""]'
	assert_equal "$(jq -r 'select(.type == "run") | .stdout' t | head -n 1)" $'\u00ffx'
	assert_equal "$(jq -r 'select(.type == "end") | .status' t)" 0
}

@test "a deployment can be started again" {
	printf 'true\n' | dbg
	run --separate-stderr dbg --no-deploy < <(echo 'echo again')
	assert_equal "$output" again
	rm w/deployment.json
	run --separate-stderr dbg --no-deploy < <(echo 'echo again')
	assert_equal "$status" 125
	assert_contains "$stderr" "nothing has been deployed"
}

@test "a runtime that fails is status 125, with the reason" {
	run --separate-stderr timeout 60 gvmkit dbg -r "$RUNTIME" -w w -t /etc/passwd </dev/null
	assert_equal "$status" 125
	assert_contains "$stderr" "deploy has failed with status 1"
	run --separate-stderr timeout 60 gvmkit dbg -r ./nothing -w w </dev/null
	assert_equal "$status" 125
	run --separate-stderr timeout 60 gvmkit dbg -w w </dev/null
	assert_equal "$status" 125
	fake_runtime 'sys.exit(3)'
	run --separate-stderr timeout 60 gvmkit dbg -r ./runtime -w w <<<true
	assert_equal "$status" 125
	assert_contains "$stderr" "has ended"
	fake_runtime 'os.write(1, bytes([255]) * 20)'
	run --separate-stderr timeout 60 gvmkit dbg -r ./runtime -w w <<<true
	assert_equal "$status" 125
}

@test "a runtime that breaks the protocol is told so" {
	check() {
		fake_runtime "$2"
		run --separate-stderr timeout 60 gvmkit dbg -r ./runtime -w w < <(printf 'true\ntrue\n')
		assert_equal "$status" 1
		assert_contains "$stderr" "$1"
	}
	run='say(field(2, id) + field(10, field(1, id)));'
	check "nobody has asked" "$run status(id, 1); status(id + 50, 1, out='x'); status(id, 0)"
	check "after its end" "$run status(id, 1); status(id, 0); status(id, 1, out='late')"
	check "not \`running\` alone" "$run status(id, 1, out='early'); status(id, 0)"
	check "does not wait" "$run status(id, 1); say(field(2, 77) + field(11, b'')); status(id, 0)"
	check "its events are those of" "$run status(id + 100, 1); status(id + 100, 0)"
	fake_runtime "$run status(id, 1); status(id, 0)"
	run --separate-stderr timeout 60 gvmkit dbg -r ./runtime -w w < <(printf 'true\ntrue\n')
	assert_equal "$status" 0
	assert_equal "$stderr" ""
	ANSWER='{"valid":{"Ok":""}} trailing' run --separate-stderr timeout 60 gvmkit dbg -r ./runtime -w w < <(printf 'true\n')
	assert_equal "$status" 1
	assert_contains "$stderr" "deploy's answer"
}

@test "at a terminal lines can be edited, and are remembered for their user alone" {
	fake_runtime "out = '[' + list(fields(request[10]))[-1][1].decode() + ']'; say(field(2, id) + field(10, field(1, id))); status(id, 1); status(id, 1, out=out); status(id, 0)"
	export XDG_STATE_HOME=$PWD/state INPUTRC=/dev/null TERM=dumb
	history=state/gvmkit/dbg_history
	/usr/bin/python3 "$E2E/terminal.py" edit gvmkit dbg -r ./runtime -w w
	assert_equal "$(stat -c %a $history)" 600
	assert_equal "$(cat $history)" $'first line\nsecond\nthe third\nsecond\ntab\tinside\nafter it\nfirst line'
	# It stays small, is made private when it was not, and is not followed when it is a link.
	seq 1 3000 >$history
	chmod 644 $history
	/usr/bin/python3 "$E2E/terminal.py" line gvmkit dbg -r ./runtime -w w
	assert_equal "$(stat -c %a $history)" 600
	assert_equal "$(wc -l <$history) $(tail -n 1 $history)" "1000 more"
	rm $history
	ln -s "$PWD/victim" $history
	/usr/bin/python3 "$E2E/terminal.py" line gvmkit dbg -r ./runtime -w w >out
	assert_contains "$(cat out)" "not remembered"
	[ ! -e victim ]
	rm $history
	/usr/bin/python3 "$E2E/terminal.py" line gvmkit dbg --no-history -r ./runtime -w w
	[ ! -e $history ]
}
