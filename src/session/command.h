/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One process in the guest, and the three descriptors of the host that are its standard streams. */
#ifndef GV_SESSION_COMMAND_H
#define GV_SESSION_COMMAND_H

#include <stdbool.h>
#include <uv.h>

#include "vm/vm.h"
#include "vms/vms.h"

struct command;

struct command_events {
    void (*started)(void *user); /* may be NULL */
    /* The process is gone: how it ended, or (NULL) why there is no such end. Its output may still wait for its readers. */
    void (*ended)(void *user, const struct vm_exit *e, const struct gv_error *why);
    /* After that: nothing waits any more. May come inside of ended, and again. */
    void (*drained)(void *user);
    /* Output cannot be written; what follows goes nowhere. At most once for each stream. */
    void (*output_failed)(void *user, int error);
};

struct command_config {
    uv_loop_t *loop;
    int fds[3];          /* -1 = nothing */
    bool own_fds;        /* closed with the command */
    struct vms_log *log; /* takes the output instead; NULL = none */
    const struct command_events *events;
    void *user;
};

/* Opens the descriptors. Output that the loop cannot wait for is written at once. */
struct command *command_new(const struct command_config *config) __attribute__((returns_nonnull));
/* Starts the process; input is moved if the spec has stdin_open. On success started or ended follows. */
int command_start(struct command *c, struct vm *vm, const struct vm_process_spec *spec, struct gv_error *err);
bool command_runs(const struct command *c);
/* Whether output waits for its readers. */
bool command_waits(const struct command *c);
void command_signal(struct command *c, int signal, bool group);
void command_resize(struct command *c, uint16_t rows, uint16_t columns);
/* Whoever had it is gone: output goes nowhere; SIGHUP to the group, SIGKILL after ten seconds. */
void command_hang_up(struct command *c);
/* The process does not run (any more, or yet). The memory goes when the loop has closed the handles. NULL is fine. */
void command_free(struct command *c);

#endif
