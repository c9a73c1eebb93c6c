#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of a runtime: network_cases.py CASE, with RUNTIME, ACCEL, IMAGES, PROBE and STACK in the environment, in an empty directory.

Each case plays the supervisor (exeunit.py) and what is at the other end of the VMs' cards (frames.py), and fails with an exception.
"""

import contextlib
import functools
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import exeunit  # noqa: E402
import exeunit_cases  # noqa: E402
import frames  # noqa: E402
from exeunit_cases import refused, same  # noqa: E402

VPN, INET = 0, 1
SLOW = 300
# What an ExeUnit asks for its Internet.
INET_NETWORK = ("10.42.42.1", "10.42.42.1", "255.255.255.0", "10.42.42.2")


class Node:
    """A VM with endpoints, in a work directory of its own. The program netprobe is in /probe."""

    def __init__(self, name, vpn=None, inet=None, options=(), env=None, hello=True):
        os.makedirs(name)
        self.ports = {VPN: vpn, INET: inet}
        command = [exeunit_cases.RUNTIME, "--accel", exeunit_cases.ACCEL, "--workdir", os.path.abspath(name), "--task-package",
                   f"{exeunit_cases.IMAGES}/base.gvmi", "--cpu-cores", "1", "--mem-gib", "0.25", "--storage-gib", "1", "--hostname", name,
                   "--volume-override", '{"/probe":{"host":{}}}']
        environment = exeunit_cases.environment(**(env or {}))
        deployed = subprocess.run([*command, "deploy", "--"], stdout=subprocess.PIPE, check=True, env=environment).stdout
        self.workdir = os.path.abspath(name)
        volume = os.path.join(name, exeunit_cases.json.loads(deployed)["vols"][0]["name"])
        subprocess.run(["install", "-m", "755", os.environ["PROBE"], f"{volume}/netprobe"], check=True)
        for option, port in (("--vpn-endpoint", vpn), ("--inet-endpoint", inet)):
            if port:
                command += [option, port if isinstance(port, str) else port.url]
        self.errors = open(f"{name}.stderr", "w+b")
        self.runtime = exeunit.Runtime([*command, *options, "start"], cwd=name, env=environment, stderr=self.errors)
        self.greeted = not hello
        self.sh = self.runtime.sh

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.runtime.reap()
        self.errors.close()

    def hello(self):
        if not self.greeted:
            self.runtime.hello(SLOW)
        self.greeted = True
        return self

    def ask(self, networks, hosts, interface):
        """The endpoint that CreateNetwork is answered with, as {kind: address}."""
        r = self.runtime
        answer = r.answer(r.send("network", exeunit.network(r.next_id, networks, hosts, interface)))["network"]
        return exeunit.as_dict(answer, exeunit.ENDPOINT)

    def network(self, networks, hosts=None, interface=VPN):
        answer = self.ask(networks, hosts or {}, interface)
        port = self.ports[interface]
        if port and not isinstance(port, str) and not getattr(port, "bound", False):
            port.bind(answer)
            port.bound = True
        return answer

    def out(self, script, timeout=60):
        p = self.sh(script, timeout=timeout)
        assert p.code == 0, f"`{script}` ended with {p.code}: {p.out().decode()} {p.err().decode()}"
        return p.out().decode()

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read().decode()


@contextlib.contextmanager
def switch(*ports):
    s = frames.Switch(*ports)
    try:
        yield s
    finally:
        s.close()


@contextlib.contextmanager
def http_server(body):
    """Serves one text on a port of the host's loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


# ---- two VMs -----------------------------------------------------------------------------------------------------------------------


