/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Passwords: asked for on the terminal without being shown, or read from a file. */
#ifndef GV_CLI_PASSWORD_H
#define GV_CLI_PASSWORD_H

#include "core/core.h"

#define CLI_PASSWORD_MAX 1024U

/* A password is in memory in one place, which is wiped. */
struct cli_password {
    char text[CLI_PASSWORD_MAX];
};

/* The first line of the file ("-": of standard input); NULL: asks on the terminal. */
int cli_password_get(struct cli_password *p, const char *file, const char *prompt, struct gv_error *err);
void cli_password_clear(struct cli_password *p);

#endif
