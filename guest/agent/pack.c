/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * PACK: a file or a tree of them as a tar on descriptor 1. The tree may change meanwhile: what has gone since its name was read is left out, what has
 * become shorter than its header says ends the tar in the middle, so that nobody takes it for a whole one. What cannot be read is said and left out,
 * and the exit code tells.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "guest/agent/agent.h"

#define PACK_DEPTH_MAX 256U
#define PACK_LINKS_MAX                                                                                                                     \
    (16U << 20) /* bytes of what is remembered of files with several names; with more, further names become further files */
#define PACK_BUCKETS 1024U

/* The first name of a file that has several. */
struct known {
    struct known *next;
    dev_t device;
    ino_t inode;
    char name[];
};

struct level {
    DIR *dir;
    dev_t device;
    size_t length; /* of its name in the tar */
};

struct packer {
    struct tar_writer out;
    struct tar_entry e; /* its name is the path of what is being packed */
    struct known *known[PACK_BUCKETS];
    size_t known_size;
    struct level levels[PACK_DEPTH_MAX];
    unsigned depth;
    bool lost; /* something could not be packed */
    uint8_t data[TAR_BUFFER];
};

static int lost(struct packer *p, int error, const char *what)
{
    builtin_fail(error, "'%s'%s", p->e.name, what);
    p->lost = true;
    return 0;
}

/* Finds the name of a file that has been packed already, or remembers this one. */
static const char *known_name(struct packer *p, const struct stat *st)
{
    struct known **bucket = &p->known[(st->st_ino ^ st->st_dev) % PACK_BUCKETS];
    for (struct known *k = *bucket; k; k = k->next)
        if (k->inode == st->st_ino && k->device == st->st_dev)
            return k->name;
    size_t n = strlen(p->e.name) + 1;
    struct known *k = p->known_size + sizeof(*k) + n > PACK_LINKS_MAX ? NULL : malloc(sizeof(*k) + n);
    if (!k)
        return NULL;
    *k = (struct known){ .next = *bucket, .device = st->st_dev, .inode = st->st_ino };
    memcpy(k->name, p->e.name, n);
    p->known_size += sizeof(*k) + n;
    *bucket = k;
    return NULL;
}

