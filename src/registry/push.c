/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Publishing, by the sequence of the original client (docs/registry.md): is the descriptor known (B), else send it (C); could the tags be set (E with
 * check); which chunks are missing (B); send those (D), several at a time; wait until the registry has put them together (B); set the tags (E); and, by
 * an extension of ours, send the signature.
 * Chunks are read from the file as they are sent, so memory does not depend on their size.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "registry/answer.h"
#include "registry/form.h"
#include "registry/registry.h"

#define ANSWER_MAX ((size_t)1 << 20)
#define WORKERS 4U
#define WORKERS_MAX 64U
/* The original asks six times, five seconds apart; we ask soon at first. */
#define COMPLETE_MS 60000U
#define COMPLETE_FIRST_MS 100U
#define COMPLETE_STEP_MS 5000U

struct push {
    struct http_client *http;
    const struct registry_push *options;
    const struct convert_descriptor *descriptor;
    int fd;
    struct registry_state state;
    pthread_mutex_t lock; /* of what follows */
    uint64_t next;        /* chunk to look at */
    uint64_t sent, bytes, to_send;
    struct gv_error failure; /* the first one */
    bool failed;
};

/* ---- answers ---- */

static void state_clear(struct registry_state *s)
{
    free(s->chunks);
    *s = (struct registry_state){ 0 };
}

int registry_parse_state(const char *text, size_t n, struct registry_state *out, struct gv_error *err)
{
    json_error_t why;
    json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why), *chunk;
    if (!json_is_object(o)) {
        json_decref(o);
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the answer is not a JSON object%s%s", o ? "" : ": ", o ? "" : why.text);
    }
    const char *descriptor = json_string_value(json_object_get(o, "descriptor")), *status = json_string_value(json_object_get(o, "status"));
    const json_t *chunks = json_object_get(o, "chunks");
    bool known = descriptor && strcmp(descriptor, "ok") == 0;
    out->has_status = status != NULL;
    out->known = !known ? REGISTRY_UNKNOWN : status && strcmp(status, "full") == 0 ? REGISTRY_FULL : REGISTRY_PART;
    if (json_is_array(chunks) && json_array_size(chunks) > 0) {
        size_t i;
        out->count = json_array_size(chunks);
        out->chunks = gv_calloc(out->count, 1);
        json_array_foreach (chunks, i, chunk)
            out->chunks[i] = json_is_integer(chunk) && json_integer_value(chunk) == 1;
    }
    json_decref(o);
    return 0;
}

bool registry_descriptor_id(const char *url, char id[2 * GV_SHA256_SIZE + 1])
{
    const char *end = url + strcspn(url, "?#"), *last = end;
    unsigned char digest[GV_SHA256_SIZE];
    while (last > url && last[-1] != '/')
        last--;
    if (end - last != 2 * GV_SHA256_SIZE)
        return false;
    memcpy(id, last, 2 * GV_SHA256_SIZE);
    id[2 * GV_SHA256_SIZE] = '\0';
    return gv_unhex(digest, sizeof(digest), id) == 0;
}

/* ---- requests ---- */

/* B */
static int ask_state(struct http_client *http, const char *base, const char *id, struct registry_state *out, struct gv_error *err)
{
    cleanup_free char *url = gv_asprintf("%s/v1/image/descr/%s", base, id);
    cleanup_response struct http_response r = { 0 };
    const struct http_request q = { .url = url };
    state_clear(out);
    if (http_fetch(http, &q, ANSWER_MAX, &r, err) < 0)
        return gv_error_prefix(err, "asking `%s` for the image", base);
    /* The status is not part of the protocol, but a page instead of JSON is easier understood with it. */
    if (registry_parse_state((const char *)r.body.data, r.body.len, out, NULL) == 0)
        return 0;
    if (http_ok(&r))
        return gv_error_set(err, GV_E_PROTOCOL, 0, "`%.300s`: the answer is not a JSON object; is this a registry?", url);
    return registry_refusal(&r, url, err);
}

static int post(struct http_client *http, const char *url, const struct http_request *q, const char *what, bool only_200,
                struct gv_error *err)
{
    cleanup_response struct http_response r = { 0 };
    struct http_request request = *q;
    request.method = "POST";
    request.url = url;
    if (http_fetch(http, &request, ANSWER_MAX, &r, err) < 0)
        return gv_error_prefix(err, "%s", what);
    return (only_200 ? r.status == 200 : http_ok(&r)) ? 0 : registry_refusal(&r, what, err);
}

