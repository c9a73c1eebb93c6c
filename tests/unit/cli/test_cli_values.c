/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The values that people type: sizes, durations, numbers. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli/cli.h"

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = { { "0", 0 },
                 { "4096", 4096 },
                 { "12b", 12 },
                 { "1k", 1024 },
                 { "512m", 512ULL << 20 },
                 { "512M", 512ULL << 20 },
                 { "2g", 2ULL << 30 },
                 { "1.5G", 3ULL << 29 },
                 { "1GiB", 1ULL << 30 },
                 { "64MB", 64ULL << 20 },
                 { "1t", 1ULL << 40 } };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t v = 1;
        assert_int_equal(cli_size(good[i].text, &v, NULL), 0);
        assert_int_equal(v, good[i].bytes);
    }
    static const char *const bad[] = { "", "m", "-1", "+1", " 1", "1x", "1mm", "1mib2", "nan", "inf", "0x10g1", "99999999t", "1e999" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        uint64_t v;
        assert_int_equal(cli_size(bad[i], &v, &err), -1);
        assert_int_equal(err.code, GV_E_USAGE);
    }
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned ms;
    } good[] = { { "30", 30000 }, { "1.5s", 1500 }, { "250ms", 250 }, { "5m", 300000 }, { "1h", 3600000 } };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        unsigned ms = 0;
        assert_int_equal(cli_duration(good[i].text, &ms, NULL), 0);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = { "", "0", "-1", "s", "1x", "1000000h", "nan" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        unsigned ms;
        assert_int_equal(cli_duration(bad[i], &ms, NULL), -1);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_int_equal(cli_number("it", "64", 1, 64, &v, NULL), 0);
    assert_int_equal(v, 64);
    static const char *const bad[] = { "", "0", "65", "-1", "1 ", "0x1", "99999999999999999999999" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cli_number("it", bad[i], 1, 64, &v, NULL), -1);
}

static void test_formats(void **state)
{
    (void)state;
    char text[32];
    gv_format_size(text, 999);
    assert_string_equal(text, "999 B");
    gv_format_size(text, 1000);
    assert_string_equal(text, "1.0 KiB");
    gv_format_size(text, 131072);
    assert_string_equal(text, "128.0 KiB");
}

static void test_signals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int signal;
    } good[] = { { "TERM", 15 }, { "SIGTERM", 15 }, { "sigkill", 9 }, { "1", 1 }, { "SIG10", 10 } };
    int v;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(cli_signal(good[i].text, &v, NULL), 0);
        assert_int_equal(v, good[i].signal);
    }
    assert_int_equal(cli_signal("SIGRTMIN+3", &v, NULL), 0);
    assert_int_equal(v, SIGRTMIN + 3);
    assert_int_equal(cli_signal("RTMIN", &v, NULL), 0);
    assert_int_equal(v, SIGRTMIN);
    static const char *const bad[] = { "", "SIG", "0", "65", "-1", "9x", "NONE", "RTMIN+", "RTMIN+99", "RTMIN-1" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cli_signal(bad[i], &v, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_sizes), cmocka_unit_test(test_durations), cmocka_unit_test(test_numbers),
                                        cmocka_unit_test(test_formats), cmocka_unit_test(test_signals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
