#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# ya-runtime-vm, as a provider's ExeUnit drives it. The cases that need a supervisor are in exeunit_cases.py.

load helper

setup_file()
{
	e2e_setup_file
	for image in base user; do
		gvmkit build "$IMAGES/$image.tar" -o "$IMAGES/$image.gvmi" >/dev/null
	done
	export ACCEL
	RUNTIME=$(dirname "$(dirname "$(command -v gvmkit)")")/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm
	export RUNTIME
}

setup() { e2e_setup; mkdir w; }
teardown() { assert_nothing_left; }

case_()
{
	/usr/bin/python3 "$E2E/exeunit_cases.py" "$1"
}

deploy()
{
	"$RUNTIME" --workdir "$PWD/w" "$@"
}

# An error is one line that begins with the program's name.
assert_runtime_error()
{
	assert_equal "$(grep -c . <<<"$1")" 1
	assert_contains "$1" "ya-runtime-vm: "
	assert_contains "$1" "$2"
}

# ---- the command line ----

@test "--help and --version are printed on stdout, with status 0" {
	run --separate-stderr "$RUNTIME" --version
	assert_equal "$status" 0
	[[ $output =~ ^ya-runtime-vm\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
	for words in --help -h help 'deploy --help'; do
		# shellcheck disable=SC2086 # words
		run --separate-stderr "$RUNTIME" $words
		assert_equal "$status" 0
		assert_contains "$output" "--volume-override"
	done
}

@test "the plugin's descriptor is found, and says what the program says" {
	plugins=$(dirname "$(dirname "$RUNTIME")")
	assert_equal "$(jq -r '.[0].name' "$plugins/ya-runtime-vm.json")" vm
	assert_equal "$(jq -r '.[0].version' "$plugins/ya-runtime-vm.json")" "$("$RUNTIME" --version | cut -d' ' -f2)"
	assert_equal "$(jq -r '.[0]["extra-args"][0]' "$plugins/ya-runtime-vm.json")" --cap-handoff
	[ -x "$plugins/$(jq -r '.[0]["runtime-path"]' "$plugins/ya-runtime-vm.json")" ]
}

@test "wrong usage is status 1 and one line on stderr" {
	for words in '' nonsense '--nonsense deploy' '--cpu-cores x deploy' '--cpu-cores 0 deploy' '--mem-gib -1 deploy' 'deploy --nonsense' \
		'--workdir' '--workdir --cpu-cores 1 deploy' '--help=x' '--accel best deploy'; do
		# shellcheck disable=SC2086 # words
		run --separate-stderr "$RUNTIME" $words
		assert_equal "$status" 1
		assert_equal "$output" ""
		assert_runtime_error "$stderr" --help
	done
}

@test "run is refused" {
	run --separate-stderr "$RUNTIME" --workdir w run --entrypoint /bin/sh -- -c true
	assert_equal "$status" 1
	assert_runtime_error "$stderr" "not supported"
}

@test "deploy answers with exactly what an ExeUnit reads" {
	run --separate-stderr deploy --task-package "$IMAGES/user.gvmi" --cpu-cores 2 --mem-gib 0.5 --storage-gib 1 deploy --
	assert_equal "$status" 0
	assert_equal "$stderr" ""
	names=$(sed 's/vol-[0-9a-f]\{8\}-[0-9a-f]\{4\}-4[0-9a-f]\{3\}-[89ab][0-9a-f]\{3\}-[0-9a-f]\{12\}/NAME/g' <<<"$output")
	assert_equal "$names" '{"startMode":"blocking","valid":{"Ok":""},"vols":[{"name":"NAME","path":"/data"},{"name":"NAME","path":"/data/inner"},{"name":"NAME","path":"/srv/v"}]}'
	for name in $(jq -r '.vols[].name' <<<"$output"); do
		[ -d "w/$name" ]
	done
	deploy --task-package "$IMAGES/base.gvmi" deploy >out
	assert_equal "$(tail -c 1 out)" "}"
	assert_equal "$(cat out)" '{"startMode":"blocking","valid":{"Ok":""},"vols":[]}'
}

@test "every order of the arguments is understood" {
	for words in "--task-package $IMAGES/base.gvmi deploy" "-t $IMAGES/base.gvmi --cpu-cores 1 deploy --" "-t=$IMAGES/base.gvmi deploy" \
		"--task-package=$IMAGES/base.gvmi deploy" "-t$IMAGES/base.gvmi deploy" "-t $IMAGES/base.gvmi $IMAGES/user.gvmi deploy" \
		"-t $IMAGES/base.gvmi -t $IMAGES/user.gvmi deploy" "deploy --task-package $IMAGES/base.gvmi" \
		"--pci-device 0000:01:00.0 -t $IMAGES/base.gvmi deploy"; do
		# shellcheck disable=SC2086 # words
		run --separate-stderr deploy $words
		assert_equal "$stderr" ""
		assert_equal "$status" 0
	done
	deploy -t "$IMAGES/base.gvmi" "$IMAGES/user.gvmi" deploy >/dev/null
	assert_equal "$(jq -c '.task_packages' w/deployment.json)" "[\"$IMAGES/base.gvmi\",\"$IMAGES/user.gvmi\"]"
}

@test "options, variables and defaults end up in the record" {
	deploy -t "$IMAGES/base.gvmi" deploy >/dev/null
	assert_equal "$(jq -c '[.cpu_cores,.mem_mib,.storage_bytes,.hostname]' w/deployment.json)" '[1,256,268435456,"golem"]'
	YA_RUNTIME_HOSTNAME=other YA_RUNTIME_VOLUME_OVERRIDE='{"/v":{"ram":{"size":"1073.7 MB"}}}' deploy -t "$IMAGES/base.gvmi" --cpu-cores 3 --mem-gib 1.9999 deploy >/dev/null
	assert_equal "$(jq -c '[.cpu_cores,.mem_mib,.hostname,.volumes]' w/deployment.json)" '[3,2047,"other",[{"type":"ram","path":"/v","size":1073696768}]]'
	YA_RUNTIME_HOSTNAME=other deploy -t "$IMAGES/base.gvmi" --hostname mine deploy >/dev/null
	assert_equal "$(jq -r .hostname w/deployment.json)" mine
}

@test "a deployment that cannot be is refused, and leaves what was there before" {
	deploy -t "$IMAGES/user.gvmi" deploy >/dev/null
	before=$(ls w; cat w/deployment.json)
	head -c 100000 "$IMAGES/base.gvmi" >short.gvmi
	check() {
		reason=$1
		shift
		run --separate-stderr deploy "$@" deploy
		assert_equal "$status" 1
		assert_equal "$output" ""
		assert_runtime_error "$stderr" "$reason"
		assert_equal "$(ls w; cat w/deployment.json)" "$before"
	}
	check "--task-package"
	check "cannot find" -t nothing.gvmi
	check "metadata" -t short.gvmi
	check "host name" -t "$IMAGES/base.gvmi" --hostname 'a b'
	check "not JSON" -t "$IMAGES/base.gvmi" --volume-override '{'
	check "not an absolute path" -t "$IMAGES/base.gvmi" --volume-override '{"v":{"host":{}}}'
	check "the root cannot be" -t "$IMAGES/base.gvmi" --volume-override '{"//":{"host":{}}}'
	check "not one of host" -t "$IMAGES/base.gvmi" --volume-override '{"/v":{"disk":{}}}'
	check "twice" -t "$IMAGES/base.gvmi" --volume-override '{"/v":{"host":{}},"/v/":{"host":{}}}'
	check "not a size" -t "$IMAGES/base.gvmi" --volume-override '{"/v":{"ram":{"size":"much"}}}'
	check "--storage-gib" -t "$IMAGES/base.gvmi" --storage-gib 0.5 --volume-override '{"/v":{"storage":{"size":"1.0 GB"}}}'
	check "--storage-gib" -t "$IMAGES/base.gvmi" --storage-gib 1 --volume-override '{"/v":{"storage":{"size":"600 MB"}},"/w":{"storage":{"size":"600 MB"}}}'
	check "too little" -t "$IMAGES/base.gvmi" --mem-gib 0.01
	run --separate-stderr "$RUNTIME" -t "$IMAGES/base.gvmi" deploy
	assert_equal "$status" 1
	assert_runtime_error "$stderr" "--workdir"
	run --separate-stderr "$RUNTIME" -w nowhere -t "$IMAGES/base.gvmi" deploy
	assert_equal "$status" 1
	assert_runtime_error "$stderr" nowhere
}

@test "a size that was rounded up on its way to us still fits" {
	deploy -t "$IMAGES/base.gvmi" --storage-gib 0.5 --volume-override '{"/v":{"storage":{"size":"536.9 MB"}}}' deploy >/dev/null
	assert_equal "$(jq '.volumes[0].size' w/deployment.json)" 536870912
}

@test "a new deployment replaces the one before, and keeps files that somebody may want" {
	deploy -t "$IMAGES/user.gvmi" --storage-gib 1 --volume-override '{"/s":{"storage":{"size":"10 MB"}}}' deploy >first
	kept=$(jq -r '.vols[0].name' first)
	echo result >"w/$kept/file"
	run --separate-stderr deploy -t "$IMAGES/base.gvmi" deploy
	assert_contains "$stderr" "not empty"
	assert_equal "$(ls w)" "deployment.json"$'\n'"$kept"
}

# ---- the host ----

@test "test boots a VM and says what it has found" {
	run --separate-stderr env GVMKIT_ALLOW_TCG=1 "$RUNTIME" --accel "$ACCEL" --test-timeout 120 --test-cpu-cores 2 --test-mem-gib 0.25 test
	assert_equal "$stderr" ""
	assert_equal "$status" 0
	assert_equal "$(jq -c '[.cpu_cores,.memory_mib > 200,.network_devices,.network_datagrams > 0]' <<<"$output")" '[2,true,1,true]'
}

@test "test fails with the reason when the time or the machine does not suffice" {
	run --separate-stderr env GVMKIT_ALLOW_TCG=1 GVMKIT_GUEST_DIR=/nowhere "$RUNTIME" --accel "$ACCEL" test
	assert_equal "$status" 1
	assert_runtime_error "$stderr" "/nowhere"
	cp "$(dirname "$(command -v gvmkit)")"/../lib/gvmkit/* .
	head -c 1000000 vmlinux >short && mv short vmlinux
	run --separate-stderr env GVMKIT_ALLOW_TCG=1 GVMKIT_GUEST_DIR="$PWD" "$RUNTIME" --accel "$ACCEL" --test-timeout 3 test
	assert_equal "$status" 1
	assert_equal "$output" ""
	assert_runtime_error "$stderr" "cannot run VMs"
}

@test "offer-template prints the properties of the original, with true numbers" {
	run --separate-stderr env GVMKIT_ALLOW_TCG=1 "$RUNTIME" --accel "$ACCEL" --test-timeout 120 offer-template
	assert_equal "$status" 0
	assert_equal "$(jq -c '[keys, .constraints, (.properties | keys)]' <<<"$output")" '[["constraints","properties"],"",["golem.inf.cpu.brand","golem.inf.cpu.capabilities","golem.inf.cpu.model","golem.inf.cpu.vendor","golem.runtime.capabilities"]]'
	number() { sed -n "s/^$1[[:space:]]*: //p" /proc/cpuinfo | head -n 1; }
	assert_equal "$(jq -r '.properties["golem.inf.cpu.model"]' <<<"$output")" "Stepping $(number stepping) Family $(number 'cpu family') Model $(number model)"
	assert_equal "$(jq -r '.properties["golem.inf.cpu.vendor"]' <<<"$output")" "$(number vendor_id)"
	assert_equal "$(jq -c '.properties["golem.runtime.capabilities"]' <<<"$output")" '["inet","vpn","manifest-support","start-entrypoint"]'
	assert_contains "$(jq -r '.properties["golem.inf.cpu.capabilities"][]' <<<"$output")" sse2
}

@test "emulation is refused unless it is allowed" {
	for words in test offer-template; do
		run --separate-stderr "$RUNTIME" --accel tcg $words
		assert_equal "$status" 1
		assert_equal "$output" ""
		assert_runtime_error "$stderr" GVMKIT_ALLOW_TCG
	done
}

# ---- what an ExeUnit sees ----

@test "a run has the output, code, environment, directory and user that it should" {
	case_ runs
}

@test "an image with USER, ENV, relative ENTRYPOINT, linked VOLUMEs and no /etc is as the contract says" {
	/usr/bin/python3 - <<END
import sys
sys.path.insert(0, "$E2E")
from images import *
layer = Layer().dir("bin").add("bin/busybox", data=busybox(), mode=0o755)
for applet in ("sh", "id", "stat", "cat", "grep", "ls"):
    layer.hard("bin/" + applet, "bin/busybox", mode=0o755)
layer.dir("app").add("app/start", data=b'#!/bin/sh\\necho "started by \$(id -u) in \$PWD: hello \$WHO, \$*"\\n', mode=0o755)
layer.link("app/way", "../real").link("app/other", "/app/../app/way").dir("real").dir("real/data")
docker("$IMAGES/odd.tar", {"Env": ["PATH=/bin", "WHO=world"], "User": "1000:50", "WorkingDir": "/app", "Entrypoint": ["./start", "one"],
                           "Cmd": ["two"], "Volumes": {"/app/way/data": {}}}, [layer.bytes()])
END
	gvmkit build "$IMAGES/odd.tar" -o "$IMAGES/odd.gvmi" >/dev/null
	case_ odd
}

@test "a program that cannot be started is an error answer, and no event" {
	case_ failures
}

@test "all output of a run comes before its end, in sane chunks" {
	case_ output
}

@test "any number of processes run at once" {
	case_ many
}

@test "KillProcess honours the signal" {
	case_ kills
}

@test "RunProcess honours work_dir and the limits of output" {
	case_ limits
}

@test "Shutdown is done when it is answered, within three seconds" {
	case_ shutdown
}

@test "the end of stdin is shutdown, and no success with work pending" {
	case_ end_of_stdin
}

@test "requests sent before the VM is up are answered when it is" {
	case_ early_requests
}

@test "garbage on stdin is a clear end" {
	case_ garbage
}

@test "SIGTERM ends the runtime in order" {
	case_ signals
}

@test "the death of QEMU or its guardian is told to every process" {
	case_ death
}

@test "a guest that switches itself off is told" {
	case_ guest_death
}

@test "SIGKILL of the runtime ends everything, and nothing is in the way of the next" {
	case_ killed_runtime
}

@test "a program that is killed inside the guest is told" {
	case_ killed_children
}

@test "an image that has gone or changed since deploy is told" {
	case_ changed_image
}

@test "start without stdin or stdout is refused" {
	case_ closed_streams
}

@test "a full work directory is told, and ends nothing" {
	mkdir work
	truncate -s 12M disk
	mkfs.ext4 -q -F disk
	mount -o loop disk work 2>/dev/null || skip "there are no loop devices here"
	status=0
	case_ full || status=$?
	umount -l work
	assert_equal "$status" 0
}

@test "a frozen QEMU does not hold up Shutdown" {
	case_ frozen
}

@test "a reader that stops costs no memory and blocks no request" {
	case_ slow_reader
}

@test "a reader that goes away ends the runtime" {
	case_ gone_reader
}

@test "Shutdown is done in time when nobody reads" {
	case_ blocked_shutdown
}

@test "a start that fails tells the supervisor why" {
	case_ start_fails
}

@test "one deploy or start at a time has a work directory" {
	case_ one_at_a_time
}

@test "start-entrypoint runs the image's ENTRYPOINT apart from all runs" {
	case_ entrypoint
}

@test "usage is told by counters" {
	case_ counters
}

@test "QEMU stays in the process group of the runtime" {
	case_ group
}

@test "host, ram and storage volumes are what they should be, and are kept" {
	case_ volumes
}

@test "the root's writes go where / is mounted" {
	case_ root
}

@test "volumes that hold more than --storage-gib end the VM" {
	case_ quota
}

@test "the image's user can write in every volume" {
	case_ user_writes
}
