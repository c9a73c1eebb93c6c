/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: what is on its way to the supervisor. Frames leave in the order in which they came in. They are
 * written at the end of a turn of the loop; a little output waits some milliseconds for more, unless something else follows it. Until then output is kept
 * without its frame, and what follows it makes the same event larger, up to OUTBOX_CHUNK bytes. So a busy process or a slow reader means fewer and
 * larger events.
 *
 * The outbox does not bound itself: it says how much it holds, and its user stops what fills it (vm_hold, and not reading requests).
 */
#ifndef GV_EXEUNIT_OUTBOX_H
#define GV_EXEUNIT_OUTBOX_H

#include <stdbool.h>
#include <uv.h>

#include "core/core.h"
#include "exeunit/proto.h"

#define OUTBOX_CHUNK 65536U

struct outbox_item;

struct outbox {
    struct gv_stdio out;
    uv_poll_t poll;
    bool poll_open, polling;
    uv_prepare_t prepare;
    uv_timer_t wait; /* for more output */
    bool deferred;   /* there is something to be written at the end of this turn */
    struct outbox_item *first, *last;
    size_t held; /* bytes of memory in the items */
    int error;   /* errno of the first failure; what comes after it is thrown away */
    /* n bytes of a process's output are gone (written, or thrown away). */
    void (*sent)(void *user, uint64_t pid, int stream, size_t n);
    /* Something has left the outbox, or it has failed. Never called from inside a call of the outbox. */
    void (*moved)(void *user);
    void *user;
};

/* b->sent, moved and user are set. Takes descriptor fd as it is (a duplicate of stdout, not yet non-blocking); b closes it. */
void outbox_open(struct outbox *b, uv_loop_t *loop, int fd);
/* A whole frame, or several. */
void outbox_put(struct outbox *b, const struct gv_buf *frame);
/* n bytes that process pid has written to stream 1 or 2. */
void outbox_put_output(struct outbox *b, uint64_t pid, int stream, const void *data, size_t n);
/* Throws away what waits. The handle closes on the loop. */
void outbox_close(struct outbox *b);

#endif
