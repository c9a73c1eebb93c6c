/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `extract`: the files of a .gvmi on the host. This is the only code of the project that makes paths from what an image says, so it trusts
 * nothing of it: nothing outside of the target is made, changed or read, whatever the image holds and whatever was in the target before.
 */
#ifndef GV_EXTRACT_H
#define GV_EXTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "gvmi/gvmi.h"

/* Zero-initialised extracts everything, as tar would for this user: owners as root only, nothing that gives privileges. */
struct extract_options {
    const char *const *paths; /* in the image, with all below them; symbolic links on the way are followed and extracted too */
    size_t path_count;        /* 0 = everything */
    bool force;               /* the target may hold files already; those with the same names are replaced */
    bool devices;             /* make device nodes */
    bool setuid;              /* keep setuid and setgid bits and, as root, file capabilities */
    bool no_owner;            /* do not keep owners, although we are root */
    bool all_xattrs;          /* as root, also keep extended attributes that are not `user.` ones */
    uint64_t max_bytes;       /* refuse when the files have more bytes together; 0 = no limit */
    const char *root; /* only what is in this directory, which the target becomes; links to it are followed. NULL = all. Not with paths */
    const char *const *hollow; /* directories that are made and not filled, NULL-terminated, found like root; NULL = none */
    /* For a guest that gets the target by 9p with QEMU's security model mapped-xattr: owners, modes, links and devices are kept as QEMU keeps them, in
     * extended attributes, so that the guest sees the image's, whoever we are. The options about them above do not count. */
    bool share;
    const struct gv_progress *progress;
    const struct gv_log *log; /* what was left out */
};

struct extract_result {
    uint64_t files, dirs, symlinks, specials; /* made; a further name of a file is none of these */
    uint64_t hard_links;                      /* further names */
    uint64_t bytes;                           /* in files, holes counted */
    uint64_t devices_left_out, bits_left_out, capabilities_left_out, xattrs_left_out;
};

/*
 * Extracts to the directory `target`, whose parent must exist. A target that does not exist appears whole in the end or, on failure or when the
 * process is killed, not at all. One that exists must be an empty directory or be asked for with `force`; it gets no attributes from the image, and on
 * failure what has been extracted stays. Holes, hard links, modes (whatever the umask) and times are kept. result may be NULL. Call it while the
 * process has one thread.
 *
 * GV_E_EXISTS for a target that holds something, GV_E_NOT_FOUND for a path that is not in the image, GV_E_LIMIT beyond max_bytes.
 */
int extract_image(struct gvmi_image *img, const char *target, const struct extract_options *options, struct extract_result *result,
                  struct gv_error *err);

/*
 * What the target would take of the host's disk: files in whole blocks, a block for anything else, each inode once. From the tables of the image alone,
 * nothing is made. Errors as above.
 */
int extract_measure(struct gvmi_image *img, const struct extract_options *options, uint64_t *bytes, struct gv_error *err);

/*
 * The first content of a volume, as Docker gives it to an empty one: what the image's directory `path` holds, as a share of the new directory `target`.
 * `volumes` (NULL-terminated) are the paths of all volumes: what would be hidden by another one below this one is left out. Returns 1 when it is done,
 * 0 when the image has no directory there (nothing is made then), -1 on failure, which leaves nothing.
 */
int extract_share(struct gvmi_image *img, const char *path, const char *const *volumes, const char *target, const struct gv_log *log,
                  struct gv_error *err);
/* What that takes, as from extract_measure(). The same returns. */
int extract_share_size(struct gvmi_image *img, const char *path, const char *const *volumes, uint64_t *bytes, struct gv_error *err);

#endif
