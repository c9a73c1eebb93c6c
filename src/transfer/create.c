/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/xattr.h>

#include "transfer/inside.h"

#define NAME_TRIES 8
#define NEW_FILE_MODE 0644U
#define NEW_DIR_MODE 0755U

static int put_number(int fd, const char *name, uint32_t v)
{
    const unsigned char b[4] = { (unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16), (unsigned char)(v >> 24) };
    return fsetxattr(fd, name, b, sizeof(b), 0);
}

int inside_give(const struct inside *in, int fd, mode_t type, const struct inside_owner *owner)
{
    if (in->mapped)
        return put_number(fd, "user.virtfs.uid", owner->uid) < 0 || put_number(fd, "user.virtfs.gid", owner->gid) < 0 ||
                       put_number(fd, "user.virtfs.mode", type | (owner->mode & 07777)) < 0
                   ? -1
                   : 0;
    /* Where a mode is the real one nobody gets privileges by it; and we must be able to replace what we have made. */
    return fchmod(fd, (owner->mode & 0777) | (S_ISDIR(type) ? 0700 : 0600));
}

/* Who a new file in the directory belongs to. */
static void owner_of(const struct inside *in, int dir, mode_t mode, struct inside_owner *owner)
{
    struct inside_stat st;
    *owner = (struct inside_owner){ .mode = mode };
    if (inside_stat(in, dir, &st) == 0) {
        owner->uid = st.uid;
        owner->gid = st.gid;
    }
}

int inside_mkdir(const struct inside *in, int dir, const char *name)
{
    struct inside_owner owner;
    if (mkdirat(dir, name, NEW_DIR_MODE) < 0)
        return -1;
    cleanup_close int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    owner_of(in, dir, NEW_DIR_MODE, &owner);
    return fd < 0 ? -1 : inside_give(in, fd, S_IFDIR, &owner);
}

/* A name that is not in use. */
static void temporary_name(char out[32])
{
    unsigned char random[8];
    char hex[17];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        memset(random, 0, sizeof(random)); /* names that are taken are tried again, and fail then */
    gv_hex(hex, random, sizeof(random));
    snprintf(out, 32, ".gvmkit-%s", hex);
}

int inside_file_open(struct inside_file *f, const struct inside *in, int dir, const char *path, struct gv_error *err)
{
    const char *slash = strrchr(path, '/');
    *f = (struct inside_file){ .in = in, .dir = dir, .fd = -1, .path = gv_strdup(path) };
    f->name = f->path + (slash ? slash + 1 - path : 0);
    owner_of(in, dir, NEW_FILE_MODE, &f->owner);
    cleanup_close int before = inside_at(dir, f->name);
    struct inside_stat st = { 0 };
    if (before >= 0 && inside_stat(in, before, &st) == 0 && S_ISDIR(st.mode))
        return inside_failed(in, path, "cannot write", EISDIR, err);
    if (before >= 0 && S_ISREG(st.mode))
        f->owner = (struct inside_owner){ .uid = st.uid, .gid = st.gid, .mode = st.mode & 07777 };
    f->fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    for (int i = 0; i < NAME_TRIES && f->fd < 0 && (i == 0 || errno == EEXIST); i++) {
        temporary_name(f->temporary);
        f->fd = openat(dir, f->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    }
    if (f->fd < 0) {
        f->temporary[0] = '\0';
        return inside_failed(in, path, "cannot create", errno, err);
    }
    return 0;
}

/* Gives a file without a name one that nobody waits for. */
static int name_file(struct inside_file *f)
{
    char self[40];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
    for (int i = 0; i < NAME_TRIES; i++) {
        temporary_name(f->temporary);
        if (linkat(AT_FDCWD, self, f->dir, f->temporary, AT_SYMLINK_FOLLOW) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    f->temporary[0] = '\0';
    return -1;
}

int inside_file_commit(struct inside_file *f, struct gv_error *err)
{
    int result = 0;
    if (inside_give(f->in, f->fd, S_IFREG, &f->owner) < 0 || (!f->temporary[0] && name_file(f) < 0) ||
        renameat(f->dir, f->temporary, f->dir, f->name) < 0)
        result = inside_failed(f->in, f->path, "cannot create", errno, err);
    else
        f->temporary[0] = '\0';
    inside_file_discard(f);
    return result;
}

void inside_file_discard(struct inside_file *f)
{
    if (f->temporary[0])
        unlinkat(f->dir, f->temporary, 0);
    if (f->fd >= 0)
        close(f->fd);
    if (f->dir >= 0)
        close(f->dir);
    free(f->path);
    *f = (struct inside_file){ .dir = -1, .fd = -1 };
}

/* The link as a file that 9p shows as one. */
static int mapped_symlink(const struct inside *in, int dir, const char *temporary, const char *target, const struct inside_owner *owner)
{
    struct inside_owner open = *owner;
    open.mode = 0777;
    cleanup_close int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if (gv_write_full(fd, target, strlen(target)) == 0 && inside_give(in, fd, S_IFLNK, &open) == 0)
        return 0;
    int sys = errno;
    unlinkat(dir, temporary, 0);
    errno = sys;
    return -1;
}

int inside_symlink(const struct inside *in, int dir, const char *name, const char *target, const struct inside_owner *owner)
{
    char temporary[32];
    temporary_name(temporary);
    if ((in->mapped ? mapped_symlink(in, dir, temporary, target, owner) : symlinkat(target, dir, temporary)) < 0)
        return -1;
    if (renameat(dir, temporary, dir, name) == 0)
        return 0;
    int sys = errno;
    unlinkat(dir, temporary, 0);
    errno = sys;
    return -1;
}
