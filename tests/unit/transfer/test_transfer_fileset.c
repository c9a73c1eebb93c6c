/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Globs, and which files they mean. */
#include "transfer_test.h"

/* words: those that are to match, then a "|", then those that are not. */
static void check(const char *glob, const char *const *words)
{
    struct transfer_request r = { 0 };
    CLEANUP(fileset) struct fileset *f = NULL;
    struct gv_error err = GV_ERROR_INIT;
    gv_strv_add(&r.includes, glob);
    if (fileset_new(&f, &r, &err) < 0)
        fail_msg("%s: %s", glob, err.msg);
    bool want = true;
    for (; *words; words++) {
        if (!strcmp(*words, "|"))
            want = false;
        else if (fileset_has(f, *words) != want)
            fail_msg("`%s` and `%s`", glob, *words);
    }
    gv_strv_clear(&r.includes);
}
#define CHECK(glob, ...) check(glob, (const char *const[]){ __VA_ARGS__, NULL })

static void globs(void **state)
{
    (void)state;
    CHECK("*.txt", "a.txt", ".txt", "|", "d/a.txt", "a.txtx", "txt");
    CHECK("**/*.txt", "a.txt", "d/a.txt", "d/e/a.txt", "|", "a.bin", "d/a.txt/x");
    CHECK("a/**", "a/b", "a/b/c", "|", "a", "ab", "b/a");
    CHECK("a/**/z", "a/z", "a/b/z", "a/b/c/z", "|", "az", "a/bz", "z");
    CHECK("**", "a", "a/b");
    CHECK("**/* fil?.txt", "root file.txt", "w/second filx.txt", "|", "file.txt");
    CHECK("[a-c]?[!0-9]", "axb", "cxx", "|", "dxb", "ax1", "a/b");
    CHECK("[]-]x", "]x", "-x", "|", "ax");
    CHECK("{a,b{c,d}}/*", "a/x", "bc/x", "bd/x", "|", "b/x", "a", "c/x");
    CHECK("{,x}y", "y", "xy", "|", "yy");
    CHECK("\\*\\[\\{", "*[{", "|", "x[{");
    CHECK("a**b", "ab", "axb", "|", "a/b");
    CHECK("*", "a", "|", "a/b");
}

static void refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "[a", "{a", "a\\", "{a,b" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct transfer_request r = { 0 };
        struct fileset *f = NULL;
        gv_strv_add(&r.includes, bad[i]);
        assert_int_equal(fileset_new(&f, &r, NULL), -1);
        gv_strv_clear(&r.includes);
    }
    /* Doubled thirteen times. */
    struct transfer_request r = { 0 };
    struct fileset *f = NULL;
    struct gv_error err = GV_ERROR_INIT;
    gv_strv_add(&r.excludes, "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}");
    assert_int_equal(fileset_new(&f, &r, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    gv_strv_clear(&r.excludes);
}

static void sets(void **state)
{
    (void)state;
    uint64_t depth = 1;
    struct transfer_request r = { .depth = &depth };
    CLEANUP(fileset) struct fileset *f = NULL;
    gv_strv_add(&r.excludes, "**/*.tmp");
    assert_int_equal(fileset_new(&f, &r, NULL), 0);
    assert_true(fileset_has(f, "a"));
    assert_true(fileset_has(f, "a/b"));
    assert_false(fileset_has(f, "a/b/c"));
    assert_false(fileset_has(f, "a/b.tmp"));
    assert_true(fileset_enters(f, 1));
    assert_false(fileset_enters(f, 2));
    gv_strv_clear(&r.excludes);
}

/* A pattern and a name with which a backtracking matcher would be busy for years. */
static void expensive(void **state)
{
    (void)state;
    char name[2001];
    memset(name, 'a', 2000);
    name[2000] = '\0';
    CHECK("**/*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*ab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "|", name);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(globs), cmocka_unit_test(refused), cmocka_unit_test(sets),
                                        cmocka_unit_test(expensive) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
