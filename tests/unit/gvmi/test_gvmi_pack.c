/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the compressors do with blocks of different kinds, the profiles, and the order of contents. */
#include <stdio.h>
#include <stdlib.h>

#include "gvmi/codec.h"
#include "gvmi/read.h"
#include "helper.h"

#define BLOCK ((size_t)1 << 18)

static uint32_t step(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 16;
}

/* Calls every 24 bytes, to one of 200 functions, with other bytes between. */
static void fill_code(unsigned char *p, size_t n)
{
    uint32_t seed = 1;
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(0x40 + step(&seed) % 32);
    for (size_t i = 0; i + 24 < n; i += 24) {
        uint32_t target = step(&seed) % 200 * 1000, relative = target - (uint32_t)(i + 5);
        p[i] = 0xe8;
        sqfs_put32(p + i + 1, relative);
    }
}

/* The same as an object file has it: the targets are not filled in. */
static void fill_object(unsigned char *p, size_t n)
{
    fill_code(p, n);
    for (size_t i = 0; i + 24 < n; i += 24)
        sqfs_put32(p + i + 1, 0);
}

/* Packs and unpacks; returns the packed size, 0 if it is to be stored raw. */
static size_t round_trip(int compression, int level, const unsigned char *in, size_t n, unsigned char *packed)
{
    CLEANUP(gvmi_packer) struct gvmi_packer *p = gvmi_packer_new(compression, level, NULL);
    assert_non_null(p);
    size_t len = gvmi_packer_run(p, in, n, packed);
    assert_true(len < n);
    cleanup_free unsigned char *again = gv_alloc(GVMI_PACKED_ROOM(n));
    assert_int_equal(gvmi_packer_run(p, in, n, again), len);
    assert_memory_equal(again, packed, len);
    if (len == 0)
        return 0;
    struct gvmi_unpacker *u = gvmi_unpacker_new(compression, NULL);
    assert_int_equal(gvmi_unpacker_run(u, packed, len, again, n), n);
    assert_memory_equal(again, in, n);
    gvmi_unpacker_free(u);
    return len;
}

/* Whether the first block of an xz stream went through the filter for x86 (xz-file-format.txt, 3.1). */
static bool has_x86_filter(const unsigned char *xz)
{
    return (xz[13] & 3) == 1 && xz[14] == 4;
}

static void test_x86_filter_where_it_helps(void **state)
{
    (void)state;
    cleanup_free unsigned char *in = gv_alloc(BLOCK), *packed = gv_alloc(GVMI_PACKED_ROOM(BLOCK));
    fill_code(in, BLOCK);
    assert_true(round_trip(GVMI_XZ, 1, in, BLOCK, packed) > 0);
    assert_true(has_x86_filter(packed));
    fill_object(in, BLOCK);
    assert_true(round_trip(GVMI_XZ, 1, in, BLOCK, packed) > 0);
    assert_false(has_x86_filter(packed));
    memset(in, 0xe8, BLOCK);
    assert_true(round_trip(GVMI_XZ, 1, in, BLOCK, packed) > 0);
    assert_false(has_x86_filter(packed));
    for (size_t i = 0; i < BLOCK; i++)
        in[i] = (unsigned char)"nothing to call in here"[i % 23];
    assert_true(round_trip(GVMI_XZ, 1, in, BLOCK, packed) > 0);
    assert_false(has_x86_filter(packed));
}

static void test_blocks_of_all_lengths(void **state)
{
    (void)state;
    cleanup_free unsigned char *in = gv_alloc(BLOCK), *packed = gv_alloc(GVMI_PACKED_ROOM(BLOCK));
    fill_code(in, BLOCK);
    const size_t lengths[] = { 1, 2, 3, 4, 5, 6, 100, 4095, 4096, 8191, 8192, 8193, 65537, BLOCK };
    for (int compression = GVMI_GZIP; compression <= GVMI_ZSTD; compression++)
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]) && compression != GVMI_LZMA; i++)
            round_trip(compression, 1, in, lengths[i], packed);
}

static void test_random_is_stored_raw(void **state)
{
    (void)state;
    cleanup_free unsigned char *in = gv_alloc(BLOCK), *packed = gv_alloc(GVMI_PACKED_ROOM(BLOCK));
    uint32_t seed = 7;
    for (size_t i = 0; i < BLOCK; i++)
        in[i] = (unsigned char)step(&seed);
    for (int compression = GVMI_GZIP; compression <= GVMI_ZSTD; compression++)
        if (compression != GVMI_LZMA)
            assert_int_equal(round_trip(compression, 1, in, BLOCK, packed), 0);
    /* Evenly spread bytes that repeat are worth compressing, and so are rare bytes between random ones. */
    memcpy(in + BLOCK / 2, in, BLOCK / 2);
    assert_in_range(round_trip(GVMI_XZ, 1, in, BLOCK, packed), 1, BLOCK * 6 / 10);
    seed = 8;
    for (size_t i = 0; i < BLOCK; i++)
        in[i] = (unsigned char)(step(&seed) % 64);
    assert_in_range(round_trip(GVMI_GZIP, 6, in, BLOCK, packed), 1, BLOCK * 8 / 10);
}

