/* SPDX-License-Identifier: GPL-3.0-or-later */
/* References in all their spellings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "refs/refs.h"

#define HEX "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1"
#define UPPER "72407BD5BB8DA8B6D2B8983EF01DC8894E3703EFB3849931156F07B1"
#define OTHER "6b4e03423667dbb73b6e15454f0eb1abd4597f9a1b078e3f5b5a6bc7"

static void images(void **state)
{
    (void)state;
    static const struct {
        const char *text, *url;
        bool is_link;
    } cases[] = {
        { HEX, NULL, false },
        { UPPER, NULL, false },
        { "hash:sha3:" HEX ":http://example.org/a.gvmi", "http://example.org/a.gvmi", false },
        { "HASH:SHA3:" UPPER ":HTTPS://example.org/a.gvmi", "HTTPS://example.org/a.gvmi", false },
        { "hash://sha3:" HEX ":http://u.example:8080/a:b?c=d", "http://u.example:8080/a:b?c=d", false },
        { "Hash://Sha3:0x" UPPER ":http://h/x", "http://h/x", false },
        { "hash:sha3:" HEX, NULL, false },
        { "hash:sha3:" HEX ":", NULL, false },
        { "hash%3Asha3%3A" HEX "%3Ahttp%3A%2F%2Fh%2Fx%20y", NULL, false }, /* refused below: a blank in a URL */
        { "hash%3asha3%3a" HEX "%3ahttp%3a%2f%2fh%2fx%2520y", "http://h/x%20y", false },
        { "hash:sha3:" HEX ":http%3A%2F%2Fh%2Fx%3Fa%3Db", "http://h/x?a=b", false },
        { "http://h/x.gvmi#" HEX, "http://h/x.gvmi", false },
        { "https://h/x.gvmi#sha3:" UPPER, "https://h/x.gvmi", false },
        { "https://h/x.gvmi#hash=" HEX, "https://h/x.gvmi", false },
        { "https://h/x.gvmi#hash:sha3:" HEX, "https://h/x.gvmi", false },
        { "http://h/image." HEX ".link", "http://h/image." HEX ".link", true },
        { "hash:sha3:" HEX ":http://h/image." HEX ".link", "http://h/image." HEX ".link", true },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cleanup_refs struct refs r = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        if (strstr(cases[i].text, "%20y") && !cases[i].url) {
            assert_int_equal(refs_parse(&r, cases[i].text, &err), -1);
            continue;
        }
        if (refs_parse(&r, cases[i].text, &err) < 0)
            fail_msg("%s: %s", cases[i].text, err.msg);
        assert_int_equal(r.kind, REFS_IMAGE);
        assert_string_equal(r.hash, HEX);
        assert_int_equal(r.is_link, cases[i].is_link);
        if (cases[i].url)
            assert_string_equal(r.url, cases[i].url);
        else
            assert_null(r.url);
    }
}

static void url_alone(void **state)
{
    (void)state;
    cleanup_refs struct refs r = { 0 };
    assert_int_equal(refs_parse(&r, "http://h/a.gvmi", NULL), 0);
    assert_int_equal(r.kind, REFS_IMAGE);
    assert_string_equal(r.hash, "");
}

