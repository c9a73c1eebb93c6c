/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests into memory: statuses, headers, redirects, authorization, repetition, limits, interruption. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "http/http.h"
#include "server.h"

static struct http_client *client_with(struct http_options o)
{
    struct http_client *c;
    if (!o.wait_ms)
        o.wait_ms = 1;
    assert_int_equal(http_client_new(&c, &o, NULL), 0);
    return c;
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* One request of the server's function with the default client. */
static int fetch_with(struct http_client *c, struct server *s, struct http_request q, const char *path, size_t max, struct http_response *r,
                      struct gv_error *err)
{
    cleanup_free char *url = server_url(s, path);
    q.url = url;
    return http_fetch(c, &q, max, r, err);
}

/* ---- what a plain server says ---- */

static void plain(void *user, struct call *c)
{
    (void)user;
    if (!strcmp(c->path, "/ok"))
        call_text(c, 200, "Content-Type: Application/JSON; charset=utf-8\r\nX-One: 1\r\nx-one:   2\r\nETag: \"e\"\r\n", "hello");
    else if (!strcmp(c->path, "/echo"))
        call_text(c, 200, NULL, c->head);
    else if (!strcmp(c->path, "/post"))
        call_text(c, 200, NULL, c->body);
    else if (!strcmp(c->path, "/empty"))
        call_text(c, 204, NULL, "");
    else if (!strcmp(c->path, "/chunked"))
        call_print(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    else if (!strcmp(c->path, "/interim"))
        call_print(c, "HTTP/1.1 103 Early\r\nX-Early: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Late: 1\r\n\r\nok");
    else
        call_text(c, 404, NULL, "{\"message\":\"no\"}");
}

static void answers(void **state)
{
    (void)state;
    struct server *s = server_start(plain, NULL);
    CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ 0 });
    cleanup_response struct http_response r = { 0 };
    struct http_request get = { 0 };
    assert_int_equal(fetch_with(c, s, get, "/ok", 100, &r, NULL), 0);
    assert_int_equal(r.status, 200);
    assert_true(http_ok(&r));
    assert_string_equal(r.type, "application/json");
    assert_int_equal(r.length, 5);
    assert_string_equal(gv_buf_str(&r.body), "hello");
    size_t at = 0;
    assert_string_equal(http_response_header(&r, "x-one", &at), "1");
    assert_string_equal(http_response_header(&r, "x-one", &at), "2");
    assert_null(http_response_header(&r, "x-one", &at));

    assert_int_equal(fetch_with(c, s, (struct http_request){ .method = "HEAD" }, "/ok", 100, &r, NULL), 0);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.length, 5);
    assert_int_equal(r.body.len, 0);

    assert_int_equal(fetch_with(c, s, get, "/none", 100, &r, NULL), 0);
    assert_int_equal(r.status, 404);
    assert_false(http_ok(&r));
    assert_string_equal(gv_buf_str(&r.body), "{\"message\":\"no\"}");
    assert_string_equal(r.type, "");

    assert_int_equal(fetch_with(c, s, get, "/chunked", 100, &r, NULL), 0);
    assert_string_equal(gv_buf_str(&r.body), "abcde");
    assert_int_equal(r.length, -1);

    assert_int_equal(fetch_with(c, s, get, "/interim", 100, &r, NULL), 0);
    assert_int_equal(r.status, 200);
    at = 0;
    assert_null(http_response_header(&r, "x-early", &at));
    at = 0;
    assert_string_equal(http_response_header(&r, "x-late", &at), "1");
    server_stop(s);
}

