/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Streams: ranges, digests, limits, the four compressions with everything that can be wrong about them, the pump and its followers. */
#include "helper.h"

#include <bzlib.h>
#include <errno.h>
#include <lz4frame.h>
#include <lzma.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "source/store.h"
#include "source/stream.h"

static int memory_file(const void *p, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    if (n)
        assert_int_equal(gv_pwrite_full(fd, p, n, 0), 0);
    return fd;
}

/* Gives its bytes in pieces of `step`. */
struct dribble {
    struct stream base;
    const unsigned char *p;
    size_t n, step;
    bool fails; /* instead of ending */
};

static ssize_t dribble_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    struct dribble *d = (struct dribble *)s;
    if (n > d->step)
        n = d->step;
    if (n > d->n)
        n = d->n;
    if (n == 0 && d->fails)
        return gv_error_set(err, GV_E_IO, EIO, "the disk is gone");
    if (n)
        memcpy(buf, d->p, n);
    d->p += n;
    d->n -= n;
    return (ssize_t)n;
}

static void dribble_close(struct stream *s)
{
    free(s);
}

static struct stream *dribble_new(const void *p, size_t n, size_t step)
{
    static const struct stream_ops ops = { .read = dribble_read, .close = dribble_close };
    struct dribble *d = gv_new(struct dribble);
    *d = (struct dribble){ .base.ops = &ops, .p = p, .n = n, .step = step };
    return &d->base;
}

/* All of a stream, which is closed. */
static int read_all(struct stream *s, struct gv_buf *out, size_t step, struct gv_error *err)
{
    ssize_t got;
    do {
        gv_buf_reserve(out, step);
        got = stream_read(s, out->data + out->len, step, err);
        if (got > 0)
            out->len += (size_t)got;
    } while (got > 0);
    if (got == 0) { /* the end stays the end */
        char c;
        assert_int_equal(stream_read(s, &c, 1, NULL), 0);
    }
    stream_close(s);
    return (int)got;
}

static void xz_into(struct gv_buf *out, const void *p, size_t n)
{
    size_t room = lzma_stream_buffer_bound(n), at = 0;
    gv_buf_reserve(out, room);
    assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, p, n, out->data + out->len, &at, room), LZMA_OK);
    out->len += at;
}

static void bzip2_into(struct gv_buf *out, const void *p, size_t n)
{
    unsigned room = (unsigned)(n + n / 100 + 600);
    gv_buf_reserve(out, room);
    assert_int_equal(BZ2_bzBuffToBuffCompress((char *)out->data + out->len, &room, (char *)(uintptr_t)p, (unsigned)n, 1, 0, 0), BZ_OK);
    out->len += room;
}

static void lzma_into(struct gv_buf *out, const void *p, size_t n)
{
    lzma_stream x = LZMA_STREAM_INIT;
    lzma_options_lzma options;
    assert_false(lzma_lzma_preset(&options, 1));
    assert_int_equal(lzma_alone_encoder(&x, &options), LZMA_OK);
    gv_buf_reserve(out, n + n / 3 + 256);
    x.next_in = p;
    x.avail_in = n;
    x.next_out = out->data + out->len;
    x.avail_out = n + n / 3 + 256;
    assert_int_equal(lzma_code(&x, LZMA_FINISH), LZMA_STREAM_END);
    out->len += (size_t)x.total_out;
    lzma_end(&x);
}

static void put_le(struct gv_buf *out, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++, v >>= 8)
        gv_buf_add(out, &(unsigned char){ (unsigned char)v }, 1);
}

/* A member of lzip has the same data in other headers: of 13 bytes those, of 20 bytes the end. */
static void lzip_into(struct gv_buf *out, const void *p, size_t n)
{
    struct gv_buf lzma = { 0 };
    lzma_into(&lzma, p, n);
    gv_buf_add(out, "LZIP\x01\x14", 6); /* a dictionary of 2^20 bytes, as preset 1 has it */
    gv_buf_add(out, lzma.data + 13, lzma.len - 13);
    put_le(out, gv_crc32(p, n), 4);
    put_le(out, n, 8);
    put_le(out, lzma.len - 13 + 26, 8);
    gv_buf_clear(&lzma);
}

