/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The file with the accounts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "registry/registry.h"

struct place {
    char *dir, *file;
};

static int make_place(void **state)
{
    struct place *p = gv_new(struct place);
    p->dir = gv_strdup("/tmp/gvmkit-test-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->file = gv_asprintf("%s/gvmkit/registry.json", p->dir);
    setenv("XDG_CONFIG_HOME", p->dir, 1);
    unsetenv("REGISTRY_USER");
    unsetenv("REGISTRY_TOKEN");
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    assert_int_equal(gv_remove_tree(p->dir, NULL), 0);
    free(p->dir);
    free(p->file);
    free(p);
    return 0;
}

static void assert_login(const char *base, const char *user, const char *token)
{
    cleanup_login struct registry_login l = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int status = registry_login_find(base, &l, &err);
    assert_int_equal(status, user ? 0 : -1);
    if (user) {
        assert_string_equal(l.user, user);
        assert_string_equal(l.token, token);
    } else {
        assert_int_equal(err.code, GV_E_NOT_FOUND);
    }
}

static void kept(void **state)
{
    struct place *p = *state;
    struct registry_login alice = { .user = (char[]){ "alice" }, .token = (char[]){ "a:b\"c" } };
    struct registry_login bob = { .user = (char[]){ "bob" }, .token = (char[]){ "x" } };
    struct stat st;
    bool forgotten;
    assert_login("https://one", NULL, NULL);
    assert_int_equal(registry_login_save("https://one", &alice, NULL), 0);
    assert_int_equal(registry_login_save("https://two", &bob, NULL), 0);
    assert_int_equal(stat(p->file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_login("https://one", "alice", "a:b\"c");
    assert_login("https://two", "bob", "x");
    assert_int_equal(registry_login_save("https://one", &bob, NULL), 0);
    assert_login("https://one", "bob", "x");
    assert_int_equal(registry_login_forget("https://one", &forgotten, NULL), 0);
    assert_true(forgotten);
    assert_login("https://one", NULL, NULL);
    assert_login("https://two", "bob", "x");
    assert_int_equal(registry_login_forget("https://one", &forgotten, NULL), 0);
    assert_false(forgotten);
}

static void environment(void **state)
{
    (void)state;
    struct registry_login alice = { .user = (char[]){ "alice" }, .token = (char[]){ "t" } };
    assert_int_equal(registry_login_save("https://one", &alice, NULL), 0);
    setenv("REGISTRY_USER", "bob", 1);
    assert_login("https://one", "alice", "t");
    setenv("REGISTRY_TOKEN", "x", 1);
    assert_login("https://one", "bob", "x");
    assert_login("https://two", "bob", "x");
}

static void refused(void **state)
{
    struct place *p = *state;
    struct registry_login alice = { .user = (char[]){ "alice" }, .token = (char[]){ "t" } },
                          bad = { .user = (char[]){ "\xff" }, .token = alice.token };
    struct gv_error err = GV_ERROR_INIT;
    cleanup_login struct registry_login l = { 0 };
    assert_int_equal(registry_login_save("https://one", &bad, &err), -1);
    assert_int_equal(registry_login_save("https://one", &alice, NULL), 0);
    assert_int_equal(chmod(p->file, 0640), 0);
    assert_int_equal(registry_login_find("https://one", &l, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
    FILE *f = fopen(p->file, "w");
    assert_non_null(f);
    fputs("[", f);
    fclose(f);
    assert_int_equal(chmod(p->file, 0600), 0);
    assert_int_equal(registry_login_find("https://one", &l, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    assert_int_equal(registry_login_save("https://one", &alice, &err), -1);
    /* Nothing secret goes unencrypted to another machine; nobody is asked here. */
    assert_int_equal(registry_login_check(NULL, "http://example.org", &alice, false, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kept, make_place, remove_place),
        cmocka_unit_test_setup_teardown(environment, make_place, remove_place),
        cmocka_unit_test_setup_teardown(refused, make_place, remove_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
