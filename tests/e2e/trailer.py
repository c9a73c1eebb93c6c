#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a .gvmi of a squashfs, in place: trailer.py FILE [JSON]."""

import struct
import sys
import zlib

json = (sys.argv[2] if len(sys.argv) > 2 else "{}").encode()
with open(sys.argv[1], "r+b") as f:
    size = f.seek(0, 2)
    f.write(bytes(-size % 4096) + struct.pack("<I", zlib.crc32(json)) + json + b"%08d" % len(json))
