/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Differences as text, one a line, against what was done to a tree. */
#include <stdio.h>
#include <stdlib.h>

#include "compare/compare.h"
#include "gvmi/trailer.h"
#include "helper.h"

static int add_line(void *user, const struct compare_entry *e)
{
    static const char *const names[] = { "type", "content", "mode", "owner", "time", "xattrs", "links" };
    struct gv_buf *out = user;
    gv_buf_addf(out, "%c%s /%s", "+-~"[e->kind], e -> inside ? "." : "", e->path);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (e->what & 1U << i)
            gv_buf_addf(out, " %s", names[i]);
    if (e->a_target)
        gv_buf_addf(out, " <%s>", e->a_target);
    if (e->b_target)
        gv_buf_addf(out, " <%s>", e->b_target);
    gv_buf_add(out, "\n", 1);
    assert_true(e->kind == COMPARE_ADDED ? !e->a && e->b : e->kind == COMPARE_REMOVED ? e->a && !e->b : e->a && e->b && e->what);
    return 0;
}

static struct gvmi_image *image_of(struct image_tree *t, int compression, uint32_t block_size, int *fd)
{
    struct gvmi_write_options o = { .compression = compression, .block_size = block_size, .level = 1 };
    *fd = pack(t, NULL, &o, NULL);
    return open_fd(*fd);
}

/* Packs both with different blocks and compressors, which must not matter, and compares them with what is expected. */
static void check(struct image_tree *a, struct image_tree *b, const struct compare_options *o, const char *expected,
                  struct compare_totals *totals)
{
    int fds[2];
    struct gvmi_image *x = image_of(a, GVMI_GZIP, 4096, &fds[0]), *y = image_of(b, GVMI_ZSTD, 16384, &fds[1]);
    cleanup_buf struct gv_buf text = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (compare_files(x, y, o, add_line, &text, totals, &err) != 0)
        fail_msg("%s", err.msg);
    assert_string_equal(gv_buf_str(&text), expected);
    gvmi_close(x);
    gvmi_close(y);
    close(fds[0]);
    close(fds[1]);
}

static void test_the_same(void **state)
{
    (void)state;
    struct image_tree *a = tree_of_all_kinds(), *b = tree_of_all_kinds();
    struct compare_totals totals;
    check(a, b, NULL, "", &totals);
    assert_true(totals.same > 500);
    assert_int_equal(totals.added + totals.removed + totals.changed, 0);
    image_tree_free(a);
    image_tree_free(b);
}

static void test_each_kind_of_change(void **state)
{
    (void)state;
    struct image_tree *t[2];
    for (int i = 0; i < 2; i++) {
        t[i] = tree_new();
        tree_text(t[i], "content", i ? "one" : "two");
        tree_text(t[i], "device-name", "");
        tree_file(t[i], "large", FILL_TEXT, (uint32_t)i, 6 << 20);
        tree_file(t[i], "large-same", FILL_TEXT, 7, 6 << 20);
        tree_link(t[i], "link", i ? "new" : "old");
        tree_text(t[i], "mode", "")->inode->mode = i ? 04755 : 0755;
        tree_special(t[i], "null", IMAGE_CHAR, 1, i ? 3 : 5);
        tree_text(t[i], "owner", "")->inode->gid = i ? 5 : 0;
        tree_text(t[i], "size", i ? "longer" : "long");
        tree_text(t[i], "time", "")->inode->mtime = i ? 100 : 200;
        struct image_node *x = tree_text(t[i], "xattrs", "");
        tree_xattr(t[i], x, "user.a", "1", 1);
        tree_xattr(t[i], x, "user.b", i ? "2" : "3", 1);
        tree_xattr(t[i], tree_text(t[i], "xattrs-longer", ""), "user.a", "11", i ? 2 : 1);
        tree_xattr(t[i], tree_text(t[i], "xattrs-name", ""), i ? "user.a" : "user.b", "1", 1);
        struct image_node *l = tree_text(t[i], "z-linked", "same content");
        if (i)
            tree_hardlink(t[i], "z-linked-too", l);
        else
            tree_text(t[i], "z-linked-too", "same content");
    }
    static const char expected[] = "~ /content content\n"
                                   "~ /large content\n"
                                   "~ /link content <old> <new>\n"
                                   "~ /mode mode\n"
                                   "~ /null content\n"
                                   "~ /owner owner\n"
                                   "~ /size content\n"
                                   "~ /time time\n"
                                   "~ /xattrs xattrs\n"
                                   "~ /xattrs-longer xattrs\n"
                                   "~ /xattrs-name xattrs\n"
                                   "~ /z-linked links\n"
                                   "~ /z-linked-too links\n";
    check(t[0], t[1], NULL, expected, NULL);
    struct compare_options o = { .ignore_times = true };
    cleanup_free char *without = gv_strdup(expected);
    char *line = strstr(without, "~ /time time\n");
    memmove(line, line + 13, strlen(line + 13) + 1);
    check(t[0], t[1], &o, without, NULL);
    image_tree_free(t[0]);
    image_tree_free(t[1]);
}

