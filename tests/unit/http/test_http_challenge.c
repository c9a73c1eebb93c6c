/* SPDX-License-Identifier: GPL-3.0-or-later */
/* WWW-Authenticate, and the other words of HTTP that need no server. */
#include "http/http.h"
#include "server.h"

static void parse(struct http_challenges *c, const char *text)
{
    http_challenges_clear(c);
    http_challenges_parse(c, text);
}

static void bearer(void **state)
{
    (void)state;
    cleanup_challenges struct http_challenges c = { 0 };
    parse(&c, "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:library/alpine:pull,push\"");
    assert_int_equal(c.count, 1);
    const struct http_challenge *b = http_challenges_find(&c, "bearer");
    assert_non_null(b);
    assert_string_equal(http_challenge_parameter(b, "realm"), "https://auth.docker.io/token");
    assert_string_equal(http_challenge_parameter(b, "service"), "registry.docker.io");
    assert_string_equal(http_challenge_parameter(b, "scope"), "repository:library/alpine:pull,push");
    assert_null(http_challenge_parameter(b, "error"));
    assert_null(http_challenges_find(&c, "basic"));
}

static void several(void **state)
{
    (void)state;
    cleanup_challenges struct http_challenges c = { 0 };
    parse(
        &c,
        "Negotiate, Digest realm=\"a, b\", nonce=x ,BASIC Realm = \"say \\\"hi\\\"\" , charset=UTF-8, NTLM TlRMTVNTUAAB==, Bearer realm=r");
    assert_int_equal(c.count, 5);
    assert_string_equal(c.list[0].scheme, "negotiate");
    assert_int_equal(c.list[0].count, 0);
    assert_string_equal(http_challenge_parameter(&c.list[1], "realm"), "a, b");
    assert_string_equal(http_challenge_parameter(&c.list[1], "nonce"), "x");
    const struct http_challenge *basic = http_challenges_find(&c, "basic");
    assert_string_equal(http_challenge_parameter(basic, "realm"), "say \"hi\"");
    assert_string_equal(http_challenge_parameter(basic, "charset"), "UTF-8");
    assert_string_equal(c.list[3].scheme, "ntlm");
    assert_int_equal(c.list[3].count, 0);
    assert_string_equal(http_challenge_parameter(http_challenges_find(&c, "bearer"), "realm"), "r");
    /* A second header adds. */
    http_challenges_parse(&c, "Other a=b");
    assert_int_equal(c.count, 6);
}

static void first_parameter_counts(void **state)
{
    (void)state;
    cleanup_challenges struct http_challenges c = { 0 };
    parse(&c, "Bearer realm=\"https://a/\",realm=\"https://evil/\",service=s");
    assert_string_equal(http_challenge_parameter(&c.list[0], "realm"), "https://a/");
    assert_string_equal(http_challenge_parameter(&c.list[0], "service"), "s");
}

static void broken(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",      ",,,",           "=",       "\"", "Bearer realm=\"never ends", "Bearer realm=\"ends in \\", "Bearer =x", "Bearer,=",
        "(bad)", "Bearer realm=", "\xff\xfe"
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        cleanup_challenges struct http_challenges c = { 0 };
        parse(&c, texts[i]);
        const struct http_challenge *b = http_challenges_find(&c, "bearer");
        assert_true(!b || !http_challenge_parameter(b, "realm"));
    }
    /* Too much of everything ends the reading, no more. */
    cleanup_challenges struct http_challenges c = { 0 };
    cleanup_buf struct gv_buf b = { 0 };
    for (int i = 0; i < 100; i++) {
        gv_buf_addf(&b, "S%d ", i);
        for (int k = 0; k < 100; k++)
            gv_buf_addf(&b, "p%d=\"%d\",", k, k);
    }
    parse(&c, gv_buf_str(&b));
    assert_int_equal(c.count, HTTP_CHALLENGES_MAX);
    assert_int_equal(c.list[0].count, HTTP_PARAMETERS_MAX);
    b.len = 0;
    gv_buf_addf(&b, "Bearer realm=\"%05000d\"", 1);
    parse(&c, gv_buf_str(&b));
    assert_null(http_challenge_parameter(&c.list[0], "realm"));
}

static void origins(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        { "https://Example.ORG/a?b#c", "https://example.org" },
        { "https://example.org:443/", "https://example.org" },
        { "http://example.org:80", "http://example.org" },
        { "http://example.org:8080/x", "http://example.org:8080" },
        { "HTTP://[::1]:5000/v2/", "http://[::1]:5000" },
        { "ftp://example.org/", NULL },
        { "https://user:secret@example.org/", NULL },
        { "file:///etc/passwd", NULL },
        { "", NULL },
        { "http://", NULL },
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        cleanup_free char *origin = http_origin(pairs[i][0]);
        if (!pairs[i][1])
            assert_null(origin);
        else
            assert_string_equal(origin, pairs[i][1]);
    }
}

static void loopback(void **state)
{
    (void)state;
    static const char *const yes[] = { "http://localhost/", "https://LocalHost:5000/x", "http://127.0.0.1", "http://127.255.1.2:1/",
                                       "http://[::1]/" };
    static const char *const no[] = {
        "http://localhost.example.org/", "http://128.0.0.1/", "http://127.example.org/", "http://[::2]/", "http://10.0.0.1/", "nonsense:"
    };
    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
        assert_true(http_is_loopback(yes[i]));
    for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
        assert_false(http_is_loopback(no[i]));
}

static void words(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf b = { 0 };
    http_escape(&b, "a/b c:\xc3\xa9~&=+", "/");
    assert_string_equal(gv_buf_str(&b), "a/b%20c%3A%C3%A9~%26%3D%2B");
    cleanup_free char *basic = http_basic("Aladdin", "open sesame"); /* the example of RFC 7617 */
    assert_string_equal(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    cleanup_free char *empty = http_basic("", "");
    assert_string_equal(empty, "Basic Og==");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bearer), cmocka_unit_test(several), cmocka_unit_test(first_parameter_counts),
        cmocka_unit_test(broken), cmocka_unit_test(origins), cmocka_unit_test(loopback),
        cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
