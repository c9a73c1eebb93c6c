/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The cache of conversions: $XDG_CACHE_HOME/gvmkit/images/<key>.gvmi, where the key is the SHA-256 of what the input looks like from outside
 * (source_fingerprint) and of the options. Beside each lies <key>.lock: its holder in exclusive mode is converting, holders in shared mode
 * use the file. A file appears whole or not at all, so whoever sees it may use it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/convert.h"

#define KEY_HEX (2 * GV_SHA256_SIZE)

static int lock_open(const char *path, int how, struct gv_error *err)
{
    for (;;) {
        cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
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

struct cached {
    char key[KEY_HEX + 1];
    uint64_t size;
    struct timespec used;
};

static int compare_age(const void *a, const void *b)
{
    const struct cached *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

/* Removes the least recently used conversions until the rest fits. What cannot be removed is left: this is housekeeping. */
static void cache_trim(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    cleanup_free struct cached *list = NULL;
    size_t n = 0;
    uint64_t total = 0;
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (strlen(e->d_name) != KEY_HEX + 5 || strcmp(e->d_name + KEY_HEX, ".gvmi") != 0 || fstatat(dirfd(d), e->d_name, &st, 0) < 0)
            continue;
        list = gv_reallocarray(list, n + 1, sizeof(*list));
        memcpy(list[n].key, e->d_name, KEY_HEX);
        list[n].key[KEY_HEX] = '\0';
        list[n].size = (uint64_t)st.st_size;
        list[n].used = st.st_mtim;
        total += list[n++].size;
    }
    if (n)
        qsort(list, n, sizeof(*list), compare_age);
    for (size_t i = 0; i < n && total > CONVERT_CACHE_MAX; i++) {
        cleanup_free char *lock_path = gv_asprintf("%s/%s.lock", dir, list[i].key);
        cleanup_close int lock = lock_open(lock_path, LOCK_EX | LOCK_NB, NULL);
        if (lock < 0)
            continue;
        cleanup_free char *name = gv_asprintf("%s.gvmi", list[i].key);
        if (unlinkat(dirfd(d), name, 0) == 0)
            total -= list[i].size;
        unlink(lock_path);
    }
    closedir(d);
}

static int is_gvmi(const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char magic[4];
    return fd >= 0 && gv_pread_full(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) && !memcmp(magic, "hsqs", 4);
}

int convert_for_use(const char *image, const struct convert_options *options, char **path, int *lock, struct gv_error *err)
{
    *lock = -1;
    if (is_gvmi(image)) {
        *path = gv_strdup(image);
        return 0;
    }
    cleanup_free char *fingerprint = NULL;
    if (source_fingerprint(image, &fingerprint, err) < 0)
        return -1;
    cleanup_free char *text = gv_asprintf("v1\n%s\n%s\n%d %d %u\n", fingerprint, options->source.platform ? options->source.platform : "",
                                          options->write.compression, options->write.level, options->write.block_size);
    unsigned char digest[GV_HASH_MAX];
    char key[KEY_HEX + 1];
    gv_hash_bytes(GV_HASH_SHA256, text, strlen(text), digest);
    gv_hex(key, digest, GV_SHA256_SIZE);

    cleanup_free char *base = gv_cache_dir(err);
    if (!base)
        return -1;
    cleanup_free char *dir = gv_asprintf("%s/images", base);
    if (gv_mkdir_p(dir, 0700, err) < 0)
        return -1;
    cleanup_free char *file = gv_asprintf("%s/%s.gvmi", dir, key);
    cleanup_free char *lock_path = gv_asprintf("%s/%s.lock", dir, key);
    for (;;) {
        cleanup_close int shared = lock_open(lock_path, LOCK_SH, err);
        if (shared < 0)
            return -1;
        if (access(file, R_OK) == 0) {
            (void)utimensat(AT_FDCWD, file, NULL, 0); /* the time of last use, for cache_trim */
            *lock = steal_fd(&shared);
            *path = steal_ptr(file);
            return 0;
        }
        close(steal_fd(&shared));
        cleanup_close int exclusive = lock_open(lock_path, LOCK_EX, err);
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
