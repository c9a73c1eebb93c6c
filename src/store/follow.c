/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The hash of a file while it arrives. SHA3 is slower than most networks and disks, so it has a thread of its own, which reads what has
 * been written from the page cache. Who has it in memory anyway can do so in buffers of ours instead, which spares the reading; there are
 * few, so he waits for the hash then. A download that goes on from an earlier one is hashed from its start while the rest comes; one that
 * starts over makes the thread start over. The thread also has the disk begin to write what it is done with, so that there is little left
 * to wait for in the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include "store/inside.h"

#define PIECE ((size_t)1 << 20) /* read at once */
#define BUFFERS 4
#define FLUSH ((uint64_t)16 << 20)

struct store_follow {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t have, done;
    unsigned generation; /* counts the times it started over */
    int failed;          /* errno of reading */
    bool final;          /* nothing is going to change any more */
    bool stop;
    struct gv_hash *hash;
    struct {
        unsigned char *data;
        uint64_t at;
        size_t n;
    } buffers[BUFFERS];      /* number i is in i % BUFFERS */
    unsigned filled, hashed; /* how many have been, of all */
};

/* What to hash next. */
struct piece {
    unsigned char *data; /* NULL: to be read */
    uint64_t at;
    size_t n;
    unsigned generation;
};

/* Waits for bytes to hash. False at the end. */
static bool next_piece(struct store_follow *f, struct piece *p)
{
    pthread_mutex_lock(&f->lock);
    while (!f->stop && !f->failed && f->done == f->have)
        pthread_cond_wait(&f->changed, &f->lock);
    uint64_t end = f->have;
    *p = (struct piece){ .at = f->done, .generation = f->generation };
    if (f->filled != f->hashed) {
        unsigned i = f->hashed % BUFFERS;
        end = f->buffers[i].at;
        if (end == f->done) {
            end += f->buffers[i].n;
            p->data = f->buffers[i].data;
        }
    }
    p->n = end - f->done < PIECE ? (size_t)(end - f->done) : PIECE;
    bool more = !f->stop && !f->failed;
    pthread_mutex_unlock(&f->lock);
    return more;
}

/* Has the bytes of the piece in memory. False when they cannot be had, or are of no use any more. */
static bool read_piece(struct store_follow *f, struct piece *p, unsigned char *memory)
{
    ssize_t got = gv_pread_full(f->fd, memory, p->n, p->at);
    int why = got < 0 ? errno : EIO;
    p->data = memory;
    pthread_mutex_lock(&f->lock);
    bool same = p->generation == f->generation;
    if (same && (got < 0 || (got != (ssize_t)p->n && (f->final || f->filled != f->hashed))))
        f->failed = why;
    else if (same && got != (ssize_t)p->n)
        f->have = f->done; /* it was cut off, and we are going to be told why */
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    return same && got == (ssize_t)p->n;
}

static void *work(void *user)
{
    struct store_follow *f = user;
    cleanup_free unsigned char *memory = gv_alloc(PIECE);
    uint64_t flushed = 0;
    unsigned generation = 0;
    struct piece p;
    while (next_piece(f, &p)) {
        bool buffered = p.data != NULL;
        if (p.generation != generation) {
            gv_hash_free(f->hash);
            f->hash = gv_hash_new(GV_HASH_SHA3_224);
            generation = p.generation;
            flushed = 0;
        }
        if (!buffered && !read_piece(f, &p, memory))
            continue;
        gv_hash_update(f->hash, p.data, p.n);
        uint64_t end = p.at + p.n;
        if (end - flushed >= FLUSH) {
            (void)sync_file_range(f->fd, (off64_t)flushed, (off64_t)(end - flushed), SYNC_FILE_RANGE_WRITE);
            flushed = end;
        }
        pthread_mutex_lock(&f->lock);
        if (generation == f->generation) {
            f->done = end;
            f->hashed += buffered;
        }
        if (buffered || f->done == f->have) /* nobody waits for anything else */
            pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
    }
    pthread_mutex_lock(&f->lock);
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

int store_follow_start(struct store_follow **out, int fd, struct gv_error *err)
{
    struct store_follow *f = gv_new(struct store_follow);
    f->fd = fd;
    f->hash = gv_hash_new(GV_HASH_SHA3_224);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    int why = pthread_create(&f->thread, NULL, work, f);
    if (why) {
        gv_hash_free(f->hash);
        free(f);
        return gv_error_set(err, GV_E_IO, why, "cannot start a thread");
    }
    *out = f;
    return 0;
}

void store_follow_reset(struct store_follow *f)
{
    pthread_mutex_lock(&f->lock);
    f->generation++;
    f->have = f->done = 0;
    f->hashed = f->filled;
    pthread_mutex_unlock(&f->lock);
}

void store_follow_have(struct store_follow *f, uint64_t have)
{
    pthread_mutex_lock(&f->lock);
    if (have > f->have) {
        f->have = have;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
}

unsigned char *store_follow_buffer(struct store_follow *f)
{
    pthread_mutex_lock(&f->lock);
    while (!f->failed && f->filled - f->hashed == BUFFERS)
        pthread_cond_wait(&f->changed, &f->lock);
    unsigned i = f->filled % BUFFERS;
    pthread_mutex_unlock(&f->lock);
    if (!f->buffers[i].data)
        f->buffers[i].data = gv_alloc(STORE_PIECE);
    return f->buffers[i].data;
}

void store_follow_filled(struct store_follow *f, uint64_t at, size_t n)
{
    pthread_mutex_lock(&f->lock);
    unsigned i = f->filled++ % BUFFERS;
    f->buffers[i].at = at;
    f->buffers[i].n = n;
    f->have = at + n;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

int store_follow_finish(struct store_follow *f, uint64_t size, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    pthread_mutex_lock(&f->lock);
    f->final = true;
    f->have = size;
    pthread_cond_broadcast(&f->changed);
    while (!f->failed && f->done < size)
        pthread_cond_wait(&f->changed, &f->lock);
    int failed = f->failed;
    f->stop = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (failed)
        return gv_error_set(err, GV_E_IO, failed, "cannot read again what was written");
    pthread_join(f->thread, NULL);
    f->thread = 0;
    unsigned char digest[GV_HASH_MAX];
    gv_hash_final(f->hash, digest);
    gv_hex(hash, digest, GV_SHA3_224_SIZE);
    return 0;
}

void store_follow_free(struct store_follow *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (f->thread)
        pthread_join(f->thread, NULL);
    gv_hash_free(f->hash);
    for (size_t i = 0; i < BUFFERS; i++)
        free(f->buffers[i].data);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