static void lz4_into(struct gv_buf *out, const void *p, size_t n)
{
    const LZ4F_preferences_t how = { .frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled };
    size_t room = LZ4F_compressFrameBound(n, &how);
    gv_buf_reserve(out, room);
    size_t got = LZ4F_compressFrame(out->data + out->len, room, p, n, &how);
    assert_false(LZ4F_isError(got));
    out->len += got;
}

static const struct {
    const char *name;
    enum compression c;
    void (*into)(struct gv_buf *out, const void *p, size_t n);
} kinds[] = {
    { "gzip", COMPRESSION_GZIP, gzip_into },    { "zstd", COMPRESSION_ZSTD, zstd_into }, { "xz", COMPRESSION_XZ, xz_into },
    { "bzip2", COMPRESSION_BZIP2, bzip2_into }, { "lz4", COMPRESSION_LZ4, lz4_into },    { "lzip", COMPRESSION_LZIP, lzip_into },
    { "lzma", COMPRESSION_LZMA, lzma_into },
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static unsigned char *sample(size_t n)
{
    unsigned char *p = gv_alloc(n);
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = i % 1000 < 500 ? (unsigned char)(x >> 24) : 'a';
    }
    return p;
}

static int decompress(enum compression c, const struct gv_buf *packed, size_t in_step, size_t out_step, struct gv_buf *out,
                      struct gv_error *err)
{
    out->len = 0;
    return read_all(stream_decompress_new(dribble_new(packed->data, packed->len, in_step), c), out, out_step, err);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 100, 70000, 700000 }, steps[] = { 1, 7, 4096, 1 << 20 };
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            unsigned char *data = sample(sizes[i]);
            struct gv_buf packed = { 0 }, out = { 0 };
            kinds[k].into(&packed, data, sizes[i]);
            for (size_t a = 0; a < 4; a++) {
                for (size_t b = 0; b < 4; b++) {
                    struct gv_error err = GV_ERROR_INIT;
                    if (sizes[i] > 100000 && (steps[a] < 4096 || steps[b] < 4096))
                        continue;
                    if (decompress(kinds[k].c, &packed, steps[a], steps[b], &out, &err) < 0)
                        fail_msg("%s %zu %zu %zu: %s", kinds[k].name, sizes[i], steps[a], steps[b], err.msg);
                    assert_int_equal(out.len, sizes[i]);
                    assert_true(!out.len || memcmp(out.data, data, out.len) == 0);
                }
            }
            assert_int_equal(compression_sniff(packed.data, packed.len), kinds[k].c);
            gv_buf_clear(&packed);
            gv_buf_clear(&out);
            free(data);
        }
    }
}

/* Several members or frames after each other are one stream, wherever the borders lie. */
static void test_members(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t step = 1; step < 60; step += 3) {
            struct gv_buf packed = { 0 }, out = { 0 };
            kinds[k].into(&packed, "hello ", 6);
            kinds[k].into(&packed, "", 0);
            kinds[k].into(&packed, "world", 5);
            struct gv_error err = GV_ERROR_INIT;
            if (kinds[k].c == COMPRESSION_LZMA) {
                assert_int_equal(decompress(kinds[k].c, &packed, step, 100, &out, &err), -1);
                assert_non_null(strstr(err.msg, "something else after its end"));
                gv_buf_clear(&packed);
                gv_buf_clear(&out);
                continue;
            }
            if (decompress(kinds[k].c, &packed, step, 100, &out, &err) < 0)
                fail_msg("%s, step %zu: %s", kinds[k].name, step, err.msg);
            assert_int_equal(out.len, 11);
            assert_memory_equal(out.data, "hello world", 11);
            gv_buf_clear(&packed);
            gv_buf_clear(&out);
        }
    }
}

