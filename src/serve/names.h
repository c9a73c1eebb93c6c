/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names from outside: every one is checked here before anything is done with it. None of them ever becomes part of a path but ids, which are hex. */
#ifndef GV_SERVE_NAMES_H
#define GV_SERVE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "core/core.h"

#define NAME_MAX_USER 64
#define NAME_MAX_TAG 128

struct reference {
    char user[NAME_MAX_USER + 1];
    char repo[NAME_MAX_USER + 1];
    char tag[NAME_MAX_TAG + 1];
};

/* Whether s is 1..most of a-z A-Z 0-9 . _ - and begins with a letter or a digit. */
bool name_valid(const char *s, size_t most);
/* USER/REPO[:TAG]; without a tag it is "latest". */
int reference_parse(const char *s, struct reference *out, struct gv_error *err);
/* USER/REPO */
int reference_parse_repo(const char *s, struct reference *out, struct gv_error *err);
/* Whether s may be repeated in an URL as its host: letters, digits, . - : and brackets. */
bool host_valid(const char *s);

#endif
