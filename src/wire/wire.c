/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wire/wire.h"

#include <string.h>

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)v);
    put16(p + 2, (uint16_t)(v >> 16));
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}

void wire_header_put(uint8_t out[WIRE_HEADER], const struct wire_header *h)
{
    put32(out, h->length);
    put16(out + 4, h->type);
    put16(out + 6, 0);
    put64(out + 8, h->id);
}

int wire_header_get(struct wire_header *h, const uint8_t in[WIRE_HEADER], uint32_t max)
{
    h->length = get32(in);
    h->type = get16(in + 4);
    h->id = get64(in + 8);
    return get16(in + 6) == 0 && h->length <= max ? 0 : -1;
}

void wire_frame_begin(struct wire_writer *w, uint8_t *buf, size_t size)
{
    w->start = buf;
    w->end = buf + size;
    w->overflow = size < WIRE_HEADER;
    w->at = w->overflow ? buf : buf + WIRE_HEADER;
}

void wire_put_bytes(struct wire_writer *w, uint16_t key, const void *p, size_t n)
{
    size_t left = (size_t)(w->end - w->at);
    if (w->overflow || left < 6 || n > left - 6) {
        w->overflow = 1;
        return;
    }
    put16(w->at, key);
    put32(w->at + 2, (uint32_t)n);
    if (n)
        memcpy(w->at + 6, p, n);
    w->at += 6 + n;
}

void wire_put_text(struct wire_writer *w, uint16_t key, const char *s)
{
    wire_put_bytes(w, key, s, strlen(s));
}

void wire_put_number(struct wire_writer *w, uint16_t key, uint64_t v)
{
    uint8_t b[8];
    put64(b, v);
    wire_put_bytes(w, key, b, sizeof(b));
}

size_t wire_frame_end(struct wire_writer *w, uint16_t type, uint64_t id)
{
    if (w->overflow)
        return 0;
    size_t n = (size_t)(w->at - w->start);
    if (n - WIRE_HEADER > WIRE_PAYLOAD_MAX)
        return 0;
    struct wire_header h = { .length = (uint32_t)(n - WIRE_HEADER), .type = type, .id = id };
    wire_header_put(w->start, &h);
    return n;
}

void wire_reader_init(struct wire_reader *r, const void *payload, size_t n)
{
    r->at = payload;
    r->end = r->at + n;
}

int wire_next(struct wire_reader *r, struct wire_field *f)
{
    size_t left = (size_t)(r->end - r->at);
    if (left == 0)
        return 0;
    if (left < 6)
        return -1;
    f->key = get16(r->at);
    f->length = get32(r->at + 2);
    if (f->length > left - 6)
        return -1;
    f->value = r->at + 6;
    r->at += 6 + (size_t)f->length;
    return 1;
}

int wire_number(const struct wire_field *f, uint64_t *v)
{
    if (f->length != 8)
        return -1;
    *v = get64(f->value);
    return 0;
}

int wire_find(const void *payload, size_t n, uint16_t key, struct wire_field *f)
{
    struct wire_reader r;
    wire_reader_init(&r, payload, n);
    for (;;) {
        int got = wire_next(&r, f);
        if (got <= 0)
            return got;
        if (f->key == key)
            return 1;
    }
}

int wire_find_number(const void *payload, size_t n, uint16_t key, uint64_t fallback, uint64_t *v)
{
    struct wire_field f;
    int got = wire_find(payload, n, key, &f);
    if (got < 0)
        return -1;
    if (got == 0) {
        *v = fallback;
        return 0;
    }
    return wire_number(&f, v);
}

int wire_frame_get(const uint8_t *buf, size_t n, uint32_t max, struct wire_header *h, const uint8_t **payload, size_t *used)
{
    if (n < WIRE_HEADER)
        return 0;
    if (wire_header_get(h, buf, max) < 0)
        return -1;
    if (n - WIRE_HEADER < h->length)
        return 0;
    *payload = buf + WIRE_HEADER;
    *used = WIRE_HEADER + (size_t)h->length;
    return 1;
}
