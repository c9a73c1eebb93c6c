/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The port. What goes out is collected in one buffer of 32 KiB, the most that virtio_console takes at once: first whole answers and
 * notes from the queue, then frames that the processes make on demand, each in its turn, straight from their pipes into the buffer.
 * So nothing is read from a pipe before it can be sent, and a port that is full holds back every program by its own pipe.
 *
 * What comes in is handled frame by frame. The buffer holds the largest DATA frame; it grows to a request that is larger and shrinks again
 * after it. When too many answers wait to be sent, no more requests are read.
 *
 * Both ways a turn does a bounded amount, so that neither a program that writes for ever nor a host that asks for ever holds up the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "guest/agent/agent.h"

#define CHANNEL_IN_SIZE (WIRE_HEADER + AGENT_FRAME_MAX)
#define CHANNEL_IN_TURN (4 * AGENT_FRAME_MAX) /* bytes read in one turn */
#define CHANNEL_OUT_TURN 8                    /* buffers written in one turn */
#define CHANNEL_ROOM_MIN 1024                 /* with less left in the buffer no frame of a process is begun */
#define CHANNEL_ANSWER_MAX 2048               /* an ANSWER or NOTE */

#define LANE_PAGE 4096
#define LANE_STAGE 16 /* buffers that a new pipe has */
#define LANE_SLOTS 128
#define LANE_FRAME (1 + LANE_STAGE)

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

/* A frame into the lane, whatever it is. */
static size_t lane_say(struct agent *a)
{
    struct channel *c = &a->channel;
    uint8_t small[CHANNEL_ROOM_MIN];
    size_t n = process_say(a, small, sizeof(small));
    if (n == 0 || n == SAY_LANE)
        return n;
    if (write(c->lane[1], small, n) != (ssize_t)n)
        boot_die("no room in the agent's own pipe");
    c->lane_have += n;
    c->lane_slots++;
    return SAY_LANE;
}

static void out_fill(struct agent *a)
{
    struct channel *c = &a->channel;
    if (c->lane_have)
        return;
    c->lane_slots = 0;
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
    /* Once a frame is in the lane only others in the lane can follow it. */
    while (c->lane_have ? channel_can_move(a) : sizeof(c->out) - c->out_have >= CHANNEL_ROOM_MIN) {
        n = c->lane_have ? lane_say(a) : process_say(a, c->out + c->out_have, sizeof(c->out) - c->out_have);
        if (n == 0)
            break;
        c->out_have += n == SAY_LANE ? 0 : n;
    }
}

static void lane_open(struct channel *c)
{
    if (pipe2(c->stage, O_CLOEXEC | O_NONBLOCK) < 0)
        c->stage[0] = c->stage[1] = -1;
    if (pipe2(c->lane, O_CLOEXEC | O_NONBLOCK) < 0 || fcntl(c->lane[1], F_SETPIPE_SZ, LANE_SLOTS * LANE_PAGE) < LANE_SLOTS * LANE_PAGE)
        c->lane[0] = c->lane[1] = -1;
}

bool channel_can_move(const struct agent *a)
{
    const struct channel *c = &a->channel;
    return c->stage[0] >= 0 && c->lane[0] >= 0 && c->lane_slots + LANE_FRAME <= LANE_SLOTS;
}

ssize_t channel_move(struct agent *a, const struct process *p, uint8_t stream, int pipe, size_t max)
{
    struct channel *c = &a->channel;
    uint8_t head[WIRE_HEADER + 1];
    /* First to where it can be counted: only then the header can be written. */
    ssize_t n = splice(pipe, NULL, c->stage[1], NULL, max, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n <= 0)
        return n;
    struct wire_header h = { .length = (uint32_t)n + 1, .type = WIRE_DATA, .id = p->id };
    wire_header_put(head, &h);
    head[WIRE_HEADER] = stream;
    if (write(c->lane[1], head, sizeof(head)) != sizeof(head) ||
        splice(c->stage[0], NULL, c->lane[1], NULL, (size_t)n, SPLICE_F_NONBLOCK | SPLICE_F_MOVE) != n)
        boot_die("no room in the agent's own pipe");
    c->lane_have += sizeof(head) + (size_t)n;
    c->lane_slots += LANE_FRAME;
    return n;
}

static void out_full(struct agent *a)
{
    /* Without a host there is nobody to tell; the hang-up arrives by the watch. */
    a->channel.writable = false;
    watch_change(a, &a->channel.watch, CHANNEL_IN | EPOLLOUT);
}

/* true when all of it has gone. */
static bool out_flush(struct agent *a)
{
    struct channel *c = &a->channel;
    while (c->out_at < c->out_have || c->lane_have) {
        bool lane = c->out_at == c->out_have;
        /* All that is in the lane at once: virtio_console reckons with that. */
        ssize_t n = lane ? splice(c->lane[0], NULL, c->watch.fd, NULL, c->lane_have, SPLICE_F_NONBLOCK | SPLICE_F_MOVE)
                         : write(c->watch.fd, c->out + c->out_at, c->out_have - c->out_at);
        if (n > 0) {
            *(lane ? &c->lane_have : &c->out_at) += (size_t)(lane ? -n : n);
        } else if (n == 0 && lane) {
            /* No memory for a descriptor, and the pages are gone. Wrong bytes would be worse than none. */
            boot_die("the kernel lost %zu bytes of output", c->lane_have);
        } else if (n == 0 || errno != EINTR) {
            out_full(a);
            return false;
        }
    }
    return true;
}

static void out_turn(struct agent *a)
{
    struct channel *c = &a->channel;
    for (int i = 0; i < CHANNEL_OUT_TURN && c->writable; i++) {
        out_fill(a);
        if ((c->out_at == c->out_have && c->lane_have == 0) || !out_flush(a))
            break;
    }
}

bool channel_empty(const struct agent *a)
{
    const struct channel *c = &a->channel;
    return queue_waiting(c) == 0 && c->out_at == c->out_have && c->lane_have == 0;
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
    lane_open(c);
    c->readable = c->writable = true;
    if (watch_open(a, &c->watch, fd, CHANNEL_IN, channel_ready) < 0)
        return -1;
    hello(a);
    out_turn(a);
    return 0;
}
