/* SPDX-License-Identifier: GPL-3.0-or-later */
/* References, names of images as Docker completes them, platforms. */
#include "helper.h"

#include "source/names.h"

static void test_normalise(void **state)
{
    (void)state;
    static const struct {
        const char *name, *full;
    } names[] = {
        { "alpine", "docker.io/library/alpine:latest" },
        { "alpine:3.18", "docker.io/library/alpine:3.18" },
        { "library/alpine", "docker.io/library/alpine:latest" },
        { "docker.io/alpine", "docker.io/library/alpine:latest" },
        { "index.docker.io/library/alpine:1", "docker.io/library/alpine:1" },
        { "golemfactory/blender:1.10", "docker.io/golemfactory/blender:1.10" },
        { "localhost/x", "localhost/x:latest" },
        { "localhost:5000/x/y:z", "localhost:5000/x/y:z" },
        { "registry.example.org:443/a/b/c:v1.2-x_y", "registry.example.org:443/a/b/c:v1.2-x_y" },
        { "[::1]:5000/x", "[::1]:5000/x:latest" },
        { "host:5000/x", "host:5000/x:latest" },
        { "host/x:5000", "docker.io/host/x:5000" },
        { "a/b@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
          "docker.io/a/b@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" },
        { "a:t@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
          "docker.io/library/a@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" },
        { "", NULL },
        { ":tag", NULL },
        { "a:", NULL },
        { "Alpine", NULL },
        { "a//b", NULL },
        { "/a", NULL },
        { "a/", NULL },
        { "a b", NULL },
        { "-a", NULL },
        { "a:.b", NULL },
        { "a:b:c", NULL },
        { "a@sha256:1", NULL },
        { "a@", NULL },
        { "ho st.x/a", NULL },
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char *full = name_normalise(names[i].name);
        if ((full == NULL) != (names[i].full == NULL) || (full && strcmp(full, names[i].full) != 0))
            fail_msg("`%s` became `%s`", names[i].name, full ? full : "(invalid)");
        free(full);
    }
    assert_true(name_equal("alpine", "docker.io/library/alpine:latest"));
    assert_false(name_equal("alpine", "alpine:3"));
    assert_false(name_equal("", ""));
    char longest[700];
    memset(longest, 'a', sizeof(longest));
    longest[699] = '\0';
    assert_null(name_normalise(longest));
}

