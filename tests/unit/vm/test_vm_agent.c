/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The host's end of the agent protocol: what it does with a good guest, and with every kind of bad one. */
#include "agent_rig.h"

/* ---- the greeting ---------------------------------------------------------------------------------------------------------------- */

static void test_greeting(void **state)
{
    struct rig *r = *state;
    uint8_t frame[128], payload[64];
    struct wire_writer w;
    struct wire_header h;
    uint64_t version;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_VERSION_MIN, 1);
    wire_put_number(&w, KEY_VERSION_MAX, 9);
    wire_put_text(&w, KEY_AGENT, "0.1");
    wire_put_text(&w, 9999, "a newer guest says more");
    size_t n = wire_frame_end(&w, WIRE_HELLO, 0);
    for (size_t i = 0; i < n; i++) /* byte by byte */
        say_raw(r, frame + i, 1);
    assert_events(r, "hello 0.1;");
    assert_int_equal(hear(r, &h, payload, sizeof(payload)), WIRE_HELLO);
    assert_int_equal(wire_find_number(payload, h.length, KEY_VERSION, 0, &version), 0);
    assert_int_equal(version, WIRE_VERSION);
}

static void test_greeting_other_version(void **state)
{
    struct rig *r = *state;
    say(r, WIRE_HELLO, 0, KEY_VERSION_MIN, N(WIRE_VERSION + 1), KEY_VERSION_MAX, N(WIRE_VERSION + 3), 0);
    assert_events(r, "broken;");
    assert_int_equal(r->broken.code, GV_E_UNSUPPORTED);
    assert_non_null(strstr(r->broken.msg, "same release"));
    assert_int_equal(hear_type(r), 0);
}

static void test_greeting_missing(void **state)
{
    struct rig *r = *state;
    say(r, WIRE_NOTE, 0, KEY_COUNT, N(1), 0);
    assert_broken(r, "did not greet");
}

static void test_greeting_nonsense(void **state)
{
    struct rig *r = *state;
    say(r, WIRE_HELLO, 0, KEY_VERSION_MIN, N(5), KEY_VERSION_MAX, N(1), 0);
    assert_broken(r, "without versions");
}

static void test_greeting_twice(void **state)
{
    struct rig *r = *state;
    greet(r);
    greet(r);
    assert_broken(r, "second greeting");
}

static void test_end_of_file(void **state)
{
    struct rig *r = *state;
    greet(r);
    close(r->guest);
    r->guest = -1;
    turn(r);
    assert_events(r, "hello ;broken;");
    assert_int_equal(r->broken.code, GV_E_DIED);
}

static void test_truncated_frame(void **state)
{
    struct rig *r = *state;
    uint8_t head[WIRE_HEADER];
    greet(r);
    wire_header_put(head, &(struct wire_header){ .length = 100, .type = WIRE_ANSWER, .id = 1 });
    say_raw(r, head, sizeof(head));
    close(r->guest);
    r->guest = -1;
    turn(r);
    assert_int_equal(r->broken.code, GV_E_DIED);
    assert_non_null(strstr(r->broken.msg, "middle"));
}

/* ---- frames that must not be ----------------------------------------------------------------------------------------------------- */

static void test_oversized_frame(void **state)
{
    struct rig *r = *state;
    uint8_t head[WIRE_HEADER];
    greet(r);
    wire_header_put(head, &(struct wire_header){ .length = WIRE_GUEST_PAYLOAD_MAX + 1, .type = WIRE_ANSWER, .id = 1 });
    say_raw(r, head, sizeof(head));
    assert_broken(r, "a frame that is none");
}

static void test_reserved_bits(void **state)
{
    struct rig *r = *state;
    uint8_t head[WIRE_HEADER];
    greet(r);
    wire_header_put(head, &(struct wire_header){ .type = WIRE_NOTE });
    head[7] = 1;
    say_raw(r, head, sizeof(head));
    assert_broken(r, "a frame that is none");
}

static void test_unknown_id(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say(r, WIRE_ANSWER, 77, KEY_ERRNO, N(0), 0);
    assert_broken(r, "nothing that exists");
}

