/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pipes and terminals between the agent and a process.
 *
 * Out. `readable` says that a read may give something; an edge-triggered watch sets it, a read that gives EAGAIN clears it. Bytes go from
 * the pipe into the frame and nowhere else.
 *
 * The end. When wait4 has given a process's status, all that it wrote is in its pipes: the amount that is there at that moment (FIONREAD)
 * is the last of it, whatever background children add. A terminal cannot be asked for an amount; there a read flushes the line
 * discipline before it says EAGAIN or EIO, so "until then" is the last of it, bounded since a background child may go on writing.
 *
 * A pipe that a background child still writes into is kept open and emptied into /dev/null, so that the child is neither stopped by a full
 * pipe nor killed by SIGPIPE.
 *
 * In. Bytes that the process does not take yet are held, at most what the credit allows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <termios.h>

#include "guest/agent/agent.h"

#define STREAM_TERMINAL_LAST 131072U /* more than a pseudo terminal can hold */
#define STREAM_GROW_AT 65536U
#define STREAM_HEAD (WIRE_HEADER + 1U) /* of a DATA frame */
#define STREAM_PARTS 32                /* frames made by one read */
#define STREAM_DRAIN 1048576U

struct drain {
    struct late late;
    struct watch watch;
};

/* ---- out ------------------------------------------------------------------------------------------------------------------------- */

static void output_ready(struct agent *a, struct watch *w, uint32_t events)
{
    (void)events;
    struct output *o = container_of(w, struct output, watch);
    o->readable = true;
    process_wake(a, o->owner);
}

bool stream_sayable(const struct process *p, unsigned i)
{
    const struct output *o = &p->output[i];
    return o->watch.fd >= 0 && o->readable && o->credit && (p->state != PROCESS_DEAD || o->tail);
}

bool stream_done(const struct process *p)
{
    return p->output[0].tail == 0 && p->output[1].tail == 0;
}

/* The other end is closed, or will not give what was expected of it. */
static void output_end(struct agent *a, struct process *p, struct output *o)
{
    o->tail = 0;
    o->readable = false;
    /* A terminal lives on: the process may open it again. */
    if (!p->terminal)
        watch_close(a, &o->watch);
}

/* Reads up to max bytes to where they lie in frames that follow each other in buf. */
static ssize_t output_read(const struct output *o, uint8_t *buf, size_t room, size_t max)
{
    struct iovec parts[STREAM_PARTS];
    int n = 0;
    while (n < STREAM_PARTS && max && room > STREAM_HEAD) {
        size_t size = room - STREAM_HEAD < WIRE_DATA_MAX ? room - STREAM_HEAD : WIRE_DATA_MAX;
        size = size < max ? size : max;
        parts[n++] = (struct iovec){ .iov_base = buf + STREAM_HEAD, .iov_len = size };
        buf += STREAM_HEAD + size;
        room -= STREAM_HEAD + size;
        max -= size;
    }
    ssize_t got;
    do {
        got = readv(o->watch.fd, parts, n);
    } while (got < 0 && errno == EINTR);
    return got;
}

size_t stream_say(struct agent *a, struct process *p, unsigned i, uint8_t *buf, size_t room)
{
    struct output *o = &p->output[i];
    size_t max = p->state == PROCESS_DEAD && o->tail < o->credit ? (size_t)o->tail : (size_t)o->credit;
    ssize_t got = output_read(o, buf, room, max);
    if (got < 0 && errno == EAGAIN) {
        o->readable = false;
        o->tail = 0; /* a terminal has no more; from a pipe somebody else has read */
        return 0;
    }
    if (got <= 0) {
        output_end(a, p, o);
        return 0;
    }
    size_t n = (size_t)got, size = 0;
    o->credit -= n;
    if (p->state == PROCESS_DEAD)
        o->tail -= n;
    if (!o->grown && n >= STREAM_GROW_AT && !p->terminal) {
        /* A program that writes much: fewer and longer turns. The kernel keeps its size if it may not be so large. */
        fcntl(o->watch.fd, F_SETPIPE_SZ, AGENT_PIPE_SIZE);
        o->grown = true;
    }
    while (n) {
        size_t part = n < WIRE_DATA_MAX ? n : WIRE_DATA_MAX;
        struct wire_header h = { .length = (uint32_t)part + 1, .type = WIRE_DATA, .id = p->id };
        wire_header_put(buf + size, &h);
        buf[size + WIRE_HEADER] = o->stream;
        size += STREAM_HEAD + part;
        n -= part;
    }
    return size;
}

