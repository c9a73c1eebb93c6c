#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# What `gvmkit build` puts right so that an image boots everywhere, and what it leaves out on request.

load helper

setup_file() { e2e_setup_file; }
setup() { e2e_setup; }
teardown() { assert_nothing_left; }

# What lint says of providers that could not start the image.
provider_findings()
{
	gvmkit lint "$1" | grep -v 'no VOLUME' | grep -iE 'provider|not absolute|not a directory|symbolic link' || true
}

@test "an image with nothing in it gets what every container has, and says so" {
	run --separate-stderr gvmkit build "$IMAGES/bare.tar" -o a.gvmi
	assert_equal "$status" 0
	assert_contains "$stderr" "note: added what every container has: /proc, /sys, /tmp, /dev"
	assert_equal "$(provider_findings a.gvmi)" ""
	unsquashfs -quiet -no-progress -d root a.gvmi >/dev/null
	for d in proc sys dev dev/pts dev/shm tmp etc var var/tmp; do [ -d "root/$d" ] && [ ! -L "root/$d" ]; done
	for f in hosts resolv.conf hostname; do [ -f "root/etc/$f" ] && [ ! -s "root/etc/$f" ]; done
	assert_equal "$(stat -c %a root/tmp root/var/tmp)" $'1777\n1777'
	assert_equal "$(readlink root/etc/mtab)" /proc/mounts
}

@test "an image of links and wrong types is put right, one line for each change, and nothing is lost" {
	run --separate-stderr gvmkit build "$IMAGES/twisted.tar" -o a.gvmi
	assert_equal "$status" 0
	for what in /proc /tmp /dev /etc/hosts /etc/hostname /etc/resolv.conf; do assert_contains "$stderr" "note: $what was "; done
	assert_contains "$stderr" "note: /var was a symbolic link to /data/var"
	assert_contains "$stderr" "VOLUME /var/lib/x/ is /var/lib/x now"
	assert_contains "$stderr" "VOLUME /outside/v is /data/v now"
	assert_equal "$(provider_findings a.gvmi)" ""
	unsquashfs -quiet -no-progress -d root a.gvmi >/dev/null
	[ -d root/var ] && [ ! -L root/var ]
	assert_equal "$(readlink root/data/var)" /var
	assert_equal "$(readlink root/var/run)" /run
	run --separate-stderr vm a.gvmi sh -c 'for v in /var/lib/x /tmp/deep/er /dev/vol /outside/v /run/v; do echo x >$v/f && echo ok; done; ls /data/var/lib'
	assert_equal "$output" $'ok\nok\nok\nok\nok\nx'
}

@test "--as-is leaves all of it as it is" {
	run --separate-stderr gvmkit build --as-is "$IMAGES/twisted.tar" -o a.gvmi
	assert_equal "$status" 0
	assert_equal "$(grep -c note: <<<"$stderr")" 0
	unsquashfs -quiet -no-progress -d root a.gvmi >/dev/null
	assert_equal "$(readlink root/var)" /data/var
	assert_equal "$(readlink root/proc)" /data/run
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -c '.config.Volumes | keys')" '["/dev/vol","/outside/v","/run/v","/tmp/deep/er","/var/lib/x/"]'
	[ -n "$(provider_findings a.gvmi)" ]
	# Our own runtime starts it all the same.
	run --separate-stderr vm a.gvmi sh -c 'echo x >/var/lib/x/f && echo ok'
	assert_equal "$output" ok
}

@test "what is put right is the same from every source" {
	gvmkit build "$IMAGES/layers.tar" -o a.gvmi
	gvmkit build "oci:$IMAGES/layers.oci" -o b.gvmi -j 1
	cmp a.gvmi b.gvmi
	assert_equal "$(provider_findings a.gvmi)" ""
}

@test "a program without its path gets it, and runs" {
	run --separate-stderr gvmkit build "$IMAGES/user.tar" -o a.gvmi
	assert_contains "$stderr" "ENTRYPOINT sh is /bin/sh now"
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -c .config.Entrypoint[0])" '"/bin/sh"'
	run --separate-stderr vm a.gvmi
	assert_equal "$status" 0
	assert_contains "$output" "args: zero one two words"
}

@test "--numeric-user writes USER as the original runtime reads it" {
	gvmkit build --numeric-user "$IMAGES/user.tar" -o a.gvmi
	assert_equal "$(gvmkit inspect --json a.gvmi | jq -r .config.User)" 1000:1000
	gvmkit build --numeric-user --user bob:staff "$IMAGES/user.tar" -o b.gvmi
	assert_equal "$(gvmkit inspect --json b.gvmi | jq -r .config.User)" 1001:50
	run --separate-stderr gvmkit build --numeric-user --user nobody-here "$IMAGES/user.tar" -o c.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" nobody-here
	[ ! -e c.gvmi ]
	gvmkit build "$IMAGES/user.tar" -o d.gvmi
	assert_equal "$(gvmkit inspect --json d.gvmi | jq -r .config.User)" alice
}

