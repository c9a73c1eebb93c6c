/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Measures one running virtual machine through the room `vm`: how long a program takes there and back, against fork, exec and wait inside
 * the guest; and how fast a program's output arrives, against bare writes to a virtio-serial port in a second machine with nothing else.
 *
 *   bench_vm IMAGE SHARE SOCKET RUNS BLOCKS ROUNDS QEMU ARG...
 *
 * SHARE is a directory with the program `guest` (guest.c). QEMU ARG... starts the second machine, whose port connects to SOCKET and which writes
 * BLOCKS blocks for each byte that it gets. Prints lines "NAME VALUE", times in seconds.
 */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_pattern.h"
#include "vm/vm.h"

struct bench {
    uv_loop_t loop;
    struct vm *vm;
    bool ready, ended, running;
    struct vm_exit exit;
    double finished; /* when the last program's end was known */
    /* the output of the program that runs */
    bool verify;
    unsigned char expected[BENCH_BLOCK];
    uint64_t received;
    double first;
    struct gv_buf text;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bench_vm: %s\n", what);
    exit(1);
}

static void on_ready(void *user, struct vm *vm)
{
    (void)vm;
    ((struct bench *)user)->ready = true;
}

static void on_ended(void *user, struct vm *vm, const struct gv_error *why)
{
    (void)vm;
    if (why->code != GV_OK)
        fail(why->msg);
    ((struct bench *)user)->ended = true;
}

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    (void)user;
    (void)p;
    fail(err->msg);
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct bench *b = user;
    if (b->received == 0)
        b->first = now();
    if (!b->verify) {
        gv_buf_add(&b->text, data, n);
        b->received += n;
    }
    for (const unsigned char *at = data; b->verify && n > 0;) {
        size_t offset = b->received % BENCH_BLOCK, piece = BENCH_BLOCK - offset;
        if (offset == 0)
            bench_pattern_stamp(b->expected, b->received / BENCH_BLOCK);
        if (piece > n)
            piece = n;
        if (memcmp(at, b->expected + offset, piece) != 0)
            fail("a byte of the output is wrong");
        at += piece;
        n -= piece;
        b->received += piece;
        vm_process_consumed(p, stream, piece);
    }
    if (!b->verify)
        vm_process_consumed(p, stream, n);
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    (void)p;
    struct bench *b = user;
    b->finished = now();
    b->exit = *e;
    b->running = false;
}

/* Runs a program to its end; returns the seconds from the request to the news of its end. */
static double run(struct bench *b, const char *const *argv)
{
    static const struct vm_process_events events = { .failed = on_failed, .output = on_output, .exited = on_exited };
    static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    const struct vm_process_spec spec = { .argv = argv, .env = env };
    struct gv_error err = GV_ERROR_INIT;
    struct vm_process *p;
    gv_buf_clear(&b->text);
    b->received = 0;
    b->running = true;
    double start = now();
    if (vm_process_start(&p, b->vm, &spec, &events, b, &err) < 0)
        fail(err.msg);
    while (b->running)
        uv_run(&b->loop, UV_RUN_ONCE);
    if (b->exit.signalled || b->exit.status != 0) {
        fprintf(stderr, "bench_vm: `%s %s` ended with %d: %s\n", argv[0], argv[1] ? argv[1] : "", b->exit.status, gv_buf_str(&b->text));
        exit(1);
    }
    return b->finished - start;
}

static void measure_exec(struct bench *b, const char *runs)
{
    static const char *const nothing[] = { "/bin/true", NULL };
    const char *const inside[] = { "/bench/guest", "forkexec", runs, "/bin/true", NULL };
    int n = atoi(runs);
    run(b, nothing); /* the first of each is not counted: pages come in, code is translated */
    run(b, inside);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < n; i++)
            printf("trip %.9f\n", run(b, nothing));
        run(b, inside);
        char *at = gv_buf_str(&b->text);
        for (char *line; (line = strsep(&at, "\n")) && *line;)
            printf("inside %.9f\n", atof(line) / 1e9);
    }
}

