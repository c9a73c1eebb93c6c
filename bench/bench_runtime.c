/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Measures ya-runtime-vm as an ExeUnit sees it, through its protobuf, against the same things without it: a program's start and end against fork, exec
 * and wait inside the guest; a program's output against what the room `vm` gives straight from the agent, in a second VM beside it. Both VMs idle
 * while the other one is measured. Last, thirty programs write without end to a reader that is slow and then stops, for the memory it takes.
 *
 *   bench_runtime IMAGE SHARE RUNS BLOCKS ROUNDS RUNTIME ARG...
 *
 * SHARE is a directory with the program `guest` (guest.c); the runtime's deployment has the same one at /bench. Prints lines "NAME VALUE": seconds,
 * and the runtime's largest resident size in KiB.
 */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_pattern.h"
#include "exeunit/pb.h"
#include "vm/vm.h"

#define BUFFER (1U << 20)
#define GREEDY 30
#define SLOW_READS 1000 /* of 4 KiB, with a millisecond between them */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bench_runtime: %s\n", what);
    exit(1);
}

/* ---- the output of a program ----------------------------------------------------------------------------------------------------- */

struct output {
    bool verify; /* else it is kept */
    unsigned char expected[BENCH_BLOCK];
    uint64_t received;
    double first;
    struct gv_buf text;
};

static void take_output(struct output *o, const unsigned char *at, size_t n)
{
    if (o->received == 0)
        o->first = now();
    if (!o->verify)
        gv_buf_add(&o->text, at, n);
    for (size_t piece; n > 0; at += piece, n -= piece) {
        size_t offset = o->received % BENCH_BLOCK;
        piece = n < BENCH_BLOCK - offset ? n : BENCH_BLOCK - offset;
        if (o->verify && offset == 0)
            bench_pattern_stamp(o->expected, o->received / BENCH_BLOCK);
        if (o->verify && memcmp(at, o->expected + offset, piece) != 0)
            fail("a byte of the output is wrong");
        o->received += piece;
    }
}

static void begin_output(struct output *o, bool verify)
{
    gv_buf_clear(&o->text);
    o->received = 0;
    o->verify = verify;
}

/* ---- through the protobuf -------------------------------------------------------------------------------------------------------- */

struct client {
    pid_t pid;
    int in, out;
    uint8_t *buf;
    size_t have;
    uint64_t last_id;
    uint64_t answered;  /* the last request that was */
    bool running, gone; /* the last process that was started; the runtime has closed its stdout */
    int code;
    struct output *o;
};

static void take_status(struct client *c, const struct pb_field *status)
{
    struct pb_reader r = { status->bytes, status->bytes + status->length };
    bool running = false;
    int code = 0;
    for (struct pb_field f; pb_next(&r, &f) > 0;) {
        if (f.number == 2 && f.type == PB_VARINT)
            running = f.value != 0;
        else if (f.number == 3 && f.type == PB_VARINT)
            code = (int)(int32_t)(uint32_t)f.value;
        else if (f.number == 4 && f.type == PB_BYTES)
            take_output(c->o, f.bytes, f.length);
    }
    if (!running) {
        c->running = false;
        c->code = code;
    }
}

static void take_message(struct client *c, const uint8_t *message, size_t n)
{
    struct pb_reader r = { message, message + n };
    uint64_t id = 0;
    for (struct pb_field f; pb_next(&r, &f) > 0;) {
        if (f.number == 2 && f.type == PB_VARINT)
            id = f.value;
        else if (f.number == 3)
            fail("the runtime refused a request");
        else if (f.number == 20 && f.type == PB_BYTES)
            take_status(c, &f);
    }
    if (id)
        c->answered = id;
}

/* The length of the frame at the start of what has come, with that of its head in *head; 0 when it is not known yet. */
static size_t frame_length(const struct client *c, size_t at, size_t *head)
{
    size_t n = 0;
    for (size_t i = at, shift = 0; i < c->have && shift < 32; i++, shift += 7) {
        n |= (size_t)(c->buf[i] & 0x7f) << shift;
        if (!(c->buf[i] & 0x80)) {
            *head = i + 1 - at;
            return n + *head;
        }
    }
    return 0;
}

