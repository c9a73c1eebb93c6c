/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define HEX (2 * GV_SHA256_SIZE)
#define WAIT_NS 100000000L

struct blobs {
    char *dir; /* NULL = no cache */
    const struct gv_log *log;
    atomic_bool added;
};

struct blobs *blobs_new(const struct gv_log *log)
{
    struct blobs *b = gv_new(struct blobs);
    struct gv_error why = GV_ERROR_INIT;
    b->log = log;
    cleanup_free char *base = gv_cache_dir(&why);
    cleanup_free char *dir = base ? gv_asprintf("%s/blobs/sha256", base) : NULL;
    if (!dir || gv_mkdir_p(dir, 0700, &why) < 0)
        gv_note(log, "what is downloaded is not kept: %s", why.msg);
    else if (access(dir, R_OK | W_OK | X_OK) < 0)
        gv_note(log, "what is downloaded is not kept: `%s` is not writable", dir);
    else
        b->dir = steal_ptr(dir);
    return b;
}

/* ---- housekeeping ---- */

static bool counts(const char *name)
{
    return strspn(name, "0123456789abcdef") == HEX && (!name[HEX] || !strcmp(name + HEX, ".part"));
}

static bool remove_blob(int dir, const char *path, const char *name)
{
    cleanup_free char *full = gv_asprintf("%s/%s", path, name);
    /* Whoever has a finished blob open keeps it; a part belongs to whoever has locked it. */
    cleanup_close int lock = name[HEX] ? gv_lock_open(full, LOCK_EX | LOCK_NB, NULL) : -1;
    return (!name[HEX] || lock >= 0) && unlinkat(dir, name, 0) == 0;
}

void blobs_free(struct blobs *b)
{
    static const struct gv_lru lru = { .counts = counts, .remove = remove_blob };
    if (!b)
        return;
    if (b->dir && atomic_load(&b->added))
        gv_lru_trim(b->dir, BLOBS_CACHE_MAX, &lru);
    free(b->dir);
    free(b);
}

/* ---- a blob ---- */

struct job {
    struct blobs *blobs;
    const struct digest *digest;
    uint64_t size;
    blobs_fetch_fn fetch;
    void *user;
    const atomic_bool *cancelled;
};

static int check(const struct job *j, int fd, struct gv_error *err)
{
    struct stat st;
    struct digest have = { .kind = j->digest->kind, .size = j->digest->size };
    if (fstat(fd, &st) < 0)
        return gv_error_errno(err, "cannot look at a blob");
    if ((uint64_t)st.st_size != j->size)
        return gv_error_set(err, GV_E_CORRUPT, 0, "it has %jd bytes and should have %" PRIu64, (intmax_t)st.st_size, j->size);
    if (gv_hash_fd(have.kind, fd, have.bytes, err) < 0)
        return -1;
    if (digest_equal(&have, j->digest))
        return 0;
    char want[DIGEST_SHORT], is[DIGEST_SHORT];
    digest_short(want, j->digest);
    digest_short(is, &have);
    return gv_error_set(err, GV_E_CORRUPT, 0, "what came has the digest %s... and not %s...", is, want);
}

/* Makes the file at fd the whole blob, beginning with what is in it. */
static int complete(const struct job *j, int fd, struct gv_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gv_error_errno(err, "cannot look at a blob");
    uint64_t have = (uint64_t)st.st_size <= j->size ? (uint64_t)st.st_size : 0;
    for (;;) {
        struct gv_error why = GV_ERROR_INIT;
        if (have == 0 && ftruncate(fd, 0) < 0)
            return gv_error_errno(err, "cannot empty a file");
        if (j->fetch(j->user, fd, have, err) < 0)
            return -1;
        if (check(j, fd, &why) == 0)
            return 0;
        if (have == 0) {
            (void)!ftruncate(fd, 0); /* nobody shall go on with this */
            if (err)
                *err = why;
            return -1;
        }
        have = 0; /* the beginning may have been wrong */
    }
}

static void give(int *fd, uint64_t size, struct blob *out)
{
    *out = (struct blob){ .fd = steal_fd(fd), .size = size };
}

/* The finished blob of the cache: 1 when it is there and right. */
static int open_finished(const struct job *j, const char *path, struct blob *out)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return 0;
    struct gv_error why = GV_ERROR_INIT;
    if (check(j, fd, &why) < 0) {
        gv_warn(j->blobs->log, "`%s` is damaged and is fetched again: %s", path, why.msg);
        unlink(path);
        return 0;
    }
    (void)utimensat(AT_FDCWD, path, NULL, 0); /* the time of last use */
    give(&fd, j->size, out);
    return 1;
}

/* The part, locked; waits while somebody else is fetching it. */
static int lock_part(const struct job *j, const char *path, struct gv_error *err)
{
    for (bool told = false;; told = true) {
        struct gv_error why = GV_ERROR_INIT;
        int fd = gv_lock_open(path, LOCK_EX | LOCK_NB, &why);
        if (fd >= 0)
            return fd;
        if (why.code != GV_E_BUSY) {
            if (err)
                *err = why;
            return -1;
        }
        if (j->cancelled && atomic_load(j->cancelled))
            return gv_error_set(err, GV_E_CANCELLED, 0, "interrupted");
        if (!told)
            gv_note(j->blobs->log, "waiting for another process that is fetching a part of the same image");
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_NS }, NULL);
    }
}

static int get_cached(const struct job *j, const char *path, struct blob *out, struct gv_error *err)
{
    cleanup_free char *part = gv_asprintf("%s.part", path);
    if (open_finished(j, path, out))
        return 0;
    cleanup_close int fd = lock_part(j, part, err);
    if (fd < 0)
        return -1;
    if (open_finished(j, path, out)) {
        unlink(part); /* the lock's file, made anew by us */
        return 0;
    }
    if (complete(j, fd, err) < 0) {
        struct stat st;
        if (fstat(fd, &st) == 0 && st.st_size == 0)
            unlink(part); /* nothing to go on with */
        return err && err->sys == ENOSPC ? gv_error_hint(err, "XDG_CACHE_HOME moves the cache from `%s`", j->blobs->dir) : -1;
    }
    if (rename(part, path) < 0)
        return gv_error_errno(err, "cannot give `%s` its name", path);
    atomic_store(&j->blobs->added, true);
    give(&fd, j->size, out);
    return 0;
}

int blobs_get(struct blobs *b, const struct digest *digest, uint64_t size, blobs_fetch_fn fetch, void *user, const atomic_bool *cancelled,
              struct blob *out, struct gv_error *err)
{
    struct job j = { .blobs = b, .digest = digest, .size = size, .fetch = fetch, .user = user, .cancelled = cancelled };
    if (b->dir && digest->kind == GV_HASH_SHA256) {
        char hex[HEX + 1];
        gv_hex(hex, digest->bytes, GV_SHA256_SIZE);
        cleanup_free char *path = gv_asprintf("%s/%s", b->dir, hex);
        return get_cached(&j, path, out, err);
    }
    cleanup_close int fd = gv_scratch_file(err);
    if (fd < 0 || complete(&j, fd, err) < 0)
        return -1;
    give(&fd, size, out);
    return 0;
}
