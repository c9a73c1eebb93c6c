#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the seeds of the fuzzers of the room `packages` in tests/fuzz/corpus, where the results are checked in.

The files that the packages own are those of the tree in exercise.h."""

import os
import sqlite3
import struct

CORPUS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "corpus")


def save(fuzzer, name, data):
    os.makedirs(os.path.join(CORPUS, fuzzer), exist_ok=True)
    with open(os.path.join(CORPUS, fuzzer, name), "wb") as f:
        f.write(data)


def header(name, files):
    """An rpm header as databases hold it: NAME, BASENAMES, DIRINDEXES, DIRNAMES."""
    dirs = sorted({os.path.dirname(f) + "/" for f in files})
    data = name.encode() + b"\0"
    data += bytes(-len(data) % 4)
    entries = [(1000, 6, 0, 1), (1116, 4, len(data), len(files))]
    data += b"".join(struct.pack(">I", dirs.index(os.path.dirname(f) + "/")) for f in files)
    for tag, words in ((1117, [os.path.basename(f) for f in files]), (1118, dirs)):
        entries.append((tag, 8, len(data), len(words)))
        data += b"".join(w.encode() + b"\0" for w in words)
    return struct.pack(">II", len(entries), len(data)) + b"".join(struct.pack(">IIII", *e) for e in entries) + data


HEADERS = [header("dash", ["/bin/sh", "/usr/bin/sh.distrib"]), header("gpg-pubkey", []),
           header("python3", ["/usr/lib/python3/os.py", "/lib/python3/gone.py"])]


def ndb():
    """With 512 bytes of slots in front; the fuzzer adds the free ones up to the page."""
    slots, blobs = b"", b""
    for index, blob in enumerate(HEADERS, 1):
        body = struct.pack("<4sIII", b"BlbS", index, 3, len(blob)) + blob
        body += bytes(-(len(body) + 12) % 16) + struct.pack("<II4s", 0, len(blob), b"BlbE")
        slots += struct.pack("<4sIII", b"Slot", index, (4096 + len(blobs)) // 16, len(body) // 16)
        blobs += body
    free = struct.pack("<4sIII", b"Slot", 0, 0, 0)
    front = struct.pack("<4s7I", b"RpmP", 0, 3, 1, len(HEADERS) + 1, 0, 0, 0) + slots
    return front + free * ((512 - len(front)) // 16) + blobs


def sqlite():
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA page_size=512")
    db.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
    for blob in HEADERS * 2:
        db.execute("INSERT INTO Packages (blob) VALUES (?)", (blob,))
    db.commit()
    return db.serialize()


TEXTS = [
    b"/.\n/bin\n/bin/sh\n/loop/sh\n/link/os.py\n",
    b"/lib/python3/os.py\n/usr/bin/../bin/sh",
    b"/bin/sh\n/bin/sh.distrib\ndash\n/lib/x\n/lib/y\n:\n",
    b"0123456789abcdef0123456789abcdef  usr/lib/python3/os.py\n",
    b"C:Q1x=\nP:busybox\nV:1\nF:bin\nR:sh\na:0:0:755\nF:lib/python3\nR:os.py\n\nP:musl\nF:usr/bin\nR:sh.distrib\n\n",
    b"usr/lib/python3/../python3",
]

save("fuzz_packages_text", "all", b"\xff".join(TEXTS))
for number, one in enumerate(HEADERS):
    save("fuzz_rpm_header", f"header{number}", one)
save("fuzz_rpm_ndb", "ndb", ndb())
save("fuzz_rpm_sqlite", "sqlite", sqlite())
