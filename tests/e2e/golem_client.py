# SPDX-License-Identifier: GPL-3.0-or-later
"""What the original clients of a registry send, byte by byte, and answers read strictly.

The requests are written from the description of the clients: gvmkit-build (a form whose parts are streamed, so without a length), yapapi, and the
provider that fetches the image; or were seen on their way from the clients themselves: yajsapi, golem-js and golem-sdk. In each, {host} and {path...} stand for what differs.
"""

import hashlib
import json
import socket
import ssl
import struct
import threading
import time
import zlib

BOUNDARY = "7c4f5e3ad8b1c2f0-1f2e3d4c5b6a7988-0a1b2c3d4e5f6071-8192a3b4c5d6e7f8"
END = "\r\n"

# name: the request's head. A body follows as described by its headers.
REQUESTS = {
    # A, gvmkit-build
    "login": (
        "POST /auth/pat/login HTTP/1.1\r\ncontent-type: application/json\r\naccept: */*\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n"
    ),
    # B, gvmkit-build
    "descriptor": "GET /v1/image/descr/{id} HTTP/1.1\r\naccept: */*\r\nhost: {host}\r\n\r\n",
    # C, gvmkit-build
    "push-descriptor": (
        "POST /v1/image/push/descr HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=" + BOUNDARY + "\r\naccept: */*\r\n"
        "host: {host}\r\ntransfer-encoding: chunked\r\n\r\n"
    ),
    # D, gvmkit-build
    "push-chunk": (
        "POST /v1/image/push/chunk HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=" + BOUNDARY + "\r\naccept: */*\r\n"
        "host: {host}\r\ntransfer-encoding: chunked\r\n\r\n"
    ),
    # E, gvmkit-build: only texts, so its length is known
    "attach": (
        "POST /v1/image/descr/attach/{id} HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=" + BOUNDARY + "\r\n"
        "content-length: {length}\r\naccept: */*\r\nhost: {host}\r\n\r\n"
    ),
    # F, yapapi
    "info-yapapi": (
        "GET /v1/image/info?{query}&count=true HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
        "User-Agent: Python/3.10 aiohttp/3.8.6\r\n\r\n"
    ),
    # F, golem-js: seen from 2.0.0 to 3.6.0, with the fetch of node 20
    "info-golem-js": (
        "GET /v1/image/info?count=true&{query} HTTP/1.1\r\nhost: {host}\r\nconnection: keep-alive\r\naccept: */*\r\n"
        "accept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: gzip, deflate\r\n\r\n"
    ),
    # the same with GOLEM_DEV_MODE=true, which is not to be counted
    "info-golem-js-dev": (
        "GET /v1/image/info?dev=true&{query} HTTP/1.1\r\nhost: {host}\r\nconnection: keep-alive\r\naccept: */*\r\n"
        "accept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: gzip, deflate\r\n\r\n"
    ),
    # F, yajsapi 0.7.1 and golem-js 0.12.3 and 1.0.1: seen, with axios
    "info-yajsapi": (
        "GET /v1/image/info?count=true&{query} HTTP/1.1\r\nAccept: application/json, text/plain, */*\r\nUser-Agent: axios/1.21.1\r\n"
        "Accept-Encoding: gzip, compress, deflate, br\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n"
    ),
    # F, golem-sdk 2.11.0, `manifest create`: seen; nothing stands before its `&`
    "info-golem-sdk": (
        "GET /v1/image/info?&{query} HTTP/1.1\r\nhost: {host}\r\nconnection: keep-alive\r\naccept: */*\r\n"
        "accept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: gzip, deflate\r\n\r\n"
    ),
    # F, ray-on-golem, a client of yapapi's library that may say that it is not to be counted
    "info-ray": (
        "GET /v1/image/info?{query}&count=false HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
        "User-Agent: Python/3.10 aiohttp/3.8.6\r\n\r\n"
    ),
    # H, curl -L
    "redirect": "GET /v1/image/download?{query} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    # G, the provider: first how long it is, then all of it, then the rest of it after an interruption
    "head": "HEAD {path} HTTP/1.1\r\nuser-agent: awc/3.1.1\r\naccept-encoding: br, gzip, deflate, zstd\r\nhost: {host}\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n",
    "get": "GET {path} HTTP/1.1\r\nuser-agent: awc/3.1.1\r\naccept-encoding: br, gzip, deflate, zstd\r\nhost: {host}\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n",
    "get-rest": "GET {path} HTTP/1.1\r\nrange: bytes={start}-\r\nuser-agent: awc/3.1.1\r\nhost: {host}\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n",
}


def text_part(name, value):
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file_part(data):
    return (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="descriptor.txt"\r\n'
            'Content-Type: application/octet-stream\r\n\r\n').encode() + data + b"\r\n"


FORM_END = f"--{BOUNDARY}--\r\n".encode()


def chunked(*pieces):
    """Each piece as a chunk of its own, as a stream sends them."""
    return b"".join(b"%x\r\n" % len(p) + p + b"\r\n" for p in pieces if p) + b"0\r\n\r\n"


def form(texts, data=None):
    return [text_part(k, v) for k, v in texts] + ([file_part(data)] if data is not None else []) + [FORM_END]


