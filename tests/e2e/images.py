#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the images that the end-to-end tests use: images.py DIRECTORY.

Written by hand with tarfile, so that each archive holds exactly the trouble its test is about. The programs in them
come from Debian's busybox-static.
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUSYBOX = os.environ.get("GVMKIT_TEST_BUSYBOX") or subprocess.run(
    [os.path.join(TOP, "scripts/get-busybox.sh")], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
MTIME = 1700000000


class Layer:
    """A layer as a tar, entry by entry."""

    def __init__(self):
        self.file = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, type=tarfile.REGTYPE, data=b"", mode=0o644, uid=0, gid=0, link="", mtime=MTIME, pax=None, major=0, minor=0):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid, info.linkname, info.mtime = type, mode, uid, gid, link, mtime
        info.devmajor, info.devminor = major, minor
        info.size = len(data) if type == tarfile.REGTYPE else 0
        info.pax_headers = pax or {}
        self.tar.addfile(info, io.BytesIO(data) if info.size else None)
        return self

    def dir(self, name, mode=0o755, **more):
        return self.add(name, tarfile.DIRTYPE, mode=mode, **more)

    def link(self, name, target, **more):
        return self.add(name, tarfile.SYMTYPE, link=target, mode=0o777, **more)

    def hard(self, name, target, **more):
        return self.add(name, tarfile.LNKTYPE, link=target, **more)

    def bytes(self):
        self.tar.close()
        return self.file.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write_tar(path, members):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), MTIME, 0o644
            tar.addfile(info, io.BytesIO(data))


def config_json(config, layers, arch="amd64"):
    return json.dumps({
        "architecture": arch, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(layer) for layer in layers]},
    }).encode()


def docker_members(images):
    """The members of a `docker save` archive (legacy layout); images is a list of (tags, config, layers)."""
    members, manifest, seen = [], [], set()
    for tags, config, layers in images:
        blob = config_json(config, layers)
        names = []
        for layer in layers:
            name = sha256(layer) + "/layer.tar"
            names.append(name)
            if name not in seen:
                members.append((name, layer))
            seen.add(name)
        members.append((sha256(blob) + ".json", blob))
        manifest.append({"Config": sha256(blob) + ".json", "RepoTags": tags, "Layers": names})
    return members + [("manifest.json", json.dumps(manifest).encode())]


def docker(path, config, layers, tags=("test/image:latest",)):
    write_tar(path, docker_members([(list(tags), config, layers)]))


def compress(layer, how):
    if how == "gzip":
        return gzip.compress(layer, 6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip"
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=layer, stdout=subprocess.PIPE, check=True).stdout, \
            "application/vnd.oci.image.layer.v1.tar+zstd"
    return layer, "application/vnd.oci.image.layer.v1.tar"


def oci_members(config, layers, how="gzip", tag="latest", arch="amd64"):
    """The members of an OCI layout with one image."""
    members = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')]

    def blob(data):
        members.append(("blobs/sha256/" + sha256(data), data))
        return {"digest": "sha256:" + sha256(data), "size": len(data)}

    descriptors = []
    for i, layer in enumerate(layers):
        data, media = compress(layer, how if isinstance(how, str) else how[i])
        descriptors.append({"mediaType": media, **blob(data)})
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(config_json(config, layers, arch))},
        "layers": descriptors}).encode()
    index = {"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", **blob(manifest),
        "annotations": {"org.opencontainers.image.ref.name": tag}}]}
    return members + [("index.json", json.dumps(index).encode())]


