/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the writer refuses, warns of, and does when reading or writing fails. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "helper.h"

static const struct image_config no_config = { 0 };

static void refuse(struct image_tree *t, const struct gvmi_write_options *o, enum gv_code code, const char *part)
{
    struct gv_error err = GV_ERROR_INIT;
    int fd = scratch();
    image_tree_finish(t, NULL);
    assert_int_equal(gvmi_write(fd, t, &no_config, o, NULL, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, part))
        fail_msg("`%s` does not say `%s`", err.msg, part);
    close(fd);
}

static void test_wrong_options(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    const struct gvmi_write_options bad[] = {
        { .block_size = 2048 },
        { .block_size = 2 << 20 },
        { .block_size = 5000 },
        { .jobs = -1 },
        { .level = 13 },
        { .level = -1 },
        { .compression = GVMI_ZSTD, .level = 23 },
        { .compression = GVMI_XZ, .level = 10 },
        { .compression = GVMI_LZ4, .level = 13 },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(t, &bad[i], GV_E_USAGE, "");
    refuse(t, &(struct gvmi_write_options){ .compression = GVMI_LZMA }, GV_E_UNSUPPORTED, "lzma");
    refuse(t, &(struct gvmi_write_options){ .compression = 7 }, GV_E_UNSUPPORTED, "gzip, lzo");
    image_tree_free(t);
}

static void test_names_of_compressions(void **state)
{
    (void)state;
    for (int i = GVMI_GZIP; i <= GVMI_ZSTD; i++)
        assert_int_equal(gvmi_compression_by_name(gvmi_compression_name(i)), i);
    assert_int_equal(gvmi_compression_by_name("zip"), -1);
    assert_int_equal(gvmi_compression_by_name(""), -1);
    assert_string_equal(gvmi_compression_name(0), "unknown");
    assert_string_equal(gvmi_compression_name(-1), "unknown");
    assert_string_equal(gvmi_compression_name(7), "unknown");
}

static void test_what_cannot_be_stored(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    char target[5001];
    memset(target, 't', 5000);
    target[5000] = '\0';
    tree_link(t, "dir/long link", target);
    refuse(t, NULL, GV_E_LIMIT, "/dir/long link: ");
    image_tree_free(t);

    t = tree_new();
    tree_link(t, "empty link", "");
    refuse(t, NULL, GV_E_LIMIT, "/empty link: ");
    image_tree_free(t);

    t = tree_new();
    tree_special(t, "dev/huge", IMAGE_CHAR, 4096, 0);
    refuse(t, NULL, GV_E_UNSUPPORTED, "/dev/huge: ");
    image_tree_free(t);

    t = tree_new();
    tree_file(t, "too large", FILL_ZERO, 0, (uint64_t)1 << 60);
    refuse(t, NULL, GV_E_LIMIT, "/too large: ");
    image_tree_free(t);

    t = tree_new();
    for (uint32_t i = 0; i < 40000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%u", i);
        struct image_node *node = tree_file(t, name, FILL_ZERO, 0, 0);
        node->inode->uid = i;
        node->inode->gid = i + 1000000;
    }
    refuse(t, NULL, GV_E_LIMIT, "65535");
    image_tree_free(t);
}

struct notes {
    int count;
    char last[1024];
};

static void take_note(void *user, enum gv_log_level level, const char *text)
{
    struct notes *n = user;
    assert_int_equal(level, GV_LOG_WARNING);
    n->count++;
    snprintf(n->last, sizeof(n->last), "%s", text);
}

static void test_xattrs_left_out_are_told(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%d", i);
        struct image_node *node = tree_text(t, name, "x");
        tree_xattr(t, node, "system.posix_acl_access", "acl", 3);
        tree_xattr(t, node, "user.kept", "yes", 3);
    }
    struct notes notes = { 0 };
    const struct gv_log log = { take_note, &notes };
    struct gvmi_write_options o = { .log = &log };
    int fd = pack(t, NULL, &o, NULL);
    assert_int_equal(notes.count, 1);
    assert_non_null(strstr(notes.last, "/f0"));
    assert_non_null(strstr(notes.last, "system.posix_acl_access"));
    struct gvmi_image *img = open_fd(fd);
    assert_same_tree(t, img);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static int broken_reader(void *user, const struct image_content *c, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    (void)c;
    if (at >= *(uint64_t *)user)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the layer ends early");
    memset(buf, 'x', len);
    return 0;
}

static void test_reader_fails(void **state)
{
    (void)state;
    const uint64_t limits[] = { 0, 1 << 20, 30 << 20 };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        uint64_t limit = limits[i];
        struct image_tree *t = tree_new();
        tree_file(t, "a/small", FILL_TEXT, 0, limit ? 100 : 0);
        tree_file(t, "b/large", FILL_TEXT, 0, 40 << 20);
        image_tree_set_reader(t, broken_reader, &limit, NULL);
        struct gvmi_write_options o = { .jobs = 2 };
        refuse(t, &o, GV_E_CORRUPT, "/b/large: the layer ends early");
        image_tree_free(t);
    }
}

