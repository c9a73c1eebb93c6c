/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which inode of the image got which name first. A name is a directory that can be found again and a component, so memory is linear in the number of
 * directories and links, however deep an image is. */
#ifndef GV_EXTRACT_LINKS_H
#define GV_EXTRACT_LINKS_H

#include "extract/place.h"

struct link_name {
    uint64_t ref;
    const struct place_dir *dir;
    const char *name; /* NULL = an empty slot */
};

/* Zero-initialised is empty. Open addressing; size is a power of two. */
struct links {
    struct link_name *slots;
    size_t size, count;
    struct gv_arena *arena;
};

void links_add(struct links *l, uint64_t ref, const struct place_dir *dir, const char *name);
/* NULL when the inode has none yet. */
const struct link_name *links_find(const struct links *l, uint64_t ref);
void links_clear(struct links *l);

#endif