def two_vms(port_of_a, port_of_b):
    """Two VMs in one VPN: each reaches the other by address and by name, over IPv4 and IPv6, with TCP and UDP."""
    hosts = {"node-a": "192.168.7.2", "node-b": "192.168.7.3", "six-b": "fd07::3"}
    four, six = ("192.168.7.0", "", "255.255.255.0"), ("fd07::", "", "ffff:ffff:ffff:ffff::")
    with Node("a", vpn=port_of_a) as a, Node("b", vpn=port_of_b) as b:
        a.hello().network([(*four, "192.168.7.2"), (*six, "fd07::2")], hosts)
        b.hello().network([(*four, "192.168.7.3"), (*six, "fd07::3")], hosts)
        with switch(port_of_a, port_of_b) as wire:
            b.out("mkdir /www; seq 1 40000 >/www/file; httpd -h /www; (/probe/netprobe udp-echo 7 >/dev/null 2>&1 &)")
            want = "".join(f"{i}\n" for i in range(1, 40001))
            same(a.out("wget -q -O - http://192.168.7.3/file", SLOW), want)
            same(a.out("wget -q -O - http://node-b/file", SLOW), want)
            same(a.out("wget -q -O - 'http://[fd07::3]/file'", SLOW), want)
            same(a.out("/probe/netprobe udp 192.168.7.3 7 four"), "four\n")
            same(a.out("/probe/netprobe udp fd07::3 7 six"), "six\n")
            a.out("ping -c 1 -W 20 node-b; ping -c 1 -W 20 six-b")
            # What the peers look for in hardware addresses, and frames that are as long as may be.
            same(wire.seen, {port_of_a: {"a0:13:c0:a8:07:02"}, port_of_b: {"a0:13:c0:a8:07:03"}})
            same(wire.largest[port_of_b], 1280 + 14)
            same(a.out("cat /sys/class/net/eth0/mtu /sys/class/net/eth0/address"), "1280\na0:13:c0:a8:07:02\n")
        for node in (a, b):
            assert node.runtime.shutdown() < 5
            node.runtime.close()
            same(node.runtime.status(), 0)


def udp():
    two_vms(frames.Udp(), frames.Udp("::1"))


def tcp():
    two_vms(frames.TcpListening(), frames.TcpConnecting())


def unix():
    two_vms(frames.Unix(), frames.Unix(os.path.abspath("given.sock")))
    assert not os.path.exists("given.sock") and not os.path.exists("a/vpn.sock")


# ---- the Internet ------------------------------------------------------------------------------------------------------------------


def inet():
    """INET alone: HTTP from the host's loopback by way of a user-space stack. Its interface is the first, it resolves names, its frames are small enough."""
    port, stack = frames.Udp(), frames.Stack(1500)
    body = b"from the host\n" * 50000
    with http_server(body) as http, switch(port, stack) as wire, Node("a", inet=port, env={"RUST_LOG": "debug"}) as a:
        a.hello()
        same(a.out("cat /etc/resolv.conf"), "")
        a.network([INET_NETWORK], interface=INET)
        same(a.out("cat /etc/resolv.conf"), "nameserver 1.1.1.1\nnameserver 8.8.8.8\n")
        same(a.out("ip route; cat /sys/class/net/eth0/mtu"),
             "default via 10.42.42.1 dev eth0 \n10.42.42.0/24 dev eth0 scope link  src 10.42.42.2 \n1500\n")
        same(a.out(f"wget -q -O - http://10.42.42.1:{http}/", SLOW).encode(), body)
        assert wire.largest[port] <= 1514
        same(a.sh("ls /sys/class/net").out(), b"eth0\nlo\n")
        # What has gone over the wire is counted.
        a.runtime.shutdown()
        a.runtime.close()
        same(a.runtime.status(), 0)
        counted = re.search(r"INET: out (\d+) frames \(\d+ bytes, 0 dropped, 0 refused\), in (\d+) frames \((\d+) bytes, \d+ dropped, 0 refused\)", a.stderr())
        assert counted and int(counted[1]) > 5 and int(counted[2]) > 400 and int(counted[3]) > len(body), a.stderr()[-500:]


