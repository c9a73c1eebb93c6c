/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A directory as a source: what is taken, whom it belongs to, what we may not read, what changes meanwhile, mounts, limits, descriptors. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ORDINARY 65534 /* a user without rights, for tests that run as root */

static char *root_of(const char *dir)
{
    char *root = path_in(dir, "root");
    assert_int_equal(mkdir(root, 0755), 0);
    assert_int_equal(chmod(root, 0755), 0);
    return root;
}

static void make_dir(const char *root, const char *name)
{
    cleanup_free char *path = path_in(root, name);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

static void make_file(const char *root, const char *name, const char *text)
{
    cleanup_free char *path = path_in(root, name);
    write_file(path, text, strlen(text));
    assert_int_equal(chmod(path, 0644), 0);
}

static void set_time(const char *root, const char *name)
{
    cleanup_free char *path = path_in(root, name);
    const struct timespec t[2] = { { .tv_sec = 1000, .tv_nsec = 999999999 }, { .tv_sec = 1000, .tv_nsec = 999999999 } };
    assert_int_equal(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static int load(const char *root, const struct source_options *options, struct source_image *image, struct gv_error *err)
{
    cleanup_free char *reference = gv_asprintf("dir:%s", root);
    return source_load(image, reference, options, err);
}

static void must_load(const char *root, const struct source_options *options, struct source_image *image)
{
    struct gv_error err = GV_ERROR_INIT;
    if (load(root, options, image, &err) < 0)
        fail_msg("%s", err.msg);
}

static void expect_error(const char *reference, const struct source_options *options, const char *error)
{
    struct gv_error err = GV_ERROR_INIT;
    struct source_image image = { 0 };
    if (source_load(&image, reference, options, &err) == 0)
        fail_msg("accepted; expected `%s`", error);
    if (!strstr(err.msg, error))
        fail_msg("expected `%s` in: %s", error, err.msg);
    assert_null(image.tree);
}

static void expect_load_error(const char *root, const struct source_options *options, const char *error)
{
    cleanup_free char *reference = gv_asprintf("dir:%s", root);
    expect_error(reference, options, error);
}

static void test_everything(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir);
    make_dir(root, "etc");
    make_dir(root, "empty");
    make_file(root, "etc/b", "content");
    make_file(root, "set-id", "");
    make_file(root, ".wh.name", "no whiteout");
    cleanup_free char *b = path_in(root, "etc/b"), *a = path_in(root, "a"), *fifo = path_in(root, "fifo"), *setid = path_in(root, "set-id"),
                      *link = path_in(root, "link"), *twin = path_in(root, "twin"), *empty = path_in(root, "empty");
    assert_int_equal(symlink("/etc/../nowhere", link), 0);
    assert_int_equal(linkat(AT_FDCWD, link, AT_FDCWD, twin, 0), 0);
    assert_int_equal(linkat(AT_FDCWD, b, AT_FDCWD, a, 0), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(chmod(fifo, 0600), 0);
    assert_int_equal(chmod(setid, 06711), 0);
    assert_int_equal(chmod(empty, 01777), 0);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", root);
    assert_true(n > 0 && (size_t)n < sizeof(address.sun_path));
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof(address)), 0);
    close(s);
    assert_int_equal(chmod(address.sun_path, 0755), 0);
    static const char *const all[] = { "etc/b", "etc", "empty", "set-id", ".wh.name", "link", "fifo", "socket", "" };
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        set_time(root, all[i]);

    struct source_image image = { 0 };
    must_load(root, NULL, &image);
    assert_tree(&image, "/ d\n/.wh.name f no whiteout\n/a f content\n/empty d m=1777\n/etc d\n/etc/b = /a\n/fifo p m=600\n"
                        "/link l /etc/../nowhere\n/set-id f m=6711\n/socket s m=755\n/twin = /link\n");
    assert_int_equal(image.totals.bytes, 18);
    assert_int_equal(image.layer_bytes, 18);
    assert_int_equal(image.layers, 0);
    assert_string_equal(image.architecture, "amd64");
    assert_int_equal(image_tree_lookup(image.tree, "a", false)->inode->nlink, 2);
    source_image_clear(&image);
    free(root);
    temp_remove(dir);
}

static void test_xattrs(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir);
    make_dir(root, "d");
    make_file(root, "d/f", "x");
    make_file(root, "plain", "x");
    cleanup_free char *d = path_in(root, "d"), *f = path_in(root, "d/f"), *link = path_in(root, "link");
    assert_int_equal(symlink("x", link), 0);
    if (setxattr(f, "user.two",
                 "2\0"
                 "2",
                 3, 0) < 0) {
        print_message("# skipped: no extended attributes in %s: %s\n", dir, strerror(errno));
        free(root);
        temp_remove(dir);
        return;
    }
    assert_int_equal(setxattr(f, "user.one", "", 0, 0), 0);
    assert_int_equal(setxattr(d, "user.dir", "d", 1, 0), 0);
    bool is_root = geteuid() == 0 && setxattr(d, "trusted.t", "t", 1, 0) == 0;
    if (is_root) {
        static const unsigned char capability[] = { 1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
        assert_int_equal(setxattr(f, "security.capability", capability, sizeof(capability), 0), 0);
        (void)setxattr(f, "security.selinux", "label", 5, 0);
        (void)setxattr(f, "trusted.overlay.opaque", "y", 1, 0);
        assert_int_equal(lsetxattr(link, "trusted.link", "l", 1, 0), 0);
    }
    struct source_image image = { 0 };
    must_load(root, NULL, &image);
    const struct image_inode *i = image_tree_lookup(image.tree, "d/f", false)->inode;
    size_t at = 0;
    assert_int_equal(i->xattr_count, is_root ? 3 : 2);
    if (is_root) {
        assert_string_equal(i->xattrs[0].name, "security.capability");
        assert_int_equal(i->xattrs[0].size, 20);
        at = 1;
    }
    assert_string_equal(i->xattrs[at].name, "user.one");
    assert_int_equal(i->xattrs[at].size, 0);
    assert_string_equal(i->xattrs[at + 1].name, "user.two");
    assert_int_equal(i->xattrs[at + 1].size, 3);
    assert_memory_equal(i->xattrs[at + 1].value,
                        "2\0"
                        "2",
                        3);
    i = image_tree_lookup(image.tree, "d", false)->inode;
    assert_int_equal(i->xattr_count, is_root ? 2 : 1);
    assert_int_equal(image_tree_lookup(image.tree, "link", false)->inode->xattr_count, is_root ? 1 : 0);
    assert_int_equal(image_tree_lookup(image.tree, "plain", false)->inode->xattr_count, 0);
    source_image_clear(&image);
    free(root);
    temp_remove(dir);
}

/* ---- owners and rights ---- */

static void collect(void *user, enum gv_log_level level, const char *text)
{
    (void)level;
    gv_strv_add(user, text);
}

/* What is his becomes root's, what is others' stays. */
static void test_owner(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir);
    make_dir(root, "d");
    make_file(root, "mine", "1");
    make_file(root, "theirs", "2");
    cleanup_strv struct gv_strv notes = { 0 };
    struct gv_log log = { .write = collect, .user = &notes };
    struct source_options options = { .log = &log };
    bool is_root = geteuid() == 0;
    if (is_root) {
        cleanup_free char *d = path_in(root, "d"), *mine = path_in(root, "mine"), *theirs = path_in(root, "theirs"),
                          *null = path_in(root, "null");
        assert_int_equal(chown(d, ORDINARY, 100), 0);
        assert_int_equal(chown(mine, ORDINARY, ORDINARY), 0);
        assert_int_equal(chown(theirs, 12, 34), 0);
        assert_int_equal(mknod(null, S_IFCHR | 0644, makedev(300, 70000)), 0);
        static const char *const all[] = { "d", "mine", "theirs", "null", "" };
        for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
            set_time(root, all[i]);
        struct source_image image = { 0 };
        must_load(root, &options, &image);
        assert_tree(&image, "/ d\n/d d u=65534 g=100\n/mine f 1 u=65534 g=65534\n/null c 300:70000\n/theirs f 2 u=12 g=34\n");
        source_image_clear(&image);
        options.root_owned = true;
        must_load(root, &options, &image);
        assert_tree(&image, "/ d\n/d d\n/mine f 1\n/null c 300:70000\n/theirs f 2\n");
        source_image_clear(&image);
        options.root_owned = false;
        assert_int_equal(notes.count, 0);
        assert_int_equal(chmod(dir, 0755), 0);
        assert_int_equal(seteuid(ORDINARY), 0);
    }
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int status = load(root, &options, &image, &err);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    if (status < 0)
        fail_msg("%s", err.msg);
    const struct image_inode *mine = image_tree_lookup(image.tree, "mine", false)->inode,
                             *theirs = image_tree_lookup(image.tree, "theirs", false)->inode;
    assert_int_equal(mine->uid, 0);
    assert_int_equal(mine->gid, 0);
    assert_int_equal(theirs->uid, is_root ? 12 : 0);
    assert_int_equal(theirs->gid, is_root ? 34 : 0);
    assert_int_equal(notes.count, 1);
    assert_non_null(strstr(notes.items[0], "belong to root in the image"));
    source_image_clear(&image);
    free(root);
    temp_remove(dir);
}

