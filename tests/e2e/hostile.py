#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that lies: hostile.py run|runtime FAKE, with RUNTIME, ACCEL and IMAGES in the environment, in an empty directory.

FAKE is the program of tests/unit/vm/fake_qemu.c, which tells one lie of fake_lies.c when its directory is named like it. Here is what has to come
of each: one line that says what is wrong and a status that is not 0, or business as usual; little memory; and nothing left behind.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import exeunit  # noqa: E402

IMAGES, RUNTIME, ACCEL = os.environ["IMAGES"], os.environ["RUNTIME"], os.environ.get("ACCEL", "tcg")
MEMORY_MAX = 20000  # KiB of the host's side, at any time

# What the error says; FINE: nothing is wrong; REFUSED: this program cannot be started, all else is well; HANGS: until somebody ends it.
FINE, REFUSED, HANGS, NOT_READ = "fine", "refused", "hangs", "not read"
LIES = {
    "hello-twice": "a second greeting", "hello-never": HANGS, "hello-half": "stopped before its agent answered", "hello-slowly": FINE,
    "hello-versions": "a greeting without versions", "hello-none": "a greeting without versions", "hello-future": "the same release",
    "hello-id": "did not greet first", "answer-first": "did not greet first", "length-max": "a frame that is none",
    "length-over": "a frame that is none", "reserved": "a frame that is none", "qmp-garbage": "not a JSON object",
    "qmp-endless": "a line longer than", "qmp-array": "not a JSON object", "console-flood": FINE, "stderr-flood": FINE,
    "root-twice": "about nothing that exists", "run-never": HANGS, "answer-twice": "a second answer",
    "answer-empty": "an answer without a result", "answer-errno": "an answer without a result",
    "answer-negative": "an answer without a result", "answer-short": "an answer without a result", "text-giant": REFUSED,
    "text-control": REFUSED, "data-early": "has not started", "exit-early": "has not started", "id-nobodys": "about nothing that exists",
    "id-zero": "about nothing that exists", "close": "QEMU ended", "data-stream-0": "a stream that does not exist",
    "data-stream-9": "a stream that does not exist", "data-empty": "an impossible size", "data-none": "an impossible size",
    "data-long": "an impossible size", "data-credit": NOT_READ, "credit-stream": "broken credit", "credit-huge": "more credit than",
    "input-twice": "went away twice", "type-unknown": "an unknown kind of message", "type-request": "an unknown kind of message",
    "hello-later": "a second greeting", "note-id": "a broken note", "note-flood": FINE, "usage-huge": FINE, "garbage": "a frame that is none",
    "exit-twice": "about nothing that exists", "exit-empty": "an impossible exit", "exit-field": "a broken exit", "exit-number": "a broken exit",
    "exit-cut": "a broken exit", "data-late": "about nothing that exists", "exit-256": "an impossible exit",
    "exit-negative": "an impossible exit", "signal-0": "an impossible exit", "signal-128": "an impossible exit",
    "exit-kind": "an impossible exit", "exit-kind-huge": "an impossible exit", "dumped-negative": "an impossible exit",
    "shutdown-never": FINE, "shutdown-twice": FINE, "shutdown-refused": FINE,
}
# What comes after the process's end is not heard by `run`, which has seen all it wants then.
UNHEARD_BY_RUN = ("exit-twice", "data-late")


def same(got, want):
    assert got == want, f"got {got!r}, wanted {want!r}"


def one_line(text, name):
    """The errors of a program: what it says beside notes. There is one, of printable characters."""
    lines = [line for line in text.split("\n") if line and not line.startswith(name + ": note: ")]
    same(len(lines), 1)
    assert lines[0].startswith(name + ": ") and lines[0].isprintable(), lines
    return lines[0]


def peak(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


def nothing_runs(directory):
    """No process of this lie is left within a second."""
    end = time.monotonic() + 1
    while True:
        left = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if directory.encode() in f.read() and int(pid) != os.getpid():
                        left.append(pid)
            except OSError:
                pass
        if not left:
            return
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.02)


def environment(lie, fake):
    os.makedirs(lie)
    shutil.copy(fake, f"{lie}/qemu-system-x86_64")  # a link would lead to another directory
    return dict(os.environ, PATH=f"{os.path.abspath(lie)}:{os.environ['PATH']}", GVMKIT_ALLOW_TCG="1")


