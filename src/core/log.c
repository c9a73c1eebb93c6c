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
