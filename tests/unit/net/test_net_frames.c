/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Batches of datagrams, and the framings of streams, byte for byte. */
#include "net_test.h"

#include <netinet/in.h>

#include "net/frames.h"

static uint8_t *room;

static int setup(void **state)
{
    (void)state;
    room = malloc((size_t)NET_BATCH * NET_SLOT);
    return room ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    free(room);
    return 0;
}

static void pair_of_datagrams(int pair[2])
{
    const int size = 1 << 20;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
}

/* The sizes at which something changes, and which of them are frames. */
static void test_sizes(void **state)
{
    static const size_t sizes[] = { 0, 1, 13, 14, 15, 1514, 65534, 65535, 65536, 70000 };
    struct net_frame frames[NET_BATCH];
    struct net_flow flow = { 0 };
    uint8_t sent[70000];
    int pair[2];
    size_t count;
    (void)state;
    pair_of_datagrams(pair);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        test_frame(sent, sizes[i], (unsigned)i);
        assert_int_equal(send(pair[0], sent, sizes[i], 0), (ssize_t)sizes[i]);
    }
    assert_int_equal(net_receive(pair[1], room, frames, &count, &flow), 10);
    assert_int_equal(count, 5);
    assert_int_equal(flow.refused, 5);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(frames[i].n, sizes[i + 3]);
        test_frame(sent, sizes[i + 3], (unsigned)i + 3);
        assert_memory_equal(frames[i].p, sent, frames[i].n);
    }
    assert_int_equal(net_receive(pair[1], room, frames, &count, &flow), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(count, 0);
    close(pair[0]);
    close(pair[1]);
}

/* A batch is a batch, however many there are. */
static void test_batches(void **state)
{
    struct net_frame frames[NET_BATCH];
    struct net_flow flow = { 0 };
    uint8_t frame[60];
    int pair[2];
    size_t count;
    (void)state;
    pair_of_datagrams(pair);
    for (unsigned i = 0; i < NET_BATCH + 5; i++) {
        test_frame(frame, sizeof(frame), i);
        assert_int_equal(send(pair[0], frame, sizeof(frame), 0), sizeof(frame));
    }
    assert_int_equal(net_receive(pair[1], room, frames, &count, &flow), NET_BATCH);
    assert_int_equal(count, NET_BATCH);
    assert_int_equal(net_receive(pair[1], room, frames, &count, &flow), 5);
    test_frame(frame, sizeof(frame), NET_BATCH);
    assert_memory_equal(frames[0].p, frame, sizeof(frame));
    close(pair[0]);
    close(pair[1]);
}

/* What the receiver does not take is dropped; the sum is right, and nothing blocks. */
static void test_full(void **state)
{
    struct net_frame frames[NET_BATCH], got[NET_BATCH];
    struct net_flow flow = { 0 }, back = { 0 };
    uint8_t frame[1500];
    int pair[2];
    size_t count, received = 0;
    (void)state;
    pair_of_datagrams(pair);
    test_frame(frame, sizeof(frame), 1);
    for (size_t i = 0; i < NET_BATCH; i++)
        frames[i] = (struct net_frame){ frame, sizeof(frame) };
    for (int i = 0; i < 200; i++)
        net_send(pair[0], frames, NET_BATCH, &flow);
    assert_int_equal(flow.frames + flow.dropped, 200 * NET_BATCH);
    assert_true(flow.dropped > 0 && flow.frames > 100);
    assert_int_equal(flow.bytes, flow.frames * sizeof(frame));
    while (net_receive(pair[1], room, got, &count, &back) > 0)
        received += count;
    assert_int_equal(received, flow.frames);
    /* A peer that is gone takes nothing. */
    close(pair[1]);
    memset(&flow, 0, sizeof(flow));
    net_send(pair[0], frames, NET_BATCH, &flow);
    assert_int_equal(flow.dropped, NET_BATCH);
    close(pair[0]);
}

/* One frame that does not fit the wire is not the end of those behind it. */
static void test_too_long_for_the_wire(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    struct net_flow flow = { 0 };
    struct net_frame got[NET_BATCH];
    size_t count;
    (void)state;
    static uint8_t big[NET_FRAME_MAX], small[100];
    const struct net_frame frames[] = { { small, sizeof(small) }, { big, sizeof(big) }, { small, 99 } };
    cleanup_close int to = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), from = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(to, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(to, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(from, (struct sockaddr *)&address, size), 0);
    net_send(from, frames, 3, &flow); /* no UDP datagram has 65535 bytes */
    assert_int_equal(flow.frames, 2);
    assert_int_equal(flow.dropped, 1);
    assert_int_equal(net_receive(to, room, got, &count, &flow), 2);
    assert_int_equal(got[0].n, 100);
    assert_int_equal(got[1].n, 99);
}

static void test_prefixes(void **state)
{
    static const uint8_t be32[] = { 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 1, 0, 0, 'x' }, most[] = { 0, 0, 0xff, 0xff };
    struct net_frame frame;
    uint8_t native[2 + 5], out[NET_PREFIX_MAX];
    const uint16_t five = 5;
    size_t used = 0;
    (void)state;
    for (size_t n = 0; n < 7; n++)
        assert_int_equal(net_prefix_next(NET_PREFIX_BE32, be32, n, &frame, &used), 0);
    assert_int_equal(net_prefix_next(NET_PREFIX_BE32, be32, 7, &frame, &used), 1);
    assert_int_equal(used, 7);
    assert_ptr_equal(frame.p, be32 + 4);
    assert_int_equal(frame.n, 3);
    assert_int_equal(net_prefix_next(NET_PREFIX_BE32, be32 + 7, 4, &frame, &used), 1);
    assert_int_equal(frame.n, 0);
    assert_int_equal(used, 4);
    /* 65536 is too much at once, and not only when so many bytes are there. */
    assert_int_equal(net_prefix_next(NET_PREFIX_BE32, be32 + 11, 4, &frame, &used), -1);
    assert_int_equal(net_prefix_next(NET_PREFIX_BE32, most, 4, &frame, &used), 0);
    memcpy(native, &five, 2);
    assert_int_equal(net_prefix_next(NET_PREFIX_NATIVE16, native, 1, &frame, &used), 0);
    assert_int_equal(net_prefix_next(NET_PREFIX_NATIVE16, native, 6, &frame, &used), 0);
    assert_int_equal(net_prefix_next(NET_PREFIX_NATIVE16, native, 7, &frame, &used), 1);
    assert_int_equal(frame.n, 5);
    assert_int_equal(used, 7);
    net_prefix_put(NET_PREFIX_BE32, out, 65535);
    assert_memory_equal(out, most, 4);
    net_prefix_put(NET_PREFIX_NATIVE16, out, 5);
    assert_memory_equal(out, &five, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_sizes), cmocka_unit_test(test_batches), cmocka_unit_test(test_full),
                                        cmocka_unit_test(test_too_long_for_the_wire), cmocka_unit_test(test_prefixes) };
    return cmocka_run_group_tests_name("net_frames", tests, setup, teardown);
}
