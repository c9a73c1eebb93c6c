/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is left out on request, and what stays. */
#include "fit.h"

#include "convert/strip.h"

#define BIT(class) (1U << (class))

struct stripped {
    struct convert_stripped classes[CONVERT_STRIP_CLASSES];
};

static void strip(struct image_tree *t, unsigned classes, struct stripped *s, const char *env)
{
    struct image_config c = { 0 };
    *s = (struct stripped){ 0 };
    if (env)
        gv_strv_add(&c.env, env);
    image_tree_finish(t, NULL);
    strip_tree(t, &c, classes, s->classes);
    image_tree_finish(t, NULL);
    image_config_clear(&c);
}

static void stripped_clear(struct stripped *s)
{
    for (int i = 0; i < CONVERT_STRIP_CLASSES; i++)
        gv_strv_clear(&s->classes[i].paths);
}

/* Adds files of 100 bytes; the first character says what has to become of each with its class: '-' goes, '+' stays. */
static void plant(struct image_tree *t, const char *const *paths)
{
    for (; *paths; paths++)
        tree_file(t, *paths + 2, FILL_TEXT, 1, 100);
}

static void check(struct image_tree *t, const char *const *paths)
{
    for (; *paths; paths++)
        if ((type_at(t, *paths + 2) >= 0) != (**paths == '+'))
            fail_msg("%s", *paths);
}

static void check_class(int class, const char *const *paths, const char *env)
{
    struct stripped s;
    struct image_tree *t = tree_new();
    size_t gone = 0;
    plant(t, paths);
    for (size_t i = 0; paths[i]; i++)
        gone += paths[i][0] == '-';
    strip(t, BIT(class), &s, env);
    check(t, paths);
    for (int i = 0; i < CONVERT_STRIP_CLASSES; i++) {
        assert_int_equal(s.classes[i].files, i == class ? gone : 0);
        assert_int_equal(s.classes[i].paths.count, i == class ? gone : 0);
        assert_int_equal(s.classes[i].bytes, i == class ? gone * 100 : 0);
    }
    stripped_clear(&s);

    /* without the class everything stays */
    struct image_tree *u = tree_new();
    plant(u, paths);
    strip(u,
          ((1U << CONVERT_STRIP_CLASSES) - 1) & ~BIT(class) & ~(class == CONVERT_STRIP_DOCS ? BIT(CONVERT_STRIP_LOCALES) : 0) &
              ~(class == CONVERT_STRIP_LOCALES ? BIT(CONVERT_STRIP_DOCS) : 0),
          &s, env);
    for (size_t i = 0; paths[i]; i++)
        assert_true(type_at(u, paths[i] + 2) >= 0);
    stripped_clear(&s);
    image_tree_free(t);
    image_tree_free(u);
}

static void test_docs(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "- usr/share/doc/bash/README.gz",
        "- usr/share/doc/bash/examples/loadables/x.c",
        "+ usr/share/doc/bash/copyright",
        "+ usr/share/doc/zlib/LICENSE",
        "+ usr/share/doc/x/COPYING.LIB",
        "+ usr/share/doc/x/deep/NOTICE.txt",
        "- usr/share/man/man1/ls.1.gz",
        "- usr/share/man/de/man1/ls.1.gz",
        "- usr/share/info/dir",
        "- usr/local/share/man/man1/x.1",
        "- usr/share/lintian/overrides/bash",
        "+ usr/share/dict/words",
        "+ usr/share/common-licenses/GPL-3",
        "+ usr/lib/python3/doc/x",
        "+ opt/doc/README",
        NULL,
    };
    check_class(CONVERT_STRIP_DOCS, paths, NULL);
}

