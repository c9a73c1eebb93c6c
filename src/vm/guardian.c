/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The supervisor may have threads (libuv's pool), so that the guardian, a fork without exec, uses system calls only.
 */
#include "vm/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A message on the report pipe; smaller than PIPE_BUF, so that it arrives whole. The first is about the start, the second about the end. */
struct report {
    bool failed; /* QEMU could not be started */
    int value;   /* of the first: errno of what the guardian itself could not do, or 0, then jail says more; of the second: wait status */
    struct jail_result jail;
};

/* How long vm_guardian_finish() waits for a QEMU that has been killed already. */
#define LAST_WAIT_MS 1000

/* ---- in the guardian -------------------------------------------------------------------------------------------------------------- */

static void set_signals(void (*handler)(int), const int *signals, size_t n)
{
    struct sigaction action = { .sa_handler = handler };
    for (size_t i = 0; i < n; i++)
        sigaction(signals[i], &action, NULL);
}

static void tell(int report_fd, const struct report *r)
{
    (void)!write(report_fd, r, sizeof(*r)); /* nobody may listen any more: SIGPIPE is ignored */
}

/* Waits for QEMU's end, helping it along when the supervisor is gone. Returns the wait status. */
static int watch_qemu(pid_t qemu, int life_fd, int child_fd)
{
    struct pollfd fds[2] = { { .fd = child_fd, .events = POLLIN }, { .fd = life_fd, .events = POLLIN } };
    for (;;) {
        int status;
        pid_t got = waitpid(qemu, &status, WNOHANG);
        if (got == qemu)
            return status;
        if (got < 0 && errno != EINTR)
            return 0;
        poll(fds, 2, -1);
        if (fds[1].revents) {
            kill(qemu, SIGKILL);
            fds[1].fd = -1;
        }
        struct signalfd_siginfo info;
        if (fds[0].revents)
            (void)!read(child_fd, &info, sizeof(info));
    }
}

static _Noreturn void become_guardian(const struct vm_guardian_spec *spec, int life_fd, int report_fd, const int *keep, size_t keep_count)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU };
    prctl(PR_SET_NAME, "gvmkit-guardian");
    if (!spec->keep_group)
        setsid();
    jail_reset_signals();
    set_signals(SIG_IGN, ignored, sizeof(ignored) / sizeof(ignored[0]));
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    (void)!chdir("/");
    jail_close_all_but(keep, keep_count);
    if (spec->no_huge_pages) /* inherited */
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), child_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (null < 0 || child_fd < 0) {
        tell(report_fd, &(struct report){ .failed = true, .value = errno });
        _exit(1);
    }
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);

    struct report r = { 0 };
    r.failed = jail_start(spec->jail, &r.jail) < 0;
    tell(report_fd, &r);
    if (r.failed)
        _exit(1);
    int mine[] = { life_fd, report_fd, child_fd };
    for (size_t i = 1; i < 3; i++) /* sorted, for jail_close_all_but */
        for (size_t j = i; j > 0 && mine[j - 1] > mine[j]; j--) {
            int swap = mine[j];
            mine[j] = mine[j - 1];
            mine[j - 1] = swap;
        }
    jail_close_all_but(mine, 3);
    r.value = watch_qemu(r.jail.pid, life_fd, child_fd);
    tell(report_fd, &r);
    _exit(0);
}

/* ---- in the supervisor ----------------------------------------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* The guardian's pipes are no copies that a program started by the supervisor could inherit; a fork without exec closes them (jail_close_all_but). */
int vm_guardian_start(struct vm_guardian *g, const struct vm_guardian_spec *spec, struct gv_error *err)
{
    int life[2], report[2];
    *g = (struct vm_guardian){ .pid = -1, .qemu_pid = -1, .qemu_pidfd = -1, .life_fd = -1, .report_fd = -1 };
    if (pipe2(life, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int life_read = life[0], life_write = life[1];
    if (pipe2(report, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int report_read = report[0], report_write = report[1];

    size_t n = spec->keep_count;
    cleanup_free int *keep = gv_reallocarray(NULL, n + 2, sizeof(*keep));
    if (n)
        memcpy(keep, spec->keep, n * sizeof(*keep));
    keep[n++] = life_read;
    keep[n++] = report_write;
    qsort(keep, n, sizeof(*keep), compare_ints);
    if (keep[0] < 3)
        return gv_error_set(err, GV_E_INTERNAL, 0, "a standard descriptor was closed before the VM was started");

    /* Until the child has its own dispositions, a signal must not run our handlers there: libuv's writes into a pipe that both share. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        become_guardian(spec, life_read, report_write, keep, n);
    int sys = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return gv_error_set(err, GV_E_IO, sys, "cannot start a process for the VM");

    close(steal_fd(&report_write)); /* else its end of file would never come */
    struct report r;
    if (gv_read_full(report_read, &r, sizeof(r)) != (ssize_t)sizeof(r)) {
        waitpid(pid, NULL, 0);
        return gv_error_set(err, GV_E_DIED, 0, "the guardian of the VM died at once");
    }
    if (r.failed) {
        waitpid(pid, NULL, 0);
        return r.value ? gv_error_set(err, GV_E_IO, r.value, "the guardian of the VM cannot start")
                       : jail_explain(spec->jail, &r.jail, err);
    }
    g->pid = pid;
    g->jail = r.jail;
    g->qemu_pid = r.jail.pid;
#ifdef SYS_pidfd_open
    g->qemu_pidfd = (int)syscall(SYS_pidfd_open, r.jail.pid, 0U);
#endif
    g->life_fd = steal_fd(&life_write);
    g->report_fd = steal_fd(&report_read);
    return 0;
}

void vm_guardian_release(struct vm_guardian *g)
{
    if (g->life_fd >= 0)
        close(steal_fd(&g->life_fd));
}

void vm_guardian_signal_qemu(struct vm_guardian *g, int signal)
{
#ifdef SYS_pidfd_send_signal
    if (g->qemu_pidfd >= 0)
        syscall(SYS_pidfd_send_signal, g->qemu_pidfd, signal, NULL, 0U);
#endif
}

void vm_guardian_kill(struct vm_guardian *g)
{
    vm_guardian_signal_qemu(g, SIGKILL);
    if (g->pid > 0) /* not reaped yet, so the pid is still its own */
        kill(g->pid, SIGKILL);
}

int vm_guardian_report(struct vm_guardian *g, int *status)
{
    struct report r;
    ssize_t n;
    do
        n = read(g->report_fd, &r, sizeof(r));
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n != (ssize_t)sizeof(r))
        return -1;
    *status = r.value;
    return 1;
}

void vm_guardian_finish(struct vm_guardian *g)
{
    vm_guardian_release(g);
    if (g->pid > 0) {
        while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        g->pid = -1;
    }
    if (g->qemu_pidfd >= 0) {
        vm_guardian_signal_qemu(g, SIGKILL);
        struct pollfd gone = { .fd = g->qemu_pidfd, .events = POLLIN };
        poll(&gone, 1, LAST_WAIT_MS);
        close(steal_fd(&g->qemu_pidfd));
    }
    if (g->report_fd >= 0)
        close(steal_fd(&g->report_fd));
}
