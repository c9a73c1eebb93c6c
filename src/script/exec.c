/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The activity: initialized, deployed, ready. A command that the state does not allow fails; the state goes on also when a command has failed, which
 * nobody sees within one script, since a script ends with the first failure. How a command has ended is a code and a message, in the words in which a
 * requestor would get them from a provider.
 */
#include <jansson.h>
#include <string.h>
#include <sys/wait.h>

#include "exeunit/client.h"
#include "script/process.h"
#include "script/report.h"

#define PROTOCOL "0.1.0"
#define NO_CODE (-1) /* the command has no exit status */

enum state { INITIALIZED, DEPLOYED, READY };

struct activity {
    const struct script_options *o;
    struct report report;
    enum state state;
    char *image; /* path; NULL = none */
    struct transfer_volume *volumes;
    size_t volume_count;
    bool serves;           /* the runtime is one process with a protocol; else one for each command */
    struct client *client; /* NULL = not started */
    bool cancelled;        /* why a command has failed */
};

/* How a command has ended. */
struct outcome {
    int code;
    char *message; /* NULL = none */
};

/* The outcome of what has failed without a status. Returns NO_CODE. */
__attribute__((format(printf, 2, 3))) static int failed(struct outcome *out, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    *out = (struct outcome){ .code = NO_CODE, .message = text };
    return NO_CODE;
}

static int failed_because(struct activity *a, struct outcome *out, const char *prefix, const struct gv_error *err)
{
    a->cancelled = a->cancelled || err->code == GV_E_CANCELLED;
    return failed(out, "%s%s", prefix, err->msg);
}

static void ended_with(struct outcome *out, int code)
{
    *out = (struct outcome){ .code = code };
    if (code)
        out->message = gv_asprintf("ExeScript command exited with code %d", code);
}

static struct transfer_options transfer_options(struct activity *a);

/* ---- the runtime's command line --------------------------------------------------------------------------------------------------- */

static void add_all(struct gv_strv *argv, const struct gv_strv *words)
{
    for (size_t i = 0; i < words->count; i++)
        gv_strv_add(argv, words->items[i]);
}

static void add_option(struct gv_strv *argv, const char *name, const char *value)
{
    if (!value)
        return;
    gv_strv_add(argv, name);
    gv_strv_add(argv, value);
}

static void begin_argv(const struct activity *a, struct gv_strv *argv)
{
    gv_strv_add(argv, a->o->runtime);
    add_option(argv, "--workdir", a->o->workdir);
    add_option(argv, "--task-package", a->image);
    add_all(argv, &a->o->runtime_options);
}

/* ---- output ----------------------------------------------------------------------------------------------------------------------- */

struct listener {
    struct activity *a;
    struct gv_buf *keep; /* a copy of stdout, or NULL */
};
#define ANSWER_MAX ((size_t)1 << 20)

static void on_process_output(void *user, int stream, const void *p, size_t n)
{
    struct listener *l = user;
    report_output(&l->a->report, stream, p, n);
    if (l->keep && stream == 1)
        gv_buf_add(l->keep, p, n < ANSWER_MAX - l->keep->len ? n : ANSWER_MAX - l->keep->len);
}

static int run_process(struct activity *a, const struct gv_strv *argv, struct gv_buf *keep, struct outcome *out)
{
    struct gv_error err = GV_ERROR_INIT;
    struct listener l = { .a = a, .keep = keep };
    int code;
    if (process_run(argv->items, a->o->workdir, a->o->cancelled, on_process_output, &l, &code, &err) < 0)
        return failed_because(a, out, "Runtime error: ", &err);
    ended_with(out, code);
    return code;
}

static void on_output(void *user, int stream, const void *data, size_t n)
{
    struct activity *a = user;
    report_output(&a->report, stream, data, n);
}

static void on_counter(void *user, const char *name, double value)
{
    struct activity *a = user;
    gv_debug(a->o->log, "%s = %g", name, value);
}

static void on_violation(void *user, const char *text)
{
    struct activity *a = user;
    gv_warn(a->o->log, "the runtime breaks the protocol: %s", text);
}

static bool on_stop(void *user)
{
    struct activity *a = user;
    return a->o->cancelled && atomic_load(a->o->cancelled);
}

/* ---- deploy ----------------------------------------------------------------------------------------------------------------------- */

static void clear_volumes(struct activity *a)
{
    for (size_t i = 0; i < a->volume_count; i++) {
        free(a->volumes[i].path);
        free(a->volumes[i].name);
    }
    free(a->volumes);
    a->volumes = NULL;
    a->volume_count = 0;
}

