#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the `transfer` of a script against curl: transfer.py [--size MIB] [--rounds N] GVMKIT IMAGE

A server on loopback sends a file of so many MiB (default 4096) with sendfile, from memory where there is room. In turns it is fetched by `curl -o` and by
a `transfer` into a volume of a running VM, of which the time is that between its events. Prints a line of JSON with the medians in seconds, and
the ratio of the rates, which should be at least 0.6.
"""

import argparse
import datetime
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time


def serve(listener, path):
    def answer(connection):
        with connection, open(path, "rb") as f:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = connection.recv(65536)
                    if not more:
                        return
                    head += more
                size = os.fstat(f.fileno()).st_size
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: \"1\"\r\n\r\n".encode())
                f.seek(0)
                connection.sendfile(f)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def transfer(gvmkit, image, url, workdir):
    script = [{"deploy": {"volumes": ["/data"]}}, {"start": {}}, {"transfer": {"from": url, "to": "container:/data/file"}}]
    done = subprocess.run([gvmkit, "script", "-", "--stream", "--image", image, "--workdir", workdir, "--", "--storage-gib", "64"], input=json.dumps(script), stdout=subprocess.PIPE,
                          text=True, check=True, env=dict(os.environ, GVMKIT_ALLOW_TCG="1"))
    times = {}
    for line in done.stdout.splitlines():
        event = json.loads(line)
        if event["index"] == 2:
            times[next(iter(event["kind"]))] = datetime.datetime.fromisoformat(event["timestamp"][:26])
    shutil.rmtree(workdir)
    return (times["finished"] - times["started"]).total_seconds()


def curl(url, path):
    begin = time.monotonic()
    subprocess.run(["curl", "-sSf", "-o", path, url], check=True)
    seconds = time.monotonic() - begin
    os.unlink(path)
    return seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("gvmkit")
    parser.add_argument("image")
    o = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gvmkit-bench-transfer", dir="/var/tmp") as work:
        free = shutil.disk_usage(work).free >> 20
        memory = shutil.disk_usage("/dev/shm").free >> 20 if os.path.isdir("/dev/shm") else 0
        if free < 2 * o.size:
            sys.exit(f"transfer.py: {work} has {free} MiB; {2 * o.size} are needed")
        with tempfile.NamedTemporaryFile(dir="/dev/shm" if memory > 2 * o.size else work) as source:
            block = os.urandom(1 << 20)
            for _ in range(o.size):
                source.write(block)
            source.flush()
            listener = socket.create_server(("127.0.0.1", 0))
            threading.Thread(target=serve, args=(listener, source.name), daemon=True).start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
            theirs, ours = [], []
            for _ in range(o.rounds):
                theirs.append(curl(url, os.path.join(work, "curl")))
                ours.append(transfer(o.gvmkit, o.image, url, os.path.join(work, "w")))
            a, b = statistics.median(theirs), statistics.median(ours)
            print(json.dumps({"mib": o.size, "curl_s": round(a, 3), "transfer_s": round(b, 3), "ratio": round(a / b, 3), "target": 0.6}))


main()
