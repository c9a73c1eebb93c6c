/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sparse files in tar: the four forms of their maps, compared with libarchive, and what can be wrong with them. */
#include <inttypes.h>
#include <stdio.h>

#include "source/tar.h"
#include "tar_text.h"

static char pattern[4096];

static void fill_pattern(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (char)('a' + i % 23);
}

/* Old GNU: up to four pieces in the header, 21 in each block after it. */
static void gnu_sparse(struct tarb *t, const struct tar_extent *pieces, size_t n, uint64_t real)
{
    unsigned char block[512];
    uint64_t stored = 0;
    for (size_t i = 0; i < n; i++)
        stored += pieces[i].length;
    tarb_header(t, &(struct tarb_member){ .name = "sparse", .type = 'S', .said_size = stored }, block);
    for (size_t i = 0; i < n && i < 4; i++) {
        snprintf((char *)block + 386 + 24 * i, 12, "%011" PRIo64, pieces[i].offset);
        snprintf((char *)block + 398 + 24 * i, 12, "%011" PRIo64, pieces[i].length);
    }
    block[482] = n > 4;
    snprintf((char *)block + 483, 12, "%011" PRIo64, real);
    tarb_checksum(block);
    tarb_raw(t, block, 512);
    for (size_t at = 4; at < n; at += 21) {
        memset(block, 0, 512);
        for (size_t i = 0; i < 21 && at + i < n; i++) {
            snprintf((char *)block + 24 * i, 12, "%011" PRIo64, pieces[at + i].offset);
            snprintf((char *)block + 12 + 24 * i, 12, "%011" PRIo64, pieces[at + i].length);
        }
        block[504] = at + 21 < n;
        tarb_raw(t, block, 512);
    }
    for (uint64_t left = stored; left;) {
        size_t step = left < sizeof(pattern) ? (size_t)left : sizeof(pattern);
        tarb_raw(t, pattern, step);
        left -= step;
    }
    tarb_pad(t);
}

static void test_gnu_sparse(void **state)
{
    (void)state;
    fill_pattern();
    struct tarb t = { .format = TARB_GNU };
    struct tar_extent pieces[60];
    for (size_t n = 0; n <= 60; n += 3) {
        for (size_t i = 0; i < n; i++)
            pieces[i] = (struct tar_extent){ .offset = 512 + i * 2048, .length = 512 };
        gnu_sparse(&t, pieces, n, 512 + n * 2048 + 1000);
        tarb_text(&t, "f after x");
        compare_tar("old GNU sparse", &t, NULL);
        t.format = TARB_GNU;
    }
    pieces[0] = (struct tar_extent){ 0, 512 };
    pieces[1] = (struct tar_extent){ 256, 512 };
    gnu_sparse(&t, pieces, 2, 4096);
    refuse_tar("pieces that overlap", &t, "overlap");
    t.format = TARB_GNU;
    pieces[1] = (struct tar_extent){ 4000, 512 };
    gnu_sparse(&t, pieces, 2, 4096);
    refuse_tar("a piece outside", &t, "outside");
    t.format = TARB_GNU;
    pieces[0] = (struct tar_extent){ 1024, 512 };
    pieces[1] = (struct tar_extent){ 0, 512 };
    gnu_sparse(&t, pieces, 2, 4096);
    refuse_tar("pieces out of order", &t, "overlap");
}

static void pax_sparse_01(struct tarb *t, const char *map, const char *blocks, const char *real, size_t stored)
{
    tarb_record(t, "GNU.sparse.size", real, strlen(real));
    tarb_record(t, "GNU.sparse.numblocks", blocks, strlen(blocks));
    tarb_record(t, "GNU.sparse.name", "name", 4);
    tarb_record(t, "GNU.sparse.map", map, strlen(map));
    tarb_add(t, &(struct tarb_member){ .name = "GNUSparseFile.1/name", .data = pattern, .size = stored });
    tarb_text(t, "f after x");
}

static void pax_sparse_10(struct tarb *t, const char *map, const char *real, size_t stored)
{
    struct gv_buf data = { 0 };
    gv_buf_add(&data, map, strlen(map));
    gv_buf_reserve(&data, 1024);
    size_t fill = (512 - data.len % 512) % 512;
    memset(data.data + data.len, 0, fill);
    data.len += fill;
    gv_buf_add(&data, pattern, stored);
    tarb_record(t, "GNU.sparse.major", "1", 1);
    tarb_record(t, "GNU.sparse.minor", "0", 1);
    tarb_record(t, "GNU.sparse.name", "name", 4);
    tarb_record(t, "GNU.sparse.realsize", real, strlen(real));
    tarb_add(t, &(struct tarb_member){ .name = "GNUSparseFile.1/name", .data = data.data, .size = data.len });
    tarb_text(t, "f after x");
    gv_buf_clear(&data);
}

