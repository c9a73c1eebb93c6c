/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A download goes to a partial file with the hash as its name, under a lock, so that several of us fetch an image once and one that was interrupted
 * goes on where it was. What has its name has had its hash; it is verified again all the same, because disks and users change files.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "script/script.h"

struct wanted {
    const char *url;
    enum gv_hash_kind kind;
    unsigned char digest[GV_HASH_MAX];
    size_t digest_size;
};

/* 1: the file has the hash; 0: it has another one, or is not there. */
static int has_hash(const char *path, const struct wanted *w, struct gv_error *err)
{
    unsigned char digest[GV_HASH_MAX];
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : gv_error_errno(err, "cannot open the image `%s`", path);
    if (gv_hash_fd(w->kind, fd, digest, err) < 0)
        return gv_error_prefix(err, "the image `%s`", path);
    return memcmp(digest, w->digest, w->digest_size) == 0;
}

static int local_image(const char *path, const struct wanted *w, char **out, struct gv_error *err)
{
    cleanup_free char *real = realpath(path, NULL);
    if (!real)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot find the image `%s`", path);
    int right = w->digest_size ? has_hash(real, w, err) : 1;
    if (right < 0)
        return -1;
    if (!right)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the image `%s` has another hash than was asked for", path);
    *out = steal_ptr(real);
    return 0;
}

static int download(const struct transfer_options *o, const struct wanted *w, const char *partial, const char *final, struct gv_error *err)
{
    struct stat st;
    cleanup_close int fd = open(partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_errno(err, "cannot create `%s`", partial);
    uint64_t have = (uint64_t)st.st_size;
    bool resumed = have > 0;
    int result = transfer_fetch(o, w->url, fd, &have, w->kind, w->digest, w->digest_size, err);
    if (result < 0 && err->code == GV_E_CORRUPT && resumed) {
        /* The wrong bytes may be those that were there. */
        have = 0;
        gv_error_clear(err);
        result = ftruncate(fd, 0) < 0 ? gv_error_errno(err, "cannot empty `%s`", partial)
                                      : transfer_fetch(o, w->url, fd, &have, w->kind, w->digest, w->digest_size, err);
    }
    if (result < 0) {
        if (err->code == GV_E_CORRUPT)
            unlink(partial);
        return -1;
    }
    if (fsync(fd) < 0 || rename(partial, final) < 0)
        return gv_error_errno(err, "cannot create `%s`", final);
    return 0;
}

static int remote_image(const struct transfer_options *o, const struct wanted *w, char **out, struct gv_error *err)
{
    char hex[2 * GV_HASH_MAX + 1];
    if (!w->digest_size)
        return gv_error_set(err, GV_E_USAGE, 0, "Missing hash: `%.300s` can only be used as hash:sha3:HEX:URL", w->url);
    cleanup_free char *cache = gv_cache_dir(err);
    if (!cache)
        return -1;
    gv_hex(hex, w->digest, w->digest_size);
    cleanup_free char *dir = gv_asprintf("%s/script-images", cache), *final = gv_asprintf("%s/%s.gvmi", dir, hex);
    cleanup_free char *partial = gv_asprintf("%s/%s.partial", dir, hex), *lock = gv_asprintf("%s/%s.lock", dir, hex);
    if (gv_mkdir_p(dir, 0700, err) < 0)
        return -1;
    cleanup_close int locked = gv_lock_open(lock, LOCK_EX, err);
    int right = locked < 0 ? -1 : has_hash(final, w, err);
    if (right < 0 || (!right && download(o, w, partial, final, err) < 0))
        return -1;
    *out = steal_ptr(final);
    return 0;
}

int script_image_fetch(const char *reference, const struct transfer_options *o, char **path, struct gv_error *err)
{
    struct wanted w = { 0 };
    if (transfer_hash_prefix(reference, &w.kind, w.digest, &w.digest_size, &w.url, err) < 0)
        return -1;
    if (!strncasecmp(w.url, "http://", 7) || !strncasecmp(w.url, "https://", 8))
        return remote_image(o, &w, path, err);
    if (strncasecmp(w.url, "file:", 5) != 0)
        return local_image(w.url, &w, path, err);
    return local_image(w.url + (!strncmp(w.url + 5, "//", 2) ? 7 : 5), &w, path, err);
}
