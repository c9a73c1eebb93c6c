/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#define DIRS 16  /* directories kept open: files are read directory by directory, so few are enough */
#define FILES 32 /* files kept open: more than there are threads that read */

struct dir_slot {
    const struct beneath_dir *dir; /* NULL: free */
    int fd;
    uint64_t used;
};

struct file_slot {
    const struct beneath_file *file; /* NULL: free */
    int fd;
    unsigned readers;
    uint64_t used;
};

struct beneath {
    int root;
    const struct beneath_dir *top;
    pthread_mutex_t lock; /* for all below */
    uint64_t clock;
    struct dir_slot dirs[DIRS];
    struct file_slot files[FILES];
};

struct beneath *beneath_new(int root, const struct beneath_dir *top)
{
    struct beneath *b = gv_new(struct beneath);
    b->root = root;
    b->top = top;
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void beneath_free(struct beneath *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < DIRS; i++)
        if (b->dirs[i].dir)
            close(b->dirs[i].fd);
    for (size_t i = 0; i < FILES; i++)
        if (b->files[i].file)
            close(b->files[i].fd);
    close(b->root);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

char *beneath_path(const struct beneath_dir *dir, const char *name)
{
    size_t n = name ? strlen(name) : 0, len = dir->path_len + (name ? (dir->path_len != 0) + n : 0);
    char *path = gv_alloc(len + 2), *end = path + 1 + len;
    path[0] = '/';
    *end = '\0';
    if (name) {
        end -= n;
        memcpy(end, name, n);
        if (dir->path_len)
            *--end = '/';
    }
    for (; dir->parent; dir = dir->parent) {
        n = strlen(dir->name);
        end -= n;
        memcpy(end, dir->name, n);
        if (dir->parent->parent)
            *--end = '/';
    }
    return path;
}

static int changed(const struct beneath_dir *dir, const char *name, struct gv_error *err)
{
    cleanup_free char *path = beneath_path(dir, name);
    return gv_error_set(err, GV_E_IO, 0, "`%.500s` has changed while it was read", path);
}

static int cannot_open(const struct beneath_dir *dir, const char *name, struct gv_error *err)
{
    int sys = errno;
    /* What was a directory or file is a link, something else, or nothing now. */
    if (sys == ENOENT || sys == ELOOP || sys == ENOTDIR || sys == ENXIO)
        return changed(dir, name, err);
    cleanup_free char *path = beneath_path(dir, name);
    return gv_error_set(err, GV_E_IO, sys, "cannot open `%.500s`", path);
}

/* ---- directories; the lock is held ---- */

static struct dir_slot *find_dir(struct beneath *b, const struct beneath_dir *dir)
{
    for (size_t i = 0; i < DIRS; i++)
        if (b->dirs[i].dir == dir)
            return &b->dirs[i];
    return NULL;
}

static struct dir_slot *oldest_dir(struct beneath *b)
{
    struct dir_slot *oldest = &b->dirs[0];
    for (size_t i = 0; i < DIRS; i++) {
        if (!b->dirs[i].dir)
            return &b->dirs[i];
        if (b->dirs[i].used < oldest->used)
            oldest = &b->dirs[i];
    }
    return oldest;
}

static int enter(struct beneath *b, int parent, const struct beneath_dir *dir, struct gv_error *err)
{
    cleanup_close int fd = openat(parent, dir->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return cannot_open(dir, NULL, err);
    if (st.st_ino != dir->ino || st.st_dev != dir->dev)
        return changed(dir, NULL, err);
    struct dir_slot *slot = oldest_dir(b);
    if (slot->dir)
        close(slot->fd);
    *slot = (struct dir_slot){ .dir = dir, .fd = steal_fd(&fd), .used = ++b->clock };
    return slot->fd;
}

/* A descriptor of the directory, good while the lock is held and no other directory is asked for. */
static int dir_fd(struct beneath *b, const struct beneath_dir *dir, struct gv_error *err)
{
    cleanup_free const struct beneath_dir **missing = NULL;
    size_t count = 0, cap = 0;
    int fd = b->root;
    for (; dir != b->top; dir = dir->parent) {
        struct dir_slot *slot = find_dir(b, dir);
        if (slot) {
            slot->used = ++b->clock;
            fd = slot->fd;
            break;
        }
        if (count == cap) {
            cap = cap ? cap * 2 : 16;
            missing = gv_reallocarray(missing, cap, sizeof(*missing));
        }
        missing[count++] = dir;
    }
    while (count && fd >= 0)
        fd = enter(b, fd, missing[--count], err);
    return fd;
}

int beneath_open_dir(struct beneath *b, struct beneath_dir *dir, struct gv_error *err)
{
    pthread_mutex_lock(&b->lock);
    int fd = dir_fd(b, dir, err), own = -1;
    if (fd >= 0) {
        /* The one in the cache has one position for all, and may be closed at any time. */
        own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (own < 0)
            cannot_open(dir, NULL, err);
    }
    pthread_mutex_unlock(&b->lock);
    return own;
}

/* ---- files ---- */

/* The slot of the file, or the one to use for it; NULL when all are being read. The lock is held. */
static struct file_slot *file_slot(struct beneath *b, const struct beneath_file *f)
{
    struct file_slot *best = NULL;
    for (size_t i = 0; i < FILES; i++) {
        struct file_slot *s = &b->files[i];
        if (s->file == f)
            return s;
        if (!s->readers && (!best || (best->file && (!s->file || s->used < best->used))))
            best = s;
    }
    return best;
}

/* *slot is NULL when the descriptor is in none: then it is the caller's to close. */
static int acquire(struct beneath *b, const struct beneath_file *f, struct file_slot **slot, struct gv_error *err)
{
    pthread_mutex_lock(&b->lock);
    struct file_slot *s = *slot = file_slot(b, f);
    int fd = -1;
    if (s && s->file == f) {
        fd = s->fd;
    } else {
        int dir = dir_fd(b, f->dir, err);
        if (dir >= 0) {
            fd = openat(dir, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
            if (fd < 0)
                cannot_open(f->dir, f->name, err);
        }
        if (fd >= 0 && s) {
            if (s->file)
                close(s->fd);
            *s = (struct file_slot){ .file = f, .fd = fd };
        }
    }
    if (fd >= 0 && s) {
        s->readers++;
        s->used = ++b->clock;
    }
    pthread_mutex_unlock(&b->lock);
    return fd;
}

static void release(struct beneath *b, struct file_slot *slot, int fd)
{
    if (!slot) {
        close(fd);
        return;
    }
    pthread_mutex_lock(&b->lock);
    slot->readers--;
    pthread_mutex_unlock(&b->lock);
}

static bool is_as_listed(int fd, const struct beneath_file *f)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_ino == f->ino && (uint64_t)st.st_size == f->size && st.st_mtim.tv_sec == f->mtime &&
           st.st_ctim.tv_sec == f->ctime && st.st_mtim.tv_nsec == (long)f->mtime_ns && st.st_ctim.tv_nsec == (long)f->ctime_ns;
}

/* Whether there is nothing but a hole. */
static bool in_hole(int fd, uint64_t at, size_t len)
{
    off_t data = lseek(fd, (off_t)at, SEEK_DATA);
    return data < 0 ? errno == ENXIO : (uint64_t)data - at >= len;
}

int beneath_read(struct beneath *b, const struct beneath_file *f, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    struct file_slot *slot;
    int fd = acquire(b, f, &slot, err);
    if (fd < 0)
        return -1;
    ssize_t got = (ssize_t)len;
    if (f->sparse && in_hole(fd, at, len))
        memset(buf, 0, len);
    else
        got = gv_pread_full(fd, buf, len, at);
    int status = 0, sys = errno;
    /* After the reading: then what was read is what was listed. */
    if (!is_as_listed(fd, f) || (got >= 0 && (size_t)got < len)) {
        status = changed(f->dir, f->name, err);
    } else if (got < 0) {
        cleanup_free char *path = beneath_path(f->dir, f->name);
        status = gv_error_set(err, GV_E_IO, sys, "cannot read `%.500s`", path);
    }
    release(b, slot, fd);
    return status;
}
