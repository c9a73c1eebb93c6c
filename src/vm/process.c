/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Processes in the guest, as the host sees them: the messages about one of them, and what can be asked of it.
 *
 * Credit. For each output stream window + unread + owed is its limit: what the guest may send, what the user holds, and what has been consumed
 * without telling the guest yet. The guest is told in portions of a quarter of the limit, so that a CREDIT frame is rare; it cannot starve,
 * because when it has nothing left to send with and the user holds nothing, all is owed, and that is more than a quarter. The limit
 * starts at WIRE_CREDIT_START and doubles with each portion up to VM_OUTPUT_MAX: every CREDIT frame wakes the guest, which matters
 * to a program that writes much, and a program that writes little never gets so far.
 */
#include <errno.h>
#include <string.h>

#include "vm/agent.h"

/* More credit than this for stdin is nonsense; it keeps the sum from running over. */
#define STDIN_CREDIT_MAX (UINT64_C(1) << 40)

/* ---- asking ---------------------------------------------------------------------------------------------------------------------- */

static size_t list_size(const char *const *list)
{
    size_t n = 0;
    for (; list && *list; list++) {
        size_t length = strlen(*list) + 6;
        if (length > WIRE_PAYLOAD_MAX || n + length > 2 * (size_t)WIRE_PAYLOAD_MAX)
            return 2 * (size_t)WIRE_PAYLOAD_MAX;
        n += length;
    }
    return n;
}

static void put_list(struct wire_writer *w, uint16_t key, const char *const *list)
{
    for (; list && *list; list++)
        wire_put_text(w, key, *list);
}

int vm_agent_run(struct vm_process **out, struct vm_agent *a, const struct vm_process_spec *spec, const struct vm_process_events *events,
                 void *user, struct gv_error *err)
{
    if (a->broken || a->closed || a->pending.code)
        return gv_error_set(err, GV_E_DIED, 0, "the VM has ended");
    if (vm_agent_queued(a) > AGENT_QUEUE_MAX)
        return gv_error_set(err, GV_E_BUSY, 0, "the guest is too slow to take one more request");
    if (!spec->argv || !spec->argv[0])
        return gv_error_set(err, GV_E_USAGE, 0, "no program to run");
    const char *cwd = spec->cwd ? spec->cwd : "/", *who = spec->user ? spec->user : "";
    size_t size = list_size(spec->argv) + list_size(spec->env) + list_size(spec->rlimits);
    if (size <= WIRE_PAYLOAD_MAX)
        size += strlen(cwd) + strlen(who) + (spec->path ? strlen(spec->path) : 0) + 256;
    if (size > WIRE_PAYLOAD_MAX)
        return gv_error_set(err, GV_E_LIMIT, E2BIG, "the arguments and the environment of `%s` are larger than %u KiB together",
                            spec->argv[0], WIRE_PAYLOAD_MAX >> 10);

    _Static_assert((int)VM_STAT == (int)WIRE_BUILTIN_STAT && (int)VM_PACK == (int)WIRE_BUILTIN_PACK &&
                       (int)VM_UNPACK == (int)WIRE_BUILTIN_UNPACK,
                   "the builtins of vm.h are those of wire.h");
    cleanup_free uint8_t *frame = gv_alloc(WIRE_HEADER + size);
    struct wire_writer w;
    wire_frame_begin(&w, frame, WIRE_HEADER + size);
    put_list(&w, KEY_ARG, spec->argv);
    if (spec->builtin)
        wire_put_number(&w, KEY_BUILTIN, spec->builtin);
    put_list(&w, KEY_ENV, spec->env);
    put_list(&w, KEY_RLIMIT, spec->rlimits);
    if (spec->path)
        wire_put_text(&w, KEY_PATH, spec->path);
    wire_put_text(&w, KEY_CWD, cwd);
    wire_put_number(&w, KEY_CWD_CREATE, 1);
    wire_put_text(&w, KEY_USER, who);
    wire_put_number(&w, KEY_DEFAULT_ENV, 1);
    wire_put_number(&w, KEY_STDIN, spec->stdin_open ? WIRE_STDIN_PIPE : WIRE_STDIN_NULL);
    if (spec->tty) {
        wire_put_number(&w, KEY_TTY, 1);
        wire_put_number(&w, KEY_ROWS, spec->rows ? spec->rows : 24);
        wire_put_number(&w, KEY_COLUMNS, spec->columns ? spec->columns : 80);
    }
    size_t n = wire_frame_end(&w, WIRE_RUN, a->last_id + 1);
    if (n == 0)
        return gv_error_set(err, GV_E_INTERNAL, 0, "the request to run `%s` was measured wrongly", spec->argv[0]);

    struct vm_process *p = gv_new(struct vm_process);
    p->entry.id = ++a->last_id;
    p->entry.process = p;
    p->agent = a;
    p->events = *events;
    p->user = user;
    p->tty = spec->tty;
    p->stdin_open = spec->stdin_open;
    p->stdin_credit = WIRE_CREDIT_START;
    for (int i = 1; i <= 2; i++)
        p->streams[i].window = p->streams[i].limit = WIRE_CREDIT_START;
    vm_agent_add(a, &p->entry);
    vm_agent_send(a, frame, n);
    *out = p;
    return 0;
}

