/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Our own stdin, stdout and stderr on a libuv loop, without changing the open file descriptions that we share with the user's shell
 * (O_NONBLOCK left on a terminal breaks the programs after us). So each is opened anew through /proc/self/fd; only sockets, which cannot
 * be, are switched to non-blocking and back.
 */
#ifndef GV_SESSION_STREAMS_H
#define GV_SESSION_STREAMS_H

#include <stdbool.h>
#include <uv.h>

#include "core/core.h"

struct stdio_fd {
    int fd;        /* ours to use; -1 = closed */
    bool own;      /* to be closed by us */
    bool restore;  /* O_NONBLOCK was set on a shared description and must go again */
    bool pollable; /* false for regular files and /dev/null, which are always ready */
};

/* std is 0, 1 or 2, flags O_RDONLY or O_WRONLY. A closed std gives fd -1 and is no error. */
void stdio_fd_open(struct stdio_fd *s, int std, int flags);
void stdio_fd_close(struct stdio_fd *s);

/* An output stream with what could not be written yet. Whoever fills it bounds the amount (the guest's credit does). */
struct stdio_sink {
    struct stdio_fd out;
    uv_poll_t poll;
    bool polling, poll_open;
    struct gv_buf waiting;
    int error;                             /* errno of the first failure; nothing is written after it */
    void (*written)(void *user, size_t n); /* n bytes are out (or thrown away after an error) */
    void (*failed)(void *user, int error); /* once */
    void *user;
};

void stdio_sink_open(struct stdio_sink *s, uv_loop_t *loop, int std);
/* Writes what can be written now and keeps the rest. */
void stdio_sink_put(struct stdio_sink *s, const void *data, size_t n);
/* Stops polling and throws the rest away; the handle closes on the loop. */
void stdio_sink_close(struct stdio_sink *s);

#endif
