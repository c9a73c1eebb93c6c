/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `transfer`: files on their way between servers, this machine and the volumes of a VM, as the `transfer` of an ExeScript asks for them.
 *
 *   location.c  what `from` and `to` say
 *   inside.c    names in a directory that the guest changes while we work, and that nobody gets out of
 *   create.c    new files and directories there: whole or not at all, with the owner that the guest sees
 *   copy.c      bytes from one descriptor to another: holes, the kernel's own copying, hashes
 *   fileset.c   which files of a directory are meant
 *   pack.c      a directory becomes an archive (libarchive, loaded when it is first needed)
 *   unpack.c    an archive becomes files
 *   transfer.c  which of these, in which order
 *   target.c    what `gvmkit cp` copies to where
 *   stream.c    and its halves of it: a tar on a descriptor, whose other end is in a guest
 *
 * A transfer is two steps with one file between them, so that each kind of source goes with each kind of destination. What comes from a server is
 * written where it is wanted at once, to a file without a name, which gets its name when it is complete and its hash is right; until then the
 * destination is as it was, and nothing of what was there is ever taken for a part of what comes. An archive is complete and verified before the first
 * of its files is made.
 */
#ifndef GV_TRANSFER_H
#define GV_TRANSFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"

/* A directory of the host that the guest has at a path. */
struct transfer_volume {
    char *path; /* in the container */
    char *name; /* of the directory in the work directory: one component */
};

#define TRANSFER_SIZE_UNKNOWN UINT64_MAX

struct transfer_options {
    const char *workdir;
    const struct transfer_volume *volumes;
    size_t volume_count;
    uint64_t max_unpacked;        /* bytes that an archive may become; 0 = 64 GiB. What grows like a bomb is refused before */
    unsigned stall_ms;            /* a server that is silent for so long is given up; 0 = 30 s */
    unsigned wait_ms;             /* before a request is tried again the first time, doubled for each one more; 0 = 500 */
    const atomic_bool *cancelled; /* becomes true when everything is to stop; may be NULL */
    /* Is told now and then how many bytes have moved of how many; may be NULL. */
    void (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
    const struct gv_log *log; /* may be NULL */
};

struct transfer_request {
    const char *from; /* [hash:sha3:HEX:]URL; http, https, file, container, the last also without its scheme */
    const char *to;   /* URL */
    /* "tar", "tar.gz", "tar.bz2", "tar.xz", "zip", "zip.0"; NULL = the file as it is. A directory at `from` is packed, a directory at `to` is what
     * the archive is unpacked in. */
    const char *format;
    const uint64_t *depth;             /* how many directories deep; NULL = all */
    struct gv_strv includes, excludes; /* globs of paths below the directory; no includes = everything */
};

/* Does it. What fails leaves a file at the destination as it was; of an archive, files may be there already. */
int transfer_run(const struct transfer_options *o, const struct transfer_request *r, struct gv_error *err);

/* ---- copies between this machine and a guest (`gvmkit cp`) -------------------------------------------------------------------------- */

enum transfer_kind { TRANSFER_NOTHING, TRANSFER_FILE /* or a link */, TRANSFER_DIRECTORY, TRANSFER_OTHER /* a device, a pipe, a socket */ };

/* Where a copy comes to lie. */
struct transfer_target {
    char *directory; /* exists, if anything does: what is copied is made in it */
    char *name;      /* that it gets there; "" = the contents of a directory go into the directory themselves */
};
/*
 * Docker's rules: a copy of a file gets the name of the destination unless that is a directory, in which it keeps its own; so does a copy of a directory, whose
 * contents alone are copied when `from` ends with "/.". Kinds are those of what the paths lead to, for a link at the end of `from` that is not to be
 * followed TRANSFER_FILE. Looks at nothing; *out is filled on success only, and to be cleared.
 */
int transfer_target(struct transfer_target *out, const char *from, enum transfer_kind from_kind, const char *to, enum transfer_kind to_kind,
                    struct gv_error *err);
void transfer_target_clear(struct transfer_target *t);
/* The path's last component, "" when that names nothing of its own ("/", ".", ".."). The caller's to free. */
char *transfer_base(const char *path) __attribute__((returns_nonnull));
/* Whether the path ends with "/", "/." or "/..", and so says that it is a directory. */
bool transfer_says_directory(const char *path);
/* "x/.", ".": the contents of a directory, not the directory. */
bool transfer_means_contents(const char *path);

struct transfer_copy {
    const char *name; /* of what is copied, in the tar: transfer_target.name */
    bool follow;      /* sending: a link at the end of the path is what it leads to */
    bool owners;      /* sending: the owners are those of the files; else root */
};
/* Writes a file or directory of this machine to fd as a tar. Only progress, cancelled, log and user of o are looked at. */
int transfer_send(const struct transfer_options *o, const char *path, const struct transfer_copy *c, int fd, struct gv_error *err);
/*
 * Reads a tar that a guest says from fd to its end, and makes the files in the directory. It is hostile: all must have the name or be below it; nothing outside of
 * the directory is touched; nobody gets a set-user-id file, a device or a pipe (they are left out with a warning); a file appears whole or not at all, and the
 * files belong to the caller. Links are kept as they are and never followed out of the directory.
 */
int transfer_receive(const struct transfer_options *o, int fd, const char *directory, const struct transfer_copy *c, struct gv_error *err);

#endif
