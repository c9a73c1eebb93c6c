/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Decompression stages. What a file is compressed with is told by its first bytes, never by a name or a media type. They all share one
 * frame: an input buffer that is refilled from the stage below, and a step function that turns some of it into output.
 */
#include <bzlib.h>
#include <isa-l/igzip_lib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <string.h>
#include <zstd.h>

#include "source/stream.h"
#include "source/tar.h"

#define INPUT_SIZE ((size_t)128 * 1024)
#define XZ_MEMORY ((uint64_t)128 << 20)
#define GZIP_RESERVED 0xe0U /* of the flags: with one of these, what follows need not be what we know (RFC 1952, 2.3.1.2) */
#define ZSTD_WINDOW_LOG 27  /* 128 MiB, the most that zstd itself decodes unless asked for more */

struct decompress_stream {
    struct stream base;
    struct stream *inner;
    const struct decompressor *kind;
    unsigned char *in;
    size_t at, len; /* the unread part of `in` */
    bool in_end;    /* inner has ended */
    bool between;   /* at the start of a member or frame: the input may end here */
    bool padding;   /* only zero bytes may follow */
    bool ended;
    union {
        struct gzip_member *gzip;
        ZSTD_DStream *zstd;
        lzma_stream xz;
        bz_stream bzip2;
        LZ4F_dctx *lz4;
    } u;
};

struct decompressor {
    const char *name;
    int (*open)(struct decompress_stream *d);
    /* Consumes from in[at..len), writes up to n bytes, returns how many, or -1 for damaged data (with *why set if there is more to say).
     * Sets `between` at the end of a member. */
    ssize_t (*step)(struct decompress_stream *d, unsigned char *out, size_t n, const char **why);
    void (*close)(struct decompress_stream *d);
};

/* ---- gzip (RFC 1952), by ISA-L ---- */

struct gzip_member {
    struct inflate_state state;
    struct isal_gzip_header header;
    bool in_header;
};

static void gzip_begin(struct gzip_member *m)
{
    isal_inflate_init(&m->state);
    m->state.crc_flag = ISAL_GZIP_NO_HDR_VER; /* the header is read by itself; what is behind the data is checked */
    isal_gzip_header_init(&m->header);
    m->in_header = true;
}

static int gzip_open(struct decompress_stream *d)
{
    d->u.gzip = gv_alloc(sizeof(*d->u.gzip));
    gzip_begin(d->u.gzip);
    return 0;
}

static ssize_t gzip_step(struct decompress_stream *d, unsigned char *out, size_t n, const char **why)
{
    struct gzip_member *m = d->u.gzip;
    struct inflate_state *g = &m->state;
    if (d->between) {
        if (d->len > d->at && d->in[d->at] == 0) {
            d->padding = true; /* tape blocks and some writers pad with zeros */
            return 0;
        }
        gzip_begin(m);
        d->between = false;
    }
    g->next_in = d->in + d->at;
    g->avail_in = (uint32_t)(d->len - d->at);
    g->next_out = out;
    g->avail_out = (uint32_t)n;
    int status = m->in_header ? isal_read_gzip_header(g, &m->header) : isal_inflate(g);
    d->at = d->len - g->avail_in;
    if (status == ISAL_INCORRECT_CHECKSUM)
        *why = "its checksum is wrong";
    if (status != ISAL_DECOMP_OK && status != ISAL_END_INPUT && status != ISAL_OUT_OVERFLOW)
        return -1;
    if (m->in_header && status == ISAL_DECOMP_OK) {
        m->in_header = false;
        if (m->header.flags & GZIP_RESERVED) {
            *why = "its header has flags that nobody knows";
            return -1;
        }
    }
    d->between = g->block_state == ISAL_BLOCK_FINISH;
    return (ssize_t)(n - g->avail_out);
}

static void gzip_close(struct decompress_stream *d)
{
    free(d->u.gzip);
}

/* ---- zstd (RFC 8878) ---- */

static int zstd_open(struct decompress_stream *d)
{
    d->u.zstd = ZSTD_createDStream();
    if (!d->u.zstd)
        return -1;
    return ZSTD_isError(ZSTD_DCtx_setParameter(d->u.zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)) ? -1 : 0;
}

static ssize_t zstd_step(struct decompress_stream *d, unsigned char *out, size_t n, const char **why)
{
    ZSTD_inBuffer in = { .src = d->in, .size = d->len, .pos = d->at };
    ZSTD_outBuffer to = { .dst = out, .size = n };
    size_t status = ZSTD_decompressStream(d->u.zstd, &to, &in);
    d->at = in.pos;
    if (ZSTD_isError(status)) {
        *why = ZSTD_getErrorName(status);
        return -1;
    }
    d->between = status == 0;
    return (ssize_t)to.pos;
}

