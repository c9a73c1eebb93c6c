/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dpkg's database (deb-format facts from dpkg(1), dpkg-divert(1) and the files themselves), in /var/lib/dpkg:
 *
 *   info/NAME.list, info/NAME:ARCH.list   the package's paths, one a line, absolute
 *   info/NAME.EXT, info/NAME:ARCH.EXT     what else dpkg keeps of it: checksums, scripts, ...
 *   diversions                            three lines each: a name, where that file really is, and the package that may use the name (":" = none)
 *   status.d/NAME, status.d/NAME.md5sums  distroless images: the package's description, and "CHECKSUM  PATH" with relative paths
 *
 * The architecture is no part of the name here: a package that becomes installable for several ones keeps its place.
 */
#include <string.h>

#include "packages/db.h"

#define DPKG "dpkg"

struct list {
    struct packages_set *set;
    uint32_t package;
};

static void list_line(void *user, const char *line, size_t len)
{
    const struct list *l = user;
    packages_set_claim_path(l->set, l->package, line, len);
}

static void checksum_line(void *user, const char *line, size_t len)
{
    const char *blank = memchr(line, ' ', len);
    if (!blank)
        return;
    size_t skip = (size_t)(blank - line);
    while (skip < len && line[skip] == ' ')
        skip++;
    list_line(user, line + skip, len - skip);
}

struct diversions {
    struct packages_set *set;
    int count; /* lines of the present diversion that were seen */
    size_t len[2];
    char text[2][PACKAGES_LINE_MAX];
};

static void diversion_line(void *user, const char *line, size_t len)
{
    struct diversions *d = user;
    if (d->count < 2) {
        memcpy(d->text[d->count], line, len);
        d->len[d->count++] = len;
        return;
    }
    packages_set_divert(d->set, d->text[0], d->len[0], d->text[1], d->len[1], line, len);
    d->count = 0;
}

static int read_diversions(struct packages_set *s, struct gv_error *err)
{
    const struct image_node *file = image_tree_lookup(packages_set_tree(s), "/var/lib/dpkg/diversions", true);
    if (!file)
        return 0;
    cleanup_free struct diversions *d = gv_new(struct diversions);
    d->set = s;
    return packages_lines(s, file, DPKG, diversion_line, d, err);
}

static bool cut_suffix(const struct image_node *n, const char *suffix, size_t *left)
{
    size_t len = strlen(suffix);
    if (n->namelen <= len || memcmp(n->name + n->namelen - len, suffix, len) != 0)
        return false;
    *left = n->namelen - len;
    return true;
}

/* Length of the package's name in that of a file of info: without the extension, and without the architecture. 0 if it is of no package. */
static size_t info_name(const struct image_node *n)
{
    const char *dot = memrchr(n->name, '.', n->namelen);
    size_t len = dot ? (size_t)(dot - n->name) : 0;
    const char *colon = memchr(n->name, ':', len);
    return colon ? (size_t)(colon - n->name) : len;
}

static int read_info(struct packages_set *s, const struct image_node *dir, bool *found, struct gv_error *err)
{
    cleanup_free struct image_node **children = image_node_children(dir);
    for (size_t i = 0, n = image_node_child_count(dir), left; i < n; i++) {
        struct image_node *c = children[i];
        if (c->inode->type != IMAGE_FILE)
            continue;
        struct list list = { .set = s, .package = packages_set_package(s, c->name, info_name(c)) };
        packages_set_claim_node(s, list.package, c);
        if (!cut_suffix(c, ".list", &left) || list.package == 0)
            continue;
        *found = true;
        if (packages_lines(s, c, DPKG, list_line, &list, err) < 0)
            return -1;
    }
    return 0;
}

static int read_status_d(struct packages_set *s, const struct image_node *dir, bool *found, struct gv_error *err)
{
    cleanup_free struct image_node **children = image_node_children(dir);
    for (size_t i = 0, n = image_node_child_count(dir); i < n; i++) {
        struct image_node *c = children[i];
        if (c->inode->type != IMAGE_FILE)
            continue;
        size_t name = c->namelen;
        bool checksums = cut_suffix(c, ".md5sums", &name);
        struct list list = { .set = s, .package = packages_set_package(s, c->name, name) };
        packages_set_claim_node(s, list.package, c);
        if (!checksums || list.package == 0)
            continue;
        *found = true;
        if (packages_lines(s, c, DPKG, checksum_line, &list, err) < 0)
            return -1;
    }
    return 0;
}

int packages_read_dpkg(struct packages_set *s, bool *found, struct gv_error *err)
{
    struct image_tree *tree = packages_set_tree(s);
    const struct image_node *info = image_tree_lookup(tree, "/var/lib/dpkg/info", true);
    const struct image_node *status_d = image_tree_lookup(tree, "/var/lib/dpkg/status.d", true);
    if (read_diversions(s, err) < 0)
        return -1;
    if (info && read_info(s, info, found, err) < 0)
        return -1;
    return status_d ? read_status_d(s, status_d, found, err) : 0;
}
