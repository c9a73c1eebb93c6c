/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Contents come from an image in pieces, whose sizes are those of its blocks. Small files are kept whole and compared with the pieces of the other one,
 * which ends at the first difference; of larger ones both SHA-256 are taken.
 */
#include "compare/content.h"

#include <stdlib.h>
#include <string.h>

#define KEEP_MAX ((size_t)4 << 20)
#define XATTRS_MAX 10000
#define XATTRS_BYTES_MAX ((size_t)16 << 20)

static struct content_pair *pair_slot(struct content_pair *slots, size_t size, uint64_t a, uint64_t b)
{
    uint64_t h = (a * 0x9e3779b97f4a7c15ULL) ^ (b * 0xc2b2ae3d27d4eb4fULL);
    for (size_t i = (size_t)(h ^ h >> 32);; i++) {
        struct content_pair *s = &slots[i & (size - 1)];
        if (!s->used || (s->a == a && s->b == b))
            return s;
    }
}

static void remember(struct content_known *k, uint64_t a, uint64_t b, bool same)
{
    if (k->count * 2 >= k->size) {
        size_t size = k->size ? k->size * 2 : 64;
        struct content_pair *slots = gv_calloc(size, sizeof(*slots));
        for (size_t i = 0; i < k->size; i++)
            if (k->slots[i].used)
                *pair_slot(slots, size, k->slots[i].a, k->slots[i].b) = k->slots[i];
        free(k->slots);
        k->slots = slots;
        k->size = size;
    }
    struct content_pair *s = pair_slot(k->slots, k->size, a, b);
    k->count += !s->used;
    *s = (struct content_pair){ .a = a, .b = b, .same = same, .used = true };
}

void content_known_clear(struct content_known *k)
{
    free(k->slots);
    *k = (struct content_known){ 0 };
}

static int keep_piece(void *user, const void *p, size_t n)
{
    gv_buf_add(user, p, n);
    return 0;
}

struct check {
    const struct gv_buf *expected;
    size_t at;
};

static int check_piece(void *user, const void *p, size_t n)
{
    struct check *c = user;
    if (n > c->expected->len - c->at || memcmp(c->expected->data + c->at, p, n) != 0)
        return 1;
    c->at += n;
    return 0;
}

static int hash_piece(void *user, const void *p, size_t n)
{
    gv_hash_update(user, p, n);
    return 0;
}

static int hash_file(struct gvmi_image *img, uint64_t ref, unsigned char digest[GV_HASH_MAX], struct gv_error *err)
{
    struct gv_hash *h = gv_hash_new(GV_HASH_SHA256);
    int status = gvmi_read_file(img, ref, hash_piece, h, err);
    if (status == 0)
        gv_hash_final(h, digest);
    gv_hash_free(h);
    return status;
}

static int read_both(struct gvmi_image *a, const struct gvmi_stat *sa, struct gvmi_image *b, const struct gvmi_stat *sb,
                     struct gv_error *err)
{
    if (sa->size > KEEP_MAX) {
        unsigned char x[GV_HASH_MAX], y[GV_HASH_MAX];
        if (hash_file(a, sa->ref, x, err) < 0 || hash_file(b, sb->ref, y, err) < 0)
            return -1;
        return memcmp(x, y, GV_SHA256_SIZE) == 0;
    }
    cleanup_buf struct gv_buf whole = { 0 };
    struct check c = { .expected = &whole };
    if (gvmi_read_file(a, sa->ref, keep_piece, &whole, err) < 0)
        return -1;
    int r = gvmi_read_file(b, sb->ref, check_piece, &c, err);
    return r < 0 ? -1 : r == 0 && c.at == whole.len;
}

int content_same(struct gvmi_image *a, const struct gvmi_stat *sa, struct gvmi_image *b, const struct gvmi_stat *sb,
                 struct content_known *known, struct gv_error *err)
{
    bool linked = sa->nlink > 1 || sb->nlink > 1;
    if (sa->size == 0)
        return 1;
    if (linked && known->size > 0) {
        const struct content_pair *p = pair_slot(known->slots, known->size, sa->ref, sb->ref);
        if (p->used)
            return p->same;
    }
    int same = read_both(a, sa, b, sb, err);
    if (same >= 0 && linked)
        remember(known, sa->ref, sb->ref, same);
    return same;
}

/* ---- extended attributes --------------------------------------------------------------------------------------------------------- */

struct xattr {
    const char *name;
    const void *value;
    size_t size;
};

struct xattrs {
    struct gv_arena *arena;
    struct xattr *list;
    size_t count, room, bytes;
};

static void xattrs_clear(struct xattrs *x)
{
    gv_arena_free(x->arena);
    free(x->list);
}
#define cleanup_xattrs __attribute__((cleanup(xattrs_clear)))

static int take_xattr(void *user, const char *name, const void *value, size_t n)
{
    struct xattrs *x = user;
    x->bytes += strlen(name) + n;
    if (x->count == XATTRS_MAX || x->bytes > XATTRS_BYTES_MAX)
        return 1;
    if (x->count == x->room) {
        x->room = x->room ? x->room * 2 : 8;
        x->list = gv_reallocarray(x->list, x->room, sizeof(*x->list));
    }
    x->list[x->count++] =
        (struct xattr){ .name = gv_arena_strndup(x->arena, name, strlen(name)), .value = gv_arena_strndup(x->arena, value, n), .size = n };
    return 0;
}

static int by_name(const void *p, const void *q)
{
    const struct xattr *x = p, *y = q;
    return strcmp(x->name, y->name);
}

static int load_xattrs(struct gvmi_image *img, const struct gvmi_stat *st, struct xattrs *x, struct gv_error *err)
{
    x->arena = gv_arena_new();
    int r = gvmi_read_xattrs(img, st->ref, take_xattr, x, err);
    if (r == 1)
        return gv_error_set(err, GV_E_LIMIT, 0, "inode %u has more extended attributes than a file can have", st->inode);
    if (x->count > 1)
        qsort(x->list, x->count, sizeof(*x->list), by_name);
    return r;
}

int content_same_xattrs(struct gvmi_image *a, const struct gvmi_stat *sa, struct gvmi_image *b, const struct gvmi_stat *sb,
                        struct gv_error *err)
{
    if (sa->xattr == UINT32_MAX && sb->xattr == UINT32_MAX)
        return 1;
    cleanup_xattrs struct xattrs x = { 0 }, y = { 0 };
    if (load_xattrs(a, sa, &x, err) < 0 || load_xattrs(b, sb, &y, err) < 0)
        return -1;
    if (x.count != y.count)
        return 0;
    for (size_t i = 0; i < x.count; i++)
        if (strcmp(x.list[i].name, y.list[i].name) != 0 || x.list[i].size != y.list[i].size ||
            memcmp(x.list[i].value, y.list[i].value, x.list[i].size) != 0)
            return 0;
    return 1;
}
