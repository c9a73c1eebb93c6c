/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Contexts are made once and used for every block, because setting them up costs more than compressing a small block. What the kernel demands
 * of the streams: zlib with any window; xz with a dictionary no larger than a block and CRC-32 as its check; zstd with a window no larger than a
 * block (a one-shot frame of known size has one as large as its content); lz4 and lzo raw blocks.
 */
#include "gvmi/codec.h"

#include <libdeflate.h>
#include <lz4.h>
#include <lz4hc.h>
#include <lzma.h>
#include <lzo/lzo1x.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "gvmi/gvmi.h"
#include "gvmi/squashfs.h"

struct compression {
    const char *name;
    int least, most, preset; /* levels; preset is the one meant by 0 */
};

static const struct compression compressions[] = {
    [GVMI_GZIP] = { "gzip", 1, 12, 6 }, /* libdeflate's 6 is smaller than zlib's 9 at eight times the speed */
    [GVMI_LZMA] = { "lzma", 0, 0, 0 },  /* only read: no kernel of today mounts it */
    [GVMI_LZO] = { "lzo", 1, 9, 8 },    /* 1x_999, the levels and default of mksquashfs */
    [GVMI_XZ] = { "xz", 1, 9, 6 },
    [GVMI_LZ4] = { "lz4", 1, 12, 9 }, /* 1 is the fast compressor, from 2 on the high-compression one */
    [GVMI_ZSTD] = { "zstd", 1, 22, 15 },
};
#define COMPRESSIONS ((int)(sizeof(compressions) / sizeof(compressions[0])))

/* Memory for one decoder of xz or lzma. The dictionary is at most a block, 1 MiB; a stream that asks for more is not from a squashfs. */
#define LZMA_MEMORY ((uint64_t)8 << 20)

const char *gvmi_compression_name(int compression)
{
    if (compression < GVMI_GZIP || compression >= COMPRESSIONS)
        return "unknown";
    return compressions[compression].name;
}

int gvmi_compression_by_name(const char *name)
{
    for (int i = GVMI_GZIP; i < COMPRESSIONS; i++)
        if (strcmp(compressions[i].name, name) == 0)
            return i;
    return -1;
}

int gvmi_codec_level(int compression, int level, struct gv_error *err)
{
    if (compression < GVMI_GZIP || compression >= COMPRESSIONS || compressions[compression].most == 0)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "cannot write images with %s compression; gzip, lzo, xz, lz4 and zstd can be written",
                            gvmi_compression_name(compression));
    const struct compression *c = &compressions[compression];
    if (level == 0)
        return c->preset;
    if (level < c->least || level > c->most)
        return gv_error_set(err, GV_E_USAGE, 0, "%s has no level %d; it has %d to %d", c->name, level, c->least, c->most);
    return level;
}

/* A power of two; the formats know none smaller than 8 KiB. */
static uint32_t xz_dictionary(uint32_t n)
{
    return n <= SQFS_META_SIZE ? SQFS_META_SIZE : 1U << (32 - __builtin_clz(n - 1));
}

size_t gvmi_codec_options(int compression, int level, uint32_t block_size, unsigned char out[8])
{
    switch (compression) {
    case GVMI_LZ4:
        /* Version 1 (raw blocks) and the "high compression" bit, which only tells tools how the image was made. The kernel refuses lz4 without. */
        sqfs_put32(sqfs_put32(out, 1), level > 1 ? 1 : 0);
        return 8;
    case GVMI_XZ:
        /* The largest dictionary, and the filters that may have been used: bit 0 is x86. */
        sqfs_put32(sqfs_put32(out, xz_dictionary(block_size)), 1);
        return 8;
    default:
        return 0;
    }
}

#define MIB ((size_t)1 << 20)

size_t gvmi_codec_memory(int compression, int level, uint32_t block_size)
{
    lzma_options_lzma options;
    const lzma_filter filters[] = { { .id = LZMA_FILTER_LZMA2, .options = &options }, { .id = LZMA_VLI_UNKNOWN } };
    switch (compression) {
    case GVMI_XZ:
        if (lzma_lzma_preset(&options, (uint32_t)level))
            return 0;
        options.dict_size = xz_dictionary(block_size);
        return (size_t)lzma_raw_encoder_memusage(filters);
    case GVMI_ZSTD:
        return (size_t)8 * block_size + MIB;
    case GVMI_GZIP:
        return level < 10 ? MIB : 9 * MIB;
    default:
        return MIB;
    }
}

