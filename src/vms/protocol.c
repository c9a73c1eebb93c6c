/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vms/protocol.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define GRACE_MAX_MS 86400000
#define BUILTIN_MAX 255

static inline void json_cleanup(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(json_cleanup)))

void protocol_address(struct sockaddr_un *a, int dir)
{
    *a = (struct sockaddr_un){ .sun_family = AF_UNIX };
    snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", dir, PROTOCOL_SOCKET);
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------------ */

static json_t *bytes_json(const char *s)
{
    cleanup_buf struct gv_buf b = { 0 };
    gv_buf_reserve(&b, strlen(s) + 1);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x80) {
            gv_buf_add(&b, &c, 1);
        } else {
            unsigned char two[2] = { (unsigned char)(0xc0 | c >> 6), (unsigned char)(0x80 | (c & 0x3f)) };
            gv_buf_add(&b, two, 2);
        }
    }
    return json_stringn_nocheck(gv_buf_str(&b), b.len);
}

/* NULL when it is no text of bytes. The decoder has seen to it that it is UTF-8 without NUL. */
static char *json_bytes(const json_t *j)
{
    const char *s = json_string_value(j);
    size_t n = json_string_length(j);
    if (!s)
        return NULL;
    char *out = gv_alloc(n + 1), *at = out;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x80) {
            if (c > 0xc3 || i + 1 == n) {
                free(out);
                return NULL;
            }
            c = (unsigned char)(c << 6 | ((unsigned char)s[++i] & 0x3f));
        }
        *at++ = (char)c;
    }
    *at = '\0';
    return out;
}

static json_t *list_json(const char *const *list)
{
    json_t *a = json_array();
    for (size_t i = 0; list && list[i]; i++)
        json_array_append_new(a, bytes_json(list[i]));
    return a;
}

static void put_line(struct gv_buf *b, const json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    if (!text)
        abort(); /* no memory */
    gv_buf_addf(b, "%s\n", text);
    free(text);
}

/* ---- saying ----------------------------------------------------------------------------------------------------------------------- */

static json_t *program_json(const struct vms_request *r)
{
    json_t *o = json_object();
    json_object_set_new(o, "op", json_string(r->op == VMS_EXEC ? "exec" : "builtin"));
    json_object_set_new(o, "argv", list_json(r->argv));
    json_object_set_new(o, "stdin", json_boolean(r->stdin_open));
    if (r->op == VMS_BUILTIN) {
        json_object_set_new(o, "builtin", json_integer(r->builtin));
        return o;
    }
    json_object_set_new(o, "env", list_json(r->env));
    if (r->cwd)
        json_object_set_new(o, "cwd", bytes_json(r->cwd));
    if (r->user)
        json_object_set_new(o, "user", bytes_json(r->user));
    json_object_set_new(o, "tty", json_boolean(r->tty));
    json_object_set_new(o, "rows", json_integer(r->rows));
    json_object_set_new(o, "columns", json_integer(r->columns));
    return o;
}

int protocol_put_request(struct gv_buf *b, const struct vms_request *r, struct gv_error *err)
{
    cleanup_json json_t *o = NULL;
    switch (r->op) {
    case VMS_EXEC:
    case VMS_BUILTIN:
        o = program_json(r);
        break;
    case VMS_STATS:
        o = json_pack("{s:s}", "op", "stats");
        break;
    case VMS_STOP:
        o = json_pack("{s:s, s:I}", "op", "stop", "grace", (json_int_t)r->grace_ms);
        break;
    case VMS_KILL:
        o = json_pack("{s:s, s:i}", "op", "kill", "signal", r->signal);
        break;
    }
    size_t before = b->len;
    put_line(b, o);
    if (b->len - before > VMS_LINE_MAX) {
        b->len = before;
        return gv_error_set(err, GV_E_LIMIT, E2BIG, "the arguments and the environment are too large");
    }
    return 0;
}

void protocol_put_message(struct gv_buf *b, const struct message *m)
{
    if (m->signal)
        gv_buf_addf(b, "{\"signal\":%d}\n", m->signal);
    else
        gv_buf_addf(b, "{\"resize\":[%u,%u]}\n", m->rows, m->columns);
}

static json_t *stats_json(const struct vms_stats *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "at_ms", (json_int_t)s->at_ms, "cpu_ms", (json_int_t)s->cpu_ms, "memory",
                     (json_int_t)s->memory, "guest_total", (json_int_t)s->guest_total, "guest_used", (json_int_t)s->guest_used, "processes",
                     (json_int_t)s->processes, "cpus", (json_int_t)s->cpus);
}

