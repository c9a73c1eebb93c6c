/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "image/image.h"

static struct image_node *add(struct image_tree *t, struct image_node *dir, const char *name, enum image_type type)
{
    struct image_inode *i = image_inode_new(t, type);
    if (type == IMAGE_SYMLINK)
        i->u.target = "";
    return image_node_add(t, dir, name, strlen(name), i);
}

static struct image_node *add_link(struct image_tree *t, struct image_node *dir, const char *name, const char *target)
{
    struct image_node *n = add(t, dir, name, IMAGE_SYMLINK);
    n->inode->u.target = target;
    n->inode->size = strlen(target);
    return n;
}

static void test_new(void **state)
{
    (void)state;
    struct image_tree *t = image_tree_new();
    struct image_node *root = image_tree_root(t);
    assert_int_equal(root->inode->type, IMAGE_DIR);
    assert_int_equal(root->inode->mode, 0755);
    assert_int_equal(root->inode->mtime, 0);
    assert_ptr_equal(root->parent, root);
    assert_string_equal(root->name, "");
    assert_int_equal(image_node_child_count(root), 0);
    assert_null(image_node_children(root));
    assert_null(image_node_child(root, "a", 1));
    struct image_tree_totals totals;
    image_tree_finish(t, &totals);
    assert_int_equal(totals.nodes, 1);
    assert_int_equal(totals.dirs, 1);
    assert_int_equal(root->inode->nlink, 2);
    image_tree_free(t);
    image_tree_free(NULL);
}

/* Growth of the tables, order, removal. */
static void test_many_children(void **state)
{
    (void)state;
    enum { N = 30000 };
    struct image_tree *t = image_tree_new();
    struct image_node *root = image_tree_root(t);
    char name[32];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        assert_null(image_node_child(root, name, strlen(name)));
        add(t, root, name, IMAGE_FILE);
    }
    assert_int_equal(image_node_child_count(root), N);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        struct image_node *n = image_node_child(root, name, strlen(name));
        assert_non_null(n);
        assert_string_equal(n->name, name);
        assert_int_equal(n->namelen, strlen(name));
        if (i % 3 == 0)
            image_node_remove(n);
    }
    size_t left = image_node_child_count(root);
    assert_int_equal(left, N - N / 3);
    struct image_node **children = image_node_children(root);
    for (size_t i = 1; i < left; i++)
        assert_true(strcmp(children[i - 1]->name, children[i]->name) < 0);
    free(children);
    snprintf(name, sizeof(name), "n%d", 3);
    assert_null(image_node_child(root, name, strlen(name)));
    /* A name that was removed can be used again. */
    add(t, root, name, IMAGE_DIR);
    assert_non_null(image_node_child(root, name, strlen(name)));
    image_tree_free(t);
}

/* Sorted as unsigned bytes, whatever the locale and the sign of char. */
static void test_order(void **state)
{
    (void)state;
    static const char *const names[] = { "\xff", "a", "B", "\x01", "a.b", "a-b", "\x7f", "\xc3\xa4", "aa" };
    static const char *const sorted[] = { "\x01", "B", "a", "a-b", "a.b", "aa", "\x7f", "\xc3\xa4", "\xff" };
    struct image_tree *t = image_tree_new();
    for (size_t i = 0; i < 9; i++)
        add(t, image_tree_root(t), names[i], IMAGE_FILE);
    struct image_node **children = image_node_children(image_tree_root(t));
    for (size_t i = 0; i < 9; i++)
        assert_string_equal(children[i]->name, sorted[i]);
    free(children);
    image_tree_free(t);
}

/* Names that differ only far behind, only in length, or only in one bit are all different. */
static void test_similar_names(void **state)
{
    (void)state;
    struct image_tree *t = image_tree_new();
    struct image_node *root = image_tree_root(t);
    char name[256];
    memset(name, 'x', sizeof(name));
    for (size_t len = 1; len <= 255; len++)
        image_node_add(t, root, name, len, image_inode_new(t, IMAGE_FILE));
    for (size_t i = 0; i < 255; i++) {
        name[i] = 'y';
        assert_null(image_node_child(root, name, 255));
        image_node_add(t, root, name, 255, image_inode_new(t, IMAGE_FILE));
        name[i] = 'x';
    }
    assert_int_equal(image_node_child_count(root), 510);
    for (size_t len = 1; len <= 255; len++)
        assert_int_equal(image_node_child(root, name, len)->namelen, len);
    image_tree_free(t);
}

