/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "usernet/frame.h"

#include <string.h>

#define ETHERTYPE_IPV4 0x0800U
#define ETHERTYPE_ARP 0x0806U
#define ETHERTYPE_IPV6 0x86ddU
#define IPV4_HEADER 20U
#define IPV6_HEADER 40U
#define UDP_HEADER 8U
#define TCP_HEADER 20U
#define ICMP_HEADER 8U
#define PROTO_ICMP 1U
#define PROTO_TCP 6U
#define PROTO_UDP 17U
#define PROTO_ICMP6 58U
#define TCP_SYN 0x02U
#define TCP_ACK 0x10U
#define NEIGHBOUR_HEADER 24U
#define NEIGHBOUR_SOLICITATION 135U
#define NEIGHBOUR_ADVERTISEMENT 136U

/* As much of a refused packet as an ICMP message gives back. */
#define QUOTE_MAX 128U

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, size_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------------- */

static enum frame_kind parse_udp(struct frame *f, const uint8_t *p, size_t n)
{
    if (n < UDP_HEADER || get16(p + 4) != n)
        return FRAME_BAD;
    f->src_port = (uint16_t)get16(p);
    f->dst_port = (uint16_t)get16(p + 2);
    f->payload = p + UDP_HEADER;
    f->payload_len = n - UDP_HEADER;
    return f->src_port && f->dst_port ? FRAME_UDP : FRAME_BAD;
}

