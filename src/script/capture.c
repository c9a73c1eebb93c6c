/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "script/report.h"

#define RING_FIRST 65536U

/* A number in JSON takes many times the memory of a byte. */
static size_t keep_max(const struct capture *c)
{
    return c->how.binary ? SCRIPT_KEEP_MAX / 16 : SCRIPT_KEEP_MAX;
}

void capture_init(struct capture *c, const struct script_capture *how)
{
    *c = (struct capture){ .how = *how };
    c->how.tail = how->tail < keep_max(c) ? how->tail : keep_max(c);
}

/* Makes room for n more bytes in the ring, as far as it may grow: memory is taken for what comes, not for what was asked for. */
static void ring_grow(struct capture *c, size_t n)
{
    size_t wanted = c->ring_size + n < c->how.tail ? c->ring_size + n : (size_t)c->how.tail, cap = c->ring_cap ? c->ring_cap : RING_FIRST;
    if (wanted <= c->ring_cap)
        return;
    while (cap < wanted)
        cap *= 2;
    cap = cap < c->how.tail ? cap : (size_t)c->how.tail;
    unsigned char *ring = gv_alloc(cap);
    size_t first = c->ring_cap - c->ring_at < c->ring_size ? c->ring_cap - c->ring_at : c->ring_size;
    if (c->ring_size) {
        memcpy(ring, c->ring + c->ring_at, first);
        memcpy(ring + first, c->ring, c->ring_size - first);
    }
    free(c->ring);
    c->ring = ring;
    c->ring_at = 0;
    c->ring_cap = cap;
}

static void ring_add(struct capture *c, const unsigned char *p, size_t n)
{
    if (n > c->how.tail) {
        p += n - c->how.tail;
        n = (size_t)c->how.tail;
    }
    ring_grow(c, n);
    while (n) {
        size_t at = (c->ring_at + c->ring_size) % c->ring_cap, room = c->ring_cap - at, part = n < room ? n : room;
        memcpy(c->ring + at, p, part);
        c->ring_size += part;
        if (c->ring_size > c->ring_cap) {
            c->ring_at = (c->ring_at + c->ring_size - c->ring_cap) % c->ring_cap;
            c->ring_size = c->ring_cap;
        }
        p += part;
        n -= part;
    }
}

size_t capture_add(struct capture *c, const unsigned char *p, size_t n)
{
    size_t told = c->how.head < n ? (size_t)c->how.head : n, room = keep_max(c) - c->head.len, kept = room < told ? room : told;
    c->how.head -= told;
    c->cut = c->cut || kept < told;
    if (kept)
        gv_buf_add(&c->head, p, kept);
    if (c->how.tail && n > told)
        ring_add(c, p + told, n - told);
    return c->how.stream ? told : 0;
}

json_t *capture_json(const struct capture *c)
{
    cleanup_buf struct gv_buf all = { 0 };
    size_t first = c->ring_cap - c->ring_at < c->ring_size ? c->ring_cap - c->ring_at : c->ring_size;
    if (c->head.len)
        gv_buf_add(&all, c->head.data, c->head.len);
    if (c->ring_size) {
        gv_buf_add(&all, c->ring + c->ring_at, first);
        gv_buf_add(&all, c->ring, c->ring_size - first);
    }
    if (!all.len)
        return json_null();
    return c->how.binary ? text_numbers(all.data, all.len) : text_whole(all.data, all.len);
}

void capture_clear(struct capture *c)
{
    gv_buf_clear(&c->head);
    free(c->ring);
    *c = (struct capture){ 0 };
}
