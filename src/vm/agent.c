/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* So many reads at most before other handles of the loop get their turn. */
#define READS_PER_TURN 4
#define ERRNO_MAX 4095U

static void on_poll(uv_poll_t *handle, int status, int events);
static void watch(struct vm_agent *a);

/* ---- the table ------------------------------------------------------------------------------------------------------------------- */

static struct vm_agent_entry **find_slot(struct vm_agent *a, uint64_t id)
{
    struct vm_agent_entry **slot = &a->buckets[id % AGENT_BUCKETS];
    while (*slot && (*slot)->id != id)
        slot = &(*slot)->next;
    return slot;
}

void vm_agent_add(struct vm_agent *a, struct vm_agent_entry *e)
{
    struct vm_agent_entry **bucket = &a->buckets[e->id % AGENT_BUCKETS];
    e->next = *bucket;
    *bucket = e;
}

void vm_agent_remove(struct vm_agent *a, struct vm_agent_entry *e)
{
    struct vm_agent_entry **slot = find_slot(a, e->id);
    if (*slot == e)
        *slot = e->next;
}

/* Takes any entry out of the table; NULL when it is empty. */
static struct vm_agent_entry *take_any(struct vm_agent *a)
{
    for (size_t i = 0; i < AGENT_BUCKETS; i++) {
        struct vm_agent_entry *e = a->buckets[i];
        if (e) {
            a->buckets[i] = e->next;
            return e;
        }
    }
    return NULL;
}

void vm_agent_fail_all(struct vm_agent *a, const struct gv_error *why)
{
    struct vm_agent_entry *e;
    a->broken = true; /* nothing new can be asked for from inside the callbacks */
    watch(a);
    while ((e = take_any(a))) {
        if (e->process)
            e->process->events.failed(e->process->user, e->process, why);
        else if (e->answer)
            e->answer(e->user, why, NULL, 0);
        free(e); /* a process begins with its entry */
    }
}

/* ---- sending --------------------------------------------------------------------------------------------------------------------- */

size_t vm_agent_queued(const struct vm_agent *a)
{
    return a->queue.len - a->queue_at;
}

static void watch(struct vm_agent *a)
{
    if (a->closed || (a->broken && a->polled == 0))
        return;
    int events = a->broken ? 0 : (a->held ? 0 : UV_READABLE) | (vm_agent_queued(a) ? UV_WRITABLE : 0);
    if (events == a->polled)
        return;
    a->polled = events;
    if (events)
        uv_poll_start(&a->poll, events, on_poll);
    else
        uv_poll_stop(&a->poll);
}

static void flush(struct vm_agent *a)
{
    while (vm_agent_queued(a)) {
        ssize_t n = send(a->fd, a->queue.data + a->queue_at, vm_agent_queued(a), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) { /* the peer is gone: reading will say so, in its turn */
            a->queue_at = a->queue.len;
            break;
        }
        a->queue_at += (size_t)n;
    }
    a->queue.len = a->queue_at = 0;
    if (a->queue.cap > AGENT_QUEUE_STDIN)
        gv_buf_clear(&a->queue);
}

void vm_agent_send(struct vm_agent *a, const void *p, size_t n)
{
    if (a->broken || a->closed || a->pending.code)
        return;
    if (vm_agent_queued(a) + n > AGENT_QUEUE_MAX + WIRE_PAYLOAD_MAX + WIRE_HEADER) {
        gv_error_set(&a->pending, GV_E_PROTOCOL, 0, "the guest does not read what it is sent");
        shutdown(a->fd, SHUT_RDWR); /* wakes the poll */
        return;
    }
    if (a->queue_at > AGENT_QUEUE_STDIN) {
        gv_buf_drop(&a->queue, a->queue_at);
        a->queue_at = 0;
    }
    gv_buf_add(&a->queue, p, n);
    flush(a);
    watch(a);
}

int vm_agent_request(struct vm_agent *a, struct wire_writer *w, enum wire_type type, vm_agent_answer_fn fn, void *user,
                     struct gv_error *err)
{
    if (a->broken || a->closed || a->pending.code)
        return gv_error_set(err, GV_E_DIED, 0, "the VM has ended");
    if (vm_agent_queued(a) > AGENT_QUEUE_MAX)
        return gv_error_set(err, GV_E_BUSY, 0, "the guest is too slow to take one more request");
    uint8_t *frame = w->start;
    size_t n = wire_frame_end(w, (uint16_t)type, a->last_id + 1);
    if (n == 0)
        return gv_error_set(err, GV_E_LIMIT, E2BIG, "the request to the guest is too large");
    struct vm_agent_entry *e = gv_new(struct vm_agent_entry);
    e->id = ++a->last_id;
    e->answer = fn;
    e->user = user;
    vm_agent_add(a, e);
    vm_agent_send(a, frame, n);
    return 0;
}

