/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One exchange. libcurl does the connection, TLS and the framing of HTTP; what it does is narrowed down here: redirects are followed by us,
 * one at a time, so that it is certain which host sees which header; error bodies, headers and their number are bounded; SIGPIPE, which
 * OpenSSL can raise, is held back in the thread that works.
 */
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/curl.h"
#include "http/exchange.h"

#define IDLE_MAX 8 /* handles with their connections that are kept */
#define REDIRECTS_MAX 10
#define HEADER_BYTES_MAX ((size_t)128 << 10)
#define HEADERS_MAX 200
#define ERROR_BODY_MAX ((size_t)16 << 10)     /* kept */
#define ERROR_BODY_READ_MAX ((size_t)1 << 20) /* read, so that the connection can be used again */
#define CONNECT_MS 20000
#define STALL_MS 30000
#define BUFFER_SIZE (256L << 10)

struct http_client {
    const struct curl_api *api;
    struct http_options options;
    char *unix_socket, *ca_file, *cert_file, *key_file;
    pthread_mutex_t lock; /* of what follows */
    CURL *idle[IDLE_MAX];
    size_t idle_count;
    atomic_bool contacted; /* some server has answered: that none can be reached is not the last word any more */
};

struct transfer {
    struct http_client *client;
    const struct http_request *request;
    uint64_t sent; /* of a body that is read piece by piece */
    CURL *curl;
    const struct http_sink *sink;
    struct http_response *out;
    struct gv_error failure; /* why a callback ended it */
    bool failed, begun, enough;
    size_t header_bytes, dropped;
    char detail[CURL_ERROR_SIZE];
};

/* Holds SIGPIPE back in this thread: OpenSSL writes to connections that may be gone, also when they are closed. */
struct quiet {
    sigset_t before;
    bool was_pending;
};

static void quiet_begin(struct quiet *q)
{
    sigset_t pipe, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    q->was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &q->before);
}

static void quiet_end(const struct quiet *q)
{
    sigset_t pipe, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    if (!q->was_pending && sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe, NULL, &(struct timespec){ 0 });
    pthread_sigmask(SIG_SETMASK, &q->before, NULL);
}

static void cleanup_handle(const struct http_client *c, CURL *h)
{
    struct quiet q;
    c->api->easy_setopt(h, CURLOPT_NOSIGNAL, 1L); /* it would change what the whole process does about the signal */
    quiet_begin(&q);
    c->api->easy_cleanup(h);
    quiet_end(&q);
}

static char *copy_or_null(const char *s)
{
    return s && *s ? gv_strdup(s) : NULL;
}

int http_client_new(struct http_client **out, const struct http_options *options, struct gv_error *err)
{
    const struct curl_api *api = curl_load(err);
    if (!api)
        return -1;
    struct http_client *c = gv_new(struct http_client);
    c->api = api;
    c->options = *options;
    c->unix_socket = copy_or_null(options->unix_socket);
    c->ca_file = copy_or_null(options->ca_file);
    c->cert_file = copy_or_null(options->cert_file);
    c->key_file = copy_or_null(options->key_file);
    if (!c->options.connect_ms)
        c->options.connect_ms = CONNECT_MS;
    if (!c->options.stall_ms)
        c->options.stall_ms = STALL_MS;
    if (!c->options.attempts)
        c->options.attempts = 5;
    if (!c->options.wait_ms)
        c->options.wait_ms = 500;
    pthread_mutex_init(&c->lock, NULL);
    CURL *first = api->easy_init();
    if (!first) {
        http_client_free(c);
        return gv_error_set(err, GV_E_INTERNAL, 0, "libcurl cannot be initialised");
    }
    c->idle[c->idle_count++] = first;
    *out = c;
    return 0;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->idle_count; i++)
        cleanup_handle(c, c->idle[i]);
    pthread_mutex_destroy(&c->lock);
    free(c->unix_socket);
    free(c->ca_file);
    free(c->cert_file);
    free(c->key_file);
    free(c);
}

const struct http_options *http_client_options(const struct http_client *c)
{
    return &c->options;
}

static CURL *take_handle(struct http_client *c)
{
    CURL *h = NULL;
    pthread_mutex_lock(&c->lock);
    if (c->idle_count)
        h = c->idle[--c->idle_count];
    pthread_mutex_unlock(&c->lock);
    return h ? h : c->api->easy_init();
}

