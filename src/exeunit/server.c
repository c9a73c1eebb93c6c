/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * start. One loop, one VM, one supervisor. Nothing waits for anything else: requests are read while stdout is blocked, and answered as the guest
 * answers. What is bounded is memory: when OUTBOX_HIGH bytes wait for the supervisor nothing more is read from the guest; when many answers
 * wait, or many programs are being started, no more requests are read.
 *
 * There is one way to the end. Whatever asks for it (Shutdown, the end of stdin, a signal, a reader that is gone, a frame that is none, the VM's own
 * end) leads to LEAVING, and from there out. Only the exit status and the last words differ.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "exeunit/counters.h"
#include "exeunit/network.h"
#include "exeunit/server.h"
#include "session/session.h"

#define OUTBOX_HIGH (1U << 20)
#define OUTBOX_LOW (OUTBOX_HIGH / 4)
#define ANSWERS_MAX (4U << 20) /* no request is read while so much waits */
#define STARTING_MAX 256U      /* programs being started at a time */
#define BOOT_INPUT_MAX 65536U  /* bytes of requests that are taken in while the VM boots */
#define READ_CHUNK 65536U
/* All of a shutdown must be over within three seconds: this for the processes, and two seconds for file systems. */
#define SHUTDOWN_GRACE_MS 600U
#define LINGER_MS 300U          /* for the supervisor to read our last words */
#define LINGER_STOPPED_MS 1000U /* after Shutdown, when it knows all and will end us */
#define FIRST_REQUEST_MS 1000U  /* for a supervisor to ask, so that it can be told why there is no VM */
#define DRAIN_MS 2000U          /* for a slow reader */

#define COUNT_EVERY_MS 6000U /* counters are told */

static const int signal_numbers[SERVER_SIGNALS] = { SIGINT, SIGTERM, SIGHUP };

/* ---- the end --------------------------------------------------------------------------------------------------------------------- */

