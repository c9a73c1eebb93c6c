#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a file tree, a line for each name, so that what different programs find in one image can be compared.

listing.py dir DIRECTORY     a tree as it lies there
listing.py tar FILE          a tar
listing.py dump FILE         what gvmi_dump (tests/unit/gvmi) printed

    PATH TYPE MODE UID:GID MTIME [=FIRST-NAME NAMES] [SIZE SHA256 | MAJOR,MINOR | TARGET] [XATTR=VALUE]...

Bytes that are no letters, digits or one of ._-/ are %XX. Files with several names point to the first of them.
"""

import errno
import hashlib
import os
import stat
import sys
import tarfile

PLAIN = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/")
LETTERS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p",
           stat.S_IFSOCK: "s"}


def escape(data):
    return "".join(chr(b) if b in PLAIN else f"%{b:02x}" for b in data)


def line(letter, mode, uid, gid, mtime, inode, names, what, xattrs):
    """All but the path."""
    head = [letter, f"{0o777 if letter == 'l' else mode:o}", f"{uid}:{gid}", str(mtime)]
    if letter != "d":
        head += [f"#{inode}", str(names)]
    return head + what + [f"{escape(k)}={escape(v)}" for k, v in xattrs if not k.startswith(b"system.")]


def sha256(f):
    h = hashlib.sha256()
    while piece := f.read(1 << 20):
        h.update(piece)
    return h.hexdigest()


def xattr_names(path):
    try:
        return sorted(os.fsencode(n) for n in os.listxattr(path, follow_symlinks=False))
    except OSError as e:
        if e.errno == errno.EOPNOTSUPP:  # a squashfs without any
            return []
        raise


def from_dir(top):
    found, pending = {}, [b""]
    while pending:
        path = pending.pop()
        full = os.path.join(top, path) if path else top
        st = os.lstat(full)
        kind = stat.S_IFMT(st.st_mode)
        what = []
        if kind == stat.S_IFREG:
            with open(full, "rb") as f:
                what = [str(st.st_size), sha256(f)]
        elif kind == stat.S_IFLNK:
            what = [escape(os.readlink(full))]
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            what = [f"{os.major(st.st_rdev)},{os.minor(st.st_rdev)}"]
        names = xattr_names(full)
        xattrs = [(n, os.getxattr(full, n, follow_symlinks=False)) for n in names]
        found[path or b"."] = line(LETTERS[kind], stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, int(st.st_mtime // 1), st.st_ino,
                                   st.st_nlink, what, xattrs)
        if kind == stat.S_IFDIR:
            pending += [os.path.join(path, n) if path else n for n in os.listdir(full)]
    return found


def from_tar(path):
    found, links = {}, {}
    types = {tarfile.REGTYPE: "f", tarfile.AREGTYPE: "f", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.CHRTYPE: "c",
             tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p", tarfile.GNUTYPE_SPARSE: "f"}

    def clean(name):
        return os.fsencode(name).rstrip(b"/").removeprefix(b"./") or b"."

    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as tar:
        for m in tar:
            name = clean(m.name)
            if m.type == tarfile.LNKTYPE:
                links[name] = links.get(clean(m.linkname), clean(m.linkname))
                continue
            letter, what = types[m.type], []
            if letter == "f":
                what = [str(m.size), sha256(tar.extractfile(m))]
            elif letter == "l":
                what = [escape(os.fsencode(m.linkname))]
            elif letter in "cb":
                what = [f"{m.devmajor},{m.devminor}"]
            xattrs = sorted((os.fsencode(k)[len("SCHILY.xattr."):], os.fsencode(v)) for k, v in m.pax_headers.items()
                            if k.startswith("SCHILY.xattr."))
            found[name] = line(letter, m.mode, m.uid, m.gid, int(m.mtime // 1), len(found), 1, what, xattrs)
    for name, target in links.items():
        found[name] = list(found[target])
    for name in list(links) + list(set(links.values())):
        target = links.get(name, name)
        found[name][5] = str(1 + sum(t == target for t in links.values()))
    return found


def from_dump(path):
    found = {}
    with open(path, "rb") as f:
        for text in f.read().decode().split("\n")[:-1]:
            words = text.split(" ")
            raw, name, i = words[0].encode(), bytearray(), 0
            while i < len(raw):
                if raw[i] == ord("%"):
                    name.append(int(raw[i + 1:i + 3], 16))
                    i += 3
                else:
                    name.append(raw[i])
                    i += 1
            rest = words[1:]
            fixed = 4 if rest[0] == "d" else 8 if rest[0] == "f" else 7 if rest[0] in "lcb" else 6
            found[bytes(name)] = rest[:fixed] + sorted(rest[fixed:])
    return found


def main():
    found = {"dir": lambda p: from_dir(os.fsencode(p)), "tar": from_tar, "dump": from_dump}[sys.argv[1]](sys.argv[2])
    first = {}
    for path in sorted(found):
        words = found[path]
        if words[0] != "d":
            first.setdefault(words[4], escape(path))
            words = words[:4] + ([] if words[5] == "1" else [f"={first[words[4]]}", words[5]]) + words[6:]
        print(escape(path), *words)


if __name__ == "__main__":
    main()
