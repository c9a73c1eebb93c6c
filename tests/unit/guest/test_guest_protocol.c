/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a host may say that makes no sense, and the order of things. */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/agent/agent.h"

static int fresh_setup(void **state)
{
    *state = bench_new();
    return 0;
}

/* The agent goes, without having crashed: bench_free() looks at its exit code. */
static void expect_end(struct bench *b)
{
    struct frame f;
    while (bench_next(b, &f))
        continue;
    assert_true(b->ended);
}

static void hello_first(void **state)
{
    struct bench *b = *state;
    struct frame f;
    uint64_t v;
    struct wire_field field;
    assert_true(bench_next(b, &f));
    assert_int_equal(f.type, WIRE_HELLO);
    assert_int_equal(f.id, 0);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_VERSION_MIN, 0, &v), 0);
    assert_int_equal(v, WIRE_VERSION);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_VERSION_MAX, 0, &v), 0);
    assert_int_equal(v, WIRE_VERSION);
    assert_int_equal(wire_find(f.payload, f.n, KEY_AGENT, &field), 1);
    /* A request before the answer to it. */
    bench_send(b, WIRE_PING, 1, NULL, 0);
    expect_end(b);
    assert_true(b->notes > 0);
}

static void hello_other_version(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct frame f;
    assert_true(bench_next(b, &f));
    request_begin(&q);
    wire_put_number(&q.w, KEY_VERSION, WIRE_VERSION + 1);
    request_send(b, &q, WIRE_HELLO);
    expect_end(b);
}

static void root_needed(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct frame f;
    assert_true(bench_next(b, &f));
    request_begin(&q);
    wire_put_number(&q.w, KEY_VERSION, WIRE_VERSION);
    request_send(b, &q, WIRE_HELLO);
    run_begin(&q, "/bin/true", NULL);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RUN), NULL), ENODEV);
    request_begin(&q);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_PING), NULL), 0);
    request_begin(&q);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_ROOT), NULL), EINVAL);
    request_begin(&q);
    wire_put_text(&q.w, KEY_DISK, "none");
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_ROOT), NULL), ENODEV);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_ROOT), NULL), EALREADY);
}

static void bad_frames(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[WIRE_HEADER];
    } frames[] = {
        { { 0, 0, 0, 0, 27, 0, 1, 0, 1 } },          /* the reserved field */
        { { 0xff, 0xff, 0xff, 0xff, 27, 0, 0, 0 } }, /* 4 GiB */
        { { 1, 0, 16, 0, 27, 0, 0, 0 } },            /* one byte more than is allowed */
        { { 0, 0, 0, 0, 2, 0, 0, 0, 1 } },           /* an ANSWER from the host */
        { { 0, 0, 0, 0, 6, 0, 0, 0, 1 } },           /* an EXIT */
        { { 0, 0, 0, 0, 0, 0, 0, 0, 1 } },           /* no type */
        { { 0, 0, 0, 0, 3, 0, 0, 0, 1 } },           /* DATA without a stream */
        { { 0, 0, 0, 0, 1, 0, 0, 0 } },              /* HELLO again */
    };
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        void *bench;
        bench_setup(&bench);
        struct bench *b = bench;
        assert_int_equal(send(b->fd, frames[i].bytes, WIRE_HEADER, MSG_NOSIGNAL), WIRE_HEADER);
        expect_end(b);
        assert_true(b->notes > 0);
        bench_free(b);
    }
}

static void garbage(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int round = 0; round < 30; round++) {
        void *bench;
        uint8_t bytes[4096];
        bench_setup(&bench);
        struct bench *b = bench;
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)((seed = seed * 6364136223846793005U + 1442695040888963407U) >> 56);
        /* A header that may be read, and nonsense in it: requests of every type. */
        struct wire_header h = { .length = sizeof(bytes) - WIRE_HEADER, .type = (uint16_t)(16 + round % 12), .id = 77 };
        wire_header_put(bytes, &h);
        if (h.type != WIRE_SHUTDOWN) {
            send(b->fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
            struct frame f;
            assert_true(bench_next(b, &f));
            assert_int_equal(f.type, WIRE_ANSWER);
            assert_int_equal(f.id, 77);
        }
        bench_free(b);
    }
}

static void slow_bytes(void **state)
{
    /* Frames may come in any pieces. */
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    run_begin(&q, "/bin/echo", "in pieces", NULL);
    size_t n = wire_frame_end(&q.w, WIRE_RUN, 9);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(send(b->fd, q.buf + i, 1, MSG_NOSIGNAL), 1);
        if (i % 16 == 0)
            usleep(1000);
    }
    assert_int_equal(request_answer(b, 9, NULL), 0);
    run_finish(b, 9, &r);
    assert_string_equal(result_text(&r, 1), "in pieces\n");
    result_clear(&r);
}

