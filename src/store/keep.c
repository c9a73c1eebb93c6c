/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What goes, and what has rotted. Both need the lock of the image alone: what somebody uses stays as it is. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/inside.h"

static int remove_file(const struct image_store *s, const char *hash, const char *suffix, struct gv_error *err)
{
    cleanup_free char *path = store_file(s, hash, suffix);
    return unlink(path) < 0 && errno != ENOENT ? gv_error_errno(err, "cannot remove `%s`", path) : 0;
}

/* Everything of one hash. The lock's file goes last, and takes the lock with it. */
static int remove_all(struct image_store *s, const char *hash, struct gv_error *err)
{
    static const char *const suffixes[] = { "gvmi", STORE_SIGNATURE, "part", "state", "chunks", "json", "lock" };
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        if (remove_file(s, hash, suffixes[i], err) < 0)
            return -1;
    return 0;
}

static uint64_t size_of(const struct image_store *s, const char *hash, const char *suffix)
{
    cleanup_free char *path = store_file(s, hash, suffix);
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int lock_alone(const struct image_store *s, const char *hash, struct gv_error *err)
{
    cleanup_free char *path = store_file(s, hash, "lock");
    struct gv_error why = GV_ERROR_INIT;
    int lock = gv_lock_open(path, LOCK_EX | LOCK_NB, &why);
    if (lock >= 0)
        return lock;
    if (why.code == GV_E_BUSY)
        return gv_error_set(err, GV_E_BUSY, 0, "the image %s is in use", hash);
    if (err)
        *err = why;
    return -1;
}

static int remove_image(struct image_store *s, const char *hash, struct gv_error *err)
{
    cleanup_close int lock = lock_alone(s, hash, err);
    return lock < 0 ? -1 : remove_all(s, hash, err);
}

int store_remove(struct image_store *s, const char *hash, struct gv_error *err)
{
    if (remove_image(s, hash, err) < 0)
        return -1;
    store_drop_names(s);
    return 0;
}

/* A download that nobody goes on with; the image may be there. */
static bool remove_part(struct image_store *s, const char *hash)
{
    cleanup_close int lock = lock_alone(s, hash, NULL);
    if (lock < 0)
        return false;
    return remove_file(s, hash, "part", NULL) == 0 && remove_file(s, hash, "state", NULL) == 0 &&
           (size_of(s, hash, "gvmi") > 0 || remove_all(s, hash, NULL) == 0);
}

/* What an interruption left of an image that is not there: a lock, or from where it should have come. */
static void remove_orphans(struct image_store *s)
{
    DIR *d = opendir(s->images);
    for (struct dirent *f; d && (f = readdir(d));) {
        char hash[GV_SHA3_224_HEX], digits[GV_SHA3_224_HEX] = "";
        if (strlen(f->d_name) <= sizeof(digits) || f->d_name[sizeof(digits) - 1] != '.')
            continue;
        memcpy(digits, f->d_name, sizeof(digits) - 1);
        if (refs_hash(hash, digits) < 0 || size_of(s, hash, "gvmi") || size_of(s, hash, "part"))
            continue;
        cleanup_close int lock = lock_alone(s, hash, NULL);
        if (lock >= 0 && !size_of(s, hash, "gvmi") && !size_of(s, hash, "part"))
            (void)remove_all(s, hash, NULL);
    }
    if (d)
        closedir(d);
}

int store_prune(struct image_store *s, uint64_t max, void (*removed)(void *user, const struct store_entry *e), void *user,
                struct gv_error *err)
{
    cleanup_store_list struct store_list list = { 0 };
    if (store_list(s, &list, err) < 0)
        return -1;
    uint64_t total = 0;
    int status = 0;
    for (size_t i = 0; i < list.count; i++) {
        struct store_entry part = list.entries[i];
        total += part.size;
        part.size = 0;
        part.names = (struct gv_strv){ 0 };
        if (part.part && !part.in_use && remove_part(s, part.hash) && removed)
            removed(user, &part);
    }
    remove_orphans(s);
    for (size_t i = 0; i < list.count && total > max; i++) {
        struct store_entry *e = &list.entries[i];
        struct gv_error why = GV_ERROR_INIT;
        if (!e->size || e->in_use)
            continue;
        if (remove_image(s, e->hash, &why) < 0) {
            if (why.code == GV_E_BUSY)
                continue; /* since now */
            if (err)
                *err = why;
            status = -1;
            break;
        }
        total -= e->size;
        e->part = 0;
        if (removed)
            removed(user, e);
    }
    store_drop_names(s);
    return status;
}

/* ---- rot ---- */

/* 1 when the image is what it should be, 0 when it is not, and why in *how; -1 when there is none. */
static int is_good(const struct image_store *s, const char *hash, struct gv_error *how, struct gv_error *err)
{
    cleanup_free char *path = store_file(s, hash, "gvmi");
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    unsigned char digest[GV_HASH_MAX];
    char is[GV_SHA3_224_HEX];
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", path);
    if (gv_hash_fd_shown(GV_HASH_SHA3_224, fd, (uint64_t)st.st_size, s->options.progress, digest, how) < 0)
        return 0; /* a disk that cannot be read is rot, too */
    gv_hex(is, digest, GV_SHA3_224_SIZE);
    if (strcmp(is, hash) == 0)
        return 1;
    gv_error_set(how, GV_E_CORRUPT, 0, "its hash is %s", is);
    return 0;
}

/* From where it came, else from the registry. */
static int fetch_again(struct image_store *s, const char *hash, struct gv_error *err)
{
    cleanup_registry_image struct registry_image want = { .size = HTTP_SIZE_UNKNOWN };
    memcpy(want.hash, hash, sizeof(want.hash));
    store_origins(s, hash, &want.urls);
    if (want.urls.count && store_download(s, &want, NULL, err) == 0)
        return 0;
    cleanup_registry_image struct registry_image found = { 0 };
    cleanup_free char *base = registry_url(err);
    struct http_client *http = base ? store_http(s, err) : NULL;
    if (!http || registry_find(http, base, NULL, hash, &found, want.urls.count ? NULL : err) < 0)
        return -1;
    return store_download(s, &found, NULL, err);
}

int store_verify(struct image_store *s, const char *hash, enum store_health *health, struct gv_error *err)
{
    struct gv_error how = GV_ERROR_INIT, why = GV_ERROR_INIT;
    int good = is_good(s, hash, &how, err);
    *health = STORE_GOOD;
    if (good)
        return good < 0 ? -1 : 0;
    cleanup_close int lock = lock_alone(s, hash, err);
    if (lock < 0)
        return gv_error_prefix(err, "the image is damaged, %s", how.msg);
    gv_warn(s->options.log, "the image %s is damaged, %s; fetching it again", hash, how.msg);
    if (fetch_again(s, hash, &why) == 0) {
        *health = STORE_REPAIRED;
        return 0;
    }
    *health = STORE_LOST;
    /* Its names stay: they say what to pull. */
    if (remove_file(s, hash, "gvmi", err) < 0 || remove_file(s, hash, STORE_SIGNATURE, err) < 0 || store_sync(s, err) < 0)
        return -1;
    gv_error_set(err, GV_E_CORRUPT, 0, "the image %s was damaged and is removed; it cannot be fetched again: %s", hash, why.msg);
    return 0;
}
