/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which frames are what, and what is none of them. */
#include "usernet_test.h"

#define GUEST4 NET_PLAN_GUEST4
#define GUEST6 NET_PLAN_GUEST6

static uint8_t packet[FRAME_MAX];

static enum frame_kind kind_of(const uint8_t *p, size_t n)
{
    struct frame f;
    uint8_t *copy = test_malloc(n ? n : 1);
    memcpy(copy, p, n);
    frame_parse(&f, copy, n);
    assert_true(f.len <= n);
    test_free(copy);
    return f.kind;
}

static void test_good(void **state)
{
    (void)state;
    struct frame f;
    size_t n = test_tcp(packet, GUEST4, 1000, "8.8.8.8", 443, TEST_SYN);
    frame_parse(&f, packet, n + 6); /* padded */
    assert_int_equal(f.kind, FRAME_TCP);
    assert_int_equal(f.len, n);
    assert_true(f.opens && f.src_port == 1000 && f.dst_port == 443);
    n = test_tcp(packet, GUEST6, 1000, "2600::1", 443, TEST_SYN | TEST_ACK);
    frame_parse(&f, packet, n);
    assert_int_equal(f.kind, FRAME_TCP);
    assert_false(f.opens);
    n = test_udp(packet, GUEST6, 1, "2600::1", 2, "text", 4);
    frame_parse(&f, packet, n);
    assert_int_equal(f.kind, FRAME_UDP);
    assert_int_equal(f.payload_len, 4);
    assert_memory_equal(f.payload, "text", 4);
    n = test_packet(packet, GUEST4, "8.8.8.8", 1, (const uint8_t *)"\10\0\0\0\0\0\0\0", 8);
    assert_int_equal(kind_of(packet, n), FRAME_ECHO);
    n = test_packet(packet, GUEST6, "2600::1", 58, (const uint8_t *)"\200\0\0\0\0\0\0\0", 8);
    assert_int_equal(kind_of(packet, n), FRAME_ECHO);
    uint8_t solicitation[32] = { 135, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0x80 };
    solicitation[24] = 1;
    solicitation[25] = 1;
    n = test_packet(packet, GUEST6, "ff02::1:ff00:2", 58, solicitation, sizeof(solicitation));
    assert_int_equal(kind_of(packet, n), FRAME_NEIGHBOUR);
}

/* Every frame that is cut short is bad. */
static void cut(size_t n)
{
    assert_int_not_equal(kind_of(packet, n), FRAME_BAD);
    for (size_t i = 0; i < n; i++)
        if (kind_of(packet, i) != FRAME_BAD)
            fail_msg("the first %zu of %zu bytes are a frame", i, n);
}

static void test_cut(void **state)
{
    (void)state;
    static const uint8_t arp[28] = { 0, 1, 8, 0, 6, 4, 0, 1 };
    cut(test_tcp(packet, GUEST4, 1000, "8.8.8.8", 443, TEST_SYN));
    cut(test_tcp(packet, GUEST6, 1000, "2600::1", 443, TEST_SYN));
    cut(test_udp(packet, GUEST4, 1, "8.8.8.8", 2, "text", 4));
    cut(test_udp(packet, GUEST6, 1, "2600::1", 2, "text", 4));
    memcpy(packet + 12, "\x08\x06", 2);
    memcpy(packet + FRAME_HEADER, arp, sizeof(arp));
    cut(FRAME_HEADER + sizeof(arp));
}

/* The frame of n bytes is good; with this byte it is not. */
static void spoiled(size_t n, size_t at, unsigned value)
{
    uint8_t before = packet[at];
    assert_int_not_equal(kind_of(packet, n), FRAME_BAD);
    packet[at] = (uint8_t)value;
    if (kind_of(packet, n) != FRAME_BAD)
        fail_msg("with %u at %zu it is a frame", value, at);
    packet[at] = before;
}

static void test_ipv4(void **state)
{
    (void)state;
    enum { IP = FRAME_HEADER, TCP = IP + 20 };
    size_t n = test_tcp(packet, GUEST4, 1000, "8.8.8.8", 443, TEST_SYN);
    packet[IP + 6] = 0x40;      /* "do not fragment" is fine */
    spoiled(n, 6, 0x53);        /* from a group */
    spoiled(n, 12, 0x88);       /* another protocol */
    spoiled(n, IP, 0x46);       /* options */
    spoiled(n, IP, 0x44);       /* a header that is too short */
    spoiled(n, IP, 0x65);       /* version 6 */
    spoiled(n, IP + 3, 41);     /* longer than the frame */
    spoiled(n, IP + 3, 19);     /* shorter than its header */
    spoiled(n, IP + 6, 0x20);   /* the first fragment */
    spoiled(n, IP + 6, 0x80);   /* the reserved bit */
    spoiled(n, IP + 7, 1);      /* another fragment */
    spoiled(n, IP + 9, 47);     /* GRE */
    spoiled(n, IP + 9, 2);      /* IGMP */
    spoiled(n, TCP + 12, 0x40); /* a header that is too short */
    spoiled(n, TCP + 12, 0x60); /* or longer than the packet */
    n = test_tcp(packet, GUEST4, 1000, "8.8.8.8", 0, TEST_SYN);
    assert_int_equal(kind_of(packet, n), FRAME_BAD);
    n = test_udp(packet, GUEST4, 1, "8.8.8.8", 2, "text", 4);
    spoiled(n, IP + 25, 11); /* lengths that do not agree */
    spoiled(n, IP + 25, 13);
    spoiled(n, IP + 25, 7);
    n = test_packet(packet, GUEST4, "8.8.8.8", 1, (const uint8_t *)"\10\0\0\0\0\0\0\0", 8);
    spoiled(n, IP + 20, 5);  /* a redirect */
    spoiled(n, IP + 20, 13); /* a question for the time */
}

