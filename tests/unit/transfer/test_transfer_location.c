/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `from` and `to` say, and where paths of the container are. */
#include "transfer_test.h"

#define HEX56 "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f"

static void good(const char *text, enum location_kind kind, const char *what, size_t digest_size)
{
    struct location l;
    struct gv_error err = GV_ERROR_INIT;
    if (location_parse(&l, text, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    assert_int_equal(l.kind, kind);
    assert_string_equal(kind == LOCATION_HTTP ? l.url : l.path, what);
    assert_int_equal(l.digest_size, digest_size);
    location_clear(&l);
}

static void bad(const char *text, const char *why)
{
    struct location l;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(location_parse(&l, text, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
    if (!strstr(err.msg, why))
        fail_msg("%s: %s", text, err.msg);
    location_clear(&l);
}

static void kinds(void **state)
{
    (void)state;
    good("container:/a/b", LOCATION_CONTAINER, "/a/b", 0);
    good("/a/b c", LOCATION_CONTAINER, "/a/b c", 0);
    good("Container:/a%2fb%25", LOCATION_CONTAINER, "/a/b%", 0);
    good("/a:b", LOCATION_CONTAINER, "/a:b", 0);
    good("file:a", LOCATION_FILE, "a", 0);
    good("file:/a", LOCATION_FILE, "/a", 0);
    good("file:///a%20b", LOCATION_FILE, "/a b", 0);
    good("file://localhost/a", LOCATION_FILE, "/a", 0);
    good("http://h/p?q#f", LOCATION_HTTP, "http://h/p?q#f", 0);
    good("HTTPS://h/", LOCATION_HTTP, "HTTPS://h/", 0);
    bad("container://a/b", "host");
    bad("container:a", "invalid path");
    bad("a/b", "invalid path");
    bad("", "invalid path");
    bad("container:/a/../b", "invalid path");
    bad("container:/a/..%2f..%2fetc", "invalid path");
    bad("container:/a//b", "invalid path");
    bad("container:/a?b", "%3F");
    bad("container:/a#b", "%23");
    bad("container:/a%", "%25");
    bad("container:/a%4", "%25");
    bad("container:/a%zz", "%25");
    bad("container:/a%00b", "%25");
    bad("file://host/a", "another host");
    bad("file:", "names no file");
    bad("gftp://0x1/0x2", "Unsupported scheme: gftp");
    bad("ftp://h/p", "Unsupported scheme: ftp");
}

static void hashes(void **state)
{
    (void)state;
    good("hash:sha3:" HEX56 ":/a", LOCATION_CONTAINER, "/a", 28);
    good("HASH://sha3:0x" HEX56 ":http://h/", LOCATION_HTTP, "http://h/", 28);
    good("hash:sha3:0X" HEX56 "00000000:file:a", LOCATION_FILE, "a", 32);
    bad("hash:SHA3:" HEX56 ":/a", "unsupported hash");
    bad("hash:sha2:" HEX56 ":/a", "unsupported hash");
    bad("hash:sha3", "unsupported hash");
    bad("hash:sha3:" HEX56, "digits");
    bad("hash:sha3:00:/a", "digits");
    bad("hash:sha3:x" HEX56 ":/a", "digits");
    bad("hash:sha3:0x" HEX56 "0:/a", "digits");
    bad("hash:sha3:g14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f:/a", "hexadecimal");
}

static void users(void **state)
{
    (void)state;
    struct location l;
    assert_int_equal(location_parse(&l, "http://us%40er:pass%3aword@h:80/p@q", NULL), 0);
    assert_string_equal(l.url, "http://h:80/p@q");
    assert_string_equal(l.authorization, "Basic dXNAZXI6cGFzczp3b3Jk");
    location_clear(&l);
    assert_int_equal(location_parse(&l, "http://h/p@q", NULL), 0);
    assert_string_equal(l.url, "http://h/p@q");
    assert_null(l.authorization);
    location_clear(&l);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(location_parse(&l, "http://u:secret%@h/p", &err), -1);
    assert_null(strstr(err.msg, "secret"));
    location_clear(&l);
}

static void volumes(void **state)
{
    (void)state;
    struct transfer_volume v[] = { { (char[]){ "/in/dst" }, (char[]){ "1" } },
                                   { (char[]){ "/in" }, (char[]){ "2" } },
                                   { (char[]){ "/out" }, (char[]){ "3" } },
                                   { (char[]){ "/out/bin/" }, (char[]){ "4" } } };
    const struct transfer_options o = { .volumes = v, .volume_count = 4 };
    static const struct {
        const char *path, *name, *rest;
    } cases[] = {
        { "/in/t.json", "2", "t.json" },
        { "/in/dst/s/x", "1", "s/x" },
        { "/in/dstx", "2", "dstx" },
        { "/in", "2", "" },
        { "/in/", "2", "" },
        { "/in/dst", "1", "" },
        { "/out/b/x", "3", "b/x" },
        { "/out/bin/sh", "4", "sh" },
        { "/out/bin", "4", "" },
        { "/ins/t", NULL, NULL },
        { "/", NULL, NULL },
        { "/other", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *rest;
        struct gv_error err = GV_ERROR_INIT;
        const struct transfer_volume *got = location_volume(&o, cases[i].path, &rest, &err);
        if (!cases[i].name) {
            assert_null(got);
            assert_int_equal(err.code, GV_E_NOT_FOUND);
            assert_non_null(strstr(err.msg, "path not found in container: "));
            continue;
        }
        assert_non_null(got);
        assert_string_equal(got->name, cases[i].name);
        assert_string_equal(rest, cases[i].rest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(kinds), cmocka_unit_test(hashes), cmocka_unit_test(users),
                                        cmocka_unit_test(volumes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