void protocol_put_answer(struct gv_buf *b, const struct vms_answer *a)
{
    cleanup_json json_t *o = NULL;
    switch (a->kind) {
    case VMS_STARTED:
        o = json_pack("{s:b}", "started", 1);
        break;
    case VMS_EXITED:
        o = json_pack("{s:i}", "exit", a->status);
        break;
    case VMS_SIGNALLED:
        o = json_pack("{s:i}", "signal", a->status);
        break;
    case VMS_FAILED:
        o = json_pack("{s:o, s:i, s:i}", "error", bytes_json(a->error.msg), "code", (int)a->error.code, "errno", a->error.sys);
        break;
    case VMS_DONE:
        o = json_pack("{s:b}", "done", 1);
        break;
    case VMS_STATS_ARE:
        o = json_pack("{s:o}", "stats", stats_json(&a->stats));
        break;
    }
    put_line(b, o);
}

/* ---- hearing ---------------------------------------------------------------------------------------------------------------------- */

static int broken(struct gv_error *err, const char *what)
{
    return gv_error_set(err, GV_E_PROTOCOL, 0, "a line on the VM's socket is wrong: %s", what);
}

static json_t *load(const char *line, size_t n, struct gv_error *err)
{
    if (n > VMS_LINE_MAX) {
        broken(err, "it is too long");
        return NULL;
    }
    json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(j)) {
        json_decref(j);
        broken(err, "it is no JSON object");
        return NULL;
    }
    return j;
}

/* The number at key, or fallback when there is none. */
static int get_number(const json_t *o, const char *key, json_int_t min, json_int_t max, json_int_t fallback, json_int_t *out,
                      struct gv_error *err)
{
    const json_t *j = json_object_get(o, key);
    *out = j ? json_integer_value(j) : fallback;
    if (j && (!json_is_integer(j) || *out < min || *out > max))
        return broken(err, key);
    return 0;
}

static int get_flag(const json_t *o, const char *key, bool *out, struct gv_error *err)
{
    const json_t *j = json_object_get(o, key);
    *out = json_is_true(j);
    return j && !json_is_boolean(j) ? broken(err, key) : 0;
}

static int get_text(const json_t *o, const char *key, char **out, struct gv_error *err)
{
    const json_t *j = json_object_get(o, key);
    *out = j ? json_bytes(j) : NULL;
    return j && !*out ? broken(err, key) : 0;
}

static int get_list(const json_t *o, const char *key, struct gv_strv *out, struct gv_error *err)
{
    const json_t *list = json_object_get(o, key);
    if (list && (!json_is_array(list) || json_array_size(list) > VMS_ARGS_MAX))
        return broken(err, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        char *s = json_bytes(json_array_get(list, i));
        if (!s)
            return broken(err, key);
        gv_strv_take(out, s);
    }
    return 0;
}

void heard_clear(struct heard *h)
{
    gv_strv_clear(&h->argv);
    gv_strv_clear(&h->env);
    free(h->cwd);
    free(h->user);
    *h = (struct heard){ 0 };
}

static int get_program(struct heard *h, const json_t *o, struct gv_error *err)
{
    struct vms_request *r = &h->request;
    json_int_t rows, columns, builtin;
    if (get_list(o, "argv", &h->argv, err) < 0 || get_list(o, "env", &h->env, err) < 0 || get_text(o, "cwd", &h->cwd, err) < 0 ||
        get_text(o, "user", &h->user, err) < 0 || get_flag(o, "stdin", &r->stdin_open, err) < 0 || get_flag(o, "tty", &r->tty, err) < 0 ||
        get_number(o, "rows", 0, UINT16_MAX, 0, &rows, err) < 0 || get_number(o, "columns", 0, UINT16_MAX, 0, &columns, err) < 0 ||
        get_number(o, "builtin", 1, BUILTIN_MAX, 0, &builtin, err) < 0)
        return -1;
    if (!h->argv.count)
        return broken(err, "argv");
    if ((r->op == VMS_BUILTIN) != (builtin != 0))
        return broken(err, "builtin");
    r->argv = (const char *const *)h->argv.items;
    r->env = (const char *const *)h->env.items;
    r->cwd = h->cwd;
    r->user = h->user;
    r->rows = (uint16_t)rows;
    r->columns = (uint16_t)columns;
    r->builtin = (unsigned)builtin;
    return 0;
}

