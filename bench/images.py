# SPDX-License-Identifier: GPL-3.0-or-later
"""The image side of the bench: the kinds pack, update and scale of bench/run, which see."""

import collections
import hashlib
import json
import os
import shutil
import statistics
import struct
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MB = 1e6
MIB = 1048576

# What a command took: seconds by the clock and of CPUs, and the most memory that one of its processes had.
Took = collections.namedtuple("Took", "wall cpu rss")


class Failed(Exception):
    """A command that had to succeed did not."""


def middle(took, what):
    return statistics.median(getattr(t, what) for t in took)


def timed(argv, log):
    """Run a command; its output is in the file `log` then."""
    start = time.monotonic()
    with open(log, "wb") as out, open(log + ".errors", "wb") as errors:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    if child.returncode != 0:
        with open(log + ".errors", encoding="utf-8", errors="replace") as f:
            raise Failed(f"{argv[0]} ended with {child.returncode}:\n{f.read()}")
    return Took(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def memory_limit(files, base=64 * MIB):
    return base + 300 * files


class Images:
    def __init__(self, bench):
        self.gvmkit, self.build, self.work = bench.gvmkit, bench.build, bench.work
        self.table, self.raw, self.times = bench.table, bench.raw, bench.times
        self.log = os.path.join(self.work, "log")
        self._tree = None

    def script(self, name):
        """The lines that one of the makers of images prints."""
        done = subprocess.run([os.path.join(TOP, "bench", name)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{name} ended with {done.returncode}")
        return done.stdout.splitlines()

    def large(self):
        return self.script("make-bench-image.sh")[-1]

    def warm(self, layout):
        timed(["sh", "-c", f"cat {layout}/blobs/sha256/* >/dev/null"], self.log)

    def saved(self, layout):
        """The same image as `docker save` writes it: its layers are not compressed."""
        out = os.path.join(self.work, "saved.tar")
        timed(["skopeo", "copy", "-q", f"oci:{layout}:bench", f"docker-archive:{out}:bench:latest"], self.log)
        return out

    def convert(self, reference, out, *options):
        took = timed([self.gvmkit, "build", reference, "-o", out, "--force", "--json", *options], self.log)
        with open(self.log, encoding="utf-8") as f:
            return took, json.loads(f.read())

    def unpack(self, layout, bundle):
        shutil.rmtree(bundle, ignore_errors=True)
        rootless = ["--rootless"] if os.geteuid() != 0 else []
        return timed(["umoci", "unpack", *rootless, "--image", f"{layout}:bench", bundle], self.log)

    def mksquashfs(self, tree, out, *options):
        return timed(["mksquashfs", tree, out, "-noappend", "-no-progress", "-quiet", *options], self.log)

    def tree(self, layout):
        """The root of the large image, unpacked."""
        if not self._tree:
            bundle = os.path.join(self.work, "bundle")
            self.unpack(layout, bundle)
            self._tree = os.path.join(bundle, "rootfs")
        return self._tree

    # ---- pack --------------------------------------------------------------------------------------------------------

    def pack(self):
        layout = self.large()
        bundle = os.path.join(self.work, "bundle")
        tree = os.path.join(bundle, "rootfs")
        path = {name: os.path.join(self.work, name) for name in ("golem", "small", "fast", "lzo", "zstd", "xz", "tar2sqfs")}
        took = collections.defaultdict(list)
        files = 0
        self.warm(layout)

        def ours(profile, reference=f"oci:{layout}:bench", name=None):
            nonlocal files
            one, result = self.convert(reference, path[profile], "--profile", profile)
            took[name or profile].append(one)
            files = result["files"]

        for _ in range(self.times(2)):
            ours("golem")
            took["umoci"].append(self.unpack(layout, bundle))
            took["lzo"].append(self.mksquashfs(tree, path["lzo"], "-comp", "lzo"))
            ours("golem")
        self._tree = tree
        saved = self.saved(layout)
        for _ in range(self.times(3)):
            ours("fast")
            ours("fast", saved, "saved")
            took["zstd"].append(self.mksquashfs(tree, path["zstd"], "-comp", "zstd", "-Xcompression-level", "3"))
        ours("small")
        took["xz"].append(self.mksquashfs(tree, path["xz"], "-comp", "xz", "-b", "1M", "-Xbcj", "x86"))
        took["tar2sqfs"].append(timed(["sh", "-c", f"tar -C {tree} -cf - . | tar2sqfs -f -q -c gzip {path['tar2sqfs']}"], self.log))

        size = {name: os.path.getsize(p) for name, p in path.items()}
        self.raw["pack"] = {"took": {k: [t._asdict() for t in v] for k, v in took.items()}, "sizes": size, "files": files}
        usual = {what: middle(took["umoci"], what) + middle(took["lzo"], what) for what in ("wall", "cpu")}
        add = self.table.add
        for name, what, target in (("golem time", "wall", 8), ("golem CPU time", "cpu", None)):
            mine = middle(took["golem"], what)
            add(name, mine, usual[what], "s", usual[what] / mine, target, at_least=True)

        def sizes(name, a, b, target):
            add(name, size[a] / MB, size[b] / MB, "MB", size[a] / size[b], target)

        sizes("golem size", "golem", "lzo", 0.92)
        sizes("small size, against lzo", "small", "lzo", 0.66)
        sizes("small size, against xz", "small", "xz", 1.0)
        mine, theirs = middle(took["small"], "cpu"), middle(took["xz"], "cpu")
        add("small CPU time", mine, theirs, "s", mine / theirs, 0.5)
        os.unlink(saved)
        for name, which, what, target in (("fast time, of docker save", "saved", "wall", 1.0), ("fast time, of gzip layers", "fast", "wall", 1.0),
                                          ("fast CPU time, of gzip layers", "fast", "cpu", None)):
            mine, theirs = middle(took[which], what), middle(took["zstd"], what)
            add(name, mine, theirs, "s", mine / theirs, target)
        sizes("fast size", "fast", "zstd", None)
        for profile, limit in (("golem", memory_limit(files)), ("small", memory_limit(files, 200 * MB)), ("fast", memory_limit(files))):
            most = max(t.rss for t in took[profile])
            add(f"{profile} memory, of the limit", most / MB, took["tar2sqfs"][0].rss / MB, "MB", most / limit, 1.0)
        for name in path.values():
            os.unlink(name)

    # ---- update ------------------------------------------------------------------------------------------------------

    def casync_chunks(self, image):
        """{id: length} of an image cut by casync as it does by default."""
        store, index = os.path.join(self.work, "store"), image + ".caibx"
        timed(["casync", "make", f"--store={store}", index, image], self.log)
        with open(index, "rb") as f:
            data = f.read()
        # A head of 48 bytes, one of 16, then for each chunk its end and its id, and a tail of 40 bytes.
        chunks, before = {}, 0
        for at in range(64, len(data) - 40, 40):
            end, = struct.unpack_from("<Q", data, at)
            chunks[data[at + 8:at + 40]] = end - before
            before = end
        if before != os.path.getsize(image):
            raise Failed(f"the chunks of {index} are not the whole file")
        return chunks

    def update_pair(self):
        """The two builds that `update` compares, converted."""
        pair = []
        for number, layout in enumerate(self.script("make-update-pair.sh")[-3:-1]):
            pair.append(os.path.join(self.work, f"pair{number}.gvmi"))
            self.convert(f"oci:{layout}:bench", pair[-1], "--profile", "golem")
        return pair

    def update(self):
        first, second, packages = self.script("make-update-pair.sh")[-3:]
        ours, theirs, size = [], [], {}
        for number, layout in enumerate((first, second)):
            ours.append(os.path.join(self.work, f"update{number}.gvmi"))
            self.convert(f"oci:{layout}:bench", ours[-1], "--profile", "golem")
            bundle = os.path.join(self.work, "update")
            self.unpack(layout, bundle)
            theirs.append(os.path.join(self.work, f"update{number}.squashfs"))
            self.mksquashfs(os.path.join(bundle, "rootfs"), theirs[-1], "-comp", "zstd", "-Xcompression-level", "15")
            shutil.rmtree(bundle)
        timed([self.gvmkit, "diff", "--json", *ours], self.log)
        with open(self.log, encoding="utf-8") as f:
            mine = json.load(f)["update"]
        old, new = (self.casync_chunks(image) for image in theirs)
        usual = sum(length for chunk, length in new.items() if chunk not in old)
        size = [os.path.getsize(p) for p in (ours[1], theirs[1])]
        self.raw["update"] = {"packages": int(packages), "ours": mine, "casync": usual, "chunks": len(new), "sizes": size}
        self.table.add(f"update of {packages} packages, new", mine["bytes"] / MB, usual / MB, "MB", mine["bytes"] / size[0], 0.19)
        self.table.add("  the same by casync", usual / MB, None, "MB", usual / size[1], None)
        shutil.rmtree(os.path.join(self.work, "store"))
        for path in ours + theirs:
            os.unlink(path)

    # ---- scale -------------------------------------------------------------------------------------------------------

    def content(self, tree):
        """One file with what is in all files of the tree."""
        out = os.path.join(self.work, "content")
        seen = set()
        with open(out, "wb") as whole:
            for at, dirs, names in os.walk(tree):
                dirs.sort()
                for name in sorted(names):
                    path = os.path.join(at, name)
                    if os.path.islink(path) or not os.path.isfile(path) or os.stat(path).st_ino in seen:
                        continue
                    seen.add(os.stat(path).st_ino)
                    with open(path, "rb") as f:
                        shutil.copyfileobj(f, whole, 1 << 20)
        return out

    def threads(self):
        layout = self.large()
        content = self.content(self.tree(layout))
        out = os.path.join(self.work, "threads.gvmi")
        cpus = len(os.sched_getaffinity(0))
        took = collections.defaultdict(list)
        for _ in range(self.times(2)):
            for count in sorted({1, cpus}):
                took[f"ours {count}"].append(self.convert(f"oci:{layout}:bench", out, "--jobs", str(count))[0].wall)
                timed([os.path.join(self.build, "bench/bench_pack"), content, "golem", str(count)], self.log)
                with open(self.log, encoding="utf-8") as f:
                    took[f"compressor {count}"].append(float(f.read().split()[0]))
        self.raw["threads"] = took
        for count in sorted({1, cpus}):
            mine, floor = statistics.median(took[f"ours {count}"]), statistics.median(took[f"compressor {count}"])
            self.table.add(f"golem, {count} thread{'s' if count > 1 else ''}, of its compressor", mine, floor, "s", mine / floor, 1.5)
        os.unlink(content)
        os.unlink(out)

    def many_files(self, count, in_one):
        """An OCI layout with `count` small files, all different, in one directory or a thousand in each."""
        layout = os.path.join(self.work, "many")
        shutil.rmtree(layout, ignore_errors=True)
        blobs = os.path.join(layout, "blobs/sha256")
        os.makedirs(blobs)

        def blob(data):
            digest = hashlib.sha256(data).hexdigest()
            with open(os.path.join(blobs, digest), "wb") as f:
                f.write(data)
            return {"digest": "sha256:" + digest, "size": len(data)}

        def header(name, size, kind):
            head = bytearray(512)
            head[:len(name)] = name
            mode = 0o644 if kind == b"0" else 0o755
            head[100:156] = b"%07o\0%07o\0%07o\0%011o\0%011o\0        " % (mode, 0, 0, size, 0)
            head[156:157] = kind
            head[257:265] = b"ustar\00000"
            head[148:156] = b"%06o\0 " % sum(head)
            return bytes(head)

        tar, digest, size = os.path.join(layout, "tar"), hashlib.sha256(), 0
        with open(tar, "wb") as f:
            for start in range(0, count, 1000):
                pieces = []
                directory = b"all" if in_one else b"d%06d" % (start // 1000)
                if not in_one or start == 0:
                    pieces.append(header(directory + b"/", 0, b"5"))
                for i in range(start, min(start + 1000, count)):
                    text = b"This is file number %d of %d.\n" % (i, count)
                    pieces.append(header(b"%s/f%07d" % (directory, i), len(text), b"0"))
                    pieces.append(text.ljust(512, b"\0"))
                piece = b"".join(pieces)
                digest.update(piece)
                size += f.write(piece)
            digest.update(bytes(1024))
            size += f.write(bytes(1024))
        layer = "sha256:" + digest.hexdigest()
        os.rename(tar, os.path.join(blobs, digest.hexdigest()))
        config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                                  "rootfs": {"type": "layers", "diff_ids": [layer]}}).encode())
        vendor = "application/vnd.oci.image."
        manifest = blob(json.dumps({"schemaVersion": 2, "config": {"mediaType": vendor + "config.v1+json", **config},
                                    "layers": [{"mediaType": vendor + "layer.v1.tar", "digest": layer, "size": size}]}).encode())
        with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as f:
            json.dump({"schemaVersion": 2, "manifests": [{"mediaType": vendor + "manifest.v1+json", **manifest, "annotations":
                                                          {"org.opencontainers.image.ref.name": "bench"}}]}, f)
        with open(os.path.join(layout, "oci-layout"), "w", encoding="utf-8") as f:
            f.write('{"imageLayoutVersion":"1.0.0"}')
        return layout

    def files(self):
        out = os.path.join(self.work, "many.gvmi")
        for name, in_one in (("many directories", False), ("one directory", True)):
            took = {}
            for count, turns in ((100000, 3), (1000000, 2)):
                layout = self.many_files(count, in_one)
                self.warm(layout)
                runs = [self.convert(f"oci:{layout}:bench", out) for _ in range(turns)]
                if runs[0][1]["files"] < count:
                    raise Failed(f"of {count} files {runs[0][1]['files']} were converted")
                took[count] = [one for one, _ in runs]
            shutil.rmtree(layout)
            self.raw[f"files in {name}"] = {count: [t._asdict() for t in v] for count, v in took.items()}
            # Of CPU time the least is the truest: others' use of the caches only adds to it.
            few, many = (min(t.cpu for t in took[count]) for count in (100000, 1000000))
            self.table.add(f"1 M files against 100 k, {name}", many, few, "s", many / few, 12)
            rss, limit = max(t.rss for t in took[1000000]), memory_limit(1000000)
            self.table.add("  memory, of the limit", rss / MB, limit / MB, "MB", rss / limit, 1.0)
        os.unlink(out)

    def scale(self):
        subprocess.run(["ninja", "-C", self.build, "bench/bench_pack"], stdout=subprocess.DEVNULL, check=True)
        self.threads()
        self.files()