static void sends_what_it_was_told(void **state)
{
    (void)state;
    struct server *s = server_start(plain, NULL);
    CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ 0 });
    cleanup_response struct http_response r = { 0 };
    static const char *const headers[] = { "Accept: a/b", "X-Mine: 1", NULL };
    assert_int_equal(fetch_with(c, s, (struct http_request){ .headers = headers, .authorization = "Bearer t" }, "/echo", 10000, &r, NULL),
                     0);
    const char *head = gv_buf_str(&r.body);
    assert_non_null(strstr(head, "\r\nAccept: a/b\r\n"));
    assert_non_null(strstr(head, "\r\nX-Mine: 1"));
    assert_non_null(strstr(head, "\r\nAuthorization: Bearer t"));
    assert_non_null(strstr(head, "\r\nUser-Agent: gvmkit/"));
    assert_null(strstr(head, "\r\nAccept: */*"));
    struct http_request post = { .method = "POST", .body = "a=b&c=d!", .body_size = 7, .body_type = "application/x-www-form-urlencoded" };
    assert_int_equal(fetch_with(c, s, post, "/post", 100, &r, NULL), 0);
    assert_string_equal(gv_buf_str(&r.body), "a=b&c=d");
    assert_int_equal(fetch_with(c, s, post, "/echo", 10000, &r, NULL), 0);
    head = gv_buf_str(&r.body);
    assert_non_null(strstr(head, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
    assert_null(strstr(head, "Expect:"));
    /* A token with a line in it would be a header of its own. */
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(fetch_with(c, s, (struct http_request){ .authorization = "x\r\nX-Evil: 1" }, "/echo", 10000, &r, &err), -1);
    assert_int_equal(err.code, GV_E_PROTOCOL);
    server_stop(s);
}

static void unix_socket(void **state)
{
    (void)state;
    char dir[] = "/tmp/gvmkit-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    cleanup_free char *path = gv_asprintf("%s/s", dir), *missing = gv_asprintf("%s/none", dir);
    struct server *s = server_start_unix(path, plain, NULL);
    CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ .unix_socket = path });
    cleanup_response struct http_response r = { 0 };
    setenv("http_proxy", "http://192.0.2.1:9/", 1); /* is for the network alone */
    assert_int_equal(http_fetch(c, &(struct http_request){ .url = "http://docker/ok" }, 100, &r, NULL), 0);
    unsetenv("http_proxy");
    assert_string_equal(gv_buf_str(&r.body), "hello");
    CLEANUP(http_client) struct http_client *none = client_with((struct http_options){ .unix_socket = missing });
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(http_fetch(none, &(struct http_request){ .url = "http://docker/ok" }, 100, &r, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(err.sys, ENOENT);
    assert_non_null(strstr(err.msg, missing));
    server_stop(s);
    assert_int_equal(gv_remove_tree(dir, NULL), 0);
}

/* A proxy sees the whole URL in the request line. */
static void through_proxy(void **state)
{
    (void)state;
    struct server *s = server_start(plain, NULL);
    CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ 0 });
    cleanup_response struct http_response r = { 0 };
    cleanup_free char *proxy = server_url(s, "/");
    setenv("http_proxy", proxy, 1);
    unsetenv("no_proxy");
    assert_int_equal(http_fetch(c, &(struct http_request){ .url = "http://example.invalid/x" }, 100, &r, NULL), 0);
    assert_int_equal(r.status, 404); /* of the plain server: the path is a URL there */
    assert_int_equal(server_calls(s), 1);
    unsetenv("http_proxy");
    server_stop(s);
}

/* ---- redirects ---- */

struct redirects {
    struct server *other;
    char *other_url;
};

static void redirecting(void *user, struct call *c)
{
    const struct redirects *t = user;
    char line[4200];
    if (!strcmp(c->path, "/away"))
        snprintf(line, sizeof(line), "Location: %s\r\n", t->other_url);
    else if (!strcmp(c->path, "/here"))
        snprintf(line, sizeof(line), "Location: echo?x=1\r\n");
    else if (!strcmp(c->path, "/loop"))
        snprintf(line, sizeof(line), "Location: /loop\r\n");
    else if (!strcmp(c->path, "/file"))
        snprintf(line, sizeof(line), "Location: file:///etc/passwd\r\n");
    else if (!strcmp(c->path, "/user"))
        snprintf(line, sizeof(line), "Location: http://name:secret@127.0.0.1/\r\n");
    else if (!strncmp(c->path, "/echo", 5)) {
        call_text(c, 200, NULL, c->head);
        return;
    }
    call_text(c, !strcmp(c->method, "POST") ? 303 : 307, line, "moved");
}

static void redirects(void **state)
{
    (void)state;
    struct server *other = server_start(plain, NULL);
    cleanup_free char *other_url = server_url(other, "/echo");
    struct redirects t = { .other = other, .other_url = other_url };
    struct server *s = server_start(redirecting, &t);
    CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ 0 });
    cleanup_response struct http_response r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    struct http_request q = { .authorization = "Bearer secret" };

    /* Within one origin the authorization goes along; to another host, or port, it does not. */
    assert_int_equal(fetch_with(c, s, q, "/here", 10000, &r, &err), 0);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(gv_buf_str(&r.body), "GET /echo?x=1 "));
    assert_non_null(strstr(gv_buf_str(&r.body), "secret"));
    assert_int_equal(fetch_with(c, s, q, "/away", 10000, &r, &err), 0);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(gv_buf_str(&r.body), "GET /echo "));
    assert_null(strstr(gv_buf_str(&r.body), "secret"));

    q.method = "POST";
    q.body = "p";
    q.body_size = 1;
    assert_int_equal(fetch_with(c, s, q, "/here", 10000, &r, &err), 0);
    assert_non_null(strstr(gv_buf_str(&r.body), "GET /echo?x=1 "));
    q = (struct http_request){ 0 };

    static const char *const refused[] = { "/loop", "/file", "/user" };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fetch_with(c, s, q, refused[i], 10000, &r, &err), -1);
        assert_int_equal(err.code, GV_E_PROTOCOL);
    }
    server_stop(s);
    server_stop(other);
}

