#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of files for the tests of transfers: fileserver.py DIRECTORY PORTFILE.

GET, HEAD and PUT of DIRECTORY/NAME, with ranges. The first component of a path may be a fault:
  /drop/NAME     the first connection is lost in the middle; then ranges work
  /cut/NAME      every connection is lost in the middle
  /status/N      that status, with a page
  /to/NAME       a redirect to /NAME
  /user/NAME     wants the user `u` with the password `p`
The port is written to PORTFILE, requests go to DIRECTORY/.log. The server ends with SIGTERM.
"""

import http.server
import os
import sys
import threading

DIRECTORY, PORTFILE = sys.argv[1:3]
dropped = set()
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def note(self):
        with lock, open(os.path.join(DIRECTORY, ".log"), "a", encoding="utf-8") as f:
            print(self.command, self.path, self.headers.get("Range", "-"), self.headers.get("Authorization", "-"), file=f)

    def plain(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fault(self):
        """The name that is meant, or None when it has been answered."""
        parts = self.path.lstrip("/").split("/", 1)
        if len(parts) < 2:
            return parts[0]
        kind, name = parts
        if kind == "status":
            self.plain(int(name), b"<html>this is not the file</html>", Content_Type="text/html")
        elif kind == "to":
            self.plain(302, Location="/" + name)
        elif kind == "user" and self.headers.get("Authorization") != "Basic dTpw":
            self.plain(401, WWW_Authenticate="Basic realm=x")
        elif kind in ("drop", "cut", "user"):
            return name
        else:
            self.plain(404, b"no such thing")
        return None

    def do_GET(self):
        self.note()
        name = self.fault()
        if name is None:
            return
        path = os.path.join(DIRECTORY, os.path.basename(name))
        if not os.path.exists(path):
            self.plain(404, b"no such thing")
            return
        with open(path, "rb") as f:
            data = f.read()
        first, tag = 0, '"%x"' % os.stat(path).st_mtime_ns
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range", tag) == tag:
            first = int(wanted[len("bytes="):].split("-")[0])
        rest = data[first:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        with lock:
            lose = self.path.startswith("/cut/") or (self.path.startswith("/drop/") and self.path not in dropped)
            dropped.add(self.path)
        if lose:
            self.wfile.write(rest[:len(rest) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(rest)

    do_HEAD = do_GET

    def do_PUT(self):
        self.note()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        name = self.fault()
        if name is None:
            return
        with open(os.path.join(DIRECTORY, os.path.basename(name)), "wb") as f:
            f.write(data)
        self.plain(201)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(PORTFILE + ".new", "w", encoding="utf-8") as f:
    f.write(str(server.server_port))
os.rename(PORTFILE + ".new", PORTFILE)
server.serve_forever()
