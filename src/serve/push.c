/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests that bring images: login (A), what is there of an upload (B), its descriptor (C), its chunks (D), and the tag at the end (E). */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "serve/server.h"

#define FREE_LEAST ((uint64_t)64 << 20) /* bytes that stay free on the disk, for the database */
#define STALLED 600                     /* seconds without a chunk after which an upload gives way to others */

/* ---- who it is ---- */

int request_login(struct request *r, struct db *db, const char *name, const char *secret, int64_t *user)
{
    struct server *s = r->server;
    struct gv_error err = GV_ERROR_INIT;
    uint64_t now = server_ticks(), wait = limits_wait(s->logins, &r->address, now);
    if (wait) {
        char seconds[24];
        snprintf(seconds, sizeof(seconds), "%" PRIu64, wait / 1000 + 1);
        answer_text(r, 429, "too many failed logins from this address; wait %s s", seconds);
        answer_header(r, "Retry-After", seconds);
        return 0;
    }
    int found = model_login(db, name, secret, server_now(), user, &err);
    if (found < 0) {
        answer_error(r, &err);
    } else if (found == 0) {
        limits_take(s->logins, &r->address, now);
        s->metrics.login_failures++;
        answer_text(r, 401, "wrong user name or token");
    }
    return found > 0;
}

void route_login(struct request *r)
{
    json_t *o = json_loadb((const char *)r->body.data, r->body.len, 0, NULL);
    const char *name = json_string_value(json_object_get(o, "username")), *secret = json_string_value(json_object_get(o, "password"));
    int64_t user;
    if (!name || !secret) {
        answer_text(r, 400, "this has to be a JSON object with username and password");
    } else {
        struct db *db = request_db(r);
        if (db) {
            if (request_login(r, db, name, secret, &user) > 0)
                answer_text(r, 200, "logged in");
            db_give(r->server->dbs, db);
        }
    }
    json_decref(o);
}

/* ---- B ---- */

struct finish {
    struct server *server;
    struct upload *upload;
};

/* An upload that has all its chunks and is no image: the server ended in between, or the disk was full. */
static void finish_late(void *arg)
{
    struct finish *f = arg;
    struct server *s = f->server;
    struct gv_error err = GV_ERROR_INIT;
    bool published = false;
    struct db *db = db_take(s->dbs, &err);
    if (!db || upload_finish(s->uploads, f->upload, db, server_now(), &published, &err) < 0)
        gv_warn(s->log, "an upload that is complete: %s", err.msg);
    if (db)
        db_give(s->dbs, db);
    uploads_put(s->uploads, f->upload);
    if (published) {
        s->metrics.published++;
        server_make_chunks(s);
    }
    free(f);
}

static void answer_flags(struct request *r, bool full, const struct gv_buf *flags)
{
    struct gv_buf body = { 0 };
    gv_buf_addf(&body, "{\"descriptor\":\"ok\",\"status\":\"%s\",\"chunks\":[", full ? "full" : "partial");
    for (size_t i = 0; i < flags->len; i++) {
        const char text[2] = { ',', (char)flags->data[i] };
        gv_buf_add(&body, text + (i == 0), i == 0 ? 1 : 2);
    }
    gv_buf_add(&body, "]}", 2);
    answer_bytes(r, 200, "application/json", &body);
    answer_header(r, "Cache-Control", "no-store");
}

static void answer_unknown(struct request *r)
{
    struct gv_buf body = { 0 };
    gv_buf_addf(&body, "{\"descriptor\":\"unknown\"}");
    answer_bytes(r, 404, "application/json", &body);
    answer_header(r, "Cache-Control", "no-store");
}

static int describe(struct request *r, struct db *db, const unsigned char id[GV_SHA256_SIZE], struct gv_error *err)
{
    struct server *s = r->server;
    cleanup_buf struct gv_buf flags = { 0 };
    struct upload *u;
    uint32_t chunks;
    int found = uploads_get(s->uploads, db, id, &u, err);
    if (found > 0) {
        bool all = upload_flags(u, &flags);
        struct finish *f = gv_new(struct finish);
        *f = (struct finish){ s, u };
        answer_flags(r, false, &flags);
        if (!all || !jobs_submit(s->jobs, finish_late, f)) {
            free(f);
            uploads_put(s->uploads, u);
        }
        return 0;
    }
    if (found == 0)
        found = model_descriptor_chunks(db, id, &chunks, err);
    if (found > 0) {
        for (uint32_t i = 0; i < chunks; i++)
            gv_buf_add(&flags, "1", 1);
        answer_flags(r, true, &flags);
    } else if (found == 0) {
        answer_unknown(r);
    }
    return found < 0 ? -1 : 0;
}