/* C */
static int send_descriptor(const struct push *p, struct gv_error *err)
{
    cleanup_form struct form form = { 0 };
    cleanup_free char *url = gv_asprintf("%s/v1/image/push/descr", p->options->base);
    if (registry_form_begin(&form, err) < 0)
        return -1;
    registry_form_file(&form, "file");
    gv_buf_add(&form.head, p->descriptor->bytes.data, p->descriptor->bytes.len);
    gv_buf_add(&form.head, "\r\n", 2);
    registry_form_end(&form, &form.head);
    cleanup_free char *type = registry_form_type(&form);
    const struct http_request q = { .body = form.head.data, .body_size = form.head.len, .body_type = type };
    return post(p->http, url, &q, "announcing the image", false, err);
}

/* E */
static int attach(struct http_client *http, const char *id, const struct registry_push *o, const struct refs *tag, bool check,
                  struct gv_error *err)
{
    cleanup_form struct form form = { 0 };
    cleanup_free char *url = gv_asprintf("%s/v1/image/descr/attach/%s", o->base, id), *name = refs_name(tag),
                      *what = gv_asprintf("not possible to add to repository: `%s`", name);
    if (registry_form_begin(&form, err) < 0)
        return -1;
    registry_form_text(&form, "tag", tag->tag);
    registry_form_text(&form, "username", tag->user);
    registry_form_text(&form, "repository", tag->repository);
    registry_form_text(&form, "login", o->login->user);
    registry_form_text(&form, "token", o->login->token);
    if (check)
        registry_form_text(&form, "check", "true");
    registry_form_end(&form, &form.head);
    cleanup_free char *type = registry_form_type(&form);
    const struct http_request q = { .body = form.head.data, .body_size = form.head.len, .body_type = type };
    int status = post(http, url, &q, what, true, err);
    explicit_bzero(form.head.data, form.head.len);
    return status;
}

static int attach_all(struct http_client *http, const char *id, const struct registry_push *o, bool check, struct gv_error *err)
{
    for (size_t i = 0; i < o->tag_count; i++)
        if (attach(http, id, o, &o->tags[i], check, err) < 0)
            return -1;
    return 0;
}

static int send_signature(const struct push *p, struct gv_error *err)
{
    const struct registry_push *o = p->options;
    cleanup_form struct form form = { 0 };
    cleanup_response struct http_response r = { 0 };
    cleanup_free char *url = gv_asprintf("%s/v1/image/signature", o->base);
    if (registry_form_begin(&form, err) < 0)
        return -1;
    registry_form_text(&form, "descr-sha256", p->descriptor->id);
    registry_form_text(&form, "login", o->login->user);
    registry_form_text(&form, "token", o->login->token);
    registry_form_file(&form, "file");
    gv_buf_add(&form.head, o->signature->data, o->signature->len);
    gv_buf_add(&form.head, "\r\n", 2);
    registry_form_end(&form, &form.head);
    cleanup_free char *type = registry_form_type(&form);
    const struct http_request q = { .method = "POST", .url = url, .body = form.head.data, .body_size = form.head.len, .body_type = type };
    static const char what[] = "the image is there, but not its signature";
    int status = http_fetch(p->http, &q, ANSWER_MAX, &r, err);
    explicit_bzero(form.head.data, form.head.len);
    if (status < 0)
        return gv_error_prefix(err, what);
    if (r.status == 404 || r.status == 405) {
        gv_note(o->log, "`%s` does not keep signatures; only the image is there", o->base);
        return 0;
    }
    return http_ok(&r) ? 0 : registry_refusal(&r, what, err);
}

/* ---- chunks ---- */

/* The body of D: head, the chunk from the file, tail. */
struct chunk_body {
    struct push *push;
    const struct gv_buf *head, *tail;
    uint64_t at, length; /* of the chunk */
    uint64_t counted;    /* of it, as progress */
};

/* Copies what of a part of the body, which begins at `start`, lies in the window; how much that is. */
static size_t overlap(const struct gv_buf *part, uint64_t start, uint64_t at, unsigned char *p, size_t n)
{
    if (at < start || at >= start + part->len)
        return 0;
    size_t from = (size_t)(at - start), take = part->len - from < n ? part->len - from : n;
    memcpy(p, part->data + from, take);
    return take;
}