static void test_unknown_type(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say(r, 900, 1, 0);
    assert_broken(r, "unknown kind");
}

static void test_broken_note(void **state)
{
    struct rig *r = *state;
    uint8_t frame[WIRE_HEADER + 3] = { 0 };
    greet(r);
    wire_header_put(frame, &(struct wire_header){ .length = 3, .type = WIRE_NOTE });
    say_raw(r, frame, sizeof(frame));
    assert_broken(r, "note");
}

static void test_answer_without_errno(void **state)
{
    struct rig *r = *state;
    greet(r);
    run_process(r, false, false);
    say(r, WIRE_ANSWER, 1, KEY_COUNT, N(0), 0);
    assert_broken(r, "without a result");
}

static void test_answer_errno_out_of_range(void **state)
{
    struct rig *r = *state;
    greet(r);
    run_process(r, false, false);
    say(r, WIRE_ANSWER, 1, KEY_ERRNO, N(1) << 33, 0);
    assert_broken(r, "without a result");
}

static void test_answer_twice(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say(r, WIRE_ANSWER, 1, KEY_ERRNO, N(0), 0);
    assert_broken(r, "second answer");
}

static void test_output_before_start(void **state)
{
    struct rig *r = *state;
    greet(r);
    run_process(r, false, false);
    say_data(r, 1, 1, 3);
    assert_broken(r, "has not started");
}

/* ---- processes ------------------------------------------------------------------------------------------------------------------- */

static void test_process_runs(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say_data(r, 1, 1, 2);
    say_data(r, 1, 2, 3);
    say(r, WIRE_EXIT, 1, KEY_KIND, N(WIRE_EXITED), KEY_STATUS, N(7), KEY_CPU_USER, N(1), 0);
    assert_events(r, "out 1 xx;out 2 xxx;exited 1 code 7;");
}

/* While it is held nothing is read, and nothing lost; what is asked for still goes out. */
static void test_hold(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    vm_agent_hold(r->agent, true);
    say_data(r, 1, 1, 2);
    say(r, WIRE_EXIT, 1, KEY_KIND, N(WIRE_EXITED), KEY_STATUS, N(7), 0);
    assert_events(r, "");
    vm_process_signal(r->process, 15, false);
    assert_int_equal(hear_type(r), WIRE_SIGNAL);
    vm_agent_hold(r->agent, true);
    vm_agent_hold(r->agent, false);
    turn(r);
    assert_events(r, "out 1 xx;exited 1 code 7;");
    /* The end of a VM is read even so. */
    run_process(r, false, false);
    vm_agent_hold(r->agent, true);
    say(r, WIRE_ANSWER, 3, KEY_ERRNO, N(0), 0);
    r->events.len = 0;
    vm_agent_drain(r->agent);
    assert_events(r, "started 3;");
}

static void test_process_signalled(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say(r, WIRE_EXIT, 1, KEY_KIND, N(WIRE_DUMPED), KEY_STATUS, N(11), 0);
    assert_events(r, "exited 1 signal core 11;");
}

static void test_process_fails_to_start(void **state)
{
    struct rig *r = *state;
    uint8_t frame[128];
    struct wire_writer w;
    greet(r);
    run_process(r, false, false);
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_ERRNO, ENOENT);
    wire_put_text(&w, KEY_TEXT, "no \033[31mred\n file");
    say_raw(r, frame, wire_frame_end(&w, WIRE_ANSWER, 1));
    assert_events(r, "hello ;failed 1 2 no \\x1b[31mred\\x0a file: No such file or directory;");
    say(r, WIRE_EXIT, 1, KEY_KIND, N(0), KEY_STATUS, N(0), 0); /* it never was a process */
    assert_broken(r, "nothing that exists");
}

static void test_exit_twice(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say(r, WIRE_EXIT, 1, KEY_KIND, N(0), KEY_STATUS, N(0), 0);
    say(r, WIRE_EXIT, 1, KEY_KIND, N(0), KEY_STATUS, N(0), 0);
    assert_broken(r, "nothing that exists");
}

