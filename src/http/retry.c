/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is repeated. An exchange that was lost, or that the server was not ready for, is tried again after a wait that doubles each time. A
 * download goes on where it was (Range), and as long as it gets ahead its attempts are counted anew, so that many interruptions of a long
 * download do no harm, and a server that never gets anywhere is given up.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "http/curl.h"
#include "http/exchange.h"

#define WHOLE_MS 120000UL            /* for an answer that is taken into memory */
#define LARGE_BODY ((size_t)1 << 20) /* its time depends on the line; one that stalls is given up anyway */
#define WAIT_MAX_MS 30000U           /* between attempts */
#define TELL_MS 4000U                /* a wait that somebody may wonder about */
#define RETRY_AFTER_MAX 60L          /* seconds: a server that asks for more is told about instead */
#define AHEAD ((uint64_t)1 << 20)    /* what counts as getting ahead */

long http_retry_after(const struct http_response *r)
{
    size_t at = 0;
    const char *value = http_response_header(r, "retry-after", &at);
    if (!value)
        return -1;
    if (!isdigit((unsigned char)*value)) {
        const struct curl_api *api = curl_load(NULL);
        time_t when = api ? api->getdate(value, NULL) : -1, now = time(NULL);
        return when < 0 ? -1 : when > now ? (long)(when - now) : 0;
    }
    errno = 0;
    long n = strtol(value, NULL, 10);
    return errno || n < 0 ? -1 : n;
}

