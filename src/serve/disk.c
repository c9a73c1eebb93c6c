/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "sign/sign.h"

#define IMAGE_SUFFIX ".gvmi"
#define CHUNKS_SUFFIX ".gvmi.chunks"
#define SIGNATURE_SUFFIX ".gvmi" SIGN_SUFFIX
#define PART_SUFFIX ".part"
#define NEW_SUFFIX ".new"

enum { NAME_SIZE = 2 * GV_SHA256_SIZE + 32 };

static void upload_name(char out[NAME_SIZE], const unsigned char name[GV_SHA256_SIZE])
{
    gv_hex(out, name, GV_SHA256_SIZE);
    memcpy(out + (size_t)2 * GV_SHA256_SIZE, PART_SUFFIX, sizeof(PART_SUFFIX));
}

static void image_name(char out[NAME_SIZE], const unsigned char hash[GV_SHA3_224_SIZE], enum disk_file kind)
{
    static const char *const suffixes[] = {
        [DISK_IMAGE] = IMAGE_SUFFIX, [DISK_CHUNKS] = CHUNKS_SUFFIX, [DISK_SIGNATURE] = SIGNATURE_SUFFIX
    };
    gv_hex(out, hash, GV_SHA3_224_SIZE);
    strcat(out, suffixes[kind]);
}

static int subdir(const char *dir, const char *name, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/%s", dir, name);
    if (gv_mkdir_p(path, 0755, err) < 0)
        return -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? gv_error_errno(err, "%s", path) : fd;
}

int disk_make(const char *dir, struct gv_error *err)
{
    cleanup_close int images = -1, uploads = -1, top = -1;
    if (gv_mkdir_p(dir, 0700, err) < 0 || (images = subdir(dir, "images", err)) < 0 || (uploads = subdir(dir, "uploads", err)) < 0)
        return -1;
    top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0 || fsync(top) < 0)
        return gv_error_errno(err, "%s", dir);
    return 0;
}

int disk_open(struct disk *d, const char *dir, struct gv_error *err)
{
    *d = (struct disk){ .dir = gv_strdup(dir), .images = -1, .uploads = -1, .lock = -1 };
    pthread_mutex_init(&d->publish, NULL);
    cleanup_free char *lock = gv_asprintf("%s/lock", dir);
    if (disk_make(dir, err) < 0 || (d->images = subdir(dir, "images", err)) < 0 || (d->uploads = subdir(dir, "uploads", err)) < 0)
        return -1;
    d->lock = gv_lock_open(lock, LOCK_EX | LOCK_NB, err);
    if (d->lock < 0 && err && err->code == GV_E_BUSY)
        return gv_error_set(err, GV_E_BUSY, 0, "%s: another server has this directory; end it, or use another --data", dir);
    return d->lock < 0 ? -1 : 0;
}

void disk_close(struct disk *d)
{
    const int fds[] = { d->images, d->uploads, d->lock };
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(d->dir);
    pthread_mutex_destroy(&d->publish);
}

int disk_upload_open(struct disk *d, const unsigned char name[GV_SHA256_SIZE], struct gv_error *err)
{
    char file[NAME_SIZE];
    upload_name(file, name);
    cleanup_close int fd = openat(d->uploads, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 || fsync(d->uploads) < 0)
        return gv_error_errno(err, "%s/uploads/%s", d->dir, file);
    return steal_fd(&fd);
}

void disk_upload_remove(struct disk *d, const unsigned char name[GV_SHA256_SIZE])
{
    char file[NAME_SIZE];
    upload_name(file, name);
    unlinkat(d->uploads, file, 0);
}

