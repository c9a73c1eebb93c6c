/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The input as a query, and as the answer to a query that is always the same. */
#include <string.h>

#include "core/core.h"
#include "usernet/dns.h"

static void as_query(const uint8_t *data, size_t size)
{
    struct dns_query q, again;
    uint8_t out[DNS_QUERY_MAX];
    int code = dns_query_read(&q, data, size);
    if (code < 0)
        return;
    size_t n = dns_error_build(&q, code, out);
    if (n < 12 || n > sizeof(out))
        __builtin_trap();
    if (code != DNS_NOERROR)
        return;
    /* What goes out is what was understood. */
    n = dns_query_build(&q, q.id, out);
    if (n > sizeof(out) || dns_query_read(&again, out, n) != DNS_NOERROR || strcmp(q.name, again.name) != 0 || q.type != again.type ||
        q.edns != again.edns || q.payload_size != again.payload_size || q.dnssec != again.dnssec)
        __builtin_trap();
}

static void as_answer(const struct dns_query *q, const uint8_t *data, size_t size)
{
    struct dns_address found[DNS_ADDRESSES_MAX];
    uint8_t *p = gv_alloc(size + 1);
    memcpy(p, data, size);
    if (size >= 2) {
        bool matches = dns_answer_matches(q, (uint16_t)(p[0] << 8 | p[1]), p, size);
        size_t count = dns_answer_read(q, p, size, found);
        if (count > DNS_ADDRESSES_MAX || (count && !matches))
            __builtin_trap();
        for (size_t i = 0; i < count; i++)
            if (net_addr_is_v4(&found[i].addr) != (q->type == 1))
                __builtin_trap();
    }
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t a[] = "\0\1\1\0\0\1\0\0\0\0\0\0\1a\1b\0\0\1\0\1", aaaa[] = "\0\1\1\0\0\1\0\0\0\0\0\0\1a\1b\0\0\x1c\0\1";
    struct dns_query q;
    as_query(data, size);
    if (dns_query_read(&q, a, sizeof(a) - 1) != DNS_NOERROR)
        __builtin_trap();
    as_answer(&q, data, size);
    if (dns_query_read(&q, aaaa, sizeof(aaaa) - 1) != DNS_NOERROR)
        __builtin_trap();
    as_answer(&q, data, size);
    return 0;
}
