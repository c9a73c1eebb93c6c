/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The file tree that boots everywhere. */
#include "fit.h"

static void fit(struct image_tree *t, struct notes *n)
{
    notes_begin(n);
    root_fit(t, 1700000000, &n->log);
    assert_boots(t, NULL);
}

static void test_empty(void **state)
{
    (void)state;
    struct notes n;
    struct image_tree *t = tree_new();
    fit(t, &n);
    static const char *const dirs[] = { "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/etc", "/var", "/var/tmp" };
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        assert_int_equal(type_at(t, dirs[i]), IMAGE_DIR);
    assert_int_equal(image_tree_lookup(t, "/tmp", false)->inode->mode, 01777);
    assert_int_equal(image_tree_lookup(t, "/var/tmp", false)->inode->mode, 01777);
    static const char *const files[] = { "/etc/hosts", "/etc/resolv.conf", "/etc/hostname" };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        assert_string_equal(text_at(t, files[i]), "");
    assert_int_equal(type_at(t, "/etc/mtab"), IMAGE_SYMLINK);
    assert_int_equal(n.lines.count, 1);
    assert_int_equal(notes_with(&n, "/proc, /sys, /tmp, /dev, "), 1);
    /* as old as the root, which has a time of its own in these trees */
    assert_int_equal(image_tree_lookup(t, "/etc/hosts", false)->inode->mtime, 1600000000);
    notes_end(&n);

    /* and all of it is there now */
    fit(t, &n);
    assert_int_equal(n.lines.count, 0);
    notes_end(&n);
    image_tree_free(t);
}

static void test_times(void **state)
{
    (void)state;
    struct notes n;
    struct image_tree *t = tree_new();
    image_tree_root(t)->inode->mtime = 0;
    fit(t, &n);
    assert_int_equal(image_tree_lookup(t, "/proc", false)->inode->mtime, 1700000000);
    notes_end(&n);
    image_tree_free(t);
}

static void test_good_is_left_alone(void **state)
{
    (void)state;
    struct notes n;
    struct image_tree *t = tree_new();
    static const char *const dirs[] = { "proc", "sys", "dev/pts", "dev/shm", "tmp", "var/tmp" };
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        tree_dir(t, dirs[i])->inode->mode = 0700;
    tree_text(t, "etc/hosts", "1.2.3.4 me\n");
    tree_text(t, "etc/resolv.conf", "nameserver 9.9.9.9\n");
    tree_text(t, "etc/hostname", "name\n");
    tree_text(t, "etc/mtab", "old\n");
    fit(t, &n);
    assert_int_equal(n.lines.count, 0);
    assert_string_equal(text_at(t, "/etc/hosts"), "1.2.3.4 me\n");
    assert_string_equal(text_at(t, "/etc/mtab"), "old\n");
    assert_int_equal(image_tree_lookup(t, "/tmp", false)->inode->mode, 0700);
    notes_end(&n);
    image_tree_free(t);
}