int disk_scratch(struct disk *d, struct gv_error *err)
{
    int fd = openat(d->uploads, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    if (errno != EOPNOTSUPP && errno != EISDIR)
        return gv_error_errno(err, "cannot make a file in %s/uploads", d->dir);
    /* A file system without nameless files: the name goes at once. */
    cleanup_free char *path = gv_asprintf("%s/uploads/scratch-XXXXXX", d->dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return gv_error_errno(err, "cannot make a file in %s/uploads", d->dir);
    unlink(path);
    return fd;
}

int disk_open_file(struct disk *d, const unsigned char hash[GV_SHA3_224_SIZE], enum disk_file kind, struct gv_error *err)
{
    char file[NAME_SIZE];
    image_name(file, hash, kind);
    int fd = openat(d->images, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s/images/%s", d->dir, file);
    return fd;
}

bool disk_has(struct disk *d, const unsigned char hash[GV_SHA3_224_SIZE], uint64_t size)
{
    char file[NAME_SIZE];
    struct stat st;
    image_name(file, hash, DISK_IMAGE);
    return fstatat(d->images, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
}

/* Links beside the name first, so that whoever opens the name finds the old file or the new one. */
int disk_publish(struct disk *d, const unsigned char name[GV_SHA256_SIZE], const unsigned char hash[GV_SHA3_224_SIZE], struct gv_error *err)
{
    char from[NAME_SIZE], to[NAME_SIZE], made[NAME_SIZE + sizeof(NEW_SUFFIX)];
    upload_name(from, name);
    image_name(to, hash, DISK_IMAGE);
    snprintf(made, sizeof(made), "%s" NEW_SUFFIX, to);
    unlinkat(d->images, made, 0);
    if (linkat(d->uploads, from, d->images, made, 0) < 0 || renameat(d->images, made, d->images, to) < 0 || fsync(d->images) < 0)
        return gv_error_errno(err, "cannot make %s/images/%s", d->dir, to);
    unlinkat(d->images, made, 0); /* two names of one file: rename leaves both */
    return 0;
}

int disk_write_beside(struct disk *d, const unsigned char hash[GV_SHA3_224_SIZE], enum disk_file kind, const struct gv_buf *bytes,
                      struct gv_error *err)
{
    char file[NAME_SIZE];
    struct gv_outfile *out = NULL;
    image_name(file, hash, kind);
    cleanup_free char *path = gv_asprintf("%s/images/%s", d->dir, file);
    if (gv_outfile_open(&out, path, 0644, err) < 0)
        return -1;
    if (gv_write_full(gv_outfile_fd(out), bytes->data, bytes->len) < 0) {
        gv_error_errno(err, "%s", path);
        gv_outfile_discard(out);
        return -1;
    }
    if (gv_outfile_commit(out, err) < 0)
        return -1;
    return fsync(d->images) < 0 ? gv_error_errno(err, "%s/images", d->dir) : 0;
}

int disk_read_signature(struct disk *d, const unsigned char hash[GV_SHA3_224_SIZE], struct gv_buf *text, struct gv_error *err)
{
    cleanup_close int fd = disk_open_file(d, hash, DISK_SIGNATURE, err);
    if (fd < 0)
        return -1;
    gv_buf_reserve(text, SIGN_FILE_MAX);
    ssize_t n = gv_pread_full(fd, text->data + text->len, SIGN_FILE_MAX, 0);
    if (n < 0)
        return gv_error_errno(err, "cannot read a signature");
    text->len += (size_t)n;
    return 0;
}

/* One of ours: the hex digits of n bytes, then one of the suffixes; or the rest of something that was being made. */
static bool ours(const char *file, unsigned char *id, size_t n, const char *const *suffixes)
{
    char hex[2 * GV_SHA256_SIZE + 1];
    if (strlen(file) < 2 * n)
        return false;
    memcpy(hex, file, 2 * n);
    hex[2 * n] = '\0';
    if (gv_unhex(id, n, hex) < 0)
        return false;
    for (; *suffixes; suffixes++)
        if (strcmp(file + 2 * n, *suffixes) == 0)
            return true;
    return false;
}

static int sweep(int dir, const char *path, size_t n, const char *const *suffixes, int (*known)(void *, const unsigned char *), void *user,
                 uint64_t *removed, struct gv_error *err)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (!list) {
        if (fd >= 0)
            close(fd);
        return gv_error_errno(err, "%s", path);
    }
    int result = 0;
    for (const struct dirent *e; result == 0 && (e = readdir(list));) {
        unsigned char id[GV_SHA256_SIZE];
        if (!ours(e->d_name, id, n, suffixes))
            continue;
        int r = known(user, id);
        if (r < 0)
            result = -1;
        else if (r == 0 && unlinkat(dir, e->d_name, 0) == 0)
            ++*removed;
    }
    closedir(list);
    return result;
}

int disk_sweep_images(struct disk *d, int (*known)(void *user, const unsigned char hash[GV_SHA3_224_SIZE]), void *user, uint64_t *removed,
                      struct gv_error *err)
{
    static const char *const suffixes[] = { IMAGE_SUFFIX, CHUNKS_SUFFIX, SIGNATURE_SUFFIX, IMAGE_SUFFIX NEW_SUFFIX, NULL };
    return sweep(d->images, "images", GV_SHA3_224_SIZE, suffixes, known, user, removed, err);
}

int disk_sweep_uploads(struct disk *d, int (*known)(void *user, const unsigned char name[GV_SHA256_SIZE]), void *user, uint64_t *removed,
                       struct gv_error *err)
{
    static const char *const suffixes[] = { PART_SUFFIX, NULL };
    return sweep(d->uploads, "uploads", GV_SHA256_SIZE, suffixes, known, user, removed, err);
}

uint64_t disk_free(const struct disk *d)
{
    struct statvfs st;
    if (fstatvfs(d->uploads, &st) < 0)
        return UINT64_MAX;
    return (uint64_t)st.f_bavail * st.f_frsize;
}
