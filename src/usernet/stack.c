/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The stack is driven by one poll() a turn. libslirp asks to watch its sockets in stack_turn(), and hands frames for the guest to
 * on_packet() whenever it likes. Its timers are for router advertisements only, of which the guest, who has fixed addresses, needs none:
 * they never run.
 */
#include "usernet/stack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <slirp/libslirp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "usernet/filter.h"
#include "usernet/plan.h"
#include "usernet/resolver.h"

#define PAUSE_ABOVE (STACK_QUEUE_MAX / 2)
#define PAUSE_MS 100
#define FRAMES_A_TURN 64
/* The size of the stack's segments, and of those that it asks for: with larger ones the window in which a connection begins holds only one, and
 * each waits for the guest's delayed acknowledgement. */
#define STACK_MTU 16384
#define FDS_FIXED 2U /* life and the frames; then come the resolver's, and libslirp's */
/* In one turn each frame, and each port, can bring a connection, before it is seen that there is no room. */
#define FDS_MAX (FDS_FIXED + RESOLVER_PENDING_MAX + STACK_SOCKETS_MAX + FRAMES_A_TURN + 2 * NET_PUBLISH_MAX)

struct queued {
    struct queued *next;
    size_t len;
    uint8_t data[];
};

struct stack {
    const struct stack_config *config;
    struct filter *filter;
    struct resolver *resolver;
    Slirp *slirp;
    struct frame_link link; /* from the gateway to the guest */
    int first_fd;           /* the lowest free number when nothing was connected */
    bool full;              /* in this turn: no room for another connection */
    struct queued *first, **last;
    size_t queued; /* bytes */
    struct pollfd fds[FDS_MAX];
    size_t fd_count;
    uint8_t buffer[FRAME_MAX]; /* of what is read, or made by us */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static uint64_t now_ms(void)
{
    return now_ns() / 1000000;
}

/* The lowest free number of a descriptor, which the kernel gives next; -1 = none is left. It grows with the number of sockets, whatever libslirp
 * tells of them (it does not tell all). */
static int next_fd(const struct stack *s)
{
    int fd = fcntl(s->config->frames_fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd;
}

static bool has_room(const struct stack *s)
{
    int fd = next_fd(s);
    return fd >= 0 && fd - s->first_fd < (int)STACK_SOCKETS_MAX;
}

/* ---- to the guest ----------------------------------------------------------------------------------------------------------------- */

/* 1 = gone, 0 = cannot be taken now, -1 = never. */
static int send_now(const struct stack *s, const uint8_t *p, size_t n)
{
    ssize_t sent;
    do
        sent = send(s->config->frames_fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return 1;
    return errno == EAGAIN || errno == ENOBUFS ? 0 : -1;
}

static void send_frame(struct stack *s, const uint8_t *p, size_t n)
{
    if (!s->first && send_now(s, p, n) != 0)
        return;
    if (s->queued + n > STACK_QUEUE_MAX) /* it is lost, as on any wire */
        return;
    struct queued *q = gv_alloc(sizeof(*q) + n);
    q->next = NULL;
    q->len = n;
    memcpy(q->data, p, n);
    *s->last = q;
    s->last = &q->next;
    s->queued += sizeof(*q) + n;
}

static void send_queued(struct stack *s)
{
    while (s->first && send_now(s, s->first->data, s->first->len) != 0) {
        struct queued *q = s->first;
        s->first = q->next;
        s->queued -= sizeof(*q) + q->len;
        free(q);
    }
    if (!s->first)
        s->last = &s->first;
}

static ssize_t on_packet(const void *p, size_t n, void *opaque)
{
    struct stack *s = opaque;
    struct frame f;
    frame_parse(&f, p, n);
    if (filter_inbound(s->filter, &f, now_ms()))
        send_frame(s, p, n);
    return (ssize_t)n;
}

static void send_dns(struct stack *s, const struct resolver_client *c, const uint8_t *message, size_t n)
{
    size_t len = frame_build_udp(s->buffer, &s->link, &c->resolver, 53, &c->guest, c->port, message, n);
    if (len)
        send_frame(s, s->buffer, len);
}

static void send_dns_error(struct stack *s, const struct resolver_client *c, const struct dns_query *q, int code)
{
    uint8_t message[DNS_QUERY_MAX];
    send_dns(s, c, message, dns_error_build(q, code, message));
}

static void on_answer(void *user, const struct resolver_client *client, const struct dns_query *q, uint8_t *answer, size_t n)
{
    struct stack *s = user;
    if (!answer) {
        send_dns_error(s, client, q, DNS_SERVFAIL);
        return;
    }
    struct dns_address addresses[DNS_ADDRESSES_MAX];
    size_t count = dns_answer_read(q, answer, n, addresses);
    filter_learn(s->filter, q->name, addresses, count, now_ms());
    send_dns(s, client, answer, n);
}

/* ---- from the guest --------------------------------------------------------------------------------------------------------------- */

static void take_question(struct stack *s, const struct frame *f, uint64_t now)
{
    struct resolver_client client = { .guest = f->src, .resolver = f->dst, .port = f->src_port };
    struct dns_query q;
    int code = dns_query_read(&q, f->payload, f->payload_len);
    if (code < 0)
        return;
    if (code == DNS_NOERROR && !filter_name(s->filter, q.name))
        code = DNS_NXDOMAIN; /* not REFUSED, after which programs try again for many seconds */
    if (code == DNS_NOERROR)
        resolver_ask(s->resolver, &client, &q, now);
    else
        send_dns_error(s, &client, &q, code);
}

static void take_frame(struct stack *s, size_t n, uint64_t now)
{
    struct frame f;
    frame_parse(&f, s->buffer, n);
    switch (filter_outbound(s->filter, &f, s->full, now)) {
    case FILTER_PASS:
        slirp_input(s->slirp, f.data, (int)f.len);
        break;
    case FILTER_REFUSE: {
        uint8_t reply[1024];
        send_frame(s, reply, frame_build_prohibited(reply, &s->link, filter_gateway(s->filter, &f), &f));
        break;
    }
    case FILTER_DNS:
        take_question(s, &f, now);
        break;
    case FILTER_DROP:
    default:
        break;
    }
}

/* 0, or -1 when the other end is gone. */
static int take_frames(struct stack *s)
{
    uint64_t now = now_ms();
    for (int i = 0; i < FRAMES_A_TURN; i++) {
        ssize_t n = recv(s->config->frames_fd, s->buffer, sizeof(s->buffer), MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
        if ((size_t)n <= sizeof(s->buffer))
            take_frame(s, (size_t)n, now);
    }
    return 0;
}

/* ---- libslirp's wishes ------------------------------------------------------------------------------------------------------------ */

static void on_guest_error(const char *message, void *opaque)
{
    (void)message; /* of a malformed packet: the guest's own affair */
    (void)opaque;
}

static int64_t on_clock(void *opaque)
{
    (void)opaque;
    return (int64_t)now_ns();
}

static void *on_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
    (void)id;
    (void)cb_opaque;
    return opaque;
}

static void on_timer_free(void *timer, void *opaque)
{
    (void)timer;
    (void)opaque;
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    (void)timer;
    (void)expire_ms;
    (void)opaque;
}

static void on_socket(int fd, void *opaque)
{
    (void)fd; /* each turn asks libslirp for all of them */
    (void)opaque;
}

static void on_notify(void *opaque)
{
    (void)opaque; /* what it could wake us for is asked for in each turn */
}

static bool is_listener(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

/* The place of fd among those to wait for; -1 = not this time. */
static int on_add_poll(int fd, int events, void *opaque)
{
    struct stack *s = opaque;
    /* Those who knock while there is no room wait in the kernel. */
    if (s->fd_count == FDS_MAX || (s->full && is_listener(fd)))
        return -1;
    short want = 0;
    if (events & SLIRP_POLL_IN)
        want |= POLLIN;
    if (events & SLIRP_POLL_OUT)
        want |= POLLOUT;
    if (events & SLIRP_POLL_PRI)
        want |= POLLPRI;
    s->fds[s->fd_count] = (struct pollfd){ .fd = fd, .events = want };
    return (int)s->fd_count++;
}

static int on_revents(int at, void *opaque)
{
    const struct stack *s = opaque;
    short got = s->fds[at].revents;
    int events = 0;
    if (got & POLLIN)
        events |= SLIRP_POLL_IN;
    if (got & POLLOUT)
        events |= SLIRP_POLL_OUT;
    if (got & POLLPRI)
        events |= SLIRP_POLL_PRI;
    if (got & POLLERR)
        events |= SLIRP_POLL_ERR;
    if (got & POLLHUP)
        events |= SLIRP_POLL_HUP;
    return events;
}

static const SlirpCb callbacks = {
    .send_packet = on_packet,
    .guest_error = on_guest_error,
    .clock_get_ns = on_clock,
    .timer_new_opaque = on_timer_new,
    .timer_free = on_timer_free,
    .timer_mod = on_timer_mod,
    .register_poll_fd = on_socket,
    .unregister_poll_fd = on_socket,
    .notify = on_notify,
};

/* ---- turns ------------------------------------------------------------------------------------------------------------------------ */

int stack_turn(struct stack *s, int life, struct gv_error *err)
{
    bool paused = s->queued > PAUSE_ABOVE;
    uint32_t slirp_timeout = UINT32_MAX;
    uint64_t now = now_ms();
    s->full = !has_room(s);
    s->fds[0] = (struct pollfd){ .fd = life, .events = POLLIN };
    s->fds[1] = (struct pollfd){ .fd = s->config->frames_fd, .events = (short)(s->first ? POLLIN | POLLOUT : POLLIN) };
    int timeout = -1;
    size_t asked = resolver_fill(s->resolver, s->fds + FDS_FIXED, &timeout, now);
    s->fd_count = FDS_FIXED + asked;
    if (!paused)
        slirp_pollfds_fill(s->slirp, &slirp_timeout, on_add_poll, s);
    else
        slirp_timeout = PAUSE_MS;
    if (slirp_timeout != UINT32_MAX && (timeout < 0 || slirp_timeout < (uint32_t)timeout))
        timeout = (int)slirp_timeout;
    int ready = poll(s->fds, s->fd_count, timeout);
    if (ready < 0 && errno != EINTR)
        return gv_error_errno(err, "cannot wait for the network");
    if (ready > 0 && s->fds[0].revents)
        return 1;
    if (ready > 0 && (s->fds[1].revents & POLLOUT))
        send_queued(s);
    if (ready > 0 && (s->fds[1].revents & ~POLLOUT) && take_frames(s) < 0)
        return gv_error_errno(err, "the network card of the VM is gone");
    resolver_handle(s->resolver, s->fds + FDS_FIXED, ready > 0 ? asked : 0, now_ms());
    if (!paused)
        slirp_pollfds_poll(s->slirp, ready < 0, on_revents, s);
    return 0;
}

/* ---- the start -------------------------------------------------------------------------------------------------------------------- */

static int publish(struct stack *s, const struct net_publish *p, struct gv_error *err)
{
    struct net_addr guest;
    bool v4 = net_addr_is_v4(&p->host);
    const char *text = v4 ? NET_PLAN_GUEST4 : NET_PLAN_GUEST6;
    net_addr_parse(text, strlen(text), &guest);
    for (unsigned i = 0; i < p->count; i++) {
        struct sockaddr_storage from, to;
        uint16_t port = (uint16_t)(p->host_port + i);
        socklen_t from_len = net_addr_sockaddr(&p->host, port, &from);
        socklen_t to_len = net_addr_sockaddr(&guest, (uint16_t)(p->guest_port + i), &to);
        int flags = (p->udp ? SLIRP_HOSTFWD_UDP : 0) | (v4 ? 0 : SLIRP_HOSTFWD_V6ONLY);
        int fd = next_fd(s),
            added = slirp_add_hostxfwd(s->slirp, (struct sockaddr *)&from, from_len, (struct sockaddr *)&to, to_len, flags);
        if (added == 0) {
            /* libslirp lets one wait, and the others come again after a second. */
            if (!p->udp && is_listener(fd))
                listen(fd, STACK_BACKLOG);
            continue;
        }
        char addr[NET_ADDR_TEXT];
        int sys = errno;
        gv_error_set(err, sys == EADDRINUSE ? GV_E_BUSY : GV_E_IO, sys, "cannot publish %s port %u of %s", p->udp ? "UDP" : "TCP", port,
                     net_addr_text(&p->host, addr));
        if (sys == EADDRINUSE)
            gv_error_hint(err, "end what uses it, or publish another one");
        else if (sys == EACCES)
            gv_error_hint(err, "take a port that is not below 1024 (net.ipv4.ip_unprivileged_port_start)");
        return -1;
    }
    return 0;
}

/* The stack reaches the host's loopback only if somebody has asked for it; published UDP needs it too, to answer those who come from there. */
static bool needs_loopback(const struct stack_config *config)
{
    for (size_t i = 0; i < config->publish_count; i++)
        if (config->publish[i].udp)
            return true;
    return net_rules_have(&config->rules, NET_RULE_HOST);
}

static Slirp *make_slirp(struct stack *s)
{
    SlirpConfig c = {
        .version = 4,
        .in_enabled = true,
        .in6_enabled = true,
        .vprefix_len = NET_PLAN_BITS6,
        .if_mtu = STACK_MTU,
        .if_mru = STACK_MTU,
        .disable_host_loopback = !needs_loopback(s->config),
        .disable_dns = true,
        .disable_dhcp = true,
    };
    inet_pton(AF_INET, NET_PLAN_NETWORK4, &c.vnetwork);
    inet_pton(AF_INET, NET_PLAN_MASK4, &c.vnetmask);
    inet_pton(AF_INET, NET_PLAN_GATEWAY4, &c.vhost);
    inet_pton(AF_INET, NET_PLAN_RESOLVER4, &c.vnameserver);
    inet_pton(AF_INET6, NET_PLAN_NETWORK6, &c.vprefix_addr6);
    inet_pton(AF_INET6, NET_PLAN_GATEWAY6, &c.vhost6);
    inet_pton(AF_INET6, NET_PLAN_RESOLVER6, &c.vnameserver6);
    return slirp_new(&c, &callbacks, s);
}

int stack_new(struct stack **out, const struct stack_config *config, struct gv_error *err)
{
    static const uint8_t guest[FRAME_MAC] = NET_PLAN_MAC, stack[2] = { 0x52, 0x55 };
    struct stack *s = gv_new(struct stack);
    s->config = config;
    s->last = &s->first;
    memcpy(s->link.to, guest, FRAME_MAC);
    memcpy(s->link.from, stack, sizeof(stack));
    inet_pton(AF_INET, NET_PLAN_GATEWAY4, s->link.from + sizeof(stack));
    s->filter = filter_new(&config->rules, config->publish, config->publish_count, config->note, config->user);
    s->resolver = resolver_new(config->servers, config->server_count, on_answer, s);
    s->slirp = make_slirp(s);
    if (!s->slirp) {
        stack_free(s);
        return gv_error_set(err, GV_E_INTERNAL, 0, "cannot make the user-space network stack");
    }
    for (size_t i = 0; i < config->publish_count; i++)
        if (publish(s, &config->publish[i], err) < 0) {
            stack_free(s);
            return -1;
        }
    s->first_fd = next_fd(s);
    *out = s;
    return 0;
}

void stack_free(struct stack *s)
{
    if (!s)
        return;
    if (s->slirp)
        slirp_cleanup(s->slirp);
    resolver_free(s->resolver);
    filter_free(s->filter);
    while (s->first) {
        struct queued *q = s->first;
        s->first = q->next;
        free(q);
    }
    free(s);
}