static void test_docs_keep_links_and_directories(void **state)
{
    (void)state;
    struct stripped s;
    struct image_tree *t = tree_new();
    tree_text(t, "usr/share/doc/libx/copyright", "free");
    tree_link(t, "usr/share/doc/libx-dev", "libx");
    tree_link(t, "usr/share/doc/libx/changelog", "nothing");
    tree_text(t, "usr/share/doc/gone/README", "text");
    tree_dir(t, "usr/share/doc/was-empty");
    tree_text(t, "usr/share/man/man7/x.7", "text");
    tree_link(t, "usr/share/info", "/usr/share/infos");
    tree_text(t, "usr/share/infos/kept", "text");
    strip(t, BIT(CONVERT_STRIP_DOCS), &s, NULL);
    assert_int_equal(type_at(t, "/usr/share/doc/libx-dev"), IMAGE_SYMLINK);
    assert_string_equal(text_at(t, "/usr/share/doc/libx-dev/copyright"), "free");
    assert_int_equal(type_at(t, "/usr/share/doc/libx/changelog"), -1);
    assert_int_equal(type_at(t, "/usr/share/doc/gone"), -1);
    assert_int_equal(type_at(t, "/usr/share/doc/was-empty"), IMAGE_DIR);
    assert_int_equal(type_at(t, "/usr/share/man/man7"), IMAGE_DIR);
    assert_string_equal(text_at(t, "/usr/share/infos/kept"), "text");
    assert_int_equal(s.classes[CONVERT_STRIP_DOCS].files, 3);
    stripped_clear(&s);
    image_tree_free(t);
}

static void test_locales(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "- usr/share/locale/de/LC_MESSAGES/bash.mo",
        "- usr/share/locale/pt_BR/LC_MESSAGES/x.mo",
        "- usr/share/locale/sr@latin/LC_MESSAGES/x.mo",
        "+ usr/share/locale/en_GB/LC_MESSAGES/x.mo",
        "+ usr/share/locale/en/LC_MESSAGES/x.mo",
        "+ usr/share/locale/locale.alias",
        "+ usr/share/locale/all_languages",
        "- usr/lib/locale/de_DE.utf8/LC_CTYPE",
        "+ usr/lib/locale/C.utf8/LC_CTYPE",
        "+ usr/lib/locale/locale-archive",
        "- usr/share/i18n/locales/de_DE",
        "+ usr/share/i18n/locales/en_US",
        "+ usr/share/i18n/locales/iso14651_t1",
        "+ usr/share/i18n/locales/translit_combining",
        "+ usr/share/i18n/locales/i18n_ctype",
        "+ usr/share/i18n/charmaps/UTF-8.gz",
        "- usr/share/man/de/man1/ls.1.gz",
        "+ usr/share/man/man1/ls.1.gz",
        "+ usr/lib/python3/locale.py",
        NULL,
    };
    check_class(CONVERT_STRIP_LOCALES, paths, NULL);
    static const char *const german[] = { "+ usr/share/locale/de/LC_MESSAGES/x.mo", "+ usr/share/locale/de_AT/LC_MESSAGES/x.mo",
                                          "- usr/share/locale/fr/LC_MESSAGES/x.mo", "+ usr/lib/locale/de_DE.utf8/LC_CTYPE", NULL };
    check_class(CONVERT_STRIP_LOCALES, german, "LANG=de_DE.UTF-8");
    check_class(CONVERT_STRIP_LOCALES, german, "LC_ALL=de_DE");
    check_class(CONVERT_STRIP_LOCALES, german, "LANGUAGE=sv:de:xx");
}

static void test_caches(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "- var/cache/apt/archives/x_1_amd64.deb",
        "- var/cache/apt/pkgcache.bin",
        "- var/lib/apt/lists/deb.debian.org_dists_x_InRelease",
        "+ var/lib/apt/extended_states",
        "- var/lib/dpkg/status-old",
        "+ var/lib/dpkg/status",
        "+ var/lib/dpkg/info/x-old",
        "- var/cache/debconf/config.dat-old",
        "+ var/cache/debconf/config.dat",
        "- var/cache/apk/APKINDEX.1.tar.gz",
        "- root/.cache/pip/http/a/b",
        "+ root/.cache/ms-playwright/chromium",
        "- home/me/.cache/pip/x",
        "+ home/me/.cache/huggingface/model",
        "- root/.npm/_cacache/x",
        "+ var/cache/fontconfig/x.cache-7",
        "+ var/cache/ldconfig/aux-cache",
        "+ usr/lib/python3/__pycache__/x.pyc",
        NULL,
    };
    check_class(CONVERT_STRIP_CACHES, paths, NULL);
    struct stripped s;
    struct image_tree *t = tree_new();
    plant(t, paths);
    strip(t, BIT(CONVERT_STRIP_CACHES), &s, NULL);
    assert_int_equal(type_at(t, "/var/cache/apt/archives"), IMAGE_DIR);
    assert_int_equal(type_at(t, "/var/lib/apt/lists"), IMAGE_DIR);
    stripped_clear(&s);
    image_tree_free(t);
}