/* ---- repetition ---- */

struct flaky {
    unsigned bad; /* answers before the good one */
    int status;
    const char *headers;
    bool reset;
};

static void flaky(void *user, struct call *c)
{
    const struct flaky *f = user;
    if (c->number >= f->bad)
        call_text(c, 200, NULL, "at last");
    else if (f->reset)
        call_reset(c);
    else
        call_text(c, f->status, f->headers, "not now");
}

static void repeats(void **state)
{
    (void)state;
    static const struct {
        struct flaky flaky;
        unsigned attempts;
        long status; /* 0 = none */
        unsigned calls;
    } cases[] = {
        { { 2, 503, NULL, false }, 0, 200, 3 },
        { { 2, 502, NULL, false }, 0, 200, 3 },
        { { 1, 500, NULL, false }, 0, 200, 2 },
        { { 1, 408, NULL, false }, 0, 200, 2 },
        { { 4, 504, NULL, false }, 0, 200, 5 },
        { { 5, 503, NULL, false }, 0, 503, 5 },
        { { 5, 503, NULL, false }, 1, 503, 1 },
        { { 1, 501, NULL, false }, 0, 501, 1 },
        { { 1, 403, NULL, false }, 0, 403, 1 },
        { { 1, 429, "Retry-After: 3600\r\n", false }, 0, 429, 1 },
        { { 1, 429, "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\n", false }, 0, 429, 1 },
        { { 2, 0, NULL, true }, 0, 200, 3 },
        { { 99, 0, NULL, true }, 0, 0, 5 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct flaky f = cases[i].flaky;
        struct server *s = server_start(flaky, &f);
        CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ 0 });
        cleanup_response struct http_response r = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        int status = fetch_with(c, s, (struct http_request){ .attempts = cases[i].attempts }, "/", 100, &r, &err);
        if (cases[i].status) {
            assert_int_equal(status, 0);
            assert_int_equal(r.status, cases[i].status);
            assert_string_equal(gv_buf_str(&r.body), cases[i].status == 200 ? "at last" : "not now");
        } else {
            assert_int_equal(status, -1);
            assert_int_equal(err.code, GV_E_IO);
        }
        assert_int_equal(server_calls(s), cases[i].calls);
        server_stop(s);
    }
}

static void waits_as_asked(void **state)
{
    (void)state;
    struct flaky f = { .bad = 1, .status = 429, .headers = "Retry-After: 1\r\n" };
    struct server *s = server_start(flaky, &f);
    CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ 0 });
    cleanup_response struct http_response r = { 0 };
    double start = now();
    assert_int_equal(fetch_with(c, s, (struct http_request){ 0 }, "/", 100, &r, NULL), 0);
    assert_int_equal(r.status, 200);
    assert_true(now() - start >= 1.0);
    server_stop(s);
}

