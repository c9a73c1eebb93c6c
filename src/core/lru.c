/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/lru.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/mem.h"

int gv_lock_open(const char *path, int how, struct gv_error *err)
{
    for (;;) {
        cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return gv_error_errno(err, "cannot open `%s`", path);
        while (flock(fd, how) < 0) {
            if (errno == EWOULDBLOCK)
                return gv_error_set(err, GV_E_BUSY, 0, "`%s` is in use", path);
            if (errno != EINTR)
                return gv_error_errno(err, "cannot lock `%s`", path);
        }
        /* Whoever held the lock before may have removed the file: then this lock guards nothing. */
        struct stat held, named;
        if (fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev)
            return steal_fd(&fd);
    }
}

struct entry {
    char *name;
    uint64_t size;
    struct timespec used;
};

static int compare_use(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

void gv_lru_trim(const char *path, uint64_t max, const struct gv_lru *lru)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    cleanup_free struct entry *list = NULL;
    size_t n = 0, cap = 0;
    uint64_t total = 0;
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (!lru->counts(e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            list = gv_reallocarray(list, cap, sizeof(*list));
        }
        /* What it takes on the disk: a download that was interrupted may have holes. */
        list[n] = (struct entry){ .name = gv_strdup(e->d_name), .size = (uint64_t)st.st_blocks * 512, .used = st.st_mtim };
        total += list[n++].size;
    }
    if (n)
        qsort(list, n, sizeof(*list), compare_use);
    for (size_t i = 0; i < n; i++) {
        if (total > max && lru->remove(dirfd(d), path, list[i].name))
            total -= list[i].size;
        free(list[i].name);
    }
    closedir(d);
}
