/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What waits for the supervisor: order, growth, and what a slow or absent reader costs. */
#include "exeunit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "exeunit/outbox.h"
#include "exeunit/pb.h"

struct rig {
    uv_loop_t loop;
    struct outbox box;
    int reader;
    size_t sent[3], moved;
};

static void on_sent(void *user, uint64_t pid, int stream, size_t n)
{
    struct rig *r = user;
    assert_int_equal(pid, 7);
    r->sent[stream] += n;
}

static void on_moved(void *user)
{
    struct rig *r = user;
    r->moved++;
}

static int setup(void **state)
{
    struct rig *r = gv_new(struct rig);
    int fds[2];
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&r->loop) < 0 || pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    r->reader = fds[0];
    r->box.sent = on_sent;
    r->box.moved = on_moved;
    r->box.user = r;
    outbox_open(&r->box, &r->loop, fds[1]);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    outbox_close(&r->box);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&r->loop);
    if (r->reader >= 0)
        close(r->reader);
    free(r);
    return status;
}

static void turn(struct rig *r)
{
    uv_run(&r->loop, UV_RUN_NOWAIT);
}

/* Reads everything, letting the box write, until nothing waits. */
static struct gv_buf drain(struct rig *r)
{
    struct gv_buf all = { 0 };
    fcntl(r->reader, F_SETFL, O_NONBLOCK);
    for (int idle = 0; idle < 3;) {
        char chunk[10000];
        turn(r);
        ssize_t n = read(r->reader, chunk, sizeof(chunk));
        if (n > 0)
            gv_buf_add(&all, chunk, (size_t)n);
        idle = n > 0 || r->box.first ? 0 : idle + 1;
    }
    assert_null(r->box.first);
    assert_int_equal(r->box.held, 0);
    return all;
}

/* The sizes of the frames in b, and that they end with it. */
static size_t count_frames(const struct gv_buf *b, size_t *largest)
{
    size_t count = 0;
    *largest = 0;
    for (size_t at = 0; at < b->len; count++) {
        uint64_t length;
        size_t used;
        assert_int_equal(pb_varint_get(b->data + at, b->len - at, &length, &used), 1);
        at += used + (size_t)length;
        assert_true(at <= b->len);
        if (length > *largest)
            *largest = (size_t)length;
    }
    return count;
}

static void put_frame(struct rig *r, const char *text)
{
    struct gv_buf b = { .data = (unsigned char *)(uintptr_t)text, .len = strlen(text) };
    outbox_put(&r->box, &b);
}

static void test_order_and_growth(void **state)
{
    struct rig *r = *state;
    outbox_put_output(&r->box, 7, 1, "ab", 2);
    outbox_put_output(&r->box, 7, 1, "cd", 2);
    outbox_put_output(&r->box, 7, 2, "ef", 2);
    put_frame(r, "FRAME");
    outbox_put_output(&r->box, 7, 1, "gh", 2);
    assert_int_equal(r->sent[1], 0); /* nothing before the turn ends */
    cleanup_buf struct gv_buf all = drain(r), want = { 0 };
    uint8_t head[PROTO_OUTPUT_HEADER];
    gv_buf_add(&want, head, proto_output_header(head, 7, 1, 4));
    gv_buf_add(&want, "abcd", 4);
    gv_buf_add(&want, head, proto_output_header(head, 7, 2, 2));
    gv_buf_add(&want, "ef", 2);
    gv_buf_add(&want, "FRAME", 5);
    gv_buf_add(&want, head, proto_output_header(head, 7, 1, 2));
    gv_buf_add(&want, "gh", 2);
    assert_int_equal(all.len, want.len);
    assert_memory_equal(all.data, want.data, want.len);
    assert_int_equal(r->sent[1], 6);
    assert_int_equal(r->sent[2], 2);
    assert_true(r->moved > 0);
}

/* Bytes put in by the ten thousand leave in chunks of at most OUTBOX_CHUNK, all of them, however slowly they are read. */
static void test_slow_reader(void **state)
{
    struct rig *r = *state;
    static uint8_t data[40000];
    size_t total = 0;
    for (int i = 0; i < 100; i++) {
        size_t n = 100 + (size_t)i * 397;
        outbox_put_output(&r->box, 7, 1, data, n);
        total += n;
        if (i % 7 == 0)
            turn(r);
    }
    assert_true(r->sent[1] < total); /* the pipe is full */
    assert_true(r->box.held > 0 && r->box.held < 3 * total);
    cleanup_buf struct gv_buf all = drain(r);
    size_t largest, count = count_frames(&all, &largest);
    assert_int_equal(r->sent[1], total);
    assert_true(largest > OUTBOX_CHUNK / 2 && largest <= OUTBOX_CHUNK + PROTO_OUTPUT_HEADER);
    assert_true(count < 60);
}

/* What a slow writer says is there soon, in one event; what is followed by something else goes at once. */
static void test_little_output_waits(void **state)
{
    struct rig *r = *state;
    char chunk[100];
    fcntl(r->reader, F_SETFL, O_NONBLOCK);
    outbox_put_output(&r->box, 7, 1, "a", 1);
    turn(r);
    outbox_put_output(&r->box, 7, 1, "b", 1);
    turn(r);
    put_frame(r, "FRAME");
    turn(r);
    ssize_t n = read(r->reader, chunk, sizeof(chunk));
    assert_true(n > 8);
    assert_memory_equal(chunk + n - 7, "abFRAME", 7);
    outbox_put_output(&r->box, 7, 1, "c", 1);
    uint64_t begin = uv_hrtime();
    while (read(r->reader, chunk, sizeof(chunk)) < 0)
        turn(r);
    assert_true(uv_hrtime() - begin < 5000000000U);
}

static void test_large_output_is_cut(void **state)
{
    struct rig *r = *state;
    static uint8_t data[300000];
    outbox_put_output(&r->box, 7, 2, data, sizeof(data));
    cleanup_buf struct gv_buf all = drain(r);
    size_t largest;
    assert_int_equal(count_frames(&all, &largest), 5);
    assert_true(largest <= OUTBOX_CHUNK + PROTO_OUTPUT_HEADER);
    assert_int_equal(r->sent[2], sizeof(data));
}

/* Everything counts as sent when nobody is there any more, so that no process waits. */
static void test_reader_gone(void **state)
{
    struct rig *r = *state;
    static uint8_t data[50000];
    close(r->reader);
    r->reader = -1;
    put_frame(r, "FRAME");
    outbox_put_output(&r->box, 7, 1, data, sizeof(data));
    turn(r);
    turn(r);
    assert_int_equal(r->box.error, EPIPE);
    outbox_put_output(&r->box, 7, 1, data, sizeof(data));
    turn(r);
    assert_true(r->moved > 0);
    assert_true(r->sent[1] >= sizeof(data));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order_and_growth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_little_output_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_output_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reader_gone, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
