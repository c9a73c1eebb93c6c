/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who may talk to whom. */
#include "usernet_test.h"

#include "usernet/filter.h"

#define GUEST4 NET_PLAN_GUEST4
#define GUEST6 NET_PLAN_GUEST6
#define SECOND UINT64_C(1000)

struct fixture {
    struct net_rules rules;
    struct net_publish publish;
    struct filter *filter;
    uint64_t now;
    bool full;
    unsigned notes;
    char last[512];
};

static void on_note(void *user, const char *text)
{
    struct fixture *x = user;
    x->notes++;
    snprintf(x->last, sizeof(x->last), "%s", text);
}

static struct fixture *begin(const char *const *rules)
{
    struct fixture *x = gv_new(struct fixture);
    for (; *rules; rules++)
        assert_int_equal(net_rules_add(&x->rules, *rules, NULL), 0);
    assert_int_equal(net_publish_parse(&x->publish, "9000:9000/udp", NULL), 0);
    x->filter = filter_new(&x->rules, &x->publish, 1, on_note, x);
    x->now = 5000;
    return x;
}
#define BEGIN(...) begin((const char *const[]){ __VA_ARGS__, NULL })

static void end(struct fixture *x)
{
    filter_free(x->filter);
    net_rules_clear(&x->rules);
    free(x);
}

static uint8_t packet[FRAME_MAX];

static enum filter_verdict outbound(struct fixture *x, size_t n)
{
    struct frame f;
    frame_parse(&f, packet, n);
    return filter_outbound(x->filter, &f, x->full, x->now);
}

static enum filter_verdict tcp(struct fixture *x, const char *dst, unsigned port)
{
    bool v6 = strchr(dst, ':') != NULL;
    return outbound(x, test_tcp(packet, v6 ? GUEST6 : GUEST4, 1000, dst, port, TEST_SYN));
}

static enum filter_verdict udp(struct fixture *x, unsigned from, const char *dst, unsigned port)
{
    bool v6 = strchr(dst, ':') != NULL;
    return outbound(x, test_udp(packet, v6 ? GUEST6 : GUEST4, from, dst, port, "x", 1));
}

static bool udp_in(struct fixture *x, const char *src, unsigned from, unsigned port)
{
    struct frame f;
    frame_parse(&f, packet, test_udp(packet, src, from, strchr(src, ':') ? GUEST6 : GUEST4, port, "x", 1));
    return filter_inbound(x->filter, &f, x->now);
}

static void learn(struct fixture *x, const char *name, const char *addr, uint32_t ttl)
{
    struct dns_address a = { .addr = test_address(addr), .ttl = ttl };
    filter_learn(x->filter, name, &a, 1, x->now);
}

static void test_default(void **state)
{
    (void)state;
    struct fixture *x = BEGIN("10.0.0.0/8:80", "2600::/16");
    assert_int_equal(tcp(x, "10.1.2.3", 80), FILTER_PASS);
    assert_int_equal(tcp(x, "2600::1", 1), FILTER_PASS);
    assert_int_equal(x->notes, 0);
    assert_int_equal(tcp(x, "10.1.2.3", 81), FILTER_REFUSE);
    assert_string_equal(x->last, "TCP to 10.1.2.3 port 81: not allowed");
    assert_int_equal(tcp(x, "8.8.8.8", 80), FILTER_REFUSE);
    assert_int_equal(tcp(x, "2601::1", 80), FILTER_REFUSE);
    assert_int_equal(udp(x, 1, "8.8.8.8", 53), FILTER_REFUSE);
    assert_int_equal(tcp(x, "127.0.0.1", 80), FILTER_REFUSE);
    assert_int_equal(udp(x, 1, "239.255.255.250", 1900), FILTER_DROP);
    assert_int_equal(udp(x, 1, "ff02::fb", 5353), FILTER_DROP);
    assert_int_equal(outbound(x, 30), FILTER_DROP); /* what is no frame */
    end(x);
}

/* Only the guest's own addresses send, and only what opens a connection is judged. */
static void test_sources(void **state)
{
    (void)state;
    struct fixture *x = BEGIN("all");
    assert_int_equal(outbound(x, test_tcp(packet, GUEST4, 1, "8.8.8.8", 80, TEST_SYN)), FILTER_PASS);
    assert_int_equal(outbound(x, test_tcp(packet, "192.0.2.16", 1, "8.8.8.8", 80, TEST_SYN)), FILTER_DROP);
    assert_int_equal(outbound(x, test_tcp(packet, "127.0.0.1", 1, "8.8.8.8", 80, TEST_SYN)), FILTER_DROP);
    assert_int_equal(outbound(x, test_udp(packet, "fe80::1", 1, "2600::1", 80, "x", 1)), FILTER_DROP);
    assert_int_equal(outbound(x, test_tcp(packet, GUEST4, 1, "127.0.0.1", 80, TEST_ACK)),
                     FILTER_PASS); /* the stack has no such connection */
    assert_int_equal(outbound(x, test_tcp(packet, GUEST4, 1, "127.0.0.1", 80, TEST_SYN | TEST_ACK)), FILTER_PASS);
    assert_int_equal(outbound(x, test_tcp(packet, GUEST4, 1, "127.0.0.1", 80, TEST_SYN | TEST_RST)), FILTER_REFUSE);
    end(x);
}

