#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an ExeUnit does to a runtime: the client of the conformance tests. It knows the protocol from the facts about it, and nothing of our code.

Everything that a runtime must not do is an error here: a frame that is none, an answer to nothing, an event of a process that nobody asked for,
an event after a process's end, a pid that was there before, output before the event `running`, chunks of more than 64 KiB.
"""

import os
import selectors
import signal
import struct
import subprocess
import time

CHUNK_MAX = 65536


class Violation(Exception):
    """The runtime broke the protocol."""


class Refused(Exception):
    """An error answer."""

    def __init__(self, code, message, context):
        super().__init__(f"{code} {message}")
        self.code, self.message, self.context = code, message, context


class Ended(Exception):
    """The runtime's stdout has ended."""


# ---- protobuf ----------------------------------------------------------------------------------------------------------------------


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    """One field: an int as a varint, bytes and str with their length. What is None is left out."""
    if value is None:
        return b""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def read_varint(data, at):
    value, shift = 0, 0
    while True:
        if at >= len(data):
            raise IndexError
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise Violation("a varint without an end")


def fields(data):
    """The fields of a message, as (number, value)."""
    at = 0
    try:
        while at < len(data):
            tag, at = read_varint(data, at)
            kind = tag & 7
            if kind == 0:
                value, at = read_varint(data, at)
            elif kind == 1:
                value, at = struct.unpack("<d", data[at:at + 8])[0], at + 8
            elif kind == 2:
                size, at = read_varint(data, at)
                if at + size > len(data):
                    raise Violation("a field longer than its message")
                value, at = bytes(data[at:at + size]), at + size
            else:
                raise Violation(f"wire type {kind}")
            yield tag >> 3, value
    except (IndexError, struct.error):
        raise Violation("a message that is cut short") from None


def as_dict(data, names, repeated=()):
    out = {}
    for number, value in fields(data):
        if number not in names:
            raise Violation(f"field {number}, which does not exist")
        name = names[number]
        if name in repeated:
            out.setdefault(name, []).append(value)
        else:
            out[name] = value
    return out


RESPONSE = {1: "event", 2: "id", 3: "error", 4: "hello", 10: "run", 11: "kill", 12: "shutdown", 20: "status", 21: "rt_status", 30: "network"}
STATUS = {1: "pid", 2: "running", 3: "return_code", 4: "stdout", 5: "stderr"}
ENDPOINT = {1: "unix_stream", 2: "unix_datagram", 3: "udp_datagram", 4: "tcp_listener", 5: "tcp_stream"}


def hello(id, version="0.1.0"):
    return field(1, id) + field(2, field(1, version))


def run(id, bin, args, work_dir=None, stdout=None, stderr=None):
    """stdout, stderr: None = all of it, 0 = nothing, n = the last n bytes."""

    def output(n):
        return None if n is None else field(2, n) if n else b""

    body = field(1, bin) + b"".join(field(2, a) for a in args) + field(3, work_dir) + field(4, output(stdout)) + field(5, output(stderr))
    return field(1, id) + field(10, body)


def kill(id, pid, signal_number):
    return field(1, id) + field(11, field(1, pid) + field(2, signal_number or None))


def shutdown(id):
    return field(1, id) + field(12, b"")


def network(id, networks, hosts, interface):
    body = b"".join(field(1, b"".join(field(i + 1, v) for i, v in enumerate(n))) for n in networks)
    body += b"".join(field(2, field(1, k) + field(2, v)) for k, v in hosts.items()) + field(3, interface or None)
    return field(1, id) + field(30, body)


# ---- the client --------------------------------------------------------------------------------------------------------------------


class Process:
    def __init__(self, pid):
        self.pid, self.running, self.code = pid, False, None
        self.stdout, self.stderr, self.chunks = [], [], []

    def out(self):
        return b"".join(self.stdout)

    def err(self):
        return b"".join(self.stderr)


