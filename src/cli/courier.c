/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/courier.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vms/vms.h"

#define SAID_MAX 8192U /* bytes of the guest's stderr that are kept */
#define SIGNAL_BASE 128

static atomic_bool cancelled;

const atomic_bool *courier_cancelled(void)
{
    return &cancelled;
}

/* The thread that works, and what it has come to. */
struct worker {
    const struct courier *c;
    int fd;
    int done; /* an eventfd */
    int result;
    bool gone; /* it failed because nobody reads what it writes */
    struct gv_error err;
};

static void *worker_main(void *user)
{
    struct worker *w = user;
    w->result = w->c->work(w->c->user, w->fd, &w->err);
    if (w->result < 0 && w->c->sends) {
        struct pollfd p = { .fd = w->fd };
        w->gone = poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
    }
    close(steal_fd(&w->fd));
    (void)eventfd_write(w->done, 1);
    return NULL;
}

/* All that is waited for. */
struct errand {
    const struct courier *c;
    struct worker worker;
    pthread_t thread;
    struct vms_call *call;
    int signals, said_fd;
    struct gv_buf said;
    bool working, called;
    int status; /* of the call: -1 = it failed, with call_err */
    struct vms_outcome outcome;
    struct gv_error call_err;
    int signal;
};

static void hear(struct errand *e)
{
    char part[4096];
    ssize_t n = read(e->said_fd, part, sizeof(part));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        close(steal_fd(&e->said_fd));
        return;
    }
    size_t room = SAID_MAX - e->said.len;
    gv_buf_add(&e->said, part, (size_t)n < room ? (size_t)n : room);
}

/* The guest ends what it does, and with it our end of the stream; whoever cannot wait for that says so again. */
static void stop(struct errand *e)
{
    struct signalfd_siginfo info;
    if (read(e->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (e->signal)
        _exit(SIGNAL_BASE + (int)info.ssi_signo);
    e->signal = (int)info.ssi_signo;
    atomic_store(&cancelled, true);
    if (e->called)
        vms_call_signal(e->call, SIGTERM);
}

static void work_done(struct errand *e)
{
    pthread_join(e->thread, NULL);
    e->working = false;
    if (e->worker.result < 0 && !e->worker.gone && e->called)
        vms_call_signal(e->call, SIGTERM);
}

static void answered(struct errand *e)
{
    int status = vms_call_read(e->call, &e->outcome, &e->call_err);
    if (status == 0)
        return;
    e->status = status;
    e->called = false;
}

static void wait_for_all(struct errand *e)
{
    while (e->working || e->called) {
        struct pollfd p[] = { { .fd = e->called ? vms_call_fd(e->call) : -1, .events = POLLIN },
                              { .fd = e->working ? e->worker.done : -1, .events = POLLIN },
                              { .fd = e->said_fd, .events = POLLIN },
                              { .fd = e->signals, .events = POLLIN } };
        if (poll(p, 4, -1) < 0)
            continue;
        if (p[2].revents)
            hear(e);
        if (p[3].revents)
            stop(e);
        if (p[1].revents)
            work_done(e);
        if (p[0].revents)
            answered(e);
    }
    /* What it said last is in the pipe. */
    for (size_t before = SIZE_MAX; e->said_fd >= 0 && e->said.len != before;) {
        before = e->said.len;
        hear(e);
    }
}

/* Takes the last line out of what the guest has said, warns of the others. NULL when it has said nothing; the caller's to free. */
static char *last_words(struct errand *e, bool failed)
{
    char *last = NULL, *line, *rest = (char *)(uintptr_t)gv_buf_str(&e->said);
    while ((line = strsep(&rest, "\n"))) {
        if (!*line)
            continue;
        if (last)
            gv_warn(e->c->log, "%s: %s", e->c->vm, last);
        free(last);
        last = gv_strdup(line);
    }
    if (!last || failed)
        return last;
    gv_warn(e->c->log, "%s: %s", e->c->vm, last);
    free(last);
    return NULL;
}

static int judge(struct errand *e, struct gv_error *err)
{
    const struct worker *w = &e->worker;
    bool failed = e->status < 0 || e->outcome.signalled || e->outcome.status != 0;
    cleanup_free char *why = last_words(e, failed);
    if (e->signal)
        return gv_error_set(err, GV_E_CANCELLED, e->signal, "interrupted");
    /* Our own failure ends the guest's part as well; but a stream that ends too early, or that nobody reads, is the guest's. */
    bool ours = w->result < 0 && !w->gone && (w->err.code != GV_E_FORMAT || !(e->status < 0 || why));
    if (ours)
        *err = w->err;
    else if (e->status < 0)
        *err = e->call_err;
    else if (e->outcome.signalled)
        gv_error_set(err, GV_E_GUEST, 0, "the VM `%s` ended the copy with signal %d%s", e->c->vm, e->outcome.status,
                     e->outcome.status == SIGKILL ? "; is its memory full?" : "");
    else if (failed)
        gv_error_set(err, GV_E_GUEST, 0, "the VM `%s` says: %s", e->c->vm, why ? why : "it failed");
    else if (w->result < 0)
        *err = w->err;
    else
        return 0;
    return -1;
}

/* Starts both halves. */
static int begin(struct errand *e, struct gv_error *err)
{
    const struct courier *c = e->c;
    int stream[2] = { -1, -1 }, said[2], mine = c->sends ? 1 : 0;
    const struct vms_request request = { .op = VMS_BUILTIN, .argv = c->argv, .builtin = c->builtin, .stdin_open = c->sends };
    if (pipe2(said, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    e->said_fd = said[0];
    cleanup_close int theirs_said = said[1], theirs = -1;
    if (fcntl(e->said_fd, F_SETFL, O_NONBLOCK) < 0 || (c->work && pipe2(stream, O_CLOEXEC) < 0))
        return gv_error_errno(err, "cannot make a pipe");
    e->worker.fd = stream[mine];
    theirs = stream[!mine];
    int fd = c->work ? theirs : c->fd;
    const int fds[3] = { c->sends ? fd : -1, c->sends ? -1 : fd, theirs_said };
    if (vms_call_start(&e->call, c->vm, &request, fds, err) < 0)
        return -1;
    e->called = true;
    if (!c->work)
        return 0;
    e->worker.done = eventfd(0, EFD_CLOEXEC);
    int sys = e->worker.done < 0 ? errno : pthread_create(&e->thread, NULL, worker_main, &e->worker);
    if (sys)
        return gv_error_set(err, GV_E_IO, sys, "cannot start a thread");
    e->working = true;
    return 0;
}

int courier_run(const struct courier *c, struct gv_error *err)
{
    struct errand e = {
        .c = c, .worker = { .c = c, .fd = -1, .done = -1, .err = GV_ERROR_INIT }, .said_fd = -1, .call_err = GV_ERROR_INIT
    };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* from now on: a copy is several errands */
    e.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int result = e.signals < 0 ? gv_error_errno(err, "cannot wait for signals") : begin(&e, err);
    if (result == 0) {
        wait_for_all(&e);
        result = judge(&e, err);
    }
    vms_call_close(e.call);
    const int fds[] = { e.worker.fd, e.worker.done, e.said_fd, e.signals };
    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    gv_buf_clear(&e.said);
    return result;
}
