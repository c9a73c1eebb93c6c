/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Streams: every byte in order, credit kept to on both sides, the end told at the right moment, terminals. */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest/agent/agent.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* FNV-1a, of bytes that must not be kept. */
static uint64_t sum_add(uint64_t sum, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ p[i]) * 0x100000001b3;
    return sum;
}

/* Byte i of the stream that `pattern` (below) writes. */
static uint64_t sum_expected(size_t n)
{
    uint64_t sum = 0xcbf29ce484222325;
    char line[16];
    for (size_t i = 0; n; i++) {
        size_t l = (size_t)snprintf(line, sizeof(line), "%zu\n", i + 1);
        l = l > n ? n : l;
        sum = sum_add(sum, (const uint8_t *)line, l);
        n -= l;
    }
    return sum;
}

#define PATTERN "seq 1 100000000 | head -c %zu"

/* Reads a stream of n bytes, giving credit in the way the test wants, and compares. */
static void stream_compare(struct bench *b, size_t n, uint64_t step, unsigned pause_every)
{
    struct request_writer q;
    struct result r = { 0 };
    struct frame f;
    char command[80];
    uint64_t id, sum = 0xcbf29ce484222325, credit = WIRE_CREDIT_START, owed = 0;
    size_t have = 0;
    unsigned frames = 0;
    snprintf(command, sizeof(command), PATTERN, n);
    b->greedy = false;
    run_begin(&q, "/bin/sh", "-c", command, NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    for (;;) {
        assert_true(bench_next(b, &f));
        if (f.type == WIRE_EXIT)
            break;
        assert_int_equal(f.type, WIRE_DATA);
        assert_int_equal(f.payload[0], 1);
        assert_true(f.n - 1 <= credit);
        credit -= f.n - 1;
        have += f.n - 1;
        owed += f.n - 1;
        sum = sum_add(sum, f.payload + 1, f.n - 1);
        if (pause_every && ++frames % pause_every == 0)
            usleep(20000);
        while (owed >= step) {
            credit_give(b, id, 1, step);
            owed -= step;
            credit += step;
        }
    }
    assert_false(run_take(b, id, &r, &f));
    assert_int_equal(r.status, 0);
    assert_int_equal(have, n);
    assert_true(sum == sum_expected(n));
}

static void large_output(void **state)
{
    stream_compare(*state, 50000000, 65536, 0);
}

static void small_credit(void **state)
{
    stream_compare(*state, 3000000, 1000, 0);
}

static void slow_reader(void **state)
{
    stream_compare(*state, 2000000, 40000, 8);
}

static void credit_is_kept(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r = { 0 };
    struct frame f;
    uint64_t id;
    size_t have = 0;
    b->greedy = false;
    run_begin(&q, "/bin/sh", "-c", "head -c 5000000 /dev/zero; head -c 300000 /dev/zero >&2", NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    while (bench_poll(b, &f, 500))
        have += f.n - 1;
    assert_int_equal(have, WIRE_CREDIT_START);
    /* Another process is not held up by it, nor is the other stream once its turn comes. */
    b->greedy = true;
    run_begin(&q, "/bin/echo", "hello", NULL);
    uint64_t other;
    assert_int_equal(run_send(b, &q, &other), 0);
    run_finish(b, other, &r);
    assert_string_equal(result_text(&r, 1), "hello\n");
    result_clear(&r);
    credit_give(b, id, 1, 5000000);
    run_finish(b, id, &r);
    assert_int_equal(r.n[0] + have, 5000000);
    assert_int_equal(r.n[1], 300000);
    result_clear(&r);
}

static void output_before_exit(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 200; i++) {
        struct result r;
        run_shell(b, "head -c 200000 /dev/zero; echo end >&2", &r);
        assert_int_equal(r.n[0], 200000);
        assert_string_equal(result_text(&r, 2), "end\n");
        result_clear(&r);
    }
}

static void background_child(void **state)
{
    struct bench *b = *state;
    struct result r;
    struct frame f;
    char file[] = "/tmp/gvmkit-stream-XXXXXX", command[200];
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    /* The child writes more than a pipe holds after its parent has gone, and says in a file that it survived it. */
    snprintf(command, sizeof(command), "echo first; (sleep 0.3; head -c 500000 /dev/zero && echo alive > %s) & exit 4", file);
    run_shell(b, command, &r);
    assert_int_equal(r.status, 4);
    assert_string_equal(result_text(&r, 1), "first\n");
    result_clear(&r);
    assert_false(bench_poll(b, &f, 800)); /* nothing of it is heard any more */
    char text[16] = "";
    for (int i = 0; i < 50 && !text[0]; i++) {
        if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
            usleep(100000);
    }
    assert_string_equal(text, "alive\n");
    close(fd);
    unlink(file);
}

static void background_holds_nothing(void **state)
{
    double start = now();
    struct result r;
    run_shell(*state, "sleep 30 & echo done", &r);
    assert_string_equal(result_text(&r, 1), "done\n");
    assert_true(now() - start < 15);
    result_clear(&r);
}

/* ---- stdin ------------------------------------------------------------------------------------------------------------------------- */

static void data_send(struct bench *b, uint64_t id, const uint8_t *p, size_t n)
{
    uint8_t frame[1 + WIRE_DATA_MAX] = { 0 };
    memcpy(frame + 1, p, n);
    bench_send(b, WIRE_DATA, id, frame, n + 1);
}

static void echo(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct frame f;
    uint64_t id, credit = WIRE_CREDIT_START, seed = 1;
    size_t sent = 0, have = 0;
    const size_t total = 20000000;
    uint64_t sum_out = 1, sum_in = 1;
    bool closed = false;
    run_begin(&q, "/bin/cat", NULL);
    wire_put_number(&q.w, KEY_STDIN, WIRE_STDIN_PIPE);
    assert_int_equal(run_send(b, &q, &id), 0);
    for (;;) {
        uint8_t chunk[WIRE_DATA_MAX];
        while (sent < total && credit) {
            size_t n = total - sent < sizeof(chunk) ? total - sent : sizeof(chunk);
            n = n > credit ? (size_t)credit : n;
            for (size_t i = 0; i < n; i++)
                chunk[i] = (uint8_t)((seed = seed * 6364136223846793005U + 1442695040888963407U) >> 56);
            sum_out = sum_add(sum_out, chunk, n);
            data_send(b, id, chunk, n);
            sent += n;
            credit -= n;
        }
        if (sent == total && !closed) {
            bench_send(b, WIRE_CLOSE, id, NULL, 0);
            closed = true;
        }
        assert_true(bench_next(b, &f));
        if (f.type == WIRE_EXIT)
            break;
        if (f.type == WIRE_CREDIT) {
            uint64_t v;
            assert_int_equal(wire_find_number(f.payload, f.n, KEY_COUNT, 0, &v), 0);
            credit += v;
            assert_true(credit <= WIRE_CREDIT_START);
            continue;
        }
        assert_int_equal(f.type, WIRE_DATA);
        sum_in = sum_add(sum_in, f.payload + 1, f.n - 1);
        have += f.n - 1;
        credit_give(b, id, 1, f.n - 1);
    }
    assert_int_equal(have, total);
    assert_true(sum_in == sum_out);
}

static void input_closed_at_once(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    run_begin(&q, "/usr/bin/wc", "-c", NULL);
    wire_put_number(&q.w, KEY_STDIN, WIRE_STDIN_PIPE);
    id = request_send(b, &q, WIRE_RUN);
    /* Before the answer: the id is known as soon as the request is sent. */
    data_send(b, id, (const uint8_t *)"12345", 5);
    bench_send(b, WIRE_CLOSE, id, NULL, 0);
    data_send(b, id, (const uint8_t *)"67", 2); /* after the end: dropped */
    assert_int_equal(request_answer(b, id, NULL), 0);
    run_finish(b, id, &r);
    assert_string_equal(result_text(&r, 1), "5\n");
    assert_false(r.gone);
    result_clear(&r);
}

static void input_gone(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r = { 0 };
    struct frame f;
    uint64_t id;
    static uint8_t many[WIRE_DATA_MAX];
    run_begin(&q, "/bin/sh", "-c", "exec 0<&-; sleep 1; echo bye", NULL);
    wire_put_number(&q.w, KEY_STDIN, WIRE_STDIN_PIPE);
    assert_int_equal(run_send(b, &q, &id), 0);
    assert_true(bench_next(b, &f));
    assert_int_equal(f.type, WIRE_INPUT_GONE);
    assert_int_equal(f.id, id);
    for (int i = 0; i < 8; i++)
        data_send(b, id, many, sizeof(many));
    run_finish(b, id, &r);
    assert_string_equal(result_text(&r, 1), "bye\n");
    assert_false(r.gone); /* said once */
    result_clear(&r);
}

static void input_held(void **state)
{
    /* What a program does not read is held up to the credit, and delivered when it reads. */
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    static uint8_t many[WIRE_DATA_MAX];
    run_begin(&q, "/bin/sh", "-c", "sleep 0.5; wc -c", NULL);
    wire_put_number(&q.w, KEY_STDIN, WIRE_STDIN_PIPE);
    assert_int_equal(run_send(b, &q, &id), 0);
    size_t left = WIRE_CREDIT_START;
    while (left) {
        size_t n = left < sizeof(many) ? left : sizeof(many);
        data_send(b, id, many, n);
        left -= n;
    }
    bench_send(b, WIRE_CLOSE, id, NULL, 0);
    run_finish(b, id, &r);
    assert_string_equal(result_text(&r, 1), "262144\n");
    result_clear(&r);
}

static void too_much_input(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct frame f;
    uint64_t id;
    static uint8_t many[WIRE_DATA_MAX];
    run_begin(&q, "/bin/sleep", "30", NULL);
    wire_put_number(&q.w, KEY_STDIN, WIRE_STDIN_PIPE);
    assert_int_equal(run_send(b, &q, &id), 0);
    for (int i = 0; i < 9; i++)
        data_send(b, id, many, sizeof(many));
    assert_false(bench_next(b, &f));
    assert_true(b->ended);
    assert_true(b->notes >= 1);
}

/* ---- terminals --------------------------------------------------------------------------------------------------------------------- */

static bool terminal_possible(void)
{
    if (access("/dev/pts/ptmx", R_OK | W_OK) == 0)
        return true;
    print_message("# skipped: no /dev/pts/ptmx that may be opened here\n");
    return false;
}

/* Takes frames until the output of the terminal holds the word. */
static void terminal_wait(struct bench *b, uint64_t id, struct result *r, const char *word)
{
    struct frame f;
    while (!strstr(result_text(r, 1), word)) {
        assert_true(bench_next(b, &f));
        assert_true(run_take(b, id, r, &f));
    }
}

static void terminal(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r = { 0 };
    uint64_t id;
    if (!terminal_possible())
        return;
    run_begin(&q, "/bin/sh", "-c",
              "stty size; tty; echo $TERM; trap 'stty size; echo changed' WINCH; trap 'echo interrupted; exit 9' INT; echo up; "
              "while :; do sleep 0.05; done",
              NULL);
    wire_put_number(&q.w, KEY_STDIN, WIRE_STDIN_PIPE);
    wire_put_number(&q.w, KEY_TTY, 1);
    wire_put_number(&q.w, KEY_ROWS, 33);
    wire_put_number(&q.w, KEY_COLUMNS, 99);
    wire_put_number(&q.w, KEY_DEFAULT_ENV, 1);
    assert_int_equal(run_send(b, &q, &id), 0);
    terminal_wait(b, id, &r, "up\r\n");
    assert_non_null(strstr(result_text(&r, 1), "33 99\r\n/dev/pts/"));
    assert_non_null(strstr(result_text(&r, 1), "xterm\r\n"));
    request_begin(&q);
    wire_put_number(&q.w, KEY_ID, id);
    wire_put_number(&q.w, KEY_ROWS, 11);
    wire_put_number(&q.w, KEY_COLUMNS, 22);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RESIZE), NULL), 0);
    terminal_wait(b, id, &r, "11 22\r\nchanged");
    data_send(b, id, (const uint8_t *)"\3", 1);
    result_clear(&r);
    run_finish(b, id, &r);
    assert_non_null(strstr(result_text(&r, 1), "interrupted"));
    assert_int_equal(r.status, 9);
    assert_int_equal(r.n[1], 0);
    result_clear(&r);
}

