/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of this room share: packets, written by hand. */
#ifndef GV_USERNET_TEST_H
#define GV_USERNET_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "usernet/frame.h"
#include "usernet/plan.h"

static inline struct net_addr test_address(const char *text)
{
    struct net_addr a;
    if (net_addr_parse(text, strlen(text), &a) < 0)
        fail_msg("`%s` is no address", text);
    return a;
}

static inline void test_put16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* The Internet's checksum of n bytes, begun with total. */
static inline unsigned test_sum(const uint8_t *p, size_t n, uint32_t total)
{
    for (size_t i = 0; i < n; i++)
        total += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return ~total & 0xffff;
}

/* An Ethernet frame of IP protocol proto with the n bytes at body, by whoever is meant. Returns its length. */
static inline size_t test_packet(uint8_t *out, const char *src, const char *dst, unsigned proto, const uint8_t *body, size_t n)
{
    static const uint8_t mac[] = NET_PLAN_MAC;
    struct net_addr from = test_address(src), to = test_address(dst);
    memset(out, 0, FRAME_HEADER + 40);
    memcpy(out, "\x52\x55\xc0\x00\x02\x02", 6);
    memcpy(out + 6, mac, 6);
    uint8_t *ip = out + FRAME_HEADER;
    if (net_addr_is_v4(&from)) {
        test_put16(out + 12, 0x0800);
        ip[0] = 0x45;
        test_put16(ip + 2, 20 + n);
        ip[8] = 64;
        ip[9] = (uint8_t)proto;
        memcpy(ip + 12, from.b + 12, 4);
        memcpy(ip + 16, to.b + 12, 4);
        test_put16(ip + 10, test_sum(ip, 20, 0));
        memcpy(ip + 20, body, n);
        if (proto == 6)
            test_put16(ip + 36, test_sum(ip + 12, 8 + n, (uint32_t)(proto + n)));
        return FRAME_HEADER + 20 + n;
    }
    test_put16(out + 12, 0x86dd);
    ip[0] = 0x60;
    test_put16(ip + 4, n);
    ip[6] = (uint8_t)proto;
    ip[7] = 255;
    memcpy(ip + 8, from.b, 16);
    memcpy(ip + 24, to.b, 16);
    memcpy(ip + 40, body, n);
    return FRAME_HEADER + 40 + n;
}

enum { TEST_SYN = 0x02, TEST_RST = 0x04, TEST_ACK = 0x10 };

static inline size_t test_tcp(uint8_t *out, const char *src, unsigned src_port, const char *dst, unsigned dst_port, unsigned flags)
{
    uint8_t tcp[20] = { 0 };
    test_put16(tcp, src_port);
    test_put16(tcp + 2, dst_port);
    tcp[12] = 0x50;
    tcp[13] = (uint8_t)flags;
    return test_packet(out, src, dst, 6, tcp, sizeof(tcp));
}

static inline size_t test_udp(uint8_t *out, const char *src, unsigned src_port, const char *dst, unsigned dst_port, const void *payload,
                              size_t n)
{
    uint8_t udp[2048] = { 0 };
    test_put16(udp, src_port);
    test_put16(udp + 2, dst_port);
    test_put16(udp + 4, 8 + n);
    memcpy(udp + 8, payload, n);
    return test_packet(out, src, dst, 17, udp, 8 + n);
}

#endif
