#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests of `gvmkit serve`: serve_cases.py CASE, with IMAGE (a .gvmi) in the environment, in an empty directory.

Each case plays the clients (golem_client.py) and fails with an exception. SERVE_ROUNDS is the number of rounds of the case `killed`.
"""

import hashlib
import json
import os
import random
import resource
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from golem_client import FORM_END, REQUESTS, Connection, Image, chunked, form, push, text_part, variant  # noqa: E402

with open(os.environ["IMAGE"], "rb") as f:
    DATA = f.read()
CHUNK = max(1000, len(DATA) // 7)  # several chunks, the last one shorter
SLOW = 60


def same(got, want):
    assert got == want, f"got {got!r}, wanted {want!r}"


def wait_for(what, seconds=SLOW):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come to be")


class Server:
    def __init__(self, *options, data="registry", log="json"):
        self.options, self.data, self.log = options, data, log
        self.process = None

    def start(self):
        self.errors = open("server.log", "ab")
        self.process = subprocess.Popen(["gvmkit", "serve", "--data", self.data, "--listen", "127.0.0.1:0", "--log", self.log, *self.options],
                                        stdout=subprocess.PIPE, stderr=self.errors)
        self.url = self.process.stdout.readline().decode().strip()
        assert self.url.startswith("http"), self.log_text()
        return self

    def stop(self, sig=signal.SIGTERM, status=0):
        self.process.send_signal(sig)
        got = self.process.wait(SLOW)
        assert got == status, f"it ended with {got}: {self.log_text()[-2000:]}"
        self.process.stdout.close()
        self.errors.close()
        self.process = None

    def log_text(self):
        with open("server.log") as log:
            return log.read()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if self.process:
            if kind:
                self.process.kill()
                self.process.wait()
                print(self.log_text()[-3000:], file=sys.stderr)
            else:
                self.stop()

    def admin(self, *words, data=None, status=0):
        done = subprocess.run(["gvmkit", "serve", "--data", self.data, "admin", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              input=data)
        same((done.returncode, done.stderr if status == 0 else b""), (status, b""))
        return done.stdout.decode() if status == 0 else done.stderr.decode()

    def rows(self, *words):
        return json.loads(self.admin(*words, "--json"))

    def account(self, name="alice", *repos):
        self.admin("user", "add", name)
        for repo in repos or ("hello",):
            self.admin("repo", "add", f"{name}/{repo}")
        return self.admin("token", "add", name).strip()

    def connect(self):
        return Connection(self.url)

    def fetch(self, image):
        with self.connect() as c:
            answer = c.ask("get", path=f"/download/{image.id}")
        same(answer.status, 200)
        return answer.body


def images(n, chunk=CHUNK):
    return [Image(variant(DATA, i), chunk) for i in range(n)]


def refused(call, *words):
    try:
        call()
    except RuntimeError as e:
        for word in words:
            assert word in str(e), e
        return
    raise AssertionError("it was not refused")


# ---- the protocol ----


def case_protocol():
    image = Image(DATA, CHUNK)
    s = Server()
    token = s.account()
    with s, s.connect() as c:
        # A
        same((c.login("alice", token).status, c.login("alice", token + "0").status, c.login("bob", token).status), (200, 401, 401))
        # B: JSON whatever the status
        same(c.describe(image.id), {"descriptor": "unknown"})
        # C
        same(c.push_descriptor(image).status, 200)
        same(c.describe(image.id), {"descriptor": "ok", "status": "partial", "chunks": [0] * len(image.pieces)})
        # E, dry
        same(c.attach(image.id, "alice", "hello", "v1", "alice", token, check=True).status, 200)
        answer = c.attach(image.id, "alice", "hello", "v1", "alice", token)
        same(answer.status, 409)
        assert "not complete" in answer.text()
        same(c.ask("info-yapapi", query="tag=alice/hello:v1").status, 404)
        # D, in another order than that of the file
        order = list(reversed(range(len(image.pieces))))
        for i in order[:-1]:
            same(c.push_chunk(image, i).status, 200)
        same(c.describe(image.id), {"descriptor": "ok", "status": "partial", "chunks": [0] + [1] * (len(image.pieces) - 1)})
        same(c.ask("get", path=f"/download/{image.id}").status, 404)
        same(c.push_chunk(image, 3).status, 200)  # once more
        same(c.push_chunk(image, order[-1]).status, 200)
        same(c.describe(image.id), {"descriptor": "ok", "status": "full", "chunks": [1] * len(image.pieces)})
        # C and D of what is there
        same((c.push_descriptor(image).status, c.push_chunk(image, 0).status), (200, 200))
        # E
        same(c.attach(image.id, "alice", "hello", "v1", "alice", token).status, 200)
        # F
        url = f"{s.url}/download/{image.id}"
        for query in ("tag=alice/hello:v1", "tag=alice%2Fhello%3Av1", f"hash={image.sha3}"):
            for client in ("info-yapapi", "info-golem-js", "info-golem-js-dev", "info-yajsapi", "info-golem-sdk", "info-ray"):
                answer = c.ask(client, query=query)
                same((answer.headers["access-control-allow-origin"], answer.headers.get("content-encoding")), ("*", None))
                info = answer.json()
                same({k: info[k] for k in ("http", "https", "sha3", "size")}, {"http": url, "https": url, "sha3": image.sha3, "size": image.size})
        same((c.ask("info-yapapi", query="tag=alice/hello:v2").status, c.ask("info-yapapi", query="hash=" + "0" * 56).status), (404, 404))
        same((c.ask("info-yapapi", query="hash=abc").status, c.ask("info-yapapi", query="x=y").status), (400, 400))
        # what the SDKs print of an answer that is none, or part of their message
        for client in ("info-golem-js", "info-golem-sdk"):
            same(c.ask(client, query="tag=alice/hello:v2").text(), "there is no image alice/hello:v2")
        # H
        for query in ("tag=alice/hello:v1", f"hash={image.sha3}", f"hash={image.sha3}&https=true"):
            answer = c.ask("redirect", query=query)
            same((answer.status, answer.headers["location"]), (302, url))
            # golem-sdk puts this URL into manifests, so that a provider begins with HEAD
            answer = c.ask("head", path="/v1/image/download?" + query)
            same((answer.status, answer.headers["location"]), (302, url))
        same(c.ask("redirect", query="tag=no/such:one").status, 404)
        # G, as a provider does it
        answer = c.ask("head", path=f"/download/{image.id}")
        same((answer.status, answer.headers["content-length"], answer.headers["accept-ranges"]), (200, str(image.size), "bytes"))
        same(c.ask("get", path=f"/download/{image.id}").body, image.data)
        answer = c.ask("get-rest", path=f"/download/{image.id}", start=1000)
        same((answer.status, answer.headers["content-range"]), (206, f"bytes 1000-{image.size - 1}/{image.size}"))
        same(answer.body, image.data[1000:])
        # what clients know by count=true, and those that do not ask to be counted are not
        wait_for(lambda: int(s.rows("image", "list")[0]["uses"]) == 9)
        # the older magic, and other chunks of the same image: nothing has to be moved
        for other in (Image(DATA, CHUNK, magic=0x333333333), Image(DATA, 2 << 20)):
            same(c.push_descriptor(other).status, 200)
            same(c.describe(other.id)["status"], "full")
            same(c.ask("get", path=f"/download/{other.id}").body, image.data)
        same(c.ask("get", path=f"/download/{image.sha3}.gvmi").body, image.data)
    # a user's password is as good as a token; the public URLs are those that were told
    s.admin("user", "add", "bob", "--password", data=b"correct horse\n")
    s.options = ("--public-url", "http://images.example.org", "--public-url", "https://images.example.org")
    with s, s.connect() as c:
        same((c.login("bob", "correct horse").status, c.login("bob", "wrong horse").status), (200, 401))
        info = c.ask("info-yapapi", query="tag=alice/hello:v1").json()
        same((info["http"], info["https"]), (f"http://images.example.org/download/{image.id}", f"https://images.example.org/download/{image.id}"))
        same(c.ask("redirect", query="tag=alice/hello:v1&https=true").headers["location"], info["https"])


def case_parallel():
    """Eight clients at once, two for each image."""
    s = Server()
    token = s.account()
    with s:
        pushed, errors = images(4), []

        def work(n):
            try:
                push(s.url, pushed[n % 4], f"alice/hello:v{n}", "alice", token)
            except Exception as e:
                errors.append(e)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        same(errors, [])
        for image in pushed:
            same(s.fetch(image), image.data)
        same(len(s.rows("tag", "list", "alice/hello")), 8)
        same(os.listdir("registry/uploads"), [])


def case_resume():
    image = Image(DATA, CHUNK)
    s = Server()
    with s, s.connect() as c:
        c.push_descriptor(image)
        for i in (0, 1, 4):
            same(c.push_chunk(image, i).status, 200)
        # one that ends in the middle leaves nothing
        with s.connect() as broken:
            body = b"".join(form(image.fields(2), image.pieces[2]))
            broken.send(REQUESTS["push-chunk"].format(host=broken.host).encode() + b"%x\r\n" % len(body) + body[:len(body) // 2])
        same(c.describe(image.id)["chunks"], [int(i in (0, 1, 4)) for i in range(len(image.pieces))])
    with s:
        same(sorted(push(s.url, image)), [i for i in range(len(image.pieces)) if i not in (0, 1, 4)])
        same(s.fetch(image), image.data)
        same(push(s.url, image), [])


def case_map():
    """The chunk map beside the image is there, and true."""
    image = Image(DATA, CHUNK)
    with Server() as s, s.connect() as c:
        push(s.url, image)
        info = wait_for(lambda: "chunks" in c.ask("info-yapapi", query=f"hash={image.sha3}").json() and
                        c.ask("info-yapapi", query=f"hash={image.sha3}").json())
        same(info["chunks"], info["http"] + ".chunks")
        data = c.get(f"/download/{image.id}.chunks").body
        same(c.get(f"/download/{image.sha3}.gvmi.chunks").body, data)
        magic, version, count, size = struct.unpack_from("<8sIIQ", data)
        same((magic, version, size, data[24:52].hex()), (b"gvmichnk", 1, image.size, image.sha3))
        same((len(data), data[-32:]), (52 + 36 * count + 32, hashlib.sha256(data[:-32]).digest()))
        at = 0
        for i in range(count):
            length, digest = struct.unpack_from("<I32s", data, 52 + 36 * i)
            same(hashlib.sha256(DATA[at:at + length]).digest(), digest)
            at += length
        same(at, image.size)


# ---- what is refused ----


def case_hostile():
    image, other = images(2)
    s = Server("--max-image", "4m", "--login-rate", "0")
    token = s.account()
    with s, s.connect() as c:
        # descriptors
        for bad in (b"", image.descriptor[:51], image.descriptor[:-1], image.descriptor + b"x", b"\0" * 84, os.urandom(500),
                    struct.pack(">QQQ", 0x333333334, 0, 1000) + b"h" * 28, struct.pack(">QQQ", 0x333333334, 1000, 0) + b"h" * 60,
                    struct.pack(">QQQ", 0x333333334, 1 << 63, 1 << 62) + b"h" * 28 + b"d" * 64,
                    struct.pack(">QQQ", 0x333333334, 1001, 1) + b"h" * 28 + b"d" * 32 * 1001,
                    struct.pack(">QQQ", 0x333333334, 5 << 20, 5 << 20) + b"h" * 28 + b"d" * 32, b"x" * 60000):
            answer = c.ask("push-descriptor", chunked(*form([], bad)))
            assert 400 <= answer.status < 500, (answer, bad[:60])
        same(c.ask("push-descriptor", chunked(*form([("tag", "x")]))).status, 400)
        same(c.push_descriptor(image).status, 200)
        # chunks: every field lies in turn
        n = len(image.pieces)
        for fields, data in (({"chunk_no": n}, None), ({"chunk_no": 1}, None), ({"chunk_no": -1}, None), ({"chunk_no": "0x0"}, None),
                             ({"chunk_no": 1 << 64}, None), ({"chunk_no": ""}, None), ({"chunk_pos": 1}, None), ({"chunk_pos": "-0"}, None),
                             ({"chunk_len": CHUNK - 1}, None), ({"chunk_len": CHUNK + 1}, None), ({"chunk_sha256": "0" * 64}, None),
                             ({"chunk_sha256": "../" * 21 + "x"}, None), ({"chunk_sha256": "0" * 63}, None), ({}, image.pieces[0][:-1]),
                             ({}, image.pieces[0] + b"x"), ({}, b""), ({}, bytes(CHUNK)), ({"descr_sha256": other.id}, None),
                             ({"descr_sha256": "../../../../etc/passwd"}, None), ({"descr_sha256": "0" * 64}, None)):
            answer = c.push_chunk(image, 0, data, **fields)
            assert 400 <= answer.status < 500, (answer, fields)
        same(c.describe(image.id)["chunks"], [0] * n)
        # the file before its fields, fields twice, none, too long
        parts = form(image.fields(0), image.pieces[0])
        for wrong in ([parts[-2], *parts[:-2], FORM_END], [*parts[:-2], *parts[:-2], *parts[-2:]], [FORM_END], parts[:-1],
                      [text_part("chunk-no", "0" * 100000), *parts], [text_part("tag", "a\0b"), *parts]):
            answer = c.ask("push-chunk", chunked(*wrong))
            assert 400 <= answer.status < 500, (answer, wrong[0][:60])
        # not a form; too long for the path; more than was said
        with s.connect() as own:
            same(own.ask("login", b"{" * 4000).status, 400)
            same(own.ask("login", b"[" * 4096).status, 400)
            own.send(f"POST /v1/image/push/chunk HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 60}\r\n\r\n".encode())
            same(own.answer().status, 413)
        with s.connect() as own:
            own.send(b"POST /v1/image/push/descr HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
            same(own.answer().status, 415)
        # a descriptor that lies about the whole; one of what is not a .gvmi
        liar = Image(DATA, CHUNK, sha3="ab" * 28)
        junk = Image(os.urandom(50000), 20000)
        refused(lambda: push(s.url, liar, workers=1), "422", "SHA3-224")
        refused(lambda: push(s.url, junk, workers=1), "422")
        for gone in (liar, junk):
            same(c.describe(gone.id), {"descriptor": "unknown"})
            same(c.ask("info-yapapi", query=f"hash={gone.sha3}").status, 404)
        # a wrong size for a hash that is there
        push(s.url, image)
        small = Image(DATA[:5000], 2000, sha3=image.sha3)
        same(c.push_descriptor(small).status, 422)
        # names
        for user, repo, tag in (("..", "hello", "v1"), ("alice", "..", "v1"), ("alice", "hello", "../x"), ("alice", "a/b", "v1"),
                                ("alice", "hello", "v1:x"), ("alice", "hello", ""), ("alice", "hello", "x" * 129), ("alice'--", "hello", "v1"),
                                ("alice", "hello", "\u00e4")):
            assert c.attach(image.id, user, repo, tag, "alice", token).status == 400
        for path in ("/download/../registry.db", "/download/..%2fregistry.db", "/download/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
                     f"/download/{image.id}/../../registry.db", f"/download/{image.id}.chunks.chunks", "/download/" + "a" * 5000,
                     "/download/"):
            same((c.get(path).status, path), (404, path))
        same((c.get(f"/download/{image.id}%00.gvmi").status, c.get(f"/v1/image/info?hash={image.sha3}%00").status), (400, 400))
        # a host that cannot be one is not repeated
        for host in ('a"b', "a/b", "a b", "x" * 300):
            c.send(f"GET /v1/image/info?hash={image.sha3} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            same(c.answer().json()["http"], f"{s.url}/download/{image.id}")
        for method, path in (("DELETE", "/v1/image/info"), ("PUT", f"/download/{image.id}"), ("GET", "/auth/pat/login"), ("FOO", "/healthz")):
            answer = c.get(path, method=method)
            assert answer.status == 405 and answer.headers["allow"], answer
        # who sends too much is told so
        for head, body in (("Content-Length: 100000", b"x" * 100000), ("Transfer-Encoding: chunked", chunked(*[b"x" * 1000] * 100))):
            c.send(f"POST /auth/pat/login HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
            same(c.answer().status, 413)
        # not allowed
        bob = s.account("bob", "mine")
        same(c.attach(image.id, "alice", "hello", "v1", "bob", bob).status, 403)
        same(c.attach(image.id, "alice", "hello", "v1", "alice", bob).status, 401)
        same(c.attach(image.id, "alice", "nope", "v1", "alice", token).status, 404)
        same(c.attach("0" * 64, "alice", "hello", "v1", "alice", token).status, 404)
        s.admin("repo", "allow", "alice/hello", "bob")
        same(c.attach(image.id, "alice", "hello", "v1", "bob", bob).status, 200)
        s.admin("repo", "deny", "alice/hello", "bob")
        same(c.attach(image.id, "alice", "hello", "v1", "bob", bob).status, 403)
        # tokens that are gone, or old
        number = s.rows("token", "list", "bob")[0]["number"]
        s.admin("token", "rm", "bob", number)
        same(c.login("bob", bob).status, 401)
        # no request of all these has left anything in the way
        same(s.fetch(image), image.data)
        same(c.get("/healthz").text(), "ok")
        same(int(metrics(c)["gvmkit_receiving_bytes"]), 0)


def metrics(c):
    lines = c.get("/metrics").text().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def case_quotas():
    a, b, d = images(3)
    room = a.size + b.size + 100
    s = Server("--max-anonymous", str(room), "--max-user", str(room), "--max-user-images", "2", "--max-uploads", "3")
    token = s.account()
    s.account("bob")
    with s, s.connect() as c:
        push(s.url, a)
        push(s.url, b)
        # no room for a third one without a tag, but for a user there is
        refused(lambda: push(s.url, d), "507", "without a tag")
        push(s.url, d, "alice/hello:d", "alice", token)
        push(s.url, a, "alice/hello:a", "alice", token)
        refused(lambda: push(s.url, b, "alice/hello:b", "alice", token), "507", "of a user")
        # the same image again needs nothing
        push(s.url, a, "alice/hello:again", "alice", token)
        # number
        small = [Image(variant(DATA, "small" + str(i)), CHUNK) for i in range(6)]
        for i in range(3):
            same(c.push_descriptor(small[i]).status, 200)
        same(c.push_descriptor(small[0]).status, 200)
        same(c.push_descriptor(small[3]).status, 503)
    # what has stalled for ten minutes gives way when there is no room
    with sqlite3.connect("registry/registry.db") as db:
        db.execute("UPDATE upload SET touched = touched - 601 WHERE name = ?", (bytes.fromhex(small[1].id),))
    db.close()
    with s, s.connect() as c:
        same(c.push_descriptor(small[3]).status, 200)
        same((c.describe(small[1].id)["descriptor"], c.describe(small[2].id)["descriptor"]), ("unknown", "ok"))
    s.options = ("--max-user-images", "2")
    with s, s.connect() as c:
        same(c.attach(b.id, "alice", "hello", "b", "alice", token).status, 507)
        s.admin("tag", "rm", "alice/hello:d")
        same(c.attach(b.id, "alice", "hello", "b", "alice", token).status, 200)
    s.options = ("--max-receiving", "1000")
    with s, s.connect() as c:
        same(c.push_chunk(small[0], 0).status, 503)


def case_limits():
    s = Server("--rate", "20", "--login-rate", "3")
    token = s.account()
    with s, s.connect() as c:
        statuses = [c.get("/healthz").status for _ in range(200)]
        assert statuses.count(200) >= 40 and statuses.count(429) > 0, statuses
        assert wait_for(lambda: c.get("/healthz").status == 200)
    s.options = ("--rate", "0", "--login-rate", "3")
    with s, s.connect() as c:
        same([c.login("alice", "guess number 1").status for _ in range(5)], [401, 401, 401, 429, 429])
        answer = c.login("alice", token)
        assert answer.status == 429 and int(answer.headers["retry-after"]) > 0, answer
    # behind a proxy each of its clients has a rate of its own
    s.options = ("--rate", "0", "--login-rate", "3", "--trust-proxy")
    with s, s.connect() as c:
        def login(address):
            body = b'{"username":"alice","password":"wrong guess"}'
            c.send(f"POST /auth/pat/login HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9, {address}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            return c.answer().status
        same([login("192.0.2.1") for _ in range(4)], [401, 401, 401, 429])
        same(login("192.0.2.2"), 401)
        # a proxy that adds a line of its own; what stands before is the client's
        same([login(f"192.0.2.{10 + n}\r\nX-Forwarded-For: 192.0.2.3") for n in range(4)], [401, 401, 401, 429])
        image = Image(DATA, CHUNK)
        push(s.url, image)
        c.send(f"GET /v1/image/info?hash={image.sha3} HTTP/1.1\r\nHost: images.example.org\r\nX-Forwarded-Proto: https\r\n\r\n".encode())
        same(c.answer().json()["http"], f"https://images.example.org/download/{image.id}")
    assert '"address":"192.0.2.2"' in s.log_text()


def case_arguments():
    """Requests whose arguments have no room in the library's memory leave nothing behind."""
    with Server("--rate", "0", "--idle-timeout", "2s", "--threads", "1", "--log", "none") as s:
        def ask(times):
            for _ in range(times):
                with s.connect() as c:
                    c.send(b"GET /?" + b"a&" * 3000 + b" HTTP/1.1\r\n\r\n")
            with s.connect() as c:
                wait_for(lambda: "_connections 1\n" in c.get("/metrics").text())
            with open(f"/proc/{s.process.pid}/statm") as f:
                return int(f.read().split()[1]) * resource.getpagesize()

        before = ask(200)
        more = ask(4000) - before
        assert more < 1 << 20, more


