/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text in columns that are as wide as they must be. */
#ifndef GV_CLI_TABLE_H
#define GV_CLI_TABLE_H

#include <stddef.h>

#include "core/core.h"

#define TABLE_COLUMNS_MAX 8U

struct table {
    size_t columns;
    struct gv_strv cells; /* row after row */
};

/* Adds a cell; control bytes are made harmless, and what is longer than max characters (0 = any) is cut. */
void table_add(struct table *t, const char *text, size_t max);
/* Prints all rows and empties the table. */
void table_print(struct table *t);

#endif
