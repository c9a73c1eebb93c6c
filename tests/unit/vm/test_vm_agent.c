/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The host's end of the agent protocol against a guest made of bytes: what it does with a good one, and with every kind of bad one. */
#include "vm_test.h"

#include "vm/agent.h"

struct rig {
    uv_loop_t loop;
    int guest; /* the guest's end of the channel */
    struct vm_agent *agent;
    struct gv_buf events; /* what the callbacks said, "word ...;" each */
    struct vm_process *process;
    struct gv_error broken;
    bool consume; /* give credit back at once */
    bool closed, greeted;
    unsigned writable, answers;
};

static void on_hello(void *user, const char *version)
{
    struct rig *r = user;
    gv_buf_addf(&r->events, "hello %s;", version);
}

static void on_broken(void *user, const struct gv_error *why)
{
    struct rig *r = user;
    r->broken = *why;
    gv_buf_addf(&r->events, "broken;");
}

static void on_started(void *user, struct vm_process *p)
{
    struct rig *r = user;
    gv_buf_addf(&r->events, "started %llu;", (unsigned long long)p->entry.id);
}

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    struct rig *r = user;
    gv_buf_addf(&r->events, "failed %llu %d %s;", (unsigned long long)p->entry.id, err->sys, err->msg);
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct rig *r = user;
    if (n <= 32)
        gv_buf_addf(&r->events, "out %d %.*s;", stream, (int)n, (const char *)data);
    else
        gv_buf_addf(&r->events, "out %d %zu bytes;", stream, n);
    if (r->consume)
        vm_process_consumed(p, stream, n);
}

static void on_writable(void *user, struct vm_process *p)
{
    struct rig *r = user;
    (void)p;
    r->writable++;
}

static void on_input_gone(void *user, struct vm_process *p)
{
    struct rig *r = user;
    (void)p;
    gv_buf_addf(&r->events, "input gone;");
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    struct rig *r = user;
    gv_buf_addf(&r->events, "exited %llu %s%s %d;", (unsigned long long)p->entry.id, e->signalled ? "signal" : "code",
                e->dumped ? " core" : "", e->status);
}

static const struct vm_process_events process_events = { on_started, on_failed, on_output, on_writable, on_input_gone, on_exited };

static void on_agent_closed(void *user)
{
    ((struct rig *)user)->closed = true;
}

static void turn(struct rig *r)
{
    for (int i = 0; i < 4; i++)
        uv_run(&r->loop, UV_RUN_NOWAIT);
}

static int setup(void **state)
{
    static const struct vm_agent_events events = { on_hello, on_broken };
    struct rig *r = gv_new(struct rig);
    int pair[2];
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    r->guest = pair[1];
    fcntl(r->guest, F_SETFL, O_NONBLOCK);
    assert_int_equal(vm_agent_open(&r->agent, &r->loop, pair[0], &events, r, NULL, &err), 0);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    vm_agent_close(r->agent, on_agent_closed);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    bool ok = r->closed && uv_loop_close(&r->loop) == 0;
    if (r->guest >= 0)
        close(r->guest);
    gv_buf_clear(&r->events);
    free(r);
    return ok ? 0 : -1;
}

/* ---- the guest's side ------------------------------------------------------------------------------------------------------------ */

static void say_raw(struct rig *r, const void *p, size_t n)
{
    assert_int_equal(send(r->guest, p, n, MSG_NOSIGNAL), (ssize_t)n);
    turn(r);
}

/* A frame of number fields: key, value pairs, ended by key 0. */
static void say(struct rig *r, uint16_t type, uint64_t id, ...)
{
    uint8_t frame[512];
    struct wire_writer w;
    va_list ap;
    wire_frame_begin(&w, frame, sizeof(frame));
    va_start(ap, id);
    for (int key; (key = va_arg(ap, int));)
        wire_put_number(&w, (uint16_t)key, va_arg(ap, uint64_t));
    va_end(ap);
    say_raw(r, frame, wire_frame_end(&w, type, id));
}
#define N(v) ((uint64_t)(v))

static void say_data(struct rig *r, uint64_t id, uint8_t stream, size_t n)
{
    uint8_t *frame = gv_calloc(1, WIRE_HEADER + 1 + n);
    wire_header_put(frame, &(struct wire_header){ .length = (uint32_t)n + 1, .type = WIRE_DATA, .id = id });
    frame[WIRE_HEADER] = stream;
    memset(frame + WIRE_HEADER + 1, 'x', n);
    say_raw(r, frame, WIRE_HEADER + 1 + n);
    free(frame);
}

