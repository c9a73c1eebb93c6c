/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the commands that look into images share. */
#ifndef GV_CLI_LOOK_H
#define GV_CLI_LOOK_H

#include <jansson.h>

#include "cli/cli.h"

/* Output is all that these commands do: when its reader goes away they end, as cat and ls do. */
void look_begin(void);

/* "directory", "file", "symlink", "char", "block", "fifo", "socket" */
const char *look_type(int type);
/* "2024-05-01 12:30", local time */
void look_time(char out[32], int64_t t);

/* Sets key to the bytes of s. JSON is UTF-8: of what is not, the odd bytes become \xNN, and KEY_hex has all of them. */
void look_json_bytes(json_t *o, const char *key, const char *s);
/* A path of an image, with the '/' that it begins with. */
void look_json_path(json_t *o, const char *path);
/* type, mode, owner, times, size and so on. */
void look_json_stat(json_t *o, const struct gvmi_stat *st);

/* Elements of a JSON array that may be too long to be in memory whole; `count` starts as 0. Takes o over. */
void look_json_element(json_t *o, size_t *count);
void look_json_array_end(size_t count);
/* One object as the whole output. Takes o over. */
void look_json_print(json_t *o);

#endif
