/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines of `gvmkit dbg --exec-mode exec`. */
#include "exeunit_test.h"

#include "exeunit/exeunit.h"

static void check(const char *line, const char *want)
{
    cleanup_strv struct gv_strv words = { 0 };
    cleanup_buf struct gv_buf b = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int status = exeunit_words(line, &words, &err);
    if (!want) {
        assert_int_equal(status, -1);
        assert_int_equal(err.code, GV_E_USAGE);
        return;
    }
    assert_int_equal(status, 0);
    for (size_t i = 0; i < words.count; i++)
        gv_buf_addf(&b, "[%s]", words.items[i]);
    assert_string_equal(gv_buf_str(&b), want);
}

static void test_words(void **state)
{
    (void)state;
    check("", "");
    check("  \t ", "");
    check("/bin/echo a  b", "[/bin/echo][a][b]");
    check("a 'b c' \"d e\" f\\ g", "[a][b c][d e][f g]");
    check("a '' \"\"", "[a][][]");
    check("'a'\"b\"c", "[abc]");
    check("'a\"b' \"c'd\" \"e\\\"f\\\\g\\h\" 'i\\j'", "[a\"b][c'd][e\"f\\g\\h][i\\j]");
    check("a 'b", NULL);
    check("a \"b", NULL);
    check("a b\\", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_words) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