static void test_own_network(void **state)
{
    (void)state;
    static const uint8_t ping[] = { 8, 0, 0, 0, 0, 0, 0, 0 };
    struct fixture *x = BEGIN("all", "192.0.2.0/24", "fd00::/8");
    assert_int_equal(tcp(x, NET_PLAN_GATEWAY4, 80), FILTER_REFUSE);
    assert_int_equal(tcp(x, NET_PLAN_GATEWAY6, 80), FILTER_REFUSE);
    assert_int_equal(tcp(x, NET_PLAN_RESOLVER4, 53), FILTER_REFUSE);
    assert_int_equal(udp(x, 1, NET_PLAN_RESOLVER4, 54), FILTER_REFUSE);
    assert_int_equal(udp(x, 1, NET_PLAN_GATEWAY4, 67), FILTER_REFUSE);
    assert_int_equal(tcp(x, "192.0.2.77", 80), FILTER_REFUSE);
    assert_int_equal(udp(x, 1, NET_PLAN_RESOLVER4, 53), FILTER_DNS);
    assert_int_equal(udp(x, 1, NET_PLAN_RESOLVER6, 53), FILTER_DNS);
    assert_int_equal(outbound(x, test_packet(packet, GUEST4, NET_PLAN_GATEWAY4, 1, ping, sizeof(ping))), FILTER_PASS);
    assert_int_equal(outbound(x, test_packet(packet, GUEST4, "192.0.2.77", 1, ping, sizeof(ping))), FILTER_REFUSE);
    end(x);
    x = BEGIN("host:80");
    assert_int_equal(tcp(x, NET_PLAN_GATEWAY4, 80), FILTER_PASS);
    assert_int_equal(tcp(x, NET_PLAN_GATEWAY6, 80), FILTER_PASS);
    assert_int_equal(tcp(x, NET_PLAN_GATEWAY4, 81), FILTER_REFUSE);
    assert_int_equal(tcp(x, "8.8.8.8", 80), FILTER_REFUSE);
    end(x);
}

static void test_names(void **state)
{
    (void)state;
    struct fixture *x = BEGIN("example.org:443", "*.example.org");
    assert_true(filter_name(x->filter, "example.org"));
    assert_false(filter_name(x->filter, "example.com"));
    assert_string_equal(x->last, "the name example.com: not allowed");
    assert_int_equal(tcp(x, "8.8.8.8", 443), FILTER_REFUSE);
    learn(x, "example.org", "8.8.8.8", 1000);
    assert_int_equal(tcp(x, "8.8.8.8", 443), FILTER_PASS);
    assert_int_equal(tcp(x, "8.8.8.8", 80), FILTER_REFUSE);
    assert_int_equal(tcp(x, "8.8.8.9", 443), FILTER_REFUSE);
    learn(x, "www.example.org", "8.8.8.8", 1000);
    assert_int_equal(tcp(x, "8.8.8.8", 80), FILTER_PASS);
    learn(x, "example.com", "8.8.4.4", 1000); /* which nobody could have asked for */
    assert_int_equal(tcp(x, "8.8.4.4", 443), FILTER_REFUSE);
    end(x);
}

static void test_time(void **state)
{
    (void)state;
    struct fixture *x = BEGIN("example.org");
    learn(x, "example.org", "8.8.8.8", 1000);
    learn(x, "example.org", "8.8.8.9", 0);
    learn(x, "example.org", "8.8.8.10", UINT32_MAX);
    assert_int_equal(udp(x, 77, "8.8.8.8", 1), FILTER_PASS);
    x->now += FILTER_TTL_MIN_S * SECOND - 1;
    assert_int_equal(tcp(x, "8.8.8.9", 1), FILTER_PASS);
    x->now++;
    assert_int_equal(tcp(x, "8.8.8.9", 1), FILTER_REFUSE);
    assert_int_equal(tcp(x, "8.8.8.8", 1), FILTER_PASS);
    for (; x->now < 5000 + 1000 * SECOND; x->now += 100 * SECOND)
        assert_int_equal(udp(x, 77, "8.8.8.8", 1), FILTER_PASS);
    assert_int_equal(tcp(x, "8.8.8.8", 1), FILTER_REFUSE);
    assert_int_equal(udp(x, 77, "8.8.8.8", 1), FILTER_PASS); /* a flow that lives goes on */
    assert_int_equal(udp(x, 78, "8.8.8.8", 1), FILTER_REFUSE);
    assert_int_equal(tcp(x, "8.8.8.10", 1), FILTER_PASS);
    x->now = 5000 + FILTER_TTL_MAX_S * SECOND;
    assert_int_equal(tcp(x, "8.8.8.10", 1), FILTER_REFUSE);
    end(x);
}

