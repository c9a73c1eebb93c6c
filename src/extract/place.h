/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The directories from the target to the one in which entries are being made.
 *
 * Every call to the system names one component, which was checked to be neither "." nor ".." and to have no slash, below the descriptor of a directory
 * that was opened with O_NOFOLLOW. So there is no path that somebody could redirect, and what openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) promises
 * holds on every kernel. Only the descriptors of the innermost directories are kept; others are opened again, by the same rule, when the walk comes
 * back to them.
 */
#ifndef GV_EXTRACT_PLACE_H
#define GV_EXTRACT_PLACE_H

#include "extract/extract.h"

/* Names below the target that must be found again: where the first name of a hard link is. */
struct place_dir {
    const struct place_dir *parent; /* NULL = the target */
    const char *name;
    uint32_t depth;
};

struct place_level {
    int fd; /* -1 = not open now */
    char *name;
    struct place_dir *found_by; /* made when first needed */
    struct gvmi_stat st;
};

struct place {
    struct place_level *levels; /* [0] is the target */
    size_t count, room;
    struct gv_arena *arena;
};

#define PLACE_DEPTH_MAX 4096

/* Takes over the descriptor of the target. */
void place_init(struct place *p, int target, const struct gvmi_stat *st);
void place_clear(struct place *p);

/* The descriptor of the innermost directory, which stays p's; -1 with errno. */
int place_fd(struct place *p);

/* Goes into the directory of that name, which must exist and be no symbolic link. -1 with errno; ENAMETOOLONG beyond PLACE_DEPTH_MAX levels. */
int place_enter(struct place *p, const char *name, const struct gvmi_stat *st);
/* Goes back to the directory above. */
void place_leave(struct place *p);

/* The path of the innermost directory below the target, for messages; the caller frees it. */
char *place_path(const struct place *p);

/* How to find the innermost directory later. */
const struct place_dir *place_remember(struct place *p);
/* Opens a remembered directory, for linkat() from it; the caller closes it. -1 with errno. */
int place_find(struct place *p, const struct place_dir *dir);

#endif
