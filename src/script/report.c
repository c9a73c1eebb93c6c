/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "script/report.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

void report_init(struct report *r, const struct script_options *o)
{
    unsigned char random[16] = { 0 };
    *r = (struct report){ .o = o };
    (void)!getrandom(random, sizeof(random), 0); /* it is only to be told from others by a reader */
    gv_hex(r->batch, random, sizeof(random));
}

/* Now, in UTC; an event's time has no zone. */
static json_t *timestamp(const char *zone)
{
    struct timespec now;
    struct tm tm;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    return json_sprintf("%s.%09ld%s", text, now.tv_nsec, zone);
}

/* Takes over value. */
static void tell_event(struct report *r, const char *kind, json_t *value)
{
    if (r->o->events) {
        json_t *event = json_pack("{s:s, s:I, s:o, s:{s:O}}", "batch_id", r->batch, "index", (json_int_t)r->index, "timestamp",
                                  timestamp(""), "kind", kind, value);
        if (event)
            r->o->tell(r->o->user, event);
        json_decref(event);
    }
    json_decref(value);
}

void report_begin(struct report *r, size_t index, const struct script_command *c)
{
    static const struct script_capture all = { .stream = true, .head = UINT64_MAX };
    r->index = index;
    r->command = c;
    r->progress_told = 0;
    for (int i = 1; i <= 2; i++)
        capture_init(&r->capture[i], c->kind == SCRIPT_RUN ? &c->capture[i] : &all);
    tell_event(r, "started", json_pack("{s:O}", "command", c->json));
}

void report_output(struct report *r, int stream, const void *p, size_t n)
{
    struct capture *c = &r->capture[stream];
    bool was_cut = c->cut;
    size_t told = capture_add(c, p, n);
    if (c->cut && !was_cut)
        gv_warn(r->o->log, "command %zu writes more than %zu MiB to its std%s; only the beginning is in its result", r->index,
                SCRIPT_KEEP_MAX >> 20, stream == 1 ? "out" : "err");
    if (told)
        tell_event(r, stream == 1 ? "stdout" : "stderr", c->how.binary ? text_numbers(p, told) : text_lossy(p, told));
}

void report_progress(struct report *r, uint64_t done, uint64_t total)
{
    struct timespec t;
    if (!r->o->events || !r->command->progress)
        return;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 + 1;
    /* The last one is told whatever the clock says. */
    if (done != total && r->progress_told && now - r->progress_told < r->command->progress_ms)
        return;
    r->progress_told = now;
    json_t *size = total == TRANSFER_SIZE_UNKNOWN ? json_null() : json_integer((json_int_t)total);
    tell_event(r, "progress",
               json_pack("{s:[i,i], s:n, s:[I,o], s:s}", "step", 0, 1, "message", "progress", (json_int_t)done, size, "unit", "Bytes"));
}

static json_t *message_json(const char *message)
{
    return message ? text_whole((const unsigned char *)message, strlen(message)) : json_null();
}

void report_end(struct report *r, int code, const char *message, bool last)
{
    tell_event(r, "finished", json_pack("{s:i, s:o}", "return_code", code, "message", message_json(message)));
    if (!r->o->events) {
        json_t *result = json_pack("{s:I, s:s, s:o, s:o, s:o, s:b, s:o}", "index", (json_int_t)r->index, "result", code ? "Error" : "Ok",
                                   "stdout", capture_json(&r->capture[1]), "stderr", capture_json(&r->capture[2]), "message",
                                   message_json(message), "isBatchFinished", last || code, "eventDate", timestamp("Z"));
        if (result)
            r->o->tell(r->o->user, result);
        json_decref(result);
    }
    capture_clear(&r->capture[1]);
    capture_clear(&r->capture[2]);
}
