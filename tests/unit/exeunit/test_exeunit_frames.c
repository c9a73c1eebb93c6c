/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The protocol's bytes: frames of the original implementation word for word, and what is no frame. */
#include "exeunit_test.h"

#include "exeunit/pb.h"
#include "exeunit/proto.h"

/* "0b 08 02" as bytes; text in apostrophes stands for itself. */
static struct gv_buf bytes(const char *hex)
{
    struct gv_buf b = { 0 };
    while (*hex) {
        if (*hex == ' ') {
            hex++;
        } else if (*hex == '\'') {
            const char *end = strchr(hex + 1, '\'');
            gv_buf_add(&b, hex + 1, (size_t)(end - hex - 1));
            hex = end + 1;
        } else {
            unsigned char c;
            char pair[3] = { hex[0], hex[1], '\0' };
            assert_int_equal(gv_unhex(&c, 1, pair), 0);
            gv_buf_add(&b, &c, 1);
            hex += 2;
        }
    }
    return b;
}

static void same(struct gv_buf *got, const char *want)
{
    cleanup_buf struct gv_buf b = bytes(want);
    assert_int_equal(got->len, b.len);
    assert_memory_equal(got->data, b.data, b.len);
    gv_buf_clear(got);
}

/* ---- what we write --------------------------------------------------------------------------------------------------------------- */

static void test_golden_responses(void **state)
{
    (void)state;
    struct gv_buf b = { 0 };
    proto_put_hello(&b, 2, "1.2.3");
    same(&b, "0b 10 02 22 07 0a 05 31 2e 32 2e 33");
    proto_put_run(&b, 3, 1);
    same(&b, "06 10 03 52 02 08 01");
    proto_put_run(&b, 3, 0);
    same(&b, "04 10 03 52 00");
    proto_put_network(&b, 4, 3, "127.0.0.1:4321");
    same(&b, "15 10 04 f2 01 10 1a 0e '127.0.0.1:4321'");
    proto_put_kill(&b, 4);
    same(&b, "04 10 04 5a 00");
    proto_put_shutdown(&b, 5);
    same(&b, "04 10 05 62 00");
    proto_put_error(&b, 4, PROTO_NOT_FOUND, "Not supported", NULL);
    same(&b, "15 10 04 1a 11 08 01 12 0d 'Not supported'");
}

static void test_golden_events(void **state)
{
    (void)state;
    struct gv_buf b = { 0 };
    uint8_t head[PROTO_OUTPUT_HEADER];
    proto_put_status(&b, 7, true, 0, NULL);
    same(&b, "09 08 01 a2 01 04 08 07 10 01");
    gv_buf_add(&b, head, proto_output_header(head, 7, 1, 3));
    gv_buf_add(&b, "hi\n", 3);
    same(&b, "0e 08 01 a2 01 09 08 07 10 01 22 03 68 69 0a");
    gv_buf_add(&b, head, proto_output_header(head, 7, 2, 3));
    gv_buf_add(&b, "hi\n", 3);
    same(&b, "0e 08 01 a2 01 09 08 07 10 01 2a 03 68 69 0a");
    proto_put_status(&b, 1, false, 0, NULL);
    same(&b, "07 08 01 a2 01 02 08 01");
    proto_put_status(&b, 7, false, 5, NULL);
    same(&b, "09 08 01 a2 01 04 08 07 18 05");
    proto_put_status(&b, 7, false, -1, NULL);
    same(&b, "12 08 01 a2 01 0d 08 07 18 ff ff ff ff ff ff ff ff ff 01");
    proto_put_status(&b, 7, false, -1, "why");
    same(&b, "17 08 01 a2 01 12 08 07 18 ff ff ff ff ff ff ff ff ff 01 2a 03 'why'");
    proto_put_counter(&b, "c", 1.5);
    same(&b, "13 08 01 aa 01 0e 12 0c 0a 01 63 11 00 00 00 00 00 00 f8 3f");
}

