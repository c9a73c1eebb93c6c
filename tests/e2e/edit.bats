#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit edit`: another configuration for a finished file.

load helper

setup_file() { e2e_setup_file; for i in base user; do gvmkit build "$IMAGES/$i.tar" -o "$IMAGES/$i.gvmi" >/dev/null; done; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

@test "the same edits at conversion and afterwards give the same bytes" {
	cp "$IMAGES/user.gvmi" a.gvmi
	edits=(--env A=1 --unset-env PATH --volume /var/x/ --unset-volume /data --workdir //tmp/. --user bob --entrypoint 'sh -c "echo $0"' --cmd hello
		--label k=v --numeric-user)
	run --separate-stderr gvmkit edit a.gvmi "${edits[@]}"
	assert_equal "$status" 0
	gvmkit build "$IMAGES/user.tar" -o b.gvmi "${edits[@]}"
	cmp a.gvmi b.gvmi
	assert_contains "$output" "$(openssl dgst -sha3-224 -r b.gvmi | cut -d' ' -f1)"
	run --separate-stderr vm a.gvmi
	assert_equal "$output" hello
	cp "$IMAGES/user.gvmi" c.gvmi
	gvmkit edit c.gvmi --as-is --cmd 'no/such' --clear entrypoint,volumes --user ''
	gvmkit build "$IMAGES/user.tar" --cmd 'no/such' --clear entrypoint,volumes --user '' -o d.gvmi
	cmp c.gvmi d.gvmi
}

@test "the file system part is not touched, and the file appears whole" {
	size=$(stat -c %s "$IMAGES/base.gvmi")
	run --separate-stderr gvmkit edit "$IMAGES/base.gvmi" --env A=1 -o a.gvmi --json
	assert_equal "$status" 0
	used=$(gvmkit inspect --json "$IMAGES/base.gvmi" | jq .filesystem_size)
	cmp -n "$used" "$IMAGES/base.gvmi" a.gvmi
	assert_equal "$(jq -r .file <<<"$output")" a.gvmi
	assert_equal "$(jq -r .size <<<"$output")" "$(stat -c %s a.gvmi)"
	assert_equal "$(jq -r .hash <<<"$output")" "$(openssl dgst -sha3-224 -r a.gvmi | cut -d' ' -f1)"
	assert_equal "$(stat -c %s "$IMAGES/base.gvmi")" "$size"
	gvmkit verify a.gvmi
	assert_equal "$(ls -A)" a.gvmi
}

@test "an edit that fails leaves the file as it was" {
	cp "$IMAGES/user.gvmi" a.gvmi
	for edit in --env=x --volume=/etc/passwd --volume=/proc/x --unset-volume=/nothing; do
		run --separate-stderr gvmkit edit a.gvmi "$edit"
		[ "$status" -ne 0 ]
		assert_contains "$stderr" "gvmkit: "
		cmp a.gvmi "$IMAGES/user.gvmi"
	done
	run --separate-stderr gvmkit edit a.gvmi
	assert_equal "$status" 2
	echo precious >b.gvmi
	run --separate-stderr gvmkit edit a.gvmi --env A=1 -o b.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_equal "$(cat b.gvmi)" precious
	head -c 100000 a.gvmi >cut.gvmi
	run --separate-stderr gvmkit edit cut.gvmi --env A=1
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_equal "$(stat -c %s cut.gvmi)" 100000
}

@test "files of the original converter keep what gvmkit does not know" {
	image=$E2E/../../../shared/testdata/alpine.gvmi
	[ -e "$image" ] || skip "the real files of the original tools are not here"
	gvmkit edit "$image" -o a.gvmi --env ADDED=yes --volume /golem/work
	gvmkit inspect --json a.gvmi | jq -c .config >after
	gvmkit inspect --json "$image" | jq -c .config >before
	assert_equal "$(jq -c 'del(.Env, .Volumes)' after)" "$(jq -S -c 'del(.Env, .Volumes)' before)"
	assert_equal "$(jq -c .Env[-1] after)" '"ADDED=yes"'
	assert_equal "$(jq -c .Hostname after)" "$(jq -c .Hostname before)"
	cmp -n 3575808 "$image" a.gvmi
	run --separate-stderr vm a.gvmi /bin/sh -c 'echo $ADDED; echo x >/golem/work/f && cat /golem/work/f'
	assert_equal "$output" $'yes\nx'
}

@test "a link to a file stays one, and the mode of the file stays" {
	cp "$IMAGES/base.gvmi" a.gvmi
	chmod 600 a.gvmi
	ln -s a.gvmi link.gvmi
	gvmkit edit link.gvmi --env A=1
	[ -L link.gvmi ]
	assert_equal "$(stat -c %a a.gvmi)" 600
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r .config.Env[-1])" A=1
}
