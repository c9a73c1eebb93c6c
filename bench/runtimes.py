# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of ya-runtime-vm: kinds `runtime`, `volumes` and `many` of bench/run."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))

import exeunit  # noqa: E402 pylint: disable=wrong-import-position

MB = 1e6
MIB = 1 << 20
VMS = 20
SLOW = 600  # seconds after which something is taken for hung
ENV = dict(os.environ, GVMKIT_ALLOW_TCG="1")


class Failed(Exception):
    pass


class Runtimes:
    def __init__(self, bench):
        self.bench = bench
        self.table, self.raw, self.times = bench.table, bench.raw, bench.times
        self.program = os.path.join(bench.build, "stage/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm")
        self.guest_files = os.path.join(bench.build, "stage/lib/gvmkit")
        self._guest = None

    def guest(self):
        """A directory with the program that runs inside a guest."""
        if not self._guest:
            self._guest = tempfile.mkdtemp(prefix="guest.", dir=self.bench.work)
            shutil.move(self.bench.musl("guest.c", "guest.static"), os.path.join(self._guest, "guest"))
        return self._guest

    def room_env(self):
        """The environment of a program of the bench that uses the room `vm` itself, and is not where it is installed."""
        return dict(ENV, GVMKIT_GUEST_DIR=self.guest_files, GVMKIT_JAIL=os.path.join(self.guest_files, "gvmkit-jail"))

    def bare_machine(self, words, *devices):
        """The command line of a QEMU with our kernel, the program `guest` as its init, and nothing else but these devices."""
        out = os.path.join(self.bench.work, "bare.cpio")
        if not os.path.exists(out):
            tree = os.path.join(self.bench.work, "bare")
            for name in ("dev", "mnt", "proc", "sys"):
                os.makedirs(os.path.join(tree, name))
            shutil.copy(os.path.join(self.guest(), "guest"), os.path.join(tree, "init"))
            with open(out, "wb") as f:
                subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=tree, input=b"dev\nmnt\nproc\nsys\ninit\n", stdout=f,
                               check=True)
        return ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg,thread=single,tb-size=64", "-cpu",
                "max,-erms,-fsrm", "-machine", "q35", "-smp", "1", "-m", "256M", "-kernel", os.path.join(self.guest_files, "vmlinux"), "-initrd", out,
                "-append", f"quiet loglevel=1 panic=-1 reboot=t noreplace-smp clearcpuid=rep_good {words}", *devices]

    def deploy(self, image, *options):
        """A new deployment; the words that start it, and its volumes."""
        work = tempfile.mkdtemp(prefix="deployment.", dir=self.bench.work)
        words = [self.program, "--accel", "tcg", "--workdir", work, "--task-package", image, "--cpu-cores", "1", "--mem-gib", "0.25",
                 "--storage-gib", "4", *options]
        done = subprocess.run([*words, "deploy", "--"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=ENV, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"deploy ended with {done.returncode}")
        return [*words, "start"], {v["path"]: os.path.join(work, v["name"]) for v in json.loads(done.stdout)["vols"]}

    # ---- runtime -----------------------------------------------------------------------------------------------------

    def to_hello(self, argv):
        """Seconds from the start of the runtime to the answer to Hello."""
        start = time.monotonic()
        runtime = exeunit.Runtime(argv, env=ENV)
        try:
            runtime.hello(SLOW)
            took = time.monotonic() - start
            runtime.shutdown(SLOW)
            runtime.close()
            runtime.status(SLOW)
        finally:
            runtime.reap()
        return took

    def starts(self):
        image = self.bench.image()
        start, volumes = self.deploy(image)
        if not volumes:
            raise Failed("the image of the example has no volumes")
        run = [self.bench.gvmkit, "run", "--accel", "tcg", "--entrypoint", "/bin/echo", image, "hello"]
        times = {"ours": [], "usual": []}
        for turn in range(self.times(12) + 1):
            one = {"ours": self.to_hello(start), "usual": self.bench.first_byte(run)}
            for name, took in one.items() if turn else ():
                times[name].append(took)
        self.raw["runtime start"] = times
        a, b = statistics.median(times["ours"]), statistics.median(times["usual"])
        self.table.add("runtime start, of the cold start", a, b, "s", a / b, 1.15)

    def runtime(self):
        self.starts()
        subprocess.run(["ninja", "-C", self.bench.build, "bench/bench_runtime"], stdout=subprocess.DEVNULL, check=True)
        image, blocks = self.bench.debian_image(), int(200 * MB / 65536) + 1
        start, volumes = self.deploy(image, "--volume-override", '{"/bench":{"host":{}}}')
        shutil.copy(os.path.join(self.guest(), "guest"), volumes["/bench"])
        argv = [os.path.join(self.bench.build, "bench/bench_runtime"), image, self.guest(), str(self.times(40)), str(blocks),
                str(self.times(8)), *start]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False, timeout=SLOW,
                              env=self.room_env())
        if done.returncode != 0:
            raise Failed(f"bench_runtime ended with {done.returncode}")
        found = {}
        for line in done.stdout.splitlines():
            name, value = line.split()
            found.setdefault(name, []).append(float(value))
        self.raw["runtime"] = found
        middle = {name: statistics.median(values) for name, values in found.items()}
        self.table.add("run /bin/true by protobuf", middle["trip"] * 1e3, middle["inside"] * 1e3, "ms", middle["trip"] / middle["inside"], 1.3)
        size = blocks * 65536 / MB
        self.table.add("output by protobuf, of the agent's", size / middle["protobuf"], size / middle["direct"], "MB/s",
                       middle["direct"] / middle["protobuf"], 0.7, at_least=True)
        peak = max(found["peak"]) * 1024 / MB
        self.table.add("memory of the runtime, peak", peak, None, "MB", peak, 16)

    # ---- volumes -----------------------------------------------------------------------------------------------------

    @staticmethod
    def figures(text):
        return {name: float(value) for name, value in (line.split() for line in text.split("\n") if len(line.split()) == 2)}

    def bare(self, share, blocks):
        """Nanoseconds of each step of `guest io` over QEMU's 9p with nothing around it, by the same kernel."""
        argv = self.bare_machine(f"blocks={blocks}", "-serial", "stdio", "-fsdev", f"local,id=bare,path={share},security_model=none", "-device",
                                 "virtio-9p-pci,fsdev=bare,mount_tag=bare")
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", check=False, timeout=SLOW)
        lines = done.stdout.replace("\r", "").split("\n")
        if "done" not in lines:
            raise Failed(f"the machine with the bare 9p did not do it; it said:\n{done.stdout}")
        return self.figures("\n".join(line for line in lines if line.startswith(("write ", "read ", "reread ", "small "))))

    def volumes(self):
        blocks = 64
        start, volumes = self.deploy(self.bench.image(), "--volume-override", '{"/bench":{"host":{}}, "/ram":{"ram":{"size":"100 MiB"}}}')
        shutil.copy(os.path.join(self.guest(), "guest"), volumes["/bench"])
        share = os.path.join(self.bench.work, "share.bare")
        os.mkdir(share)
        found = {"volume": [], "ram": [], "bare": []}
        runtime = exeunit.Runtime(start, env=ENV)
        try:
            runtime.hello(SLOW)
            for turn in range(self.times(12) + 1):
                one = {"bare": self.bare(share, blocks)}
                for name, at in (("volume", "/bench/file"), ("ram", "/ram/file")):
                    p = runtime.run("/bench/guest", "io", at, str(blocks), timeout=SLOW)
                    if p.code != 0:
                        raise Failed(f"reading and writing {at} failed: {p.err().decode()}")
                    one[name] = self.figures(p.out().decode())
                for name, took in one.items() if turn else ():
                    found[name].append(took)
            runtime.shutdown(SLOW)
        finally:
            runtime.reap()
        self.raw["volumes"] = found

        def rate(which, step):
            return blocks * MIB / MB / (statistics.median(took[step] for took in found[which]) / 1e9)

        for name, step, usual, target in (("volume write, of bare 9p", "write", "bare", 0.8), ("volume read, of bare 9p", "read", "bare", 0.8),
                                          ("volume read again, of tmpfs", "reread", "ram", 0.8), ("  in blocks of 64 KiB", "small", "ram", None)):
            ours, theirs = rate("volume", step), rate(usual, step)
            self.table.add(name, ours, theirs, "MB/s", ours / theirs, target, at_least=True)

    # ---- many --------------------------------------------------------------------------------------------------------

    def many(self):
        image = self.bench.image()
        starts = [self.deploy(image)[0] for _ in range(VMS)]
        begin, running, hello, sizes = time.monotonic(), [], [], []
        served = 0
        try:
            for start in starts:
                running.append(exeunit.Runtime(start, env=ENV))
            asked = [(r, r.send("hello", exeunit.hello(r.next_id))) for r in running]
            for runtime, request in asked:
                runtime.answer(request, SLOW)
            hello = time.monotonic() - begin
            for runtime in running:
                if runtime.run("/bin/true", timeout=SLOW).code != 0:
                    raise Failed("/bin/true failed in one of many machines")
            for runtime in running:
                sizes.append(sum(self.bench.pss(pid) for pid in self.bench.family(runtime.child.pid)) / MB)
            for runtime in running:
                runtime.shutdown(SLOW)
                runtime.close()
                served += runtime.status(SLOW) == 0
        except (exeunit.Violation, exeunit.Refused, exeunit.Ended, TimeoutError) as error:
            raise Failed(f"of {VMS} machines at once one did not serve: {error}") from None
        finally:
            for runtime in running:
                runtime.reap()
        self.raw["many"] = {"hello": hello, "pss": sizes}
        self.table.add(f"{VMS} VMs at once that serve", served, VMS, "VMs", served / VMS, 1.0, at_least=True)
        self.table.add("  until all have said Hello", hello, None, "s", hello, None)
        self.table.add("  PSS of one with its runtime, mean", statistics.mean(sizes), None, "MB", statistics.mean(sizes), None)
        self.table.add("  PSS, the largest", max(sizes), None, "MB", max(sizes), None)
        self.table.add("  PSS of all", sum(sizes), None, "MB", sum(sizes), None)