def write_layout(path, members):
    for name, data in members:
        target = os.path.join(path, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as f:
            f.write(data)


def busybox():
    with open(BUSYBOX, "rb") as f:
        return f.read()


PASSWD = (b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
          b"bob:x:1001:1001::/home/bob:/bin/sh\n")
GROUP = b"root:x:0:\nstaff:x:50:alice\nalice:x:1000:\nbob:x:1001:\naudio:x:29:alice,bob\n"


def base_layer():
    layer = Layer()
    for name, mode in (("bin", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o555), ("root", 0o700), ("sys", 0o555),
                       ("tmp", 0o1777), ("usr", 0o755), ("usr/bin", 0o755), ("var", 0o755), ("dev", 0o755)):
        layer.dir(name, mode)
    layer.dir("home/alice", 0o700, uid=1000, gid=1000)
    layer.add("bin/busybox", data=busybox(), mode=0o755)
    applets = subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            layer.hard("bin/" + applet, "bin/busybox", mode=0o755)
    layer.add("etc/passwd", data=PASSWD).add("etc/group", data=GROUP)
    layer.add("etc/motd", data=b"made for tests\n")
    layer.add("bin/notexec", data=b"no program\n")
    layer.add("bin/noformat", data=b"\0\1\2 no program\n", mode=0o755)
    return layer.bytes()


def bare_layer():
    """Nothing but two programs: no /proc, no /etc, no anything."""
    return Layer().add("bin/busybox", data=busybox(), mode=0o755).hard("bin/sh", "bin/busybox", mode=0o755).bytes()


def twisted_layer():
    """Everything that a boot could stumble over is a link or of the wrong type."""
    layer = Layer().dir("etc").dir("data").dir("data/var").dir("data/run")
    layer.link("etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf")
    layer.link("etc/hosts", "../gone/hosts").link("etc/hostname", "/proc/nothing")
    layer.link("var", "/data/var").link("data/var/run", "/run")
    layer.add("dev", data=b"a file, not a directory\n").link("tmp", "/data/tmp").link("proc", "/data/run")
    layer.link("outside", "../../../../data")
    return layer.bytes()


def whiteout_layers():
    one = (Layer().dir("w").add("w/keep", data=b"keep").add("w/gone", data=b"gone").dir("w/opaque")
           .add("w/opaque/old", data=b"old").add("w/target", data=b"hard link content").dir("w/dir").add("w/dir/in", data=b"x")
           .add("w/file", data=b"was a file"))
    two = (Layer().add("w/.wh.gone").add("w/opaque/new", data=b"new").add("w/opaque/.wh..wh..opq").hard("w/link", "w/target")
           .add("w/.wh.dir").dir("w/file").add("w/file/in", data=b"now a directory"))
    three = Layer().add("w/.wh.target").add("w/suid", data=b"#!/bin/sh\n", mode=0o4755).add(
        "w/cap", data=b"#!/bin/sh\n", mode=0o755,
        pax={"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"})
    return [one.bytes(), two.bytes(), three.bytes()]


def good(out):
    base = base_layer()
    path = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    docker(out + "/base.tar", {"Env": path + ["GREETING=hello"], "Cmd": ["sh", "-c", "echo default command"]}, [base],
           ["test/base:latest"])
    docker(out + "/user.tar", {
        "Env": path, "User": "alice", "WorkingDir": "/home/alice/made/later", "Volumes": {"/data": {}, "/data/inner": {}, "/srv/v/": {}},
        "Entrypoint": ["sh", "-c", "id; pwd; echo \"args: $0 $*\"", "zero"], "Cmd": ["one", "two words"]}, [base])
    docker(out + "/bare.tar", {"Cmd": ["/bin/sh"]}, [bare_layer()])
    docker(out + "/twisted.tar", {"Env": path, "Volumes": {
        "/var/lib/x/": {}, "/tmp/deep/er": {}, "/dev/vol": {}, "/outside/v": {}, "/run/v": {}}}, [base, twisted_layer()])
    whiteouts = [base] + whiteout_layers()
    docker(out + "/layers.tar", {"Env": path}, whiteouts)
    write_tar(out + "/layers.oci.tar", oci_members({"Env": path}, whiteouts, "gzip"))
    write_tar(out + "/layers.zstd.tar", oci_members({"Env": path}, whiteouts, ["none", "zstd", "gzip", "zstd"]))
    write_layout(out + "/layers.oci", oci_members({"Env": path}, whiteouts, "gzip"))
    with open(out + "/layers.tar", "rb") as f, open(out + "/layers.tar.gz", "wb") as g:
        g.write(gzip.compress(f.read(), 1, mtime=0))
    write_tar(out + "/two.tar", docker_members([(["first/app:1.0", "localhost:5000/first/app:1.0"], {"Cmd": ["/bin/echo", "first"]}, [base]),
                                                (["second:latest"], {"Cmd": ["/bin/echo", "second"]}, [base])]))
    write_tar(out + "/arm.oci.tar", oci_members({}, [base], "gzip", arch="arm64"))


def bad(out):
    base = bare_layer()
    config = {"Cmd": ["/bin/sh"]}
    with open(out + "/noarchive", "wb") as f:
        f.write(b"this is not an archive at all\n" * 100)
    open(out + "/empty", "wb").close()
    members = docker_members([(["test/image:latest"], config, [base])])
    write_tar(out + "/whole.tar", members)
    with open(out + "/whole.tar", "rb") as f, open(out + "/truncated.tar", "wb") as g:
        g.write(f.read()[:500000])
    write_tar(out + "/nolayer.tar", [m for m in members if not m[0].endswith("layer.tar")])
    write_tar(out + "/digest.tar", [(n, d[:-2000] + b"x" + d[-1999:] if n.endswith("layer.tar") else d) for n, d in members])
    oci = oci_members(config, [base], "gzip")
    write_tar(out + "/digest.oci.tar", [(n, d[:4] + b"\1" + d[5:] if len(d) > 100000 else d) for n, d in oci])  # gzip's time stamp: still valid gzip
    for name, layer in (
            ("dotdot", Layer().add("../evil", data=b"x")),
            ("dotdot-inside", Layer().dir("a").add("a/../../evil", data=b"x")),
            ("climb", Layer().link("up", "../../../../../../tmp").add("up/../../evil", data=b"x")),
            ("absolute", Layer().add("/etc/evil", data=b"x")),
            ("hardlink-out", Layer().hard("link", "../../../etc/passwd")),
            ("hardlink-nowhere", Layer().hard("link", "etc/nothing"))):
        docker(f"{out}/{name}.tar", config, [base, layer.bytes()])
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1, mtime=0) as z:
        info = tarfile.TarInfo("zeros")
        info.size = 10 << 30
        z.write(info.tobuf(tarfile.GNU_FORMAT))
        piece = bytes(1 << 20)
        for _ in range(10 << 10):
            z.write(piece)
        z.write(bytes(1024))
    data = bomb.getvalue()
    blob = config_json(config, [b"x"])
    manifest = json.dumps({"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                                          "digest": "sha256:" + sha256(blob), "size": len(blob)},
                           "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                                       "digest": "sha256:" + sha256(data), "size": len(data)}]}).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
                                                           "digest": "sha256:" + sha256(manifest), "size": len(manifest)}]}).encode()
    write_tar(out + "/bomb.oci.tar", [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)] +
              [("blobs/sha256/" + sha256(d), d) for d in (blob, manifest, data)])


def many(out, count):
    """An image with very many entries: images.py --many COUNT FILE. The headers are put together by hand: tarfile takes minutes."""
    info = tarfile.TarInfo("")
    info.mode, info.mtime = 0o644, MTIME
    head = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    head[0:100], head[148:156] = bytes(100), b" " * 8
    plain, rest = sum(head), bytes(head[156:])
    middle = bytes(head[100:148])
    pieces = []
    for i in range(count):
        name = b"d%d/f%d" % (i % 100, i)
        pieces.append(name.ljust(100, b"\0") + middle + b"%06o\0 " % (plain + sum(name)) + rest)
    docker(out, {"Cmd": ["/bin/sh"]}, [b"".join(pieces) + bytes(1024)])


if __name__ == "__main__":
    if sys.argv[1] == "--many":
        many(sys.argv[3], int(sys.argv[2]))
    elif sys.argv[1] == "--bad":
        bad(sys.argv[2])
    else:
        good(sys.argv[1])
