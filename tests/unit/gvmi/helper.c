/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ISLAND_EVERY ((uint64_t)100 << 20)
#define ISLAND_SIZE 5000U

/* The reader keeps nothing: which content it is stands in `file` (kind and seed), texts of their own in a list. */
struct contents {
    char **texts;
    size_t count;
};

#define TEXT_FLAG 0x80000000U

static unsigned char made_up(enum fill fill, uint32_t seed, uint64_t at)
{
    switch (fill) {
    case FILL_ZERO:
        return 0;
    case FILL_ISLAND:
        if (at % ISLAND_EVERY >= ISLAND_SIZE)
            return 0;
        return (unsigned char)('a' + (at ^ seed) % 23);
    case FILL_TEXT:
        return (unsigned char)('a' + ((at / 7 + seed) * 2654435761U >> 28) % 16);
    case FILL_RANDOM:
        break;
    }
    uint64_t x = at * 0x9e3779b97f4a7c15ULL + seed * 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 31;
    x *= 0x94d049bb133111ebULL;
    return (unsigned char)(x >> 40);
}

static int read_content(void *user, const struct image_content *c, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    const struct contents *all = user;
    unsigned char *p = buf;
    (void)err;
    if (c->file & TEXT_FLAG) {
        memcpy(buf, all->texts[c->file & ~TEXT_FLAG] + at, len);
        return 0;
    }
    enum fill fill = (enum fill)(c->file >> 28);
    uint32_t seed = c->file & 0xfffffff;
    if (fill == FILL_ZERO || (fill == FILL_ISLAND && at % ISLAND_EVERY >= ISLAND_SIZE && at % ISLAND_EVERY + len <= ISLAND_EVERY)) {
        memset(buf, 0, len);
        return 0;
    }
    for (size_t i = 0; i < len; i++)
        p[i] = made_up(fill, seed, at + i);
    return 0;
}

static void release_contents(void *user)
{
    struct contents *all = user;
    for (size_t i = 0; i < all->count; i++)
        free(all->texts[i]);
    free(all->texts);
    free(all);
}

/* The reader's own data is handed to the functions below through the root inode's content, which a directory does not use. */
struct image_tree *tree_new(void)
{
    struct image_tree *t = image_tree_new();
    struct contents *all = gv_new(struct contents);
    image_tree_set_reader(t, read_content, all, release_contents);
    image_tree_root(t)->inode->u.content.offset = (uint64_t)(uintptr_t)all;
    image_tree_root(t)->inode->mtime = 1600000000;
    return t;
}

static struct image_node *add(struct image_tree *t, const char *path, struct image_inode *inode)
{
    cleanup_free char *copy = gv_strdup(path);
    char *slash = strrchr(copy, '/');
    struct image_node *dir = image_tree_root(t);
    if (slash) {
        *slash = '\0';
        dir = tree_dir(t, copy);
    }
    const char *name = slash ? slash + 1 : copy;
    return image_node_add(t, dir, name, strlen(name), inode);
}

static struct image_inode *fresh(struct image_tree *t, enum image_type type, uint16_t mode)
{
    struct image_inode *i = image_inode_new(t, type);
    i->mode = mode;
    i->mtime = 1500000000;
    return i;
}

struct image_node *tree_dir(struct image_tree *t, const char *path)
{
    struct image_node *at = image_tree_root(t);
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");
        if (len > 0) {
            struct image_node *child = image_node_child(at, p, len);
            at = child ? child : image_node_add(t, at, p, len, fresh(t, IMAGE_DIR, 0755));
        }
        p += len + (p[len] == '/');
    }
    return at;
}

struct image_node *tree_file(struct image_tree *t, const char *path, enum fill fill, uint32_t seed, uint64_t size)
{
    struct image_inode *i = fresh(t, IMAGE_FILE, 0644);
    i->size = size;
    i->u.content.file = (uint32_t)fill << 28 | (seed & 0xfffffff);
    return add(t, path, i);
}

