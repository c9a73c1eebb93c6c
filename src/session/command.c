/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nothing buffers without bound: output waits in the sinks for at most the guest's credit, input is read only as far as the guest has granted credit.
 */
#include "session/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "session/streams.h"

#define HANG_UP_MS 10000
#define INPUT_CHUNK 65536

struct command {
    const struct command_events *events;
    void *user;
    struct vm_process *process;
    bool ended;
    int fds[3];
    bool own_fds;
    struct vms_log *log;
    struct stdio_sink sinks[2];
    uv_loop_t *loop;
    struct gv_stdio in;
    uv_poll_t in_poll;
    bool in_polling, in_poll_open, in_done;
    unsigned char *in_buf;
    size_t in_len, in_at; /* read from the user, not yet taken by the guest */
    uv_timer_t timer;
    unsigned handles; /* what is to be closed before the memory goes */
};

/* ---- input ------------------------------------------------------------------------------------------------------------------------ */

static void input_stop(struct command *c)
{
    if (c->in_polling)
        uv_poll_stop(&c->in_poll);
    c->in_polling = false;
}

static void on_input(uv_poll_t *poll, int status, int events);

/* Moves input as long as both sides let it. Polls the user's side only when the guest took all there was. */
static void input_pump(struct command *c)
{
    while (!c->in_done && c->process) {
        if (c->in_at < c->in_len) {
            c->in_at += vm_process_write(c->process, c->in_buf + c->in_at, c->in_len - c->in_at);
            if (c->in_at < c->in_len) {
                input_stop(c); /* on_guest_writable goes on */
                return;
            }
        }
        c->in_at = c->in_len = 0;
        ssize_t n = c->in.fd < 0 ? 0 : read(c->in.fd, c->in_buf, INPUT_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            if (!c->in_polling && c->in_poll_open) {
                uv_poll_start(&c->in_poll, UV_READABLE, on_input);
                c->in_polling = true;
            }
            return;
        }
        if (n <= 0) { /* the end, or a terminal that is gone */
            vm_process_close_stdin(c->process);
            c->in_done = true;
            break;
        }
        c->in_len = (size_t)n;
    }
    input_stop(c);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    input_pump(poll->data);
}

static void input_open(struct command *c)
{
    c->in_buf = gv_alloc(INPUT_CHUNK);
    gv_stdio_open(&c->in, c->fds[0], O_RDONLY);
    if (c->in.fd >= 0 && c->in.pollable && uv_poll_init(c->loop, &c->in_poll, c->in.fd) == 0) {
        c->in_poll.data = c;
        c->in_poll_open = true;
        c->handles++;
    }
}

/* ---- the process ------------------------------------------------------------------------------------------------------------------ */

static void on_started(void *user, struct vm_process *p)
{
    (void)p;
    struct command *c = user;
    if (c->events->started)
        c->events->started(c->user);
    if (c->in_buf)
        input_pump(c);
}

static void process_ended(struct command *c, const struct vm_exit *e, const struct gv_error *why)
{
    c->process = NULL;
    c->ended = true;
    uv_timer_stop(&c->timer);
    input_stop(c);
    c->events->ended(c->user, e, why);
    if (!command_waits(c))
        c->events->drained(c->user);
}

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    (void)p;
    process_ended(user, NULL, err);
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    (void)p;
    process_ended(user, e, NULL);
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct command *c = user;
    if (c->log) {
        vms_log_write(c->log, stream, data, n);
        vm_process_consumed(p, stream, n);
    } else {
        stdio_sink_put(&c->sinks[stream == 2], data, n);
    }
}

static void on_guest_writable(void *user, struct vm_process *p)
{
    (void)p;
    input_pump(user);
}

static void on_input_gone(void *user, struct vm_process *p)
{
    (void)p;
    struct command *c = user;
    c->in_done = true;
    input_stop(c);
}

static const struct vm_process_events process_events = {
    .started = on_started,
    .failed = on_failed,
    .output = on_output,
    .writable = on_guest_writable,
    .input_gone = on_input_gone,
    .exited = on_exited,
};

static void sink_written(struct command *c, int stream, size_t n)
{
    if (c->process)
        vm_process_consumed(c->process, stream, n);
    else if (c->ended && !command_waits(c))
        c->events->drained(c->user);
}

static void on_stdout_written(void *user, size_t n)
{
    sink_written(user, 1, n);
}

static void on_stderr_written(void *user, size_t n)
{
    sink_written(user, 2, n);
}

static void on_sink_failed(void *user, int error)
{
    struct command *c = user;
    c->events->output_failed(c->user, error);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------- */

/* One handle, or sink, is closed. */
static void part_closed(void *user)
{
    struct command *c = user;
    if (--c->handles > 0)
        return;
    free(c->in_buf);
    free(c);
}

static void on_handle_closed(uv_handle_t *h)
{
    part_closed(h->data);
}

struct command *command_new(const struct command_config *config)
{
    struct command *c = gv_new(struct command);
    c->events = config->events;
    c->user = config->user;
    c->own_fds = config->own_fds;
    c->log = config->log;
    c->loop = config->loop;
    c->in.fd = -1;
    for (int i = 0; i < 3; i++)
        c->fds[i] = config->fds[i];
    uv_timer_init(c->loop, &c->timer);
    c->timer.data = c;
    c->handles = 3;
    for (int i = 0; i < 2; i++) {
        c->sinks[i].user = c;
        c->sinks[i].written = i ? on_stderr_written : on_stdout_written;
        c->sinks[i].failed = on_sink_failed;
        c->sinks[i].closed = part_closed;
        stdio_sink_open(&c->sinks[i], c->loop, c->fds[1 + i]);
    }
    return c;
}

int command_start(struct command *c, struct vm *vm, const struct vm_process_spec *spec, struct gv_error *err)
{
    if (spec->stdin_open)
        input_open(c);
    return vm_process_start(&c->process, vm, spec, &process_events, c, err);
}

bool command_runs(const struct command *c)
{
    return c->process != NULL;
}

bool command_waits(const struct command *c)
{
    return c->sinks[0].waiting.len > 0 || c->sinks[1].waiting.len > 0;
}

void command_signal(struct command *c, int signal, bool group)
{
    if (c->process)
        vm_process_signal(c->process, signal, group);
}

void command_resize(struct command *c, uint16_t rows, uint16_t columns)
{
    if (c->process && rows && columns)
        vm_process_resize(c->process, rows, columns);
}

static void on_hung_up(uv_timer_t *t)
{
    command_signal(t->data, SIGKILL, true);
}

void command_hang_up(struct command *c)
{
    c->in_done = true;
    input_stop(c);
    if (c->process) {
        command_signal(c, SIGHUP, true);
        uv_timer_start(&c->timer, on_hung_up, HANG_UP_MS, 0);
    }
    for (int i = 0; i < 2; i++)
        stdio_sink_discard(&c->sinks[i]); /* the user may free c in `drained`; its memory outlives this call */
}

void command_free(struct command *c)
{
    if (!c)
        return;
    uv_timer_stop(&c->timer);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    input_stop(c);
    if (c->in_poll_open)
        uv_close((uv_handle_t *)&c->in_poll, on_handle_closed);
    gv_stdio_close(&c->in);
    for (int i = 0; i < 2; i++)
        stdio_sink_close(&c->sinks[i]);
    for (int i = 0; c->own_fds && i < 3; i++)
        if (c->fds[i] >= 0)
            close(c->fds[i]);
}
