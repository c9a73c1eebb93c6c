/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is kept of a stream, and how bytes become JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "script/report.h"

/* The words come one after the other; want is the JSON of what is kept, told what was told at once. */
static void check(struct script_capture how, const char *const *words, const char *want, const char *told)
{
    struct capture c;
    cleanup_buf struct gv_buf at_once = { 0 };
    capture_init(&c, &how);
    for (; *words; words++)
        gv_buf_add(&at_once, *words, capture_add(&c, (const unsigned char *)*words, strlen(*words)));
    json_t *kept = capture_json(&c);
    char *text = json_dumps(kept, JSON_ENCODE_ANY | JSON_COMPACT);
    assert_string_equal(text, want);
    assert_string_equal(gv_buf_str(&at_once), told);
    free(text);
    json_decref(kept);
    capture_clear(&c);
}
#define CHECK(want, told, how, ...) check((struct script_capture)how, (const char *const[]){ __VA_ARGS__, NULL }, want, told)
#define HOW(...)                                                                                                                           \
    {                                                                                                                                      \
        __VA_ARGS__                                                                                                                        \
    }

static void modes(void **state)
{
    (void)state;
    CHECK("null", "", HOW(0), "abc");
    CHECK("null", "", HOW(.head = UINT64_MAX), "");
    CHECK("\"abcdef\"", "", HOW(.head = UINT64_MAX), "abc", "def");
    CHECK("\"abcd\"", "", HOW(.head = 4), "abc", "def", "g");
    CHECK("\"defg\"", "", HOW(.tail = 4), "abc", "def", "g");
    CHECK("\"ab\"", "", HOW(.tail = 4), "ab");
    CHECK("\"6789\"", "", HOW(.tail = 4), "0123456789");
    CHECK("\"6789\"", "", HOW(.tail = 4), "x", "0123456789");
    CHECK("\"abcyz\"", "", HOW(.head = 3, .tail = 2), "ab", "cdefgh", "yz");
    CHECK("\"abcd\"", "", HOW(.head = 3, .tail = 2), "abcd");
    CHECK("\"abcdef\"", "abcdef", HOW(.stream = true, .head = UINT64_MAX), "abc", "def");
    CHECK("\"abcd\"", "abcd", HOW(.stream = true, .head = 4), "abc", "def", "ghi");
    CHECK("[97,255]", "", HOW(.head = UINT64_MAX, .binary = true), "a\xff");
    /* Invalid as a whole: every byte is a character. */
    CHECK("\"\xc3\x83\xc2\xa4\xc3\xbf\"", "", HOW(.head = UINT64_MAX), "\xc3\xa4", "\xff");
    /* A character that is cut in two pieces is whole in the end. */
    CHECK("\"\xc3\xa4\"", "", HOW(.head = UINT64_MAX), "\xc3", "\xa4");
}

/* A ring that grows, against a buffer that has everything. */
static void ring(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (unsigned tail = 1; tail < 200000; tail = tail * 5 + 3) {
        struct capture c;
        struct gv_buf all = { 0 };
        capture_init(&c, &(struct script_capture){ .tail = tail });
        for (int i = 0; i < 60; i++) {
            unsigned char chunk[9000];
            seed = seed * 1103515245 + 12345;
            size_t n = (seed >> 8) % sizeof(chunk);
            for (size_t k = 0; k < n; k++)
                chunk[k] = (unsigned char)('a' + (k * 7 + seed) % 26);
            capture_add(&c, chunk, n);
            gv_buf_add(&all, chunk, n);
        }
        json_t *kept = capture_json(&c);
        size_t want = all.len < tail ? all.len : tail;
        assert_int_equal(json_string_length(kept), want);
        assert_memory_equal(json_string_value(kept), all.data + all.len - want, want);
        json_decref(kept);
        capture_clear(&c);
        gv_buf_clear(&all);
    }
}

/* The number that a requestor writes is not memory that is taken. */
static void modest(void **state)
{
    (void)state;
    struct capture c;
    capture_init(&c, &(struct script_capture){ .tail = UINT64_MAX, .head = UINT64_MAX / 2 });
    capture_add(&c, (const unsigned char *)"abc", 3);
    assert_true(c.head.cap < 4096);
    assert_int_equal(c.ring_cap, 0);
    capture_clear(&c);
}

static void assert_text(const char *in, size_t n, const char *want)
{
    json_t *got = text_lossy((const unsigned char *)in, n);
    assert_string_equal(json_string_value(got), want);
    json_decref(got);
}

static void lossy(void **state)
{
    (void)state;
#define BAD "\xef\xbf\xbd"
    assert_text("plain \xe2\x82\xac \xf0\x9f\x98\x80", 14, "plain \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_text("a\xff"
                "b",
                3, "a" BAD "b");
    assert_text("\xe2\x82", 2, BAD); /* the beginning of one */
    assert_text("\xe2\x82"
                "a",
                3, BAD "a");
    assert_text("\xc0\xaf", 2, BAD BAD);         /* overlong */
    assert_text("\xed\xa0\x80", 3, BAD BAD BAD); /* a surrogate */
    assert_text("\xf4\x90\x80\x80", 4, BAD BAD BAD BAD);
    assert_text("\xf0\x9f\x98", 3, BAD);
    json_t *nul = text_whole((const unsigned char *)"a\0b", 3);
    assert_int_equal(json_string_length(nul), 3);
    json_decref(nul);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(modes), cmocka_unit_test(ring), cmocka_unit_test(modest),
                                        cmocka_unit_test(lossy) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
