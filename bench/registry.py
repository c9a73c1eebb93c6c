#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure registry, store and server: registry.py [--quick] [--only WORDS] GVMKIT [OLDER.gvmi NEWER.gvmi]

Prints a line of JSON for each figure: name, ours, usual, unit, value, target, at_least. Everything runs on loopback, in a directory of its own: in
memory where there is room, for it is not the disk that is measured. What is compared was measured in turns, and the medians are taken.

  pull     an image of 500 MB into the store, hash included, against what one core needs for SHA3-224 of it alone
  serve    bytes a second to 1, 16 and 256 clients of one file, and `info` requests a second, against nginx and a file of the same size
  update   OLDER is in the store, NEWER is wanted: the bytes that move, and the time, against a whole download
  many     1,000 images in the store and in the server: listing, resolving, pruning
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

WINDOW = 3  # seconds of downloads that are counted
MANY = 1000
ROOM = 4 << 30  # bytes that everything together has at a time
OPEN = ["--rate", "0", "--max-address", "0"]  # our limits for strangers are not what is measured


def row(name, ours, usual, unit, value, target, at_least=False):
    print(json.dumps({"name": name, "ours": ours, "usual": usual, "unit": unit, "value": value, "target": target, "at_least": at_least}), flush=True)


def call(argv, **more):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"registry.py: {' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def seconds(what, *words, **more):
    begin = time.monotonic()
    what(*words, **more)
    return time.monotonic() - begin


def until(what, limit=60):
    end = time.monotonic() + limit
    while not what():
        if time.monotonic() > end:
            sys.exit("registry.py: a server does not do what it should")
        time.sleep(0.002)


@contextlib.contextmanager
def stopped(process):
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextlib.contextmanager
def registry(gvmkit, data, *options):
    """Our server, with its log in a file as nginx has one; gives its URL."""
    with open(data + ".log", "ab") as log:
        process = subprocess.Popen([gvmkit, "serve", "--data", data, "--listen", "127.0.0.1:0", *OPEN, *options], stdout=subprocess.PIPE, stderr=log)
    with stopped(process):
        yield process.stdout.readline().decode().strip()


@contextlib.contextmanager
def nginx(work, root):
    """Debian's, with sendfile and as many workers as CPUs; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    conf = os.path.join(work, "nginx.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write(f"""daemon off; worker_processes auto; pid {work}/nginx.pid; error_log {work}/nginx.error;
{"user root;" if os.getuid() == 0 else ""}
events {{ worker_connections 1024; }}
http {{ access_log {work}/nginx.log; sendfile on; tcp_nopush on; keepalive_requests 1000000; client_body_temp_path {work}/nginx.body;
proxy_temp_path {work}/nginx.proxy; fastcgi_temp_path {work}/nginx.fastcgi; uwsgi_temp_path {work}/nginx.uwsgi; scgi_temp_path {work}/nginx.scgi;
server {{ listen 127.0.0.1:{port}; root {root}; }} }}
""")
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.path.exists(program):
        sys.exit("registry.py: there is no nginx; Debian has it in nginx-light")
    with stopped(subprocess.Popen([program, "-c", conf, "-e", f"{work}/nginx.error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)):
        def up():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return True
            return False
        until(up)
        yield f"http://127.0.0.1:{port}"


def env(work, url, name):
    return dict(os.environ, XDG_DATA_HOME=os.path.join(work, name), XDG_CONFIG_HOME=os.path.join(work, name), GOLEM_REGISTRY_URL=url)


def push(gvmkit, path, environment):
    return json.loads(call([gvmkit, "push", "--json", "--progress", "none", "--anonymous", path], env=environment))


def settled(url, digest):
    """Waits until the server has made the chunk map of an image, and is at rest."""
    def there():
        with urllib.request.urlopen(f"{url}/v1/image/info?hash={digest}") as answer:
            return "chunks" in json.load(answer)
    until(there)


def make_image(gvmkit, work, name, size, seed=0):
    """An image of `size` bytes that do not compress."""
    root, path = os.path.join(work, "root"), os.path.join(work, name)
    shutil.rmtree(root, ignore_errors=True)
    os.mkdir(root)
    source = random.Random(seed)
    with open(os.path.join(root, "data"), "wb") as f:
        for at in range(0, size, 1 << 20):
            f.write(source.randbytes(min(1 << 20, size - at)))
    call([gvmkit, "build", f"dir:{root}", "--compression", "lz4", "--progress", "none", "-o", path])
    shutil.rmtree(root)
    return path


# ---- pull ------------------------------------------------------------------------------------------------------------


def bench_pull(gvmkit, work, rounds, image):
    with registry(gvmkit, os.path.join(work, "pull")) as url:
        environment = env(work, url, "store")
        digest = push(gvmkit, image, environment)["hash"]
        settled(url, digest)
        alone, pulled = [], []
        for _ in range(rounds):
            alone.append(seconds(call, ["openssl", "dgst", "-sha3-224", image]))
            shutil.rmtree(environment["XDG_DATA_HOME"], ignore_errors=True)
            pulled.append(seconds(call, [gvmkit, "pull", "--progress", "none", digest], env=environment))
        a, b = statistics.median(alone), statistics.median(pulled)
        row("pull of 500 MB, against its SHA3-224 alone", b, a, "s", a / b, 0.9, True)


# ---- serve -----------------------------------------------------------------------------------------------------------


def rate(url, clients):
    """Bytes a second that so many clients get of one file, each again and again; the bytes are not copied to us."""
    parts = urllib.parse.urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    left, total, poll, sockets = {}, 0, selectors.DefaultSelector(), []
    try:
        for _ in range(clients):
            s = socket.create_connection((parts.hostname, parts.port))
            sockets.append(s)
            s.sendall(request)
            poll.register(s, selectors.EVENT_READ)
        buffer, begin = bytearray(4 << 20), time.monotonic()
        while time.monotonic() - begin < WINDOW:
            for key, _ in poll.select(1):
                s = key.fileobj
                if not left.get(s):
                    head = s.recv(65536, socket.MSG_PEEK)
                    end = head.find(b"\r\n\r\n")
                    if not head or (end >= 0 and not head.startswith(b"HTTP/1.1 200")):
                        sys.exit(f"registry.py: {url} answers {head[:80]!r}")
                    if end < 0:
                        continue
                    s.recv(end + 4)
                    left[s] = int(re.search(rb"(?i)content-length: *(\d+)", head[:end]).group(1))
                n = s.recv_into(buffer, min(len(buffer), left[s]), socket.MSG_TRUNC)
                if n == 0:
                    sys.exit(f"registry.py: {url} closes a connection in the middle")
                left[s] -= n
                total += n
                if not left[s]:
                    s.sendall(request)
        return total / (time.monotonic() - begin)
    finally:
        for s in sockets:
            s.close()


def requests(url, count):
    """Requests a second, by Apache's ab, with connections that are kept."""
    text = call(["ab", "-q", "-k", "-n", str(count), "-c", "64", url])
    if not re.search(r"Failed requests: +0\n", text) or "Non-2xx" in text:
        sys.exit(f"registry.py: {url}: not all requests were answered:\n{text}")
    return float(re.search(r"Requests per second: +([0-9.]+)", text).group(1))


