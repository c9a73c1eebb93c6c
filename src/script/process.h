/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `script`: a program of the host whose output is wanted. */
#ifndef GV_SCRIPT_PROCESS_H
#define GV_SCRIPT_PROCESS_H

#include "script/script.h"

/*
 * Runs argv (argv[0] a path) in the directory, as a process group of its own, its stdin being empty. output is called with what it writes; stream is 1
 * or 2. 0 with *code, its exit status, or -1 when a signal ended it. When *cancelled becomes true the group gets SIGTERM, a second later SIGKILL, and
 * GV_E_CANCELLED is returned. What it has started does not keep us waiting when it has ended itself.
 */
int process_run(char *const *argv, const char *dir, const atomic_bool *cancelled,
                void (*output)(void *user, int stream, const void *p, size_t n), void *user, int *code, struct gv_error *err);

#endif
