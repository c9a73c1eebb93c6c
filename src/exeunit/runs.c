/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Processes. The supervisor ties a process to a run by the first event whose pid it does not know, so the rules are: the answer to the run, then at once
 * an event `running`, then its output, then exactly one event of its end and nothing after it; and no event of a process that was not asked for. Pids
 * count up from 1 and are never used twice. A program that cannot be started gets an error answer and no event.
 *
 * The return code is the exit code, or 128 + N when signal N ended the process, as shells have it. When its VM has died under it, the code is
 * -1 and the event's stderr says why.
 *
 * The image's entrypoint (start-entrypoint) is nobody's run: its events could be taken for those of the next run. Its output goes to a file in the
 * work directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>

#include "exeunit/server.h"

#define CAPTURE_MAX (1U << 20) /* bytes that at_end may ask for */
#define CAPTURE_SLACK 65536U
#define CAPTURED_MAX (2U << 20)  /* for all runs together */
#define ENTRY_LOG_MAX (1U << 20) /* bytes kept of the entrypoint's output */
#define ENTRY_LOG "entrypoint.log"
#define CODE_VM_DIED (-1)

enum keep { KEEP_ALL, KEEP_NOTHING, KEEP_TAIL };

struct run {
    struct run *next;
    struct server *server;
    struct vm_process *process; /* NULL when it has ended */
    uint64_t id;                /* of the request */
    uint64_t pid;               /* 0 until it runs */
    bool entry;
    char *bin;
    struct {
        enum keep keep;
        uint32_t limit;
        struct gv_buf tail;
    } streams[3];
};

/* ---- the table ------------------------------------------------------------------------------------------------------------------- */

static struct run **slot(struct server *s, uint64_t pid)
{
    struct run **at = &s->runs[pid % RUN_BUCKETS];
    while (*at && (*at)->pid != pid)
        at = &(*at)->next;
    return at;
}

static void run_free(struct run *r)
{
    for (int i = 1; i <= 2; i++) {
        if (r->streams[i].keep == KEEP_TAIL)
            r->server->captured -= r->streams[i].limit;
        gv_buf_clear(&r->streams[i].tail);
    }
    free(r->bin);
    free(r);
}

void runs_sent(struct server *s, uint64_t pid, int stream, size_t n)
{
    struct run *r = *slot(s, pid);
    if (r && r->process)
        vm_process_consumed(r->process, stream, n);
}

/* ---- what an answer says --------------------------------------------------------------------------------------------------------- */

static enum proto_error error_code(const struct gv_error *e)
{
    if (e->code == GV_E_GUEST && e->sys == ENOENT)
        return PROTO_NOT_FOUND;
    if (e->code == GV_E_LIMIT || e->code == GV_E_USAGE)
        return PROTO_BAD_REQUEST;
    if (e->code != GV_E_GUEST)
        return PROTO_INTERNAL;
    return e->sys == EAGAIN || e->sys == ENOMEM || e->sys == EOWNERDEAD || e->sys == ESRCH || e->sys == ESHUTDOWN ? PROTO_INTERNAL
                                                                                                                  : PROTO_BAD_REQUEST;
}

static void refuse_run(struct server *s, uint64_t id, const char *bin, const struct gv_error *e)
{
    cleanup_strv struct gv_strv context = { 0 };
    gv_strv_add(&context, "bin");
    gv_strv_add(&context, bin);
    if (e->sys) {
        gv_strv_add(&context, "errno");
        gv_strv_take(&context, gv_asprintf("%d", e->sys));
    }
    cleanup_free char *text = gv_asprintf("cannot run `%s`: %s", bin, e->msg);
    server_refuse(s, id, error_code(e), text, &context);
}

/* ---- what comes from the guest --------------------------------------------------------------------------------------------------- */

static void put_status(struct server *s, uint64_t pid, bool running, int code, const char *text)
{
    cleanup_buf struct gv_buf frame = { 0 };
    proto_put_status(&frame, pid, running, code, text);
    outbox_put(&s->out, &frame);
}