static void large_request(void **state)
{
    struct bench *b = *state;
    struct result r;
    uint8_t *p = malloc(WIRE_PAYLOAD_MAX + WIRE_HEADER);
    char big[100001];
    struct wire_writer w;
    assert_non_null(p);
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    memcpy(big, "BIG=", 4);
    wire_frame_begin(&w, p, WIRE_PAYLOAD_MAX + WIRE_HEADER);
    wire_put_text(&w, KEY_ARG, "/bin/sh");
    wire_put_text(&w, KEY_ARG, "-c");
    wire_put_text(&w, KEY_ARG, "echo ${#BIG} $#; sleep 0.2; exit 3");
    wire_put_text(&w, KEY_ARG, "sh");
    for (int i = 0; i < 60000; i++)
        wire_put_text(&w, KEY_ARG, "argument");
    wire_put_text(&w, KEY_ENV, big);
    char user[32];
    snprintf(user, sizeof(user), "%u:%u", geteuid(), getegid());
    wire_put_text(&w, KEY_USER, user);
    size_t n = wire_frame_end(&w, WIRE_RUN, 5);
    assert_true(n > 900000);
    bench_send(b, WIRE_RUN, 5, p + WIRE_HEADER, n - WIRE_HEADER);
    assert_int_equal(request_answer(b, 5, NULL), 0);
    run_finish(b, 5, &r);
    assert_string_equal(result_text(&r, 1), "99996 60000\n");
    assert_int_equal(r.status, 3);
    result_clear(&r);
    free(p);
}

static void ids(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    bench_send(b, WIRE_PING, 0, NULL, 0);
    assert_int_equal(request_answer(b, 0, NULL), EINVAL);
    bench_send(b, 999, 4711, NULL, 0);
    assert_int_equal(request_answer(b, 4711, NULL), ENOSYS);
    run_begin(&q, "/bin/sleep", "0.5", NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    bench_send(b, WIRE_PING, id, NULL, 0);
    assert_int_equal(request_answer(b, id, NULL), EEXIST);
    run_finish(b, id, &r);
    bench_send(b, WIRE_PING, id, NULL, 0);
    assert_int_equal(request_answer(b, id, NULL), 0);
    bench_send(b, WIRE_PING, UINT64_MAX, NULL, 0);
    assert_int_equal(request_answer(b, UINT64_MAX, NULL), 0);
}

static void unknown_processes(void **state)
{
    /* About those that are gone, messages are dropped and requests get ESRCH. */
    struct bench *b = *state;
    struct request_writer q;
    static const uint8_t data[] = { 0, 'x' };
    bench_send(b, WIRE_DATA, 1234, data, sizeof(data));
    bench_send(b, WIRE_CLOSE, 1234, NULL, 0);
    credit_give(b, 1234, 1, 1000);
    request_begin(&q);
    wire_put_number(&q.w, KEY_ID, 1234);
    wire_put_number(&q.w, KEY_ROWS, 1);
    wire_put_number(&q.w, KEY_COLUMNS, 1);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RESIZE), NULL), ESRCH);
}

/* Each request with one of its keys wrong. */
static void wrong_fields(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    static const struct {
        uint16_t type, number; /* the key that is to be a number, 0 = none */
        uint16_t twice;        /* a number or text that may come only once */
        uint16_t needed;
    } cases[] = {
        { WIRE_RUN, KEY_TTY, KEY_CWD, KEY_ARG },         { WIRE_RUN, KEY_GROUP_EXTRA, KEY_USER, KEY_ARG },
        { WIRE_RESIZE, KEY_ID, KEY_ID, KEY_ID },         { WIRE_SIGNAL, KEY_SIGNAL, KEY_SIGNAL, KEY_ID },
        { WIRE_MOUNT, KEY_READONLY, KEY_PATH, KEY_FS },  { WIRE_NET, KEY_MTU, KEY_IFACE, KEY_IFACE },
        { WIRE_CLOCK, KEY_SECONDS, KEY_NANOSECONDS, 0 }, { WIRE_SHUTDOWN, KEY_GRACE, KEY_GRACE, 0 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        request_begin(&q);
        wire_put_text(&q.w, cases[i].number, "1");
        assert_int_equal(request_answer(b, request_send(b, &q, cases[i].type), text), EINVAL);
        assert_non_null(strstr(text, "key "));
        request_begin(&q);
        wire_put_number(&q.w, cases[i].twice, 0x0101010101010101);
        wire_put_number(&q.w, cases[i].twice, 0x0101010101010101);
        assert_int_equal(request_answer(b, request_send(b, &q, cases[i].type), text), EINVAL);
        if (cases[i].needed) {
            request_begin(&q);
            assert_int_equal(request_answer(b, request_send(b, &q, cases[i].type), text), EINVAL);
            assert_non_null(strstr(text, "missing"));
        }
        static const uint8_t broken[] = { 16, 0, 200, 0, 0, 0, 'x' };
        bench_send(b, cases[i].type, 5000, broken, sizeof(broken));
        assert_int_equal(request_answer(b, 5000, text), EPROTO);
    }
    request_begin(&q);
    wire_put_bytes(&q.w, KEY_ARG, "a\0b", 3);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RUN), NULL), EINVAL);
    run_begin(&q, "/bin/true", NULL);
    wire_put_number(&q.w, KEY_ROWS, 65536);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RUN), NULL), EINVAL);
    run_begin(&q, "/bin/true", NULL);
    wire_put_number(&q.w, 60000, 1); /* a key of the future */
    uint64_t id;
    struct result r;
    assert_int_equal(run_send(b, &q, &id), 0);
    run_finish(b, id, &r);
}