struct image_node *tree_text(struct image_tree *t, const char *path, const char *text)
{
    struct contents *all = (struct contents *)(uintptr_t)image_tree_root(t)->inode->u.content.offset;
    struct image_inode *i = fresh(t, IMAGE_FILE, 0644);
    i->size = strlen(text);
    i->u.content.file = TEXT_FLAG | (uint32_t)all->count;
    all->texts = gv_reallocarray(all->texts, all->count + 1, sizeof(char *));
    all->texts[all->count++] = gv_strdup(text);
    return add(t, path, i);
}

struct image_node *tree_link(struct image_tree *t, const char *path, const char *target)
{
    struct image_inode *i = fresh(t, IMAGE_SYMLINK, 0777);
    i->u.target = gv_arena_strndup(image_tree_arena(t), target, strlen(target));
    i->size = strlen(target);
    return add(t, path, i);
}

struct image_node *tree_special(struct image_tree *t, const char *path, enum image_type type, uint32_t major, uint32_t minor)
{
    struct image_inode *i = fresh(t, type, 0600);
    if (type == IMAGE_CHAR || type == IMAGE_BLOCK) {
        i->u.rdev.major = major;
        i->u.rdev.minor = minor;
    }
    return add(t, path, i);
}

struct image_node *tree_hardlink(struct image_tree *t, const char *path, const struct image_node *node)
{
    return add(t, path, node->inode);
}

void tree_xattr(struct image_tree *t, struct image_node *node, const char *name, const void *value, size_t n)
{
    struct image_inode *i = node->inode;
    struct gv_arena *a = image_tree_arena(t);
    struct image_xattr *list = gv_arena_alloc(a, (i->xattr_count + 1) * sizeof(*list));
    uint32_t at = 0, k = 0;
    while (at < i->xattr_count && strcmp(i->xattrs[at].name, name) < 0)
        list[k++] = i->xattrs[at++];
    void *copy = gv_arena_alloc(a, n + 1);
    memcpy(copy, value, n);
    list[k++] = (struct image_xattr){ gv_arena_strndup(a, name, strlen(name)), copy, (uint32_t)n };
    while (at < i->xattr_count)
        list[k++] = i->xattrs[at++];
    i->xattrs = list;
    i->xattr_count = k;
}

static void add_nasty_names(struct image_tree *t)
{
    /* every byte that a name can hold, alone and between others */
    for (int c = 1; c < 256; c++) {
        if (c == '/')
            continue;
        char path[64];
        if (c != '.') {
            snprintf(path, sizeof(path), "names/alone/%c", c);
            tree_text(t, path, "x");
        }
        snprintf(path, sizeof(path), "names/between/a%cb", c);
        tree_text(t, path, path);
    }
    char *longest = gv_asprintf("names/%0255d", 7);
    tree_text(t, longest, "longest");
    free(longest);
    tree_text(t, "names/...", "dots");
    tree_text(t, "names/..x", "dots");
    tree_text(t, "names/new\nline \t\"quoted\" 'too' $HOME `id` *?[a]", "shell");
    tree_text(t, "names/-rf", "option");
    tree_text(t, "names/\xff\xfe not utf-8", "latin");
}

static void add_sizes(struct image_tree *t, uint64_t block)
{
    const uint64_t sizes[] = {
        0, 1, 2, block / 4 - 1, block / 4, block - 1, block, block + 1, 2 * block - 1, 2 * block, 5 * block + block / 3
    };
    char path[64];
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (enum fill f = FILL_ZERO; f <= FILL_RANDOM; f++) {
            snprintf(path, sizeof(path), "sizes/%llu-%d", (unsigned long long)sizes[i], f);
            tree_file(t, path, f, (uint32_t)i, sizes[i]);
        }
    }
    /* the same content under other names, as a whole file and in fragments */
    tree_file(t, "same/small", FILL_RANDOM, 5, block - 1);
    tree_file(t, "same/large", FILL_RANDOM, 10, 5 * block + block / 3);
    tree_file(t, "same/size only", FILL_RANDOM, 77, 5 * block + block / 3);
}

