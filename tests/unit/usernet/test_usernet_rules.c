/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The user's words: allow-list, published ports, resolvers. */
#include "usernet_test.h"

#include "usernet/rules.h"

static void add(struct net_rules *rules, const char *text)
{
    struct gv_error err = GV_ERROR_INIT;
    if (net_rules_add(rules, text, &err) < 0)
        fail_msg("`%s`: %s", text, err.msg);
}

/* Whether one rule lets an address and port pass. */
static bool lets(const char *rule, const char *addr, int port)
{
    struct net_rules rules = { 0 };
    struct net_addr a = test_address(addr);
    add(&rules, rule);
    bool got = net_rules_address(&rules, &a, port);
    net_rules_clear(&rules);
    return got;
}

static bool names(const char *rule, const char *name)
{
    struct net_rules rules = { 0 };
    add(&rules, rule);
    bool got = net_rules_name(&rules, name);
    net_rules_clear(&rules);
    return got;
}

static void test_networks(void **state)
{
    (void)state;
    assert_true(lets("10.0.0.0/8", "10.255.1.2", 80));
    assert_true(lets("10.0.0.0/8", "10.0.0.1", -1));
    assert_false(lets("10.0.0.0/8", "11.0.0.1", 80));
    assert_true(lets("8.8.8.8", "8.8.8.8", 53));
    assert_false(lets("8.8.8.8", "8.8.8.9", 53));
    assert_true(lets("172.16.0.0/12:80-90", "172.31.255.255", 90));
    assert_false(lets("172.16.0.0/12:80-90", "172.31.255.255", 91));
    assert_false(lets("172.16.0.0/12:80-90", "172.31.255.255", 79));
    assert_false(lets("172.16.0.0/12:80-90", "172.32.0.0", 80));
    assert_false(lets("8.8.8.8:53", "8.8.8.8", -1)); /* a port is no ping */
    assert_true(lets("2600::/16", "2600:1::2", 443));
    assert_true(lets("[2600::/16]:443", "2600:1::2", 443));
    assert_false(lets("[2600::/16]:443", "2600:1::2", 80));
    assert_true(lets("0.0.0.0/0", "1.2.3.4", 80));
    assert_false(lets("0.0.0.0/0", "2600::1", 80));
    assert_true(lets("::/0", "2600::1", 80));
    assert_false(lets("::/0", "1.2.3.4", 80));
    assert_true(lets("192.168.0.0/31", "192.168.0.1", 1));
    assert_false(lets("192.168.0.0/31", "192.168.0.2", 1));
}

static void test_never(void **state)
{
    (void)state;
    static const char *const never[] = { "127.0.0.1",       "127.8.8.8", "0.0.0.0",         "0.1.2.3", "224.0.0.1",
                                         "239.255.255.250", "240.0.0.1", "255.255.255.255", "::",      "::1",
                                         "::127.0.0.1",     "ff02::1",   "fe80::1" };
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        if (lets("0.0.0.0/0", never[i], 80) || lets("::/0", never[i], 80) || lets("all", never[i], 80) || lets("internet", never[i], 80))
            fail_msg("%s is let pass", never[i]);
    }
    assert_false(lets("127.0.0.0/8", "127.0.0.1", 80));
}

static void test_words(void **state)
{
    (void)state;
    static const char *const private[] = { "10.1.2.3", "172.16.0.1", "192.168.1.1",    "100.64.0.1",   "198.18.0.1",    "192.0.2.1",
                                           "fd00::1",  "fec0::1",    "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::1", "2001:db8::1" };
    for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++) {
        if (!lets("all", private[i], 80) || lets("internet", private[i], 80))
            fail_msg("%s is taken for a public one", private[i]);
    }
    assert_true(lets("internet", "8.8.8.8", 80));
    assert_true(lets("internet", "2600::1", -1));
    assert_true(lets("internet:443", "8.8.8.8", 443));
    assert_false(lets("internet:443", "8.8.8.8", 80));
    assert_false(lets("internet", "64:ff9b::7f00:1", 80)); /* a translator would make 127.0.0.1 of it */
    assert_false(lets("all", "169.254.169.254", 80));
    assert_true(lets("169.254.169.254", "169.254.169.254", 80));
    assert_false(lets("host", "8.8.8.8", 80));
    struct net_rules rules = { 0 };
    add(&rules, "host:8000-8010");
    assert_true(net_rules_host(&rules, 8010));
    assert_false(net_rules_host(&rules, 8011));
    net_rules_clear(&rules);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(names("example.org", "example.org"));
    assert_true(names("Example.ORG.:443", "example.org"));
    assert_false(names("example.org", "www.example.org"));
    assert_false(names("example.org", "example.or"));
    assert_false(names("example.org", "badexample.org"));
    assert_true(names("*.example.org", "www.example.org"));
    assert_true(names("*.example.org", "a.b.example.org"));
    assert_false(names("*.example.org", "example.org"));
    assert_false(names("*.example.org", "badexample.org"));
    assert_false(names("*.example.org", ".example.org"));
    assert_false(names("10.0.0.0/8", "example.org"));
    assert_false(names("host", "example.org"));
    assert_true(names("all", "example.org"));
    assert_true(names("internet", "example.org"));
    assert_true(names("host.example", "host.example"));
    assert_false(lets("example.org", "8.8.8.8", 80));
}

