#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks like a Docker daemon that has one image: daemon.py ARCHIVE ID NAME.

It listens on ./socket, and adds the paths of requests to ./requests. It ends with SIGTERM.
"""

import http.server
import json
import socketserver
import sys

with open(sys.argv[1], "rb") as file:
    ARCHIVE = file.read()
IMAGE, NAME = sys.argv[2:4]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with open("requests", "a", encoding="utf-8") as f:
            f.write(self.path + "\n")
        body, status = b"{}", 200
        if self.path.endswith("/get"):
            body = ARCHIVE
        elif "/images/" in self.path:
            body = json.dumps({"Id": "sha256:" + IMAGE, "Size": len(ARCHIVE), "RepoTags": [NAME]}).encode()
        elif not self.path.endswith(("/_ping", "/version")):
            status = 404
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self):
        return self.socket.accept()[0], ("local", 0)


Server("socket", Handler).serve_forever()
