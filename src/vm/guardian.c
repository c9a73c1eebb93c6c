/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The supervisor may have threads (libuv's pool), so what runs in the children between fork and exec uses system calls only. The guardian
 * itself allocates once, in gv_remove_tree() at its end: glibc's fork leaves malloc usable in the child.
 */
#include "vm/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A message on the report pipe; smaller than PIPE_BUF, so that it arrives whole. */
struct report {
    enum { REPORT_STARTED, REPORT_ENDED } kind;
    int value; /* STARTED: errno of exec, 0 when it succeeded; ENDED: wait status */
    pid_t qemu_pid;
};

/* How long vm_guardian_finish() waits for a QEMU that has been killed already. */
#define LAST_WAIT_MS 1000

/* ---- in the children ------------------------------------------------------------------------------------------------------------- */

static void close_from_to(unsigned first, unsigned last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0U) == 0)
        return;
    struct rlimit limit;
    unsigned end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (unsigned)limit.rlim_cur : 65536;
    for (unsigned fd = first; fd <= last && fd < end; fd++)
        close((int)fd);
}

/* Closes everything above 2 but the n descriptors in keep, which are sorted. */
static void close_all_but(const int *keep, size_t n)
{
    unsigned next = 3;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned)keep[i] > next)
            close_from_to(next, (unsigned)keep[i] - 1);
        next = (unsigned)keep[i] + 1;
    }
    close_from_to(next, ~0U);
}

static void set_signals(void (*handler)(int), const int *signals, size_t n)
{
    struct sigaction action = { .sa_handler = handler };
    for (size_t i = 0; i < n; i++)
        sigaction(signals[i], &action, NULL);
}

/* By the system call itself: glibc's function leaves out its own two signals, and GNU make has its children ignore these. */
static void reset_signals(void)
{
    static const unsigned long def[8]; /* the kernel's struct sigaction, all zero: SIG_DFL without flags */
    for (int s = 1; s <= 64; s++)
        syscall(SYS_rt_sigaction, s, def, NULL, 8UL);
}

static _Noreturn void become_qemu(const struct vm_guardian_spec *spec, pid_t guardian, int exec_fd)
{
    /* The guardian may have died before prctl; then its death is not signalled any more. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != guardian)
        _exit(127);
    sigset_t none;
    sigemptyset(&none);
    reset_signals();
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A core dump would hold the guest's memory. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    if (spec->no_huge_pages)
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    dup2(spec->output_fd, 1);
    dup2(spec->output_fd, 2);
    for (size_t i = 0; i < spec->keep_count; i++)
        fcntl(spec->keep[i], F_SETFD, 0);
    execve(spec->argv[0], spec->argv, spec->envp);
    int sys = errno;
    (void)!write(exec_fd, &sys, sizeof(sys));
    _exit(127);
}

/* errno of the child's exec, 0 when it succeeded. */
static int exec_result(int fd)
{
    int sys = 0;
    ssize_t n;
    do
        n = read(fd, &sys, sizeof(sys));
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(sys) ? sys : 0;
}

static void tell(int report_fd, int kind, int value, pid_t qemu)
{
    struct report r = { .value = value, .qemu_pid = qemu };
    r.kind = kind == REPORT_STARTED ? REPORT_STARTED : REPORT_ENDED;
    (void)!write(report_fd, &r, sizeof(r)); /* nobody may listen any more: SIGPIPE is ignored */
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
    reset_signals();
    set_signals(SIG_IGN, ignored, sizeof(ignored) / sizeof(ignored[0]));
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    (void)!chdir("/");
    close_all_but(keep, keep_count);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), exec_pipe[2];
    int child_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (null < 0 || child_fd < 0 || pipe2(exec_pipe, O_CLOEXEC) < 0) {
        tell(report_fd, REPORT_STARTED, errno, 0);
        _exit(1);
    }
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);

    pid_t self = getpid(), qemu = fork();
    if (qemu == 0)
        become_qemu(spec, self, exec_pipe[1]);
    if (qemu < 0) {
        tell(report_fd, REPORT_STARTED, errno, 0);
        _exit(1);
    }
    int mine[] = { life_fd, report_fd, child_fd, exec_pipe[0] };
    for (size_t i = 1; i < 4; i++) /* sorted, for close_all_but */
        for (size_t j = i; j > 0 && mine[j - 1] > mine[j]; j--) {
            int swap = mine[j];
            mine[j] = mine[j - 1];
            mine[j - 1] = swap;
        }
    close_all_but(mine, 4);
    int sys = exec_result(exec_pipe[0]);
    close(exec_pipe[0]);
    tell(report_fd, REPORT_STARTED, sys, qemu);
    int status = watch_qemu(qemu, life_fd, child_fd);
    if (sys == 0)
        tell(report_fd, REPORT_ENDED, status, qemu);
    _exit(0);
}

/* ---- in the supervisor ----------------------------------------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* The guardian's pipes are no copies that a program started by the supervisor could inherit; a fork without exec closes them (close_all_but). */
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
    cleanup_free int *keep = gv_reallocarray(NULL, n + 3, sizeof(*keep));
    if (n)
        memcpy(keep, spec->keep, n * sizeof(*keep));
    keep[n++] = spec->output_fd;
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
    if (r.value) {
        waitpid(pid, NULL, 0);
        gv_error_set(err, GV_E_IO, r.value, "cannot start QEMU (`%s`)", spec->argv[0]);
        return -1;
    }
    g->pid = pid;
    g->qemu_pid = r.qemu_pid;
#ifdef SYS_pidfd_open
    g->qemu_pidfd = (int)syscall(SYS_pidfd_open, r.qemu_pid, 0U);
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

void vm_guardian_kill_qemu(struct vm_guardian *g)
{
#ifdef SYS_pidfd_send_signal
    if (g->qemu_pidfd >= 0)
        syscall(SYS_pidfd_send_signal, g->qemu_pidfd, SIGKILL, NULL, 0U);
#endif
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
        vm_guardian_kill_qemu(g);
        struct pollfd gone = { .fd = g->qemu_pidfd, .events = POLLIN };
        poll(&gone, 1, LAST_WAIT_MS);
        close(steal_fd(&g->qemu_pidfd));
    }
    if (g->report_fd >= 0)
        close(steal_fd(&g->report_fd));
}
