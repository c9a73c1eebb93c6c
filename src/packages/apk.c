/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * apk's database (apk-tools v2 and v3, facts from apk-package(5) and the files themselves): /lib/apk/db/installed, or below /usr where /lib is
 * merged into it. Paragraphs of lines LETTER:VALUE, an empty line after each package: P: is its name, F: a directory, R: a file in the last F:.
 */
#include <string.h>

#include "packages/db.h"

struct installed {
    struct packages_set *set;
    uint32_t package;
    size_t dir_len;
    char dir[PACKAGES_LINE_MAX];
};

static void installed_line(void *user, const char *line, size_t len)
{
    struct installed *d = user;
    if (len == 0)
        d->package = 0;
    if (len < 2 || line[1] != ':')
        return;
    const char *value = line + 2;
    size_t n = len - 2;
    switch (line[0]) {
    case 'P':
        d->package = packages_set_package(d->set, value, n);
        d->dir_len = 0;
        break;
    case 'F':
        memcpy(d->dir, value, n);
        d->dir_len = n;
        break;
    case 'R':
        packages_set_claim(d->set, d->package, d->dir, d->dir_len, value, n);
        break;
    default:
        break;
    }
}

int packages_read_apk(struct packages_set *s, bool *found, struct gv_error *err)
{
    static const char *const paths[] = { "/lib/apk/db/installed", "/usr/lib/apk/db/installed" };
    const struct image_node *seen = NULL;
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        const struct image_node *file = image_tree_lookup(packages_set_tree(s), paths[i], true);
        if (!file || file == seen || file->inode->type != IMAGE_FILE)
            continue;
        seen = file;
        *found = true;
        cleanup_free struct installed *d = gv_new(struct installed);
        d->set = s;
        if (packages_lines(s, file, "apk", installed_line, d, err) < 0)
            return -1;
    }
    return 0;
}
