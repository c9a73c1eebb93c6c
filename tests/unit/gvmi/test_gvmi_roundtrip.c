/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What goes into an image comes out of it, with every compression and block size, and the bytes do not depend on the number of threads. */
#include <stdio.h>
#include <stdlib.h>

#include "helper.h"

static void check(struct image_tree *t, const struct gvmi_write_options *options)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_write_result result;
    int fd = pack(t, NULL, options, &result);
    struct gvmi_image *img = open_fd(fd);
    assert_same_tree(t, img);
    if (gvmi_verify(img, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    char hash[GV_SHA3_224_HEX];
    assert_int_equal(gvmi_hash(img, hash, &err), 0);
    assert_string_equal(hash, result.hash);
    assert_int_equal(gvmi_info(img)->file_size, result.size);
    assert_int_equal(gvmi_info(img)->squashfs_size, result.squashfs_size);
    gvmi_close(img);
    close(fd);
}

static void test_all_kinds(void **state)
{
    (void)state;
    for (int compression = GVMI_GZIP; compression <= GVMI_ZSTD; compression++) {
        if (compression == GVMI_LZMA)
            continue;
        for (uint32_t block = 4096; block <= 1U << 20; block *= 16) {
            struct image_tree *t = tree_of_all_kinds();
            struct gvmi_write_options o = { .compression = compression, .block_size = block, .level = 1, .jobs = 2 };
            check(t, &o);
            image_tree_free(t);
        }
    }
}

static void test_defaults(void **state)
{
    (void)state;
    struct image_tree *t = tree_of_all_kinds();
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    assert_int_equal(gvmi_info(img)->compression, GVMI_GZIP);
    assert_int_equal(gvmi_info(img)->block_size, 131072);
    assert_int_equal(gvmi_info(img)->flags, 0xc0);
    assert_int_equal(gvmi_info(img)->mkfs_time, UINT32_MAX); /* the newest file is from after 2106 */
    assert_same_tree(t, img);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_empty_tree(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    assert_int_equal(gvmi_info(img)->inode_count, 1);
    assert_int_equal(gvmi_info(img)->fragment_count, 0);
    assert_int_equal(gvmi_info(img)->mkfs_time, 1600000000);
    assert_same_tree(t, img);
    assert_int_equal(gvmi_verify(img, NULL, NULL), 0);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_same_bytes_for_any_number_of_jobs(void **state)
{
    (void)state;
    for (int compression = GVMI_GZIP; compression <= GVMI_ZSTD; compression++) {
        if (compression == GVMI_LZMA)
            continue;
        int first = -1;
        const int jobs[] = { 1, 2, 4, 7 };
        for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
            struct image_tree *t = tree_of_all_kinds();
            for (uint32_t k = 0; k < 60; k++) {
                char path[32];
                snprintf(path, sizeof(path), "more/%u", k);
                tree_file(t, path, k % 3 ? FILL_TEXT : FILL_RANDOM, k, 100 + k * 7919);
            }
            struct gvmi_write_options o = { .compression = compression, .block_size = 8192, .level = 2, .jobs = jobs[i] };
            int fd = pack(t, NULL, &o, NULL);
            if (first < 0) {
                first = fd;
            } else {
                assert_same_file(first, fd);
                close(fd);
            }
            image_tree_free(t);
        }
        close(first);
    }
}

static void test_same_bytes_for_any_order_of_building(void **state)
{
    (void)state;
    struct image_tree *a = tree_new(), *b = tree_new();
    for (uint32_t i = 0; i < 500; i++) {
        char path[32];
        snprintf(path, sizeof(path), "d%u/f%u", i % 10, i);
        tree_file(a, path, FILL_TEXT, i, i * 10);
    }
    for (uint32_t i = 500; i-- > 0;) {
        char path[32];
        snprintf(path, sizeof(path), "d%u/f%u", i % 10, i);
        tree_file(b, path, FILL_TEXT, i, i * 10);
    }
    int x = pack(a, NULL, NULL, NULL), y = pack(b, NULL, NULL, NULL);
    assert_same_file(x, y);
    /* and once more from the same tree */
    int z = pack(a, NULL, NULL, NULL);
    assert_same_file(x, z);
    close(x);
    close(y);
    close(z);
    image_tree_free(a);
    image_tree_free(b);
}

static void test_hundred_thousand_entries(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    struct image_node *dir = tree_dir(t, "big");
    for (uint32_t i = 0; i < 100000; i++) {
        char name[32];
        int n = snprintf(name, sizeof(name), "entry number %u", i * 7);
        struct image_inode *inode = image_inode_new(t, IMAGE_FILE);
        inode->mode = 0644;
        image_node_add(t, dir, name, (size_t)n, inode);
    }
    struct image_node *far = tree_text(t, "a first", "the inode with a name far away");
    tree_hardlink(t, "big/entry number 3", far);
    struct gvmi_write_options o = { .jobs = 2 };
    int fd = pack(t, NULL, &o, NULL);
    struct gvmi_image *img = open_fd(fd);
    assert_same_tree(t, img);
    struct gvmi_stat st;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gvmi_lookup(img, "/big/entry number 699993", true, &st, &err), 0);
    assert_int_equal(gvmi_lookup(img, "/big/entry number 699994", true, &st, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    if (gvmi_verify(img, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_deep_nesting(void **state)
{
    (void)state;
    enum { DEPTH = 20000 };
    struct image_tree *t = tree_new();
    struct image_node *at = image_tree_root(t);
    for (int i = 0; i < DEPTH; i++) {
        struct image_inode *inode = image_inode_new(t, IMAGE_DIR);
        inode->mode = 0755;
        at = image_node_add(t, at, "d", 1, inode);
    }
    struct image_inode *inode = image_inode_new(t, IMAGE_FILE);
    image_node_add(t, at, "bottom", 6, inode);
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_stat st;
    assert_same_tree(t, img);
    assert_int_equal(gvmi_verify(img, NULL, &err), 0);
    cleanup_buf struct gv_buf path = { 0 };
    for (int i = 0; i < DEPTH; i++)
        gv_buf_add(&path, "/d", 2);
    gv_buf_add(&path, "/bottom", 7);
    assert_int_equal(gvmi_lookup(img, gv_buf_str(&path), true, &st, &err), 0);
    assert_int_equal(st.type, IMAGE_FILE);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_more_than_four_gigabytes(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    uint64_t size = ((uint64_t)4 << 30) + 12345;
    tree_file(t, "sparse", FILL_ISLAND, 1, size);
    struct gvmi_write_options o = { .block_size = 1 << 20, .jobs = 2 };
    struct gvmi_write_result result;
    int fd = pack(t, NULL, &o, &result);
    assert_true(result.size < 200000);
    struct gvmi_image *img = open_fd(fd);
    assert_same_tree(t, img);
    assert_int_equal(gvmi_verify(img, NULL, NULL), 0);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_more_than_65535_links(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    struct image_node *first = tree_text(t, "first", "many names");
    for (uint32_t i = 0; i < 70000; i++) {
        char path[32];
        snprintf(path, sizeof(path), "d%u/l%u", i % 7, i);
        tree_hardlink(t, path, first);
    }
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    struct gvmi_stat st;
    assert_int_equal(gvmi_lookup(img, "first", true, &st, NULL), 0);
    assert_int_equal(st.nlink, 70001);
    assert_int_equal(gvmi_info(img)->inode_count, 9);
    assert_int_equal(gvmi_verify(img, NULL, NULL), 0);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_duplicates_are_stored_once(void **state)
{
    (void)state;
    uint64_t size = 0;
    for (int copies = 1; copies <= 3; copies++) {
        struct image_tree *t = tree_new();
        struct gvmi_write_result result;
        for (int i = 0; i < copies; i++) {
            char path[32];
            snprintf(path, sizeof(path), "small%d", i);
            tree_file(t, path, FILL_RANDOM, 1, 50000);
            snprintf(path, sizeof(path), "large%d", i);
            tree_file(t, path, FILL_RANDOM, 2, 700000);
            snprintf(path, sizeof(path), "other%d", i); /* same size, another content */
            tree_file(t, path, FILL_TEXT, (uint32_t)i, 700000);
        }
        int fd = pack(t, NULL, NULL, &result);
        struct gvmi_image *img = open_fd(fd);
        assert_same_tree(t, img);
        assert_int_equal(gvmi_verify(img, NULL, NULL), 0);
        assert_int_equal(result.duplicate_files, 2 * (copies - 1));
        assert_int_equal(result.duplicate_bytes, 750000 * (copies - 1));
        if (copies == 1)
            size = result.size;
        else
            assert_true(result.size < size + (uint64_t)copies * 20000);
        gvmi_close(img);
        close(fd);
        image_tree_free(t);
    }
}

static void test_many_xattr_sets(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    for (uint32_t i = 0; i < 3000; i++) {
        char path[32], value[32];
        snprintf(path, sizeof(path), "f%u", i);
        int n = snprintf(value, sizeof(value), "value %u", i % 1500); /* two files share each set */
        struct image_node *node = tree_text(t, path, "x");
        tree_xattr(t, node, "user.mime_type", value, (size_t)n);
        tree_xattr(t, node, "security.selinux", "system_u:object_r:bin_t:s0", 27);
        tree_xattr(t, node, "system.posix_acl_access", "cannot be stored", 16);
    }
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    assert_same_tree(t, img);
    assert_int_equal(gvmi_verify(img, NULL, NULL), 0);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_largest_xattr(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    char *value = gv_alloc(65537), name[4 + 1 + 256 + 1];
    memset(value, 'v', 65537);
    memset(name, 'n', sizeof(name));
    memcpy(name, "user.", 5);
    name[5 + 255] = '\0';
    tree_xattr(t, tree_text(t, "file", "x"), name, value, 65536);
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    assert_same_tree(t, img);
    assert_int_equal(gvmi_verify(img, NULL, NULL), 0);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    free(value);
}

static void test_many_owners(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    for (uint32_t i = 0; i < 30000; i++) {
        char path[32];
        snprintf(path, sizeof(path), "f%u", i);
        struct image_node *node = tree_file(t, path, FILL_ZERO, 0, 0);
        node->inode->uid = i * 3;
        node->inode->gid = i * 7 + 1000000;
    }
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    assert_same_tree(t, img);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_empty_tree),
        cmocka_unit_test(test_same_bytes_for_any_number_of_jobs),
        cmocka_unit_test(test_same_bytes_for_any_order_of_building),
        cmocka_unit_test(test_hundred_thousand_entries),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_more_than_four_gigabytes),
        cmocka_unit_test(test_more_than_65535_links),
        cmocka_unit_test(test_duplicates_are_stored_once),
        cmocka_unit_test(test_many_xattr_sets),
        cmocka_unit_test(test_largest_xattr),
        cmocka_unit_test(test_many_owners),
    };
    return cmocka_run_group_tests_name("gvmi_roundtrip", tests, NULL, NULL);
}
