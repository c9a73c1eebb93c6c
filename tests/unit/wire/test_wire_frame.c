/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The bytes of the protocol: what is written down here is what both sides have to speak for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/wire.h"

static void header_bytes(void **state)
{
    (void)state;
    static const uint8_t golden[WIRE_HEADER] = { 0x44, 0x33, 0x02, 0x00, 0x11, 0x00, 0x00, 0x00,
                                                 0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1 };
    struct wire_header h = { .length = 0x23344, .type = WIRE_RUN, .id = 0xf1f2f3f4f5f6f7f8 }, back;
    uint8_t bytes[WIRE_HEADER];
    wire_header_put(bytes, &h);
    assert_memory_equal(bytes, golden, sizeof(golden));
    assert_int_equal(wire_header_get(&back, bytes, WIRE_PAYLOAD_MAX), 0);
    assert_int_equal(back.length, h.length);
    assert_int_equal(back.type, h.type);
    assert_true(back.id == h.id);
}

static void header_limits(void **state)
{
    (void)state;
    struct wire_header h = { .length = 65536, .type = WIRE_DATA, .id = 1 }, back;
    uint8_t bytes[WIRE_HEADER];
    wire_header_put(bytes, &h);
    assert_int_equal(wire_header_get(&back, bytes, 65536), 0);
    assert_int_equal(wire_header_get(&back, bytes, 65535), -1);
    bytes[6] = 1;
    assert_int_equal(wire_header_get(&back, bytes, 65536), -1);
    bytes[6] = 0;
    bytes[7] = 0x80;
    assert_int_equal(wire_header_get(&back, bytes, 65536), -1);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(wire_header_get(&back, bytes, UINT32_MAX), -1);
}

static void hello_bytes(void **state)
{
    (void)state;
    static const uint8_t golden[] = {
        34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* length, HELLO, id 0 */
        3,  0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,       /* VERSION_MIN 1 */
        4,  0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,       /* VERSION_MAX 1 */
        6,  0, 0, 0, 0, 0,                               /* AGENT "" */
    };
    uint8_t buf[64];
    struct wire_writer w;
    wire_frame_begin(&w, buf, sizeof(buf));
    wire_put_number(&w, KEY_VERSION_MIN, 1);
    wire_put_number(&w, KEY_VERSION_MAX, 1);
    wire_put_text(&w, KEY_AGENT, "");
    assert_int_equal(wire_frame_end(&w, WIRE_HELLO, 0), sizeof(golden));
    assert_memory_equal(buf, golden, sizeof(golden));
}

static void run_bytes(void **state)
{
    (void)state;
    static const uint8_t golden[] = {
        35, 0, 0, 0, 17, 0, 0,   0,   0xef, 0xbe, 0xad, 0xde, 0, 0, 0, 0, /* length, RUN, id */
        16, 0, 2, 0, 0,  0, 'l', 's',                                     /* ARG */
        16, 0, 0, 0, 0,  0,                                               /* ARG "" */
        17, 0, 1, 0, 0,  0, 'A',                                          /* ENV */
        25, 0, 8, 0, 0,  0, 1,   0,   0,    0,    0,    0,    0, 0,       /* TTY */
    };
    uint8_t buf[64];
    struct wire_writer w;
    wire_frame_begin(&w, buf, sizeof(buf));
    wire_put_text(&w, KEY_ARG, "ls");
    wire_put_bytes(&w, KEY_ARG, NULL, 0);
    wire_put_bytes(&w, KEY_ENV, "A", 1);
    wire_put_number(&w, KEY_TTY, 1);
    assert_int_equal(wire_frame_end(&w, WIRE_RUN, 0xdeadbeef), sizeof(golden));
    assert_memory_equal(buf, golden, sizeof(golden));
}

static void numbers_of_the_protocol(void **state)
{
    /* A change of any of these is another protocol. */
    (void)state;
    static const unsigned types[] = { WIRE_HELLO, WIRE_ANSWER, WIRE_DATA, WIRE_CREDIT, WIRE_CLOSE, WIRE_EXIT, WIRE_INPUT_GONE, WIRE_NOTE };
    static const unsigned requests[] = { WIRE_ROOT,  WIRE_RUN,   WIRE_RESIZE, WIRE_SIGNAL, WIRE_MOUNT,    WIRE_NET,
                                         WIRE_HOSTS, WIRE_CLOCK, WIRE_STATS,  WIRE_SYNC,   WIRE_SHUTDOWN, WIRE_PING };
    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        assert_int_equal(types[i], i + 1);
    for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        assert_int_equal(requests[i], i + 16);
    assert_int_equal(WIRE_HEADER + 1 + WIRE_DATA_MAX, 32768);
    assert_int_equal(WIRE_CREDIT_START, 262144);
    assert_int_equal(KEY_ARG, 16);
    assert_int_equal(KEY_DEFAULT_ENV, 35);
    assert_int_equal(KEY_DISK, 48);
    assert_int_equal(KEY_TAG, 64);
    assert_int_equal(KEY_IFACE, 80);
    assert_int_equal(KEY_SECONDS, 96);
    assert_int_equal(KEY_STAT_UPTIME, 112);
    assert_int_equal(KEY_STAT_PROCESSES, 119);
}

static void writer_overflow(void **state)
{
    (void)state;
    struct wire_writer w;
    uint8_t buf[64];
    for (size_t size = 0; size <= sizeof(buf); size++) {
        memset(buf, 0x55, sizeof(buf));
        wire_frame_begin(&w, buf, size);
        wire_put_number(&w, KEY_COUNT, 1);
        wire_put_text(&w, KEY_TEXT, "abc");
        size_t n = wire_frame_end(&w, WIRE_NOTE, 0);
        assert_int_equal(n, size >= 39 ? 39 : 0);
        for (size_t i = size; i < sizeof(buf); i++)
            assert_int_equal(buf[i], 0x55);
    }
    wire_frame_begin(&w, buf, sizeof(buf));
    wire_put_bytes(&w, KEY_TEXT, buf, SIZE_MAX);
    assert_int_equal(wire_frame_end(&w, WIRE_NOTE, 0), 0);
}

