/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/qmp.h"

#include <jansson.h>
#include <string.h>

static inline void gv_cleanup_json_fn(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(gv_cleanup_json_fn)))

static void send_quit(struct vm_qmp *q)
{
    gv_buf_addf(&q->out, "{\"execute\":\"quit\"}\n");
}

static int handle_object(struct vm_qmp *q, const json_t *o, struct gv_error *err)
{
    if (!q->greeted) {
        if (!json_is_object(json_object_get(o, "QMP")))
            return gv_error_set(err, GV_E_PROTOCOL, 0, "QEMU's monitor did not greet");
        q->greeted = true;
        gv_buf_addf(&q->out, "{\"execute\":\"qmp_capabilities\"}\n");
        return 0;
    }
    if (json_object_get(o, "return")) {
        if (!q->ready && q->quit_wanted)
            send_quit(q);
        q->ready = true;
        return 0;
    }
    const json_t *error = json_object_get(o, "error");
    if (error) {
        const char *desc = json_string_value(json_object_get(error, "desc"));
        return gv_error_set(err, GV_E_PROTOCOL, 0, "QEMU refused a command: %.200s", desc ? desc : "it does not say why");
    }
    const char *event = json_string_value(json_object_get(o, "event"));
    if (!event)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "QEMU's monitor said something that is not its protocol");
    if (!strcmp(event, "GUEST_PANICKED"))
        q->panicked = true;
    if (!strcmp(event, "SHUTDOWN") && !q->reason[0]) {
        const char *reason = json_string_value(json_object_get(json_object_get(o, "data"), "reason"));
        snprintf(q->reason, sizeof(q->reason), "%s", reason && *reason ? reason : "unknown");
    }
    return 0;
}

static int handle_line(struct vm_qmp *q, const char *line, size_t n, struct gv_error *err)
{
    if (n && line[n - 1] == '\r')
        n--;
    if (n == 0)
        return 0;
    json_error_t where;
    cleanup_json json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(o))
        return gv_error_set(err, GV_E_PROTOCOL, 0, "QEMU's monitor sent a line that is not a JSON object");
    return handle_object(q, o, err);
}

int vm_qmp_feed(struct vm_qmp *q, const void *data, size_t n, struct gv_error *err)
{
    const char *at = data;
    while (n > 0) {
        const char *newline = memchr(at, '\n', n);
        size_t part = newline ? (size_t)(newline - at) : n;
        if (part > QMP_LINE_MAX - q->line.len)
            return gv_error_set(err, GV_E_PROTOCOL, 0, "QEMU's monitor sent a line longer than %u bytes", QMP_LINE_MAX);
        gv_buf_add(&q->line, at, part);
        if (!newline)
            return 0;
        int status = handle_line(q, (const char *)q->line.data, q->line.len, err);
        q->line.len = 0;
        if (status < 0)
            return status;
        at += part + 1;
        n -= part + 1;
    }
    return 0;
}

void vm_qmp_quit(struct vm_qmp *q)
{
    if (q->quit_wanted)
        return;
    q->quit_wanted = true;
    if (q->ready)
        send_quit(q);
}

void vm_qmp_inject_nmi(struct vm_qmp *q)
{
    if (q->ready)
        gv_buf_addf(&q->out, "{\"execute\":\"inject-nmi\"}\n");
}

void vm_qmp_clear(struct vm_qmp *q)
{
    gv_buf_clear(&q->line);
    gv_buf_clear(&q->out);
}
