/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "usernet/dns.h"

#include <string.h>

#define HEADER 12U
#define FLAG_ANSWER 0x80U /* in byte 2 */
#define FLAG_TRUNCATED 0x02U
#define FLAG_RECURSE 0x01U
#define TYPE_A 1U
#define TYPE_CNAME 5U
#define TYPE_AAAA 28U
#define TYPE_OPT 41U
#define CLASS_IN 1U
#define SIZE_WITHOUT_EDNS 512U
#define POINTERS_MAX 32U /* in one name */
#define ALIASES_MAX 16U  /* from the name that was asked for to the last one */
#define RECORDS_MAX 256U /* that are looked at */

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* Reads the name at `at` of the message into out (DNS_WIRE_NAME_MAX bytes), without compression and in small letters. Returns where what follows
 * it begins, 0 when it is no name. */
static size_t read_name(const uint8_t *p, size_t n, size_t at, uint8_t *out, size_t *out_len)
{
    size_t after = 0, len = 0, pointers = 0;
    for (;;) {
        if (at >= n)
            return 0;
        size_t label = p[at];
        if (label >= 0xc0) {
            if (n - at < 2 || ++pointers > POINTERS_MAX)
                return 0;
            size_t to = get16(p + at) & 0x3fff;
            if (!after)
                after = at + 2;
            if (to >= at) /* only backwards: it cannot go round */
                return 0;
            at = to;
            continue;
        }
        if (label > 63 || label + 1 > n - at || label + 1 > DNS_WIRE_NAME_MAX - len)
            return 0;
        out[len++] = (uint8_t)label;
        for (size_t i = 1; i <= label; i++)
            out[len++] = lower(p[at + i]);
        at += label + 1;
        if (label == 0) {
            *out_len = len;
            return after ? after : at;
        }
    }
}

/* The text of a name. False when it has bytes that no host name has: they could make one name look like another. */
static bool name_text(const uint8_t *wire, size_t n, char *out)
{
    size_t len = 0;
    for (size_t at = 0; at < n && wire[at]; at += (size_t)wire[at] + 1) {
        if (len)
            out[len++] = '.';
        for (size_t i = 1; i <= wire[at]; i++) {
            uint8_t c = lower(wire[at + i]);
            if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_')
                return false;
            out[len++] = (char)c;
        }
    }
    out[len] = '\0';
    return true;
}

/* A record's fixed part, at `at` after its name. */
struct record {
    unsigned type, class;
    uint32_t ttl;
    size_t data, data_len;
};

static bool read_record(const uint8_t *p, size_t n, size_t at, struct record *r)
{
    if (at > n || n - at < 10)
        return false;
    *r = (struct record){
        .type = get16(p + at),
        .class = get16(p + at + 2),
        .ttl = (uint32_t)get16(p + at + 4) << 16 | get16(p + at + 6),
        .data = at + 10,
        .data_len = get16(p + at + 8),
    };
    return r->data_len <= n - r->data;
}

/* ---- queries ---------------------------------------------------------------------------------------------------------------------- */

int dns_query_read(struct dns_query *q, const uint8_t *p, size_t n)
{
    uint8_t name[DNS_WIRE_NAME_MAX];
    *q = (struct dns_query){ .payload_size = SIZE_WITHOUT_EDNS };
    if (n < HEADER || (p[2] & FLAG_ANSWER))
        return -1;
    q->id = (uint16_t)get16(p);
    q->recursive = p[2] & FLAG_RECURSE;
    if (p[2] & 0x78)
        return DNS_NOTIMP;
    if (get16(p + 4) != 1 || get16(p + 6) != 0 || get16(p + 8) != 0 || get16(p + 10) > 1)
        return DNS_FORMERR;
    size_t len, at = read_name(p, n, HEADER, name, &len);
    if (at != HEADER + len || n - at < 4) /* a lone question has nothing to point at */
        return DNS_FORMERR;
    memcpy(q->wire, p + HEADER, len); /* as the guest wrote it, for some compare it with the answer's */
    q->wire_len = len;
    q->type = (uint16_t)get16(p + at);
    unsigned class = get16(p + at + 2);
    at += 4;
    if (get16(p + 10) == 1) {
        struct record r;
        if (at >= n || p[at] != 0 || !read_record(p, n, at + 1, &r) || r.type != TYPE_OPT)
            return DNS_FORMERR;
        q->edns = true;
        q->dnssec = r.ttl & 0x8000;
        q->payload_size = (uint16_t)(r.class < SIZE_WITHOUT_EDNS ? SIZE_WITHOUT_EDNS
                                     : r.class > DNS_MESSAGE_MAX ? DNS_MESSAGE_MAX
                                                                 : r.class);
    }
    if (class != CLASS_IN)
        return DNS_NOTIMP;
    return name_text(q->wire, q->wire_len, q->name) ? DNS_NOERROR : DNS_NXDOMAIN;
}

