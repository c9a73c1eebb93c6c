/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/xattrs.h"

#include <inttypes.h>
#include <string.h>

#define SET_MAX ((size_t)128 * 1024) /* names and values of one file */
#define POOL_MAX ((size_t)32 << 20)  /* of all different sets; well below what merge.c allows for names and attributes */

struct xattr_set {
    struct xattr_set *next;
    uint64_t hash;
    uint32_t count;
    struct image_xattr xattrs[];
};

struct xattr_pool {
    struct gv_arena *arena;
    const struct gv_log *log;
    struct xattr_set **chains;
    size_t mask, count;
    size_t bytes;
    bool noted;
};

struct xattr_pool *xattr_pool_new(struct gv_arena *arena, const struct gv_log *log)
{
    struct xattr_pool *p = gv_new(struct xattr_pool);
    p->arena = arena;
    p->log = log;
    p->mask = 63;
    p->chains = gv_calloc(p->mask + 1, sizeof(struct xattr_set *));
    return p;
}

void xattr_pool_free(struct xattr_pool *p)
{
    if (!p)
        return;
    free(p->chains);
    free(p);
}

static bool wanted(struct xattr_pool *p, const char *name)
{
    bool kept = (!strncmp(name, "user.", 5) && name[5]) || (!strncmp(name, "security.", 9) && name[9]) ||
                (!strncmp(name, "trusted.", 8) && name[8] && strncmp(name, "trusted.overlay.", 16) != 0);
    if (!kept && !p->noted) {
        gv_note(p->log, "the extended attribute `%s` and others that an image cannot hold are left out", name);
        p->noted = true;
    }
    return kept;
}

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
    const unsigned char *b = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3ULL;
    return (h ^ n) * 0x9e3779b97f4a7c15ULL;
}

static bool same(const struct xattr_set *s, const struct image_xattr *x, size_t n)
{
    if (s->count != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s->xattrs[i].size != x[i].size || strcmp(s->xattrs[i].name, x[i].name) != 0 ||
            memcmp(s->xattrs[i].value, x[i].value, x[i].size) != 0)
            return false;
    return true;
}

static void grow(struct xattr_pool *p)
{
    size_t mask = p->mask * 2 + 1;
    struct xattr_set **chains = gv_calloc(mask + 1, sizeof(struct xattr_set *));
    for (size_t i = 0; i <= p->mask; i++) {
        for (struct xattr_set *s = p->chains[i], *next; s; s = next) {
            next = s->next;
            struct xattr_set **chain = &chains[(s->hash >> 32) & mask];
            s->next = *chain;
            *chain = s;
        }
    }
    free(p->chains);
    p->chains = chains;
    p->mask = mask;
}

static const struct xattr_set *add(struct xattr_pool *p, uint64_t hash, const struct image_xattr *x, size_t n)
{
    if (p->count > p->mask)
        grow(p);
    struct xattr_set *s = gv_arena_alloc(p->arena, sizeof(*s) + n * sizeof(struct image_xattr));
    s->hash = hash;
    s->count = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        s->xattrs[i].name = gv_arena_strndup(p->arena, x[i].name, strlen(x[i].name));
        s->xattrs[i].value = gv_arena_strndup(p->arena, x[i].value, x[i].size);
        s->xattrs[i].size = x[i].size;
    }
    struct xattr_set **chain = &p->chains[(hash >> 32) & p->mask];
    s->next = *chain;
    *chain = s;
    p->count++;
    return s;
}

int xattr_pool_set(struct xattr_pool *p, struct image_inode *inode, const struct image_xattr *xattrs, size_t count, struct gv_error *err)
{
    cleanup_free struct image_xattr *kept = gv_reallocarray(NULL, count, sizeof(*kept));
    size_t n = 0, bytes = 0;
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < count; i++) {
        if (!wanted(p, xattrs[i].name))
            continue;
        kept[n++] = xattrs[i];
        bytes += strlen(xattrs[i].name) + xattrs[i].size;
        hash = mix(mix(hash, xattrs[i].name, strlen(xattrs[i].name)), xattrs[i].value, xattrs[i].size);
    }
    if (!n)
        return 0;
    if (bytes > SET_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "%zu bytes of extended attributes; %zu are allowed for one file", bytes, SET_MAX);
    const struct xattr_set *s = p->chains[(hash >> 32) & p->mask];
    while (s && (s->hash != hash || !same(s, kept, n)))
        s = s->next;
    if (!s) {
        p->bytes += bytes;
        if (p->bytes > POOL_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "the image has more than %zu MB of extended attributes", POOL_MAX >> 20);
        s = add(p, hash, kept, n);
    }
    inode->xattrs = s->xattrs;
    inode->xattr_count = s->count;
    return 0;
}
