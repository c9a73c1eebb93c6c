/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sessions of VMs with a name, on this terminal or in a process of their own. */
#ifndef GV_CLI_LAUNCH_H
#define GV_CLI_LAUNCH_H

#include "cli/cli.h"
#include "session/session.h"

struct launch {
    const char *name; /* NULL = one is made up */
    bool detach;
    const char *word; /* the image as the user wrote it */
};

/* As session_run(). Detached, it returns when the command has started, in the calling process with *name (the caller's to free) and status 0, and in a
 * process of its own, where *name is NULL and there is nothing to print, with its end. */
int launch_run(const struct launch *launch, struct session_options *options, char **name, int *status, struct gv_error *err);

#endif
