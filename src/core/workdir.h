/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory that ends with its owner, however that ends. It is made, and in the end removed with all in it, by a process of its own
 * that waits for nothing but our end: so there is no moment, not even the first, in which SIGKILL could leave it behind.
 */
#ifndef GV_CORE_WORKDIR_H
#define GV_CORE_WORKDIR_H

#include "core/error.h"

struct gv_workdir;

/* Makes PARENT/PREFIX-XXXXXX with mode 0700. Call it before the process has threads: the keeper is a fork of it. */
int gv_workdir_open(struct gv_workdir **out, const char *parent, const char *prefix, struct gv_error *err);

/* Absolute, owned by w. */
const char *gv_workdir_path(const struct gv_workdir *w);

/* Removes the directory and frees w, whatever has become of the keeper. NULL is fine. */
int gv_workdir_remove(struct gv_workdir *w, struct gv_error *err);

#endif
