/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command line: every order of words that callers use. */
#include "exeunit_test.h"

#include "exeunit/exeunit.h"

/* Parses words separated by '|'. */
static int parse(struct exeunit_options *o, const char *line, struct gv_error *err)
{
    cleanup_strv struct gv_strv argv = { 0 };
    gv_strv_add(&argv, "ya-runtime-vm");
    cleanup_free char *copy = gv_strdup(line);
    char *rest = copy;
    for (char *word; *line && (word = strsep(&rest, "|")) != NULL;)
        gv_strv_add(&argv, word);
    *o = (struct exeunit_options){ 0 };
    return exeunit_options_parse(o, (int)argv.count, argv.items, err);
}

static char *joined(const struct gv_strv *v)
{
    struct gv_buf b = { 0 };
    for (size_t i = 0; i < v->count; i++)
        gv_buf_addf(&b, "%s%s", i ? "|" : "", v->items[i]);
    return gv_buf_str(&b);
}

static void check(const char *line, enum exeunit_command command, const char *packages, const char *pci, const char *args)
{
    struct exeunit_options o;
    struct gv_error err = GV_ERROR_INIT;
    if (parse(&o, line, &err) < 0)
        fail_msg("`%s`: %s", line, err.msg);
    cleanup_free char *p = joined(&o.packages), *d = joined(&o.pci_devices), *a = joined(&o.args);
    assert_int_equal(o.command, command);
    assert_string_equal(p, packages);
    assert_string_equal(d, pci);
    assert_string_equal(a, args);
    exeunit_options_clear(&o);
}

static void refuse(const char *line)
{
    struct exeunit_options o;
    struct gv_error err = GV_ERROR_INIT;
    if (parse(&o, line, &err) == 0)
        fail_msg("`%s` was taken", line);
    assert_int_equal(err.code, GV_E_USAGE);
    exeunit_options_clear(&o);
}

static void test_orders(void **state)
{
    (void)state;
    check("-t|a|deploy", EXEUNIT_DEPLOY, "a", "", "");
    check("--task-package|a|deploy|--", EXEUNIT_DEPLOY, "a", "", "");
    check("--task-package|a|--cpu-cores|2|deploy|--", EXEUNIT_DEPLOY, "a", "", "");
    check("-t|a|b|--hostname|h|-t|c|deploy", EXEUNIT_DEPLOY, "a|b|c", "", "");
    check("-t|deploy|deploy", EXEUNIT_DEPLOY, "deploy", "", "");
    check("-ta|--task-package=b|-t=c|deploy", EXEUNIT_DEPLOY, "a|b|c", "", "");
    check("-t|a|start|start-entrypoint", EXEUNIT_START, "a", "", "start-entrypoint");
    check("--pci-device|x|y|start", EXEUNIT_START, "", "x|y", "");
    check("--pci-device|x|offer-template", EXEUNIT_OFFER_TEMPLATE, "", "x", "");
    check("test", EXEUNIT_TEST, "", "", "");
    check("deploy|-t|a|--mem-gib|1", EXEUNIT_DEPLOY, "a", "", "");
    check("deploy|-t|a|b", EXEUNIT_DEPLOY, "a", "", "b");
    check("-t|-|deploy", EXEUNIT_DEPLOY, "-", "", "");
}

/* What follows start and run is the requestor's. */
static void test_arguments(void **state)
{
    (void)state;
    check("start|--foo|-t|deploy", EXEUNIT_START, "", "", "--foo|-t|deploy");
    check("start|--|--foo", EXEUNIT_START, "", "", "--foo");
    check("start|a|--|b", EXEUNIT_START, "", "", "a|--|b");
    check("run|--entrypoint|/bin/sh|--|-c", EXEUNIT_RUN, "", "", "--entrypoint|/bin/sh|--|-c");
    check("deploy|--|--help", EXEUNIT_DEPLOY, "", "", "--help");
}

