/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * As much of DNS as the filter needs. A query of the guest is taken apart and written anew, so that nothing but one question goes out. Of an
 * answer, which the guest gets as it is, the addresses of the name that was asked for are read.
 */
#ifndef GV_USERNET_DNS_H
#define GV_USERNET_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "usernet/address.h"

#define DNS_WIRE_NAME_MAX 255U
#define DNS_MESSAGE_MAX 4096U /* the largest answer that we ask for */
#define DNS_QUERY_MAX 300U    /* what dns_query_build() writes at most */
#define DNS_ADDRESSES_MAX 64U /* of one answer; the rest is not learned */

enum { DNS_NOERROR = 0, DNS_FORMERR = 1, DNS_SERVFAIL = 2, DNS_NXDOMAIN = 3, DNS_NOTIMP = 4 };

struct dns_query {
    uint16_t id, type;
    bool recursive;
    bool edns, dnssec;     /* the guest sent an OPT record; with the DO bit */
    uint16_t payload_size; /* what the guest can take */
    uint8_t wire[DNS_WIRE_NAME_MAX];
    size_t wire_len;
    char name[DNS_WIRE_NAME_MAX]; /* small letters, labels joined by dots; "" is the root */
};

/* Reads a query. Returns DNS_NOERROR, or the code to answer with (then id and, when there was one, the question are set), or -1: not even a
 * query, to be dropped. */
int dns_query_read(struct dns_query *q, const uint8_t *p, size_t n);
/* Writes the query under another id; out has DNS_QUERY_MAX bytes. Returns its length. */
size_t dns_query_build(const struct dns_query *q, uint16_t id, uint8_t *out);
/* Writes an answer that is nothing but a code. */
size_t dns_error_build(const struct dns_query *q, int code, uint8_t *out);

struct dns_address {
    struct net_addr addr;
    uint32_t ttl;
};

/* Whether the n bytes at p are the answer to q under that id. */
bool dns_answer_matches(const struct dns_query *q, uint16_t id, const uint8_t *p, size_t n);
/*
 * Makes a matching answer that of the guest: puts its id in, and takes the mark "truncated" off when it holds addresses all the same (a part of
 * them does, and there is no TCP to ask for the rest). Writes to `to`, which has DNS_ADDRESSES_MAX places, the addresses that the answer gives
 * to the name, also by aliases; returns how many.
 */
size_t dns_answer_read(const struct dns_query *q, uint8_t *p, size_t n, struct dns_address *to);

#endif
