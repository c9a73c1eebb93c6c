/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/uploads.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "gvmi/gvmi.h"
#include "serve/model.h"

#define CACHED_MAX 64 /* uploads of which nobody has a reference that are kept open */
#define PIECE ((size_t)1 << 20)

struct upload {
    unsigned char name[GV_SHA256_SIZE];
    int64_t row;
    struct gv_buf bytes; /* of the descriptor */
    struct descriptor d;
    /* Guarded by the lock of all. */
    unsigned refs;
    uint64_t used; /* a counter: larger is later */
    struct upload *next;
    /* Guarded by the lock, which is held as long as something is written or hashed. */
    pthread_mutex_t lock;
    int fd;
    struct gv_hash *hash; /* of the first `hashed` chunks */
    uint32_t hashed;
    /* Changed with both locks held and read with either: who only asks does not wait for the disk. */
    pthread_mutex_t state;
    bool gone; /* published or thrown away */
    unsigned char *stored;
    uint32_t count; /* of them */
};

struct uploads {
    pthread_mutex_t lock;
    struct disk *disk;
    struct upload *list;
    uint64_t clock;
};

struct uploads *uploads_new(struct disk *disk)
{
    struct uploads *all = gv_new(struct uploads);
    pthread_mutex_init(&all->lock, NULL);
    all->disk = disk;
    return all;
}

static void upload_free(struct upload *u)
{
    if (u->fd >= 0)
        close(u->fd);
    if (u->hash)
        gv_hash_free(u->hash);
    free(u->stored);
    gv_buf_clear(&u->bytes);
    pthread_mutex_destroy(&u->lock);
    pthread_mutex_destroy(&u->state);
    free(u);
}
DEFINE_CLEANUP(upload, struct upload *, upload_free)

void uploads_free(struct uploads *all)
{
    if (!all)
        return;
    while (all->list) {
        struct upload *u = all->list;
        all->list = u->next;
        upload_free(u);
    }
    pthread_mutex_destroy(&all->lock);
    free(all);
}

static int load(struct uploads *all, struct db *db, const unsigned char name[GV_SHA256_SIZE], struct upload **out, struct gv_error *err)
{
    CLEANUP(upload) struct upload *u = gv_new(struct upload);
    struct upload_row row;
    u->fd = -1;
    pthread_mutex_init(&u->lock, NULL);
    pthread_mutex_init(&u->state, NULL);
    int r = model_upload_find(db, name, &row, &u->bytes, err);
    if (r <= 0)
        return r;
    if (descriptor_parse(u->bytes.data, u->bytes.len, &u->d, err) < 0)
        return gv_error_prefix(err, "the registry's database: upload %lld", (long long)row.id);
    u->row = row.id;
    memcpy(u->name, name, sizeof(u->name));
    u->stored = gv_calloc(u->d.chunks, 1);
    if (model_upload_chunks(db, u->row, u->stored, u->d.chunks, err) < 0)
        return -1;
    for (uint32_t i = 0; i < u->d.chunks; i++)
        u->count += u->stored[i];
    u->hash = gv_hash_new(GV_HASH_SHA3_224);
    u->next = all->list;
    all->list = u;
    *out = steal_ptr(u);
    return 1;
}

static struct upload **find(struct uploads *all, const unsigned char name[GV_SHA256_SIZE])
{
    for (struct upload **p = &all->list; *p; p = &(*p)->next)
        if (memcmp((*p)->name, name, GV_SHA256_SIZE) == 0)
            return p;
    return NULL;
}

int uploads_get(struct uploads *all, struct db *db, const unsigned char name[GV_SHA256_SIZE], struct upload **out, struct gv_error *err)
{
    pthread_mutex_lock(&all->lock);
    struct upload **p = find(all, name);
    int r = 1;
    if (p)
        *out = *p;
    else
        r = load(all, db, name, out, err);
    if (r > 0) {
        (*out)->refs++;
        (*out)->used = ++all->clock;
    }
    pthread_mutex_unlock(&all->lock);
    return r;
}

/* Takes out of the list the upload without references that was used least recently, if there are too many of them; or one that is gone. */
static struct upload *surplus(struct uploads *all)
{
    struct upload **oldest = NULL;
    size_t idle = 0;
    for (struct upload **p = &all->list; *p; p = &(*p)->next) {
        if ((*p)->refs > 0)
            continue;
        if (!oldest || (*p)->used < (*oldest)->used)
            oldest = p;
        idle++;
    }
    if (idle <= CACHED_MAX)
        return NULL;
    struct upload *u = *oldest;
    *oldest = u->next;
    return u;
}

void uploads_put(struct uploads *all, struct upload *u)
{
    struct upload *unused = NULL;
    pthread_mutex_lock(&all->lock);
    struct upload **p = find(all, u->name);
    bool listed = p && *p == u;
    if (--u->refs == 0)
        unused = listed ? surplus(all) : u;
    pthread_mutex_unlock(&all->lock);
    if (unused)
        upload_free(unused);
}

