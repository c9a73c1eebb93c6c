/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What strangers have put into names and images must come out as text, whatever it is, on every page. */
#include <stdio.h>
#include <stdlib.h>

#include "helper.h"
#include "page/html.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabb"
#define EVIL "<script>alert(1)</script>\"'&\x1b[2J\xe2\x80\xae\xff"

static const struct page_site site = { .name = "Images <b>", .url = "https://registry.example.org" };

/* No element, attribute, control character or trick that only EVIL could have brought. */
static void check_clean(struct gv_buf *b)
{
    const char *text = gv_buf_str(b);
    assert_null(strstr(text, "<script>"));
    assert_null(strstr(text, "alert(1)</script>\""));
    assert_null(strchr(text, '\x1b'));
    assert_null(strstr(text, "\xe2\x80\xae"));
    assert_null(strchr(text, '\xff'));
    assert_null(strstr(text, "<b>"));
    assert_non_null(strstr(text, "<!doctype html>"));
    assert_non_null(strstr(text, "</html>\n"));
}

static void test_text(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf b = { 0 };
    html_text(&b, EVIL "ä€😀");
    assert_string_equal(gv_buf_str(&b), "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\\x1b[2J\\xe2\\x80\\xae\\xffä€😀");
    gv_buf_clear(&b);
    html_text(&b, "\xc0\x80\xed\xa0\x80\xf5\x80\xe2\x82"); /* too long, surrogate, too large, cut */
    assert_string_equal(gv_buf_str(&b), "\\xc0\\x80\\xed\\xa0\\x80\\xf5\\x80\\xe2\\x82");
    gv_buf_clear(&b);
    html_path(&b, "a b/ä\"<?#%");
    assert_string_equal(gv_buf_str(&b), "a%20b/%C3%A4%22%3C%3F%23%25");
}

/* Bytes at random never make anything but text. */
static void test_any_bytes(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        char s[24];
        for (size_t i = 0; i < sizeof(s) - 1; i++) {
            seed = seed * 1103515245U + 12345U;
            s[i] = (char)(seed >> 16);
        }
        s[sizeof(s) - 1] = '\0';
        cleanup_buf struct gv_buf b = { 0 };
        html_text(&b, s);
        for (const unsigned char *c = (unsigned char *)gv_buf_str(&b); *c; c++)
            assert_true(*c >= 0x20 && *c != 0x7f && !strchr("<>\"'", *c));
    }
}

static void test_search_and_repository(void **state)
{
    (void)state;
    struct page_tag tags[] = { { .user = "me", .repo = EVIL, .tag = EVIL, .hash = HEX, .size = 1 << 20, .created = 1, .fetched = 7 },
                               { .user = "me", .repo = "thing", .tag = "2", .hash = HEX, .size = 1, .created = INT64_MAX } };
    cleanup_buf struct gv_buf b = { 0 };
    page_search(&b, &site, EVIL, tags, 2, 1000, true);
    check_clean(&b);
    assert_non_null(strstr(gv_buf_str(&b), "start=500\"")); /* one page back */
    assert_non_null(strstr(gv_buf_str(&b), "start=1002\""));
    assert_non_null(strstr(gv_buf_str(&b), "1.0 MiB"));
    assert_non_null(strstr(gv_buf_str(&b), "/i/" HEX));
    gv_buf_clear(&b);
    page_search(&b, &site, NULL, NULL, 0, 0, false);
    assert_non_null(strstr(gv_buf_str(&b), "gvmkit push"));
    assert_null(strstr(gv_buf_str(&b), "class=\"pages\""));
    gv_buf_clear(&b);
    page_repository(&b, &site, "me", EVIL, tags, 2);
    check_clean(&b);
    assert_non_null(strstr(gv_buf_str(&b), "action=\"/compare\""));
    gv_buf_clear(&b);
    page_error(&b, &site, 404, EVIL);
    check_clean(&b);
}