static int take_volumes(struct activity *a, const json_t *vols, struct gv_error *err)
{
    if (vols && !json_is_array(vols))
        return gv_error_set(err, GV_E_PROTOCOL, 0, "`vols` is not a list");
    a->volumes = gv_calloc(json_array_size(vols) + 1, sizeof(*a->volumes));
    for (size_t i = 0; i < json_array_size(vols); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(vols, i), "name"));
        const char *path = json_string_value(json_object_get(json_array_get(vols, i), "path"));
        if (!name || !path)
            return gv_error_set(err, GV_E_PROTOCOL, 0, "a volume is without `name` or `path`");
        a->volumes[a->volume_count++] = (struct transfer_volume){ .path = gv_strdup(path), .name = gv_strdup(name) };
    }
    return 0;
}

/* What deploy says about itself: nothing, or an object from the first brace on. Whether it is `valid` is not looked at: the status says that. */
static int take_answer(struct activity *a, const struct gv_buf *said, struct gv_error *err)
{
    json_error_t why;
    a->serves = false;
    clear_volumes(a);
    if (!said->len)
        return 0;
    const char *brace = memchr(said->data, '{', said->len);
    if (!brace)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the runtime's deploy has not said a JSON object");
    json_t *answer = json_loadb(brace, said->len - (size_t)(brace - (const char *)said->data), 0, &why);
    if (!answer)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the runtime's deploy has not said a JSON object: %s", why.text);
    const json_t *mode = json_object_get(answer, "startMode");
    a->serves = json_is_string(mode) && !strcmp(json_string_value(mode), "blocking");
    int result = 0;
    if (mode && !a->serves && (!json_is_string(mode) || strcmp(json_string_value(mode), "empty") != 0))
        result = gv_error_set(err, GV_E_PROTOCOL, 0, "`startMode` is neither empty nor blocking");
    if (result == 0)
        result = take_volumes(a, json_object_get(answer, "vols"), err);
    json_decref(answer);
    return result;
}

static int deploy(struct activity *a, const struct script_command *c, struct outcome *out)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_strv struct gv_strv argv = { 0 };
    cleanup_buf struct gv_buf said = { 0 };
    free(steal_ptr(a->image));
    if (a->o->image && a->o->find_image(a->o->user, a->o->image, &a->image, &err) < 0)
        return failed_because(a, out, "Local service error: Transfer error: ", &err);
    if (c->networks)
        gv_warn(a->o->log, "deploy asks for networks between nodes; there is none here, and the program runs without");
    begin_argv(a, &argv);
    add_option(&argv, "--volume-override", c->volumes);
    add_option(&argv, "--hostname", c->hostname);
    gv_strv_add(&argv, "deploy");
    gv_strv_add(&argv, "--");
    if (run_process(a, &argv, &said, out) != 0)
        return out->code;
    return take_answer(a, &said, &err) < 0 ? failed_because(a, out, "ExeScript command error: ", &err) : 0;
}

/* ---- start and run ---------------------------------------------------------------------------------------------------------------- */

/* Ends the runtime. Its status as a command would have it. */
static int end_runtime(struct activity *a, struct gv_error *err)
{
    int status = 0;
    if (!a->client)
        return 0;
    int result = client_end(steal_ptr(a->client), &status, err);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : NO_CODE;
    if (result == 0 && code)
        gv_error_set(err, GV_E_DIED, 0, "the runtime has ended with status %d", code);
    return code;
}

/* The runtime is gone, or has said something that cannot be understood: it is ended, and the command fails with its status if it has one. */
static int runtime_lost(struct activity *a, const struct gv_error *why, struct outcome *out)
{
    struct gv_error ignored = GV_ERROR_INIT;
    int code = end_runtime(a, &ignored);
    if (why->code == GV_E_DIED && code > 0) {
        ended_with(out, code);
        return code;
    }
    return failed_because(a, out, "Runtime error: ", why);
}

static int start(struct activity *a, const struct script_command *c, struct outcome *out)
{
    static const struct client_events events = { .output = on_output, .counter = on_counter, .violation = on_violation, .stop = on_stop };
    struct gv_error err = GV_ERROR_INIT, ignored = GV_ERROR_INIT;
    cleanup_strv struct gv_strv argv = { 0 };
    cleanup_free char *version = NULL;
    struct client_refusal refusal;
    begin_argv(a, &argv);
    gv_strv_add(&argv, "start");
    if (!a->serves) {
        gv_strv_add(&argv, "--");
        add_all(&argv, &c->args);
        return run_process(a, &argv, NULL, out);
    }
    add_all(&argv, &c->args);
    if (client_start(&a->client, argv.items, a->o->workdir, &events, a, &err) < 0)
        return failed_because(a, out, "Runtime error: ", &err);
    if (client_hello(a->client, PROTOCOL, &version, &refusal, &err) < 0)
        return runtime_lost(a, &err, out);
    if (!refusal.refused)
        return 0;
    end_runtime(a, &ignored);
    return failed(out, "Runtime error: service hello error: %s", refusal.message);
}

/* The last component of a path, as the program's own name. NULL when there is none. */
static char *base_name(const char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from && path[from - 1] != '/')
        from--;
    bool none = n == from || (n - from == 2 && !strncmp(path + from, "..", 2)) || (n - from == 1 && path[from] == '.');
    return none ? NULL : gv_strndup(path + from, n - from);
}