static void test_context(void **state)
{
    (void)state;
    cleanup_strv struct gv_strv context = { 0 };
    gv_strv_add(&context, "a");
    gv_strv_add(&context, "b");
    struct gv_buf b = { 0 };
    proto_put_error(&b, 1, PROTO_INTERNAL, "m", &context);
    same(&b, "0f 10 01 1a 0b 12 01 6d 1a 06 0a 01 61 12 01 62");
}

/* The header must say what the frame holds, whatever the sizes of its numbers. */
static void test_output_header_sizes(void **state)
{
    (void)state;
    static const uint64_t pids[] = { 0, 1, 127, 128, UINT64_MAX };
    static const size_t sizes[] = { 0, 1, 100, 127, 128, 16000, 16384, 65536, 1U << 21 };
    for (size_t i = 0; i < sizeof(pids) / sizeof(pids[0]); i++) {
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            uint8_t head[PROTO_OUTPUT_HEADER];
            size_t n = proto_output_header(head, pids[i], 1, sizes[k]), used;
            uint64_t length;
            assert_true(n <= sizeof(head));
            assert_int_equal(pb_varint_get(head, n, &length, &used), 1);
            assert_int_equal(length, n - used + sizes[k]);
        }
    }
}

/* ---- what we read ---------------------------------------------------------------------------------------------------------------- */

static int read_one(const char *hex, struct proto_request *r)
{
    cleanup_buf struct gv_buf b = bytes(hex);
    struct proto_frames f = { 0 };
    const uint8_t *message = NULL;
    size_t n = 0;
    struct gv_error err = GV_ERROR_INIT;
    proto_frames_add(&f, b.data, b.len);
    assert_int_equal(proto_frames_next(&f, &message, &n, &err), 1);
    int status = proto_request_get(r, message, n, &err);
    if (status < 0)
        assert_int_equal(err.code, GV_E_PROTOCOL);
    assert_int_equal(proto_frames_left(&f), 0);
    proto_frames_clear(&f);
    return status;
}

/* The same of a message without its frame. */
static int read_message(const char *hex, struct proto_request *r)
{
    cleanup_buf struct gv_buf b = bytes(hex);
    struct gv_error err = GV_ERROR_INIT;
    int status = proto_request_get(r, b.data, b.len, &err);
    if (status < 0)
        assert_int_equal(err.code, GV_E_PROTOCOL);
    return status;
}

static void test_golden_requests(void **state)
{
    (void)state;
    struct proto_request r;
    assert_int_equal(read_one("0b 08 02 12 07 0a 05 30 2e 31 2e 30", &r), 0);
    assert_int_equal(r.id, 2);
    assert_int_equal(r.command, PROTO_HELLO);
    proto_request_clear(&r);

    assert_int_equal(read_one("0f 08 03 52 0b 0a 06 2f 62 69 6e 2f 78 12 01 78", &r), 0);
    assert_int_equal(r.id, 3);
    assert_int_equal(r.command, PROTO_RUN);
    assert_string_equal(r.bin, "/bin/x");
    assert_int_equal(r.args.count, 1);
    assert_string_equal(r.args.items[0], "x");
    assert_null(r.work_dir);
    assert_false(r.output[1].set || r.output[2].set);
    proto_request_clear(&r);

    assert_int_equal(
        read_one("3c 08 04 f2 01 37 0a 33 0a 0a '10.42.42.1' 12 0a '10.42.42.1' 1a 0d '255.255.255.0' 22 0a '10.42.42.2' 18 01", &r), 0);
    assert_int_equal(r.command, PROTO_NETWORK);
    assert_int_equal(r.network_count, 1);
    assert_string_equal(r.networks[0].addr, "10.42.42.1");
    assert_string_equal(r.networks[0].gateway, "10.42.42.1");
    assert_string_equal(r.networks[0].mask, "255.255.255.0");
    assert_string_equal(r.networks[0].if_addr, "10.42.42.2");
    assert_int_equal(r.interface, 1);
    proto_request_clear(&r);

    assert_int_equal(read_one("04 08 05 62 00", &r), 0);
    assert_int_equal(r.command, PROTO_SHUTDOWN);
    proto_request_clear(&r);

    assert_int_equal(read_one("08 08 04 5a 04 08 01 10 09", &r), 0);
    assert_int_equal(r.command, PROTO_KILL);
    assert_int_equal(r.pid, 1);
    assert_int_equal(r.signal, 9);
    proto_request_clear(&r);
}