/* Reads one frame from the host; its type, 0 when there is none. */
static int hear(struct rig *r, struct wire_header *h, uint8_t *payload, size_t size)
{
    uint8_t head[WIRE_HEADER];
    turn(r);
    ssize_t n = recv(r->guest, head, sizeof(head), 0);
    if (n <= 0)
        return 0;
    assert_int_equal(n, WIRE_HEADER);
    assert_int_equal(wire_header_get(h, head, WIRE_PAYLOAD_MAX), 0);
    assert_true(h->length <= size);
    size_t got = 0;
    while (got < h->length) {
        n = recv(r->guest, payload + got, h->length - got, 0);
        assert_true(n > 0);
        got += (size_t)n;
        turn(r);
    }
    return h->type;
}

static int hear_type(struct rig *r)
{
    struct wire_header h;
    static uint8_t payload[WIRE_PAYLOAD_MAX];
    return hear(r, &h, payload, sizeof(payload));
}

static void greet(struct rig *r)
{
    say(r, WIRE_HELLO, 0, KEY_VERSION_MIN, N(1), KEY_VERSION_MAX, N(WIRE_VERSION), 0);
    assert_int_equal(hear_type(r), r->greeted ? 0 : WIRE_HELLO);
    r->greeted = true;
}

static const char *const echo_argv[] = { "echo", "hi", NULL };

static void run_process(struct rig *r, bool stdin_open, bool tty)
{
    const struct vm_process_spec spec = { .argv = echo_argv, .stdin_open = stdin_open, .tty = tty };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(vm_agent_run(&r->process, r->agent, &spec, &process_events, r, &err), 0);
    assert_int_equal(hear_type(r), WIRE_RUN);
}

/* Greeted, and one process is running with the id 1. */
static void begin(struct rig *r, bool stdin_open, bool tty)
{
    greet(r);
    run_process(r, stdin_open, tty);
    say(r, WIRE_ANSWER, 1, KEY_ERRNO, N(0), 0);
    assert_string_equal(gv_buf_str(&r->events), "hello ;started 1;");
    r->events.len = 0;
}

static void assert_events(struct rig *r, const char *expected)
{
    assert_string_equal(gv_buf_str(&r->events), expected);
}

static void assert_broken(struct rig *r, const char *part)
{
    assert_int_equal(r->broken.code, GV_E_PROTOCOL);
    if (!strstr(r->broken.msg, part))
        fail_msg("`%s` does not say `%s`", r->broken.msg, part);
    assert_non_null(strstr(gv_buf_str(&r->events), "broken;"));
}

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
    assert_events(r, "hello ;failed 1 2 no \\x1b[31mred\\x0a file;");
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
        if (f.key == KEY_ARG || f.key == KEY_ENV || f.key == KEY_RLIMIT || f.key == KEY_CWD || f.key == KEY_USER)
            gv_buf_addf(&text, "%u=%.*s;", f.key, (int)f.length, (const char *)f.value);
    assert_string_equal(gv_buf_str(&text), "16=echo;16=hi;17=A=1;17=B=;23=nofile 1 2;19=/w;21=u:g;");
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

/* ---- credit ---------------------------------------------------------------------------------------------------------------------- */

/* Sends n bytes of stdout in frames; the last turn shows how it went. */
static void flood(struct rig *r, size_t n)
{
    for (size_t part; n; n -= part) {
        part = n < WIRE_DATA_MAX ? n : WIRE_DATA_MAX;
        say_data(r, 1, 1, part);
    }
}

static void test_output_credit_is_exact(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    flood(r, WIRE_CREDIT_START);
    assert_int_equal(r->broken.code, GV_OK);
    assert_int_equal(hear_type(r), 0); /* nothing was consumed, so nothing is granted */
    say_data(r, 1, 1, 1);
    assert_broken(r, "more output than it had credit for");
}