def both():
    """VPN and INET at once, INET first, each asked for twice; and the resolver is what the provider wants."""
    vpn, other, port, stack = frames.Udp(), frames.Udp(), frames.Udp(), frames.Stack(9000)
    with http_server(b"hello\n") as http, Node("a", vpn, port, ["--dns", "9.9.9.9", "--inet-mtu", "9000"]) as a, Node("b", other) as b:
        with switch(port, stack), switch(vpn, other) as wire:
            a.hello().network([INET_NETWORK], {"gate": "10.42.42.1"}, INET)
            a.network([("10.0.0.0", "", "255.255.255.0", "10.0.0.2")], {"b": "10.0.0.3", "old": "10.0.0.9"})
            a.network([("10.1.0.0/16", "10.0.0.3", "", "10.0.0.2/24")], {"old": "10.0.0.8"})
            a.network([INET_NETWORK], {}, INET)
            b.hello().network([("10.0.0.0", "10.0.0.1", "24", "10.0.0.3")])
            same(a.out("cat /etc/resolv.conf; grep -v ip6- /etc/hosts"),
                 "nameserver 9.9.9.9\n127.0.0.1\tlocalhost\n10.42.42.1 gate\n10.0.0.3 b\n10.0.0.8 old\n127.0.1.1\ta\n")
            same(a.out("ip route"), "default via 10.42.42.1 dev eth1 \n10.0.0.0/24 dev eth0 scope link  src 10.0.0.2 \n"
                                    "10.1.0.0/16 via 10.0.0.3 dev eth0 \n10.42.42.0/24 dev eth1 scope link  src 10.42.42.2 \n")
            # The gateway that old ExeUnits always give leads to where the interface is anyway.
            same(b.out("ip route"), "10.0.0.0/24 dev eth0 scope link  src 10.0.0.3 \n")
            same(a.out("cat /sys/class/net/eth0/mtu /sys/class/net/eth1/mtu"), "1220\n9000\n")
            b.out("mkdir /www; head -c 200000 /dev/zero >/www/f; httpd -h /www")
            same(a.out(f"wget -q -O - http://gate:{http}/; wget -q -O - http://b/f | wc -c"), "hello\n200000\n")
            same(wire.largest[other], 1220 + 14)
            # Without a route there is an error at once.
            same(b.sh("ping -c 1 -W 20 1.1.1.1").code, 1)