static void paths(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path, *hash;
    } cases[] = {
        { "a.gvmi", "a.gvmi", "" },
        { "dir/a.gvmi", "dir/a.gvmi", "" },
        { "/abs/a:b", "/abs/a:b", "" },
        { "./a/b:c", "./a/b:c", "" },
        { "a/b/c:d", "a/b/c:d", "" },
        { "docker://alpine:3", "docker://alpine:3", "" },
        { "file:a%20b.gvmi", "a b.gvmi", "" },
        { "file:/x/y", "/x/y", "" },
        { "file:///x/%25", "/x/%", "" },
        { "FILE://localhost/x/y", "/x/y", "" },
        { "hash:sha3:" HEX ":file:///x/y", "/x/y", HEX },
        { "abc", "abc", "" },
        { "golem:alpine", "golem:alpine", "" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cleanup_refs struct refs r = { 0 };
        assert_int_equal(refs_parse(&r, cases[i].text, NULL), 0);
        assert_int_equal(r.kind, REFS_PATH);
        assert_string_equal(r.path, cases[i].path);
        assert_string_equal(r.hash, cases[i].hash);
        assert_int_equal(r.is_explicit, strncasecmp(cases[i].text, "file:", 5) == 0 || *cases[i].hash);
    }
}

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
        bool is_explicit;
    } cases[] = {
        { "golem/alpine:latest", "golem/alpine:latest", false },
        { "golem:golem/alpine", "golem/alpine:latest", true },
        { "golem://a/b:1.2_3-x", "a/b:1.2_3-x", true },
        { "A-1/b.c:D", "A-1/b.c:D", false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cleanup_refs struct refs r = { 0 };
        assert_int_equal(refs_parse(&r, cases[i].text, NULL), 0);
        assert_int_equal(r.kind, REFS_NAME);
        assert_int_equal(r.is_explicit, cases[i].is_explicit);
        cleanup_free char *name = refs_name(&r);
        assert_string_equal(name, cases[i].name);
    }
    cleanup_refs struct refs r = { 0 };
    assert_int_equal(refs_parse_name(&r, "a/b", NULL), 0);
    assert_string_equal(r.tag, "latest");
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
        enum gv_code code;
    } cases[] = {
        { "", "empty", GV_E_USAGE },
        { "hash:sha3", "hash:sha3:HEX:URL", GV_E_USAGE },
        { "hash:sha3-224:" HEX ":http://h/x", "called sha3", GV_E_UNSUPPORTED },
        { "hash:md5:00:http://h/x", "called sha3", GV_E_UNSUPPORTED },
        { "hash:sha3:1234:http://h/x", "this has 4", GV_E_USAGE },
        { "hash:sha3:" HEX "aabbccdd:http://h/x", "this has 64", GV_E_UNSUPPORTED },
        { "hash:sha3:x" HEX ":http://h/x", "not a hash", GV_E_USAGE },
        { "hash:sha3::http://h/x", "this has 0", GV_E_USAGE },
        { "hash:sha3:" HEX ":gftp://0x1/2", "not a URL", GV_E_UNSUPPORTED },
        { "hash:sha3:" HEX ":ftp://h/x", "not a URL", GV_E_USAGE },
        { "hash%3Asha3%3A%zz", "no escape", GV_E_USAGE },
        { "hash:sha3:" HEX ":http%3A%2", "not a URL", GV_E_USAGE },
        { "http://h/x#abc", "this has 3", GV_E_USAGE },
        { "http://h/a b", "blanks", GV_E_USAGE },
        { "http://h/a\x01", "control", GV_E_USAGE },
        { "hash:sha3:" HEX ":http://h/x#" OTHER, "another hash", GV_E_USAGE },
        { "hash:sha3:" HEX ":http://h/image." OTHER ".link", "another hash", GV_E_USAGE },
        { "file://other/x", "another machine", GV_E_USAGE },
        { "file:%", "no escape", GV_E_USAGE },
        { "file:a%00b", "no escape", GV_E_USAGE },
        { "file:", "which file", GV_E_USAGE },
        { "golem:../b:c", "USER/REPO:TAG", GV_E_USAGE },
        { "golem:a/b:", "USER/REPO:TAG", GV_E_USAGE },
        { "golem:a/b/c:d", "USER/REPO:TAG", GV_E_USAGE },
        { "golem:a/b:c\n", "USER/REPO:TAG", GV_E_USAGE },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cleanup_refs struct refs r = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        if (refs_parse(&r, cases[i].text, &err) == 0)
            fail_msg("`%s` was taken", cases[i].text);
        if (err.code != cases[i].code || !strstr(err.msg, cases[i].says))
            fail_msg("`%s`: %d %s", cases[i].text, (int)err.code, err.msg);
    }
    cleanup_free char *text = gv_asprintf("%*s", 9000, "x");
    cleanup_refs struct refs r = { 0 };
    assert_int_equal(refs_parse(&r, text, NULL), -1);
    memset(text, 'a', 300);
    memcpy(text + 300, "/b:c", 5);
    cleanup_free char *name = gv_asprintf("golem:%s", text);
    cleanup_refs struct refs long_name = { 0 };
    assert_int_equal(refs_parse(&long_name, name, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images), cmocka_unit_test(url_alone), cmocka_unit_test(paths), cmocka_unit_test(names), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
