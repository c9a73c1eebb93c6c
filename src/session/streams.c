/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void sink_fail(struct stdio_sink *s, int error)
{
    if (s->error)
        return;
    s->error = error;
    if (s->failed)
        s->failed(s->user, error);
}

/* How much of data could be written without waiting. */
static size_t sink_try(struct stdio_sink *s, const unsigned char *data, size_t n)
{
    size_t done = 0;
    while (done < n && !s->error) {
        ssize_t put = write(s->out.fd, data + done, n - done);
        if (put >= 0)
            done += (size_t)put;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            sink_fail(s, errno);
    }
    return s->error ? n : done;
}

static void sink_poll(struct stdio_sink *s);

static void on_writable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct stdio_sink *s = poll->data;
    /* libuv calls every error of a polled descriptor EBADF; writing tells which it is. */
    size_t done = sink_try(s, s->waiting.data, s->waiting.len);
    if (done == 0 && status < 0)
        sink_fail(s, -status);
    if (done > 0) {
        gv_buf_drop(&s->waiting, done);
        s->written(s->user, done);
    }
    sink_poll(s);
}

static void sink_poll(struct stdio_sink *s)
{
    bool want = s->waiting.len > 0 && s->poll_open;
    if (want && !s->polling)
        uv_poll_start(&s->poll, UV_WRITABLE, on_writable);
    else if (!want && s->polling)
        uv_poll_stop(&s->poll);
    s->polling = want;
}

void stdio_sink_open(struct stdio_sink *s, uv_loop_t *loop, int fd)
{
    gv_stdio_open(&s->out, fd, O_WRONLY);
    if (s->out.fd >= 0 && s->out.pollable && uv_poll_init(loop, &s->poll, s->out.fd) == 0) {
        s->poll.data = s;
        s->poll_open = true;
    }
    if (s->out.fd < 0)
        s->error = EBADF; /* closed by the caller on purpose (`>&-`): output goes nowhere */
}

void stdio_sink_put(struct stdio_sink *s, const void *data, size_t n)
{
    size_t done = 0;
    if (s->error)
        done = n;
    else if (s->waiting.len == 0)
        done = sink_try(s, data, n);
    if (done > 0)
        s->written(s->user, done);
    if (done < n) {
        gv_buf_add(&s->waiting, (const unsigned char *)data + done, n - done);
        sink_poll(s);
    }
}

void stdio_sink_discard(struct stdio_sink *s)
{
    size_t n = s->waiting.len;
    if (!s->error)
        s->error = EPIPE;
    gv_buf_clear(&s->waiting);
    sink_poll(s);
    if (n > 0)
        s->written(s->user, n);
}

static void on_closed(uv_handle_t *h)
{
    struct stdio_sink *s = h->data;
    s->closed(s->user);
}

void stdio_sink_close(struct stdio_sink *s)
{
    gv_buf_clear(&s->waiting);
    if (s->poll_open) {
        uv_poll_stop(&s->poll);
        uv_close((uv_handle_t *)&s->poll, on_closed);
        s->poll_open = s->polling = false;
        gv_stdio_close(&s->out);
    } else {
        gv_stdio_close(&s->out);
        s->closed(s->user);
    }
}