/* All are counted, the first is named, and nothing is converted. */
static void test_unreadable(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir);
    make_dir(root, "b");
    make_dir(root, "closed");
    make_dir(root, "no-way");
    make_file(root, "b/secret", "1");
    make_file(root, "b/open", "1");
    make_file(root, "closed/f", "1");
    make_file(root, "no-way/f", "1");
    cleanup_free char *secret = path_in(root, "b/secret"), *closed = path_in(root, "closed"), *no_way = path_in(root, "no-way");
    assert_int_equal(chmod(secret, 0), 0);
    assert_int_equal(chmod(closed, 0), 0);
    assert_int_equal(chmod(no_way, 0444), 0);
    bool is_root = geteuid() == 0;
    if (is_root) {
        struct source_image image = { 0 };
        must_load(root, NULL, &image);
        source_image_clear(&image);
        assert_int_equal(chmod(dir, 0755), 0);
        assert_int_equal(seteuid(ORDINARY), 0);
    }
    struct gv_error all = GV_ERROR_INIT, one = GV_ERROR_INIT;
    struct source_image image = { 0 };
    int first = load(root, NULL, &image, &all);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(secret, 0644), 0);
    assert_int_equal(chmod(no_way, 0755), 0);
    if (is_root)
        assert_int_equal(seteuid(ORDINARY), 0);
    int second = load(root, NULL, &image, &one);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(closed, 0755), 0);
    assert_int_equal(first, -1);
    assert_int_equal(second, -1);
    if (!strstr(all.msg, "`/b/secret` and 2 more cannot be read: Permission denied; ") || !strstr(all.msg, "fakeroot"))
        fail_msg("%s", all.msg);
    if (!strstr(one.msg, "`/closed` cannot be read: "))
        fail_msg("%s", one.msg);
    assert_null(image.tree);
    free(root);
    temp_remove(dir);
}