size_t vm_process_write(struct vm_process *p, const void *data, size_t n)
{
    struct vm_agent *a = p->agent;
    if (!p->stdin_open || p->input_gone)
        return 0;
    size_t done = 0;
    while (done < n && p->running && p->stdin_credit > 0 && vm_agent_queued(a) < AGENT_QUEUE_STDIN) {
        size_t part = n - done;
        if (part > WIRE_DATA_MAX)
            part = WIRE_DATA_MAX;
        if (part > p->stdin_credit)
            part = (size_t)p->stdin_credit;
        uint8_t frame[WIRE_HEADER + 1 + WIRE_DATA_MAX];
        wire_header_put(frame, &(struct wire_header){ .length = (uint32_t)part + 1, .type = WIRE_DATA, .id = p->entry.id });
        frame[WIRE_HEADER] = 0;
        memcpy(frame + WIRE_HEADER + 1, (const uint8_t *)data + done, part);
        vm_agent_send(a, frame, WIRE_HEADER + 1 + part);
        p->stdin_credit -= part;
        done += part;
    }
    if (done < n) {
        p->want_writable = true;
        if (vm_agent_queued(a) >= AGENT_QUEUE_STDIN)
            a->stdin_waits = true;
    }
    return done;
}

void vm_process_offer_stdin(struct vm_process *p)
{
    if (!p->want_writable || !p->running || p->stdin_credit == 0 || !p->stdin_open || p->input_gone)
        return;
    p->want_writable = false;
    if (p->events.writable)
        p->events.writable(p->user, p);
}

void vm_process_close_stdin(struct vm_process *p)
{
    if (!p->stdin_open)
        return;
    p->stdin_open = false;
    p->want_writable = false;
    uint8_t frame[WIRE_HEADER];
    wire_header_put(frame, &(struct wire_header){ .type = WIRE_CLOSE, .id = p->entry.id });
    vm_agent_send(p->agent, frame, sizeof(frame));
}

static void send_credit(struct vm_process *p, int stream)
{
    struct vm_process_stream *s = &p->streams[stream];
    uint8_t frame[64];
    struct wire_writer w;
    if (s->limit < VM_OUTPUT_MAX) {
        s->owed += s->limit;
        s->limit *= 2;
    }
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_STREAM, (uint64_t)stream);
    wire_put_number(&w, KEY_COUNT, s->owed);
    s->window += s->owed;
    s->owed = 0;
    vm_agent_send(p->agent, frame, wire_frame_end(&w, WIRE_CREDIT, p->entry.id));
}

void vm_process_consumed(struct vm_process *p, int stream, size_t n)
{
    if (stream != 1 && stream != 2)
        return;
    struct vm_process_stream *s = &p->streams[stream];
    if (n > s->unread)
        n = s->unread;
    s->unread -= (uint32_t)n;
    s->owed += (uint32_t)n;
    if (s->owed >= s->limit / 4)
        send_credit(p, stream);
}

void vm_process_resize(struct vm_process *p, uint16_t rows, uint16_t columns)
{
    uint8_t frame[128];
    struct wire_writer w;
    if (!p->tty)
        return;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_ID, p->entry.id);
    wire_put_number(&w, KEY_ROWS, rows);
    wire_put_number(&w, KEY_COLUMNS, columns);
    vm_agent_request(p->agent, &w, WIRE_RESIZE, NULL, NULL, NULL);
}

void vm_process_signal(struct vm_process *p, int signal, bool group)
{
    uint8_t frame[128];
    struct wire_writer w;
    if (signal <= 0)
        return;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_ID, p->entry.id);
    wire_put_number(&w, KEY_SIGNAL, (uint64_t)signal);
    wire_put_number(&w, KEY_GROUP, group);
    vm_agent_request(p->agent, &w, WIRE_SIGNAL, NULL, NULL, NULL);
}