def bench_serve(gvmkit, work, rounds, image):
    root = os.path.join(work, "web")
    os.mkdir(root)
    with registry(gvmkit, os.path.join(work, "serve")) as url:
        pushed = push(gvmkit, image, env(work, url, "other"))
        settled(url, pushed["hash"])
        info = f"{url}/v1/image/info?hash={pushed['hash']}"
        os.link(image, os.path.join(root, "image"))
        with urllib.request.urlopen(info) as answer, open(os.path.join(root, "info"), "wb") as f:
            f.write(answer.read())
        with nginx(work, root) as usual:
            for clients in (1, 16, 256):
                theirs, ours = [], []
                for _ in range(rounds):
                    theirs.append(rate(f"{usual}/image", clients) / 1e6)
                    ours.append(rate(f"{url}/download/{pushed['descriptor']}", clients) / 1e6)
                a, b = statistics.median(theirs), statistics.median(ours)
                row(f"download by {clients} client{'s' if clients > 1 else ''}, against nginx", b, a, "MB/s", b / a, 0.8, True)
            theirs, ours = [], []
            for _ in range(rounds):
                theirs.append(requests(f"{usual}/info", 10000))
                ours.append(requests(info, 10000))
            a, b = statistics.median(theirs), statistics.median(ours)
            row("info requests, against static answers of nginx", b, a, "/s", b / a, 0.5, True)


# ---- update ----------------------------------------------------------------------------------------------------------


def bench_update(gvmkit, work, rounds, older, newer):
    with registry(gvmkit, os.path.join(work, "update")) as url:
        environment = env(work, url, "updated")
        ids = [push(gvmkit, path, environment) for path in (older, newer)]
        for pushed in ids:
            settled(url, pushed["hash"])
        whole, update, moved = [], [], 0
        for _ in range(rounds):
            shutil.rmtree(environment["XDG_DATA_HOME"], ignore_errors=True)
            whole.append(seconds(call, [gvmkit, "pull", "--progress", "none", ids[1]["hash"]], env=environment))
            shutil.rmtree(environment["XDG_DATA_HOME"])
            call([gvmkit, "pull", "--progress", "none", ids[0]["hash"]], env=environment)
            begin = time.monotonic()
            said = call([gvmkit, "pull", "--json", "--progress", "none", ids[1]["hash"]], env=environment)
            update.append(time.monotonic() - begin)
            moved = json.loads(said)[0]["received"]
        size = os.path.getsize(newer)
        row("update of 20 packages: bytes", moved / 1e6, size / 1e6, "MB", moved / size, 0.2)
        a, b = statistics.median(whole), statistics.median(update)
        row("update of 20 packages: time, against a whole download", b, a, "s", b / a, 1.0)


