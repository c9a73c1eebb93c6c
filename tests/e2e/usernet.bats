#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# `gvmkit run --net user`: what gets out, what gets in, and what does not. "The host" of these tests is a network namespace of its own,
# with the addresses and servers of outside.py.

load helper

setup_file()
{
	e2e_setup_file
	gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null
	export TOOLS=$BATS_FILE_TMPDIR/tools
	mkdir "$TOOLS"
	musl-gcc -static -Os -o "$TOOLS/udp" "$E2E/udp.c"
	export WWW=$BATS_FILE_TMPDIR/www
	mkdir "$WWW"
	echo hello >"$WWW/hello"
	head -c 8000000 /dev/urandom >"$WWW/large"
	local unshare=(unshare --net)
	[ "$(id -u)" = 0 ] || unshare=(unshare --net --map-root-user)
	"${unshare[@]}" true 2>/dev/null || skip "no network namespace can be made here"
	"${unshare[@]}" "$E2E/outside.py" "$WWW" >"$BATS_FILE_TMPDIR/outside" 2>&1 3>&- &
	export OUTSIDE=$!
	wait_until grep -q up "$BATS_FILE_TMPDIR/outside"
}

teardown_file()
{
	[ -z "${OUTSIDE-}" ] || kill "$OUTSIDE"
}

setup() { e2e_setup; }

teardown()
{
	assert_nothing_left
	wait_until no_net_left
}

# The environment of gvmkit-net is empty: it is known by its network namespace.
net_programs()
{
	local pid
	for pid in /proc/[0-9]*; do
		case $(readlink "$pid/exe" 2>/dev/null) in
		*/gvmkit-net) [ "$(readlink "$pid/ns/net")" != "$(readlink "/proc/$OUTSIDE/ns/net")" ] || echo "${pid#/proc/}" ;;
		esac
	done
}

no_net_left() { [ -z "$(net_programs)" ]; }

# Runs a command where the servers are.
there()
{
	local enter=(nsenter --target "$OUTSIDE" --net)
	[ "$(id -u)" = 0 ] || enter=(nsenter --target "$OUTSIDE" --user --preserve-credentials --net)
	"${enter[@]}" "$@"
}

# net_vm OPTIONS -- SCRIPT
net_vm()
{
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	there timeout 100 gvmkit run --accel "$ACCEL" --dns 127.0.0.1:5353 -v "$TOOLS:/tools:ro" "${options[@]}" "$IMAGES/base.gvmi" sh -c "get() { timeout 30 wget -q -O - http://\$1/hello 2>&1; }; $2"
}

@test "an address of the list is reached, on its port; nothing else is" {
	run --separate-stderr net_vm --debug --allow 8.8.4.4:8000,2600::/16 -- '
		get 8.8.4.4:8000; get [2600::1]:8000; ping -c 1 -W 5 192.0.2.2 >/dev/null && echo the gateway answers
		for to in 8.8.4.4:7000 9.9.9.9:8000 10.9.0.1:8000 192.0.2.2:8000 [fd67:766d:6b69:7400::2]:8000; do get $to && echo "reached $to"; done
		/tools/udp 9.9.9.9 7000 text
		true'
	assert_equal "$(grep -c hello <<<"$output")" 2
	assert_contains "$output" "the gateway answers"
	[[ $output != *reached* && $output != *TEXT* ]]
	assert_contains "$stderr" "TCP to 8.8.4.4 port 7000: not allowed"
	assert_contains "$stderr" "TCP to 9.9.9.9 port 8000: not allowed"
	assert_contains "$stderr" "UDP to 9.9.9.9 port 7000: not allowed"
	assert_contains "$stderr" "TCP to 192.0.2.2 port 8000: not allowed"
}

@test "a refusal comes at once, and is told with --debug only" {
	run --separate-stderr net_vm --allow 8.8.4.4 -- 'get 9.9.9.9:8000; /tools/udp 9.9.9.9 7000 text 2>&1; true'
	assert_contains "$output" "can't connect to remote host (9.9.9.9): No route to host"
	assert_contains "$output" "udp: Host is unreachable"
	[[ $stderr != *"not allowed"* ]]
}

@test "without --allow nothing is reached, and that is said" {
	run --separate-stderr net_vm --net user -- 'get 8.8.4.4:8000; get 192.0.2.2:8000; nslookup allowed.example 2>&1; true'
	[[ $output != *hello* ]]
	assert_contains "$output" NXDOMAIN
	assert_contains "$stderr" "--allow"
}

@test "without --net there is no card" {
	run --separate-stderr vm "$IMAGES/base.gvmi" ls /sys/class/net
	assert_equal "$output" lo
}

@test "an allowed name opens the addresses that it leads to, also by an alias, and no others" {
	rm -f "$WWW/asked"
	run --separate-stderr net_vm --allow allowed.example:8000,alias.example,six.example -- '
		get 8.8.4.4:8000 && echo "before its name"
		get allowed.example:8000
		get alias.example:8000
		get six.example:8000
		get 8.8.4.4:8000
		get other.example:8000
		get 9.9.9.9:8000 || true'
	assert_equal "$(grep -c hello <<<"$output")" 4
	[[ $output != *"before its name"* ]]
	grep -q '^allowed.example$' "$WWW/asked"
	run ! grep other "$WWW/asked"
}