static void test_remove_tree(void **state)
{
    (void)state;
    struct image_tree *t = image_tree_new();
    struct image_node *top = add(t, image_tree_root(t), "top", IMAGE_DIR), *at = top;
    char name[32];
    /* Deep, and with large directories on the way: removal must not recurse, and must free all tables. */
    for (int depth = 0; depth < 100000; depth++) {
        if (depth % 10000 == 0) {
            for (int i = 0; i < 100; i++) {
                snprintf(name, sizeof(name), "f%d", i);
                add(t, at, name, IMAGE_FILE);
            }
        }
        at = add(t, at, "d", IMAGE_DIR);
    }
    struct image_tree_totals totals;
    image_tree_finish(t, &totals);
    assert_int_equal(totals.dirs, 100002);
    assert_int_equal(totals.files, 1000);
    char *path = image_node_path(at);
    assert_int_equal(strlen(path), 4 + 200000);
    assert_ptr_equal(image_tree_lookup(t, path, true), at);
    free(path);
    image_node_remove(top);
    assert_int_equal(image_node_child_count(image_tree_root(t)), 0);
    image_tree_finish(t, &totals);
    assert_int_equal(totals.nodes, 1);
    image_tree_free(t);
}

static void test_links(void **state)
{
    (void)state;
    struct image_tree *t = image_tree_new();
    struct image_node *root = image_tree_root(t), *a = add(t, root, "a", IMAGE_FILE), *d = add(t, root, "d", IMAGE_DIR);
    a->inode->size = 100;
    a->inode->mtime = 77;
    image_node_add(t, d, "b", 1, a->inode);
    struct image_node *c = image_node_add(t, d, "c", 1, a->inode);
    add(t, d, "e", IMAGE_DIR);
    add(t, d, "p", IMAGE_FIFO);
    struct image_tree_totals totals;
    image_tree_finish(t, &totals);
    assert_int_equal(a->inode->nlink, 3);
    assert_int_equal(d->inode->nlink, 3);
    assert_int_equal(root->inode->nlink, 3);
    assert_int_equal(totals.nodes, 7);
    assert_int_equal(totals.inodes, 5);
    assert_int_equal(totals.files, 1);
    assert_int_equal(totals.others, 1);
    assert_int_equal(totals.bytes, 100);
    assert_int_equal(totals.newest_mtime, 77);
    /* Again, after one is gone: nothing is counted twice. */
    image_node_remove(c);
    image_tree_finish(t, &totals);
    assert_int_equal(a->inode->nlink, 2);
    assert_int_equal(totals.bytes, 100);
    image_node_remove(a);
    image_node_remove(image_node_child(d, "b", 1));
    image_tree_finish(t, &totals);
    assert_int_equal(totals.files, 0);
    image_tree_free(t);
}

static void test_lookup(void **state)
{
    (void)state;
    struct image_tree *t = image_tree_new();
    struct image_node *root = image_tree_root(t);
    struct image_node *usr = add(t, root, "usr", IMAGE_DIR), *lib = add(t, usr, "lib", IMAGE_DIR), *x = add(t, lib, "x", IMAGE_FILE);
    struct image_node *relative = add_link(t, root, "lib", "usr/lib");
    add_link(t, root, "absolute", "/usr/lib/");
    add_link(t, lib, "up", "../../..");
    add_link(t, root, "loop", "loop");
    add_link(t, root, "a", "b");
    add_link(t, root, "b", "a");
    add_link(t, root, "dangling", "nowhere");
    add_link(t, root, "empty", "");
    static const char *const to_x[] = { "usr/lib/x",   "/usr/lib/x",      "//usr//./lib/../lib/x", "lib/x",
                                        "/absolute/x", "../../usr/lib/x", "lib/up/lib/x",          "usr/lib/up/absolute/up/lib/x" };
    for (size_t i = 0; i < sizeof(to_x) / sizeof(*to_x); i++)
        assert_ptr_equal(image_tree_lookup(t, to_x[i], false), x);
    assert_ptr_equal(image_tree_lookup(t, "", false), root);
    assert_ptr_equal(image_tree_lookup(t, "/", true), root);
    assert_ptr_equal(image_tree_lookup(t, "..", true), root);
    assert_ptr_equal(image_tree_lookup(t, "lib", false), relative);
    assert_ptr_equal(image_tree_lookup(t, "lib", true), lib);
    assert_ptr_equal(image_tree_lookup(t, "lib/", false), lib);
    static const char *const nowhere[] = { "nowhere", "usr/lib/x/y", "usr/lib/x/..", "loop", "a", "dangling", "dangling/x", "lib/nothing" };
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(*nowhere); i++)
        if (image_tree_lookup(t, nowhere[i], true))
            fail_msg("%s was found", nowhere[i]);
    assert_non_null(image_tree_lookup(t, "loop", false));

    char *path = image_node_path(x);
    assert_string_equal(path, "/usr/lib/x");
    free(path);
    path = image_node_path(root);
    assert_string_equal(path, "/");
    free(path);
    image_tree_free(t);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "...", ".a", "..a", " ", "\n", "\xff", "-" };
    static const char *const bad[] = { "", ".", "..", "a/b", "/" };
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_int_equal(image_name_check(good[i], strlen(good[i])), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(image_name_check(bad[i], strlen(bad[i])), -1);
    char name[256];
    memset(name, 'n', sizeof(name));
    assert_int_equal(image_name_check(name, 255), 0);
    assert_int_equal(image_name_check(name, 256), -1);
    assert_int_equal(image_name_check("a\0b", 3), -1);
}

