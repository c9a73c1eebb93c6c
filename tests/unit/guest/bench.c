/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/agent/agent.h"

#define BENCH_WAIT_MS 20000

/* ---- what a virtual machine has, and the bench has not --------------------------------------------------------------------------- */

int boot_port(void)
{
    return -1;
}

void boot_world(void)
{
}

void boot_die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    _exit(99);
}

void boot_power_off(void)
{
    _exit(0);
}

void root_mount(struct agent *a, uint64_t id, const struct root *root)
{
    struct report r = { 0 };
    if (strcmp(root->disks.v[0], "none") == 0)
        report_set(&r, ENODEV, "no such disk");
    a->payload.rooted = r.error == 0;
    a->payload.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    a->payload.terminals = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
    a->payload.upper = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
    channel_answer(a, id, &r);
}

int root_disk(const char *serial, char *node, size_t size, struct report *r)
{
    (void)node;
    (void)size;
    return report_set(r, ENODEV, "no disk '%s'", serial);
}

void payload_died(struct agent *a, int status)
{
    (void)a;
    (void)status;
}

int payload_enter(struct agent *a, struct report *r)
{
    (void)a;
    return report_set(r, EPERM, "the bench has no payload's world");
}

/* ---- the agent ------------------------------------------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void agent_main(int fd)
{
    static struct agent agent;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (agent_init(&agent) < 0 || channel_open(&agent, fd) < 0)
        _exit(98);
    agent_loop(&agent);
    _exit(0);
}

struct bench *bench_new(void)
{
    struct bench *b = calloc(1, sizeof(*b));
    int fd[2];
    assert_non_null(b);
    /* What the agent leaves behind comes to us, so that it can be ended. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    fflush(NULL);
    b->agent = fork();
    assert_true(b->agent >= 0);
    if (b->agent == 0) {
        close(fd[0]);
        fcntl(fd[1], F_SETFL, O_NONBLOCK);
        agent_main(fd[1]);
    }
    close(fd[1]);
    b->fd = fd[0];
    b->greedy = true;
    b->in_size = 1 << 18;
    b->in = malloc(b->in_size);
    assert_non_null(b->in);
    return b;
}

static void kill_children(void)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    for (int i = 0; i < 100; i++) {
        FILE *f = fopen(path, "r");
        int pid, n = 0;
        while (f && fscanf(f, "%d", &pid) == 1) {
            kill(pid, SIGKILL);
            n++;
        }
        if (f)
            fclose(f);
        if (n == 0)
            return;
        while (waitpid(-1, NULL, 0) > 0)
            continue;
    }
}

void bench_free(struct bench *b)
{
    int status = 0;
    close(b->fd);
    kill(b->agent, SIGTERM);
    /* An agent that has been greeted ends by itself when the host has gone. */
    for (int i = 0; i < 20 && waitpid(b->agent, &status, WNOHANG) == 0; i++) {
        if (i == 19) {
            kill(b->agent, SIGKILL);
            waitpid(b->agent, NULL, 0);
            status = 0;
        }
        usleep(50000);
    }
    kill_children();
    /* A sanitizer's complaint is an exit code; SIGTERM is ours. */
    if (WIFEXITED(status))
        assert_int_equal(WEXITSTATUS(status), 0);
    else
        assert_int_equal(WTERMSIG(status) == SIGTERM || status == 0, 1);
    free(b->in);
    free(b);
}

int bench_setup(void **state)
{
    struct bench *b = bench_new();
    struct frame f;
    struct request_writer q;
    assert_true(bench_next(b, &f));
    assert_int_equal(f.type, WIRE_HELLO);
    request_begin(&q);
    wire_put_number(&q.w, KEY_VERSION, WIRE_VERSION);
    bench_send(b, WIRE_HELLO, 0, q.buf + WIRE_HEADER, (size_t)(q.w.at - q.buf) - WIRE_HEADER);
    request_begin(&q);
    wire_put_text(&q.w, KEY_DISK, "disk");
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_ROOT), NULL), 0);
    *state = b;
    return 0;
}

int bench_teardown(void **state)
{
    bench_free(*state);
    return 0;
}

/* ---- frames ---------------------------------------------------------------------------------------------------------------------- */

static void bench_write(struct bench *b, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t put = send(b->fd, p, n, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && (errno == EPIPE || errno == ECONNRESET))
            return;
        assert_true(put > 0);
        p += put;
        n -= (size_t)put;
    }
}

void bench_send(struct bench *b, uint16_t type, uint64_t id, const void *payload, size_t n)
{
    uint8_t head[WIRE_HEADER];
    struct wire_header h = { .length = (uint32_t)n, .type = type, .id = id };
    wire_header_put(head, &h);
    bench_write(b, head, sizeof(head));
    bench_write(b, payload, n);
}

bool bench_poll(struct bench *b, struct frame *f, int ms)
{
    memmove(b->in, b->in + b->in_used, b->in_have - b->in_used);
    b->in_have -= b->in_used;
    b->in_used = 0;
    for (;;) {
        struct wire_header h;
        int got = wire_frame_get(b->in, b->in_have, WIRE_GUEST_PAYLOAD_MAX, &h, &f->payload, &b->in_used);
        assert_true(got >= 0);
        if (got) {
            f->type = h.type;
            f->id = h.id;
            f->n = h.length;
            if (f->type != WIRE_NOTE)
                return true;
            b->notes++;
            memmove(b->in, b->in + b->in_used, b->in_have - b->in_used);
            b->in_have -= b->in_used;
            b->in_used = 0;
            continue;
        }
        b->in_used = 0;
        struct pollfd p = { .fd = b->fd, .events = POLLIN };
        if (b->ended || poll(&p, 1, ms) == 0)
            return false;
        ssize_t n = read(b->fd, b->in + b->in_have, b->in_size - b->in_have);
        if (n <= 0)
            b->ended = true;
        else
            b->in_have += (size_t)n;
    }
}