/* An image whose every text is hostile. */
static struct gvmi_image *hostile_image(struct image_tree *t, int *fd)
{
    struct image_config c = { .workdir = gv_strdup("/<b>"), .user = gv_strdup("<b>"), .stop_signal = gv_strdup("TERM") };
    gv_strv_add(&c.env, "A=<script>");
    gv_strv_add(&c.entrypoint, "<b>");
    gv_strv_add(&c.cmd, "\x1b[2J");
    gv_strv_add(&c.labels, "<b>");
    gv_strv_add(&c.labels, "<script>");
    c.has_entrypoint = c.has_cmd = true;
    *fd = pack(t, &c, NULL, NULL);
    image_config_clear(&c);
    return open_fd(*fd);
}

static void test_image(void **state)
{
    (void)state;
    int fd;
    struct image_tree *t = tree_of_all_kinds();
    struct gvmi_image *img = hostile_image(t, &fd);
    struct page_tag tag = { .user = "me", .repo = "thing", .tag = EVIL, .hash = HEX };
    struct page_image i = { .hash = HEX,
                            .url = "https://registry.example.org/download/1",
                            .size = 5,
                            .tags = &tag,
                            .tag_count = 1,
                            .others = &tag,
                            .other_count = 1,
                            .file = img };
    cleanup_buf struct gv_buf b = { 0 }, with = { 0 };
    page_image(&b, &site, &i);
    check_clean(&b);
    assert_null(strstr(gv_buf_str(&b), "minisig"));
    i.signed_by = "0123456789ABCDEF";
    i.signed_name = EVIL;
    page_image(&with, &site, &i);
    check_clean(&with);
    assert_non_null(strstr(gv_buf_str(&with), "it is said, with the key <code>0123456789ABCDEF</code> as "));
    assert_non_null(strstr(gv_buf_str(&with), "href=\"/download/" HEX ".gvmi.minisig\""));
    assert_non_null(strstr(gv_buf_str(&b), "hash:sha3:" HEX ":https://registry.example.org/download/1"));
    assert_non_null(strstr(gv_buf_str(&b), "image_hash=&quot;" HEX "&quot;"));
    assert_non_null(strstr(gv_buf_str(&b), "imageHash: &quot;" HEX "&quot;"));
    gvmi_close(img);
    image_tree_free(t);
    close(fd);
}

static void test_files(void **state)
{
    (void)state;
    int fd;
    struct gv_error err = GV_ERROR_INIT;
    struct image_tree *t = tree_new();
    tree_text(t,
              "/dir/"
              "<b>&\x1b"
              "/text",
              "<script>alert(1)</script>\n\ttabs & lines\n");
    tree_link(t, "/dir/link", EVIL);
    tree_file(t, "/dir/binary", FILL_RANDOM, 1, 1 << 20);
    tree_file(t, "/dir/long", FILL_TEXT, 1, 1 << 20);
    tree_dir(t, "/empty");
    for (int i = 0; i < 1203; i++) {
        char name[32];
        snprintf(name, sizeof(name), "/many/%04d", i);
        tree_text(t, name, "x");
    }
    struct gvmi_image *img = hostile_image(t, &fd);
    cleanup_buf struct gv_buf b = { 0 };
    static const char *const paths[] = { "",      "dir",  "dir/<b>&\x1b", "dir/<b>&\x1b/text", "dir/link", "dir/binary", "dir/long",
                                         "empty", "many", "./dir//" };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        gv_buf_clear(&b);
        assert_int_equal(page_files(&b, &site, img, HEX, paths[i], 0, &err), 0);
        check_clean(&b);
        assert_true(b.len < 1 << 20);
    }
    assert_non_null(strstr(gv_buf_str(&b), "/files/dir/%3Cb%3E%26%1B\""));

    static const struct {
        uint64_t start;
        const char *has, *has_not, *next, *previous;
    } pages[] = { { 0, ">0499<", ">0500<", "start=500\"", NULL },
                  { 500, ">0999<", ">0499<", "start=1000\"", "start=0\"" },
                  { 1000, ">1202<", ">0999<", NULL, "start=500\"" },
                  { 5000, "class=\"rows", ">0000<", NULL, "start=4500\"" } };
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        gv_buf_clear(&b);
        assert_int_equal(page_files(&b, &site, img, HEX, "many", pages[i].start, &err), 0);
        const char *text = gv_buf_str(&b);
        assert_non_null(strstr(text, pages[i].has));
        assert_null(strstr(text, pages[i].has_not));
        assert_true((strstr(text, "rel=\"next\"") != NULL) == (pages[i].next != NULL));
        assert_true(!pages[i].next || strstr(text, pages[i].next));
        assert_true(!pages[i].previous || strstr(text, pages[i].previous));
    }

    static const char *const nowhere[] = { "nothing", "dir/../../etc", "dir/long/x" };
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        gv_buf_clear(&b);
        assert_int_equal(page_files(&b, &site, img, HEX, nowhere[i], 0, &err), -1);
        assert_int_equal(b.len, 0);
        gv_error_clear(&err);
    }
    gvmi_close(img);
    image_tree_free(t);
    close(fd);
}