static int get_request(struct heard *h, const json_t *o, struct gv_error *err)
{
    static const char *const ops[] = {
        [VMS_EXEC] = "exec", [VMS_BUILTIN] = "builtin", [VMS_STATS] = "stats", [VMS_STOP] = "stop", [VMS_KILL] = "kill"
    };
    const char *word = json_string_value(json_object_get(o, "op"));
    size_t op = 0;
    while (op < sizeof(ops) / sizeof(ops[0]) && (!word || strcmp(word, ops[op]) != 0))
        op++;
    if (op == sizeof(ops) / sizeof(ops[0]))
        return broken(err, "op");
    h->request.op = (enum vms_op)op;
    json_int_t n = 0;
    if (op == VMS_EXEC || op == VMS_BUILTIN)
        return get_program(h, o, err);
    if (op == VMS_STOP) {
        if (get_number(o, "grace", 0, GRACE_MAX_MS, 0, &n, err) < 0)
            return -1;
        h->request.grace_ms = (unsigned)n;
    } else if (op == VMS_KILL) {
        if (get_number(o, "signal", 1, SIGRTMAX, 0, &n, err) < 0)
            return -1;
        if (!n)
            return broken(err, "signal");
        h->request.signal = (int)n;
    }
    return 0;
}

int protocol_get_request(struct heard *h, const char *line, size_t n, struct gv_error *err)
{
    cleanup_json json_t *o = load(line, n, err);
    if (!o)
        return -1;
    if (get_request(h, o, err) < 0) {
        heard_clear(h);
        return -1;
    }
    return 0;
}

int protocol_get_message(struct message *m, const char *line, size_t n, struct gv_error *err)
{
    cleanup_json json_t *o = load(line, n, err);
    json_int_t signal;
    if (!o || get_number(o, "signal", 1, SIGRTMAX, 0, &signal, err) < 0)
        return -1;
    *m = (struct message){ .signal = (int)signal };
    if (signal)
        return 0;
    const json_t *size = json_object_get(o, "resize");
    json_int_t rows = json_integer_value(json_array_get(size, 0)), columns = json_integer_value(json_array_get(size, 1));
    if (json_array_size(size) != 2 || rows < 1 || rows > UINT16_MAX || columns < 1 || columns > UINT16_MAX)
        return broken(err, "neither a signal nor a size");
    m->rows = (uint16_t)rows;
    m->columns = (uint16_t)columns;
    return 0;
}

static int get_stats(struct vms_stats *s, const json_t *o, struct gv_error *err)
{
    const struct {
        const char *key;
        uint64_t *value;
    } fields[] = {
        { "at_ms", &s->at_ms },           { "cpu_ms", &s->cpu_ms },       { "memory", &s->memory }, { "guest_total", &s->guest_total },
        { "guest_used", &s->guest_used }, { "processes", &s->processes }, { "cpus", &s->cpus }
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        json_int_t n;
        if (get_number(o, fields[i].key, 0, INT64_MAX, 0, &n, err) < 0)
            return -1;
        *fields[i].value = (uint64_t)n;
    }
    return 0;
}

static int get_failure(struct gv_error *e, const json_t *o, struct gv_error *err)
{
    json_int_t code, sys;
    if (get_number(o, "code", GV_E_IO, GV_E_INTERNAL, GV_E_INTERNAL, &code, err) < 0 || get_number(o, "errno", 0, 4095, 0, &sys, err) < 0)
        return -1;
    cleanup_free char *text = json_bytes(json_object_get(o, "error"));
    if (!text)
        return broken(err, "error");
    gv_error_set(e, (enum gv_code)code, 0, "%s", text);
    e->sys = (int)sys; /* its words are in the text */
    return 0;
}

int protocol_get_answer(struct vms_answer *a, const char *line, size_t n, struct gv_error *err)
{
    cleanup_json json_t *o = load(line, n, err);
    *a = (struct vms_answer){ 0 };
    if (!o)
        return -1;
    json_int_t status = 0;
    if (json_object_get(o, "started")) {
        a->kind = VMS_STARTED;
    } else if (json_object_get(o, "done")) {
        a->kind = VMS_DONE;
    } else if (json_object_get(o, "exit")) {
        a->kind = VMS_EXITED;
        if (get_number(o, "exit", 0, 255, 0, &status, err) < 0)
            return -1;
    } else if (json_object_get(o, "signal")) {
        a->kind = VMS_SIGNALLED;
        if (get_number(o, "signal", 1, 127, 0, &status, err) < 0)
            return -1;
    } else if (json_object_get(o, "stats")) {
        a->kind = VMS_STATS_ARE;
        return get_stats(&a->stats, json_object_get(o, "stats"), err);
    } else {
        a->kind = VMS_FAILED;
        return get_failure(&a->error, o, err);
    }
    a->status = (int)status;
    return 0;
}