static void credit_overflow(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    uint64_t id;
    run_begin(&q, "/bin/sleep", "10", NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    credit_give(b, id, 1, UINT64_MAX);
    expect_end(b);
}

static void jobs(void **state)
{
    /* The bench has no world to enter: the child says so, and its errno comes back. */
    struct bench *b = *state;
    struct request_writer q;
    request_begin(&q);
    wire_put_text(&q.w, KEY_FS, "nothing");
    wire_put_text(&q.w, KEY_PATH, "/x");
    wire_put_text(&q.w, KEY_TAG, "t");
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_MOUNT), NULL), EINVAL);
    static const char *const paths[] = { "/", "", "x", "//", "/.", "/../.." };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        request_begin(&q);
        wire_put_text(&q.w, KEY_FS, "tmpfs");
        wire_put_text(&q.w, KEY_PATH, paths[i]);
        assert_int_equal(request_answer(b, request_send(b, &q, WIRE_MOUNT), NULL), EINVAL);
    }
    request_begin(&q);
    wire_put_text(&q.w, KEY_FS, "ext4");
    wire_put_text(&q.w, KEY_PATH, "/x");
    wire_put_text(&q.w, KEY_TAG, "no-disk");
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_MOUNT), NULL), ENODEV);
}

static void net_nonsense(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    char text[256];
    request_begin(&q);
    wire_put_text(&q.w, KEY_IFACE, "no-such-interface-at-all-with-a-long-name");
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_NET), text), ENODEV);
    request_begin(&q);
    wire_put_text(&q.w, KEY_IFACE, "52:54:00:99:99:99");
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_NET), text), ENODEV);
}

static void statistics(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct frame f;
    uint64_t id, v, total;
    run_begin(&q, "/bin/sleep", "30", NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    request_begin(&q);
    request_send(b, &q, WIRE_STATS);
    assert_true(bench_next(b, &f));
    assert_int_equal(f.type, WIRE_ANSWER);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_ERRNO, 1, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_STAT_PROCESSES, 0, &v), 0);
    assert_int_equal(v, 1);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_STAT_MEM_TOTAL, 0, &total), 0);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_STAT_MEM_AVAILABLE, 0, &v), 0);
    assert_true(v > 0 && v <= total);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_STAT_UPTIME, 0, &v), 0);
    assert_true(v > 0);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_STAT_ROOT_SIZE, 0, &v), 0);
    assert_true(v > 0);
}

static void shutdown_answers(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    run_begin(&q, "/bin/sleep", "0.3", NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    request_begin(&q);
    wire_put_number(&q.w, KEY_GRACE, 5000);
    uint64_t end = request_send(b, &q, WIRE_SHUTDOWN);
    run_begin(&q, "/bin/true", NULL);
    uint64_t late = request_send(b, &q, WIRE_RUN);
    assert_int_equal(request_answer(b, late, NULL), ESHUTDOWN);
    run_finish(b, id, &r); /* its exit comes before the answer */
    assert_int_equal(request_answer(b, end, NULL), 0);
    expect_end(b);
}

static void host_goes(void **state)
{
    struct bench *b = *state;
    shutdown(b->fd, SHUT_RDWR);
    expect_end(b);
}

static void answers_wait_for_a_host_that_does_not_read(void **state)
{
    /* 20000 PINGs without reading an answer: the agent stops reading rather than keep them all; then all are answered. */
    struct bench *b = *state;
    enum { N = 20000 };
    pid_t writer = fork();
    assert_true(writer >= 0);
    if (writer == 0) {
        for (uint64_t i = 1; i <= N; i++)
            bench_send(b, WIRE_PING, i, NULL, 0);
        _exit(0);
    }
    usleep(700000);
    for (uint64_t i = 1; i <= N; i++)
        assert_int_equal(request_answer(b, i, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hello_first, fresh_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(hello_other_version, fresh_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(root_needed, fresh_setup, bench_teardown),
        cmocka_unit_test(bad_frames),
        cmocka_unit_test(garbage),
        cmocka_unit_test_setup_teardown(slow_bytes, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(large_request, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(ids, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(unknown_processes, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(wrong_fields, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(credit_overflow, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(jobs, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(net_nonsense, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(statistics, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(shutdown_answers, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(host_goes, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(answers_wait_for_a_host_that_does_not_read, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests_name("guest_protocol", tests, NULL, NULL);
}