static void check_reference(const char *text, enum transport transport, const char *path, const char *name)
{
    struct source_reference r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (source_reference_parse(&r, text, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    assert_int_equal(r.transport, transport);
    assert_string_equal(r.path, path);
    if (name)
        assert_string_equal(r.name, name);
    else
        assert_null(r.name);
    source_reference_clear(&r);
}

static void test_references(void **state)
{
    (void)state;
    check_reference("/no/file.tar", TRANSPORT_ANY, "/no/file.tar", NULL);
    check_reference("docker-archive:/no/file.tar", TRANSPORT_DOCKER_ARCHIVE, "/no/file.tar", NULL);
    check_reference("docker-archive:/no/file.tar:alpine:3", TRANSPORT_DOCKER_ARCHIVE, "/no/file.tar", "alpine:3");
    check_reference("docker-archive:/no/file.tar:host:5000/a:3", TRANSPORT_DOCKER_ARCHIVE, "/no/file.tar", "host:5000/a:3");
    check_reference("oci:/no/dir:latest", TRANSPORT_OCI, "/no/dir", "latest");
    check_reference("oci-archive:/no/f:v", TRANSPORT_OCI_ARCHIVE, "/no/f", "v");
    check_reference("oci:/no/dir:", TRANSPORT_OCI, "/no/dir", NULL);

    /* A colon in the name of a file that exists. */
    char *dir = temp_make(), *with = path_in(dir, "a:b"), *text = gv_asprintf("docker-archive:%s", with);
    write_file(with, "", 0);
    check_reference(with, TRANSPORT_ANY, with, NULL);
    check_reference(text, TRANSPORT_DOCKER_ARCHIVE, with, NULL);
    char *tagged = gv_asprintf("docker-archive:%s:c:d", with);
    check_reference(tagged, TRANSPORT_DOCKER_ARCHIVE, with, "c:d");
    free(tagged);
    free(text);
    free(with);
    temp_remove(dir);

    struct source_reference r = { 0 };
    assert_int_equal(source_reference_parse(&r, "", NULL), -1);
    source_reference_clear(&r);
    assert_int_equal(source_reference_parse(&r, "oci:", NULL), -1);
    source_reference_clear(&r);
    assert_int_equal(source_reference_parse(&r, "docker-archive::a", NULL), -1);
    source_reference_clear(&r);
}

static void test_platforms(void **state)
{
    (void)state;
    struct platform p = { 0 }, q = { 0 };
    assert_int_equal(platform_parse(&p, NULL, NULL), 0);
    char *text = platform_format(&p);
    assert_string_equal(text, "linux/amd64");
    free(text);
    assert_int_equal(platform_parse(&q, "linux/arm/v7", NULL), 0);
    text = platform_format(&q);
    assert_string_equal(text, "linux/arm/v7");
    free(text);
    assert_false(platform_fits(&p, &q));
    assert_true(platform_fits(&p, &p));
    char os[] = "linux", arm[] = "arm", v6[] = "v6";
    assert_true(platform_fits(&q, &(struct platform){ .os = os, .architecture = arm }));
    assert_false(platform_fits(&q, &(struct platform){ .os = os, .architecture = arm, .variant = v6 }));
    assert_true(platform_fits(&p, &(struct platform){ 0 }));
    platform_clear(&p);
    platform_clear(&q);
    static const char *const bad[] = { "", "linux", "/", "linux/", "/amd64", "linux//v7", "a/b/c/d", "a/b/" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (platform_parse(&p, bad[i], NULL) == 0)
            fail_msg("`%s` is accepted", bad[i]);
}

static void test_lists(void **state)
{
    (void)state;
    struct gv_strv v = { 0 };
    char *text = name_list(&v);
    assert_string_equal(text, "none");
    free(text);
    gv_strv_add(&v, "a");
    gv_strv_add(&v, "b");
    text = name_list(&v);
    assert_string_equal(text, "a, b");
    free(text);
    for (int i = 0; i < 30; i++)
        gv_strv_add(&v, "c");
    text = name_list(&v);
    assert_non_null(strstr(text, " and 12 more"));
    free(text);
    gv_strv_clear(&v);
}

static void test_forms_of_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *familiar, *repository;
    } cases[] = {
        { "alpine", "alpine:latest", "docker.io/library/alpine" },
        { "docker.io/library/alpine:3", "alpine:3", "docker.io/library/alpine" },
        { "team/app:1", "team/app:1", "docker.io/team/app" },
        { "localhost:5000/library/app", "localhost:5000/library/app:latest", "localhost:5000/library/app" },
        { "[::1]:5000/a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
          "[::1]:5000/a@sha256:0000000000000000000000000000000000000000000000000000000000000000", "[::1]:5000/a" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char *full = name_normalise(cases[i].name);
        assert_non_null(full);
        char *familiar = name_familiar(full), *repository = name_repository(cases[i].name);
        assert_string_equal(familiar, cases[i].familiar);
        assert_string_equal(repository, cases[i].repository);
        assert_true(name_equal(familiar, cases[i].name));
        free(full);
        free(familiar);
        free(repository);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalise), cmocka_unit_test(test_references),     cmocka_unit_test(test_platforms),
        cmocka_unit_test(test_lists),     cmocka_unit_test(test_forms_of_names),
    };
    return cmocka_run_group_tests_name("source_names", tests, NULL, NULL);
}