static int run(struct activity *a, const struct script_command *c, struct outcome *out)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_strv struct gv_strv argv = { 0 };
    struct client_refusal refusal;
    uint64_t pid;
    int code;
    if (!a->serves) {
        begin_argv(a, &argv);
        gv_strv_add(&argv, "run");
        add_option(&argv, "--entrypoint", c->entry_point);
        gv_strv_add(&argv, "--");
        add_all(&argv, &c->args);
        return run_process(a, &argv, NULL, out);
    }
    char *name = base_name(c->entry_point);
    if (!name)
        return failed(out, "Runtime error: Invalid binary name: %s", c->entry_point);
    gv_strv_take(&argv, name);
    add_all(&argv, &c->args);
    if (!a->client)
        return failed(out, "Runtime error: START command not run");
    if (client_run(a->client, c->entry_point, &argv, &pid, &code, &refusal, &err) < 0)
        return runtime_lost(a, &err, out);
    if (refusal.refused)
        return failed(out, "Runtime error: %s", refusal.message);
    ended_with(out, code);
    return code;
}

/* ---- the others ------------------------------------------------------------------------------------------------------------------- */

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct activity *a = user;
    report_progress(&a->report, done, total);
}

static struct transfer_options transfer_options(struct activity *a)
{
    return (struct transfer_options){ .workdir = a->o->workdir,
                                      .volumes = a->volumes,
                                      .volume_count = a->volume_count,
                                      .max_unpacked = a->o->max_unpacked,
                                      .cancelled = a->o->cancelled,
                                      .progress = on_progress,
                                      .user = a,
                                      .log = a->o->log };
}

static int transfer(struct activity *a, const struct script_command *c, struct outcome *out)
{
    struct gv_error err = GV_ERROR_INIT;
    const struct transfer_options o = transfer_options(a);
    if (transfer_run(&o, &c->transfer, &err) < 0)
        return failed_because(a, out, "Local service error: Transfer error: ", &err);
    return 0;
}

static int terminate(struct activity *a)
{
    struct gv_error err = GV_ERROR_INIT;
    end_runtime(a, &err);
    if (err.code)
        gv_warn(a->o->log, "%s", err.msg); /* as with a provider it is ended all the same, and the command has succeeded */
    a->state = INITIALIZED;
    return 0;
}

/* Whether the state allows the command. */
static bool allowed(const struct activity *a, enum script_kind kind)
{
    switch (a->state) {
    case INITIALIZED:
        return kind == SCRIPT_DEPLOY;
    case DEPLOYED:
        return kind == SCRIPT_START;
    case READY:
        return kind != SCRIPT_DEPLOY && kind != SCRIPT_START;
    }
    return false;
}

static int execute(struct activity *a, const struct script_command *c, struct outcome *out)
{
    static const char *const refusals[] = {
        [INITIALIZED] = "Activity is initialized - deploy() command is expected now",
        [DEPLOYED] = "Activity is deployed - start() command is expected now",
        [READY] = "Cannot send command after a successful start()",
    };
    *out = (struct outcome){ 0 };
    if (c->kind == SCRIPT_TERMINATE)
        return terminate(a);
    if (c->kind == SCRIPT_SIGN)
        return failed(out, "Runtime error: sign is not supported: only a runtime in an enclave can sign what it has done");
    if (!allowed(a, c->kind))
        return failed(out, "Local service error: State error: %s", refusals[a->state]);
    a->state = c->kind == SCRIPT_DEPLOY ? DEPLOYED : c->kind == SCRIPT_START ? READY : a->state;
    return c->kind == SCRIPT_DEPLOY  ? deploy(a, c, out)
           : c->kind == SCRIPT_START ? start(a, c, out)
           : c->kind == SCRIPT_RUN   ? run(a, c, out)
                                     : transfer(a, c, out);
}

int script_run(const struct script *s, const struct script_options *o, int *status, struct gv_error *err)
{
    struct activity a = { .o = o };
    struct gv_error end = GV_ERROR_INIT;
    int code = 0;
    report_init(&a.report, o);
    for (size_t i = 0; i < s->count && code == 0; i++) {
        struct outcome out;
        report_begin(&a.report, i, &s->commands[i]);
        code = execute(&a, &s->commands[i], &out);
        report_end(&a.report, out.code, out.message, i + 1 == s->count);
        free(out.message);
    }
    end_runtime(&a, &end);
    if (end.code)
        gv_warn(o->log, "%s", end.msg);
    clear_volumes(&a);
    free(a.image);
    *status = code > 0 && code < 256 ? code : code ? SCRIPT_NO_STATUS : 0;
    if (a.cancelled || (o->cancelled && atomic_load(o->cancelled)))
        return gv_error_set(err, GV_E_CANCELLED, 0, "interrupted");
    return 0;
}
