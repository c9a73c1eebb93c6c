/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "usernet/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

struct net_addr net_addr_v4(const uint8_t b[4])
{
    struct net_addr a;
    memcpy(a.b, mapped, 12);
    memcpy(a.b + 12, b, 4);
    return a;
}

struct net_addr net_addr_v6(const uint8_t b[16])
{
    struct net_addr a;
    memcpy(a.b, b, 16);
    return a;
}

bool net_addr_is_v4(const struct net_addr *a)
{
    return memcmp(a->b, mapped, 12) == 0;
}

bool net_addr_equal(const struct net_addr *a, const struct net_addr *b)
{
    return memcmp(a->b, b->b, 16) == 0;
}

bool net_addr_in(const struct net_addr *a, const struct net_addr *prefix, unsigned bits)
{
    size_t whole = bits / 8;
    if (memcmp(a->b, prefix->b, whole) != 0)
        return false;
    unsigned rest = bits % 8;
    return rest == 0 || ((a->b[whole] ^ prefix->b[whole]) >> (8 - rest)) == 0;
}

struct range {
    const char *prefix;
    unsigned bits;
    enum net_class class;
};

static enum net_class class_in(const uint8_t *b, size_t size, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint8_t *prefix = (const uint8_t *)ranges[i].prefix;
        size_t whole = ranges[i].bits / 8;
        unsigned rest = ranges[i].bits % 8;
        if (whole <= size && memcmp(b, prefix, whole) == 0 && (rest == 0 || ((b[whole] ^ prefix[whole]) >> (8 - rest)) == 0))
            return ranges[i].class;
    }
    return NET_PUBLIC;
}

static enum net_class class_v4(const uint8_t b[4])
{
    static const struct range ranges[] = {
        { "\0", 8, NET_NEVER },          /* "this host": Linux takes it for the loopback */
        { "\177", 8, NET_NEVER },        /* loopback */
        { "\340", 3, NET_NEVER },        /* multicast, and what is above it up to the broadcast */
        { "\251\376", 16, NET_LINK },    /* link-local */
        { "\12", 8, NET_PRIVATE },       /* 10.0.0.0/8 */
        { "\254\20", 12, NET_PRIVATE },  /* 172.16.0.0/12 */
        { "\300\250", 16, NET_PRIVATE }, /* 192.168.0.0/16 */
        { "\144\100", 10, NET_PRIVATE }, /* 100.64.0.0/10, of providers */
        { "\306\22", 15, NET_PRIVATE },  /* 198.18.0.0/15, for measurements */
        { "\300\0\0", 24, NET_PRIVATE }, /* 192.0.0.0/24, of protocols */
        { "\300\0\2", 24, NET_PRIVATE }, /* 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24, for documents */
        { "\306\63\144", 24, NET_PRIVATE },
        { "\313\0\161", 24, NET_PRIVATE },
    };
    return class_in(b, 4, ranges, sizeof(ranges) / sizeof(ranges[0]));
}

/* Prefixes that carry an IPv4 address: a translator on the way makes the one of the other, so the inner one counts. */
static bool embeds_v4(const uint8_t b[16], const uint8_t **inner)
{
    static const uint8_t nat64[12] = { 0, 0x64, 0xff, 0x9b };
    if (memcmp(b, nat64, 12) == 0) {
        *inner = b + 12;
        return true;
    }
    if (b[0] == 0x20 && b[1] == 0x02) { /* 6to4 */
        *inner = b + 2;
        return true;
    }
    return false;
}

enum net_class net_addr_class(const struct net_addr *a)
{
    static const struct range ranges[] = {
        { "\0\0\0\0\0\0\0\0\0\0\0\0", 96, NET_NEVER }, /* ::, ::1, and IPv4 addresses of old */
        { "\377", 8, NET_NEVER },                      /* multicast */
        { "\376\200", 10, NET_NEVER },                 /* link-local: needs an interface, which the guest does not name */
        { "\374", 7, NET_PRIVATE },                    /* unique local */
        { "\376\300", 10, NET_PRIVATE },               /* site-local */
        { "\0\144\377\233\0\1", 48, NET_PRIVATE },     /* a translator of one's own */
        { "\40\1\15\270", 32, NET_PRIVATE },           /* 2001:db8::/32, for documents */
    };
    if (net_addr_is_v4(a))
        return class_v4(a->b + 12);
    const uint8_t *inner;
    if (embeds_v4(a->b, &inner))
        return class_v4(inner);
    return class_in(a->b, 16, ranges, sizeof(ranges) / sizeof(ranges[0]));
}

int net_addr_parse(const char *text, size_t n, struct net_addr *out)
{
    char buf[NET_ADDR_TEXT];
    if (n == 0 || n >= sizeof(buf) || memchr(text, '\0', n))
        return -1;
    memcpy(buf, text, n);
    buf[n] = '\0';
    uint8_t b[16];
    if (inet_pton(AF_INET, buf, b) == 1)
        *out = net_addr_v4(b);
    else if (inet_pton(AF_INET6, buf, b) == 1 && memcmp(b, mapped, sizeof(mapped)) != 0)
        *out = net_addr_v6(b);
    else
        return -1;
    return 0;
}

const char *net_addr_text(const struct net_addr *a, char out[NET_ADDR_TEXT])
{
    bool v4 = net_addr_is_v4(a);
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->b + 12 : a->b, out, NET_ADDR_TEXT);
    return out;
}

socklen_t net_addr_sockaddr(const struct net_addr *a, uint16_t port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (net_addr_is_v4(a)) {
        struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
        memcpy(&sin.sin_addr, a->b + 12, 4);
        memcpy(out, &sin, sizeof(sin));
        return sizeof(sin);
    }
    struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    memcpy(&sin6.sin6_addr, a->b, 16);
    memcpy(out, &sin6, sizeof(sin6));
    return sizeof(sin6);
}