/* Members whose sizes bring their borders to every place in the input buffer of the library. */
static void test_many_gzip_members(void **state)
{
    (void)state;
    struct gv_buf packed = { 0 }, out = { 0 }, expected = { 0 };
    unsigned char *data = sample(3000);
    for (size_t i = 0; i < 400; i++) {
        gzip_into(&packed, data, i * 7 % 3000);
        gv_buf_add(&expected, data, i * 7 % 3000);
    }
    for (size_t step = 1; step < 3000; step = step * 2 + 1) {
        assert_int_equal(decompress(COMPRESSION_GZIP, &packed, step, 10000, &out, NULL), 0);
        assert_int_equal(out.len, expected.len);
        assert_memory_equal(out.data, expected.data, out.len);
    }
    gv_buf_clear(&packed);
    gv_buf_clear(&out);
    gv_buf_clear(&expected);
    free(data);
}

static void test_zstd_skippable(void **state)
{
    (void)state;
    static const unsigned char skippable[] = { 0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z' };
    struct gv_buf packed = { 0 }, out = { 0 };
    gv_buf_add(&packed, skippable, sizeof(skippable));
    zstd_into(&packed, "hello ", 6);
    gv_buf_add(&packed, skippable, sizeof(skippable));
    zstd_into(&packed, "world", 5);
    gv_buf_add(&packed, skippable, sizeof(skippable));
    assert_int_equal(compression_sniff(packed.data, packed.len), COMPRESSION_ZSTD);
    assert_int_equal(decompress(COMPRESSION_ZSTD, &packed, 5, 100, &out, NULL), 0);
    assert_int_equal(out.len, 11);
    gv_buf_clear(&packed);
    gv_buf_clear(&out);
}

static void test_after_the_end(void **state)
{
    (void)state;
    struct gv_buf out = { 0 };
    for (size_t k = 0; k < KINDS; k++) {
        struct gv_buf packed = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        kinds[k].into(&packed, "hello", 5);
        gv_buf_add(&packed, "garbage", 7);
        if (decompress(kinds[k].c, &packed, 1000, 100, &out, &err) == 0)
            fail_msg("%s: garbage after the end is accepted", kinds[k].name);
        packed.len -= 7;
        gv_buf_add(&packed, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
        int got = decompress(kinds[k].c, &packed, 1000, 100, &out, &err);
        bool padding = kinds[k].c == COMPRESSION_GZIP || kinds[k].c == COMPRESSION_XZ;
        assert_int_equal(got, padding ? 0 : -1);
        gv_buf_add(&packed, "x", 1);
        assert_int_equal(decompress(kinds[k].c, &packed, 3, 100, &out, &err), -1);
        gv_buf_clear(&packed);
    }
    gv_buf_clear(&out);
}

static void test_cut_short(void **state)
{
    (void)state;
    struct gv_buf out = { 0 };
    unsigned char *data = sample(2000);
    for (size_t k = 0; k < KINDS; k++) {
        struct gv_buf packed = { 0 };
        kinds[k].into(&packed, data, 2000);
        for (size_t n = 0; n < packed.len; n++) {
            struct gv_buf part = { .data = packed.data, .len = n };
            struct gv_error err = GV_ERROR_INIT;
            if (decompress(kinds[k].c, &part, 1000, 5000, &out, &err) == 0)
                fail_msg("%s: %zu of %zu bytes are accepted", kinds[k].name, n, packed.len);
            assert_non_null(strstr(err.msg, kinds[k].name));
        }
        gv_buf_clear(&packed);
    }
    gv_buf_clear(&out);
    free(data);
}

/* Every flipped bit is found, or changes nothing (flags and times in headers). */
static void test_damaged(void **state)
{
    (void)state;
    struct gv_buf out = { 0 };
    unsigned char *data = sample(300);
    for (size_t k = 0; k < KINDS; k++) {
        struct gv_buf packed = { 0 };
        kinds[k].into(&packed, data, 300);
        for (size_t i = 0; i < packed.len * 8; i++) {
            packed.data[i / 8] ^= (unsigned char)(1 << i % 8);
            int got = decompress(kinds[k].c, &packed, 1000, 1000, &out, NULL);
            /* zstd's frames made by the simple call have no checksum, lzma never has one: there the digest has to tell. */
            if (got == 0 && kinds[k].c != COMPRESSION_ZSTD && kinds[k].c != COMPRESSION_LZMA)
                assert_true(out.len == 300 && memcmp(out.data, data, 300) == 0);
            packed.data[i / 8] ^= (unsigned char)(1 << i % 8);
        }
        gv_buf_clear(&packed);
    }
    gv_buf_clear(&out);
    free(data);
}

static void test_gzip_checksum(void **state)
{
    (void)state;
    struct gv_buf packed = { 0 }, out = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    gzip_into(&packed, "hello", 5);
    packed.data[packed.len - 8] ^= 1; /* the CRC-32 */
    assert_int_equal(decompress(COMPRESSION_GZIP, &packed, 100, 100, &out, &err), -1);
    assert_non_null(strstr(err.msg, "checksum"));
    packed.data[packed.len - 8] ^= 1;
    packed.data[packed.len - 4] ^= 1; /* the length */
    assert_int_equal(decompress(COMPRESSION_GZIP, &packed, 100, 100, &out, &err), -1);
    gv_buf_clear(&packed);
    gv_buf_clear(&out);
}

/* What zlib makes of it, by the same rules: member after member, and zeros behind the last one. */
static int by_zlib(const struct gv_buf *packed, struct gv_buf *out)
{
    z_stream z = { .next_in = packed->data, .avail_in = (uInt)packed->len };
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    out->len = 0;
    int status = Z_OK;
    while (status == Z_OK) {
        gv_buf_reserve(out, 65536);
        z.next_out = out->data + out->len;
        z.avail_out = 65536;
        status = inflate(&z, Z_NO_FLUSH);
        out->len += 65536 - z.avail_out;
        if (status == Z_STREAM_END && z.avail_in && *z.next_in) {
            inflateReset(&z);
            status = Z_OK;
        }
    }
    while (status == Z_STREAM_END && z.avail_in && !*z.next_in) {
        z.next_in++;
        z.avail_in--;
    }
    int left = (int)z.avail_in;
    inflateEnd(&z);
    return status == Z_STREAM_END && !left ? 0 : -1;
}

/* A member whose header has the given flags and the fields they stand for, the header's checksum included. Where its data begins. */
static size_t add_member(struct gv_buf *out, unsigned flags, const void *p, size_t n, int level, int strategy)
{
    size_t start = out->len;
    gv_buf_add(out, "\x1f\x8b\x08", 3);
    put_le(out, flags, 1);
    put_le(out, 0x030000000000, 6);
    if (flags & 4)
        gv_buf_add(out, "\x05\0ab\x01\0c", 7);
    if (flags & 8)
        gv_buf_add(out, "name", 5);
    if (flags & 16)
        gv_buf_add(out, "a comment", 10);
    if (flags & 2)
        put_le(out, crc32(0, out->data + start, (uInt)(out->len - start)) & 0xffff, 2);
    size_t body = out->len;
    z_stream z = { .next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n };
    assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, -15, 9, strategy), Z_OK);
    size_t room = deflateBound(&z, n) + 64;
    gv_buf_reserve(out, room);
    z.next_out = out->data + out->len;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out->len += room - z.avail_out;
    deflateEnd(&z);
    put_le(out, gv_crc32(p, n), 4);
    put_le(out, n, 4);
    return body;
}

