/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For whoever watches over the server: /healthz, and /metrics in the text form of Prometheus. */
#include <inttypes.h>

#include "serve/server.h"

void route_health(struct request *r)
{
    struct gv_error err = GV_ERROR_INIT;
    struct server *s = r->server;
    int64_t one = 0;
    struct db *db = db_take(s->dbs, &err);
    int ok = db ? db_number(db, &one, &err, "SELECT COUNT(*) FROM (SELECT 1 FROM image LIMIT 1)", "") : -1;
    if (db)
        db_give(s->dbs, db);
    if (ok < 0) {
        gv_warn(s->log, "%s", err.msg);
        answer_text(r, 503, "the database does not answer");
    } else if (s->ending) {
        answer_text(r, 503, "ending");
    } else {
        answer_text(r, 200, "ok");
    }
    answer_header(r, "Cache-Control", "no-store");
}

static void metric(struct gv_buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
    gv_buf_addf(out, "# HELP gvmkit_%s %s\n# TYPE gvmkit_%s %s\ngvmkit_%s %" PRIu64 "\n", name, help, name, type, name, value);
}

static void add_totals(struct gv_buf *out, const struct totals *t)
{
    metric(out, "images", "gauge", "Images.", (uint64_t)t->images);
    metric(out, "image_bytes", "gauge", "Bytes of all images.", (uint64_t)t->image_bytes);
    metric(out, "untagged_images", "gauge", "Images without a tag, which expire.", (uint64_t)t->untagged);
    metric(out, "untagged_image_bytes", "gauge", "Bytes of them.", (uint64_t)t->untagged_bytes);
    metric(out, "uploads", "gauge", "Uploads in progress.", (uint64_t)t->uploads);
    metric(out, "upload_bytes", "gauge", "Bytes that they will have.", (uint64_t)t->upload_bytes);
    metric(out, "users", "gauge", "Accounts.", (uint64_t)t->users);
    metric(out, "repositories", "gauge", "Repositories.", (uint64_t)t->repositories);
    metric(out, "tags", "gauge", "Tags.", (uint64_t)t->tags);
}

static void add_counters(struct gv_buf *out, struct server *s)
{
    const struct metrics *m = &s->metrics;
    gv_buf_addf(out, "# HELP gvmkit_responses_total Answers, by the first digit of their status.\n# TYPE gvmkit_responses_total counter\n");
    for (int i = 2; i < 6; i++)
        gv_buf_addf(out, "gvmkit_responses_total{status=\"%dxx\"} %" PRIu64 "\n", i, (uint64_t)m->responses[i]);
    metric(out, "requests_aborted_total", "counter", "Requests that ended before their answer had gone out.", m->aborted);
    metric(out, "received_bytes_total", "counter", "Bytes of bodies of requests.", m->received);
    metric(out, "sent_bytes_total", "counter", "Bytes of bodies of answers, as if all had been taken.", m->promised);
    metric(out, "rate_limited_total", "counter", "Requests refused by the rate of their address.", m->limited);
    metric(out, "login_failures_total", "counter", "Failed logins.", m->login_failures);
    metric(out, "connections_reaped_total", "counter", "Connections ended because they were idle or too slow.", m->reaped);
    metric(out, "chunks_stored_total", "counter", "Chunks stored.", m->chunks);
    metric(out, "images_published_total", "counter", "Uploads that became images.", m->published);
    metric(out, "images_expired_total", "counter", "Images without a tag that were removed.", m->expired_images);
    metric(out, "uploads_expired_total", "counter", "Uploads that were given up.", m->expired_uploads);
    metric(out, "collections_total", "counter", "Collections.", m->collections);
    metric(out, "requests_active", "gauge", "Requests at this moment.", s->active);
    metric(out, "connections", "gauge", "Connections at this moment.", conns_count(&s->conns));
    metric(out, "receiving_bytes", "gauge", "Bytes of chunks that are being received.", s->receiving);
    metric(out, "disk_free_bytes", "gauge", "Bytes free on the file system.", disk_free(&s->disk));
}

void route_metrics(struct request *r)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gv_buf body = { 0 };
    struct totals totals;
    struct db *db = request_db(r);
    if (!db)
        return;
    int bad = model_totals(db, &totals, &err);
    db_give(r->server->dbs, db);
    if (bad) {
        answer_error(r, &err);
        return;
    }
    add_totals(&body, &totals);
    add_counters(&body, r->server);
    answer_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
    answer_header(r, "Cache-Control", "no-store");
}
