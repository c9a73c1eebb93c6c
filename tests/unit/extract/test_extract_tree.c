/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is extracted from a good image is what is in it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "extract/extract.h"
#include "helper.h"

static const mode_t type_bits[] = { [IMAGE_FILE] = S_IFREG,  [IMAGE_DIR] = S_IFDIR,  [IMAGE_SYMLINK] = S_IFLNK, [IMAGE_CHAR] = S_IFCHR,
                                    [IMAGE_BLOCK] = S_IFBLK, [IMAGE_FIFO] = S_IFIFO, [IMAGE_SOCKET] = S_IFSOCK };

static struct gvmi_image *image_of(struct image_tree *t, uint32_t block_size, int *fd)
{
    struct gvmi_write_options o = { .block_size = block_size };
    *fd = pack(t, NULL, &o, NULL);
    return open_fd(*fd);
}

static void extract_or_fail(struct gvmi_image *img, const char *target, const struct extract_options *o, struct extract_result *r)
{
    struct gv_error err = GV_ERROR_INIT;
    if (extract_image(img, target, o, r, &err) < 0)
        fail_msg("%s", err.msg);
}

static void check_content(struct image_tree *t, const struct image_inode *inode, const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_NOFOLLOW);
    cleanup_free unsigned char *want = gv_alloc(65536), *have = gv_alloc(65536);
    if (fd < 0 && errno == EACCES && geteuid() != 0)
        return;
    if (fd < 0)
        fail_msg("%s: %s", path, strerror(errno));
    for (uint64_t at = 0; at < inode->size; at += 65536) {
        size_t n = inode->size - at < 65536 ? (size_t)(inode->size - at) : 65536;
        assert_int_equal(image_tree_read(t, inode, at, want, n, NULL), 0);
        assert_int_equal(gv_pread_full(fd, have, n, at), n);
        if (memcmp(want, have, n) != 0)
            fail_msg("%s: content differs", path);
    }
}

static void check_user_xattrs(const struct image_inode *inode, const char *path)
{
    for (uint32_t i = 0; i < inode->xattr_count; i++) {
        const struct image_xattr *x = &inode->xattrs[i];
        char value[2048];
        if (strncmp(x->name, "user.", 5) != 0 || (inode->type != IMAGE_FILE && inode->type != IMAGE_DIR))
            continue;
        ssize_t n = lgetxattr(path, x->name, value, sizeof(value));
        if (n < 0 && errno == EOPNOTSUPP)
            continue;
        assert_int_equal(n, x->size);
        assert_memory_equal(value, x->value, x->size);
    }
}

static void check_node(struct image_tree *t, const struct image_node *node, const char *path, unsigned mode_mask)
{
    const struct image_inode *i = node->inode;
    struct stat st;
    if (lstat(path, &st) < 0)
        fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(st.st_mode & S_IFMT, type_bits[i->type]);
    assert_int_equal(st.st_mtim.tv_sec, i->mtime < 0 ? 0 : i->mtime > (int64_t)UINT32_MAX ? (int64_t)UINT32_MAX : i->mtime);
    if (i->type != IMAGE_SYMLINK)
        assert_int_equal(st.st_mode & 07777, i->mode & mode_mask);
    if (i->type != IMAGE_DIR)
        assert_int_equal(st.st_nlink, i->nlink);
    assert_int_equal(st.st_uid, geteuid() == 0 ? i->uid : geteuid());
    if (i->type == IMAGE_FILE) {
        assert_int_equal(st.st_size, i->size);
        check_content(t, i, path);
    }
    if (i->type == IMAGE_SYMLINK) {
        char target[4096];
        ssize_t n = readlink(path, target, sizeof(target));
        assert_int_equal(n, strlen(i->u.target));
        assert_memory_equal(target, i->u.target, (size_t)n);
    }
    check_user_xattrs(i, path);
}

/* Everything in the tree is below path, except for devices; returns how many entries that are. */
static size_t check_below(struct image_tree *t, const struct image_node *dir, const char *path, unsigned mode_mask, size_t *devices)
{
    size_t count = image_node_child_count(dir), made = 0;
    struct image_node **children = image_node_children(dir);
    for (size_t i = 0; i < count; i++) {
        const struct image_node *n = children[i];
        cleanup_free char *below = gv_asprintf("%s/%s", path, n->name);
        if (n->inode->type == IMAGE_CHAR || n->inode->type == IMAGE_BLOCK) {
            (*devices)++;
            continue;
        }
        made++;
        check_node(t, n, below, mode_mask);
        if (n->inode->type == IMAGE_DIR)
            made += check_below(t, n, below, mode_mask, devices);
    }
    free(children);
    return made;
}