static void test_disk_is_full(void **state)
{
    (void)state;
    char *dir = make_dir();
    cleanup_free char *path = gv_asprintf("%s/image", dir);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    const rlim_t limits[] = { 50, 100000, 3000000 };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct image_tree *t = tree_new();
        for (uint32_t k = 0; k < 100; k++) {
            char name[16];
            snprintf(name, sizeof(name), "f%u", k);
            tree_file(t, name, FILL_RANDOM, k, 300000);
        }
        image_tree_finish(t, NULL);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        small = old;
        small.rlim_cur = limits[i];
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        struct gv_error err = GV_ERROR_INIT;
        struct gvmi_write_options o = { .jobs = 3 };
        int r = gvmi_write(fd, t, &no_config, &o, NULL, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(r, -1);
        assert_int_equal(err.code, GV_E_IO);
        assert_int_equal(err.sys, EFBIG);
        assert_non_null(strstr(err.msg, "cannot write the image"));
        close(fd);
        image_tree_free(t);
    }
    signal(SIGXFSZ, handler);
    remove_dir(dir);
}

static void test_file_is_read_only(void **state)
{
    (void)state;
    struct image_tree *t = tree_of_all_kinds();
    struct gv_error err = GV_ERROR_INIT;
    cleanup_close int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    image_tree_finish(t, NULL);
    assert_int_equal(gvmi_write(fd, t, &no_config, NULL, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    image_tree_free(t);
}

static atomic_int updates;
static atomic_ullong last_total;

static void count_update(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    assert_non_null(what);
    assert_true(done <= total);
    updates++;
    last_total = total;
}

static void test_progress(void **state)
{
    (void)state;
    struct image_tree *t = tree_of_all_kinds();
    const struct gv_progress progress = { count_update, NULL };
    struct gvmi_write_options o = { .progress = &progress, .block_size = 4096 };
    struct gvmi_write_result result;
    int fd = pack(t, NULL, &o, &result);
    assert_true(updates > 10);
    assert_int_equal(last_total, result.size); /* the last phase is hashing */
    int before = updates;
    struct gvmi_image *img = open_fd(fd);
    assert_int_equal(gvmi_verify(img, &progress, NULL), 0);
    assert_true(updates > before);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

/* What stands in image_inode.user does not matter, not even numbers that look like ours. */
static void test_stale_user_pointers(void **state)
{
    (void)state;
    struct image_tree *a = tree_of_all_kinds(), *b = tree_of_all_kinds();
    struct image_node **children = image_node_children(image_tree_lookup(b, "names/alone", true));
    for (size_t i = 0; i < image_node_child_count(image_tree_lookup(b, "names/alone", true)); i++)
        children[i]->inode->user = i % 2 ? (void *)(uintptr_t)(i + 1) : (void *)children[i];
    free(children);
    int x = pack(a, NULL, NULL, NULL), y = pack(b, NULL, NULL, NULL);
    assert_same_file(x, y);
    close(x);
    close(y);
    image_tree_free(a);
    image_tree_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_options),         cmocka_unit_test(test_names_of_compressions),
        cmocka_unit_test(test_what_cannot_be_stored), cmocka_unit_test(test_xattrs_left_out_are_told),
        cmocka_unit_test(test_reader_fails),          cmocka_unit_test(test_disk_is_full),
        cmocka_unit_test(test_file_is_read_only),     cmocka_unit_test(test_progress),
        cmocka_unit_test(test_stale_user_pointers),
    };
    return cmocka_run_group_tests_name("gvmi_write", tests, NULL, NULL);
}
