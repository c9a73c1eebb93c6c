/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exeunit/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "exeunit/pb.h"
#include "exeunit/proto.h"

#define ANSWER_MS 5000 /* to Shutdown; an ExeUnit waits no longer */
#define EXIT_MS 5000   /* from the end of stdin to the end of the runtime */
#define FIRST_ID 2U    /* as the ExeUnit counts */
#define STOP_MS 100L   /* between two questions whether to stop */

enum { RESPONSE_ERROR = 3, ANSWER_HELLO = 4, RESPONSE_STATUS = 20, RESPONSE_RT_STATUS = 21 };

struct response {
    bool event;
    uint64_t id;
    uint32_t kind; /* field number of what it is; 0 = nothing */
    struct pb_field body;
};

struct client {
    pid_t pid;
    int in, out; /* the runtime's stdin and stdout, -1 = closed */
    struct proto_frames frames;
    struct client_events events;
    void *user;
    uint64_t last_id;

    uint64_t asked; /* the request that waits for its answer, 0 = none */
    uint32_t asked_kind;
    uint64_t abandoned;     /* a request whose answer nobody waits for any more, 0 = none */
    struct response answer; /* to it; its bytes are in answer_bytes */
    struct gv_buf answer_bytes;
    bool answered;

    bool ending;           /* nothing is stopped any more */
    bool binding, running; /* a run has been sent and no process is bound to it yet; one is bound and has not ended */
    uint64_t process;
    int code;
    uint64_t *seen; /* pids */
    size_t seen_count;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

__attribute__((format(printf, 2, 3))) static void violation(struct client *c, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->events.violation(c->user, text);
}

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- what the runtime says ------------------------------------------------------------------------------------------------------- */

static uint64_t number_in(const struct pb_field *message, uint32_t number)
{
    struct pb_reader r = { message->bytes, message->bytes + message->length };
    uint64_t v = 0;
    for (struct pb_field f; pb_next(&r, &f) > 0;)
        if (f.number == number && f.type != PB_BYTES)
            v = f.value;
    return v;
}

/* The bytes of a field, for the caller to free; "" when it is not there. */
static char *text_in(const struct pb_field *message, uint32_t number)
{
    struct pb_reader r = { message->bytes, message->bytes + message->length };
    char *text = NULL;
    for (struct pb_field f; pb_next(&r, &f) > 0;) {
        if (f.number != number || f.type != PB_BYTES)
            continue;
        free(text);
        text = gv_strndup((const char *)f.bytes, f.length);
    }
    return text ? text : gv_strdup("");
}

static bool has_seen(const struct client *c, uint64_t pid)
{
    for (size_t i = 0; i < c->seen_count; i++)
        if (c->seen[i] == pid)
            return true;
    return false;
}

/* As the ExeUnit does it: the first pid that it has not seen is the process of the run that it has just asked for. */
static bool bind_process(struct client *c, uint64_t pid)
{
    if (c->running && c->process == pid)
        return true;
    if (has_seen(c, pid)) {
        violation(c, "an event of process %llu after its end", (unsigned long long)pid);
        return false;
    }
    if (!c->binding) {
        /* The result of start comes as process 0 before anything is asked. */
        if (pid != 0)
            violation(c, "an event of process %llu, which nobody has asked for", (unsigned long long)pid);
        return false;
    }
    c->seen = gv_reallocarray(c->seen, c->seen_count + 1, sizeof(*c->seen));
    c->seen[c->seen_count++] = pid;
    c->binding = false;
    c->running = true;
    c->process = pid;
    return true;
}

static void take_status(struct client *c, const struct pb_field *status)
{
    uint64_t pid = number_in(status, 1);
    bool fresh = c->binding, mine = bind_process(c, pid), quiet = true;
    struct pb_reader r = { status->bytes, status->bytes + status->length };
    for (struct pb_field f; pb_next(&r, &f) > 0;) {
        if ((f.number != 4 && f.number != 5) || f.type != PB_BYTES)
            continue;
        quiet = false;
        if (mine || pid == 0)
            c->events.output(c->user, f.number == 4 ? 1 : 2, f.bytes, f.length);
    }
    if (!mine)
        return;
    bool running = number_in(status, 2) != 0;
    if (fresh && (!running || !quiet))
        violation(c, "the first event of process %llu is not `running` alone", (unsigned long long)pid);
    if (!running) {
        c->running = false;
        c->code = (int)(int32_t)(uint32_t)number_in(status, 3);
    }
}

static void take_runtime_status(struct client *c, const struct pb_field *body)
{
    struct pb_reader r = { body->bytes, body->bytes + body->length };
    for (struct pb_field f; pb_next(&r, &f) > 0;) {
        if (f.number != 2 || f.type != PB_BYTES)
            continue;
        cleanup_free char *name = text_in(&f, 1);
        uint64_t bits = number_in(&f, 2);
        double value;
        memcpy(&value, &bits, sizeof(value));
        c->events.counter(c->user, name, value);
    }
}

static void take_answer(struct client *c, const struct response *r)
{
    if (c->abandoned && r->id == c->abandoned) {
        c->abandoned = 0;
        return;
    }
    if (c->answered || r->id != c->asked || c->asked == 0) {
        violation(c, "an answer to request %llu, which does not wait for one", (unsigned long long)r->id);
        return;
    }
    if (r->kind != RESPONSE_ERROR && r->kind != c->asked_kind)
        violation(c, "an answer of the kind %u to a request of the kind %u", r->kind, c->asked_kind);
    c->answer_bytes.len = 0;
    gv_buf_add(&c->answer_bytes, r->body.bytes, r->body.length);
    c->answer = *r;
    c->answer.body.bytes = (const uint8_t *)gv_buf_str(&c->answer_bytes);
    c->answered = true;
}

static int take_message(struct client *c, const uint8_t *message, size_t n, struct gv_error *err)
{
    struct response r = { 0 };
    struct pb_reader reader = { message, message + n };
    struct pb_field f;
    int got;
    while ((got = pb_next(&reader, &f)) > 0) {
        if (f.number == 1 && f.type == PB_VARINT)
            r.event = f.value != 0;
        else if (f.number == 2 && f.type == PB_VARINT)
            r.id = f.value;
        else if (f.type == PB_BYTES) {
            r.kind = f.number;
            r.body = f;
        }
    }
    if (got < 0)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the runtime sent something that is no message");
    if (!r.event)
        take_answer(c, &r);
    else if (r.kind == RESPONSE_STATUS)
        take_status(c, &r.body);
    else if (r.kind == RESPONSE_RT_STATUS)
        take_runtime_status(c, &r.body);
    else
        violation(c, "an event of the unknown kind %u", r.kind);
    return 0;
}

/* Waits for the runtime to say something, at most until the moment `until` (0 = for ever). 1: it has; 0: it was late, or a signal came. */
static int turn(struct client *c, long until, struct gv_error *err)
{
    char chunk[65536];
    const uint8_t *message;
    size_t n;
    int got;
    long left = until ? until - now_ms() : -1;
    struct pollfd p = { .fd = c->out, .events = POLLIN };
    if (until && left <= 0)
        return 0;
    if (c->events.stop && !c->ending) {
        if (c->events.stop(c->user))
            return gv_error_set(err, GV_E_CANCELLED, 0, "interrupted");
        left = until && left < STOP_MS ? left : STOP_MS;
    }
    if (poll(&p, 1, (int)left) <= 0)
        return 0;
    ssize_t more = read(c->out, chunk, sizeof(chunk));
    if (more < 0 && errno == EINTR)
        return 0;
    if (more <= 0)
        return gv_error_set(err, GV_E_DIED, 0, "the runtime has ended");
    proto_frames_add(&c->frames, chunk, (size_t)more);
    while ((got = proto_frames_next(&c->frames, &message, &n, err)) > 0)
        if (take_message(c, message, n, err) < 0)
            return -1;
    if (got < 0)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the runtime sent something that is no frame");
    return 1;
}

/* ---- what we ask ----------------------------------------------------------------------------------------------------------------- */

static int send_message(struct client *c, const struct gv_buf *body, uint32_t kind, uint64_t id, struct gv_error *err)
{
    cleanup_buf struct gv_buf message = { 0 }, frame = { 0 };
    uint8_t length[PB_VARINT_MAX];
    pb_put_number(&message, 1, id);
    pb_put_message(&message, kind, body);
    gv_buf_add(&frame, length, pb_varint_put(length, message.len));
    gv_buf_add(&frame, message.data, message.len);
    if (gv_write_full(c->in, frame.data, frame.len) < 0)
        return gv_error_set(err, errno == EPIPE ? GV_E_DIED : GV_E_IO, errno, "cannot write to the runtime");
    return 0;
}

/* request and answer: the numbers of both in their messages. */
static int ask(struct client *c, const struct gv_buf *body, uint32_t request, uint32_t answer, struct gv_error *err)
{
    c->asked = ++c->last_id;
    c->asked_kind = answer;
    c->answered = false;
    return send_message(c, body, request, c->asked, err);
}

static int wait_answer(struct client *c, long until, struct gv_error *err)
{
    while (!c->answered) {
        if (turn(c, until, err) < 0) {
            c->abandoned = c->asked;
            return -1;
        }
        if (until && now_ms() >= until)
            return gv_error_set(err, GV_E_TIMEOUT, 0, "the runtime does not answer");
    }
    c->asked = 0;
    return 0;
}

static void read_refusal(const struct client *c, struct client_refusal *r)
{
    struct gv_error clean = GV_ERROR_INIT;
    cleanup_free char *message = text_in(&c->answer.body, 2);
    r->refused = true;
    r->code = (int)(int32_t)(uint32_t)number_in(&c->answer.body, 1);
    gv_error_set(&clean, GV_OK, 0, "%.400s", message);
    snprintf(r->message, sizeof(r->message), "%.511s", clean.msg);
}

int client_hello(struct client *c, const char *protocol, char **version, struct client_refusal *refusal, struct gv_error *err)
{
    cleanup_buf struct gv_buf body = { 0 };
    *refusal = (struct client_refusal){ 0 };
    pb_put_text(&body, 1, protocol);
    if (ask(c, &body, PROTO_HELLO, ANSWER_HELLO, err) < 0 || wait_answer(c, 0, err) < 0)
        return -1;
    if (c->answer.kind == RESPONSE_ERROR)
        read_refusal(c, refusal);
    else
        *version = text_in(&c->answer.body, 1);
    return 0;
}

static void pass_interrupt(struct client *c)
{
    if (!interrupted)
        return;
    interrupted = 0;
    if (!c->running)
        return;
    cleanup_buf struct gv_buf body = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    pb_put_number(&body, 1, c->process);
    pb_put_number(&body, 2, SIGINT);
    if (ask(c, &body, PROTO_KILL, PROTO_KILL, &err) < 0)
        return; /* reading will say that it is gone */
}

int client_run(struct client *c, const char *bin, const struct gv_strv *args, uint64_t *pid, int *code, struct client_refusal *refusal,
               struct gv_error *err)
{
    cleanup_buf struct gv_buf body = { 0 };
    *refusal = (struct client_refusal){ 0 };
    pb_put_text(&body, 1, bin);
    for (size_t i = 0; i < args->count; i++) {
        const struct gv_buf word = { .data = (unsigned char *)args->items[i], .len = strlen(args->items[i]) };
        pb_put_message(&body, 2, &word); /* an empty word is a word */
    }
    interrupted = 0;
    c->binding = true;
    c->running = false;
    if (ask(c, &body, PROTO_RUN, PROTO_RUN, err) < 0 || wait_answer(c, 0, err) < 0)
        return -1;
    if (c->answer.kind == RESPONSE_ERROR) {
        c->binding = false;
        read_refusal(c, refusal);
        return 0;
    }
    *pid = number_in(&c->answer.body, 1);
    while (c->binding || c->running) {
        if (turn(c, 0, err) < 0)
            return -1;
        pass_interrupt(c);
    }
    if (c->asked && !c->answered && wait_answer(c, now_ms() + ANSWER_MS, err) < 0) /* an interrupt that crossed the end */
        return -1;
    c->asked = 0;
    if (c->process != *pid)
        violation(c, "the run is process %llu, its events are those of %llu", (unsigned long long)*pid, (unsigned long long)c->process);
    *code = c->code;
    return 0;
}

/* ---- the runtime's process ------------------------------------------------------------------------------------------------------- */

int client_start(struct client **out, char *const *argv, const char *dir, const struct client_events *events, void *user,
                 struct gv_error *err)
{
    int in[2], from[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int in_read = in[0], in_write = in[1];
    if (pipe2(from, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int out_read = from[0], out_write = from[1];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in_read, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out_write, STDOUT_FILENO);
    if (dir)
        posix_spawn_file_actions_addchdir_np(&actions, dir);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP); /* Ctrl-C is for the command, not for the runtime */
    pid_t pid;
    int sys = posix_spawn(&pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (sys)
        return gv_error_set(err, GV_E_IO, sys, "cannot start the runtime `%s`", argv[0]);
    struct client *c = gv_new(struct client);
    c->pid = pid;
    c->in = steal_fd(&in_write);
    c->out = steal_fd(&out_read);
    c->events = *events;
    c->user = user;
    c->last_id = FIRST_ID - 1;
    const struct sigaction action = { .sa_handler = on_interrupt }; /* without SA_RESTART: poll is to notice */
    if (!events->stop)
        sigaction(SIGINT, &action, NULL);
    *out = c;
    return 0;
}

/* Reads what is still said, until the end of its stdout. */
static void read_rest(struct client *c)
{
    struct gv_error ignored = GV_ERROR_INIT;
    long until = now_ms() + EXIT_MS;
    while (now_ms() < until && turn(c, until, &ignored) >= 0)
        continue;
}

static int reap(struct client *c, int *status, struct gv_error *err)
{
    long until = now_ms() + EXIT_MS;
    pid_t got;
    while ((got = waitpid(c->pid, status, WNOHANG)) == 0 && now_ms() < until)
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    if (got == c->pid)
        return 0;
    kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, status, 0) < 0 && errno == EINTR)
        continue;
    return gv_error_set(err, GV_E_TIMEOUT, 0, "the runtime had to be killed: it did not end after the end of its stdin");
}

int client_end(struct client *c, int *status, struct gv_error *err)
{
    c->ending = true;
    int result = ask(c, &(struct gv_buf){ 0 }, PROTO_SHUTDOWN, PROTO_SHUTDOWN, err);
    if (result == 0)
        result = wait_answer(c, now_ms() + ANSWER_MS, err);
    if (result < 0)
        gv_error_prefix(err, "Shutdown");
    close(steal_fd(&c->in));
    read_rest(c);
    if (reap(c, status, result < 0 ? NULL : err) < 0)
        result = -1;
    close(steal_fd(&c->out));
    proto_frames_clear(&c->frames);
    gv_buf_clear(&c->answer_bytes);
    free(c->seen);
    free(c);
    return result;
}
