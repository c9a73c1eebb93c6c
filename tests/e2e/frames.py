# SPDX-License-Identifier: GPL-3.0-or-later
"""The other end of a VM's network: the endpoints that a supervisor has, a switch between them, and a user-space stack that knows the host.

A port carries Ethernet frames. It is opened before the runtime, which gets its url, and bound to what the runtime answers to CreateNetwork.
"""

import os
import selectors
import socket
import struct
import subprocess
import threading

BUFFER = 2 << 20
FRAME_MAX = 65535


class Udp:
    """As an ExeUnit: one socket, whose port the runtime is told, and from which it sends."""

    def __init__(self, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self.socket.bind((host, 0))
        self.url = "udp://" + name(self.socket.getsockname())
        self.peer = None

    def bind(self, answer):
        self.peer = address(answer["udp_datagram"])

    def send(self, frame):
        if self.peer:
            self.socket.sendto(frame, self.peer)

    def receive(self):
        return [self.socket.recv(FRAME_MAX + 1)]

    def close(self):
        self.socket.close()


class Stream:
    """A stream with a length before each frame: 4 bytes, big-endian, or 2 of this machine's order."""

    def __init__(self, url, prefix=">I", sock=None):
        self.url, self.prefix, self.socket = url, prefix, sock
        self.buffer = bytearray()

    def send(self, frame):
        if self.socket:
            self.socket.sendall(struct.pack(self.prefix, len(frame)) + frame)

    def receive(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError
        self.buffer += data
        head, at, frames = struct.calcsize(self.prefix), 0, []
        while len(self.buffer) - at >= head:
            size = struct.unpack_from(self.prefix, self.buffer, at)[0]
            if len(self.buffer) - at - head < size:
                break
            frames.append(bytes(self.buffer[at + head:at + head + size]))
            at += head + size
        del self.buffer[:at]
        return frames

    def close(self):
        if self.socket:
            self.socket.close()


class TcpListening(Stream):
    """The runtime listens, we connect."""

    def __init__(self):
        super().__init__("tcp-listen://")

    def bind(self, answer):
        self.socket = socket.create_connection(address(answer["tcp_stream"]))


class TcpConnecting(Stream):
    """We listen, the runtime connects."""

    def __init__(self, host="127.0.0.1"):
        self.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.bind((host, 0))
        self.listener.listen(1)
        super().__init__("tcp-connect://" + name(self.listener.getsockname()))

    def bind(self, answer):
        assert answer["tcp_stream"].decode() == self.url.removeprefix("tcp-connect://")
        self.listener.settimeout(20)
        self.socket = self.listener.accept()[0]

    def close(self):
        self.listener.close()
        super().close()


class Unix(Stream):
    """The runtime listens at a path, we connect."""

    def __init__(self, path=""):
        super().__init__(f"unix://{path}", "=H")

    def bind(self, answer):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(answer["unix_stream"])


class Stack:
    """A user-space stack (stack.c): the guest's connections become the host's; 10.42.42.1 stands for the host's loopback."""

    def __init__(self, mtu):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            self.child = subprocess.Popen([os.environ["STACK"], str(theirs.fileno()), str(mtu)], pass_fds=[theirs.fileno()])

    def send(self, frame):
        self.socket.send(frame)

    def receive(self):
        return [self.socket.recv(FRAME_MAX)]

    def close(self):
        self.child.kill()
        self.child.wait()
        self.socket.close()


def name(pair):
    host, port = pair[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address(text):
    host, port = text.decode().rsplit(":", 1)
    return host.strip("[]"), int(port)


class Switch:
    """Passes frames between ports as a switch does, in a thread. Remembers the largest frame from each port, and the hardware addresses behind it."""

    def __init__(self, *ports):
        self.selector = selectors.DefaultSelector()
        self.ports, self.macs, self.largest, self.seen = [], {}, {}, {}
        self.stop, self.stopped = socket.socketpair()
        self.selector.register(self.stopped, selectors.EVENT_READ, None)
        for port in ports:
            self.add(port)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def add(self, port):
        self.ports.append(port)
        self.largest[port], self.seen[port] = 0, set()
        self.selector.register(port.socket, selectors.EVENT_READ, port)

    def take(self, port, frame):
        self.largest[port] = max(self.largest[port], len(frame))
        self.seen[port].add(frame[6:12].hex(":"))
        self.macs[frame[6:12]] = port
        to = self.macs.get(frame[:6])
        for other in [to] if to and not frame[0] & 1 else self.ports:
            if other is not port:
                try:
                    other.send(frame)
                except OSError:
                    pass  # as a cable that is not plugged in

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    return
                try:
                    frames = key.data.receive()
                except (OSError, EOFError):
                    self.selector.unregister(key.fileobj)
                    continue
                for frame in frames:
                    self.take(key.data, frame)

    def close(self):
        self.stop.send(b"x")
        self.thread.join()
        for port in self.ports:
            port.close()
        self.stop.close()
        self.stopped.close()
        self.selector.close()


def descriptor_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
