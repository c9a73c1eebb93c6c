/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Accounts, for `login`, `logout` and the door `gvmkit-build`. Each prints what came of it. */
#ifndef GV_CLI_LOGIN_H
#define GV_CLI_LOGIN_H

#include "cli/cli.h"

/* Asks on the terminal, or reads from standard input, what is not given. user may be NULL. */
int cli_login(const char *user, bool insecure, struct gv_error *err);
int cli_login_check(bool insecure, struct gv_error *err);
int cli_logout(struct gv_error *err);

#endif