int stream_credit(struct agent *a, struct process *p, uint64_t stream, uint64_t count)
{
    if (stream != 1 && stream != 2)
        return -1;
    struct output *o = &p->output[stream - 1];
    if (__builtin_add_overflow(o->credit, count, &o->credit))
        return -1;
    process_wake(a, p);
    return 0;
}

static void drain_ready(struct agent *a, struct watch *w, uint32_t events)
{
    struct drain *d = container_of(w, struct drain, watch);
    ssize_t n = 0;
    if (events & EPOLLIN)
        n = splice(w->fd, NULL, a->payload.null, NULL, STREAM_DRAIN, SPLICE_F_NONBLOCK);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    watch_close(a, w);
    a->processes.drains--;
    late_free(a, &d->late);
}

/* Somebody can still write into it: otherwise a read finds the end. */
static bool output_held(int fd)
{
    uint8_t byte;
    return read(fd, &byte, 1) != 0;
}

static void output_close(struct agent *a, struct process *p, struct output *o)
{
    int fd = watch_steal(a, &o->watch);
    if (fd < 0)
        return;
    struct drain *d = !p->terminal && output_held(fd) ? calloc(1, sizeof(*d)) : NULL;
    if (d && watch_open(a, &d->watch, fd, EPOLLIN, drain_ready) == 0) {
        a->processes.drains++;
        return;
    }
    free(d);
    close(fd);
}

/* ---- in -------------------------------------------------------------------------------------------------------------------------- */

static void input_drop(struct input *in)
{
    free(steal_ptr(in->held));
    in->at = in->have = in->size = 0;
}

static void input_gone(struct agent *a, struct process *p)
{
    struct input *in = &p->input;
    if (in->gone)
        return;
    in->gone = in->gone_due = true;
    in->grant = 0;
    input_drop(in);
    watch_close(a, &in->watch);
    process_wake(a, p);
}

/* The end of a terminal's input is a character. */
static void input_eof(const struct input *in)
{
    struct termios t;
    if (tcgetattr(in->watch.fd, &t) < 0 || !(t.c_lflag & ICANON) || t.c_cc[VEOF] == 0)
        return;
    /* When the terminal's buffer is full this byte is lost; so is what the user types then. */
    if (write(in->watch.fd, &t.c_cc[VEOF], 1) < 0)
        return;
}

static void input_finish(struct agent *a, struct process *p)
{
    if (p->terminal)
        input_eof(&p->input);
    p->input.gone = true; /* nothing more is expected, so nobody has to be told */
    watch_close(a, &p->input.watch);
}

/* Writes what it can of the bytes; how many, or -1 when nobody reads. */
static ssize_t input_write(struct input *in, const uint8_t *data, size_t n)
{
    size_t done = 0;
    while (in->writable && done < n) {
        ssize_t put = write(in->watch.fd, data + done, n - done);
        if (put > 0)
            done += (size_t)put;
        else if (put < 0 && errno == EINTR)
            continue;
        else if (put < 0 && errno != EAGAIN)
            return -1;
        else
            in->writable = false;
    }
    in->grant += done;
    return (ssize_t)done;
}

