#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance tests of a runtime: exeunit_cases.py CASE, with RUNTIME, ACCEL and IMAGES in the environment, in an empty directory.

Each case plays the supervisor (exeunit.py) and fails with an exception.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import exeunit  # noqa: E402

RUNTIME = os.environ["RUNTIME"]
IMAGES = os.environ["IMAGES"]
ACCEL = os.environ.get("ACCEL", "tcg")
# Emulated VMs on a machine that does other things may take their time.
SLOW = 300


def same(got, want):
    assert got == want, f"got {got!r}, wanted {want!r}"


def prefix(image, *options):
    os.makedirs("work", exist_ok=True)
    return [RUNTIME, "--accel", ACCEL, "--workdir", os.path.abspath("work"), "--task-package", f"{IMAGES}/{image}.gvmi", "--cpu-cores",
            "1", "--mem-gib", "0.25", "--storage-gib", "1", *options]


def environment(**more):
    return dict(os.environ, GVMKIT_ALLOW_TCG="1", **more)


def deploy(image="base", *options):
    done = subprocess.run([*prefix(image, *options), "deploy", "--"], stdout=subprocess.PIPE, check=True, env=environment())
    return json.loads(done.stdout)


class Started:
    """A deployed and started runtime; nothing of it is left afterwards."""

    def __init__(self, image="base", options=(), start=(), deployed=None, hello=True, env=None):
        if deployed is None:
            deployed = deploy(image, *options)
        self.vols = {v["path"]: os.path.join("work", v["name"]) for v in deployed["vols"]}
        self.errors = open("stderr", "w+b")
        self.runtime = exeunit.Runtime([*prefix(image), "start", *start], cwd="work", env=env or environment(), stderr=self.errors)
        self.say_hello = hello

    def __enter__(self):
        try:
            if self.say_hello:
                self.runtime.hello(SLOW)
        except BaseException:
            self.__exit__()
            raise
        self.runtime.vols, self.runtime.stderr = self.vols, self.stderr
        return self.runtime

    def __exit__(self, *_):
        self.runtime.reap()

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read().decode()


def refused(runtime, call):
    try:
        call()
    except exeunit.Refused as e:
        return e
    raise AssertionError("it was not refused")


def qemu_of(runtime):
    """The QEMU below the runtime, by way of its guardian."""
    def children(pid):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(p) for p in f.read().split()]
    for guardian in children(runtime.child.pid):
        for pid in children(guardian):
            if "/qemu-system" in os.readlink(f"/proc/{pid}/exe"):
                return pid
    raise AssertionError("there is no QEMU")


# ---- what a run gives --------------------------------------------------------------------------------------------------------------


