/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a registry may answer, and what it may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "registry/registry.h"

#define HEX "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1"
#define ID "b4368a6ec51a7b4a9cc6efd58edf22f276e1f9c5e29566a2096ef6e0d67d04df"

static void info(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int urls; /* -1 = refused */
        uint64_t size;
    } cases[] = {
        { "{\"http\":\"http://h/x\",\"https\":\"https://h/x\",\"sha3\":\"" HEX "\",\"size\":5,\"more\":[]}", 2, 5 },
        { "{\"http\":\"http://h/x\",\"sha3\":\"" HEX "\"}", 1, HTTP_SIZE_UNKNOWN },
        { "{\"http\":\"http://h/x\",\"https\":\"http://h/x\",\"sha3\":\"" HEX "\",\"size\":-1}", 1, HTTP_SIZE_UNKNOWN },
        { "{\"http\":\"http://h/x\",\"https\":null,\"sha3\":\"" HEX "\",\"size\":\"5\"}", 1, HTTP_SIZE_UNKNOWN },
        { "{\"http\":\"file:///etc/passwd\",\"sha3\":\"" HEX "\"}", -1, 0 },
        { "{\"http\":\"http://h/x y\",\"sha3\":\"" HEX "\"}", -1, 0 },
        { "{\"http\":7,\"sha3\":\"" HEX "\"}", -1, 0 },
        { "{\"http\":\"http://h/x\",\"sha3\":\"" HEX "aa\"}", -1, 0 },
        { "{\"http\":\"http://h/x\",\"sha3\":\"../../x\"}", -1, 0 },
        { "{\"http\":\"http://h/x\"}", -1, 0 },
        { "[]", -1, 0 },
        { "", -1, 0 },
        { "<html>", -1, 0 },
        { "{\"sha3\":\"" HEX "\",\"sha3\":\"" HEX "\",\"http\":\"http://h/x\"}", -1, 0 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cleanup_registry_image struct registry_image image = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        int status = registry_parse_info(cases[i].text, strlen(cases[i].text), &image, &err);
        if ((status < 0) != (cases[i].urls < 0))
            fail_msg("%s: %s", cases[i].text, err.msg);
        if (status < 0) {
            assert_int_equal(err.code, GV_E_PROTOCOL);
            continue;
        }
        assert_int_equal(image.urls.count, cases[i].urls);
        assert_string_equal(image.hash, HEX);
        assert_true(image.size == cases[i].size);
    }
    cleanup_registry_image struct registry_image both = { 0 };
    assert_int_equal(registry_parse_info(cases[0].text, strlen(cases[0].text), &both, NULL), 0);
    assert_string_equal(both.urls.items[0], "https://h/x");
}

static void links(void **state)
{
    (void)state;
    static const struct {
        const char *text, *url;
    } cases[] = {
        { "http://h/x.gvmi", "http://h/x.gvmi" },
        { "http://h:8000/x.gvmi\r\n \n", "http://h:8000/x.gvmi" },
        { "", NULL },
        { "\n", NULL },
        { "x.gvmi", NULL },
        { "http://h/x http://h/y", NULL },
        { "<html>not found</html>", NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cleanup_registry_image struct registry_image image = { 0 };
        int status = registry_parse_link(cases[i].text, strlen(cases[i].text), &image, NULL);
        assert_int_equal(status, cases[i].url ? 0 : -1);
        if (cases[i].url)
            assert_string_equal(image.urls.items[0], cases[i].url);
    }
    cleanup_registry_image struct registry_image image = { 0 };
    assert_int_equal(registry_parse_link("http://h/\0x", 11, &image, NULL), -1);
}

static void uploads(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum registry_known known;
        bool has_status;
        const char *chunks;
    } cases[] = {
        { "{\"descriptor\":\"ok\",\"status\":\"full\",\"chunks\":[1,1]}", REGISTRY_FULL, true, "11" },
        { "{\"descriptor\":\"ok\",\"status\":\"part\",\"chunks\":[1,0,2,\"1\",null]}", REGISTRY_PART, true, "10000" },
        { "{\"descriptor\":\"ok\",\"chunks\":[]}", REGISTRY_PART, false, "" },
        { "{\"descriptor\":\"not found\",\"status\":\"full\"}", REGISTRY_UNKNOWN, true, "" },
        { "{}", REGISTRY_UNKNOWN, false, "" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct registry_state s = { 0 };
        assert_int_equal(registry_parse_state(cases[i].text, strlen(cases[i].text), &s, NULL), 0);
        assert_int_equal(s.known, cases[i].known);
        assert_int_equal(s.has_status, cases[i].has_status);
        assert_int_equal(s.count, strlen(cases[i].chunks));
        for (size_t k = 0; k < s.count; k++)
            assert_int_equal(s.chunks[k], cases[i].chunks[k] == '1');
        free(s.chunks);
    }
    struct registry_state s = { 0 };
    assert_int_equal(registry_parse_state("nothing", 7, &s, NULL), -1);
    assert_int_equal(registry_parse_state("[1]", 3, &s, NULL), -1);
}

static void ids(void **state)
{
    (void)state;
    char id[2 * GV_SHA256_SIZE + 1];
    assert_true(registry_descriptor_id("http://h/download/" ID, id));
    assert_string_equal(id, ID);
    assert_true(registry_descriptor_id("http://h/download/" ID "?x=/y", id));
    assert_false(registry_descriptor_id("http://h/download/" ID "a", id));
    assert_false(registry_descriptor_id("http://h/download/", id));
    assert_false(registry_descriptor_id("", id));
}

static void urls(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    unsetenv("GOLEM_REGISTRY_URL");
    unsetenv("REGISTRY_URL");
    cleanup_free char *usual = registry_url(&err);
    assert_string_equal(usual, REGISTRY_DEFAULT_URL);
    assert_false(registry_is_chosen());
    setenv("REGISTRY_URL", "http://h:5000/a//", 1);
    cleanup_free char *other = registry_url(&err);
    assert_string_equal(other, "http://h:5000/a");
    setenv("GOLEM_REGISTRY_URL", "https://g", 1);
    cleanup_free char *first = registry_url(&err);
    assert_string_equal(first, "https://g");
    assert_true(registry_is_chosen());
    setenv("GOLEM_REGISTRY_URL", "g", 1);
    assert_null(registry_url(&err));
    assert_int_equal(err.code, GV_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info), cmocka_unit_test(links), cmocka_unit_test(uploads), cmocka_unit_test(ids), cmocka_unit_test(urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