static void test_added_and_removed(void **state)
{
    (void)state;
    struct image_tree *a = tree_new(), *b = tree_new();
    /* names that sort before and after '/' beside a directory of the same beginning */
    tree_text(a, "dir/file", "");
    tree_text(b, "dir/file", "");
    tree_text(a, "dir-old", "");
    tree_text(b, "dir.new", "");
    tree_text(b, "dir/added", "");
    tree_text(a, "dir0", "");
    tree_text(b, "dir0", "");
    tree_text(a, "gone/deep/er/file", "");
    tree_text(a, "gone/file", "");
    tree_text(b, "new/file", "");
    tree_link(b, "new/link", "file");
    tree_text(a, "was-dir/inside", "");
    tree_text(b, "was-dir", "now a file");
    tree_text(a, "was-file", "");
    tree_text(b, "was-file/inside", "");
    struct compare_totals totals;
    check(a, b, NULL,
          "+ /dir/added\n"
          "- /dir-old\n"
          "+ /dir.new\n"
          "- /gone\n"
          "-. /gone/deep\n"
          "-. /gone/deep/er\n"
          "-. /gone/deep/er/file\n"
          "-. /gone/file\n"
          "+ /new\n"
          "+. /new/file\n"
          "+. /new/link <file>\n"
          "~ /was-dir type\n"
          "-. /was-dir/inside\n"
          "~ /was-file type\n"
          "+. /was-file/inside\n",
          &totals);
    assert_int_equal(totals.added, 6);
    assert_int_equal(totals.removed, 7);
    assert_int_equal(totals.changed, 2);
    assert_int_equal(totals.same, 4); /* the root, dir, dir/file, dir0 */
    image_tree_free(a);
    image_tree_free(b);
}

static int stop(void *user, const struct compare_entry *e)
{
    (void)e;
    return ++*(int *)user == 2 ? 42 : 0;
}

static void test_stopping(void **state)
{
    (void)state;
    struct image_tree *a = tree_new(), *b = tree_new();
    tree_text(a, "a", "");
    tree_text(a, "b", "");
    tree_text(a, "c", "");
    int fds[2], count = 0;
    struct gvmi_image *x = image_of(a, GVMI_GZIP, 4096, &fds[0]), *y = image_of(b, GVMI_GZIP, 4096, &fds[1]);
    assert_int_equal(compare_files(x, y, NULL, stop, &count, NULL, NULL), 42);
    assert_int_equal(count, 2);
    gvmi_close(x);
    gvmi_close(y);
    close(fds[0]);
    close(fds[1]);
    image_tree_free(a);
    image_tree_free(b);
}

/* An image that has a name twice cannot be compared, and says so. */
static void test_twins_are_refused(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf data = { 0 }, end = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gv_read_file(SEEDS "/twins-link-dir", 1 << 20, &data, &err), 0);
    assert_int_equal(gvmi_trailer_format(&end, "{}", 2, NULL), 0);
    int fd = scratch();
    assert_int_equal(gv_pwrite_full(fd, data.data, data.len, 0), 0);
    assert_int_equal(gv_pwrite_full(fd, end.data, end.len, data.len), 0);
    struct gvmi_image *x = open_fd(fd), *y = open_fd(fd);
    cleanup_buf struct gv_buf text = { 0 };
    assert_int_equal(compare_files(x, y, NULL, add_line, &text, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    assert_non_null(strstr(err.msg, "twice"));
    gvmi_close(x);
    gvmi_close(y);
    close(fd);
}

static void add_config(void *user, const char *key, const char *old, const char *now)
{
    gv_buf_addf(user, "%s: %s -> %s\n", key, old ? old : "none", now ? now : "none");
}

static void test_configurations(void **state)
{
    (void)state;
    static const char old[] = "{\"Env\":[\"A=1\"],\"Cmd\":[\"sh\"],\"User\":\"root\",\"Labels\":{\"a\":\"b\"}}";
    static const char now[] = "{\"Labels\":{\"a\":\"b\"},\"Env\":[\"A=1\",\"B=2\"],\"Cmd\":[\"sh\"],\"Volumes\":{\"/data\":{}}}";
    __attribute__((cleanup(gv_cleanup_image_config_fn))) struct image_config a = { 0 }, b = { 0 };
    assert_int_equal(image_config_parse(&a, old, strlen(old), NULL), 0);
    assert_int_equal(image_config_parse(&b, now, strlen(now), NULL), 0);
    cleanup_buf struct gv_buf text = { 0 };
    assert_int_equal(compare_config(&a, &a, add_config, &text), 0);
    assert_int_equal(text.len, 0);
    assert_int_equal(compare_config(&a, &b, add_config, &text), 3);
    assert_string_equal(gv_buf_str(&text), "Env: [\"A=1\"] -> [\"A=1\", \"B=2\"]\n"
                                           "User: \"root\" -> none\n"
                                           "Volumes: none -> {\"/data\": {}}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same), cmocka_unit_test(test_each_kind_of_change), cmocka_unit_test(test_added_and_removed),
        cmocka_unit_test(test_stopping), cmocka_unit_test(test_twins_are_refused),   cmocka_unit_test(test_configurations),
    };
    return cmocka_run_group_tests_name("compare_images", tests, NULL, NULL);
}