void route_descriptor(struct request *r)
{
    struct gv_error err = GV_ERROR_INIT;
    unsigned char id[GV_SHA256_SIZE];
    if (gv_unhex(id, sizeof(id), r->rest) < 0) {
        answer_unknown(r);
        return;
    }
    struct db *db = request_db(r);
    if (!db)
        return;
    if (describe(r, db, id, &err) < 0)
        answer_error(r, &err);
    db_give(r->server->dbs, db);
}

/* ---- C ---- */

bool route_push_descriptor_file(void *request, const void *p, size_t n, uint64_t at)
{
    (void)at;
    struct request *r = request;
    if (n > DESCRIPTOR_MAX - r->body.len) {
        answer_text(r, 413, "the descriptor is longer than %d bytes, those of %d chunks; use larger chunks", DESCRIPTOR_MAX,
                    DESCRIPTOR_CHUNKS_MAX);
        return false;
    }
    gv_buf_add(&r->body, p, n);
    return true;
}

/* When there is no room: uploads that have stalled go before their time, so that nobody blocks the registry by beginning what he does not end. */
static bool make_room(struct server *s, struct db *db)
{
    struct gv_error err = GV_ERROR_INIT;
    uint64_t count = 0;
    if (uploads_expire(s->uploads, db, server_now() - STALLED, &count, &err) < 0)
        gv_warn(s->log, "making room for an upload: %s", err.msg);
    s->metrics.expired_uploads += count;
    return count > 0;
}

static int add_upload(struct request *r, struct db *db, const struct descriptor *d, int64_t lost, struct gv_error *err)
{
    return model_upload_add(db, d, r->body.data, r->body.len, lost, server_now(), r->server->options->max_uploads, err);
}

/* 1: the image was published while this looked; look again. */
static int push_descriptor(struct request *r, struct db *db, const struct descriptor *d, struct gv_error *err)
{
    struct server *s = r->server;
    struct image_row image = { 0 };
    int found = model_image_by_hash(db, d->hash, &image, err);
    if (found < 0)
        return -1;
    if (found && image.size != d->size)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the image with that hash has %" PRIu64 " bytes, and the descriptor says %" PRIu64,
                            image.size, d->size);
    /* The same image in other chunks: there is nothing to be moved, unless it has been lost here. */
    if (found && disk_has(&s->disk, image.hash, image.size))
        return model_descriptor_add(db, d, image.id, err);
    int added = add_upload(r, db, d, found ? image.id : 0, err);
    if (added < 0 && err->code == GV_E_LIMIT && make_room(s, db)) {
        gv_error_clear(err);
        added = add_upload(r, db, d, found ? image.id : 0, err);
    }
    return added;
}

void route_push_descriptor(struct request *r)
{
    struct gv_error err = GV_ERROR_INIT;
    struct descriptor d;
    if (!form_has_file(r->form)) {
        answer_text(r, 400, "the form has no file");
        return;
    }
    if (descriptor_parse(r->body.data, r->body.len, &d, &err) < 0) {
        answer_error(r, &err);
        return;
    }
    if (d.size > r->server->options->max_image) {
        answer_text(r, 413, "the image has %" PRIu64 " bytes, and this registry takes up to %" PRIu64, d.size,
                    r->server->options->max_image);
        return;
    }
    struct db *db = request_db(r);
    if (!db)
        return;
    int pushed;
    do
        pushed = push_descriptor(r, db, &d, &err);
    while (pushed > 0);
    if (pushed == 0)
        answer_text(r, 200, "ok");
    else if (err.code == GV_E_LIMIT)
        answer_text(r, 503, "%s", err.msg);
    else
        answer_error(r, &err);
    db_give(r->server->dbs, db);
}

/* ---- D ---- */

/* A chunk that is being received. */
struct chunk {
    struct server *server;
    struct upload *upload; /* NULL: it is not needed */
    uint32_t number;
    uint64_t length;
    uint64_t got;
    unsigned char digest[GV_SHA256_SIZE]; /* that it must have */
    struct gv_hash *hash;
    int fd;
};

static void chunk_free(struct request *r)
{
    struct chunk *c = r->user;
    if (c->upload) {
        uploads_put(c->server->uploads, c->upload);
        c->server->receiving -= c->length;
    }
    if (c->hash)
        gv_hash_free(c->hash);
    if (c->fd >= 0)
        close(c->fd);
    free(c);
    r->user = NULL;
}