static void test_bad_entries(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "*",          "*.",          "*.*.org",        "a..b",           "-a.org",        "a-.org",
        "10.0.0",     "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/",      "10.0.0.0/8x",    "10.0.0.0/0008", "::/129",
        "2600::1/16", "[2600::1",   "[2600::1]x",  "example.org:",   "a.org:0",        "a.org:65536",   "a.org:90-80",
        "a.org:80-",  "a.org:-80",  "a b",         "ex\xc3\xa4.org", "::ffff:1.2.3.4", "a.org/8",       "1.2.3.4:80:90",
        "host:http",  "a.org:80x"
    };
    struct net_rules rules = { 0 };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        if (net_rules_add(&rules, bad[i], &err) == 0)
            fail_msg("`%s` is taken", bad[i]);
        assert_int_not_equal(err.code, GV_OK);
    }
    assert_int_equal(rules.count, 0);
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    for (size_t i = 63; i < sizeof(longest); i += 64)
        longest[i] = '.';
    longest[253] = '\0';
    assert_int_equal(net_rules_add(&rules, longest, NULL), 0);
    longest[253] = 'a';
    longest[254] = '\0';
    assert_int_equal(net_rules_add(&rules, longest, NULL), -1);
    net_rules_clear(&rules);
}

static void test_publish(void **state)
{
    (void)state;
    struct net_publish p;
    char text[NET_ADDR_TEXT];
    assert_int_equal(net_publish_parse(&p, "8080:80", NULL), 0);
    assert_string_equal(net_addr_text(&p.host, text), "0.0.0.0");
    assert_true(!p.udp && p.host_port == 8080 && p.guest_port == 80 && p.count == 1);
    assert_int_equal(net_publish_parse(&p, "127.0.0.1:5000-5009:6000-6009/udp", NULL), 0);
    assert_string_equal(net_addr_text(&p.host, text), "127.0.0.1");
    assert_true(p.udp && p.host_port == 5000 && p.guest_port == 6000 && p.count == 10);
    assert_int_equal(net_publish_parse(&p, "[::]:80:80/tcp", NULL), 0);
    assert_string_equal(net_addr_text(&p.host, text), "::");
    static const char *const bad[] = { "",           "80",         "80:",        ":80",         "80:80:80", "::1:80:80", "[1.2.3.4]:80:80",
                                       "80:80/sctp", "80:80/",     "80-81:80",   "81-80:81-80", "0:80",     "80:65536",  "1-65535:1-65535",
                                       "host:80:80", "1.2.3.4:80", "[::1:80:80", "80 :80",      "+80:80" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (net_publish_parse(&p, bad[i], NULL) == 0)
            fail_msg("`%s` is taken", bad[i]);
}

static void test_servers(void **state)
{
    (void)state;
    struct net_server s;
    assert_int_equal(net_server_parse(&s, "1.2.3.4", NULL), 0);
    assert_int_equal(s.port, 53);
    assert_int_equal(net_server_parse(&s, "1.2.3.4:5353", NULL), 0);
    assert_int_equal(s.port, 5353);
    assert_int_equal(net_server_parse(&s, "2600::1", NULL), 0);
    assert_int_equal(net_server_parse(&s, "[2600::1]:54", NULL), 0);
    assert_int_equal(s.port, 54);
    static const char *const bad[] = { "", "example.org", "1.2.3", "1.2.3.4:", "1.2.3.4:0", "fe80::1%eth0", "[2600::1]54" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (net_server_parse(&s, bad[i], NULL) == 0)
            fail_msg("`%s` is taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks),    cmocka_unit_test(test_never),   cmocka_unit_test(test_words),   cmocka_unit_test(test_names),
        cmocka_unit_test(test_bad_entries), cmocka_unit_test(test_publish), cmocka_unit_test(test_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
