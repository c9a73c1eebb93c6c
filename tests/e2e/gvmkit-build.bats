#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit-build`: the command line of Golem's converter.

load helper

setup_file() { e2e_setup_file; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

link_of() { sed -n 's/^ -- image link (for use in SDK): //p'; }

@test "an image becomes a file named as the original names it, with its link and its descriptor" {
	run --separate-stderr gvmkit-build "docker-archive:$IMAGES/two.tar:first/app:1.0"
	assert_equal "$status" 0
	file=$(ls -- *.gvmi)
	id=$(gvmkit inspect --json "$file" | jq -r .config.Image)
	assert_equal "$file" "first-app-1.0-${id:0:10}.gvmi"
	assert_equal "$(link_of <<<"$output")" "$(openssl dgst -sha3-224 -r "$file" | cut -d' ' -f1)"
	/usr/bin/python3 - "$file" "$file.descr.bin" <<-'PYTHON'
		import hashlib, struct, sys
		data, descriptor = (open(path, "rb").read() for path in sys.argv[1:])
		chunk = 2 << 20
		want = struct.pack(">QQQ", 0x333333334, len(data), chunk) + hashlib.sha3_224(data).digest()
		want += b"".join(hashlib.sha256(data[i:i + chunk]).digest() for i in range(0, len(data), chunk))
		assert descriptor == want
	PYTHON
	# The same bytes as the other door.
	gvmkit build "docker-archive:$IMAGES/two.tar:first/app:1.0" -o b.gvmi
	cmp "$file" b.gvmi
}

@test "a file that holds the image is kept, another one is replaced, --force builds again" {
	gvmkit-build "$IMAGES/base.tar" -o a.gvmi
	touch -d '2001-01-01' a.gvmi
	run --separate-stderr gvmkit-build "$IMAGES/base.tar" -o a.gvmi --compression-method xz
	assert_equal "$status" 0
	assert_contains "$output" "holds this image already"
	assert_equal "$(link_of <<<"$output")" "$(openssl dgst -sha3-224 -r a.gvmi | cut -d' ' -f1)"
	assert_equal "$(stat -c %Y a.gvmi)" "$(date -d 2001-01-01 +%s)"
	# What was asked for and is not in the file makes it another one.
	gvmkit-build "$IMAGES/base.tar" -o a.gvmi --env NEW=1
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r .config.Env[-1])" NEW=1
	touch -d '2001-01-01' a.gvmi
	gvmkit-build "$IMAGES/base.tar" -o a.gvmi --env NEW=1
	assert_equal "$(stat -c %Y a.gvmi)" "$(date -d 2001-01-01 +%s)"
	gvmkit-build "$IMAGES/base.tar" -o a.gvmi -f --compression-method xz
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r .compression)" xz
	gvmkit-build "$IMAGES/user.tar" -o a.gvmi
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r .config.User)" alice
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r .compression)" gzip
}

@test "the old options that did nothing work here" {
	gvmkit-build "$IMAGES/base.tar" -o a.gvmi --env A=1 --vol /data -v /more --entrypoint 'sh -c "echo $A; ls -d /data /more"'
	run --separate-stderr vm a.gvmi
	assert_equal "$output" $'1\n/data\n/more'
}

@test "--extra-json-info-path has both hashes" {
	gvmkit-build "$IMAGES/base.tar" -o a.gvmi --extra-json-info-path info.json --hide-progress
	assert_equal "$(jq -r .imagePath info.json)" a.gvmi
	assert_equal "$(jq -r .imageDescrPath info.json)" a.gvmi.descr.bin
	assert_equal "$(jq -r .hash info.json)" "$(sha256sum a.gvmi.descr.bin | cut -d' ' -f1)"
	assert_equal "$(jq -r .sha3 info.json)" "$(openssl dgst -sha3-224 -r a.gvmi | cut -d' ' -f1)"
	assert_equal "$(jq -r .repoInfo info.json)" null
}

@test "-d takes a finished file, and the size of chunks can be chosen" {
	gvmkit build "$IMAGES/base.tar" -o a.gvmi
	run --separate-stderr gvmkit-build -d a.gvmi --upload-chunk-size 65536
	assert_equal "$status" 0
	size=$(stat -c %s a.gvmi)
	assert_equal "$(stat -c %s a.gvmi.descr.bin)" $((52 + 32 * ((size + 65535) / 65536)))
	assert_equal "$(link_of <<<"$output")" "$(openssl dgst -sha3-224 -r a.gvmi | cut -d' ' -f1)"
	run --separate-stderr gvmkit-build --direct-file-upload a.gvmi --upload-chunk-size 1k
	assert_contains "$stderr" "larger --upload-chunk-size"
	run --separate-stderr gvmkit-build -d "$IMAGES/base.tar"
	assert_equal "$status" 1
	assert_contains "$stderr" "gvmkit-build: "
	image=$E2E/../../../shared/testdata/alpine.gvmi
	[ -e "$image" ] || skip "the real files of the original tools are not here"
	cp "$image" alpine.gvmi
	assert_contains "$(gvmkit-build -d alpine.gvmi)" b4368a6ec51a7b4a9cc6efd58edf22f276e1f9c5e29566a2096ef6e0d67d04df
}

