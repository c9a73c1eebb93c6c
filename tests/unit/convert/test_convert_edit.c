/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Edits of a configuration, and of finished files. */
#include "fit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/edit.h"

static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words[5];
    } good[] = {
        { "", { NULL } },
        { "  \t\n", { NULL } },
        { "one", { "one" } },
        { " one  two\tthree\n", { "one", "two", "three" } },
        { "sh -c 'echo \"$A\" \\n'", { "sh", "-c", "echo \"$A\" \\n" } },
        { "a\\ b \"c d\" 'e f'g", { "a b", "c d", "e fg" } },
        { "\"a\\\"b\\\\c\\d\"", { "a\"b\\c\\d" } },
        { "'' \"\"", { "", "" } },
        { "a'b'\"c\"", { "abc" } },
        { "[]", { NULL } },
        { " [\"/bin/sh\", \"-c\", \"a b\\tc\"]", { "/bin/sh", "-c", "a b\tc" } },
        { "\xc3\xa9 x", { "\xc3\xa9", "x" } },
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cleanup_strv struct gv_strv words = { 0 };
        assert_int_equal(convert_words(good[i].text, &words, NULL), 0);
        size_t n = 0;
        for (; good[i].words[n]; n++) {
            assert_true(n < words.count);
            assert_string_equal(words.items[n], good[i].words[n]);
        }
        assert_int_equal(words.count, n);
    }
    static const char *const bad[] = { "'open",           "\"open", "\"open\\\"", "end\\", "[\"a\", 1]", "[\"a\"",
                                       "[\"a\\u0000b\"]", "['a']",  "\"",         "'",     "a \"\\" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cleanup_strv struct gv_strv words = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(convert_words(bad[i], &words, &err), -1);
        assert_int_equal(err.code, GV_E_USAGE);
    }
}

static void test_refused_values(void **state)
{
    (void)state;
    static const struct {
        enum convert_edit_kind kind;
        const char *value;
    } bad[] = {
        { CONVERT_SET_ENV, "NAME" },      { CONVERT_SET_ENV, "=x" },           { CONVERT_SET_ENV, "" },
        { CONVERT_SET_ENV, "A=\xff" },    { CONVERT_SET_ENV, "A\nB=1" },       { CONVERT_SET_ENV, "A=\xed\xa0\x80" },
        { CONVERT_UNSET_ENV, "" },        { CONVERT_UNSET_ENV, "A=1" },        { CONVERT_SET_LABEL, "x" },
        { CONVERT_SET_LABEL, "=" },       { CONVERT_UNSET_LABEL, "\x1b" },     { CONVERT_ADD_VOLUME, "data" },
        { CONVERT_ADD_VOLUME, "/" },      { CONVERT_ADD_VOLUME, "/./x/.." },   { CONVERT_ADD_VOLUME, "/a\tb" },
        { CONVERT_ADD_VOLUME, "" },       { CONVERT_ADD_VOLUME, "/\xc0\x80" }, { CONVERT_REMOVE_VOLUME, "" },
        { CONVERT_SET_WORKDIR, "app" },   { CONVERT_SET_WORKDIR, "/a\nb" },    { CONVERT_SET_USER, "a b" },
        { CONVERT_SET_USER, "a\n" },      { CONVERT_SET_ENTRYPOINT, "'" },     { CONVERT_SET_ENTRYPOINT, "''" },
        { CONVERT_SET_CMD, "[\"\"]" },    { CONVERT_SET_CMD, "[1]" },          { CONVERT_CLEAR, "" },
        { CONVERT_CLEAR, "env,nothing" }, { CONVERT_CLEAR, "env," },           { CONVERT_EDIT_KINDS, "x" },
    };
    struct convert_edits e = { 0 };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(convert_edits_add(&e, bad[i].kind, bad[i].value, &err), -1);
        assert_true(err.code == GV_E_USAGE || bad[i].kind == CONVERT_EDIT_KINDS);
    }
    assert_int_equal(e.count, 0);
    cleanup_free char *longest = gv_alloc(200000);
    memset(longest, 'a', 199999);
    longest[1] = '=';
    longest[199999] = '\0';
    assert_int_equal(convert_edits_add(&e, CONVERT_SET_ENV, longest, NULL), -1);
    convert_edits_clear(&e);
}