static int read_chunk(void *user, uint64_t at, void *buf, size_t n, struct gv_error *err)
{
    struct chunk_body *b = user;
    unsigned char *p = buf;
    uint64_t head = b->head->len, end = head + b->length;
    while (n > 0) {
        size_t done = overlap(b->head, 0, at, p, n);
        if (!done && at >= head && at < end) {
            done = end - at < n ? (size_t)(end - at) : n;
            if (gv_pread_full(b->push->fd, p, done, b->at + (at - head)) != (ssize_t)done)
                return gv_error_set(err, GV_E_IO, 0, "what is to be sent cannot be read, or has become shorter");
            uint64_t now = at - head + done;
            pthread_mutex_lock(&b->push->lock);
            if (now > b->counted) {
                b->push->bytes += now - b->counted;
                b->counted = now;
            }
            gv_progress_update(b->push->options->progress, "uploading", b->push->bytes, b->push->to_send);
            pthread_mutex_unlock(&b->push->lock);
        }
        if (!done)
            done = overlap(b->tail, end, at, p, n);
        if (!done)
            return gv_error_set(err, GV_E_INTERNAL, 0, "a chunk has no byte %llu", (unsigned long long)at);
        p += done;
        at += done;
        n -= done;
    }
    return 0;
}

static uint64_t chunk_length(const struct convert_descriptor *d, uint64_t number)
{
    uint64_t at = number * d->chunk_size;
    return d->size - at < d->chunk_size ? d->size - at : d->chunk_size;
}

/* D */
static int send_chunk(struct push *p, uint64_t number, struct gv_error *err)
{
    const struct convert_descriptor *d = p->descriptor;
    cleanup_form struct form form = { 0 };
    cleanup_buf struct gv_buf tail = { 0 };
    cleanup_free char *url = gv_asprintf("%s/v1/image/push/chunk", p->options->base);
    struct chunk_body body = { .push = p, .head = &form.head, .tail = &tail, .at = number * d->chunk_size };
    body.length = chunk_length(d, number);
    char text[2 * GV_SHA256_SIZE + 1], what[64];
    if (registry_form_begin(&form, err) < 0)
        return -1;
    registry_form_text(&form, "descr-sha256", d->id);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    registry_form_text(&form, "chunk-no", text);
    gv_hex(text, d->bytes.data + CONVERT_DESCRIPTOR_HEAD + number * GV_SHA256_SIZE, GV_SHA256_SIZE);
    registry_form_text(&form, "chunk-sha256", text);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)body.at);
    registry_form_text(&form, "chunk-pos", text);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)body.length);
    registry_form_text(&form, "chunk-len", text);
    registry_form_file(&form, "file");
    gv_buf_add(&tail, "\r\n", 2);
    registry_form_end(&form, &tail);
    cleanup_free char *type = registry_form_type(&form);
    const struct http_request q = {
        .body_size = form.head.len + (size_t)body.length + tail.len, .body_type = type, .read_body = read_chunk, .user = &body
    };
    snprintf(what, sizeof(what), "sending chunk %llu of %llu", (unsigned long long)number + 1, (unsigned long long)d->chunks);
    return post(p->http, url, &q, what, false, err);
}

/* The next chunk that is missing; false when there is none, or something has failed. */
static bool take_chunk(struct push *p, uint64_t *number)
{
    pthread_mutex_lock(&p->lock);
    while (p->next < p->descriptor->chunks && p->state.chunks[p->next])
        p->next++;
    bool more = !p->failed && p->next < p->descriptor->chunks;
    *number = p->next;
    p->next += more;
    pthread_mutex_unlock(&p->lock);
    return more;
}

