/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A request from its first line to its line in the log. The library calls http_handle() first when the headers are there, then for each piece of the
 * body, then once at its end, and again when a connection is resumed; what is between is kept in struct request.
 *
 * An answer that is known before the body has come (wrong path, wrong field) waits until the client has sent it, as far as that is not too much: a client
 * that is still sending would find the connection closed instead of the reason.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "serve/server.h"

#define TARGET_MAX ((size_t)512)        /* bytes of it in the log */
#define DRAIN_MAX ((uint64_t)128 << 20) /* bytes received for nothing but the client's understanding */
#define FORM_MORE ((uint64_t)64 << 10)  /* bytes of a form beside its file */

int64_t server_now(void)
{
    return (int64_t)time(NULL);
}

uint64_t server_ticks(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- answers ---- */

bool answer_response(struct request *r, unsigned status, struct MHD_Response *response, uint64_t length)
{
    const struct mhd_api *mhd = r->server->mhd;
    if (r->response) {
        if (response)
            mhd->destroy_response(response);
        return false;
    }
    r->response = response;
    r->status = status;
    r->length = length;
    if (response && r->server->ending)
        mhd->add_response_header(response, "Connection", "close");
    return true;
}

void answer_header(struct request *r, const char *name, const char *value)
{
    if (r->response)
        r->server->mhd->add_response_header(r->response, name, value);
}

void answer_bytes(struct request *r, unsigned status, const char *type, struct gv_buf *body)
{
    size_t n = body->len;
    void *data = gv_buf_str(body);
    *body = (struct gv_buf){ 0 };
    if (!answer_response(r, status, r->server->mhd->create_response_from_buffer(n, data, MHD_RESPMEM_MUST_FREE), n))
        return;
    answer_header(r, "Content-Type", type);
    answer_header(r, "X-Content-Type-Options", "nosniff");
}

void answer_text(struct request *r, unsigned status, const char *fmt, ...)
{
    struct gv_buf body = { 0 };
    char text[1100];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    gv_buf_add(&body, text, strlen(text));
    answer_bytes(r, status, "text/plain; charset=utf-8", &body);
}

void answer_error(struct request *r, const struct gv_error *err)
{
    static const struct {
        enum gv_code code;
        unsigned status;
    } statuses[] = { { GV_E_NOT_FOUND, 404 }, { GV_E_USAGE, 400 }, { GV_E_FORMAT, 422 }, { GV_E_UNSUPPORTED, 422 },
                     { GV_E_CORRUPT, 422 },   { GV_E_LIMIT, 413 }, { GV_E_BUSY, 409 } };
    if (err->sys == ENOSPC || err->sys == EDQUOT) {
        gv_warn(r->server->log, "%s", err->msg);
        answer_text(r, 507, "the registry's disk is full; try again later");
        return;
    }
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (err->code == statuses[i].code && !err->sys) {
            answer_text(r, statuses[i].status, "%s", err->msg);
            return;
        }
    /* Ours, and nothing to the client: what it is may tell of the machine. */
    gv_warn(r->server->log, "%s", err->msg);
    answer_text(r, 500, "the registry could not do that, and has told its owner why");
}

/* ---- what a request says ---- */

const char *request_argument(struct request *r, const char *name)
{
    return r->server->mhd->lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *request_header(struct request *r, const char *name)
{
    return r->server->mhd->lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

void request_base_url(struct request *r, bool https, struct gv_buf *out)
{
    const struct serve_options *o = r->server->options;
    const char *url = https ? (o->https_url ? o->https_url : o->http_url) : (o->http_url ? o->http_url : o->https_url);
    if (url) {
        gv_buf_addf(out, "%s", url);
        return;
    }
    const char *host = request_header(r, "Host"), *scheme = o->trust_proxy ? request_header(r, "X-Forwarded-Proto") : NULL;
    bool tls = o->tls_cert || (scheme && strcasecmp(scheme, "https") == 0);
    if (host && host_valid(host))
        gv_buf_addf(out, "%s://%s", tls ? "https" : "http", host);
    else
        gv_buf_addf(out, "%s", r->server->url);
}

struct db *request_db(struct request *r)
{
    struct gv_error err = GV_ERROR_INIT;
    struct db *db = db_take(r->server->dbs, &err);
    if (!db)
        answer_error(r, &err);
    return db;
}

static enum MHD_Result keep_last(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    if (value && strcasecmp(name, "X-Forwarded-For") == 0)
        *(const char **)cls = value;
    return MHD_YES;
}

/* Behind a proxy the last address is the one that the proxy has seen itself. Some proxies write it behind those before it, others in a line of its own. */
static struct address client_address(struct request *r)
{
    const union MHD_ConnectionInfo *info = r->server->mhd->get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct address address = address_of(info ? info->client_addr : NULL), told;
    const char *forwarded = NULL;
    if (r->server->options->trust_proxy)
        r->server->mhd->get_connection_values(r->connection, MHD_HEADER_KIND, keep_last, &forwarded);
    if (!forwarded)
        return address;
    const char *last = strrchr(forwarded, ',');
    last = last ? last + 1 : forwarded;
    last += strspn(last, " \t");
    return address_parse(last, &told) ? told : address;
}

/* ---- the way of a request ---- */

static struct conn *conn_of(const struct server *s, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = s->mhd->get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void request_free(struct request *r)
{
    if (r->free_user)
        r->free_user(r);
    form_free(r->form);
    if (r->response)
        r->server->mhd->destroy_response(r->response);
    gv_buf_clear(&r->body);
    free(r->target);
    free(r->url);
    free(r);
}

/* The library says nothing of the end of a request whose arguments have no room in its memory: it is released with the next one, or the connection. */
static void forget(struct conn *conn)
{
    if (conn->request)
        request_free(conn->request);
    conn->request = NULL;
}

void *http_begin(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct request *r = gv_new(struct request);
    r->server = cls;
    r->conn = conn_of(cls, connection);
    if (r->conn) {
        forget(r->conn);
        r->conn->request = r;
    }
    r->target = gv_strndup(uri, strnlen(uri, TARGET_MAX));
    r->method = "-";
    r->has_nul = strstr(uri, "%00") != NULL;
    clock_gettime(CLOCK_MONOTONIC, &r->began);
    return r;
}

static void set_conn(struct request *r, enum conn_state state)
{
    if (r->conn)
        conns_set(&r->server->conns, r->conn, state, server_ticks());
}

static unsigned method_of(struct request *r, const char *method)
{
    static const struct {
        const char *name;
        unsigned bit;
    } methods[] = { { "GET", METHOD_GET }, { "HEAD", METHOD_HEAD }, { "POST", METHOD_POST } };
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(method, methods[i].name) == 0) {
            r->method = methods[i].name;
            return methods[i].bit;
        }
    return 0;
}

static uint64_t max_body(const struct request *r)
{
    return !r->route ? DRAIN_MAX : r->route->max_body ? r->route->max_body : r->server->options->max_image + FORM_MORE;
}

static void too_large(struct request *r)
{
    answer_text(r, 413, "the request is larger than the %" PRIu64 " bytes allowed", max_body(r));
}

static void find_route(struct request *r, unsigned method)
{
    unsigned allowed = 0;
    uint64_t length = 0;
    r->route = route_find(r->url, method, &r->rest, &allowed);
    if (!r->route && !allowed) {
        answer_text(r, 404, "there is nothing here; this is a registry of gvmkit");
        return;
    }
    if (!r->route) {
        answer_text(r, 405, "the method %s is not for this path", r->method);
        answer_header(r, "Allow", allowed & METHOD_POST ? "POST" : "GET, HEAD");
        return;
    }
    const char *told = request_header(r, "Content-Length");
    if (told && (!form_number(told, UINT64_MAX, &length) || length > max_body(r)))
        too_large(r);
    else if (r->route->body == BODY_FORM && !(r->form = form_new(r->server->mhd, r->connection, r->route->file, r)))
        answer_text(r, 415, "this has to be a form (multipart/form-data)");
}

static enum MHD_Result queue(struct request *r)
{
    struct metrics *m = &r->server->metrics;
    if (!r->response)
        answer_text(r, 500, "the registry has no answer");
    if (r->route && (r->route->flags & ROUTE_OPEN))
        answer_header(r, "Access-Control-Allow-Origin", "*");
    r->state = REQUEST_DONE;
    set_conn(r, CONN_BUSY);
    m->responses[r->status / 100 < 6 ? r->status / 100 : 5]++;
    if (!r->head)
        m->promised += r->length;
    return r->server->mhd->queue_response(r->connection, r->status, r->response);
}

static enum MHD_Result begin(struct request *r, struct MHD_Connection *connection, const char *url, const char *method)
{
    struct server *s = r->server;
    r->connection = connection;
    r->url = gv_strdup(url);
    r->state = REQUEST_RECEIVING;
    r->address = client_address(r);
    unsigned bit = method_of(r, method);
    r->head = bit == METHOD_HEAD;
    s->active++;
    set_conn(r, CONN_RECEIVING);
    uint64_t wait = limits_take(s->rate, &r->address, server_ticks());
    if (wait) {
        char seconds[24];
        snprintf(seconds, sizeof(seconds), "%" PRIu64, wait / 1000 + 1);
        answer_text(r, 429, "too many requests from this address; wait %s s", seconds);
        answer_header(r, "Retry-After", seconds);
        s->metrics.limited++;
    } else if (r->has_nul) {
        answer_text(r, 400, "there is a zero byte in the URL");
    } else {
        find_route(r, bit);
    }
    /* More than would be received for nothing: then the connection ends with the answer. */
    uint64_t length = 0;
    const char *told = request_header(r, "Content-Length");
    if (r->response && told && !form_number(told, DRAIN_MAX, &length)) {
        answer_header(r, "Connection", "close");
        return queue(r);
    }
    return MHD_YES;
}

static enum MHD_Result receive(struct request *r, const char *data, size_t n)
{
    r->received += n;
    r->server->metrics.received += n;
    if (r->conn)
        conns_received(&r->server->conns, r->conn, n);
    if (!r->response && r->received > max_body(r))
        too_large(r);
    if (r->response && r->received > DRAIN_MAX)
        return MHD_NO;
    if (r->form && !r->response)
        form_add(r->form, data, n);
    else if (r->route && r->route->body == BODY_BYTES && !r->response)
        gv_buf_add(&r->body, data, n);
    return MHD_YES;
}

static void work(void *arg)
{
    struct request *r = arg;
    r->route->answer(r);
    r->server->mhd->resume_connection(r->connection);
}

static enum MHD_Result received_all(struct request *r)
{
    struct server *s = r->server;
    if (r->form && !form_end(r->form))
        answer_text(r, 400, "this is not a form that the registry understands: cut short, a field twice, or a text that is too long");
    if (r->response)
        return queue(r);
    if (r->route->body == BODY_NONE) {
        r->route->answer(r);
        return queue(r);
    }
    r->state = REQUEST_WORKING;
    set_conn(r, CONN_BUSY);
    s->mhd->suspend_connection(r->connection);
    if (!jobs_submit(r->route->body == BODY_PAGE ? s->pages : s->jobs, work, r)) {
        answer_text(r, 503, "the registry has too much to do, or is about to end; try again later");
        answer_header(r, "Retry-After", "5");
        s->mhd->resume_connection(r->connection);
    }
    return MHD_YES;
}

enum MHD_Result http_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                            const char *upload_data, size_t *upload_data_size, void **request)
{
    (void)cls;
    (void)version;
    struct request *r = *request;
    if (!r)
        return MHD_NO;
    switch (r->state) {
    case REQUEST_NEW:
        return begin(r, connection, url, method);
    case REQUEST_RECEIVING:
        if (*upload_data_size == 0)
            return received_all(r);
        enum MHD_Result result = receive(r, upload_data, *upload_data_size);
        *upload_data_size = 0;
        return result;
    case REQUEST_WORKING:
        return queue(r);
    case REQUEST_DONE:
        break;
    }
    return MHD_YES;
}

void http_completed(void *cls, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode code)
{
    (void)connection;
    struct server *s = cls;
    struct request *r = *request;
    if (!r)
        return;
    *request = NULL;
    if (r->conn)
        r->conn->request = NULL;
    bool complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && r->state == REQUEST_DONE;
    if (r->state != REQUEST_NEW) {
        set_conn(r, CONN_IDLE);
        s->metrics.aborted += !complete;
        http_log(r, complete);
        s->active--;
    }
    request_free(r);
}

void http_connection(void *cls, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code)
{
    struct server *s = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = s->mhd->get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (!info)
            return;
        struct conn *conn = conns_add(&s->conns, info->connect_fd, server_ticks());
        info = s->tls ? s->mhd->get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION) : NULL;
        if (info && info->tls_session)
            conn->certificate = tls_certify(s->tls, info->tls_session);
        *context = conn;
    } else if (*context) {
        struct conn *conn = *context;
        forget(conn);
        tls_give_back(conn->certificate);
        conns_remove(&s->conns, conn);
        *context = NULL;
    }
}