static void test_output_credit_is_granted_again(void **state)
{
    struct rig *r = *state;
    struct wire_header h;
    uint8_t payload[64];
    uint64_t stream, count;
    begin(r, false, false);
    flood(r, WIRE_CREDIT_START);
    vm_process_consumed(r->process, 1, WIRE_CREDIT_START / 4 - 1);
    assert_int_equal(hear_type(r), 0); /* too little for a message */
    vm_process_consumed(r->process, 1, 1);
    assert_int_equal(hear(r, &h, payload, sizeof(payload)), WIRE_CREDIT);
    assert_int_equal(h.id, 1);
    assert_int_equal(wire_find_number(payload, h.length, KEY_STREAM, 99, &stream), 0);
    assert_int_equal(wire_find_number(payload, h.length, KEY_COUNT, 99, &count), 0);
    assert_int_equal(stream, 1);
    assert_int_equal(count, WIRE_CREDIT_START / 4 + WIRE_CREDIT_START); /* and the limit has doubled */
    uint64_t window = count;
    vm_process_consumed(r->process, 1, SIZE_MAX); /* no more than what was handed out is ever granted */
    assert_int_equal(hear(r, &h, payload, sizeof(payload)), WIRE_CREDIT);
    assert_int_equal(wire_find_number(payload, h.length, KEY_COUNT, 99, &count), 0);
    assert_int_equal(count, WIRE_CREDIT_START - WIRE_CREDIT_START / 4 + 2 * WIRE_CREDIT_START);
    window += count;
    assert_int_equal(window, VM_OUTPUT_MAX);
    flood(r, VM_OUTPUT_MAX);
    assert_int_equal(r->broken.code, GV_OK);
    vm_process_consumed(r->process, 1, VM_OUTPUT_MAX); /* the limit does not grow any more */
    assert_int_equal(hear(r, &h, payload, sizeof(payload)), WIRE_CREDIT);
    assert_int_equal(wire_find_number(payload, h.length, KEY_COUNT, 99, &count), 0);
    assert_int_equal(count, VM_OUTPUT_MAX);
    flood(r, VM_OUTPUT_MAX);
    assert_int_equal(r->broken.code, GV_OK);
    say_data(r, 1, 1, 1);
    assert_broken(r, "more output than it had credit for");
}

static void test_output_without_end(void **state)
{
    struct rig *r = *state;
    begin(r, false, false);
    r->consume = true;
    uint64_t granted = WIRE_CREDIT_START, sent = 0;
    struct wire_header h;
    uint8_t payload[64];
    for (int i = 0; i < 400; i++) {
        while (hear(r, &h, payload, sizeof(payload)) == WIRE_CREDIT) {
            uint64_t count = 0;
            assert_int_equal(wire_find_number(payload, h.length, KEY_COUNT, 0, &count), 0);
            granted += count;
        }
        assert_true(granted - sent >= WIRE_DATA_MAX);
        say_data(r, 1, 1, WIRE_DATA_MAX);
        sent += WIRE_DATA_MAX;
        r->events.len = 0;
    }
    assert_int_equal(r->broken.code, GV_OK);
}

static void test_stdin_credit(void **state)
{
    struct rig *r = *state;
    static uint8_t data[WIRE_CREDIT_START + 1000];
    begin(r, true, false);
    size_t took = 0, got = 0;
    struct wire_header h;
    static uint8_t payload[WIRE_PAYLOAD_MAX];
    took = vm_process_write(r->process, data, sizeof(data));
    assert_int_equal(took, WIRE_CREDIT_START);
    assert_int_equal(vm_process_write(r->process, data, 1), 0);
    while (got < took) {
        assert_int_equal(hear(r, &h, payload, sizeof(payload)), WIRE_DATA);
        assert_true(h.length <= WIRE_DATA_MAX + 1);
        assert_int_equal(payload[0], 0);
        got += h.length - 1;
    }
    assert_int_equal(got, took);
    assert_int_equal(r->writable, 0);
    say(r, WIRE_CREDIT, 1, KEY_STREAM, N(0), KEY_COUNT, N(10), 0);
    assert_int_equal(r->writable, 1);
    assert_int_equal(vm_process_write(r->process, data, 1000), 10);
    vm_process_close_stdin(r->process);
    assert_int_equal(vm_process_write(r->process, data, 1), 0);
    assert_int_equal(hear_type(r), WIRE_DATA);
    assert_int_equal(hear_type(r), WIRE_CLOSE);
    vm_process_close_stdin(r->process);
    assert_int_equal(hear_type(r), 0);
}

static void test_stdin_before_start(void **state)
{
    struct rig *r = *state;
    greet(r);
    run_process(r, true, false);
    assert_int_equal(vm_process_write(r->process, "abc", 3), 0);
    say(r, WIRE_ANSWER, 1, KEY_ERRNO, N(0), 0);
    assert_int_equal(r->writable, 1);
    assert_int_equal(vm_process_write(r->process, "abc", 3), 3);
    assert_int_equal(hear_type(r), WIRE_DATA);
}