# ---- what goes ----


def case_expiry():
    tagged, loose, half = images(3)
    s = Server("--gc-interval", "100ms", "--keep-untagged", "1h", "--keep-uploads", "1h")
    token = s.account()
    with s, s.connect() as c:
        push(s.url, tagged, "alice/hello:v1", "alice", token)
        push(s.url, loose)
        c.push_descriptor(half)
        c.push_chunk(half, 0)
        assert "expires" in c.ask("info-yapapi", query=f"hash={loose.sha3}").json()
        assert "expires" not in c.ask("info-yapapi", query=f"hash={tagged.sha3}").json()
        # a collection has been, and has taken nothing
        before = int(metrics(c)["gvmkit_collections_total"])
        wait_for(lambda: int(metrics(c)["gvmkit_collections_total"]) > before + 1)
        same(c.describe(half.id)["chunks"][0], 1)
        same(s.fetch(loose), loose.data)
    s.options = ("--gc-interval", "100ms", "--keep-untagged", "1ms", "--keep-uploads", "1ms")
    with s, s.connect() as c:
        wait_for(lambda: c.ask("info-yapapi", query=f"hash={loose.sha3}").status == 404)
        wait_for(lambda: c.describe(half.id) == {"descriptor": "unknown"})
        same(c.ask("get", path=f"/download/{loose.id}").status, 404)
        same(c.ask("info-yapapi", query="tag=alice/hello:v1").status, 200)
        same(s.fetch(tagged), tagged.data)
        wait_for(lambda: os.listdir("registry/uploads") == [] and len(os.listdir("registry/images")) <= 2)


