/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "vm/machine.h"
#include "vm/volume.h"

#define ROOT_SIZE_DEFAULT (UINT64_C(128) << 20)
#define BOOT_TIMEOUT_KVM_MS 30000U
#define BOOT_TIMEOUT_TCG_MS 120000U
/* How long a guest may take beyond its grace to shut down. */
#define SHUTDOWN_SLACK_MS 2000U
/* After the agent's channel has ended by itself QEMU ought to be dying. */
#define SILENT_END_MS 500U
/* A released guardian kills QEMU at once; one that does not is stopped or stuck. */
#define RELEASE_MS 500U

/* How long a guest that hangs may take to print its log. */
#define AUTOPSY_MS 1500U
/* What the kernel says when it panics, and when it gets an NMI. */
#define PANIC_LINE "Kernel panic - "
#define NMI_LINE "Uhhuh. NMI received"

static void end_handles(struct vm *vm);

/* ---- the way to the end ---------------------------------------------------------------------------------------------------------- */

static void on_release_late(uv_timer_t *t)
{
    struct vm *vm = t->data;
    vm_guardian_kill(&vm->guardian);
}

/* Lets the guardian kill QEMU; everything else follows from its end of file. */
static void release(struct vm *vm)
{
    if (vm->state >= VM_ENDING)
        return;
    vm->state = VM_ENDING;
    vm_guardian_release(&vm->guardian);
    uv_timer_start(&vm->timer, on_release_late, RELEASE_MS, 0);
}

static void on_silent_end(uv_timer_t *t)
{
    release(t->data);
}

void vm_fail(struct vm *vm, const struct gv_error *why)
{
    if (!vm->why.code && !vm->asked)
        vm->why = *why;
    release(vm);
}

/* Adds to an error what the guest's console may have to do with it: the line of a panic, and not its trace, or else the last lines. */
static void add_console(const struct vm *vm, struct gv_error *err)
{
    char text[600];
    const char *said = vm_tail_last(&vm->console_tail, 1, PANIC_LINE, text, sizeof(text));
    if (!strstr(said, PANIC_LINE))
        said = vm_tail_last(&vm->console_tail, 5, NULL, text, sizeof(text));
    if (*said)
        gv_error_hint(err, "the guest's console said: %s", said);
}

/* The same for a guest that hung: the last lines before the answer to our NMI. */
static void add_console_of_hung(const struct vm *vm, struct gv_error *err)
{
    char text[600];
    vm_tail_last(&vm->console_tail, 6, NMI_LINE, text, sizeof(text));
    char *answer = strstr(text, NMI_LINE), *before = NULL;
    for (char *at = text; answer && (at = strstr(at, " | ")) && at < answer; at++)
        before = at;
    if (answer)
        *(before ? before : text) = '\0';
    if (*text)
        gv_error_hint(err, "the guest's console said: %s", text);
}

/* QEMU's own last words, without its name before them; "" when there were none. */
static const char *last_words(const struct vm *vm, char *buf, size_t size)
{
    static const char name[] = "qemu-system-x86_64: ";
    const char *words = vm_tail_last(&vm->output_tail, 2, NULL, buf, size);
    return strncmp(words, name, sizeof(name) - 1) ? words : words + sizeof(name) - 1;
}

/* Nobody has said yet why the VM ended: finds out from what QEMU left. */
static void explain(struct vm *vm)
{
    char buf[500];
    const char *words = last_words(vm, buf, sizeof(buf));
    struct gv_error *why = &vm->why;
    if (!vm->qemu_ended) {
        gv_error_set(why, GV_E_DIED, 0, "the guardian process of the VM was killed");
    } else if (WIFSIGNALED(vm->qemu_status)) {
        gv_error_set(why, GV_E_DIED, 0, "QEMU was killed by signal %d (%s)%s%s", WTERMSIG(vm->qemu_status),
                     strsignal(WTERMSIG(vm->qemu_status)), *words ? ": " : "", words);
        if (WTERMSIG(vm->qemu_status) == SIGSYS)
            gv_error_hint(why, "its sandbox does not allow what this version of QEMU does");
        if (WTERMSIG(vm->qemu_status) == SIGKILL)
            gv_error_hint(why, "if nobody did it, the host has run out of memory");
    } else if (WEXITSTATUS(vm->qemu_status) != 0) {
        gv_error_set(why, GV_E_DIED, 0, "QEMU failed with status %d%s%s", WEXITSTATUS(vm->qemu_status),
                     *words ? ": " : ", and does not say why", words);
        if (strstr(words, "guest memory") || strstr(words, "annot allocate memory"))
            gv_error_hint(why, "there is no memory for the VM: ask for less, or raise the limit (ulimit -v)");
    } else if (!vm->greeted) {
        gv_error_set(why, GV_E_DIED, 0, "the guest stopped before its agent answered");
        add_console(vm, why);
    } else if (vm->qmp.panicked || !strcmp(vm->qmp.reason, "guest-panic") || !strcmp(vm->qmp.reason, "guest-reset")) {
        gv_error_set(why, GV_E_DIED, 0, "the guest crashed");
        add_console(vm, why);
    } else if (!strcmp(vm->qmp.reason, "guest-shutdown")) {
        gv_error_set(why, GV_E_DIED, 0, "the guest switched itself off");
    } else {
        gv_error_set(why, GV_E_DIED, 0, "QEMU ended (%s)", vm->qmp.reason[0] ? vm->qmp.reason : "it did not say why");
    }
}