struct reader {
    int released;
};

static int read_pattern(void *reader, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    (void)reader;
    if (content->file == 9)
        return gv_error_set(err, GV_E_IO, 0, "no");
    memset(buf, (int)('a' + content->offset + at), len);
    return 0;
}

static void release(void *reader)
{
    ((struct reader *)reader)->released++;
}

static void test_reader(void **state)
{
    (void)state;
    struct image_tree *t = image_tree_new();
    struct reader one = { 0 }, two = { 0 };
    struct image_inode *i = image_inode_new(t, IMAGE_FILE);
    char buf[4] = "";
    i->size = 10;
    i->u.content.offset = 2;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(image_tree_read(t, i, 0, buf, 1, &err), -1);
    assert_int_equal(err.code, GV_E_INTERNAL);
    image_tree_set_reader(t, read_pattern, &one, release);
    assert_int_equal(image_tree_read(t, i, 1, buf, 3, NULL), 0);
    assert_memory_equal(buf, "ddd", 3);
    assert_int_equal(image_tree_read(t, i, 10, buf, 0, NULL), 0);
    assert_int_equal(image_tree_read(t, i, 10, buf, 1, NULL), -1);
    assert_int_equal(image_tree_read(t, i, 11, buf, 0, NULL), -1);
    assert_int_equal(image_tree_read(t, i, 1, buf, SIZE_MAX, NULL), -1);
    i->u.content.file = 9;
    assert_int_equal(image_tree_read(t, i, 0, buf, 1, &err), -1);
    assert_string_equal(err.msg, "no");
    assert_int_equal(image_tree_read(t, image_inode_new(t, IMAGE_DIR), 0, buf, 0, NULL), -1);
    image_tree_set_reader(t, read_pattern, &two, release);
    assert_int_equal(one.released, 1);
    image_tree_free(t);
    assert_int_equal(one.released, 1);
    assert_int_equal(two.released, 1);
}

/* The promise of 300 bytes a file for the whole conversion starts here. */
static void test_memory(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct image_tree *t = image_tree_new();
    struct image_node *dir = image_tree_root(t);
    char name[32];
    for (int i = 0; i < N; i++) {
        if (i % 10 == 0) {
            snprintf(name, sizeof(name), "directory%d", i);
            dir = add(t, image_tree_root(t), name, IMAGE_DIR);
        }
        snprintf(name, sizeof(name), "a-usual-file-name-%d", i);
        add(t, dir, name, IMAGE_FILE);
    }
    size_t each = gv_arena_size(image_tree_arena(t)) / N;
    if (each > 180)
        fail_msg("%zu bytes a file", each);
    image_tree_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),           cmocka_unit_test(test_many_children), cmocka_unit_test(test_order),
        cmocka_unit_test(test_similar_names), cmocka_unit_test(test_remove_tree),   cmocka_unit_test(test_links),
        cmocka_unit_test(test_lookup),        cmocka_unit_test(test_names),         cmocka_unit_test(test_reader),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests_name("image_tree", tests, NULL, NULL);
}