static void terminal_output(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    if (!terminal_possible())
        return;
    for (int i = 0; i < 20; i++) {
        run_begin(&q, "/bin/sh", "-c", "stty -opost; seq 1 30000", NULL);
        wire_put_number(&q.w, KEY_TTY, 1);
        assert_int_equal(run_send(b, &q, &id), 0);
        run_finish(b, id, &r);
        assert_int_equal(r.n[0], 168894);
        assert_string_equal(result_text(&r, 1) + r.n[0] - 6, "30000\n");
        result_clear(&r);
    }
}

static void terminal_end_of_input(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    if (!terminal_possible())
        return;
    run_begin(&q, "/bin/sh", "-c", "stty -echo; echo up; cat; echo over", NULL);
    wire_put_number(&q.w, KEY_STDIN, WIRE_STDIN_PIPE);
    wire_put_number(&q.w, KEY_TTY, 1);
    assert_int_equal(run_send(b, &q, &id), 0);
    memset(&r, 0, sizeof(r));
    terminal_wait(b, id, &r, "up");
    result_clear(&r);
    data_send(b, id, (const uint8_t *)"line\n", 5);
    bench_send(b, WIRE_CLOSE, id, NULL, 0);
    run_finish(b, id, &r);
    assert_non_null(strstr(result_text(&r, 1), "line\r\nover\r\n"));
    result_clear(&r);
}

static void resize_without_terminal(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    run_begin(&q, "/bin/sleep", "0.5", NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    request_begin(&q);
    wire_put_number(&q.w, KEY_ID, id);
    wire_put_number(&q.w, KEY_ROWS, 1);
    wire_put_number(&q.w, KEY_COLUMNS, 1);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RESIZE), NULL), ENOTTY);
    run_finish(b, id, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(large_output, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(small_credit, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(slow_reader, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(credit_is_kept, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(output_before_exit, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(background_child, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(background_holds_nothing, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(echo, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(input_closed_at_once, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(input_gone, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(input_held, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(too_much_input, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(terminal, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(terminal_output, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(terminal_end_of_input, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(resize_without_terminal, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests_name("guest_stream", tests, NULL, NULL);
}
