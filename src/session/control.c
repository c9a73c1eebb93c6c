/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Each exec or builtin is a command of its own with its caller's descriptors; its answer is sent when the process is gone and its output out. A caller who goes
 * away is answered no more, and his command is hung up on; it is counted until its process has ended.
 */
#include "session/control.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "session/command.h"
#include "session/compose.h"

struct exec {
    struct control *control;
    struct exec *next, *previous;
    struct vms_conn *conn; /* NULL: nobody waits */
    struct command *command;
    bool started;
    struct vms_answer answer;
};

struct control {
    struct control_config config;
    struct vms_server *server;
    struct vm *vm;
    struct exec *execs;
    unsigned count;
};

/* Statistics on their way: the guest's answer may come after the caller has gone. */
struct stats_wait {
    struct control *control;
    struct vms_conn *conn;
};

static void answer_failure(struct vms_conn *conn, const struct gv_error *err)
{
    vms_conn_answer(conn, &(struct vms_answer){ .kind = VMS_FAILED, .error = *err });
}

/* ---- commands --------------------------------------------------------------------------------------------------------------------- */

static void exec_end(struct exec *x)
{
    struct control *c = x->control;
    if (x->conn)
        vms_conn_answer(x->conn, &x->answer);
    command_free(x->command);
    if (x->previous)
        x->previous->next = x->next;
    else
        c->execs = x->next;
    if (x->next)
        x->next->previous = x->previous;
    free(x);
    if (--c->count == 0)
        c->config.events->idle(c->config.events_user);
}

static void on_started(void *user)
{
    struct exec *x = user;
    x->started = true;
    if (x->conn)
        vms_conn_answer(x->conn, &(struct vms_answer){ .kind = VMS_STARTED });
}

static void on_ended(void *user, const struct vm_exit *e, const struct gv_error *why)
{
    struct exec *x = user;
    struct vms_answer *a = &x->answer;
    if (a->kind == VMS_FAILED && a->error.code != GV_OK)
        return; /* its output was lost */
    if (e) {
        a->kind = e->signalled ? VMS_SIGNALLED : VMS_EXITED;
        a->status = e->status;
    } else if (x->started && why->code == GV_E_DIED) {
        a->kind = VMS_SIGNALLED; /* the end of a VM is the end of all that runs in it */
        a->status = SIGKILL;
    } else {
        a->kind = VMS_FAILED;
        a->error = *why;
    }
}

static void on_drained(void *user)
{
    exec_end(user);
}

/* A reader that is gone ends the command as it would at home. Any other failure is told. */
static void on_output_failed(void *user, int error)
{
    struct exec *x = user;
    command_signal(x->command, SIGPIPE, true);
    if (error == EPIPE || x->answer.error.code != GV_OK)
        return;
    x->answer.kind = VMS_FAILED;
    gv_error_set(&x->answer.error, GV_E_IO, error, "cannot write the command's output");
}

static const struct command_events command_events = {
    .started = on_started,
    .ended = on_ended,
    .drained = on_drained,
    .output_failed = on_output_failed,
};

static int exec_start(struct exec *x, const struct vms_request *r, struct gv_error *err)
{
    const struct control_config *o = &x->control->config;
    cleanup_strv struct gv_strv env = { 0 };
    gv_strv_copy(&env, o->env);
    for (size_t i = 0; r->env && r->env[i]; i++)
        compose_env_set(&env, r->env[i]);
    if (r->op == VMS_BUILTIN && r->builtin > VM_UNPACK)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "the VM has no builtin %u", r->builtin);
    struct vm_process_spec spec = {
        .argv = r->argv,
        .builtin = (enum vm_builtin)r->builtin,
        .env = (const char *const *)env.items,
        .cwd = r->cwd ? r->cwd : o->cwd,
        .user = r->user ? r->user : o->user,
        .stdin_open = r->stdin_open,
        .tty = r->tty,
        .rows = r->rows,
        .columns = r->columns,
    };
    return command_start(x->command, x->control->vm, &spec, err);
}

static void exec_new(struct control *c, struct vms_conn *conn, const struct vms_request *r, int fds[3])
{
    struct gv_error err = GV_ERROR_INIT;
    if (c->count == VMS_CONNECTIONS_MAX) {
        gv_error_set(&err, GV_E_BUSY, 0, "%u commands run in the VM already", c->count);
        answer_failure(conn, &err);
        return;
    }
    struct exec *x = gv_new(struct exec);
    x->control = c;
    x->next = c->execs;
    if (c->execs)
        c->execs->previous = x;
    c->execs = x;
    c->count++;
    x->conn = conn;
    vms_conn_set(conn, x);
    const struct command_config config = {
        .loop = c->config.loop, .fds = { fds[0], fds[1], fds[2] }, .own_fds = true, .events = &command_events, .user = x
    };
    x->command = command_new(&config);
    fds[0] = fds[1] = fds[2] = -1;
    if (exec_start(x, r, &err) < 0) {
        x->answer = (struct vms_answer){ .kind = VMS_FAILED, .error = err };
        exec_end(x);
    }
}