static void turn(struct client *c)
{
    ssize_t got = read(c->out, c->buf + c->have, BUFFER - c->have);
    if (got <= 0) {
        c->gone = true;
        return;
    }
    c->have += (size_t)got;
    size_t at = 0, head = 0, n;
    while ((n = frame_length(c, at, &head)) > 0 && at + n <= c->have) {
        take_message(c, c->buf + at + head, n - head);
        at += n;
    }
    memmove(c->buf, c->buf + at, c->have - at);
    c->have -= at;
}

static void ask(struct client *c, uint32_t kind, const struct gv_buf *body)
{
    cleanup_buf struct gv_buf message = { 0 }, frame = { 0 };
    uint8_t length[PB_VARINT_MAX];
    pb_put_number(&message, 1, ++c->last_id);
    pb_put_message(&message, kind, body);
    gv_buf_add(&frame, length, pb_varint_put(length, message.len));
    gv_buf_add(&frame, message.data, message.len);
    if (gv_write_full(c->in, frame.data, frame.len) < 0)
        fail("the runtime does not read");
}

static void wait_answer(struct client *c)
{
    while (c->answered < c->last_id && !c->gone)
        turn(c);
    if (c->gone)
        fail("the runtime has ended");
}

static void client_start(struct client *c, char *const *argv)
{
    int in[2], out[2];
    posix_spawn_file_actions_t actions;
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        fail("no pipes");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    if (posix_spawn(&c->pid, argv[0], &actions, NULL, argv, environ))
        fail("the runtime cannot be started");
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    c->in = in[1];
    c->out = out[0];
    c->buf = gv_alloc(BUFFER);
    cleanup_buf struct gv_buf hello = { 0 };
    pb_put_text(&hello, 1, "0.1.0");
    ask(c, 2, &hello);
    wait_answer(c);
}

static void client_ask_run(struct client *c, const char *const *argv)
{
    cleanup_buf struct gv_buf body = { 0 };
    pb_put_text(&body, 1, argv[0]);
    for (; *argv; argv++)
        pb_put_text(&body, 2, *argv);
    c->running = true;
    ask(c, 10, &body);
}

/* Seconds from the request to the event of the end. */
static double client_run(struct client *c, const char *const *argv, bool verify)
{
    begin_output(c->o, verify);
    double start = now();
    client_ask_run(c, argv);
    while (c->running && !c->gone)
        turn(c);
    if (c->gone || c->code != 0)
        fail("a program did not end well in the runtime");
    return now() - start;
}

static void print_peak(const struct client *c)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)c->pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (!strncmp(line, "VmHWM:", 6))
            printf("peak %ld\n", strtol(line + 6, NULL, 10));
    if (f)
        fclose(f);
}

/* Many programs write all they can, and the reader takes little and then nothing. What the runtime must hold then is bounded. */
static void crowd(struct client *c)
{
    static const char *const yes[] = { "/bench/guest", "write", "1000000", NULL };
    begin_output(c->o, false);
    for (int i = 0; i < GREEDY; i++) {
        client_ask_run(c, yes);
        wait_answer(c);
    }
    char some[4096];
    for (int i = 0; i < SLOW_READS; i++) {
        struct pollfd p = { .fd = c->out, .events = POLLIN };
        if (poll(&p, 1, 10000) <= 0 || read(c->out, some, sizeof(some)) <= 0)
            fail("the runtime has nothing to say, though many programs write");
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    sleep(2);
    print_peak(c);
}

/* What the runtime says meanwhile is not listened to any more: it is in the middle of frames. */
static void client_end(struct client *c)
{
    char some[65536];
    int status;
    close(c->in);
    while (read(c->out, some, sizeof(some)) > 0)
        continue;
    waitpid(c->pid, &status, 0);
    close(c->out);
    free(c->buf);
}

/* ---- straight from the agent ----------------------------------------------------------------------------------------------------- */

struct direct {
    uv_loop_t loop;
    struct vm *vm;
    bool ready, ended, running;
    struct vm_exit exit;
    struct output *o;
};

static void on_ready(void *user, struct vm *vm)
{
    (void)vm;
    ((struct direct *)user)->ready = true;
}

static void on_ended(void *user, struct vm *vm, const struct gv_error *why)
{
    (void)vm;
    if (why->code != GV_OK)
        fail(why->msg);
    ((struct direct *)user)->ended = true;
}

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    (void)user;
    (void)p;
    fail(err->msg);
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct direct *d = user;
    take_output(d->o, data, n);
    vm_process_consumed(p, stream, n);
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    (void)p;
    struct direct *d = user;
    d->exit = *e;
    d->running = false;
}