/* Every kind of header and of block, whole and with every byte damaged: what zlib takes gives the same bytes here. Of what zlib refuses, ISA-L
 * takes some incomplete tables of codes, so in that direction only what a header or checksum says is compared. */
static void test_as_zlib(void **state)
{
    (void)state;
    struct gv_buf packed = { 0 }, out = { 0 }, expected = { 0 };
    unsigned char *data = sample(200000);
    for (unsigned flags = 0; flags < 256; flags++) {
        packed.len = 0;
        add_member(&packed, flags, data, 300, 6, Z_DEFAULT_STRATEGY);
        size_t header = packed.len;
        size_t body = add_member(&packed, flags & 31, data, 10, 6, Z_DEFAULT_STRATEGY);
        for (size_t step = 1; step < 40; step += 13) {
            assert_int_equal(decompress(COMPRESSION_GZIP, &packed, step, 100, &out, NULL), flags < 32 ? 0 : -1);
            assert_int_equal(by_zlib(&packed, &expected), flags < 32 ? 0 : -1);
        }
        for (size_t i = 0; flags < 32 && header - 8 + i < packed.len; i++) { /* the first checksum and the second member */
            unsigned char *c = &packed.data[header - 8 + i];
            *c ^= 0x55;
            int ours = decompress(COMPRESSION_GZIP, &packed, 7, 100, &out, NULL), zlib = by_zlib(&packed, &expected);
            if (ours != zlib && (zlib == 0 || header - 8 + i < body))
                fail_msg("flags %x, byte %zu: %d, and zlib has %d", flags, i, ours, zlib);
            if (zlib == 0)
                assert_true(out.len == expected.len && memcmp(out.data, expected.data, out.len) == 0);
            *c ^= 0x55;
        }
    }
    for (int how = 0; how < 5; how++) { /* filtered, Huffman only, runs, fixed codes, stored */
        packed.len = 0;
        for (size_t n = 0; n <= 200000; n = n * 3 + 1)
            add_member(&packed, 0, data, n, how == 4 ? 0 : 9, how == 4 ? Z_DEFAULT_STRATEGY : how + 1);
        gv_buf_add(&packed, "\0\0\0", 3);
        assert_int_equal(by_zlib(&packed, &expected), 0);
        assert_int_equal(decompress(COMPRESSION_GZIP, &packed, 5000, 70000, &out, NULL), 0);
        assert_true(out.len == expected.len && memcmp(out.data, expected.data, out.len) == 0);
    }
    gv_buf_clear(&packed);
    gv_buf_clear(&out);
    gv_buf_clear(&expected);
    free(data);
}

