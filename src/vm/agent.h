/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `vm`: the host's end of the agent protocol (wire/wire.h) on one descriptor, with its table of requests and
 * processes. It knows nothing of QEMU, so the tests and the fuzzer drive it over a socketpair.
 *
 * Theory of operation. The descriptor is non-blocking and watched by one uv_poll_t. Bytes from the guest land in one fixed buffer; whole
 * frames are handled where they lie, so the output of a program is handed on without a copy. Bytes to the guest go into one queue, which
 * is sent at once as far as the socket takes it, and by the poll afterwards.
 *
 * Memory is bounded whatever the guest does: the input by the fixed buffer, output handed on by the credit we grant, stdin by the
 * credit the guest grants and by AGENT_QUEUE_STDIN, everything else by AGENT_QUEUE_MAX, at which the guest is taken for dead.
 *
 * Ids count up from 1 and are never used twice, so a message about an id that is not in the table can only be a lie, and ends the channel.
 *
 * The user's callbacks run only from the poll (or from vm_agent_drain and vm_agent_fail_all), never from inside a call that asks for something.
 */
#ifndef GV_VM_AGENT_H
#define GV_VM_AGENT_H

#include "vm/vm.h"
#include "wire/wire.h"

#define AGENT_INPUT_SIZE (256U << 10)
#define AGENT_QUEUE_STDIN (1U << 20) /* no more stdin is taken while so much waits to be sent */
#define AGENT_QUEUE_MAX (8U << 20)
#define AGENT_BUCKETS 64U

struct vm_agent;

struct vm_agent_events {
    /* The versions agree, our HELLO is on its way; requests may be made. `version` is the agent's own text. */
    void (*hello)(void *user, const char *version);
    /* The channel has ended: GV_E_DIED at its end of file, GV_E_PROTOCOL when the guest broke the rules. Once. */
    void (*broken)(void *user, const struct gv_error *why);
};

/* failed is NULL when the guest has done it. payload is the answer's. */
typedef void (*vm_agent_answer_fn)(void *user, const struct gv_error *failed, const void *payload, size_t n);

/* What an id stands for: a request without an answer, or a process (then it is the first member of struct vm_process). */
struct vm_agent_entry {
    struct vm_agent_entry *next;
    uint64_t id;
    struct vm_process *process;
    vm_agent_answer_fn answer;
    void *user;
};

struct vm_agent {
    uv_poll_t poll;
    int fd;
    int polled; /* events asked for last */
    bool greeted, broken, closed;
    bool held; /* nothing is read (vm_agent_hold) */
    struct vm_agent_events events;
    void *user;
    const struct gv_log *log;
    void (*on_closed)(void *user);

    uint8_t *input;
    size_t input_len;
    struct gv_buf queue; /* bytes to the guest, of which queue_at are sent */
    size_t queue_at;
    bool stdin_waits;        /* a process was refused stdin because the queue was full */
    struct gv_error pending; /* an error found inside a call, to be reported from the loop */

    uint64_t last_id;
    struct vm_agent_entry *buckets[AGENT_BUCKETS];
};

struct vm_process {
    struct vm_agent_entry entry;
    struct vm_agent *agent;
    struct vm_process_events events;
    void *user;
    bool running; /* RUN has been answered */
    bool tty, stdin_open, input_gone, want_writable;
    uint64_t stdin_credit;
    struct vm_process_stream {
        uint32_t window; /* bytes the guest may still send */
        uint32_t unread; /* bytes handed to the user and not consumed */
        uint32_t owed;   /* bytes consumed for which no credit has been sent */
        uint32_t limit;  /* the sum of the three */
    } streams[3];        /* 1 and 2 are used */
};

/* Takes over fd (made non-blocking) on success. events are copied. */
int vm_agent_open(struct vm_agent **out, uv_loop_t *loop, int fd, const struct vm_agent_events *events, void *user,
                  const struct gv_log *log, struct gv_error *err);
/* Stops and closes everything; closed() is called from the loop when the memory is released. Processes and requests are dropped without a word. */
void vm_agent_close(struct vm_agent *a, void (*closed)(void *user));
/* Reads all that is there already, as the poll would: for the last bytes of a QEMU that has ended. */
void vm_agent_drain(struct vm_agent *a);
/* Stops reading, or goes on. What lies in our buffer already is still handled. */
void vm_agent_hold(struct vm_agent *a, bool hold);
/* Every process gets failed(why), every request an answer of failure. */
void vm_agent_fail_all(struct vm_agent *a, const struct gv_error *why);

/* Ends the frame in w as a request with a new id, and queues it. fn may be NULL. -1 when the frame did not fit (GV_E_LIMIT), when the queue is
 * full (GV_E_BUSY) or the channel has ended (GV_E_DIED). */
int vm_agent_request(struct vm_agent *a, struct wire_writer *w, enum wire_type type, vm_agent_answer_fn fn, void *user,
                     struct gv_error *err);
int vm_agent_run(struct vm_process **out, struct vm_agent *a, const struct vm_process_spec *spec, const struct vm_process_events *events,
                 void *user, struct gv_error *err);

/* Between agent.c and process.c. */
void vm_agent_add(struct vm_agent *a, struct vm_agent_entry *e);
void vm_agent_remove(struct vm_agent *a, struct vm_agent_entry *e);
/* Queues n bytes and sends what the socket takes. More than AGENT_QUEUE_MAX ends the channel (reported from the loop). */
void vm_agent_send(struct vm_agent *a, const void *p, size_t n);
size_t vm_agent_queued(const struct vm_agent *a);
/* A frame about a process: DATA, CREDIT, EXIT, INPUT_GONE, or the ANSWER to its RUN. -1 and *err when it breaks the rules. */
int vm_process_handle(struct vm_process *p, const struct wire_header *h, const uint8_t *payload, struct gv_error *err);
/* The answer's errno and text as an error: 1 with *failed filled, 0 when the guest has done it, -1 when the answer is nonsense. */
int vm_agent_answer_error(const uint8_t *payload, size_t n, struct gv_error *failed);
void vm_process_offer_stdin(struct vm_process *p);

#endif
