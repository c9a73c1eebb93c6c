/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What Docker makes of ENTRYPOINT, CMD and the words of a run, line by line of the table in its documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "session/session.h"

static void parse(struct image_config *c, const char *json)
{
    assert_int_equal(image_config_parse(c, json, strlen(json), NULL), 0);
}

static char *joined(const struct gv_strv *v)
{
    struct gv_buf b = { 0 };
    for (size_t i = 0; i < v->count; i++)
        gv_buf_addf(&b, "%s%s", i ? "|" : "", v->items[i]);
    return gv_buf_str(&b);
}

/* The argv that a configuration, arguments (NULL-terminated) and an --entrypoint give, "" when it is refused. */
static void check_argv(const char *json, char *const *args, const char *entrypoint, const char *want)
{
    __attribute__((cleanup(gv_cleanup_image_config_fn))) struct image_config config = { 0 };
    cleanup_strv struct gv_strv argv = { 0 }, env = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    parse(&config, json);
    struct session_options o = { .image = "x.gvmi", .config = &config, .args = args, .entrypoint = entrypoint };
    int status = session_compose(&o, &argv, &env, &err);
    if (!*want) {
        assert_int_equal(status, -1);
        assert_true(strlen(err.msg) > 0);
        return;
    }
    assert_int_equal(status, 0);
    cleanup_free char *got = joined(&argv);
    assert_string_equal(got, want);
}

static void test_argv(void **state)
{
    (void)state;
    char one[] = "one", two[] = "two words";
    char *args[] = { one, two, NULL }, *none[] = { NULL };
    check_argv("{\"Cmd\":[\"c\",\"d\"]}", none, NULL, "c|d");
    check_argv("{\"Cmd\":[\"c\"]}", args, NULL, "one|two words");
    check_argv("{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}", NULL, NULL, "e|c");
    check_argv("{\"Entrypoint\":[\"e\",\"f\"],\"Cmd\":[\"c\"]}", args, NULL, "e|f|one|two words");
    check_argv("{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}", none, "x", "x");
    check_argv("{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}", args, "x", "x|one|two words");
    check_argv("{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}", args, "", "one|two words");
    check_argv("{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}", none, "", "");
    check_argv("{}", none, NULL, "");
    check_argv("{\"Cmd\":[\"\"]}", none, NULL, "");
}

static void test_env(void **state)
{
    (void)state;
    __attribute__((cleanup(gv_cleanup_image_config_fn))) struct image_config config = { 0 };
    cleanup_strv struct gv_strv argv = { 0 }, env = { 0 }, ours = { 0 };
    parse(&config, "{\"Cmd\":[\"c\"],\"Env\":[\"A=1\",\"PATH=/x\",\"A=2\",\"=bad\",\"EMPTY=\"]}");
    gv_strv_add(&ours, "A=3=4");
    gv_strv_add(&ours, "B=new");
    struct session_options o = { .image = "x", .config = &config, .env = &ours, .hostname = "h", .tty = true };
    assert_int_equal(session_compose(&o, &argv, &env, NULL), 0);
    cleanup_free char *got = joined(&env);
    assert_string_equal(got, "PATH=/x|HOSTNAME=h|TERM=xterm|A=3=4|EMPTY=|B=new");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_argv), cmocka_unit_test(test_env) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