struct sink {
    int fd;
    uint64_t wanted;
    double first, last;
};

/* Takes what the bare port sends, and does nothing with it. */
static void *sink_thread(void *user)
{
    struct sink *s = user;
    static unsigned char buf[1 << 18];
    for (uint64_t got = 0; got < s->wanted;) {
        ssize_t n = read(s->fd, buf, sizeof(buf));
        if (n <= 0)
            fail("the bare port was closed");
        if (got == 0)
            s->first = now();
        got += (uint64_t)n;
        s->last = now();
    }
    return NULL;
}

static void measure_output(struct bench *b, int bare, const char *blocks, int rounds)
{
    const char *const write_argv[] = { "/bench/guest", "write", blocks, NULL };
    uint64_t bytes = strtoull(blocks, NULL, 10) * BENCH_BLOCK;
    for (int i = -1; i < rounds; i++) { /* the first is not counted */
        b->verify = true;
        run(b, write_argv);
        b->verify = false;
        if (b->received != bytes)
            fail("the output is not complete");
        struct sink s = { .fd = bare, .wanted = bytes };
        pthread_t thread;
        if (pthread_create(&thread, NULL, sink_thread, &s))
            fail("no thread");
        if (write(bare, "", 1) != 1)
            fail("the bare port takes nothing");
        pthread_join(thread, NULL);
        if (i >= 0)
            printf("agent %.6f\nbare %.6f\n", b->finished - b->first, s.last - s.first);
    }
}

static int listen_on(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(path) >= sizeof(a.sun_path))
        fail("no socket");
    strcpy(a.sun_path, path);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
        fail("cannot listen");
    return fd;
}

/* The second machine; its port is *bare. */
static pid_t start_bare(char *const *argv, const char *path, int *bare)
{
    pid_t pid;
    cleanup_close int listening = listen_on(path);
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
        fail("the second machine cannot be started");
    *bare = accept(listening, NULL, NULL);
    if (*bare < 0)
        fail("QEMU did not connect the bare port");
    return pid;
}

static void print_note(void *user, enum gv_log_level level, const char *text)
{
    (void)user;
    if (level != GV_LOG_DEBUG)
        fprintf(stderr, "bench_vm: %s\n", text);
}

int main(int argc, char **argv)
{
    if (argc < 8)
        fail("usage: bench_vm IMAGE SHARE SOCKET RUNS BLOCKS ROUNDS QEMU ARG...");
    static struct bench b;
    bench_pattern_init(b.expected);
    int bare;
    const struct gv_log log = { .write = print_note };
    const char *const images[] = { argv[1] };
    const struct vm_volume volume = { .host_path = argv[2], .guest_path = "/bench", .readonly = true };
    const struct vm_config config = {
        .images = images, .image_count = 1, .accel = VM_ACCEL_TCG, .volumes = &volume, .volume_count = 1, .console_fd = -1, .log = &log
    };
    static const struct vm_events events = { .ready = on_ready, .ended = on_ended };
    struct gv_error err = GV_ERROR_INIT;
    if (uv_loop_init(&b.loop) || vm_start(&b.vm, &b.loop, &config, &events, &b, &err) < 0)
        fail(err.msg);
    while (!b.ready)
        uv_run(&b.loop, UV_RUN_ONCE);
    measure_exec(&b, argv[4]);
    pid_t other = start_bare(argv + 7, argv[3], &bare);
    measure_output(&b, bare, argv[5], atoi(argv[6]));
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    close(bare);
    vm_shutdown(b.vm, 1000);
    while (!b.ended)
        uv_run(&b.loop, UV_RUN_ONCE);
    vm_free(b.vm);
    uv_run(&b.loop, UV_RUN_DEFAULT);
    uv_loop_close(&b.loop);
    gv_buf_clear(&b.text);
    return 0;
}
