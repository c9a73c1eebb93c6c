/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The pump: a ring of chunks between one producer thread, which reads the stages below, and several consumers, which all see every chunk:
 * the reader (whoever calls stream_read) and the followers, each in its own thread. A chunk is free again when the slowest has left it.
 * Nothing is copied on the way but what the reader asks for; skipping costs nothing. Chunks are shown, and the producer is woken, some at a
 * time: a switch of threads for each would cost as much as a tenth of inflating it.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "source/stream.h"

#define SLOTS 32U                      /* what is inflated in some 8 ms: a thread that waits so long for a CPU holds nobody up */
#define BATCH 8U                       /* divides SLOTS */
#define CONSUMERS (1 + PUMP_FOLLOWERS) /* consumer 0 is the reader */

struct pump_stream;

struct follower_thread {
    struct pump_stream *pump;
    size_t index;
    pthread_t thread;
};

struct pump_stream {
    struct stream base;
    struct stream *inner;
    struct stream_follower followers[PUMP_FOLLOWERS];
    size_t follower_count;
    bool threads;
    unsigned char *chunk[SLOTS];
    size_t fill[SLOTS];
    size_t at; /* of the reader in its chunk */

    pthread_mutex_t lock;       /* for all below */
    pthread_cond_t more, space; /* for the consumers, for the producer */
    uint64_t produced;          /* chunks */
    uint64_t shown;             /* of them, to the consumers */
    uint64_t done[CONSUMERS];   /* chunks left behind */
    bool ended;                 /* no chunk comes after `produced` */
    bool stop;                  /* somebody failed or the stream is being closed */
    struct gv_error error;      /* the first failure, code 0 if none */

    pthread_t producer;
    struct follower_thread follower_threads[PUMP_FOLLOWERS];
};

static void wake_all(struct pump_stream *p)
{
    pthread_cond_broadcast(&p->more);
    pthread_cond_signal(&p->space);
}

/* The lock must be held. The first failure counts. */
static void fail(struct pump_stream *p, const struct gv_error *e)
{
    if (!p->error.code)
        p->error = *e;
    p->stop = true;
    p->shown = p->produced;
    wake_all(p);
}

static uint64_t slowest(const struct pump_stream *p)
{
    uint64_t least = p->done[0];
    for (size_t i = 1; i <= p->follower_count; i++)
        if (p->done[i] < least)
            least = p->done[i];
    return least;
}

/* The lock must be held. */
static void left_behind(struct pump_stream *p, uint64_t *done)
{
    if (++*done % BATCH == 0)
        pthread_cond_signal(&p->space);
}

