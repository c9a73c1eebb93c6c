/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Others read what we write, and we read what others write: unsquashfs and rdsquashfs, mksquashfs and gensquashfs, and the kernel where we may mount.
 * Each of them is left out, saying so, where it is not there.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "helper.h"

enum { OWNERS = 1, DEVICES = 2, TIMES = 4, XATTRS = 8, LINKS = 16, ALL = 31 };

static bool have(const char *tool)
{
    if (run("command -v %s", tool) == 0)
        return true;
    print_message("# %s is not installed\n", tool);
    return false;
}

static bool am_root(void)
{
    if (geteuid() == 0)
        return true;
    print_message("# not root\n");
    return false;
}

static void compare_content(struct image_tree *t, const struct image_inode *inode, const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_msg("cannot open `%s`", path);
    enum { PIECE = 65536 };
    cleanup_free unsigned char *found = gv_alloc(PIECE), *expected = gv_alloc(PIECE);
    for (uint64_t at = 0;;) {
        ssize_t n = gv_pread_full(fd, found, PIECE, at);
        if (n < 0)
            fail_msg("cannot read `%s`", path);
        if (n == 0) {
            assert_int_equal(at, inode->size);
            return;
        }
        assert_int_equal(image_tree_read(t, inode, at, expected, (size_t)n, NULL), 0);
        assert_memory_equal(found, expected, (size_t)n);
        at += (uint64_t)n;
    }
}

static void compare_xattrs(const struct image_inode *inode, const char *path)
{
    for (uint32_t i = 0; i < inode->xattr_count; i++) {
        char value[4096];
        ssize_t n = lgetxattr(path, inode->xattrs[i].name, value, sizeof(value));
        if (n != (ssize_t)inode->xattrs[i].size)
            fail_msg("`%s` has %zd bytes of %s", path, n, inode->xattrs[i].name);
        assert_memory_equal(value, inode->xattrs[i].value, (size_t)n);
    }
}

static mode_t type_bits(const struct image_inode *inode)
{
    static const mode_t bits[] = {
        [IMAGE_FILE] = S_IFREG,  [IMAGE_DIR] = S_IFDIR,  [IMAGE_SYMLINK] = S_IFLNK, [IMAGE_CHAR] = S_IFCHR,
        [IMAGE_BLOCK] = S_IFBLK, [IMAGE_FIFO] = S_IFIFO, [IMAGE_SOCKET] = S_IFSOCK,
    };
    return bits[inode->type];
}

static void compare_node(struct image_tree *t, const struct image_node *node, const char *path, int what)
{
    const struct image_inode *i = node->inode;
    bool special = i->type != IMAGE_FILE && i->type != IMAGE_DIR && i->type != IMAGE_SYMLINK;
    struct stat st;
    if (special && !(what & DEVICES))
        return;
    if (lstat(path, &st) < 0)
        fail_msg("`%s` is missing", path);
    assert_int_equal(st.st_mode & S_IFMT, type_bits(i));
    if (i->type != IMAGE_SYMLINK && (what & OWNERS))
        assert_int_equal(st.st_mode & 07777, i->mode);
    if (what & OWNERS) {
        assert_int_equal(st.st_uid, i->uid);
        assert_int_equal(st.st_gid, i->gid);
    }
    if (what & TIMES)
        assert_int_equal(st.st_mtime, i->mtime < 0 ? 0 : i->mtime > (int64_t)UINT32_MAX ? (int64_t)UINT32_MAX : i->mtime);
    if ((what & LINKS) && i->type != IMAGE_DIR)
        assert_int_equal(st.st_nlink, i->nlink);
    if (i->type == IMAGE_CHAR || i->type == IMAGE_BLOCK)
        assert_int_equal(st.st_rdev, makedev(i->u.rdev.major, i->u.rdev.minor));
    if (i->type == IMAGE_FILE)
        compare_content(t, i, path);
    if (i->type == IMAGE_SYMLINK) {
        char target[5000];
        ssize_t n = readlink(path, target, sizeof(target));
        assert_int_equal(n, i->size);
        assert_memory_equal(target, i->u.target, (size_t)n);
    }
    if (what & XATTRS)
        compare_xattrs(i, path);
}

static void compare_dir(struct image_tree *t, struct image_node *dir, const char *path, int what)
{
    compare_node(t, dir, path, what);
    struct image_node **children = image_node_children(dir);
    for (size_t i = 0; i < image_node_child_count(dir); i++) {
        cleanup_free char *below = gv_asprintf("%s/%s", path, children[i]->name);
        if (children[i]->inode->type == IMAGE_DIR)
            compare_dir(t, children[i], below, what);
        else
            compare_node(t, children[i], below, what);
    }
    free(children);
    /* nothing more than that */
    DIR *d = opendir(path);
    assert_non_null(d);
    size_t count = 0;
    while (readdir(d))
        count++;
    closedir(d);
    if (what & DEVICES)
        assert_int_equal(count - 2, image_node_child_count(dir));
}

