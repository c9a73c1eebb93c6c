/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The cache of conversions: $XDG_CACHE_HOME/gvmkit/images/<key>.gvmi, where the key is the SHA-256 of what the input looks like from outside
 * (source_fingerprint) and of the options. Beside each lies <key>.lock: its holder in exclusive mode is converting, holders in shared mode
 * use the file. A file appears whole or not at all, so whoever sees it may use it. Where the outside tells nothing, the key is made of the result.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/convert.h"

#define KEY_HEX (2 * GV_SHA256_SIZE)

static bool is_conversion(const char *name)
{
    return strlen(name) == KEY_HEX + 5 && strcmp(name + KEY_HEX, ".gvmi") == 0;
}

/* Removes a conversion that nobody uses, and its lock. */
static bool remove_conversion(int dir, const char *path, const char *name)
{
    cleanup_free char *lock_path = gv_asprintf("%s/%.*s.lock", path, KEY_HEX, name);
    cleanup_close int lock = gv_lock_open(lock_path, LOCK_EX | LOCK_NB, NULL);
    if (lock < 0)
        return false;
    bool removed = unlinkat(dir, name, 0) == 0;
    unlink(lock_path);
    return removed;
}

static void cache_trim(const char *dir)
{
    static const struct gv_lru lru = { .counts = is_conversion, .remove = remove_conversion };
    gv_lru_trim(dir, CONVERT_CACHE_MAX, &lru);
}

static int is_gvmi(const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char magic[4];
    return fd >= 0 && gv_pread_full(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) && !memcmp(magic, "hsqs", 4);
}

static void make_key(char key[KEY_HEX + 1], const char *fingerprint, const struct convert_options *o)
{
    cleanup_buf struct gv_buf text = { 0 };
    gv_buf_addf(&text, "v2\n%s\n%s\n%d %d %u\n%d %d %d %u\n", fingerprint, o->source.platform ? o->source.platform : "",
                o->write.compression, o->write.level, o->write.block_size, o->source.root_owned, o->as_is, o->numeric_user, o->strip);
    for (size_t i = 0; o->edits && i < o->edits->count; i++)
        gv_buf_addf(&text, "%d %zu %s\n", (int)o->edits->items[i].kind, strlen(o->edits->items[i].value), o->edits->items[i].value);
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, text.data, text.len, digest);
    gv_hex(key, digest, GV_SHA256_SIZE);
}

static void gv_cleanup_workdir_fn(struct gv_workdir **w)
{
    gv_workdir_remove(*w, NULL);
}

/*
 * What has no outside by which it could be known (a directory, standard input, a name in a registry) is converted each time, and then kept under what has
 * come out: so the same content is there once. It is made in a directory that ends with us, and appears under its key as a whole.
 */
static int use_by_content(const char *image, const struct convert_options *options, const char *dir, char **path, int *lock,
                          struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_workdir_fn))) struct gv_workdir *work = NULL;
    __attribute__((cleanup(gv_cleanup_convert_result_fn))) struct convert_result result = { 0 };
    if (gv_workdir_open(&work, dir, "new", err) < 0)
        return -1;
    cleanup_free char *made = gv_asprintf("%s/image.gvmi", gv_workdir_path(work));
    if (convert_to_file(image, made, false, options, &result, err) < 0)
        return -1;
    unsigned char digest[GV_HASH_MAX];
    char key[KEY_HEX + 1];
    gv_hash_bytes(GV_HASH_SHA256, result.image.hash, strlen(result.image.hash), digest);
    gv_hex(key, digest, GV_SHA256_SIZE);
    cleanup_free char *file = gv_asprintf("%s/%s.gvmi", dir, key), *lock_path = gv_asprintf("%s/%s.lock", dir, key);
    cleanup_close int shared = gv_lock_open(lock_path, LOCK_SH, err);
    if (shared < 0)
        return -1;
    if (rename(made, file) < 0) /* over one with the same bytes, perhaps */
        return gv_error_errno(err, "cannot keep the converted image as `%s`", file);
    cache_trim(dir);
    *lock = steal_fd(&shared);
    *path = steal_ptr(file);
    return 0;
}

int convert_for_use(const char *image, const struct convert_options *choice, char **path, int *lock, struct gv_error *err)
{
    struct convert_options fast = *choice;
    const struct convert_options *options = &fast;
    *lock = -1;
    /* Nobody but this runtime will see it. */
    if (!choice->write.compression && gvmi_profile("fast", &fast.write, err) < 0)
        return -1;
    if (is_gvmi(image)) {
        *path = gv_strdup(image);
        return 0;
    }
    cleanup_free char *base = gv_cache_dir(err);
    if (!base)
        return -1;
    cleanup_free char *dir = gv_asprintf("%s/images", base);
    if (gv_mkdir_p(dir, 0700, err) < 0)
        return -1;
    /* What a name stands for can change between this moment and the conversion: it must not end up under the key of something else. */
    cleanup_free char *exact = NULL, *fingerprint = NULL;
    if (source_resolve(image, &options->source, &exact, err) < 0)
        return -1;
    image = exact;
    struct gv_error failure = GV_ERROR_INIT;
    if (source_fingerprint(image, &fingerprint, &failure) < 0) {
        if (failure.code == GV_E_UNSUPPORTED)
            return use_by_content(image, options, dir, path, lock, err);
        if (err)
            *err = failure;
        return -1;
    }
    char key[KEY_HEX + 1];
    make_key(key, fingerprint, options);

    cleanup_free char *file = gv_asprintf("%s/%s.gvmi", dir, key);
    cleanup_free char *lock_path = gv_asprintf("%s/%s.lock", dir, key);
    for (;;) {
        cleanup_close int shared = gv_lock_open(lock_path, LOCK_SH, err);
        if (shared < 0)
            return -1;
        if (access(file, R_OK) == 0) {
            (void)utimensat(AT_FDCWD, file, NULL, 0); /* the time of last use, for cache_trim */
            *lock = steal_fd(&shared);
            *path = steal_ptr(file);
            return 0;
        }
        close(steal_fd(&shared));
        cleanup_close int exclusive = gv_lock_open(lock_path, LOCK_EX, err);
        if (exclusive < 0)
            return -1;
        if (access(file, R_OK) == 0)
            continue; /* somebody else made it while we waited */
        __attribute__((cleanup(gv_cleanup_convert_result_fn))) struct convert_result result = { 0 };
        if (convert_to_file(image, file, true, options, &result, err) < 0)
            return -1;
        cache_trim(dir);
        if (access(file, R_OK) < 0)
            return gv_error_set(err, GV_E_LIMIT, 0,
                                "the converted image does not fit the cache of %llu bytes; convert it with `gvmkit build` and run the file",
                                (unsigned long long)CONVERT_CACHE_MAX);
    }
}
