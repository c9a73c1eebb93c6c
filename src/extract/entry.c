/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "extract/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define PRIVILEGE_BITS (S_ISUID | S_ISGID)
/* More names than this cannot be stored by Linux, whose lists of names have at most 64 KiB. */
#define XATTRS_MAX 10000

/* What QEMU's 9p server stores under the security model mapped-xattr (docs of -fsdev local): the guest's owner and mode, numbers with the lowest byte
 * first, in attributes of files that are ours and private. Whatever is neither a file nor a directory is a file too; a link's holds its target. */
#define SHARE_PREFIX "user.virtfs."
#define SHARE_DIR_MODE 0700
#define SHARE_FILE_MODE 0600

int extract_failed(const struct extract *x, struct gv_error *err, int sys, const char *what, const char *path)
{
    gv_error_set(err, GV_E_IO, sys, "cannot %s `%s%s%s`", what, x->target, *path ? "/" : "", path);
    if (sys == EEXIST && x->fresh)
        return gv_error_hint(err, "the image has this name twice, or two names that are one to this file system");
    if ((sys == EPERM || sys == EINVAL) && !strcmp(what, "change the owner of"))
        return gv_error_hint(err, "--no-same-owner leaves it alone");
    if (sys == EPERM && !strcmp(what, "make the device node"))
        return gv_error_hint(err, "only root can, and not in every container");
    return -1;
}

/* ---- attributes ------------------------------------------------------------------------------------------------------------------ */

struct xattr_target {
    struct extract *x;
    int fd;
    unsigned count;
};

static bool wants_xattr(struct extract *x, const char *name)
{
    if (!strncmp(name, "user.", 5))
        return !x->options->share || strncmp(name, SHARE_PREFIX, sizeof(SHARE_PREFIX) - 1) != 0;
    if (x->options->share) {
        x->result->xattrs_left_out++; /* 9p has no others */
        return false;
    }
    if (!x->privileged)
        return false;
    if (strcmp(name, "security.capability") != 0)
        return x->options->all_xattrs;
    if (!x->options->setuid)
        x->result->capabilities_left_out++;
    return x->options->setuid;
}

static int store_xattr(void *user, const char *name, const void *value, size_t n)
{
    struct xattr_target *t = user;
    struct extract *x = t->x;
    if (++t->count > XATTRS_MAX)
        return 1;
    if (!wants_xattr(x, name) || fsetxattr(t->fd, name, value, n, 0) == 0)
        return 0;
    x->result->xattrs_left_out++;
    if (!x->told_xattrs)
        gv_warn(x->options->log, "extended attributes such as %s cannot be stored in `%s`: %s", name, x->target, strerror(errno));
    x->told_xattrs = true;
    return 0;
}

static uint16_t wanted_mode(struct extract *x, const struct gvmi_stat *st)
{
    if (x->options->share)
        return st->type == IMAGE_DIR ? SHARE_DIR_MODE : SHARE_FILE_MODE;
    if (x->options->setuid || !(st->mode & PRIVILEGE_BITS))
        return st->mode;
    x->result->bits_left_out++;
    return (uint16_t)(st->mode & ~PRIVILEGE_BITS);
}

static void times_of(const struct gvmi_stat *st, struct timespec times[2])
{
    times[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
    times[1] = (struct timespec){ .tv_sec = st->mtime };
}

/* The file type as Linux has it in a mode. */
static mode_t type_bits(const struct gvmi_stat *st)
{
    static const mode_t bits[] = {
        [IMAGE_FILE] = S_IFREG,  [IMAGE_DIR] = S_IFDIR,  [IMAGE_SYMLINK] = S_IFLNK, [IMAGE_CHAR] = S_IFCHR,
        [IMAGE_BLOCK] = S_IFBLK, [IMAGE_FIFO] = S_IFIFO, [IMAGE_SOCKET] = S_IFSOCK,
    };
    return bits[st->type];
}

static int store_number(struct extract *x, int fd, const char *name, uint64_t value, size_t n, const char *path, struct gv_error *err)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    if (fsetxattr(fd, name, bytes, n, 0) == 0)
        return 0;
    int sys = errno;
    extract_failed(x, err, sys, "keep the guest's owner and mode of", path);
    if (sys == EOPNOTSUPP)
        gv_error_hint(err, "a file system with extended attributes is needed");
    return -1;
}

static int finish_share(struct extract *x, int fd, const struct gvmi_stat *st, const char *path, struct gv_error *err)
{
    bool device = st->type == IMAGE_CHAR || st->type == IMAGE_BLOCK;
    if (store_number(x, fd, SHARE_PREFIX "uid", st->uid, 4, path, err) < 0 ||
        store_number(x, fd, SHARE_PREFIX "gid", st->gid, 4, path, err) < 0 ||
        store_number(x, fd, SHARE_PREFIX "mode", type_bits(st) | st->mode, 4, path, err) < 0)
        return -1;
    return device ? store_number(x, fd, SHARE_PREFIX "rdev", makedev(st->rdev_major, st->rdev_minor), 8, path, err) : 0;
}