/* The bytes of fd as DIR/image. */
static char *as_file(const char *dir, int fd)
{
    char *path = gv_asprintf("%s/image", dir);
    cleanup_close int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(out >= 0);
    enum { PIECE = 1 << 16 };
    cleanup_free unsigned char *buf = gv_alloc(PIECE);
    for (uint64_t at = 0;;) {
        ssize_t n = gv_pread_full(fd, buf, PIECE, at);
        assert_true(n >= 0);
        if (n == 0)
            return path;
        assert_int_equal(gv_write_full(out, buf, (size_t)n), 0);
        at += (uint64_t)n;
    }
}

static int what_can_be_extracted(const char *dir)
{
    if (!am_root())
        return 0;
    cleanup_free char *probe = gv_asprintf("%s/probe", dir);
    cleanup_close int fd = open(probe, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    bool xattrs = fd >= 0 && fsetxattr(fd, "trusted.probe", "x", 1, 0) == 0 && fsetxattr(fd, "user.probe", "x", 1, 0) == 0;
    if (!xattrs)
        print_message("# no extended attributes in %s\n", dir);
    return ALL & ~(xattrs ? 0 : XATTRS);
}

/* Every compression through both extractors. */
static void with_extractor(const char *tool, const char *as_root, const char *as_user, int able)
{
    if (!have(tool))
        skip();
    for (int compression = GVMI_GZIP; compression <= GVMI_ZSTD; compression++) {
        if (compression == GVMI_LZMA)
            continue;
        char *dir = make_dir();
        struct image_tree *t = tree_of_all_kinds();
        struct gvmi_write_options o = { .compression = compression, .block_size = 4096, .level = 1 };
        int fd = pack(t, NULL, &o, NULL);
        free(as_file(dir, fd));
        int what = what_can_be_extracted(dir);
        const char *options = what ? as_root : as_user;
        cleanup_free char *said = output_of("cd %s && umask 022 && %s %s image 2>&1 || echo FAILED", dir, tool, options);
        if (what && strstr(said, "FAILED"))
            fail_msg("%s: %s", tool, said);
        cleanup_free char *top = gv_asprintf("%s/out", dir);
        compare_dir(t, image_tree_root(t), top, what & able);
        close(fd);
        image_tree_free(t);
        remove_dir(dir);
    }
}

static void test_unsquashfs(void **state)
{
    (void)state;
    with_extractor("unsquashfs", "-no-progress -d out", "-no-progress -no-xattrs -ignore-errors -d out", ALL);
}

static void test_rdsquashfs(void **state)
{
    (void)state;
    /* It makes a copy of each name of a file, gives the top directory no time, and loses capabilities by changing the owner afterwards. */
    with_extractor("rdsquashfs", "-q -C -O -X -p out -u /", "-q -D -S -F -p out -u /", OWNERS | DEVICES);
}

static void test_unsquashfs_lists_the_same(void **state)
{
    (void)state;
    if (!have("unsquashfs"))
        skip();
    char *dir = make_dir();
    struct image_tree *t = tree_of_all_kinds();
    int fd = pack(t, NULL, NULL, NULL);
    cleanup_free char *image = as_file(dir, fd);
    struct image_tree_totals totals;
    image_tree_finish(t, &totals);
    cleanup_free char *list = output_of("TZ=UTC unsquashfs -lln %s", image);
    assert_non_null(list);
    assert_non_null(strstr(list, "-rwsr-sr-x 0/0                      10 2017-07-14 02:40 squashfs-root/bin/su\n"));
    assert_non_null(strstr(list, "crw------- 0/0                   1,  3 2017-07-14 02:40 squashfs-root/dev/null\n"));
    assert_non_null(strstr(list, "lrwxrwxrwx 0/0                      12 2017-07-14 02:40 squashfs-root/bin/sh -> /bin/busybox\n"));
    assert_non_null(strstr(list, "squashfs-root/owned\n"));
    cleanup_free char *super = output_of("unsquashfs -s %s", image);
    char expected[64];
    snprintf(expected, sizeof(expected), "Number of inodes %llu\n", (unsigned long long)totals.inodes);
    assert_non_null(strstr(super, expected));
    assert_non_null(strstr(super, "Compression gzip\n"));
    assert_non_null(strstr(super, "Filesystem is exportable via NFS\n"));
    assert_non_null(strstr(super, "Duplicates are removed\n"));
    close(fd);
    image_tree_free(t);
    remove_dir(dir);
}

static void with_kernel(struct image_tree *t, const struct gvmi_write_options *o)
{
    char *dir = make_dir();
    int fd = pack(t, NULL, o, NULL);
    cleanup_free char *image = as_file(dir, fd), *top = gv_asprintf("%s/mnt", dir);
    assert_int_equal(mkdir(top, 0755), 0);
    if (run("mount -t squashfs -o loop,ro,nodev %s %s", image, top) != 0) {
        print_message("# the kernel here cannot mount %s squashfs\n", gvmi_compression_name(o->compression));
    } else {
        compare_dir(t, image_tree_root(t), top, ALL);
        assert_int_equal(run("umount %s", top), 0);
    }
    close(fd);
    remove_dir(dir);
}

static void test_kernel(void **state)
{
    (void)state;
    if (!am_root() || run("losetup -f") != 0) {
        print_message("# no loop devices\n");
        skip();
    }
    for (int compression = GVMI_GZIP; compression <= GVMI_ZSTD; compression++) {
        if (compression == GVMI_LZMA)
            continue;
        for (uint32_t block = 4096; block <= 1U << 20; block *= 256) {
            struct image_tree *t = tree_of_all_kinds();
            struct gvmi_write_options o = { .compression = compression, .block_size = block, .level = 1 };
            with_kernel(t, &o);
            image_tree_free(t);
        }
    }
}

/* The kernel finds names through the index of a big directory, ours and those that are not there. */
static void test_kernel_big_directory(void **state)
{
    (void)state;
    if (!am_root() || run("losetup -f") != 0) {
        print_message("# no loop devices\n");
        skip();
    }
    struct image_tree *t = tree_new();
    struct image_node *dir = tree_dir(t, "big");
    for (uint32_t i = 0; i < 30000; i++) {
        char name[200];
        int n =
            snprintf(name, sizeof(name), "%u%.*s", i * 7919 % 30011, (int)(i % 150),
                     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        struct image_inode *inode = image_inode_new(t, IMAGE_FILE);
        image_node_add(t, dir, name, (size_t)n, inode);
    }
    struct gvmi_write_options o = { .compression = GVMI_GZIP };
    with_kernel(t, &o);
    image_tree_free(t);
}

/* Runs a program that packs DIR/tree into DIR/image and reads that. The command gets the name of the compression as $1. */
static void with_packer(const char *tool, const char *command, uint32_t links)
{
    if (!have(tool))
        skip();
    char *dir = make_dir();
    assert_int_equal(run("cd %s && mkdir tree && cd tree && mkdir -p a/b/c empty && echo hello > a/file && ln a/file a/b/hard && ln -s "
                         "../file a/b/soft && "
                         "head -c 300000 /dev/urandom > a/b/c/random && truncate -s 1000000 sparse && seq 1 40000 > numbers && "
                         "mkdir many && cd many && seq -f 'a_rather_long_name_for_an_empty_file_%%g' 1 500 | xargs touch",
                         dir),
                     0);
    static const char *const names[] = { "gzip", "lzo", "xz", "lz4", "zstd", "lzma" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (run("cd %s && rm -f image && set -- %s && %s", dir, names[i], command) != 0) {
            print_message("# %s cannot write %s\n", tool, names[i]);
            continue;
        }
        cleanup_free char *image = gv_asprintf("%s/image", dir);
        cleanup_close int fd = open(image, O_RDWR | O_APPEND | O_CLOEXEC);
        const char end[] = "\x43\xbf\xa6\xa3{}00000002";
        assert_int_equal(gv_write_full(fd, end, 14), 0);
        struct gvmi_image *img = open_fd(fd);
        struct gv_error err = GV_ERROR_INIT;
        struct gvmi_stat st, other;
        assert_int_equal(gvmi_info(img)->compression, gvmi_compression_by_name(names[i]));
        if (gvmi_verify(img, NULL, &err) < 0)
            fail_msg("%s %s: %s", tool, names[i], err.msg);
        assert_int_equal(gvmi_lookup(img, "a/b/soft/../../numbers", true, &st, &err), -1);
        assert_int_equal(gvmi_lookup(img, "a/b/soft", true, &st, &err), 0);
        assert_int_equal(gvmi_lookup(img, "a/b/hard", true, &other, &err), 0);
        assert_int_equal(st.inode == other.inode, links == 2);
        assert_int_equal(st.nlink, links);
        assert_int_equal(gvmi_lookup(img, "many/a_rather_long_name_for_an_empty_file_499", true, &st, &err), 0);
        gvmi_close(img);

        /* ours, and what they wrote: packed again by us it extracts to the same */
        cleanup_free char *differences = output_of("cd %s && rm -rf out && unsquashfs -no-progress -no-xattrs -d out image >/dev/null "
                                                   "2>&1; diff -r --no-dereference tree out 2>&1",
                                                   dir);
        if (differences)
            assert_string_equal(differences, "");
    }
    remove_dir(dir);
}

static void test_mksquashfs(void **state)
{
    (void)state;
    with_packer("mksquashfs", "mksquashfs tree image -noappend -no-progress -mem 64M -processors 1 -comp $1", 2);
}

static void test_gensquashfs(void **state)
{
    (void)state;
    with_packer("gensquashfs", "gensquashfs -q -D tree -c $1 image", 1); /* it does not see hard links */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unsquashfs),  cmocka_unit_test(test_rdsquashfs),           cmocka_unit_test(test_unsquashfs_lists_the_same),
        cmocka_unit_test(test_kernel),      cmocka_unit_test(test_kernel_big_directory), cmocka_unit_test(test_mksquashfs),
        cmocka_unit_test(test_gensquashfs),
    };
    return cmocka_run_group_tests_name("gvmi_oracle", tests, NULL, NULL);
}
