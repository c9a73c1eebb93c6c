/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decompression. The first byte says how the rest is cut into pieces for input and output, which must not change what comes out. */
#include <stdlib.h>
#include <string.h>

#include "source/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUTPUT_MAX ((size_t)4 << 20)

struct dribble {
    struct stream base;
    const unsigned char *p;
    size_t n, step;
};

static ssize_t dribble_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    (void)err;
    struct dribble *d = (struct dribble *)s;
    if (n > d->step)
        n = d->step;
    if (n > d->n)
        n = d->n;
    if (n)
        memcpy(buf, d->p, n);
    d->p += n;
    d->n -= n;
    return (ssize_t)n;
}

static void dribble_close(struct stream *s)
{
    (void)s;
}

static int decompress(enum compression c, const unsigned char *p, size_t n, size_t in_step, size_t out_step, struct gv_buf *out)
{
    static const struct stream_ops ops = { .read = dribble_read, .close = dribble_close };
    struct dribble d = { .base.ops = &ops, .p = p, .n = n, .step = in_step };
    struct source_budget budget = { .max_bytes = OUTPUT_MAX };
    CLEANUP(stream) struct stream *s = stream_limit_new(stream_decompress_new(&d.base, c), &budget);
    struct gv_error err = GV_ERROR_INIT;
    for (;;) {
        gv_buf_reserve(out, out_step);
        ssize_t got = stream_read(s, out->data + out->len, out_step, &err);
        if (got <= 0) {
            if (got < 0 && err.code == GV_OK)
                abort();
            return (int)got;
        }
        out->len += (size_t)got;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum compression c = compression_sniff(data + 1, size - 1);
    if (c == COMPRESSION_NONE)
        return 0;
    cleanup_buf struct gv_buf whole = { 0 }, pieces = { 0 };
    int a = decompress(c, data + 1, size - 1, (size_t)1 << 20, (size_t)1 << 16, &whole);
    int b = decompress(c, data + 1, size - 1, 1 + (data[0] & 15) * 7, 1 + (size_t)(data[0] >> 4) * 61, &pieces);
    if (a != b)
        abort();
    /* How much comes out before an error is found may differ. */
    if (a == 0 && (whole.len != pieces.len || (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0)))
        abort();
    return 0;
}