static void test_rebinding(void **state)
{
    (void)state;
    static const char *const inner[] = { "10.0.0.1",        "192.168.1.1",     "127.0.0.1",    "169.254.169.254", "0.0.0.0",
                                         "224.0.0.1",       NET_PLAN_GATEWAY4, "::1",          "fd00::1",         "fe80::1",
                                         NET_PLAN_GATEWAY6, "64:ff9b::a00:1",  "2002:7f00:1::" };
    struct fixture *x = BEGIN("example.org", "10.0.0.0/8:80");
    for (size_t i = 1; i < sizeof(inner) / sizeof(inner[0]); i++) {
        learn(x, "example.org", inner[i], 1000);
        if (tcp(x, inner[i], 80) == FILTER_PASS)
            fail_msg("%s became reachable", inner[i]);
    }
    unsigned notes = x->notes;
    learn(x, "example.org", "10.0.0.1", 1000);
    assert_int_equal(x->notes, notes); /* the list has it */
    assert_int_equal(tcp(x, "10.0.0.1", 80), FILTER_PASS);
    assert_int_equal(tcp(x, "10.0.0.1", 443), FILTER_REFUSE);
    end(x);
}

static void test_datagrams(void **state)
{
    (void)state;
    struct fixture *x = BEGIN("8.8.8.8:53");
    assert_false(udp_in(x, "8.8.8.8", 53, 1000));
    assert_int_equal(udp(x, 1000, "8.8.8.8", 53), FILTER_PASS);
    assert_true(udp_in(x, "8.8.8.8", 53, 1000));
    assert_false(udp_in(x, "8.8.8.8", 54, 1000)); /* who was not spoken to does not answer */
    assert_false(udp_in(x, "8.8.8.9", 53, 1000));
    assert_false(udp_in(x, "8.8.8.8", 53, 1001));
    x->now += FILTER_FLOW_MS;
    assert_false(udp_in(x, "8.8.8.8", 53, 1000));
    /* A published port. */
    assert_int_equal(udp(x, 9000, "9.9.9.9", 5), FILTER_REFUSE);
    assert_true(udp_in(x, "9.9.9.9", 5, 9000));
    assert_int_equal(udp(x, 9000, "9.9.9.9", 5), FILTER_PASS);
    assert_int_equal(udp(x, 9000, "9.9.9.9", 6), FILTER_REFUSE);
    assert_int_equal(udp(x, 9001, "9.9.9.9", 5), FILTER_REFUSE);
    end(x);
}

static void test_bounds(void **state)
{
    (void)state;
    struct fixture *x = BEGIN("all", "example.org");
    x->full = true;
    assert_int_equal(tcp(x, "8.8.8.8", 80), FILTER_REFUSE);
    assert_string_equal(x->last, "TCP to 8.8.8.8 port 80: refused: there are too many connections");
    x->full = false;
    for (unsigned i = 0; i < FILTER_FLOWS_MAX; i++) {
        x->now++;
        assert_int_equal(udp(x, 1000 + i, "8.8.8.8", 53), FILTER_PASS);
    }
    assert_true(udp_in(x, "8.8.8.8", 53, 1000)); /* which makes it younger than the second */
    x->now++;
    assert_int_equal(udp(x, 60000, "8.8.8.8", 53), FILTER_PASS);
    assert_true(udp_in(x, "8.8.8.8", 53, 1000));
    assert_false(udp_in(x, "8.8.8.8", 53, 1001));
    assert_true(udp_in(x, "8.8.8.8", 53, 1002));
    end(x);
    /* So with addresses: the one that ends first goes. */
    x = BEGIN("example.org");
    for (unsigned i = 0; i <= FILTER_LEARNED_MAX; i++) {
        char addr[32];
        snprintf(addr, sizeof(addr), "8.9.%u.%u", i / 256, i % 256);
        learn(x, "example.org", addr, 1000 + i);
    }
    assert_int_equal(tcp(x, "8.9.0.0", 80), FILTER_REFUSE);
    assert_int_equal(tcp(x, "8.9.0.1", 80), FILTER_PASS);
    assert_int_equal(tcp(x, "8.9.16.0", 80), FILTER_PASS);
    /* Each refusal is told once, and not without end. */
    x->notes = 0;
    for (unsigned i = 1; i < 1000; i++)
        for (int k = 0; k < 2; k++)
            tcp(x, "9.9.9.9", i);
    assert_int_equal(x->notes, FILTER_NOTES_MAX); /* one of them was told before, and one says that it was the last */
    assert_string_equal(x->last, "no further refusals will be told");
    end(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default), cmocka_unit_test(test_sources),   cmocka_unit_test(test_own_network), cmocka_unit_test(test_names),
        cmocka_unit_test(test_time),    cmocka_unit_test(test_rebinding), cmocka_unit_test(test_datagrams),   cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