/* ---- changes ---- */

static int read_all(struct source_image *image, const char *name, char *buf, size_t n, struct gv_error *err)
{
    return image_tree_read(image->tree, image_tree_lookup(image->tree, name, false)->inode, 0, buf, n, err);
}

static void expect_changed(struct source_image *image, const char *name)
{
    char buf[64];
    struct gv_error err = GV_ERROR_INIT;
    size_t n = image_tree_lookup(image->tree, name, false)->inode->size;
    assert_true(n <= sizeof(buf));
    if (read_all(image, name, buf, n, &err) == 0)
        fail_msg("%s was read", name);
    cleanup_free char *expected = gv_asprintf("`/%s` has changed while it was read", name);
    if (!strstr(err.msg, expected))
        fail_msg("%s", err.msg);
}

static void test_changes(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir), buf[16];
    static const char *const names[] = { "same-size", "longer", "shorter", "gone", "link", "fifo",
                                         "replaced",  "mode",   "kept",    "d/f",  "d2/f", "d3/f" };
    make_dir(root, "d");
    make_dir(root, "d2");
    make_dir(root, "d3");
    make_dir(dir, "outside");
    make_file(dir, "outside/f", "outside");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        make_file(root, names[i], "content");
    struct source_image image = { 0 };
    must_load(root, NULL, &image);
    usleep(20000); /* more than the grain of the file system's clock */
    cleanup_free char *shorter = path_in(root, "shorter"), *gone = path_in(root, "gone"), *link = path_in(root, "link"),
                      *fifo = path_in(root, "fifo"), *replaced = path_in(root, "replaced"), *mode = path_in(root, "mode"),
                      *d = path_in(root, "d"), *d2 = path_in(root, "d2"), *outside = path_in(dir, "outside"),
                      *outside_f = path_in(dir, "outside/f"), *moved = path_in(root, "moved");
    assert_int_equal(read_all(&image, "kept", buf, 7, NULL), 0);
    assert_memory_equal(buf, "content", 7);
    assert_int_equal(read_all(&image, "longer", buf, 7, NULL), 0); /* stays open */
    assert_int_equal(read_all(&image, "d3/f", buf, 7, NULL), 0);
    make_file(root, "same-size", "Content");
    set_time(root, "same-size");
    make_file(root, "longer", "content and more");
    assert_int_equal(truncate(shorter, 3), 0);
    assert_int_equal(unlink(gone), 0);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink(outside_f, link), 0);
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    make_file(root, "new", "content");
    cleanup_free char *fresh = path_in(root, "new");
    assert_int_equal(rename(fresh, replaced), 0);
    assert_int_equal(chmod(mode, 0755), 0);
    /* Directories on the way: a link to another place, another directory, one that is elsewhere now. */
    assert_int_equal(rename(d, moved), 0);
    assert_int_equal(symlink(outside, d), 0);
    cleanup_free char *d2f = path_in(root, "d2/f");
    assert_int_equal(unlink(d2f), 0);
    assert_int_equal(rmdir(d2), 0);
    make_dir(root, "d2");
    make_file(root, "d2/f", "content");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!strchr(names[i], '/') && strcmp(names[i], "kept") != 0)
            expect_changed(&image, names[i]);
    expect_changed(&image, "d2/f");
    /* One that is still open may be read on, wherever it is now, but never the one in its place. */
    if (read_all(&image, "d/f", buf, 7, NULL) == 0)
        assert_memory_equal(buf, "content", 7);
    assert_int_equal(read_all(&image, "kept", buf, 7, NULL), 0);
    assert_int_equal(read_all(&image, "d3/f", buf, 7, NULL), 0);
    source_image_clear(&image);
    free(root);
    temp_remove(dir);
}

