/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Memory. These never return NULL: when the system has no memory left the process says so and aborts, because nothing useful
 * can be done any more. Sizes that come from outside must be checked against a limit BEFORE they get here.
 */
#ifndef GV_CORE_MEM_H
#define GV_CORE_MEM_H

#include <stddef.h>

void *gv_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *gv_calloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *gv_realloc(void *p, size_t size) __attribute__((returns_nonnull));
void *gv_reallocarray(void *p, size_t count, size_t size) __attribute__((returns_nonnull));
char *gv_strdup(const char *s) __attribute__((malloc, returns_nonnull));
char *gv_strndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
void *gv_memdup(const void *p, size_t n) __attribute__((malloc, returns_nonnull));
char *gv_asprintf(const char *fmt, ...) __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

#define gv_new(type) ((type *)gv_calloc(1, sizeof(type)))

/* An arena: many small allocations that live and die together. Not thread safe. */
struct gv_arena;
struct gv_arena *gv_arena_new(void);
void gv_arena_free(struct gv_arena *a);
/* Uninitialised memory aligned for any object. */
void *gv_arena_alloc(struct gv_arena *a, size_t size) __attribute__((returns_nonnull));
/* Copies n bytes and adds a final NUL; only byte aligned. */
char *gv_arena_strndup(struct gv_arena *a, const char *s, size_t n) __attribute__((returns_nonnull));
/* Bytes taken from the system so far. */
size_t gv_arena_size(const struct gv_arena *a);

/* A growing NULL-terminated list of strings that it owns. Zero-initialised is empty and valid (items may be NULL then). */
struct gv_strv {
    char **items;
    size_t count;
};
void gv_strv_add(struct gv_strv *v, const char *s);
/* Takes over s. */
void gv_strv_take(struct gv_strv *v, char *s);
void gv_strv_copy(struct gv_strv *dst, const struct gv_strv *src);
void gv_strv_clear(struct gv_strv *v);

/* A growing byte buffer. Zero-initialised is empty and valid. */
struct gv_buf {
    unsigned char *data;
    size_t len, cap;
};
void gv_buf_reserve(struct gv_buf *b, size_t more);
void gv_buf_add(struct gv_buf *b, const void *p, size_t n);
void gv_buf_addf(struct gv_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Removes n bytes from the front. */
void gv_buf_drop(struct gv_buf *b, size_t n);
/* NUL-terminates (the NUL is not counted in len) and returns the data, owned by b. */
char *gv_buf_str(struct gv_buf *b) __attribute__((returns_nonnull));
void gv_buf_clear(struct gv_buf *b);

static inline void gv_cleanup_buf_fn(struct gv_buf *b)
{
    gv_buf_clear(b);
}
static inline void gv_cleanup_strv_fn(struct gv_strv *v)
{
    gv_strv_clear(v);
}
#define cleanup_buf __attribute__((cleanup(gv_cleanup_buf_fn)))
#define cleanup_strv __attribute__((cleanup(gv_cleanup_strv_fn)))

#endif