static void test_run_fields(void **state)
{
    (void)state;
    struct proto_request r;
    assert_int_equal(read_message("08 03 52 0d 0a 01 78 1a 02 2f 77 22 02 10 05 2a 00", &r), 0);
    assert_string_equal(r.work_dir, "/w");
    assert_true(r.output[1].set && r.output[2].set);
    assert_int_equal(r.output[1].at_end, 5);
    assert_int_equal(r.output[2].at_end, 0);
    proto_request_clear(&r);
    /* Hosts, also with an absent value; unknown fields of every type are skipped. */
    assert_int_equal(
        read_message("08 01 f2 01 0b 12 06 0a 01 68 12 01 61 12 01 00 98 06 05 a2 06 00 a9 06 01 02 03 04 05 06 07 08 ad 06 01 02 03 04",
                     &r),
        -1); /* the second host is a field number 0 */
    proto_request_clear(&r);
    assert_int_equal(
        read_message("08 01 f2 01 0c 12 06 0a 01 68 12 01 61 12 02 0a 00 98 06 05 a2 06 00 a9 06 01 02 03 04 05 06 07 08 ad 06 01 02 03 04",
                     &r),
        0);
    assert_int_equal(r.command, PROTO_NETWORK);
    assert_int_equal(r.hosts.count, 4);
    assert_string_equal(r.hosts.items[0], "h");
    assert_string_equal(r.hosts.items[1], "a");
    assert_string_equal(r.hosts.items[2], "");
    proto_request_clear(&r);
    /* Of two commands the last counts; two of a kind are merged. */
    assert_int_equal(read_message("08 01 52 03 0a 01 78 62 00 52 05 12 03 61 62 63", &r), 0);
    assert_int_equal(r.command, PROTO_RUN);
    assert_null(r.bin);
    assert_int_equal(r.args.count, 1);
    proto_request_clear(&r);
    assert_int_equal(read_message("52 03 0a 01 78 52 05 12 03 61 62 63", &r), 0);
    assert_string_equal(r.bin, "x");
    proto_request_clear(&r);
    /* An empty message is a request without a command. */
    assert_int_equal(read_message("", &r), 0);
    assert_int_equal(r.command, PROTO_NOTHING);
    proto_request_clear(&r);
}

static void test_broken_requests(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "08",                               /* a tag without its value */
        "00 00",                            /* field number 0 */
        "0a 00",                            /* an id that is text */
        "50 01",                            /* a run that is a number */
        "52 02 0a 7f",                      /* a text longer than its message */
        "52 03 0a 01 ff",                   /* not UTF-8 */
        "52 03 0a 01 00",                   /* a NUL */
        "52 04 0a 02 c0 80",                /* an overlong NUL */
        "52 05 0a 03 ed a0 80",             /* a surrogate */
        "52 02 08 01",                      /* a bin that is a number */
        "5a 02 0a 00",                      /* a pid that is text */
        "0b 0c",                            /* a group */
        "0f 00",                            /* wire type 7 */
        "08 ff ff ff ff ff ff ff ff ff 02", /* more than 64 bits */
        "52 05 2a 03 10 01",                /* inner lengths that do not add up */
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct proto_request r;
        if (read_message(broken[i], &r) == 0)
            fail_msg("`%s` was taken", broken[i]);
        proto_request_clear(&r);
    }
}

