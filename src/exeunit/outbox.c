/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exeunit/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

struct outbox_item {
    struct outbox_item *next;
    uint64_t pid; /* of output */
    int stream;   /* 0: data is a whole frame */
    uint8_t head[PROTO_OUTPUT_HEADER];
    size_t head_length; /* 0 until the item is begun: it can still grow */
    size_t at;          /* bytes of head and data that are written */
    struct gv_buf data;
};

/* From this size on output is worth an event of its own; less waits for more, for so long. */
#define OUTPUT_LARGE 16384U
#define OUTPUT_WAIT_MS 4U

static void item_add(struct outbox *b, struct outbox_item *i, const void *data, size_t n)
{
    b->held -= i->data.cap;
    gv_buf_add(&i->data, data, n);
    b->held += i->data.cap;
}

static struct outbox_item *append(struct outbox *b, uint64_t pid, int stream, const void *data, size_t n)
{
    struct outbox_item *i = gv_new(struct outbox_item);
    i->pid = pid;
    i->stream = stream;
    b->held += sizeof(*i);
    item_add(b, i, data, n);
    if (b->last)
        b->last->next = i;
    else
        b->first = i;
    b->last = i;
    return i;
}

static void remove_first(struct outbox *b)
{
    struct outbox_item *i = b->first;
    b->first = i->next;
    if (!b->first)
        b->last = NULL;
    b->held -= sizeof(*i) + i->data.cap;
    gv_buf_clear(&i->data);
    free(i);
}

/* Writes what it takes without waiting; bytes written, 0 when it takes none, or the error is set. */
static size_t try_write(struct outbox *b, const void *head, size_t head_length, const void *data, size_t n)
{
    struct iovec parts[2] = { { .iov_base = (void *)(uintptr_t)head, .iov_len = head_length },
                              { .iov_base = (void *)(uintptr_t)data, .iov_len = n } };
    for (;;) {
        ssize_t put = writev(b->out.fd, parts, 2);
        if (put >= 0)
            return (size_t)put;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            b->error = errno;
        return 0;
    }
}

/* As much of the first item as can be written; true when it is done with. */
static bool write_first(struct outbox *b)
{
    struct outbox_item *i = b->first;
    if (i->stream && i->head_length == 0)
        i->head_length = proto_output_header(i->head, i->pid, i->stream, i->data.len);
    while (!b->error && i->at < i->head_length + i->data.len) {
        size_t head = i->at < i->head_length ? i->head_length - i->at : 0;
        size_t from = i->at < i->head_length ? 0 : i->at - i->head_length;
        size_t put = try_write(b, i->head + i->head_length - head, head, i->data.data + from, i->data.len - from);
        if (put == 0)
            return b->error != 0;
        i->at += put;
    }
    return true;
}

static void on_writable(uv_poll_t *poll, int status, int events);

static void watch(struct outbox *b)
{
    bool want = b->first && b->poll_open && !b->error;
    if (want && !b->polling)
        uv_poll_start(&b->poll, UV_WRITABLE, on_writable);
    else if (!want && b->polling)
        uv_poll_stop(&b->poll);
    b->polling = want;
}

/* Writes what can be written, and tells the user what has gone. */
static void flush(struct outbox *b)
{
    bool moved = false;
    while (b->first && write_first(b)) {
        struct outbox_item *i = b->first;
        uint64_t pid = i->pid;
        int stream = i->stream;
        size_t n = i->data.len;
        remove_first(b);
        moved = true;
        if (stream)
            b->sent(b->user, pid, stream, n);
    }
    watch(b);
    if (moved || b->error)
        b->moved(b->user);
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events; /* an error shows when writing */
    flush(poll->data);
}

/* Everything that one turn of the loop has brought is together now. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct outbox *b = prepare->data;
    uv_prepare_stop(prepare);
    b->deferred = false;
    if (!b->polling)
        flush(b);
}

static void defer(struct outbox *b)
{
    if (!b->deferred)
        uv_prepare_start(&b->prepare, on_prepare);
    b->deferred = true;
}

static void on_wait(uv_timer_t *timer)
{
    struct outbox *b = timer->data;
    if (!b->polling && !b->deferred)
        flush(b);
}

void outbox_open(struct outbox *b, uv_loop_t *loop, int fd)
{
    gv_stdio_open(&b->out, fd, O_WRONLY);
    if (b->out.own)
        close(fd);
    b->out.own = true;
    uv_prepare_init(loop, &b->prepare);
    uv_timer_init(loop, &b->wait);
    b->prepare.data = b->wait.data = b;
    if (b->out.pollable && uv_poll_init(loop, &b->poll, b->out.fd) == 0) {
        b->poll.data = b;
        b->poll_open = true;
    }
}

void outbox_put(struct outbox *b, const struct gv_buf *frame)
{
    if (b->error)
        return;
    append(b, 0, 0, frame->data, frame->len);
    defer(b);
}

/* Large output of a process when nothing waits: straight from the caller's memory. Returns how many of the n bytes are dealt with. */
static size_t put_directly(struct outbox *b, uint64_t pid, int stream, const void *data, size_t n)
{
    uint8_t head[PROTO_OUTPUT_HEADER];
    size_t length = proto_output_header(head, pid, stream, n), put = try_write(b, head, length, data, n);
    if (put == length + n) {
        b->sent(b->user, pid, stream, n);
        return n;
    }
    if (put == 0)
        return 0;
    struct outbox_item *i = append(b, pid, stream, data, n); /* begun, so that its size is settled */
    memcpy(i->head, head, length);
    i->head_length = length;
    i->at = put;
    watch(b);
    return n;
}

void outbox_put_output(struct outbox *b, uint64_t pid, int stream, const void *data, size_t n)
{
    const uint8_t *at = data;
    while (n > 0 && !b->error) {
        size_t part = n < OUTBOX_CHUNK ? n : OUTBOX_CHUNK, done = 0;
        struct outbox_item *last = b->last;
        if (!b->first && part >= OUTPUT_LARGE)
            done = put_directly(b, pid, stream, at, part);
        if (done == 0 && !b->error) {
            if (last && last->stream == stream && last->pid == pid && !last->head_length && last->data.len < OUTBOX_CHUNK) {
                done = OUTBOX_CHUNK - last->data.len < part ? OUTBOX_CHUNK - last->data.len : part;
                item_add(b, last, at, done);
            } else {
                done = part;
                append(b, pid, stream, at, done);
            }
            if (b->last->data.len >= OUTPUT_LARGE || b->first != b->last)
                defer(b);
            else if (!uv_is_active((uv_handle_t *)&b->wait))
                uv_timer_start(&b->wait, on_wait, OUTPUT_WAIT_MS, 0);
        }
        at += done;
        n -= done;
    }
    if (n > 0)
        b->sent(b->user, pid, stream, n);
    if (b->error)
        defer(b);
}

void outbox_close(struct outbox *b)
{
    while (b->first)
        remove_first(b);
    if (b->poll_open) {
        uv_poll_stop(&b->poll);
        uv_close((uv_handle_t *)&b->poll, NULL);
        b->poll_open = b->polling = false;
    }
    uv_close((uv_handle_t *)&b->prepare, NULL);
    uv_close((uv_handle_t *)&b->wait, NULL);
    gv_stdio_close(&b->out);
}