static void give_handle(struct http_client *c, CURL *h)
{
    c->api->easy_reset(h); /* the options; connections stay */
    pthread_mutex_lock(&c->lock);
    if (c->idle_count < IDLE_MAX) {
        c->idle[c->idle_count++] = h;
        h = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    if (h)
        cleanup_handle(c, h);
}

/* ---- responses ---- */

void http_response_clear(struct http_response *r)
{
    free(r->type);
    gv_strv_clear(&r->headers);
    gv_buf_clear(&r->body);
    *r = (struct http_response){ 0 };
}

const char *http_response_header(const struct http_response *r, const char *name, size_t *at)
{
    size_t n = strlen(name);
    while (*at < r->headers.count) {
        const char *h = r->headers.items[(*at)++];
        if (!strncmp(h, name, n) && h[n] == ':')
            return h + n + 1 + strspn(h + n + 1, " \t");
    }
    return NULL;
}

static void reset_response(struct http_response *r)
{
    http_response_clear(r);
    r->length = -1;
    r->type = gv_strdup("");
}

static int fail(struct transfer *t, enum gv_code code, const char *text)
{
    gv_error_set(&t->failure, code, 0, "%s", text);
    t->failed = true;
    return -1;
}

/* Keeps a header with its name in lower case. */
static void keep_header(struct http_response *r, const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n);
    if (!colon || memchr(line, '\0', n))
        return;
    char *copy = gv_strndup(line, n);
    for (char *c = copy; *c != ':'; c++)
        *c = (char)tolower((unsigned char)*c);
    gv_strv_take(&r->headers, copy);
}

