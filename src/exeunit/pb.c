/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exeunit/pb.h"

#include <string.h>

int pb_varint_get(const uint8_t *p, size_t n, uint64_t *v, size_t *used)
{
    *v = 0;
    for (size_t i = 0; i < PB_VARINT_MAX; i++) {
        if (i == n)
            return 0;
        if (i == PB_VARINT_MAX - 1 && p[i] > 1)
            return -1; /* the tenth byte holds bit 63 and no other */
        *v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (!(p[i] & 0x80)) {
            *used = i + 1;
            return 1;
        }
    }
    return -1;
}

size_t pb_varint_put(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

/* A fixed number of size bytes, little-endian. */
static int fixed_get(struct pb_reader *r, size_t size, uint64_t *v)
{
    if ((size_t)(r->end - r->at) < size)
        return -1;
    *v = 0;
    for (size_t i = size; i > 0; i--)
        *v = *v << 8 | r->at[i - 1];
    r->at += size;
    return 1;
}

static int varint_next(struct pb_reader *r, uint64_t *v)
{
    size_t used;
    if (pb_varint_get(r->at, (size_t)(r->end - r->at), v, &used) <= 0)
        return -1;
    r->at += used;
    return 1;
}

int pb_next(struct pb_reader *r, struct pb_field *f)
{
    uint64_t tag, length;
    *f = (struct pb_field){ 0 };
    if (r->at == r->end)
        return 0;
    if (varint_next(r, &tag) < 0 || tag >> 3 == 0 || tag >> 32)
        return -1;
    f->number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case PB_VARINT:
        f->type = PB_VARINT;
        return varint_next(r, &f->value);
    case PB_FIXED64:
        f->type = PB_FIXED64;
        return fixed_get(r, 8, &f->value);
    case PB_FIXED32:
        f->type = PB_FIXED32;
        return fixed_get(r, 4, &f->value);
    case PB_BYTES:
        f->type = PB_BYTES;
        if (varint_next(r, &length) < 0 || length > (size_t)(r->end - r->at))
            return -1;
        f->bytes = r->at;
        f->length = (size_t)length;
        r->at += length;
        return 1;
    default:
        return -1;
    }
}

bool pb_is_utf8(const uint8_t *p, size_t n)
{
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    for (size_t i = 0; i < n;) {
        uint32_t c = p[i++];
        if (c < 0x80)
            continue;
        size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || more > n - i)
            return false;
        c &= 0x3fU >> more;
        for (size_t k = 0; k < more; k++, i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
            c = c << 6 | (p[i] & 0x3f);
        }
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return false;
    }
    return true;
}

static void put_varint(struct gv_buf *b, uint64_t v)
{
    uint8_t bytes[PB_VARINT_MAX];
    gv_buf_add(b, bytes, pb_varint_put(bytes, v));
}

void pb_put_number(struct gv_buf *b, uint32_t number, uint64_t v)
{
    if (v == 0)
        return;
    put_varint(b, (uint64_t)number << 3 | PB_VARINT);
    put_varint(b, v);
}

static void put_bytes(struct gv_buf *b, uint32_t number, const void *p, size_t n)
{
    put_varint(b, (uint64_t)number << 3 | PB_BYTES);
    put_varint(b, n);
    if (n)
        gv_buf_add(b, p, n);
}

void pb_put_bytes(struct gv_buf *b, uint32_t number, const void *p, size_t n)
{
    if (n)
        put_bytes(b, number, p, n);
}

void pb_put_text(struct gv_buf *b, uint32_t number, const char *s)
{
    pb_put_bytes(b, number, s, strlen(s));
}

void pb_put_double(struct gv_buf *b, uint32_t number, double v)
{
    uint64_t bits;
    uint8_t bytes[8];
    memcpy(&bits, &v, sizeof(bits));
    if (bits == 0)
        return;
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(bits >> (8 * i));
    put_varint(b, (uint64_t)number << 3 | PB_FIXED64);
    gv_buf_add(b, bytes, sizeof(bytes));
}

void pb_put_message(struct gv_buf *b, uint32_t number, const struct gv_buf *message)
{
    put_bytes(b, number, message->data, message->len);
}