/* From now on nobody finds it. */
static void unlist(struct uploads *all, struct upload *u)
{
    pthread_mutex_lock(&all->lock);
    struct upload **p = find(all, u->name);
    if (p && *p == u)
        *p = u->next;
    pthread_mutex_unlock(&all->lock);
}

const struct descriptor *upload_descriptor(const struct upload *u)
{
    return &u->d;
}

int64_t upload_row(const struct upload *u)
{
    return u->row;
}

bool upload_has(struct upload *u, uint32_t chunk)
{
    pthread_mutex_lock(&u->state);
    bool has = u->stored[chunk] != 0;
    pthread_mutex_unlock(&u->state);
    return has;
}

bool upload_flags(struct upload *u, struct gv_buf *out)
{
    pthread_mutex_lock(&u->state);
    for (uint32_t i = 0; i < u->d.chunks; i++)
        gv_buf_add(out, u->stored[i] ? "1" : "0", 1);
    bool all = u->count == u->d.chunks;
    pthread_mutex_unlock(&u->state);
    return all;
}

/* In the kernel where it can be, which on some file systems moves nothing at all. */
static int copy_range(int from, int to, uint64_t at, uint64_t length)
{
    cleanup_free unsigned char *buffer = NULL;
    off_t in = 0, out = (off_t)at;
    while (length > 0) {
        ssize_t n = buffer ? -1 : copy_file_range(from, &in, to, &out, length, 0);
        if (n == 0)
            return errno = EIO, -1;
        if (n < 0) {
            if (!buffer && errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
                return -1;
            buffer = buffer ? buffer : gv_alloc(PIECE);
            n = gv_pread_full(from, buffer, length < PIECE ? (size_t)length : PIECE, (uint64_t)in);
            if (n <= 0 || gv_pwrite_full(to, buffer, (size_t)n, (uint64_t)out) < 0)
                return n == 0 ? (errno = EIO, -1) : -1;
            in += n;
            out += n;
        }
        length -= (uint64_t)n;
    }
    return 0;
}

static int open_file(struct uploads *all, struct upload *u, struct gv_error *err)
{
    if (u->fd < 0)
        u->fd = disk_upload_open(all->disk, u->name, err);
    return u->fd < 0 ? -1 : 0;
}

/* Hashes what has come to be without a gap. */
static int advance(struct upload *u, struct gv_error *err)
{
    cleanup_free unsigned char *buffer = NULL;
    while (u->hashed < u->d.chunks && u->stored[u->hashed]) {
        uint64_t at = u->d.chunk_size * u->hashed, left = descriptor_chunk_length(&u->d, u->hashed);
        buffer = buffer ? buffer : gv_alloc(PIECE);
        struct gv_hash *hash = u->hash;
        while (left > 0) {
            size_t n = left < PIECE ? (size_t)left : PIECE;
            ssize_t r = gv_pread_full(u->fd, buffer, n, at);
            if (r != (ssize_t)n) {
                /* The hash has eaten a part of a chunk: begin anew next time. */
                gv_hash_free(u->hash);
                u->hash = gv_hash_new(GV_HASH_SHA3_224);
                u->hashed = 0;
                return gv_error_set(err, GV_E_IO, r < 0 ? errno : 0, "cannot read what was uploaded%s", r < 0 ? "" : ": it became shorter");
            }
            gv_hash_update(hash, buffer, n);
            at += n;
            left -= n;
        }
        u->hashed++;
    }
    return 0;
}

/* The upload ends without having become an image. */
static int throw_away(struct uploads *all, struct upload *u, struct db *db, struct gv_error *err)
{
    struct gv_error ignored = GV_ERROR_INIT;
    if (model_upload_remove(db, u->row, &ignored) == 0) {
        disk_upload_remove(all->disk, u->name);
        pthread_mutex_lock(&u->state);
        u->gone = true;
        memset(u->stored, 0, u->d.chunks);
        u->count = 0;
        pthread_mutex_unlock(&u->state);
        unlist(all, u);
    }
    return gv_error_hint(err, "the upload was thrown away");
}

/* What arrived, against what was promised. */
static int check_whole(struct uploads *all, struct upload *u, struct db *db, struct gv_error *err)
{
    unsigned char digest[GV_HASH_MAX];
    char said[GV_SHA3_224_HEX], is[GV_SHA3_224_HEX];
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    gv_hash_final(u->hash, digest);
    gv_hash_free(u->hash);
    u->hash = gv_hash_new(GV_HASH_SHA3_224);
    u->hashed = 0;
    if (memcmp(digest, u->d.hash, sizeof(u->d.hash)) != 0) {
        gv_hex(said, u->d.hash, sizeof(u->d.hash));
        gv_hex(is, digest, GV_SHA3_224_SIZE);
        gv_error_set(err, GV_E_CORRUPT, 0, "the image has the SHA3-224 %s, and its descriptor said %s", is, said);
        return throw_away(all, u, db, err);
    }
    if (gvmi_open_fd(&img, u->fd, "the image", err) < 0) {
        if (err && err->code == GV_E_IO)
            return -1;
        return throw_away(all, u, db, err);
    }
    return 0;
}

static int publish(struct uploads *all, struct upload *u, struct db *db, int64_t now, struct gv_error *err)
{
    int r = 0;
    if (fsync(u->fd) < 0)
        return gv_error_errno(err, "cannot sync what was uploaded");
    pthread_mutex_lock(&all->disk->publish);
    /* A file that is there is the same, unless it has been damaged. */
    if (!disk_has(all->disk, u->d.hash, u->d.size))
        r = disk_publish(all->disk, u->name, u->d.hash, err);
    if (r == 0)
        r = model_publish(db, u->row, &u->d, now, err);
    pthread_mutex_unlock(&all->disk->publish);
    if (r < 0)
        return -1;
    disk_upload_remove(all->disk, u->name);
    pthread_mutex_lock(&u->state);
    u->gone = true;
    pthread_mutex_unlock(&u->state);
    unlist(all, u);
    return 0;
}

static int finish(struct uploads *all, struct upload *u, struct db *db, int64_t now, bool *published, struct gv_error *err)
{
    if (u->gone || u->count < u->d.chunks)
        return 0;
    if (open_file(all, u, err) < 0 || advance(u, err) < 0 || check_whole(all, u, db, err) < 0 || publish(all, u, db, now, err) < 0)
        return -1;
    *published = true;
    return 0;
}

int upload_finish(struct uploads *all, struct upload *u, struct db *db, int64_t now, bool *published, struct gv_error *err)
{
    if (pthread_mutex_trylock(&u->lock) != 0)
        return 0;
    int r = finish(all, u, db, now, published, err);
    pthread_mutex_unlock(&u->lock);
    return r;
}

static int store(struct uploads *all, struct upload *u, struct db *db, uint32_t chunk, int fd, int64_t now, bool *published,
                 struct gv_error *err)
{
    if (u->stored[chunk])
        return 0;
    if (u->gone)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the upload has ended meanwhile");
    if (open_file(all, u, err) < 0)
        return -1;
    if (copy_range(fd, u->fd, u->d.chunk_size * chunk, descriptor_chunk_length(&u->d, chunk)) < 0 || fdatasync(u->fd) < 0)
        return gv_error_errno(err, "cannot store the chunk");
    if (model_upload_store(db, u->row, chunk, now, err) < 0)
        return -1;
    pthread_mutex_lock(&u->state);
    u->stored[chunk] = 1;
    u->count++;
    pthread_mutex_unlock(&u->state);
    if (advance(u, err) < 0)
        return -1;
    return finish(all, u, db, now, published, err);
}

int upload_store(struct uploads *all, struct upload *u, struct db *db, uint32_t chunk, int fd, int64_t now, bool *published,
                 struct gv_error *err)
{
    pthread_mutex_lock(&u->lock);
    int r = store(all, u, db, chunk, fd, now, published, err);
    pthread_mutex_unlock(&u->lock);
    return r;
}

/* ---- collection ---- */

/* Under the lock of all, so that nobody gets hold of it meanwhile. */
static int expire_one(struct uploads *all, struct db *db, int64_t row, const unsigned char name[GV_SHA256_SIZE], uint64_t *count,
                      struct gv_error *err)
{
    struct upload *unused = NULL;
    int r = 0;
    pthread_mutex_lock(&all->lock);
    struct upload **p = find(all, name);
    if (!p || (*p)->refs == 0) {
        r = model_upload_remove(db, row, err);
        if (r == 0) {
            disk_upload_remove(all->disk, name);
            ++*count;
        }
        if (r == 0 && p) {
            unused = *p;
            *p = unused->next;
        }
    }
    pthread_mutex_unlock(&all->lock);
    if (unused)
        upload_free(unused);
    return r;
}

int uploads_expire(struct uploads *all, struct db *db, int64_t before, uint64_t *count, struct gv_error *err)
{
    unsigned char name[GV_SHA256_SIZE];
    int64_t row = 0;
    for (;;) {
        int r = model_upload_idle(db, before, row, &row, name, err);
        if (r <= 0)
            return r;
        if (expire_one(all, db, row, name, count, err) < 0)
            return -1;
    }
}

struct sweep {
    struct db *db;
    struct gv_error *err;
};

static int known(void *user, const unsigned char name[GV_SHA256_SIZE])
{
    struct sweep *s = user;
    struct upload_row row;
    return model_upload_find(s->db, name, &row, NULL, s->err);
}

int uploads_sweep(struct uploads *all, struct db *db, struct gv_error *err)
{
    uint64_t files = 0;
    struct sweep s = { db, err };
    return disk_sweep_uploads(all->disk, known, &s, &files, err);
}