static void zstd_close(struct decompress_stream *d)
{
    ZSTD_freeDStream(d->u.zstd);
}

/* ---- xz ---- */

static int xz_open(struct decompress_stream *d)
{
    d->u.xz = (lzma_stream)LZMA_STREAM_INIT;
    return lzma_stream_decoder(&d->u.xz, XZ_MEMORY, LZMA_CONCATENATED) == LZMA_OK ? 0 : -1;
}

static ssize_t xz_step(struct decompress_stream *d, unsigned char *out, size_t n, const char **why)
{
    lzma_stream *x = &d->u.xz;
    x->next_in = d->in + d->at;
    x->avail_in = d->len - d->at;
    x->next_out = out;
    x->avail_out = n;
    lzma_ret status = lzma_code(x, d->in_end ? LZMA_FINISH : LZMA_RUN);
    d->at = d->len - x->avail_in;
    if (status == LZMA_MEMLIMIT_ERROR)
        *why = "its dictionary is too large";
    if (status != LZMA_OK && status != LZMA_STREAM_END && status != LZMA_BUF_ERROR)
        return -1;
    d->between = status == LZMA_STREAM_END;
    return (ssize_t)(n - x->avail_out);
}

static void xz_close(struct decompress_stream *d)
{
    lzma_end(&d->u.xz);
}

/* ---- lzip, and the old form of xz: one member after the other ---- */

static int lzip_open(struct decompress_stream *d)
{
    d->u.xz = (lzma_stream)LZMA_STREAM_INIT;
    return lzma_lzip_decoder(&d->u.xz, XZ_MEMORY, 0) == LZMA_OK ? 0 : -1;
}

static ssize_t lzip_step(struct decompress_stream *d, unsigned char *out, size_t n, const char **why)
{
    if (d->between) {
        lzma_end(&d->u.xz);
        if (lzip_open(d) < 0)
            return -1;
        d->between = false;
    }
    return xz_step(d, out, n, why);
}

static int lzma_open(struct decompress_stream *d)
{
    d->u.xz = (lzma_stream)LZMA_STREAM_INIT;
    return lzma_alone_decoder(&d->u.xz, XZ_MEMORY) == LZMA_OK ? 0 : -1;
}

static ssize_t lzma_step(struct decompress_stream *d, unsigned char *out, size_t n, const char **why)
{
    if (!d->between)
        return xz_step(d, out, n, why);
    *why = "there is something else after its end";
    return -1;
}

/* ---- lz4 (its frame format) ---- */

static int lz4_open(struct decompress_stream *d)
{
    return LZ4F_isError(LZ4F_createDecompressionContext(&d->u.lz4, LZ4F_VERSION)) ? -1 : 0;
}

static ssize_t lz4_step(struct decompress_stream *d, unsigned char *out, size_t n, const char **why)
{
    size_t taken = d->len - d->at, made = n;
    size_t status = LZ4F_decompress(d->u.lz4, out, &made, d->in + d->at, &taken, NULL);
    d->at += taken;
    if (LZ4F_isError(status)) {
        *why = LZ4F_getErrorName(status);
        return -1;
    }
    d->between = status == 0;
    return (ssize_t)made;
}

static void lz4_close(struct decompress_stream *d)
{
    LZ4F_freeDecompressionContext(d->u.lz4);
}

/* ---- bzip2 ---- */

static int bzip2_open(struct decompress_stream *d)
{
    d->u.bzip2 = (bz_stream){ 0 };
    return BZ2_bzDecompressInit(&d->u.bzip2, 0, 0) == BZ_OK ? 0 : -1;
}

static ssize_t bzip2_step(struct decompress_stream *d, unsigned char *out, size_t n, const char **why)
{
    (void)why;
    bz_stream *b = &d->u.bzip2;
    if (d->between) {
        BZ2_bzDecompressEnd(b);
        if (bzip2_open(d) < 0)
            return -1;
        d->between = false;
    }
    b->next_in = (char *)d->in + d->at;
    b->avail_in = (unsigned)(d->len - d->at);
    b->next_out = (char *)out;
    b->avail_out = (unsigned)n;
    int status = BZ2_bzDecompress(b);
    d->at = d->len - b->avail_in;
    if (status != BZ_OK && status != BZ_STREAM_END)
        return -1;
    d->between = status == BZ_STREAM_END;
    return (ssize_t)(n - b->avail_out);
}

static void bzip2_close(struct decompress_stream *d)
{
    BZ2_bzDecompressEnd(&d->u.bzip2);
}

/* ---- the frame ---- */

