/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The configuration that boots everywhere, in a tree and in a finished image alike. */
#include "fit.h"

static struct image_tree *tree_of_links(void)
{
    struct image_tree *t = tree_new();
    tree_dir(t, "run");
    tree_dir(t, "data/deep");
    tree_link(t, "var/run", "/run");
    tree_link(t, "up", "../../../data");
    tree_link(t, "chain", "up/deep");
    tree_link(t, "loop", "loop2");
    tree_link(t, "loop2", "/loop/x");
    tree_link(t, "dangling", "not/there");
    tree_link(t, "latin", "caf\xe9");
    tree_text(t, "file", "x");
    tree_link(t, "tofile", "file");
    tree_special(t, "fifo", IMAGE_FIFO, 0, 0);
    tree_text(t, "usr/bin/tool", "#!")->inode->mode = 0755;
    tree_text(t, "usr/bin/data", "not executable");
    tree_text(t, "app/run.sh", "#!")->inode->mode = 0755;
    tree_link(t, "bin", "usr/bin");
    tree_text(t, "etc/passwd",
              "root:x:0:0:root:/root:/bin/sh\n# comment:x:7:7\nbroken\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\n1000:x:5:5::/:\n"
              "bad:x:abc:1\nlong:x:99999999999:1\n:x:8:8\nlast:x:4294967294:12");
    tree_text(t, "etc/group", "root:x:0:\nstaff:x:50:alice\nbig:x:4294967295:\n");
    return t;
}

/* Runs fn on the tree and on the packed tree. */
static void both(void (*fn)(const struct look *))
{
    struct image_tree *t = tree_of_links();
    fn(&(struct look){ .tree = t });
    struct gvmi_image *img = packed(t, NULL);
    fn(&(struct look){ .img = img });
    gvmi_close(img);
    image_tree_free(t);
}

static void look(const struct look *l)
{
    static const struct {
        const char *path, *real;
        enum look_found found;
    } cases[] = {
        { "/", "/", LOOK_DIR },
        { "", "/", LOOK_DIR },
        { "data//./deep/", "/data/deep", LOOK_DIR },
        { "/var/run/x", "/run/x", LOOK_MISSING },
        { "/up", "/data", LOOK_DIR },
        { "/chain/new/er", "/data/deep/new/er", LOOK_MISSING },
        { "/var/run/../x", "/var/x", LOOK_MISSING }, /* dots go before links, as Docker does it */
        { "/../../data", "/data", LOOK_DIR },
        { "/loop", NULL, LOOK_NOWHERE },
        { "/loop/below", NULL, LOOK_NOWHERE },
        { "/dangling", "/not/there", LOOK_MISSING },
        { "/file", "/file", LOOK_FILE },
        { "/tofile", "/file", LOOK_FILE },
        { "/tofile/below", NULL, LOOK_NOWHERE },
        { "/fifo", "/fifo", LOOK_OTHER },
        { "/nothing/at/all", "/nothing/at/all", LOOK_MISSING },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cleanup_look_end struct look_end end = { 0 };
        assert_int_equal(look_up(l, cases[i].path, &end, NULL), 0);
        assert_int_equal(end.found, cases[i].found);
        assert_true(cases[i].real ? end.real && strcmp(end.real, cases[i].real) == 0 : !end.real);
    }
}

static void test_look(void **state)
{
    (void)state;
    both(look);
}

static void test_clean(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "/a/../b//c/.", "/b/c" }, { "a", "/a" },      { "/..", "/" },     { "/a/..", "/" }, { "/a/./b/", "/a/b" }, { "//", "/" },
        { "/a/../../../b", "/b" },  { "/...", "/..." }, { "/a b", "/a b" }, { "", "/" }
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cleanup_free char *clean = look_clean(cases[i][0]);
        assert_string_equal(clean, cases[i][1]);
    }
}

static void volumes(const struct look *l)
{
    struct image_config c = { 0 };
    struct notes n;
    notes_begin(&n);
    add_words(&c.volumes, "/data/deep", "/srv/v/", "/a//b/./c", "/var/run/x", "/chain", "/up/deep/", "relative", "/x/../y", "/", "/.",
              "/proc/x", "/sys", "/loop/x", "/file", "/file/below", "/fifo", "/processes", "/latin/x", NULL);
    assert_int_equal(config_fit(&c, l, &n.log, NULL), 0);
    assert_string_equal(joined(&c.volumes), "/a/b/c /data/deep /processes /relative /run/x /srv/v /y");
    assert_int_equal(notes_with(&n, "is left out"), 9);
    assert_int_equal(notes_with(&n, "VOLUME /var/run/x is /run/x now"), 1);
    assert_int_equal(notes_with(&n, "VOLUME /srv/v/ is /srv/v now"), 1);
    assert_int_equal(notes_with(&n, "VOLUME /data/deep "), 0);
    notes_end(&n);

    /* what has been put right stays as it is */
    notes_begin(&n);
    assert_int_equal(config_fit(&c, l, &n.log, NULL), 0);
    assert_string_equal(joined(&c.volumes), "/a/b/c /data/deep /processes /relative /run/x /srv/v /y");
    assert_int_equal(n.lines.count, 0);
    notes_end(&n);
    image_config_clear(&c);
}

