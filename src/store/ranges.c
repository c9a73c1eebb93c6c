/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ranges of a file at a server, in the order in which they are wanted, some of them asked for ahead: what an update needs are many small
 * ones, and the way there and back would cost more than their bytes. At most AHEAD answers are in memory.
 */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "store/inside.h"

#define THREADS 4
#define AHEAD 8

struct answer {
    struct gv_buf body;
    int status; /* as of store_range() */
    bool done;
    struct gv_error err;
};

struct store_ranges {
    struct http_client *http;
    const char *url;
    uint64_t file_size;
    const struct store_range *list;
    size_t count;
    pthread_t threads[THREADS];
    size_t thread_count;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    size_t asked, taken;          /* ranges that somebody works on; that the caller has had */
    struct answer answers[AHEAD]; /* of range i in i % AHEAD */
    bool stop;
};

int store_range(struct http_client *http, const char *url, uint64_t file_size, const struct store_range *range, struct gv_buf *out,
                struct gv_error *err)
{
    uint64_t last = range->offset + range->length - 1;
    cleanup_response struct http_response r = { 0 };
    cleanup_free char *header = gv_asprintf("Range: bytes=%" PRIu64 "-%" PRIu64, range->offset, last),
                      *expected = gv_asprintf("bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range->offset, last, file_size);
    const char *const headers[] = { header, NULL };
    const struct http_request q = { .url = url, .headers = headers };
    struct gv_error why = GV_ERROR_INIT;
    if (http_fetch(http, &q, range->length, &r, &why) < 0) {
        if (why.code == GV_E_LIMIT)
            return 0; /* all of the file, or at least more than was asked for */
        if (err)
            *err = why;
        return -1;
    }
    size_t at = 0;
    const char *is = http_response_header(&r, "content-range", &at);
    if (r.status != 206 || r.body.len != range->length || !is || strcasecmp(is, expected) != 0)
        return 0;
    gv_buf_clear(out);
    *out = r.body;
    r.body = (struct gv_buf){ 0 };
    return 1;
}

static void *work(void *user)
{
    struct store_ranges *r = user;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->stop && r->asked < r->count && r->asked >= r->taken + AHEAD)
            pthread_cond_wait(&r->changed, &r->lock);
        if (r->stop || r->asked == r->count)
            break;
        const struct store_range *range = &r->list[r->asked];
        struct answer *a = &r->answers[r->asked++ % AHEAD];
        pthread_mutex_unlock(&r->lock);
        struct answer made = { 0 };
        made.status = store_range(r->http, r->url, r->file_size, range, &made.body, &made.err);
        made.done = true;
        pthread_mutex_lock(&r->lock);
        *a = made;
        r->stop = r->stop || made.status <= 0; /* the rest is of no use then */
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int store_ranges_start(struct store_ranges **out, struct image_store *s, const char *url, uint64_t file_size,
                       const struct store_range *list, size_t count, struct gv_error *err)
{
    struct http_client *http = store_http(s, err);
    if (!http)
        return -1;
    struct store_ranges *r = gv_new(struct store_ranges);
    *r = (struct store_ranges){ .http = http, .url = url, .file_size = file_size, .list = list, .count = count };
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    int why = 0;
    while (!why && r->thread_count < THREADS && r->thread_count < count) {
        why = pthread_create(&r->threads[r->thread_count], NULL, work, r);
        r->thread_count += !why;
    }
    if (count && !r->thread_count) {
        store_ranges_free(r);
        return gv_error_set(err, GV_E_IO, why, "cannot start a thread");
    }
    *out = r;
    return 0;
}

int store_ranges_next(struct store_ranges *r, struct gv_buf *body, struct gv_error *err)
{
    struct answer *a = &r->answers[r->taken % AHEAD];
    pthread_mutex_lock(&r->lock);
    /* After a stop only what is on its way comes: ranges are asked for in order, so an earlier one always does. */
    while (!a->done && !(r->stop && r->taken >= r->asked))
        pthread_cond_wait(&r->changed, &r->lock);
    struct answer got = *a;
    *a = (struct answer){ 0 };
    r->taken++;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    gv_buf_clear(body);
    *body = got.body;
    if (got.status < 0 && err)
        *err = got.err;
    return got.status;
}

void store_ranges_free(struct store_ranges *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->thread_count; i++)
        pthread_join(r->threads[i], NULL);
    for (size_t i = 0; i < AHEAD; i++)
        gv_buf_clear(&r->answers[i].body);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
