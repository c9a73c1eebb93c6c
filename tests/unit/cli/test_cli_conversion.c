/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Options that become choices, and the bar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/conversion.h"

static void test_profiles(void **state)
{
    (void)state;
    struct gvmi_write_options golem = { .jobs = 3 }, o = { 0 };
    assert_int_equal(cli_write_options(&golem, &(struct cli_write_choice){ 0 }, NULL), 0);
    assert_int_equal(golem.compression, GVMI_GZIP);
    assert_int_equal(golem.jobs, 3);
    assert_int_equal(cli_write_options(&o, &(struct cli_write_choice){ .profile = "golem" }, NULL), 0);
    assert_int_equal(o.level, golem.level);
    assert_int_equal(o.block_size, golem.block_size);

    o = (struct gvmi_write_options){ 0 };
    assert_int_equal(cli_write_options(&o, &(struct cli_write_choice){ .profile = "small", .level = 3, .block_size = 65536 }, NULL), 0);
    assert_int_equal(o.compression, GVMI_XZ);
    assert_int_equal(o.level, 3);
    assert_int_equal(o.block_size, 65536);

    /* levels belong to a compression, blocks to the profile that was named */
    o = (struct gvmi_write_options){ 0 };
    assert_int_equal(cli_write_options(&o, &(struct cli_write_choice){ .profile = "small", .compression = GVMI_GZIP }, NULL), 0);
    assert_int_equal(o.compression, GVMI_GZIP);
    assert_int_equal(o.level, 0);
    assert_int_equal(o.block_size, 1 << 20);
    o = (struct gvmi_write_options){ 0 };
    assert_int_equal(cli_write_options(&o, &(struct cli_write_choice){ .compression = GVMI_ZSTD, .level = 19 }, NULL), 0);
    assert_int_equal(o.compression, GVMI_ZSTD);
    assert_int_equal(o.level, 19);

    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(cli_write_options(&o, &(struct cli_write_choice){ .profile = "none" }, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
}

static void test_compressions(void **state)
{
    (void)state;
    static const char *const good[] = { "gzip", "lzo", "xz", "zstd", "lz4" }, *const bad[] = { "", "lzma", "unknown", "GZIP", "gzip " };
    int id;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(cli_compression(good[i], &id, NULL), 0);
        assert_string_equal(gvmi_compression_name(id), good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cli_compression(bad[i], &id, NULL), -1);
}

static void test_edit_options(void **state)
{
    (void)state;
    struct convert_edits e = { 0 };
    assert_int_equal(cli_edit_option(&e, "env", "A=1", NULL), 1);
    assert_int_equal(cli_edit_option(&e, "clear", "cmd", NULL), 1);
    assert_int_equal(cli_edit_option(&e, "env", "A", NULL), -1);
    assert_int_equal(cli_edit_option(&e, "output", "x", NULL), 0);
    assert_int_equal(e.count, 2);
    assert_int_equal(e.items[1].kind, CONVERT_CLEAR);
    convert_edits_clear(&e);
}

static void test_time_left(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = { { 0, "0:00" },     { 0.4, "0:00" },     { 42, "0:42" },       { 61, "1:01" },
                  { 3599, "59:59" }, { 3600, "1:00:00" }, { 1e12, "99:59:59" }, { -1, "0:00" } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[32];
        cli_format_left(text, cases[i].seconds);
        assert_string_equal(text, cases[i].text);
    }
}

/* What is written to stderr while fn runs. */
static const char *captured(void (*fn)(void))
{
    static char text[4096];
    int saved = dup(STDERR_FILENO), pipes[2];
    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[1]);
    fn();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = gv_read_full(pipes[0], text, sizeof(text) - 1);
    close(pipes[0]);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

static void show_json(void)
{
    struct cli_progress *p = cli_progress_new(CLI_PROGRESS_JSON);
    const struct gv_progress *sink = cli_progress_sink(p);
    struct gv_log log = cli_progress_log(p, false);
    gv_progress_update(sink, "first", 1, 10);
    gv_progress_update(sink, "first", 10, 10);
    gv_note(&log, "a \"quoted\" \\ note\n");
    gv_debug(&log, "not this");
    gv_progress_update(sink, "second", 7, 0);
    cli_progress_free(p);
}

static void test_json(void **state)
{
    (void)state;
    assert_string_equal(captured(show_json), "{\"event\":\"note\",\"text\":\"a \\\"quoted\\\" \\\\ note\\\\x0a\"}\n"
                                             "{\"event\":\"progress\",\"what\":\"first\",\"done\":10,\"total\":10,\"rate\":0}\n"
                                             "{\"event\":\"progress\",\"what\":\"second\",\"done\":7,\"total\":0,\"rate\":0}\n");
}

static void show_none(void)
{
    struct cli_progress *p = cli_progress_new(CLI_PROGRESS_NONE);
    struct gv_log log = cli_progress_log(p, false);
    gv_progress_update(cli_progress_sink(p), "first", 1, 10);
    gv_warn(&log, "seen all the same");
    cli_progress_free(p);
}

static void test_none(void **state)
{
    (void)state;
    assert_string_equal(captured(show_none), "gvmkit: warning: seen all the same\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles),  cmocka_unit_test(test_compressions), cmocka_unit_test(test_edit_options),
        cmocka_unit_test(test_time_left), cmocka_unit_test(test_json),         cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
