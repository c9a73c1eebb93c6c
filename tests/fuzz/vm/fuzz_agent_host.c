/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The host's end of the agent protocol, with a guest that says whatever the fuzzer likes. The first byte says how the input is cut into
 * pieces; between them the host does what hosts do: it starts processes, writes, resizes, consumes. What must hold besides memory safety:
 * callbacks in their order, and never more output than credit was given for.
 */
#include <string.h>
#include <sys/socket.h>

#include "vm/agent.h"

struct fuzz {
    struct vm_agent *agent;
    struct vm_process *live[4];
    size_t outstanding[4]; /* bytes handed out and not consumed, both streams */
    bool started[4], broken, greeted, closed;
    unsigned runs;
};

static size_t slot(const struct fuzz *f, const struct vm_process *p)
{
    for (size_t i = 0; i < 4; i++)
        if (f->live[i] == p)
            return i;
    __builtin_trap(); /* a callback about a process that has ended */
}

static void on_hello(void *user, const char *version)
{
    struct fuzz *f = user;
    if (f->greeted || f->broken || strlen(version) > 64)
        __builtin_trap();
    f->greeted = true;
}

static void on_broken(void *user, const struct gv_error *why)
{
    struct fuzz *f = user;
    if (f->broken || !why->code)
        __builtin_trap();
    f->broken = true;
}

static void on_started(void *user, struct vm_process *p)
{
    struct fuzz *f = user;
    size_t i = slot(f, p);
    if (f->started[i])
        __builtin_trap();
    f->started[i] = true;
}

static void forget(struct fuzz *f, size_t i)
{
    f->live[i] = NULL;
    f->started[i] = false;
    f->outstanding[i] = 0;
}

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    struct fuzz *f = user;
    if (!err->code)
        __builtin_trap();
    forget(f, slot(f, p));
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct fuzz *f = user;
    size_t i = slot(f, p);
    if (!f->started[i] || (stream != 1 && stream != 2) || n == 0)
        __builtin_trap();
    f->outstanding[i] += n;
    if (f->outstanding[i] > 2 * VM_OUTPUT_MAX)
        __builtin_trap();
    if (((const uint8_t *)data)[n - 1] & 1) {
        vm_process_consumed(p, stream, n);
        f->outstanding[i] -= n;
    }
}

static void on_writable(void *user, struct vm_process *p)
{
    slot(user, p);
    vm_process_write(p, "stdin", 5);
}

static void on_input_gone(void *user, struct vm_process *p)
{
    slot(user, p);
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    struct fuzz *f = user;
    size_t i = slot(f, p);
    if (!f->started[i] || e->status < 0 || e->status > 255)
        __builtin_trap();
    forget(f, i);
}

static const struct vm_process_events process_events = { on_started, on_failed, on_output, on_writable, on_input_gone, on_exited };

static void act(struct fuzz *f, unsigned what)
{
    static const char *const argv[] = { "a", NULL };
    static uint8_t data[70000];
    const struct vm_process_spec spec = { .argv = argv, .stdin_open = what & 1, .tty = what & 2 };
    size_t i = what % 4;
    struct vm_process *p = f->live[i];
    if (!f->greeted)
        return;
    if (!p) {
        if (f->runs++ < 16 && vm_agent_run(&p, f->agent, &spec, &process_events, f, NULL) == 0)
            f->live[i] = p;
        return;
    }
    switch (what / 4 % 4) {
    case 0:
        vm_process_write(p, data, sizeof(data));
        break;
    case 1:
        vm_process_resize(p, 1, 1);
        break;
    case 2:
        vm_process_signal(p, 2, true);
        break;
    default:
        vm_process_close_stdin(p);
    }
}

static void on_closed(void *user)
{
    ((struct fuzz *)user)->closed = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vm_agent_events events = { on_hello, on_broken };
    struct fuzz f = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    uv_loop_t loop;
    int pair[2];
    char drop[65536];
    if (size < 1 || uv_loop_init(&loop) < 0)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ||
        vm_agent_open(&f.agent, &loop, pair[0], &events, &f, NULL, &err) < 0)
        abort();
    size_t piece = data[0] ? data[0] * (size_t)data[0] : SIZE_MAX;
    for (size_t at = 1; at < size && !f.broken;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t sent = send(pair[1], data + at, n, MSG_NOSIGNAL);
        at += sent > 0 ? (size_t)sent : 0;
        if (sent > 0)
            act(&f, data[at - 1]);
        uv_run(&loop, UV_RUN_NOWAIT);
        if (data[0] & 1) /* or the guest does not read */
            while (recv(pair[1], drop, sizeof(drop), 0) > 0)
                continue;
    }
    close(pair[1]);
    vm_agent_drain(f.agent);
    gv_error_set(&err, GV_E_DIED, 0, "the end");
    vm_agent_fail_all(f.agent, &err);
    for (size_t i = 0; i < 4; i++)
        if (f.live[i])
            __builtin_trap();
    vm_agent_close(f.agent, on_closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (!f.closed || uv_loop_close(&loop) < 0)
        __builtin_trap();
    return 0;
}
