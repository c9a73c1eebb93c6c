/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Theory of operation. One loop, one VM, one main command. The session ends when three things are done: the command has exited (or failed), its
 * output is out, and the VM has ended; whichever comes last stops the loop. In a VM with a name more commands come in by its socket (control.c);
 * their output gets a moment more, for a reader who does not read must not keep the session. Interrupts act on what there is: before the process runs they end the
 * VM, then they are passed on to the process, and the second of a kind (or ten seconds after SIGTERM or SIGHUP) ends the VM.
 */
#include "session/session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extract/extract.h"
#include "session/command.h"
#include "session/control.h"
#include "session/network.h"
#include "session/terminal.h"

#define TERM_GRACE_MS 10000
#define KILL_GRACE_MS 2000 /* for the guest to say that the command is dead */
#define DRAIN_MS 2000      /* for the readers of what other commands have printed, after the VM's end */

static const int forwarded[] = TERMINAL_SIGNALS;
#define FORWARDED (sizeof(forwarded) / sizeof(forwarded[0]))

struct session {
    const struct session_options *o;
    uv_loop_t loop;
    struct vm *vm;
    struct command *command;
    struct gv_strv argv, env, guest_paths;
    struct network *network; /* NULL = none */
    struct gv_workdir *work; /* with a directory for each volume; NULL if there are none */

    struct vms_record record; /* of a VM with a name */
    struct vms_log *log;      /* NULL = none */
    struct control *control;  /* NULL = none */
    uv_poll_t launcher;       /* whoever waits for the start of a detached command */
    bool launcher_open;

    uv_signal_t signals[FORWARDED], winch;
    uv_timer_t timer; /* the command's timeout, then the grace after a signal; in the end that of the others' output */
    int last_signal;
    bool timed_out;
    bool asked_to_end; /* over the socket */
    struct terminal terminal;

    bool process_done, vm_done, vm_ending, drained, finished;
    int status;          /* of the command */
    bool have_status;    /* the command ended by itself */
    struct gv_error why; /* code GV_OK while nothing went wrong */
};

/* ---- the end ---------------------------------------------------------------------------------------------------------------------- */

