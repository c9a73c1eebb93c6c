/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Theory of operation. One loop, one VM, one process. The session ends when three things are done: the process has exited (or failed), its
 * output is out, and the VM has ended; whichever comes last stops the loop. Interrupts act on what there is: before the process runs they end the
 * VM, then they are passed on to the process, and the second of a kind (or ten seconds after SIGTERM or SIGHUP) ends the VM.
 *
 * Nothing on the way buffers without bound: output waits in the sinks for at most the guest's credit, input is read from the user only as
 * far as the guest has granted credit.
 */
#include "session/session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "extract/extract.h"
#include "session/network.h"
#include "session/streams.h"

#define TERM_GRACE_MS 10000
#define INPUT_CHUNK 65536

static const int forwarded[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
#define FORWARDED (sizeof(forwarded) / sizeof(forwarded[0]))

struct session {
    const struct session_options *o;
    uv_loop_t loop;
    struct vm *vm;
    struct vm_process *process;
    struct gv_strv argv, env, guest_paths;
    struct network *network; /* NULL = none */
    struct gv_workdir *work; /* with a directory for each volume; NULL if there are none */

    struct stdio_sink sinks[2];
    struct gv_stdio in;
    uv_poll_t in_poll;
    bool in_polling, in_poll_open, in_done;
    unsigned char *in_buf;
    size_t in_len, in_at; /* read from the user, not yet taken by the guest */

    uv_signal_t signals[FORWARDED], winch;
    uv_timer_t timer; /* the command's timeout, then the grace after a signal */
    int last_signal;
    bool timed_out;

    struct termios saved_tty;
    bool tty_raw;

    bool process_done, vm_done, vm_ending;
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

/* Stops everything of ours once nothing is left to wait for; then uv_run returns. */
static void maybe_finish(struct session *s)
{
    for (int i = 0; i < 2; i++)
        if (s->sinks[i].waiting.len > 0 && !s->sinks[i].error && !s->last_signal)
            return;
    if (!s->process_done || !s->vm_done)
        return;
    for (int i = 0; i < 2; i++)
        stdio_sink_close(&s->sinks[i]);
    network_stop(steal_ptr(s->network));
    uv_walk(&s->loop, close_handle, NULL);
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

/* ---- input ------------------------------------------------------------------------------------------------------------------------ */

static void input_stop(struct session *s)
{
    if (s->in_polling)
        uv_poll_stop(&s->in_poll);
    s->in_polling = false;
}

static void on_input(uv_poll_t *poll, int status, int events);

/* Moves input as long as both sides let it. Polls the user's side only when the guest took all there was. */
static void input_pump(struct session *s)
{
    while (!s->in_done && s->process) {
        if (s->in_at < s->in_len) {
            s->in_at += vm_process_write(s->process, s->in_buf + s->in_at, s->in_len - s->in_at);
            if (s->in_at < s->in_len) {
                input_stop(s); /* on_guest_writable goes on */
                return;
            }
        }
        s->in_at = s->in_len = 0;
        ssize_t n = s->in.fd < 0 ? 0 : read(s->in.fd, s->in_buf, INPUT_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            if (!s->in_polling && s->in_poll_open) {
                uv_poll_start(&s->in_poll, UV_READABLE, on_input);
                s->in_polling = true;
            }
            return;
        }
        if (n <= 0) { /* the end, or a terminal that is gone */
            vm_process_close_stdin(s->process);
            s->in_done = true;
            break;
        }
        s->in_len = (size_t)n;
    }
    input_stop(s);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    input_pump(poll->data);
}

/* ---- the process ------------------------------------------------------------------------------------------------------------------ */

static void on_started(void *user, struct vm_process *p)
{
    (void)p;
    struct session *s = user;
    if (s->o->interactive)
        input_pump(s);
}

static void process_ended(struct session *s)
{
    s->process = NULL;
    s->process_done = true;
    uv_timer_stop(&s->timer);
    input_stop(s);
    end_vm(s);
    maybe_finish(s);
}

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    (void)p;
    struct session *s = user;
    if (!s->vm_ending) /* else it is we who took its VM away */
        note_error(s, err);
    process_ended(s);
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    (void)p;
    struct session *s = user;
    stdio_sink_put(&s->sinks[stream == 2], data, n);
}

static void on_guest_writable(void *user, struct vm_process *p)
{
    (void)p;
    input_pump(user);
}

static void on_input_gone(void *user, struct vm_process *p)
{
    (void)p;
    struct session *s = user;
    s->in_done = true;
    input_stop(s);
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    (void)p;
    struct session *s = user;
    s->status = e->signalled ? SESSION_SIGNAL + e->status : e->status;
    s->have_status = true;
    process_ended(s);
}

static void sink_written(struct session *s, int stream, size_t n)
{
    if (s->process)
        vm_process_consumed(s->process, stream, n);
    else
        maybe_finish(s);
}

static void on_stdout_written(void *user, size_t n)
{
    sink_written(user, 1, n);
}

static void on_stderr_written(void *user, size_t n)
{
    sink_written(user, 2, n);
}

/* Our output cannot be written: its reader is gone (as in `gvmkit run ... | head`), or the disk is full. */
static void on_sink_failed(void *user, int error)
{
    struct session *s = user;
    if (error == EPIPE) {
        if (s->process)
            vm_process_signal(s->process, SIGPIPE, true);
        s->status = SESSION_SIGNAL + SIGPIPE;
        s->have_status = true;
    } else if (s->why.code == GV_OK) {
        gv_error_set(&s->why, GV_E_IO, error, "cannot write the command's output");
    }
    end_vm(s);
}

/* ---- the VM ----------------------------------------------------------------------------------------------------------------------- */

static void window_size(struct vm_process_spec *spec)
{
    struct winsize ws;
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0) {
        spec->rows = ws.ws_row;
        spec->columns = ws.ws_col;
    }
}

static void on_winch(uv_signal_t *h, int signum)
{
    (void)signum;
    struct session *s = h->data;
    struct vm_process_spec spec = { 0 };
    window_size(&spec);
    if (s->process && spec.rows && spec.columns)
        vm_process_resize(s->process, spec.rows, spec.columns);
}

static void terminal_raw(struct session *s)
{
    if (!s->o->tty || tcgetattr(STDIN_FILENO, &s->saved_tty) < 0)
        return;
    struct termios raw = s->saved_tty;
    cfmakeraw(&raw);
    s->tty_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static void terminal_restore(struct session *s)
{
    if (s->tty_raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved_tty);
    s->tty_raw = false;
}

static void on_timer(uv_timer_t *t)
{
    struct session *s = t->data;
    if (!s->last_signal && !s->timed_out && s->process) {
        s->timed_out = true;
        vm_process_signal(s->process, SIGTERM, true);
        uv_timer_start(&s->timer, on_timer, TERM_GRACE_MS, 0);
        return;
    }
    kill_now(s);
}

static const struct vm_process_events process_events = {
    .started = on_started,
    .failed = on_failed,
    .output = on_output,
    .writable = on_guest_writable,
    .input_gone = on_input_gone,
    .exited = on_exited,
};

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
    window_size(&spec);
    terminal_raw(s);
    struct gv_error err = GV_ERROR_INIT;
    if (vm_process_start(&s->process, s->vm, &spec, &process_events, s, &err) < 0) {
        note_error(s, &err);
        process_ended(s);
        return;
    }
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
    if (why->code != GV_OK && !s->vm_ending)
        note_error(s, why);
    s->process_done = true;
    s->process = NULL;
    input_stop(s);
    maybe_finish(s);
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct session *s = h->data;
    bool again = s->last_signal == signum;
    s->last_signal = signum;
    if (signum == SIGUSR1 || signum == SIGUSR2) {
        s->last_signal = 0;
        if (s->process)
            vm_process_signal(s->process, signum, false);
        return;
    }
    if (!s->process || again) {
        kill_now(s);
        return;
    }
    vm_process_signal(s->process, signum, true);
    if (signum == SIGTERM || signum == SIGHUP)
        uv_timer_start(&s->timer, on_timer, TERM_GRACE_MS, 0);
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
    for (int i = 0; i < 2; i++) {
        s->sinks[i].user = s;
        s->sinks[i].written = i ? on_stderr_written : on_stdout_written;
        s->sinks[i].failed = on_sink_failed;
        stdio_sink_open(&s->sinks[i], &s->loop, i ? STDERR_FILENO : STDOUT_FILENO);
    }
    s->in.fd = -1;
    if (!s->o->interactive)
        return;
    s->in_buf = gv_alloc(INPUT_CHUNK);
    gv_stdio_open(&s->in, STDIN_FILENO, O_RDONLY);
    if (s->in.fd >= 0 && s->in.pollable && uv_poll_init(&s->loop, &s->in_poll, s->in.fd) == 0) {
        s->in_poll.data = s;
        s->in_poll_open = true;
    }
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
    int status = o->network ? network_start(&s->network, &s->loop, o, on_network_died, s, err) : 0;
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
    terminal_restore(s);
    gv_stdio_close(&s->in);
    if (s->vm)
        vm_free(s->vm);
    uv_run(&s->loop, UV_RUN_DEFAULT); /* what vm_free still had to close */
    uv_loop_close(&s->loop);
    return status;
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
    } else if (s->last_signal) {
        *status = SESSION_SIGNAL + s->last_signal;
        return 0;
    }
    if (s->why.code == GV_OK)
        gv_error_set(&s->why, GV_E_INTERNAL, 0, "the VM ended without a result");
    *err = s->why;
    *status = SESSION_FAILED;
    if (s->why.code == GV_E_GUEST && s->why.sys == ENOENT)
        *status = SESSION_NOT_FOUND;
    else if (s->why.code == GV_E_GUEST && (s->why.sys == EACCES || s->why.sys == ENOEXEC || s->why.sys == EISDIR || s->why.sys == ENOTDIR))
        *status = SESSION_NOT_EXECUTABLE;
    return -1;
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
    free(s.in_buf);
    gv_strv_clear(&s.argv);
    gv_strv_clear(&s.env);
    gv_strv_clear(&s.guest_paths);
    return result;
}