/* What the original says of an entrypoint: an event of process 0, before anything is answered. */
static void tell_entrypoint(struct server *s, uint64_t pid)
{
    json_t *words = json_array();
    for (size_t i = 0; i < s->entrypoint.count; i++)
        json_array_append_new(words, json_string(s->entrypoint.items[i]));
    json_t *root = json_pack("{s:{s:o, s:I}, s:n}", "entrypoint", "command", words, "pid", (json_int_t)pid, "start");
    cleanup_free char *text = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    if (!text)
        return; /* words that are not UTF-8 */
    cleanup_buf struct gv_buf frame = { 0 };
    uint8_t head[PROTO_OUTPUT_HEADER];
    gv_buf_add(&frame, head, proto_output_header(head, 0, 1, strlen(text)));
    gv_buf_add(&frame, text, strlen(text));
    outbox_put(&s->out, &frame);
}

static void on_started(void *user, struct vm_process *p)
{
    (void)p;
    struct run *r = user;
    struct server *s = r->server;
    r->pid = ++s->last_pid;
    r->next = NULL;
    *slot(s, r->pid) = r;
    if (r->entry) {
        tell_entrypoint(s, r->pid);
        server_serve(s);
        return;
    }
    s->starting--;
    s->running++;
    cleanup_buf struct gv_buf frame = { 0 };
    proto_put_run(&frame, r->id, r->pid);
    outbox_put(&s->out, &frame);
    put_status(s, r->pid, true, 0, NULL);
    server_balance(s);
}

/* The tail of a stream, at last. */
static void put_tail(struct server *s, struct run *r, int stream)
{
    struct gv_buf *b = &r->streams[stream].tail;
    if (r->streams[stream].keep != KEEP_TAIL)
        return;
    size_t n = b->len < r->streams[stream].limit ? b->len : r->streams[stream].limit;
    if (n)
        outbox_put_output(&s->out, r->pid, stream, b->data + b->len - n, n);
}

static void end(struct run *r, int code, const char *text)
{
    struct server *s = r->server;
    r->process = NULL;
    if (r->pid)
        *slot(s, r->pid) = r->next;
    if (r->entry) {
        gv_note(s->log, "the image's entrypoint has ended (%d)", code);
    } else {
        put_tail(s, r, 1);
        put_tail(s, r, 2);
        put_status(s, r->pid, false, code, text ? text : s->last_words);
        s->running--;
    }
    run_free(r);
    server_balance(s);
}

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    (void)p;
    struct run *r = user;
    struct server *s = r->server;
    if (r->pid && s->state >= SERVER_STOPPING) {
        end(r, 128 + SIGKILL, NULL); /* we have taken its VM away */
    } else if (r->pid) {
        cleanup_free char *text = gv_asprintf(EXEUNIT_NAME ": the VM has ended under this process: %s\n", err->msg);
        end(r, CODE_VM_DIED, text);
    } else if (r->entry) {
        cleanup_free char *bin = steal_ptr(r->bin);
        struct gv_error why = *err;
        run_free(r);
        gv_error_prefix(&why, "cannot start the image's entrypoint `%s`", bin);
        server_start_failed(s, &why);
    } else {
        s->starting--;
        refuse_run(s, r->id, r->bin, err);
        run_free(r);
        server_balance(s);
    }
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    (void)p;
    end(user, e->signalled ? 128 + e->status : e->status, NULL);
}

/* As much as the file may hold. What is beyond that is the requestor's loss, not the provider's disk. */
static void log_entry(struct server *s, const void *data, size_t n)
{
    size_t room = ENTRY_LOG_MAX - s->entry_logged;
    if (s->entry_log < 0 || room == 0)
        return;
    size_t part = n < room ? n : room;
    s->entry_logged += part;
    if (gv_write_full(s->entry_log, data, part) < 0)
        gv_warn(s->log, "cannot write " ENTRY_LOG ": %s", strerror(errno));
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct run *r = user;
    struct server *s = r->server;
    if (r->entry) {
        log_entry(s, data, n);
        vm_process_consumed(p, stream, n);
        return;
    }
    if (r->streams[stream].keep == KEEP_ALL) {
        outbox_put_output(&s->out, r->pid, stream, data, n);
        server_balance(s);
        return;
    }
    if (r->streams[stream].keep == KEEP_TAIL) {
        /* Not at each turn, because the rest has to be moved. */
        struct gv_buf *b = &r->streams[stream].tail;
        gv_buf_add(b, data, n);
        if (b->len >= (size_t)r->streams[stream].limit + CAPTURE_SLACK)
            gv_buf_drop(b, b->len - r->streams[stream].limit);
    }
    vm_process_consumed(p, stream, n);
}

static const struct vm_process_events events = { .started = on_started, .failed = on_failed, .output = on_output, .exited = on_exited };

/* ---- what is asked for ----------------------------------------------------------------------------------------------------------- */

