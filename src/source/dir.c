/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory as a source. One thread goes through it, names sorted, a directory at a time (so memory beyond the tree's own is that of the largest
 * directory), and notes names, attributes and handles (beneath.h); contents are read when the writer asks for them. docs/sources.md says what is
 * taken, and what is not: other file systems mounted in it, labels of the host.
 *
 * What we may not read is counted to the end, so that one attempt tells everything that is wrong.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "source/beneath.h"
#include "source/open.h"
#include "source/xattrs.h"

#define PATH_MOST 4095
#define CHUNK_BITS 10 /* file handles in one allocation */
#define XATTR_BYTES 65536

DEFINE_CLEANUP(arena, struct gv_arena *, gv_arena_free)

/* What the tree's reader needs. The handles are in the tree's arena. */
struct files {
    struct beneath *beneath;
    struct beneath_file **chunks;
    uint64_t count;
};

/* Names of one inode. */
struct link {
    uint64_t dev, ino;
    struct image_inode *inode; /* NULL: free */
};

struct scan {
    const struct source_context *c;
    struct image_tree *tree;
    struct files *files;
    struct xattr_pool *pool;
    struct beneath_dir *pending; /* directories still to be listed, the next one first */
    uint64_t entries, bytes;
    uid_t uid;
    bool mapped; /* something of ours has become root's */
    bool has_proc;

    struct link *links; /* a hash table */
    size_t link_mask, link_count;

    uint64_t unreadable, mounts;
    char *first_unreadable, *first_mount;

    char *xattr_names, *xattr_values;
};

/* An entry of the directory being listed. */
struct listed {
    const char *name;
    unsigned char type; /* DT_* */
};

/* ---- the reader ---- */

static int files_read(void *user, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    struct files *f = user;
    if (content->offset >= f->count)
        return gv_error_set(err, GV_E_INTERNAL, 0, "a file's content is nowhere");
    const struct beneath_file *file = &f->chunks[content->offset >> CHUNK_BITS][content->offset & ((1U << CHUNK_BITS) - 1)];
    return beneath_read(f->beneath, file, at, buf, len, err);
}

static void files_release(void *user)
{
    struct files *f = user;
    beneath_free(f->beneath);
    free(f->chunks);
    free(f);
}

static struct beneath_file *new_file(struct scan *s, struct image_inode *inode)
{
    struct files *f = s->files;
    size_t chunk = (size_t)(f->count >> CHUNK_BITS), at = f->count & ((1U << CHUNK_BITS) - 1);
    if (at == 0) {
        f->chunks = gv_reallocarray(f->chunks, chunk + 1, sizeof(*f->chunks));
        f->chunks[chunk] = gv_arena_alloc(image_tree_arena(s->tree), sizeof(struct beneath_file) << CHUNK_BITS);
    }
    inode->u.content = (struct image_content){ .offset = f->count++ };
    return &f->chunks[chunk][at];
}

/* ---- hard links ---- */

static struct link *find_link(struct link *table, size_t mask, uint64_t dev, uint64_t ino)
{
    size_t at = (size_t)(((ino ^ dev << 32) * 0x9e3779b97f4a7c15ULL) >> 20);
    while (table[at & mask].inode && (table[at & mask].ino != ino || table[at & mask].dev != dev))
        at++;
    return &table[at & mask];
}

/* The entry for an inode with several names, new when its inode is NULL. */
static struct link *link_of(struct scan *s, uint64_t dev, uint64_t ino)
{
    if (s->link_count >= s->link_mask / 2) {
        size_t mask = s->link_mask * 2 + 1;
        struct link *table = gv_calloc(mask + 1, sizeof(*table));
        for (size_t i = 0; i <= s->link_mask; i++)
            if (s->links[i].inode)
                *find_link(table, mask, s->links[i].dev, s->links[i].ino) = s->links[i];
        free(s->links);
        s->links = table;
        s->link_mask = mask;
    }
    struct link *l = find_link(s->links, s->link_mask, dev, ino);
    if (!l->inode) {
        *l = (struct link){ .dev = dev, .ino = ino };
        s->link_count++;
    }
    return l;
}

/* ---- attributes ---- */

static bool is_denied(int sys)
{
    return sys == EACCES || sys == EPERM;
}

static void note_unreadable(struct scan *s, const struct beneath_dir *dir, const char *name)
{
    if (s->unreadable++ == 0)
        s->first_unreadable = beneath_path(dir, name);
}