/* ---- the log ---- */

/* Bytes from outside, as a JSON string of ASCII. */
static void add_json(struct gv_buf *out, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            gv_buf_addf(out, "\\u%04x", c);
        else
            gv_buf_add(out, s, 1);
    }
}

void http_log(struct request *r, bool complete)
{
    if (r->server->options->log == SERVE_LOG_NONE)
        return;
    cleanup_buf struct gv_buf line = { 0 };
    char address[INET6_ADDRSTRLEN], when[32];
    struct timespec now, end;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_MONOTONIC, &end);
    gmtime_r(&now.tv_sec, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    address_format(&r->address, address);
    double ms = (double)(end.tv_sec - r->began.tv_sec) * 1e3 + (double)(end.tv_nsec - r->began.tv_nsec) / 1e6;
    const char *route = r->route ? r->route->name : "-";
    uint64_t length = r->head ? 0 : r->length;
    if (r->server->options->log == SERVE_LOG_JSON) {
        gv_buf_addf(&line, "{\"time\":\"%s.%03ldZ\",\"address\":\"%s\",\"method\":\"%s\",\"target\":\"", when, now.tv_nsec / 1000000,
                    address, r->method);
        add_json(&line, r->target);
        gv_buf_addf(&line,
                    "\",\"route\":\"%s\",\"status\":%u,\"received\":%" PRIu64 ",\"length\":%" PRIu64 ",\"ms\":%.3f,\"complete\":%s}\n",
                    route, r->status, r->received, length, ms, complete ? "true" : "false");
    } else {
        gv_buf_addf(&line, "%s.%03ldZ %s %s ", when, now.tv_nsec / 1000000, address, r->method);
        add_json(&line, r->target);
        gv_buf_addf(&line, " %u %" PRIu64 " bytes in, %" PRIu64 " out, %.3f ms%s\n", r->status, r->received, length, ms,
                    complete ? "" : ", broken off");
    }
    gv_write_full(STDERR_FILENO, line.data, line.len); /* one write, so that lines stay whole; when nobody takes them, so be it */
}
