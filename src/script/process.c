/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "script/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#define LOOK_MS 50      /* between two looks at the process */
#define SILENCE_LOOKS 6 /* without output, after its end, for those who hold its pipes still */
#define TERM_LOOKS 20   /* from SIGTERM to SIGKILL */

struct process {
    pid_t pid;
    int from[3]; /* [1] stdout, [2] stderr; -1 = closed */
    bool ended;
    int status;
};

static int spawn(struct process *p, char *const *argv, const char *dir, struct gv_error *err)
{
    int out[2], errs[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int out_read = out[0], out_write = out[1];
    if (pipe2(errs, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int err_read = errs[0], err_write = errs[1];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out_write, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err_write, STDERR_FILENO);
    posix_spawn_file_actions_addchdir_np(&actions, dir);
    posix_spawnattr_init(&attributes);
    /* A signal to us is not one to it: we end it in order. And it is not to inherit that we ignore SIGPIPE. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    int sys = posix_spawn(&p->pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (sys)
        return gv_error_set(err, GV_E_IO, sys, "cannot start the runtime `%s`", argv[0]);
    p->from[1] = steal_fd(&out_read);
    p->from[2] = steal_fd(&err_read);
    return 0;
}

/* Passes on what there is within LOOK_MS. Whether there was anything. */
static bool read_some(struct process *p, void (*output)(void *user, int stream, const void *p, size_t n), void *user)
{
    char chunk[65536];
    struct pollfd fds[2] = { { .fd = p->from[1], .events = POLLIN }, { .fd = p->from[2], .events = POLLIN } };
    bool any = false;
    if (poll(fds, 2, LOOK_MS) <= 0)
        return false;
    for (int i = 0; i < 2; i++) {
        ssize_t n = fds[i].revents ? read(fds[i].fd, chunk, sizeof(chunk)) : -1;
        if (n > 0)
            output(user, i + 1, chunk, (size_t)n);
        else if (n == 0)
            close(steal_fd(&p->from[i + 1]));
        any = any || n > 0;
    }
    return any;
}

static void look(struct process *p)
{
    if (!p->ended && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
        p->ended = true;
}

static void end_group(struct process *p)
{
    kill(-p->pid, SIGTERM);
    for (int i = 0; i < TERM_LOOKS && !p->ended; i++) {
        poll(NULL, 0, LOOK_MS);
        look(p);
    }
    kill(-p->pid, SIGKILL);
    while (!p->ended && waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
        continue;
    p->ended = true;
}

int process_run(char *const *argv, const char *dir, const atomic_bool *cancelled,
                void (*output)(void *user, int stream, const void *p, size_t n), void *user, int *code, struct gv_error *err)
{
    struct process p = { .from = { -1, -1, -1 } };
    if (spawn(&p, argv, dir, err) < 0)
        return -1;
    int silent = 0, result = 0;
    while (!p.ended || ((p.from[1] >= 0 || p.from[2] >= 0) && silent < SILENCE_LOOKS)) {
        look(&p);
        silent = read_some(&p, output, user) || !p.ended ? 0 : silent + 1;
        if (cancelled && atomic_load(cancelled)) {
            end_group(&p);
            result = gv_error_set(err, GV_E_CANCELLED, 0, "interrupted");
            break;
        }
    }
    for (int i = 1; i <= 2; i++)
        if (p.from[i] >= 0)
            close(p.from[i]);
    *code = WIFEXITED(p.status) ? WEXITSTATUS(p.status) : -1;
    return result;
}