class Image:
    """An image, its descriptor, and its chunks."""

    def __init__(self, data, chunk=2 << 20, sha3=None, magic=0x333333334):
        self.data, self.size, self.chunk = data, len(data), chunk
        self.pieces = [data[i:i + chunk] for i in range(0, len(data), chunk)]
        self.digests = [hashlib.sha256(p).digest() for p in self.pieces]
        self.sha3 = sha3 or hashlib.sha3_224(data).hexdigest()
        self.descriptor = struct.pack(">QQQ", magic, len(data), chunk) + bytes.fromhex(self.sha3) + b"".join(self.digests)
        self.id = hashlib.sha256(self.descriptor).hexdigest()

    def fields(self, number, **other):
        values = {"descr-sha256": self.id, "chunk-no": number, "chunk-sha256": self.digests[number].hex(), "chunk-pos": number * self.chunk,
                  "chunk-len": len(self.pieces[number])}
        values.update({k.replace("_", "-"): v for k, v in other.items()})
        return list(values.items())


def variant(data, n, padding=b""):
    """Another valid image: the same file system, more behind it, other metadata."""
    old = int(data[-8:])
    config = json.dumps({"Labels": {"n": str(n)}}).encode()
    return data[:-12 - old] + padding + struct.pack("<I", zlib.crc32(config)) + config + b"%08d" % len(config)


class Answer:
    def __init__(self, status, headers, body, raw):
        self.status, self.headers, self.body, self.raw = status, headers, body, raw

    def json(self):
        assert self.headers["content-type"].startswith("application/json"), self.headers
        return json.loads(self.body)

    def text(self):
        return self.body.decode()

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class Connection:
    """One connection, on which requests follow one another."""

    def __init__(self, url, ca=None, timeout=60):
        scheme, rest = url.split("://")
        self.host = rest
        name, port = rest.rsplit(":", 1)
        self.socket = socket.create_connection((name.strip("[]"), int(port)), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "https":
            self.socket = ssl.create_default_context(cafile=ca).wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb", buffering=1 << 16)

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def head(self):
        """Status line and headers, as they have to be."""
        line = self.file.readline(65536)
        if not line:
            raise EOFError("the server has closed the connection")
        assert line.startswith(b"HTTP/1.1 ") and line.endswith(b"\r\n"), line
        status, headers, raw = int(line.split()[1]), {}, line
        while True:
            line = self.file.readline(65536)
            assert line.endswith(b"\r\n"), line
            raw += line
            if line == b"\r\n":
                return status, headers, raw
            name, value = line.decode("latin-1").rstrip().split(": ", 1)
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value

    def answer(self, head=False):
        status, headers, raw = self.head()
        length = 0 if head or status in (204, 304) else int(headers["content-length"])
        body = self.file.read(length)
        assert len(body) == length, f"{len(body)} bytes of {length}"
        return Answer(status, headers, body, raw)

    def ask(self, name, body=b"", **values):
        """One of REQUESTS."""
        head = REQUESTS[name].format(host=self.host, length=len(body), **values)
        self.send(head.encode() + body)
        return self.answer(head=name == "head")

    def get(self, path, method="GET", **headers):
        lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{lines}\r\n".encode("latin-1"))
        return self.answer(head=method == "HEAD")

    # ---- the requests by what they do ----

    def login(self, user, token):
        return self.ask("login", json.dumps({"username": user, "password": token}, separators=(",", ":")).encode())

    def describe(self, id):
        return self.ask("descriptor", id=id).json()

    def push_descriptor(self, image):
        return self.ask("push-descriptor", chunked(*form([], image.descriptor)))

    def push_chunk(self, image, number, data=None, **other):
        parts = form(image.fields(number, **other), image.pieces[number] if data is None else data)
        # What reqwest makes of a body that it streams: the head of a part, then its bytes in pieces.
        body = b"".join(parts)
        return self.ask("push-chunk", chunked(*(body[i:i + 65536] for i in range(0, len(body), 65536))))

    def attach(self, id, user, repo, tag, login, token, check=False):
        fields = [("tag", tag), ("username", user), ("repository", repo), ("login", login), ("token", token)]
        return self.ask("attach", b"".join(form(fields + ([("check", "true")] if check else []))), id=id)


def push(url, image, tag=None, login=None, token=None, workers=4, ca=None):
    """The whole sequence of gvmkit-build --push; raises with the server's words as that would. Chunks that were sent."""

    def expect(answer, *statuses):
        if answer.status not in statuses:
            raise RuntimeError(f"{answer.status} {answer.text()}")
        return answer

    sent = []
    with Connection(url, ca) as c:
        if login:
            expect(c.login(login, token), 200)
        known = c.describe(image.id)
        if known["descriptor"] != "ok":
            expect(c.push_descriptor(image), 200)
        if tag:
            user, rest = tag.split("/")
            target = (image.id, user, *rest.split(":"), login, token)
        if known.get("status") != "full":
            if tag:
                expect(c.attach(*target, check=True), 200)
            known = c.describe(image.id)
            assert known["descriptor"] == "ok" and known["status"] in ("partial", "full"), known
            missing = [i for i, stored in enumerate(known["chunks"]) if stored != 1]
            errors = []

            def work():
                while missing and not errors:
                    try:
                        number = missing.pop(0)
                    except IndexError:
                        return
                    try:
                        with Connection(url, ca) as own:
                            expect(own.push_chunk(image, number), 200)
                        sent.append(number)
                    except Exception as e:
                        errors.append(e)

            threads = [threading.Thread(target=work) for _ in range(workers)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            if errors:
                raise errors[0]
            # The client asks six times, five seconds apart: another client's chunk may have been the last one, and is still being looked at.
            for _ in range(300):
                if c.describe(image.id).get("status") == "full":
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError("Failed to validate image upload")
        if tag:
            expect(c.attach(*target), 200)
    return sent