static void test_static_libs(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "- usr/lib/x86_64-linux-gnu/libz.a",
        "+ usr/lib/x86_64-linux-gnu/libz.so",
        "+ usr/lib/x86_64-linux-gnu/libpthread.a",
        "+ usr/lib/x86_64-linux-gnu/libc_nonshared.a",
        "+ usr/lib/gcc/x86_64-linux-gnu/12/libgcc.a",
        "- usr/lib/gcc/x86_64-linux-gnu/12/libstdc++.a",
        "+ usr/lib/gcc/x86_64-linux-gnu/12/libstdc++.so",
        "+ usr/lib/python3.11/lib-dynload/x.so",
        "+ usr/lib/python3.11/libx.so",
        "- usr/lib/python3.11/libx.a",
        "+ opt/lib/libz.a",
        "+ opt/lib/libz.so",
        "+ usr/lib/go/pkg/fmt.a",
        "+ usr/lib/libz.a.txt",
        NULL,
    };
    check_class(CONVERT_STRIP_STATIC_LIBS, paths, NULL);
    struct stripped s;
    struct image_tree *t = tree_new();
    tree_text(t, "usr/lib/libx.a", "!<arch>");
    tree_link(t, "usr/lib/libx.so", "libx.so.1"); /* which is not there */
    strip(t, BIT(CONVERT_STRIP_STATIC_LIBS), &s, NULL);
    assert_int_equal(type_at(t, "/usr/lib/libx.a"), IMAGE_FILE);
    stripped_clear(&s);
    image_tree_free(t);
}

static void test_headers(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "- usr/include/stdio.h",
        "- usr/include/c++/12/vector",
        "+ usr/include/python3.11/pyconfig.h",
        "- usr/include/python3.11/Python.h",
        "- usr/local/include/x.h",
        "+ usr/lib/gcc/x86_64-linux-gnu/12/include/stddef.h",
        "+ opt/include/x.h",
        NULL,
    };
    check_class(CONVERT_STRIP_HEADERS, paths, NULL);
}

static void test_hard_links(void **state)
{
    (void)state;
    struct stripped s;
    struct image_tree *t = tree_new();
    struct image_node *both = tree_file(t, "usr/share/doc/a/one", FILL_TEXT, 1, 1000);
    tree_hardlink(t, "usr/share/doc/a/two", both);
    struct image_node *kept = tree_file(t, "usr/share/doc/a/three", FILL_TEXT, 2, 500);
    tree_hardlink(t, "usr/lib/three", kept);
    strip(t, BIT(CONVERT_STRIP_DOCS), &s, NULL);
    assert_int_equal(s.classes[CONVERT_STRIP_DOCS].files, 3);
    assert_int_equal(s.classes[CONVERT_STRIP_DOCS].bytes, 1000);
    assert_int_equal(type_at(t, "/usr/lib/three"), IMAGE_FILE);
    assert_int_equal(image_tree_lookup(t, "/usr/lib/three", false)->inode->nlink, 1);
    struct gvmi_image *img = packed(t, NULL);
    assert_int_equal(gvmi_verify(img, NULL, NULL), 0);
    gvmi_close(img);
    stripped_clear(&s);
    image_tree_free(t);
}

static void test_names(void **state)
{
    (void)state;
    unsigned classes = 0;
    assert_int_equal(convert_strip_parse("docs,static-libs", &classes, NULL), 0);
    assert_int_equal(classes, BIT(CONVERT_STRIP_DOCS) | BIT(CONVERT_STRIP_STATIC_LIBS));
    assert_int_equal(convert_strip_parse("headers", &classes, NULL), 0);
    assert_int_equal(classes, BIT(CONVERT_STRIP_DOCS) | BIT(CONVERT_STRIP_STATIC_LIBS) | BIT(CONVERT_STRIP_HEADERS));
    static const char *const bad[] = { "", ",", "docs,", "doc", "docs headers", "all" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(convert_strip_parse(bad[i], &classes, NULL), -1);
    assert_string_equal(convert_strip_name(CONVERT_STRIP_CACHES), "caches");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_docs),        cmocka_unit_test(test_docs_keep_links_and_directories),
        cmocka_unit_test(test_locales),     cmocka_unit_test(test_caches),
        cmocka_unit_test(test_static_libs), cmocka_unit_test(test_headers),
        cmocka_unit_test(test_hard_links),  cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