static void close_handle(uv_handle_t *h, void *user)
{
    (void)user;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void finish(struct server *s)
{
    if (s->finished)
        return;
    s->finished = true;
    meter_close(&s->meter);
    if (s->out.first && !s->status) {
        s->status = 1;
        gv_error_set(&s->why, GV_E_TIMEOUT, 0, "the supervisor does not read what it is told");
    }
    network_close(s->network);
    outbox_close(&s->out);
    uv_walk(&s->loop, close_handle, NULL);
}

static void on_leave(uv_timer_t *t)
{
    finish(t->data);
}

/* Everything is said; ends when it is written, and the supervisor has had the time to read it. */
static void linger(struct server *s)
{
    if (s->state != SERVER_LEAVING || s->finished)
        return;
    if (s->out.first && !s->out.error)
        return; /* the timer of leave() is running */
    if (s->in_ended || s->out.error) {
        finish(s);
        return;
    }
    if (!s->lingering)
        uv_timer_start(&s->timer, on_leave, s->status ? LINGER_MS : LINGER_STOPPED_MS, 0);
    s->lingering = true;
}

static void leave(struct server *s)
{
    s->state = SERVER_LEAVING;
    for (size_t i = 0; i < s->shutdown_count; i++) {
        cleanup_buf struct gv_buf frame = { 0 };
        proto_put_shutdown(&frame, s->shutdown_ids[i]);
        outbox_put(&s->out, &frame);
    }
    s->shutdown_count = 0;
    uv_timer_start(&s->timer, on_leave, s->start_over ? FIRST_REQUEST_MS : DRAIN_MS, 0);
    if (!s->start_over || s->in_ended)
        linger(s);
}

static void fail(struct server *s, int status, const struct gv_error *why)
{
    if (s->status)
        return;
    s->status = status;
    s->why = *why;
}

/* Ends the VM, in order. */
static void stop(struct server *s)
{
    if (s->state >= SERVER_STOPPING)
        return;
    bool booting = s->state == SERVER_BOOTING;
    s->state = SERVER_STOPPING;
    uv_timer_stop(&s->count);
    if (s->vm_over)
        leave(s);
    else if (booting)
        vm_kill(s->vm);
    else
        vm_shutdown(s->vm, SHUTDOWN_GRACE_MS);
    server_balance(s);
}

static void stop_because(struct server *s, int status, const struct gv_error *why)
{
    fail(s, status, why);
    stop(s);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------------- */

static void watch_input(struct server *s);

void server_balance(struct server *s)
{
    bool hold = s->state == SERVER_SERVING && (s->out.held > OUTBOX_HIGH || (s->holding && s->out.held > OUTBOX_LOW));
    if (s->state == SERVER_STOPPING && s->out.held > ANSWERS_MAX) {
        /* The VM is being ended and must be listened to, but nobody reads: there is no one to keep it for. */
        struct gv_error why = GV_ERROR_INIT;
        gv_error_set(&why, GV_E_TIMEOUT, 0, "the supervisor does not read the output of its processes");
        fail(s, 1, &why);
        s->out.error = ETIMEDOUT;
    }
    if (hold != s->holding && !s->vm_over)
        vm_hold(s->vm, hold);
    s->holding = hold;
    watch_input(s);
}

static void on_moved(void *user)
{
    struct server *s = user;
    if (s->out.error && s->state < SERVER_STOPPING) {
        struct gv_error why = GV_ERROR_INIT;
        gv_error_set(&why, GV_E_IO, s->out.error, "cannot write to the supervisor");
        stop_because(s, 1, &why);
    }
    server_balance(s);
    if (s->state == SERVER_LEAVING && s->out.first && !s->finished)
        uv_timer_start(&s->timer, on_leave, DRAIN_MS, 0); /* slow, but reading */
    linger(s);
}

static void on_sent(void *user, uint64_t pid, int stream, size_t n)
{
    runs_sent(user, pid, stream, n);
}

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

void server_refuse(struct server *s, uint64_t id, enum proto_error code, const char *message, const struct gv_strv *context)
{
    cleanup_buf struct gv_buf frame = { 0 };
    proto_put_error(&frame, id, code, message, context);
    outbox_put(&s->out, &frame);
}

static void request_shutdown(struct server *s, uint64_t id)
{
    s->shutdown_ids = gv_reallocarray(s->shutdown_ids, s->shutdown_count + 1, sizeof(*s->shutdown_ids));
    s->shutdown_ids[s->shutdown_count++] = id;
    if (s->state == SERVER_LEAVING)
        leave(s);
    else
        stop(s);
}

static void request(struct server *s, const struct proto_request *q)
{
    cleanup_buf struct gv_buf frame = { 0 };
    if (q->command == PROTO_SHUTDOWN && !s->start_over) {
        request_shutdown(s, q->id);
    } else if (s->start_over) {
        cleanup_free char *text = gv_asprintf("the VM could not be started: %s", s->why.msg);
        server_refuse(s, q->id, PROTO_INTERNAL, text, NULL);
        linger(s);
    } else if (q->command == PROTO_HELLO) {
        proto_put_hello(&frame, q->id, EXEUNIT_VERSION_TEXT);
        outbox_put(&s->out, &frame);
    } else if (s->state != SERVER_SERVING) {
        server_refuse(s, q->id, PROTO_BAD_REQUEST, "the runtime is shutting down", NULL);
    } else if (q->command == PROTO_RUN) {
        runs_start(s, q);
    } else if (q->command == PROTO_KILL) {
        runs_kill(s, q);
    } else if (q->command == PROTO_NETWORK) {
        network_request(s->network, q);
    } else {
        server_refuse(s, q->id, PROTO_BAD_REQUEST, "unknown command", NULL);
    }
}

/* The supervisor says nothing more. It is not waiting for anything then, or is gone. */
static void input_ended(struct server *s)
{
    struct gv_error why = GV_ERROR_INIT;
    s->in_ended = true;
    if (s->state == SERVER_BOOTING && proto_frames_left(&s->frames) > 0) {
        watch_input(s); /* what it has asked for is done first */
        return;
    }
    if (proto_frames_left(&s->frames) > 0) {
        gv_error_set(&why, GV_E_PROTOCOL, 0, "the supervisor's requests end in the middle of one");
        fail(s, 1, &why);
    } else if (s->running + s->starting > 0 && s->state < SERVER_STOPPING) {
        gv_error_set(&why, GV_E_CANCELLED, 0, "the supervisor went away while %zu processes were running", s->running + s->starting);
        fail(s, 1, &why);
    }
    stop(s);
    watch_input(s);
    linger(s);
}

static void handle_frames(struct server *s)
{
    const uint8_t *message;
    size_t n;
    struct gv_error err = GV_ERROR_INIT;
    int got = 0;
    while (!s->finished && (got = proto_frames_next(&s->frames, &message, &n, &err)) > 0) {
        struct proto_request q;
        int status = proto_request_get(&q, message, n, &err);
        if (status == 0)
            request(s, &q);
        proto_request_clear(&q);
        if (status < 0) {
            got = -1;
            break;
        }
    }
    if (got >= 0)
        return;
    /* Where the next frame begins nobody knows. */
    proto_frames_clear(&s->frames);
    s->in_ended = true;
    stop_because(s, 1, &err);
    watch_input(s);
    linger(s);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    struct server *s = poll->data;
    char chunk[READ_CHUNK];
    (void)status, (void)events;
    ssize_t n = read(s->in.fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        input_ended(s);
        return;
    }
    proto_frames_add(&s->frames, chunk, (size_t)n);
    if (s->state != SERVER_BOOTING)
        handle_frames(s);
    watch_input(s);
}

static void watch_input(struct server *s)
{
    if (s->finished) /* its handle is closed */
        return;
    bool want = s->in_poll_open && !s->in_ended && s->out.held < ANSWERS_MAX && s->starting < STARTING_MAX &&
                (s->state != SERVER_BOOTING || proto_frames_left(&s->frames) < BOOT_INPUT_MAX);
    if (want && !s->in_polling)
        uv_poll_start(&s->in_poll, UV_READABLE, on_input);
    else if (!want && s->in_polling)
        uv_poll_stop(&s->in_poll);
    s->in_polling = want;
}

/* ---- usage ----------------------------------------------------------------------------------------------------------------------- */

static void tell_counters(struct server *s, const struct counters *c)
{
    const struct {
        const char *name;
        double value;
    } all[] = {
        { "golem.usage.cpu_sec", c->cpu_seconds },
        { "golem.usage.gib", c->memory_gib },
        { "golem.usage.storage_gib", (double)s->meter.last.stored / (1 << 30) },
        { "vm.io.read_bytes", c->read_bytes },
        { "vm.io.write_bytes", c->write_bytes },
    };
    cleanup_buf struct gv_buf frames = { 0 };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        proto_put_counter(&frames, all[i].name, all[i].value);
    outbox_put(&s->out, &frames);
}

/* Called by the meter. QEMU is stopped, and must not write another byte: it is killed as it is. */
static void on_over(void *user, const struct gv_error *why)
{
    struct server *s = user;
    if (s->vm_over)
        return;
    if (s->state == SERVER_BOOTING) {
        server_start_failed(s, why);
        return;
    }
    if (!s->last_words)
        s->last_words = gv_asprintf(EXEUNIT_NAME ": %s\n", why->msg);
    fail(s, 1, why);
    s->state = SERVER_STOPPING;
    uv_timer_stop(&s->count);
    vm_kill(s->vm);
    server_balance(s);
}

static void on_count(uv_timer_t *t)
{
    struct server *s = t->data;
    struct counters c;
    if (s->state == SERVER_SERVING && !s->out.first && counters_read(&c, vm_qemu_pid(s->vm)) == 0)
        tell_counters(s, &c); /* a reader who is behind gets the next ones */
}

/* ---- the VM ---------------------------------------------------------------------------------------------------------------------- */

void server_serve(struct server *s)
{
    if (s->state != SERVER_BOOTING)
        return;
    s->state = SERVER_SERVING;
    uv_timer_start(&s->count, on_count, COUNT_EVERY_MS, COUNT_EVERY_MS);
    handle_frames(s);
    if (s->in_ended && s->state == SERVER_SERVING)
        input_ended(s);
    else
        watch_input(s);
}

void server_start_failed(struct server *s, const struct gv_error *why)
{
    if (s->state != SERVER_BOOTING)
        return;
    fail(s, 1, why);
    s->start_over = true;
    vm_kill(s->vm);
}

static void on_ready(void *user, struct vm *vm)
{
    struct server *s = user;
    (void)vm;
    if (s->entrypoint.count)
        runs_start_entrypoint(s);
    else
        server_serve(s);
}

/* No VM will come. The supervisor has most likely asked already whether there is one. */
static void never_started(struct server *s)
{
    s->start_over = true;
    s->state = SERVER_LEAVING;
    handle_frames(s);
    leave(s);
    watch_input(s);
}

static void on_ended(void *user, struct vm *vm, const struct gv_error *why)
{
    (void)vm;
    struct server *s = user;
    s->vm_over = true;
    s->holding = false;
    meter_close(&s->meter);
    if (s->state < SERVER_STOPPING && why->code != GV_OK)
        fail(s, 1, why);
    if (s->state == SERVER_BOOTING)
        never_started(s);
    else
        leave(s);
}

static void on_signal(uv_signal_t *h, int number)
{
    struct gv_error why = GV_ERROR_INIT;
    gv_error_set(&why, GV_E_CANCELLED, 0, "ended by signal %d (%s)", number, strsignal(number));
    stop_because(h->data, 128 + number, &why);
}

/* ---- the start ------------------------------------------------------------------------------------------------------------------- */

static bool wants_entrypoint(const struct exeunit_options *o)
{
    for (size_t i = 0; i < o->args.count; i++)
        if (!strcmp(o->args.items[i], "start-entrypoint"))
            return true;
    return false;
}

/* Environment of all programs, and the words of the entrypoint when it is to be started. */
static int compose(struct server *s, struct gv_error *err)
{
    cleanup_strv struct gv_strv unused = { 0 };
    bool entry = wants_entrypoint(s->o);
    const struct session_options session = {
        .image = s->deployment.packages.items[0], .config = s->config, .entrypoint = entry ? NULL : "-", .hostname = s->deployment.hostname
    };
    if (session_compose(&session, entry ? &s->entrypoint : &unused, &s->env, err) < 0)
        return gv_error_prefix(err, "start-entrypoint");
    return 0;
}

static int start_vm(struct server *s, struct gv_error *err)
{
    static const struct vm_events events = { .ready = on_ready, .ended = on_ended };
    const struct deployment *d = &s->deployment;
    cleanup_free struct vm_volume *volumes = gv_calloc(d->volume_count + 1, sizeof(*volumes));
    cleanup_strv struct gv_strv paths = { 0 };
    struct vm_link links[NETWORKS];
    /* Without a volume for it the root's writes go to memory, of which they may take half, as in the original. */
    struct vm_config config = { .images = (const char *const *)d->packages.items,
                                .image_count = d->packages.count,
                                .cpus = d->cpus,
                                .memory = d->memory,
                                .root_size = d->memory / 2,
                                .hostname = d->hostname,
                                .user = s->config->user,
                                .volumes = volumes,
                                .links = links,
                                .link_count = network_links(s->network, links),
                                .pci_devices = (const char *const *)s->o->pci_devices.items,
                                .pci_count = s->o->pci_devices.count,
                                .keep_group = true,
                                .require_jail = s->o->require_jail,
                                .console_fd = s->o->verbose ? STDERR_FILENO : -1,
                                .log = s->log };
    for (size_t i = 0; i < d->volume_count; i++) {
        const struct deployment_volume *v = &d->volumes[i];
        gv_strv_take(&paths, gv_asprintf("%s/%s", s->workdir, v->name ? v->name : ""));
        const char *path = paths.items[i];
        if (strcmp(v->path, "/") != 0)
            volumes[config.volume_count++] = (struct vm_volume){
                .kind = v->kind, .host_path = path, .guest_path = v->path, .size = v->size, .give_to_user = !v->seeded
            };
        else if (v->kind == VM_VOLUME_DISK)
            config.root_disk = path;
        else
            config.root_size = v->size;
    }
    if (exeunit_accel(s->o->accel, &config.accel, err) < 0)
        return -1;
    int status = vm_start(&s->vm, &s->loop, &config, &events, s, err);
    network_linked(s->network);
    if (status == 0)
        meter_open(&s->meter, &s->loop, s->vm, d, s->workdir, on_over, s);
    return status == 0 ? 0 : exeunit_accel_hint(s->o->accel, config.accel, err);
}

static int prepare(struct server *s, struct gv_error *err)
{
    if (!s->o->workdir)
        return gv_error_set(err, GV_E_USAGE, 0, "start needs --workdir");
    s->lock = deployment_lock(s->o->workdir, err);
    if (s->lock < 0)
        return -1;
    s->workdir = realpath(s->o->workdir, NULL);
    if (!s->workdir)
        return gv_error_errno(err, "cannot find the work directory `%s`", s->o->workdir);
    if (deployment_read(&s->deployment, s->workdir, err) < 0 || deployment_check_images(&s->deployment, err) < 0 ||
        gvmi_open(&s->image, s->deployment.packages.items[0], err) < 0)
        return -1;
    s->config = gvmi_config(s->image);
    return compose(s, err) < 0 || network_open(&s->network, s, err) < 0 ? -1 : start_vm(s, err);
}

/* From here on nothing that anybody prints can get between the frames. Returns our own descriptor of stdout, or -1. */
static int take_stdout(struct gv_error *err)
{
    int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (out < 0 || fcntl(STDIN_FILENO, F_GETFD) < 0) {
        gv_error_set(err, GV_E_USAGE, 0, "start speaks with the supervisor on stdin and stdout, of which one is closed");
        if (out >= 0)
            close(out);
        return -1;
    }
    if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, STDOUT_FILENO);
        if (null > 2)
            close(null);
    }
    return out;
}