static void test_pax_sparse(void **state)
{
    (void)state;
    fill_pattern();
    struct tarb t = { 0 };
    tarb_record(&t, "GNU.sparse.size", "9000", 4);
    tarb_record(&t, "GNU.sparse.numblocks", "2", 1);
    tarb_record(&t, "GNU.sparse.offset", "512", 3);
    tarb_record(&t, "GNU.sparse.numbytes", "100", 3);
    tarb_record(&t, "GNU.sparse.offset", "8000", 4);
    tarb_record(&t, "GNU.sparse.numbytes", "1000", 4);
    tarb_add(&t, &(struct tarb_member){ .name = "name", .data = pattern, .size = 1100 });
    tarb_text(&t, "f after x");
    compare_tar("pax sparse 0.0", &t, NULL);
    pax_sparse_01(&t, "512,100,8000,1000", "2", "9000", 1100);
    compare_tar("pax sparse 0.1", &t, NULL);
    pax_sparse_01(&t, "0,0", "1", "9000", 0);
    compare_tar("pax sparse 0.1, all hole", &t, "file name 644 0:0 1000 9000 crc a70d74d0\nfile after 644 0:0 1000 1 crc 8cdc1683\n");
    pax_sparse_10(&t, "2\n512\n100\n8000\n1000\n", "9000", 1100);
    compare_tar("pax sparse 1.0", &t, NULL);
    pax_sparse_10(&t, "0\n", "9000", 0);
    compare_tar("pax sparse 1.0, all hole", &t, NULL);
    /* A map of more than one block. */
    struct gv_buf map = { 0 };
    gv_buf_addf(&map, "200\n");
    for (int i = 0; i < 200; i++)
        gv_buf_addf(&map, "%d\n5\n", i * 100);
    pax_sparse_10(&t, gv_buf_str(&map), "20000", 1000);
    compare_tar("pax sparse 1.0, long map", &t, NULL);
    gv_buf_clear(&map);

    pax_sparse_01(&t, "512,100,8000,1001", "2", "9000", 1100);
    refuse_tar("a piece outside", &t, "outside");
    pax_sparse_01(&t, "512,100,8000,900", "2", "9000", 1100);
    refuse_tar("too little data", &t, "not the 1100 stored");
    pax_sparse_01(&t, "512,100,8000", "2", "9000", 1100);
    refuse_tar("an odd map", &t, "wrong value");
    pax_sparse_01(&t, "512,100,", "1", "9000", 100);
    refuse_tar("a comma too many", &t, "wrong value");
    pax_sparse_01(&t, "512,100", "2", "9000", 100);
    refuse_tar("a wrong count", &t, "incomplete");
    pax_sparse_10(&t, "1\n-1\n100\n", "9000", 100);
    refuse_tar("a negative number", &t, "not a number");
    pax_sparse_10(&t, "1\n99999999999999999999\n100\n", "9000", 100);
    refuse_tar("a large number", &t, "not a number");
    pax_sparse_10(&t, "99999999\n1\n1\n", "9000", 100);
    refuse_tar("a map longer than the data", &t, "sparse file");
    pax_sparse_10(&t, "1\n0\n9223372036854775807\n", "9223372036854775807", 100);
    refuse_tar("more than is stored", &t, "not the 100 stored");
    tarb_record(&t, "GNU.sparse.major", "2", 1);
    tarb_record(&t, "GNU.sparse.minor", "0", 1);
    tarb_text(&t, "f a x");
    refuse_tar("an unknown version", &t, "version 2.0");
    tarb_record(&t, "GNU.sparse.size", "10", 2);
    tarb_record(&t, "GNU.sparse.offset", "1", 1);
    tarb_text(&t, "f a x");
    refuse_tar("an offset alone", &t, "incomplete");
    tarb_record(&t, "GNU.sparse.numbytes", "1", 1);
    tarb_text(&t, "f a x");
    refuse_tar("a length alone", &t, "wrong value");
    tarb_record(&t, "GNU.sparse.map", "0,1", 3);
    tarb_record(&t, "GNU.sparse.size", "1", 1);
    tarb_text(&t, "d a/");
    refuse_tar("a sparse directory", &t, "not a file");
}

/* 8 EiB of nothing. */
static void test_huge_sparse(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    pax_sparse_10(&t, "0\n", "9223372036854775807", 0);
    struct gv_buf ours = { 0 };
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    assert_string_equal((char *)ours.data, "file name 644 0:0 1000 9223372036854775807\nfile after 644 0:0 1000 1\n");
    gv_buf_clear(&ours);
    tarb_clear(&t);
    pax_sparse_10(&t, "0\n", "9223372036854775808", 0);
    refuse_tar("more than 8 EiB", &t, "out of range");
}

static void test_extent_limit(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    struct gv_buf map = { 0 };
    gv_buf_addf(&map, "%zu\n", TAR_EXTENTS_MAX + 1);
    for (size_t i = 0; i <= TAR_EXTENTS_MAX; i++)
        gv_buf_addf(&map, "%zu\n0\n", i);
    pax_sparse_10(&t, gv_buf_str(&map), "9000000", 0);
    refuse_tar("too many pieces", &t, "pieces");
    gv_buf_clear(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gnu_sparse),
        cmocka_unit_test(test_pax_sparse),
        cmocka_unit_test(test_huge_sparse),
        cmocka_unit_test(test_extent_limit),
    };
    return cmocka_run_group_tests_name("source_sparse", tests, NULL, NULL);
}