static void test_everything(void **state)
{
    (void)state;
    struct image_tree *t = tree_of_all_kinds();
    int fd;
    struct gvmi_image *img = image_of(t, 4096, &fd);
    char *dir = make_dir();
    cleanup_free char *target = gv_asprintf("%s/out/", dir);
    struct extract_result r;
    size_t devices = 0;
    mode_t before = umask(077); /* must not matter */
    extract_or_fail(img, target, NULL, &r);
    umask(before);
    size_t made = check_below(t, image_tree_root(t), target, 01777, &devices);
    assert_true(made > 500 && devices > 0);
    assert_int_equal(r.files + r.dirs + r.symlinks + r.specials + r.hard_links, made);
    assert_int_equal(r.devices_left_out, devices);
    check_node(t, image_tree_root(t), target, 01777);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(extract_image(img, target, NULL, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_EXISTS);
    /* once more into it: the same again */
    struct extract_options again = { .force = true, .setuid = true };
    extract_or_fail(img, target, &again, &r);
    devices = 0;
    assert_int_equal(check_below(t, image_tree_root(t), target, 07777, &devices), made);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

static void test_holes(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_file(t, "zeros", FILL_ZERO, 0, 64 << 20);
    tree_file(t, "islands", FILL_ISLAND, 3, 150 << 20);
    int fd;
    struct gvmi_image *img = image_of(t, 131072, &fd);
    char *dir = make_dir();
    cleanup_free char *target = gv_asprintf("%s/out", dir);
    extract_or_fail(img, target, NULL, NULL);
    size_t devices = 0;
    assert_int_equal(check_below(t, image_tree_root(t), target, 07777, &devices), 2);
    cleanup_free char *zeros = gv_asprintf("%s/zeros", target), *islands = gv_asprintf("%s/islands", target);
    struct stat st;
    assert_int_equal(stat(zeros, &st), 0);
    assert_true(st.st_blocks * 512 < 1 << 20);
    assert_int_equal(stat(islands, &st), 0);
    assert_true(st.st_blocks * 512 < 4 << 20);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

static bool is_there(const char *dir, const char *name)
{
    cleanup_free char *path = gv_asprintf("%s/%s", dir, name);
    struct stat st;
    return lstat(path, &st) == 0;
}

static void test_parts(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_text(t, "usr/bin/tool", "tool");
    tree_text(t, "usr/bin/other", "other");
    tree_text(t, "usr/share/doc/a", "a");
    tree_text(t, "usr/share/docs", "not wanted");
    tree_text(t, "etc/passwd", "root");
    tree_dir(t, "usr/share")->inode->mode = 0711;
    tree_link(t, "bin", "usr/bin");
    tree_link(t, "deep/link", "../bin");
    tree_link(t, "usr/absolute", "/deep/../deep/link");
    int fd;
    struct gvmi_image *img = image_of(t, 4096, &fd);
    char *dir = make_dir();
    cleanup_free char *target = gv_asprintf("%s/out", dir);
    const char *paths[] = { "/usr/absolute/tool", "usr/share/doc/" };
    struct extract_options o = { .paths = paths, .path_count = 2 };
    struct extract_result r;
    extract_or_fail(img, target, &o, &r);
    static const char *const there[] = { "usr/bin/tool", "usr/share/doc/a", "bin", "deep/link", "deep/link/tool", "usr/absolute" };
    static const char *const missing[] = { "usr/bin/other", "usr/share/docs", "etc" };
    for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
        if (!is_there(target, there[i]))
            fail_msg("%s was not extracted", there[i]);
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
        if (is_there(target, missing[i]))
            fail_msg("%s was extracted", missing[i]);
    assert_int_equal(r.files, 2);
    assert_int_equal(r.symlinks, 3);
    struct stat st;
    cleanup_free char *share = gv_asprintf("%s/usr/share", target);
    assert_int_equal(stat(share, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    /* what is not there makes nothing at all */
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *other = gv_asprintf("%s/other", dir);
    paths[1] = "usr/nothing";
    assert_int_equal(extract_image(img, other, &o, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_false(is_there(dir, "other"));
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

static size_t count_names(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    size_t n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void test_limits_and_failures_leave_nothing(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_file(t, "a/one", FILL_TEXT, 1, 6000);
    tree_file(t, "b/two", FILL_TEXT, 2, 6000);
    int fd;
    struct gvmi_image *img = image_of(t, 4096, &fd);
    char *dir = make_dir();
    cleanup_free char *target = gv_asprintf("%s/out", dir);
    struct gv_error err = GV_ERROR_INIT;
    struct extract_options o = { .max_bytes = 11999 };
    assert_int_equal(extract_image(img, target, &o, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_int_equal(count_names(dir), 0);
    o.max_bytes = 12000;
    extract_or_fail(img, target, &o, NULL);
    assert_int_equal(count_names(dir), 1);
    cleanup_free char *nowhere = gv_asprintf("%s/no/such/place", dir);
    assert_int_equal(extract_image(img, nowhere, NULL, NULL, &err), -1);
    cleanup_free char *file = gv_asprintf("%s/out/a/one", dir);
    assert_int_equal(extract_image(img, file, NULL, NULL, &err), -1);
    assert_int_equal(extract_image(img, "", NULL, NULL, &err), -1);
    assert_int_equal(count_names(dir), 1);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

static void test_what_was_there(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_text(t, "dir/file", "new content");
    tree_text(t, "link", "a file now");
    tree_text(t, "was-dir", "a file now");
    tree_text(t, "linked/file", "a directory now");
    int fd;
    struct gvmi_image *img = image_of(t, 4096, &fd);
    char *dir = make_dir();
    assert_int_equal(
        run("cd %s && mkdir -p out/dir victim && echo untouched >victim/file && ln victim/file out/dir/file && ln -s ../victim/file "
            "out/link && ln -s ../victim out/linked && echo mine >out/dir/mine && chmod 500 out/dir && chmod 750 out && touch -d @77 out",
            dir),
        0);
    cleanup_free char *target = gv_asprintf("%s/out", dir);
    struct extract_options o = { .force = true };
    extract_or_fail(img, target, &o, NULL);
    assert_int_equal(run("cd %s && test \"$(cat victim/file)\" = untouched && test \"$(ls victim)\" = file", dir), 0);
    assert_int_equal(run("cd %s/out && test \"$(cat dir/file link linked/file)\" = 'new contenta file nowa directory now'", dir), 0);
    assert_int_equal(run("cd %s/out && test ! -L link && test ! -L linked && test \"$(cat dir/mine)\" = mine", dir), 0);
    /* the target itself is the user's: its mode stays */
    assert_int_equal(run("cd %s && test \"$(stat -c %%a out)\" = 750", dir), 0);
    /* a directory is not thrown away for a file */
    assert_int_equal(run("cd %s/out && rm was-dir && mkdir was-dir && echo mine >was-dir/mine", dir), 0);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(extract_image(img, target, &o, NULL, &err), -1);
    assert_non_null(strstr(err.msg, "was-dir"));
    assert_int_equal(run("test -f %s/out/was-dir/mine", dir), 0);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

/* Deeper than descriptors are kept, and longer than a path can be. */
static void test_depth(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    struct image_node *at = image_tree_root(t);
    static const char name[] = "a-rather-long-name-of-a-directory";
    struct image_inode *file = NULL;
    for (int i = 0; i < 300; i++) {
        struct image_inode *inode = image_inode_new(t, IMAGE_DIR);
        inode->mode = 0755;
        inode->mtime = 1000 + i;
        at = image_node_add(t, at, name, strlen(name), inode);
        if (i % 100 == 0) {
            if (!file) {
                struct image_node *n = tree_text(t, "first", "one inode");
                file = n->inode;
            }
            image_node_add(t, at, "same", 4, file);
        }
    }
    image_node_add(t, at, "same", 4, file);
    int fd;
    struct gvmi_image *img = image_of(t, 4096, &fd);
    char *dir = make_dir();
    cleanup_free char *target = gv_asprintf("%s/out", dir);
    struct extract_result r;
    extract_or_fail(img, target, NULL, &r);
    assert_int_equal(r.dirs, 300);
    assert_int_equal(r.hard_links, 4);
    struct stat st;
    cleanup_free char *first = gv_asprintf("%s/first", target);
    assert_int_equal(stat(first, &st), 0);
    assert_int_equal(st.st_nlink, 5);
    int here = open(target, O_PATH | O_DIRECTORY);
    for (int i = 0; i < 300; i++) {
        int next = openat(here, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
        close(here);
        here = next;
        assert_int_equal(fstat(here, &st), 0);
        assert_int_equal(st.st_mtim.tv_sec, 1000 + i);
    }
    close(here);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

/* ---- shares ---- */

static uint64_t share_number(const char *path, const char *name)
{
    unsigned char b[9];
    uint64_t value = 0;
    ssize_t n = lgetxattr(path, name, b, sizeof(b));
    if (n != 4 && n != 8)
        fail_msg("%s has no %s", path, name);
    while (n-- > 0)
        value = value << 8 | b[n];
    return value;
}

static void check_share(const char *path, const struct image_inode *i)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode, i->type == IMAGE_DIR ? S_IFDIR | 0700 : S_IFREG | 0600);
    assert_int_equal(st.st_uid, geteuid());
    assert_int_equal(share_number(path, "user.virtfs.uid"), i->uid);
    assert_int_equal(share_number(path, "user.virtfs.gid"), i->gid);
    assert_int_equal(share_number(path, "user.virtfs.mode"), type_bits[i->type] | i->mode);
    if (i->type == IMAGE_CHAR || i->type == IMAGE_BLOCK)
        assert_int_equal(share_number(path, "user.virtfs.rdev"), makedev(i->u.rdev.major, i->u.rdev.minor));
    else
        assert_true(lgetxattr(path, "user.virtfs.rdev", &st, sizeof(st)) < 0 && errno == ENODATA);
    if (i->type == IMAGE_SYMLINK) {
        cleanup_buf struct gv_buf text = { 0 };
        assert_int_equal(gv_read_file(path, 4096, &text, NULL), 0);
        assert_string_equal(gv_buf_str(&text), i->u.target);
    }
}

static void check_shares_below(const struct image_node *dir, const char *path)
{
    size_t count = image_node_child_count(dir);
    struct image_node **children = image_node_children(dir);
    check_share(path, dir->inode);
    for (size_t i = 0; i < count; i++) {
        cleanup_free char *below = gv_asprintf("%s/%s", path, children[i]->name);
        if (children[i]->inode->type == IMAGE_DIR)
            check_shares_below(children[i], below);
        else
            check_share(below, children[i]->inode);
    }
    free(children);
}

static bool has_user_xattrs(const char *dir)
{
    return setxattr(dir, "user.probe", "", 0, 0) == 0;
}

/* A share has everything, devices too, whoever makes it, as QEMU's 9p server would have stored it. */
static void test_share(void **state)
{
    (void)state;
    char *dir = make_dir();
    if (!has_user_xattrs(dir)) {
        remove_dir(dir);
        print_message("no user xattrs here\n");
        skip();
    }
    struct image_tree *t = tree_of_all_kinds();
    int fd;
    struct gvmi_image *img = image_of(t, 4096, &fd);
    cleanup_free char *target = gv_asprintf("%s/out", dir);
    struct extract_options o = { .share = true };
    struct extract_result r;
    mode_t before = umask(077);
    extract_or_fail(img, target, &o, &r);
    umask(before);
    check_shares_below(image_tree_root(t), target);
    assert_int_equal(r.devices_left_out + r.bits_left_out, 0);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

/* One directory of an image, found through links, with parts that stay empty; attributes of the server's own are not the image's to give. */
static void test_share_of_a_directory(void **state)
{
    (void)state;
    char *dir = make_dir();
    if (!has_user_xattrs(dir)) {
        remove_dir(dir);
        skip();
    }
    struct image_tree *t = tree_new();
    struct image_node *a = tree_text(t, "srv/real/a", "hello");
    image_node_add(t, tree_dir(t, "srv/real/sub"), "again", 5, a->inode);
    image_node_add(t, tree_dir(t, "outside"), "elsewhere", 9, a->inode);
    tree_text(t, "srv/real/inner/hidden", "hidden");
    tree_dir(t, "srv/real/inner")->inode->uid = 7;
    tree_link(t, "srv/link", "../outside/../srv/real");
    tree_xattr(t, a, "user.mine", "v", 1);
    tree_xattr(t, a, "user.virtfs.uid", "\0\0\0\0", 4);
    a->inode->uid = 4711;
    int fd;
    struct gvmi_image *img = image_of(t, 4096, &fd);
    cleanup_free char *target = gv_asprintf("%s/out", dir), *file = gv_asprintf("%s/out/sub/again", dir);
    cleanup_free char *inner = gv_asprintf("%s/out/inner", dir);
    const char *hollow[] = { "/srv/link/inner", "/no/such/place", NULL };
    struct extract_options o = { .share = true, .root = "/srv/link", .hollow = hollow };
    struct extract_result r;
    struct stat st;
    uint64_t bytes = 0;
    extract_or_fail(img, target, &o, &r);
    assert_int_equal(r.files, 1);
    assert_int_equal(r.hard_links, 1);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_nlink, 2);
    assert_int_equal(share_number(file, "user.virtfs.uid"), 4711);
    assert_int_equal(getxattr(file, "user.mine", &st, sizeof(st)), 1);
    assert_int_equal(share_number(inner, "user.virtfs.uid"), 7);
    assert_int_equal(count_names(inner), 0);
    /* the target, a file of one block and two directories, and a block of attributes for each */
    assert_int_equal(extract_measure(img, &o, &bytes, NULL), 0);
    assert_int_equal(bytes, 4 * 2 * 4096);
    struct gv_error err = GV_ERROR_INIT;
    o.root = "/srv/real/a";
    assert_int_equal(extract_measure(img, &o, &bytes, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    gvmi_close(img);
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything),     cmocka_unit_test(test_holes),
        cmocka_unit_test(test_parts),          cmocka_unit_test(test_limits_and_failures_leave_nothing),
        cmocka_unit_test(test_what_was_there), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_share),          cmocka_unit_test(test_share_of_a_directory),
    };
    return cmocka_run_group_tests_name("extract_tree", tests, NULL, NULL);
}