static int fail_at(const struct beneath_dir *dir, const char *name, int sys, const char *what, struct gv_error *err)
{
    cleanup_free char *path = beneath_path(dir, name);
    if (sys == ENOENT)
        return gv_error_set(err, GV_E_IO, 0, "`%.500s` has disappeared while the directory was read", path);
    return gv_error_set(err, GV_E_IO, sys, "cannot %s `%.500s`", what, path);
}

/* What an ordinary user unpacks is his own on disk, though it was root's: it becomes that again, as in a user namespace. */
static void set_owner(struct scan *s, struct image_inode *i, uint32_t uid, uint32_t gid)
{
    bool ours = s->uid != 0 && uid == s->uid;
    if (ours || s->c->options->root_owned)
        uid = gid = 0;
    s->mapped = s->mapped || ours;
    i->uid = uid;
    i->gid = gid;
}

static void set_attributes(struct scan *s, struct image_inode *i, const struct statx *x)
{
    i->mode = x->stx_mode & 07777;
    i->mtime = x->stx_mtime.tv_sec;
    set_owner(s, i, x->stx_uid, x->stx_gid);
}

/* The attributes that belong to the files and not to the host they lie on: the labels and signatures of its security modules are neither wanted in an
 * image nor the same on the next host. The pool sorts out the rest. */
static bool is_wanted(const char *name)
{
    return strncmp(name, "security.", 9) != 0 || !strcmp(name, "security.capability");
}

static int compare_xattrs(const void *a, const void *b)
{
    return strcmp(((const struct image_xattr *)a)->name, ((const struct image_xattr *)b)->name);
}

/* Of the open file, or of what the path names without following it. */
static int set_xattrs(struct scan *s, struct image_inode *inode, int fd, const char *path, struct gv_error *err)
{
    ssize_t n = path ? llistxattr(path, s->xattr_names, XATTR_BYTES) : flistxattr(fd, s->xattr_names, XATTR_BYTES);
    if (n < 0 && (errno == ENOTSUP || errno == ENODATA))
        return 0;
    if (n < 0)
        return gv_error_errno(err, "cannot read its extended attributes");
    cleanup_free struct image_xattr *list = NULL;
    cleanup_buf struct gv_buf values = { 0 };
    size_t count = 0, cap = 0;
    for (const char *name = s->xattr_names; name < s->xattr_names + n; name += strlen(name) + 1) {
        if (!is_wanted(name))
            continue;
        ssize_t size = path ? lgetxattr(path, name, s->xattr_values, XATTR_BYTES) : fgetxattr(fd, name, s->xattr_values, XATTR_BYTES);
        if (size < 0 && (errno == ENODATA || errno == ENOTSUP))
            continue;
        if (size < 0)
            return gv_error_errno(err, "cannot read its extended attribute `%.100s`", name);
        if (count == cap) {
            cap = cap ? cap * 2 : 8;
            list = gv_reallocarray(list, cap, sizeof(*list));
        }
        /* The buffer moves when it grows, so first the place in it. */
        list[count++] = (struct image_xattr){ .name = name, .value = (const void *)(uintptr_t)values.len, .size = (uint32_t)size };
        gv_buf_add(&values, s->xattr_values, (size_t)size);
    }
    if (!count)
        return 0;
    for (size_t i = 0; i < count; i++)
        list[i].value = (const unsigned char *)gv_buf_str(&values) + (uintptr_t)list[i].value;
    qsort(list, count, sizeof(*list), compare_xattrs);
    return xattr_pool_set(s->pool, inode, list, count, err);
}

static int look(int fd, const char *name, struct statx *x)
{
    if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH), STATX_BASIC_STATS, x) < 0)
        return -1;
    return 0;
}

static uint64_t device_of(const struct statx *x)
{
    return makedev(x->stx_dev_major, x->stx_dev_minor);
}

/* ---- entries ---- */

static int check_limits(const struct scan *s, struct gv_error *err)
{
    if (s->entries > s->c->max_entries)
        gv_error_set(err, GV_E_LIMIT, 0, "it has more than %" PRIu64 " entries", s->c->max_entries);
    else if (s->bytes > s->c->budget->max_bytes)
        gv_error_set(err, GV_E_LIMIT, 0, "its files have more than %" PRIu64 " bytes", s->c->budget->max_bytes);
    else
        return 0;
    return gv_error_hint(err, "if that is right, give its size with --max-size");
}

