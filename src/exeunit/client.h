/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The supervisor's side of the protocol, for the debug client and for scripts: the second header of this room that others may include. One command at a
 * time, and each call waits for what it is about. What a runtime must not do (an event of a process that nobody asked for, an event after the end, an answer to nothing) is noted and goes
 * on, so that runtimes can be compared.
 */
#ifndef GV_EXEUNIT_CLIENT_H
#define GV_EXEUNIT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/core.h"

struct client_events {
    /* Output of the command, stream 1 or 2. */
    void (*output)(void *user, int stream, const void *data, size_t n);
    void (*counter)(void *user, const char *name, double value);
    /* The runtime has broken a rule of the protocol. */
    void (*violation)(void *user, const char *text);
    /* Asked several times a second: true ends what waits with GV_E_CANCELLED. NULL: SIGINT goes to the command that runs, and nothing ends. */
    bool (*stop)(void *user);
};

struct client;

/* An error answer of the runtime. */
struct client_refusal {
    bool refused;
    int code;
    char message[512]; /* cleaned for a terminal */
};

/* Starts a runtime with argv (argv[0] a path) as a process group of its own, in the directory `dir` (NULL = ours), its stderr being ours. */
int client_start(struct client **out, char *const *argv, const char *dir, const struct client_events *events, void *user,
                 struct gv_error *err);
/* Waits for the answer to Hello: 0 with *version, the caller's to free, or with refusal->refused. -1 when the runtime is gone. */
int client_hello(struct client *c, const char *protocol, char **version, struct client_refusal *refusal, struct gv_error *err);
/* Runs a program and waits for its end: 0 with *code, or with refusal->refused. -1 when the runtime is gone. */
int client_run(struct client *c, const char *bin, const struct gv_strv *args, uint64_t *pid, int *code, struct client_refusal *refusal,
               struct gv_error *err);
/* Shutdown, the end of its stdin, and at last SIGKILL; frees c. *status is as from waitpid(2). -1 when it did not answer in time or had to be
 * killed; *status is set in any case. */
int client_end(struct client *c, int *status, struct gv_error *err);

#endif