static void close_handle(uv_handle_t *h, void *user)
{
    (void)user;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void on_drain_timer(uv_timer_t *t);

/* Stops everything of ours once nothing is left to wait for; then uv_run returns. */
static void maybe_finish(struct session *s)
{
    if (s->finished || (command_waits(s->command) && !s->last_signal) || !s->process_done || !s->vm_done)
        return;
    if (s->control && control_busy(s->control) && !s->drained) {
        if (!uv_is_active((uv_handle_t *)&s->timer))
            uv_timer_start(&s->timer, on_drain_timer, DRAIN_MS, 0);
        return;
    }
    s->finished = true;
    control_close(steal_ptr(s->control));
    command_free(steal_ptr(s->command));
    network_stop(steal_ptr(s->network));
    uv_walk(&s->loop, close_handle, NULL);
}

static void on_drain_timer(uv_timer_t *t)
{
    struct session *s = t->data;
    s->drained = true;
    maybe_finish(s);
}

static void end_vm(struct session *s)
{
    if (s->vm_ending || s->vm_done)
        return;
    s->vm_ending = true;
    /* With volumes the guest still holds what the host should see; without, nothing outlives the VM and there is nothing to wait for. */
    if (s->work || s->o->bind_count)
        vm_shutdown(s->vm, 0);
    else
        vm_kill(s->vm);
}

static void kill_now(struct session *s)
{
    if (!s->vm_done) {
        s->vm_ending = true;
        vm_kill(s->vm);
    }
}

static void note_error(struct session *s, const struct gv_error *err)
{
    if (s->why.code == GV_OK)
        s->why = *err;
}

/* ---- the record ------------------------------------------------------------------------------------------------------------------- */

/* A record that cannot be written is no reason to end what runs. */
static void write_record(struct session *s)
{
    struct gv_error err = GV_ERROR_INIT;
    if (s->o->named && vms_entry_write(s->o->named->entry, &s->record, &err) < 0)
        gv_warn(s->o->log, "%s", err.msg);
}

/* What is known before the start. */
static void record_start(struct session *s)
{
    const struct session_options *o = s->o;
    struct vms_record *r = &s->record;
    r->name = gv_strdup(vms_entry_name(o->named->entry));
    r->image = gv_strdup(o->named->image);
    r->hash = o->named->hash ? gv_strdup(o->named->hash) : NULL;
    r->detached = o->named->detached;
    r->owner = getpid();
    r->created_ms = vms_now_ms();
    gv_strv_copy(&r->argv, &s->argv);
    if (o->network)
        gv_strv_copy(&r->ports, &o->network->publish);
    r->volumes = gv_calloc(o->bind_count + 1, sizeof(*r->volumes));
    for (; r->volume_count < o->bind_count; r->volume_count++) {
        const struct session_bind *b = &o->binds[r->volume_count];
        r->volumes[r->volume_count] = (struct vms_volume){ gv_strdup(b->host), gv_strdup(b->guest), b->readonly };
    }
    write_record(s);
}

/* ---- the command ------------------------------------------------------------------------------------------------------------------ */

static void launcher_done(struct session *s)
{
    if (s->launcher_open)
        uv_poll_stop(&s->launcher);
}

static void on_started(void *user)
{
    struct session *s = user;
    if (!s->o->named)
        return;
    s->record.state = VMS_RUNNING;
    s->record.started_ms = vms_now_ms();
    s->record.qemu = vm_qemu_pid(s->vm);
    write_record(s);
    launcher_done(s);
    if (s->o->named->started)
        s->o->named->started(s->o->named->user);
}

static void process_ended(struct session *s)
{
    s->process_done = true;
    uv_timer_stop(&s->timer);
    end_vm(s);
    maybe_finish(s);
}

static void on_command_ended(void *user, const struct vm_exit *e, const struct gv_error *why)
{
    struct session *s = user;
    if (e) {
        s->status = e->signalled ? SESSION_SIGNAL + e->status : e->status;
        s->have_status = true;
    } else if (!s->vm_ending) { /* else it is we who took its VM away */
        note_error(s, why);
    }
    process_ended(s);
}

static void on_drained(void *user)
{
    maybe_finish(user);
}

/* Our output cannot be written: its reader is gone (as in `gvmkit run ... | head`), or the disk is full. */
static void on_output_failed(void *user, int error)
{
    struct session *s = user;
    if (error == EPIPE) {
        command_signal(s->command, SIGPIPE, true);
        s->status = SESSION_SIGNAL + SIGPIPE;
        s->have_status = true;
    } else if (s->why.code == GV_OK) {
        gv_error_set(&s->why, GV_E_IO, error, "cannot write the command's output");
    }
    end_vm(s);
}

static const struct command_events command_events = {
    .started = on_started,
    .ended = on_command_ended,
    .drained = on_drained,
    .output_failed = on_output_failed,
};

/* ---- the VM ----------------------------------------------------------------------------------------------------------------------- */

static void on_winch(uv_signal_t *h, int signum)
{
    (void)signum;
    struct session *s = h->data;
    uint16_t rows, columns;
    terminal_size(&rows, &columns);
    command_resize(s->command, rows, columns);
}

static void on_timer(uv_timer_t *t)
{
    struct session *s = t->data;
    if (!s->last_signal && !s->timed_out && !s->asked_to_end && command_runs(s->command)) {
        s->timed_out = true;
        command_signal(s->command, SIGTERM, true);
        uv_timer_start(&s->timer, on_timer, TERM_GRACE_MS, 0);
        return;
    }
    kill_now(s);
}

static void start_command(struct session *s)
{
    const struct session_options *o = s->o;
    const char *workdir = o->workdir ? o->workdir : o->config->workdir;
    const char *account = o->user ? o->user : o->config->user;
    struct vm_process_spec spec = {
        .argv = (const char *const *)s->argv.items,
        .env = (const char *const *)s->env.items,
        .cwd = workdir,
        .user = account,
        .stdin_open = o->interactive,
        .tty = o->tty,
    };
    terminal_size(&spec.rows, &spec.columns);
    if (o->tty)
        terminal_raw(&s->terminal);
    struct gv_error err = GV_ERROR_INIT;
    if (command_start(s->command, s->vm, &spec, &err) < 0) {
        note_error(s, &err);
        process_ended(s);
        return;
    }
    if (s->control)
        control_set_vm(s->control, s->vm);
    if (o->timeout_ms)
        uv_timer_start(&s->timer, on_timer, o->timeout_ms, 0);
}

static void on_network(void *user, const struct gv_error *failed)
{
    struct session *s = user;
    if (!failed) {
        start_command(s);
        return;
    }
    note_error(s, failed);
    process_ended(s);
}

static void on_network_died(void *user, const struct gv_error *why)
{
    struct session *s = user;
    note_error(s, why);
    kill_now(s);
}

static void on_ready(void *user, struct vm *vm)
{
    struct session *s = user;
    struct gv_error err = GV_ERROR_INIT;
    if (!s->network)
        start_command(s);
    else if (network_configure(s->network, vm, on_network, s, &err) < 0)
        on_network(s, &err);
}

static void on_ended(void *user, struct vm *vm, const struct gv_error *why)
{
    (void)vm;
    struct session *s = user;
    s->vm_done = true;
    if (s->control)
        control_set_vm(s->control, NULL);
    if (why->code != GV_OK && !s->vm_ending)
        note_error(s, why);
    s->process_done = true;
    maybe_finish(s);
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct session *s = h->data;
    bool again = s->last_signal == signum;
    s->last_signal = signum;
    if (signum == SIGUSR1 || signum == SIGUSR2) {
        s->last_signal = 0;
        command_signal(s->command, signum, false);
        return;
    }
    if (!command_runs(s->command) || again) {
        kill_now(s);
        /* It may be only our reader whom we wait for: then output is lost, and the command's status would hide it. */
        s->have_status = s->have_status && !command_waits(s->command);
        maybe_finish(s);
        return;
    }
    command_signal(s->command, signum, true);
    if (signum == SIGTERM || signum == SIGHUP)
        uv_timer_start(&s->timer, on_timer, TERM_GRACE_MS, 0);
}

/* ---- asked over the socket -------------------------------------------------------------------------------------------------------- */

/* The command gets a signal, it alone, since it may want to end its children in its own order; the VM ends if it does not within the time. */
static void end_command(struct session *s, int signum, unsigned grace_ms)
{
    if (s->process_done)
        return;
    s->asked_to_end = true;
    if (!command_runs(s->command)) {
        kill_now(s);
        return;
    }
    command_signal(s->command, signum, false);
    uv_timer_start(&s->timer, on_timer, grace_ms, 0);
}

static void on_stop(void *user, unsigned grace_ms)
{
    struct session *s = user;
    end_command(s, s->o->named->stop_signal, grace_ms);
}

static void on_kill(void *user, int signum)
{
    struct session *s = user;
    if (signum == SIGKILL)
        end_command(s, SIGKILL, KILL_GRACE_MS);
    else
        command_signal(s->command, signum, false);
}

/* Whoever waits for our start has gone before: nobody knows of this VM. */
static void on_launcher(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct session *s = poll->data;
    launcher_done(s);
    s->last_signal = SIGHUP;
    kill_now(s);
}

static int open_named(struct session *s, struct gv_error *err)
{
    const struct session_options *o = s->o;
    static const struct control_events events = { .stop = on_stop, .kill = on_kill, .idle = on_drained };
    const struct control_config config = { .loop = &s->loop,
                                           .dir = vms_entry_dir(o->named->entry),
                                           .env = &s->env,
                                           .cwd = o->workdir ? o->workdir : o->config->workdir,
                                           .user = o->user ? o->user : o->config->user,
                                           .cpus = o->cpus ? o->cpus : 1,
                                           .events = &events,
                                           .events_user = s };
    record_start(s);
    if (o->named->detached && vms_log_open(&s->log, config.dir, err) < 0)
        return -1;
    if (o->named->launcher >= 0 && uv_poll_init(&s->loop, &s->launcher, o->named->launcher) == 0) {
        s->launcher.data = s;
        s->launcher_open = true;
        uv_poll_start(&s->launcher, UV_READABLE | UV_DISCONNECT, on_launcher);
    }
    return control_open(&s->control, &config, err);
}

/* ---- the start -------------------------------------------------------------------------------------------------------------------- */

static int make_work(struct session *s, struct gv_error *err)
{
    const char *tmp = getenv("TMPDIR");
    if (gv_workdir_open(&s->work, tmp && *tmp ? tmp : "/var/tmp", "gvmkit-run", err) < 0) {
        gv_error_prefix(err, "no place for the volumes");
        return gv_error_hint(err, "set TMPDIR to a writable directory");
    }
    return 0;
}

static int compare_volumes(const void *a, const void *b)
{
    return strcmp(((const struct vm_volume *)a)->guest_path, ((const struct vm_volume *)b)->guest_path);
}

/* Makes the directory of one of the n volumes, empty or with what the image holds there; then its owner is the one that the image says. */
static int make_volume(struct session *s, const struct vm_volume *list, size_t n, struct vm_volume *v, struct gv_error *err)
{
    cleanup_free const char **paths = gv_calloc(n + 1, sizeof(*paths));
    for (size_t i = 0; i < n; i++)
        paths[i] = list[i].guest_path;
    int seeded = s->o->seed ? extract_share(s->o->seed, v->guest_path, paths, v->host_path, s->o->log, err) : 0;
    if (seeded < 0)
        return gv_error_prefix(err, "--seed-volumes: `%s`", v->guest_path);
    v->give_to_user = seeded == 0;
    return seeded == 0 && mkdir(v->host_path, 0755) < 0 ? gv_error_errno(err, "cannot create `%s`", v->host_path) : 0;
}

/* Fills list (room for bind_count + volumes.count) in the order of mounting: parents before children. hosts keeps the strings. */
static int plan_volumes(struct session *s, struct vm_volume *list, size_t *count, struct gv_strv *hosts, struct gv_error *err)
{
    const struct session_options *o = s->o;
    size_t n = 0;
    for (size_t i = 0; i < o->bind_count; i++) {
        char *guest = gv_path_normal(o->binds[i].guest);
        if (!guest || !strcmp(guest, "/")) {
            free(guest);
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` cannot be the place of a volume; give an absolute path below /",
                                o->binds[i].guest);
        }
        gv_strv_take(&s->guest_paths, guest);
        gv_strv_add(hosts, o->binds[i].host);
        list[n++] = (struct vm_volume){ .host_path = hosts->items[hosts->count - 1],
                                        .guest_path = guest,
                                        .readonly = o->binds[i].readonly,
                                        .give_to_user = !o->binds[i].readonly };
    }
    for (size_t i = 0; i < o->config->volumes.count; i++) {
        char *guest = gv_path_normal(o->config->volumes.items[i]);
        if (!guest || !strcmp(guest, "/")) {
            gv_warn(o->log, "the image's VOLUME `%s` is not a path below / and is left out", o->config->volumes.items[i]);
            free(guest);
            continue;
        }
        bool taken = false;
        for (size_t k = 0; k < n; k++)
            taken = taken || !strcmp(list[k].guest_path, guest);
        gv_strv_take(&s->guest_paths, guest);
        if (taken)
            continue;
        if (!s->work && make_work(s, err) < 0)
            return -1;
        char *host = gv_asprintf("%s/vol-%zu", gv_workdir_path(s->work), i);
        gv_strv_take(hosts, host);
        list[n++] = (struct vm_volume){ .host_path = host, .guest_path = guest, .give_to_user = true };
    }
    for (size_t i = o->bind_count; i < n; i++)
        if (make_volume(s, list, n, &list[i], err) < 0)
            return -1;
    qsort(list, n, sizeof(*list), compare_volumes);
    *count = n;
    return 0;
}

static void handle_init(struct session *s)
{
    for (size_t i = 0; i < FORWARDED; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], on_signal, forwarded[i]);
    }
    uv_signal_init(&s->loop, &s->winch);
    s->winch.data = s;
    if (s->o->tty)
        uv_signal_start(&s->winch, on_winch, SIGWINCH);
    uv_timer_init(&s->loop, &s->timer);
    s->timer.data = s;
}

static void open_command(struct session *s)
{
    const struct command_config config = {
        .loop = &s->loop, .fds = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO }, .log = s->log, .events = &command_events, .user = s
    };
    s->command = command_new(&config);
}

static int run_loop(struct session *s, struct gv_error *err)
{
    const struct session_options *o = s->o;
    cleanup_strv struct gv_strv hosts = { 0 };
    size_t volumes = 0;
    cleanup_free struct vm_volume *list = gv_calloc(o->bind_count + o->config->volumes.count, sizeof(*list));
    if (session_compose(o, &s->argv, &s->env, err) < 0 || plan_volumes(s, list, &volumes, &hosts, err) < 0)
        return -1;
    int failed = uv_loop_init(&s->loop);
    if (failed)
        return gv_error_set(err, GV_E_IO, -failed, "cannot create an event loop");
    handle_init(s);
    int status = o->named ? open_named(s, err) : 0;
    open_command(s);
    struct vm_config config = {
        .images = &o->image,
        .image_count = 1,
        .accel = o->accel,
        .cpus = o->cpus,
        .memory = o->memory,
        .root_size = o->root_size,
        .hostname = o->hostname,
        .user = o->user ? o->user : o->config->user,
        .volumes = list,
        .volume_count = volumes,
        .require_jail = o->require_jail,
        .console_fd = o->debug ? STDERR_FILENO : -1,
        .log = o->log,
    };
    static const struct vm_events events = { .ready = on_ready, .ended = on_ended };
    if (status == 0 && o->network)
        status = network_start(&s->network, &s->loop, o, on_network_died, s, err);
    if (s->network) {
        config.links = network_link(s->network);
        config.link_count = 1;
    }
    if (status == 0)
        status = vm_start(&s->vm, &s->loop, &config, &events, s, err);
    if (s->network)
        network_given(s->network);
    if (status < 0) {
        s->process_done = s->vm_done = true;
        maybe_finish(s);
    }
    uv_run(&s->loop, UV_RUN_DEFAULT);
    terminal_restore(&s->terminal);
    if (s->vm)
        vm_free(s->vm);
    uv_run(&s->loop, UV_RUN_DEFAULT); /* what vm_free still had to close */
    uv_loop_close(&s->loop);
    return status;
}

int session_failure(const struct gv_error *why)
{
    if (why->code == GV_E_GUEST && why->sys == ENOENT)
        return SESSION_NOT_FOUND;
    if (why->code == GV_E_GUEST && (why->sys == EACCES || why->sys == ENOEXEC || why->sys == EISDIR || why->sys == ENOTDIR))
        return SESSION_NOT_EXECUTABLE;
    return SESSION_FAILED;
}

/* What the end means for the user's shell. */
static int outcome(struct session *s, int *status, struct gv_error *err)
{
    if (s->timed_out) {
        *status = SESSION_TIMED_OUT;
        return gv_error_set(err, GV_E_TIMEOUT, 0, "the command ran longer than %u.%03u s and was ended", s->o->timeout_ms / 1000,
                            s->o->timeout_ms % 1000);
    }
    if (s->have_status) {
        *status = s->status;
        if (s->why.code == GV_OK)
            return 0;
    } else if (s->last_signal || s->asked_to_end) {
        *status = SESSION_SIGNAL + (s->last_signal ? s->last_signal : SIGKILL);
        return 0;
    }
    if (s->why.code == GV_OK)
        gv_error_set(&s->why, GV_E_INTERNAL, 0, "the VM ended without a result");
    *err = s->why;
    *status = session_failure(err);
    return -1;
}

/* The last word about it; only those who were not told by a terminal need it later. */
static void record_end(struct session *s, int status, const struct gv_error *err)
{
    struct vms_record *r = &s->record;
    if (s->log)
        vms_log_close(s->log);
    if (r->name) {
        r->state = VMS_ENDED;
        r->status = status;
        r->error = err ? gv_strdup(err->msg) : NULL;
        r->ended_ms = vms_now_ms();
        write_record(s);
    }
    vms_entry_end(s->o->named->entry, status, s->o->named->detached && r->started_ms);
    vms_record_clear(r);
}

int session_run(const struct session_options *options, int *status, struct gv_error *err)
{
    struct session s = { .o = options };
    *status = SESSION_FAILED;
    int result = run_loop(&s, err);
    if (result == 0)
        result = outcome(&s, status, err);
    struct gv_error left = GV_ERROR_INIT;
    if (gv_workdir_remove(s.work, &left) < 0)
        gv_warn(options->log, "%s", left.msg);
    if (options->named)
        record_end(&s, *status, result < 0 ? err : NULL);
    gv_strv_clear(&s.argv);
    gv_strv_clear(&s.env);
    gv_strv_clear(&s.guest_paths);
    return result;
}
