/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The port. What goes out is collected in one buffer: first whole answers and notes from the queue, then frames that the processes make on
 * demand, each in its turn, straight from their pipes into the buffer. So nothing is read from a pipe before it can be sent, and a
 * port that is full holds back every program by its own pipe. The buffer is written in pieces of 32 KiB, the most that virtio_console takes
 * at once, but filled with many of them: a program that writes much then runs as rarely as its pipe allows, not once for each piece.
 *
 * What comes in is handled frame by frame. The buffer holds the largest DATA frame; it grows to a request that is larger and shrinks again
 * after it. When too many answers wait to be sent, no more requests are read.
 *
 * Both ways a turn does a bounded amount, so that neither a program that writes for ever nor a host that asks for ever holds up the rest.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "guest/agent/agent.h"

#define CHANNEL_IN_SIZE (WIRE_HEADER + AGENT_FRAME_MAX)
#define CHANNEL_IN_TURN (4 * AGENT_FRAME_MAX) /* bytes read in one turn */
#define CHANNEL_OUT_TURN 4                    /* buffers written in one turn */
#define CHANNEL_ROOM_MIN 1024                 /* with less left in the buffer no frame of a process is begun */
#define CHANNEL_ANSWER_MAX 2048               /* an ANSWER or NOTE */

#define CHANNEL_IN (EPOLLIN | EPOLLRDHUP | EPOLLET)

static void queue_add(struct agent *a, const uint8_t *frame, size_t n)
{
    struct channel *c = &a->channel;
    if (c->queue_at == c->queue_have)
        c->queue_at = c->queue_have = 0;
    if (n > c->queue_size - c->queue_have && c->queue_at) {
        memmove(c->queue, c->queue + c->queue_at, c->queue_have - c->queue_at);
        c->queue_have -= c->queue_at;
        c->queue_at = 0;
    }
    if (n > c->queue_size - c->queue_have) {
        size_t size = c->queue_size ? c->queue_size : CHANNEL_ANSWER_MAX;
        while (size - c->queue_have < n)
            size *= 2;
        uint8_t *p = realloc(c->queue, size);
        if (!p)
            boot_die("no memory for an answer");
        c->queue = p;
        c->queue_size = size;
    }
    memcpy(c->queue + c->queue_have, frame, n);
    c->queue_have += n;
}

static size_t queue_waiting(const struct channel *c)
{
    return c->queue_have - c->queue_at;
}

void channel_answer_with(struct agent *a, uint64_t id, struct wire_writer *w)
{
    size_t n = wire_frame_end(w, WIRE_ANSWER, id);
    if (n)
        queue_add(a, w->start, n);
}

void channel_answer(struct agent *a, uint64_t id, const struct report *r)
{
    uint8_t frame[CHANNEL_ANSWER_MAX];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_ERRNO, (uint64_t)r->error);
    if (r->error)
        wire_put_text(&w, KEY_TEXT, r->text);
    channel_answer_with(a, id, &w);
}

void channel_note(struct agent *a, const char *format, ...)
{
    /* Notes are for a human who looks for a fault; when nobody reads them they must not pile up. */
    if (queue_waiting(&a->channel) >= AGENT_QUEUE_STALL)
        return;
    char text[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    uint8_t frame[CHANNEL_ANSWER_MAX];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_text(&w, KEY_TEXT, text);
    size_t n = wire_frame_end(&w, WIRE_NOTE, 0);
    if (n)
        queue_add(a, frame, n);
}

static void hello(struct agent *a)
{
    uint8_t frame[256];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_VERSION_MIN, WIRE_VERSION);
    wire_put_number(&w, KEY_VERSION_MAX, WIRE_VERSION);
    wire_put_text(&w, KEY_AGENT, AGENT_VERSION);
    size_t n = wire_frame_end(&w, WIRE_HELLO, 0);
    if (n)
        queue_add(a, frame, n);
}

/* ---- out ------------------------------------------------------------------------------------------------------------------------- */

static void out_fill(struct agent *a)
{
    struct channel *c = &a->channel;
    if (c->out_at == c->out_have)
        c->out_at = c->out_have = 0;
    size_t n = queue_waiting(c), room = sizeof(c->out) - c->out_have;
    if (n > room)
        n = room;
    if (n) {
        memcpy(c->out + c->out_have, c->queue + c->queue_at, n);
        c->queue_at += n;
        c->out_have += n;
    }
    if (queue_waiting(c))
        return;
    if (c->queue_size > AGENT_QUEUE_STALL) {
        free(steal_ptr(c->queue));
        c->queue_at = c->queue_have = c->queue_size = 0;
    }
    while (sizeof(c->out) - c->out_have >= CHANNEL_ROOM_MIN) {
        n = process_say(a, c->out + c->out_have, sizeof(c->out) - c->out_have);
        if (n == 0)
            break;
        c->out_have += n;
    }
    if (c->out_most < c->out_have)
        c->out_most = c->out_have;
}

/* true when all of it has gone. */
static bool out_flush(struct agent *a)
{
    struct channel *c = &a->channel;
    while (c->out_at < c->out_have) {
        size_t n = c->out_have - c->out_at;
        ssize_t put = write(c->watch.fd, c->out + c->out_at, n < AGENT_FRAME_MAX ? n : AGENT_FRAME_MAX);
        if (put > 0) {
            c->out_at += (size_t)put;
            continue;
        }
        if (put < 0 && errno == EINTR)
            continue;
        /* Without a host there is nobody to tell; the hang-up arrives by the watch. */
        c->writable = false;
        watch_change(a, &c->watch, CHANNEL_IN | EPOLLOUT);
        return false;
    }
    return true;
}