static void open_handles(struct server *s, int out)
{
    uv_timer_init(&s->loop, &s->timer);
    uv_timer_init(&s->loop, &s->count);
    s->timer.data = s->count.data = s;
    for (size_t i = 0; i < SERVER_SIGNALS; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], on_signal, signal_numbers[i]);
    }
    s->out.sent = on_sent;
    s->out.moved = on_moved;
    s->out.user = s;
    outbox_open(&s->out, &s->loop, out);
    gv_stdio_open(&s->in, STDIN_FILENO, O_RDONLY);
    if (s->in.pollable && uv_poll_init(&s->loop, &s->in_poll, s->in.fd) == 0) {
        s->in_poll.data = s;
        s->in_poll_open = true;
    }
}

static void serve(struct server *s)
{
    struct gv_error err = GV_ERROR_INIT;
    s->vm_over = true;
    /* A file, or /dev/null, has no events: it is read here, as far as it is taken in. */
    if (!s->in_poll_open) {
        cleanup_free char *all = gv_alloc(BOOT_INPUT_MAX);
        ssize_t n = gv_read_full(s->in.fd, all, BOOT_INPUT_MAX);
        proto_frames_add(&s->frames, all, n > 0 ? (size_t)n : 0);
        s->in_ended = true;
    }
    if (prepare(s, &err) < 0) {
        fail(s, 1, &err);
        never_started(s);
    } else {
        s->vm_over = false;
        if (s->in_ended && proto_frames_left(&s->frames) == 0)
            input_ended(s);
        watch_input(s);
    }
    uv_run(&s->loop, UV_RUN_DEFAULT);
}

