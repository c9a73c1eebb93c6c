/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Notes below the level of errors. Libraries do not print: they hand notes to a struct gv_log given by the caller (NULL = silent).
 */
#ifndef GV_CORE_LOG_H
#define GV_CORE_LOG_H

#include <stdint.h>

enum gv_log_level { GV_LOG_WARNING, GV_LOG_NOTE, GV_LOG_DEBUG };

struct gv_log {
    /* text is one line without newline, control bytes already replaced. */
    void (*write)(void *user, enum gv_log_level level, const char *text);
    void *user;
};

void gv_log_write(const struct gv_log *log, enum gv_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define gv_warn(log, ...) gv_log_write((log), GV_LOG_WARNING, __VA_ARGS__)
#define gv_note(log, ...) gv_log_write((log), GV_LOG_NOTE, __VA_ARGS__)
#define gv_debug(log, ...) gv_log_write((log), GV_LOG_DEBUG, __VA_ARGS__)

/* "12.3 MiB", for people. */
#define GV_SIZE_TEXT 32
void gv_format_size(char out[GV_SIZE_TEXT], uint64_t bytes);

/* Progress of long work. update may be called from any thread, at any rate: the receiver throttles. total is 0 when unknown. */
struct gv_progress {
    void (*update)(void *user, const char *what, uint64_t done, uint64_t total);
    void *user;
};

static inline void gv_progress_update(const struct gv_progress *p, const char *what, uint64_t done, uint64_t total)
{
    if (p && p->update)
        p->update(p->user, what, done, total);
}

#endif