static void add(struct convert_edits *e, enum convert_edit_kind kind, const char *value)
{
    assert_int_equal(convert_edits_add(e, kind, value, NULL), 0);
}

static char *edited(const char *json, const struct convert_edits *e)
{
    struct image_config c = { 0 };
    assert_int_equal(image_config_parse(&c, json, strlen(json), NULL), 0);
    assert_int_equal(edit_config(&c, e, NULL, NULL, NULL), 0);
    char *text = image_config_format(&c);
    image_config_clear(&c);
    return text;
}

static void test_edits(void **state)
{
    (void)state;
    static const char before[] =
        "{\"Env\":[\"A=1\",\"B=2\",\"A=3\"],\"Labels\":{\"b\":\"1\",\"d\":\"2\"},\"Volumes\":{\"/v\":{},\"/w/\":{}},"
        "\"Entrypoint\":[\"/e\"],\"Cmd\":[\"c\"],\"User\":\"u\",\"WorkingDir\":\"/w\",\"ExposedPorts\":{\"1/tcp\":{}}}";
    static const struct {
        enum convert_edit_kind kind;
        const char *value, *after;
    } cases[] = {
        { CONVERT_SET_ENV, "A=x=y", "\"Env\":[\"A=x=y\",\"B=2\"]" },
        { CONVERT_SET_ENV, "C=\nline", "\"Env\":[\"A=1\",\"B=2\",\"A=3\",\"C=\\nline\"]" },
        { CONVERT_SET_ENV, "B=", "\"Env\":[\"A=1\",\"B=\",\"A=3\"]" },
        { CONVERT_UNSET_ENV, "A", "\"Env\":[\"B=2\"]" },
        { CONVERT_UNSET_ENV, "AA", "\"Env\":[\"A=1\",\"B=2\",\"A=3\"]" },
        { CONVERT_SET_LABEL, "a=0", "\"Labels\":{\"a\":\"0\",\"b\":\"1\",\"d\":\"2\"}" },
        { CONVERT_SET_LABEL, "c=\xc3\xa9", "\"Labels\":{\"b\":\"1\",\"c\":\"\xc3\xa9\",\"d\":\"2\"}" },
        { CONVERT_SET_LABEL, "d=", "\"Labels\":{\"b\":\"1\",\"d\":\"\"}" },
        { CONVERT_SET_LABEL, "e=1", "\"Labels\":{\"b\":\"1\",\"d\":\"2\",\"e\":\"1\"}" },
        { CONVERT_UNSET_LABEL, "b", "\"Labels\":{\"d\":\"2\"}" },
        { CONVERT_ADD_VOLUME, "/a//b/", "\"Volumes\":{\"/a/b\":{},\"/v\":{},\"/w/\":{}}" },
        { CONVERT_ADD_VOLUME, "/v", "\"Volumes\":{\"/v\":{},\"/w/\":{}}" },
        { CONVERT_REMOVE_VOLUME, "/w/", "\"Volumes\":{\"/v\":{}}" },
        { CONVERT_REMOVE_VOLUME, "/v/", "\"Volumes\":{\"/w/\":{}}" },
        { CONVERT_SET_WORKDIR, "/x/../y", "\"WorkingDir\":\"/y\"" },
        { CONVERT_SET_USER, "me:us", "\"User\":\"me:us\"" },
        { CONVERT_SET_CMD, "a 'b c'", "\"Cmd\":[\"a\",\"b c\"],\"Entrypoint\":[\"/e\"]" },
        { CONVERT_SET_ENTRYPOINT, "[\"x\"]", "\"Entrypoint\":[\"x\"]" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct convert_edits e = { 0 };
        add(&e, cases[i].kind, cases[i].value);
        cleanup_free char *after = edited(before, &e);
        if (!strstr(after, cases[i].after))
            fail_msg("`%s` is not in %s", cases[i].after, after);
        convert_edits_clear(&e);
    }
    static const struct {
        enum convert_edit_kind kind;
        const char *value, *gone;
    } removals[] = {
        { CONVERT_SET_WORKDIR, "", "WorkingDir" },     { CONVERT_SET_USER, "", "User" },
        { CONVERT_SET_ENTRYPOINT, "", "Entrypoint" },  { CONVERT_SET_CMD, "", "Cmd" },
        { CONVERT_SET_ENTRYPOINT, "/x", "Cmd" },       { CONVERT_CLEAR, "env", "Env" },
        { CONVERT_CLEAR, "env,labels", "Labels" },     { CONVERT_CLEAR, "volumes", "Volumes" },
        { CONVERT_CLEAR, "workdir", "WorkingDir" },    { CONVERT_CLEAR, "user", "User" },
        { CONVERT_CLEAR, "entrypoint", "Entrypoint" }, { CONVERT_CLEAR, "cmd", "Cmd" },
        { CONVERT_CLEAR, "exposed", "ExposedPorts" },
    };
    for (size_t i = 0; i < sizeof(removals) / sizeof(removals[0]); i++) {
        struct convert_edits e = { 0 };
        add(&e, removals[i].kind, removals[i].value);
        cleanup_free char *after = edited(before, &e);
        if (strstr(after, removals[i].gone))
            fail_msg("`%s` is still in %s", removals[i].gone, after);
        convert_edits_clear(&e);
    }
}

static void test_order(void **state)
{
    (void)state;
    struct convert_edits e = { 0 };
    add(&e, CONVERT_CLEAR, "env,volumes,entrypoint");
    add(&e, CONVERT_SET_ENV, "A=1");
    add(&e, CONVERT_SET_ENV, "B=1");
    add(&e, CONVERT_UNSET_ENV, "A");
    add(&e, CONVERT_ADD_VOLUME, "/z");
    add(&e, CONVERT_SET_CMD, "new");
    add(&e, CONVERT_SET_ENTRYPOINT, "/e");
    cleanup_free char *after = edited("{\"Env\":[\"X=1\"],\"Volumes\":{\"/v\":{}},\"Cmd\":[\"old\"]}", &e);
    assert_string_equal(after, "{\"Cmd\":[\"new\"],\"Entrypoint\":[\"/e\"],\"Env\":[\"B=1\"],\"Volumes\":{\"/z\":{}}}");
    convert_edits_clear(&e);
}

static void test_looked_up(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_dir(t, "run");
    tree_link(t, "var/run", "../run");
    tree_text(t, "opt/tool", "#!")->inode->mode = 0755;
    tree_text(t, "file", "");
    struct convert_edits e = { 0 };
    struct image_config c = { 0 };
    const struct look look = { .tree = t };
    add(&e, CONVERT_ADD_VOLUME, "/var/run/x");
    add(&e, CONVERT_SET_CMD, "tool -v");
    add(&e, CONVERT_SET_ENV, "PATH=/opt");
    assert_int_equal(edit_config(&c, &e, &look, NULL, NULL), 0);
    assert_string_equal(joined(&c.volumes), "/run/x");
    assert_string_equal(joined(&c.cmd), "/opt/tool -v");
    convert_edits_clear(&e);
    add(&e, CONVERT_REMOVE_VOLUME, "/var/run/x");
    assert_int_equal(edit_config(&c, &e, &look, NULL, NULL), 0);
    assert_int_equal(c.volumes.count, 0);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(edit_config(&c, &e, &look, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    convert_edits_clear(&e);
    add(&e, CONVERT_ADD_VOLUME, "/file/x");
    assert_int_equal(edit_config(&c, &e, &look, NULL, &err), -1);
    convert_edits_clear(&e);
    image_config_clear(&c);
    image_tree_free(t);
}

/* ---- finished files ---- */

static char *make_image(const char *dir, const char *name, const char *json)
{
    struct image_tree *t = tree_new();
    struct image_config c = { 0 };
    char *path = gv_asprintf("%s/%s", dir, name);
    tree_file(t, "data", FILL_RANDOM, 1, 300000);
    tree_text(t, "etc/passwd", "me:x:5:6::/:\n");
    image_tree_finish(t, NULL);
    assert_int_equal(image_config_parse(&c, json, strlen(json), NULL), 0);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
    assert_true(fd >= 0);
    assert_int_equal(gvmi_write(fd, t, &c, NULL, NULL, NULL), 0);
    close(fd);
    image_config_clear(&c);
    image_tree_free(t);
    return path;
}

static char *metadata(const char *path)
{
    struct gvmi_image *img;
    assert_int_equal(gvmi_open(&img, path, NULL), 0);
    char *text = gv_strdup(gvmi_metadata(img));
    assert_int_equal(gvmi_verify(img, NULL, NULL), 0);
    gvmi_close(img);
    return text;
}

static void assert_hash(const char *path, const char *hash)
{
    struct gvmi_image *img;
    char is[GV_SHA3_224_HEX];
    assert_int_equal(gvmi_open(&img, path, NULL), 0);
    assert_int_equal(gvmi_hash(img, is, NULL), 0);
    assert_string_equal(is, hash);
    gvmi_close(img);
}

static void test_rewrite(void **state)
{
    (void)state;
    char *dir = make_dir();
    cleanup_free char *a = make_image(dir, "a.gvmi", "{\"Env\":[\"A=1\"]}"),
                      *b = make_image(dir, "b.gvmi", "{\"Env\":[\"A=2\"],\"User\":\"me\"}");
    cleanup_free char *c = gv_asprintf("%s/c.gvmi", dir), *link = gv_asprintf("%s/link", dir);
    struct convert_edits e = { 0 };
    struct gvmi_write_result result;
    add(&e, CONVERT_SET_ENV, "A=2");
    add(&e, CONVERT_SET_USER, "me");
    const struct convert_rewrite_options o = { .edits = &e };

    /* as another file: what conversion would have written, and the old one stays */
    assert_int_equal(convert_rewrite(a, c, &o, &result, NULL), 0);
    assert_hash(c, result.hash);
    assert_int_equal(run("cmp %s %s", b, c), 0);
    cleanup_free char *old = metadata(a);
    assert_string_equal(old, "{\"Env\":[\"A=1\"]}");

    /* an existing one is kept unless force says so */
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(convert_rewrite(a, c, &o, &result, &err), -1);
    assert_int_equal(err.code, GV_E_EXISTS);

    /* in place, through a link, with the mode it had */
    assert_int_equal(symlink("a.gvmi", link), 0);
    assert_int_equal(convert_rewrite(link, NULL, &o, &result, NULL), 0);
    assert_int_equal(run("cmp %s %s && test -L %s", a, b, link), 0);
    struct stat st;
    assert_int_equal(stat(a, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);

    /* once more: nothing is left to change, and not a byte does */
    assert_int_equal(convert_rewrite(a, NULL, &o, &result, NULL), 0);
    assert_int_equal(run("cmp %s %s", a, b), 0);

    const struct convert_rewrite_options numeric = { .numeric_user = true };
    assert_int_equal(convert_rewrite(a, NULL, &numeric, &result, NULL), 0);
    cleanup_free char *now = metadata(a);
    assert_string_equal(now, "{\"Env\":[\"A=2\"],\"User\":\"5:6\"}");
    convert_edits_clear(&e);
    assert_int_equal(run("test $(ls -A %s | wc -l) = 4", dir), 0);
    remove_dir(dir);
}

/* Puts other metadata behind the file system of an image, as other tools write it. */
static void put_metadata(const char *path, const char *json)
{
    struct gvmi_image *img;
    struct gvmi_write_result result;
    cleanup_free char *other = gv_asprintf("%s.other", path);
    assert_int_equal(gvmi_open(&img, path, NULL), 0);
    int fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_int_equal(gvmi_rewrite(img, fd, json, NULL, &result, NULL), 0);
    gvmi_close(img);
    close(fd);
    assert_int_equal(rename(other, path), 0);
}

static void test_unknown_keys_stay(void **state)
{
    (void)state;
    char *dir = make_dir();
    cleanup_free char *a = make_image(dir, "a.gvmi", "{}");
    struct convert_edits e = { 0 };
    struct gvmi_write_result result;
    static const char foreign[] =
        "{\"Hostname\":\"0123456789ab\",\"User\":\"\",\"Tty\":false,\"Volumes\":null,\"Env\":[\"A=1\"],"
        "\"Healthcheck\":{\"Interval\":9007199254740993,\"Test\":[\"CMD\",\"x\"]},\"GVMKIT\":{\"generator\":\"x\"},\"Cmd\":[\"c\"]}";
    put_metadata(a, foreign);
    const struct convert_rewrite_options o = { .edits = &e };
    add(&e, CONVERT_SET_ENV, "A=1"); /* no change at all */
    assert_int_equal(convert_rewrite(a, NULL, &o, &result, NULL), 0);
    cleanup_free char *same = metadata(a);
    assert_string_equal(same, foreign);
    add(&e, CONVERT_SET_LABEL, "l=1");
    add(&e, CONVERT_SET_CMD, "");
    assert_int_equal(convert_rewrite(a, NULL, &o, &result, NULL), 0);
    cleanup_free char *after = metadata(a);
    assert_string_equal(
        after,
        "{\"Env\":[\"A=1\"],\"GVMKIT\":{\"generator\":\"x\"},\"Healthcheck\":{\"Interval\":9007199254740993,\"Test\":[\"CMD\",\"x\"]},"
        "\"Hostname\":\"0123456789ab\",\"Labels\":{\"l\":\"1\"},\"Tty\":false,\"User\":\"\",\"Volumes\":null}");
    convert_edits_clear(&e);
    remove_dir(dir);
}

static void test_rewrite_of_the_original(void **state)
{
    (void)state;
    cleanup_free char *original = testdata("alpine.gvmi");
    if (!original) {
        print_message("the real files of the original tools are not here\n");
        skip();
    }
    char *dir = make_dir();
    cleanup_free char *copy = gv_asprintf("%s/copy.gvmi", dir);
    struct convert_edits e = { 0 };
    struct gvmi_write_result result;
    add(&e, CONVERT_SET_ENV, "ADDED=yes");
    const struct convert_rewrite_options o = { .edits = &e };
    assert_int_equal(convert_rewrite(original, copy, &o, &result, NULL), 0);
    assert_hash(copy, result.hash);
    assert_int_equal(run("cmp -n 3575808 %s %s", original, copy), 0);
    cleanup_free char *after = metadata(copy);
    assert_non_null(strstr(after, "\"Hostname\":"));
    assert_non_null(strstr(after, "ADDED=yes"));
    convert_edits_clear(&e);
    remove_dir(dir);
}

static void test_failures_leave_nothing(void **state)
{
    (void)state;
    char *dir = make_dir();
    cleanup_free char *a = make_image(dir, "a.gvmi", "{\"User\":\"nobody\"}"), *out = gv_asprintf("%s/out.gvmi", dir);
    cleanup_free char *broken = gv_asprintf("%s/broken.gvmi", dir), *nowhere = gv_asprintf("%s/no/out.gvmi", dir);
    struct convert_edits e = { 0 };
    struct gvmi_write_result result;
    struct gv_error err = GV_ERROR_INIT;
    const struct convert_rewrite_options numeric = { .numeric_user = true }, o = { .edits = &e };
    assert_int_equal(convert_rewrite(a, out, &numeric, &result, &err), -1);
    assert_non_null(strstr(err.msg, "nobody"));
    add(&e, CONVERT_SET_ENV, "A=1");
    assert_int_equal(convert_rewrite(a, nowhere, &o, &result, NULL), -1);
    assert_int_equal(run("head -c 5000 %s >%s", a, broken), 0);
    assert_int_equal(convert_rewrite(broken, NULL, &o, &result, NULL), -1);
    assert_int_equal(convert_rewrite(out, NULL, &o, &result, NULL), -1);
    /* metadata that would not fit any more */
    cleanup_free char *value = gv_asprintf("A0=%0120000d", 0);
    for (int i = 0; i < 10; i++) {
        value[1] = (char)('0' + i);
        add(&e, CONVERT_SET_ENV, value);
    }
    assert_int_equal(convert_rewrite(a, out, &o, &result, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    convert_edits_clear(&e);
    assert_int_equal(run("test \"$(ls -A %s | tr '\\n' ' ')\" = 'a.gvmi broken.gvmi '", dir), 0);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_refused_values),
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_looked_up),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_unknown_keys_stay),
        cmocka_unit_test(test_rewrite_of_the_original),
        cmocka_unit_test(test_failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
