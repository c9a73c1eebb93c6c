#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the images of edges.bats, readers.bats and same-bytes.bats: edge_images.py KIND DIRECTORY.

Kinds: zoo, crowd, deep, hostile, bombs, sources, good; and wrap OUT LAYER...
"""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import subprocess
import sys
import tarfile

from images import MTIME, Layer, base_layer, busybox, config_json, docker, docker_members, oci_members, sha256, write_layout, write_tar

M_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
M_CONFIG = "application/vnd.oci.image.config.v1+json"
M_LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Labels": {"maker": "$(touch /tmp/label)"}}


def noise(n, seed=1):
    """Bytes that do not compress, the same every time."""
    return b"".join(hashlib.sha256(b"%d %d" % (seed, i)).digest() for i in range(n // 32 + 1))[:n]


def xattr(**values):
    """pax records; names have _ for the first dot."""
    return {"SCHILY.xattr." + k.replace("_", ".", 1): v.decode("utf-8", "surrogateescape") for k, v in values.items()}


def fitted(layer):
    """What the converter would add if it were not there: so nothing differs from what others unpack."""
    layer.dir("./", 0o755)
    for name, mode in (("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("dev/pts", 0o755), ("dev/shm", 0o1777), ("tmp", 0o1777),
                       ("etc", 0o755), ("var", 0o755), ("var/tmp", 0o1777)):
        layer.dir(name, mode)
    for name in ("hosts", "resolv.conf", "hostname"):
        layer.add("etc/" + name, data=b"")
    return layer.link("etc/mtab", "/proc/mounts")


# ---- everything that can be in an image, for the readers ----

def zoo_layers():
    one = fitted(Layer())
    one.dir("types").add("types/char", tarfile.CHRTYPE, major=1, minor=3, mode=0o666)
    one.add("types/wide", tarfile.CHRTYPE, major=4095, minor=1048575).add("types/block", tarfile.BLKTYPE, major=259, minor=300, gid=6)
    one.add("types/fifo", tarfile.FIFOTYPE, mode=0o620, uid=7).hard("types/fifo too", "types/fifo").hard("types/char too", "types/char")
    one.link("types/to nothing", "../../nowhere").hard("types/linked link", "types/to nothing").link("types/long", "t" * 4095)
    one.link("types/self", "self")

    one.dir("sizes")
    for size in (0, 1, 2, 4095, 4096, 4097, 65535, 131071, 131072, 131073, 262144, 300000, 1048575, 1048576, 1048577):
        text = (b"%d bytes of text that can be compressed\n" % size) * (size // 20 + 1)
        one.add(f"sizes/text{size}", data=text[:size]).add(f"sizes/noise{size}", data=noise(size, size))
        one.add(f"sizes/zero{size}", data=bytes(size))
    one.add("sizes/islands", data=(b"island" + bytes(200000)) * 12 + noise(5))
    one.add("sizes/same one", data=noise(200000)).add("sizes/same two", data=noise(200000)).add("sizes/same tail", data=noise(200001))

    one.dir("bin").add("bin/busybox", data=busybox(), mode=0o755).hard("bin/sh", "bin/busybox")

    one.dir("links").add("links/a", data=b"many names")
    for i in range(300):
        one.hard(f"links/{i % 7}-{i}", "links/a")
    one.dir("other").hard("other/far away", "links/a").add("links/alone", data=b"x")

    one.dir("names")
    for name in ("n" * 255, " ", "  two  ", "-rf", "--", "...", ".hidden", "a\tb", "a\nb", "back\\slash", "quo'te\"s", "per%cent%41",
                 "st*r?[x]", "$(reboot)", "ümläut", "\udcff\udcfe", "\x01\x7f\x1b[31m", "日本語", "e\u0301", "\u00e9", "#hash", "a:b", "~"):
        one.add("names/" + name, data=name.encode("utf-8", "surrogateescape"))
    one.dir("names/" + "d" * 255)

    one.dir("owners")
    for i in range(300):
        one.add(f"owners/{i}", uid=i * 7919, gid=100000 + i)
    one.add("owners/last", uid=4294967294, gid=4294967294)

    one.dir("modes")
    for mode in (0, 0o1, 0o777, 0o4755, 0o2755, 0o1755, 0o7777, 0o4000, 0o444):
        one.add(f"modes/f{mode:o}", mode=mode, data=b"x").dir(f"modes/d{mode:o}", mode=mode)

    one.dir("times")
    for when in (0, 1, 1 << 31, (1 << 32) - 1, MTIME):
        one.add(f"times/{when}", mtime=when)
    one.dir("times/old", mtime=5)

    cap = bytes.fromhex("0100000200200000000000000000000000000000")
    one.dir("xattrs", pax=xattr(user_dir=b"of a directory", trusted_d=b"\0\1\2"))
    one.add("xattrs/cap", data=b"x", mode=0o755, pax=xattr(security_capability=cap))
    one.add("xattrs/cap and more", data=b"x", pax=xattr(security_capability=cap, user_a=b"1", trusted_t=noise(500)))
    for i in range(40):
        one.add(f"xattrs/{i}", data=b"x", pax=xattr(user_same=b"the same everywhere", user_n=b"%d" % (i % 5)))
    one.add("xattrs/long name", pax=xattr(**{"user_" + "n" * 200: b"v"})).add("xattrs/long value", pax=xattr(user_v=noise(900)))
    one.add("xattrs/fifo", tarfile.FIFOTYPE, pax=xattr(trusted_fifo=b"f")).add("xattrs/link", tarfile.SYMTYPE, link="x",
                                                                              pax=xattr(trusted_link=b"l"))
    one.add("xattrs/device", tarfile.CHRTYPE, major=1, minor=5, pax=xattr(trusted_dev=b"d"))
    one.hard("xattrs/cap too", "xattrs/cap")

    one.dir("many")
    for i in range(3000):
        one.add(f"many/{i * 7 % 3001:04}-{'x' * (i % 90)}", data=b"%d" % i)
    path = "depth"
    for i in range(100):
        one.dir(path, 0o700 + i % 8)
        path += f"/{i}"
    one.dir("empty", 0o711)

    two = Layer().add("links/.wh.a").add("many/.wh.0000-").add("sizes/text1", data=b"replaced").dir("types", 0o750)
    two.add("names/.wh.-rf").dir("other", uid=3).add("other/.wh..wh..opq").add("other/new", data=b"new").hard("other/old", "links/5-5")
    return [one.bytes(), two.bytes()]


def zoo(out):
    write_layout(out + "/zoo", oci_members(CONFIG, zoo_layers(), "gzip"))


def crowd(out):
    """More entries in one directory and more names of one file than 16 bits count."""
    layer = fitted(Layer()).dir("all").dir("names").add("names/first", data=b"one file\n")
    for i in range(98804):
        layer.add(f"all/{i}")
    for i in range(70000):
        layer.hard(f"names/{i}", "names/first")
    write_layout(out + "/crowd", oci_members(CONFIG, [layer.bytes()], "none"))


def deep(out):
    """As deep as a path can be, and deeper."""
    layer = fitted(Layer())
    for depth in (1, 500, 1000, 2046):
        layer.dir("d/" * depth + "d")
    layer.add("d/" * 2047 + "x", data=b"deep")  # 4095 bytes
    docker(out + "/deep.tar", CONFIG, [layer.bytes()])
    docker(out + "/deeper.tar", CONFIG, [Layer().add("d/" * 10000 + "x", data=b"deeper").bytes()])



# ---- hostile images: each must be refused, with the words that follow its name in the list ----

def deep_json(levels=100000):
    return b"[" * levels + b"]" * levels


def described(media, data, **more):
    return {"mediaType": media, "digest": "sha256:" + sha256(data), "size": len(data), **more}


def layout_of(documents, index):
    """The members of an OCI layout; index is a list of descriptors, or the bytes of index.json."""
    text = index if isinstance(index, bytes) else json.dumps({"schemaVersion": 2, "manifests": index}).encode()
    return [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", text)] + [("blobs/sha256/" + sha256(d), d) for d in documents]


def manifest_of(config, layers, **more):
    return json.dumps({"schemaVersion": 2, "mediaType": M_MANIFEST, "config": config, "layers": layers, **more}).encode()


def hostile_layouts():
    """name, what the error says, members of an OCI layout."""
    layer = Layer().dir("bin").add("bin/sh", data=b"#!").bytes()
    config = config_json(CONFIG, [layer])
    good = manifest_of(described(M_CONFIG, config), [described(M_LAYER, layer)])
    zero = "0" * 64

    itself = json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:" + zero, "size": 0}]}).encode()
    itself = itself.replace(b'"size": 0', b'"size": %d' % (len(itself) + 2))
    yield "index-itself", "another digest", layout_of([], itself) + [("blobs/sha256/" + zero, itself)]

    deep = deep_json()
    yield "json-index", "not valid JSON", layout_of([], b'{"manifests":' + deep + b"}")
    yield "json-manifest", "not valid JSON", layout_of([deep], [described(M_MANIFEST, deep)])
    nested = manifest_of(described(M_CONFIG, deep), [described(M_LAYER, layer)])
    yield "json-config", "not valid JSON", layout_of([deep, nested, layer], [described(M_MANIFEST, nested)])
    nested = config[:-1] + b',"x":' + b'{"a":' * 100000 + b"0" + b"}" * 100001
    named = manifest_of(described(M_CONFIG, nested), [described(M_LAYER, layer)])
    yield "json-objects", "not valid JSON", layout_of([nested, named, layer], [described(M_MANIFEST, named)])

    both = json.loads(good)
    both["manifests"] = [described(M_MANIFEST, good)]
    both = json.dumps(both).encode()
    yield "CVE-2021-41190", "an index and a manifest at once", layout_of([both, good, config, layer], [described(M_MANIFEST, both)])
    index = json.dumps({"schemaVersion": 2, "manifests": [described(M_MANIFEST, good)]}).encode()
    yield "index-as-manifest", "do not agree", layout_of([index, good, config, layer], [described(M_MANIFEST, index)])
    yield "manifest-as-index", "do not agree", layout_of([good, config, layer],
                                                         [described("application/vnd.oci.image.index.v1+json", good)])
    climbing = manifest_of({"mediaType": M_CONFIG, "digest": "sha256:../../../../../etc/passwd", "size": 1}, [])
    yield "CVE-2024-3727", "is not a digest", layout_of([climbing], [described(M_MANIFEST, climbing)])
    for what, document, near in (("manifest", good, index), ("config", config, good), ("layer", layer, good)):
        for by in (-1, 1):
            wrong = described(M_MANIFEST, good, size=len(good) + by) if what == "manifest" else None
            changed = good if wrong else manifest_of(
                described(M_CONFIG, config, **({"size": len(config) + by} if what == "config" else {})),
                [described(M_LAYER, layer, **({"size": len(layer) + by} if what == "layer" else {}))])
            yield f"size-{what}{by:+}", "should have", layout_of([changed, config, layer], [wrong or described(M_MANIFEST, changed)])
    twice = manifest_of(described(M_CONFIG, config), [described(M_LAYER, layer)] * 2)
    yield "layer-not-in-config", "2 layers and its configuration 1", layout_of([twice, config, layer], [described(M_MANIFEST, twice)])
    far = manifest_of(described(M_CONFIG, config), [described(
        "application/vnd.oci.image.layer.nondistributable.v1.tar", layer, urls=["file:///etc/passwd"])])
    yield "foreign-layer", "may not be distributed", layout_of([far, config], [described(M_MANIFEST, far)])


def python_realpath():
    """CVE-2025-4517: so many links that a checked path is cut off, then up and out."""
    layer, path, links = Layer(), "", []
    for letter in "abcdefghijklmnop":
        layer.dir(path + "d" * 247).link(path + letter, "d" * 247)
        path += "d" * 247 + "/"
        links.append(letter)
    top = "/".join(links) + "/" + "l" * 254
    return layer.link(top, "../" * len(links)).link("escape", top + "/../../../../../../../etc").hard("flag", "escape/passwd").add("flag", data=b"x")


def hostile_tars():
    """name, what the error says, layers of a Docker archive."""
    yield "CVE-2021-29136", "root of the image", [Layer().link(".", "/etc")]
    yield "CVE-2007-4559", "leads out", [Layer().add("../../../../tmp/escaped", data=b"x")]
    yield "CVE-2025-45582", "leads out", [Layer().dir("x").link("x/up", "../../../../../../tmp"), Layer().add("x/up/escaped", data=b"x")]
    yield "CVE-2025-4517", "4095 bytes", [python_realpath()]
    yield "whiteout-climbs", "leads out", [Layer().link("up", "../../.."), Layer().add("up/.wh.etc")]
    yield "link-climbs", "leads out", [Layer().link("up", "../../..").hard("shadow", "up/etc/shadow")]
    yield "link-outside", "leads out", [Layer().hard("shadow", "../../../etc/shadow")]
    yield "link-to-host", "not there", [Layer().link("root", "/").hard("shadow", "root/etc/shadow")]
    yield "circle", "in a circle", [Layer().link("a", "b").link("b", "a"), Layer().add("a/x", data=b"x")]
    yield "path-of-20000", "4095 bytes", [Layer().add("d/" * 10000 + "x", data=b"x")]
    implied = Layer()
    for i in range(1000):
        implied.add(f"{i}/" + "d/" * 1900 + "x", data=b"x")
    yield "implied-directories", "more than 1500000 entries", [implied]
    chain = Layer().dir("end")
    for i in range(39):
        chain.link(f"l{i}", "./" * 2000 + (f"l{i + 1}" if i < 38 else "end"))
    for i in range(6000):
        chain.add(f"l0/{i}/x")
    yield "long-way", "too many symbolic links", [chain]


def inert_tars():
    """Images that attack whoever unpacks them, and are only data to us."""
    yield "CVE-2021-32760", [Layer().link("key", "/etc/shadow").hard("other", "key", mode=0o777).add("key/", tarfile.SYMTYPE, link="/etc/shadow",
                                                                                                   mode=0o777)]
    yield "CVE-2024-9676", [Layer().dir("etc").link("etc/passwd", "/etc/shadow").add("etc/group", tarfile.FIFOTYPE)]
    yield "absolute-link", [Layer().link("out", "/tmp"), Layer().add("out/escaped", data=b"x").add("out/.wh.label")]
    yield "apple-archive", [Layer().link("a", "/").link("b", "../../../../../..").link("c", "a/etc/passwd").dir("d")]
    yield "devices", [Layer().add("sda", tarfile.BLKTYPE, major=8, minor=0).add("mem", tarfile.CHRTYPE, major=1, minor=1).add(
        "root-shell", data=b"x", mode=0o6755)]
    yield "containerd-2026", [Layer().add("$(touch escaped)", data=b"x").add("`touch escaped`", data=b"x").add("; touch escaped", data=b"x")]


def hostile(out):
    names = []
    for name, text, members in hostile_layouts():
        write_tar(f"{out}/{name}.oci.tar", members)
        names.append(f"{name}.oci.tar\t{text}")
    for name, text, layers in hostile_tars():
        docker(f"{out}/{name}.tar", CONFIG, [layer.bytes() for layer in layers])
        names.append(f"{name}.tar\t{text}")
    # Documents of a gigabyte: as files with nothing in them.
    for name, blob in (("huge-index", "index.json"), ("huge-manifest", "blobs/sha256/" + "0" * 64)):
        write_layout(f"{out}/{name}", layout_of([], [
            {"mediaType": M_MANIFEST, "digest": "sha256:" + "0" * 64, "size": 1 << 30}]) + ([(blob, b"")] if name == "huge-manifest" else []))
        os.truncate(f"{out}/{name}/{blob}", 1 << 30)
        names.append(f"{name}\ttoo many for a description")
    # A blob that is a link to the index which names it.
    write_layout(f"{out}/index-linked", layout_of([], [
        {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:" + "0" * 64, "size": 196}]))
    os.makedirs(f"{out}/index-linked/blobs/sha256", exist_ok=True)
    os.symlink("../../index.json", f"{out}/index-linked/blobs/sha256/" + "0" * 64)
    names.append("index-linked\t0000")
    with open(f"{out}/list", "w", encoding="ascii") as f:
        f.write("\n".join(names) + "\n")
    for name, layers in inert_tars():
        docker(f"{out}/inert-{name}.tar", CONFIG, [layer.bytes() for layer in layers])


def bombs(out):
    """Small files that become large, in every compression; and a pax header of a gigabyte that is really there."""
    piece = bytes(64 << 20)
    info = tarfile.TarInfo("zeros")
    info.size = 8 << 30
    head = info.tobuf(tarfile.GNU_FORMAT)
    zstd = ["zstd", "-q", "-c"]
    for name, pack in (("gzip", lambda d: gzip.compress(d, 1, mtime=0)), ("xz", lambda d: lzma.compress(d, preset=0)),
                       ("bzip2", lambda d: bz2.compress(d, 9)),
                       ("zstd", lambda d: subprocess.run(zstd, input=d, stdout=subprocess.PIPE, check=True).stdout)):
        packed = pack(piece)
        layer = pack(head) + packed * 32
        config = config_json(CONFIG, [b"x"])
        manifest = manifest_of(described(M_CONFIG, config), [described(M_LAYER, layer)])
        write_tar(f"{out}/{name}.oci.tar", layout_of([layer, config, manifest], [described(M_MANIFEST, manifest)]))
        with open(f"{out}/{name}.whole", "wb") as f:
            f.write(layer)
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    layer = gzip.compress(info.tobuf(tarfile.USTAR_FORMAT), 1, mtime=0) + gzip.compress(b"9" * (64 << 20), 1, mtime=0) * 16
    config = config_json(CONFIG, [b"x"])
    manifest = manifest_of(described(M_CONFIG, config), [described(M_LAYER, layer)])
    write_tar(out + "/pax.oci.tar", layout_of([layer, config, manifest], [described(M_MANIFEST, manifest)]))


# ---- one image in all its forms ----

def sources(out):
    layers = zoo_layers() + [Layer().add("third", data=b"three").bytes()]
    config = config_json(CONFIG, layers)
    write_tar(out + "/old.docker.tar", docker_members([(["test/zoo:v1"], CONFIG, layers)]))
    members = [("blobs/sha256/" + sha256(d), d) for d in layers + [config]]
    manifest = [{"Config": "blobs/sha256/" + sha256(config), "RepoTags": ["test/zoo:v1"], "Layers": ["blobs/sha256/" + sha256(d) for d in layers]}]
    write_tar(out + "/new.docker.tar", members + [("manifest.json", json.dumps(manifest).encode()),
                                                  ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')])
    for how in ("none", "gzip", "zstd"):
        write_layout(f"{out}/{how}.oci", oci_members(CONFIG, layers, how))
        write_tar(f"{out}/{how}.oci.tar", oci_members(CONFIG, layers, how))


def good(out):
    """Images that are unusual, and right."""
    layer = Layer().dir("d").add("d/a", data=b"1").bytes()
    config = config_json(CONFIG, [layer, layer])
    manifest = manifest_of(described(M_CONFIG, config), [described(M_LAYER, layer)] * 2)
    write_tar(out + "/same-layer-twice.oci.tar", layout_of([layer, config, manifest], [described(M_MANIFEST, manifest)]))
    docker(out + "/same-layer-twice.tar", CONFIG, [layer, layer])
    volumes = {**CONFIG, "Volumes": {"/../../../../etc/escaped": {}, "/": {}, "relative": {}, "/data": {}}}
    docker(out + "/volumes.tar", volumes, [base_layer()])


def wrap(out, *layers):
    """A Docker archive of layers that are there: edge_images.py wrap OUT LAYER..."""
    data = []
    for path in layers:
        with open(path, "rb") as f:
            data.append(f.read())
    docker(out, CONFIG, data)


if __name__ == "__main__":
    KINDS = {f.__name__: f for f in (zoo, crowd, deep, hostile, bombs, sources, good, wrap)}
    if sys.argv[1] != "wrap":
        os.makedirs(sys.argv[2], exist_ok=True)
    KINDS[sys.argv[1]](*sys.argv[2:])
