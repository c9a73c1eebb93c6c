/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "gvmi/read.h"

int gvmi_damaged(const struct gvmi_image *img, struct gv_error *err, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return gv_error_set(err, GV_E_CORRUPT, 0, "%s: the squashfs is damaged: %s", img->name, text);
}

int gvmi_read_at(struct gvmi_image *img, uint64_t at, void *buf, size_t n, struct gv_error *err)
{
    if (at > img->super.bytes_used || n > img->super.bytes_used - at)
        return gvmi_damaged(img, err, "it points behind its end (%zu bytes at %llu)", n, (unsigned long long)at);
    ssize_t r = gv_pread_full(img->fd, buf, n, at);
    if (r < 0)
        return gv_error_errno(err, "%s: cannot read", img->name);
    if ((size_t)r != n)
        return gv_error_set(err, GV_E_IO, 0, "%s: the file became shorter while it was read", img->name);
    return 0;
}

static struct gvmi_cached_meta *find_cached(struct gvmi_image *img, uint64_t at, bool *hit)
{
    struct gvmi_cached_meta *oldest = &img->cache[0];
    *hit = true;
    for (size_t i = 0; i < GVMI_META_CACHE; i++) {
        struct gvmi_cached_meta *c = &img->cache[i];
        if (c->at == at)
            return c;
        if (c->used < oldest->used)
            oldest = c;
    }
    *hit = false;
    return oldest;
}

/* The metadata block at a position, unpacked; valid until the next call. NULL on failure. */
static struct gvmi_cached_meta *load_block(struct gvmi_image *img, uint64_t at, uint64_t end, struct gv_error *err)
{
    bool hit;
    struct gvmi_cached_meta *c = find_cached(img, at, &hit);
    c->used = ++img->clock;
    if (hit && c->next <= end)
        return c;
    unsigned char head[2], packed[SQFS_META_SIZE];
    if (at >= end || end - at < sizeof(head)) {
        gvmi_damaged(img, err, "a table of metadata ends early at %llu", (unsigned long long)at);
        return NULL;
    }
    c->at = SQFS_NONE;
    if (gvmi_read_at(img, at, head, sizeof(head), err) < 0)
        return NULL;
    uint32_t size = sqfs_get16(head) & ~SQFS_RAW_META;
    bool raw = sqfs_get16(head) & SQFS_RAW_META;
    if (size == 0 || size > SQFS_META_SIZE || size > end - at - sizeof(head)) {
        gvmi_damaged(img, err, "the metadata block at %llu has an impossible size", (unsigned long long)at);
        return NULL;
    }
    if (gvmi_read_at(img, at + sizeof(head), raw ? c->data : packed, size, err) < 0)
        return NULL;
    int64_t length = raw ? (int64_t)size : gvmi_unpacker_run(img->unpacker, packed, size, c->data, sizeof(c->data));
    if (length <= 0) {
        gvmi_damaged(img, err, "the metadata block at %llu cannot be decompressed", (unsigned long long)at);
        return NULL;
    }
    c->at = at;
    c->next = at + sizeof(head) + size;
    c->length = (uint32_t)length;
    return c;
}

int gvmi_meta_read(struct gvmi_image *img, struct gvmi_cursor *c, void *buf, size_t n, struct gv_error *err)
{
    unsigned char *out = buf;
    while (n > 0) {
        const struct gvmi_cached_meta *m = load_block(img, c->block, c->end, err);
        if (!m)
            return -1;
        if (c->offset > m->length)
            return gvmi_damaged(img, err, "a reference points behind the end of the metadata block at %llu", (unsigned long long)m->at);
        size_t take = m->length - c->offset;
        if (take > n)
            take = n;
        if (out) {
            memcpy(out, m->data + c->offset, take);
            out += take;
        }
        n -= take;
        c->offset += (uint32_t)take;
        if (c->offset == m->length) {
            c->block = m->next;
            c->offset = 0;
        }
    }
    return 0;
}

int gvmi_meta_seek(const struct gvmi_image *img, struct gvmi_cursor *c, uint64_t table, uint64_t end, uint64_t ref, struct gv_error *err)
{
    uint64_t block = ref >> 16;
    uint32_t offset = ref & 0xffff;
    if (block >= end - table || offset >= SQFS_META_SIZE)
        return gvmi_damaged(img, err, "the reference %#llx points outside of its table", (unsigned long long)ref);
    *c = (struct gvmi_cursor){ .block = table + block, .end = end, .offset = offset };
    return 0;
}

int gvmi_table_seek(struct gvmi_image *img, struct gvmi_cursor *c, uint64_t list, uint64_t i, uint32_t entry_size, struct gv_error *err)
{
    uint32_t per_block = SQFS_META_SIZE / entry_size;
    unsigned char word[8];
    if (gvmi_read_at(img, list + i / per_block * sizeof(word), word, sizeof(word), err) < 0)
        return -1;
    uint64_t at = sqfs_get64(word);
    if (at < SQFS_SUPER_SIZE || at >= list)
        return gvmi_damaged(img, err, "the list of a table's blocks at %llu is wrong", (unsigned long long)list);
    *c = (struct gvmi_cursor){ .block = at, .end = list, .offset = (uint32_t)(i % per_block) * entry_size };
    return 0;
}