/* ---- what is mounted ---- */

static void test_mounts(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir);
    make_dir(root, "proc");
    make_dir(root, "sub");
    make_file(root, "file", "below");
    make_file(root, "twin", "twin");
    make_file(root, "sub/f", "x");
    cleanup_free char *proc = path_in(root, "proc"), *file = path_in(root, "file"), *twin = path_in(root, "twin"),
                      *twin2 = path_in(root, "twin2");
    assert_int_equal(linkat(AT_FDCWD, twin, AT_FDCWD, twin2, 0), 0);
    set_time(root, "proc");
    set_time(root, "sub/f");
    set_time(root, "sub");
    set_time(root, "twin");
    set_time(root, "");
    bool possible = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                    mount("none", proc, "tmpfs", 0, "mode=0555") == 0;
    if (!possible) {
        print_message("# skipped: mounting needs root: %s\n", strerror(errno));
    } else {
        make_file(root, "proc/inside", "not part of it");
        bool bound = mount(twin, file, NULL, MS_BIND, NULL) == 0;
        cleanup_strv struct gv_strv notes = { 0 };
        struct gv_log log = { .write = collect, .user = &notes };
        struct source_image image = { 0 };
        must_load(root, &(struct source_options){ .log = &log }, &image);
        if (bound)
            assert_tree(&image, "/ d\n/file f\n/proc d m=555\n/sub d\n/sub/f f x\n/twin f twin\n/twin2 = /twin\n");
        assert_null(image_tree_lookup(image.tree, "proc/inside", false));
        assert_int_equal(notes.count, 1);
        assert_non_null(strstr(notes.items[0], "other file systems are mounted there"));
        source_image_clear(&image);
        /* What is given is read, mounted or not. */
        must_load(proc, NULL, &image);
        assert_non_null(image_tree_lookup(image.tree, "inside", false));
        source_image_clear(&image);
        if (bound)
            assert_int_equal(umount2(file, MNT_DETACH), 0);
        assert_int_equal(umount2(proc, MNT_DETACH), 0);
    }
    free(root);
    temp_remove(dir);
}