static const struct decompressor decompressors[] = {
    [COMPRESSION_GZIP] = { "gzip", gzip_open, gzip_step, gzip_close },
    [COMPRESSION_ZSTD] = { "zstd", zstd_open, zstd_step, zstd_close },
    [COMPRESSION_XZ] = { "xz", xz_open, xz_step, xz_close },
    [COMPRESSION_BZIP2] = { "bzip2", bzip2_open, bzip2_step, bzip2_close },
    [COMPRESSION_LZ4] = { "lz4", lz4_open, lz4_step, lz4_close },
    [COMPRESSION_LZIP] = { "lzip", lzip_open, lzip_step, xz_close },
    [COMPRESSION_LZMA] = { "lzma", lzma_open, lzma_step, xz_close },
};

static int refill(struct decompress_stream *d, struct gv_error *err)
{
    if (d->at < d->len || d->in_end)
        return 0;
    ssize_t got = stream_read(d->inner, d->in, INPUT_SIZE, err);
    if (got < 0)
        return -1;
    d->at = 0;
    d->len = (size_t)got;
    d->in_end = got == 0;
    return 0;
}

static ssize_t decompress_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    struct decompress_stream *d = (struct decompress_stream *)s;
    if (n > (size_t)1 << 30)
        n = (size_t)1 << 30; /* the libraries count in 32 bits */
    while (n && !d->ended) {
        if (refill(d, err) < 0)
            return -1;
        if (d->padding) {
            for (; d->at < d->len; d->at++)
                if (d->in[d->at])
                    return gv_error_set(err, GV_E_FORMAT, 0, "there is something else after the end of the %s data", d->kind->name);
            d->ended = d->in_end;
            continue;
        }
        if (d->in_end && d->between) {
            d->ended = true;
            break;
        }
        const char *why = NULL;
        size_t before = d->at;
        bool was_between = d->between;
        ssize_t got = d->kind->step(d, buf, n, &why);
        if (got < 0)
            return gv_error_set(err, GV_E_CORRUPT, 0, "the %s data is damaged%s%s", d->kind->name, why ? ": " : "", why ? why : "");
        if (got > 0)
            return got;
        if (d->in_end && !d->between && d->at == before)
            return gv_error_set(err, GV_E_FORMAT, 0, "the %s data is cut short", d->kind->name);
        if (!d->in_end && d->at == before && d->at < d->len && d->between == was_between && !d->padding)
            return gv_error_set(err, GV_E_CORRUPT, 0, "the %s data is damaged: it leads nowhere", d->kind->name);
    }
    return 0;
}

static void decompress_close(struct stream *s)
{
    struct decompress_stream *d = (struct decompress_stream *)s;
    d->kind->close(d);
    stream_close(d->inner);
    free(d->in);
    free(d);
}

struct stream *stream_decompress_new(struct stream *inner, enum compression c)
{
    static const struct stream_ops ops = { .read = decompress_read, .close = decompress_close };
    if (c == COMPRESSION_NONE)
        return inner;
    struct decompress_stream *d = gv_new(struct decompress_stream);
    d->base.ops = &ops;
    d->inner = inner;
    d->kind = &decompressors[c];
    d->in = gv_alloc(INPUT_SIZE);
    if (d->kind->open(d) < 0)
        abort(); /* no memory: nothing else can fail in the libraries' set-up */
    return &d->base;
}

enum compression compression_sniff(const void *head, size_t n)
{
    static const struct {
        const char *magic;
        size_t len;
        enum compression c;
    } known[] = {
        { "\x1f\x8b\x08", 3, COMPRESSION_GZIP },
        { "\x28\xb5\x2f\xfd", 4, COMPRESSION_ZSTD },
        { "\xfd"
          "7zXZ\0",
          6, COMPRESSION_XZ },
        { "BZh", 3, COMPRESSION_BZIP2 },
        { "\x04\x22\x4d\x18", 4, COMPRESSION_LZ4 },
        { "LZIP\x01", 5, COMPRESSION_LZIP },
    };
    if (n >= TAR_BLOCK && tar_is_header(head))
        return COMPRESSION_NONE;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (n >= known[i].len && memcmp(head, known[i].magic, known[i].len) == 0)
            return known[i].c;
    const unsigned char *b = head;
    /* A skippable frame, which zstd allows in front of the first real one (0x184D2A50 to 0x184D2A5F, little endian). */
    if (n >= 4 && (b[0] & 0xf0) == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18)
        return COMPRESSION_ZSTD;
    /* lzma has no magic number: the usual parameters, a dictionary of whole 64 KiB, a size that is unknown or below 2^56. */
    if (n >= 13 && b[0] == 0x5d && b[1] == 0 && b[2] == 0 && (b[12] == 0 || b[12] == 0xff))
        return COMPRESSION_LZMA;
    return COMPRESSION_NONE;
}
