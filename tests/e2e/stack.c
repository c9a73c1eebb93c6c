/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The Internet of the tests: libslirp as an ExeUnit's user-space stack, stack FD MTU. Each datagram of the socket FD is a frame. It is the host 10.42.42.1, which
 * stands for the loopback of this machine. Ends when FD does, or when killed.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define POLLS 256
#define TIMERS 16

struct stack {
    int fd;
    struct pollfd polls[POLLS];
    int count;
    struct timer {
        SlirpTimerCb call;
        void *user;
        int64_t at; /* milliseconds, -1 = not running */
    } timers[TIMERS];
};

static int64_t clock_ns(void *user)
{
    struct timespec t;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static ssize_t send_packet(const void *p, size_t n, void *user)
{
    return send(((struct stack *)user)->fd, p, n, MSG_NOSIGNAL);
}

static void guest_error(const char *text, void *user)
{
    (void)user;
    fprintf(stderr, "stack: %s\n", text);
}

static void *timer_new(SlirpTimerCb call, void *call_user, void *user)
{
    struct stack *s = user;
    for (int i = 0; i < TIMERS; i++)
        if (!s->timers[i].call) {
            s->timers[i] = (struct timer){ call, call_user, -1 };
            return &s->timers[i];
        }
    abort();
}

static void timer_free(void *timer, void *user)
{
    (void)user;
    memset(timer, 0, sizeof(struct timer));
}

static void timer_mod(void *timer, int64_t at, void *user)
{
    (void)user;
    ((struct timer *)timer)->at = at;
}

static void on_fd(int fd, void *user)
{
    (void)fd, (void)user;
}

static void notify(void *user)
{
    (void)user;
}

static int add_poll(int fd, int events, void *user)
{
    struct stack *s = user;
    if (s->count == POLLS)
        return -1;
    short wanted =
        (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) | (events & SLIRP_POLL_PRI ? POLLPRI : 0));
    s->polls[s->count] = (struct pollfd){ .fd = fd, .events = wanted };
    return s->count++;
}

static int get_revents(int i, void *user)
{
    short r = i < 0 ? 0 : ((struct stack *)user)->polls[i].revents;
    return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) | (r & POLLPRI ? SLIRP_POLL_PRI : 0) |
           (r & POLLERR ? SLIRP_POLL_ERR : 0) | (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

int main(int argc, char **argv)
{
    static const SlirpCb calls = { .send_packet = send_packet,
                                   .guest_error = guest_error,
                                   .clock_get_ns = clock_ns,
                                   .timer_new = timer_new,
                                   .timer_free = timer_free,
                                   .timer_mod = timer_mod,
                                   .register_poll_fd = on_fd,
                                   .unregister_poll_fd = on_fd,
                                   .notify = notify };
    static struct stack s;
    static uint8_t frame[65536];
    SlirpConfig c = { .version = 4, .in_enabled = true };
    if (argc != 3)
        return 2;
    s.fd = atoi(argv[1]);
    c.if_mtu = c.if_mru = (size_t)atoi(argv[2]);
    inet_pton(AF_INET, "10.42.42.0", &c.vnetwork);
    inet_pton(AF_INET, "255.255.255.0", &c.vnetmask);
    inet_pton(AF_INET, "10.42.42.1", &c.vhost);
    inet_pton(AF_INET, "10.42.42.3", &c.vnameserver);
    inet_pton(AF_INET, "10.42.42.15", &c.vdhcp_start);
    Slirp *slirp = slirp_new(&c, &calls, &s);
    for (;;) {
        uint32_t timeout = 1000;
        s.count = 0;
        int own = add_poll(s.fd, SLIRP_POLL_IN, &s);
        slirp_pollfds_fill(slirp, &timeout, add_poll, &s);
        for (int i = 0; i < TIMERS; i++) {
            int64_t left = s.timers[i].at - clock_ns(NULL) / 1000000;
            if (s.timers[i].call && s.timers[i].at >= 0 && left < timeout)
                timeout = left > 0 ? (uint32_t)left : 0;
        }
        int got = poll(s.polls, (nfds_t)s.count, (int)timeout);
        slirp_pollfds_poll(slirp, got < 0, get_revents, &s);
        for (int i = 0; i < TIMERS; i++)
            if (s.timers[i].call && s.timers[i].at >= 0 && s.timers[i].at <= clock_ns(NULL) / 1000000) {
                s.timers[i].at = -1;
                s.timers[i].call(s.timers[i].user);
            }
        for (ssize_t n; (s.polls[own].revents & POLLIN) && (n = recv(s.fd, frame, sizeof(frame), MSG_DONTWAIT)) > 0;)
            slirp_input(slirp, frame, (int)n);
    }
}