/* What the form says, against what the descriptor says. 0, or -1 with err. */
static int check_fields(struct request *r, struct chunk *c, const struct descriptor *d, struct gv_error *err)
{
    const char *number = form_text(r->form, "chunk-no"), *pos = form_text(r->form, "chunk-pos"), *len = form_text(r->form, "chunk-len"),
               *sha = form_text(r->form, "chunk-sha256");
    uint64_t n, at, length;
    unsigned char digest[GV_SHA256_SIZE];
    if (!number || !pos || !len || !sha || !form_number(number, UINT32_MAX, &n) || !form_number(pos, UINT64_MAX, &at) ||
        !form_number(len, UINT64_MAX, &length) || gv_unhex(digest, sizeof(digest), sha) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "before the file come chunk-no, chunk-sha256, chunk-pos and chunk-len, numbers in decimal");
    if (n >= d->chunks)
        return gv_error_set(err, GV_E_USAGE, 0, "there is no chunk %" PRIu64 ": the upload has %u", n, d->chunks);
    uint64_t wanted = descriptor_chunk_length(d, (uint32_t)n);
    if (at != d->chunk_size * n || length != wanted)
        return gv_error_set(err, GV_E_USAGE, 0,
                            "chunk %" PRIu64 " has %" PRIu64 " bytes from %" PRIu64 " by its descriptor, not %" PRIu64 " from %" PRIu64, n,
                            wanted, d->chunk_size * n, length, at);
    if (memcmp(digest, d->digests + n * GV_SHA256_SIZE, sizeof(digest)) != 0)
        return gv_error_set(err, GV_E_USAGE, 0, "chunk %" PRIu64 " has another SHA-256 by its descriptor", n);
    memcpy(c->digest, digest, sizeof(digest));
    c->number = (uint32_t)n;
    c->length = length;
    return 0;
}

/* Room on the disk, in the quota, and for what is on its way at a time. */
static int check_room(struct request *r, struct db *db, const struct chunk *c, struct gv_error *err)
{
    struct server *s = r->server;
    const struct serve_options *o = s->options;
    int reserved = model_upload_reserve(db, upload_row(c->upload), o->anonymous_quota, o->user_quota, err);
    if (reserved < 0 && err->code == GV_E_LIMIT && make_room(s, db)) {
        gv_error_clear(err);
        reserved = model_upload_reserve(db, upload_row(c->upload), o->anonymous_quota, o->user_quota, err);
    }
    if (reserved < 0)
        return -1;
    if (!quota_fits(s->receiving, 0, o->max_receiving))
        return gv_error_set(err, GV_E_BUSY, 0, "more is being uploaded than this registry takes at a time; try again later");
    /* It is there twice for a moment. */
    uint64_t need;
    if (__builtin_mul_overflow(c->length, 2, &need) || !quota_fits(FREE_LEAST, need, disk_free(&s->disk)))
        return gv_error_set(err, GV_E_IO, ENOSPC, "no room for a chunk of %" PRIu64 " bytes", c->length);
    return 0;
}

/* Decides about the chunk when its file begins. The request is answered when there is nothing to be received. */
static void chunk_begin(struct request *r, struct db *db, struct chunk *c)
{
    struct server *s = r->server;
    struct gv_error err = GV_ERROR_INIT;
    const char *name = form_text(r->form, "descr-sha256");
    unsigned char id[GV_SHA256_SIZE];
    uint32_t chunks;
    struct upload *u;
    if (!name || gv_unhex(id, sizeof(id), name) < 0) {
        answer_text(r, 400, "before the file comes descr-sha256, 64 hex digits");
        return;
    }
    int found = uploads_get(s->uploads, db, id, &u, &err);
    if (found == 0 && (found = model_descriptor_chunks(db, id, &chunks, &err)) > 0) {
        answer_text(r, 200, "the image is complete");
        return;
    }
    if (found <= 0) {
        if (found == 0)
            gv_error_set(&err, GV_E_NOT_FOUND, 0, "there is no upload of that descriptor; push it first");
        answer_error(r, &err);
        return;
    }
    c->upload = u;
    bool bad = check_fields(r, c, upload_descriptor(u), &err) < 0;
    s->receiving += c->length;
    if (!bad && upload_has(u, c->number)) {
        answer_text(r, 200, "the chunk is there already");
    } else if (bad || check_room(r, db, c, &err) < 0 || (c->fd = disk_scratch(&s->disk, &err)) < 0) {
        if (err.code == GV_E_LIMIT)
            answer_text(r, 507, "%s", err.msg);
        else if (err.code == GV_E_BUSY)
            answer_text(r, 503, "%s", err.msg);
        else
            answer_error(r, &err);
    }
    c->hash = gv_hash_new(GV_HASH_SHA256);
}