static void *work(void *user)
{
    struct push *p = user;
    for (uint64_t number; take_chunk(p, &number);) {
        struct gv_error err = GV_ERROR_INIT;
        int status = send_chunk(p, number, &err);
        pthread_mutex_lock(&p->lock);
        p->sent += status == 0;
        if (status < 0 && !p->failed) {
            p->failure = err;
            p->failed = true;
        }
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

/* The calling thread is one of the workers, so that it goes on when no other can be had. */
static int send_chunks(struct push *p, struct gv_error *err)
{
    pthread_t threads[WORKERS_MAX];
    unsigned count = 0, workers = p->options->workers ? p->options->workers : WORKERS;
    for (uint64_t i = 0; i < p->descriptor->chunks; i++)
        p->to_send += p->state.chunks[i] ? 0 : chunk_length(p->descriptor, i);
    while (count + 1 < workers && count < WORKERS_MAX && count + 1 < p->descriptor->chunks &&
           pthread_create(&threads[count], NULL, work, p) == 0)
        count++;
    work(p);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    if (!p->failed)
        return 0;
    if (err)
        *err = p->failure;
    return -1;
}

/* ---- the sequence ---- */

/* The registry puts the chunks together, on a storage that may lag behind. */
static int wait_complete(struct push *p, struct gv_error *err)
{
    unsigned waited = 0;
    for (unsigned step = COMPLETE_FIRST_MS;; step = step * 2 < COMPLETE_STEP_MS ? step * 2 : COMPLETE_STEP_MS) {
        if (ask_state(p->http, p->options->base, p->descriptor->id, &p->state, err) < 0)
            return -1;
        if (p->state.known == REGISTRY_FULL)
            return 0;
        if (waited >= COMPLETE_MS)
            return gv_error_set(err, GV_E_TIMEOUT, 0,
                                "the registry has all chunks and does not say that the image is complete; try again later");
        const struct timespec t = { .tv_sec = step / 1000, .tv_nsec = (long)(step % 1000) * 1000000 };
        while (nanosleep(&t, NULL) < 0 && errno == EINTR)
            ;
        waited += step;
    }
}

static int push(struct push *p, struct gv_error *err)
{
    const struct registry_push *o = p->options;
    const char *id = p->descriptor->id;
    if (o->login && registry_login_check(p->http, o->base, o->login, o->insecure, err) < 0)
        return -1;
    if (ask_state(p->http, o->base, id, &p->state, err) < 0 || (p->state.known == REGISTRY_UNKNOWN && send_descriptor(p, err) < 0))
        return -1;
    bool full = p->state.known == REGISTRY_FULL;
    if (!full) {
        if (attach_all(p->http, id, o, true, err) < 0 || ask_state(p->http, o->base, id, &p->state, err) < 0)
            return -1;
        if (p->state.known == REGISTRY_UNKNOWN || !p->state.has_status)
            return gv_error_set(err, GV_E_PROTOCOL, 0, "the registry does not know the image that was just announced to it");
        full = p->state.known == REGISTRY_FULL;
    }
    if (!full && p->descriptor->chunks) {
        if (p->state.count != p->descriptor->chunks)
            return gv_error_set(err, GV_E_PROTOCOL, 0, "the registry counts %zu chunks, and there are %llu", p->state.count,
                                (unsigned long long)p->descriptor->chunks);
        if (send_chunks(p, err) < 0)
            return -1;
    }
    if (!full && wait_complete(p, err) < 0)
        return -1;
    if (attach_all(p->http, id, o, false, err) < 0)
        return -1;
    return o->signature ? send_signature(p, err) : 0;
}

static int check_options(const struct registry_push *o, struct gv_error *err)
{
    if ((o->tag_count || o->signature) && !o->login)
        return gv_error_set(err, GV_E_USAGE, 0, "a tag or a signature needs a login");
    if (o->login && (strpbrk(o->login->user, "\r\n") || strpbrk(o->login->token, "\r\n")))
        return gv_error_set(err, GV_E_USAGE, 0, "the user name or the token has a line break");
    return 0;
}

int registry_push(struct http_client *c, int fd, const struct convert_descriptor *d, const struct registry_push *o,
                  struct registry_pushed *out, struct gv_error *err)
{
    struct push p = { .http = c, .options = o, .descriptor = d, .fd = fd };
    if (check_options(o, err) < 0)
        return -1;
    pthread_mutex_init(&p.lock, NULL);
    int status = push(&p, err);
    pthread_mutex_destroy(&p.lock);
    state_clear(&p.state);
    out->chunks = p.sent;
    out->bytes = p.bytes;
    return status;
}

int registry_tag(struct http_client *c, const char *id, const struct registry_push *o, struct gv_error *err)
{
    struct registry_state state = { 0 };
    if (check_options(o, err) < 0 || registry_login_check(c, o->base, o->login, o->insecure, err) < 0 ||
        ask_state(c, o->base, id, &state, err) < 0)
        return -1;
    bool full = state.known == REGISTRY_FULL;
    state_clear(&state);
    if (!full)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%s` does not have the image, or not all of it; use `gvmkit push`", o->base);
    return attach_all(c, id, o, true, err) < 0 ? -1 : attach_all(c, id, o, false, err);
}