/* ---- statistics ------------------------------------------------------------------------------------------------------------------- */

/* CPU time and memory of QEMU, as far as /proc tells. */
static void host_stats(struct vms_stats *s, pid_t qemu)
{
    char path[64], text[1024];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    s->at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)qemu);
    cleanup_fclose FILE *stat = fopen(path, "re");
    size_t n = stat ? fread(text, 1, sizeof(text) - 1, stat) : 0;
    text[n] = '\0';
    const char *after = strrchr(text, ')'); /* the name may hold anything */
    unsigned long long user, system;
    long long pages;
    if (after && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %*u %*u %lld", &user,
                        &system, &pages) == 3) {
        s->cpu_ms = (user + system) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
        s->memory = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    }
}

static void on_stats(void *user, const struct vm_stats *stats, const struct gv_error *failed)
{
    struct stats_wait *w = user;
    if (w->conn && failed) {
        answer_failure(w->conn, failed);
    } else if (w->conn) {
        struct vms_answer a = { .kind = VMS_STATS_ARE };
        a.stats.cpus = w->control->config.cpus;
        a.stats.guest_total = stats->memory_total & INT64_MAX;
        a.stats.guest_used = stats->memory_available < stats->memory_total ? a.stats.guest_total - stats->memory_available : 0;
        a.stats.guest_used &= INT64_MAX;
        a.stats.processes = stats->processes & INT64_MAX;
        if (w->control->vm)
            host_stats(&a.stats, vm_qemu_pid(w->control->vm));
        vms_conn_answer(w->conn, &a);
    }
    free(w);
}

static void stats_start(struct control *c, struct vms_conn *conn)
{
    struct gv_error err = GV_ERROR_INIT;
    struct stats_wait *w = gv_new(struct stats_wait);
    w->control = c;
    w->conn = conn;
    vms_conn_set(conn, w);
    if (vm_stats_get(c->vm, on_stats, w, &err) < 0) {
        free(w);
        answer_failure(conn, &err);
    }
}

/* ---- callers ---------------------------------------------------------------------------------------------------------------------- */

static void on_request(void *user, struct vms_conn *conn, const struct vms_request *r, int fds[3])
{
    struct control *c = user;
    const struct control_config *o = &c->config;
    struct gv_error err = GV_ERROR_INIT;
    switch (r->op) {
    case VMS_STOP:
        vms_conn_answer(conn, &(struct vms_answer){ .kind = VMS_DONE });
        o->events->stop(o->events_user, r->grace_ms);
        return;
    case VMS_KILL:
        vms_conn_answer(conn, &(struct vms_answer){ .kind = VMS_DONE });
        o->events->kill(o->events_user, r->signal);
        return;
    case VMS_EXEC:
    case VMS_BUILTIN:
    case VMS_STATS:
        break;
    }
    if (!c->vm) {
        gv_error_set(&err, GV_E_BUSY, 0, "the VM is starting or ending; try again");
        answer_failure(conn, &err);
    } else if (r->op == VMS_STATS) {
        stats_start(c, conn);
    } else {
        exec_new(c, conn, r, fds);
    }
}

/* The command of that caller, or NULL. */
static struct exec *exec_of(const struct vms_conn *conn)
{
    enum vms_op op = vms_conn_request(conn)->op;
    return op == VMS_EXEC || op == VMS_BUILTIN ? vms_conn_get(conn) : NULL;
}

static void on_signal(void *user, struct vms_conn *conn, int signal)
{
    (void)user;
    struct exec *x = exec_of(conn);
    if (x)
        command_signal(x->command, signal, signal != SIGUSR1 && signal != SIGUSR2);
}

static void on_resize(void *user, struct vms_conn *conn, uint16_t rows, uint16_t columns)
{
    (void)user;
    struct exec *x = exec_of(conn);
    if (x)
        command_resize(x->command, rows, columns);
}

static void on_gone(void *user, struct vms_conn *conn)
{
    (void)user;
    struct exec *x = exec_of(conn);
    if (x) {
        x->conn = NULL;
        command_hang_up(x->command);
    } else if (vms_conn_get(conn)) {
        ((struct stats_wait *)vms_conn_get(conn))->conn = NULL;
    }
}

int control_open(struct control **out, const struct control_config *config, struct gv_error *err)
{
    static const struct vms_server_events events = { .request = on_request, .signal = on_signal, .resize = on_resize, .gone = on_gone };
    struct control *c = gv_new(struct control);
    c->config = *config;
    if (vms_server_open(&c->server, config->loop, config->dir, &events, c, err) < 0) {
        free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void control_set_vm(struct control *c, struct vm *vm)
{
    c->vm = vm;
}

bool control_busy(const struct control *c)
{
    return c->count > 0;
}

void control_close(struct control *c)
{
    if (!c)
        return;
    while (c->execs) {
        struct exec *x = c->execs;
        c->execs = x->next;
        if (x->conn)
            vms_conn_answer(x->conn, &x->answer);
        command_free(x->command);
        free(x);
    }
    vms_server_close(c->server);
    free(c);
}