def runs():
    """Output, exit code, environment, directory and user of a run are what the image and the request say."""
    with Started("user") as r:
        p = r.sh("echo out; echo err >&2; exit 7")
        same((p.out(), p.err(), p.code), (b"out\n", b"err\n", 7))
        p = r.sh("id -un; id -gn; pwd; echo $HOSTNAME $PATH; hostname; cat; echo end")
        same(p.out().decode().split("\n"), ["alice", "alice", "/home/alice/made/later",
             "golem /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "golem", "end", ""])
        same(r.run("/bin/busybox", timeout=60).code, 0)
        p = r.finish(r.start("sh", "-c", 'echo "$0"; kill -9 $$'))  # found in PATH; arguments as they are
        same((p.out(), p.code), (b"sh\n", 137))


def failures():
    """A program that cannot be started is an error with a code, a reason and the facts, and no event; the next one runs."""
    with Started() as r:
        e = refused(r, lambda: r.run("/bin/no-such-program"))
        same((e.code, e.context["errno"], e.context["bin"]), (1, "2", "/bin/no-such-program"))
        assert "No such file" in e.message and "/bin/no-such-program" in e.message
        e = refused(r, lambda: r.run("no-such-program"))
        same(e.code, 1)
        e = refused(r, lambda: r.run("/bin/notexec"))
        same((e.code, e.context["errno"]), (2, "13"))
        e = refused(r, lambda: r.answer(r.send("run", exeunit.run(r.next_id, "", []))))
        same(e.code, 2)
        e = refused(r, lambda: r.run("/bin/sh", "-c", "x" * 2000000))
        same(e.code, 2)
        e = refused(r, lambda: r.answer(r.send("nothing", exeunit.field(1, r.next_id) + exeunit.field(99, b"new"))))
        same(e.code, 2)
        e = refused(r, lambda: r.answer(r.send("network", exeunit.network(r.next_id, [("10.0.0.0", "", "255.0.0.0", "10.0.0.2")], {}, 0))))
        assert "network" in e.message
        p = r.sh("echo still here")
        same((p.code, p.out()), (0, b"still here\n"))
        same(sorted(r.processes), [1])


def output():
    """All output of a process comes before its end, however fast that is, in chunks that are neither tiny nor huge."""
    want = b"".join(b"%d\n" % i for i in range(1, 60001))
    with Started() as r:
        for _ in range(3):
            p = r.run("seq", "1", "60000", timeout=SLOW)
            same(p.code, 0)
            same(p.out(), want)
        p = r.sh("dd if=/dev/zero bs=65536 count=512 2>/dev/null", timeout=SLOW)
        same((p.code, len(p.out()), p.out().strip(b"\0")), (0, 32 << 20, b""))
        assert sum(p.chunks) / len(p.chunks) >= 8192, "chunks of a fast writer are small"
        p = r.sh("sleep 1000 & echo done")  # who keeps the pipe open delays nothing
        same((p.code, p.out()), (0, b"done\n"))


def many():
    """Many processes at once: each has its own output, its own end and its own pid."""
    with Started() as r:
        started = [r.start("/bin/sh", "-c", f"seq {i} {i + 2000}; exit {i % 50}") for i in range(40)]
        for i, p in enumerate(started):
            r.finish(p, SLOW)
            same((p.code, p.out()), (i % 50, b"".join(b"%d\n" % k for k in range(i, i + 2001))))
        same(len({p.pid for p in started}), 40)
        # Without waiting for answers.
        ids = [r.send("run", exeunit.run(r.next_id, "/bin/true", ["true"])) for _ in range(100)]
        for id in ids:
            r.answer(id, SLOW)
        r.wait(lambda: all(p.code == 0 for p in r.processes.values() if p.pid > 40), SLOW)
        same(len(r.processes), 140)


def kills():
    """KillProcess sends the signal that it names; 0 is SIGKILL; what cannot be killed is an error."""
    with Started() as r:
        p = r.start("/bin/sleep", "1000")
        r.kill(p, signal.SIGTERM)
        same(r.finish(p).code, 143)
        p = r.start("/bin/sh", "-c", "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.1; done")
        r.wait(lambda: p.out() == b"ready\n")
        r.kill(p, signal.SIGUSR1)
        same((r.finish(p).code, p.out()), (5, b"ready\ncaught\n"))
        p = r.start("/bin/sleep", "1000")
        r.kill(p, 0)
        same(r.finish(p).code, 137)
        p2 = r.start("/bin/sleep", "1000")
        same(refused(r, lambda: r.kill(p, 15)).code, 1)
        same(refused(r, lambda: r.kill(exeunit.Process(4711), 15)).code, 1)
        same(refused(r, lambda: r.kill(p2, 99)).code, 2)
        r.kill(p2, 9)
        same(r.finish(p2).code, 137)


def limits():
    """work_dir and the limits of output are honoured."""
    with Started() as r:
        same(r.run("/bin/pwd", work_dir="/made/for/this").out(), b"/made/for/this\n")
        p = r.sh("seq 1 50000; echo err >&2", stdout=100, stderr=0, timeout=SLOW)
        same((p.code, p.out(), p.err()), (0, b"".join(b"%d\n" % i for i in range(1, 50001))[-100:], b""))
        p = r.sh("echo short; echo err >&2", stdout=100)
        same((p.out(), p.err()), (b"short\n", b"err\n"))
        same(refused(r, lambda: r.sh("true", stdout=1 << 30)).code, 2)


def odd():
    """An image with USER, ENV, a relative ENTRYPOINT, VOLUMEs by way of links, and no /etc (runtime.bats makes it)."""
    deployed = deploy("odd", "--volume-override", '{"/app/other/deep": {"host": {}}}')
    same([v["path"] for v in deployed["vols"]], ["/app/other/deep", "/real/data"])  # the conversion has followed the image's own
    with Started("odd", deployed=deployed, start=["start-entrypoint"]) as r:
        same(json.loads(r.start_output)["entrypoint"]["command"], ["/app/start", "one", "two"])
        p = r.sh("id -u; id -g; pwd; echo $WHO $HOME $PATH; for v in /app/way/data /app/other/deep; do echo text >$v/file && stat -c '%u %n' $v; done;"
                 "grep -c 9p /proc/mounts; cat /real/data/file /real/deep/file; grep -v '^#' /etc/hosts | grep -c localhost")
        same(p.err(), b"")
        same(p.out().decode().split("\n"), ["1000", "50", "/app", "world / /bin", "1000 /app/way/data", "1000 /app/other/deep", "2", "text", "text", "2", ""])
        for volume in r.vols.values():
            with open(f"{volume}/file", encoding="ascii") as f:
                same(f.read(), "text\n")
        with open("work/entrypoint.log", encoding="ascii") as f:
            same(f.read(), "started by 1000 in /app: hello world, one two\n")
        p = r.run("./start", "mine")
        same((p.code, p.out()), (0, b"started by 1000 in /app: hello world, mine\n"))
        same(refused(r, lambda: r.run("start")).code, 1)


# ---- the ends ----------------------------------------------------------------------------------------------------------------------


def shutdown():
    """The answer to Shutdown comes within 3 s, after every process's end, and with everything in the volumes."""
    with Started("user") as r:
        p = r.start("/bin/sh", "-c", "echo kept >/data/file; trap 'echo bye >/data/bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
        stubborn = r.start("/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done")
        r.wait(lambda: p.out() == b"up\n")
        qemu = qemu_of(r)
        took = r.shutdown()
        assert took < 3, f"it took {took} s"
        assert not os.path.exists(f"/proc/{qemu}"), "QEMU outlives the answer"
        same((p.code, stubborn.code), (3, 137))
        for name, text in (("file", "kept\n"), ("bye", "bye\n")):
            with open(f"{r.vols['/data']}/{name}", encoding="ascii") as f:
                same(f.read(), text)
        same(refused(r, lambda: r.run("/bin/true")).code, 2)
        r.shutdown()
        r.close()
        same(r.status(), 0)


def end_of_stdin():
    """The end of stdin is shutdown; the status is 0 only when nothing was left to do."""
    with Started() as r:
        same(r.sh("exit 0").code, 0)
        r.close()
        same(r.status(), 0)
    with Started(deployed={"vols": []}) as r:
        p = r.start("/bin/sleep", "1000")
        r.close()
        same(r.status(), 1)
        same(p.code, 143)
        assert "went away" in r.stderr(), r.stderr()


def early_requests():
    """What is asked before the VM is up is answered when it is; then the end of stdin counts."""
    with Started(hello=False) as r:
        first = r.send("hello", exeunit.hello(r.next_id))
        second = r.send("run", exeunit.run(r.next_id, "/bin/true", ["true"]))
        r.close()
        r.answer(first, SLOW)
        try:
            r.answer(second)
        except exeunit.Refused:
            pass
        assert r.status() in (0, 1)
    with Started(hello=False, deployed={"vols": []}) as r:  # nobody is there any more: no VM is needed
        r.close()
        same(r.status(), 0)


def garbage():
    """Bytes that are no frame end the runtime, with a reason and a status."""
    cases = {
        b"\xff" * 20: "frame",
        b"\x80\x80\x80\x80\x80\x01rest": "frame",  # longer than a frame may be
        b"\x04\x08\x02\x52\x7f": "no message",
        b"\x07\x08\x02\x52\x03\x0a\x01\xff": "UTF-8",
        b"\x05\x08\x02": "in the middle",
    }
    deployed = deploy()
    for data, reason in cases.items():
        with Started(deployed=deployed) as r:
            r.send_raw(data)
            if reason == "in the middle":
                r.close()
            same(r.status(), 1)
            assert reason in r.stderr(), (data, r.stderr())


def signals():
    """A signal ends the runtime in order."""
    deployed = deploy()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Started(deployed=deployed) as r:
            p = r.start("/bin/sleep", "1000")
            r.child.send_signal(number)
            same(r.status(), 128 + number)
            same(p.code, 143)


def guardian_of(runtime):
    with open(f"/proc/{qemu_of(runtime)}/stat", encoding="ascii") as f:
        return int(f.read().rsplit(")", 1)[1].split()[1])


def gone(pid, seconds):
    """Waits until a process has gone."""
    end = time.monotonic() + seconds
    while True:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                if f.read().rsplit(")", 1)[1].split()[0] == "Z":  # whoever adopts it is slow to notice
                    return
        except OSError:
            return
        assert time.monotonic() < end, f"{pid} is still there after {seconds} s"
        time.sleep(0.02)


def killed_runtime():
    """SIGKILL of the runtime takes everything with it, and the work directory can be used again at once."""
    with Started("user") as r:
        r.sh("echo text >/data/file; sync")
        qemu, guardian = qemu_of(r), guardian_of(r)
        r.child.kill()
        r.child.wait()
        gone(qemu, 1)
        gone(guardian, 1)
    with Started("user", deployed={"vols": []}) as r:
        same(r.sh("cat /data/file").out(), b"text\n")


def killed_children():
    """A program that is killed inside the guest is told, and only that one."""
    with Started() as r:
        victim = r.start("/bin/sh", "-c", "echo $$; exec sleep 1000")
        other = r.start("/bin/sleep", "1000")
        r.wait(lambda: victim.out().endswith(b"\n"))
        same(r.sh(f"kill -9 {victim.out().decode()}").code, 0)
        same((r.finish(victim).code, other.code), (137, None))
        p = r.sh("kill -9 -1; echo done")  # the agent is none of those that can be killed
        same((p.code, p.out(), r.finish(other).code), (0, b"done\n", 137))
        same(r.sh("echo still here").out(), b"still here\n")


def death():
    """When QEMU or its guardian dies every process gets its end, with the reason, and so does the runtime."""
    deployed = deploy()
    for victim in ("qemu", "guardian"):
        with Started(deployed=deployed) as r:
            processes = [r.start("/bin/sleep", "1000") for _ in range(3)]
            qemu = qemu_of(r)
            with open(f"/proc/{qemu}/stat", encoding="ascii") as f:
                guardian = int(f.read().rsplit(")", 1)[1].split()[1])
            os.kill(qemu if victim == "qemu" else guardian, signal.SIGKILL)
            same(r.status(), 1)
            for p in processes:
                same(p.code, -1)
                assert b"killed" in p.err(), p.err()
            assert "killed" in r.stderr(), r.stderr()


def guest_death():
    """A guest that switches itself off is told as well."""
    with Started() as r:
        p = r.start("/bin/sh", "-c", "echo o >/proc/sysrq-trigger; echo b >/proc/sysrq-trigger; reboot -f; sleep 1000")
        try:
            r.wait(lambda: p.code is not None, 20)
            # The guest does not let a program do that: then its world is what dies, and the next run is refused.
            e = refused(r, lambda: r.run("/bin/true"))
            same(e.code, 0)
        except exeunit.Ended:
            same(r.status(), 1)
            same(p.code, -1)


def frozen():
    """A QEMU, or a guardian, that does not react any more holds nothing up: every request is answered, Shutdown in time."""
    deployed = deploy()
    for victim in (qemu_of, guardian_of):
        with Started(deployed=deployed) as r:
            p = r.start("/bin/sleep", "1000")
            qemu, stopped = qemu_of(r), victim(r)
            os.kill(stopped, signal.SIGSTOP)
            if qemu == stopped:
                r.kill(p, signal.SIGTERM)  # is sent, and nothing comes of it
                pending = [r.send("run", exeunit.run(r.next_id, "/bin/true", ["true"])) for _ in range(3)]
            else:
                pending = []
            took = r.shutdown()
            assert took < 3, f"it took {took} s"
            gone(qemu, 0.1)
            for id in pending:
                same(refused(r, lambda: r.answer(id)).code, 0)
            assert p.code in (137, 143), p.code
            r.close()
            same(r.status(), 0)
            gone(stopped, 1)


# ---- the reader that does not read -------------------------------------------------------------------------------------------------


def slow_reader():
    """While nobody reads its stdout the runtime reads its stdin, and stays below 16 MB; nothing is lost."""
    with Started() as r:
        noisy = [r.start("/bin/sh", "-c", "dd if=/dev/zero bs=65536 2>/dev/null; exit 1") for _ in range(30)]
        counted = r.start("/bin/sh", "-c", "dd if=/dev/zero bs=65536 count=300 2>/dev/null")
        time.sleep(5)
        with open(f"/proc/{r.child.pid}/status", encoding="ascii") as f:
            peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
        assert peak < 16000, f"{peak} kB"
        # Answers are blocked, so that only the guest can tell: these requests are read and done now.
        ids = [r.send("kill", exeunit.kill(r.next_id, p.pid, 9)) for p in noisy]
        more = [r.send("kill", exeunit.kill(r.next_id, 4711, 9)) for _ in range(2000)]
        for p in noisy:
            same(r.finish(p, SLOW).code, 137)
        for id in ids:
            r.answer(id)
        for id in more:
            refused(r, lambda: r.answer(id))
        r.finish(counted, SLOW)
        same((counted.code, len(counted.out())), (0, 300 * 65536))
        print(f"peak {peak} kB")


def gone_reader():
    """A supervisor that closes its end of stdout has gone: the runtime ends."""
    with Started() as r:
        r.start("/bin/sh", "-c", "while :; do echo text; done")
        r.selector.unregister(r.child.stdout)
        r.child.stdout.close()
        same(r.child.wait(30), 1)
        assert "cannot write to the supervisor" in r.stderr(), r.stderr()


def blocked_shutdown():
    """Shutdown is done in time also when nobody reads."""
    with Started() as r:
        r.start("/bin/sh", "-c", "dd if=/dev/zero bs=65536 2>/dev/null")
        time.sleep(1)
        qemu = qemu_of(r)
        r.send("shutdown", exeunit.shutdown(r.next_id))
        end = time.monotonic() + 3
        while os.path.exists(f"/proc/{qemu}"):
            assert time.monotonic() < end, "QEMU is still there after 3 s"
            time.sleep(0.05)
        r.close()
        r.status()


# ---- the start ---------------------------------------------------------------------------------------------------------------------


def start_fails():
    """Why there is no VM is told to the supervisor, which would otherwise only see a status."""
    def fails(reason, **more):
        with Started(hello=False, deployed={"vols": []}, **more) as r:
            e = refused(r, lambda: r.hello(10))
            assert reason in e.message, e.message
            same(r.status(), 1)
            assert reason in r.stderr(), r.stderr()

    os.makedirs("work")
    fails("nothing has been deployed")
    with open("work/deployment.json", "w", encoding="ascii") as f:
        f.write('{"version": 1')
    fails("deploy again")
    os.unlink("work/deployment.json")
    deploy()
    with open("work/deployment.json", encoding="ascii") as f:
        record = f.read()
    for bad in (record.replace('"version": 1', '"version": 2'), record[:-20], record.replace('"cpu_cores": 1', '"cpu_cores": "many"'), ""):
        with open("work/deployment.json", "w", encoding="ascii") as f:
            f.write(bad)
        fails("deploy again")
    with open("work/deployment.json", "w", encoding="ascii") as f:
        f.write(record)
    fails("GVMKIT_ALLOW_TCG", env={k: v for k, v in environment().items() if k != "GVMKIT_ALLOW_TCG"})
    fails("qemu-system-x86_64", env=environment(PATH="/nowhere"))


def changed_image():
    """An image that has gone, or is not what it was, since deploy."""
    with open(f"{IMAGES}/base.gvmi", "rb") as f:
        image = f.read()
    path = os.path.abspath("image.gvmi")

    def put(data):
        with open(path, "wb") as f:
            f.write(data)
    put(image)
    options = ["--workdir", os.path.abspath("work"), "--task-package", path]
    os.mkdir("work")
    subprocess.run([RUNTIME, *options, "deploy"], stdout=subprocess.DEVNULL, check=True)
    with open(f"{IMAGES}/user.gvmi", "rb") as f:
        other = f.read()
    for data, reason in ((image[:-5], "not the one"), (b"garbage", "not the one"), (b"", "not the one"), (other, "not the one"), (None, "No such file")):
        if data is None:
            os.unlink(path)
        else:
            put(data)
        with Started(hello=False, deployed={"vols": []}) as r:
            e = refused(r, lambda: r.hello(10))
            assert reason in e.message and path in e.message, e.message
            same(r.status(), 1)
    put(image)
    with Started(deployed={"vols": []}) as r:
        same(r.sh("echo again").out(), b"again\n")


def closed_streams():
    """Without stdin or stdout there is nobody to serve."""
    deploy()
    for shell in ("exec \"$@\" <&-", "exec \"$@\" >&-"):
        done = subprocess.run(["sh", "-c", shell, "sh", *prefix("base"), "start"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=environment(), timeout=30, check=False)
        same((done.returncode, done.stdout), (1, b""))
        assert b"of which one is closed" in done.stderr and done.stderr.count(b"\n") == 1, done.stderr


def full():
    """A work directory, work, whose file system is full: what needs room there fails and says so, all else goes on."""
    options = ["--storage-gib", "0.01", "--volume-override", '{"/v":{"host":{}},"/s":{"storage":{"size":"4 MiB"}}}']
    deployed = deploy("base", *options)
    with open("work/filling", "wb", buffering=0) as f:
        try:
            while f.write(bytes(65536)):
                pass
        except OSError:
            pass
        try:
            while f.write(bytes(1)):
                pass
        except OSError:
            pass
    before = sorted(os.listdir("work"))
    again = subprocess.run([*prefix("base", *options), "deploy"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), check=False)
    same((again.returncode, again.stdout), (1, b""))
    assert b"No space left" in again.stderr, again.stderr
    same(sorted(os.listdir("work")), before)
    with Started("base", deployed=deployed, start=["start-entrypoint"]) as r:
        p = r.sh("echo text >/v/file && sync; dd if=/dev/zero of=/v/more bs=64k count=4; echo end")
        assert b"No space left" in p.err() and p.out().endswith(b"end\n"), (p.out(), p.err())
        r.sh("dd if=/dev/zero of=/s/file bs=64k count=32; sync")  # the disk image has no room to be written; the VM lives
        same(r.sh("echo here").out(), b"here\n")
        assert r.shutdown() < 3
        r.close()
        same(r.status(), 0)


def one_at_a_time():
    """A second start or deploy in a work directory in use is refused, and does not disturb the first."""
    with Started() as r:
        with open("work/deployment.json", "rb") as f:
            record = f.read()
        again = subprocess.run([*prefix("base"), "deploy"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), check=False)
        same((again.returncode, again.stdout), (1, b""))
        assert b"in use" in again.stderr
        second = exeunit.Runtime([*prefix("base"), "start"], env=environment(), stderr=subprocess.DEVNULL)
        assert "in use" in refused(r, lambda: second.hello(20)).message
        same(second.status(), 1)
        with open("work/deployment.json", "rb") as f:
            same(f.read(), record)
        same(r.sh("echo fine").out(), b"fine\n")
        r.shutdown()
    with Started(deployed={"vols": []}) as r:  # and the lock has gone with it
        same(r.sh("echo again").out(), b"again\n")


def entrypoint():
    """start-entrypoint runs ENTRYPOINT and CMD; their output is in a file, and none of it is taken for a run's."""
    with Started("user", start=["start-entrypoint"]) as r:
        told = json.loads(r.start_output)
        same(told["entrypoint"]["pid"], 1)
        same(told["entrypoint"]["command"][:2], ["/bin/sh", "-c"])  # the conversion has given `sh` its path
        same(told["start"], None)
        p = r.sh("echo mine")
        same((p.pid, p.out()), (2, b"mine\n"))

        def logged():
            with open("work/entrypoint.log", encoding="ascii") as f:
                return f.read()
        end = time.monotonic() + 30
        while "args:" not in logged():
            assert time.monotonic() < end, logged()
            time.sleep(0.1)
        assert "args: zero one two words" in logged(), logged()
        same(r.sh("echo after it").code, 0)


def counters():
    """Usage is told as counters, at a modest rate, and is what was used."""
    with Started("user") as r:
        r.sh("dd if=/dev/zero of=/data/file bs=1M count=20 2>/dev/null; sync", timeout=SLOW)
        end = time.monotonic() + 60
        while len(r.counters.get("vm.io.write_bytes", [])) < 2:
            assert time.monotonic() < end, r.counters
            r.read(1)
        same(set(r.counters), {"golem.usage.cpu_sec", "golem.usage.gib", "golem.usage.storage_gib", "vm.io.read_bytes", "vm.io.write_bytes"})
        last = {name: values[-1] for name, values in r.counters.items()}
        assert 0.1 < last["golem.usage.cpu_sec"] < 600, last
        assert 0.02 < last["golem.usage.gib"] < 0.6, last
        assert 0.018 < last["golem.usage.storage_gib"] < 0.022, last
        assert last["vm.io.write_bytes"] > 20 << 20, last
        assert r.counters["golem.usage.cpu_sec"] == sorted(r.counters["golem.usage.cpu_sec"])


def group():
    """QEMU is in the runtime's process group: the ExeUnit counts CPU seconds by it."""
    with Started() as r:
        same(os.getpgid(qemu_of(r)), os.getpgid(r.child.pid))


# ---- volumes -----------------------------------------------------------------------------------------------------------------------


def volumes():
    """Host, ram and storage volumes, nested ones too; what is on the host's disk is kept between starts."""
    override = json.dumps({"/data": {"host": {}}, "/golem/in/": {"host": {}}, "/golem/ram": {"ram": {"size": "10.5 MB"}},
                           "/golem/disk": {"storage": {"size": "104.9 MB", "errors": "remount-ro"}}, "/srv/v": {"storage": {"size": 33554432}}})
    deployed = deploy("user", "--volume-override", override)
    same([v["path"] for v in deployed["vols"]], ["/data", "/data/inner", "/golem/in"])
    with Started("user", deployed=deployed) as r:
        with open(f"{r.vols['/golem/in']}/sent", "w", encoding="ascii") as f:
            f.write("from the host\n")
        p = r.sh("""cat /golem/in/sent && for v in /data /data/inner /golem/in /golem/ram /golem/disk /srv/v; do
            echo text >$v/file && grep " $v " /proc/mounts | cut -d' ' -f3; done; df -m /golem/ram /golem/disk /srv/v | awk '{print $2}'""")
        lines = p.out().decode().split("\n")
        same((p.code, p.err()), (0, b""))
        same(lines[:7], ["from the host", "9p", "9p", "9p", "tmpfs", "ext4", "ext4"])
        ram, disk, small = (int(n) for n in lines[8:11])
        assert ram == 10 and 80 < disk <= 100 and 20 < small <= 32, lines
        r.shutdown()
    with open(f"work/{deployed['vols'][0]['name']}/file", encoding="ascii") as f:
        same(f.read(), "text\n")
    with Started("user", deployed=deployed) as r:
        p = r.sh("cat /golem/disk/file /srv/v/file /data/file; ls -A /golem/ram")
        same((p.code, p.out()), (0, b"text\ntext\ntext\n"))
        r.child.kill()  # a disk survives that, too
        r.child.wait()
    with Started("user", deployed=deployed) as r:
        same(r.sh("cat /golem/disk/file; echo more >/golem/disk/more").out(), b"text\n")


def stored(path):
    """Bytes that a directory takes of the disk, as a quota would count them."""
    total = 0
    for top, dirs, files in os.walk(path):
        for name in dirs + files:
            st = os.lstat(os.path.join(top, name))
            total += max(st.st_blocks * 512, 4096) // (1 if stat.S_ISDIR(st.st_mode) else st.st_nlink)
    return total


def quota():
    """A file cannot grow beyond what --storage-gib leaves; many files that do end the VM, and the processes are told why."""
    options = ["--storage-gib", "0.1", "--volume-override", '{"/s":{"storage":{"size":"50 MiB"}}}']
    limit = int(0.1 * (1 << 30)) - (50 << 20)
    with Started("user", options=options) as r:
        p = r.sh("dd if=/dev/zero of=/data/file bs=1M count=40; sync; sleep 3; rm /data/file")
        same(p.code, 0)
        p = r.sh("dd if=/dev/zero of=/data/file bs=1M count=90; echo $?; stat -c %s /data/file; rm /data/file", timeout=SLOW)
        assert b"File too large" in p.err(), p.err()
        code, size = p.out().split()
        assert code == b"1" and int(size) <= limit, (code, size, limit)
        same(r.sh("echo text >/data/file; cat /data/file; dd if=/dev/zero of=/s/file bs=1M count=30 2>/dev/null; echo $?").out(), b"text\n0\n")
    writers = {
        "many files": "i=0; while :; do i=$((i+1)); dd if=/dev/zero of=/data/$i bs=1M count=5 2>/dev/null; done",
        "writers at once": "for i in 1 2 3 4 5 6 7 8; do (while :; do dd if=/dev/zero bs=1M count=1 2>/dev/null; done >/data/$i) & done; wait",
        "small files": "cd /data; n=0; while mkdir $n; do cd $n; for i in 0 1 2 3 4 5 6 7 8 9; do for k in 0 1 2 3 4 5 6 7 8 9; do : >$i$k; done; done; cd ..; n=$((n+1)); done",
        "deep directories": "cd /data; while mkdir d; do cd d; done; sleep 1000",
    }
    for name, script in writers.items():
        small = "0.004" if name in ("small files", "deep directories") else "0.1"
        limit = int(float(small) * (1 << 30))
        with Started("user", options=["--storage-gib", small]) as r:
            p = r.start("/bin/sh", "-c", script)
            same(r.status(120), 1)
            assert p.code != 0 and b"--storage-gib" in p.err(), (p.code, p.err())
            assert "--storage-gib" in r.stderr(), r.stderr()
            over = max(0, sum(stored(path) for path in r.vols.values()) - limit)
            print(f"{name}: {over / (1 << 20):.2f} MiB more than {limit / (1 << 20):.0f}")
            assert over < 8 << 20, over


def root():
    """`/` as a volume takes the root's writes: in memory with a size, or on a disk that is kept."""
    deployed = deploy("base", "--volume-override", '{"/":{"ram":{"size":"33.6 MB"}}}')
    same(deployed["vols"], [])
    with Started(deployed=deployed) as r:
        p = r.sh("df -m / | tail -n 1 | awk '{print $2}'; stat -c %a /; echo x >/new && cat /new")
        same(p.out(), b"32\n755\nx\n")
    deployed = deploy("base", "--volume-override", '{"/":{"storage":{"size":"200 MiB"}}}')
    with Started(deployed=deployed) as r:
        p = r.sh("dd if=/dev/zero of=/big bs=1M count=150 2>/dev/null; ls -l /big | awk '{print $5}'; stat -c %a /; rm /bin/ls; echo kept >/kept")
        same((p.code, p.out()), (0, b"157286400\n755\n"))
        r.shutdown()
    with Started(deployed=deployed) as r:
        same(r.sh("cat /kept; test -e /bin/ls; echo $?").out(), b"kept\n1\n")


def user_writes():
    """The image's user can write in every kind of volume."""
    override = json.dumps({"/r": {"ram": {"size": 1 << 20}}, "/s": {"storage": {"size": 8 << 20}}, "/h": {"host": {}}})
    with Started("user", options=["--volume-override", override]) as r:
        p = r.sh("for v in /r /s /h /data; do id -un >$v/x && stat -c %U $v $v/x; done")
        same((p.code, p.err(), p.out()), (0, b"", b"alice\n" * 8))


def main():
    case = globals()[sys.argv[1]]
    # Nothing may hang longer than this, whatever the case waits for.
    timer = threading.Timer(900, lambda: os.kill(os.getpid(), signal.SIGABRT))
    timer.daemon = True
    timer.start()
    case()


if __name__ == "__main__":
    main()
