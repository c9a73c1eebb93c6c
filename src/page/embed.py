#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the files given as C: embed.py OUTPUT FILE... makes, of style.css, style_css[] and STYLE_CSS_ETAG."""

import hashlib
import os
import sys

with open(sys.argv[1], "w", encoding="ascii") as out:
    for path in sys.argv[2:]:
        with open(path, "rb") as f:
            data = f.read()
        name = os.path.basename(path).replace(".", "_")
        out.write(f'#define {name.upper()}_ETAG "\\"{hashlib.sha256(data).hexdigest()[:16]}\\""\n')
        out.write(f"static const unsigned char {name}[] = {{\n")
        for at in range(0, len(data), 20):
            out.write("    " + "".join(f"{byte}," for byte in data[at : at + 20]) + "\n")
        out.write("};\n")