@test "a name's port is the only one that it opens" {
	run --separate-stderr net_vm --allow allowed.example:7000 -- 'get allowed.example:8000 && echo reached; /tools/udp 8.8.4.4 7000 text; true'
	assert_contains "$output" TEXT
	[[ $output != *reached* && $output != *hello* ]]
}

@test "a wildcard has what is below it" {
	run --separate-stderr net_vm --allow '*.example' -- 'get other.example:8000; nslookup example 2>&1; true'
	assert_contains "$output" hello
	assert_contains "$output" NXDOMAIN
}

@test "a name that leads into a private network or to the host opens nothing (DNS rebinding)" {
	run --separate-stderr net_vm --debug --allow inner.example,loop.example -- 'get inner.example:8000; get loop.example:8000; get 10.9.0.1:8000; true'
	[[ $output != *hello* ]]
	assert_contains "$stderr" "inner.example leads to 10.9.0.1, which is no public address"
	run --separate-stderr net_vm --allow inner.example,10.0.0.0/8 -- 'get inner.example:8000'
	assert_equal "$output" hello
}

@test "the host's loopback needs the word host" {
	run --separate-stderr net_vm --allow host:8000 -- 'get host.gvmkit.internal:8000; get [fd67:766d:6b69:7400::2]:8000; /tools/udp 192.0.2.2 7000 text; get 8.8.4.4:8000; true'
	assert_equal "$(grep -c hello <<<"$output")" 2
	[[ $output != *TEXT* ]]
	run --separate-stderr net_vm --allow all -- 'get host.gvmkit.internal:8000; get 127.0.0.1:8000; true'
	[[ $output != *hello* ]]
}

@test "internet is all but private networks" {
	run --separate-stderr net_vm --allow internet -- 'get other.example:8000; get 8.8.4.4:8000; get 10.9.0.1:8000; true'
	assert_equal "$(grep -c hello <<<"$output")" 2
}

@test "a large download is complete" {
	run --separate-stderr net_vm --allow 8.8.4.4 -- 'wget -q -O - http://8.8.4.4:8000/large | sha256sum; wget -q -O - http://8.8.4.4:8000/large | sha256sum'
	local sum
	sum=$(sha256sum <"$WWW/large")
	assert_equal "$output" "$sum"$'\n'"$sum"
}

@test "published ports lead to the VM, by TCP and by UDP, and its answers back" {
	net_vm -p 8080:80 -p 127.0.0.1:9000:9000/udp -p '[::1]:8081:80' -- '
		mkdir /www; echo from the guest >/www/page; httpd -h /www -p 80; httpd -h /www -p [::]:80
		exec /tools/udp 9000' >out 2>err &
	local pid=$!
	wait_until there curl -sf -m 2 -o page http://127.0.0.1:8080/page
	assert_equal "$(cat page)" "from the guest"
	assert_equal "$(there curl -sf http://8.8.4.4:8080/page)" "from the guest"
	assert_equal "$(there curl -sf 'http://[::1]:8081/page')" "from the guest"
	udp_answers() { [ "$(there /usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.sendto(b"text", ("127.0.0.1", 9000))
print(s.recv(100).decode())' 2>/dev/null)" = "got text" ]; }
	wait_until udp_answers
	end_gvmkit "$pid"
}

# The end of what `there` runs, by SIGTERM for gvmkit itself.
end_gvmkit()
{
	local p
	for p in $(marked_processes); do
		[ "$(cat "/proc/$p/comm")" != gvmkit ] || kill -"${2-TERM}" "$p"
	done
	wait "$1" || true
}

@test "a port that is taken is said before the VM starts" {
	run -125 --separate-stderr net_vm -p 8000:80 -- 'echo started'
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "TCP port 8000"
	assert_contains "$stderr" "in use"
	run -125 --separate-stderr net_vm -p 127.0.0.1:7000:80/udp -- 'echo started'
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "UDP port 7000"
	assert_equal "$output" ""
}

@test "what makes no sense is refused in one line" {
	local words
	while read -r words; do
		# shellcheck disable=SC2086 # a list
		run -125 --separate-stderr gvmkit run $words "$IMAGES/base.gvmi" true
		assert_one_line_error "$stderr"
	done <<-'END'
		--net bridge
		--net none --allow all
		--net none -p 80:80
		--allow 10.0.0.1/8
		--allow 10.0.0
		--allow *
		--allow example.org:0
		--allow example.org,
		-p 80
		-p 80:80/sctp
		-p 80-81:80
		-p ::1:80:80
		--dns example.org
	END
}

@test "SIGKILL of gvmkit ends gvmkit-net" {
	net_vm --allow all -- 'echo up; sleep 100' >out 2>err &
	local pid=$!
	wait_until grep -q up out
	[ -n "$(net_programs)" ]
	end_gvmkit "$pid" KILL
	assert_nothing_left
	wait_until no_net_left
}

@test "SIGKILL of gvmkit-net ends the session with an error" {
	net_vm --allow all -- 'echo up; sleep 100' >out 2>err &
	local pid=$! status=0
	wait_until grep -q up out
	kill -KILL "$(net_programs)"
	wait "$pid" || status=$?
	assert_equal "$status" 125
	assert_one_line_error "$(cat err)"
	assert_contains "$(cat err)" gvmkit-net
}

@test "gvmkit shell has a network as well" {
	run --separate-stderr there gvmkit shell --accel "$ACCEL" --allow 8.8.4.4 "$IMAGES/base.gvmi" <<<'wget -q -O - http://8.8.4.4:8000/hello'
	assert_equal "$output" hello
}
