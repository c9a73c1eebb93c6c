#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Networks of ya-runtime-vm. The cases are in network_cases.py, what plays the other end of the wire in frames.py.

load helper

setup_file()
{
	e2e_setup_file
	gvmkit build "$IMAGES/base.tar" -o "$IMAGES/base.gvmi" >/dev/null
	export ACCEL
	RUNTIME=$(dirname "$(dirname "$(command -v gvmkit)")")/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm
	PROBE=$BATS_FILE_TMPDIR/netprobe
	STACK=$BATS_FILE_TMPDIR/stack
	export RUNTIME PROBE STACK
	musl-gcc -static -Os -D_GNU_SOURCE -o "$PROBE" "$E2E/netprobe.c"
	cc -Os -D_GNU_SOURCE -o "$STACK" "$E2E/stack.c" -lslirp
}

setup() { e2e_setup; }
teardown() { assert_nothing_left; }

case_()
{
	/usr/bin/python3 "$E2E/network_cases.py" "$1"
}

@test "two VMs reach each other by address and name, over IPv4 and IPv6, TCP and UDP: udp endpoints" {
	case_ udp
}

@test "the same with tcp-listen and tcp-connect endpoints" {
	case_ tcp
}

@test "the same with unix endpoints, whose sockets are gone afterwards" {
	case_ unix
}

@test "INET alone: HTTP from the host through a user-space stack, a resolver, a default route" {
	case_ inet
}

@test "VPN and INET at once, in any order and repeated; hosts, gateways, --dns and MTUs" {
	case_ both
}

@test "a frame that is far larger than the MTU arrives" {
	case_ big_frames
}

@test "a CreateNetwork that makes no sense is refused with a code, a reason and the facts" {
	case_ refusals
}

@test "an endpoint without a peer does not break the start; an interface that was not asked for stays down" {
	case_ alone
}

@test "a peer that goes away, sends garbage or floods harms nobody, and may come back" {
	case_ vanishing
}

@test "a VM that dies while it is asked for a network: every request is answered" {
	case_ dying
}
