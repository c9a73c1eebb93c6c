/* SPDX-License-Identifier: GPL-3.0-or-later */
/* QMP lines, and the tails of endless texts. */
#include "vm_test.h"

#include "vm/console.h"
#include "vm/qmp.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"

static int feed(struct vm_qmp *q, const char *text, struct gv_error *err)
{
    return vm_qmp_feed(q, text, strlen(text), err);
}

static void test_start_and_end(void **state)
{
    (void)state;
    struct vm_qmp q = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    for (const char *at = GREETING; *at; at++) /* byte by byte */
        assert_int_equal(vm_qmp_feed(&q, at, 1, &err), 0);
    assert_true(q.greeted);
    assert_string_equal(gv_buf_str(&q.out), "{\"execute\":\"qmp_capabilities\"}\n");
    q.out.len = 0;
    vm_qmp_inject_nmi(&q); /* too early to ask */
    vm_qmp_quit(&q);
    assert_int_equal(q.out.len, 0);
    assert_int_equal(feed(&q, "{\"timestamp\":{},\"event\":\"RESUME\"}\n{\"return\":{}}\n", &err), 0);
    assert_true(q.ready);
    assert_string_equal(gv_buf_str(&q.out), "{\"execute\":\"quit\"}\n");
    vm_qmp_quit(&q);
    assert_string_equal(gv_buf_str(&q.out), "{\"execute\":\"quit\"}\n");
    assert_int_equal(
        feed(&q, "{\"event\":\"GUEST_PANICKED\"}\n{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-reset\"}}\n", &err),
        0);
    assert_true(q.panicked);
    assert_string_equal(q.reason, "guest-reset");
    assert_int_equal(feed(&q, "{\"event\":\"SHUTDOWN\",\"data\":{\"reason\":\"other\"}}\n", &err), 0);
    assert_string_equal(q.reason, "guest-reset");
    vm_qmp_clear(&q);
}

static void test_nonsense(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "hello\n",
        "[1]\n",
        "{}\n",
        "{\"QMP\":1}\n",
        "{\"return\":{}}\n",
        GREETING "{\"error\":{\"class\":\"x\",\"desc\":\"no \\u001b[1m\"}}\n",
        GREETING "{\"neither\":1}\n",
        GREETING "{\"event\":1}\n",
        GREETING "{\"event\":\"A\",\"event\":\"B\"}\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct vm_qmp q = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(feed(&q, bad[i], &err), -1);
        assert_int_equal(err.code, GV_E_PROTOCOL);
        vm_qmp_clear(&q);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    struct vm_qmp q = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    char *large = gv_alloc(QMP_LINE_MAX + 2);
    memset(large, ' ', QMP_LINE_MAX + 1);
    assert_int_equal(vm_qmp_feed(&q, large, QMP_LINE_MAX, &err), 0);
    assert_int_equal(vm_qmp_feed(&q, large, 1, &err), -1);
    assert_int_equal(err.code, GV_E_PROTOCOL);
    vm_qmp_clear(&q);

    struct vm_qmp deep = { 0 };
    memset(large, '[', QMP_LINE_MAX);
    large[QMP_LINE_MAX] = '\n';
    assert_int_equal(vm_qmp_feed(&deep, large, QMP_LINE_MAX + 1, &err), -1);
    vm_qmp_clear(&deep);
    free(large);
}

static void test_tail(void **state)
{
    (void)state;
    struct vm_tail t = { 0 };
    char out[100];
    assert_string_equal(vm_tail_last(&t, 3, NULL, out, sizeof(out)), "");
    static const char text[] = "\r\nfirst\r\n\r\n  second\tline\r\n\033[31mthird\033[0m\r\nfourth\n\n \n";
    vm_tail_add(&t, text, sizeof(text) - 1);
    assert_string_equal(vm_tail_last(&t, 1, NULL, out, sizeof(out)), "fourth");
    assert_string_equal(vm_tail_last(&t, 3, NULL, out, sizeof(out)), "second line | third | fourth");
    assert_string_equal(vm_tail_last(&t, 100, NULL, out, sizeof(out)), "first | second line | third | fourth");
    assert_string_equal(vm_tail_last(&t, 1, "sec", out, sizeof(out)), "second line");
    assert_string_equal(vm_tail_last(&t, 1, "absent", out, sizeof(out)), "fourth");
    assert_string_equal(vm_tail_last(&t, 100, NULL, out, 9), "fourth");
    assert_string_equal(vm_tail_last(&t, 100, NULL, out, 5), "urth");
    vm_tail_add(&t, "\033", 1); /* a sequence cut short */
    assert_string_equal(vm_tail_last(&t, 1, NULL, out, sizeof(out)), "fourth");
}

static void test_tail_wraps(void **state)
{
    (void)state;
    struct vm_tail t = { 0 };
    char out[TAIL_SIZE + 1], line[32];
    for (int i = 0; i < 3000; i++) {
        int n = snprintf(line, sizeof(line), "line %d\n", i);
        vm_tail_add(&t, line, (size_t)n);
    }
    assert_string_equal(vm_tail_last(&t, 2, NULL, out, sizeof(out)), "line 2998 | line 2999");
    char *large = gv_alloc(3 * TAIL_SIZE);
    memset(large, 'x', 3 * TAIL_SIZE);
    memcpy(large + 3 * TAIL_SIZE - 4, "\nend", 4);
    vm_tail_add(&t, large, 3 * TAIL_SIZE);
    assert_string_equal(vm_tail_last(&t, 1, NULL, out, sizeof(out)), "end");
    free(large);
    const char *tail = vm_tail_last(&t, 9, NULL, out, sizeof(out));
    assert_true(strlen(tail) <= TAIL_SIZE && strlen(tail) > TAIL_SIZE - 8);
    assert_string_equal(tail + strlen(tail) - 7, "x | end");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_and_end), cmocka_unit_test(test_nonsense),   cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_tail),          cmocka_unit_test(test_tail_wraps),
    };
    return cmocka_run_group_tests_name("vm_qmp", tests, NULL, NULL);
}