static void test_wrong_types(void **state)
{
    (void)state;
    struct notes n;
    struct image_tree *t = tree_new();
    tree_link(t, "proc", "/nowhere");
    tree_text(t, "sys", "a file");
    tree_special(t, "dev", IMAGE_FIFO, 0, 0);
    tree_link(t, "tmp", "/var/tmp");
    tree_link(t, "var/tmp", "../tmp");
    tree_dir(t, "etc/hosts/inside");
    tree_link(t, "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    tree_link(t, "etc/hostname", "/etc/the.name");
    tree_text(t, "etc/the.name", "called\n")->inode->mode = 0600;
    fit(t, &n);
    assert_int_equal(type_at(t, "/proc"), IMAGE_DIR);
    assert_int_equal(type_at(t, "/sys"), IMAGE_DIR);
    assert_int_equal(type_at(t, "/dev"), IMAGE_DIR);
    assert_int_equal(type_at(t, "/tmp"), IMAGE_DIR);
    assert_int_equal(type_at(t, "/var/tmp"), IMAGE_DIR);
    assert_int_equal(type_at(t, "/etc/hosts"), IMAGE_FILE);
    assert_string_equal(text_at(t, "/etc/resolv.conf"), "");
    assert_int_equal(type_at(t, "/etc/hostname"), IMAGE_FILE);
    assert_string_equal(text_at(t, "/etc/hostname"), "called\n");
    assert_int_equal(notes_with(&n, "/etc/hostname was a symbolic link: a file with the content it led to"), 1);
    static const char *const told[] = { "/proc was ",           "/sys was a file",
                                        "/dev was a fifo",      "/tmp was ",
                                        "/var/tmp was ",        "/etc/hosts was a directory",
                                        "/etc/resolv.conf was " };
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
        assert_int_equal(notes_with(&n, told[i]), 1 + (strcmp(told[i], "/tmp was ") == 0));
    notes_end(&n);
    image_tree_free(t);
}

static void test_moved_directories(void **state)
{
    (void)state;
    struct notes n;
    struct image_tree *t = tree_new();
    tree_link(t, "var", "data/./var");
    tree_text(t, "data/var/lib/db", "kept");
    tree_text(t, "data/beside", "beside");
    tree_link(t, "data/var/out", "../beside");
    struct image_node *deep = tree_link(t, "data/var/lib/deep", "../../../data/beside");
    tree_hardlink(t, "deep", deep);
    tree_link(t, "data/var/lib/stays", "../lib/db");
    tree_link(t, "data/var/top", "..");
    tree_link(t, "etc", "/private/etc");
    tree_text(t, "private/etc/passwd", "root:x:0:0");
    fit(t, &n);
    assert_int_equal(type_at(t, "/var"), IMAGE_DIR);
    assert_int_equal(type_at(t, "/data/var"), IMAGE_SYMLINK);
    assert_int_equal(type_at(t, "/var/tmp"), IMAGE_DIR);
    assert_string_equal(text_at(t, "/var/lib/db"), "kept");
    assert_string_equal(text_at(t, "/data/var/lib/db"), "kept");
    assert_string_equal(text_at(t, "/var/out"), "beside");
    assert_string_equal(text_at(t, "/var/lib/deep"), "beside");
    assert_string_equal(text_at(t, "/var/lib/stays"), "kept");
    assert_string_equal(text_at(t, "/var/top/beside"), "beside");
    assert_string_equal(image_tree_lookup(t, "/var/lib/stays", false)->inode->u.target, "../lib/db");
    assert_string_equal(image_tree_lookup(t, "/deep", false)->inode->u.target, "../../../data/beside");
    assert_int_equal(type_at(t, "/etc"), IMAGE_DIR);
    assert_string_equal(text_at(t, "/private/etc/passwd"), "root:x:0:0");
    assert_int_equal(notes_with(&n, "/var was a symbolic link to /data/var"), 1);
    assert_int_equal(notes_with(&n, "/etc was a symbolic link to /private/etc"), 1);
    notes_end(&n);
    image_tree_free(t);
}

/* Links to where nothing can be moved from: the root, themselves, another of the directories, in circles. */
static void test_links_that_cannot_move(void **state)
{
    (void)state;
    static const char *const targets[] = { "/", ".", "..", "/etc", "/tmp/..", "var", "/missing", "/proc", "", "etc/passwd" };
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        struct notes n;
        struct image_tree *t = tree_new();
        tree_text(t, "etc/passwd", "root");
        tree_link(t, "var", targets[i]);
        fit(t, &n);
        assert_int_equal(type_at(t, "/var"), IMAGE_DIR);
        assert_int_equal(type_at(t, "/var/tmp"), IMAGE_DIR);
        assert_string_equal(text_at(t, "/etc/passwd"), "root");
        assert_int_equal(notes_with(&n, "/var was a symbolic link: an empty directory"), 1);
        notes_end(&n);
        image_tree_free(t);
    }
}

static void test_deep_tree_moves(void **state)
{
    (void)state;
    struct notes n;
    struct image_tree *t = tree_new();
    struct image_node *at = tree_dir(t, "data/var");
    for (int i = 0; i < 20000; i++) {
        struct image_inode *inode = image_inode_new(t, IMAGE_DIR);
        inode->mode = 0755;
        at = image_node_add(t, at, "d", 1, inode);
    }
    tree_link(t, "var", "/data/var");
    notes_begin(&n);
    root_fit(t, 0, &n.log);
    assert_int_equal(type_at(t, "/var/d/d/d"), IMAGE_DIR);
    notes_end(&n);
    image_tree_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_good_is_left_alone),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_moved_directories),
        cmocka_unit_test(test_links_that_cannot_move),
        cmocka_unit_test(test_deep_tree_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
