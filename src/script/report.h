/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `script`: what is kept of a stream, and what is told of a command. */
#ifndef GV_SCRIPT_REPORT_H
#define GV_SCRIPT_REPORT_H

#include "script/script.h"

/* ---- text.c: bytes as JSON ---- */

/* UTF-8 as it is; if it is none, each byte as the character of Latin-1. */
json_t *text_whole(const unsigned char *p, size_t n);
/* With U+FFFD for what is no UTF-8. */
json_t *text_lossy(const unsigned char *p, size_t n);
/* An array of numbers. */
json_t *text_numbers(const unsigned char *p, size_t n);

/* ---- capture.c ---- */

struct capture {
    struct script_capture how; /* head: what is left of it */
    struct gv_buf head;
    unsigned char *ring; /* the last how.tail bytes; its beginning is at ring_at */
    size_t ring_size, ring_at, ring_cap;
    bool cut; /* more came than is kept, without a limit that was asked for */
};

void capture_init(struct capture *c, const struct script_capture *how);
/* Takes n bytes. Returns how many of the first of them are to be told at once. */
size_t capture_add(struct capture *c, const unsigned char *p, size_t n);
/* What was kept, as the format has it; null when it is nothing. */
json_t *capture_json(const struct capture *c);
void capture_clear(struct capture *c);

/* ---- report.c ---- */

struct report {
    const struct script_options *o;
    char batch[33]; /* an id of this execution */
    size_t index;   /* of the command */
    const struct script_command *command;
    struct capture capture[3];
    uint64_t progress_told; /* milliseconds of the monotonic clock, 0 = never */
};

void report_init(struct report *r, const struct script_options *o);
/* A command begins. */
void report_begin(struct report *r, size_t index, const struct script_command *c);
/* Output of it. stream is 1 or 2. */
void report_output(struct report *r, int stream, const void *p, size_t n);
/* How far it is; told no more often than it asks for. */
void report_progress(struct report *r, uint64_t done, uint64_t total);
/* A command has ended: code 0 is success. message may be NULL. */
void report_end(struct report *r, int code, const char *message, bool last);

#endif
