/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading: lookup, walk, the genuine image of the original converter. */
#include <stdio.h>
#include <stdlib.h>

#include "helper.h"

static void test_lookup(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_text(t, "usr/bin/tool", "tool");
    tree_link(t, "bin", "usr/bin");
    tree_link(t, "usr/local", "/usr");
    tree_link(t, "up", "usr/../../../../bin");
    tree_link(t, "loop a", "loop b");
    tree_link(t, "loop b", "loop a");
    tree_link(t, "dangling", "not/there");
    tree_link(t, "usr/chain", "./../usr/./bin/tool");
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    struct gvmi_stat st, tool, root;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gvmi_lookup(img, "/usr/bin/tool", true, &tool, &err), 0);
    assert_int_equal(gvmi_lookup(img, "/", true, &root, &err), 0);
    assert_int_equal(root.ref, gvmi_root(img));
    static const char *const same[] = {
        "usr/bin/tool", "//usr///bin//tool",     "/bin/tool", "/up/tool", "/usr/local/local/bin/tool", "/../../bin/tool", "/usr/chain",
        "./bin/./tool", "usr/../bin/../bin/tool"
    };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        if (gvmi_lookup(img, same[i], true, &st, &err) < 0)
            fail_msg("%s: %s", same[i], err.msg);
        assert_int_equal(st.ref, tool.ref);
    }
    static const char *const roots[] = { "", "/", "//", "..", "../..", "usr/..", "/usr/local/.." };
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
        if (gvmi_lookup(img, roots[i], true, &st, &err) < 0)
            fail_msg("%s: %s", roots[i], err.msg);
        assert_int_equal(st.ref, root.ref);
    }
    static const char *const missing[] = { "nothing", "usr/nothing", "usr/bin/tool/x", "dangling",
                                           "loop a",  "loop a/x",    "usr/bin/too",    "usr/bin/tools" };
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        assert_int_equal(gvmi_lookup(img, missing[i], true, &st, &err), -1);
        assert_int_equal(err.code, GV_E_NOT_FOUND);
        assert_non_null(strstr(err.msg, missing[i]));
    }
    assert_int_equal(gvmi_lookup(img, "dangling", false, &st, &err), 0);
    assert_int_equal(st.type, IMAGE_SYMLINK);
    assert_int_equal(gvmi_lookup(img, "loop a", false, &st, &err), 0);
    assert_int_equal(gvmi_lookup(img, "bin", false, &st, &err), 0);
    assert_int_equal(st.type, IMAGE_SYMLINK);
    assert_int_equal(gvmi_lookup(img, "bin/", true, &st, &err), 0);
    assert_int_equal(st.type, IMAGE_DIR);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

struct seen {
    char text[4096];
    int stop_after;
};

static int note(void *user, const char *path, const struct gvmi_stat *st)
{
    struct seen *s = user;
    size_t at = strlen(s->text);
    snprintf(s->text + at, sizeof(s->text) - at, "%s%s\n", path, st->type == IMAGE_DIR ? "/" : "");
    return s->stop_after > 0 && --s->stop_after == 0 ? 7 : 0;
}