static struct chunk *chunk_of(struct request *r)
{
    if (r->user)
        return r->user;
    struct chunk *c = gv_new(struct chunk);
    *c = (struct chunk){ .server = r->server, .fd = -1 };
    r->user = c;
    r->free_user = chunk_free;
    struct db *db = request_db(r);
    if (db) {
        chunk_begin(r, db, c);
        db_give(r->server->dbs, db);
    }
    return c;
}

bool route_push_chunk_file(void *request, const void *p, size_t n, uint64_t at)
{
    struct request *r = request;
    struct gv_error err = GV_ERROR_INIT;
    struct chunk *c = chunk_of(r);
    if (r->response)
        return false;
    if (at != c->got || n > c->length - c->got) {
        answer_text(r, 400, "the chunk is longer than the %" PRIu64 " bytes it was said to have", c->length);
        return false;
    }
    if (gv_pwrite_full(c->fd, p, n, at) < 0) {
        gv_error_errno(&err, "cannot write what is uploaded");
        answer_error(r, &err);
        return false;
    }
    gv_hash_update(c->hash, p, n);
    c->got += n;
    return true;
}

void route_push_chunk(struct request *r)
{
    struct server *s = r->server;
    struct gv_error err = GV_ERROR_INIT;
    unsigned char digest[GV_HASH_MAX];
    struct chunk *c = chunk_of(r); /* an empty file has not begun yet */
    bool published = false;
    if (r->response)
        return;
    if (c->got != c->length) {
        answer_text(r, 400, "the chunk has %" PRIu64 " bytes, and was said to have %" PRIu64, c->got, c->length);
        return;
    }
    gv_hash_final(c->hash, digest);
    if (memcmp(digest, c->digest, sizeof(c->digest)) != 0) {
        answer_text(r, 400, "the bytes of chunk %u do not have the SHA-256 it was said to have", c->number);
        return;
    }
    struct db *db = request_db(r);
    if (!db)
        return;
    if (upload_store(s->uploads, c->upload, db, c->number, c->fd, server_now(), &published, &err) < 0) {
        answer_error(r, &err);
    } else {
        s->metrics.chunks++;
        answer_text(r, 200, published ? "the image is complete" : "ok");
    }
    db_give(s->dbs, db);
    if (published) {
        s->metrics.published++;
        server_make_chunks(s);
    }
}

/* ---- E ---- */

static void attach(struct request *r, struct db *db, const unsigned char id[GV_SHA256_SIZE], const struct reference *ref)
{
    struct gv_error err = GV_ERROR_INIT;
    const struct serve_options *o = r->server->options;
    const struct quotas quotas = { .bytes = o->user_quota, .images = o->user_images };
    const char *check = form_text(r->form, "check");
    bool dry = check && strcmp(check, "true") == 0;
    int64_t user = 0;
    if (!request_login(r, db, form_text(r->form, "login"), form_text(r->form, "token"), &user))
        return;
    if (model_attach(db, ref, id, user, dry, &quotas, server_now(), &err) == 0)
        answer_text(r, 200, dry ? "%s/%s:%s can be set" : "%s/%s:%s is set", ref->user, ref->repo, ref->tag);
    else if (err.code == GV_E_USAGE)
        answer_text(r, 403, "%s", err.msg);
    else if (err.code == GV_E_LIMIT)
        answer_text(r, 507, "%s", err.msg);
    else
        answer_error(r, &err);
}

void route_attach(struct request *r)
{
    struct gv_error err = GV_ERROR_INIT;
    struct reference ref;
    unsigned char id[GV_SHA256_SIZE];
    static const char *const needed[] = { "tag", "username", "repository", "login", "token" };
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (!form_text(r->form, needed[i])) {
            answer_text(r, 400, "the form has no %s", needed[i]);
            return;
        }
    if (gv_unhex(id, sizeof(id), r->rest) < 0) {
        answer_text(r, 400, "the id of a descriptor has 64 hex digits");
        return;
    }
    cleanup_free char *name =
        gv_asprintf("%s/%s:%s", form_text(r->form, "username"), form_text(r->form, "repository"), form_text(r->form, "tag"));
    if (reference_parse(name, &ref, &err) < 0) {
        answer_error(r, &err);
        return;
    }
    struct db *db = request_db(r);
    if (!db)
        return;
    attach(r, db, id, &ref);
    db_give(r->server->dbs, db);
}
