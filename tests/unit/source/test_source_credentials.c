/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Logins: the files of docker and podman, their helpers. */
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "source/archive.h"
#include "source/credentials.h"

/* ---- one file ---- */

static int in_file(struct credentials *c, const char *text, const char *host, const char *repository, char **helper, struct gv_error *err)
{
    cleanup_json json_t *j = json_parse(text, strlen(text), NULL);
    assert_non_null(j);
    return credentials_in_file(c, j, host, repository, helper, err);
}

#define assert_login(text, host, repository, user_, password_)                                                                             \
    do {                                                                                                                                   \
        cleanup_credentials struct credentials c_ = { 0 };                                                                                 \
        cleanup_free char *helper_ = NULL;                                                                                                 \
        assert_int_equal(in_file(&c_, text, host, repository, &helper_, NULL), 1);                                                         \
        assert_string_equal(c_.user, user_);                                                                                               \
        assert_string_equal(c_.password, password_);                                                                                       \
        assert_null(helper_);                                                                                                              \
    } while (0)

static void test_forms(void **state)
{
    (void)state;
    /* dXNlcjpwOnc= is "user:p:w" */
    assert_login("{\"auths\":{\"example.org\":{\"auth\":\"dXNlcjpwOnc=\"}}}", "example.org", "a/b", "user", "p:w");
    assert_login("{\"auths\":{\"example.org\":{\"username\":\"u\",\"password\":\"p\"}}}", "example.org", "a/b", "u", "p");
    assert_login("{\"auths\":{\"https://example.org:5000/v2/\":{\"auth\":\"dXNlcjpwOnc=\"}}}", "example.org:5000", "a", "user", "p:w");
    assert_login("{\"auths\":{\"http://example.org/v1/\":{\"auth\":\"dXNlcjpwOnc=\"}}}", "example.org", "a", "user", "p:w");
    /* All names of the hub are one. */
    assert_login("{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dXNlcjpwOnc=\"}}}", "docker.io", "library/alpine", "user", "p:w");
    assert_login("{\"auths\":{\"docker.io\":{\"auth\":\"dXNlcjpwOnc=\"}}}", "docker.io", "library/alpine", "user", "p:w");
}

static void test_most_specific(void **state)
{
    (void)state;
    static const char text[] = "{\"auths\":{\"example.org\":{\"username\":\"all\",\"password\":\"1\"},"
                               "\"example.org/team\":{\"username\":\"team\",\"password\":\"2\"},"
                               "\"example.org/team/app\":{\"username\":\"app\",\"password\":\"3\"}}}";
    assert_login(text, "example.org", "team/app", "app", "3");
    assert_login(text, "example.org", "team/app2", "team", "2"); /* not a part of a name */
    assert_login(text, "example.org", "other", "all", "1");
}

static void test_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"auths\":{\"example.com\":{\"auth\":\"dXNlcjpwOnc=\"}}}",
        "{\"auths\":{\"example.org:5000\":{\"auth\":\"dXNlcjpwOnc=\"}}}",
        "{\"auths\":{\"xample.org\":{\"auth\":\"dXNlcjpwOnc=\"}, \"\":{\"auth\":\"dXNlcjpwOnc=\"}}}",
        "{\"auths\":{\"example.org/b\":{\"auth\":\"dXNlcjpwOnc=\"}}}",
        "{\"auths\":{\"example.org\":{}}}",
        "{\"auths\":{\"example.org\":\"text\"}}",
        "{\"auths\":[1,2],\"credHelpers\":7,\"credsStore\":{}}",
        "{\"auths\":{\"example.org\":{\"username\":\"u\"}}}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        cleanup_credentials struct credentials c = { 0 };
        cleanup_free char *helper = NULL;
        assert_int_equal(in_file(&c, texts[i], "example.org", "a", &helper, NULL), 0);
        assert_null(c.user);
        assert_null(c.token);
        assert_null(helper);
    }
    static const char *const broken[] = {
        "{\"auths\":{\"example.org\":{\"auth\":\"%%%%\"}}}", "{\"auths\":{\"example.org\":{\"auth\":\"abc\"}}}",
        "{\"auths\":{\"example.org\":{\"auth\":\"bm9jb2xvbg==\"}}}", /* "nocolon" */
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        cleanup_credentials struct credentials c = { 0 };
        cleanup_free char *helper = NULL;
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(in_file(&c, broken[i], "example.org", "a", &helper, &err), -1);
        assert_int_equal(err.code, GV_E_FORMAT);
    }
}