/* ---- hearing --------------------------------------------------------------------------------------------------------------------- */

static int broke(struct gv_error *err, const struct vm_process *p, const char *what)
{
    return gv_error_set(err, GV_E_PROTOCOL, 0, "the guest broke the agent protocol: %s (process %llu)", what,
                        (unsigned long long)p->entry.id);
}

static int handle_answer(struct vm_process *p, const uint8_t *payload, size_t n, struct gv_error *err)
{
    struct gv_error failed = GV_ERROR_INIT;
    int got = vm_agent_answer_error(payload, n, &failed);
    if (got < 0)
        return broke(err, p, "an answer without a result");
    if (got == 0) {
        p->running = true;
        if (p->events.started)
            p->events.started(p->user, p);
        vm_process_offer_stdin(p);
        return 0;
    }
    vm_agent_remove(p->agent, &p->entry);
    p->events.failed(p->user, p, &failed);
    free(p);
    return 0;
}

static int handle_data(struct vm_process *p, const uint8_t *payload, size_t n, struct gv_error *err)
{
    if (n < 2 || n - 1 > WIRE_DATA_MAX)
        return broke(err, p, "output of an impossible size");
    int stream = payload[0];
    if (stream != 1 && (stream != 2 || p->tty))
        return broke(err, p, "output on a stream that does not exist");
    struct vm_process_stream *s = &p->streams[stream];
    if (n - 1 > s->window)
        return broke(err, p, "more output than it had credit for");
    s->window -= (uint32_t)(n - 1);
    s->unread += (uint32_t)(n - 1);
    p->events.output(p->user, p, stream, payload + 1, n - 1);
    return 0;
}

static int handle_credit(struct vm_process *p, const uint8_t *payload, size_t n, struct gv_error *err)
{
    uint64_t stream, count;
    if (wire_find_number(payload, n, KEY_STREAM, 0, &stream) < 0 || wire_find_number(payload, n, KEY_COUNT, 0, &count) < 0 || stream != 0)
        return broke(err, p, "broken credit");
    if (count > STDIN_CREDIT_MAX - p->stdin_credit)
        return broke(err, p, "more credit than there can be");
    p->stdin_credit += count;
    vm_process_offer_stdin(p);
    return 0;
}

static int handle_input_gone(struct vm_process *p, struct gv_error *err)
{
    if (p->input_gone)
        return broke(err, p, "its input went away twice");
    p->input_gone = true;
    p->want_writable = false;
    if (p->events.input_gone)
        p->events.input_gone(p->user, p);
    return 0;
}

static int handle_exit(struct vm_process *p, const uint8_t *payload, size_t n, struct gv_error *err)
{
    uint64_t kind, status;
    struct vm_exit e = { 0 };
    if (wire_find_number(payload, n, KEY_KIND, UINT64_MAX, &kind) < 0 ||
        wire_find_number(payload, n, KEY_STATUS, UINT64_MAX, &status) < 0 ||
        wire_find_number(payload, n, KEY_CPU_USER, 0, &e.cpu_user_us) < 0 ||
        wire_find_number(payload, n, KEY_CPU_SYSTEM, 0, &e.cpu_system_us) < 0 ||
        wire_find_number(payload, n, KEY_MAX_RSS, 0, &e.max_rss_kib) < 0)
        return broke(err, p, "a broken exit");
    if (kind > WIRE_DUMPED || (kind == WIRE_EXITED ? status > 255 : status < 1 || status > 127))
        return broke(err, p, "an impossible exit");
    e.signalled = kind != WIRE_EXITED;
    e.dumped = kind == WIRE_DUMPED;
    e.status = (int)status;
    vm_agent_remove(p->agent, &p->entry);
    p->events.exited(p->user, p, &e);
    free(p);
    return 0;
}

int vm_process_handle(struct vm_process *p, const struct wire_header *h, const uint8_t *payload, struct gv_error *err)
{
    if (h->type == WIRE_ANSWER && !p->running)
        return handle_answer(p, payload, h->length, err);
    if (!p->running)
        return broke(err, p, "a message about a process that has not started");
    switch (h->type) {
    case WIRE_DATA:
        return handle_data(p, payload, h->length, err);
    case WIRE_CREDIT:
        return handle_credit(p, payload, h->length, err);
    case WIRE_INPUT_GONE:
        return handle_input_gone(p, err);
    case WIRE_EXIT:
        return handle_exit(p, payload, h->length, err);
    case WIRE_ANSWER:
        return broke(err, p, "a second answer");
    default:
        return broke(err, p, "an unknown kind of message");
    }
}
