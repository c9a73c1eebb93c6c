#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Soak ya-runtime-vm: the same things over and over, and nothing may be left of them. What `make soak` does.

Two parts, each with a table of what was there before and after:

  cycles  N times deploy, start, some runs, shutdown, all in one work directory; every tenth time the runtime is killed instead. After each: no
          process, the same files in the work directory, in TMPDIR, in the cache and in /dev/shm, the same mounts, and the same descriptors here.
  runs    M runs in one virtual machine, of all kinds. Memory and descriptors of the runtime, of QEMU and of what is between them; processes, threads, open files,
          mounts, memory of programs (the agent's too) and of the kernel in the guest. What is there after the first hundred, or a tenth, must be all.

The status is 1 when something has grown. The supervisor is that of the conformance tests, so that each breach of the protocol ends it, too.
"""

import argparse
import collections
import ctypes
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
E2E = os.path.join(TOP, "tests", "e2e")
sys.dont_write_bytecode = True
sys.path.insert(0, E2E)
import exeunit  # noqa: E402 pylint: disable=wrong-import-position

PR_SET_CHILD_SUBREAPER = 36
SLOW = 300  # seconds; emulated machines on a busy host
SETTLE = 60  # seconds until what others have in /dev/shm, and what is being killed, is gone
OVERRIDE = json.dumps({"/s": {"storage": {"size": 8 << 20}}, "/r": {"ram": {"size": 1 << 20}}, "/h": {"host": {}}})
KIB = 1024


class Leak(Exception):
    pass


def say(text):
    print(f"soak: {text}", file=sys.stderr, flush=True)


def need(condition, what):
    if not condition:
        raise Leak(what)


# ---- the host ----------------------------------------------------------------------------------------------------------------------


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def reap_orphans():
    """Who has lost its parent is ours (PR_SET_CHILD_SUBREAPER). Those who live are returned."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    return children(os.getpid())


def memory(pid):
    """Resident, proportional and private bytes of a process, and the most it has had."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as f:
        found = {name: int(kib) * KIB for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.MULTILINE)}
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
        peak = int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.MULTILINE).group(1)) * KIB
    return {"rss": found["Rss"], "pss": found["Pss"], "private": found["Private_Clean"] + found["Private_Dirty"], "peak": peak}


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def family(runtime):
    """The pids of the runtime, of QEMU below it, and of what is between them."""
    found, todo = {"runtime": [runtime.child.pid], "helpers": [], "QEMU": []}, children(runtime.child.pid)
    while todo:
        pid = todo.pop()
        found["QEMU" if "/qemu-system" in os.readlink(f"/proc/{pid}/exe") else "helpers"].append(pid)
        todo += children(pid)
    need(found["QEMU"], "the runtime has no QEMU")
    return found


def footprint(pids):
    """Memory and descriptors of these processes, together."""
    each = [dict(memory(pid), descriptors=descriptors(pid), processes=1) for pid in pids]
    return {name: sum(one[name] for one in each) for name in each[0]}


# ---- the runtime -------------------------------------------------------------------------------------------------------------------


class Soak:
    def __init__(self, prefix, images, accel, work):
        self.program = os.path.join(prefix, "lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm")
        self.image = os.path.join(images, "user.gvmi")
        self.accel, self.base = accel, work
        self.work, self.tmp, self.cache = (os.path.join(work, name) for name in ("work", "tmp", "cache"))
        for path in (self.work, self.tmp, self.cache):
            os.mkdir(path)
        self.env = dict(os.environ, GVMKIT_ALLOW_TCG="1", TMPDIR=self.tmp, XDG_CACHE_HOME=self.cache, XDG_RUNTIME_DIR=self.tmp,
                        XDG_DATA_HOME=self.cache, XDG_CONFIG_HOME=self.cache, XDG_STATE_HOME=self.cache)
        self.started = time.time()
        self.table = []

    def argv(self, command, *more):
        return [self.program, "--accel", self.accel, "--workdir", self.work, "--task-package", self.image, "--cpu-cores", "1", "--mem-gib",
                "0.25", "--storage-gib", "1", "--volume-override", OVERRIDE, command, *more]

    def deploy(self):
        done = subprocess.run(self.argv("deploy", "--"), stdout=subprocess.PIPE, check=True, env=self.env)
        return {v["path"]: os.path.join(self.work, v["name"]) for v in json.loads(done.stdout)["vols"]}

    def start(self):
        runtime = exeunit.Runtime(self.argv("start"), cwd=self.work, env=self.env)
        try:
            runtime.hello(SLOW)
        except BaseException:
            runtime.reap()
            raise
        return runtime

    def note(self, name, before, after, allowed, unit=""):
        """A line of the table; allowed is by how much it may have grown, None when it is only told."""
        self.table.append((name, before, after, allowed, unit))

    # -- cycles

    def files(self):
        """The files that a cycle could leave, by their kind: the names of volumes are new each time."""
        found = []
        for top in (self.work, self.tmp, self.cache):
            for at, dirs, names in os.walk(top):
                found += [re.sub(r"vol-[0-9a-f-]{36}", "vol-UUID", os.path.relpath(os.path.join(at, n), self.base)) for n in dirs + names]
        return sorted(found)

    def shared(self):
        """Files of ours in /dev/shm that were not there at the start."""
        found = []
        for name in os.listdir("/dev/shm"):
            try:
                st = os.lstat(os.path.join("/dev/shm", name))
            except OSError:
                continue
            if st.st_uid == os.geteuid() and st.st_ctime >= self.started:
                found.append(name)
        return found

    @staticmethod
    def mounts():
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
            return sorted(line.split()[4] for line in f)

    def host(self):
        return {"processes": reap_orphans(), "files": self.files(), "files in /dev/shm": self.shared(), "mounts": self.mounts(),
                "descriptors here": [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]}

    def settled(self, before):
        """What is there now, when it has become what was there before, or will not."""
        end = time.monotonic() + SETTLE
        while True:
            now = self.host()
            if all(len(now[k]) == len(before[k]) for k in now) or time.monotonic() > end:
                return now
            time.sleep(0.02)

    def cycle(self, number):
        volumes = self.deploy()
        with open(os.path.join(volumes["/h"], "in"), "w", encoding="ascii") as f:
            f.write("text")
        runtime = self.start()
        try:
            p = runtime.sh("cat /h/in && for v in /h /s /r /data; do head -c 300000 /dev/zero | tee $v/out; done; echo end >&2; exit 3", timeout=SLOW)
            need((p.code, len(p.out()), p.err()) == (3, 1200004, b"end\n"), f"a run gave {p.code}, {len(p.out())} bytes, {p.err()}")
            try:
                runtime.run("/no/such/program")
                raise Leak("a program that does not exist was run")
            except exeunit.Refused:
                pass
            p = runtime.start("/bin/sleep", "1000")
            runtime.kill(p, 9)
            need(runtime.finish(p, SLOW).code == 137, f"a killed process gave {p.code}")
            need(os.path.getsize(os.path.join(volumes["/h"], "out")) == 300000, "the file in the volume is not on the host")
            used = memory(runtime.child.pid)
            if number % 10 == 9:
                runtime.child.kill()
                runtime.child.wait()
            else:
                used["shutdown"] = runtime.shutdown(SLOW)
                runtime.close()
                status = runtime.status(SLOW)
                need(status == 0, f"the runtime ended with {status}")
        finally:
            runtime.reap()
            runtime.child.stdin.close()
            runtime.child.stdout.close()
            runtime.selector.close()
        for path in volumes.values():  # else the next deployment would keep the directories
            shutil.rmtree(path)
            os.mkdir(path)
        return used

    def cycles(self, count):
        used, first, last = [], None, None
        begin = time.monotonic()
        for number in range(count):
            used.append(self.cycle(number))
            last = self.settled(first) if first else self.settled(self.host())
            if first is None:
                first = last
                first["processes"] = []
            for what, before in first.items():
                need(len(last[what]) <= len(before), f"after cycle {number + 1} there are more {what}: "
                     f"{sorted((collections.Counter(map(str, last[what])) - collections.Counter(map(str, before))).elements())}")
            if (number + 1) % 25 == 0:
                say(f"{number + 1} cycles, {(time.monotonic() - begin) / (number + 1):.1f} s each")
        for what, before in first.items():
            self.note(what, len(before), len(last[what]), 0)
        self.note("longest Shutdown", 0, max(u.get("shutdown", 0) for u in used), None, "s")  # of what else the machine did, too
        few = max(1, min(10, count // 2))
        for what in ("private", "peak"):
            self.note(f"memory of the runtime, {what}", *(statistics.median(u[what] for u in part) / KIB for part in (used[:few], used[-few:])), 1024, "KiB")

    # -- runs

    @staticmethod
    def inside(runtime):
        """The guest as a program in it sees it. The kernel counts for all, so that what the agent has is in it."""
        p = runtime.sh("cat /proc/loadavg /proc/sys/fs/file-nr; echo $(ls -d /proc/[0-9]* | wc -l) $(wc -l </proc/self/mountinfo); cat /proc/meminfo",
                       timeout=SLOW)
        need(p.code == 0, f"cannot look into the guest: {p.err()}")
        load, open_files, counts, *rest = p.out().decode().split("\n")
        kib = {line.split(":")[0]: int(line.split()[1]) for line in rest if line}
        processes, mounts = (int(n) for n in counts.split())
        return {"threads": int(load.split()[3].split("/")[1]), "open files": int(open_files.split()[0]), "processes": processes, "mounts": mounts,
                "memory of programs": kib["AnonPages"], "memory of the kernel": kib["SUnreclaim"] + kib["KernelStack"] + kib["PageTables"],
                "available memory": kib["MemAvailable"]}

    def sample(self, runtime):
        found = {"host": {name: footprint(pids) for name, pids in family(runtime).items() if pids}}
        # Three times, and the least of each: what one of them has started to end is gone in another.
        guest = [self.inside(runtime) for _ in range(3)]
        found["guest"] = {k: (max if k == "available memory" else min)(g[k] for g in guest) for k in guest[0]}
        return found

    @staticmethod
    def one(runtime, number):
        kind = number % 10
        if kind == 6:
            p = runtime.sh("echo out; echo err >&2; exit 5", timeout=SLOW)
            need((p.code, p.out(), p.err()) == (5, b"out\n", b"err\n"), f"run {number} gave {p.code}")
        elif kind == 7:
            p = runtime.run("/bin/head", "-c", "262144", "/dev/zero", timeout=SLOW)
            need((p.code, len(p.out())) == (0, 262144), f"run {number} gave {p.code} and {len(p.out())} bytes")
        elif kind == 8:
            try:
                runtime.run("/no/such/program")
                raise Leak("a program that does not exist was run")
            except exeunit.Refused:
                pass
        elif kind == 9 and number % 20 == 9:
            p = runtime.start("/bin/sleep", "1000")
            runtime.kill(p, 9)
            need(runtime.finish(p, SLOW).code == 137, f"run {number} was killed and gave {p.code}")
        elif kind == 9:
            p = runtime.run("/bin/head", "-c", "100000", "/dev/zero", stdout=1000, stderr=0, timeout=SLOW)
            need((p.code, len(p.out())) == (0, 1000), f"run {number} gave {p.code} and {len(p.out())} bytes")
        else:
            p = runtime.run("/bin/true", timeout=SLOW)
            need(p.code == 0, f"run {number} gave {p.code}")

    @staticmethod
    def fill(runtime):
        """All that can wait in the runtime waits: the allocator has had the most it will ever need."""
        processes = [runtime.start("/bin/head", "-c", "1000000", "/dev/zero") for _ in range(10)]
        time.sleep(0.3)
        for p in processes:
            need(runtime.finish(p, SLOW).code == 0 and len(p.out()) == 1000000, "a process of many has lost output")

    @staticmethod
    def forget(runtime):
        """What the supervisor remembers of processes that have ended."""
        for things in (runtime.requests, runtime.answers, runtime.bound):
            things.clear()
        for p in runtime.processes.values():
            p.stdout, p.stderr, p.chunks = [], [], []

    def runs(self, count):
        self.deploy()
        runtime = self.start()
        warm, step = max(min(count // 2, 100), count // 10), max(1, count // 10)  # each kind of run is in the first 100
        samples, begin = [], time.monotonic()
        try:
            self.fill(runtime)
            for number in range(count):
                self.one(runtime, number)
                if number % 100 == 50:  # ten at once
                    for p in [runtime.start("/bin/true") for _ in range(10)]:
                        runtime.finish(p, SLOW)
                if number + 1 >= warm and ((number + 1 - warm) % step == 0 or number + 1 == count):
                    self.forget(runtime)
                    samples.append(self.sample(runtime))
                    now = samples[-1]
                    say(f"{number + 1} runs, {(time.monotonic() - begin) / (number + 1) * 1e3:.0f} ms each: runtime "
                        f"{now['host']['runtime']['private'] // KIB} KiB private, {now['host']['runtime']['descriptors']} descriptors; QEMU "
                        f"{now['host']['QEMU']['private'] // KIB} KiB; guest {now['guest']}")
            runtime.shutdown(SLOW)
            runtime.close()
            need(runtime.status(SLOW) == 0, "the runtime did not end with 0")
        finally:
            runtime.reap()
        first, last = samples[0], samples[-1]

        def both(place, name, allowed, unit="", scale=1, part=None):
            values = [(s[place][part][name] if part else s[place][name]) / scale for s in (first, last)]
            self.note(f"{part or 'guest'}: {name}", *values, allowed, unit)

        for part in ("runtime", "helpers"):
            both("host", "private", 384, "KiB", KIB, part)  # the allocator keeps some of what it had
            both("host", "pss", None, "KiB", KIB, part)  # less when others share the libraries
            both("host", "peak", 512, "KiB", KIB, part)
        for part in last["host"]:
            both("host", "processes", 0, part=part)
            both("host", "descriptors", 0, part=part)
        both("host", "private", None, "KiB", KIB, "QEMU")  # the guest's memory, as far as it has been used
        for name in ("processes", "mounts"):
            both("guest", name, 0)
        both("guest", "threads", 4)  # the kernel's own come and go
        both("guest", "open files", 32)  # counted for each CPU, in portions
        both("guest", "memory of programs", 256, "KiB")
        both("guest", "memory of the kernel", 1024, "KiB")
        both("guest", "available memory", None, "KiB")

    # -- the end

    def report(self, title):
        """Prints the table and empties it; False when something in it has grown."""
        good, rows = True, [("", "before", "after", "may grow", "")]
        for name, before, after, allowed, unit in self.table:
            grown = allowed is not None and after > before + allowed
            good = good and not grown
            rows.append((name, f"{before:.6g} {unit}", f"{after:.6g} {unit}", "" if allowed is None else f"{allowed} {unit}", "GROWN" if grown else ""))
        widths = [max(len(r[i]) for r in rows) for i in range(5)]
        print(title)
        for row in rows:
            print("  " + "  ".join(cell.strip().ljust(w) for cell, w in zip(row, widths)).rstrip())
        sys.stdout.flush()
        self.table = []
        return good


def make_image(prefix, images):
    subprocess.run([sys.executable, os.path.join(E2E, "images.py"), images], check=True)
    subprocess.run([os.path.join(prefix, "bin/gvmkit"), "build", os.path.join(images, "user.tar"), "-o", os.path.join(images, "user.gvmi")],
                   stdout=subprocess.DEVNULL, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=500, metavar="N", help="how many deployments (500)")
    parser.add_argument("--runs", type=int, default=10000, metavar="M", help="how many runs in one virtual machine (10000)")
    parser.add_argument("--prefix", default=os.path.join(TOP, "build", "stage"), help="where gvmkit is installed (build/stage)")
    parser.add_argument("--images", help="a directory with user.gvmi of the end-to-end tests; without it the image is made")
    parser.add_argument("--accel", default="tcg")
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("soak: cannot become the parent of orphans")
    prefix = os.path.abspath(args.prefix)  # everything is started in directories of its own
    work = tempfile.mkdtemp(prefix="gvmkit-soak-", dir=os.environ.get("TMPDIR") or "/var/tmp")
    good = True
    try:
        os.chmod(work, 0o755)
        images = args.images
        if not images:
            images = os.path.join(work, "images")
            os.mkdir(images)
            make_image(prefix, images)
        soak = Soak(prefix, images, args.accel, work)
        begin = time.monotonic()
        if args.cycles > 0:
            soak.cycles(args.cycles)
            good = soak.report(f"{args.cycles} cycles of deploy, start, run, shutdown ({time.monotonic() - begin:.0f} s)")
        begin = time.monotonic()
        if args.runs > 0:
            soak.runs(args.runs)
            good = soak.report(f"{args.runs} runs in one virtual machine ({time.monotonic() - begin:.0f} s)") and good
    except (Leak, exeunit.Violation, exeunit.Refused, exeunit.Ended, TimeoutError) as error:
        print(f"soak: {type(error).__name__}: {error}")
        good = False
    finally:
        for pid in reap_orphans():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
