/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A ring of slots, each with one buffer. Three counters run around it: `head` is the next slot to be filled (by the caller's thread), `taken` the next
 * to be compressed, `tail` the next to be stored. Whichever worker finishes the block that is next in line stores it and all finished ones behind it
 * (`storing` keeps the others out), so there is no thread that only writes and no order but that of the ring.
 *
 * A worker compresses from the slot's buffer into its own spare and swaps the two, so memory is one buffer a slot plus one a worker. The filling
 * thread sleeps when the ring is full and is woken when half of it is free again: waking it for every block would cost a switch each.
 */
#include "gvmi/blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "gvmi/codec.h"

/* After so many bytes the kernel is asked to begin writing them to the disk, so that the sync at the end finds little left. */
#define FLUSH_BYTES ((uint64_t)16 << 20)

#define RING_BYTES ((size_t)8 << 20)
#define RING_SLOTS 64U

struct slot {
    unsigned char *buffer;
    struct gvmi_placement *placement; /* NULL: fragments */
    uint32_t index;
    uint32_t word; /* size and flags as they go to the disk */
    size_t length; /* of what is in the buffer */
    bool done;
};

struct worker {
    struct gvmi_blocks *blocks;
    struct gvmi_packer *packer;
    unsigned char *spare;
    pthread_t thread;
    bool running;
};

struct gvmi_blocks {
    struct gvmi_blocks_options options;
    size_t buffer_size;
    struct slot *slots;
    unsigned slot_count;
    struct worker *workers;
    unsigned worker_count;
    pthread_mutex_t lock;
    pthread_cond_t work, space;
    /* below: under the lock */
    uint64_t head, taken, tail;
    bool storing, ending, failed;
    struct gv_error error;
    uint64_t at, flushed;
    struct gv_buf fragments;
    /* below: of the filling thread alone */
    unsigned char *fragment_buffer;
    uint32_t fragment_count;
};

static bool any_failed(struct gvmi_blocks *b)
{
    pthread_mutex_lock(&b->lock);
    bool failed = b->failed;
    pthread_mutex_unlock(&b->lock);
    return failed;
}

static void note_place(struct gvmi_blocks *b, const struct slot *s)
{
    if (s->placement) {
        if (s->placement->start == SQFS_NONE)
            s->placement->start = b->at;
        s->placement->blocks[s->index] = s->word;
    } else {
        unsigned char *entry = b->fragments.data + (size_t)s->index * SQFS_FRAGMENT_SIZE;
        sqfs_put32(sqfs_put32(sqfs_put64(entry, b->at), s->word), 0);
    }
    b->at += s->length;
}

/* Stores the finished slots that are next in line. Called and left with the lock held. */
static void store_ready(struct gvmi_blocks *b)
{
    if (b->storing)
        return;
    b->storing = true;
    while (!b->failed && b->tail < b->head && b->slots[b->tail % b->slot_count].done) {
        struct slot *s = &b->slots[b->tail % b->slot_count];
        uint64_t at = b->at, flush = at - b->flushed >= FLUSH_BYTES ? b->flushed : at;
        note_place(b, s);
        if (flush < at)
            b->flushed = at;
        pthread_mutex_unlock(&b->lock);
        int r = gv_pwrite_full(b->options.fd, s->buffer, s->length, at);
        int sys = errno;
        if (flush < at)
            (void)sync_file_range(b->options.fd, (off_t)flush, (off_t)(at - flush), SYNC_FILE_RANGE_WRITE);
        pthread_mutex_lock(&b->lock);
        if (r < 0 && !b->failed) {
            b->failed = true;
            gv_error_set(&b->error, GV_E_IO, sys, "cannot write the image");
            pthread_cond_broadcast(&b->work);
        }
        s->done = false;
        b->tail++;
        if (b->failed || b->head - b->tail <= b->slot_count / 2)
            pthread_cond_signal(&b->space);
    }
    b->storing = false;
}

static void compress_slot(struct worker *w, struct slot *s)
{
    size_t len = gvmi_packer_run(w->packer, s->buffer, s->length, w->spare);
    if (len == 0) {
        s->word = (uint32_t)s->length | SQFS_RAW_BLOCK;
        return;
    }
    unsigned char *packed = w->spare;
    w->spare = s->buffer;
    s->buffer = packed;
    s->length = len;
    s->word = (uint32_t)len;
}

static void *worker_main(void *user)
{
    struct worker *w = user;
    struct gvmi_blocks *b = w->blocks;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->failed && !b->ending && b->taken == b->head)
            pthread_cond_wait(&b->work, &b->lock);
        if (b->failed || b->taken == b->head)
            break;
        struct slot *s = &b->slots[b->taken++ % b->slot_count];
        pthread_mutex_unlock(&b->lock);
        compress_slot(w, s);
        pthread_mutex_lock(&b->lock);
        s->done = true;
        store_ready(b);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* The workers block every signal: an interrupt is for the thread of the caller. */
static int start_workers(struct gvmi_blocks *b, struct gv_error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failure = 0;
    unsigned running = 0;
    for (unsigned i = 0; i < b->worker_count && failure == 0; i++) {
        failure = pthread_create(&b->workers[i].thread, NULL, worker_main, &b->workers[i]);
        b->workers[i].running = failure == 0;
        running += failure == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    /* Fewer threads than wanted are slower, not wrong. */
    if (running == 0)
        return gv_error_set(err, GV_E_IO, failure, "cannot start a thread for compression");
    return 0;
}

int gvmi_blocks_new(struct gvmi_blocks **out, const struct gvmi_blocks_options *options, struct gv_error *err)
{
    CLEANUP(gvmi_blocks) struct gvmi_blocks *b = gv_new(struct gvmi_blocks);
    b->options = *options;
    b->at = b->flushed = options->at;
    b->buffer_size = GVMI_PACKED_ROOM((size_t)options->block_size);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->work, NULL);
    pthread_cond_init(&b->space, NULL);

    size_t count = RING_BYTES / options->block_size;
    if (count > RING_SLOTS)
        count = RING_SLOTS;
    if (count < 2 * (size_t)options->jobs + 2)
        count = 2 * (size_t)options->jobs + 2;
    b->slot_count = (unsigned)count;
    b->slots = gv_calloc(b->slot_count, sizeof(*b->slots));
    for (unsigned i = 0; i < b->slot_count; i++)
        b->slots[i].buffer = gv_alloc(b->buffer_size);
    b->fragment_buffer = gv_alloc(b->buffer_size);

    b->worker_count = (unsigned)options->jobs;
    b->workers = gv_calloc(b->worker_count, sizeof(*b->workers));
    for (unsigned i = 0; i < b->worker_count; i++) {
        b->workers[i].blocks = b;
        b->workers[i].spare = gv_alloc(b->buffer_size);
        b->workers[i].packer = gvmi_packer_new(options->compression, options->level, err);
        if (!b->workers[i].packer)
            return -1;
    }
    if (start_workers(b, err) < 0)
        return -1;
    *out = steal_ptr(b);
    return 0;
}

static void join_workers(struct gvmi_blocks *b, bool drop_work)
{
    pthread_mutex_lock(&b->lock);
    b->ending = true;
    if (drop_work)
        b->failed = true;
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
    for (unsigned i = 0; i < b->worker_count; i++) {
        if (b->workers[i].running)
            pthread_join(b->workers[i].thread, NULL);
        b->workers[i].running = false;
    }
}

void gvmi_blocks_free(struct gvmi_blocks *b)
{
    if (!b)
        return;
    if (b->workers) {
        join_workers(b, true);
        for (unsigned i = 0; i < b->worker_count; i++) {
            gvmi_packer_free(b->workers[i].packer);
            free(b->workers[i].spare);
        }
    }
    for (unsigned i = 0; i < b->slot_count; i++)
        free(b->slots[i].buffer);
    free(b->fragment_buffer);
    free(b->workers);
    free(b->slots);
    gv_buf_clear(&b->fragments);
    pthread_cond_destroy(&b->work);
    pthread_cond_destroy(&b->space);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

unsigned char *gvmi_blocks_buffer(struct gvmi_blocks *b)
{
    pthread_mutex_lock(&b->lock);
    while (!b->failed && b->head - b->tail == b->slot_count)
        pthread_cond_wait(&b->space, &b->lock);
    unsigned char *buffer = b->failed ? NULL : b->slots[b->head % b->slot_count].buffer;
    pthread_mutex_unlock(&b->lock);
    return buffer;
}

static void hand_in(struct gvmi_blocks *b, struct gvmi_placement *placement, uint32_t index, size_t len)
{
    pthread_mutex_lock(&b->lock);
    struct slot *s = &b->slots[b->head % b->slot_count];
    s->placement = placement;
    s->index = index;
    s->length = len;
    b->head++;
    pthread_cond_signal(&b->work);
    pthread_mutex_unlock(&b->lock);
}

void gvmi_blocks_add(struct gvmi_blocks *b, struct gvmi_placement *placement, uint32_t index, size_t len)
{
    hand_in(b, placement, index, len);
}

unsigned char *gvmi_blocks_fragment_buffer(struct gvmi_blocks *b)
{
    return b->fragment_buffer;
}

uint32_t gvmi_blocks_fragment_number(const struct gvmi_blocks *b)
{
    return b->fragment_count;
}

int gvmi_blocks_add_fragments(struct gvmi_blocks *b, size_t len)
{
    unsigned char *empty = gvmi_blocks_buffer(b);
    if (!empty)
        return -1;
    pthread_mutex_lock(&b->lock);
    b->slots[b->head % b->slot_count].buffer = b->fragment_buffer;
    gv_buf_reserve(&b->fragments, SQFS_FRAGMENT_SIZE);
    b->fragments.len += SQFS_FRAGMENT_SIZE;
    pthread_mutex_unlock(&b->lock);
    b->fragment_buffer = empty;
    hand_in(b, NULL, b->fragment_count++, len);
    return 0;
}

int gvmi_blocks_finish(struct gvmi_blocks *b, uint64_t *end, struct gv_error *err)
{
    join_workers(b, false);
    if (any_failed(b)) {
        if (err)
            *err = b->error;
        return -1;
    }
    *end = b->at;
    return 0;
}

const unsigned char *gvmi_blocks_fragment_table(const struct gvmi_blocks *b, uint32_t *count)
{
    *count = b->fragment_count;
    return b->fragments.data;
}