static void test_sniff(void **state)
{
    (void)state;
    assert_int_equal(compression_sniff("", 0), COMPRESSION_NONE);
    assert_int_equal(compression_sniff("\x1f\x8b", 2), COMPRESSION_NONE);
    assert_int_equal(compression_sniff("hsqs....", 8), COMPRESSION_NONE);
    /* A tar whose first member has a name like a magic number. */
    struct tarb t = { 0 };
    tarb_text(&t, "f BZh9 x");
    assert_int_equal(compression_sniff(t.out.data, t.out.len), COMPRESSION_NONE);
    tarb_clear(&t);
}

static void test_file_range(void **state)
{
    (void)state;
    int fd = memory_file("0123456789", 10);
    struct gv_buf out = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(read_all(stream_file_new(fd, 2, 5), &out, 3, NULL), 0);
    assert_int_equal(out.len, 5);
    assert_memory_equal(out.data, "23456", 5);
    struct stream *s = stream_file_new(fd, 2, 5);
    assert_int_equal(stream_skip(s, 3, NULL), 3);
    char c;
    assert_int_equal(stream_read(s, &c, 1, NULL), 1);
    assert_int_equal(c, '5');
    assert_int_equal(stream_skip(s, 100, NULL), 1);
    stream_close(s);
    assert_int_equal(read_all(stream_file_new(fd, 8, 5), &out, 100, &err), -1);
    assert_non_null(strstr(err.msg, "cut short"));
    gv_buf_clear(&out);
    close(fd);
}

/* Reads all of text through a pump that checks its digest. */
static int read_checked(const char *text, const struct digest *expected, bool threads, struct gv_buf *out, struct gv_error *err)
{
    struct digest_check check;
    digest_check_begin(&check, "the digest", expected);
    struct stream_follower f = digest_check_follower(&check);
    int status = read_all(stream_pump_new(dribble_new(text, strlen(text), 2), &f, 1, threads), out, 3, err);
    digest_check_clear(&check);
    return status;
}