struct image_tree *tree_of_all_kinds(void)
{
    struct image_tree *t = tree_new();
    add_sizes(t, 4096);
    add_nasty_names(t);
    tree_dir(t, "empty")->inode->mode = 01777;
    struct image_node *suid = tree_text(t, "bin/su", "#!/bin/sh\n");
    suid->inode->mode = 06755;
    tree_link(t, "bin/sh", "/bin/busybox");
    tree_link(t, "bin/self", ".");
    char target[4096];
    memset(target, 't', 4095);
    target[4095] = '\0';
    tree_link(t, "longest link", target);
    tree_special(t, "dev/null", IMAGE_CHAR, 1, 3);
    tree_special(t, "dev/big", IMAGE_CHAR, 4095, 1048575);
    tree_special(t, "dev/sda", IMAGE_BLOCK, 8, 0);
    tree_special(t, "run/fifo", IMAGE_FIFO, 0, 0);
    tree_special(t, "run/socket", IMAGE_SOCKET, 0, 0);
    struct image_node *owned = tree_text(t, "owned", "by somebody");
    owned->inode->uid = 4294967294U;
    owned->inode->gid = 123456;
    tree_text(t, "old", "before the epoch")->inode->mtime = -5;
    tree_text(t, "late", "after 2106")->inode->mtime = (int64_t)1 << 33;
    struct image_node *first = tree_file(t, "links/first", FILL_TEXT, 3, 9000);
    tree_hardlink(t, "links/second", first);
    tree_hardlink(t, "zz/far away", first);
    tree_hardlink(t, "links/link too", tree_link(t, "links/link", "first"));
    tree_hardlink(t, "dev/null2", image_tree_lookup(t, "dev/null", false));
    struct image_node *capable = tree_text(t, "bin/ping", "ping");
    tree_xattr(t, capable, "security.capability", "\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    tree_xattr(t, capable, "user.empty", "", 0);
    struct image_node *also = tree_text(t, "bin/ping6", "ping6");
    tree_xattr(t, also, "security.capability", "\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    tree_xattr(t, also, "user.empty", "", 0);
    char long_value[1500];
    memset(long_value, 'v', sizeof(long_value));
    tree_xattr(t, tree_dir(t, "with"), "trusted.long", long_value, sizeof(long_value));
    tree_xattr(t, tree_link(t, "with/link", "nowhere"), "trusted.l", "link", 4);
    tree_xattr(t, tree_special(t, "with/fifo", IMAGE_FIFO, 0, 0), "trusted.f", "fifo", 4);
    tree_xattr(t, tree_special(t, "with/socket", IMAGE_SOCKET, 0, 0), "trusted.f", "socket", 6);
    tree_xattr(t, tree_special(t, "with/device", IMAGE_BLOCK, 7, 300), "trusted.d", "device", 6);
    return t;
}

int scratch(void)
{
    int fd = memfd_create("gvmi-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

int pack(struct image_tree *t, const struct image_config *config, const struct gvmi_write_options *options,
         struct gvmi_write_result *result)
{
    static const struct image_config none = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int fd = scratch();
    image_tree_finish(t, NULL);
    if (gvmi_write(fd, t, config ? config : &none, options, result, &err) < 0)
        fail_msg("gvmi_write: %s", err.msg);
    return fd;
}

struct gvmi_image *open_fd(int fd)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_image *img = NULL;
    if (gvmi_open_fd(&img, fd, "test image", &err) < 0)
        fail_msg("gvmi_open_fd: %s", err.msg);
    return img;
}

/* ---- comparing -------------------------------------------------------------------------------------------------------------------- */

struct comparison {
    struct image_tree *tree;
    struct gvmi_image *img;
    struct gvmi_image *names; /* the same file once more, for reading beside a walk */
};

struct entries {
    struct gvmi_entry *list;
    size_t count, room;
};

static int take_entry(void *user, const struct gvmi_entry *e)
{
    struct entries *all = user;
    if (all->count == all->room) {
        all->room = all->room ? all->room * 2 : 64;
        all->list = gv_reallocarray(all->list, all->room, sizeof(*all->list));
    }
    all->list[all->count++] = *e;
    return 0;
}

struct content_check {
    struct image_tree *tree;
    const struct image_inode *inode;
    uint64_t at;
    unsigned char *expected;
};

static int check_piece(void *user, const void *p, size_t n)
{
    struct content_check *c = user;
    struct gv_error err = GV_ERROR_INIT;
    assert_true(n > 0 && n <= SIZE_MAX && c->at + n <= c->inode->size);
    if (image_tree_read(c->tree, c->inode, c->at, c->expected, n, &err) < 0)
        fail_msg("%s", err.msg);
    if (memcmp(c->expected, p, n) != 0)
        fail_msg("content differs at %llu", (unsigned long long)c->at);
    c->at += n;
    return 0;
}

static void check_content(const struct comparison *c, const struct image_node *node, uint64_t ref)
{
    struct gv_error err = GV_ERROR_INIT;
    struct content_check check = { .tree = c->tree, .inode = node->inode, .expected = gv_alloc(1 << 20) };
    if (gvmi_read_file(c->img, ref, check_piece, &check, &err) != 0)
        fail_msg("%s: %s", node->name, err.msg);
    assert_int_equal(check.at, node->inode->size);
    free(check.expected);
}

static bool is_storable(const struct image_xattr *x)
{
    return strncmp(x->name, "user.", 5) == 0 || strncmp(x->name, "trusted.", 8) == 0 || strncmp(x->name, "security.", 9) == 0;
}

struct xattr_check {
    const struct image_inode *inode;
    uint32_t at;
};

static int check_xattr(void *user, const char *name, const void *value, size_t n)
{
    struct xattr_check *c = user;
    while (c->at < c->inode->xattr_count && !is_storable(&c->inode->xattrs[c->at]))
        c->at++;
    assert_true(c->at < c->inode->xattr_count);
    const struct image_xattr *x = &c->inode->xattrs[c->at++];
    assert_string_equal(name, x->name);
    assert_int_equal(n, x->size);
    assert_memory_equal(value, x->value, n);
    return 0;
}

static void check_attributes(const struct comparison *c, const struct image_node *node, const struct gvmi_stat *st)
{
    const struct image_inode *i = node->inode;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(st->type, i->type);
    assert_int_equal(st->mode, i->mode);
    assert_int_equal(st->uid, i->uid);
    assert_int_equal(st->gid, i->gid);
    assert_int_equal(st->nlink, i->nlink);
    assert_int_equal(st->mtime, i->mtime < 0 ? 0 : i->mtime > (int64_t)UINT32_MAX ? (int64_t)UINT32_MAX : i->mtime);
    if (i->type == IMAGE_FILE || i->type == IMAGE_SYMLINK)
        assert_int_equal(st->size, i->size);
    if (i->type == IMAGE_CHAR || i->type == IMAGE_BLOCK) {
        assert_int_equal(st->rdev_major, i->u.rdev.major);
        assert_int_equal(st->rdev_minor, i->u.rdev.minor);
    }
    if (i->type == IMAGE_SYMLINK) {
        char *target = NULL;
        assert_int_equal(gvmi_read_link(c->img, st->ref, &target, &err), 0);
        assert_string_equal(target, i->u.target);
        free(target);
    }
    struct xattr_check x = { .inode = i };
    if (gvmi_read_xattrs(c->img, st->ref, check_xattr, &x, &err) != 0)
        fail_msg("%s: %s", node->name, err.msg);
    while (x.at < i->xattr_count && !is_storable(&i->xattrs[x.at]))
        x.at++;
    assert_int_equal(x.at, i->xattr_count);
}

static size_t check_dir(const struct comparison *c, struct image_node *dir, uint64_t ref, struct image_node ***queue, uint64_t **refs,
                        size_t count)
{
    struct gv_error err = GV_ERROR_INIT;
    struct entries found = { 0 };
    if (gvmi_read_dir(c->img, ref, take_entry, &found, &err) != 0)
        fail_msg("%s: %s", dir->name, err.msg);
    assert_int_equal(found.count, image_node_child_count(dir));
    struct image_node **children = image_node_children(dir);
    for (size_t i = 0; i < found.count; i++) {
        struct gvmi_stat st;
        struct image_node *node = children[i];
        assert_string_equal(found.list[i].name, node->name);
        assert_int_equal(found.list[i].type, node->inode->type);
        if (gvmi_stat(c->img, found.list[i].ref, &st, &err) < 0)
            fail_msg("%s: %s", node->name, err.msg);
        check_attributes(c, node, &st);
        /* two names of one inode have one number, two inodes never: the writer numbers them through `user` */
        assert_int_equal(st.inode, (uintptr_t)node->inode->user);
        if (node->inode->type == IMAGE_FILE)
            check_content(c, node, st.ref);
        if (node->inode->type == IMAGE_DIR) {
            *queue = gv_reallocarray(*queue, count + 1, sizeof(**queue));
            *refs = gv_reallocarray(*refs, count + 1, sizeof(**refs));
            (*queue)[count] = node;
            (*refs)[count++] = st.ref;
        }
    }
    free(children);
    free(found.list);
    return count;
}

void assert_same_tree(struct image_tree *t, struct gvmi_image *img)
{
    struct comparison c = { .tree = t, .img = img };
    struct image_node **queue = gv_alloc(sizeof(*queue));
    uint64_t *refs = gv_alloc(sizeof(*refs));
    struct gvmi_stat st;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gvmi_stat(img, gvmi_root(img), &st, &err), 0);
    check_attributes(&c, image_tree_root(t), &st);
    queue[0] = image_tree_root(t);
    refs[0] = gvmi_root(img);
    for (size_t count = 1; count > 0;) {
        count--;
        count = check_dir(&c, queue[count], refs[count], &queue, &refs, count);
    }
    free(queue);
    free(refs);
}

void assert_same_file(int a, int b)
{
    unsigned char x[GV_HASH_MAX], y[GV_HASH_MAX];
    assert_int_equal(gv_hash_fd(GV_HASH_SHA256, a, x, NULL), 0);
    assert_int_equal(gv_hash_fd(GV_HASH_SHA256, b, y, NULL), 0);
    assert_memory_equal(x, y, GV_SHA256_SIZE);
}

/* ---- the world outside ------------------------------------------------------------------------------------------------------------ */

char *make_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = gv_asprintf("%s/gvmkit-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        fail_msg("cannot make a directory below %s", tmp ? tmp : "/tmp");
    return path;
}

void remove_dir(char *path)
{
    struct gv_error err = GV_ERROR_INIT;
    if (gv_remove_tree(path, &err) < 0)
        fail_msg("%s", err.msg);
    free(path);
}

int run(const char *fmt, ...)
{
    char command[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    cleanup_free char *quiet = gv_asprintf("exec >/dev/null 2>&1; %s", command);
    int status = system(quiet);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

char *output_of(const char *fmt, ...)
{
    char command[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    cleanup_buf struct gv_buf out = { 0 };
    char piece[4096];
    size_t n;
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
        gv_buf_add(&out, piece, n);
    return pclose(f) == 0 ? gv_strdup(gv_buf_str(&out)) : NULL;
}

char *testdata(const char *name)
{
    char *path = gv_asprintf("%s/%s", TESTDATA, name);
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}
