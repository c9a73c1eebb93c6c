/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A root file system to look things up in, the same whether it is still a tree on its way into a file (`build`) or in one already (`edit`): so that
 * both put a configuration right in the same way.
 */
#ifndef GV_CONVERT_LOOK_H
#define GV_CONVERT_LOOK_H

#include "core/core.h"
#include "gvmi/gvmi.h"
#include "image/image.h"

#define LOOK_PATH_MAX 4096U /* bytes of a path, as for the kernel */

/* Exactly one of them is set; both are borrowed. */
struct look {
    struct image_tree *tree;
    struct gvmi_image *img;
};

enum look_found {
    LOOK_MISSING, /* nothing is there, but it could be made there */
    LOOK_DIR,
    LOOK_FILE, /* a regular file */
    LOOK_OTHER,
    LOOK_NOWHERE, /* below something that is no directory, through too many links, or too long */
};

struct look_end {
    char *real; /* the path without links, dots and needless slashes; of what is missing, where it would be. NULL for LOOK_NOWHERE */
    enum look_found found;
    uint16_t mode;
};
void look_end_clear(struct look_end *e);
static inline void gv_cleanup_look_end_fn(struct look_end *e)
{
    look_end_clear(e);
}
#define cleanup_look_end __attribute__((cleanup(gv_cleanup_look_end_fn)))

/*
 * Where an absolute path leads inside the root, as Docker finds it: dots and slashes are taken away first, then links are followed, at most 40, absolute
 * ones from the root, ".." stopping there. What does not exist is taken as it is written. *end must be zero-initialised and is the caller's to clear.
 * Fails only when the image cannot be read.
 */
int look_up(const struct look *l, const char *path, struct look_end *end, struct gv_error *err);

/* Appends the content of a regular file at a path that look_up() gave, at most max bytes: more is an error. */
int look_read(const struct look *l, const char *real, size_t max, struct gv_buf *out, struct gv_error *err);

/* "/a/../b//c/." -> "/b/c"; what is not absolute is taken as below "/". The caller frees it. */
char *look_clean(const char *path) __attribute__((returns_nonnull));

#endif
