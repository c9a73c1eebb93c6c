/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The host's end of the agent protocol: credit in both directions, queues that have a limit, requests. */
#include "agent_rig.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_output_credit_is_exact),   TEST(test_output_credit_is_granted_again),
        TEST(test_output_without_end),       TEST(test_stdin_credit),
        TEST(test_stdin_before_start),       TEST(test_stdin_credit_nonsense),
        TEST(test_credit_for_an_output),     TEST(test_input_gone),
        TEST(test_guest_that_does_not_read), TEST(test_requests),
        TEST(test_request_too_large),
    };
    return cmocka_run_group_tests_name("vm_credit", tests, NULL, NULL);
}
