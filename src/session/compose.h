/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef GV_SESSION_COMPOSE_H
#define GV_SESSION_COMPOSE_H

#include "core/core.h"

/* NAME=value takes the place of the variable of that name, or is added. What is no such text is left out. */
void compose_env_set(struct gv_strv *env, const char *entry);

#endif
