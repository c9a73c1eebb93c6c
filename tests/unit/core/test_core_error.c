/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Errors and notes: what reaches the user is one line that cannot steer the terminal. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/core.h"

static void test_set_fills_everything(void **state)
{
    (void)state;
    struct gv_error e = GV_ERROR_INIT;
    errno = EINTR;
    assert_int_equal(gv_error_set(&e, GV_E_IO, ENOSPC, "cannot write `%s`", "x"), -1);
    assert_int_equal(e.code, GV_E_IO);
    assert_int_equal(e.sys, ENOSPC);
    assert_string_equal(e.msg, "cannot write `x`: No space left on device");
    assert_int_equal(errno, EINTR);

    gv_error_set(&e, GV_E_FORMAT, 0, "plain");
    assert_int_equal(e.code, GV_E_FORMAT);
    assert_int_equal(e.sys, 0);
    assert_string_equal(e.msg, "plain");

    gv_error_clear(&e);
    assert_int_equal(e.code, GV_OK);
    assert_int_equal(e.sys, 0);
    assert_string_equal(e.msg, "");
}

static void test_errno_is_taken_before_it_changes(void **state)
{
    (void)state;
    struct gv_error e = GV_ERROR_INIT;
    errno = EACCES;
    assert_int_equal(gv_error_errno(&e, "cannot open `%s`", "f"), -1);
    assert_int_equal(e.sys, EACCES);
    assert_string_equal(e.msg, "cannot open `f`: Permission denied");
    assert_int_equal(errno, EACCES);
}

static void test_null_error_is_allowed(void **state)
{
    (void)state;
    errno = EPERM;
    assert_int_equal(gv_error_set(NULL, GV_E_IO, 1, "%s", "x"), -1);
    assert_int_equal(gv_error_prefix(NULL, "%s", "x"), -1);
    assert_int_equal(gv_error_hint(NULL, "%s", "x"), -1);
    gv_error_clear(NULL);
    assert_int_equal(errno, EPERM);
}

static void test_prefix_and_hint(void **state)
{
    (void)state;
    struct gv_error e = GV_ERROR_INIT;
    gv_error_set(&e, GV_E_NOT_FOUND, ENOENT, "cannot open `%s`", "b");
    assert_int_equal(gv_error_prefix(&e, "reading layer %d", 3), -1);
    assert_int_equal(gv_error_hint(&e, "try `%s`", "gvmkit doctor"), -1);
    assert_string_equal(e.msg, "reading layer 3: cannot open `b`: No such file or directory; try `gvmkit doctor`");
    assert_int_equal(e.code, GV_E_NOT_FOUND);
    assert_int_equal(e.sys, ENOENT);
}

/* A message may be made from the one before. */
static void test_set_from_its_own_message(void **state)
{
    (void)state;
    struct gv_error e = GV_ERROR_INIT;
    gv_error_set(&e, GV_E_IO, 0, "inner");
    gv_error_set(&e, GV_E_FORMAT, 0, "outer (%s)", e.msg);
    assert_string_equal(e.msg, "outer (inner)");
}

static void test_control_bytes_are_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "a\nb", "a\\x0ab" },
        { "\033[31mred\007", "\\x1b[31mred\\x07" },
        { "\x7f", "\\x7f" },
        { "tab\there", "tab\\x09here" },
        { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },                       /* two bytes */
        { "\xe2\x82\xac \xf0\x9f\x90\xb3", "\xe2\x82\xac \xf0\x9f\x90\xb3" }, /* three and four bytes */
        { "\xc3", "\\xc3" },                                                  /* cut short */
        { "\xff\xfe", "\\xff\\xfe" },                                         /* never valid */
        { "\xc0\xaf", "\\xc0\\xaf" },                                         /* overlong */
        { "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },                                /* overlong */
        { "\xed\xa0\x80", "\\xed\\xa0\\x80" },                                /* a surrogate */
        { "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },                       /* above U+10FFFF */
        { "\xc2\x9b"
          "31m",
          "\\xc2\\x9b31m" }, /* CSI as a C1 control */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gv_error e = GV_ERROR_INIT;
        gv_error_set(&e, GV_E_FORMAT, 0, "%s", cases[i].in);
        assert_string_equal(e.msg, cases[i].out);
        gv_error_prefix(&e, "%s", cases[i].in);
        cleanup_free char *twice = gv_asprintf("%s: %s", cases[i].out, cases[i].out);
        assert_string_equal(e.msg, twice);
    }
}

static void test_long_messages_are_cut_cleanly(void **state)
{
    (void)state;
    char big[5000];
    for (size_t len = 1000; len < 1040; len++) {
        for (size_t i = 0; i < len; i++)
            big[i] = i % 2 ? '\xbc' : '\xc3';
        big[len & ~(size_t)1] = '\0';
        struct gv_error e = GV_ERROR_INIT;
        gv_error_set(&e, GV_E_FORMAT, 0, "%s", big);
        size_t got = strlen(e.msg);
        assert_true(got < sizeof(e.msg));
        assert_int_equal(got % 2, 0); /* no half of a character */
        assert_memory_equal(e.msg, big, got);
    }
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    struct gv_error e = GV_ERROR_INIT;
    gv_error_set(&e, GV_E_FORMAT, EIO, "%s", big);
    gv_error_hint(&e, "%s", big);
    gv_error_prefix(&e, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    memset(big, '\001', sizeof(big) - 1);
    gv_error_set(&e, GV_E_FORMAT, 0, "%s", big);
    assert_true(strlen(e.msg) % 4 == 0 && strlen(e.msg) < sizeof(e.msg));
}

struct seen {
    int count;
    enum gv_log_level level;
    char text[2048];
};

static void remember(void *user, enum gv_log_level level, const char *text)
{
    struct seen *s = user;
    s->count++;
    s->level = level;
    assert_true(strlen(text) < sizeof(s->text));
    strcpy(s->text, text);
}

static void test_notes_are_cleaned_too(void **state)
{
    (void)state;
    struct seen s = { 0 };
    struct gv_log log = { remember, &s };
    gv_warn(&log, "odd name `%s`", "a\033b");
    assert_int_equal(s.count, 1);
    assert_int_equal(s.level, GV_LOG_WARNING);
    assert_string_equal(s.text, "odd name `a\\x1bb`");
    gv_note(NULL, "nobody listens");
    gv_debug(&(struct gv_log){ 0 }, "nobody listens");
    gv_debug(&log, "%d", 7);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.level, GV_LOG_DEBUG);
    assert_string_equal(s.text, "7");
}

static void see_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct seen *s = user;
    s->count += (int)(done + total);
    strcpy(s->text, what);
}

static void test_progress_may_have_no_receiver(void **state)
{
    (void)state;
    struct seen s = { 0 };
    struct gv_progress p = { see_progress, &s };
    gv_progress_update(&p, "layers", 1, 2);
    assert_int_equal(s.count, 3);
    assert_string_equal(s.text, "layers");
    gv_progress_update(NULL, "layers", 1, 2);
    gv_progress_update(&(struct gv_progress){ 0 }, "layers", 1, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_fills_everything),          cmocka_unit_test(test_errno_is_taken_before_it_changes),
        cmocka_unit_test(test_null_error_is_allowed),         cmocka_unit_test(test_prefix_and_hint),
        cmocka_unit_test(test_set_from_its_own_message),      cmocka_unit_test(test_control_bytes_are_replaced),
        cmocka_unit_test(test_long_messages_are_cut_cleanly), cmocka_unit_test(test_notes_are_cleaned_too),
        cmocka_unit_test(test_progress_may_have_no_receiver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