/* ---- receiving ------------------------------------------------------------------------------------------------------------------- */

int vm_agent_answer_error(const uint8_t *payload, size_t n, struct gv_error *failed)
{
    uint64_t sys;
    struct wire_field text;
    if (wire_find_number(payload, n, KEY_ERRNO, ERRNO_MAX + 1, &sys) < 0 || sys > ERRNO_MAX)
        return -1;
    if (sys == 0)
        return 0;
    int got = wire_find(payload, n, KEY_TEXT, &text);
    if (got < 0)
        return -1;
    /* The text is the guest's: gv_error_set makes it one printable line. */
    int shown = got && text.length < 512 ? (int)text.length : 0;
    if (shown)
        gv_error_set(failed, GV_E_GUEST, (int)sys, "%.*s", shown, (const char *)text.value);
    else
        gv_error_set(failed, GV_E_GUEST, (int)sys, "the guest refused");
    return 1;
}

static int broke(struct gv_error *err, const char *what)
{
    return gv_error_set(err, GV_E_PROTOCOL, 0, "the guest broke the agent protocol: %s", what);
}

static int handle_hello(struct vm_agent *a, const struct wire_header *h, const uint8_t *payload, struct gv_error *err)
{
    uint64_t least, most;
    struct wire_field version;
    if (a->greeted || h->type != WIRE_HELLO || h->id != 0)
        return broke(err, a->greeted ? "a second greeting" : "it did not greet first");
    if (wire_find_number(payload, h->length, KEY_VERSION_MIN, 0, &least) < 0 ||
        wire_find_number(payload, h->length, KEY_VERSION_MAX, 0, &most) < 0 || least == 0 || most < least)
        return broke(err, "a greeting without versions");
    int got = wire_find(payload, h->length, KEY_AGENT, &version);
    if (got < 0)
        return broke(err, "a broken greeting");
    if (least > WIRE_VERSION || most < WIRE_VERSION) {
        gv_error_set(err, GV_E_UNSUPPORTED, 0, "the guest agent speaks protocol %llu to %llu, this gvmkit speaks %d",
                     (unsigned long long)least, (unsigned long long)most, WIRE_VERSION);
        return gv_error_hint(err, "install gvmkit and its guest files from the same release");
    }
    uint8_t frame[64];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_VERSION, WIRE_VERSION);
    vm_agent_send(a, frame, wire_frame_end(&w, WIRE_HELLO, 0));
    a->greeted = true;
    char text[64];
    snprintf(text, sizeof(text), "%.*s", got && version.length < sizeof(text) ? (int)version.length : 0,
             got ? (const char *)version.value : "");
    a->events.hello(a->user, text);
    return 0;
}

static int handle_answer(struct vm_agent *a, struct vm_agent_entry *e, const struct wire_header *h, const uint8_t *payload,
                         struct gv_error *err)
{
    struct gv_error failed = GV_ERROR_INIT;
    int got = vm_agent_answer_error(payload, h->length, &failed);
    if (got < 0)
        return broke(err, "an answer without a result");
    vm_agent_remove(a, e);
    if (e->answer)
        e->answer(e->user, got ? &failed : NULL, payload, h->length);
    free(e);
    return 0;
}

static int handle_frame(struct vm_agent *a, const struct wire_header *h, const uint8_t *payload, struct gv_error *err)
{
    if (!a->greeted || h->type == WIRE_HELLO)
        return handle_hello(a, h, payload, err);
    if (h->type == WIRE_NOTE) {
        struct wire_field text;
        int got = wire_find(payload, h->length, KEY_TEXT, &text);
        if (got < 0 || h->id != 0)
            return broke(err, "a broken note");
        if (got)
            gv_debug(a->log, "guest: %.*s", (int)(text.length < 900 ? text.length : 900), (const char *)text.value);
        return 0;
    }
    struct vm_agent_entry *e = *find_slot(a, h->id);
    if (!e)
        return broke(err, "a message about nothing that exists");
    if (e->process)
        return vm_process_handle(e->process, h, payload, err);
    if (h->type != WIRE_ANSWER)
        return broke(err, "something else than the answer to a request");
    return handle_answer(a, e, h, payload, err);
}