static void test_stdin_credit_nonsense(void **state)
{
    struct rig *r = *state;
    begin(r, true, false);
    say(r, WIRE_CREDIT, 1, KEY_STREAM, N(0), KEY_COUNT, UINT64_MAX, 0);
    assert_broken(r, "more credit");
}

static void test_credit_for_an_output(void **state)
{
    struct rig *r = *state;
    begin(r, true, false);
    say(r, WIRE_CREDIT, 1, KEY_STREAM, N(1), KEY_COUNT, N(1), 0);
    assert_broken(r, "broken credit");
}

static void test_input_gone(void **state)
{
    struct rig *r = *state;
    begin(r, true, false);
    say(r, WIRE_INPUT_GONE, 1, 0);
    assert_events(r, "input gone;");
    assert_int_equal(vm_process_write(r->process, "abc", 3), 0);
    say(r, WIRE_INPUT_GONE, 1, 0);
    assert_broken(r, "twice");
}

/* A guest that reads nothing: what is queued for it has a limit, and the end is told from the loop, not from inside the call. */
static void test_guest_that_does_not_read(void **state)
{
    struct rig *r = *state;
    struct gv_error err = GV_ERROR_INIT;
    char *large = gv_alloc(900001);
    memset(large, 'a', 900000);
    large[900000] = '\0';
    const char *argv[] = { "x", large, NULL };
    const struct vm_process_spec spec = { .argv = argv };
    greet(r);
    int status = 0, started = 0;
    for (; status == 0 && started < 100; started++)
        status = vm_agent_run(&r->process, r->agent, &spec, &process_events, r, &err);
    assert_int_equal(status, -1);
    assert_int_equal(err.code, GV_E_BUSY);
    assert_true(started < 15);
    free(large);
    /* Signals are queued beyond that limit, but not without one. */
    for (int i = 0; i < 100000; i++)
        vm_process_signal(r->process, 15, false);
    assert_true(vm_agent_queued(r->agent) < 2 * (size_t)AGENT_QUEUE_MAX);
    assert_int_equal(r->broken.code, GV_OK);
}

static void on_answer(void *user, const struct gv_error *failed, const void *payload, size_t n)
{
    struct rig *r = user;
    (void)payload, (void)n;
    gv_buf_addf(&r->events, "answer %s;", failed ? failed->msg : "ok");
}

static void test_requests(void **state)
{
    struct rig *r = *state;
    uint8_t frame[64];
    struct wire_writer w;
    struct gv_error err = GV_ERROR_INIT;
    greet(r);
    for (int i = 0; i < 3; i++) {
        wire_frame_begin(&w, frame, sizeof(frame));
        assert_int_equal(vm_agent_request(r->agent, &w, WIRE_PING, on_answer, r, &err), 0);
        assert_int_equal(hear_type(r), WIRE_PING);
    }
    say(r, WIRE_ANSWER, 3, KEY_ERRNO, N(0), 0); /* in any order */
    say(r, WIRE_ANSWER, 1, KEY_ERRNO, N(EIO), 0);
    assert_events(r, "hello ;answer ok;answer the guest refused: Input/output error;");
    say(r, WIRE_DATA, 2, 0);
    assert_broken(r, "something else than the answer");
    gv_error_set(&err, GV_E_DIED, 0, "gone");
    vm_agent_fail_all(r->agent, &err);
    assert_non_null(strstr(gv_buf_str(&r->events), "broken;answer gone;"));
}

static void test_request_too_large(void **state)
{
    struct rig *r = *state;
    uint8_t frame[32];
    struct wire_writer w;
    struct gv_error err = GV_ERROR_INIT;
    greet(r);
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_text(&w, KEY_PATH, "longer than the frame");
    assert_int_equal(vm_agent_request(r->agent, &w, WIRE_MOUNT, on_answer, r, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
        TEST(test_run_too_large),
        TEST(test_output_credit_is_exact),
        TEST(test_output_credit_is_granted_again),
        TEST(test_output_without_end),
        TEST(test_stdin_credit),
        TEST(test_stdin_before_start),
        TEST(test_stdin_credit_nonsense),
        TEST(test_credit_for_an_output),
        TEST(test_input_gone),
        TEST(test_guest_that_does_not_read),
        TEST(test_requests),
        TEST(test_request_too_large),
    };
    return cmocka_run_group_tests_name("vm_agent", tests, NULL, NULL);
}