def checksum(data):
    total = sum(int.from_bytes(data[i:i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def datagram(payload, source, target, port):
    """An IPv4 packet with a UDP datagram, as large as it is."""
    head = bytearray(b"\x45\0" + (28 + len(payload)).to_bytes(2, "big") + b"\0\1\0\0\x40\x11\0\0" + socket.inet_aton(source) + socket.inet_aton(target))
    head[10:12] = checksum(head).to_bytes(2, "big")
    return bytes(head) + b"\x04\0" + port.to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload


def big_frames():
    """A peer whose datagrams come as one frame far larger than the MTU is understood; the answer comes in frames of the MTU."""
    port, ours, parts = frames.Udp(), bytes.fromhex("020000000001"), {}
    payload = bytes(i % 251 for i in range(60000))
    with Node("a", inet=port) as a:
        a.hello().network([INET_NETWORK], interface=INET)
        same(a.out("cat /sys/class/net/eth0/address"), "a0:13:0a:2a:2a:02\n")
        a.out("(/probe/netprobe udp-echo 7 >/dev/null 2>&1 &)")
        port.socket.settimeout(1)
        whole, end = b"", time.monotonic() + 60
        while whole[8:] != payload and time.monotonic() < end:
            try:
                frame = port.receive()[0]
            except TimeoutError:
                port.send(bytes.fromhex("a0130a2a2a02") + ours + b"\x08\0" + datagram(payload, "10.42.42.1", "10.42.42.2", 7))
                parts.clear()
                continue
            assert len(frame) <= 1514
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1":  # who has 10.42.42.1?
                port.send(frame[6:12] + ours + frame[12:20] + b"\0\2" + ours + frame[38:42] + frame[22:32])
            elif frame[12:14] == b"\x08\0":
                parts[(int.from_bytes(frame[20:22], "big") & 0x1FFF) * 8] = frame[34:14 + int.from_bytes(frame[16:18], "big")]
                whole = b"".join(parts[k] for k in sorted(parts))
        same(whole[8:], payload)
    port.close()


# ---- what can be wrong -------------------------------------------------------------------------------------------------------------


def refusals():
    """What makes no sense is an error with a code, a reason and the facts, and harms nobody."""
    port = frames.Udp()
    good = ("10.0.0.0", "", "255.255.255.0", "10.0.0.2")
    cases = [
        # networks, hosts, interface; code, in the message
        ([good], {}, INET, 1, "--inet-endpoint"),
        ([good], {}, 7, 2, "interface 7"),
        ([("10.0.0.0", "", "255.255.255.0", "")], {}, VPN, 2, "if_addr"),
        ([("10.0.0.0", "", "", "10.0.0.2")], {}, VPN, 2, "mask"),
        ([("10.0.0.0", "", "255.0.255.0", "10.0.0.2")], {}, VPN, 2, "255.0.255.0"),
        ([("10.0.0.0", "", "33", "10.0.0.2")], {}, VPN, 2, "mask"),
        ([("10.0.0.0", "", "ffff::", "10.0.0.2")], {}, VPN, 2, "mask"),
        ([("10.0.0.0", "fd00::1", "255.255.255.0", "10.0.0.2")], {}, VPN, 2, "gateway"),
        ([("10.0.0.0", "10.0.0.1/24", "255.255.255.0", "10.0.0.2")], {}, VPN, 2, "gateway"),
        ([("10.1.0.0", "10.9.9.9", "255.255.255.0", "10.0.0.2")], {}, VPN, 2, "10.9.9.9"),  # nobody there can be reached
        ([("x; reboot", "10.0.0.1", "255.255.255.0", "10.0.0.2")], {}, VPN, 2, "addr"),
        ([good], {"a b": "10.0.0.3"}, VPN, 2, "hosts"),
        ([good], {"a\n10.0.0.9 b": "10.0.0.3"}, VPN, 2, "hosts"),
        ([good], {"#a": "10.0.0.3"}, VPN, 2, "hosts"),
        ([good], {"a": "10.0.0.300"}, VPN, 2, "hosts"),
        ([good], {"": "10.0.0.3"}, VPN, 2, "hosts"),
        ([good] * 65, {}, VPN, 2, "65"),
    ]
    with Node("a", vpn=port) as a, switch(port):
        a.hello()
        for networks, hosts, interface, code, words in cases:
            e = refused(a.runtime, functools.partial(a.ask, networks, hosts, interface))
            assert words in e.message and "network" in e.message, e.message
            same((e.code, e.context["interface"]), (code, {VPN: "VPN", INET: "INET"}.get(interface, str(interface))))
            if words in ("mask", "if_addr", "gateway", "addr"):
                same(e.context["if_addr"], networks[0][3])
        same(a.out("grep -c 10.0.0 /etc/hosts; true"), "0\n")
        a.network([("10.0.0.0", "", "255.255.255.0", "10.0.0.2/24")])
        a.network([], {"later": "10.0.0.7"})
        same(a.out("grep later /etc/hosts"), "10.0.0.7 later\n")
        # Many at once, of which each is answered, in order.
        r = a.runtime
        ids = [r.send("network", exeunit.network(r.next_id, [("10.0.0.0", "", "24", f"10.0.0.{i}")], {f"h{i}": f"10.0.0.{i}"}, VPN)) for i in range(10, 40)]
        for id in ids:
            r.answer(id)
        same(a.out("ip addr show eth0 | grep -c 'inet 10.0.0'; grep -c '[ ]h[0-9]' /etc/hosts"), "31\n30\n")


def alone():
    """Endpoints that nobody has do not break the start, and what CreateNetwork was not asked for stays down; wrong ones are told by name."""
    nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    nobody.bind(("127.0.0.1", 0))
    gone = frames.name(nobody.getsockname())
    nobody.close()
    with Node("a", vpn=f"udp://{gone}", inet=f"tcp-connect://{gone}") as a:
        a.hello()
        same(a.out("cat /sys/class/net/eth0/operstate /sys/class/net/eth1/operstate; ip addr show eth0 | grep -c inet; true"), "down\ndown\n0\n")
        assert a.network([("10.0.0.0", "", "24", "10.0.0.2")])["udp_datagram"].startswith(b"127.0.0.1:")
        same(a.network([INET_NETWORK], interface=INET), {"tcp_stream": gone.encode()})
        same(a.sh("ping -c 1 -W 1 10.0.0.3").code, 1)
        same(a.out("cat /sys/class/net/eth0/operstate"), "up\n")
    for i, (url, words) in enumerate([("http://127.0.0.1:1", "no known kind"), ("udp://127.0.0.1", "--inet-endpoint")]):
        with Node(f"w{i}", inet=url, hello=False) as a:
            e = refused(a.runtime, lambda: a.runtime.hello(SLOW))
            assert words in e.message, e.message
            assert a.runtime.status() != 0
            assert words in a.stderr()
    # A name that something else has is not taken from it. That is said when it is asked for; the start is not harmed.
    with open("taken", "w", encoding="ascii"):
        pass
    with Node("t", vpn="unix://" + os.path.abspath("taken")) as a:
        a.hello()
        e = refused(a.runtime, lambda: a.ask([("10.0.0.0", "", "24", "10.0.0.2")], {}, VPN))
        assert "taken" in e.message and e.code == 0, e.message
    same(os.path.getsize("taken"), 0)


def vanishing():
    """A peer that goes, floods, or sends garbage harms neither the VM nor the runtime; when it is there again, frames go on."""
    port = frames.TcpConnecting()
    other, wanted = frames.Udp(), ("10.0.0.0", "", "24")
    with Node("a", vpn=port) as a, Node("b", vpn=other) as b:
        a.hello().network([(*wanted, "10.0.0.2")])
        b.hello().network([(*wanted, "10.0.0.3")])
        b.out("(/probe/netprobe udp-echo 7 >/dev/null 2>&1 &)")
        before = frames.descriptor_count(a.runtime.child.pid)
        for garbage in (b"", b"\xff\xff\xff\xff" + bytes(100), b"\0\0\0\x40half", b"\0\0\0\x40" + b"\xff" * 64, b"\0\0\0\x01x" * 100000):
            with contextlib.suppress(ConnectionError):
                port.socket.sendall(garbage)
            port.socket.close()
            a.sh("ping -c 1 -W 1 10.0.0.3 >/dev/null; true")  # frames that nobody takes
            port.socket = port.listener.accept()[0]
        for _ in range(300):
            with contextlib.suppress(OSError):
                other.send(os.urandom(1500))
        # Floods to peers that do not read, while others want to be served.
        floods = [node.runtime.start("/probe/netprobe", "flood", "10.0.0.255", "9") for node in (a, b)]
        for node, process in zip((a, b), floods):
            same(node.out("while [ $(cat /sys/class/net/eth0/statistics/tx_packets) -lt 5000 ]; do sleep 0.1; done; echo served", SLOW), "served\n")
            node.runtime.kill(process, signal.SIGKILL)
            same(node.runtime.finish(process).code, 137)
            with open(f"/proc/{node.runtime.child.pid}/status", encoding="ascii") as f:
                peak = int(next(line for line in f if line.startswith("VmHWM")).split()[1])
            assert peak < 16384, f"{peak} KiB"
        port.socket.close()
        port.socket = port.listener.accept()[0]
        with switch(port, other):
            same(a.out("/probe/netprobe udp 10.0.0.3 7 back", SLOW), "back\n")
        # One that looks at QEMU now and then may have been counted before.
        assert frames.descriptor_count(a.runtime.child.pid) <= before
        assert a.runtime.shutdown() < 5


def dying():
    """A VM that dies while it is asked for a network: every request is answered, with the reason."""
    port = frames.Udp()
    with Node("a", vpn=port) as a:
        r = a.hello().runtime
        qemu = exeunit_cases.qemu_of(r)
        os.kill(qemu, signal.SIGSTOP)
        ids = [r.send("network", exeunit.network(r.next_id, [("10.0.0.0", "", "24", f"10.0.0.{i}")], {f"h{i}": "10.0.0.9"}, VPN)) for i in range(2, 6)]
        assert not r.read(0.3)
        os.kill(qemu, signal.SIGKILL)
        for id in ids:
            e = refused(r, functools.partial(r.answer, id))
            assert "cannot create the network VPN" in e.message and e.code == 0, e.message
        assert r.status() != 0
    port.close()


def main(case):
    timer = threading.Timer(900, lambda: os.kill(os.getpid(), signal.SIGABRT))
    timer.daemon = True
    timer.start()
    case()


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
