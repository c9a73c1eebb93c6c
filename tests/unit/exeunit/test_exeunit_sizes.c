/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sizes as ExeUnits and people write them. */
#include "exeunit_test.h"

#include "exeunit/exeunit.h"

static void test_good(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes, slack;
    } good[] = {
        { "0", 0, 0 },
        { "4096", 4096, 0 },
        { "999 B", 999, 0 },
        { "1073.7 MB", 1073700000, 50000 },
        { "10.7 GB", UINT64_C(10700000000), 50000000 },
        { "2.1 GB", 2100000000, 50000000 },
        { "10.5 MB", 10500000, 50000 },
        { "1048.6 KB", 1048600, 50 },
        { "536.9MB", 536900000, 50000 },
        { " 1 GiB ", 1 << 30, 0 },
        { "1.5 gib", 3U << 29, 53687091 },
        { "512m", 512000000, 0 },
        { "512mi", 512 << 20, 0 },
        { "2T", UINT64_C(2000000000000), 0 },
        { "1 PiB", UINT64_C(1) << 50, 0 },
        { ".5k", 500, 50 },
        { "0.123456789 GB", 123456789, 0 },
        { "1kB", 1000, 0 },
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t bytes, slack;
        struct gv_error err = GV_ERROR_INIT;
        if (exeunit_size(good[i].text, &bytes, &slack, &err) < 0)
            fail_msg("`%s`: %s", good[i].text, err.msg);
        assert_int_equal(bytes, good[i].bytes);
        assert_int_equal(slack, good[i].slack);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       " ",
                                       "MB",
                                       "-1",
                                       "+1",
                                       "1..5 MB",
                                       "1.5",
                                       "1.5 B",
                                       "1,5 MB",
                                       "1 XB",
                                       "1 MBB",
                                       "1 MB x",
                                       "1 Mib i",
                                       "0x10",
                                       "1e3",
                                       "nan",
                                       "inf",
                                       "5000 PB",
                                       "99999999999999999999999999 GB",
                                       "1 iB",
                                       ". MB",
                                       "1 KiBs",
                                       "18446744073709551617",
                                       "0.0000000000000000000000000000000000001 GB" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t bytes;
        struct gv_error err = GV_ERROR_INIT;
        if (exeunit_size(bad[i], &bytes, NULL, &err) == 0)
            fail_msg("`%s` was taken", bad[i]);
        assert_int_equal(err.code, GV_E_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_bad) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