# ---- gvmkit run --------------------------------------------------------------------------------------------------------------------


def run(lie, want, env):
    child = subprocess.Popen(["gvmkit", "run", "--accel", ACCEL, f"{IMAGES}/base.gvmi", "anything"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    if want == NOT_READ:
        time.sleep(1)
    if want == HANGS:
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        if lie == "run-never":
            time.sleep(0.2)
            child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    err = err.decode(errors="backslashreplace")
    if want == HANGS:
        same(child.returncode, 130)
    elif want == FINE or lie in UNHEARD_BY_RUN:
        same((child.returncode, out), (0 if lie in UNHEARD_BY_RUN else 5, b"hello\n"))
    else:
        same(child.returncode, 125)
        pattern = {REFUSED: "the guest refused" if lie == "text-giant" else "one", NOT_READ: "more output than it had credit for"}.get(want, want)
        assert pattern in one_line(err, "gvmkit"), (pattern, err)


# ---- the runtime -------------------------------------------------------------------------------------------------------------------


def start(env):
    options = [RUNTIME, "--accel", ACCEL, "--workdir", os.path.abspath("work"), "--task-package", f"{IMAGES}/base.gvmi"]
    if not os.path.exists("work"):
        os.mkdir("work")
        subprocess.run([*options, "deploy"], stdout=subprocess.DEVNULL, check=True)
    errors = open("stderr", "w+b")
    return exeunit.Runtime([*options, "start"], env=env, stderr=errors), errors


def said(errors):
    errors.seek(0)
    return errors.read().decode(errors="backslashreplace")


def ends(r, errors, want):
    """The runtime ends by itself, not well, and says why; every request has got an answer or its process an end."""
    try:
        r.hello(30)
        r.send("run", exeunit.run(r.next_id, "/bin/anything", ["anything"]))
        if want == NOT_READ:
            time.sleep(1)
            want = "more output than it had credit for"
    except exeunit.Refused as e:  # there is no VM
        assert want in e.message, (want, e.message)
    except (exeunit.Ended, BrokenPipeError):
        pass
    same(r.status(10), 1)
    assert set(r.requests) == set(r.answers), (r.requests, r.answers)
    for p in r.processes.values():
        assert p.code is not None and (p.code == 5 or p.code == 0 or p.code == -1), p.code
    text = one_line(said(errors), "ya-runtime-vm")
    assert want in text, (want, text)


def goes_on(r, errors, lie, want):
    r.hello(30)
    if lie == "run-never":
        r.send("run", exeunit.run(r.next_id, "/bin/anything", ["anything"]))
    elif want == REFUSED:
        try:
            r.run("/bin/anything")
            raise AssertionError("it was not refused")
        except exeunit.Refused as e:
            assert len(e.message) < 2000 and e.message.isprintable(), e.message
    else:
        same(r.run("/bin/anything").code, 5)
    assert peak(r.child.pid) < MEMORY_MAX, peak(r.child.pid)
    took = r.shutdown()
    assert took < 3, took
    r.close()
    same(r.status(), 0)
    same(said(errors), "")


def runtime(lie, want, env):
    r, errors = start(env)
    try:
        if lie == "hello-never":
            time.sleep(0.3)
            r.close()
            same(r.status(5), 0)
        elif want in (FINE, REFUSED, HANGS):
            goes_on(r, errors, lie, want)
        else:
            ends(r, errors, want)
    finally:
        r.reap()
        errors.close()


def main():
    tell, fake = {"run": run, "runtime": runtime}[sys.argv[1]], os.path.realpath(sys.argv[2])
    chosen, failed = sys.argv[3:] or LIES, 0
    for lie in chosen:
        try:
            tell(lie, LIES[lie], environment(lie, fake))
            nothing_runs(os.path.abspath(lie))
        except Exception as e:  # noqa: BLE001 (each lie is a test)
            failed += 1
            print(f"{lie}: {type(e).__name__}: {e}")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../unit/vm/fake_lies.c"), encoding="ascii") as f:
        told = set(re.findall(r'(?:is, |\{ )"([a-z0-9-]+)"', f.read()))
    same(sorted(told), sorted(LIES))
    print(f"{len(chosen)} lies, {failed} not dealt with")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