int entry_finish(struct extract *x, int fd, const struct gvmi_stat *st, const char *path, struct gv_error *err)
{
    if (x->options->share && finish_share(x, fd, st, path, err) < 0)
        return -1;
    /* A change of owner takes capabilities and setuid bits away, and who has no more right to write may not store attributes. */
    if (x->owners && !x->options->share && fchown(fd, st->uid, st->gid) < 0)
        return extract_failed(x, err, errno, "change the owner of", path);
    struct xattr_target t = { .x = x, .fd = fd };
    if (gvmi_read_xattrs(x->img, st->ref, store_xattr, &t, err) < 0)
        return -1;
    if (t.count > XATTRS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "`%s` has more than %d extended attributes in the image", path, XATTRS_MAX);
    if (fchmod(fd, wanted_mode(x, st)) < 0)
        return extract_failed(x, err, errno, "set the mode of", path);
    struct timespec times[2];
    times_of(st, times);
    if (futimens(fd, times) < 0)
        return extract_failed(x, err, errno, "set the time of", path);
    return 0;
}

/* ---- making ---------------------------------------------------------------------------------------------------------------------- */

/* What is in the way of a name goes, unless it is a directory. In a target of our own nothing can be, except by an image that has a name twice. */
static int clear_name(struct extract *x, int dir, const char *name, const char *path, struct gv_error *err)
{
    if (x->fresh || unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    return extract_failed(x, err, errno, "replace", path);
}

int entry_make_dir(struct extract *x, int dir, const char *name, const char *path, struct gv_error *err)
{
    if (mkdirat(dir, name, 0700) == 0)
        return 0;
    struct stat st;
    if (errno != EEXIST || x->fresh || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return extract_failed(x, err, errno, "make the directory", path);
    if (S_ISDIR(st.st_mode)) {
        /* Until it is finished we must be able to work in it. */
        if ((st.st_mode & 0700) != 0700 && fchmodat(dir, name, (st.st_mode & 07777) | 0700, AT_SYMLINK_NOFOLLOW) < 0)
            return extract_failed(x, err, errno, "write into", path);
        return 0;
    }
    if (clear_name(x, dir, name, path, err) < 0)
        return -1;
    return mkdirat(dir, name, 0700) < 0 ? extract_failed(x, err, errno, "make the directory", path) : 0;
}

struct writing {
    struct extract *x;
    int fd, sys;
    uint64_t at;
};

static bool all_zero(const void *p, size_t n)
{
    const unsigned char *bytes = p;
    return n > 0 && bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* Whole blocks of zeros become holes. */
static int write_piece(void *user, const void *p, size_t n)
{
    struct writing *w = user;
    if (!all_zero(p, n) && gv_pwrite_full(w->fd, p, n, w->at) < 0) {
        w->sys = errno;
        return 1;
    }
    w->at += n;
    w->x->bytes_done += n;
    gv_progress_update(w->x->options->progress, "extracting", w->x->bytes_done, w->x->bytes_total);
    return 0;
}

/* Opens a new file for writing. */
static int create(struct extract *x, int dir, const char *name, const char *path, struct gv_error *err)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? extract_failed(x, err, errno, "create", path) : fd;
}

static int make_file(struct extract *x, int dir, const char *name, const char *path, const struct gvmi_stat *st, struct gv_error *err)
{
    uint64_t max = x->options->max_bytes;
    if (max && (st->size > max || x->result->bytes > max - st->size))
        return gv_error_set(err, GV_E_LIMIT, 0, "`%s`: the files of the image have more than %llu bytes; --max-size allows more", path,
                            (unsigned long long)max);
    cleanup_close int fd = create(x, dir, name, path, err);
    if (fd < 0)
        return -1;
    struct writing w = { .x = x, .fd = fd };
    if (st->size > 0 && gvmi_read_file(x->img, st->ref, write_piece, &w, err) < 0)
        return gv_error_prefix(err, "`%s`", path);
    if (w.sys == 0 && ftruncate(fd, (off_t)st->size) < 0)
        w.sys = errno;
    if (w.sys != 0)
        return extract_failed(x, err, w.sys, "write", path);
    if (entry_finish(x, fd, st, path, err) < 0)
        return -1;
    x->result->files++;
    x->result->bytes += st->size;
    return 0;
}

/* Owner and time of what has no descriptor to write with. `type` is what was just made: whatever else is there now is not ours to change. */
static int finish_other(struct extract *x, int dir, const char *name, mode_t type, const char *path, const struct gvmi_stat *st,
                        struct gv_error *err)
{
    cleanup_close int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat now;
    if (fd < 0 || fstat(fd, &now) < 0)
        return extract_failed(x, err, errno, "look at", path);
    if ((now.st_mode & S_IFMT) != type || now.st_nlink != 1)
        return gv_error_set(err, GV_E_IO, 0, "`%s/%s` was replaced by somebody else while it was made", x->target, path);
    if (x->owners && fchownat(fd, "", st->uid, st->gid, AT_EMPTY_PATH) < 0)
        return extract_failed(x, err, errno, "change the owner of", path);
    if (type != S_IFLNK && fchmodat(dir, name, wanted_mode(x, st), AT_SYMLINK_NOFOLLOW) < 0)
        return extract_failed(x, err, errno, "set the mode of", path);
    struct timespec times[2];
    times_of(st, times);
    if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return extract_failed(x, err, errno, "set the time of", path);
    return 0;
}

static int make_symlink(struct extract *x, int dir, const char *name, const char *path, const struct gvmi_stat *st, struct gv_error *err)
{
    cleanup_free char *target = NULL;
    if (gvmi_read_link(x->img, st->ref, &target, err) < 0)
        return -1;
    if (symlinkat(target, dir, name) < 0)
        return extract_failed(x, err, errno, "make the symbolic link", path);
    x->result->symlinks++;
    return finish_other(x, dir, name, S_IFLNK, path, st, err);
}

static int make_special(struct extract *x, int dir, const char *name, const char *path, const struct gvmi_stat *st, mode_t type,
                        struct gv_error *err)
{
    bool device = type == S_IFCHR || type == S_IFBLK;
    if (mknodat(dir, name, type | 0600, device ? makedev(st->rdev_major, st->rdev_minor) : 0) < 0)
        return extract_failed(x, err, errno, device ? "make the device node" : "make the special file", path);
    x->result->specials++;
    return finish_other(x, dir, name, type, path, st, err);
}

/* What is no file for the guest is one for us. */
static int make_shared(struct extract *x, int dir, const char *name, const char *path, const struct gvmi_stat *st, struct gv_error *err)
{
    cleanup_free char *target = NULL;
    if (st->type == IMAGE_SYMLINK && gvmi_read_link(x->img, st->ref, &target, err) < 0)
        return -1;
    cleanup_close int fd = create(x, dir, name, path, err);
    if (fd < 0)
        return -1;
    if (target && gv_write_full(fd, target, strlen(target)) < 0)
        return extract_failed(x, err, errno, "write", path);
    *(target ? &x->result->symlinks : &x->result->specials) += 1;
    return entry_finish(x, fd, st, path, err);
}

static int make_by_type(struct extract *x, int dir, const char *name, const char *path, const struct gvmi_stat *st, struct gv_error *err)
{
    if (x->options->share && st->type != IMAGE_FILE && st->type != IMAGE_DIR)
        return make_shared(x, dir, name, path, st, err);
    switch ((enum image_type)st->type) {
    case IMAGE_FILE:
        return make_file(x, dir, name, path, st, err);
    case IMAGE_SYMLINK:
        return make_symlink(x, dir, name, path, st, err);
    case IMAGE_CHAR:
        return make_special(x, dir, name, path, st, S_IFCHR, err);
    case IMAGE_BLOCK:
        return make_special(x, dir, name, path, st, S_IFBLK, err);
    case IMAGE_FIFO:
        return make_special(x, dir, name, path, st, S_IFIFO, err);
    case IMAGE_SOCKET:
        return make_special(x, dir, name, path, st, S_IFSOCK, err);
    case IMAGE_DIR:
        break;
    }
    return gv_error_set(err, GV_E_INTERNAL, 0, "`%s` has no type that can be made", path);
}

int entry_make(struct extract *x, int dir, const char *name, const char *path, const struct gvmi_stat *st, struct gv_error *err)
{
    if ((st->type == IMAGE_CHAR || st->type == IMAGE_BLOCK) && !x->options->devices && !x->options->share) {
        x->result->devices_left_out++;
        return 0;
    }
    if (clear_name(x, dir, name, path, err) < 0 || make_by_type(x, dir, name, path, st, err) < 0)
        return -1;
    return 1;
}

int entry_link(struct extract *x, int from_dir, const char *from_name, int dir, const char *name, const char *path, struct gv_error *err)
{
    if (clear_name(x, dir, name, path, err) < 0)
        return -1;
    if (linkat(from_dir, from_name, dir, name, 0) == 0) {
        x->result->hard_links++;
        return 1;
    }
    if (errno != EPERM && errno != EMLINK && errno != EXDEV && errno != EOPNOTSUPP)
        return extract_failed(x, err, errno, "make the hard link", path);
    if (!x->told_links)
        gv_warn(x->options->log, "hard links cannot be made in `%s` (%s): copies are made instead", x->target, strerror(errno));
    x->told_links = true;
    return 0;
}