def case_tags():
    one, two = images(2)
    s = Server("--gc-interval", "100ms", "--keep-untagged", "1h")
    token = s.account("alice", "hello", "other")
    with s, s.connect() as c:
        def tagged(tag):
            answer = c.ask("info-yapapi", query="tag=" + tag)
            return answer.json()["sha3"] if answer.status == 200 else answer.status

        push(s.url, one, "alice/hello:latest", "alice", token)
        push(s.url, one, "alice/other:x", "alice", token)
        same((tagged("alice/hello:latest"), tagged("alice/hello")), (one.sha3, one.sha3))
        push(s.url, two, "alice/hello:latest", "alice", token)
        same((tagged("alice/hello:latest"), tagged("alice/other:x")), (two.sha3, one.sha3))
        s.admin("tag", "set", "alice/hello:old", one.sha3)
        same(tagged("alice/hello:old"), one.sha3)
        s.admin("tag", "rm", "alice/hello:old")
        same(tagged("alice/hello:old"), 404)
        same({t["tag"]: t["hash"] for t in s.rows("tag", "list")}, {"alice/hello:latest": two.sha3, "alice/other:x": one.sha3})
        s.admin("repo", "rm", "alice/other")
        same(tagged("alice/other:x"), 404)
        # without a tag now, but kept for a time, by its hash
        same([r["tags"] for r in s.rows("image", "list", one.sha3)], ["0"])
        same(s.fetch(one), one.data)
        s.admin("image", "rm", one.sha3)
        same(c.ask("info-yapapi", query=f"hash={one.sha3}").status, 404)
        wait_for(lambda: not any(one.sha3 in name for name in os.listdir("registry/images")))
        # and can come again
        push(s.url, one, "alice/hello:v1", "alice", token)
        same(s.fetch(one), one.data)
        s.admin("user", "rm", "alice")
        same((tagged("alice/hello:latest"), c.login("alice", token).status), (404, 401))
        for words in (("user", "rm", "alice"), ("repo", "rm", "alice/hello"), ("tag", "rm", "a/b:c"), ("image", "rm", "0" * 56), ("token", "add", "bob")):
            assert "there is no" in s.admin(*words, status=1)
        for words in (("user", "add", "../x"), ("repo", "add", "alice"), ("image", "rm", "xyz")):
            s.admin(*words, status=1)
        assert "another server" in subprocess.run(["gvmkit", "serve", "--data", s.data, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE).stderr.decode()


def case_collected_while_downloading():
    image = Image(variant(DATA, "big", bytes(20000000)), 8 << 20)  # more than sockets hold
    s = Server("--gc-interval", "50ms")
    with s, s.connect() as c, s.connect() as slow:
        push(s.url, image)
        slow.send(REQUESTS["get"].format(host=slow.host, path=f"/download/{image.id}").encode())
        slow.head()
        first = slow.file.read(100000)
        s.admin("image", "rm", image.sha3)
        wait_for(lambda: not os.path.exists(f"registry/images/{image.sha3}.gvmi"))
        same(c.ask("get", path=f"/download/{image.id}").status, 404)
        same(hashlib.sha256(first + slow.file.read(image.size - 100000)).digest(), hashlib.sha256(image.data).digest())


# ---- HTTP ----


def case_ranges():
    image = Image(DATA, CHUNK)
    size = image.size
    with Server() as s, s.connect() as c:
        push(s.url, image)
        path = f"/download/{image.id}"
        whole = c.get(path)
        etag, date = whole.headers["etag"], whole.headers["last-modified"]
        same((etag, whole.headers["content-length"]), (f'"{image.sha3}"', str(size)))
        for header, start, end in (("bytes=0-0", 0, 0), ("bytes=5-", 5, size - 1), ("bytes=-7", size - 7, size - 1), (f"bytes={size - 1}-", size - 1, size - 1),
                                   ("bytes=10-99999999999999999999", 10, size - 1), (f"bytes=-{size * 2}", 0, size - 1), ("BYTES = 3-4", 3, 4),
                                   (f"bytes={size}-,2-3", 2, 3)):
            answer = c.get(path, Range=header)
            same((answer.status, answer.headers["content-range"], answer.body), (206, f"bytes {start}-{end}/{size}", DATA[start:end + 1]))
        for header in (f"bytes={size}-", "bytes=-0", f"bytes={size + 5}-{size + 9}", "bytes=99999999999999999999-"):
            answer = c.get(path, Range=header)
            same((answer.status, answer.headers["content-range"]), (416, f"bytes */{size}"))
        # what is no list of ranges is as if it were not there
        for header in ("bytes=", "bytes=a-b", "bytes=5-3", "lines=1-2", "bytes=1-2,", "bytes=1-2;3-4", "bytes=--5", "bytes=0x1-2", "bytes",
                       "bytes=" + ",".join(["0-"] * 3), "bytes=" + ",".join(f"{i}-{i}" for i in range(200))):
            same((c.get(path, Range=header).status, header), (200, header))
        # several
        wanted = [(0, 3), (100, 199), (size - 5, size - 1)]
        answer = c.get(path, Range="bytes=0-3, 100-199,-5")
        same(answer.status, 206)
        kind, boundary = answer.headers["content-type"].split("; boundary=")
        same(kind, "multipart/byteranges")
        parts = answer.body.split(b"\r\n--" + boundary.encode())
        same((parts[0], parts[-1], len(parts)), (b"", b"--\r\n", len(wanted) + 2))
        for part, (start, end) in zip(parts[1:], wanted):
            head, body = part.split(b"\r\n\r\n", 1)
            assert f"Content-Range: bytes {start}-{end}/{size}".encode() in head, head
            same(body, DATA[start:end + 1])
        # HEAD is as GET without a body, and without ranges
        answer = c.get(path, "HEAD", Range="bytes=0-3")
        same((answer.status, answer.headers["content-length"], answer.headers["etag"]), (200, str(size), etag))
        # conditions
        for headers, status in (({"If-None-Match": etag}, 304), ({"If-None-Match": f'"a", W/{etag}'}, 304), ({"If-None-Match": "*"}, 304),
                                ({"If-None-Match": '"a"'}, 200), ({"If-None-Match": '"a"', "If-Modified-Since": date}, 200), ({"If-Modified-Since": date}, 304),
                                ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200), ({"If-Modified-Since": "yesterday"}, 200),
                                ({"If-Match": etag}, 200), ({"If-Match": f"W/{etag}"}, 412), ({"If-Match": '"a"'}, 412), ({"If-Match": "*"}, 200),
                                ({"If-Unmodified-Since": date}, 200), ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
                                ({"Range": "bytes=0-3", "If-Range": etag}, 206), ({"Range": "bytes=0-3", "If-Range": '"a"'}, 200),
                                ({"Range": "bytes=0-3", "If-Range": f"W/{etag}"}, 200), ({"Range": "bytes=0-3", "If-Range": date}, 206),
                                ({"Range": "bytes=0-3", "If-Range": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200), ({"Range": "bytes=0-3", "If-None-Match": etag}, 304)):
            answer = c.get(path, **headers)
            same((answer.status, answer.headers["etag"], headers), (status, etag, headers))
            same(len(answer.body), {200: size, 206: 4}.get(status, 0))


def certificate(cert, key):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, stderr=subprocess.DEVNULL)


