/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text files of the image, line by line through a window: a list of any size takes the memory of a window. */
#include <string.h>

#include "packages/db.h"

#define WINDOW 65536

int packages_lines(struct packages_set *s, const struct image_node *file, const char *what,
                   void (*fn)(void *user, const char *line, size_t len), void *user, struct gv_error *err)
{
    const struct image_inode *inode = file->inode;
    if (inode->type != IMAGE_FILE)
        return 0;
    if (!packages_set_spend(s, inode->size)) {
        gv_note(packages_set_log(s),
                "the image's %s database is too large: `%s` is not read, files of its packages are stored by directory", what, file->name);
        return 0;
    }
    cleanup_free char *window = gv_alloc(WINDOW);
    size_t held = 0;   /* bytes of an unfinished line at the front of the window */
    bool skip = false; /* the line is too long: its rest is passed over */
    uint64_t at = 0;
    while (at < inode->size) {
        size_t n = WINDOW - held;
        if (n > inode->size - at)
            n = (size_t)(inode->size - at);
        if (image_tree_read(packages_set_tree(s), inode, at, window + held, n, err) < 0)
            return gv_error_prefix(err, "reading `%s` of the image's %s database", file->name, what);
        at += n;
        const char *p = window, *end = window + held + n;
        for (const char *newline; (newline = memchr(p, '\n', (size_t)(end - p))); p = newline + 1) {
            if (!skip && newline - p <= PACKAGES_LINE_MAX)
                fn(user, p, (size_t)(newline - p));
            skip = false;
        }
        held = (size_t)(end - p);
        if (held > PACKAGES_LINE_MAX) {
            skip = true;
            held = 0;
        }
        memmove(window, p, held);
    }
    if (held && !skip)
        fn(user, window, held);
    return 0;
}
