#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is outside of the VM in the tests of `--net user`: outside.py DIRECTORY, in a network namespace of its own.

Gives the loopback interface some addresses, and serves on them: HTTP (the files of DIRECTORY) on port 8000, an echo of
datagrams on port 7000, and DNS on 127.0.0.1 port 5353. Says "up" when all are there. The names that were asked for are
appended to DIRECTORY/asked.
"""

import http.server
import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading

PUBLIC, OTHER, PRIVATE, PUBLIC6 = "8.8.4.4", "9.9.9.9", "10.9.0.1", "2600::1"
ADDRESSES = [PUBLIC, OTHER, PRIVATE]
A, CNAME, AAAA = 1, 5, 28
ZONE = {
    "allowed.example": [(A, PUBLIC)],
    "six.example": [(AAAA, PUBLIC6)],
    "alias.example": [(CNAME, "far.example"), (CNAME, "allowed.example"), (A, PUBLIC)],
    "inner.example": [(A, PRIVATE)],
    "loop.example": [(A, "127.0.0.1")],
    "other.example": [(A, OTHER)],
}


def name_bytes(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def answer(query, log):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += query[at] + 1
    at += 1
    kind, = struct.unpack(">H", query[at:at + 2])
    name = ".".join(labels)
    with open(log, "a") as f:
        f.write(name + "\n")
    records, owner = b"", name
    found = [r for r in ZONE.get(name.lower(), []) if r[0] in (kind, CNAME)]
    for type, value in found:
        if type == CNAME:
            data = name_bytes(value)
        else:
            data = socket.inet_pton(socket.AF_INET if type == A else socket.AF_INET6, value)
        records += name_bytes(owner) + struct.pack(">HHIH", type, 1, 1, len(data)) + data
        owner = value if type == CNAME else owner
    code = 0 if name.lower() in ZONE else 3
    return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(found), 0, 0) + query[12:at + 4] + records


def serve_datagrams(family, address, port, reply):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, port))

    def loop():
        while True:
            data, sender = s.recvfrom(65536)
            s.sendto(reply(data), sender)

    threading.Thread(target=loop, daemon=True).start()


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 64
    address_family = socket.AF_INET6


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def main():
    directory = sys.argv[1]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for a in ADDRESSES:
        subprocess.run(["ip", "address", "add", a + "/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "address", "add", PUBLIC6 + "/128", "dev", "lo", "nodad"], check=True)
    os.chdir(directory)
    server = Server(("::", 8000), Handler)
    for a in ADDRESSES + ["127.0.0.1"]:
        serve_datagrams(socket.AF_INET, a, 7000, lambda data: data.upper())
    serve_datagrams(socket.AF_INET, "127.0.0.1", 5353, lambda data: answer(data, os.path.join(directory, "asked")))
    print("up", flush=True)
    server.serve_forever()


main()
