/* SPDX-License-Identifier: GPL-3.0-or-later */
/* TLS: who is believed, and that nothing leads out of it. */
#include <stdio.h>

#include "http/http.h"
#include "server.h"

struct tls {
    char dir[64];
    char *ca, *target;
    struct server *server, *plain;
};

static void secure(void *user, struct call *c)
{
    const struct tls *t = user;
    char line[4200];
    snprintf(line, sizeof(line), "Location: %s\r\n", t->target);
    if (!strcmp(c->path, "/away"))
        call_text(c, 302, line, "");
    else
        call_text(c, 200, NULL, c->head);
}

static void open_one(void *user, struct call *c)
{
    (void)user;
    call_text(c, 200, NULL, c->head);
}

static int setup(void **state)
{
    struct tls *t = gv_new(struct tls);
    snprintf(t->dir, sizeof(t->dir), "/tmp/gvmkit-test-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    t->ca = gv_asprintf("%s/ca.pem", t->dir);
    t->plain = server_start(open_one, NULL);
    t->target = server_url(t->plain, "/");
    t->server = server_start_tls(t->ca, secure, t);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct tls *t = *state;
    server_stop(t->server);
    server_stop(t->plain);
    assert_int_equal(gv_remove_tree(t->dir, NULL), 0);
    free(t->ca);
    free(t->target);
    free(t);
    return 0;
}

static int fetch(const struct tls *t, const struct http_options *o, const char *path, struct http_response *r, struct gv_error *err)
{
    CLEANUP(http_client) struct http_client *c = NULL;
    assert_int_equal(http_client_new(&c, o, NULL), 0);
    cleanup_free char *url = server_url(t->server, path);
    return http_fetch(c, &(struct http_request){ .url = url, .authorization = "Bearer secret" }, 10000, r, err);
}

static void unknown_certificate(void **state)
{
    cleanup_response struct http_response r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(fetch(*state, &(struct http_options){ 0 }, "/", &r, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_non_null(strstr(err.msg, "does not prove who it is"));
    assert_int_equal(server_calls(((struct tls *)*state)->server), 0);
}

static void trusted(void **state)
{
    const struct tls *t = *state;
    cleanup_response struct http_response r = { 0 };
    assert_int_equal(fetch(t, &(struct http_options){ .ca_file = t->ca }, "/", &r, NULL), 0);
    assert_int_equal(r.status, 200);
    assert_int_equal(fetch(t, &(struct http_options){ .insecure = true }, "/", &r, NULL), 0);
    assert_int_equal(r.status, 200);
    assert_int_equal(fetch(t, &(struct http_options){ .insecure_loopback = true }, "/", &r, NULL), 0);
    assert_int_equal(r.status, 200);
}

static void never_out_of_tls(void **state)
{
    const struct tls *t = *state;
    cleanup_response struct http_response r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(fetch(t, &(struct http_options){ .insecure = true }, "/away", &r, &err), -1);
    assert_int_equal(err.code, GV_E_PROTOCOL);
    assert_non_null(strstr(err.msg, "is not encrypted"));
    assert_int_equal(server_calls(t->plain), 0);
}

static void no_tls_there(void **state)
{
    const struct tls *t = *state;
    CLEANUP(http_client) struct http_client *c = NULL;
    assert_int_equal(http_client_new(&c, &(struct http_options){ .insecure = true, .wait_ms = 60000 }, NULL), 0);
    cleanup_free char *url = gv_asprintf("https://127.0.0.1:%u/", server_port(t->plain));
    cleanup_response struct http_response r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(http_fetch(c, &(struct http_request){ .url = url, .attempts = 1 }, 1000, &r, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
}

static void bad_files(void **state)
{
    cleanup_response struct http_response r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(fetch(*state, &(struct http_options){ .ca_file = "/nonexistent/ca.pem" }, "/", &r, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(fetch(*state,
                           &(struct http_options){ .insecure = true, .cert_file = "/nonexistent/c.pem", .key_file = "/nonexistent/k.pem" },
                           "/", &r, &err),
                     -1);
    assert_int_equal(err.code, GV_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unknown_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(trusted, setup, teardown),
        cmocka_unit_test_setup_teardown(never_out_of_tls, setup, teardown),
        cmocka_unit_test_setup_teardown(no_tls_there, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