static void drain(struct vm_watch *w)
{
    struct pollfd p = { .fd = w->fd, .events = POLLIN };
    /* What QEMU and its kernel have left in the pipe is finite: nobody writes any more. */
    while (w->open && poll(&p, 1, 0) > 0 && (p.revents & POLLIN)) {
        int before = w->fd;
        w->readable(w->vm);
        if (!w->open || w->fd != before)
            break;
        char probe;
        if (recv(w->fd, &probe, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            break;
    }
}

/* The guardian is gone, and so is QEMU. */
static void finish(struct vm *vm)
{
    if (vm->state == VM_CLOSING)
        return;
    vm->state = VM_ENDING;
    vm_guardian_finish(&vm->guardian);
    vm_agent_drain(vm->agent);
    drain(&vm->qmp_watch);
    drain(&vm->console);
    drain(&vm->output);
    if (!vm->why.code && !vm->asked)
        explain(vm);
    else if (vm->why.code == GV_E_TIMEOUT)
        add_console_of_hung(vm, &vm->why);
    vm->state = VM_CLOSING;

    struct gv_error died = GV_ERROR_INIT;
    if (vm->asked)
        gv_error_set(&died, GV_E_DIED, 0, "the VM was stopped");
    else
        gv_error_set(&died, GV_E_DIED, 0, "%s", vm->why.msg);
    vm_agent_fail_all(vm->agent, &died);
    end_handles(vm);
}

/* ---- handles of the loop --------------------------------------------------------------------------------------------------------- */

static void one_closed(struct vm *vm)
{
    if (--vm->handles > 0)
        return;
    if (vm->abandoned)
        vm_free(vm);
    else if (vm->events.ended)
        vm->events.ended(vm->user, vm, &vm->why);
}

static void on_watch_closed(uv_handle_t *h)
{
    struct vm_watch *w = h->data;
    close(steal_fd(&w->fd));
    one_closed(w->vm);
}

static void on_timer_closed(uv_handle_t *h)
{
    one_closed(h->data);
}

static void on_agent_closed(void *user)
{
    one_closed(user);
}

static void end_watch(struct vm_watch *w)
{
    if (w->open) {
        w->open = false;
        uv_close((uv_handle_t *)&w->poll, on_watch_closed);
    }
}

static void end_handles(struct vm *vm)
{
    end_watch(&vm->report);
    end_watch(&vm->qmp_watch);
    end_watch(&vm->console);
    end_watch(&vm->output);
    uv_close((uv_handle_t *)&vm->timer, on_timer_closed);
    if (vm->agent)
        vm_agent_close(vm->agent, on_agent_closed);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct vm_watch *w = poll->data;
    (void)status, (void)events; /* errors show when reading */
    w->readable(w->vm);
}

/* Takes over fd, also on failure. */
static int watch(struct vm *vm, struct vm_watch *w, int fd, void (*readable)(struct vm *), struct gv_error *err)
{
    int status = uv_poll_init(vm->loop, &w->poll, fd);
    if (status < 0) {
        close(fd);
        return gv_error_set(err, GV_E_IO, -status, "cannot watch a channel to QEMU");
    }
    w->fd = fd;
    w->vm = vm;
    w->readable = readable;
    w->poll.data = w;
    w->open = true;
    vm->handles++;
    uv_poll_start(&w->poll, UV_READABLE, on_readable);
    return 0;
}

/* ---- what comes from QEMU -------------------------------------------------------------------------------------------------------- */

/* Reads once; at the end of the stream the watching stops. Returns the count, 0 when there was nothing. */
static size_t read_watch(struct vm_watch *w, char *buf, size_t size)
{
    ssize_t n = read(w->fd, buf, size);
    if (n > 0)
        return (size_t)n;
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        uv_poll_stop(&w->poll);
    return 0;
}

static void report_readable(struct vm *vm)
{
    int got, status;
    while ((got = vm_guardian_report(&vm->guardian, &status)) > 0) {
        vm->qemu_ended = true;
        vm->qemu_status = status;
        vm_guardian_release(&vm->guardian);
    }
    if (got < 0)
        finish(vm);
}

static void qmp_send(struct vm *vm)
{
    /* Commands are a few bytes; a QEMU that does not even take these will be killed by the deadline. */
    if (vm->qmp.out.len)
        (void)!send(vm->qmp_watch.fd, vm->qmp.out.data, vm->qmp.out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    vm->qmp.out.len = 0;
}

static void qmp_readable(struct vm *vm)
{
    char buf[4096];
    struct gv_error err = GV_ERROR_INIT;
    size_t n = read_watch(&vm->qmp_watch, buf, sizeof(buf));
    if (n && vm_qmp_feed(&vm->qmp, buf, n, &err) < 0) {
        uv_poll_stop(&vm->qmp_watch.poll);
        vm_fail(vm, &err);
        return;
    }
    qmp_send(vm);
}

static void console_readable(struct vm *vm)
{
    char buf[4096];
    size_t n = read_watch(&vm->console, buf, sizeof(buf));
    vm_tail_add(&vm->console_tail, buf, n);
    if (n && vm->console_copy >= 0 && gv_write_full(vm->console_copy, buf, n) < 0 && errno != EAGAIN)
        close(steal_fd(&vm->console_copy)); /* nobody watches any more */
}

static void output_readable(struct vm *vm)
{
    char buf[4096];
    size_t n = read_watch(&vm->output, buf, sizeof(buf));
    vm_tail_add(&vm->output_tail, buf, n);
    if (n)
        gv_debug(vm->log, "QEMU: %.*s", (int)n, buf);
}

static void on_hello(void *user, const char *version)
{
    struct vm *vm = user;
    vm->greeted = true;
    vm_launch_kernel_loaded(vm);
    if (vm->state != VM_BOOTING)
        return;
    gv_debug(vm->log, "the guest agent %s answers", version);
    vm->state = VM_SETTING_UP;
    vm_setup_start(vm);
}

static void on_broken(void *user, const struct gv_error *why)
{
    struct vm *vm = user;
    if (why->code != GV_E_DIED)
        vm_fail(vm, why);
    else if (vm->state < VM_ENDING) /* QEMU closes its end when it dies; its report says more */
        uv_timer_start(&vm->timer, on_silent_end, SILENT_END_MS, 0);
}

static void on_autopsy_late(uv_timer_t *t)
{
    release(t->data);
}

/* The guest was told to be quiet, so its console is most likely empty, and why it hangs lies in its log. A non-maskable interrupt makes its kernel
 * panic and print all of that (see args.c), unless it hangs too early for it; then QEMU ends by itself. `finish` adds the lines to the error. */
static void on_boot_late(uv_timer_t *t)
{
    struct vm *vm = t->data;
    gv_error_set(&vm->why, GV_E_TIMEOUT, 0, "the guest %s within %u.%u s", vm->greeted ? "was not ready" : "did not answer",
                 vm->boot_timeout_ms / 1000, vm->boot_timeout_ms % 1000 / 100);
    if (vm->accel == VM_ACCEL_KVM && vm->probe) {
        release(vm); /* a CPU that executes nothing takes no interrupt either */
        return;
    }
    vm_qmp_inject_nmi(&vm->qmp);
    qmp_send(vm);
    uv_timer_start(&vm->timer, on_autopsy_late, AUTOPSY_MS, 0);
}

void vm_setup_done(struct vm *vm)
{
    vm->state = VM_READY;
    uv_timer_stop(&vm->timer);
    if (vm->events.ready)
        vm->events.ready(vm->user, vm);
}

/* ---- the public calls ------------------------------------------------------------------------------------------------------------ */

static void copy_config(struct vm *vm, const struct vm_config *c)
{
    vm->image_count = c->image_count;
    vm->root_size = c->root_size ? c->root_size : ROOT_SIZE_DEFAULT;
    vm->hostname = gv_strdup(c->hostname ? c->hostname : "gvmkit");
    vm->owner = c->user ? gv_strdup(c->user) : NULL;
    vm->root_on_disk = c->root_disk != NULL;
    vm->boot_timeout_ms = c->boot_timeout_ms ? c->boot_timeout_ms : vm->accel == VM_ACCEL_KVM ? BOOT_TIMEOUT_KVM_MS : BOOT_TIMEOUT_TCG_MS;
    vm->link_count = c->link_count < VM_LINKS_MAX ? c->link_count : VM_LINKS_MAX; /* more are refused later */
    for (size_t i = 0; i < vm->link_count; i++)
        memcpy(vm->macs[i], c->links[i].mac, VM_MAC_SIZE);
    vm->mount_count = c->volume_count;
    vm->mounts = gv_calloc(c->volume_count + 1, sizeof(*vm->mounts));
    vm->mount_order = gv_calloc(c->volume_count + 1, sizeof(*vm->mount_order));
    for (size_t i = 0; i < c->volume_count; i++) {
        vm->mounts[i].guest_path = gv_strdup(c->volumes[i].guest_path ? c->volumes[i].guest_path : "");
        vm->mounts[i].host_path = gv_strdup(c->volumes[i].host_path ? c->volumes[i].host_path : "tmpfs");
        vm->mounts[i].kind = c->volumes[i].kind;
        vm->mounts[i].size = c->volumes[i].size;
        vm->mounts[i].readonly = c->volumes[i].readonly;
        vm->mounts[i].give_to_user = c->volumes[i].give_to_user;
    }
}

static int open_handles(struct vm *vm, struct vm_launch_fds *fds, struct gv_error *err)
{
    static const struct vm_agent_events agent_events = { .hello = on_hello, .broken = on_broken };
    cleanup_close int agent = fds->agent, qmp = fds->qmp, console = fds->console, output = fds->output;
    if (vm_agent_open(&vm->agent, vm->loop, agent, &agent_events, vm, vm->log, err) < 0)
        return -1;
    steal_fd(&agent);
    vm->handles++;
    if (watch(vm, &vm->qmp_watch, steal_fd(&qmp), qmp_readable, err) < 0 ||
        watch(vm, &vm->console, steal_fd(&console), console_readable, err) < 0 ||
        watch(vm, &vm->output, steal_fd(&output), output_readable, err) < 0 ||
        watch(vm, &vm->report, fcntl(vm->guardian.report_fd, F_DUPFD_CLOEXEC, 3), report_readable, err) < 0)
        return -1;
    return 0;
}

int vm_boot(struct vm **out, uv_loop_t *loop, const struct vm_config *config, const struct vm_boot *boot, const struct vm_events *events,
            void *user, struct gv_error *err)
{
    struct vm *vm = gv_new(struct vm);
    struct vm_launch_fds fds;
    vm->loop = loop;
    vm->log = config->log;
    vm->accel = boot->accel;
    vm->probe = boot->probe;
    vm->kernel_fd = vm->console_copy = -1;
    copy_config(vm, config);
    vm_volume_order(vm->mount_order, config->volumes, config->volume_count);
    if (config->console_fd >= 0)
        vm->console_copy = fcntl(config->console_fd, F_DUPFD_CLOEXEC, 3);
    if (vm_launch(vm, config, boot, &fds, err) < 0) {
        vm_free(vm);
        return -1;
    }
    uv_timer_init(loop, &vm->timer);
    vm->timer.data = vm;
    vm->handles++;
    if (open_handles(vm, &fds, err) < 0) {
        /* Out of descriptors, in the middle. The loop still owns what was opened, so the object goes when that is closed. */
        vm_guardian_finish(&vm->guardian);
        vm->abandoned = true;
        vm->state = VM_CLOSING;
        end_handles(vm);
        return -1;
    }
    vm->events = *events;
    vm->user = user;
    uv_timer_start(&vm->timer, on_boot_late, vm->boot_timeout_ms, 0);
    *out = vm;
    return 0;
}

int vm_start(struct vm **out, uv_loop_t *loop, const struct vm_config *config, const struct vm_events *events, void *user,
             struct gv_error *err)
{
    cleanup_free char *qemu = NULL, *kernel = NULL, *initramfs = NULL, *problem = NULL;
    if (config->image_count == 0)
        return gv_error_set(err, GV_E_USAGE, 0, "a VM needs an image");
    if (vm_host_find_qemu(&qemu, err) < 0)
        return -1;
    enum vm_accel accel = config->accel;
    if (accel != VM_ACCEL_TCG) {
        bool works = vm_kvm_usable(qemu, false, config->log, NULL, NULL, &problem) == 1;
        if (!works && accel == VM_ACCEL_KVM)
            return gv_error_set(err, GV_E_UNSUPPORTED, 0, "KVM cannot be used here: %s", problem);
        if (!works)
            gv_note(config->log,
                    "no KVM here (`gvmkit doctor` says why): the VM is emulated by TCG, slower and no wall against hostile programs");
        accel = works ? VM_ACCEL_KVM : VM_ACCEL_TCG;
    }
    if (vm_host_find_guest(vm_platform_for(accel, 0), &kernel, &initramfs, err) < 0)
        return -1;
    const struct vm_boot boot = { .accel = accel, .qemu = qemu, .kernel = kernel, .initramfs = initramfs };
    return vm_boot(out, loop, config, &boot, events, user, err);
}

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    for (size_t i = 0; i < vm->mount_count; i++) {
        free(vm->mounts[i].guest_path);
        free(vm->mounts[i].host_path);
    }
    if (vm->console_copy >= 0)
        close(vm->console_copy);
    if (vm->kernel_fd >= 0)
        close(vm->kernel_fd);
    vm_qmp_clear(&vm->qmp);
    free(vm->mounts);
    free(vm->mount_order);
    free(vm->hostname);
    free(vm->owner);
    free(vm);
}

static void on_shutdown_answer(void *user, const struct gv_error *failed, const void *payload, size_t n)
{
    struct vm *vm = user;
    (void)payload, (void)n;
    if (failed && vm->state == VM_STOPPING)
        gv_debug(vm->log, "the guest did not shut down in order: %s", failed->msg);
    /* Everything is synced and unmounted now; QEMU need not wait for the guest to find its off switch. */
    if (vm->state == VM_STOPPING && vm->qmp_watch.open) {
        vm_qmp_quit(&vm->qmp);
        qmp_send(vm);
    }
}

static void on_shutdown_late(uv_timer_t *t)
{
    struct vm *vm = t->data;
    gv_debug(vm->log, "the guest did not shut down in time");
    release(vm);
}

void vm_shutdown(struct vm *vm, unsigned grace_ms)
{
    uint8_t frame[64];
    struct wire_writer w;
    if (vm->state >= VM_STOPPING)
        return;
    if (vm->state == VM_BOOTING) {
        vm_kill(vm);
        return;
    }
    vm->asked = true;
    vm->state = VM_STOPPING;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_GRACE, grace_ms);
    if (vm_agent_request(vm->agent, &w, WIRE_SHUTDOWN, on_shutdown_answer, vm, NULL) < 0)
        release(vm);
    else
        uv_timer_start(&vm->timer, on_shutdown_late, (uint64_t)grace_ms + SHUTDOWN_SLACK_MS, 0);
}

void vm_kill(struct vm *vm)
{
    if (vm->state >= VM_CLOSING)
        return;
    vm->asked = vm->asked || !vm->why.code;
    release(vm);
}

void vm_hold(struct vm *vm, bool hold)
{
    if (vm->agent && vm->state < VM_CLOSING)
        vm_agent_hold(vm->agent, hold);
}

void vm_freeze(struct vm *vm, bool freeze)
{
    vm_guardian_signal_qemu(&vm->guardian, freeze ? SIGSTOP : SIGCONT);
}

void vm_limit_files(struct vm *vm, uint64_t bytes)
{
    struct rlimit limit;
    if (vm->state >= VM_ENDING || vm->qemu_ended || prlimit(vm->guardian.qemu_pid, RLIMIT_FSIZE, NULL, &limit) < 0)
        return;
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    prlimit(vm->guardian.qemu_pid, RLIMIT_FSIZE, &limit, NULL);
}

enum vm_accel vm_accel_used(const struct vm *vm)
{
    return vm->accel;
}

pid_t vm_qemu_pid(const struct vm *vm)
{
    return vm->guardian.qemu_pid;
}

int vm_process_start(struct vm_process **out, struct vm *vm, const struct vm_process_spec *spec, const struct vm_process_events *events,
                     void *user, struct gv_error *err)
{
    if (vm->state < VM_READY)
        return gv_error_set(err, GV_E_USAGE, 0, "the VM is not ready yet");
    if (vm->state > VM_READY)
        return gv_error_set(err, GV_E_DIED, 0, "the VM is ending");
    return vm_agent_run(out, vm->agent, spec, events, user, err);
}