static void test_too_many_strings(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf body = { 0 }, message = { 0 };
    for (size_t i = 0; i <= PROTO_STRINGS_MAX; i++)
        gv_buf_add(&body, "\x12\x00", 2);
    pb_put_message(&message, PROTO_RUN, &body);
    struct proto_request r;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(proto_request_get(&r, message.data, message.len, &err), -1);
    proto_request_clear(&r);
    message.len = 0;
    body.len -= 2;
    pb_put_message(&message, PROTO_RUN, &body);
    assert_int_equal(proto_request_get(&r, message.data, message.len, &err), 0);
    assert_int_equal(r.args.count, PROTO_STRINGS_MAX);
    proto_request_clear(&r);
}

/* Frames come in pieces of any size. */
static void test_pieces(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf all = bytes("04 08 05 62 00 0b 08 02 12 07 0a 05 30 2e 31 2e 30 00 08 08 04 5a 04 08 01 10 09");
    cleanup_buf struct gv_buf big = { 0 };
    cleanup_free char *long_text = gv_alloc(300);
    memset(long_text, 'x', 300);
    pb_put_bytes(&big, 99, long_text, 300);
    uint8_t length[PB_VARINT_MAX];
    gv_buf_add(&all, length, pb_varint_put(length, big.len));
    gv_buf_add(&all, big.data, big.len);
    for (size_t piece = 1; piece < all.len; piece++) {
        struct proto_frames f = { 0 };
        static const size_t sizes[] = { 4, 11, 0, 8, 304 };
        size_t count = 0, n;
        const uint8_t *message;
        struct gv_error err = GV_ERROR_INIT;
        for (size_t at = 0; at < all.len; at += piece) {
            proto_frames_add(&f, all.data + at, all.len - at < piece ? all.len - at : piece);
            int got;
            while ((got = proto_frames_next(&f, &message, &n, &err)) > 0)
                assert_int_equal(n, sizes[count++]);
            assert_int_equal(got, 0);
        }
        assert_int_equal(count, 5);
        assert_int_equal(proto_frames_left(&f), 0);
        proto_frames_clear(&f);
    }
}

static void test_no_frames(void **state)
{
    (void)state;
    static const char *const broken[] = { "ff ff ff ff ff ff ff ff ff ff", "81 80 80 08", "ff ff ff ff 0f",
                                          "80 80 80 80 80 80 80 80 80 80 01" };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        cleanup_buf struct gv_buf b = bytes(broken[i]);
        struct proto_frames f = { 0 };
        const uint8_t *message;
        size_t n;
        struct gv_error err = GV_ERROR_INIT;
        proto_frames_add(&f, b.data, b.len);
        assert_int_equal(proto_frames_next(&f, &message, &n, &err), -1);
        assert_int_equal(err.code, GV_E_PROTOCOL);
        proto_frames_clear(&f);
    }
    /* The largest length is fine, and waits. */
    cleanup_buf struct gv_buf b = bytes("80 80 80 08");
    struct proto_frames f = { 0 };
    const uint8_t *message;
    size_t n;
    proto_frames_add(&f, b.data, b.len);
    assert_int_equal(proto_frames_next(&f, &message, &n, NULL), 0);
    proto_frames_clear(&f);
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = { "", "abc", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf" };
    static const char *const bad[] = { "\x80",         "\xc3", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                                       "\xed\xa0\x80", "\xff", "\xe2\x82", "a\xe2\x82z" };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(pb_is_utf8((const uint8_t *)good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(pb_is_utf8((const uint8_t *)bad[i], strlen(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_responses),
        cmocka_unit_test(test_golden_events),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_output_header_sizes),
        cmocka_unit_test(test_golden_requests),
        cmocka_unit_test(test_run_fields),
        cmocka_unit_test(test_broken_requests),
        cmocka_unit_test(test_too_many_strings),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_no_frames),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
