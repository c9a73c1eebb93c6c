/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Passwords and tokens. A password is stored as scrypt makes it, with a salt; a token is 32 random bytes, so its SHA-256 tells nothing of it and is
 * looked up in one step. A token says that it is one by how it begins, so nobody's guesses at tokens cost us an scrypt.
 */
#ifndef GV_SERVE_SECRET_H
#define GV_SERVE_SECRET_H

#include <stdbool.h>

#include "core/core.h"

#define SECRET_PASSWORD_SIZE 160
#define SECRET_TOKEN "gvt_"
#define SECRET_TOKEN_SIZE 72

int secret_password_hash(const char *password, char out[SECRET_PASSWORD_SIZE], struct gv_error *err);
/* Takes its time (some 50 ms and 16 MiB) also with stored == NULL, for a user that there is not. */
bool secret_password_check(const char *password, const char *stored);

int secret_token_new(char out[SECRET_TOKEN_SIZE], struct gv_error *err);
bool secret_is_token(const char *s);
void secret_token_hash(const char *token, unsigned char out[GV_SHA256_SIZE]);

#endif