static void test_tokens_and_helpers(void **state)
{
    (void)state;
    cleanup_credentials struct credentials c = { 0 };
    cleanup_free char *helper = NULL, *none = NULL, *all = NULL;
    assert_int_equal(in_file(&c, "{\"auths\":{\"example.org\":{\"auth\":\"dXNlcjpwOnc=\",\"identitytoken\":\"tok\"}}}", "example.org", "a",
                             &helper, NULL),
                     1);
    assert_string_equal(c.token, "tok");
    static const char text[] = "{\"auths\":{\"example.org\":{}},\"credHelpers\":{\"example.org\":\"special\"},\"credsStore\":\"general\"}";
    cleanup_credentials struct credentials d = { 0 };
    assert_int_equal(in_file(&d, text, "example.org", "a", &none, NULL), 0);
    assert_string_equal(none, "special");
    assert_int_equal(in_file(&d, text, "example.com", "a", &all, NULL), 0);
    assert_string_equal(all, "general");
}

/* ---- helpers ---- */

static char *old_path;

static void write_helper(const char *dir, const char *name, const char *script)
{
    cleanup_free char *path = gv_asprintf("%s/docker-credential-%s", dir, name);
    write_file(path, script, strlen(script));
    assert_int_equal(chmod(path, 0755), 0);
}

static void test_helper(void **state)
{
    const char *dir = *state;
    write_helper(dir, "plain",
                 "#!/bin/sh\n[ \"$1\" = get ] || exit 3\nread -r server || [ -n \"$server\" ]\n"
                 "printf '{\"ServerURL\":\"%s\",\"Username\":\"u-%s\",\"Secret\":\"s\"}' \"$server\" \"$server\"\n");
    cleanup_credentials struct credentials c = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (credentials_from_helper(&c, "plain", "example.org:5000", &err) != 1)
        fail_msg("%s", err.msg);
    assert_string_equal(c.user, "u-example.org:5000");
    assert_string_equal(c.password, "s");
    cleanup_credentials struct credentials hub = { 0 };
    assert_int_equal(credentials_from_helper(&hub, "plain", "docker.io", NULL), 1);
    assert_string_equal(hub.user, "u-https://index.docker.io/v1/");

    write_helper(dir, "token", "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"identity\"}'\n");
    cleanup_credentials struct credentials t = { 0 };
    assert_int_equal(credentials_from_helper(&t, "token", "example.org", NULL), 1);
    assert_null(t.user);
    assert_string_equal(t.token, "identity");
}