def case_tls():
    certificate("cert.pem", "key.pem")
    image = Image(DATA, CHUNK)
    with Server("--tls-cert", "cert.pem", "--tls-key", "key.pem") as s:
        assert s.url.startswith("https://"), s.url
        push(s.url, image, ca="cert.pem")
        with Connection(s.url, "cert.pem") as c:
            info = c.ask("info-yapapi", query=f"hash={image.sha3}").json()
            same((info["http"], info["https"]), (f"{s.url}/download/{image.id}",) * 2)
            same(c.ask("get", path=f"/download/{image.id}").body, DATA)
            same(c.get(f"/download/{image.id}", Range="bytes=5-9").body, DATA[5:10])
        # who speaks no TLS gets nothing, and hinders nobody
        with Connection(s.url.replace("https", "http")) as plain:
            plain.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                assert not plain.file.read(1) == b"H"
            except ConnectionError:
                pass
    os.truncate("key.pem", 10)
    done = subprocess.run(["gvmkit", "serve", "--data", "registry", "--listen", "127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    same((done.returncode, done.stdout), (1, b""))


def case_renewal():
    """A renewed certificate is taken while it serves, as soon as both files belong together; nobody notices but who connects."""
    for n in "12345":
        certificate(f"cert{n}", f"key{n}")
    image = Image(variant(DATA, "big", bytes(20000000)), 8 << 20)

    def put(cert, key):
        """As certbot does it: links that point to other files, one after the other."""
        for source, link in ((cert, "cert.pem"), (key, "key.pem")):
            if source:
                os.symlink(source, link + ".new")
                os.rename(link + ".new", link)

    def good(n):
        """Whether a new connection gets that certificate."""
        try:
            with Connection(s.url, f"cert{n}") as c:
                return c.get("/healthz").status == 200
        except ssl.SSLCertVerificationError:
            return False

    def told(text, times):
        wait_for(lambda: s.log_text().count(text) >= times)
        same(s.log_text().count(text), times)

    kept, taken = "the certificate stays the one of before", "connections get the certificate"
    put("cert1", "key1")
    with Server("--tls-cert", "cert.pem", "--tls-key", "key.pem") as s:
        push(s.url, image, ca="cert1")
        slow, idle = Connection(s.url, "cert1"), Connection(s.url, "cert1")
        slow.send(REQUESTS["get"].format(host=slow.host, path=f"/download/{image.id}").encode())
        slow.head()
        first = slow.file.read(100000)
        # the first of the two files is new
        put("cert2", None)
        told(kept, 1)
        assert good(1) and not good(2)
        put(None, "key2")
        wait_for(lambda: good(2))
        assert not good(1)
        told(taken, 1)
        # nothing there, nothing in it, too much in it; SIGHUP says so again
        os.unlink("key.pem")
        told(kept, 2)
        s.process.send_signal(signal.SIGHUP)
        told(kept, 3)
        put(None, os.devnull)
        told(kept, 4)
        with open("huge", "wb") as f:
            f.truncate(1 << 40)
        put("huge", None)
        told(kept, 5)
        assert good(2)
        # the files are written, not replaced
        put("cert3", "key3")
        wait_for(lambda: good(3))
        for name, other in (("cert3", "cert4"), ("key3", "key4")):
            with open(other) as source, open(name, "w") as f:
                f.write(source.read())
        wait_for(lambda: good(4))
        # at once on SIGHUP, also when nothing has changed
        seen = s.log_text().count(taken)
        s.process.send_signal(signal.SIGHUP)
        told(taken, seen + 1)
        # who is there from before has noticed nothing
        same(first + slow.file.read(image.size - 100000), image.data)
        same([c.get("/healthz").status for c in (slow, idle)], [200, 200])
        slow.close()
        idle.close()
        # many renewals among many connections
        stop = threading.Event()
        failed = []

        def connect():
            context = ssl._create_unverified_context()
            while not stop.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", int(s.url.rsplit(":", 1)[1])), timeout=SLOW) as plain:
                        context.wrap_socket(plain).close()
                except OSError as e:
                    failed.append(e)

        threads = [threading.Thread(target=connect) for _ in range(4)]
        for t in threads:
            t.start()
        for i in range(60):
            put(f"cert{1 + i % 2 * 4}", f"key{1 + i % 2 * 4}")
            s.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        stop.set()
        for t in threads:
            t.join()
        same(failed, [])
        wait_for(lambda: good(5))


def case_hangup():
    """SIGHUP without a certificate does nothing, and does not cut the time of grace short."""
    image = Image(variant(DATA, "big", bytes(20000000)), 8 << 20)
    with Server() as s:
        push(s.url, image)
        slow = s.connect()
        slow.send(REQUESTS["get"].format(host=slow.host, path=f"/download/{image.id}").encode())
        slow.head()
        s.process.send_signal(signal.SIGHUP)
        with s.connect() as c:
            same(c.get("/healthz").status, 200)
        s.process.send_signal(signal.SIGTERM)
        s.process.send_signal(signal.SIGHUP)
        same(slow.file.read(image.size), image.data)
        same(s.process.wait(SLOW), 0)
        s.process.stdout.close()
        s.process = None


def case_address():
    """What is no port is not taken for another one."""
    for listen in ("127.0.0.1:65536", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:0x50", "127.0.0.1:", ":80", "[::1]"):
        done = subprocess.run(["gvmkit", "serve", "--data", "registry", "--listen", listen], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=SLOW)
        same((done.returncode, done.stdout), (1, b""))
        assert b"is not an address to listen at; write ADDR:PORT" in done.stderr, done.stderr


def case_idle():
    """A thousand connections that say nothing, and some that say it slowly, are outlived."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    image = Image(DATA, CHUNK)
    s = Server("--idle-timeout", "2s", "--max-address", "0", "--rate", "0")
    with s:
        push(s.url, image)
        idle = [s.connect() for _ in range(1000)]
        slow = [s.connect() for _ in range(20)]
        stop = threading.Event()

        def trickle():
            text = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 10000
            for i in range(len(text)):
                for c in list(slow):
                    try:
                        c.send(text[i:i + 1])
                    except OSError:
                        slow.remove(c)
                if not slow or stop.wait(0.05):
                    return

        # and one that uploads a byte now and then
        upload = s.connect()
        upload.send(REQUESTS["push-descriptor"].format(host=upload.host).encode())

        def drip():
            while not stop.wait(0.05):
                try:
                    upload.send(b"1\r\nx\r\n")
                except OSError:
                    return

        threads = [threading.Thread(target=trickle), threading.Thread(target=drip)]
        for t in threads:
            t.start()
        try:
            same(s.fetch(image), DATA)
            for c in idle:
                same(c.file.read(1), b"")  # closed by the server
            for t in threads:
                t.join(SLOW)
                assert not t.is_alive(), "a slow client is still there"
        finally:
            stop.set()
        with s.connect() as c:
            assert int(metrics(c)["gvmkit_connections_reaped_total"]) >= 1
            same(s.fetch(image), DATA)
        for c in idle:
            c.close()


def case_crowd():
    """More connections than the server takes: those that it has taken are served, and others again when there is room."""
    image = Image(DATA, CHUNK)
    s = Server("--max-connections", "40", "--idle-timeout", "2s")
    with s:
        push(s.url, image)
        with s.connect() as c:
            same(c.get("/healthz").status, 200)
            crowd = [s.connect() for _ in range(300)]
            same(c.ask("get", path=f"/download/{image.id}").body, DATA)
            assert int(metrics(c)["gvmkit_connections"]) <= 40
            for other in crowd:
                other.close()
        wait_for(lambda: answers(s))
        same(s.fetch(image), DATA)


def answers(s):
    try:
        with s.connect() as c:
            return c.get("/healthz").status == 200
    except (EOFError, OSError):
        return False


def case_graceful():
    image = Image(variant(DATA, "big", bytes(20000000)), 8 << 20)
    s = Server("--grace", "60s")
    with s:
        push(s.url, image)
        slow, idle = s.connect(), s.connect()
        slow.send(REQUESTS["get"].format(host=slow.host, path=f"/download/{image.id}").encode())
        slow.head()
        first = slow.file.read(100000)
        s.process.send_signal(signal.SIGTERM)

        def closed():
            try:
                s.connect().close()
            except ConnectionResetError:
                return False  # it was still in the queue when the socket closed
            except ConnectionRefusedError:
                return True
            return False

        wait_for(closed)
        same(first + slow.file.read(image.size - 100000), image.data)
        same(s.process.wait(SLOW), 0)
        same(idle.file.read(1), b"")
        s.process.stdout.close()
        s.process = None
    # a second signal, or the end of the grace, does not wait for a client that does not read
    for options, signals in ((("--grace", "60s"), 2), (("--grace", "100ms"), 1)):
        s = Server(*options)
        with s, s.connect() as c:
            c.send(REQUESTS["get"].format(host=c.host, path=f"/download/{image.id}").encode())
            c.head()
            s.process.send_signal(signal.SIGTERM)
            wait_for(closed)
            if signals == 2:
                s.process.send_signal(signal.SIGTERM)
            same(s.process.wait(SLOW), 0)
            s.process.stdout.close()
            s.process = None


def case_log():
    s = Server()
    with s, s.connect() as c:
        c.get('/x"y\\z%0a?q=<\x7f>')
        c.get("/healthz")
    lines = [json.loads(line) for line in s.log_text().splitlines()]
    same([(r["method"], r["status"], r["route"], r["address"], r["complete"]) for r in lines],
         [("GET", 404, "-", "127.0.0.1", True), ("GET", 200, "health", "127.0.0.1", True)])
    same(lines[0]["target"], '/x"y\\z%0a?q=<\x7f>')
    os.remove("server.log")
    s.log = "plain"
    with s, s.connect() as c:
        c.get("/healthz")
    assert " 127.0.0.1 GET /healthz 200 0 bytes in, 2 out, " in s.log_text(), s.log_text()


# ---- being killed ----


def case_killed():
    """Uploads, and SIGKILL at some moment: what was acknowledged is there afterwards, and what can be had is whole."""
    rounds = int(os.environ.get("SERVE_ROUNDS", "8"))
    seed = int(os.environ.get("SERVE_SEED", str(random.randrange(1 << 32))))
    print(f"seed {seed}")
    rng = random.Random(seed)
    s = Server(log="none")
    token = s.account()
    acknowledged, tags = {}, {}  # image id: chunks; tag: what it may point to
    known = []
    counts = {"chunks": 0, "images": 0, "cut": 0}

    def client(n, ends):
        image = known[n]
        stored = acknowledged.setdefault(image.id, set())
        tag = f"v{n % 3}"
        try:
            with s.connect() as c:
                if c.push_descriptor(image).status != 200:
                    raise AssertionError("the descriptor is refused")
                stored.add("descriptor")
                flags = c.describe(image.id)["chunks"]
                for i in rng.sample(range(len(flags)), len(flags)):
                    if flags[i] == 1:
                        continue
                    same(c.push_chunk(image, i).status, 200)
                    stored.add(i)
                # at once, unless the server was killed between the last chunk and the image, and makes it now
                wait_for(lambda: c.describe(image.id)["status"] == "full")
                stored.add("full")
                tags.setdefault(tag, []).append((image.sha3, "asked"))
                same(c.attach(image.id, "alice", "hello", tag, "alice", token).status, 200)
                tags[tag].append((image.sha3, "set"))
        except (OSError, EOFError):
            counts["cut"] += 1
        except AssertionError as e:
            if "bytes of" not in str(e) and "b''" not in str(e):
                ends.append(e)

    def check():
        with s.connect() as c:
            for image in known:
                stored, is_now = acknowledged.get(image.id, set()), c.describe(image.id)
                if "descriptor" in stored:
                    same(is_now["descriptor"], "ok")
                flags = is_now.get("chunks", [])
                for i in stored:
                    if isinstance(i, int):
                        same((i, flags[i]), (i, 1))
                answer = c.ask("get", path=f"/download/{image.id}")
                if "full" in stored:
                    same(answer.status, 200)
                if answer.status == 200:
                    assert answer.body == image.data, "an image is not whole"
                else:
                    same(answer.status, 404)
            for tag, history in tags.items():
                answer = c.ask("info-yapapi", query=f"tag=alice/hello:{tag}")
                # the last one that was acknowledged, or one that was asked for after it
                last = max((i for i, (_, what) in enumerate(history) if what == "set"), default=None)
                allowed = {sha3 for sha3, _ in history[last or 0:]}
                if answer.status == 200:
                    assert answer.json()["sha3"] in allowed, (answer, history)
                else:
                    same((answer.status, last), (404, None))
        for name in os.listdir("registry/images"):
            sha3 = name.split(".")[0]
            if name.endswith(".gvmi"):
                with open(f"registry/images/{name}", "rb") as f:
                    same(hashlib.sha3_224(f.read()).hexdigest(), sha3)

    with s:
        for n in range(rounds):
            base = len(known)
            # two new ones, and one that did not get far before
            known.extend(Image(variant(DATA, f"{seed}-{n}-{i}"), CHUNK) for i in range(2))
            again = [i for i in range(base) if "full" not in acknowledged.get(known[i].id, set())][-1:]
            errors = []
            threads = [threading.Thread(target=client, args=(i, errors)) for i in [base, base + 1, *again]]
            for t in threads:
                t.start()
            time.sleep(rng.random() * 0.25)
            s.process.kill()
            for t in threads:
                t.join()
            s.process.wait()
            s.process.stdout.close()
            s.errors.close()
            same(errors, [])
            s.start()
            check()
            if len(known) > 12:  # what is old need not be asked for ever
                del known[:len(known) - 12]
            counts["images"] = sum("full" in a for a in acknowledged.values())
            counts["chunks"] = sum(isinstance(i, int) for a in acknowledged.values() for i in a)
    print(f"{rounds} rounds: {counts['chunks']} chunks and {counts['images']} images acknowledged, {counts['cut']} clients cut off, nothing lost")


if __name__ == "__main__":
    globals()["case_" + sys.argv[1]]()
