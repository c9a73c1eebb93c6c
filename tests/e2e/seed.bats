#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# --seed-volumes: a volume begins with what the image holds at its place, as the image has it.

load helper

setup_file()
{
	e2e_setup_file
	/usr/bin/python3 - <<END
import sys
sys.path.insert(0, "$E2E")
from images import *
base, layer = base_layer(), Layer()
layer.dir("data", 0o2770, uid=1000, gid=50).add("data/file", data=b"hello\n", mode=0o640, uid=1001, gid=29).hard("data/hard", "data/file")
layer.link("data/link", "file").link("data/abs", "/etc/passwd", uid=1000).add("data/suid", data=b"x", mode=0o4755)
layer.add("data/fifo", tarfile.FIFOTYPE, mode=0o622).add("data/null", tarfile.CHRTYPE, mode=0o666, major=1, minor=3)
layer.dir("data/inner", 0o711, uid=7).add("data/inner/x", data=b"inner\n", uid=1000).dir("data/closed", 0o000)
layer.dir("real", uid=1000).add("real/content", data=b"content\n").link("way", "/real/../real").dir("real/below").add("real/below/y", data=b"below\n")
layer.add("notdir", data=b"a file\n").dir("big").add("big/large", data=b"x" * (3 << 20))
volumes = {"/data": {}, "/data/inner": {}, "/way": {}, "/real/below": {}, "/new/place": {}}
docker("$IMAGES/seed.tar", {"Env": ["PATH=/bin"], "User": "alice", "Volumes": volumes}, [base, layer.bytes()])
docker("$IMAGES/big.tar", {"Env": ["PATH=/bin"], "Volumes": {"/big": {}}}, [base, layer.bytes()])
END
	for image in seed big; do
		gvmkit build "$IMAGES/$image.tar" -o "$IMAGES/$image.gvmi" >/dev/null
	done
	RUNTIME=$(dirname "$(dirname "$(command -v gvmkit)")")/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm
	export RUNTIME GVMKIT_ALLOW_TCG=1
	export LIST='cd /; stat -c "%n %u %g %a %F %h" data data/* data/inner/x way/. way/content real/below real/below/y new/place;
		cat data/file data/link data/inner/x way/content real/below/y; readlink data/abs; stat -c %t:%T data/null'
	cat >"$IMAGES/want" <<'END'
data 1000 50 2770 directory 2
data/abs 1000 0 777 symbolic link 1
data/closed 0 0 0 directory 2
data/fifo 0 0 622 fifo 1
data/file 1001 29 640 regular file 2
data/hard 1001 29 640 regular file 2
data/inner 7 0 711 directory 2
data/link 0 0 777 symbolic link 1
data/null 0 0 666 character special file 1
data/suid 0 0 4755 regular file 1
data/inner/x 1000 0 644 regular file 1
way/. 1000 0 755 directory 2
way/content 0 0 644 regular file 1
real/below 0 0 755 directory 2
real/below/y 0 0 644 regular file 1
new/place 0 0 755 directory 2
hello
hello
inner
content
below
/etc/passwd
1:3
END
}

setup() { e2e_setup; mkdir w; }
teardown() { assert_nothing_left; }

deploy()
{
	"$RUNTIME" --accel "$ACCEL" --workdir "$PWD/w" "$@" deploy
}

# The number of links of a directory is not what this is about.
links_of_directories() { sed "/directory [0-9]*$/s/[0-9]*$/2/"; }

@test "run: volumes are empty unless they are to be seeded, and then as the image has them" {
	run --separate-stderr vm -u root "$IMAGES/seed.gvmi" sh -c 'ls -A /data /data/inner /way /new/place; stat -c %U /data'
	assert_equal "$status" 0
	assert_equal "$(tr -d '\n' <<<"$output")" "/data:inner/data/inner:/new/place:/way:belowroot"
	vm --seed-volumes -u root "$IMAGES/seed.gvmi" sh -c "$LIST" | links_of_directories >got
	diff "$IMAGES/want" got
}

@test "run: what is seeded can be used as in the image, and -v is the user's own" {
	mkdir mine
	run --separate-stderr vm --seed-volumes -v ./mine:/data "$IMAGES/seed.gvmi" sh -c \
		'ls -A /data; echo new >/way/new && mv /way/content /way/moved && rm -r /real/below/y 2>&1; cat /way/moved; echo $?'
	assert_equal "$status" 0
	assert_contains "$output" "inner"
	assert_contains "$output" "Permission denied"
	assert_contains "$output" "content"
	assert_equal "$(ls mine)" inner
}

