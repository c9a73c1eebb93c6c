/* SPDX-License-Identifier: GPL-3.0-or-later */
/* URLs, and what stands in the way of a socket. */
#include "net_test.h"

#include "net/endpoint.h"

static void test_urls(void **state)
{
    static const struct {
        const char *url, *text;
        enum endpoint_scheme scheme;
    } good[] = {
        { "udp://127.0.0.1:4000", "127.0.0.1:4000", ENDPOINT_UDP },
        { "udp://127.0.0.1:4000/", "127.0.0.1:4000", ENDPOINT_UDP },
        { "udp://[::1]:65535", "[::1]:65535", ENDPOINT_UDP },
        { "tcp-connect://10.0.0.1:1", "10.0.0.1:1", ENDPOINT_TCP_CONNECT },
        { "tcp-connect://[fd00::7]:80", "[fd00::7]:80", ENDPOINT_TCP_CONNECT },
        { "tcp-listen://", "127.0.0.1:0", ENDPOINT_TCP_LISTEN },
        { "tcp-listen://127.0.0.2:0", "127.0.0.2:0", ENDPOINT_TCP_LISTEN },
        { "tcp-listen://[::1]:7000", "[::1]:7000", ENDPOINT_TCP_LISTEN },
        { "unix:///tmp/a:b [c]", "/tmp/a:b [c]", ENDPOINT_UNIX },
        { "unix://", "/work/own", ENDPOINT_UNIX },
    };
    static const char *const bad[] = { "",
                                       "udp:",
                                       "udp://",
                                       "udp://127.0.0.1",
                                       "udp://127.0.0.1:",
                                       "udp://127.0.0.1:0",
                                       "udp://127.0.0.1:65536",
                                       "udp://127.0.0.1:1:2",
                                       "udp://127.0.0.1:1x",
                                       "udp://127.0.0.1:-1",
                                       "udp://127.0.0.1:1/path",
                                       "udp://:1",
                                       "udp://[::1]",
                                       "udp://[::1:80",
                                       "udp://[]:80",
                                       "udp://[::1]x:80",
                                       "UDP://127.0.0.1:1",
                                       "tcp://127.0.0.1:1",
                                       "tcp-connect://127.0.0.1:0",
                                       "tcp-listen://127.0.0.1",
                                       "http://127.0.0.1:1" };
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        struct endpoint e;
        if (endpoint_parse(&e, good[i].url, "/work/own", &err) < 0)
            fail_msg("%s: %s", good[i].url, err.msg);
        cleanup_free char *text = endpoint_text(&e.address, e.size);
        assert_int_equal(e.scheme, good[i].scheme);
        assert_string_equal(text, good[i].text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        struct endpoint e;
        if (endpoint_parse(&e, bad[i], NULL, &err) == 0)
            fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(err.code, GV_E_USAGE);
    }
}

static void test_names_and_paths(void **state)
{
    struct gv_error err = GV_ERROR_INIT;
    struct endpoint e;
    char url[300];
    (void)state;
    assert_int_equal(endpoint_parse(&e, "udp://localhost:9", NULL, &err), 0);
    /* Too long for a name, so that nobody is asked for it. */
    snprintf(url, sizeof(url), "udp://%0100d.invalid:9", 0);
    assert_int_equal(endpoint_parse(&e, url, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_int_equal(endpoint_parse(&e, "unix://", NULL, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
    memset(url, 'x', sizeof(url));
    memcpy(url, "unix:///", 8);
    url[7 + 107] = '\0';
    assert_int_equal(endpoint_parse(&e, url, NULL, &err), 0);
    url[7 + 107] = 'x';
    url[7 + 108] = '\0';
    assert_int_equal(endpoint_parse(&e, url, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
}

/* What somebody listens at is not taken away from him; what somebody has left is. */
static void test_unix_names(void **state)
{
    struct gv_error err = GV_ERROR_INIT;
    struct endpoint e;
    struct stat st;
    char dir[] = "/tmp/gvmkit-test-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(dir));
    cleanup_free char *url = gv_asprintf("unix://%s/s", dir);
    const char *path = url + strlen("unix://");
    assert_int_equal(endpoint_parse(&e, url, NULL, &err), 0);
    int first = endpoint_listen(&e, &err);
    assert_true(first >= 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(endpoint_listen(&e, &err), -1);
    assert_int_equal(err.sys, EADDRINUSE);
    close(first); /* as if killed */
    int second = endpoint_listen(&e, &err);
    assert_true(second >= 0);
    close(second);
    /* A file of somebody's is not ours to remove. */
    assert_int_equal(unlink(path), 0);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(endpoint_listen(&e, &err), -1);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* A port that is taken: another one, and the answer says which. */
static void test_taken_port(void **state)
{
    struct gv_error err = GV_ERROR_INIT;
    struct endpoint e;
    (void)state;
    assert_int_equal(endpoint_parse(&e, "tcp-listen://", NULL, &err), 0);
    cleanup_close int first = endpoint_listen(&e, &err);
    assert_true(first >= 0);
    cleanup_free char *name = endpoint_name(first), *url = gv_asprintf("tcp-listen://%s", name);
    assert_int_equal(endpoint_parse(&e, url, NULL, &err), 0);
    cleanup_close int second = endpoint_listen(&e, &err);
    assert_true(second >= 0);
    cleanup_free char *other = endpoint_name(second);
    assert_int_equal(strncmp(other, "127.0.0.1:", 10), 0);
    assert_string_not_equal(name, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_urls), cmocka_unit_test(test_names_and_paths),
                                        cmocka_unit_test(test_unix_names), cmocka_unit_test(test_taken_port) };
    return cmocka_run_group_tests_name("net_endpoint", tests, NULL, NULL);
}