static int plan_output(struct run *r, const struct proto_request *q, struct gv_error *err)
{
    struct server *s = r->server;
    for (int i = 1; i <= 2; i++) {
        const struct proto_output *o = &q->output[i];
        if (!o->set)
            continue;
        if (o->at_end > CAPTURE_MAX || o->at_end > CAPTURED_MAX - s->captured)
            return gv_error_set(err, GV_E_LIMIT, 0,
                                "the last %u bytes of output are more than can be kept; at most %u are possible, and %u for all processes "
                                "together",
                                o->at_end, CAPTURE_MAX, CAPTURED_MAX);
        r->streams[i].keep = o->at_end ? KEEP_TAIL : KEEP_NOTHING;
        r->streams[i].limit = o->at_end;
        s->captured += o->at_end;
    }
    return 0;
}

/* The directory to run in: what the request says, below the image's own when it is relative. */
static char *working_directory(const struct server *s, const char *asked)
{
    const char *own = s->config->workdir && *s->config->workdir ? s->config->workdir : "/";
    if (!asked || !*asked)
        return gv_strdup(own);
    return asked[0] == '/' ? gv_strdup(asked) : gv_asprintf("%s/%s", own, asked);
}

static int start(struct server *s, struct run *r, const struct gv_strv *args, const char *work_dir, struct gv_error *err)
{
    const char *const only[] = { r->bin, NULL };
    cleanup_free char *cwd = working_directory(s, work_dir);
    const struct vm_process_spec spec = {
        .path = r->bin,
        .argv = args->count ? (const char *const *)args->items : only,
        .env = (const char *const *)s->env.items,
        .cwd = cwd,
        .user = s->config->user,
    };
    return vm_process_start(&r->process, s->vm, &spec, &events, r, err);
}

void runs_start(struct server *s, const struct proto_request *q)
{
    struct gv_error err = GV_ERROR_INIT;
    struct run *r = gv_new(struct run);
    r->server = s;
    r->id = q->id;
    r->bin = gv_strdup(q->bin ? q->bin : "");
    int status = *r->bin ? plan_output(r, q, &err) : gv_error_set(&err, GV_E_USAGE, 0, "the request names no program");
    if (status == 0)
        status = start(s, r, &q->args, q->work_dir, &err);
    if (status < 0) {
        refuse_run(s, q->id, r->bin, &err);
        run_free(r);
        return;
    }
    s->starting++;
}

void runs_start_entrypoint(struct server *s)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_strv struct gv_strv args = { 0 };
    cleanup_free char *path = gv_asprintf("%s/" ENTRY_LOG, s->workdir);
    struct run *r = gv_new(struct run);
    r->server = s;
    r->entry = true;
    r->bin = gv_strdup(s->entrypoint.items[0]);
    s->entry_log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (s->entry_log < 0)
        gv_warn(s->log, "the output of the entrypoint is not kept: cannot create `%s`: %s", path, strerror(errno));
    gv_strv_copy(&args, &s->entrypoint);
    const char *slash = strrchr(r->bin, '/');
    if (slash && slash[1]) {
        free(args.items[0]);
        args.items[0] = gv_strdup(slash + 1);
    }
    if (start(s, r, &args, NULL, &err) < 0) {
        run_free(r);
        server_start_failed(s, &err);
    }
}

void runs_kill(struct server *s, const struct proto_request *q)
{
    struct run *r = q->pid ? *slot(s, q->pid) : NULL;
    cleanup_strv struct gv_strv context = { 0 };
    gv_strv_add(&context, "pid");
    gv_strv_take(&context, gv_asprintf("%llu", (unsigned long long)q->pid));
    if (!r || !r->process) {
        server_refuse(s, q->id, PROTO_NOT_FOUND, q->pid && q->pid <= s->last_pid ? "the process has ended" : "there is no such process",
                      &context);
        return;
    }
    if (q->signal < 0 || q->signal > 64) {
        server_refuse(s, q->id, PROTO_BAD_REQUEST, "there is no such signal; they are numbered from 1 to 64", &context);
        return;
    }
    /* No signal at all is what callers send who know only one way to kill. A killed program cannot see to its children: they go with it. */
    int signal = q->signal ? q->signal : SIGKILL;
    vm_process_signal(r->process, signal, signal == SIGKILL);
    cleanup_buf struct gv_buf frame = { 0 };
    proto_put_kill(&frame, q->id);
    outbox_put(&s->out, &frame);
}
