/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rates, connections, secrets and the threads for jobs. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"
#include "serve/conns.h"
#include "serve/jobs.h"
#include "serve/limits.h"
#include "serve/secret.h"

static struct address address(const char *text)
{
    struct address a;
    assert_true(address_parse(text, &a));
    return a;
}

static void test_rates(void **state)
{
    (void)state;
    struct limits *l = limits_new(10, 1000, 20);
    struct address a = address("192.0.2.1"), b = address("192.0.2.2");
    uint64_t now = 5000;
    for (int i = 0; i < 20; i++)
        assert_int_equal(limits_take(l, &a, now), 0);
    uint64_t wait = limits_take(l, &a, now);
    assert_in_range(wait, 100, 101);
    assert_int_equal(limits_wait(l, &a, now), wait);
    assert_int_equal(limits_take(l, &b, now), 0);
    /* Time fills it, and not over its rim. */
    assert_int_equal(limits_take(l, &a, now + wait), 0);
    assert_int_not_equal(limits_take(l, &a, now + wait), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(limits_take(l, &a, now + 1000000), 0);
    assert_int_not_equal(limits_take(l, &a, now + 1000000), 0);
    /* A clock that stands still, or goes back, gives nothing. */
    assert_int_not_equal(limits_take(l, &a, 1), 0);
    limits_free(l);
    l = limits_new(0, 1000, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(limits_take(l, &a, now), 0);
    limits_free(l);
}

static void test_many_addresses(void **state)
{
    (void)state;
    struct limits *l = limits_new(1, 1000, 1);
    struct address bad = address("192.0.2.1");
    assert_int_equal(limits_take(l, &bad, 1), 0);
    /* More than the table holds: none of them is refused, and the memory is what it was. */
    for (uint32_t i = 0; i < 100000; i++) {
        struct address a = address("10.0.0.0");
        memcpy(a.bytes + 12, &i, sizeof(i));
        assert_int_equal(limits_take(l, &a, 1), 0);
    }
    limits_free(l);
    /* Of IPv6 the first half counts. */
    l = limits_new(1, 1000, 1);
    struct address a = address("2001:db8:1:2::1"), b = address("2001:db8:1:2::2"), c = address("2001:db8:1:3::1");
    assert_int_equal(limits_take(l, &a, 1), 0);
    assert_int_not_equal(limits_take(l, &b, 1), 0);
    assert_int_equal(limits_take(l, &c, 1), 0);
    limits_free(l);
}

static void test_addresses(void **state)
{
    (void)state;
    char text[INET6_ADDRSTRLEN];
    struct address a = address("192.0.2.1"), b = address("::ffff:192.0.2.1"), c;
    assert_memory_equal(a.bytes, b.bytes, sizeof(a.bytes));
    address_format(&a, text);
    assert_string_equal(text, "192.0.2.1");
    const struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(0xc0000201) } };
    c = address_of((const struct sockaddr *)(const void *)&in);
    assert_memory_equal(a.bytes, c.bytes, sizeof(a.bytes));
    c = address("2001:db8::1");
    address_format(&c, text);
    assert_string_equal(text, "2001:db8::1");
    static const char *const wrong[] = { "", "1", "1.2.3.4.5", "1.2.3.4, 5.6.7.8", "example.org", "unknown", "1.2.3.4:80", "[::1]" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(address_parse(wrong[i], &c));
}

static void test_connections(void **state)
{
    (void)state;
    struct conns conns;
    int pairs[4][2];
    struct conn *list[4];
    char byte;
    conns_init(&conns);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]), 0);
        list[i] = conns_add(&conns, pairs[i][0], 1000);
    }
    conns_set(&conns, list[1], CONN_BUSY, 1000);
    conns_set(&conns, list[2], CONN_RECEIVING, 1000);
    conns_set(&conns, list[3], CONN_RECEIVING, 1000);
    conns_received(&conns, list[2], 5000);
    conns_received(&conns, list[3], 500);
    assert_int_equal(conns_count(&conns), 4);
    assert_int_equal(conns_reap(&conns, 6000, 5000, 1000), 0);
    /* The idle one and the one that is too slow; not the one that is served, not the one that is fast. */
    assert_int_equal(conns_reap(&conns, 6001, 5000, 1000), 2);
    assert_int_equal(read(pairs[0][1], &byte, 1), 0);
    assert_int_equal(read(pairs[1][1], &byte, 1), -1);
    assert_int_equal(read(pairs[2][1], &byte, 1), -1);
    assert_int_equal(read(pairs[3][1], &byte, 1), 0);
    conns_remove(&conns, list[2]);
    conns_remove(&conns, list[0]);
    conns_remove(&conns, list[3]);
    assert_int_equal(conns_count(&conns), 1);
    conns_clear(&conns);
    for (int i = 0; i < 4; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
}

static void test_secrets(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    char a[SECRET_PASSWORD_SIZE], b[SECRET_PASSWORD_SIZE], token[SECRET_TOKEN_SIZE], other[SECRET_TOKEN_SIZE];
    assert_int_equal(secret_password_hash("correct horse", a, &err), 0);
    assert_int_equal(secret_password_hash("correct horse", b, &err), 0);
    assert_string_not_equal(a, b);
    assert_null(strstr(a, "horse"));
    assert_true(secret_password_check("correct horse", a));
    assert_true(secret_password_check("correct horse", b));
    assert_false(secret_password_check("correct horsf", a));
    assert_false(secret_password_check("", a));
    static const char *const wrong[] = { "", "correct horse", "scrypt 14", "scrypt 99 00 00", "scrypt 14 zz zz" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(secret_password_check("correct horse", wrong[i]));
    assert_false(secret_password_check("", NULL));
    assert_int_equal(secret_token_new(token, &err), 0);
    assert_int_equal(secret_token_new(other, &err), 0);
    assert_string_not_equal(token, other);
    assert_true(secret_is_token(token));
    assert_false(secret_is_token("correct horse"));
    assert_in_range(strlen(token), 64, SECRET_TOKEN_SIZE - 1);
}

static void count(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void hang(void *arg)
{
    pthread_mutex_lock(arg);
    pthread_mutex_unlock(arg);
}

static void test_jobs(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct jobs *j;
    atomic_int done = 0;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    assert_int_equal(jobs_new(&j, 2, 8, &err), 0);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 2; i++)
        assert_true(jobs_submit(j, hang, &gate));
    /* The two threads may not have taken theirs yet; then there is less room. */
    int taken = 0;
    while (jobs_submit(j, count, &done))
        taken++;
    assert_in_range(taken, 6, 8);
    assert_false(jobs_end(j, 10));
    assert_false(jobs_submit(j, count, &done));
    pthread_mutex_unlock(&gate);
    assert_true(jobs_end(j, 100000));
    assert_int_equal(done, taken);
    assert_false(jobs_submit(j, count, &done));
    jobs_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),       cmocka_unit_test(test_many_addresses), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_connections), cmocka_unit_test(test_secrets),        cmocka_unit_test(test_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
