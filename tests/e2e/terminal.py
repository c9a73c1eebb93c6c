#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive a program through a real terminal, as a person would: terminal.py shell|edit|line COMMAND...

shell: an interactive shell in a VM. It has a terminal of our size and follows when ours changes, Ctrl-C reaches the program and not the session,
colours arrive as they are, and the exit status and our terminal's settings come back.

edit: two sessions of a prompt that prints each line it gets in brackets. Lines can be edited, Ctrl-C empties one, Ctrl-D ends, and the second session
knows the lines of the first.

line: a session of one line, `more`. What came before the prompt is printed.
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


class Terminal:
    def __init__(self, argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        self.before = termios.tcgetattr(self.fd)
        self.seen = b""

    def expect(self, pattern, seconds=90):
        deadline = time.monotonic() + seconds
        while True:
            m = re.search(pattern, self.seen)
            if m:
                self.seen = self.seen[m.end():]
                return m
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                sys.exit(f"terminal: waited in vain for {pattern!r}, saw {self.seen!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                sys.exit(f"terminal: it ended before {pattern!r}, saw {self.seen!r}")
            self.seen += data

    def say(self, text):
        os.write(self.fd, text.encode())

    def end(self, wanted):
        """It ends by itself, with this status, and leaves the terminal as it was."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                break
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    pass
        else:
            sys.exit("terminal: it did not end")
        if os.waitstatus_to_exitcode(status) != wanted:
            sys.exit(f"terminal: the status is {os.waitstatus_to_exitcode(status)}, not {wanted}")
        if self.before[:4] != termios.tcgetattr(self.fd)[:4]:
            sys.exit("terminal: our terminal's settings did not come back")
        os.close(self.fd)


def shell(argv):
    t = Terminal(argv)
    t.expect(rb"[#$] ")
    t.say("tty; stty size; echo term=$TERM\r")
    t.expect(rb"/dev/pts/\d+\r\n")
    t.expect(rb"33 101\r\n")
    t.expect(rb"term=\w+")
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 122, 0, 0))
    for _ in range(50):
        time.sleep(0.1)
        t.say("stty size\r")
        if t.expect(rb"(\d+ \d+)\r\n").group(1) == b"44 122":
            break
    else:
        sys.exit("terminal: the new size did not arrive")
    t.say("printf '\\033[31mred\\033[0m\\n'\r")
    t.expect(rb"\x1b\[31mred\x1b\[0m\r\n")
    t.say("sleep 600\r")
    time.sleep(1.5)
    t.say("\x03")
    t.say("echo st$?atus\r")
    t.expect(rb"st130atus\r\n")
    t.say("exit 5\r")
    t.end(5)


def edit(argv):
    up, left, home, rubout, ctrl_c, ctrl_d = "\x1b[A", "\x1b[D", "\x01", "\x7f", "\x03", "\x04"
    t = Terminal(argv)
    for typed, wanted in (("first lime" + rubout * 2 + "ne", "first line"), ("secod" + left + "n", "second"), (" secret", " secret"),
                          ("third" + home + "the ", "the third"), (up, "the third"), (up * 2, "second"), ("tab\tinside", "tab\tinside")):
        t.expect(rb"sh> ")
        t.say(typed + "\r")
        t.expect(re.escape(f"[{wanted}]".encode()))
    t.expect(rb"sh> ")
    t.say("given up")
    t.expect(b"given up")
    t.say(ctrl_c)
    t.expect(rb"sh> ")
    for _ in range(30):  # at whatever moment it comes
        t.say("given")
        t.expect(b"g")
        t.say(ctrl_c)
        t.expect(rb"sh> ")
    t.say("after it\r")
    t.expect(re.escape(b"[after it]"))
    t.expect(rb"sh> ")
    t.say(ctrl_d)
    t.end(0)
    t = Terminal(argv)
    t.expect(rb"sh> ")
    for wanted in ("after it", "tab\tinside", "second", "the third", "second", "first line"):
        t.say(up)
        t.expect(wanted.split("\t")[0].encode())
    t.say("\r")
    t.expect(re.escape(b"[first line]"))
    t.expect(rb"sh> ")
    t.say(ctrl_d)
    t.end(0)


def line(argv):
    t = Terminal(argv)
    print(t.expect(rb"(?s)(.*)sh> ").group(1).decode())
    t.say("more\r")
    t.expect(rb"\[more\]")
    t.expect(rb"sh> ")
    t.say("\x04")
    t.end(0)


{"shell": shell, "edit": edit, "line": line}[sys.argv[1]](sys.argv[2:])
