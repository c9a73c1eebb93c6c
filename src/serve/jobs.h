/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Threads for what takes longer than a serving thread may be held up: writing to the disk, hashing, passwords. */
#ifndef GV_SERVE_JOBS_H
#define GV_SERVE_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"

struct jobs;

/* threads that take jobs in their order, with at most `most` waiting. */
int jobs_new(struct jobs **out, size_t threads, size_t most, struct gv_error *err);
/* fn(arg) will be called by one of the threads. false when too many wait, or it is to end: then it will not. */
bool jobs_submit(struct jobs *j, void (*fn)(void *arg), void *arg);
/* No more jobs are taken; waits until those that there are have ended, at most ms. false when some have not: then j, and what they use, must stay. */
bool jobs_end(struct jobs *j, uint64_t ms);
/* After jobs_end() has returned true. NULL is fine. */
void jobs_free(struct jobs *j);

#endif