static void test_compare(void **state)
{
    (void)state;
    int fds[2];
    struct gv_error err = GV_ERROR_INIT;
    struct image_tree *a = tree_new(), *b = tree_new();
    tree_text(a, "/same", "x");
    tree_text(b, "/same", "x");
    tree_text(a, "/grows", "x");
    tree_text(b, "/grows", "xyz");
    tree_text(a, "/<b>gone", "x");
    tree_text(b, "/new/one", "x");
    tree_text(b, "/new/two", "x");
    fds[0] = pack(a, NULL, NULL, NULL);
    struct gvmi_image *old = open_fd(fds[0]), *now = hostile_image(b, &fds[1]);
    struct page_side from = { .hash = HEX, .name = EVIL, .size = 10, .file = old }, to = { .hash = HEX, .size = 200, .file = now };
    cleanup_buf struct gv_buf out = { 0 };
    assert_int_equal(page_compare(&out, &site, &from, &to, 50, &err), 0);
    check_clean(&out);
    const char *text = gv_buf_str(&out);
    assert_non_null(strstr(text, "25.0 %"));
    assert_non_null(strstr(text, "/&lt;b&gt;gone</a>"));
    assert_non_null(strstr(text, "with 2 below it"));
    assert_non_null(strstr(text, "/grows</a>"));
    assert_null(strstr(text, "/same</a>"));
    assert_non_null(strstr(text, "3 added, 1 removed"));
    gv_buf_clear(&out);
    assert_int_equal(page_compare(&out, &site, &from, &from, UINT64_MAX, &err), 0);
    assert_non_null(strstr(gv_buf_str(&out), "not known"));
    gvmi_close(old);
    gvmi_close(now);
    image_tree_free(a);
    image_tree_free(b);
    close(fds[0]);
    close(fds[1]);
}

/* The pages ask for nothing that the policy would not let them have, and for no file that is not there. */
static void test_assets(void **state)
{
    (void)state;
    static const char *const names[] = { "style.css", "page.js", "icon.svg" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t size = 0;
        const char *type, *etag;
        assert_non_null(page_asset(names[i], &size, &type, &etag));
        assert_true(size > 100 && etag[0] == '"' && strlen(etag) == 18);
    }
    size_t size;
    const char *type, *etag;
    assert_null(page_asset("../page.h", &size, &type, &etag));
    cleanup_buf struct gv_buf b = { 0 };
    page_search(&b, &site, NULL, NULL, 0, 0, false);
    assert_null(strstr(gv_buf_str(&b), "style=\""));
    assert_null(strstr(gv_buf_str(&b), "onclick"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),   cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_search_and_repository),
        cmocka_unit_test(test_image),  cmocka_unit_test(test_files),     cmocka_unit_test(test_compare),
        cmocka_unit_test(test_assets),
    };
    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