static enum frame_kind parse_tcp(struct frame *f, const uint8_t *p, size_t n)
{
    if (n < TCP_HEADER)
        return FRAME_BAD;
    size_t header = (size_t)(p[12] >> 4) * 4;
    if (header < TCP_HEADER || header > n)
        return FRAME_BAD;
    f->src_port = (uint16_t)get16(p);
    f->dst_port = (uint16_t)get16(p + 2);
    f->opens = (p[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
    return f->src_port && f->dst_port ? FRAME_TCP : FRAME_BAD;
}

/* The options of a neighbour message: each has a length that is not 0, and they end where the message does. */
static bool options_fit(const uint8_t *p, size_t n)
{
    while (n > 0) {
        if (n < 8 || p[1] == 0 || (size_t)p[1] * 8 > n)
            return false;
        n -= (size_t)p[1] * 8;
        p += (size_t)p[1] * 8;
    }
    return true;
}

static enum frame_kind parse_icmp6(const uint8_t *ip, const uint8_t *p, size_t n)
{
    if (n < ICMP_HEADER || p[1] != 0)
        return FRAME_BAD;
    if (p[0] == 128)
        return FRAME_ECHO;
    if (p[0] != NEIGHBOUR_SOLICITATION && p[0] != NEIGHBOUR_ADVERTISEMENT)
        return FRAME_BAD;
    bool fits = n >= NEIGHBOUR_HEADER && ip[7] == 255 && p[8] != 0xff && options_fit(p + NEIGHBOUR_HEADER, n - NEIGHBOUR_HEADER);
    return fits ? FRAME_NEIGHBOUR : FRAME_BAD;
}

static enum frame_kind parse_ipv4(struct frame *f, const uint8_t *ip, size_t n)
{
    if (n < IPV4_HEADER || ip[0] != 0x45)
        return FRAME_BAD;
    size_t total = get16(ip + 2);
    if (total < IPV4_HEADER || total > n || (get16(ip + 6) & 0xbfffU) != 0) /* only "don't fragment" may be set */
        return FRAME_BAD;
    f->len = FRAME_HEADER + total;
    f->src = net_addr_v4(ip + 12);
    f->dst = net_addr_v4(ip + 16);
    const uint8_t *p = ip + IPV4_HEADER;
    n = total - IPV4_HEADER;
    switch (ip[9]) {
    case PROTO_TCP:
        return parse_tcp(f, p, n);
    case PROTO_UDP:
        return parse_udp(f, p, n);
    case PROTO_ICMP:
        return n >= ICMP_HEADER && p[0] == 8 && p[1] == 0 ? FRAME_ECHO : FRAME_BAD;
    default:
        return FRAME_BAD;
    }
}

static enum frame_kind parse_ipv6(struct frame *f, const uint8_t *ip, size_t n)
{
    if (n < IPV6_HEADER || ip[0] >> 4 != 6)
        return FRAME_BAD;
    size_t length = get16(ip + 4);
    if (length == 0 || length > n - IPV6_HEADER)
        return FRAME_BAD;
    f->len = FRAME_HEADER + IPV6_HEADER + length;
    f->src = net_addr_v6(ip + 8);
    f->dst = net_addr_v6(ip + 24);
    if (net_addr_is_v4(&f->src) || net_addr_is_v4(&f->dst))
        return FRAME_BAD;
    const uint8_t *p = ip + IPV6_HEADER;
    switch (ip[6]) {
    case PROTO_TCP:
        return parse_tcp(f, p, length);
    case PROTO_UDP:
        return parse_udp(f, p, length);
    case PROTO_ICMP6:
        return parse_icmp6(ip, p, length);
    default:
        return FRAME_BAD;
    }
}

void frame_parse(struct frame *f, const uint8_t *p, size_t n)
{
    static const uint8_t arp[] = { 0, 1, 8, 0, 6, 4, 0 }; /* Ethernet and IPv4; request and reply differ in the next byte */
    *f = (struct frame){ .kind = FRAME_BAD, .data = p, .len = n };
    if (n < FRAME_HEADER || n > FRAME_MAX || (p[FRAME_MAC] & 1)) /* nobody sends from a group's address */
        return;
    const uint8_t *body = p + FRAME_HEADER;
    n -= FRAME_HEADER;
    switch (get16(p + 12)) {
    case ETHERTYPE_ARP:
        if (n >= 28 && memcmp(body, arp, sizeof(arp)) == 0 && (body[7] == 1 || body[7] == 2)) {
            f->kind = FRAME_ARP;
            f->len = FRAME_HEADER + 28;
        }
        break;
    case ETHERTYPE_IPV4:
        f->kind = parse_ipv4(f, body, n);
        break;
    case ETHERTYPE_IPV6:
        f->kind = parse_ipv6(f, body, n);
        break;
    default:
        break;
    }
}

/* ---- writing ---------------------------------------------------------------------------------------------------------------------- */

static uint32_t sum(uint32_t start, const uint8_t *p, size_t n)
{
    for (; n >= 2; p += 2, n -= 2)
        start += get16(p);
    return n ? start + ((uint32_t)p[0] << 8) : start;
}

static unsigned folded(uint32_t value)
{
    while (value >> 16)
        value = (value & 0xffff) + (value >> 16);
    return ~value & 0xffff;
}

/* The header of Ethernet and IP for n bytes of proto. Returns where they go; 0 when they do not fit. */
static size_t build_ip(uint8_t *out, const struct frame_link *link, const struct net_addr *src, const struct net_addr *dst, unsigned proto,
                       size_t n)
{
    bool v4 = net_addr_is_v4(src);
    size_t header = v4 ? IPV4_HEADER : IPV6_HEADER;
    if (n > 65535 - header)
        return 0;
    memcpy(out, link->to, FRAME_MAC);
    memcpy(out + FRAME_MAC, link->from, FRAME_MAC);
    put16(out + 12, v4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
    uint8_t *ip = out + FRAME_HEADER;
    memset(ip, 0, header);
    if (v4) {
        ip[0] = 0x45;
        put16(ip + 2, header + n);
        ip[8] = 64;
        ip[9] = (uint8_t)proto;
        memcpy(ip + 12, src->b + 12, 4);
        memcpy(ip + 16, dst->b + 12, 4);
        put16(ip + 10, folded(sum(0, ip, header)));
    } else {
        ip[0] = 0x60;
        put16(ip + 4, n);
        ip[6] = (uint8_t)proto;
        ip[7] = 64;
        memcpy(ip + 8, src->b, 16);
        memcpy(ip + 24, dst->b, 16);
    }
    return FRAME_HEADER + header;
}

/* The checksum of UDP and of IPv6's ICMP. A mapped address adds the same as its last four bytes and 0xffff, so both families are one case:
 * 0xffff is the zero of this arithmetic. */
static unsigned pseudo_sum(const struct net_addr *src, const struct net_addr *dst, unsigned proto, const uint8_t *p, size_t n)
{
    uint32_t total = sum(sum(0, src->b, 16), dst->b, 16) + proto + (uint32_t)n;
    return folded(sum(total, p, n));
}

size_t frame_build_udp(uint8_t *out, const struct frame_link *link, const struct net_addr *src, uint16_t src_port,
                       const struct net_addr *dst, uint16_t dst_port, const uint8_t *payload, size_t n)
{
    if (n > 65535 - UDP_HEADER)
        return 0;
    size_t at = build_ip(out, link, src, dst, PROTO_UDP, UDP_HEADER + n);
    if (!at)
        return 0;
    uint8_t *udp = out + at;
    put16(udp, src_port);
    put16(udp + 2, dst_port);
    put16(udp + 4, UDP_HEADER + n);
    put16(udp + 6, 0);
    if (n)
        memcpy(udp + UDP_HEADER, payload, n);
    unsigned check = pseudo_sum(src, dst, PROTO_UDP, udp, UDP_HEADER + n);
    put16(udp + 6, check ? check : 0xffff); /* 0 would mean "none" */
    return at + UDP_HEADER + n;
}

size_t frame_build_prohibited(uint8_t *out, const struct frame_link *link, const struct net_addr *from, const struct frame *f)
{
    size_t quoted = f->len - FRAME_HEADER;
    if (quoted > QUOTE_MAX)
        quoted = QUOTE_MAX;
    bool v4 = net_addr_is_v4(from);
    size_t at = build_ip(out, link, from, &f->src, v4 ? PROTO_ICMP : PROTO_ICMP6, ICMP_HEADER + quoted);
    uint8_t *icmp = out + at;
    memset(icmp, 0, ICMP_HEADER);
    icmp[0] = v4 ? 3 : 1; /* destination unreachable */
    icmp[1] = v4 ? 13 : 1;
    memcpy(icmp + ICMP_HEADER, f->data + FRAME_HEADER, quoted);
    put16(icmp + 2, v4 ? folded(sum(0, icmp, ICMP_HEADER + quoted)) : pseudo_sum(from, &f->src, PROTO_ICMP6, icmp, ICMP_HEADER + quoted));
    return at + ICMP_HEADER + quoted;
}