static void *produce(void *user)
{
    struct pump_stream *p = user;
    pthread_mutex_lock(&p->lock);
    while (!p->ended && !p->stop) {
        if (p->produced - slowest(p) >= SLOTS) {
            pthread_cond_wait(&p->space, &p->lock);
            continue;
        }
        size_t slot = p->produced % SLOTS;
        pthread_mutex_unlock(&p->lock);
        struct gv_error e = GV_ERROR_INIT;
        ssize_t got = stream_read_full(p->inner, p->chunk[slot], PUMP_CHUNK, &e);
        pthread_mutex_lock(&p->lock);
        if (got < 0) {
            fail(p, &e);
            break;
        }
        p->fill[slot] = (size_t)got;
        if (got > 0)
            p->produced++;
        if ((size_t)got < PUMP_CHUNK)
            p->ended = true;
        if (p->ended || p->produced % BATCH == 0) {
            p->shown = p->produced;
            pthread_cond_broadcast(&p->more);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void *follow(void *user)
{
    struct follower_thread *t = user;
    struct pump_stream *p = t->pump;
    struct stream_follower *f = &p->followers[t->index];
    uint64_t *done = &p->done[1 + t->index];
    struct gv_error e = GV_ERROR_INIT;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        bool more = *done < p->shown;
        if (!more && !p->ended) {
            pthread_cond_wait(&p->more, &p->lock);
            continue;
        }
        size_t slot = *done % SLOTS;
        pthread_mutex_unlock(&p->lock);
        int status = more ? f->data(f->user, p->chunk[slot], p->fill[slot], &e) : f->end(f->user, &e);
        pthread_mutex_lock(&p->lock);
        if (status < 0)
            fail(p, &e);
        left_behind(p, done); /* one past `produced` says that the end was seen */
        if (!more)
            break;
    }
    pthread_cond_broadcast(&p->more); /* the reader may wait for that */
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Without threads: the reader does everything when it needs the next chunk. */
static void produce_inline(struct pump_stream *p)
{
    struct gv_error e = GV_ERROR_INIT;
    ssize_t got = stream_read_full(p->inner, p->chunk[0], PUMP_CHUNK, &e);
    int status = got < 0 ? -1 : 0;
    for (size_t i = 0; i < p->follower_count && status == 0 && got > 0; i++)
        status = p->followers[i].data(p->followers[i].user, p->chunk[0], (size_t)got, &e);
    if (status == 0 && (size_t)got < PUMP_CHUNK) {
        p->ended = true;
        for (size_t i = 0; i < p->follower_count && status == 0; i++)
            status = p->followers[i].end(p->followers[i].user, &e);
    }
    if (status < 0) {
        fail(p, &e);
        return;
    }
    p->fill[0] = (size_t)got;
    if (got > 0)
        p->shown = ++p->produced;
}

static int failed(const struct pump_stream *p, struct gv_error *err)
{
    if (err)
        *err = p->error;
    return -1;
}

/* The end is the reader's only when no follower can fail any more. */
static bool all_followed(const struct pump_stream *p)
{
    for (size_t i = 1; i <= p->follower_count && p->threads; i++)
        if (p->done[i] <= p->produced)
            return false;
    return true;
}

/* What is left of the reader's chunk, after waiting for one; 0 at the end, -1 on error. *data points at it. What has been produced is
 * delivered before a failure: which of two failures (damaged data, a wrong digest) is told must not depend on whose thread is faster. */
static ssize_t reader_chunk(struct pump_stream *p, unsigned char **data, struct gv_error *err)
{
    size_t slot = p->threads ? p->done[0] % SLOTS : 0;
    if (p->at && p->at < p->fill[slot]) { /* in the middle of a chunk nobody else has to be asked */
        *data = p->chunk[slot] + p->at;
        return (ssize_t)(p->fill[slot] - p->at);
    }
    pthread_mutex_lock(&p->lock);
    if (p->at) {
        left_behind(p, &p->done[0]);
        p->at = 0;
    }
    while (!p->stop && p->done[0] == p->shown && !(p->ended && all_followed(p))) {
        if (p->threads)
            pthread_cond_wait(&p->more, &p->lock);
        else
            produce_inline(p);
    }
    bool more = p->done[0] < p->shown, bad = p->error.code != GV_OK;
    pthread_mutex_unlock(&p->lock);
    if (!more)
        return bad ? failed(p, err) : 0;
    slot = p->threads ? p->done[0] % SLOTS : 0;
    *data = p->chunk[slot];
    return (ssize_t)p->fill[slot];
}

static int64_t pump_skip(struct stream *s, uint64_t n, struct gv_error *err)
{
    struct pump_stream *p = (struct pump_stream *)s;
    uint64_t total = 0;
    while (total < n) {
        unsigned char *data;
        ssize_t have = reader_chunk(p, &data, err);
        if (have < 0)
            return -1;
        if (have == 0)
            break;
        size_t take = (uint64_t)have < n - total ? (size_t)have : (size_t)(n - total);
        p->at += take;
        total += take;
    }
    return (int64_t)total;
}

static ssize_t pump_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    struct pump_stream *p = (struct pump_stream *)s;
    unsigned char *data;
    ssize_t have = n ? reader_chunk(p, &data, err) : 0;
    if (have <= 0)
        return have;
    size_t take = (size_t)have < n ? (size_t)have : n;
    memcpy(buf, data, take);
    p->at += take;
    return (ssize_t)take;
}

static void pump_close(struct stream *s)
{
    struct pump_stream *p = (struct pump_stream *)s;
    if (p->threads) {
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        wake_all(p);
        pthread_mutex_unlock(&p->lock);
        pthread_join(p->producer, NULL);
        for (size_t i = 0; i < p->follower_count; i++)
            pthread_join(p->follower_threads[i].thread, NULL);
    }
    pthread_cond_destroy(&p->more);
    pthread_cond_destroy(&p->space);
    pthread_mutex_destroy(&p->lock);
    for (size_t i = 0; i < SLOTS; i++)
        free(p->chunk[i]);
    stream_close(p->inner);
    free(p);
}

static void start(pthread_t *thread, void *(*fn)(void *), void *user)
{
    /* Signals are the main thread's business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(thread, NULL, fn, user) != 0)
        abort(); /* as for memory: the system has none left */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct stream *stream_pump_new(struct stream *inner, const struct stream_follower *followers, size_t count, bool threads)
{
    static const struct stream_ops ops = { .read = pump_read, .skip = pump_skip, .close = pump_close };
    struct pump_stream *p = gv_new(struct pump_stream);
    p->base.ops = &ops;
    p->inner = inner;
    p->threads = threads;
    p->follower_count = count < PUMP_FOLLOWERS ? count : PUMP_FOLLOWERS;
    for (size_t i = 0; i < p->follower_count; i++)
        p->followers[i] = followers[i];
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    pthread_cond_init(&p->space, NULL);
    for (size_t i = 0; i < (threads ? SLOTS : 1); i++)
        p->chunk[i] = gv_alloc(PUMP_CHUNK);
    if (threads) {
        start(&p->producer, produce, p);
        for (size_t i = 0; i < p->follower_count; i++) {
            p->follower_threads[i] = (struct follower_thread){ .pump = p, .index = i };
            start(&p->follower_threads[i].thread, follow, &p->follower_threads[i]);
        }
    }
    return &p->base;
}
