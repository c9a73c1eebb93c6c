/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gvmkit dbg: any runtime by hand, or from a script. It deploys, starts, runs each line of stdin as a command, and shuts down. Everything that is
 * seen is also written to a transcript when one is asked for: a JSON object a line.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "exeunit/client.h"
#include "exeunit/exeunit.h"
#include "exeunit/pb.h"
#include "exeunit/prompt.h"

#define KEPT_MAX (1U << 20) /* bytes of a stream that the transcript keeps */
#define ANSWER_MAX (1U << 20)

enum { NOT_EXECUTABLE = 126, NOT_FOUND = 127, FAILED = 125 };

struct dbg {
    const struct exeunit_dbg_options *o;
    FILE *transcript; /* or NULL */
    struct gv_buf kept[3];
    unsigned violations;
    struct client *client;
};

/* ---- the transcript -------------------------------------------------------------------------------------------------------------- */

/* Bytes as JSON text: UTF-8 as it is, anything else byte by byte as Latin-1, as the ExeUnit does. */
static json_t *text(const void *data, size_t n)
{
    const unsigned char *p = data;
    if (pb_is_utf8(p, n))
        return json_stringn((const char *)p, n);
    cleanup_buf struct gv_buf b = { 0 };
    for (size_t i = 0; i < n; i++) {
        const unsigned char two[] = { (unsigned char)(0xc0 | p[i] >> 6), (unsigned char)(0x80 | (p[i] & 0x3f)) };
        gv_buf_add(&b, p[i] < 0x80 ? &p[i] : two, p[i] < 0x80 ? 1 : 2);
    }
    return json_stringn((const char *)b.data, b.len);
}