static void test_output_after_exit(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say(r, WIRE_EXIT, 1, KEY_KIND, N(0), KEY_STATUS, N(0), 0);
    say_data(r, 1, 1, 1);
    assert_broken(r, "nothing that exists");
}

static void test_impossible_exits(void **state)
{
    static const uint64_t bad[][2] = { { 0, 256 }, { 1, 0 }, { 1, 200 }, { 3, 1 } };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (i) {
            teardown(state);
            setup(state);
        }
        struct rig *r = *state;
        begin(r, false, false);
        say(r, WIRE_EXIT, 1, KEY_KIND, bad[i][0], KEY_STATUS, bad[i][1], 0);
        assert_broken(r, "impossible exit");
    }
}

static void test_exit_without_status(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say(r, WIRE_EXIT, 1, KEY_KIND, N(0), 0);
    assert_broken(r, "impossible exit");
}

static void test_stream_that_does_not_exist(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say_data(r, 1, 3, 1);
    assert_broken(r, "does not exist");
}

static void test_stderr_of_a_terminal(void **state)
{
    struct rig *r = *state;
    begin(r, true, true);
    say_data(r, 1, 1, 1);
    assert_events(r, "out 1 x;");
    say_data(r, 1, 2, 1);
    assert_broken(r, "does not exist");
}

static void test_empty_output(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say_data(r, 1, 1, 0);
    assert_broken(r, "impossible size");
}

static void test_output_too_long(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    say_data(r, 1, 1, WIRE_DATA_MAX + 1);
    assert_broken(r, "impossible size");
}

static void test_two_processes(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    run_process(r, false, false);
    say_data(r, 1, 1, 1);
    say(r, WIRE_ANSWER, 2, KEY_ERRNO, N(0), 0);
    say_data(r, 2, 1, 2);
    say(r, WIRE_EXIT, 2, KEY_KIND, N(0), KEY_STATUS, N(2), 0);
    say(r, WIRE_EXIT, 1, KEY_KIND, N(0), KEY_STATUS, N(1), 0);
    assert_events(r, "out 1 x;started 2;out 1 xx;exited 2 code 2;exited 1 code 1;");
}

static void test_fail_all(void **state)
{
    struct rig *r = *state;
    struct gv_error died = GV_ERROR_INIT, err = GV_ERROR_INIT;
    const struct vm_process_spec spec = { .argv = echo_argv };
    begin(r, false, false);
    gv_error_set(&died, GV_E_DIED, 0, "gone");
    vm_agent_fail_all(r->agent, &died);
    assert_events(r, "failed 1 0 gone;");
    assert_int_equal(vm_agent_run(&r->process, r->agent, &spec, &process_events, r, &err), -1);
    assert_int_equal(err.code, GV_E_DIED);
}

static void test_run_frame(void **state)
{
    struct rig *r = *state;
    static const char *const env[] = { "A=1", "B=", NULL }, *const limits[] = { "nofile 1 2", NULL };
    const struct vm_process_spec spec = { .argv = echo_argv,
                                          .env = env,
                                          .cwd = "/w",
                                          .user = "u:g",
                                          .rlimits = limits,
                                          .path = "/bin/e",
                                          .stdin_open = true,
                                          .tty = true,
                                          .rows = 3,
                                          .columns = 4 };
    struct gv_error err = GV_ERROR_INIT;
    struct wire_header h;
    uint8_t payload[1024];
    uint64_t v;
    greet(r);
    assert_int_equal(vm_agent_run(&r->process, r->agent, &spec, &process_events, r, &err), 0);
    assert_int_equal(hear(r, &h, payload, sizeof(payload)), WIRE_RUN);
    assert_int_equal(h.id, 1);

    struct wire_reader reader;
    struct wire_field f;
    cleanup_buf struct gv_buf text = { 0 };
    wire_reader_init(&reader, payload, h.length);
    while (wire_next(&reader, &f) == 1)
        if (f.key == KEY_ARG || f.key == KEY_ENV || f.key == KEY_RLIMIT || f.key == KEY_CWD || f.key == KEY_USER || f.key == KEY_PATH)
            gv_buf_addf(&text, "%u=%.*s;", f.key, (int)f.length, (const char *)f.value);
    assert_string_equal(gv_buf_str(&text), "16=echo;16=hi;17=A=1;17=B=;23=nofile 1 2;18=/bin/e;19=/w;21=u:g;");
    static const struct {
        uint16_t key;
        uint64_t value;
    } numbers[] = { { KEY_TTY, 1 },        { KEY_ROWS, 3 },       { KEY_COLUMNS, 4 }, { KEY_STDIN, WIRE_STDIN_PIPE },
                    { KEY_CWD_CREATE, 1 }, { KEY_DEFAULT_ENV, 1 } };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        assert_int_equal(wire_find_number(payload, h.length, numbers[i].key, 99, &v), 0);
        assert_int_equal(v, numbers[i].value);
    }
}