/* What is taken for incompressible, see worth_trying(). */
enum {
    PROBE_LEAST = 8192, /* bytes of a block; smaller ones cost little */
    PROBE_SAMPLES = 16,
    PROBE_SAMPLE = 256,  /* bytes of each */
    UNEVEN_SAMPLE = 125, /* so few random bytes have 106 */
    UNEVEN_BLOCK = 103,
    PROBE_GAIN = 200,       /* and less than this part of it is repeated */
    REPEAT_SIZE = 1 << 14,  /* as many strings as are looked at in 1 MiB */
    REPEAT_ONE_IN_BITS = 6, /* one string in 64 is looked at */
    PROBED_ZSTD = 5,        /* the levels of zstd below are as fast as the probe */
};

/* Of the test for machine code, see looks_like_x86(). */
enum {
    SEEN_BITS = 12,
    SEEN_SIZE = 1 << SEEN_BITS,
    X86_SPACING = 4096, /* one recurring target in so many bytes is the least that is worth it */
};

struct gvmi_packer {
    int compression, level;
    struct libdeflate_compressor *deflate;
    ZSTD_CCtx *zstd;
    void *work;  /* lz4, lzo */
    bool probes; /* whether worth_trying() is faster than trying */
    lzma_stream lzma;
    lzma_options_lzma lzma_options;
};

struct gvmi_packer *gvmi_packer_new(int compression, int level, struct gv_error *err)
{
    CLEANUP(gvmi_packer) struct gvmi_packer *p = gv_new(struct gvmi_packer);
    p->compression = compression;
    p->level = level;
    bool ok = false;
    switch (compression) {
    case GVMI_GZIP:
        p->deflate = libdeflate_alloc_compressor(level);
        ok = p->deflate != NULL;
        break;
    case GVMI_LZO:
        ok = lzo_init() == LZO_E_OK;
        p->work = gv_alloc(LZO1X_999_MEM_COMPRESS);
        break;
    case GVMI_XZ:
        ok = !lzma_lzma_preset(&p->lzma_options, (uint32_t)level);
        break;
    case GVMI_LZ4:
        p->work = gv_alloc((size_t)(level > 1 ? LZ4_sizeofStateHC() : LZ4_sizeofState()));
        ok = true;
        break;
    case GVMI_ZSTD:
        p->zstd = ZSTD_createCCtx();
        ok = p->zstd != NULL;
        break;
    default:
        break;
    }
    if (!ok) {
        gv_error_set(err, GV_E_INTERNAL, 0, "cannot set up %s compression", gvmi_compression_name(compression));
        return NULL;
    }
    p->probes = compression != GVMI_LZ4 && !(compression == GVMI_ZSTD && level < PROBED_ZSTD);
    return steal_ptr(p);
}

void gvmi_packer_free(struct gvmi_packer *p)
{
    if (!p)
        return;
    libdeflate_free_compressor(p->deflate);
    ZSTD_freeCCtx(p->zstd);
    lzma_end(&p->lzma);
    free(p->work);
    free(p);
}

/* Notes a value in a table of those seen last; true when it is there. */
static bool seen(uint32_t table[SEEN_SIZE], uint32_t value)
{
    uint32_t *slot = &table[value * 2654435761U >> (32 - SEEN_BITS)];
    bool is = *slot == value;
    *slot = value;
    return is;
}

/*
 * The filter for x86 makes the relative targets of calls and jumps (E8, E9) absolute, which helps when one target is called from many places, and hurts
 * where the relative values recur: in data, and in object files, whose targets are not filled in. So count which of both recur. The filter takes a
 * target for real when its last byte is 00 or FF, that is, when it is less than 16 MiB away.
 */
static bool looks_like_x86(const unsigned char *p, size_t n)
{
    uint32_t absolute[SEEN_SIZE] = { 0 }, relative[SEEN_SIZE] = { 0 };
    size_t absolute_hits = 0, relative_hits = 0;
    for (size_t i = 0; i + 4 < n; i++) {
        if ((p[i] & 0xfe) != 0xe8 || (unsigned char)(p[i + 4] + 1) > 1)
            continue;
        uint32_t target = sqfs_get32(p + i + 1);
        relative_hits += seen(relative, target);
        absolute_hits += seen(absolute, target + (uint32_t)i);
        i += 4;
    }
    return absolute_hits > 2 * relative_hits + n / X86_SPACING;
}

