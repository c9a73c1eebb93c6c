#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive an interactive shell in a VM through a real terminal, as a person would: terminal.py COMMAND...

Checks that it is a terminal, that it has our size and follows when ours changes, that Ctrl-C reaches the program and
not the session, that colours arrive as they are, and that the exit status and our terminal's settings come back.
"""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time


def main():
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    before = termios.tcgetattr(fd)
    seen = b""

    def expect(pattern, seconds=90):
        nonlocal seen
        deadline = time.monotonic() + seconds
        while True:
            m = re.search(pattern, seen)
            if m:
                seen = seen[m.end():]
                return m
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                sys.exit(f"terminal: waited in vain for {pattern!r}, saw {seen!r}")
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""
            if not data:
                sys.exit(f"terminal: it ended before {pattern!r}, saw {seen!r}")
            seen += data

    def say(text):
        os.write(fd, text.encode())

    expect(rb"[#$] ")
    say("tty; stty size; echo term=$TERM\r")
    expect(rb"/dev/pts/\d+\r\n")
    expect(rb"33 101\r\n")
    expect(rb"term=\w+")
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 122, 0, 0))
    for _ in range(50):
        time.sleep(0.1)
        say("stty size\r")
        if expect(rb"(\d+ \d+)\r\n").group(1) == b"44 122":
            break
    else:
        sys.exit("terminal: the new size did not arrive")
    say("printf '\\033[31mred\\033[0m\\n'\r")
    expect(rb"\x1b\[31mred\x1b\[0m\r\n")
    say("sleep 600\r")
    time.sleep(1.5)
    os.write(fd, b"\x03")
    say("echo st$?atus\r")
    expect(rb"st130atus\r\n")
    say("exit 5\r")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if select.select([fd], [], [], 0.1)[0]:
            try:
                os.read(fd, 65536)
            except OSError:
                pass
    else:
        sys.exit("terminal: it did not end after `exit`")
    if os.waitstatus_to_exitcode(status) != 5:
        sys.exit(f"terminal: the status is {os.waitstatus_to_exitcode(status)}, not 5")
    after = termios.tcgetattr(fd)
    if before[:4] != after[:4]:
        sys.exit("terminal: our terminal's settings did not come back")


main()