bool bench_next(struct bench *b, struct frame *f)
{
    bool got = bench_poll(b, f, BENCH_WAIT_MS);
    if (!got && !b->ended)
        fail_msg("the agent says nothing");
    return got;
}

void request_begin(struct request_writer *q)
{
    wire_frame_begin(&q->w, q->buf, sizeof(q->buf));
}

uint64_t request_send(struct bench *b, struct request_writer *q, uint16_t type)
{
    uint64_t id = ++b->last_id;
    size_t n = wire_frame_end(&q->w, type, id);
    assert_true(n > 0);
    bench_write(b, q->buf, n);
    return id;
}

int request_answer(struct bench *b, uint64_t id, char *text)
{
    struct frame f;
    struct wire_field field;
    uint64_t error;
    assert_true(bench_next(b, &f));
    assert_int_equal(f.type, WIRE_ANSWER);
    assert_int_equal(f.id, id);
    assert_int_equal(wire_find_number(f.payload, f.n, KEY_ERRNO, 9999, &error), 0);
    assert_true(error < 4096);
    int has = wire_find(f.payload, f.n, KEY_TEXT, &field);
    assert_int_equal(has, error != 0);
    if (text && has)
        snprintf(text, 256, "%.*s", (int)field.length, (const char *)field.value);
    return (int)error;
}

/* ---- processes ------------------------------------------------------------------------------------------------------------------- */

void run_begin(struct request_writer *q, const char *arg0, ...)
{
    va_list ap;
    char user[32];
    request_begin(q);
    va_start(ap, arg0);
    for (const char *arg = arg0; arg; arg = va_arg(ap, const char *))
        wire_put_text(&q->w, KEY_ARG, arg);
    va_end(ap);
    /* Whoever runs the tests is whom the processes run as. */
    snprintf(user, sizeof(user), "%u:%u", geteuid(), getegid());
    if (geteuid())
        wire_put_text(&q->w, KEY_USER, user);
}

int run_send(struct bench *b, struct request_writer *q, uint64_t *id)
{
    *id = request_send(b, q, WIRE_RUN);
    return request_answer(b, *id, NULL);
}

void credit_give(struct bench *b, uint64_t id, uint64_t stream, uint64_t count)
{
    uint8_t buf[128];
    struct wire_writer w;
    wire_frame_begin(&w, buf, sizeof(buf));
    wire_put_number(&w, KEY_STREAM, stream);
    wire_put_number(&w, KEY_COUNT, count);
    bench_write(b, buf, wire_frame_end(&w, WIRE_CREDIT, id));
}

static uint64_t number_of(const struct frame *f, uint16_t key)
{
    uint64_t v;
    assert_int_equal(wire_find_number(f->payload, f->n, key, UINT64_MAX, &v), 0);
    assert_true(v != UINT64_MAX);
    return v;
}

bool run_take(struct bench *b, uint64_t id, struct result *r, const struct frame *f)
{
    assert_int_equal(f->id, id);
    if (f->type == WIRE_EXIT) {
        r->kind = number_of(f, KEY_KIND);
        r->status = number_of(f, KEY_STATUS);
        r->user = number_of(f, KEY_CPU_USER);
        r->system = number_of(f, KEY_CPU_SYSTEM);
        r->rss = number_of(f, KEY_MAX_RSS);
        return false;
    }
    if (f->type == WIRE_INPUT_GONE) {
        assert_false(r->gone);
        r->gone = true;
        return true;
    }
    if (f->type == WIRE_CREDIT)
        return true;
    assert_int_equal(f->type, WIRE_DATA);
    assert_true(f->n > 1 && f->n - 1 <= WIRE_DATA_MAX);
    assert_true(f->payload[0] == 1 || f->payload[0] == 2);
    int s = f->payload[0] - 1;
    size_t n = f->n - 1;
    r->out[s] = realloc(r->out[s], r->n[s] + n + 1);
    assert_non_null(r->out[s]);
    memcpy(r->out[s] + r->n[s], f->payload + 1, n);
    r->n[s] += n;
    r->out[s][r->n[s]] = 0;
    r->frames++;
    if (b->greedy)
        credit_give(b, id, (uint64_t)s + 1, n);
    return true;
}

void run_finish(struct bench *b, uint64_t id, struct result *r)
{
    struct frame f;
    memset(r, 0, sizeof(*r));
    do {
        assert_true(bench_next(b, &f));
    } while (run_take(b, id, r, &f));
}

void run_shell(struct bench *b, const char *command, struct result *r)
{
    struct request_writer q;
    uint64_t id;
    run_begin(&q, "/bin/sh", "-c", command, NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    run_finish(b, id, r);
}

void result_clear(struct result *r)
{
    free(r->out[0]);
    free(r->out[1]);
    memset(r, 0, sizeof(*r));
}

const char *result_text(struct result *r, int stream)
{
    return r->out[stream - 1] ? (const char *)r->out[stream - 1] : "";
}
