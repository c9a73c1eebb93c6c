/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "image/image.h"

static int parse(struct image_config *c, const char *text, struct gv_error *err)
{
    return image_config_parse(c, text, strlen(text), err);
}

/* What is read is written in one form: sorted, compact, without what is empty or unknown. */
static void test_forms(void **state)
{
    (void)state;
    static const char *const forms[][2] = {
        { "{}", "{}" },
        { " { \"Env\" : null, \"Cmd\":null,\"Volumes\":null,\"Labels\":null,\"User\":null } ", "{}" },
        { "{\"User\":\"\",\"Env\":[],\"Volumes\":{},\"Labels\":{},\"WorkingDir\":\"\"}", "{}" },
        { "{\"Hostname\":\"x\",\"Tty\":false,\"Healthcheck\":{\"Test\":[\"NONE\"]},\"OnBuild\":[]}", "{}" },
        { "{\"Cmd\":[],\"Entrypoint\":[]}", "{\"Cmd\":[],\"Entrypoint\":[]}" },
        { "{\"Cmd\":[\"a\",\"b c\",\"\"],\"Entrypoint\":[\"/x\"]}", "{\"Cmd\":[\"a\",\"b c\",\"\"],\"Entrypoint\":[\"/x\"]}" },
        { "{\"Env\":[\"B=2\",\"A=1\",\"NOVALUE\"]}", "{\"Env\":[\"B=2\",\"A=1\",\"NOVALUE\"]}" },
        { "{\"Volumes\":{\"/z\":{},\"/a\":{}},\"ExposedPorts\":{\"80/tcp\":{},\"443/tcp\":{}}}",
          "{\"ExposedPorts\":{\"443/tcp\":{},\"80/tcp\":{}},\"Volumes\":{\"/a\":{},\"/z\":{}}}" },
        { "{\"Labels\":{\"z\":\"1\",\"a\":\"\",\"m\":\"\\u00e4\\n\"}}", "{\"Labels\":{\"a\":\"\",\"m\":\"\xc3\xa4\\n\",\"z\":\"1\"}}" },
        { "{\"User\":\"me:them\",\"WorkingDir\":\"/w\",\"StopSignal\":\"SIGINT\",\"Image\":\"abc\"}",
          "{\"Image\":\"abc\",\"StopSignal\":\"SIGINT\",\"User\":\"me:them\",\"WorkingDir\":\"/w\"}" },
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        struct image_config c = { 0 }, again = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        if (parse(&c, forms[i][0], &err) < 0)
            fail_msg("%s: %s", forms[i][0], err.msg);
        char *text = image_config_format(&c);
        assert_string_equal(text, forms[i][1]);
        assert_int_equal(parse(&again, text, NULL), 0);
        char *twice = image_config_format(&again);
        assert_string_equal(twice, text);
        free(text);
        free(twice);
        image_config_clear(&c);
        image_config_clear(&again);
    }
}

static void test_wrong(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{",
        "{}x",
        "{\"Env\":\"A=1\"}",
        "{\"Env\":{\"A\":\"1\"}}",
        "{\"Env\":[1]}",
        "{\"Env\":[null]}",
        "{\"Cmd\":7}",
        "{\"Entrypoint\":[[]]}",
        "{\"User\":7}",
        "{\"User\":[]}",
        "{\"WorkingDir\":{}}",
        "{\"Volumes\":[\"/a\"]}",
        "{\"ExposedPorts\":\"80\"}",
        "{\"Labels\":[]}",
        "{\"Labels\":{\"a\":1}}",
        "{\"Labels\":{\"a\":null}}",
        "{\"StopSignal\":9}",
        "{\"Image\":true}",
        "{\"Env\":[\"\xff\"]}",
        "{\"Env\":[\"a\\u0000b\"]}",
        "{\"User\":\"a\",\"User\":\"b\"}",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct image_config c = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        if (parse(&c, wrong[i], &err) == 0)
            fail_msg("accepted: %s", wrong[i]);
        assert_int_equal(err.code, GV_E_FORMAT);
        /* Nothing is left behind. */
        assert_null(c.user);
        assert_int_equal(c.env.count, 0);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct image_config c = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    size_t n = ((size_t)1 << 20) + 1;
    char *text = gv_alloc(n);
    memset(text, ' ', n);
    text[0] = '{';
    text[n - 2] = '}';
    assert_int_equal(image_config_parse(&c, text, n - 1, &err), 0);
    image_config_clear(&c);
    assert_int_equal(image_config_parse(&c, text, n, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    memset(text, '[', 100000);
    assert_int_equal(image_config_parse(&c, text, 100000, &err), -1);
    memcpy(text, "{\"a\":", 5);
    memset(text + 5, '[', 100000);
    memset(text + 100005, ']', 100000);
    text[200005] = '}';
    assert_int_equal(image_config_parse(&c, text, 200006, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    free(text);
}

static void test_getenv(void **state)
{
    (void)state;
    struct image_config c = { 0 };
    assert_int_equal(parse(&c, "{\"Env\":[\"A=1\",\"AB=2\",\"EMPTY=\",\"BARE\",\"A=3\",\"EQ=a=b\"]}", NULL), 0);
    assert_string_equal(image_config_getenv(&c, "A"), "3");
    assert_string_equal(image_config_getenv(&c, "AB"), "2");
    assert_string_equal(image_config_getenv(&c, "EMPTY"), "");
    assert_string_equal(image_config_getenv(&c, "EQ"), "a=b");
    assert_null(image_config_getenv(&c, "BARE"));
    assert_null(image_config_getenv(&c, "NONE"));
    assert_true(!c.has_cmd && !c.has_entrypoint);
    image_config_clear(&c);
    image_config_clear(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_getenv),
    };
    return cmocka_run_group_tests_name("image_config", tests, NULL, NULL);
}
