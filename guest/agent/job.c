/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests whose work may hang or must see the payload's world: a child does it and says how it went through a pipe. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "guest/agent/agent.h"

static void job_ready(struct agent *a, struct watch *w, uint32_t events)
{
    (void)events;
    struct job *j = container_of(w, struct job, watch);
    struct report r = { 0 };
    int got = report_read(w->fd, &r);
    if (got < 0)
        return;
    if (got == 0)
        report_set(&r, EIO, "the child that did it died");
    watch_close(a, w);
    a->jobs--;
    j->done(a, j->id, &r);
    late_free(a, &j->late);
}

int job_watch(struct agent *a, uint64_t id, int fd, void (*done)(struct agent *, uint64_t, const struct report *))
{
    struct job *j = calloc(1, sizeof(*j));
    if (!j || watch_open(a, &j->watch, fd, EPOLLIN, job_ready) < 0) {
        free(j);
        close(fd);
        return -1;
    }
    j->id = id;
    j->done = done;
    a->jobs++;
    return 0;
}

__attribute__((noreturn)) static void job_child(struct agent *a, int fd, job_function *work, void *arguments)
{
    struct report r = { 0 };
    work(a, arguments, &r);
    _exit(write(fd, &r, sizeof(r)) == sizeof(r) ? 0 : 1);
}

void job_start(struct agent *a, uint64_t id, job_function *work, void *arguments)
{
    struct report r = { 0 };
    int fd[2];
    if (a->jobs >= AGENT_JOBS_MAX) {
        report_set(&r, EAGAIN, "%u requests are being worked on already", a->jobs);
        channel_answer(a, id, &r);
        return;
    }
    if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0) {
        report_set(&r, errno, "pipe");
        channel_answer(a, id, &r);
        return;
    }
    pid_t pid = fork();
    if (pid == 0)
        job_child(a, fd[1], work, arguments);
    int error = errno;
    close(fd[1]);
    if (pid < 0 || job_watch(a, id, fd[0], channel_answer) < 0) {
        if (pid < 0)
            close(fd[0]);
        report_set(&r, pid < 0 ? error : ENOMEM, "fork");
        channel_answer(a, id, &r);
    }
}