static void test_volumes(void **state)
{
    (void)state;
    both(volumes);
}

static void programs(const struct look *l)
{
    static const struct {
        const char *path, *workdir, *program, *wanted;
    } cases[] = {
        { NULL, NULL, "tool", "/usr/bin/tool" },
        { "PATH=/nowhere:relative::/bin", NULL, "tool", "/bin/tool" },
        { "PATH=/nowhere", NULL, "tool", "tool" },
        { NULL, NULL, "data", "data" },
        { NULL, NULL, "/bin/missing", "/bin/missing" },
        { NULL, "/app", "./run.sh", "/app/run.sh" },
        { NULL, "/app", "../usr/bin/tool", "/usr/bin/tool" },
        { NULL, "/app", "./nothing", "./nothing" },
        { NULL, NULL, "", "" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int entrypoint = 0; entrypoint < 2; entrypoint++) {
            struct image_config c = { 0 };
            if (cases[i].path)
                gv_strv_add(&c.env, cases[i].path);
            c.workdir = cases[i].workdir ? gv_strdup(cases[i].workdir) : NULL;
            if (entrypoint)
                add_words(&c.entrypoint, cases[i].program, "tool", NULL);
            add_words(&c.cmd, entrypoint ? "tool" : cases[i].program, "tool", NULL);
            assert_int_equal(config_fit(&c, l, NULL, NULL), 0);
            assert_string_equal(entrypoint ? c.entrypoint.items[0] : c.cmd.items[0], cases[i].wanted);
            assert_string_equal(c.cmd.items[1], "tool");
            if (entrypoint) /* words of CMD are arguments then */
                assert_string_equal(c.cmd.items[0], "tool");
            image_config_clear(&c);
        }
    }
}

static void test_programs(void **state)
{
    (void)state;
    both(programs);
}

static void users(const struct look *l)
{
    static const struct {
        const char *user, *wanted; /* NULL: refused */
    } cases[] = {
        { "alice", "1000:1001" },
        { "1000", "1000:1001" },
        { "alice:staff", "1000:50" },
        { "alice:7", "1000:7" },
        { "4242", "4242:0" },
        { "4242:staff", "4242:50" },
        { ":staff", "0:50" },
        { "alice:", "1000:1001" },
        { "root", "0:0" },
        { "last", "4294967294:12" },
        { "4294967295", NULL },
        { "nobody", NULL },
        { "alice:nogroup", NULL },
        { "alice:big", NULL },
        { "bad", NULL },
        { "alice:4294967295", NULL },
        { "-1", NULL },
        { "#", NULL },
        { "alice:x:y", NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct image_config c = { .user = gv_strdup(cases[i].user) };
        struct gv_error err = GV_ERROR_INIT;
        int status = config_numeric_user(&c, l, &err);
        assert_int_equal(status, cases[i].wanted ? 0 : -1);
        assert_string_equal(c.user, cases[i].wanted ? cases[i].wanted : cases[i].user);
        image_config_clear(&c);
    }
    struct image_config none = { 0 };
    assert_int_equal(config_numeric_user(&none, l, NULL), 0);
    assert_null(none.user);
}

static void test_users(void **state)
{
    (void)state;
    both(users);
}

static void test_workdir(void **state)
{
    (void)state;
    struct image_config c = { .workdir = gv_strdup("a/../b/") };
    struct notes n;
    notes_begin(&n);
    config_fit_workdir(&c, &n.log);
    assert_string_equal(c.workdir, "/b");
    assert_int_equal(n.lines.count, 1);
    notes_end(&n);
    image_config_clear(&c);
}

/* Everything odd at once: nothing is left that lint would say of providers. */
static void test_lint_is_silent(void **state)
{
    (void)state;
    struct image_tree *t = tree_of_links();
    struct image_config c = { .workdir = gv_strdup("data"), .has_entrypoint = true };
    add_words(&c.volumes, "/var/run/x/", "/chain", "/loop", "/file", "/proc/1", "//data/deep", "/dangling", NULL);
    add_words(&c.entrypoint, "tool", "argument", NULL);
    root_fit(t, 0, NULL);
    assert_int_equal(config_fit(&c, &(struct look){ .tree = t }, NULL, NULL), 0);
    assert_boots(t, &c);
    image_config_clear(&c);
    image_tree_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_look),           cmocka_unit_test(test_clean), cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_programs),       cmocka_unit_test(test_users), cmocka_unit_test(test_workdir),
        cmocka_unit_test(test_lint_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