static void test_digest(void **state)
{
    (void)state;
    struct digest d;
    struct gv_error err = GV_ERROR_INIT;
    struct gv_buf out = { 0 };
    assert_int_equal(digest_parse(&d, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", NULL), 0);
    for (int threads = 0; threads < 2; threads++) {
        out.len = 0;
        assert_int_equal(read_checked("hello", &d, threads != 0, &out, NULL), 0);
        assert_int_equal(out.len, 5);
        assert_int_equal(read_checked("hellO", &d, threads != 0, &out, &err), -1);
        assert_int_equal(err.code, GV_E_CORRUPT);
        assert_string_equal(err.msg, "the digest is wrong: it should be sha256:2cf24dba5fb0... and is sha256:04a6f55face2...");
    }
    assert_int_equal(
        digest_parse(&d,
                     "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c"
                     "4663475c2e5c3adef46f73bcdec043",
                     NULL),
        0);
    assert_int_equal(read_checked("hello", &d, true, &out, NULL), 0);
    gv_buf_clear(&out);

    static const char *const bad[] = {
        "",
        "sha256",
        "sha256:",
        "sha256:abc",
        "sha256:2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824",
        "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b98240",
        "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b982",
        "sha256:../../../../../../../../../../../../../../../../../../../../etc/a",
        "md5:5d41402abc4b2a76b9719d911017c592",
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(digest_parse(&d, bad[i], NULL), -1);
}

static void test_budget(void **state)
{
    (void)state;
    struct source_budget b = { .max_bytes = 10 };
    struct gv_error err = GV_ERROR_INIT;
    struct gv_buf out = { 0 };
    assert_int_equal(read_all(stream_limit_new(dribble_new("0123456789", 10, 4), &b), &out, 100, NULL), 0);
    assert_int_equal(budget_take(&b, 0, NULL), 0);
    assert_int_equal(budget_take(&b, 1, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_int_equal(budget_take(&b, UINT64_MAX, NULL), -1);
    struct source_budget c = { .max_bytes = 3 };
    assert_int_equal(read_all(stream_limit_new(dribble_new("0123456789", 10, 4), &c), &out, 100, NULL), -1);
    struct source_budget r = { .max_bytes = UINT64_MAX, .ratio = true, .input = 1 << 20 };
    assert_int_equal(budget_take(&r, BUDGET_FREE, NULL), 0); /* that much is always fine */
    assert_int_equal(budget_take(&r, 1, &err), -1);
    assert_non_null(strstr(err.msg, "--max-size"));
    struct source_budget large = { .max_bytes = UINT64_MAX, .ratio = true, .input = BUDGET_FREE };
    assert_int_equal(budget_take(&large, 50 * BUDGET_FREE, NULL), 0);
    gv_buf_clear(&out);
}

/* ---- the pump ---- */

struct watcher {
    struct gv_buf seen;
    size_t fail_after; /* 0 = never */
    bool fail_end, ended;
};

static int watch_data(void *user, const unsigned char *p, size_t n, struct gv_error *err)
{
    struct watcher *w = user;
    assert_true(n <= PUMP_CHUNK && n > 0);
    gv_buf_add(&w->seen, p, n);
    if (w->fail_after && w->seen.len >= w->fail_after)
        return gv_error_set(err, GV_E_IO, ENOSPC, "the watcher is full");
    return 0;
}

static int watch_end(void *user, struct gv_error *err)
{
    struct watcher *w = user;
    w->ended = true;
    return w->fail_end ? gv_error_set(err, GV_E_CORRUPT, 0, "the watcher does not like it") : 0;
}

static struct stream_follower follower_of(struct watcher *w)
{
    return (struct stream_follower){ .data = watch_data, .end = watch_end, .user = w };
}

static void test_pump(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 1000, PUMP_CHUNK - 1, PUMP_CHUNK, PUMP_CHUNK + 1, 30 * PUMP_CHUNK + 77 };
    for (int threads = 0; threads < 2; threads++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            unsigned char *data = sample(sizes[i]);
            struct watcher w[2] = { 0 };
            struct stream_follower f[2] = { follower_of(&w[0]), follower_of(&w[1]) };
            struct stream *p = stream_pump_new(dribble_new(data, sizes[i], 100000), f, 2, threads != 0);
            /* Some bytes are read, some skipped, the rest left to finish. */
            size_t at = 0;
            while (at < sizes[i] / 2) {
                unsigned char buf[5000];
                ssize_t got = stream_read(p, buf, sizeof(buf), NULL);
                assert_true(got > 0);
                assert_memory_equal(buf, data + at, (size_t)got);
                at += (size_t)got;
                int64_t skipped = stream_skip(p, 300000, NULL);
                assert_true(skipped >= 0);
                at += (size_t)skipped;
            }
            assert_true(stream_skip(p, INT64_MAX, NULL) >= 0);
            for (size_t k = 0; k < 2; k++) {
                assert_true(w[k].ended);
                assert_int_equal(w[k].seen.len, sizes[i]);
                assert_true(!sizes[i] || memcmp(w[k].seen.data, data, sizes[i]) == 0);
                gv_buf_clear(&w[k].seen);
            }
            stream_close(p);
            free(data);
        }
    }
}

static void test_pump_failures(void **state)
{
    (void)state;
    unsigned char *data = sample(20 * PUMP_CHUNK);
    for (int threads = 0; threads < 2; threads++) {
        for (int kind = 0; kind < 4; kind++) {
            struct watcher w = { 0 };
            struct stream_follower f = follower_of(&w);
            struct gv_error err = GV_ERROR_INIT;
            struct stream *inner = dribble_new(data, 20 * PUMP_CHUNK, 1 << 20);
            ((struct dribble *)inner)->fails = kind == 0;
            w.fail_after = kind == 1 ? 3 * PUMP_CHUNK : 0;
            w.fail_end = kind == 2;
            struct stream *p = stream_pump_new(inner, &f, 1, threads != 0);
            if (kind == 3) { /* closed in the middle */
                char c;
                assert_int_equal(stream_read(p, &c, 1, NULL), 1);
            } else {
                unsigned char buf[5000];
                size_t before = 0;
                ssize_t got;
                while ((got = stream_read(p, buf, sizeof(buf), &err)) > 0)
                    before += (size_t)got;
                assert_int_equal(got, -1);
                if (kind != 1) /* all that came before the failure is delivered before it */
                    assert_int_equal(before, 20 * PUMP_CHUNK);
                assert_non_null(strstr(err.msg, kind == 0 ? "the disk is gone" : kind == 1 ? "is full" : "does not like it"));
                char c;
                assert_int_equal(stream_read(p, &c, 1, &err), -1);
            }
            stream_close(p);
            gv_buf_clear(&w.seen);
        }
    }
    free(data);
}

static void test_spool(void **state)
{
    (void)state;
    size_t n = 1 << 20;
    unsigned char *data = sample(n), *back = gv_alloc(n);
    memset(data + 10000, 0, 500000);
    memset(data + 900000, 0, n - 900000);
    struct gv_error err = GV_ERROR_INIT;
    int fd = gv_scratch_file(&err);
    assert_true(fd >= 0);
    struct spool s = { .fd = fd, .at = 8192 };
    for (size_t at = 0; at < n;) {
        size_t step = n - at < 77777 ? n - at : 77777;
        assert_int_equal(spool_write(&s, data + at, step, &err), 0);
        at += step;
    }
    assert_int_equal(spool_finish(&s, &err), 0);
    assert_int_equal(s.at, n + 8192);
    assert_int_equal(gv_pread_full(fd, back, n, 8192), n);
    assert_memory_equal(back, data, n);
    free(data);
    free(back);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_members),       cmocka_unit_test(test_many_gzip_members),
        cmocka_unit_test(test_zstd_skippable), cmocka_unit_test(test_after_the_end), cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_damaged),        cmocka_unit_test(test_gzip_checksum), cmocka_unit_test(test_as_zlib),
        cmocka_unit_test(test_sniff),          cmocka_unit_test(test_file_range),    cmocka_unit_test(test_digest),
        cmocka_unit_test(test_budget),         cmocka_unit_test(test_pump),          cmocka_unit_test(test_pump_failures),
        cmocka_unit_test(test_spool),
    };
    return cmocka_run_group_tests_name("source_stream", tests, NULL, NULL);
}
