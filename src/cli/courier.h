/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A builtin of a VM's agent, and what we do at the other end of its stream. The builtin runs in the guest, between its owner's descriptors and
 * ours; the work at our end, which blocks, has a thread of its own, so that signals, and what the guest says on stderr, are heard meanwhile.
 */
#ifndef GV_CLI_COURIER_H
#define GV_CLI_COURIER_H

#include <stdatomic.h>

#include "cli/cli.h"

struct courier {
    const char *vm;      /* its name */
    unsigned builtin;    /* enum vm_builtin */
    const char *argv[3]; /* its arguments, NULL-terminated */
    bool sends;          /* the stream is the builtin's stdin; else its stdout */
    int fd;              /* -1, or a descriptor of ours that is the stream, instead of work */
    /* Reads or writes the stream; fd is closed after it. */
    int (*work)(void *user, int fd, struct gv_error *err);
    void *user;
    const struct gv_log *log;
};

/* Whether a signal has told us to stop: for the work to look at. */
const atomic_bool *courier_cancelled(void);

/*
 * Does it. 0 when both ends have done their part. What the guest has said on stderr becomes warnings, or the reason of its failure. GV_E_CANCELLED after SIGINT, SIGTERM or
 * SIGHUP, err->sys is its number then; a second one ends the process.
 */
int courier_run(const struct courier *c, struct gv_error *err);

#endif
