/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `packages`: which file of an image belongs to which package. The writer lays files of one package side by side, in the order of
 * the packages' names, so that a rebuild of an image with some packages updated keeps most of its compressed bytes (docs/image-format.md).
 *
 * The image's own package databases say it: dpkg's and apk's text files, and rpm's database as SQLite or ndb. They are data of the image,
 * thus hostile: every read is bounded, time is linear in what is read, and the worst that a database can do is to be ignored.
 *
 *   assign.c      the databases one after the other      dpkg.c        Debian and its kin, also distroless images
 *   set.c         packages, paths, numbers, .pyc files   apk.c         Alpine
 *   lines.c       text files, line by line               rpm.c         where rpm's databases are; ndb
 *                                                        rpm_sqlite.c  rpmdb.sqlite
 *                                                        rpm_header.c  what one package says, the same in all of them
 */
#ifndef GV_PACKAGES_H
#define GV_PACKAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "image/image.h"

struct packages_summary {
    bool dpkg, apk, rpm; /* of these databases something was read */
    uint32_t packages;   /* groups given: packages with different names. Versions and architectures of one name are one group */
    uint64_t files;      /* regular files (inodes) in a group */
};

/*
 * Sets image_inode.group of every regular file of the tree that belongs to a package to that package's place, 1..out->packages, in the order
 * of the packages' names as bytes. Versions play no part, so an update changes no order; a file of two packages belongs to the first. The
 * files in which dpkg keeps what it knows of a package, and the bytecode that Python made of a package's files when it was installed, belong
 * to it too. Every other file keeps its group, which must be 0 when this is called. The result is the same for the same tree, in whatever
 * order its nodes were made.
 *
 * A database that is broken, of an unknown form or larger than 256 MiB fails nothing: log (may be NULL) gets a note, what was understood
 * until then counts, and the rest stays in group 0. Fails only as image_tree_read() does: when the image itself cannot be read.
 */
int packages_assign(struct image_tree *tree, struct packages_summary *out, const struct gv_log *log, struct gv_error *err);

#endif