static size_t pack_xz(struct gvmi_packer *p, const unsigned char *in, size_t n, unsigned char *out)
{
    lzma_filter filters[3];
    unsigned count = 0;
    if (looks_like_x86(in, n))
        filters[count++] = (lzma_filter){ .id = LZMA_FILTER_X86 };
    filters[count++] = (lzma_filter){ .id = LZMA_FILTER_LZMA2, .options = &p->lzma_options };
    filters[count] = (lzma_filter){ .id = LZMA_VLI_UNKNOWN };
    p->lzma_options.dict_size = xz_dictionary((uint32_t)n);
    /* Setting up an encoder again keeps its memory where it can. */
    if (lzma_stream_encoder(&p->lzma, filters, LZMA_CHECK_CRC32) != LZMA_OK)
        return 0;
    p->lzma.next_in = in;
    p->lzma.avail_in = n;
    p->lzma.next_out = out;
    p->lzma.avail_out = n - 1;
    if (lzma_code(&p->lzma, LZMA_FINISH) != LZMA_STREAM_END)
        return 0;
    return n - 1 - p->lzma.avail_out;
}

static size_t pack_lz4(struct gvmi_packer *p, const unsigned char *in, size_t n, unsigned char *out)
{
    int len = p->level > 1 ? LZ4_compress_HC_extStateHC(p->work, (const char *)in, (char *)out, (int)n, (int)n - 1, p->level)
                           : LZ4_compress_fast_extState(p->work, (const char *)in, (char *)out, (int)n, (int)n - 1, 1);
    return len > 0 ? (size_t)len : 0;
}

static size_t pack_lzo(struct gvmi_packer *p, const unsigned char *in, size_t n, unsigned char *out)
{
    lzo_uint len = GVMI_PACKED_ROOM(n);
    if (lzo1x_999_compress_level(in, n, out, &len, p->work, NULL, 0, NULL, p->level) != LZO_E_OK)
        return 0;
    return len < n ? len : 0;
}

/* How far the bytes are from being spread evenly over all 256 values, as the sum of their squared frequencies in 1/100 of what it would be then;
 * in whole numbers, for the result must not depend on the machine. Looks at `length` bytes in every `stride`. */
static uint64_t unevenness(const unsigned char *in, size_t n, size_t stride, size_t length)
{
    uint32_t counts[256] = { 0 };
    uint64_t total = 0, squares = 0;
    for (size_t at = 0; at + length <= n; at += stride) {
        for (size_t i = at; i < at + length; i++)
            counts[in[i]]++;
        total += length;
    }
    for (size_t i = 0; i < 256; i++)
        squares += (uint64_t)counts[i] * counts[i];
    return squares * 25600 / (total * total);
}

/* About how many bytes of the block are there a second time, anywhere in it. Strings of eight bytes are compared, those of which a hash says so, so that
 * equal strings are either all looked at or all left out. */
static size_t repeated_bytes(const unsigned char *in, size_t n)
{
    uint32_t table[REPEAT_SIZE] = { 0 };
    size_t repeats = 0;
    for (size_t i = 0; i + 8 <= n; i++) {
        uint64_t hash = sqfs_get64(in + i) * 0x9e3779b97f4a7c15ULL;
        if (hash >> (64 - REPEAT_ONE_IN_BITS) != 0)
            continue;
        uint32_t *slot = &table[(hash >> 32) & (REPEAT_SIZE - 1)];
        repeats += *slot == (uint32_t)hash;
        *slot = (uint32_t)hash;
    }
    return repeats << REPEAT_ONE_IN_BITS;
}

/*
 * Whether a block may get smaller: what is compressed already (archives, pictures, manual pages) has bytes that are spread evenly and no repetitions.
 * A sample settles it for nearly all others, then comes a look at all bytes, and only then the search for repetitions, which takes a hundredth of the
 * time that it saves.
 */
static bool worth_trying(const struct gvmi_packer *p, const unsigned char *in, size_t n)
{
    return !p->probes || n < PROBE_LEAST || unevenness(in, n, n / PROBE_SAMPLES, PROBE_SAMPLE) > UNEVEN_SAMPLE ||
           unevenness(in, n, n, n) > UNEVEN_BLOCK || repeated_bytes(in, n) > n / PROBE_GAIN;
}

