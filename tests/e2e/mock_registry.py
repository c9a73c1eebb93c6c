#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that is strict: every field of every request has to be what the protocol says (docs/registry.md).

  mock_registry.py PORTFILE DIR [FAULT...]

DIR/images gets what was uploaded, DIR/requests a line "LETTER ..." for each request, in order, DIR/wrong a line for everything that should not
have been. Accounts: alice with the token "secret:1" owns alice/demo; bob with "hunter2" may also write there. FAULTs:

  chunk-500=N    the first try of chunk N is answered with 500
  chunk-drop=N   the connection of the first try of chunk N is lost after 1000 bytes of the body
  chunk-400=N    chunk N is always refused
  slow-full=N    the image is full only at the N-th question
  never-full     it is never full
  no-status      B does not tell the status
"""

import hashlib
import http.server
import json
import os
import re
import struct
import sys
import threading
import time
import urllib.parse

ACCOUNTS = {"alice": "secret:1", "bob": "hunter2"}
OWNERS = {("alice", "demo"): {"alice", "bob"}}
CHUNK_FIELDS = ["descr-sha256", "chunk-no", "chunk-sha256", "chunk-pos", "chunk-len", "file"]
TAG_FIELDS = ["tag", "username", "repository", "login", "token"]


class Wrong(Exception):
    pass


def need(condition, text):
    if not condition:
        raise Wrong(text)


class Image:
    def __init__(self, descriptor):
        need(len(descriptor) >= 52, "a descriptor of fewer than 52 bytes")
        version, self.size, self.chunk = struct.unpack(">QQQ", descriptor[:24])
        need(version == 0x333333334, f"version {version:#x}")
        need(self.chunk > 0, "empty chunks")
        self.sha3 = descriptor[24:52].hex()
        self.count = -(-self.size // self.chunk)
        need(len(descriptor) == 52 + 32 * self.count, "a descriptor of a wrong length")
        self.digests = [descriptor[52 + 32 * i : 84 + 32 * i].hex() for i in range(self.count)]
        self.have = [0] * self.count
        self.data = bytearray(self.size)
        self.questions = 0

    def complete(self):
        return all(self.have)


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.RLock()
    images, tags, tried, faults, directory, active, most = {}, {}, set(), {}, "", 0, 0

    def log_message(self, *args):
        pass

    def note(self, name, text):
        with self.lock, open(os.path.join(self.directory, name), "a", encoding="utf-8") as f:
            f.write(text + "\n")

    def reply(self, status, body, kind="application/json"):
        data = json.dumps(body).encode() if kind == "application/json" else body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def text(self, status, text):
        self.reply(status, text, "text/plain; charset=utf-8")

    def handle_checked(self, routes):
        url = urllib.parse.urlsplit(self.path)
        try:
            need("Authorization" not in self.headers, "credentials in a header")
            need(self.headers.get("User-Agent", "").startswith("gvmkit/"), "no user agent")
            for pattern, handler in routes:
                match = re.fullmatch(pattern, url.path)
                if match:
                    return handler(url, *match.groups())
            raise Wrong(f"no such endpoint: {self.command} {self.path}")
        except Wrong as e:
            self.note("wrong", f"{self.command} {self.path}: {e}")
            self.close_connection = True
            return self.text(400, f"this client is wrong: {e}")

    def do_GET(self):
        self.handle_checked([
            (r"/v1/image/descr/([0-9a-f]{64})", self.state),
            (r"/v1/image/info", self.info),
            (r"/download/([0-9a-f]{64})", self.download),
            (r"/download/([0-9a-f]{64})\.chunks", self.no_map),
            (r"/image\.([0-9a-f]{56})\.link", self.link),
        ])

    def do_POST(self):
        self.handle_checked([
            (r"/auth/pat/login", self.login),
            (r"/v1/image/push/descr", self.push_descriptor),
            (r"/v1/image/push/chunk", self.push_chunk),
            (r"/v1/image/descr/attach/([0-9a-f]{64})", self.attach),
            (r"/v1/image/signature", self.no_signatures),
        ])

    def body(self):
        need("Content-Length" in self.headers or self.headers.get("Transfer-Encoding") == "chunked", "a body of no length")
        need("Content-Length" in self.headers, "this mock knows no chunked bodies")
        return self.rfile.read(int(self.headers["Content-Length"]))

    def form(self, body=None):
        """The parts of a form in their order: [(name, headers, content)]."""
        kind = self.headers.get("Content-Type", "")
        match = re.fullmatch(r"multipart/form-data; boundary=([0-9A-Za-z'()+_,./:=?-]{1,70})", kind)
        need(match, f"Content-Type: {kind}")
        mark = b"--" + match.group(1).encode()
        body = self.body() if body is None else body
        need(body.startswith(mark + b"\r\n") and body.endswith(b"\r\n" + mark + b"--\r\n"), "a form that does not begin or end")
        parts = []
        for piece in body[len(mark) + 2 : -len(mark) - 6].split(b"\r\n" + mark + b"\r\n"):
            head, _, content = piece.partition(b"\r\n\r\n")
            lines = dict(line.split(": ", 1) for line in head.decode("ascii").split("\r\n"))
            match = re.fullmatch(r'form-data; name="([a-z0-9-]+)"(?:; filename="([^"]*)")?', lines.pop("Content-Disposition", ""))
            need(match, "a part without a name")
            if match.group(1) == "file":
                need(match.group(2) == "descriptor.txt", "a file of another name")
                need(lines == {"Content-Type": "application/octet-stream"}, f"headers of a file: {lines}")
            else:
                need(match.group(2) is None and not lines, f"headers of a text: {lines}")
            parts.append((match.group(1), content))
        return parts

    # A
    def login(self, url):
        need(self.headers.get("Content-Type") == "application/json", "no JSON")
        o = json.loads(self.body())
        need(set(o) == {"username", "password"}, f"fields {sorted(o)}")
        self.note("requests", f"A {o['username']}")
        if ACCOUNTS.get(o["username"]) == o["password"]:
            self.text(200, "welcome")
        else:
            self.text(401, "Invalid username or token")

    def no_signatures(self, url):
        """An extension that this registry does not have."""
        fields = [name for name, _ in self.form()]
        need(fields == ["descr-sha256", "login", "token", "file"], f"fields {fields}")
        self.text(404, "not found")

    # B
    def state(self, url, name):
        need(not url.query, "a query")
        self.note("requests", "B")
        with self.lock:
            image = self.images.get(name)
            if not image:
                return self.reply(404, {"descriptor": "not found"})
            answer = {"descriptor": "ok", "version": 3, "status": "incomplete", "chunks": image.have}
            if image.complete():
                image.questions += 1
                if "never-full" not in self.faults and image.questions >= int(self.faults.get("slow-full", 1)):
                    answer["status"] = "full"
            if "no-status" in self.faults:
                del answer["status"]
            return self.reply(200, answer)

    # C
    def push_descriptor(self, url):
        parts = self.form()
        need([p[0] for p in parts] == ["file"], f"parts {[p[0] for p in parts]}")
        name = hashlib.sha256(parts[0][1]).hexdigest()
        self.note("requests", "C")
        with self.lock:
            need(name not in self.images, "the descriptor was known")
            image = Image(parts[0][1])
            need(image.count <= 1000, "more than 1000 chunks")
            self.images[name] = image
        self.text(200, "ok")

    # D
    def push_chunk(self, url):
        need("Content-Length" in self.headers, "this mock knows no chunked bodies")
        with self.lock:
            Registry.active += 1
            Registry.most = max(Registry.most, Registry.active)
        try:
            self.push_chunk_body()
        finally:
            with self.lock:
                Registry.active -= 1
                with open(os.path.join(self.directory, "most"), "w", encoding="ascii") as f:
                    f.write(str(Registry.most))

    def push_chunk_body(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(min(length, 1000))
        number = int(re.search(rb'name="chunk-no"\r\n\r\n(\d+)', body).group(1))
        first = ("try", number) not in self.tried
        self.tried.add(("try", number))
        if first and self.faults.get("chunk-drop") == str(number):
            self.note("requests", f"D {number} dropped")
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        parts = self.form(body + self.rfile.read(length - len(body)))
        need([p[0] for p in parts] == CHUNK_FIELDS, f"parts {[p[0] for p in parts]}")
        fields = {name: content if name == "file" else content.decode("ascii") for name, content in parts}
        if first and self.faults.get("chunk-500") == str(number):
            self.note("requests", f"D {number} 500")
            return self.text(500, "try later")
        if self.faults.get("chunk-400") == str(number):
            self.note("requests", f"D {number} 400")
            return self.text(400, "this chunk is not wanted")
        time.sleep(0.05)
        with self.lock:
            image = self.images.get(fields["descr-sha256"])
            need(image, "a chunk of an unknown descriptor")
            for field in ("chunk-no", "chunk-pos", "chunk-len"):
                need(re.fullmatch("0|[1-9][0-9]*", fields[field]), f"{field} is {fields[field]}")
            need(number < image.count, "no such chunk")
            need(not image.have[number], "a chunk that was there")
            position = int(fields["chunk-pos"])
            need(position == number * image.chunk, "a wrong position")
            data = fields["file"]
            need(len(data) == int(fields["chunk-len"]) == min(image.chunk, image.size - position), "a wrong length")
            digest = hashlib.sha256(data).hexdigest()
            need(digest == fields["chunk-sha256"] == image.digests[number], "a wrong digest")
            image.data[position : position + len(data)] = data
            image.have[number] = 1
            self.note("requests", f"D {number}")
            if image.complete():
                with open(os.path.join(self.directory, "images", image.sha3), "wb") as f:
                    f.write(image.data)
        return self.text(200, "ok")

    # E
    def attach(self, url, name):
        parts = self.form()
        names = [p[0] for p in parts]
        need(names in (TAG_FIELDS, TAG_FIELDS + ["check"]), f"parts {names}")
        f = {name: content.decode() for name, content in parts}
        check = "check" in f
        need(not check or f["check"] == "true", "check is not true")
        self.note("requests", f"E {f['username']}/{f['repository']}:{f['tag']} {f['login']}{' check' if check else ''}")
        with self.lock:
            image = self.images.get(name)
            need(image, "an unknown descriptor")
            need(check or image.complete(), "a tag for an image that is not complete")
            if ACCOUNTS.get(f["login"]) != f["token"]:
                return self.text(401, "Invalid token")
            owners = OWNERS.get((f["username"], f["repository"]))
            if owners is None:
                return self.text(404, "Repository not found")
            if f["login"] not in owners:
                return self.text(403, "You cannot write to this repository")
            if not check:
                self.tags[f"{f['username']}/{f['repository']}:{f['tag']}"] = name
        return self.text(200, "ok")

    # F
    def info(self, url):
        query = urllib.parse.parse_qs(url.query, strict_parsing=True)
        statistics = query.pop("count", None) or query.pop("dev", None)
        need(statistics == ["true"], "neither count=true nor dev=true")
        need(len(query) == 1 and list(query)[0] in ("tag", "hash"), f"query {url.query}")
        self.note("requests", f"F {url.query}")
        with self.lock:
            if "tag" in query:
                name = self.tags.get(query["tag"][0])
            else:
                need(re.fullmatch("[0-9a-f]{56}", query["hash"][0]), "a hash that is none")
                found = [n for n, i in self.images.items() if i.sha3 == query["hash"][0] and i.complete()]
                name = found[0] if found else None
            if not name:
                return self.text(404, "Image not found")
            image = self.images[name]
            where = f"{self.headers['Host']}/download/{name}"
            return self.reply(200, {"http": f"http://{where}", "https": f"https://{where}", "sha3": image.sha3, "size": image.size})

    # G
    def download(self, url, name):
        self.note("requests", "G")
        image = self.images.get(name)
        if not image or not image.complete():
            return self.text(404, "no such file")
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(image.size))
        self.send_header("ETag", f'"{name}"')
        self.end_headers()
        self.wfile.write(image.data)
        return None

    # Whether a file has a chunk map beside it may be asked of any server.
    def no_map(self, url, name):
        self.text(404, "no such file")

    def link(self, url, sha3):
        path = os.path.join(self.directory, f"image.{sha3}.link")
        self.note("requests", "link")
        if not os.path.exists(path):
            return self.text(404, "no such file")
        with open(path, encoding="ascii") as f:
            return self.text(200, f.read())


def main():
    port_file, Registry.directory = sys.argv[1:3]
    Registry.faults = dict((f.split("=") + [""])[:2] for f in sys.argv[3:])
    os.makedirs(os.path.join(Registry.directory, "images"))
    for name in ("requests", "wrong"):
        open(os.path.join(Registry.directory, name), "w", encoding="ascii").close()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    server.daemon_threads = True
    with open(port_file + ".new", "w", encoding="ascii") as f:
        f.write(str(server.server_address[1]))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


main()
