/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What comes in by the socket of a VM with a name: more commands, and what is to become of the first one. */
#ifndef GV_SESSION_CONTROL_H
#define GV_SESSION_CONTROL_H

#include <uv.h>

#include "vm/vm.h"
#include "vms/vms.h"

struct control;

struct control_events {
    void (*stop)(void *user, unsigned grace_ms);
    void (*kill)(void *user, int signal);
    void (*idle)(void *user); /* the last command is gone, and its output is out */
};

struct control_config {
    uv_loop_t *loop;
    int dir; /* of the VM's entry */
    /* Of the main command; they outlive the control. */
    const struct gv_strv *env;
    const char *cwd, *user;
    unsigned cpus;
    const struct control_events *events;
    void *events_user;
};

int control_open(struct control **out, const struct control_config *config, struct gv_error *err);
/* The VM can run commands; NULL: it is no more, and all of its processes have ended. */
void control_set_vm(struct control *c, struct vm *vm);
/* Whether there are commands, or output of some. */
bool control_busy(const struct control *c);
/* No process runs any more. What output still waits is thrown away. The memory goes when the loop has closed the handles. NULL is fine. */
void control_close(struct control *c);

#endif
