/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The keeper holds one end of a socket pair. Over it, it says the name of the directory that it has made (or an errno); its owner says
 * nothing, and the end of file is the owner's end. Others may still be writing into the directory then (a QEMU that is being killed), so
 * the keeper tries again for some seconds.
 */
#include "core/workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/fs.h"
#include "core/mem.h"

#define TRIES 100
#define TRY_EVERY_NS 50000000

struct gv_workdir {
    char *path;
    pid_t keeper;
    int fd;
};

static int remove_patiently(const char *path, struct gv_error *err)
{
    for (int i = 0; i < TRIES; i++) {
        gv_error_clear(err);
        if (gv_remove_tree(path, err) == 0)
            return 0;
        nanosleep(&(struct timespec){ .tv_nsec = TRY_EVERY_NS }, NULL);
    }
    return -1;
}

static _Noreturn void keep(int fd, char *template)
{
    prctl(PR_SET_NAME, "gvmkit-keeper");
    setsid();
    /* Whoever reads our owner's output must see its end when the owner ends, so nothing else stays open here. */
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3 && null >= 0; i++)
        dup2(null, i);
    if (fd != 3)
        fd = dup2(fd, 3);
    if (syscall(SYS_close_range, 4U, ~0U, 0U) < 0)
        for (int i = 4; i < 1024; i++)
            close(i);
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2 };
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        sigaction(ignored[i], &ignore, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);

    int sys = mkdtemp(template) ? 0 : errno;
    (void)!chdir("/");
    char reply[sizeof(sys) + 4096];
    size_t len = strlen(template);
    memcpy(reply, &sys, sizeof(sys));
    memcpy(reply + sizeof(sys), template, len);
    (void)!send(fd, reply, sizeof(sys) + len, MSG_NOSIGNAL);
    if (sys)
        _exit(1);
    char byte;
    while (read(fd, &byte, 1) < 0 && errno == EINTR)
        continue;
    _exit(remove_patiently(template, NULL) < 0);
}

int gv_workdir_open(struct gv_workdir **out, const char *parent, const char *prefix, struct gv_error *err)
{
    cleanup_free char *whole = realpath(parent, NULL);
    if (!whole || strlen(whole) + strlen(prefix) > 4000)
        return gv_error_set(err, GV_E_IO, whole ? ENAMETOOLONG : errno, "cannot use the directory `%s`", parent);
    cleanup_free char *template = gv_asprintf("%s/%s-XXXXXX", whole, prefix);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return gv_error_errno(err, "cannot make a socket pair");
    cleanup_close int ours = pair[0], theirs = pair[1];
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        keep(theirs, template);
    int sys = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return gv_error_set(err, GV_E_IO, sys, "cannot start a process");
    close(steal_fd(&theirs));
    char reply[sizeof(sys) + 4096];
    ssize_t n;
    do
        n = recv(ours, reply, sizeof(reply) - 1, 0);
    while (n < 0 && errno == EINTR);
    sys = ECHILD;
    if (n > (ssize_t)sizeof(sys))
        memcpy(&sys, reply, sizeof(sys));
    if (sys) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        return gv_error_set(err, GV_E_IO, sys, "cannot create a directory in `%s`", parent);
    }
    reply[n] = '\0';
    struct gv_workdir *w = gv_new(struct gv_workdir);
    w->path = gv_strdup(reply + sizeof(sys));
    w->keeper = pid;
    w->fd = steal_fd(&ours);
    *out = w;
    return 0;
}

const char *gv_workdir_path(const struct gv_workdir *w)
{
    return w->path;
}

int gv_workdir_remove(struct gv_workdir *w, struct gv_error *err)
{
    if (!w)
        return 0;
    close(w->fd);
    while (waitpid(w->keeper, NULL, 0) < 0 && errno == EINTR)
        continue;
    struct stat st;
    int status = lstat(w->path, &st) < 0 && errno == ENOENT ? 0 : remove_patiently(w->path, err); /* somebody killed the keeper */
    free(w->path);
    free(w);
    return status;
}