static void direct_start(struct direct *d, const char *image, const char *share, const struct gv_log *log)
{
    static const struct vm_events events = { .ready = on_ready, .ended = on_ended };
    const struct vm_volume volume = { .host_path = share, .guest_path = "/bench", .readonly = true };
    const struct vm_config config = {
        .images = &image, .image_count = 1, .accel = VM_ACCEL_TCG, .volumes = &volume, .volume_count = 1, .console_fd = -1, .log = log
    };
    struct gv_error err = GV_ERROR_INIT;
    if (uv_loop_init(&d->loop) || vm_start(&d->vm, &d->loop, &config, &events, d, &err) < 0)
        fail(err.msg);
    while (!d->ready)
        uv_run(&d->loop, UV_RUN_ONCE);
}

static void direct_run(struct direct *d, const char *const *argv)
{
    static const struct vm_process_events events = { .failed = on_failed, .output = on_output, .exited = on_exited };
    static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    const struct vm_process_spec spec = { .argv = argv, .env = env };
    struct gv_error err = GV_ERROR_INIT;
    struct vm_process *p;
    begin_output(d->o, true);
    d->running = true;
    if (vm_process_start(&p, d->vm, &spec, &events, d, &err) < 0)
        fail(err.msg);
    while (d->running)
        uv_run(&d->loop, UV_RUN_ONCE);
    if (d->exit.signalled || d->exit.status != 0)
        fail("a program did not end well");
}

static void direct_end(struct direct *d)
{
    vm_shutdown(d->vm, 1000);
    while (!d->ended)
        uv_run(&d->loop, UV_RUN_ONCE);
    vm_free(d->vm);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
}

/* ---- what is measured ------------------------------------------------------------------------------------------------------------ */

static void measure_runs(struct client *c, const char *runs)
{
    static const char *const nothing[] = { "/bin/true", NULL };
    const char *const inside[] = { "/bench/guest", "forkexec", runs, "/bin/true", NULL };
    client_run(c, nothing, false); /* the first of each is not counted: pages come in, code is translated */
    client_run(c, inside, false);
    for (int round = 0; round < 5; round++) {
        for (int i = atoi(runs); i > 0; i--)
            printf("trip %.9f\n", client_run(c, nothing, false));
        client_run(c, inside, false);
        char *at = gv_buf_str(&c->o->text);
        for (char *line; (line = strsep(&at, "\n")) && *line;)
            printf("inside %.9f\n", atof(line) / 1e9);
    }
}

static void measure_output(struct client *c, struct direct *d, const char *blocks, int rounds)
{
    const char *const argv[] = { "/bench/guest", "write", blocks, NULL };
    uint64_t bytes = strtoull(blocks, NULL, 10) * BENCH_BLOCK;
    for (int i = -1; i < rounds; i++) { /* the first is not counted */
        direct_run(d, argv);
        double took = now() - d->o->first;
        if (d->o->received != bytes)
            fail("the output is not complete");
        client_run(c, argv, true);
        if (c->o->received != bytes)
            fail("the output through the runtime is not complete");
        if (i >= 0)
            printf("direct %.6f\nprotobuf %.6f\n", took, now() - c->o->first);
    }
    print_peak(c);
}

static void print_note(void *user, enum gv_log_level level, const char *text)
{
    (void)user;
    if (level != GV_LOG_DEBUG)
        fprintf(stderr, "bench_runtime: %s\n", text);
}

int main(int argc, char **argv)
{
    if (argc < 7)
        fail("usage: bench_runtime IMAGE SHARE RUNS BLOCKS ROUNDS RUNTIME ARG...");
    static struct output output;
    struct client c = { .o = &output, .last_id = 1 };
    struct direct d = { .o = &output };
    const struct gv_log log = { .write = print_note };
    bench_pattern_init(output.expected);
    client_start(&c, argv + 6);
    direct_start(&d, argv[1], argv[2], &log);
    measure_runs(&c, argv[3]);
    measure_output(&c, &d, argv[4], atoi(argv[5]));
    direct_end(&d);
    crowd(&c);
    client_end(&c);
    gv_buf_clear(&output.text);
    return 0;
}