static void reader(void **state)
{
    (void)state;
    static const uint8_t good[] = { 2, 0, 1, 0, 0, 0, 'x', 8, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 2, 0, 0, 0, 0, 0 };
    struct wire_reader r;
    struct wire_field f;
    uint64_t v;
    wire_reader_init(&r, good, sizeof(good));
    assert_int_equal(wire_next(&r, &f), 1);
    assert_int_equal(f.key, KEY_TEXT);
    assert_int_equal(f.length, 1);
    assert_int_equal(wire_number(&f, &v), -1);
    assert_int_equal(wire_next(&r, &f), 1);
    assert_int_equal(wire_number(&f, &v), 0);
    assert_true(v == 0x0807060504030201);
    assert_int_equal(wire_next(&r, &f), 1);
    assert_int_equal(f.length, 0);
    assert_int_equal(wire_next(&r, &f), 0);
    assert_int_equal(wire_next(&r, &f), 0);
    /* Every cut of it that is not between two fields is broken. */
    for (size_t n = 0; n < sizeof(good); n++) {
        int got;
        wire_reader_init(&r, good, n);
        while ((got = wire_next(&r, &f)) > 0)
            continue;
        assert_int_equal(got, n == 0 || n == 7 || n == 21 ? 0 : -1);
    }
    static const uint8_t huge[] = { 2, 0, 0xff, 0xff, 0xff, 0xff, 'x' };
    wire_reader_init(&r, huge, sizeof(huge));
    assert_int_equal(wire_next(&r, &f), -1);
}

static void finding(void **state)
{
    (void)state;
    uint8_t buf[100];
    struct wire_writer w;
    struct wire_field f;
    uint64_t v;
    wire_frame_begin(&w, buf, sizeof(buf));
    wire_put_text(&w, KEY_TEXT, "first");
    wire_put_text(&w, KEY_TEXT, "second");
    wire_put_number(&w, KEY_ERRNO, UINT64_MAX);
    size_t n = wire_frame_end(&w, WIRE_ANSWER, 1) - WIRE_HEADER;
    const uint8_t *p = buf + WIRE_HEADER;
    assert_int_equal(wire_find(p, n, KEY_TEXT, &f), 1);
    assert_memory_equal(f.value, "first", 5);
    assert_int_equal(wire_find(p, n, KEY_COUNT, &f), 0);
    assert_int_equal(wire_find_number(p, n, KEY_ERRNO, 0, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(wire_find_number(p, n, KEY_COUNT, 7, &v), 0);
    assert_int_equal(v, 7);
    assert_int_equal(wire_find_number(p, n, KEY_TEXT, 0, &v), -1);
    assert_int_equal(wire_find_number(p, n - 1, KEY_ERRNO, 0, &v), -1);
    assert_int_equal(wire_find_number(p, 0, KEY_ERRNO, 5, &v), 0);
    assert_int_equal(v, 5);
}

static void frames_in_pieces(void **state)
{
    (void)state;
    uint8_t buf[100];
    struct wire_writer w;
    struct wire_header h;
    const uint8_t *payload;
    size_t used;
    wire_frame_begin(&w, buf, sizeof(buf));
    wire_put_text(&w, KEY_TEXT, "hello");
    size_t n = wire_frame_end(&w, WIRE_NOTE, 3);
    for (size_t have = 0; have < n; have++)
        assert_int_equal(wire_frame_get(buf, have, WIRE_GUEST_PAYLOAD_MAX, &h, &payload, &used), 0);
    for (size_t have = n; have < sizeof(buf); have++) {
        assert_int_equal(wire_frame_get(buf, have, WIRE_GUEST_PAYLOAD_MAX, &h, &payload, &used), 1);
        assert_int_equal(used, n);
        assert_ptr_equal(payload, buf + WIRE_HEADER);
        assert_int_equal(h.id, 3);
    }
    /* A bad header is known as soon as it is there, not when its payload has come. */
    assert_int_equal(wire_frame_get(buf, WIRE_HEADER, 4, &h, &payload, &used), -1);
}

static void frame_too_large(void **state)
{
    (void)state;
    static uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX + 100], value[WIRE_PAYLOAD_MAX];
    struct wire_writer w;
    wire_frame_begin(&w, buf, sizeof(buf));
    wire_put_bytes(&w, KEY_TEXT, value, WIRE_PAYLOAD_MAX - 6);
    assert_int_equal(wire_frame_end(&w, WIRE_NOTE, 0), WIRE_HEADER + WIRE_PAYLOAD_MAX);
    wire_frame_begin(&w, buf, sizeof(buf));
    wire_put_bytes(&w, KEY_TEXT, value, WIRE_PAYLOAD_MAX - 5);
    assert_int_equal(wire_frame_end(&w, WIRE_NOTE, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_bytes),
        cmocka_unit_test(header_limits),
        cmocka_unit_test(hello_bytes),
        cmocka_unit_test(run_bytes),
        cmocka_unit_test(numbers_of_the_protocol),
        cmocka_unit_test(writer_overflow),
        cmocka_unit_test(reader),
        cmocka_unit_test(finding),
        cmocka_unit_test(frames_in_pieces),
        cmocka_unit_test(frame_too_large),
    };
    return cmocka_run_group_tests_name("wire_frame", tests, NULL, NULL);
}
