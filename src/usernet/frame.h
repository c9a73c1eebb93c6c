/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ethernet frames of the guest. The parser knows exactly the forms that the stack behind it acts on and that a well-behaved guest needs;
 * everything else is FRAME_BAD and goes nowhere: IP options and extension headers, fragments (with our MTU nobody needs them), lengths
 * that do not agree with each other, IPv4 in IPv6. So the stack never sees what could be read in two ways.
 */
#ifndef GV_USERNET_FRAME_H
#define GV_USERNET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "usernet/address.h"

#define FRAME_MAC 6U
#define FRAME_HEADER 14U
#define FRAME_MAX (FRAME_HEADER + 65535U)

enum frame_kind {
    FRAME_BAD,
    FRAME_ARP,
    FRAME_NEIGHBOUR, /* IPv6's ARP: a solicitation or an advertisement */
    FRAME_TCP,
    FRAME_UDP,
    FRAME_ECHO, /* a ping */
};

struct frame {
    enum frame_kind kind;
    const uint8_t *data;
    size_t len;                  /* of data, without padding */
    struct net_addr src, dst;    /* not of ARP */
    uint16_t src_port, dst_port; /* TCP and UDP */
    bool opens;                  /* TCP: it asks for a connection */
    const uint8_t *payload;      /* UDP */
    size_t payload_len;
};

/* Parses the n bytes at p, which f then points into. */
void frame_parse(struct frame *f, const uint8_t *p, size_t n);

/* Who sends, and who gets, what we write ourselves. */
struct frame_link {
    uint8_t from[FRAME_MAC], to[FRAME_MAC];
};

/* Writes a datagram into out, which has FRAME_MAX bytes; both addresses of one family. Returns its length, 0 when the payload is too long. */
size_t frame_build_udp(uint8_t *out, const struct frame_link *link, const struct net_addr *src, uint16_t src_port,
                       const struct net_addr *dst, uint16_t dst_port, const uint8_t *payload, size_t n);
/* Writes the ICMP message "administratively prohibited" that answers the TCP, UDP or echo frame f, from the address `from`. */
size_t frame_build_prohibited(uint8_t *out, const struct frame_link *link, const struct net_addr *from, const struct frame *f);

#endif