static void input_turn(struct agent *a, struct process *p)
{
    struct input *in = &p->input;
    if (in->have > in->at) {
        ssize_t n = input_write(in, in->held + in->at, in->have - in->at);
        if (n < 0) {
            input_gone(a, p);
            return;
        }
        in->at += (size_t)n;
    }
    if (in->have == in->at) {
        input_drop(in);
        if (in->closing && in->watch.fd >= 0)
            input_finish(a, p);
    }
    process_wake(a, p);
}

static void input_ready(struct agent *a, struct watch *w, uint32_t events)
{
    struct process *p = container_of(container_of(w, struct input, watch), struct process, input);
    if (events & EPOLLERR && !p->terminal) {
        input_gone(a, p);
        return;
    }
    if (events & EPOLLOUT) {
        p->input.writable = true;
        input_turn(a, p);
    }
}

/* Holds bytes for later. -1: no memory. */
static int input_hold(struct input *in, const uint8_t *data, size_t n)
{
    if (n > in->size - in->have && in->at) {
        memmove(in->held, in->held + in->at, in->have - in->at);
        in->have -= in->at;
        in->at = 0;
    }
    if (n > in->size - in->have) {
        size_t size = in->size ? in->size : AGENT_FRAME_MAX;
        while (size - in->have < n)
            size *= 2;
        uint8_t *p = realloc(in->held, size);
        if (!p)
            return -1;
        in->held = p;
        in->size = size;
    }
    memcpy(in->held + in->have, data, n);
    in->have += n;
    return 0;
}

int stream_input(struct agent *a, struct process *p, const uint8_t *data, size_t n)
{
    struct input *in = &p->input;
    if (n > in->credit)
        return -1;
    in->credit -= n;
    if (in->gone || in->closing || in->watch.fd < 0)
        return 0;
    ssize_t put = in->have > in->at ? 0 : input_write(in, data, n);
    if (put < 0 || ((size_t)put < n && input_hold(in, data + put, n - (size_t)put) < 0)) {
        input_gone(a, p);
        return 0;
    }
    process_wake(a, p);
    return 0;
}

void stream_input_close(struct agent *a, struct process *p)
{
    p->input.closing = true;
    if (p->input.watch.fd >= 0)
        input_turn(a, p);
}

/* ---- come and go ----------------------------------------------------------------------------------------------------------------- */

int stream_open(struct agent *a, struct process *p, struct spawn_ends *ends)
{
    int result = 0;
    p->input.watch.fd = -1;
    p->input.credit = WIRE_CREDIT_START;
    p->input.writable = true;
    p->input.gone = ends->input < 0;
    for (unsigned i = 0; i < 2; i++) {
        struct output *o = &p->output[i];
        o->watch.fd = -1;
        o->owner = p;
        o->stream = (uint8_t)(i + 1);
        o->credit = WIRE_CREDIT_START;
        int fd = steal_fd(&ends->output[i]);
        if (fd >= 0 && watch_open(a, &o->watch, fd, EPOLLIN | EPOLLET, output_ready) < 0) {
            close(fd);
            result = -1;
        }
    }
    int fd = steal_fd(&ends->input);
    if (fd >= 0 && watch_open(a, &p->input.watch, fd, EPOLLOUT | EPOLLET, input_ready) < 0) {
        close(fd);
        result = -1;
    }
    return result;
}

void stream_last(struct agent *a, struct process *p)
{
    p->input.gone = true;
    input_drop(&p->input);
    watch_close(a, &p->input.watch);
    for (unsigned i = 0; i < 2; i++) {
        struct output *o = &p->output[i];
        int waiting = 0;
        if (o->watch.fd < 0)
            continue;
        if (p->terminal)
            o->tail = STREAM_TERMINAL_LAST;
        else if (ioctl(o->watch.fd, FIONREAD, &waiting) == 0 && waiting > 0)
            o->tail = (uint64_t)waiting;
        o->readable = o->tail > 0;
    }
}

void stream_close(struct agent *a, struct process *p)
{
    input_drop(&p->input);
    watch_close(a, &p->input.watch);
    for (unsigned i = 0; i < 2; i++)
        output_close(a, p, &p->output[i]);
}
