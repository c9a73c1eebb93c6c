/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Our own stdin, stdout and stderr, or descriptors that others gave us, for an event loop, without changing the open file descriptions that we share with the user's shell
 * (O_NONBLOCK left on a terminal breaks the programs after us). So each is opened anew through /proc/self/fd; only sockets, which cannot
 * be, are switched to non-blocking and back.
 */
#ifndef GV_CORE_STDIO_H
#define GV_CORE_STDIO_H

#include <stdbool.h>

struct gv_stdio {
    int fd;        /* ours to use; -1 = closed */
    bool own;      /* to be closed by us */
    bool restore;  /* O_NONBLOCK was set on a shared description and must go again */
    bool pollable; /* false for regular files and /dev/null, which are always ready */
};

/* std is 0, 1, 2 or another's descriptor, flags O_RDONLY or O_WRONLY. A closed std, or -1, gives fd -1 and is no error. */
void gv_stdio_open(struct gv_stdio *s, int std, int flags);
void gv_stdio_close(struct gv_stdio *s);

#endif