@test "a name is looked up in the daemon, and an image whose file is there is not fetched again" {
	gvmkit build "$IMAGES/base.tar" -o want.gvmi
	id=$(gvmkit inspect --json want.gvmi | jq -r .config.Image)
	/usr/bin/python3 "$E2E/daemon.py" "$IMAGES/base.tar" "$id" test/base:latest >daemon.log 2>&1 3>&- &
	daemon=$!
	wait_until test -S socket
	export DOCKER_HOST=unix://$PWD/socket
	run --separate-stderr gvmkit-build test/base
	first=$status file=test-base-latest-${id:0:10}.gvmi
	mv requests first.requests
	run --separate-stderr gvmkit-build test/base
	second=$status
	kill "$daemon"
	echo "$output" "$stderr"
	assert_equal "$first $second" "0 0"
	cmp "$file" want.gvmi
	grep -q '/get$' first.requests
	assert_equal "$(grep -c '/get$' requests)" 0
	assert_contains "$output" "holds this image already"
	assert_equal "$(link_of <<<"$output")" "$(openssl dgst -sha3-224 -r want.gvmi | cut -d' ' -f1)"
}

@test "--info shows the configuration and makes nothing" {
	run --separate-stderr gvmkit-build -i "$IMAGES/user.tar"
	assert_equal "$status" 0
	for text in 'user: alice' 'workdir: /home/alice/made/later' '"/srv/v/"' '"two words"' 'PATH='; do assert_contains "$output" "$text"; done
	assert_equal "$(ls -A)" ""
}

@test "who is not logged in learns it before any work, and what does not go together is refused" {
	export HOME=$PWD XDG_CONFIG_HOME=$PWD/config GOLEM_REGISTRY_URL=http://127.0.0.1:1
	unset REGISTRY_USER REGISTRY_TOKEN
	run --separate-stderr gvmkit-build --push-to golem/x:latest "$IMAGES/base.tar"
	assert_equal "$status" 1
	assert_equal "$output" ""
	assert_equal "$(wc -l <<<"$stderr")" 1
	assert_contains "$stderr" "gvmkit-build: not logged in at"
	run -1 gvmkit-build --login-check
	run -0 gvmkit-build --logout
	run -2 gvmkit-build --push "$IMAGES/base.tar"
	run -2 gvmkit-build --nologin "$IMAGES/base.tar"
	run -2 gvmkit-build --push-to golem/x:latest --nologin "$IMAGES/base.tar"
	assert_equal "$(ls -A)" config
}

@test "wrong usage is status 2, failures are status 1, and the version is there" {
	run --separate-stderr gvmkit-build
	assert_equal "$status" 2
	assert_contains "$stderr" 'see `gvmkit-build --help`'
	run --separate-stderr gvmkit-build --frobnicate
	assert_equal "$status" 2
	run --separate-stderr gvmkit-build one two
	assert_equal "$status" 2
	run --separate-stderr gvmkit-build ./no-such.tar
	assert_equal "$status" 1
	assert_equal "$(wc -l <<<"$stderr")" 1
	run --separate-stderr gvmkit-build --version
	assert_equal "$status" 0
	[[ $output =~ ^gvmkit-build\ [0-9]+\.[0-9]+ ]]
}

@test "help and manual have the same options" {
	top=$E2E/../..
	gvmkit-build --help | sed -n '/^Options:/,/^$/s/^ *\(-[a-zA-Z], \)\?\(--[a-z0-9-]*\).*/\2/p' | sort >help
	sed -n '/^\.Sh THE PROGRAM gvmkit/,/^\.Sh SEE/p' "$top/man/gvmkit-build.1" | grep '^\.It Fl' |
		sed -e 's/\\-/-/g' -e 's/^.*Fl -\([a-z0-9-]*\).*/--\1/' | sort >manual
	# The options of conversion are told once, above.
	for shared in platform jobs max-size absolute-names as-is root-owned insecure progress help; do sed -i "/^--$shared\$/d" help; done
	diff help manual
}