/* ---- limits ---- */

static void test_limits(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir), name[300];
    make_file(root, "a", "12345");
    make_file(root, "b", "12345");
    struct source_options options = { .max_entries = 1 };
    expect_load_error(root, &options, "more than 1 entries; if that is right, give its size with --max-size");
    options = (struct source_options){ .max_bytes = 9 };
    expect_load_error(root, &options, "more than 9 bytes; if that is right");
    options.max_bytes = 10;
    struct source_image image = { 0 };
    must_load(root, &options, &image);
    source_image_clear(&image);
    /* A path that is longer than Linux takes at once. */
    memset(name, 'n', 255);
    name[255] = '\0';
    int at = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 17; i++) {
        assert_int_equal(mkdirat(at, name, 0755), 0);
        int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    expect_load_error(root, NULL, "255 and 4095 are allowed");
    free(root);
    /* Deeper than a path can be: what removes it has to go step by step, too. */
    temp_remove(dir);
}

static void test_sparse(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir);
    make_file(root, "huge", "begin");
    cleanup_free char *path = path_in(root, "huge");
    uint64_t size = (uint64_t)80 << 30;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (ftruncate(fd, (off_t)size) < 0) {
        print_message("# skipped: no files of 80 GiB in %s: %s\n", dir, strerror(errno));
    } else {
        assert_int_equal(pwrite(fd, "middle", 6, 1 << 20), 6);
        expect_load_error(root, NULL, "more than 68719476736 bytes; if that is right, give its size with --max-size");
        struct source_image image = { 0 };
        must_load(root, &(struct source_options){ .max_bytes = size }, &image);
        const struct image_inode *i = image_tree_lookup(image.tree, "huge", false)->inode;
        unsigned char *buf = gv_alloc(1 << 20), *zero = gv_calloc(1, 1 << 20);
        assert_int_equal(image_tree_read(image.tree, i, 0, buf, 1 << 20, NULL), 0);
        assert_memory_equal(buf, "begin\0", 6);
        assert_int_equal(image_tree_read(image.tree, i, (1 << 20) - 2, buf, 10, NULL), 0);
        assert_memory_equal(buf, "\0\0middle\0", 10);
        for (uint64_t at = (uint64_t)1 << 30; at < size; at += (uint64_t)8 << 30) {
            buf[5] = 1;
            assert_int_equal(image_tree_read(image.tree, i, at, buf, 1 << 20, NULL), 0);
            assert_memory_equal(buf, zero, 1 << 20);
        }
        free(buf);
        free(zero);
        source_image_clear(&image);
    }
    close(fd);
    free(root);
    temp_remove(dir);
}

/* ---- descriptors and threads ---- */

#define DEEP 300
#define FILES 400