static ssize_t read_some(int fd, uint8_t *p, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = read(fd, p + have, n - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

/* The size is what has been read where that is all: files below /proc and /sys lie about theirs. */
static int pack_data(struct packer *p, int fd, uint64_t size)
{
    ssize_t n = read_some(fd, p->data, sizeof(p->data));
    if (n < 0)
        return lost(p, errno, "");
    if ((size_t)n < sizeof(p->data))
        size = (uint64_t)n;
    else if (size == 0)
        return lost(p, EFBIG, " has no size");
    p->e.size = size;
    if (tar_put(&p->out, &p->e) < 0)
        return -1;
    for (uint64_t left = size; left;) {
        if ((uint64_t)n > left)
            n = (ssize_t)left;
        if (tar_put_data(&p->out, p->data, (size_t)n) < 0)
            return -1;
        left -= (uint64_t)n;
        if (left == 0)
            break;
        n = read_some(fd, p->data, left < sizeof(p->data) ? (size_t)left : sizeof(p->data));
        if (n <= 0)
            return builtin_fail(n < 0 ? errno : 0, n < 0 ? "'%s'" : "'%s' has become shorter while it was read", p->e.name);
    }
    return tar_put_padding(&p->out, size);
}

static int pack_file(struct packer *p, int dir, const char *name, const struct stat *seen)
{
    struct stat st;
    /* Whatever has come to this name meanwhile must not hold us up. */
    cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == ENOENT && p->depth ? 0 : lost(p, errno, "");
    if (!S_ISREG(st.st_mode) || st.st_ino != seen->st_ino || st.st_dev != seen->st_dev)
        return lost(p, 0, " has become another file while it was read");
    const char *first = st.st_nlink > 1 ? known_name(p, &st) : NULL;
    if (!first)
        return pack_data(p, fd, (uint64_t)st.st_size);
    p->e.type = '1';
    snprintf(p->e.target, sizeof(p->e.target), "%s", first);
    return tar_put(&p->out, &p->e);
}

static int pack_link(struct packer *p, int dir, const char *name)
{
    ssize_t n = readlinkat(dir, name, p->e.target, sizeof(p->e.target));
    if (n < 0 || (size_t)n >= sizeof(p->e.target))
        return lost(p, n < 0 ? errno : ENAMETOOLONG, "");
    p->e.target[n] = '\0';
    return tar_put(&p->out, &p->e);
}

/* File systems in which nothing is stored; what is mounted of them somewhere in the tree has no end and no use elsewhere. */
static bool is_of_kernel(int fd)
{
    static const uint32_t types[] = {
        0x9fa0 /* proc */,       0x62656572 /* sysfs */,   0x63677270 /* cgroup2 */, 0x27e0eb /* cgroup */,       0x1cd1 /* devpts */,
        0x19800202 /* mqueue */, 0x64626720 /* debugfs */, 0x74726163 /* tracefs */, 0x73636673 /* securityfs */,
    };
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if ((uint32_t)fs.f_type == types[i])
            return true;
    return false;
}

static int pack_directory(struct packer *p, int parent, const char *name, const struct stat *st)
{
    struct level *top = p->depth ? &p->levels[p->depth - 1] : NULL;
    if (tar_put(&p->out, &p->e) < 0)
        return -1;
    if (p->depth == PACK_DEPTH_MAX)
        return lost(p, 0, " is too many directories deep");
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return lost(p, errno, "");
    DIR *dir = top && top->device != st->st_dev && is_of_kernel(fd) ? NULL : fdopendir(fd);
    if (!dir) {
        close(fd);
        return 0;
    }
    p->levels[p->depth++] = (struct level){ .dir = dir, .device = st->st_dev, .length = strlen(p->e.name) };
    return 0;
}

static int pack_one(struct packer *p, int dir, const char *name)
{
    struct stat st;
    struct tar_entry *e = &p->e;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT && p->depth ? 0 : lost(p, errno, "");
    e->mode = st.st_mode & 07777;
    e->uid = st.st_uid;
    e->gid = st.st_gid;
    e->mtime = st.st_mtim;
    e->size = 0;
    e->major = major(st.st_rdev);
    e->minor = minor(st.st_rdev);
    e->target[0] = '\0';
    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        e->type = '0';
        return pack_file(p, dir, name, &st);
    case S_IFDIR:
        e->type = '5';
        return pack_directory(p, dir, name, &st);
    case S_IFLNK:
        e->type = '2';
        return pack_link(p, dir, name);
    case S_IFCHR:
        e->type = '3';
        return tar_put(&p->out, e);
    case S_IFBLK:
        e->type = '4';
        return tar_put(&p->out, e);
    case S_IFIFO:
        e->type = '6';
        return tar_put(&p->out, e);
    default:
        builtin_fail(0, "'%s' is a socket, and left out", e->name);
        return 0;
    }
}

/* The next name of the innermost directory, or out of it. */
static int pack_next(struct packer *p)
{
    struct level *l = &p->levels[p->depth - 1];
    p->e.name[l->length] = '\0';
    errno = 0;
    struct dirent *d = readdir(l->dir);
    if (!d) {
        if (errno)
            lost(p, errno, "");
        closedir(l->dir);
        p->depth--;
        return 0;
    }
    if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
        return 0;
    size_t n = strlen(d->d_name);
    /* One byte more for the slash after a directory's name. */
    if (l->length + n + 3 > sizeof(p->e.name))
        return lost(p, ENAMETOOLONG, "/...");
    p->e.name[l->length] = '/';
    memcpy(p->e.name + l->length + 1, d->d_name, n + 1);
    return pack_one(p, dirfd(l->dir), d->d_name);
}

int pack_main(const char *path, const char *name)
{
    static struct packer p;
    p.out.fd = 1;
    snprintf(p.e.name, sizeof(p.e.name), "%s", name);
    int result = pack_one(&p, AT_FDCWD, path);
    while (result == 0 && p.depth)
        result = pack_next(&p);
    if (result == 0)
        result = tar_finish(&p.out);
    return result < 0 || p.lost;
}