size_t gvmi_packer_run(struct gvmi_packer *p, const unsigned char *in, size_t n, unsigned char *out)
{
    if (n < 2 || !worth_trying(p, in, n))
        return 0;
    size_t len;
    switch (p->compression) {
    case GVMI_GZIP:
        return libdeflate_zlib_compress(p->deflate, in, n, out, n - 1);
    case GVMI_LZO:
        return pack_lzo(p, in, n, out);
    case GVMI_XZ:
        return pack_xz(p, in, n, out);
    case GVMI_LZ4:
        return pack_lz4(p, in, n, out);
    case GVMI_ZSTD:
        len = ZSTD_compressCCtx(p->zstd, out, n - 1, in, n, p->level);
        return ZSTD_isError(len) ? 0 : len;
    default:
        return 0;
    }
}

struct gvmi_unpacker {
    int compression;
    struct libdeflate_decompressor *deflate;
    ZSTD_DCtx *zstd;
    lzma_stream lzma;
};

struct gvmi_unpacker *gvmi_unpacker_new(int compression, struct gv_error *err)
{
    if (compression < GVMI_GZIP || compression >= COMPRESSIONS) {
        gv_error_set(err, GV_E_UNSUPPORTED, 0, "compression %d of the squashfs is not known", compression);
        return NULL;
    }
    CLEANUP(gvmi_unpacker) struct gvmi_unpacker *u = gv_new(struct gvmi_unpacker);
    u->compression = compression;
    bool ok = true;
    if (compression == GVMI_GZIP)
        ok = (u->deflate = libdeflate_alloc_decompressor()) != NULL;
    else if (compression == GVMI_ZSTD)
        ok = (u->zstd = ZSTD_createDCtx()) != NULL;
    else if (compression == GVMI_LZO)
        ok = lzo_init() == LZO_E_OK;
    if (!ok) {
        gv_error_set(err, GV_E_INTERNAL, 0, "cannot set up %s decompression", gvmi_compression_name(compression));
        return NULL;
    }
    return steal_ptr(u);
}

void gvmi_unpacker_free(struct gvmi_unpacker *u)
{
    if (!u)
        return;
    libdeflate_free_decompressor(u->deflate);
    ZSTD_freeDCtx(u->zstd);
    lzma_end(&u->lzma);
    free(u);
}

static int64_t unpack_lzma(struct gvmi_unpacker *u, const unsigned char *in, size_t n, unsigned char *out, size_t cap)
{
    lzma_ret r = u->compression == GVMI_XZ ? lzma_stream_decoder(&u->lzma, LZMA_MEMORY, 0) : lzma_alone_decoder(&u->lzma, LZMA_MEMORY);
    if (r != LZMA_OK)
        return -1;
    u->lzma.next_in = in;
    u->lzma.avail_in = n;
    u->lzma.next_out = out;
    u->lzma.avail_out = cap;
    if (lzma_code(&u->lzma, LZMA_FINISH) != LZMA_STREAM_END)
        return -1;
    return (int64_t)(cap - u->lzma.avail_out);
}

int64_t gvmi_unpacker_run(struct gvmi_unpacker *u, const unsigned char *in, size_t n, unsigned char *out, size_t cap)
{
    size_t len = 0;
    lzo_uint lzo_len = cap;
    if (n > SQFS_BLOCK_MAX || cap > SQFS_BLOCK_MAX)
        return -1;
    switch (u->compression) {
    case GVMI_GZIP:
        return libdeflate_zlib_decompress(u->deflate, in, n, out, cap, &len) == LIBDEFLATE_SUCCESS ? (int64_t)len : -1;
    case GVMI_LZO:
        return lzo1x_decompress_safe(in, n, out, &lzo_len, NULL) == LZO_E_OK ? (int64_t)lzo_len : -1;
    case GVMI_LZ4:
        return LZ4_decompress_safe((const char *)in, (char *)out, (int)n, (int)cap);
    case GVMI_ZSTD:
        len = ZSTD_decompressDCtx(u->zstd, out, cap, in, n);
        return ZSTD_isError(len) ? -1 : (int64_t)len;
    default:
        return unpack_lzma(u, in, n, out, cap);
    }
}
