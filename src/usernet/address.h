/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Internet addresses of both families in one form: an IPv4 address is kept as the IPv4-mapped IPv6 one (::ffff:a.b.c.d), so that everything
 * that compares or stores addresses has one case. A packet of IPv6 never holds a mapped address: frame_parse() refuses it.
 */
#ifndef GV_USERNET_ADDRESS_H
#define GV_USERNET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NET_ADDR_TEXT 48

struct net_addr {
    uint8_t b[16]; /* in network order */
};

/* What an address is, seen from the host. */
enum net_class {
    NET_PUBLIC,
    NET_PRIVATE, /* of somebody's own network: RFC 1918, 6598, unique local, and what is reserved for tests and translation */
    NET_LINK,    /* 169.254.0.0/16, where clouds keep their secrets */
    NET_NEVER,   /* the host itself, multicast, broadcast, and addresses that mean nothing on the wire */
};

struct net_addr net_addr_v4(const uint8_t b[4]);
struct net_addr net_addr_v6(const uint8_t b[16]);
bool net_addr_is_v4(const struct net_addr *a);
bool net_addr_equal(const struct net_addr *a, const struct net_addr *b);
/* Whether the first `bits` (of 128; an IPv4 prefix has 96 more than it is written with) are the same. */
bool net_addr_in(const struct net_addr *a, const struct net_addr *prefix, unsigned bits);
enum net_class net_addr_class(const struct net_addr *a);

/* The first n bytes of text as an address of either family, without brackets or zone, and no mapped one. 0 or -1. */
int net_addr_parse(const char *text, size_t n, struct net_addr *out);
/* Writes it as people do; returns out. */
const char *net_addr_text(const struct net_addr *a, char out[NET_ADDR_TEXT]);

/* For the system calls; port in host order. Returns the length. */
socklen_t net_addr_sockaddr(const struct net_addr *a, uint16_t port, struct sockaddr_storage *out);

#endif