static void test_help(void **state)
{
    (void)state;
    struct exeunit_options o;
    static const char *const help[] = { "--help", "-h", "help", "deploy|--help", "-w|x|-h", "help|start" }, *const version[] = {
        "-V", "--version"
    };
    for (size_t i = 0; i < sizeof(help) / sizeof(help[0]); i++) {
        assert_int_equal(parse(&o, help[i], NULL), 0);
        assert_int_equal(o.command, EXEUNIT_HELP);
        exeunit_options_clear(&o);
    }
    for (size_t i = 0; i < sizeof(version) / sizeof(version[0]); i++) {
        assert_int_equal(parse(&o, version[i], NULL), 0);
        assert_int_equal(o.command, EXEUNIT_VERSION);
        exeunit_options_clear(&o);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",
                                         "-w",
                                         "-w|-t|x|deploy",
                                         "--nonsense",
                                         "nonsense",
                                         "--workdirs|x|deploy",
                                         "--work|x|deploy",
                                         "-x|deploy",
                                         "--cpu-cores|0|deploy",
                                         "--cpu-cores|1.5|deploy",
                                         "--cpu-cores|-1|deploy",
                                         "--cpu-cores||deploy",
                                         "--mem-gib|x|deploy",
                                         "--mem-gib=-1|deploy",
                                         "--mem-gib|nan|deploy",
                                         "--mem-gib|1e99|deploy",
                                         "--test-timeout|0|test",
                                         "--accel|x|test",
                                         "--version=1",
                                         "--dns|1.1.1|start",
                                         "--dns|1.1.1.1,|start",
                                         "--dns|dns.example|start",
                                         "--inet-mtu|1279|start",
                                         "--inet-mtu|65267|start",
                                         "deploy|--nonsense" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        refuse(wrong[i]);
}

static void test_networks(void **state)
{
    (void)state;
    static const struct {
        const char *line, *dns;
        unsigned mtu;
    } cases[] = { { "start", "1.1.1.1|8.8.8.8", 1500 },
                  { "--dns|9.9.9.9,fd00::1|10.0.0.1|--inet-mtu|65266|start", "9.9.9.9|fd00::1|10.0.0.1", 65266 },
                  { "--dns|none|--inet-mtu=1280|start", "", 1280 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct exeunit_options o;
        assert_int_equal(parse(&o, cases[i].line, NULL), 0);
        cleanup_free char *dns = joined(&o.dns);
        assert_string_equal(dns, cases[i].dns);
        assert_int_equal(o.inet_mtu, cases[i].mtu);
        exeunit_options_clear(&o);
    }
}

static void test_values(void **state)
{
    (void)state;
    struct exeunit_options o;
    assert_int_equal(parse(&o, "deploy", NULL), 0);
    assert_int_equal(o.cpus, 1);
    assert_int_equal(o.memory, 256U << 20);
    assert_int_equal(o.storage, 256U << 20);
    assert_string_equal(o.hostname, "golem");
    assert_int_equal(o.test_timeout_s, 10);
    assert_int_equal(o.test_cpus, 1);
    assert_int_equal(o.test_memory, 512U << 20);
    assert_null(o.workdir);
    assert_null(o.volume_override);
    exeunit_options_clear(&o);

    /* As the ExeUnit prints numbers; parts of a MiB are cut off. */
    assert_int_equal(parse(&o, "-w|/w|--cpu-cores|8|--mem-gib|28.128110707|--storage-gib|10|--vpn-endpoint|udp://127.0.0.1:1|deploy", NULL),
                     0);
    assert_int_equal(o.cpus, 8);
    assert_int_equal(o.memory, UINT64_C(28803) << 20);
    assert_int_equal(o.storage, UINT64_C(10) << 30);
    assert_string_equal(o.workdir, "/w");
    assert_string_equal(o.vpn_endpoint, "udp://127.0.0.1:1");
    exeunit_options_clear(&o);

    setenv("YA_RUNTIME_HOSTNAME", "from-env", 1);
    setenv("YA_RUNTIME_VM_PCI_DEVICE", "a,b", 1);
    setenv("YA_RUNTIME_VM_TEST_TIMEOUT", "77", 1);
    setenv("YA_RUNTIME_VM_TEST_CPU_CORES", "", 1);
    assert_int_equal(parse(&o, "test", NULL), 0);
    assert_string_equal(o.hostname, "from-env");
    assert_int_equal(o.pci_devices.count, 1);
    assert_string_equal(o.pci_devices.items[0], "a,b");
    assert_int_equal(o.test_timeout_s, 77);
    assert_int_equal(o.test_cpus, 1);
    exeunit_options_clear(&o);
    assert_int_equal(parse(&o, "--hostname|mine|--pci-device|c|test", NULL), 0);
    assert_string_equal(o.hostname, "mine");
    assert_int_equal(o.pci_devices.count, 1);
    assert_string_equal(o.pci_devices.items[0], "c");
    exeunit_options_clear(&o);
    setenv("YA_RUNTIME_VM_TEST_TIMEOUT", "x", 1);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(parse(&o, "test", &err), -1);
    assert_non_null(strstr(err.msg, "YA_RUNTIME_VM_TEST_TIMEOUT"));
    exeunit_options_clear(&o);
    unsetenv("YA_RUNTIME_HOSTNAME");
    unsetenv("YA_RUNTIME_VM_PCI_DEVICE");
    unsetenv("YA_RUNTIME_VM_TEST_TIMEOUT");
    unsetenv("YA_RUNTIME_VM_TEST_CPU_CORES");
}

int main(void)
{
    static const char *const variables[] = {
        "YA_RUNTIME_VM_PCI_DEVICE",     "YA_RUNTIME_VOLUME_OVERRIDE", "YA_RUNTIME_HOSTNAME", "YA_RUNTIME_VM_TEST_TIMEOUT",
        "YA_RUNTIME_VM_TEST_CPU_CORES", "YA_RUNTIME_VM_TEST_MEM_GIB", "GVMKIT_DNS",          "GVMKIT_INET_MTU"
    };
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),  cmocka_unit_test(test_arguments), cmocka_unit_test(test_help),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_networks),  cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
