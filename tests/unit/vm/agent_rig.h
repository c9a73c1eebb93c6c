/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The host's end of the agent protocol on a test bench: a guest made of bytes, and callbacks that write down what they are told. */
#ifndef GV_TESTS_AGENT_RIG_H
#define GV_TESTS_AGENT_RIG_H

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

static inline void on_hello(void *user, const char *version)
{
    struct rig *r = user;
    gv_buf_addf(&r->events, "hello %s;", version);
}

static inline void on_broken(void *user, const struct gv_error *why)
{
    struct rig *r = user;
    r->broken = *why;
    gv_buf_addf(&r->events, "broken;");
}

static inline void on_started(void *user, struct vm_process *p)
{
    struct rig *r = user;
    gv_buf_addf(&r->events, "started %llu;", (unsigned long long)p->entry.id);
}

static inline void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    struct rig *r = user;
    gv_buf_addf(&r->events, "failed %llu %d %s;", (unsigned long long)p->entry.id, err->sys, err->msg);
}

static inline void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct rig *r = user;
    if (n <= 32)
        gv_buf_addf(&r->events, "out %d %.*s;", stream, (int)n, (const char *)data);
    else
        gv_buf_addf(&r->events, "out %d %zu bytes;", stream, n);
    if (r->consume)
        vm_process_consumed(p, stream, n);
}

static inline void on_writable(void *user, struct vm_process *p)
{
    struct rig *r = user;
    (void)p;
    r->writable++;
}

static inline void on_input_gone(void *user, struct vm_process *p)
{
    struct rig *r = user;
    (void)p;
    gv_buf_addf(&r->events, "input gone;");
}

static inline void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    struct rig *r = user;
    gv_buf_addf(&r->events, "exited %llu %s%s %d;", (unsigned long long)p->entry.id, e->signalled ? "signal" : "code",
                e->dumped ? " core" : "", e->status);
}

static const struct vm_process_events process_events = { on_started, on_failed, on_output, on_writable, on_input_gone, on_exited };

static inline void on_agent_closed(void *user)
{
    ((struct rig *)user)->closed = true;
}

static inline void turn(struct rig *r)
{
    for (int i = 0; i < 4; i++)
        uv_run(&r->loop, UV_RUN_NOWAIT);
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void say_raw(struct rig *r, const void *p, size_t n)
{
    assert_int_equal(send(r->guest, p, n, MSG_NOSIGNAL), (ssize_t)n);
    turn(r);
}

/* A frame of number fields: key, value pairs, ended by key 0. */
static inline void say(struct rig *r, uint16_t type, uint64_t id, ...)
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

static inline void say_data(struct rig *r, uint64_t id, uint8_t stream, size_t n)
{
    uint8_t *frame = gv_calloc(1, WIRE_HEADER + 1 + n);
    wire_header_put(frame, &(struct wire_header){ .length = (uint32_t)n + 1, .type = WIRE_DATA, .id = id });
    frame[WIRE_HEADER] = stream;
    memset(frame + WIRE_HEADER + 1, 'x', n);
    say_raw(r, frame, WIRE_HEADER + 1 + n);
    free(frame);
}

/* Reads one frame from the host; its type, 0 when there is none. */
static inline int hear(struct rig *r, struct wire_header *h, uint8_t *payload, size_t size)
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

static inline int hear_type(struct rig *r)
{
    struct wire_header h;
    static uint8_t payload[WIRE_PAYLOAD_MAX];
    return hear(r, &h, payload, sizeof(payload));
}

static inline void greet(struct rig *r)
{
    say(r, WIRE_HELLO, 0, KEY_VERSION_MIN, N(1), KEY_VERSION_MAX, N(WIRE_VERSION), 0);
    assert_int_equal(hear_type(r), r->greeted ? 0 : WIRE_HELLO);
    r->greeted = true;
}

static const char *const echo_argv[] = { "echo", "hi", NULL };

static inline void run_process(struct rig *r, bool stdin_open, bool tty)
{
    const struct vm_process_spec spec = { .argv = echo_argv, .stdin_open = stdin_open, .tty = tty };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(vm_agent_run(&r->process, r->agent, &spec, &process_events, r, &err), 0);
    assert_int_equal(hear_type(r), WIRE_RUN);
}

/* Greeted, and one process is running with the id 1. */
static inline void begin(struct rig *r, bool stdin_open, bool tty)
{
    greet(r);
    run_process(r, stdin_open, tty);
    say(r, WIRE_ANSWER, 1, KEY_ERRNO, N(0), 0);
    assert_string_equal(gv_buf_str(&r->events), "hello ;started 1;");
    r->events.len = 0;
}

static inline void assert_events(struct rig *r, const char *expected)
{
    assert_string_equal(gv_buf_str(&r->events), expected);
}

static inline void assert_broken(struct rig *r, const char *part)
{
    assert_int_equal(r->broken.code, GV_E_PROTOCOL);
    if (!strstr(r->broken.msg, part))
        fail_msg("`%s` does not say `%s`", r->broken.msg, part);
    assert_non_null(strstr(gv_buf_str(&r->events), "broken;"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