static void out_turn(struct agent *a)
{
    struct channel *c = &a->channel;
    for (int i = 0; i < CHANNEL_OUT_TURN && c->writable; i++) {
        out_fill(a);
        if (c->out_at == c->out_have || !out_flush(a))
            break;
    }
}

void channel_trim(struct agent *a)
{
    struct channel *c = &a->channel;
    if (c->out_most <= AGENT_FRAME_MAX || c->out_at != c->out_have)
        return;
    madvise(c->out + AGENT_FRAME_MAX, sizeof(c->out) - AGENT_FRAME_MAX, MADV_DONTNEED);
    c->out_most = 0;
}

bool channel_empty(const struct agent *a)
{
    return queue_waiting(&a->channel) == 0 && a->channel.out_at == a->channel.out_have;
}

/* ---- in -------------------------------------------------------------------------------------------------------------------------- */

static void channel_lost(struct agent *a)
{
    struct channel *c = &a->channel;
    c->readable = false;
    if (c->greeted) {
        /* Nobody is left who could want anything of this machine. */
        a->lost = true;
        shutdown_begin(a, false, 0, 0);
        return;
    }
    c->absent = true;
    c->in_have = 0;
    c->out_at = c->out_have = c->queue_at = c->queue_have = 0;
}

static void channel_break(struct agent *a, const char *why)
{
    a->channel.broken = true;
    a->channel.readable = false;
    channel_note(a, "the host broke the protocol: %s; ending", why);
    shutdown_begin(a, false, 0, 1000);
}

static void in_resize(struct channel *c, size_t size)
{
    if (size == c->in_size)
        return;
    uint8_t *p = realloc(c->in, size);
    if (!p) {
        if (size < c->in_size)
            return;
        boot_die("no memory for a request of %zu bytes", size);
    }
    c->in = p;
    c->in_size = size;
}

static bool in_stalled(const struct channel *c)
{
    return c->broken || queue_waiting(c) >= AGENT_QUEUE_STALL;
}

/* Handles the frames in the buffer; what is left is less than one, or may not be handled yet. */
static void in_parse(struct agent *a)
{
    struct channel *c = &a->channel;
    size_t at = 0;
    while (!in_stalled(c)) {
        struct wire_header h;
        const uint8_t *payload;
        size_t used;
        int got = wire_frame_get(c->in + at, c->in_have - at, WIRE_PAYLOAD_MAX, &h, &payload, &used);
        const char *why = "a frame with a bad header";
        if (got == 0)
            break;
        if (got < 0 || request_handle(a, &h, payload, &why) < 0) {
            channel_break(a, why);
            c->in_have = 0;
            return;
        }
        at += used;
    }
    if (at) {
        memmove(c->in, c->in + at, c->in_have - at);
        c->in_have -= at;
    }
    struct wire_header h;
    size_t size = CHANNEL_IN_SIZE;
    if (c->in_have >= WIRE_HEADER && wire_header_get(&h, c->in, WIRE_PAYLOAD_MAX) == 0 && WIRE_HEADER + (size_t)h.length > size)
        size = WIRE_HEADER + (size_t)h.length;
    if (size >= c->in_have)
        in_resize(c, size);
}

static void in_turn(struct agent *a)
{
    struct channel *c = &a->channel;
    if (c->in_have && !in_stalled(c))
        in_parse(a);
    for (size_t done = 0; c->readable && done < CHANNEL_IN_TURN && !in_stalled(c);) {
        ssize_t n = read(c->watch.fd, c->in + c->in_have, c->in_size - c->in_have);
        if (n > 0) {
            c->in_have += (size_t)n;
            done += (size_t)n;
            in_parse(a);
        } else if (n == 0) {
            channel_lost(a);
        } else if (errno != EINTR) {
            c->readable = false;
            if (errno != EAGAIN)
                channel_lost(a);
        }
    }
}

/* The host was away before it had said anything: it may still come (or come back after the machine was copied). */
static void absent_turn(struct agent *a)
{
    struct channel *c = &a->channel;
    struct pollfd p = { .fd = c->watch.fd, .events = POLLIN };
    if (poll(&p, 1, 0) < 0 || p.revents & (POLLHUP | POLLERR))
        return;
    c->absent = false;
    c->readable = c->writable = true;
    hello(a);
}

void channel_turn(struct agent *a)
{
    if (a->channel.absent)
        absent_turn(a);
    in_turn(a);
    out_turn(a);
}

bool channel_busy(const struct agent *a)
{
    const struct channel *c = &a->channel;
    if (c->readable && !in_stalled(c))
        return true;
    return c->writable && (!channel_empty(a) || a->processes.first_ready);
}

static void channel_ready(struct agent *a, struct watch *w, uint32_t events)
{
    struct channel *c = &a->channel;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->readable = !c->broken && !c->absent && !a->lost;
    if (events & EPOLLOUT && !c->writable) {
        c->writable = true;
        watch_change(a, w, CHANNEL_IN);
    }
}

int channel_open(struct agent *a, int fd)
{
    struct channel *c = &a->channel;
    in_resize(c, CHANNEL_IN_SIZE);
    c->readable = c->writable = true;
    if (watch_open(a, &c->watch, fd, CHANNEL_IN, channel_ready) < 0)
        return -1;
    hello(a);
    out_turn(a);
    return 0;
}
