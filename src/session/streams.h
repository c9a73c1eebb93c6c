/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Output (core/stdio.h) on a libuv loop. */
#ifndef GV_SESSION_STREAMS_H
#define GV_SESSION_STREAMS_H

#include <stdbool.h>
#include <uv.h>

#include "core/core.h"

/* An output stream with what could not be written yet. Whoever fills it bounds the amount (the guest's credit does). */
struct stdio_sink {
    struct gv_stdio out;
    uv_poll_t poll;
    bool polling, poll_open;
    struct gv_buf waiting;
    int error;                             /* errno of the first failure; nothing is written after it */
    void (*written)(void *user, size_t n); /* n bytes are out (or thrown away after an error) */
    void (*failed)(void *user, int error); /* once */
    void (*closed)(void *user);            /* after stdio_sink_close(): the loop has nothing of it any more */
    void *user;
};

/* The callbacks are set before. fd = -1, or closed: what is put goes nowhere. */
void stdio_sink_open(struct stdio_sink *s, uv_loop_t *loop, int fd);
/* Writes what can be written now and keeps the rest. */
void stdio_sink_put(struct stdio_sink *s, const void *data, size_t n);
/* From now on everything is thrown away, beginning with what waits. */
void stdio_sink_discard(struct stdio_sink *s);
/* Stops polling and throws the rest away; then `closed`, in the loop or at once. */
void stdio_sink_close(struct stdio_sink *s);

#endif