static size_t on_header(char *p, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t n = size * count, whole = n;
    t->header_bytes += n;
    if (t->header_bytes > HEADER_BYTES_MAX || t->out->headers.count >= HEADERS_MAX) {
        fail(t, GV_E_LIMIT, "the answer has too many headers");
        return 0;
    }
    while (n && (p[n - 1] == '\n' || p[n - 1] == '\r' || p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    if (n >= 5 && !strncmp(p, "HTTP/", 5)) {
        atomic_store(&t->client->contacted, true);
        reset_response(t->out); /* of several (100 Continue) the last one counts */
    } else if (n) {
        keep_header(t->out, p, n);
    }
    return whole;
}

static int begin(struct transfer *t)
{
    struct http_response *r = t->out;
    if (t->begun)
        return 0;
    t->begun = true;
    t->client->api->easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &r->status);
    size_t at = 0;
    const char *type = http_response_header(r, "content-type", &at);
    if (type) {
        free(r->type);
        r->type = gv_strndup(type, strcspn(type, "; \t,"));
        for (char *c = r->type; *c; c++)
            *c = (char)tolower((unsigned char)*c);
    }
    at = 0;
    const char *length = http_response_header(r, "content-length", &at);
    if (length && isdigit((unsigned char)*length)) {
        errno = 0;
        char *end;
        long long n = strtoll(length, &end, 10);
        if (errno || *end)
            return fail(t, GV_E_PROTOCOL, "the answer has a Content-Length that is no number");
        r->length = n;
    }
    if (!http_ok(r) || !t->sink->begin)
        return 0;
    if (t->sink->begin(t->sink->user, r, &t->failure) == 0)
        return 0;
    t->failed = true;
    return -1;
}

static size_t on_data(char *p, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t n = size * count;
    if (begin(t) < 0)
        return 0;
    if (http_ok(t->out)) {
        if (t->sink->data(t->sink->user, p, n, &t->failure) == 0)
            return n;
        t->failed = true;
        return 0;
    }
    size_t room = ERROR_BODY_MAX - t->out->body.len, kept = n < room ? n : room;
    gv_buf_add(&t->out->body, p, kept);
    t->dropped += n - kept;
    t->enough = t->dropped > ERROR_BODY_READ_MAX;
    return t->enough ? 0 : n;
}

static size_t on_read(char *p, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    uint64_t left = t->request->body_size - t->sent;
    size_t n = left < size * count ? (size_t)left : size * count;
    if (n && t->request->read_body(t->request->user, t->sent, p, n, &t->failure) < 0) {
        t->failed = true;
        return CURL_READFUNC_ABORT;
    }
    t->sent += n;
    return n;
}

/* A connection that was kept may turn out to be gone: then libcurl sends the body again on another one. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
    struct transfer *t = user;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->request->body_size)
        return CURL_SEEKFUNC_FAIL;
    t->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *user, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    struct transfer *t = user;
    return http_is_cancelled(&t->client->options);
}

/* ---- one hop ---- */

static int add_header(const struct curl_api *api, struct curl_slist **list, const char *name, const char *value, struct gv_error *err)
{
    cleanup_free char *line = name ? gv_asprintf("%s: %s", name, value) : gv_strdup(value);
    for (const char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return gv_error_set(err, GV_E_PROTOCOL, 0, "the header %s would have control characters", name ? name : "of a request");
    struct curl_slist *more = api->slist_append(*list, line);
    if (!more)
        return gv_error_set(err, GV_E_INTERNAL, 0, "libcurl has no memory");
    *list = more;
    return 0;
}

/* Setting an option fails only when there is no memory, or libcurl was built without the feature: then the request must not be made. */
struct setting {
    const struct curl_api *api;
    CURL *curl;
    CURLcode status;
};
#define SET(s, option, value)                                                                                                              \
    do {                                                                                                                                   \
        if ((s)->status == CURLE_OK)                                                                                                       \
            (s)->status = (s)->api->easy_setopt((s)->curl, option, value);                                                                 \
    } while (0)

static void set_client(struct setting *s, const struct http_client *c, const char *url)
{
    const struct http_options *o = &c->options;
    bool local = http_is_loopback(url);
    SET(s, CURLOPT_USERAGENT, "gvmkit/" GVMKIT_VERSION);
    SET(s, CURLOPT_NOSIGNAL, 1L);
    SET(s, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(s, CURLOPT_FOLLOWLOCATION, 0L);
    SET(s, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(s, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(s, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
    SET(s, CURLOPT_LOW_SPEED_LIMIT, (long)HTTP_STALL_RATE);
    SET(s, CURLOPT_LOW_SPEED_TIME, (long)((o->stall_ms + 999) / 1000));
    SET(s, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
    SET(s, CURLOPT_TCP_KEEPALIVE, 1L);
    if (c->unix_socket)
        SET(s, CURLOPT_UNIX_SOCKET_PATH, c->unix_socket);
    if (c->unix_socket || local)
        SET(s, CURLOPT_PROXY, "");
    if (c->ca_file)
        SET(s, CURLOPT_CAINFO, c->ca_file);
    if (c->cert_file)
        SET(s, CURLOPT_SSLCERT, c->cert_file);
    if (c->key_file)
        SET(s, CURLOPT_SSLKEY, c->key_file);
    if (o->insecure || (o->insecure_loopback && local)) {
        SET(s, CURLOPT_SSL_VERIFYPEER, 0L);
        SET(s, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_transfer(struct setting *s, struct transfer *t)
{
    SET(s, CURLOPT_ERRORBUFFER, t->detail);
    SET(s, CURLOPT_HEADERFUNCTION, on_header);
    SET(s, CURLOPT_HEADERDATA, t);
    SET(s, CURLOPT_WRITEFUNCTION, on_data);
    SET(s, CURLOPT_WRITEDATA, t);
    SET(s, CURLOPT_NOPROGRESS, 0L);
    SET(s, CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(s, CURLOPT_XFERINFODATA, t);
    if (t->sink->whole_ms)
        SET(s, CURLOPT_TIMEOUT_MS, (long)t->sink->whole_ms);
}

static bool sends_body(const char *method)
{
    return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
}

static void set_request(struct setting *s, struct transfer *t, const char *url, const char *method, struct curl_slist *headers)
{
    const struct http_request *r = t->request;
    SET(s, CURLOPT_URL, url);
    SET(s, CURLOPT_HTTPHEADER, headers);
    if (!strcmp(method, "HEAD")) {
        SET(s, CURLOPT_NOBODY, 1L);
    } else if (sends_body(method)) {
        SET(s, CURLOPT_POST, 1L);
        if (strcmp(method, "POST") != 0)
            SET(s, CURLOPT_CUSTOMREQUEST, method);
        if (r->read_body) {
            SET(s, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_SIZE);
            SET(s, CURLOPT_READFUNCTION, on_read);
            SET(s, CURLOPT_READDATA, t);
            SET(s, CURLOPT_SEEKFUNCTION, on_seek);
            SET(s, CURLOPT_SEEKDATA, t);
        } else {
            SET(s, CURLOPT_POSTFIELDS, r->body ? r->body : "");
        }
        SET(s, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_size);
    }
}

static CURLcode perform(const struct curl_api *api, CURL *curl)
{
    struct quiet q;
    quiet_begin(&q);
    CURLcode code = api->easy_perform(curl);
    quiet_end(&q);
    return code;
}

/* Whether a connection was made at all. */
static bool had_connection(const struct curl_api *api, CURL *curl)
{
    curl_off_t connected = 0;
    api->easy_getinfo(curl, CURLINFO_PRETRANSFER_TIME_T, &connected);
    return connected > 0;
}

/* Puts into words what libcurl says, and whether it can be better the next time. */
static enum http_outcome explain(struct transfer *t, CURLcode code, const char *url, struct gv_error *err)
{
    cleanup_free char *origin = http_origin(url);
    const char *where = t->client->unix_socket ? t->client->unix_socket : origin ? origin : url;
    bool contacted = atomic_load(&t->client->contacted);
    long sys = 0;
    t->client->api->easy_getinfo(t->curl, CURLINFO_OS_ERRNO, &sys);
    const char *detail = t->detail[0] ? t->detail : t->client->api->easy_strerror(code);
    switch ((int)code) {
    case CURLE_ABORTED_BY_CALLBACK:
        gv_error_set(err, GV_E_CANCELLED, 0, "`%s`: interrupted", where);
        return HTTP_REFUSED;
    case CURLE_COULDNT_CONNECT:
        gv_error_set(err, GV_E_IO, (int)sys, "cannot connect to `%s`", where);
        return contacted ? HTTP_LOST : HTTP_REFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        gv_error_set(err, GV_E_IO, 0, "cannot connect to `%s`: %s", where, detail);
        return contacted ? HTTP_LOST : HTTP_REFUSED;
    case CURLE_OPERATION_TIMEDOUT:
        if (had_connection(t->client->api, t->curl)) {
            gv_error_set(err, GV_E_TIMEOUT, 0, "`%s` answers too slowly or not at all", where);
            return HTTP_LOST;
        }
        gv_error_set(err, GV_E_TIMEOUT, 0, "`%s` does not answer", where);
        return contacted ? HTTP_LOST : HTTP_REFUSED;
    case CURLE_PEER_FAILED_VERIFICATION:
        gv_error_set(err, GV_E_IO, 0, "`%s` does not prove who it is: %s", where, detail);
        return HTTP_REFUSED;
    case CURLE_SSL_CONNECT_ERROR:
        gv_error_set(err, GV_E_IO, 0, "no encrypted connection to `%s`: %s", where, detail);
        return contacted ? HTTP_LOST : HTTP_REFUSED;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        gv_error_set(err, GV_E_IO, 0, "the connection to `%s` was lost: %s", where, detail);
        return HTTP_LOST;
    case CURLE_URL_MALFORMAT:
    case CURLE_LOGIN_DENIED:
        gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is not a URL that can be fetched: %s", url, detail);
        return HTTP_REFUSED;
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        gv_error_set(err, GV_E_IO, 0, "the certificates for `%s` cannot be used: %s", where, detail);
        return HTTP_REFUSED;
    default:
        gv_error_set(err, GV_E_PROTOCOL, 0, "`%s`: %s", where, detail);
        return HTTP_REFUSED;
    }
}

struct hop {
    const char *url, *method, *range, *if_range;
    bool authorized; /* the header Authorization may go along */
};

static int make_headers(const struct curl_api *api, struct curl_slist **list, const struct http_request *r, const struct hop *hop,
                        struct gv_error *err)
{
    for (const char *const *h = r->headers; h && *h; h++)
        if (add_header(api, list, NULL, *h, err) < 0)
            return -1;
    if (r->authorization && hop->authorized && add_header(api, list, "Authorization", r->authorization, err) < 0)
        return -1;
    if ((hop->range && add_header(api, list, "Range", hop->range, err) < 0) ||
        (hop->if_range && add_header(api, list, "If-Range", hop->if_range, err) < 0))
        return -1;
    if (!sends_body(hop->method))
        return 0;
    if (r->body_type && add_header(api, list, "Content-Type", r->body_type, err) < 0)
        return -1;
    return add_header(api, list, NULL, "Expect:", err);
}

static enum http_outcome send_hop(struct transfer *t, const struct hop *hop, struct curl_slist *headers, char **redirect,
                                  struct gv_error *err)
{
    const struct curl_api *api = t->client->api;
    struct setting s = { .api = api, .curl = t->curl };
    api->easy_reset(t->curl);
    t->begun = t->failed = t->enough = false;
    t->header_bytes = t->dropped = 0;
    t->sent = 0;
    t->detail[0] = '\0';
    reset_response(t->out);
    set_client(&s, t->client, hop->url);
    set_transfer(&s, t);
    set_request(&s, t, hop->url, hop->method, headers);
    if (s.status != CURLE_OK) {
        gv_error_set(err, GV_E_INTERNAL, 0, "libcurl: %s", api->easy_strerror(s.status));
        return HTTP_REFUSED;
    }
    CURLcode code = perform(api, t->curl);
    if (code == CURLE_OK)
        begin(t); /* there may have been no body */
    if (t->failed) {
        if (err)
            *err = t->failure;
        return HTTP_REFUSED;
    }
    if (code != CURLE_OK && !t->enough)
        return explain(t, code, hop->url, err);
    char *to = NULL;
    if (!t->client->unix_socket && api->easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &to) == CURLE_OK && to)
        *redirect = gv_strdup(to);
    return HTTP_DONE;
}

static enum http_outcome one_hop(struct transfer *t, const struct hop *hop, char **redirect, struct gv_error *err)
{
    struct curl_slist *headers = NULL;
    enum http_outcome outcome = HTTP_REFUSED;
    if (make_headers(t->client->api, &headers, t->request, hop, err) == 0)
        outcome = send_hop(t, hop, headers, redirect, err);
    t->client->api->slist_free_all(headers);
    return outcome;
}

/* What has a body is sent again elsewhere only where that was meant, and does no harm: PUT. */
static bool may_follow(const char *method, long status)
{
    return !sends_body(method) || status == 303 || (strcmp(method, "PUT") == 0 && (status == 307 || status == 308));
}

enum http_outcome http_exchange(struct http_client *c, const struct http_request *request, const char *range, const char *if_range,
                                const struct http_sink *sink, struct http_response *out, struct gv_error *err)
{
    struct transfer t = { .client = c, .request = request, .sink = sink, .out = out };
    struct hop hop = { .method = request->method ? request->method : "GET", .range = range, .if_range = if_range, .authorized = true };
    cleanup_free char *url = gv_strdup(request->url), *home = http_origin(url), *next = NULL;
    if (!home) {
        gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is not a URL of http or https without a user name", url);
        return HTTP_REFUSED;
    }
    t.curl = take_handle(c);
    if (!t.curl) {
        gv_error_set(err, GV_E_INTERNAL, 0, "libcurl has no memory");
        return HTTP_REFUSED;
    }
    enum http_outcome outcome;
    for (int redirects = 0;; redirects++) {
        hop.url = url;
        outcome = one_hop(&t, &hop, &next, err);
        if (outcome != HTTP_DONE || !next || !may_follow(hop.method, out->status))
            break;
        cleanup_free char *from = http_origin(url), *to = http_origin(next);
        outcome = HTTP_REFUSED;
        if (!to || (from && !strncmp(from, "https:", 6) && strncmp(to, "https:", 6) != 0)) {
            gv_error_set(err, GV_E_PROTOCOL, 0, "`%s` redirects to `%.200s`, which %s", from, next,
                         to ? "is not encrypted" : "cannot be fetched");
            break;
        }
        if (redirects == REDIRECTS_MAX) {
            gv_error_set(err, GV_E_PROTOCOL, 0, "`%s` redirects more than %d times", home, REDIRECTS_MAX);
            break;
        }
        hop.authorized = hop.authorized && !strcmp(home, to);
        hop.method = out->status == 303 && sends_body(hop.method) ? "GET" : hop.method;
        free(url);
        url = steal_ptr(next);
    }
    give_handle(c, t.curl);
    return outcome;
}
