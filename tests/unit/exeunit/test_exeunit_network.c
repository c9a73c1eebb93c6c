/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CreateNetwork's texts, and what becomes of them. */
#include "exeunit_test.h"

#include "exeunit/network.h"
#include "exeunit/selftest/echo.h"

static char *joined(const struct gv_strv *v)
{
    cleanup_buf struct gv_buf b = { 0 };
    for (size_t i = 0; i < v->count; i++)
        gv_buf_addf(&b, "%s%s", i ? "; " : "", v->items[i]);
    return gv_strdup(gv_buf_str(&b));
}

static int plan(struct network_plan *p, int interface, struct proto_network *n, size_t count, struct gv_error *err)
{
    const struct proto_network *culprit;
    const struct proto_request q = { .command = PROTO_NETWORK, .interface = interface, .networks = n, .network_count = count };
    return network_plan(p, &q, &culprit, err);
}

static void test_addresses_and_routes(void **state)
{
    static const struct {
        int interface;
        const char *addr, *gateway, *mask, *if_addr;
        const char *address, *routes, *default4, *default6;
    } cases[] = {
        { 0, "192.168.0.0", "", "255.255.255.0", "192.168.0.2", "192.168.0.2/24", "", NULL, NULL },
        /* The interface is in the network that the gateway leads to. */
        { 0, "192.168.0.0", "192.168.0.1", "255.255.255.0", "192.168.0.2", "192.168.0.2/24", "", NULL, NULL },
        { 0, "192.168.0.77", "192.168.0.1", "24", "192.168.0.2", "192.168.0.2/24", "", NULL, NULL },
        { 0, "192.168.0.0/24", "192.168.0.1", "", "192.168.0.2/24", "192.168.0.2/24", "", NULL, NULL },
        { 0, "192.168.0.0", "192.168.0.1", "", "192.168.0.2/24", "192.168.0.2/24", "", NULL, NULL },
        { 0, "10.0.0.0/8", "192.168.0.1", "24", "192.168.0.2", "192.168.0.2/24", "10.0.0.0/8 via 192.168.0.1", NULL, NULL },
        { 0, "192.168.1.9", "192.168.0.1", "255.255.255.0", "192.168.0.2", "192.168.0.2/24", "192.168.1.0/24 via 192.168.0.1", NULL, NULL },
        { 0, "0.0.0.0/0", "192.168.0.1", "24", "192.168.0.2", "192.168.0.2/24", "0.0.0.0/0 via 192.168.0.1", NULL, NULL },
        { 0, "", "192.168.0.1", "24", "192.168.0.2", "192.168.0.2/24", "", "192.168.0.1", NULL },
        { 0, "", "", "255.255.255.255", "10.1.2.3", "10.1.2.3/32", "", NULL, NULL },
        { 0, "", "", "0.0.0.0", "10.1.2.3", "10.1.2.3/0", "", NULL, NULL },
        { 0, "fd00::", "", "ffff:ffff:ffff:ffff::", "fd00::2", "fd00::2/64", "", NULL, NULL },
        { 0, "fd00::", "fd00::1", "64", "fd00::2", "fd00::2/64", "", NULL, NULL },
        { 0, "fd01::/16", "fd00::1", "", "fd00::2/64", "fd00::2/64", "fd01::/16 via fd00::1", NULL, NULL },
        { 0, "", "", "", "fd00::2", "fd00::2/128", "", NULL, NULL },
        { 0, "", "", "", "FD00:0::2/127", "fd00::2/127", "", NULL, NULL },
        { 1, "10.42.42.1", "10.42.42.1", "255.255.255.0", "10.42.42.2", "10.42.42.2/24", "", "10.42.42.1", NULL },
        { 1, "10.42.42.1", "", "255.255.255.0", "10.42.42.2", "10.42.42.2/24", "", NULL, NULL },
        { 1, "", "fd00::1", "64", "fd00::2", "fd00::2/64", "", NULL, "fd00::1" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        struct network_plan p;
        struct proto_network n = { (char *)(uintptr_t)cases[i].addr, (char *)(uintptr_t)cases[i].gateway, (char *)(uintptr_t)cases[i].mask,
                                   (char *)(uintptr_t)cases[i].if_addr };
        if (plan(&p, cases[i].interface, &n, 1, &err) < 0)
            fail_msg("case %zu: %s", i, err.msg);
        cleanup_free char *addresses = joined(&p.addresses), *routes = joined(&p.routes);
        assert_string_equal(addresses, cases[i].address);
        assert_string_equal(routes, cases[i].routes);
        assert_string_equal(p.gateway ? p.gateway : "none", cases[i].default4 ? cases[i].default4 : "none");
        assert_string_equal(p.gateway6 ? p.gateway6 : "none", cases[i].default6 ? cases[i].default6 : "none");
        network_plan_clear(&p);
    }
}

static void test_nonsense(void **state)
{
    static const struct {
        const char *addr, *gateway, *mask, *if_addr, *field;
    } cases[] = {
        { "10.0.0.0", "", "24", "", "if_addr" },
        { "10.0.0.0", "", "24", "10.0.0", "if_addr" },
        { "10.0.0.0", "", "24", "10.0.0.2/33", "if_addr" },
        { "10.0.0.0", "", "24", "10.0.0.2/", "if_addr" },
        { "10.0.0.0", "", "24", "10.0.0.2/-1", "if_addr" },
        { "10.0.0.0", "", "24", "10.0.0.2/24/24", "if_addr" },
        { "10.0.0.0", "", "24", "10.0.0.2 via 1.2.3.4", "if_addr" },
        { "10.0.0.0", "", "24", "fd00::2/129", "if_addr" },
        { "10.0.0.0", "", "24", "fd00::2%eth0", "if_addr" },
        { "10.0.0.0", "", "24", "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", "if_addr" },
        { "10.0.0.0", "", "", "10.0.0.2", "mask" },
        { "10.0.0.0", "", "33", "10.0.0.2", "mask" },
        { "10.0.0.0", "", "1000", "10.0.0.2", "mask" },
        { "10.0.0.0", "", "255.0.255.0", "10.0.0.2", "mask" },
        { "10.0.0.0", "", "0.255.255.255", "10.0.0.2", "mask" },
        { "10.0.0.0", "", "255.255.255.0/24", "10.0.0.2", "mask" },
        { "10.0.0.0", "", "ffff::", "10.0.0.2", "mask" },
        { "fd00::", "", "ffff:0:ffff::", "fd00::2", "mask" },
        { "10.0.0.0", "x", "24", "10.0.0.2", "gateway" },
        { "10.0.0.0", "10.0.0.1/24", "24", "10.0.0.2", "gateway" },
        { "10.0.0.0", "fd00::1", "24", "10.0.0.2", "gateway" },
        { "nowhere", "10.0.0.1", "24", "10.0.0.2", "addr" },
        { "fd00::/64", "10.0.0.1", "24", "10.0.0.2", "addr" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        struct network_plan p;
        struct proto_network n = { (char *)(uintptr_t)cases[i].addr, (char *)(uintptr_t)cases[i].gateway, (char *)(uintptr_t)cases[i].mask,
                                   (char *)(uintptr_t)cases[i].if_addr };
        assert_int_equal(plan(&p, 0, &n, 1, &err), -1);
        assert_int_equal(err.code, GV_E_USAGE);
        if (strncmp(err.msg, cases[i].field, strlen(cases[i].field)) != 0)
            fail_msg("case %zu: %s", i, err.msg);
        network_plan_clear(&p);
    }
}

/* The four bytes of the first IPv4 address, or the last four of the first one. */
static void test_hardware_address(void **state)
{
    static char empty[] = "", four_a[] = "10.1.2.3/24", four_b[] = "10.9.9.9/24", six_a[] = "fd00::aabb:ccdd/64", six_b[] = "fd00::1/64";
    static const uint8_t four[] = { 0xa0, 0x13, 10, 1, 2, 3 }, six[] = { 0xa0, 0x13, 0xaa, 0xbb, 0xcc, 0xdd };
    struct proto_network n[] = {
        { empty, empty, empty, six_a }, { empty, empty, empty, six_b }, { empty, empty, empty, four_a }, { empty, empty, empty, four_b }
    };
    struct network_plan p;
    struct gv_error err = GV_ERROR_INIT;
    (void)state;
    assert_int_equal(plan(&p, 0, n, 4, &err), 0);
    assert_memory_equal(p.mac, four, 6);
    assert_true(p.four && p.six);
    assert_int_equal(p.addresses.count, 4);
    network_plan_clear(&p);
    assert_int_equal(plan(&p, 0, n, 2, &err), 0);
    assert_memory_equal(p.mac, six, 6);
    assert_true(!p.four && p.six);
    network_plan_clear(&p);
    assert_int_equal(plan(&p, 0, n + 2, 1, &err), 0);
    assert_true(p.four && !p.six);
    network_plan_clear(&p);
}

static void test_hosts(void **state)
{
    char longest[254] = "", too_long[255] = "";
    memset(longest, 'a', 253);
    memset(too_long, 'a', 254);
    const struct {
        const char *name, *address;
        bool ok;
    } cases[] = {
        { "a", "10.0.0.1", true },     { "node-1.my_net", "fd00::1", true }, { "", "10.0.0.1", false },
        { "a b", "10.0.0.1", false },  { "a\tb", "10.0.0.1", false },        { "a\n1.2.3.4 b", "10.0.0.1", false },
        { "#a", "10.0.0.1", false },   { "\xc3\xa4", "10.0.0.1", false },    { "a", "", false },
        { "a", "10.0.0.1/24", false }, { "a", "10.0.0.1\n", false },         { "a", "localhost", false },
        { longest, "10.0.0.1", true }, { too_long, "10.0.0.1", false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct proto_request q = { .command = PROTO_NETWORK };
        const struct proto_network *culprit;
        struct network_plan p;
        struct gv_error err = GV_ERROR_INIT;
        gv_strv_add(&q.hosts, cases[i].name);
        gv_strv_add(&q.hosts, cases[i].address);
        if ((network_plan(&p, &q, &culprit, &err) == 0) != cases[i].ok)
            fail_msg("host %zu: %s", i, err.msg);
        if (cases[i].ok) {
            cleanup_free char *want = gv_asprintf("%s %s", cases[i].address, cases[i].name);
            assert_string_equal(p.hosts.items[0], cases[i].name);
            assert_string_equal(p.hosts.items[1], want);
        }
        network_plan_clear(&p);
        gv_strv_clear(&q.hosts);
    }
}

/* ---- the other end of the self-test's card --------------------------------------------------------------------------------------- */

#define GUEST "\xa0\x13\0\0\0\x01"
#define HOST "\xa0\x13\0\0\0\xfe"
#define GUEST_IP "\x0a\x2a\x2a\x02"
#define HOST_IP "\x0a\x2a\x2a\x01"

static void test_echo(void **state)
{
    static const char question[] =
        "\xff\xff\xff\xff\xff\xff" GUEST "\x08\x06\0\x01\x08\0\x06\x04\0\x01" GUEST GUEST_IP "\0\0\0\0\0\0" HOST_IP;
    static const char reply[] = GUEST HOST "\x08\x06\0\x01\x08\0\x06\x04\0\x02" HOST HOST_IP GUEST GUEST_IP;
    static const char there[] =
        HOST GUEST "\x08\0\x45\0\0\x21\x12\x34\0\0\x40\x11\xab\xcd" GUEST_IP HOST_IP "\x80\x01\0\x07\0\x0d\x56\x78hello";
    static const char back[] =
        GUEST HOST "\x08\0\x45\0\0\x21\x12\x34\0\0\x40\x11\xab\xcd" HOST_IP GUEST_IP "\0\x07\x80\x01\0\x0d\x56\x78hello";
    uint8_t frame[128];
    (void)state;
    memcpy(frame, question, sizeof(question) - 1);
    assert_true(selftest_echo(frame, sizeof(question) - 1));
    assert_memory_equal(frame, reply, sizeof(reply) - 1);
    assert_false(selftest_echo(frame, sizeof(reply) - 1)); /* a reply is not answered */
    memcpy(frame, there, sizeof(there) - 1);
    assert_true(selftest_echo(frame, sizeof(there) - 1));
    assert_memory_equal(frame, back, sizeof(back) - 1);
    assert_false(selftest_echo(frame, sizeof(back) - 1)); /* it is not for the host */
    /* Neither is anything that is cut short, wherever. */
    for (size_t n = 0; n < 42; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        assert_non_null(cut);
        memcpy(cut, question, n);
        assert_false(selftest_echo(cut, n));
        memcpy(cut, there, n);
        assert_false(selftest_echo(cut, n));
        free(cut);
    }
    /* Another protocol, options, a fragment, another version. */
    static const uint8_t changes[][2] = { { 23, 6 }, { 14, 0x46 }, { 20, 0x20 }, { 21, 1 }, { 14, 0x65 }, { 12, 0x86 }, { 33, 9 } };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        memcpy(frame, there, sizeof(there) - 1);
        frame[changes[i][0]] = changes[i][1];
        assert_false(selftest_echo(frame, sizeof(there) - 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_addresses_and_routes), cmocka_unit_test(test_nonsense),
                                        cmocka_unit_test(test_hardware_address), cmocka_unit_test(test_hosts),
                                        cmocka_unit_test(test_echo) };
    return cmocka_run_group_tests_name("exeunit_network", tests, NULL, NULL);
}