struct worker {
    pthread_t thread;
    struct source_image *image;
    unsigned first;
    bool failed;
};

static void *work(void *user)
{
    struct worker *w = user;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned k = 0; k < FILES; k++) {
            char name[64], expected[64], buf[64];
            unsigned i = (k * 7 + w->first) % FILES;
            snprintf(name, sizeof(name), "many/%u/f%u", i % 40, i);
            size_t n = (size_t)snprintf(expected, sizeof(expected), "this is file %u", i);
            const struct image_node *node = image_tree_lookup(w->image->tree, name, false);
            w->failed =
                w->failed || !node || image_tree_read(w->image->tree, node->inode, 0, buf, n, NULL) < 0 || memcmp(buf, expected, n) != 0;
        }
    }
    return NULL;
}

static void test_descriptors(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir);
    cleanup_buf struct gv_buf path = { 0 };
    gv_buf_addf(&path, "deep");
    make_dir(root, "deep");
    for (int i = 0; i < DEEP; i++) {
        gv_buf_addf(&path, "/d%d", i);
        make_dir(root, gv_buf_str(&path));
    }
    gv_buf_addf(&path, "/file");
    make_file(root, gv_buf_str(&path), "deep down");
    make_dir(root, "many");
    for (int i = 0; i < FILES; i++) {
        char name[64], text[64];
        snprintf(name, sizeof(name), "many/%d", i % 40);
        if (i < 40)
            make_dir(root, name);
        snprintf(name, sizeof(name), "many/%d/f%d", i % 40, i);
        snprintf(text, sizeof(text), "this is file %d", i);
        make_file(root, name, text);
    }
    struct rlimit before, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 90;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct source_image image = { 0 };
    must_load(root, NULL, &image);
    char buf[16];
    assert_int_equal(read_all(&image, gv_buf_str(&path), buf, 9, NULL), 0);
    assert_memory_equal(buf, "deep down", 9);
    struct worker workers[6];
    for (unsigned i = 0; i < 6; i++) {
        workers[i] = (struct worker){ .image = &image, .first = i * 50 };
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_false(workers[i].failed);
    }
    source_image_clear(&image);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    free(root);
    temp_remove(dir);
}

/* ---- what a directory without a transport is ---- */

static void test_recognised(void **state)
{
    (void)state;
    char *dir = temp_make(), *root = root_of(dir), *fingerprint = NULL;
    struct gv_error err = GV_ERROR_INIT;
    expect_error(root, NULL, "neither an image nor a root file system (no bin, etc, usr, ...) in it; if it is the root of one, write dir:");
    make_file(root, "Dockerfile", "FROM scratch");
    expect_error(root, NULL, "dockerfile:");
    make_file(root, "manifest.json", "[]");
    expect_error(root, NULL, "there is no image in it");
    make_dir(root, "usr");
    struct source_image image = { 0 };
    if (source_load(&image, root, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    assert_non_null(image_tree_lookup(image.tree, "usr", false));
    source_image_clear(&image);
    assert_int_equal(source_fingerprint(root, &fingerprint, &err), -1);
    assert_int_equal(err.code, GV_E_UNSUPPORTED);
    make_file(root, "oci-layout", "{}");
    expect_error(root, NULL, "index.json");

    cleanup_free char *file = path_in(dir, "file"), *missing = path_in(dir, "missing");
    make_file(dir, "file", "x");
    expect_load_error(file, NULL, "cannot open the directory: Not a directory");
    expect_load_error(missing, NULL, "cannot open the directory: No such file");
    expect_error("dir:", NULL, "names no file");
    free(root);
    temp_remove(dir);
}

int main(void)
{
    umask(022);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything), cmocka_unit_test(test_xattrs),  cmocka_unit_test(test_owner),
        cmocka_unit_test(test_unreadable), cmocka_unit_test(test_changes), cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_limits),     cmocka_unit_test(test_sparse),  cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_recognised),
    };
    return cmocka_run_group_tests_name("source_dir", tests, NULL, NULL);
}