static void test_builtin_frame(void **state)
{
    struct rig *r = *state;
    static const char *const argv[] = { "/from", "name", NULL };
    const struct vm_process_spec spec = { .argv = argv, .builtin = VM_PACK };
    struct gv_error err = GV_ERROR_INIT;
    struct wire_header h;
    uint8_t payload[1024];
    uint64_t v;
    greet(r);
    assert_int_equal(vm_agent_run(&r->process, r->agent, &spec, &process_events, r, &err), 0);
    assert_int_equal(hear(r, &h, payload, sizeof(payload)), WIRE_RUN);
    assert_int_equal(wire_find_number(payload, h.length, KEY_BUILTIN, 0, &v), 0);
    assert_int_equal(v, WIRE_BUILTIN_PACK);
    assert_int_equal(wire_find_number(payload, h.length, KEY_STDIN, 99, &v), 0);
    assert_int_equal(v, WIRE_STDIN_NULL);
}

static void test_run_too_large(void **state)
{
    struct rig *r = *state;
    struct gv_error err = GV_ERROR_INIT;
    char *large = gv_alloc(WIRE_PAYLOAD_MAX + 1);
    memset(large, 'a', WIRE_PAYLOAD_MAX);
    large[WIRE_PAYLOAD_MAX] = '\0';
    const char *argv[] = { "x", large, NULL };
    const struct vm_process_spec spec = { .argv = argv };
    greet(r);
    assert_int_equal(vm_agent_run(&r->process, r->agent, &spec, &process_events, r, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    large[WIRE_PAYLOAD_MAX - 400] = '\0'; /* this one fits */
    assert_int_equal(vm_agent_run(&r->process, r->agent, &spec, &process_events, r, &err), 0);
    assert_int_equal(hear_type(r), WIRE_RUN);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_greeting),
        TEST(test_greeting_other_version),
        TEST(test_greeting_missing),
        TEST(test_greeting_nonsense),
        TEST(test_greeting_twice),
        TEST(test_end_of_file),
        TEST(test_truncated_frame),
        TEST(test_oversized_frame),
        TEST(test_reserved_bits),
        TEST(test_unknown_id),
        TEST(test_unknown_type),
        TEST(test_broken_note),
        TEST(test_answer_without_errno),
        TEST(test_answer_errno_out_of_range),
        TEST(test_answer_twice),
        TEST(test_output_before_start),
        TEST(test_process_runs),
        TEST(test_hold),
        TEST(test_process_signalled),
        TEST(test_process_fails_to_start),
        TEST(test_exit_twice),
        TEST(test_output_after_exit),
        TEST(test_impossible_exits),
        TEST(test_exit_without_status),
        TEST(test_stream_that_does_not_exist),
        TEST(test_stderr_of_a_terminal),
        TEST(test_empty_output),
        TEST(test_output_too_long),
        TEST(test_two_processes),
        TEST(test_fail_all),
        TEST(test_run_frame),
        TEST(test_builtin_frame),
        TEST(test_run_too_large),
    };
    return cmocka_run_group_tests_name("vm_agent", tests, NULL, NULL);
}
