/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An rpm header as databases keep it (rpm's docs/manual/format_header; all numbers big endian):
 *
 *     u32 number of index entries    u32 bytes of data
 *     entries of 16 bytes: u32 tag, u32 type, u32 offset into the data, u32 number of items
 *     data
 *
 * Of the tags only four matter: NAME; BASENAMES and DIRINDEXES, an item for each file; and DIRNAMES, to which the indexes point, with a final
 * slash. A tag can occur twice when something was changed at installation (outside of the signed region): then the later one counts. What rpm says
 * is a file but the tree has none (documentation left out, files of other architectures) is passed over by whoever looks it up.
 */
#include <string.h>

#include "packages/db.h"

enum { TAG_NAME = 1000, TAG_DIRINDEXES = 1116, TAG_BASENAMES = 1117, TAG_DIRNAMES = 1118 };
enum { TYPE_INT32 = 4, TYPE_STRING = 6, TYPE_STRING_ARRAY = 8 };

#define ENTRIES_MAX 65536U
#define DIRECTORIES_MAX (1U << 18) /* of one package; a kernel's headers have some 5000 */

struct piece {
    const unsigned char *p, *end; /* from the first item to the end of all data */
    uint32_t count;
};

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The next string, of *len bytes before its NUL; NULL when there is no NUL any more. */
static const char *next_string(struct piece *s, size_t *len)
{
    const unsigned char *start = s->p, *nul = memchr(start, '\0', (size_t)(s->end - start));
    if (!nul)
        return NULL;
    *len = (size_t)(nul - start);
    s->p = nul + 1;
    return (const char *)start;
}

struct string {
    const char *p;
    size_t len;
};

static int broken(const char *what, struct gv_error *err)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "a package's header is broken: %s", what);
}

static int claim_files(struct packages_set *s, uint32_t package, struct piece names, struct piece indexes, struct piece dirs,
                       struct gv_error *err)
{
    if (names.count != indexes.count || (uint64_t)indexes.count * 4 > (uint64_t)(indexes.end - indexes.p))
        return broken("its lists of files do not fit together", err);
    if (dirs.count > DIRECTORIES_MAX)
        return broken("it has too many directories", err);
    cleanup_free struct string *dir = gv_reallocarray(NULL, dirs.count, sizeof(*dir));
    for (uint32_t i = 0; i < dirs.count; i++)
        if (!(dir[i].p = next_string(&dirs, &dir[i].len)))
            return broken("its list of directories is cut short", err);
    for (uint32_t i = 0; i < names.count; i++) {
        size_t len;
        const char *name = next_string(&names, &len);
        uint32_t index = be32(indexes.p + (size_t)i * 4);
        if (!name || index >= dirs.count)
            return broken(name ? "a file is in no directory" : "its list of files is cut short", err);
        if (dir[index].len <= PACKAGES_LINE_MAX)
            packages_set_claim(s, package, dir[index].p, dir[index].len, name, len);
    }
    return 0;
}

int packages_rpm_header(struct packages_set *s, const unsigned char *p, size_t n, struct gv_error *err)
{
    if (n < 8)
        return broken("it is too short", err);
    uint32_t entries = be32(p), data_len = be32(p + 4);
    if (entries > ENTRIES_MAX || (uint64_t)entries * 16 + data_len > n - 8)
        return broken("it is longer than it is", err);
    const unsigned char *data = p + 8 + (size_t)entries * 16;
    struct piece name = { 0 }, names = { 0 }, indexes = { 0 }, dirs = { 0 };
    for (uint32_t i = 0; i < entries; i++) {
        const unsigned char *e = p + 8 + (size_t)i * 16;
        uint32_t tag = be32(e), type = be32(e + 4), offset = be32(e + 8), count = be32(e + 12);
        struct piece *to = tag == TAG_NAME ? &name : tag == TAG_BASENAMES ? &names : tag == TAG_DIRINDEXES ? &indexes : NULL;
        if (tag == TAG_DIRNAMES)
            to = &dirs;
        if (!to)
            continue;
        if (type != (to == &name ? TYPE_STRING : to == &indexes ? TYPE_INT32 : TYPE_STRING_ARRAY) || offset > data_len)
            return broken("a tag has a wrong type or place", err);
        *to = (struct piece){ .p = data + offset, .end = data + data_len, .count = count };
    }
    size_t len = 0;
    const char *text = name.p ? next_string(&name, &len) : NULL;
    if (!text)
        return broken("it has no name", err);
    uint32_t package = packages_set_package(s, text, len);
    /* Some packages have no files, as the ones that hold keys. */
    return names.count || indexes.count ? claim_files(s, package, names, indexes, dirs, err) : 0;
}
