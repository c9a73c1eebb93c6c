/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The loop. Watches are edge-triggered where their owner keeps a "may be ready" flag (the port, pipes), so that no system call is needed
 * to stop and start listening when credit runs out and comes back.
 *
 * One epoll_wait may return several events of which the first frees the owner of the second. So owners are closed at once but freed only
 * when the turn is over, and an event for a closed watch is passed over.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "guest/agent/agent.h"

#define LOOP_EVENTS 64
#define LOOP_ABSENT_MS 5 /* how often to look whether the host has opened its end of the port */

int report_set(struct report *r, int error, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    r->error = error;
    vsnprintf(r->text, sizeof(r->text), format, ap);
    va_end(ap);
    return -1;
}

int report_read(int fd, struct report *r)
{
    ssize_t n;
    do {
        n = read(fd, r, sizeof(*r));
    } while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return 0;
    if (n < 0)
        return -1;
    /* The writer stood in the payload's world, where root may have got hold of it: believe nothing. */
    if ((size_t)n != sizeof(*r) || r->error < 0 || r->error > 4095)
        report_set(r, EPROTO, "the child's report makes no sense");
    r->text[sizeof(r->text) - 1] = '\0';
    for (char *c = r->text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return 1;
}

int watch_open(struct agent *a, struct watch *w, int fd, uint32_t events, void (*ready)(struct agent *, struct watch *, uint32_t))
{
    struct epoll_event e = { .events = events, .data.ptr = w };
    w->fd = -1;
    w->ready = ready;
    if (epoll_ctl(a->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
        return -1;
    w->fd = fd;
    return 0;
}

void watch_change(struct agent *a, struct watch *w, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = w };
    if (w->fd >= 0)
        epoll_ctl(a->epoll, EPOLL_CTL_MOD, w->fd, &e);
}

int watch_steal(struct agent *a, struct watch *w)
{
    /* Closing would not be enough: a child that has not reached execve holds a copy, which would keep the registration. */
    if (w->fd >= 0)
        epoll_ctl(a->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    return steal_fd(&w->fd);
}

void watch_close(struct agent *a, struct watch *w)
{
    int fd = watch_steal(a, w);
    if (fd >= 0)
        close(fd);
}

void late_free(struct agent *a, struct late *l)
{
    l->next = a->late;
    a->late = l;
}

static void late_turn(struct agent *a)
{
    while (a->late) {
        struct late *l = a->late;
        a->late = l->next;
        free(l);
    }
}

static void deaths_ready(struct agent *a, struct watch *w, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo info;
    /* One is enough: the signal coalesces, and process_reap() takes every child that is dead. */
    if (read(w->fd, &info, sizeof(info)) > 0)
        process_reap(a);
}

int agent_init(struct agent *a)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGPIPE);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -1;
    sigdelset(&set, SIGPIPE);
    a->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (a->epoll < 0)
        return -1;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -1;
    a->channel.watch.fd = -1;
    a->payload.init_fd = a->payload.null = a->payload.terminals = a->payload.upper = -1;
    return watch_open(a, &a->deaths, fd, EPOLLIN, deaths_ready);
}

static int loop_timeout(const struct agent *a)
{
    if (channel_busy(a))
        return 0;
    int wait = shutdown_wait(a);
    if (a->channel.absent && (wait < 0 || wait > LOOP_ABSENT_MS))
        return LOOP_ABSENT_MS;
    return wait;
}

void agent_turn(struct agent *a)
{
    struct epoll_event events[LOOP_EVENTS];
    int n = epoll_wait(a->epoll, events, LOOP_EVENTS, loop_timeout(a));
    for (int i = 0; i < n; i++) {
        struct watch *w = events[i].data.ptr;
        if (w->fd >= 0)
            w->ready(a, w, events[i].events);
    }
    channel_turn(a);
    process_turn(a);
    shutdown_turn(a);
    late_turn(a);
}

void agent_loop(struct agent *a)
{
    while (!a->over)
        agent_turn(a);
}