# ---- many ------------------------------------------------------------------------------------------------------------


def make_many(gvmkit, work, environment, data):
    """Small images in the server, of which all have a tag; then all in the store."""
    root = os.path.join(work, "small")
    os.mkdir(root)
    admin = [gvmkit, "serve", "--data", data, "admin"]
    call([*admin, "user", "add", "bench"])
    call([*admin, "repo", "add", "bench/many"])
    environment.update(REGISTRY_USER="bench", REGISTRY_TOKEN=call([*admin, "token", "add", "bench"]).strip())
    names = [f"bench/many:{i}" for i in range(MANY)]
    for i, name in enumerate(names):
        path = os.path.join(work, "small.gvmi")
        with open(os.path.join(root, "number"), "w", encoding="ascii") as f:
            f.write(hashlib.sha256(str(i).encode()).hexdigest())
        call([gvmkit, "build", "--force", f"dir:{root}", "--progress", "none", "-j", "1", "-o", path])
        call([gvmkit, "push", "--progress", "none", path, name], env=environment)
    call([gvmkit, "pull", "--progress", "none", *names], env=environment)


def bench_many(gvmkit, work, rounds):
    data = os.path.join(work, "many")
    with registry(gvmkit, data) as url:
        environment = env(work, url, "kept")
        make_many(gvmkit, work, environment, data)

        def get(path):
            with urllib.request.urlopen(url + path) as answer:
                return answer.read()

        def median(what, *words, **more):
            return statistics.median(seconds(what, *words, **more) for _ in range(rounds))

        listed = json.loads(call([gvmkit, "images", "--json"], env=environment))
        served = json.loads(call([gvmkit, "serve", "--data", data, "admin", "image", "list", "--json"]))
        if len(listed) != MANY or len(served) != MANY:
            sys.exit(f"registry.py: there are {len(listed)} and {len(served)} images, not {MANY}")
        figures = [("store: listing", median(call, [gvmkit, "images"], env=environment)),
                   ("store: resolving a name", median(call, [gvmkit, "inspect", f"bench/many:{MANY // 2}"], env=environment)),
                   ("server: listing", median(call, [gvmkit, "serve", "--data", data, "admin", "image", "list"])),
                   ("server: the page of all tags", median(get, "/")),
                   ("server: resolving a name", median(get, f"/v1/image/info?tag=bench/many:{MANY // 2}"))]
        size = sum(image["size"] for image in listed) // 2
        figures.append(("store: pruning half of it", seconds(call, [gvmkit, "prune", "--max-size", str(size)], env=environment)))
        call([gvmkit, "serve", "--data", data, "admin", "repo", "rm", "bench/many"])
    # Without tags everything goes in the first collection, which is made when the server starts.
    time.sleep(1.1)
    images = os.path.join(data, "images")
    begin = time.monotonic()
    with registry(gvmkit, data, "--keep-untagged", "1s"):
        until(lambda: not any(name.endswith(".gvmi") for name in os.listdir(images)))
        figures.append(("server: collecting all, its start included", time.monotonic() - begin))
    for name, value in figures:
        row(f"1,000 images, {name}", value, None, "s", value, 0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("--only", default="pull serve update many", help="some of: pull serve update many")
    parser.add_argument("gvmkit")
    parser.add_argument("pair", nargs="*", help="two images, the older one first")
    o = parser.parse_args()
    rounds = 1 if o.quick else 3
    if len(o.pair) not in (0, 2):
        parser.error("an update has two images")
    in_memory = os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > ROOM
    with tempfile.TemporaryDirectory(prefix="gvmkit-bench-registry", dir="/dev/shm" if in_memory else "/var/tmp") as work:
        kinds = o.only.split()
        if "pull" in kinds or "serve" in kinds:
            image = make_image(o.gvmkit, work, "large.gvmi", 500 * 10**6)
        if "pull" in kinds:
            bench_pull(o.gvmkit, work, rounds, image)
        if "serve" in kinds:
            bench_serve(o.gvmkit, work, rounds, image)
        if "update" in kinds and o.pair:
            bench_update(o.gvmkit, work, rounds, *o.pair)
        if "many" in kinds:
            bench_many(o.gvmkit, work, rounds)


main()
