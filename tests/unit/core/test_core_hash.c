/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Hashes against the published vectors, and hex. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/core.h"

static const struct {
    enum gv_hash_kind kind;
    const char *text, *hex;
} vectors[] = {
    /* FIPS 180-4 and FIPS 202 examples (NIST CSRC) */
    { GV_HASH_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { GV_HASH_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { GV_HASH_SHA512, "abc",
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
    { GV_HASH_SHA3_224, "", "6b4e03423667dbb73b6e15454f0eb1abd4597f9a1b078e3f5b5a6bc7" },
    { GV_HASH_SHA3_224, "abc", "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf" },
};

static void test_known_digests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        unsigned char d[GV_HASH_MAX];
        char hex[2 * GV_HASH_MAX + 1];
        const char *text = vectors[i].text;
        size_t n = gv_hash_bytes(vectors[i].kind, text, strlen(text), d);
        assert_int_equal(n * 2, strlen(vectors[i].hex));
        gv_hex(hex, d, n);
        assert_string_equal(hex, vectors[i].hex);

        /* the same in pieces */
        struct gv_hash *h = gv_hash_new(vectors[i].kind);
        for (const char *p = text; *p; p++)
            gv_hash_update(h, p, 1);
        gv_hash_update(h, NULL, 0);
        assert_int_equal(gv_hash_final(h, d), n);
        gv_hash_free(h);
        gv_hex(hex, d, n);
        assert_string_equal(hex, vectors[i].hex);
    }
    gv_hash_free(NULL);
    unsigned char d[GV_HASH_MAX];
    assert_int_equal(gv_hash_bytes(GV_HASH_SHA256, "", 0, d), GV_SHA256_SIZE);
    assert_int_equal(gv_hash_bytes(GV_HASH_SHA3_224, "", 0, d), GV_SHA3_224_SIZE);
    assert_int_equal(GV_SHA3_224_HEX, 2 * GV_SHA3_224_SIZE + 1);
}

static void test_file_is_hashed_from_its_start(void **state)
{
    (void)state;
    cleanup_close int fd = gv_scratch_file(NULL);
    assert_true(fd >= 0);
    enum { N = 700001 }; /* more than one piece, and not a multiple of it */
    cleanup_free unsigned char *data = gv_alloc(N);
    for (size_t i = 0; i < N; i++)
        data[i] = (unsigned char)(i * 31 >> 3);
    assert_int_equal(gv_write_full(fd, data, N), 0);
    assert_int_equal(lseek(fd, 12345, SEEK_SET), 12345);
    unsigned char a[GV_HASH_MAX], b[GV_HASH_MAX];
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gv_hash_fd(GV_HASH_SHA3_224, fd, a, &err), 0);
    gv_hash_bytes(GV_HASH_SHA3_224, data, N, b);
    assert_memory_equal(a, b, GV_SHA3_224_SIZE);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 12345);
}

static void test_unseekable_file_is_an_error(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    unsigned char d[GV_HASH_MAX];
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gv_hash_fd(GV_HASH_SHA256, fds[0], d, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(err.sys, ESPIPE);
    close(fds[0]);
    close(fds[1]);
}

static void test_crc32(void **state)
{
    (void)state;
    assert_int_equal(gv_crc32("123456789", 9), 0xcbf43926U); /* the check value of CRC-32/ISO-HDLC */
    assert_int_equal(gv_crc32("", 0), 0);
}

static void test_hex(void **state)
{
    (void)state;
    unsigned char all[256], back[256];
    char hex[513];
    for (size_t i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    gv_hex(hex, all, 256);
    assert_int_equal(strlen(hex), 512);
    assert_memory_equal(hex, "000102", 6);
    assert_int_equal(gv_unhex(back, 256, hex), 0);
    assert_memory_equal(all, back, 256);
    assert_int_equal(gv_unhex(back, 2, "aBCd"), 0);
    assert_memory_equal(back, "\xab\xcd", 2);
    assert_int_equal(gv_unhex(back, 0, ""), 0);
    static const char *const wrong[] = { "", "a", "ab", "abc", "abcde", "abcdef", "abc ", " abc", "abcg", "0xab", "ab\ncd", "ab-1" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(gv_unhex(back, 2, wrong[i]), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_digests),
        cmocka_unit_test(test_file_is_hashed_from_its_start),
        cmocka_unit_test(test_unseekable_file_is_an_error),
        cmocka_unit_test(test_crc32),
        cmocka_unit_test(test_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
