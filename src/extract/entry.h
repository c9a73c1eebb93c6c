/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One entry of the image made in one directory of the host: contents, then owner, extended attributes, mode and time. Files are always new ones
 * (O_EXCL), so nothing that was there is written into, and no name is used again after it was made except where the kernel is told not to follow it.
 */
#ifndef GV_EXTRACT_ENTRY_H
#define GV_EXTRACT_ENTRY_H

#include "extract/extract.h"

struct extract {
    struct gvmi_image *img;
    const struct extract_options *options;
    struct extract_result *result;
    const char *target; /* for messages */
    bool owners, privileged;
    bool fresh; /* nobody else has files in the target */
    uint64_t bytes_done, bytes_total;
    bool told_xattrs, told_links;
};

/* "cannot WHAT `target/path`: reason" and -1. */
int extract_failed(const struct extract *x, struct gv_error *err, int sys, const char *what, const char *path);

/* Makes the directory, or takes the one that is there when files may be replaced. Its attributes come when what is in it is complete. */
int entry_make_dir(struct extract *x, int dir, const char *name, const char *path, struct gv_error *err);
/* Owner, extended attributes, mode and time of an open file or directory. */
int entry_finish(struct extract *x, int fd, const struct gvmi_stat *st, const char *path, struct gv_error *err);
/* Anything but a directory. 1 when it was made, 0 when it was left out. */
int entry_make(struct extract *x, int dir, const char *name, const char *path, const struct gvmi_stat *st, struct gv_error *err);
/* A further name for from_name in from_dir. 0 when the kernel or the file system cannot do that here. */
int entry_link(struct extract *x, int from_dir, const char *from_name, int dir, const char *name, const char *path, struct gv_error *err);

#endif