static bool may_pass(long status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

/* Waits unless somebody wants an end. */
static int wait_ms(const struct http_options *o, unsigned long ms, struct gv_error *err)
{
    for (unsigned long slice; ms > 0; ms -= slice) {
        slice = ms < 50 ? ms : 50;
        if (http_is_cancelled(o))
            return gv_error_set(err, GV_E_CANCELLED, 0, "interrupted");
        nanosleep(&(struct timespec){ .tv_nsec = (long)slice * 1000000L }, NULL);
    }
    return 0;
}

struct attempts {
    const struct http_options *options;
    const char *url;
    unsigned made, allowed;
};

/* After an attempt: 1 after the wait for the next one, 0 when there is none, -1 on an interruption. */
static int try_again(struct attempts *a, enum http_outcome outcome, const struct http_response *r, const struct gv_error *why,
                     struct gv_error *err)
{
    if (++a->made >= a->allowed)
        return 0;
    long after = outcome == HTTP_DONE ? http_retry_after(r) : -1;
    if (after > RETRY_AFTER_MAX)
        return 0;
    unsigned doublings = a->made - 1 < 10 ? a->made - 1 : 10;
    unsigned long ms = (unsigned long)a->options->wait_ms << doublings;
    if (ms > WAIT_MAX_MS)
        ms = WAIT_MAX_MS;
    if (after >= 0 && (unsigned long)after * 1000 > ms)
        ms = (unsigned long)after * 1000;
    enum gv_log_level level = ms < TELL_MS ? GV_LOG_DEBUG : GV_LOG_NOTE;
    if (outcome == HTTP_DONE)
        gv_log_write(a->options->log, level, "`%.200s`: status %ld; trying again in %lu s", a->url, r->status, (ms + 999) / 1000);
    else
        gv_log_write(a->options->log, level, "%s; trying again in %lu s", why->msg, (ms + 999) / 1000);
    return wait_ms(a->options, ms, err) < 0 ? -1 : 1;
}

static struct attempts attempts_for(const struct http_client *c, const struct http_request *r)
{
    const struct http_options *o = http_client_options(c);
    return (struct attempts){ .options = o, .url = r->url, .allowed = r->attempts ? r->attempts : o->attempts };
}

/* ---- into memory ---- */

struct memory {
    struct gv_buf *body;
    size_t max;
};

/* Room for all of it at once, when it says how much that is. */
static int memory_begin(void *user, const struct http_response *r, struct gv_error *err)
{
    (void)err;
    struct memory *m = user;
    if (r->length > 0 && (uint64_t)r->length <= m->max)
        gv_buf_reserve(m->body, (size_t)r->length);
    return 0;
}

static int memory_data(void *user, const void *p, size_t n, struct gv_error *err)
{
    struct memory *m = user;
    if (n > m->max - m->body->len)
        return gv_error_set(err, GV_E_LIMIT, 0, "the answer has more than %zu bytes", m->max);
    gv_buf_add(m->body, p, n);
    return 0;
}

int http_fetch(struct http_client *c, const struct http_request *request, size_t max, struct http_response *out, struct gv_error *err)
{
    struct attempts a = attempts_for(c, request);
    struct memory memory = { .body = &out->body, .max = max };
    const struct http_sink sink = {
        .begin = memory_begin, .data = memory_data, .user = &memory, .whole_ms = request->body_size > LARGE_BODY ? 0 : WHOLE_MS
    };
    for (;;) {
        struct gv_error why = GV_ERROR_INIT;
        enum http_outcome outcome = http_exchange(c, request, NULL, NULL, &sink, out, &why);
        bool again = outcome == HTTP_LOST || (outcome == HTTP_DONE && may_pass(out->status));
        int more = again ? try_again(&a, outcome, out, &why, err) : 0;
        if (more < 0)
            return -1;
        if (more > 0)
            continue;
        if (outcome == HTTP_DONE)
            return 0;
        if (err)
            *err = why;
        return -1;
    }
}

/* ---- into a file ---- */

struct download {
    struct http_file *file;
    const struct http_request *request;
    bool ranged;  /* a range was asked for */
    bool changed; /* what the server has now is not what is there a part of */
};

/* "bytes FIRST-LAST/TOTAL" or "bytes * /TOTAL"; what is not said is HTTP_SIZE_UNKNOWN. */
static bool content_range(const struct http_response *r, uint64_t *first, uint64_t *total)
{
    size_t at = 0;
    const char *p = http_response_header(r, "content-range", &at);
    *first = *total = HTTP_SIZE_UNKNOWN;
    if (!p || strncasecmp(p, "bytes ", 6) != 0)
        return false;
    p += 6;
    char *end;
    if (*p == '*') {
        p++;
    } else {
        errno = 0;
        *first = strtoull(p, &end, 10);
        if (!isdigit((unsigned char)*p) || errno || *end != '-' || !isdigit((unsigned char)end[1]))
            return false;
        p = end + 1 + strspn(end + 1, "0123456789");
    }
    if (*p != '/')
        return false;
    if (p[1] == '*')
        return true;
    errno = 0;
    *total = strtoull(p + 1, &end, 10);
    return isdigit((unsigned char)p[1]) && !errno && !*end;
}

static int check_total(const struct download *d, uint64_t total, struct gv_error *err)
{
    struct http_file *f = d->file;
    f->said = total;
    if (f->size != HTTP_SIZE_UNKNOWN && total != f->size)
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` has %" PRIu64 " bytes and should have %" PRIu64, d->request->url, total,
                            f->size);
    if (f->max && total > f->max)
        return gv_error_set(err, GV_E_LIMIT, 0, "`%.300s` has %" PRIu64 " bytes, more than the %" PRIu64 " allowed", d->request->url, total,
                            f->max);
    return 0;
}

static int start_over(struct http_file *f, struct gv_error *err)
{
    f->have = 0;
    f->etag[0] = '\0';
    return ftruncate(f->fd, 0) < 0 ? gv_error_errno(err, "cannot empty a file") : 0;
}

/*
 * What names this version of the file. A date does so when the file has not changed again within its second (RFC 9110, 8.8.2.2): the answer must
 * be a minute younger, as servers' clocks and caches go.
 */
static void take_validator(struct http_file *f, const struct http_response *r)
{
    size_t at = 0;
    const char *text = http_response_header(r, "etag", &at);
    f->etag[0] = '\0';
    if (!text || text[0] != '"') {
        size_t at_changed = 0, at_date = 0;
        const struct curl_api *api = curl_load(NULL);
        text = http_response_header(r, "last-modified", &at_changed);
        const char *date = http_response_header(r, "date", &at_date);
        time_t changed = api && text ? api->getdate(text, NULL) : -1, sent = api && date ? api->getdate(date, NULL) : -1;
        if (changed < 0 || sent < 0 || sent - changed < 60)
            return;
    }
    if (strlen(text) < sizeof(f->etag))
        memcpy(f->etag, text, strlen(text) + 1);
}

/* Whether a part says of itself that it is of another version; a server may know no If-Range. */
static bool is_other_version(const struct http_file *f, const struct http_response *r)
{
    size_t at = 0;
    const char *etag = http_response_header(r, "etag", &at);
    return !f->by_content && f->etag[0] == '"' && etag && etag[0] == '"' && strcmp(etag, f->etag) != 0;
}

/* Whether a part is what was asked for. */
static int check_part(struct download *d, const struct http_response *r, struct gv_error *err)
{
    const struct http_file *f = d->file;
    uint64_t first, total;
    if (is_other_version(f, r)) {
        d->changed = true;
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` has changed", d->request->url);
    }
    if (!content_range(r, &first, &total) || first != f->have)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "`%.300s`: the server sends another part of the file than it was asked for",
                            d->request->url);
    return total == HTTP_SIZE_UNKNOWN ? 0 : check_total(d, total, err);
}