static void test_ipv6(void **state)
{
    (void)state;
    enum { IP = FRAME_HEADER };
    size_t n = test_udp(packet, GUEST6, 1, "2600::1", 2, "text", 4);
    spoiled(n, IP, 0x45);   /* version 4 */
    spoiled(n, IP + 5, 13); /* longer than the frame */
    spoiled(n, IP + 5, 11); /* not as long as the datagram */
    spoiled(n, IP + 6, 0);  /* hop-by-hop options */
    spoiled(n, IP + 6, 43); /* routing */
    spoiled(n, IP + 6, 44); /* a fragment */
    spoiled(n, IP + 6, 60); /* destination options */
    spoiled(n, IP + 6, 41); /* IPv6 in it */
    memset(packet + IP + 24, 0, 10);
    memset(packet + IP + 34, 0xff, 2);
    assert_int_equal(kind_of(packet, n), FRAME_BAD); /* to an IPv4 address in disguise */
    uint8_t solicitation[32] = { 135, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0x80 };
    solicitation[24] = 1;
    solicitation[25] = 1;
    n = test_packet(packet, GUEST6, "ff02::1", 58, solicitation, sizeof(solicitation));
    spoiled(n, IP + 7, 254);     /* it was forwarded */
    spoiled(n, IP + 40, 134);    /* it is a router's */
    spoiled(n, IP + 40, 137);    /* a redirect */
    spoiled(n, IP + 48, 0xff);   /* about a group */
    spoiled(n, IP + 40 + 25, 0); /* an option without a length */
    spoiled(n, IP + 40 + 25, 2); /* or with too much */
}

static const struct frame_link wire = { .from = { 0x52, 0x55, 0xc0, 0, 2, 2 }, .to = NET_PLAN_MAC };

static void test_build_udp(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "8.8.8.8", GUEST4 }, { "2600::1", GUEST6 } };
    for (size_t i = 0; i < 2; i++)
        for (size_t len = 0; len < 4; len++) {
            struct frame f;
            struct net_addr src = test_address(pairs[i][0]), dst = test_address(pairs[i][1]);
            size_t n = frame_build_udp(packet, &wire, &src, 53, &dst, 1000, (const uint8_t *)"abc", len);
            size_t header = i ? 40 : 20;
            frame_parse(&f, packet, n);
            assert_int_equal(f.kind, FRAME_UDP);
            assert_int_equal(f.len, n);
            assert_true(net_addr_equal(&f.src, &src) && net_addr_equal(&f.dst, &dst) && f.src_port == 53 && f.dst_port == 1000);
            assert_int_equal(f.payload_len, len);
            /* The sum of a correct packet, its checksum included, is 0. */
            if (!i)
                assert_int_equal(test_sum(packet + FRAME_HEADER, 20, 0), 0);
            size_t addresses = i ? 32 : 8;
            assert_int_equal(test_sum(packet + FRAME_HEADER + header - addresses, addresses + 8 + len, (uint32_t)(17 + 8 + len)), 0);
        }
    struct net_addr a = test_address("8.8.8.8");
    assert_int_equal(frame_build_udp(packet, &wire, &a, 1, &a, 1, packet, 65535 - 20 - 8 + 1), 0);
}

static void test_prohibited(void **state)
{
    (void)state;
    static uint8_t big[1400];
    uint8_t reply[1024];
    struct frame f;
    struct net_addr gateway = test_address(NET_PLAN_GATEWAY4), gateway6 = test_address(NET_PLAN_GATEWAY6);
    frame_parse(&f, packet, test_udp(packet, GUEST4, 1000, "9.9.9.9", 2000, big, sizeof(big)));
    size_t n = frame_build_prohibited(reply, &wire, &gateway, &f);
    assert_int_equal(n, FRAME_HEADER + 20 + 8 + 128);
    assert_memory_equal(reply + FRAME_HEADER + 20, "\3\15", 2);
    assert_memory_equal(reply + FRAME_HEADER + 28, packet + FRAME_HEADER, 128);
    assert_int_equal(test_sum(reply + FRAME_HEADER, 20, 0), 0);
    assert_int_equal(test_sum(reply + FRAME_HEADER + 20, n - FRAME_HEADER - 20, 0), 0);
    frame_parse(&f, packet, test_tcp(packet, GUEST6, 1000, "2600::1", 2000, TEST_SYN));
    n = frame_build_prohibited(reply, &wire, &gateway6, &f);
    assert_int_equal(n, FRAME_HEADER + 40 + 8 + 60);
    assert_memory_equal(reply + FRAME_HEADER + 40, "\1\1", 2);
    assert_int_equal(test_sum(reply + FRAME_HEADER + 8, n - FRAME_HEADER - 8, (uint32_t)(58 + n - FRAME_HEADER - 40)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good), cmocka_unit_test(test_cut),       cmocka_unit_test(test_ipv4),
        cmocka_unit_test(test_ipv6), cmocka_unit_test(test_build_udp), cmocka_unit_test(test_prohibited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