static void test_helper_fails(void **state)
{
    const char *dir = *state;
    static const struct {
        const char *script;
        int result;
    } cases[] = {
        { "#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1\n", 0 },
        { "#!/bin/sh\necho '{\"Username\":\"u\",\"Secret\":\"\"}'\n", 0 },
        { "#!/bin/sh\necho 'the keychain is locked'\nexit 1\n", -1 },
        { "#!/bin/sh\nkill -9 $$\n", -1 },
        { "#!/bin/sh\necho 'not JSON'\n", -1 },
        { "#!/bin/sh\necho '{\"Username\":\"u\"}'\n", -1 },
        { "#!/bin/sh\nexec head -c 1000000 /dev/zero\n", -1 },
        { "#!/nonexistent/interpreter\n", -1 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        write_helper(dir, "bad", cases[i].script);
        cleanup_credentials struct credentials c = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        int got = credentials_from_helper(&c, "bad", "example.org", &err);
        if (got != cases[i].result)
            fail_msg("case %zu: %d, %s", i, got, err.msg);
        assert_null(c.user);
    }
    cleanup_credentials struct credentials c = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(credentials_from_helper(&c, "missing", "example.org", &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    static const char *const names[] = { "../../bin/sh", "a b", "x;y", "a/b" };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        assert_int_equal(credentials_from_helper(&c, names[i], "example.org", &err), -1);
        assert_int_equal(err.code, GV_E_FORMAT);
    }
}

/* ---- all files ---- */

static void put(const char *dir, const char *name, const char *user)
{
    cleanup_free char *path = gv_asprintf("%s/%s", dir, name), *parent = gv_strdup(path);
    *strrchr(parent, '/') = '\0';
    assert_int_equal(gv_mkdir_p(parent, 0700, NULL), 0);
    cleanup_free char *text = gv_asprintf("{\"auths\":{\"example.org\":{\"username\":\"%s\",\"password\":\"p\"}}}", user);
    write_file(path, text, strlen(text));
}

static void expect_user(const char *user)
{
    cleanup_credentials struct credentials c = { 0 };
    assert_int_equal(credentials_find(&c, "example.org", "a", NULL, NULL), 0);
    if (!user) {
        assert_null(c.user);
        assert_null(c.from);
    } else {
        assert_string_equal(c.user, user);
        assert_non_null(c.from);
    }
}

struct notes {
    int warnings;
    char last[1024];
};

static void note(void *user, enum gv_log_level level, const char *text)
{
    struct notes *n = user;
    if (level == GV_LOG_WARNING)
        n->warnings++;
    snprintf(n->last, sizeof(n->last), "%s", text);
}

static void test_files(void **state)
{
    const char *dir = *state;
    cleanup_free char *home = path_in(dir, "home"), *docker = path_in(dir, "docker"), *run = path_in(dir, "run"),
                      *config = path_in(dir, "config"), *only = path_in(dir, "only.json");
    setenv("HOME", home, 1);
    expect_user(NULL);
    put(home, ".docker/config.json", "docker");
    expect_user("docker");
    put(docker, "config.json", "docker-config");
    setenv("DOCKER_CONFIG", docker, 1);
    expect_user("docker-config");
    put(home, ".config/containers/auth.json", "home-config");
    expect_user("home-config");
    put(config, "containers/auth.json", "config");
    setenv("XDG_CONFIG_HOME", config, 1);
    expect_user("config");
    put(run, "containers/auth.json", "run");
    setenv("XDG_RUNTIME_DIR", run, 1);
    expect_user("run");
    put(dir, "only.json", "only");
    setenv("REGISTRY_AUTH_FILE", only, 1);
    expect_user("only");
    unlink(only);
    cleanup_credentials struct credentials c = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(credentials_find(&c, "example.org", "a", NULL, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
}

/* What is broken is told, and does not keep from going on. */
static void test_broken_files(void **state)
{
    const char *dir = *state;
    cleanup_free char *home = path_in(dir, "home"), *broken = path_in(dir, "home/.config/containers/auth.json");
    setenv("HOME", home, 1);
    put(home, ".docker/config.json", "docker");
    put(home, ".config/containers/auth.json", "x");
    write_file(broken, "{", 1);
    struct notes notes = { 0 };
    const struct gv_log log = { .write = note, .user = &notes };
    cleanup_credentials struct credentials c = { 0 };
    assert_int_equal(credentials_find(&c, "example.org", "a", &log, NULL), 0);
    assert_string_equal(c.user, "docker");
    assert_int_equal(notes.warnings, 1);
    assert_non_null(strstr(notes.last, "auth.json"));
    /* A helper that a file names, and that is not there. */
    static const char text[] = "{\"credsStore\":\"missing\"}";
    write_file(broken, text, strlen(text));
    cleanup_credentials struct credentials d = { 0 };
    assert_int_equal(credentials_find(&d, "example.org", "a", &log, NULL), 0);
    assert_string_equal(d.user, "docker");
    assert_int_equal(notes.warnings, 2);
    /* One that works. */
    write_helper(dir, "works", "#!/bin/sh\necho '{\"Username\":\"h\",\"Secret\":\"s\"}'\n");
    static const char works[] = "{\"credsStore\":\"works\"}";
    write_file(broken, works, strlen(works));
    cleanup_credentials struct credentials e = { 0 };
    assert_int_equal(credentials_find(&e, "example.org", "a", &log, NULL), 0);
    assert_string_equal(e.user, "h");
    assert_string_equal(e.from, "docker-credential-works");
}

static int setup(void **state)
{
    static const char *const variables[] = { "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG" };
    for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
        unsetenv(variables[i]);
    char *dir = temp_make();
    cleanup_free char *path = gv_asprintf("%s:%s", dir, old_path);
    setenv("PATH", path, 1);
    *state = dir;
    return 0;
}

static int teardown(void **state)
{
    temp_remove(*state);
    return 0;
}

int main(void)
{
    old_path = gv_strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_most_specific),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_tokens_and_helpers),
        cmocka_unit_test_setup_teardown(test_helper, setup, teardown),
        cmocka_unit_test_setup_teardown(test_helper_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_files, setup, teardown),
    };
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(old_path);
    return status;
}
