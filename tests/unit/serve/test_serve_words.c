/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is parsed of requests: ranges, conditions, dates, names, numbers, descriptors. */
#include "helper.h"
#include "serve/descriptor.h"
#include "serve/form.h"
#include "serve/model.h"
#include "serve/names.h"
#include "serve/range.h"

#define SIZE 1000

static void test_one_range(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int count;
        uint64_t start, length;
    } cases[] = {
        { "bytes=0-0", 1, 0, 1 },
        { "bytes=0-", 1, 0, SIZE },
        { "bytes=999-", 1, 999, 1 },
        { "bytes=500-2000", 1, 500, 500 },
        { "bytes=-1", 1, 999, 1 },
        { "bytes=-5000", 1, 0, SIZE },
        { "Bytes = 1-2 ", 1, 1, 2 },
        { "bytes=1-18446744073709551615", 1, 1, 999 },
        { "bytes=1-99999999999999999999999", 1, 1, 999 },
        { "bytes=1000-", -1, 0, 0 },
        { "bytes=-0", -1, 0, 0 },
        { "bytes=18446744073709551616-", -1, 0, 0 },
        { "bytes=2-1", 0, 0, 0 },
        { "bytes=", 0, 0, 0 },
        { "bytes=-", 0, 0, 0 },
        { "bytes=1", 0, 0, 0 },
        { "bytes=1-2x", 0, 0, 0 },
        { "bytes 1-2", 0, 0, 0 },
        { "items=1-2", 0, 0, 0 },
        { "", 0, 0, 0 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct range ranges[RANGES_MAX];
        int count = ranges_parse(cases[i].header, SIZE, ranges);
        if (count != cases[i].count || (count == 1 && (ranges[0].start != cases[i].start || ranges[0].length != cases[i].length)))
            fail_msg("%s: %d", cases[i].header, count);
        assert_int_equal(ranges_parse(cases[i].header, 0, ranges), cases[i].count ? -1 : 0);
    }
}

static void test_several_ranges(void **state)
{
    (void)state;
    struct range ranges[RANGES_MAX];
    assert_int_equal(ranges_parse("bytes=0-9 ,20-29,\t-5", SIZE, ranges), 3);
    assert_int_equal(ranges[1].start, 20);
    assert_int_equal(ranges[2].start, 995);
    /* One that is not in the file does not matter beside one that is. */
    assert_int_equal(ranges_parse("bytes=2000-,0-9", SIZE, ranges), 1);
    /* More bytes than there are, more ranges than are allowed. */
    assert_int_equal(ranges_parse("bytes=0-,0-", SIZE, ranges), 0);
    assert_int_equal(ranges_parse("bytes=0-499,0-499", SIZE, ranges), 2);
    cleanup_buf struct gv_buf many = { 0 };
    gv_buf_addf(&many, "bytes=0-0");
    for (int i = 1; i < RANGES_MAX; i++)
        gv_buf_addf(&many, ",%d-%d", i, i);
    assert_int_equal(ranges_parse(gv_buf_str(&many), SIZE, ranges), RANGES_MAX);
    gv_buf_addf(&many, ",5-5");
    assert_int_equal(ranges_parse(gv_buf_str(&many), SIZE, ranges), 0);
}