static enum image_type type_of(unsigned mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return IMAGE_DIR;
    case S_IFLNK:
        return IMAGE_SYMLINK;
    case S_IFCHR:
        return IMAGE_CHAR;
    case S_IFBLK:
        return IMAGE_BLOCK;
    case S_IFIFO:
        return IMAGE_FIFO;
    case S_IFSOCK:
        return IMAGE_SOCKET;
    default:
        return IMAGE_FILE;
    }
}

static int set_target(struct scan *s, struct image_inode *inode, const struct beneath_dir *dir, int fd, const char *name,
                      struct gv_error *err)
{
    char target[PATH_MOST + 1];
    ssize_t n = readlinkat(fd, name, target, sizeof(target));
    if (n < 0)
        return fail_at(dir, name, errno, "read the link", err);
    if (n == 0 || n > PATH_MOST)
        return gv_error_set(err, GV_E_FORMAT, 0, "the target of a symbolic link has %zd bytes; 1 to %d are allowed", n, PATH_MOST);
    inode->size = (uint64_t)n;
    inode->u.target = gv_arena_strndup(image_tree_arena(s->tree), target, (size_t)n);
    return 0;
}

/* Whether something is mounted there, so that it belongs to another file system. */
static bool is_mount(const struct beneath_dir *dir, const struct statx *x)
{
    if (x->stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return x->stx_attributes & STATX_ATTR_MOUNT_ROOT;
    /* Before Linux 5.8. Files tell nothing: overlayfs may show them with the device of a layer. */
    return S_ISDIR(x->stx_mode) && device_of(x) != dir->dev;
}

static void add_dir(struct scan *s, struct beneath_dir *parent, struct image_node *node, const struct statx *x)
{
    struct beneath_dir *d = gv_arena_alloc(image_tree_arena(s->tree), sizeof(*d));
    *d = (struct beneath_dir){
        .parent = parent, .next = s->pending, .user = node, .name = node->name, .dev = device_of(x), .ino = x->stx_ino
    };
    d->path_len = (uint16_t)(parent->path_len + (parent->path_len != 0) + node->namelen);
    s->pending = d;
}

static void add_file(struct scan *s, struct beneath_dir *dir, struct image_node *node, const struct statx *x)
{
    struct beneath_file *f = new_file(s, node->inode);
    *f = (struct beneath_file){
        .dir = dir,
        .name = node->name,
        .ino = x->stx_ino,
        .size = x->stx_size,
        .mtime = x->stx_mtime.tv_sec,
        .ctime = x->stx_ctime.tv_sec,
        .mtime_ns = x->stx_mtime.tv_nsec,
        .ctime_ns = x->stx_ctime.tv_nsec,
        .sparse = x->stx_blocks * 512 < x->stx_size,
    };
    node->inode->size = x->stx_size;
    s->bytes += x->stx_size;
}

/* What is mounted somewhere is not part of the directory, its place is: an empty directory or file. The mounted one's time would be of no use. */
static void add_mount(struct scan *s, struct beneath_dir *dir, struct image_inode *inode, const char *name)
{
    if (s->mounts++ == 0)
        s->first_mount = beneath_path(dir, name);
    inode->mtime = ((const struct image_node *)dir->user)->inode->mtime;
}

/* The attributes of what only has a name: links, devices. */
static int set_xattrs_by_name(struct scan *s, struct image_inode *inode, int fd, const char *name, struct gv_error *err)
{
    char path[64 + 256];
    if (!s->has_proc)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, name);
    return set_xattrs(s, inode, -1, path, err);
}

/* `file` is the open file, or -1. */
static int add_inode(struct scan *s, struct beneath_dir *dir, int fd, const char *name, int file, const struct statx *x,
                     struct gv_error *err)
{
    size_t len = strlen(name);
    bool mounted = is_mount(dir, x);
    struct link *link = x->stx_nlink > 1 && !S_ISDIR(x->stx_mode) && !mounted ? link_of(s, device_of(x), x->stx_ino) : NULL;
    struct image_inode *inode = link && link->inode ? link->inode : image_inode_new(s->tree, type_of(x->stx_mode));
    bool again = link && link->inode;
    struct image_node *node = image_node_add(s->tree, dir->user, name, len, inode);
    if (again)
        return 0;
    if (link)
        link->inode = inode;
    set_attributes(s, inode, x);
    if (mounted && (inode->type == IMAGE_DIR || inode->type == IMAGE_FILE)) {
        add_mount(s, dir, inode, name);
        return 0;
    }
    if (inode->type == IMAGE_DIR) {
        add_dir(s, dir, node, x); /* its extended attributes follow when it is listed */
        return 0;
    }
    if (inode->type == IMAGE_FILE) {
        add_file(s, dir, node, x);
        return set_xattrs(s, inode, file, NULL, err);
    }
    if (inode->type == IMAGE_SYMLINK && set_target(s, inode, dir, fd, name, err) < 0)
        return -1;
    if (inode->type == IMAGE_CHAR || inode->type == IMAGE_BLOCK) {
        inode->u.rdev.major = x->stx_rdev_major;
        inode->u.rdev.minor = x->stx_rdev_minor;
    }
    /* A device that fakeroot shows is a file in truth, and open. */
    return file >= 0 ? set_xattrs(s, inode, file, NULL, err) : set_xattrs_by_name(s, inode, fd, name, err);
}

