/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each finding is found, and a good image has none. */
#include <stdio.h>
#include <stdlib.h>

#include "helper.h"

static void take_finding(void *user, const char *text)
{
    assert_null(strpbrk(text, "\n\x1b"));
    gv_buf_addf(user, "%s\n", text);
}

/* A tree and a configuration with nothing to complain about. */
static struct image_tree *good_tree(void)
{
    struct image_tree *t = tree_new();
    static const char *const dirs[] = { "proc", "sys", "dev", "etc", "tmp", "var/tmp", "usr/bin", "golem/work" };
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        tree_dir(t, dirs[i]);
    tree_link(t, "bin", "usr/bin");
    tree_text(t, "usr/bin/tool", "tool")->inode->mode = 0755;
    tree_text(t, "usr/bin/data", "data");
    tree_text(t, "etc/hosts", "");
    tree_text(t, "etc/resolv.conf", "");
    tree_text(t, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false");
    tree_text(t, "etc/group", "root:x:0:\nnogroup:x:65534:\n");
    return t;
}

static struct image_config good_config(void)
{
    struct image_config c = { .user = gv_strdup("nobody:nogroup"), .workdir = gv_strdup("/golem/work"), .has_cmd = true };
    gv_strv_add(&c.volumes, "/golem/work");
    gv_strv_add(&c.env, "PATH=/sbin:/bin");
    gv_strv_add(&c.cmd, "/bin/tool");
    return c;
}

static char *findings(struct image_tree *t, const struct image_config *c, int compression)
{
    struct gvmi_write_options o = { .compression = compression };
    struct gv_error err = GV_ERROR_INIT;
    int fd = pack(t, c, &o, NULL);
    struct gvmi_image *img = open_fd(fd);
    cleanup_buf struct gv_buf found = { 0 };
    if (gvmi_lint(img, take_finding, &found, &err) < 0)
        fail_msg("%s", err.msg);
    gvmi_close(img);
    close(fd);
    return gv_strdup(gv_buf_str(&found));
}

static void expect(struct image_tree *t, struct image_config *c, const char *part)
{
    cleanup_free char *found = findings(t, c, GVMI_GZIP);
    if (!strstr(found, part))
        fail_msg("`%s` is not in `%s`", part, found);
    assert_ptr_equal(strchr(found, '\n'), strrchr(found, '\n')); /* nothing else */
    image_config_clear(c);
    image_tree_free(t);
}

static void replace(char **s, const char *text)
{
    free(*s);
    *s = text ? gv_strdup(text) : NULL;
}

static void replace_all(struct gv_strv *v, const char *text)
{
    gv_strv_clear(v);
    if (text)
        gv_strv_add(v, text);
}

static void test_nothing_to_find(void **state)
{
    (void)state;
    static const int mountable[] = { GVMI_GZIP, GVMI_LZO, GVMI_XZ, GVMI_LZ4 };
    for (size_t i = 0; i < 4; i++) {
        struct image_tree *t = good_tree();
        struct image_config c = good_config();
        cleanup_free char *found = findings(t, &c, mountable[i]);
        assert_string_equal(found, "");
        image_config_clear(&c);
        image_tree_free(t);
    }
}

static void test_compression(void **state)
{
    (void)state;
    struct image_tree *t = good_tree();
    struct image_config c = good_config();
    cleanup_free char *found = findings(t, &c, GVMI_ZSTD);
    assert_non_null(strstr(found, "zstd"));
    image_config_clear(&c);
    image_tree_free(t);
}

static void test_configuration(void **state)
{
    (void)state;
    struct image_config c = good_config();
    replace_all(&c.volumes, NULL);
    expect(good_tree(), &c, "no VOLUME");
    c = good_config();
    replace(&c.user, "somebody");
    expect(good_tree(), &c, "USER somebody is not in");
    c = good_config();
    replace(&c.user, "1000:wheel");
    expect(good_tree(), &c, "group wheel");
    c = good_config();
    replace(&c.user, "no\x1b[31mbody");
    expect(good_tree(), &c, "no\\x1b[31mbody");
    c = good_config();
    replace(&c.workdir, "relative");
    expect(good_tree(), &c, "WORKDIR relative");
    c = good_config();
    replace(&c.workdir, "/missing");
    expect(good_tree(), &c, "WORKDIR /missing");
    c = good_config();
    gv_strv_add(&c.env, "NOVALUE");
    expect(good_tree(), &c, "ENV `NOVALUE`");
    c = good_config();
    gv_strv_add(&c.env, "=x");
    expect(good_tree(), &c, "ENV `=x`");
    c = good_config();
    replace_all(&c.cmd, "tool");
    expect(good_tree(), &c, "CMD tool is not an absolute path");
    c = good_config();
    replace_all(&c.cmd, "./tool");
    expect(good_tree(), &c, "CMD ./tool is not an absolute path");
    c = good_config();
    replace_all(&c.cmd, "data");
    expect(good_tree(), &c, "CMD data is in no directory of PATH");
    c = good_config();
    replace_all(&c.entrypoint, "/bin/missing");
    c.has_entrypoint = true;
    expect(good_tree(), &c, "ENTRYPOINT /bin/missing is not in the image");
    c = good_config();
    replace_all(&c.entrypoint, "/bin/data");
    c.has_entrypoint = true;
    expect(good_tree(), &c, "ENTRYPOINT /bin/data is not a program");
}

static void test_volumes(void **state)
{
    (void)state;
    static const struct {
        const char *volume, *part;
    } cases[] = {
        { "relative", "not an absolute path" },       { "/", "would hide the whole image" },
        { "/golem/work/", "a slash at its end" },     { "/golem//work", "empty" },
        { "/golem/../golem/work", "`..` component" }, { "/run/link/x", "/run/link is a symbolic link" },
        { "/usr/bin/data", "is not a directory" },    { "/usr/bin", "cannot be seen at run time" },
        { "/proc/x", "file system of the kernel" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct image_tree *t = good_tree();
        struct image_config c = good_config();
        tree_dir(t, "var/run/x");
        tree_link(t, "run/link", "../var/run");
        replace_all(&c.volumes, cases[i].volume);
        expect(t, &c, cases[i].part);
    }
}

static void test_root(void **state)
{
    (void)state;
    static const char *const missing[] = { "proc", "sys" };
    for (size_t i = 0; i < 2; i++) {
        struct image_tree *t = good_tree();
        struct image_config c = good_config();
        image_node_remove(image_tree_lookup(t, missing[i], false));
        char part[64];
        snprintf(part, sizeof(part), "/%s is not a directory", missing[i]);
        expect(t, &c, part);
    }
    struct image_tree *t = good_tree();
    struct image_config c = good_config();
    image_node_remove(image_tree_lookup(t, "etc/resolv.conf", false));
    tree_link(t, "etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf");
    expect(t, &c, "/etc/resolv.conf is a symbolic link");
    t = good_tree();
    c = good_config();
    image_node_remove(image_tree_lookup(t, "var", false));
    tree_dir(t, "data/tmp");
    tree_link(t, "var", "data");
    expect(t, &c, "/var is a symbolic link");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_find), cmocka_unit_test(test_compression), cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_volumes),         cmocka_unit_test(test_root),
    };
    return cmocka_run_group_tests_name("gvmi_lint", tests, NULL, NULL);
}
