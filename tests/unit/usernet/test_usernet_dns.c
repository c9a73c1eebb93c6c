/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Questions and answers, well-formed and not. */
#include "usernet_test.h"

#include "usernet/dns.h"

#define QUESTION "\7Example\3org\0\0\1\0\1"
#define QUERY "\x12\x34\1\0\0\1\0\0\0\0\0\0" QUESTION
#define OPT "\0\0\x29\x10\x00\0\0\x80\0\0\0"

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static int read_query(struct dns_query *q, const uint8_t *p, size_t n)
{
    /* By a copy of its exact size, so that a sanitizer sees what is read beyond. */
    uint8_t *copy = test_malloc(n ? n : 1);
    memcpy(copy, p, n);
    int code = dns_query_read(q, copy, n);
    test_free(copy);
    return code;
}

static void test_query(void **state)
{
    (void)state;
    struct dns_query q;
    uint8_t out[DNS_QUERY_MAX];
    assert_int_equal(read_query(&q, BYTES(QUERY)), DNS_NOERROR);
    assert_string_equal(q.name, "example.org");
    assert_true(q.id == 0x1234 && q.type == 1 && q.recursive && !q.edns && q.payload_size == 512);
    size_t n = dns_query_build(&q, 0x1234, out);
    assert_int_equal(n, sizeof(QUERY) - 1);
    assert_memory_equal(out, QUERY, n); /* the letters as they were */

    assert_int_equal(read_query(&q, BYTES("\x12\x34\1\0\0\1\0\0\0\0\0\1" QUESTION OPT)), DNS_NOERROR);
    assert_true(q.edns && q.dnssec && q.payload_size == 4096);
    n = dns_query_build(&q, 7, out);
    assert_int_equal(n, sizeof(QUERY) - 1 + sizeof(OPT) - 1);
    assert_memory_equal(out + n - (sizeof(OPT) - 1), OPT, sizeof(OPT) - 1);

    /* What is hidden behind the question or in the options goes nowhere. */
    assert_int_equal(read_query(&q, BYTES(QUERY "secret")), DNS_NOERROR);
    assert_int_equal(dns_query_build(&q, 7, out), sizeof(QUERY) - 1);
}

static void test_bad_queries(void **state)
{
    (void)state;
    struct dns_query q;
    for (size_t n = 0; n < sizeof(QUERY) - 1; n++)
        assert_int_equal(read_query(&q, (const uint8_t *)QUERY, n), n < 12 ? -1 : DNS_FORMERR);
    assert_int_equal(read_query(&q, BYTES("\x12\x34\x81\0\0\1\0\0\0\0\0\0" QUESTION)), -1);                      /* an answer */
    assert_int_equal(read_query(&q, BYTES("\x12\x34\x28\0\0\1\0\0\0\0\0\0" QUESTION)), DNS_NOTIMP);              /* an update */
    assert_int_equal(read_query(&q, BYTES("\x12\x34\1\0\0\2\0\0\0\0\0\0" QUESTION QUESTION)), DNS_FORMERR);      /* two questions */
    assert_int_equal(read_query(&q, BYTES("\x12\x34\1\0\0\1\0\0\0\0\0\0\7example\3org\0\0\1\0\3")), DNS_NOTIMP); /* chaos */
    assert_int_equal(read_query(&q, BYTES("\x12\x34\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1")), DNS_FORMERR);        /* at itself */
    assert_int_equal(read_query(&q, BYTES("\x12\x34\1\0\0\1\0\0\0\0\0\0\xc0\x00\0\1\0\1")), DNS_FORMERR);        /* at the header */
    assert_int_equal(read_query(&q, BYTES("\x12\x34\1\0\0\1\0\0\0\0\0\0\x0b"
                                          "example.org\0\0\1\0\1")),
                     DNS_NXDOMAIN);                                                                             /* a dot in a label */
    assert_int_equal(read_query(&q, BYTES("\x12\x34\1\0\0\1\0\0\0\0\0\0\3a\0b\3org\0\0\1\0\1")), DNS_NXDOMAIN); /* a NUL */
    assert_int_equal(read_query(&q, BYTES("\x12\x34\1\0\0\1\0\0\0\0\0\0\x40"
                                          "a\0\0\1\0\1")),
                     DNS_FORMERR);
}

static void test_errors(void **state)
{
    (void)state;
    struct dns_query q;
    uint8_t out[DNS_QUERY_MAX];
    read_query(&q, BYTES(QUERY));
    size_t n = dns_error_build(&q, DNS_NXDOMAIN, out);
    assert_int_equal(n, sizeof(QUERY) - 1);
    assert_memory_equal(out, "\x12\x34\x81\x83\0\1\0\0\0\0\0\0" QUESTION, n);
    read_query(&q, (const uint8_t *)QUERY, 12);
    assert_int_equal(dns_error_build(&q, DNS_FORMERR, out), 12);
}

struct answer {
    struct net_addr addr[DNS_ADDRESSES_MAX];
    uint32_t ttl;
    size_t count;
    uint8_t flags;
};

static struct answer read_answer(const char *query, size_t query_len, const uint8_t *p, size_t n)
{
    struct dns_query q;
    struct dns_address found[DNS_ADDRESSES_MAX];
    struct answer a = { 0 };
    assert_int_equal(read_query(&q, (const uint8_t *)query, query_len), DNS_NOERROR);
    uint8_t *copy = test_malloc(n ? n : 1);
    memcpy(copy, p, n);
    a.count = dns_answer_read(&q, copy, n, found);
    for (size_t i = 0; i < a.count; i++)
        a.addr[i] = found[i].addr;
    a.ttl = a.count ? found[0].ttl : 0;
    a.flags = n > 2 ? copy[2] : 0;
    test_free(copy);
    return a;
}
#define ANSWER(text) read_answer(QUERY, sizeof(QUERY) - 1, BYTES(text))

