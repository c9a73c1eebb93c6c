/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/fetch.h"

#include <errno.h>
#include <string.h>

#define CHUNK ((size_t)1 << 20)

int fetch_client(struct http_client **out, const struct transfer_options *o, struct gv_error *err)
{
    const struct http_options options = {
        .insecure_loopback = true, .stall_ms = o->stall_ms, .wait_ms = o->wait_ms, .cancelled = o->cancelled, .log = o->log
    };
    return http_client_new(out, &options, err);
}

int fetch_status(const char *url, const struct http_response *r, struct gv_error *err)
{
    if (r->status == 404 || r->status == 410)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%.300s` is not there: the server answers with status %ld", url, r->status);
    if (r->status == 401 || r->status == 403)
        return gv_error_set(err, GV_E_IO, 0, "`%.300s`: the server does not allow it (status %ld)", url, r->status);
    return gv_error_set(err, GV_E_IO, 0, "`%.300s`: the server answers with status %ld", url, r->status);
}

struct arrival {
    struct move *m;
    struct http_file *file;
    struct check *check;
    uint64_t seen;
};

/* Bytes that come again, because the server began anew, are hashed anew. */
static int arrived(void *user, uint64_t at, const void *p, size_t n, struct gv_error *err)
{
    struct arrival *a = user;
    if (at == 0)
        check_begin(a->check);
    else if (at != a->seen)
        return gv_error_set(err, GV_E_INTERNAL, 0, "a download goes on at another place than it stopped");
    check_add(a->check, p, n);
    a->seen = at + n;
    a->m->done = at;
    a->m->total = a->file->said;
    return move_more(a->m, n, err);
}

int fetch_into(struct move *m, const struct location *from, int fd, struct gv_error *err)
{
    CLEANUP(http_client) struct http_client *client = NULL;
    cleanup_response struct http_response response = { 0 };
    struct check check;
    bool hashed = from->digest_size != 0;
    struct http_file file = { .fd = fd, .size = HTTP_SIZE_UNKNOWN, .said = HTTP_SIZE_UNKNOWN, .by_content = hashed, .data = arrived };
    const struct http_request request = { .url = from->url, .authorization = from->authorization };
    struct arrival arrival = { .m = m, .file = &file, .check = &check };
    file.user = &arrival;
    if (fetch_client(&client, m->o, err) < 0)
        return -1;
    check_init(&check, from);
    int result = http_download(client, &request, &file, &response, err);
    if (result == 0 && !http_ok(&response) && response.status != 416)
        result = fetch_status(from->url, &response, err);
    if (result == 0)
        result = check_end(&check, err);
    check_clear(&check);
    return result;
}

/* ---- the other way ---------------------------------------------------------------------------------------------------------------- */

#define ANSWER_MAX ((size_t)1 << 20)

struct departure {
    struct move *m;
    struct check *check;
    int fd;
    uint64_t size;
};

/* The last bytes go only when all of them have the right hash, so that the server never has a whole file of the wrong ones. */
static int departing(void *user, uint64_t at, void *p, size_t n, struct gv_error *err)
{
    struct departure *d = user;
    ssize_t got = gv_pread_full(d->fd, p, n, at);
    if (got < 0)
        return gv_error_errno(err, "what is to be sent cannot be read");
    if ((size_t)got < n)
        return gv_error_set(err, GV_E_IO, 0, "what is to be sent has become shorter");
    if (at == 0)
        check_begin(d->check);
    check_add(d->check, p, n);
    if (at + n == d->size && check_end(d->check, err) < 0)
        return -1;
    d->m->done = at;
    return move_more(d->m, n, err);
}

int fetch_out(struct move *m, int fd, uint64_t size, const struct location *from, const struct location *to, struct gv_error *err)
{
    CLEANUP(http_client) struct http_client *client = NULL;
    cleanup_response struct http_response response = { 0 };
    struct check check;
    struct departure departure = { .m = m, .check = &check, .fd = fd, .size = size };
    const struct http_request request = { .method = "PUT",
                                          .url = to->url,
                                          .authorization = to->authorization,
                                          .body_size = size,
                                          .body_type = "application/octet-stream",
                                          .read_body = size ? departing : NULL,
                                          .user = &departure };
    if (fetch_client(&client, m->o, err) < 0)
        return -1;
    m->total = size;
    check_init(&check, from);
    /* An empty file is complete before its first byte. */
    int result = size ? 0 : check_end(&check, err);
    if (result == 0)
        result = http_fetch(client, &request, ANSWER_MAX, &response, err);
    if (result == 0 && !http_ok(&response))
        result = fetch_status(to->url, &response, err);
    check_clear(&check);
    return result;
}
