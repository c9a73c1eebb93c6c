/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The near end of an exec. The bytes go between our descriptors and the VM's owner; here are only the terminal, its size, and the signals. The second
 * Ctrl-C ends us, as with `run`, and the owner sees to the command.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "session/session.h"
#include "session/terminal.h"

/* All that is for the command comes by the descriptor. */
static int catch_signals(bool tty, sigset_t *before)
{
    static const int signals[] = TERMINAL_SIGNALS;
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&set, signals[i]);
    if (tty)
        sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, before);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Returns the signal by which we are to end, or 0. */
static int pass_signal(struct vms_call *call, int fd, int *last)
{
    struct signalfd_siginfo got;
    if (read(fd, &got, sizeof(got)) != (ssize_t)sizeof(got))
        return 0;
    int signum = (int)got.ssi_signo;
    if (signum == SIGWINCH) {
        uint16_t rows, columns;
        terminal_size(&rows, &columns);
        if (rows && columns)
            vms_call_resize(call, rows, columns);
        return 0;
    }
    if (signum != SIGUSR1 && signum != SIGUSR2) {
        if (signum == *last)
            return signum;
        *last = signum;
    }
    vms_call_signal(call, signum);
    return 0;
}

/* 1: *outcome is how it ended; 0: *signum is what ends us; -1: it failed. */
static int wait_for(struct vms_call *call, int signals, struct vms_outcome *outcome, int *signum, struct gv_error *err)
{
    int last = 0;
    for (;;) {
        struct pollfd p[2] = { { .fd = vms_call_fd(call), .events = POLLIN }, { .fd = signals, .events = POLLIN } };
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return gv_error_errno(err, "cannot wait for the command");
        if (p[1].revents && (*signum = pass_signal(call, signals, &last)))
            return 0;
        int status = p[0].revents ? vms_call_read(call, outcome, err) : 0;
        if (status != 0)
            return status;
    }
}

int session_exec(const char *name, const struct session_exec *exec, int *status, struct gv_error *err)
{
    static const int fds[3] = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO };
    struct vms_request request = { .op = VMS_EXEC,
                                   .argv = (const char *const *)exec->args,
                                   .env = exec->env ? (const char *const *)exec->env->items : NULL,
                                   .cwd = exec->workdir,
                                   .user = exec->user,
                                   .stdin_open = exec->interactive,
                                   .tty = exec->tty };
    terminal_size(&request.rows, &request.columns);
    *status = SESSION_FAILED;
    sigset_t before;
    cleanup_close int signals = catch_signals(exec->tty, &before);
    if (signals < 0)
        return gv_error_errno(err, "cannot wait for signals");
    CLEANUP(vms_call) struct vms_call *call = NULL;
    struct terminal terminal = { 0 };
    struct vms_outcome outcome = { 0 };
    int signum = 0, result = vms_call_start(&call, name, &request, fds, err);
    if (result == 0) {
        if (exec->tty)
            terminal_raw(&terminal);
        result = wait_for(call, signals, &outcome, &signum, err);
        terminal_restore(&terminal);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (result < 0) {
        *status = session_failure(err);
        return -1;
    }
    *status = signum ? SESSION_SIGNAL + signum : outcome.signalled ? SESSION_SIGNAL + outcome.status : outcome.status;
    return 0;
}