@test "run: what cannot be seeded is said, and nothing is left" {
	mkdir -p ram
	mount -t ramfs ramfs ram 2>/dev/null || skip "file systems cannot be mounted here"
	run --separate-stderr env TMPDIR="$PWD/ram" gvmkit run --accel "$ACCEL" --seed-volumes "$IMAGES/seed.gvmi" true
	left=$(ls -A ram)
	umount -l ram
	assert_equal "$status" 125
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "extended attributes"
	assert_equal "$left" ""
}

@test "runtime: deploy seeds the directories, start gives them as the image has them" {
	deploy -t "$IMAGES/seed.gvmi" --seed-volumes --volume-override '{"/way":{"host":{}},"/real/below":{"storage":{"size":"8 MiB"}},"/notdir":{"ram":{"size":4096}}}' >out
	assert_equal "$(jq -c '[.volumes[] | [.path, .type, .seeded]]' w/deployment.json)" \
		'[["/data","host",true],["/data/inner","host",true],["/new/place","host",null],["/notdir","ram",null],["/real","host",true],["/real/below","storage",null],["/way","host",true]]'
	data=w/$(jq -r '.vols[0].name' out)
	assert_equal "$(cat "w/$(jq -r '.vols[4].name' out)/content")" content
	assert_equal "$(cat "$data/hard")" hello
	assert_equal "$(ls -A "$data/inner")" ""
	deploy -t "$IMAGES/seed.gvmi" --seed-volumes >out
	gvmkit dbg --runtime "$RUNTIME" --workdir w --no-deploy -- --accel "$ACCEL" <<<"stat -c '%n %u %g %a' /data/file; cd /way && echo y >z && stat -c %U . z; touch /data/file" >got 2>err ||
		assert_contains "$(cat err)" "denied"
	assert_equal "$(cat got)" "/data/file 1001 29 640"$'\n'"alice"$'\n'"alice"
}

@test "runtime: what is seeded counts against --storage-gib before anything is made" {
	refused()
	{
		reason=$1
		shift
		run --separate-stderr deploy "$@"
		assert_equal "$status" 1
		assert_contains "$stderr" "$reason"
		assert_equal "$(ls -A w)" ""
	}
	refused "needs 0.003 GiB, and --storage-gib leaves 0.002" -t "$IMAGES/big.gvmi" --seed-volumes --storage-gib 0.002
	refused "--storage-gib leaves" -t "$IMAGES/big.gvmi" --seed-volumes --storage-gib 0.0117 --volume-override '{"/s":{"storage":{"size":"10 MiB"}}}'
	refused "takes one image" -t "$IMAGES/big.gvmi" "$IMAGES/seed.gvmi" --seed-volumes
	deploy -t "$IMAGES/big.gvmi" --seed-volumes --storage-gib 0.004 >/dev/null
	assert_equal "$(find w -mindepth 1 -maxdepth 1 | wc -l)" 2
}

@test "runtime: a deploy into a work directory that is full leaves nothing" {
	mkdir full
	truncate -s 4M disk
	mkfs.ext4 -q -F disk
	mount -o loop disk full 2>/dev/null || skip "there are no loop devices here"
	run --separate-stderr "$RUNTIME" --workdir full -t "$IMAGES/big.gvmi" --seed-volumes deploy
	left=$(ls -A full)
	umount -l full
	assert_equal "$status" 1
	assert_contains "$stderr" "No space left"
	assert_equal "$left" "lost+found"
}

# Nothing, or all of it; between the two, for the moment of some renames, volumes without a record, which the next deployment does not need.
@test "runtime: a deploy that is killed leaves no record without its volumes, and the next one is whole" {
	for wait in 0.005 0.01 0.02 0.03 0.04 0.05 0.07 0.1; do
		mkdir "w$wait"
		"$RUNTIME" --workdir "w$wait" -t "$IMAGES/seed.gvmi" --seed-volumes --volume-override '{"/s":{"storage":{"size":"50 MiB"}}}' deploy >/dev/null 2>&1 &
		sleep $wait
		kill -KILL $! 2>/dev/null || true
		wait $! || true
		wait_until bash -c "! compgen -G 'w$wait/.deploy-*' >/dev/null"
		left=$(find "w$wait" -mindepth 1 -maxdepth 1 | wc -l)
		volumes=$(find "w$wait" -mindepth 1 -maxdepth 1 -name 'vol-*' | wc -l)
		if [ -e "w$wait/deployment.json" ]; then assert_equal "$volumes" 6; else assert_equal "$left" "$volumes"; fi
		"$RUNTIME" --workdir "w$wait" -t "$IMAGES/seed.gvmi" --seed-volumes deploy >deployed
		while read -r volume; do [ -d "w$wait/$volume" ]; done < <(jq -r '.vols[].name' deployed)
	done
}
