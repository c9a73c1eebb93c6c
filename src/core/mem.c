/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void out_of_memory(void)
{
    static const char text[] = "gvmkit: out of memory\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    abort();
}

void *gv_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *gv_calloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *gv_realloc(void *p, size_t size)
{
    void *q = realloc(p, size ? size : 1);
    if (!q)
        out_of_memory();
    return q;
}

void *gv_reallocarray(void *p, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        out_of_memory();
    return gv_realloc(p, total);
}

char *gv_strdup(const char *s)
{
    return gv_memdup(s, strlen(s) + 1);
}

char *gv_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = gv_alloc(len + 1);
    memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

void *gv_memdup(const void *p, size_t n)
{
    void *q = gv_alloc(n);
    if (n)
        memcpy(q, p, n);
    return q;
}

char *gv_asprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = NULL;
    if (vasprintf(&s, fmt, ap) < 0 || !s)
        out_of_memory();
    va_end(ap);
    return s;
}

#define ARENA_CHUNK ((size_t)256 * 1024)

struct arena_chunk {
    struct arena_chunk *next;
};

struct gv_arena {
    struct arena_chunk *chunks;
    unsigned char *at, *end;
    size_t total;
};

struct gv_arena *gv_arena_new(void)
{
    return gv_new(struct gv_arena);
}

void gv_arena_free(struct gv_arena *a)
{
    if (!a)
        return;
    for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(a);
}

static void *arena_take(struct gv_arena *a, size_t size, size_t align)
{
    uintptr_t pad = (uintptr_t)(-(uintptr_t)a->at) & (align - 1);
    if (!a->at || (size_t)(a->end - a->at) < pad || (size_t)(a->end - a->at) - pad < size) {
        size_t head = (sizeof(struct arena_chunk) + 15) & ~(size_t)15, want;
        if (__builtin_add_overflow(size, head, &want))
            out_of_memory();
        if (want < ARENA_CHUNK)
            want = ARENA_CHUNK;
        struct arena_chunk *c = gv_alloc(want);
        c->next = a->chunks;
        a->chunks = c;
        a->at = (unsigned char *)c + head;
        a->end = (unsigned char *)c + want;
        a->total += want;
        pad = 0;
    }
    void *p = a->at + pad;
    a->at += pad + size;
    return p;
}

void *gv_arena_alloc(struct gv_arena *a, size_t size)
{
    return arena_take(a, size, 8);
}

char *gv_arena_strndup(struct gv_arena *a, const char *s, size_t n)
{
    char *p = arena_take(a, n + 1, 1);
    memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

size_t gv_arena_size(const struct gv_arena *a)
{
    return a->total;
}

void gv_strv_take(struct gv_strv *v, char *s)
{
    v->items = gv_reallocarray(v->items, v->count + 2, sizeof(*v->items));
    v->items[v->count++] = s;
    v->items[v->count] = NULL;
}

void gv_strv_add(struct gv_strv *v, const char *s)
{
    gv_strv_take(v, gv_strdup(s));
}

void gv_strv_copy(struct gv_strv *dst, const struct gv_strv *src)
{
    for (size_t i = 0; i < src->count; i++)
        gv_strv_add(dst, src->items[i]);
}

void gv_strv_clear(struct gv_strv *v)
{
    for (size_t i = 0; i < v->count; i++)
        free(v->items[i]);
    free(v->items);
    *v = (struct gv_strv){ 0 };
}

void gv_buf_reserve(struct gv_buf *b, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(b->len, more, &need))
        out_of_memory();
    if (need <= b->cap)
        return;
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need)
        if (__builtin_mul_overflow(cap, (size_t)2, &cap))
            cap = need;
    b->data = gv_realloc(b->data, cap);
    b->cap = cap;
}

void gv_buf_add(struct gv_buf *b, const void *p, size_t n)
{
    if (!n)
        return;
    gv_buf_reserve(b, n);
    memcpy(b->data + b->len, p, n);
    b->len += n;
}

void gv_buf_addf(struct gv_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n > 0) {
        gv_buf_reserve(b, (size_t)n + 1);
        vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void gv_buf_drop(struct gv_buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

char *gv_buf_str(struct gv_buf *b)
{
    gv_buf_reserve(b, 1);
    b->data[b->len] = '\0';
    return (char *)b->data;
}

void gv_buf_clear(struct gv_buf *b)
{
    free(b->data);
    *b = (struct gv_buf){ 0 };
}
