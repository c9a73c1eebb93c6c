/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The lines on the socket: what is said is what is heard, and nothing else is. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "vms/protocol.h"

static void test_requests(void **state)
{
    (void)state;
    const char *argv[] = { "sh", "-c", "bytes \x01\x7f\x80\xc3\xff \"quoted\"", "", NULL }, *env[] = { "A=\xe9", NULL };
    const struct vms_request all[] = {
        { .op = VMS_EXEC,
          .argv = argv,
          .env = env,
          .cwd = "/\xff",
          .user = "a:b",
          .stdin_open = true,
          .tty = true,
          .rows = 1,
          .columns = 65535 },
        { .op = VMS_EXEC, .argv = argv },
        { .op = VMS_BUILTIN, .argv = argv, .builtin = 3, .stdin_open = true },
        { .op = VMS_STATS },
        { .op = VMS_STOP, .grace_ms = 1500 },
        { .op = VMS_KILL, .signal = SIGUSR1 },
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const struct vms_request *r = &all[i];
        cleanup_buf struct gv_buf b = { 0 };
        struct heard h = { 0 };
        assert_int_equal(protocol_put_request(&b, r, NULL), 0);
        assert_ptr_equal(memchr(b.data, '\n', b.len), b.data + b.len - 1);
        assert_int_equal(protocol_get_request(&h, (const char *)b.data, b.len - 1, NULL), 0);
        assert_int_equal(h.request.op, r->op);
        for (size_t k = 0; r->argv && r->argv[k]; k++)
            assert_string_equal(h.request.argv[k], r->argv[k]);
        if (r->env)
            assert_string_equal(h.request.env[0], r->env[0]);
        assert_true(!r->cwd == !h.request.cwd && (!r->cwd || !strcmp(r->cwd, h.request.cwd)));
        assert_true(!r->user == !h.request.user && (!r->user || !strcmp(r->user, h.request.user)));
        assert_true(r->tty == h.request.tty && r->stdin_open == h.request.stdin_open && r->rows == h.request.rows &&
                    r->columns == h.request.columns);
        assert_true(r->grace_ms == h.request.grace_ms && r->signal == h.request.signal && r->builtin == h.request.builtin);
        heard_clear(&h);
    }
}

static void test_too_large(void **state)
{
    (void)state;
    cleanup_free char *big = gv_alloc(VMS_LINE_MAX + 1);
    memset(big, 'x', VMS_LINE_MAX);
    big[VMS_LINE_MAX] = '\0';
    const char *argv[] = { big, NULL };
    cleanup_buf struct gv_buf b = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(protocol_put_request(&b, &(struct vms_request){ .op = VMS_EXEC, .argv = argv }, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_int_equal(b.len, 0);
}

static void test_wrong_requests(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"op\":1}",
        "{\"op\":\"run\"}",
        "{\"op\":\"exec\"}",
        "{\"op\":\"exec\",\"argv\":[]}",
        "{\"op\":\"exec\",\"argv\":\"x\"}",
        "{\"op\":\"exec\",\"argv\":[1]}",
        "{\"op\":\"exec\",\"argv\":[\"a\\u0000b\"]}",
        "{\"op\":\"exec\",\"argv\":[\"\\u0100\"]}",
        "{\"op\":\"exec\",\"argv\":[\"x\"],\"argv\":[\"y\"]}",
        "{\"op\":\"exec\",\"argv\":[\"x\"],\"rows\":65536}",
        "{\"op\":\"exec\",\"argv\":[\"x\"],\"rows\":-1}",
        "{\"op\":\"exec\",\"argv\":[\"x\"],\"tty\":1}",
        "{\"op\":\"exec\",\"argv\":[\"x\"],\"env\":{}}",
        "{\"op\":\"exec\",\"argv\":[\"x\"],\"builtin\":1}",
        "{\"op\":\"builtin\",\"argv\":[\"x\"]}",
        "{\"op\":\"builtin\",\"argv\":[\"x\"],\"builtin\":0}",
        "{\"op\":\"kill\"}",
        "{\"op\":\"kill\",\"signal\":0}",
        "{\"op\":\"kill\",\"signal\":65}",
        "{\"op\":\"stop\",\"grace\":-1}",
        "{\"op\":\"stop\",\"grace\":1.5}",
        "{\"op\":\"stats\"} x",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct heard h = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        if (protocol_get_request(&h, wrong[i], strlen(wrong[i]), &err) == 0)
            fail_msg("was taken: %s", wrong[i]);
        assert_int_equal(err.code, GV_E_PROTOCOL);
        assert_null(h.argv.items);
    }
}

static void test_messages(void **state)
{
    (void)state;
    const struct message all[] = { { .signal = SIGINT }, { .rows = 1, .columns = 65535 } };
    for (size_t i = 0; i < 2; i++) {
        cleanup_buf struct gv_buf b = { 0 };
        struct message m;
        protocol_put_message(&b, &all[i]);
        assert_int_equal(protocol_get_message(&m, (const char *)b.data, b.len - 1, NULL), 0);
        assert_true(m.signal == all[i].signal && m.rows == all[i].rows && m.columns == all[i].columns);
    }
    static const char *const wrong[] = { "{}",
                                         "{\"signal\":0}",
                                         "{\"signal\":\"9\"}",
                                         "{\"resize\":[1]}",
                                         "{\"resize\":[0,1]}",
                                         "{\"resize\":[1,65536]}",
                                         "{\"resize\":[1,2,3]}" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct message m;
        assert_int_equal(protocol_get_message(&m, wrong[i], strlen(wrong[i]), NULL), -1);
    }
}

static void test_answers(void **state)
{
    (void)state;
    struct vms_answer failed = { .kind = VMS_FAILED };
    gv_error_set(&failed.error, GV_E_GUEST, 2, "no program `x`");
    const struct vms_answer all[] = { { .kind = VMS_STARTED },
                                      { .kind = VMS_EXITED, .status = 255 },
                                      { .kind = VMS_SIGNALLED, .status = 9 },
                                      failed,
                                      { .kind = VMS_DONE },
                                      { .kind = VMS_STATS_ARE, .stats = { 1, 2, 3, 4, 5, 6, 7 } } };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        cleanup_buf struct gv_buf b = { 0 };
        struct vms_answer a;
        protocol_put_answer(&b, &all[i]);
        assert_int_equal(protocol_get_answer(&a, (const char *)b.data, b.len - 1, NULL), 0);
        assert_true(a.kind == all[i].kind && a.status == all[i].status && a.error.code == all[i].error.code &&
                    a.error.sys == all[i].error.sys);
        assert_string_equal(a.error.msg, all[i].error.msg);
        assert_memory_equal(&a.stats, &all[i].stats, sizeof(a.stats));
    }
    static const char *const wrong[] = {
        "{}", "{\"exit\":256}", "{\"signal\":0}", "{\"error\":1}", "{\"error\":\"x\",\"code\":99}", "{\"stats\":{\"memory\":-1}}"
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct vms_answer a;
        assert_int_equal(protocol_get_answer(&a, wrong[i], strlen(wrong[i]), NULL), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_requests), cmocka_unit_test(test_too_large),
                                        cmocka_unit_test(test_wrong_requests), cmocka_unit_test(test_messages),
                                        cmocka_unit_test(test_answers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
