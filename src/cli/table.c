/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/table.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Characters of UTF-8: bytes that do not continue one. */
static size_t width(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void table_add(struct table *t, const char *text, size_t max)
{
    cleanup_buf struct gv_buf b = { 0 };
    cli_clean(&b, text);
    char *clean = gv_buf_str(&b);
    if (max && width(clean) > max) {
        char *at = clean;
        for (size_t n = 0; n < max - 3 || ((unsigned char)*at & 0xc0) == 0x80; at++)
            n += ((unsigned char)*at & 0xc0) != 0x80;
        strcpy(at, "...");
    }
    gv_strv_add(&t->cells, clean);
}

void table_print(struct table *t)
{
    size_t widths[TABLE_COLUMNS_MAX] = { 0 };
    for (size_t i = 0; i < t->cells.count; i++) {
        size_t w = width(t->cells.items[i]), *column = &widths[i % t->columns];
        *column = w > *column ? w : *column;
    }
    for (size_t i = 0; i < t->cells.count; i++) {
        const char *text = t->cells.items[i];
        size_t column = i % t->columns;
        fputs(text, stdout);
        if (column + 1 < t->columns)
            printf("%*s", (int)(widths[column] - width(text) + 2), "");
        else
            putchar('\n');
    }
    gv_strv_clear(&t->cells);
}