static void test_addresses(void **state)
{
    (void)state;
    char text[NET_ADDR_TEXT];
    struct answer a = ANSWER("\0\7\x81\x80\0\1\0\2\0\0\0\0" QUESTION "\xc0\x0c\0\1\0\1\0\0\1\0\0\4\1\2\3\4"
                             "\7eXAMPLE\3ORG\0\0\1\0\1\0\0\0\1\0\4\5\6\7\x08");
    assert_int_equal(a.count, 2);
    assert_int_equal(a.ttl, 256);
    assert_string_equal(net_addr_text(&a.addr[0], text), "1.2.3.4");
    assert_string_equal(net_addr_text(&a.addr[1], text), "5.6.7.8");

    /* Of somebody else, of another type or class, of a wrong length: nothing. */
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\1\0\0\0\0" QUESTION "\3www\xc0\x0c\0\1\0\1\0\0\1\0\0\4\1\2\3\4").count, 0);
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\1\0\0\0\0" QUESTION "\xc0\x0c\0\x1c\0\1\0\0\1\0\0\4\1\2\3\4").count, 0);
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\1\0\0\0\0" QUESTION "\xc0\x0c\0\1\0\3\0\0\1\0\0\4\1\2\3\4").count, 0);
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\1\0\0\0\0" QUESTION "\xc0\x0c\0\1\0\1\0\0\1\0\0\3\1\2\3").count, 0);
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\1\0\0\0\0" QUESTION "\xc0\x0c\0\1\0\1\0\0\1\0\0\4\1\2\3").count, 0);
    /* Not what was asked for. */
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\1\0\0\0\0\7exbmple\3org\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\1\0\0\4\1\2\3\4").count, 0);
    assert_int_equal(ANSWER("\0\7\1\0\0\1\0\1\0\0\0\0" QUESTION "\xc0\x0c\0\1\0\1\0\0\1\0\0\4\1\2\3\4").count, 0);
    /* In the additional section, where anybody could put anything. */
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\0\0\0\0\1" QUESTION "\xc0\x0c\0\1\0\1\0\0\1\0\0\4\1\2\3\4").count, 0);
}

static void test_aliases(void **state)
{
    (void)state;
    static const char alias[] = "\0\7\x81\x80\0\1\0\3\0\0\0\0" QUESTION "\1c\3net\0\0\1\0\1\0\0\0\x09\0\4\1\2\3\4" /* in any order */
                                "\1b\3net\0\0\5\0\1\0\0\0\x09\0\7\1C\3net\0"                                       /* b is c */
                                "\xc0\x0c\0\5\0\1\0\0\0\x09\0\7\1b\3net\0";                                        /* example.org is b */
    assert_int_equal(ANSWER(alias).count, 1);
    /* Round and round. */
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\2\0\0\0\0" QUESTION "\xc0\x0c\0\5\0\1\0\0\0\x09\0\7\1b\3net\0"
                            "\1b\3net\0\0\5\0\1\0\0\0\x09\0\2\xc0\x0c")
                         .count,
                     0);
    /* The record ends in the middle of the alias. */
    assert_int_equal(ANSWER("\0\7\x81\x80\0\1\0\2\0\0\0\0" QUESTION "\xc0\x0c\0\5\0\1\0\0\0\x09\0\5\1b\3net\0"
                            "\1b\3net\0\0\1\0\1\0\0\0\x09\0\4\1\2\3\4")
                         .count,
                     0);
}

static void test_truncated(void **state)
{
    (void)state;
    assert_int_equal(ANSWER("\0\7\x83\x80\0\1\0\1\0\0\0\0" QUESTION "\xc0\x0c\0\1\0\1\0\0\1\0\0\4\1\2\3\4").flags, 0x81);
    assert_int_equal(ANSWER("\0\7\x83\x80\0\1\0\0\0\0\0\0" QUESTION).flags, 0x83);
}

static void test_ipv6(void **state)
{
    (void)state;
    static const char query[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\0\0\x1c\0\1";
    struct answer a = read_answer(query, sizeof(query) - 1,
                                  BYTES("\0\7\x81\x80\0\1\0\2\0\0\0\0\1a\0\0\x1c\0\1"
                                        "\xc0\x0c\0\x1c\0\1\0\0\1\0\0\x10\x26\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
                                        "\xc0\x0c\0\x1c\0\1\0\0\1\0\0\x10\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"));
    char text[NET_ADDR_TEXT];
    assert_int_equal(a.count, 1); /* the other is an IPv4 address in disguise */
    assert_string_equal(net_addr_text(&a.addr[0], text), "2600::1");
}

static void test_matches(void **state)
{
    (void)state;
    struct dns_query q;
    read_query(&q, BYTES(QUERY));
    static const char good[] = "\0\7\x81\x80\0\1\0\0\0\0\0\0" QUESTION;
    assert_true(dns_answer_matches(&q, 7, BYTES(good)));
    assert_false(dns_answer_matches(&q, 8, BYTES(good)));
    for (size_t n = 0; n < sizeof(good) - 1; n++)
        assert_false(dns_answer_matches(&q, 7, (const uint8_t *)good, n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),   cmocka_unit_test(test_bad_queries), cmocka_unit_test(test_errors), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_aliases), cmocka_unit_test(test_truncated),   cmocka_unit_test(test_ipv6),   cmocka_unit_test(test_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
