/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files beneath a directory, by handles instead of paths. A handle remembers which object a name stood for when it was listed (inode, and for files
 * size and times); opening it again goes from the root downwards one name at a time, never follows a symbolic link, and fails when any of the objects on
 * the way is another one by now. So nothing outside of the directory is ever opened, whatever is renamed meanwhile, and a file is either read
 * as it was listed or not at all. However many handles there are, only some descriptors are open.
 */
#ifndef GV_SOURCE_BENEATH_H
#define GV_SOURCE_BENEATH_H

#include <sys/stat.h>

#include "core/core.h"

/* A directory. The memory of both kinds of handles is the caller's and must outlive the object below. */
struct beneath_dir {
    struct beneath_dir *parent; /* NULL for the root */
    struct beneath_dir *next;   /* free for the caller */
    void *user;                 /* free for the caller */
    const char *name;           /* in its parent */
    uint64_t dev, ino;
    uint16_t path_len; /* from the root, without a leading slash */
};

struct beneath_file {
    struct beneath_dir *dir;
    const char *name;
    uint64_t ino, size;
    int64_t mtime, ctime;
    uint32_t mtime_ns, ctime_ns;
    bool sparse; /* it has holes worth looking for */
};

struct beneath;

/* `root` is taken over: a descriptor of the directory that `top` stands for. */
struct beneath *beneath_new(int root, const struct beneath_dir *top) __attribute__((returns_nonnull));
void beneath_free(struct beneath *b);
DEFINE_CLEANUP(beneath, struct beneath *, beneath_free)

/* A new descriptor of the directory, to list it; the caller's. GV_E_IO and err->sys is EACCES or EPERM when we may not. */
int beneath_open_dir(struct beneath *b, struct beneath_dir *dir, struct gv_error *err);

/* Reads len bytes at offset `at` of the file, which must all be inside of it. May be called from several threads at once. */
int beneath_read(struct beneath *b, const struct beneath_file *f, uint64_t at, void *buf, size_t len, struct gv_error *err);

/* "/a/b" for a directory and a name in it (NULL: the directory itself); the caller frees it. */
char *beneath_path(const struct beneath_dir *dir, const char *name) __attribute__((returns_nonnull));

#endif