static int add_entry(struct scan *s, struct beneath_dir *dir, int fd, const struct listed *e, struct gv_error *err)
{
    struct statx x;
    cleanup_close int file = -1;
    bool known = e->type != DT_UNKNOWN;
    size_t len = strlen(e->name);
    if (image_name_check(e->name, len) < 0 || dir->path_len + 1 + len > PATH_MOST)
        return gv_error_set(err, GV_E_LIMIT, 0, "a name of %zu bytes in a path of %zu; 255 and %d are allowed", len,
                            dir->path_len + 1 + len, PATH_MOST);
    s->entries++;
    if (!known && look(fd, e->name, &x) < 0)
        return fail_at(dir, e->name, errno, "look at", err);
    if (known ? e->type == DT_REG : S_ISREG(x.stx_mode)) {
        /* Opened at once: that tells whether we may read it, and what is seen belongs together. */
        file = openat(fd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (file < 0 && is_denied(errno)) {
            note_unreadable(s, dir, e->name);
            return 0;
        }
        if (file < 0)
            return fail_at(dir, e->name, errno, "open", err);
    }
    if (look(file >= 0 ? file : fd, file >= 0 ? "" : e->name, &x) < 0)
        return fail_at(dir, e->name, errno, "look at", err);
    if (file < 0 && S_ISREG(x.stx_mode)) {
        cleanup_free char *path = beneath_path(dir, e->name);
        return gv_error_set(err, GV_E_IO, 0, "`%.500s` has changed while the directory was read", path);
    }
    if (add_inode(s, dir, fd, e->name, file, &x, err) < 0)
        return -1;
    return check_limits(s, err);
}

/* ---- directories ---- */

static int compare_listed(const void *a, const void *b)
{
    return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

/* The names in the directory, sorted; those are in the arena. */
static int list_names(DIR *d, struct gv_arena *arena, uint64_t most, struct listed **list, size_t *count, struct gv_error *err)
{
    size_t cap = 0;
    *count = 0;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e && errno)
            return gv_error_errno(err, "cannot list it");
        if (!e)
            break;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (*count == cap) {
            cap = cap ? cap * 2 : 64;
            *list = gv_reallocarray(*list, cap, sizeof(**list));
        }
        (*list)[(*count)++] = (struct listed){ .name = gv_arena_strndup(arena, e->d_name, strlen(e->d_name)), .type = e->d_type };
        if (*count > most)
            break; /* the limit is reached, and said, when they are added */
    }
    if (*count)
        qsort(*list, *count, sizeof(**list), compare_listed);
    return 0;
}

static void gv_cleanup_dirstream_fn(DIR **d)
{
    if (*d)
        closedir(*d);
}

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int list_dir(struct scan *s, struct beneath_dir *dir, DIR *d, struct gv_error *err)
{
    CLEANUP(arena) struct gv_arena *names = gv_arena_new();
    cleanup_free struct listed *list = NULL;
    struct image_node *node = dir->user;
    struct statx before, after;
    size_t count;
    int fd = dirfd(d);
    if (look(fd, "", &before) < 0)
        return gv_error_errno(err, "cannot look at it");
    if (set_xattrs(s, node->inode, fd, NULL, err) < 0 || list_names(d, names, s->c->max_entries - s->entries, &list, &count, err) < 0)
        return -1;
    if (count && faccessat(fd, list[0].name, F_OK, AT_SYMLINK_NOFOLLOW | AT_EACCESS) < 0 && is_denied(errno)) {
        note_unreadable(s, dir, NULL); /* it can be listed, but nothing in it can be reached */
        return 0;
    }
    struct beneath_dir *rest = s->pending;
    s->pending = NULL;
    for (size_t i = 0; i < count; i++)
        if (add_entry(s, dir, fd, &list[i], err) < 0)
            return -1;
    /* They were put in front of each other: turned around, they come in their order, before what was pending. */
    while (s->pending) {
        struct beneath_dir *first = s->pending;
        s->pending = first->next;
        first->next = rest;
        rest = first;
    }
    s->pending = rest;
    if (look(fd, "", &after) < 0 || !same_time(&before.stx_mtime, &after.stx_mtime) || !same_time(&before.stx_ctime, &after.stx_ctime))
        return gv_error_set(err, GV_E_IO, 0, "it has changed while it was read");
    return 0;
}

