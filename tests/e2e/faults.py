#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of files that goes wrong on request, for the tests of downloads.

  faults.py PORTFILE DIR LOG    serve DIR on a free port of 127.0.0.1; LOG gets a line "METHOD PATH RANGE IF-RANGE" for each request
  faults.py make FILE SIZE      write SIZE bytes that do not compress and begin like an image

The first part of a path says what goes wrong with the rest of it; without one of these it is served well, with ranges and entity tags:

  drop-N       the connection is lost after a third of what is left, N times
  slow-RATE    RATE bytes a second
  no-range     ranges are ignored         no-etag      neither entity tag nor date
  dated        a date, no entity tag      part-N       the body is cut off after N bytes, always, with the length of all
  changed      the first request gets half of another version; then it is the right one, with another tag
  blind        the same, but If-Range is ignored: parts of the new version, with its tag
  mixed        the same, but with the tag of the first: only the hash tells
  torn         ranges have a wrong byte
  other        as long, but with a wrong byte      empty   nothing, status 200
  page-STATUS  a web page with that status         status-STATUS-N   N times that status, then the file
  status-416   always 416                          redirect / loop   to the file / to itself
  typed        the file, said to be text/plain     endless   no length, and no end
  long-length  a length larger than the file       short-length   a length smaller than the file
"""

import hashlib
import http.server
import os
import random
import sys
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    directory, log, lock, counts = "", "", threading.Lock(), {}

    def log_message(self, *args):
        pass

    def send(self, status, headers, body=b"", length=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self):
        self.close_connection = True

    def do_GET(self):
        try:
            self.answer()
        except OSError:
            self.hang_up()

    def answer(self):
        with self.lock:
            with open(self.log, "a", encoding="utf-8") as f:
                f.write(f"{self.command} {self.path} {self.headers.get('Range', '-')} {self.headers.get('If-Range', '-')}\n")
            count = self.counts[self.path] = self.counts.get(self.path, 0) + 1
        fault, _, name = self.path.lstrip("/").rpartition("/")
        path = os.path.join(self.directory, name)
        if not os.path.isfile(path):
            return self.send(404, {"Content-Type": "text/html"}, b"<html><h1>Not Found</h1></html>")
        with open(path, "rb") as f:
            data = f.read()
        word, _, number = fault.partition("-")
        if word == "page":
            return self.send(int(number), {"Content-Type": "text/html; charset=utf-8"}, b"<html><h1>Log in</h1></html>")
        if word == "status" and (number == "416" or count <= int(number.split("-")[1])):
            return self.send(int(number.split("-")[0]), {"Content-Type": "text/plain"}, b"not now\n")
        if fault == "redirect":
            return self.send(302, {"Location": "/" + name})
        if fault == "loop":
            return self.send(302, {"Location": self.path})
        if fault == "empty":
            return self.send(200, {"Content-Type": "application/octet-stream"})
        if fault == "endless":
            return self.endless()
        return self.serve(fault, word, number, data, count)

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunk = b"hsqs" * 16384
        while True:
            self.wfile.write(b"10000\r\n" + chunk + b"\r\n")

    def serve(self, fault, word, number, data, count):
        etag = '"' + hashlib.sha256(data).hexdigest()[:16] + '"'
        if fault == "other":
            data = data[:-1] + bytes([data[-1] ^ 1])
        first_version = fault in ("changed", "blind", "mixed") and count == 1
        if first_version:
            data = b"hsqs" + bytes(len(data) - 4)
            etag = etag if fault == "mixed" else '"first"'
        headers = {"Content-Type": "text/plain" if fault == "typed" else "application/octet-stream"}
        if fault == "dated":
            headers["Last-Modified"] = "Mon, 01 Jan 2024 00:00:00 GMT"
            etag = headers["Last-Modified"]
        elif fault != "no-etag":
            headers["ETag"] = etag
        wanted = self.headers.get("Range", "")
        if_range = self.headers.get("If-Range")
        ranged = wanted and fault != "no-range" and (if_range in (None, etag) or fault == "blind")
        start, _, end = wanted[6:].partition("-")
        first = int(start) if ranged else 0
        last = int(end) if ranged and end else len(data) - 1
        if first and first >= len(data):
            return self.send(416, {"Content-Range": f"bytes */{len(data)}"})
        status, body = 200, data
        if ranged:
            status, body = 206, data[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            if fault == "torn":
                body = body[:-1] + bytes([body[-1] ^ 1])
        length = len(body)
        if word == "drop" and count <= int(number):
            body = body[: len(body) // 3]
        elif first_version:
            body = body[: len(body) // 2]
        elif word == "part":
            body = body[: max(0, int(number) - first)]
        elif fault == "long-length":
            length += 1000
        elif fault == "short-length":
            length -= 1000
            body = body[:length]
        if word != "slow":
            self.send(status, headers, body, length)
        else:
            self.send(status, headers, b"", length)
            step = int(number) // 50
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                time.sleep(0.02)
        if len(body) < length:
            self.hang_up()
        return None


def main():
    if sys.argv[1] == "make":
        with open(sys.argv[2], "wb") as f:
            f.write(b"hsqs" + random.Random(sys.argv[2]).randbytes(int(sys.argv[3]) - 4))
        return
    port_file, Handler.directory, Handler.log = sys.argv[1:4]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with open(port_file + ".new", "w", encoding="ascii") as f:
        f.write(str(server.server_address[1]))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


main()