@test "--strip leaves out what it names, and says what and how much" {
	/usr/bin/python3 - "$E2E" fat.tar <<-'PYTHON'
		import sys
		sys.path.insert(0, sys.argv[1])
		from images import *
		layer = Layer()
		for path in ("usr/share/doc/a/README", "usr/share/doc/a/copyright", "usr/share/man/man1/a.1", "usr/share/locale/de/LC_MESSAGES/a.mo",
		             "usr/share/locale/en/LC_MESSAGES/a.mo", "var/lib/apt/lists/a_Packages", "usr/lib/liba.a", "usr/lib/liba.so", "usr/include/a.h"):
		    parts = path.split("/")
		    for i in range(1, len(parts)):
		        layer.dir("/".join(parts[:i]))
		    layer.add(path, data=path.encode() * 1000)
		docker(sys.argv[2], {"Cmd": ["/bin/sh"]}, [base_layer(), layer.bytes()])
	PYTHON
	gvmkit build fat.tar -o whole.gvmi
	run --separate-stderr gvmkit build --strip docs,locales,caches,static-libs,headers fat.tar -o thin.gvmi
	assert_equal "$status" 0
	assert_contains "$output" "stripped docs: 2 files, 43.0 KiB"
	for class in locales caches static-libs headers; do assert_contains "$output" "stripped $class: 1 file, "; done
	unsquashfs -quiet -no-progress -d root thin.gvmi >/dev/null
	assert_equal "$(cd root && find usr/share usr/lib usr/include var/lib -type f 2>/dev/null | sort | tr '\n' ' ')" \
		"usr/lib/liba.so usr/share/doc/a/copyright usr/share/locale/en/LC_MESSAGES/a.mo "
	gvmkit build --strip docs --strip headers fat.tar -o json.gvmi --json >json
	assert_equal "$(jq -c '.stripped.docs.paths' json)" '["/usr/share/doc/a/README","/usr/share/man/man1/a.1"]'
	assert_equal "$(jq -c '.stripped | keys' json)" '["docs","headers"]'
	assert_equal "$(jq -r '.stripped.headers.files' json)" 1
	run --separate-stderr gvmkit build --strip everything fat.tar -o x.gvmi
	assert_equal "$status" 2
	assert_contains "$stderr" static-libs
}

@test "edits at conversion" {
	gvmkit build "$IMAGES/user.tar" -o a.gvmi --env NEW=x=y --env PATH=/bin --unset-env NOT_THERE --volume /more/ --unset-volume /srv/v/ \
		--workdir /tmp --user bob --entrypoint '["sh", "-c", "env; pwd; id -un; echo \"$0\""]' --cmd 'last "two words"' --label a=1 --label b=2 --unset-label a
	gvmkit inspect --json a.gvmi | jq -c .config >config
	assert_equal "$(jq -c .Env config)" '["PATH=/bin","NEW=x=y"]'
	assert_equal "$(jq -c '.Volumes | keys' config)" '["/data","/data/inner","/more"]'
	assert_equal "$(jq -c '[.WorkingDir, .User, .Labels]' config)" '["/tmp","bob",{"b":"2"}]'
	assert_equal "$(jq -c .Cmd config)" '["last","two words"]'
	run --separate-stderr vm a.gvmi
	assert_equal "$status" 0
	for text in NEW=x=y /tmp bob last; do assert_contains "$output" "$text"; done
	for bad in '--env=x' '--volume=data' '--workdir=app' "--cmd='" '--label=x' '--clear=nothing' $'--env=A=\xff'; do
		run --separate-stderr gvmkit build "$IMAGES/user.tar" -o x.gvmi "$bad"
		assert_equal "$status" 2
		assert_one_line_error "$stderr"
	done
	[ ! -e x.gvmi ]
}

@test "what has neither name nor id makes a file named after where it lies" {
	mkdir -p here/rootfs/bin
	cp "$(readlink -f "$(command -v gvmkit)")" here/rootfs/bin/program
	gvmkit build dir:here/rootfs/ --root-owned
	gvmkit build dir:here/rootfs --root-owned -o same.gvmi
	cmp rootfs.gvmi same.gvmi
	tar -C here/rootfs -cf made.tar .
	gvmkit build tar:made.tar
	gvmkit verify made.gvmi
}