static int download_begin(void *user, const struct http_response *r, struct gv_error *err)
{
    struct download *d = user;
    struct http_file *f = d->file;
    bool part = r->status == 206 && d->ranged;
    if (!part && r->status != 200)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "`%.300s`: the server answers with status %ld where there should be a file",
                            d->request->url, r->status);
    if (part && check_part(d, r, err) < 0)
        return -1;
    if (!part && r->length >= 0 && check_total(d, (uint64_t)r->length, err) < 0)
        return -1;
    if (f->accept && f->accept(f->user, r, err) < 0)
        return -1;
    if (!part) {
        if (r->length < 0)
            f->said = HTTP_SIZE_UNKNOWN;
        if (start_over(f, err) < 0)
            return -1;
        take_validator(f, r);
    }
    return f->begin ? f->begin(f->user, err) : 0;
}

static int download_data(void *user, const void *p, size_t n, struct gv_error *err)
{
    struct download *d = user;
    struct http_file *f = d->file;
    if (f->size != HTTP_SIZE_UNKNOWN && n > f->size - f->have)
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` has more than the %" PRIu64 " bytes that it should have", d->request->url,
                            f->size);
    if (f->max && (f->have > f->max || n > f->max - f->have))
        return gv_error_set(err, GV_E_LIMIT, 0, "`%.300s` has more than the %" PRIu64 " bytes allowed", d->request->url, f->max);
    if (f->data && f->data(f->user, f->have, p, n, err) < 0)
        return -1;
    if (gv_pwrite_full(f->fd, p, n, f->have) < 0)
        return gv_error_errno(err, "cannot write what comes from `%.300s`", d->request->url);
    f->have += n;
    if (f->progress)
        f->progress(f->user, f->have);
    return 0;
}

enum step { STEP_FAILED = -1, STEP_DONE, STEP_AGAIN };

/* Looks at a complete response. */
static enum step download_step(struct download *d, const struct http_response *out, struct gv_error *err)
{
    struct http_file *f = d->file;
    uint64_t first, total;
    if (http_ok(out)) {
        if (f->size == HTTP_SIZE_UNKNOWN)
            f->size = f->have;
        if (f->have == f->size)
            return ftruncate(f->fd, (off_t)f->size) < 0 ? (enum step)gv_error_errno(err, "cannot set the length of a file") : STEP_DONE;
        gv_error_set(err, GV_E_IO, 0, "`%.300s` ends after %" PRIu64 " of %" PRIu64 " bytes", d->request->url, f->have, f->size);
        return STEP_AGAIN;
    }
    if (out->status != 416 || !d->ranged)
        return may_pass(out->status) ? STEP_AGAIN : STEP_DONE;
    /* Nothing after what is there: it is complete, or it is not what the server has. */
    if ((f->size == HTTP_SIZE_UNKNOWN || f->size == f->have) && content_range(out, &first, &total) && total == f->have) {
        f->size = f->have;
        return STEP_DONE;
    }
    gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` is shorter than what was there of it", d->request->url);
    return start_over(f, err) < 0 ? STEP_FAILED : STEP_AGAIN;
}

int http_download(struct http_client *c, const struct http_request *request, struct http_file *file, struct http_response *out,
                  struct gv_error *err)
{
    struct attempts a = attempts_for(c, request);
    struct download d = { .file = file, .request = request };
    const struct http_sink sink = { .begin = download_begin, .data = download_data, .user = &d };
    if (file->size != HTTP_SIZE_UNKNOWN && file->have > file->size)
        file->have = 0;
    if (file->by_content && file->have && file->have == file->size) {
        http_response_clear(out);
        out->status = 200;
        return 0;
    }
    uint64_t mark = file->have;
    for (;;) {
        struct gv_error why = GV_ERROR_INIT;
        if (file->have && !file->by_content && !file->etag[0] && start_over(file, err) < 0)
            return -1; /* nothing tells whether the rest would be of the same file */
        cleanup_free char *range = file->have ? gv_asprintf("bytes=%" PRIu64 "-", file->have) : NULL;
        d.ranged = range != NULL;
        enum http_outcome outcome = http_exchange(c, request, range, range && !file->by_content ? file->etag : NULL, &sink, out, &why);
        enum step step = outcome == HTTP_DONE ? download_step(&d, out, &why) : outcome == HTTP_LOST ? STEP_AGAIN : STEP_FAILED;
        if (d.changed) {
            d.changed = false;
            step = start_over(file, &why) < 0 ? STEP_FAILED : STEP_AGAIN;
        }
        if (step == STEP_DONE)
            return 0;
        if (file->have >= mark + AHEAD) {
            mark = file->have;
            a.made = 0;
        }
        int more = step == STEP_AGAIN ? try_again(&a, outcome, out, &why, err) : 0;
        if (more < 0)
            return -1;
        if (more > 0)
            continue;
        if (outcome == HTTP_DONE && !why.code)
            return 0; /* the last word is a status */
        if (err)
            *err = why;
        return -1;
    }
}