int exeunit_start(const struct exeunit_options *o, const struct gv_log *log, struct gv_error *err)
{
    struct server *s = gv_new(struct server);
    s->o = o;
    s->log = log;
    s->lock = s->entry_log = -1;
    int out = take_stdout(err), failed = out < 0 ? 0 : uv_loop_init(&s->loop), status = 1;
    if (out >= 0 && failed)
        gv_error_set(err, GV_E_IO, -failed, "cannot create an event loop");
    if (out >= 0 && !failed) {
        open_handles(s, out);
        serve(s);
        if (s->vm)
            vm_free(s->vm);
        uv_run(&s->loop, UV_RUN_DEFAULT); /* what vm_free still had to close */
        uv_loop_close(&s->loop);
        gv_stdio_close(&s->in);
        status = s->status;
        if (status && err)
            *err = s->why;
    }
    network_free(s->network);
    proto_frames_clear(&s->frames);
    deployment_clear(&s->deployment);
    gvmi_close(s->image);
    gv_strv_clear(&s->env);
    gv_strv_clear(&s->entrypoint);
    free(s->shutdown_ids);
    free(s->last_words);
    free(s->workdir);
    if (s->lock >= 0)
        close(s->lock);
    if (s->entry_log >= 0)
        close(s->entry_log);
    free(s);
    return status;
}