class Runtime:
    """A runtime that serves, and what it has said."""

    def __init__(self, argv, cwd=None, env=None, stderr=None):
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=cwd, env=env, bufsize=0)
        self.next_id = 2
        self.buffer = bytearray()
        self.requests = {}  # id -> name
        self.answers = {}  # id -> response
        self.processes = {}  # pid -> Process
        self.starting = []  # ids of runs that are not bound to a process yet
        self.bound = {}  # id of a run -> Process
        self.start_output = b""  # what came as process 0
        self.counters = {}
        self.ended = False
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.child.stdout, selectors.EVENT_READ)

    # -- out

    def send_raw(self, data):
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def send(self, name, message):
        self.requests[self.next_id] = name
        if name == "run":
            self.starting.append(self.next_id)
        self.next_id += 1
        self.send_raw(varint(len(message)) + message)
        return self.next_id - 1

    # -- in

    def read(self, timeout=60):
        """Reads once and takes in what has come. False when nothing came in time."""
        if self.ended:
            raise Ended
        if not self.selector.select(timeout):
            return False
        data = os.read(self.child.stdout.fileno(), 1 << 20)
        if not data:
            self.ended = True
            if self.buffer:
                raise Violation(f"stdout ends in the middle of a frame: {bytes(self.buffer[:40])!r}")
            raise Ended
        self.buffer += data
        at = 0
        while True:
            try:
                size, start = read_varint(self.buffer, at)
            except IndexError:
                break
            if start + size > len(self.buffer):
                break
            self.take(bytes(self.buffer[start:start + size]))
            at = start + size
        del self.buffer[:at]
        return True

    def take(self, message):
        response = as_dict(message, RESPONSE)
        kinds = [k for k in response if k not in ("event", "id")]
        if len(kinds) != 1:
            raise Violation(f"a response of {kinds}")
        if response.get("event"):
            if response.get("id"):
                raise Violation("an event with an id")
            if kinds[0] == "status":
                self.take_status(as_dict(response["status"], STATUS))
            elif kinds[0] == "rt_status":
                for number, value in fields(response["rt_status"]):
                    if number == 2:
                        counter = as_dict(value, {1: "name", 2: "value"})
                        self.counters.setdefault(counter["name"].decode(), []).append(counter.get("value", 0.0))
            else:
                raise Violation(f"an event of {kinds}")
            return
        id = response.get("id", 0)
        if id not in self.requests:
            raise Violation(f"an answer to request {id}, which was not asked")
        if id in self.answers:
            raise Violation(f"a second answer to request {id}")
        if kinds[0] not in ("error", self.requests[id]):
            raise Violation(f"{kinds[0]} as the answer to {self.requests[id]}")
        self.answers[id] = response
        if kinds[0] == "error" and id in self.starting:
            self.starting.remove(id)

    def take_status(self, status):
        pid = status.get("pid", 0)
        if pid == 0:
            self.start_output += status.get("stdout", b"")
            return
        process = self.processes.get(pid)
        if process is None:
            # As the ExeUnit does it: the pid of the answer does not count.
            if not self.starting:
                raise Violation(f"an event of process {pid}, which was not asked for: {status}")
            process = self.processes[pid] = self.bound[self.starting.pop(0)] = Process(pid)
            if not status.get("running") or "stdout" in status or "stderr" in status:
                raise Violation(f"the first event of process {pid} is not `running` alone: {status}")
            process.running = True
            return
        if process.code is not None:
            raise Violation(f"an event of process {pid} after its end: {status}")
        for name, to in (("stdout", process.stdout), ("stderr", process.stderr)):
            if name in status:
                if len(status[name]) > CHUNK_MAX:
                    raise Violation(f"a chunk of {len(status[name])} bytes")
                to.append(status[name])
                process.chunks.append(len(status[name]))
        if not status.get("running"):
            code = status.get("return_code", 0)
            process.code = code - (1 << 64) if code >> 63 else code

    def wait(self, done, timeout=60):
        end = time.monotonic() + timeout
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nothing within {timeout} s")
            self.read(left)

    def answer(self, id, timeout=60):
        self.wait(lambda: id in self.answers, timeout)
        response = self.answers[id]
        if "error" in response:
            error = as_dict(response["error"], {1: "code", 2: "message", 3: "context"}, repeated=("context",))
            context = {}
            for entry in error.get("context", []):
                pair = as_dict(entry, {1: "key", 2: "value"})
                context[pair.get("key", b"").decode()] = pair.get("value", b"").decode()
            raise Refused(error.get("code", 0), error.get("message", b"").decode(), context)
        return response

    # -- verbs

    def hello(self, timeout=150):
        return as_dict(self.answer(self.send("hello", hello(self.next_id)), timeout)["hello"], {1: "version"})["version"].decode()

    def start(self, bin, *args, **more):
        """Starts a program as the ExeUnit does, args[0] being its base name; comes back when it runs."""
        id = self.send("run", run(self.next_id, bin, [os.path.basename(bin), *args], **more))
        pid = as_dict(self.answer(id)["run"], {1: "pid"}).get("pid", 0)
        self.wait(lambda: id in self.bound)
        if self.bound[id].pid != pid:
            raise Violation(f"the run is process {pid}, its first event says {self.bound[id].pid}")
        return self.bound[id]

    def finish(self, process, timeout=60):
        self.wait(lambda: process.code is not None, timeout)
        return process

    def run(self, bin, *args, timeout=60, **more):
        return self.finish(self.start(bin, *args, **more), timeout)

    def sh(self, script, timeout=60, **more):
        return self.run("/bin/sh", "-c", script, timeout=timeout, **more)

    def kill(self, process, signal_number):
        self.answer(self.send("kill", kill(self.next_id, process.pid, signal_number)))

    def shutdown(self, timeout=10):
        """Seconds that it took."""
        begin = time.monotonic()
        self.answer(self.send("shutdown", shutdown(self.next_id)), timeout)
        return time.monotonic() - begin

    def close(self):
        """The end of stdin."""
        self.child.stdin.close()

    def status(self, timeout=20):
        """The exit status, after reading what is still said."""
        end = time.monotonic() + timeout
        try:
            while True:
                if not self.read(max(0.0, end - time.monotonic())):
                    raise TimeoutError("stdout stays open")
        except Ended:
            pass
        return self.child.wait(max(0.1, end - time.monotonic()))

    def reap(self):
        """Whatever has happened, the runtime is gone after this."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()