static void report_broken(struct vm_agent *a, const struct gv_error *why)
{
    a->broken = true;
    a->queue.len = a->queue_at = 0;
    watch(a);
    a->events.broken(a->user, why);
}

/* Handles the whole frames in the buffer and keeps the rest. False when the channel has ended. */
static bool handle_input(struct vm_agent *a)
{
    size_t at = 0;
    while (!a->broken && !a->closed) {
        struct wire_header h;
        const uint8_t *payload;
        size_t used;
        struct gv_error err = GV_ERROR_INIT;
        int got = wire_frame_get(a->input + at, a->input_len - at, WIRE_GUEST_PAYLOAD_MAX, &h, &payload, &used);
        if (got == 0)
            break;
        if (got < 0)
            broke(&err, "a frame that is none");
        else if (handle_frame(a, &h, payload, &err) == 0) {
            at += used;
            continue;
        }
        report_broken(a, &err);
    }
    if (a->broken || a->closed)
        return false;
    a->input_len -= at;
    if (at && a->input_len)
        memmove(a->input, a->input + at, a->input_len);
    return true;
}

/* One read. 1: there may be more; 0: nothing now; -1: the channel has ended, and that has been said. */
static int read_once(struct vm_agent *a)
{
    ssize_t n = recv(a->fd, a->input + a->input_len, AGENT_INPUT_SIZE - a->input_len, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
        return 1;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && !a->pending.code)
        return 0;
    if (n <= 0 || a->pending.code) {
        struct gv_error why = a->pending;
        if (!why.code && a->input_len)
            gv_error_set(&why, GV_E_DIED, 0, "the guest's channel ended in the middle of a message");
        else if (!why.code)
            gv_error_set(&why, GV_E_DIED, 0, "the guest's channel ended");
        report_broken(a, &why);
        return -1;
    }
    a->input_len += (size_t)n;
    return handle_input(a) ? 1 : -1;
}

/* Stdin that waited for room in the queue is asked for again. */
static void offer_stdin(struct vm_agent *a)
{
    if (!a->stdin_waits || vm_agent_queued(a) > AGENT_QUEUE_STDIN / 2)
        return;
    a->stdin_waits = false;
    for (size_t i = 0; i < AGENT_BUCKETS; i++)
        for (struct vm_agent_entry *e = a->buckets[i]; e; e = e->next)
            if (e->process && !a->closed)
                vm_process_offer_stdin(e->process);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct vm_agent *a = handle->data;
    (void)status; /* an error shows in recv() */
    if (events & UV_WRITABLE) {
        flush(a);
        offer_stdin(a);
    }
    for (int i = 0; i < READS_PER_TURN && !a->broken && !a->closed && !a->held; i++)
        if (read_once(a) <= 0)
            break;
    watch(a);
}

void vm_agent_hold(struct vm_agent *a, bool hold)
{
    a->held = hold;
    watch(a);
}

void vm_agent_drain(struct vm_agent *a)
{
    while (!a->broken && !a->closed && read_once(a) > 0)
        continue;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

int vm_agent_open(struct vm_agent **out, uv_loop_t *loop, int fd, const struct vm_agent_events *events, void *user,
                  const struct gv_log *log, struct gv_error *err)
{
    struct vm_agent *a = gv_new(struct vm_agent);
    int status = uv_poll_init(loop, &a->poll, fd);
    if (status < 0) {
        free(a);
        return gv_error_set(err, GV_E_IO, -status, "cannot watch the channel to the guest");
    }
    a->fd = fd;
    a->poll.data = a;
    a->events = *events;
    a->user = user;
    a->log = log;
    a->input = gv_alloc(AGENT_INPUT_SIZE);
    watch(a);
    *out = a;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct vm_agent *a = handle->data;
    void (*closed)(void *) = a->on_closed;
    void *user = a->user;
    struct vm_agent_entry *e;
    while ((e = take_any(a)))
        free(e);
    close(a->fd);
    gv_buf_clear(&a->queue);
    free(a->input);
    free(a);
    if (closed)
        closed(user);
}

void vm_agent_close(struct vm_agent *a, void (*closed)(void *user))
{
    if (a->closed)
        return;
    a->closed = true;
    a->on_closed = closed;
    uv_close((uv_handle_t *)&a->poll, on_closed);
}