static void test_profiles(void **state)
{
    (void)state;
    struct gvmi_write_options o = { .jobs = 3 };
    assert_string_equal(gvmi_profiles()[0].name, "golem");
    for (const struct gvmi_profile *p = gvmi_profiles(); p->name; p++) {
        assert_int_equal(gvmi_profile(p->name, &o, NULL), 0);
        assert_int_equal(o.jobs, 3);
        struct image_tree *t = tree_of_all_kinds();
        int fd = pack(t, NULL, &o, NULL);
        struct gvmi_image *img = open_fd(fd);
        assert_int_equal(gvmi_info(img)->block_size, p->block_size);
        assert_int_equal(gvmi_info(img)->compression, p->compression);
        assert_same_tree(t, img);
        gvmi_close(img);
        close(fd);
        image_tree_free(t);
    }
    assert_int_equal(gvmi_profile("golem", &o, NULL), 0);
    assert_int_equal(o.compression, GVMI_GZIP); /* what every runtime can mount */
    assert_int_equal(gvmi_profile("small", &o, NULL), 0);
    assert_int_equal(o.compression, GVMI_XZ);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gvmi_profile("tiny", &o, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
    assert_non_null(strstr(err.msg, "tiny"));
    for (const struct gvmi_profile *p = gvmi_profiles(); p->name; p++)
        assert_non_null(strstr(err.msg, p->name));
}

/* Where the first block of a file, or the block of fragments it is in, lies. */
static uint64_t place_of(struct gvmi_image *img, const char *path)
{
    struct gvmi_stat st;
    struct gvmi_inode inode;
    uint64_t at;
    uint32_t word;
    assert_int_equal(gvmi_lookup(img, path, true, &st, NULL), 0);
    assert_int_equal(gvmi_inode_read(img, st.ref, &inode, NULL), 0);
    if (inode.block_count > 0)
        return inode.start;
    assert_int_equal(gvmi_fragment_find(img, inode.fragment, &at, &word, NULL), 0);
    return at;
}

static void test_groups_are_stored_in_their_order(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    static const struct {
        const char *path;
        uint32_t group;
        uint64_t size;
    } files[] = { { "z/none", 0, 200000 }, { "z/none.small", 0, 50000 }, { "b/one", 1, 200000 },   { "z/one.small", 1, 50000 },
                  { "a/two", 2, 200000 },  { "a/two.small", 2, 50000 },  { "a/three", 3, 300000 }, { "0/max", UINT32_MAX, 200000 } };
    size_t count = sizeof(files) / sizeof(files[0]);
    for (size_t i = 0; i < count; i++)
        tree_file(t, files[i].path, FILL_RANDOM, (uint32_t)i, files[i].size)->inode->group = files[i].group;
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    assert_same_tree(t, img);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++)
            if (files[i].group < files[k].group)
                assert_true(place_of(img, files[i].path) < place_of(img, files[k].path));
    /* Each group's fragments are enough for a block of their own. */
    assert_true(place_of(img, "z/one.small") != place_of(img, "a/two.small"));
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_one_kind_is_stored_together(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    for (uint32_t i = 0; i < 40; i++) {
        char path[64];
        snprintf(path, sizeof(path), "d%u/x%u.%s", i % 4, i, i % 2 ? "so.1.2" : "py");
        tree_file(t, path, FILL_RANDOM, i, 140000)->inode->group = 5;
    }
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    uint64_t last_py = 0, first_so = UINT64_MAX;
    for (uint32_t i = 0; i < 40; i++) {
        char path[64];
        snprintf(path, sizeof(path), "d%u/x%u.%s", i % 4, i, i % 2 ? "so.1.2" : "py");
        uint64_t at = place_of(img, path);
        if (i % 2 && at < first_so)
            first_so = at;
        if (i % 2 == 0 && at > last_py)
            last_py = at;
    }
    assert_true(last_py < first_so);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_x86_filter_where_it_helps),
        cmocka_unit_test(test_blocks_of_all_lengths),
        cmocka_unit_test(test_random_is_stored_raw),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_groups_are_stored_in_their_order),
        cmocka_unit_test(test_one_kind_is_stored_together),
    };
    return cmocka_run_group_tests_name("gvmi_pack", tests, NULL, NULL);
}
