#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of registries need beside a registry.

  registry.py port                            print a port that is free
  registry.py token PORTFILE DIR              a token service as docker-registry understands it; DIR has key.pem and cert.pem.
                                              Everybody may pull from open/*, user:secret may do what he asks for
  registry.py slow PORTFILE PORT RATE LOG     the registry at PORT again, its blobs at RATE bytes a second; requests go to LOG
  registry.py index URL REPOSITORY TAG OS/ARCH=TAG...
                                              put a manifest list of images that are there
"""

import base64
import hashlib
import http.client
import http.server
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request

MANIFESTS = ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json")
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(handler, port_file):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with open(port_file + ".new", "w", encoding="ascii") as f:
        f.write(str(server.server_address[1]))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token_service(port_file, directory):
    key, certificate = directory + "/key.pem", directory + "/cert.pem"
    with open(certificate, encoding="ascii") as f:
        chain = "".join(line.strip() for line in f if not line.startswith("-"))

    def sign(claims):
        text = b64(json.dumps({"typ": "JWT", "alg": "RS256", "x5c": [chain]}).encode()) + "." + b64(json.dumps(claims).encode())
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
        return text + "." + b64(signature)

    class Tokens(Handler):
        def do_GET(self):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            login = self.headers.get("Authorization")
            if login and base64.b64decode(login.split()[1]) != b"user:secret":
                self.reply(401, b'{"details":"incorrect username or password"}')
                return
            access = []
            for scope in query.get("scope", []):
                kind, name, actions = scope.split(":")
                actions = [a for a in actions.split(",") if login or (a == "pull" and name.startswith("open/"))]
                access.append({"type": kind, "name": name, "actions": actions})
            now = int(time.time())
            claims = {"iss": "test", "sub": "user" if login else "", "aud": query["service"][0], "exp": now + 300, "nbf": now - 10, "iat": now,
                      "jti": str(time.monotonic_ns()), "access": access}
            self.reply(200, json.dumps({"token": sign(claims)}).encode(), [("Content-Type", "application/json")])

    serve(Tokens, port_file)


def slow_registry(port_file, port, rate, log):
    class Slow(Handler):
        def do_GET(self):
            with open(log, "a", encoding="utf-8") as f:
                f.write(f"{self.command} {self.path} {self.headers.get('Range', '-')}\n")
            upstream = http.client.HTTPConnection("127.0.0.1", port)
            headers = {k: v for k, v in self.headers.items() if k.lower() in ("accept", "range", "authorization")}
            upstream.request(self.command, self.path, headers=headers)
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            slow = "/blobs/" in self.path
            while True:
                data = answer.read(rate // 20 if slow else 1 << 20)
                if not data:
                    break
                try:
                    self.wfile.write(data)
                except OSError:
                    break
                if slow:
                    time.sleep(0.05)
            upstream.close()

        do_HEAD = do_GET

    serve(Slow, port_file)


def put_index(url, repository, tag, images):
    manifests = []
    for image in images:
        platform, name = image.split("=")
        request = urllib.request.Request(f"{url}/v2/{repository}/manifests/{name}", headers={"Accept": ", ".join(MANIFESTS)})
        with urllib.request.urlopen(request) as answer:
            data, media = answer.read(), answer.headers["Content-Type"]
        system, architecture = platform.split("/")
        manifests.append({"mediaType": media, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data),
                          "platform": {"os": system, "architecture": architecture}})
    body = json.dumps({"schemaVersion": 2, "mediaType": LIST, "manifests": manifests}).encode()
    request = urllib.request.Request(f"{url}/v2/{repository}/manifests/{tag}", data=body, method="PUT", headers={"Content-Type": LIST})
    with urllib.request.urlopen(request):
        print("sha256:" + hashlib.sha256(body).hexdigest())


def main():
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "port":
        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        print(server.server_address[1])
    elif what == "token":
        token_service(*arguments)
    elif what == "slow":
        slow_registry(arguments[0], int(arguments[1]), int(arguments[2]), arguments[3])
    elif what == "index":
        put_index(arguments[0], arguments[1], arguments[2], arguments[3:])


if __name__ == "__main__":
    main()