static void nobody_there(void **state)
{
    (void)state;
    struct server *s = server_start(plain, NULL);
    cleanup_free char *url = server_url(s, "/");
    server_stop(s);
    CLEANUP(http_client)
    struct http_client *c = client_with((struct http_options){ .wait_ms = 60000 }); /* would hang if it were tried again */
    cleanup_response struct http_response r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(http_fetch(c, &(struct http_request){ .url = url }, 100, &r, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(err.sys, ECONNREFUSED);
    static const char *const wrong[] = { "ftp://127.0.0.1/", "file:///etc/passwd", "http://u:p@127.0.0.1/", "http://", "" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(http_fetch(c, &(struct http_request){ .url = wrong[i] }, 100, &r, &err), -1);
        assert_int_equal(err.code, GV_E_USAGE);
    }
}

/* ---- liars ---- */

static void liar(void *user, struct call *c)
{
    (void)user;
    if (!strcmp(c->path, "/large"))
        call_text(c, 200, NULL, "0123456789");
    else if (!strcmp(c->path, "/endless")) {
        call_print(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while (call_raw(c, c->head, strlen(c->head)))
            ;
    } else if (!strcmp(c->path, "/endless-error")) {
        call_print(c, "HTTP/1.1 404 No\r\nConnection: close\r\n\r\n");
        while (call_raw(c, c->head, strlen(c->head)))
            ;
    } else if (!strcmp(c->path, "/headers")) {
        call_print(c, "HTTP/1.1 200 OK\r\n");
        for (unsigned i = 0; call_raw(c, "X-More: 0123456789\r\n", 20) && i < 1000000; i++)
            ;
    } else if (!strcmp(c->path, "/short")) {
        call_print(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        c->hang_up = true;
    } else if (!strcmp(c->path, "/garbage"))
        call_print(c, "SSH-2.0-OpenSSH_9.2\r\n\r\n"), c->hang_up = true;
    else if (!strcmp(c->path, "/length"))
        call_print(c, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"), c->hang_up = true;
}

static void lies(void **state)
{
    (void)state;
    struct server *s = server_start(liar, NULL);
    CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ 0 });
    cleanup_response struct http_response r = { 0 };
    struct http_request get = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(fetch_with(c, s, get, "/large", 9, &r, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_int_equal(fetch_with(c, s, get, "/large", 10, &r, &err), 0);
    assert_int_equal(fetch_with(c, s, get, "/endless", 1 << 20, &r, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_int_equal(fetch_with(c, s, get, "/endless-error", 1 << 20, &r, &err), 0);
    assert_int_equal(r.status, 404);
    assert_true(r.body.len > 0 && r.body.len <= 16384);
    assert_int_equal(fetch_with(c, s, get, "/headers", 100, &r, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_int_equal(fetch_with(c, s, get, "/short", 100, &r, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(fetch_with(c, s, get, "/garbage", 100, &r, &err), -1);
    assert_int_equal(err.code, GV_E_PROTOCOL);
    assert_int_equal(fetch_with(c, s, get, "/length", 100, &r, &err), -1);
    server_stop(s);
}

/* ---- time ---- */

static void silent(void *user, struct call *c)
{
    const atomic_bool *over = user;
    call_print(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    /* A byte now and then keeps a connection, but is no answer. */
    while (!atomic_load(over) && call_raw(c, "x", 1))
        sleep_ms(100);
    c->hang_up = true;
}

static void stalls(void **state)
{
    (void)state;
    atomic_bool over = false;
    struct server *s = server_start(silent, &over);
    CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ .stall_ms = 1000, .attempts = 2 });
    cleanup_response struct http_response r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    double start = now();
    assert_int_equal(fetch_with(c, s, (struct http_request){ 0 }, "/", 10000, &r, &err), -1);
    assert_int_equal(err.code, GV_E_TIMEOUT);
    assert_true(now() - start < 30);
    assert_int_equal(server_calls(s), 2);
    atomic_store(&over, true);
    server_stop(s);
}

static void *cancel_soon(void *user)
{
    sleep_ms(200);
    atomic_store((atomic_bool *)user, true);
    return NULL;
}

static void interruption(void **state)
{
    (void)state;
    atomic_bool over = false;
    struct flaky f = { .bad = 99, .status = 429, .headers = "Retry-After: 50\r\n" };
    for (int waiting = 0; waiting < 2; waiting++) { /* while bytes should come, and between attempts */
        atomic_bool cancelled = false;
        struct server *s = waiting ? server_start(flaky, &f) : server_start(silent, &over);
        CLEANUP(http_client) struct http_client *c = client_with((struct http_options){ .cancelled = &cancelled });
        cleanup_response struct http_response r = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        pthread_t t;
        pthread_create(&t, NULL, cancel_soon, &cancelled);
        double start = now();
        assert_int_equal(fetch_with(c, s, (struct http_request){ 0 }, "/", 10000, &r, &err), -1);
        assert_int_equal(err.code, GV_E_CANCELLED);
        assert_true(now() - start < 10);
        pthread_join(t, NULL);
        atomic_store(&over, true);
        server_stop(s);
    }
}

int main(void)
{
    /* The tests' own servers are reached without anybody's help. */
    static const char *const variables[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };
    for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
        unsetenv(variables[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),        cmocka_unit_test(sends_what_it_was_told),
        cmocka_unit_test(unix_socket),    cmocka_unit_test(through_proxy),
        cmocka_unit_test(redirects),      cmocka_unit_test(repeats),
        cmocka_unit_test(waits_as_asked), cmocka_unit_test(nobody_there),
        cmocka_unit_test(lies),           cmocka_unit_test(stalls),
        cmocka_unit_test(interruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
