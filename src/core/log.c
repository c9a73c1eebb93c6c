/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "core/error.h"

void gv_log_write(const struct gv_log *log, enum gv_log_level level, const char *fmt, ...)
{
    if (!log || !log->write)
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    struct gv_error clean = GV_ERROR_INIT; /* error messages are where control bytes get replaced */
    gv_error_set(&clean, GV_OK, 0, "%s", text);
    log->write(log->user, level, clean.msg);
}

void gv_format_size(char out[GV_SIZE_TEXT], uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1000 && u + 1 < sizeof(units) / sizeof(units[0])) {
        v /= 1024;
        u++;
    }
    snprintf(out, GV_SIZE_TEXT, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}