static int scan_dir(struct scan *s, struct beneath_dir *dir, struct gv_error *err)
{
    struct gv_error e = GV_ERROR_INIT;
    cleanup_close int fd = beneath_open_dir(s->files->beneath, dir, &e);
    if (fd < 0 && is_denied(e.sys)) {
        note_unreadable(s, dir, NULL);
        return 0;
    }
    if (fd < 0) {
        if (err)
            *err = e;
        return -1;
    }
    __attribute__((cleanup(gv_cleanup_dirstream_fn))) DIR *d = fdopendir(fd);
    if (!d)
        return gv_error_errno(err, "cannot list a directory");
    (void)steal_fd(&fd);
    if (list_dir(s, dir, d, err) < 0) {
        cleanup_free char *path = beneath_path(dir, NULL);
        return gv_error_prefix(err, "`%.500s`", path);
    }
    gv_progress_update(s->c->options->progress, "reading the directory", s->bytes, 0);
    return 0;
}

static int report(const struct scan *s, struct gv_error *err)
{
    const struct gv_log *log = s->c->options->log;
    if (s->unreadable) {
        char more[48] = "";
        if (s->unreadable > 1)
            snprintf(more, sizeof(more), " and %" PRIu64 " more", s->unreadable - 1);
        gv_error_set(err, GV_E_IO, EACCES, "`%.500s`%s cannot be read", s->first_unreadable, more);
        return gv_error_hint(
            err, "run gvmkit as root, in the `fakeroot` that made them, or in `buildah unshare` for what a rootless container made");
    }
    if (s->mounts)
        gv_note(log, "`%.500s`%s left out: other file systems are mounted there", s->first_mount,
                s->mounts > 1 ? " and others are" : " is");
    const struct image_inode *root = image_tree_root(s->tree)->inode;
    if ((root->mode & 0005) != 0005)
        gv_note(log, "the root directory has the mode %04o: nobody but its owner will reach anything in the image", root->mode);
    if (s->mapped && !s->c->options->root_owned)
        gv_note(log, "files of the user %lu belong to root in the image", (unsigned long)s->uid);
    return 0;
}

static int scan(struct scan *s, struct beneath_dir *top, struct gv_error *err)
{
    s->pending = top;
    while (s->pending) {
        struct beneath_dir *dir = s->pending;
        s->pending = dir->next;
        if (scan_dir(s, dir, err) < 0)
            return -1;
    }
    return report(s, err);
}

int dir_load(struct image_tree *tree, const char *path, const struct source_context *c, uint64_t *bytes, struct gv_error *err)
{
    cleanup_close int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open the directory");
    struct statx x;
    if (look(root, "", &x) < 0)
        return gv_error_errno(err, "cannot look at the directory");
    struct scan s = { .c = c, .tree = tree, .uid = geteuid(), .link_mask = 63 };
    s.has_proc = access("/proc/self/fd", X_OK) == 0;
    s.pool = xattr_pool_new(image_tree_arena(tree), c->options->log);
    s.links = gv_calloc(s.link_mask + 1, sizeof(*s.links));
    s.xattr_names = gv_alloc(XATTR_BYTES);
    s.xattr_values = gv_alloc(XATTR_BYTES);

    struct beneath_dir *top = gv_arena_alloc(image_tree_arena(tree), sizeof(*top));
    *top = (struct beneath_dir){ .name = "", .dev = device_of(&x), .ino = x.stx_ino, .user = image_tree_root(tree) };
    set_attributes(&s, image_tree_root(tree)->inode, &x);
    s.files = gv_new(struct files);
    s.files->beneath = beneath_new(steal_fd(&root), top);
    image_tree_set_reader(tree, files_read, s.files, files_release);

    int status = scan(&s, top, err);
    *bytes = s.bytes;
    xattr_pool_free(s.pool);
    free(s.links);
    free(s.xattr_names);
    free(s.xattr_values);
    free(s.first_unreadable);
    free(s.first_mount);
    return status;
}