static void test_walk(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_text(t, "b/z", "1");
    tree_text(t, "b/a/x", "2");
    tree_text(t, "a", "3");
    tree_dir(t, "c");
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    struct gv_error err = GV_ERROR_INIT;
    struct seen s = { .text = "" };
    assert_int_equal(gvmi_walk(img, note, &s, &err), 0);
    assert_string_equal(s.text, "/\na\nb/\nb/a/\nb/a/x\nb/z\nc/\n");
    s = (struct seen){ .stop_after = 3 };
    assert_int_equal(gvmi_walk(img, note, &s, &err), 7);
    assert_string_equal(s.text, "/\na\nb/\n");
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static int stop_at_once(void *user, const void *p, size_t n)
{
    (void)p;
    (void)n;
    ++*(int *)user;
    return 5;
}

/* The paths that a walker gives from `start`, leaving out what is in directories named `skip`. */
static void check_walker(struct gvmi_image *img, const char *start, const char *skip, const char *expected)
{
    CLEANUP(gvmi_walker) struct gvmi_walker *w = NULL;
    cleanup_buf struct gv_buf text = { 0 };
    struct gvmi_stat st;
    struct gvmi_step step;
    struct gv_error err = GV_ERROR_INIT;
    int more;
    assert_int_equal(gvmi_lookup(img, start, true, &st, &err), 0);
    assert_int_equal(gvmi_walker_open(&w, img, st.ref, &err), 0);
    while ((more = gvmi_walker_next(w, &step, &err)) == 1) {
        gv_buf_addf(&text, "%zu:%s|%s ", step.depth, step.path, step.name);
        if (!strcmp(step.name, skip))
            gvmi_walker_skip(w);
        /* other questions between the steps do not disturb it */
        assert_int_equal(gvmi_lookup(img, "b/c/d", true, &st, &err), 0);
    }
    assert_int_equal(more, 0);
    assert_int_equal(gvmi_walker_next(w, &step, &err), 0);
    assert_string_equal(gv_buf_str(&text), expected);
}

static void test_walker(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_text(t, "a", "a");
    tree_text(t, "b/c/d", "d");
    tree_text(t, "b/c2", "c2");
    tree_dir(t, "e");
    tree_text(t, "f/g", "g");
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    check_walker(img, "/", "none", "0:| 1:a|a 1:b|b 2:b/c|c 3:b/c/d|d 2:b/c2|c2 1:e|e 1:f|f 2:f/g|g ");
    check_walker(img, "/", "b", "0:| 1:a|a 1:b|b 1:e|e 1:f|f 2:f/g|g ");
    check_walker(img, "/", "c", "0:| 1:a|a 1:b|b 2:b/c|c 2:b/c2|c2 1:e|e 1:f|f 2:f/g|g ");
    check_walker(img, "/b", "none", "0:| 1:c|c 2:c/d|d 1:c2|c2 ");
    check_walker(img, "/e", "none", "0:| ");
    check_walker(img, "/b/c2", "none", "0:| ");
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

static void test_wrong_types(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_text(t, "file", "content");
    tree_link(t, "link", "file");
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    struct gvmi_stat st;
    struct gv_error err = GV_ERROR_INIT;
    char *target = NULL;
    int calls = 0;
    assert_int_equal(gvmi_lookup(img, "file", true, &st, &err), 0);
    assert_int_equal(gvmi_read_dir(img, st.ref, NULL, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
    assert_int_equal(gvmi_read_link(img, st.ref, &target, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
    assert_int_equal(gvmi_read_file(img, st.ref, stop_at_once, &calls, &err), 5);
    assert_int_equal(calls, 1);
    assert_int_equal(gvmi_read_file(img, gvmi_root(img), stop_at_once, &calls, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
    assert_int_equal(gvmi_stat(img, (uint64_t)1 << 40, &st, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    assert_int_equal(gvmi_stat(img, 9000, &st, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
}

/* One line for each entry, in the form of `find -printf`. */
static int list_line(void *user, const char *path, const struct gvmi_stat *st)
{
    static const char types[] = { [IMAGE_FILE] = '-',  [IMAGE_DIR] = 'd',  [IMAGE_SYMLINK] = 'l', [IMAGE_CHAR] = 'c',
                                  [IMAGE_BLOCK] = 'b', [IMAGE_FIFO] = 'p', [IMAGE_SOCKET] = 's' };
    static const char bits[] = "rwxrwxrwx";
    char mode[11] = "";
    mode[0] = types[st->type];
    for (int i = 0; i < 9; i++)
        mode[i + 1] = st->mode & (0400 >> i) ? bits[i] : '-';
    if (st->mode & 04000)
        mode[3] = mode[3] == 'x' ? 's' : 'S';
    if (st->mode & 02000)
        mode[6] = mode[6] == 'x' ? 's' : 'S';
    if (st->mode & 01000)
        mode[9] = mode[9] == 'x' ? 't' : 'T';
    mode[10] = '\0';
    gv_buf_addf(user, "%s %u/%u %llu squashfs-root%s%s\n", mode, st->uid, st->gid, (unsigned long long)st->size, *path ? "/" : "", path);
    return 0;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *sorted(const char *text)
{
    cleanup_free char *copy = gv_strdup(text);
    cleanup_strv struct gv_strv lines = { 0 };
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        gv_strv_add(&lines, line);
    qsort(lines.items, lines.count, sizeof(char *), compare_lines);
    cleanup_buf struct gv_buf out = { 0 };
    for (size_t i = 0; i < lines.count; i++)
        gv_buf_addf(&out, "%s\n", lines.items[i]);
    return gv_strdup(gv_buf_str(&out));
}

static void test_genuine_image(void **state)
{
    (void)state;
    cleanup_free char *path = testdata("alpine.gvmi");
    if (!path) {
        print_message("# alpine.gvmi of the test data is not there\n");
        skip();
    }
    struct gvmi_image *img = NULL;
    struct gv_error err = GV_ERROR_INIT;
    if (gvmi_open(&img, path, &err) < 0)
        fail_msg("%s", err.msg);
    const struct gvmi_info *info = gvmi_info(img);
    assert_int_equal(info->file_size, 3576181);
    assert_int_equal(info->squashfs_size, 3574862);
    assert_int_equal(info->trailer_offset, 3575808);
    assert_int_equal(info->metadata_size, 361);
    assert_int_equal(info->compression, GVMI_LZO);
    assert_int_equal(info->block_size, 131072);
    assert_int_equal(info->flags, 0xc0);
    char hash[GV_SHA3_224_HEX];
    assert_int_equal(gvmi_hash(img, hash, &err), 0);
    assert_string_equal(hash, "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1");
    if (gvmi_verify(img, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(image_config_getenv(gvmi_config(img), "PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    struct gvmi_stat st;
    char *target = NULL;
    assert_int_equal(gvmi_lookup(img, "/etc/mtab", false, &st, &err), 0);
    assert_int_equal(gvmi_read_link(img, st.ref, &target, &err), 0);
    assert_string_equal(target, "/proc/mounts");
    free(target);
    assert_int_equal(gvmi_lookup(img, "/dev/console", true, &st, &err), 0);
    assert_int_equal(st.type, IMAGE_FILE);
    assert_int_equal(st.size, 0);

    if (run("command -v unsquashfs") == 0) {
        cleanup_buf struct gv_buf list = { 0 };
        assert_int_equal(gvmi_walk(img, list_line, &list, &err), 0);
        cleanup_free char *theirs =
            output_of("TZ=UTC unsquashfs -lln '%s' | sed -E 's/^([^ ]+) ([^ ]+) +([0-9]+) [^ ]+ [^ ]+ (.*)$/\\1 \\2 \\3 \\4/; "
                      "s/ -> .*//'",
                      path);
        assert_non_null(theirs);
        cleanup_free char *a = sorted(gv_buf_str(&list)), *b = sorted(theirs);
        assert_string_equal(a, b);
    }
    gvmi_close(img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup),      cmocka_unit_test(test_walk),          cmocka_unit_test(test_walker),
        cmocka_unit_test(test_wrong_types), cmocka_unit_test(test_genuine_image),
    };
    return cmocka_run_group_tests_name("gvmi_read", tests, NULL, NULL);
}