static void test_dates(void **state)
{
    (void)state;
    char text[HTTP_DATE_SIZE];
    assert_int_equal(http_date_parse("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
    http_date_format(text, 784111777);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    http_date_format(text, INT64_MAX);
    assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT");
    static const char *const wrong[] = { "",
                                         "Mon, 06 Nov 1994 08:49:37 GMT",
                                         "Sun, 06 Nov 1994 08:49:37 UTC",
                                         "Sun, 32 Nov 1994 08:49:37 GMT",
                                         "Sunday, 06-Nov-94 08:49:37 GMT",
                                         "Sun, 06 nov 1994 08:49:37 GMT",
                                         "Sun, 06 Nov 1994 08:49:37 GMT ",
                                         "Sun, -6 Nov 1994 08:49:37 GMT",
                                         "Sun, 06 Nov 1894 08:49:37 GMT" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(http_date_parse(wrong[i]), -1);
}

static void test_conditions(void **state)
{
    (void)state;
    static const char etag[] = "\"abc\"", old[] = "Sun, 06 Nov 1994 08:49:36 GMT", same[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    const int64_t modified = 784111777;
    static const struct {
        struct conditions c;
        int status;
        bool range;
    } cases[] = {
        { { 0 }, 200, true },
        { { .if_none_match = "\"abc\"" }, 304, true },
        { { .if_none_match = "W/\"abc\"" }, 304, true },
        { { .if_none_match = "\"x\" , \"abc\"" }, 304, true },
        { { .if_none_match = "\"x\"" }, 200, true },
        { { .if_none_match = "*" }, 304, true },
        { { .if_none_match = "abc" }, 200, true },
        { { .if_none_match = "\"abc" }, 200, true },
        { { .if_none_match = "\"x\" \"abc\"" }, 200, true },
        { { .if_none_match = "\"x\"", .if_modified_since = same }, 200, true },
        { { .if_modified_since = same }, 304, true },
        { { .if_modified_since = old }, 200, true },
        { { .if_match = "\"abc\"" }, 200, true },
        { { .if_match = "W/\"abc\"" }, 412, true },
        { { .if_match = "\"x\"", .if_none_match = "\"abc\"" }, 412, true },
        { { .if_unmodified_since = old }, 412, true },
        { { .if_unmodified_since = same }, 200, true },
        { { .if_unmodified_since = "x" }, 200, true },
        { { .if_range = "\"abc\"" }, 200, true },
        { { .if_range = "W/\"abc\"" }, 200, false },
        { { .if_range = "\"abcd\"" }, 200, false },
        { { .if_range = same }, 200, true },
        { { .if_range = old }, 200, false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(conditions_check(&cases[i].c, etag, modified), cases[i].status);
        assert_int_equal(conditions_range(&cases[i].c, etag, modified), cases[i].range);
    }
}

static void test_names(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct reference ref;
    char longest[NAME_MAX_USER + 2];
    memset(longest, 'a', sizeof(longest));
    longest[NAME_MAX_USER + 1] = '\0';
    assert_false(name_valid(longest, NAME_MAX_USER));
    longest[NAME_MAX_USER] = '\0';
    assert_true(name_valid(longest, NAME_MAX_USER));
    static const char *const wrong[] = { "", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "\xc3\xa4", "a%2f", "a:" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(name_valid(wrong[i], NAME_MAX_USER));
    assert_int_equal(reference_parse("alice/hello:v1.0", &ref, &err), 0);
    assert_string_equal(ref.user, "alice");
    assert_string_equal(ref.repo, "hello");
    assert_string_equal(ref.tag, "v1.0");
    assert_int_equal(reference_parse("a/b", &ref, &err), 0);
    assert_string_equal(ref.tag, "latest");
    assert_int_equal(reference_parse_repo("a/b", &ref, &err), 0);
    static const char *const refused[] = {
        "", "a", "a:b", "/b:c", "a/:c", "a/b:", "a/b/c", "a/b:c:d", "a:b/c", "../b:c", "a/..:c", "a/b:.c"
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        gv_error_clear(&err);
        assert_int_equal(reference_parse(refused[i], &ref, &err), -1);
        assert_int_equal(err.code, GV_E_USAGE);
    }
    assert_int_equal(reference_parse_repo("a/b:c", &ref, &err), -1);
    assert_true(host_valid("registry.example.org:8080"));
    assert_true(host_valid("[::1]:80"));
    assert_false(host_valid(""));
    assert_false(host_valid("a/b"));
    assert_false(host_valid("a\"b"));
    assert_false(host_valid("a b"));
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t v = 1;
    assert_true(form_number("0", 10, &v));
    assert_int_equal(v, 0);
    assert_true(form_number("18446744073709551615", UINT64_MAX, &v));
    assert_true(v == UINT64_MAX);
    static const char *const wrong[] = { "", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616", "99999999999999999999999", "11" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(form_number(wrong[i], 10, &v));
}

static void test_quotas(void **state)
{
    (void)state;
    assert_true(quota_fits(0, 10, 10));
    assert_true(quota_fits(10, 0, 10));
    assert_false(quota_fits(1, 10, 10));
    assert_false(quota_fits(11, 0, 10));
    assert_false(quota_fits(UINT64_MAX, UINT64_MAX, UINT64_MAX - 1));
    assert_false(quota_fits(UINT64_MAX, 1, UINT64_MAX));
    assert_true(quota_fits(UINT64_MAX - 1, 1, UINT64_MAX));
}

static unsigned char *put64(unsigned char *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--)
        *p++ = (unsigned char)(v >> (8 * i));
    return p;
}

static size_t head(unsigned char *p, uint64_t magic, uint64_t size, uint64_t chunk)
{
    memset(put64(put64(put64(p, magic), size), chunk), 7, GV_SHA3_224_SIZE);
    return DESCRIPTOR_HEAD;
}

static void test_descriptors(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct descriptor d;
    unsigned char bytes[DESCRIPTOR_MAX + GV_SHA256_SIZE] = { 0 }, digest[GV_HASH_MAX];
    char hex[2 * GV_SHA256_SIZE + 1];
    /* The vectors of the format's description: "hello" in one chunk of 2 MiB, and 10001 bytes in chunks of 1000. */
    gv_hash_bytes(GV_HASH_SHA3_224, "hello", 5, digest);
    head(bytes, 0x333333334, 5, 2 << 20);
    memcpy(bytes + 24, digest, GV_SHA3_224_SIZE);
    gv_hash_bytes(GV_HASH_SHA256, "hello", 5, digest);
    memcpy(bytes + DESCRIPTOR_HEAD, digest, GV_SHA256_SIZE);
    assert_int_equal(descriptor_parse(bytes, 84, &d, &err), 0);
    gv_hex(hex, d.id, sizeof(d.id));
    assert_string_equal(hex, "39fd278bd7fb42ec992a5155c65743dd7ed3064af3f905baafe96045cafc0251");
    assert_int_equal(descriptor_chunk_length(&d, 0), 5);
    unsigned char data[10001];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i % 251);
    head(bytes, 0x333333334, sizeof(data), 1000);
    gv_hash_bytes(GV_HASH_SHA3_224, data, sizeof(data), digest);
    memcpy(bytes + 24, digest, GV_SHA3_224_SIZE);
    for (size_t i = 0; i < 11; i++) {
        gv_hash_bytes(GV_HASH_SHA256, data + 1000 * i, i < 10 ? 1000 : 1, digest);
        memcpy(bytes + DESCRIPTOR_HEAD + i * GV_SHA256_SIZE, digest, GV_SHA256_SIZE);
    }
    assert_int_equal(descriptor_parse(bytes, 404, &d, &err), 0);
    gv_hex(hex, d.id, sizeof(d.id));
    assert_string_equal(hex, "f0a431027823e1dfe579bc5a3abdc95e988fe6ac317e928aac5c2a97cb2c1396");
    assert_int_equal(d.chunks, 11);
    assert_int_equal(descriptor_chunk_length(&d, 9), 1000);
    assert_int_equal(descriptor_chunk_length(&d, 10), 1);
    /* And what is none. */
    static const struct {
        uint64_t magic, size, chunk;
        size_t chunks; /* that are there */
    } wrong[] = {
        { 0x333333335, 5, 5, 1 },          { 0x333333334, 0, 5, 0 },
        { 0x333333334, 5, 0, 1 },          { 0x333333334, 5, 5, 0 },
        { 0x333333334, 5, 5, 2 },          { 0x333333334, 6, 5, 1 },
        { 0x333333334, 1001, 1, 1001 },    { 0x333333334, UINT64_MAX, UINT64_MAX, 1 },
        { 0x333333334, UINT64_MAX, 1, 1 },
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        size_t n = head(bytes, wrong[i].magic, wrong[i].size, wrong[i].chunk) + wrong[i].chunks * GV_SHA256_SIZE;
        assert_int_equal(descriptor_parse(bytes, n, &d, &err), -1);
    }
    head(bytes, 0x333333333, 1000, 1);
    assert_int_equal(descriptor_parse(bytes, DESCRIPTOR_MAX, &d, &err), 0);
    for (size_t n = 0; n < DESCRIPTOR_HEAD; n++)
        assert_int_equal(descriptor_parse(bytes, n, &d, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_range),  cmocka_unit_test(test_several_ranges), cmocka_unit_test(test_dates),
        cmocka_unit_test(test_conditions), cmocka_unit_test(test_names),          cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_quotas),     cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