/* Takes over the object. */
static void record(struct dbg *d, const char *type, json_t *object)
{
    if (d->transcript && object) {
        json_object_set_new(object, "type", json_string(type));
        json_dumpf(object, d->transcript, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
        fputc('\n', d->transcript);
        fflush(d->transcript);
    }
    json_decref(object);
}

static double seconds_since(const struct timespec *begin)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* ---- what the runtime does ------------------------------------------------------------------------------------------------------- */

static void on_output(void *user, int stream, const void *data, size_t n)
{
    struct dbg *d = user;
    (void)!gv_write_full(stream == 1 ? STDOUT_FILENO : STDERR_FILENO, data, n); /* who does not want to see it has closed it */
    struct gv_buf *b = &d->kept[stream];
    if (d->transcript)
        gv_buf_add(b, data, n < KEPT_MAX - b->len ? n : KEPT_MAX - b->len);
}

static void on_counter(void *user, const char *name, double value)
{
    struct dbg *d = user;
    record(d, "counter", json_pack("{s:o, s:f}", "name", text(name, strlen(name)), "value", value));
}

static void on_violation(void *user, const char *what)
{
    struct dbg *d = user;
    d->violations++;
    gv_warn(d->o->log, "the runtime breaks the protocol: %s", what);
    record(d, "violation", json_pack("{s:s}", "text", what));
}

/* ---- deploy ---------------------------------------------------------------------------------------------------------------------- */

static void add_all(struct gv_strv *argv, const struct gv_strv *words)
{
    for (size_t i = 0; i < words->count; i++)
        gv_strv_add(argv, words->items[i]);
}

static void command_line(const struct dbg *d, const char *subcommand, const struct gv_strv *args, struct gv_strv *argv)
{
    gv_strv_add(argv, d->o->runtime);
    gv_strv_add(argv, "--workdir");
    gv_strv_add(argv, d->o->workdir);
    if (d->o->task_package) {
        gv_strv_add(argv, "--task-package");
        gv_strv_add(argv, d->o->task_package);
    }
    add_all(argv, &d->o->runtime_options);
    gv_strv_add(argv, subcommand);
    add_all(argv, args);
}

/* What an ExeUnit makes of deploy's output: everything from the first brace on is one JSON object. */
static void check_answer(struct dbg *d, const struct gv_buf *said)
{
    const char *brace = said->len ? memchr(said->data, '{', said->len) : NULL;
    json_t *answer = brace ? json_loadb(brace, said->len - (size_t)(brace - (const char *)said->data), 0, NULL) : NULL;
    const char *mode = json_string_value(json_object_get(answer, "startMode"));
    if (said->len && (!json_is_object(answer) || !json_is_object(json_object_get(answer, "valid"))))
        on_violation(d, "deploy's answer is no JSON object with `valid`");
    else if (!mode || strcmp(mode, "blocking") != 0)
        on_violation(d, "deploy's answer does not say that the runtime serves (startMode `blocking`)");
    json_decref(answer);
}

static int deploy(struct dbg *d, struct gv_error *err)
{
    cleanup_strv struct gv_strv argv = { 0 };
    cleanup_buf struct gv_buf said = { 0 };
    int out[2], status = 0;
    command_line(d, "deploy", &d->o->deploy_args, &argv);
    if (pipe2(out, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int reading = out[0], writing = out[1];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, writing, STDOUT_FILENO);
    pid_t pid;
    int sys = posix_spawn(&pid, argv.items[0], &actions, NULL, argv.items, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (sys)
        return gv_error_set(err, GV_E_IO, sys, "cannot start the runtime `%s`", argv.items[0]);
    close(steal_fd(&writing));
    char chunk[4096];
    for (ssize_t n; (n = read(reading, chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR);)
        if (n > 0 && said.len < ANSWER_MAX)
            gv_buf_add(&said, chunk, (size_t)n);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    record(d, "deploy", json_pack("{s:i, s:o}", "status", code, "stdout", text(said.data ? said.data : (const void *)"", said.len)));
    if (code)
        return gv_error_set(err, GV_E_DIED, 0, "deploy has failed with status %d", code);
    check_answer(d, &said);
    return 0;
}

/* ---- commands -------------------------------------------------------------------------------------------------------------------- */

int exeunit_words(const char *line, struct gv_strv *words, struct gv_error *err)
{
    cleanup_buf struct gv_buf word = { 0 };
    bool in_word = false;
    for (const char *p = line; *p;) {
        if (strchr(" \t\r\n", *p)) {
            if (in_word)
                gv_strv_add(words, gv_buf_str(&word));
            in_word = false;
            word.len = 0;
            p++;
            continue;
        }
        in_word = true;
        if (*p == '\'' || *p == '"') {
            char quote = *p++;
            for (; *p && *p != quote; p++) {
                if (quote == '"' && *p == '\\' && (p[1] == '"' || p[1] == '\\'))
                    p++;
                gv_buf_add(&word, p, 1);
            }
            if (!*p)
                return gv_error_set(err, GV_E_USAGE, 0, "a quote without its end");
            p++;
            continue;
        }
        if (*p == '\\' && *++p == '\0')
            return gv_error_set(err, GV_E_USAGE, 0, "a backslash at the end");
        gv_buf_add(&word, p++, 1);
    }
    if (in_word)
        gv_strv_add(words, gv_buf_str(&word));
    return 0;
}

/* Program and arguments of a line, args[0] being the program's base name. */
static int parse_line(const struct dbg *d, const char *line, char **bin, struct gv_strv *args, struct gv_error *err)
{
    if (!d->o->exec_mode) {
        *bin = gv_asprintf("/bin/%s", d->o->shell);
        gv_strv_add(args, d->o->shell);
        gv_strv_add(args, "-c");
        gv_strv_add(args, line);
        return 0;
    }
    if (exeunit_words(line, args, err) < 0)
        return -1;
    *bin = gv_strdup(args->items[0]);
    const char *slash = strrchr(*bin, '/');
    if (slash && slash[1]) {
        free(args->items[0]);
        args->items[0] = gv_strdup(slash + 1);
    }
    return 0;
}

/* Runs a line; *status is what a shell would call its result. -1 when the runtime is gone. */
static int run_line(struct dbg *d, const char *line, int *status, struct gv_error *err)
{
    cleanup_free char *bin = NULL;
    cleanup_strv struct gv_strv args = { 0 };
    struct client_refusal refusal;
    struct timespec begin;
    uint64_t pid = 0;
    int code = 0;
    struct gv_error wrong = GV_ERROR_INIT;
    d->kept[1].len = d->kept[2].len = 0;
    if (parse_line(d, line, &bin, &args, &wrong) < 0) {
        gv_warn(d->o->log, "%s", wrong.msg);
        *status = FAILED;
        return 0;
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (client_run(d->client, bin, &args, &pid, &code, &refusal, err) < 0)
        return -1;
    json_t *entry = json_pack("{s:o, s:f}", "line", text(line, strlen(line)), "seconds", seconds_since(&begin));
    if (refusal.refused) {
        gv_warn(d->o->log, "%s", refusal.message);
        *status = refusal.code == 1 ? NOT_FOUND : refusal.code == 2 ? NOT_EXECUTABLE : FAILED;
        json_object_set_new(entry, "error", json_pack("{s:i, s:s}", "code", refusal.code, "message", refusal.message));
    } else {
        if (code)
            gv_note(d->o->log, "the command has failed with code %d", code);
        *status = code >= 0 && code < 256 ? code : 1;
        json_object_set_new(entry, "pid", json_integer((json_int_t)pid));
        json_object_set_new(entry, "code", json_integer(code));
        json_object_set_new(entry, "stdout", text(gv_buf_str(&d->kept[1]), d->kept[1].len));
        json_object_set_new(entry, "stderr", text(gv_buf_str(&d->kept[2]), d->kept[2].len));
    }
    record(d, "run", entry);
    return 0;
}

static int run_all(struct dbg *d, int *status, struct gv_error *err)
{
    cleanup_free char *text = gv_asprintf("%s> ", d->o->exec_mode ? "exec" : d->o->shell);
    struct prompt *prompt = prompt_open(text, !d->o->no_history, d->o->log);
    char *line;
    int result = 0;
    while (result == 0 && prompt_read(prompt, &line) > 0) {
        if (line[strspn(line, " \t\r")] != '\0')
            result = run_line(d, line, status, err);
        free(line);
    }
    prompt_close(prompt);
    return result;
}

/* ---- together -------------------------------------------------------------------------------------------------------------------- */

static int serve(struct dbg *d, int *status, struct gv_error *err)
{
    static const struct client_events events = { .output = on_output, .counter = on_counter, .violation = on_violation };
    cleanup_strv struct gv_strv argv = { 0 };
    cleanup_free char *version = NULL;
    struct timespec begin;
    int wait_status = 0;
    command_line(d, "start", &d->o->start_args, &argv);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (client_start(&d->client, argv.items, NULL, &events, d, err) < 0)
        return -1;
    struct client_refusal refusal;
    int result = client_hello(d->client, d->o->protocol, &version, &refusal, err);
    if (result == 0 && refusal.refused)
        result = gv_error_set(err, GV_E_DIED, 0, "%s", refusal.message);
    if (result == 0) {
        record(d, "hello", json_pack("{s:o, s:f}", "version", text(version, strlen(version)), "seconds", seconds_since(&begin)));
        *status = 0;
        result = run_all(d, status, err);
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (client_end(d->client, &wait_status, result < 0 ? NULL : err) < 0)
        result = -1;
    int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    record(d, "end", json_pack("{s:i, s:f}", "status", code, "seconds", seconds_since(&begin)));
    if (result == 0 && code)
        return gv_error_set(err, GV_E_DIED, 0, "the runtime has ended with status %d", code);
    return result;
}

int exeunit_dbg(const struct exeunit_dbg_options *o, int *status, struct gv_error *err)
{
    struct dbg d = { .o = o };
    *status = FAILED;
    if (o->transcript) {
        d.transcript = fopen(o->transcript, "we");
        if (!d.transcript)
            return gv_error_errno(err, "cannot create the transcript `%s`", o->transcript);
    }
    int last = FAILED, result = o->no_deploy ? 0 : deploy(&d, err);
    if (result == 0)
        result = serve(&d, &last, err);
    if (result == 0 && d.violations) {
        gv_warn(o->log, "the runtime has broken the protocol %u times", d.violations);
        last = last ? last : 1;
    }
    if (result == 0)
        *status = last;
    bool written = !d.transcript || (!ferror(d.transcript) && fclose(d.transcript) == 0);
    if (result == 0 && !written)
        result = gv_error_errno(err, "cannot write the transcript `%s`", o->transcript);
    gv_buf_clear(&d.kept[1]);
    gv_buf_clear(&d.kept[2]);
    return result;
}
