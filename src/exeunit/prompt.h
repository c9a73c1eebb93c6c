/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: lines from whoever drives `gvmkit dbg`. At a terminal they can be edited, and those of earlier sessions come back
 * (GNU readline); from anywhere else they are taken as they come.
 */
#ifndef GV_EXEUNIT_PROMPT_H
#define GV_EXEUNIT_PROMPT_H

#include "core/core.h"

struct prompt;

/* Opens stdin. text stands before each line at a terminal. With history, lines are kept in the state directory (gv_state_dir), readable for us alone,
 * the last thousand of them; when that is not possible it is told, and goes on without. There is one prompt at a time. */
struct prompt *prompt_open(const char *text, bool history, const struct gv_log *log) __attribute__((returns_nonnull));
/* 1 with the next line, without its end, for the caller to free; 0 at the end. Ctrl-C empties the line. */
int prompt_read(struct prompt *p, char **line);
void prompt_close(struct prompt *p);

#endif