/* The header and the question. */
static size_t build_question(const struct dns_query *q, uint16_t id, uint8_t *out)
{
    memset(out, 0, HEADER);
    put16(out, id);
    if (q->recursive)
        out[2] = FLAG_RECURSE;
    if (!q->wire_len)
        return HEADER;
    put16(out + 4, 1);
    memcpy(out + HEADER, q->wire, q->wire_len);
    put16(out + HEADER + q->wire_len, q->type);
    put16(out + HEADER + q->wire_len + 2, CLASS_IN);
    return HEADER + q->wire_len + 4;
}

size_t dns_query_build(const struct dns_query *q, uint16_t id, uint8_t *out)
{
    size_t at = build_question(q, id, out);
    if (!q->edns)
        return at;
    put16(out + 10, 1);
    memset(out + at, 0, 11);
    put16(out + at + 1, TYPE_OPT);
    put16(out + at + 3, q->payload_size);
    if (q->dnssec)
        out[at + 7] = 0x80;
    return at + 11;
}

size_t dns_error_build(const struct dns_query *q, int code, uint8_t *out)
{
    size_t n = build_question(q, q->id, out);
    out[2] |= FLAG_ANSWER;
    out[3] = (uint8_t)(0x80U | (unsigned)code); /* recursion is available */
    return n;
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------------- */

/* Where the records begin in an answer to q; 0 when it is none. */
static size_t after_question(const struct dns_query *q, const uint8_t *p, size_t n, uint8_t *name, size_t *len)
{
    if (n < HEADER || !(p[2] & FLAG_ANSWER) || (p[2] & 0x78) || get16(p + 4) != 1)
        return 0;
    size_t at = read_name(p, n, HEADER, name, len);
    if (at != HEADER + *len || n - at < 4 || *len != q->wire_len || get16(p + at) != q->type || get16(p + at + 2) != CLASS_IN)
        return 0;
    for (size_t i = 0; i < *len; i++) /* the lengths of labels are below 'A' */
        if (name[i] != lower(q->wire[i]))
            return 0;
    return at + 4;
}

bool dns_answer_matches(const struct dns_query *q, uint16_t id, const uint8_t *p, size_t n)
{
    uint8_t name[DNS_WIRE_NAME_MAX];
    size_t len;
    return n >= HEADER && get16(p) == id && after_question(q, p, n, name, &len) != 0;
}

/* What one pass over the records found for a name: its addresses, or its alias, which then is the name. */
enum pass { PASS_NOTHING, PASS_ADDRESSES, PASS_ALIAS };

static enum pass look_for(const uint8_t *p, size_t n, size_t at, unsigned type, uint8_t *name, size_t *len, struct dns_address *to,
                          size_t *count)
{
    uint8_t owner[DNS_WIRE_NAME_MAX], alias[DNS_WIRE_NAME_MAX];
    size_t alias_len = 0, records = get16(p + 6);
    *count = 0;
    for (size_t i = 0; i < records && i < RECORDS_MAX; i++) {
        size_t owner_len;
        struct record r;
        at = read_name(p, n, at, owner, &owner_len);
        if (!at || !read_record(p, n, at, &r))
            break;
        at = r.data + r.data_len;
        if (r.class != CLASS_IN || owner_len != *len || memcmp(owner, name, *len) != 0)
            continue;
        if (r.type == TYPE_CNAME && !alias_len) {
            if (read_name(p, n, r.data, alias, &alias_len) != at)
                alias_len = 0;
        } else if (r.type == type && r.data_len == (type == TYPE_A ? 4U : 16U) && *count < DNS_ADDRESSES_MAX) {
            struct net_addr a = type == TYPE_A ? net_addr_v4(p + r.data) : net_addr_v6(p + r.data);
            /* An IPv4 address is none of IPv6. */
            if (type == TYPE_A || !net_addr_is_v4(&a))
                to[(*count)++] = (struct dns_address){ .addr = a, .ttl = r.ttl };
        }
    }
    if (*count)
        return PASS_ADDRESSES;
    if (!alias_len)
        return PASS_NOTHING;
    memcpy(name, alias, alias_len);
    *len = alias_len;
    return PASS_ALIAS;
}

size_t dns_answer_read(const struct dns_query *q, uint8_t *p, size_t n, struct dns_address *to)
{
    uint8_t name[DNS_WIRE_NAME_MAX];
    size_t len, count = 0, at = after_question(q, p, n, name, &len);
    if (!at)
        return 0;
    put16(p, q->id);
    if (q->type != TYPE_A && q->type != TYPE_AAAA)
        return 0;
    for (unsigned i = 0; i <= ALIASES_MAX && look_for(p, n, at, q->type, name, &len, to, &count) == PASS_ALIAS; i++)
        continue;
    if (count)
        p[2] &= (uint8_t)~FLAG_TRUNCATED;
    return count;
}
