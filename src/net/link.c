/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A link: the VM's socket, the peer's, and what moves frames between them. A peer of datagrams is there from the beginning; one of a stream comes and goes,
 * and while there is none, frames of the VM are dropped.
 *
 * What a stream socket has taken half of has to be finished before anything else: the rest of that one frame is all that is ever kept. What comes from a
 * stream is cut into frames where it lies.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "net/endpoint.h"
#include "net/frames.h"

#define VM_BUFFER (2 << 20)
#define STREAM_INPUT (2U * (NET_PREFIX_MAX + NET_FRAME_MAX))
#define RETRY_MS 500U

/* A descriptor that the loop watches; it goes when its handle is closed. */
struct watch {
    uv_poll_t poll;
    int fd, events;
    struct net_link *link;
    void (*ready)(struct net_link *l, int events);
};

struct net_link {
    uv_loop_t *loop;
    const struct gv_log *log;
    char *name;
    struct endpoint endpoint;
    enum net_prefix prefix;
    struct net_counters counted;
    unsigned handles; /* open ones, for which the memory has to stay */
    bool closed;

    struct watch *vm;
    struct watch *listener; /* of a stream that we wait for */
    struct watch *peer;     /* NULL: there is none now */
    bool connecting;        /* the peer is not there yet */
    uv_timer_t retry;
    struct gv_error problem; /* why there is neither listener nor peer */
    char *where;             /* what net_where() has told last */

    uint8_t *room; /* for a batch of datagrams */
    uint8_t *input;
    size_t input_n;
    uint8_t *rest; /* of the frame that the peer's socket has taken half of */
    size_t rest_at, rest_n;
};

static void open_endpoint(struct net_link *l);
static void lose_peer(struct net_link *l, const char *why);

/* ---- handles --------------------------------------------------------------------------------------------------------------------- */

static void release(struct net_link *l)
{
    if (--l->handles > 0)
        return;
    free(l->name);
    free(l->where);
    free(l->room);
    free(l->input);
    free(l->rest);
    free(l);
}

static void on_watch_closed(uv_handle_t *h)
{
    struct watch *w = h->data;
    struct net_link *l = w->link;
    close(w->fd);
    free(w);
    release(l);
}

static void watch_close(struct watch **w)
{
    if (*w)
        uv_close((uv_handle_t *)&(*w)->poll, on_watch_closed);
    *w = NULL;
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void watch_for(struct watch *w, int events)
{
    w->events = events;
    if (events)
        uv_poll_start(&w->poll, events, on_ready);
    else
        uv_poll_stop(&w->poll);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    /* What is wrong with the socket shows when it is used. libuv stops watching then, but for datagrams it may be nothing: one that nobody took. */
    w->ready(w->link, status < 0 ? UV_READABLE | UV_WRITABLE : events);
    if (status < 0 && !uv_is_closing((const uv_handle_t *)poll))
        watch_for(w, w->events);
}

/* Takes over fd, also on failure. */
static int watch_open(struct net_link *l, struct watch **out, int fd, int events, void (*ready)(struct net_link *, int),
                      struct gv_error *err)
{
    struct watch *w = gv_new(struct watch);
    int status = uv_poll_init(l->loop, &w->poll, fd);
    if (status < 0) {
        close(fd);
        free(w);
        return gv_error_set(err, GV_E_IO, -status, "cannot watch a socket");
    }
    w->poll.data = w;
    w->fd = fd;
    w->link = l;
    w->ready = ready;
    l->handles++;
    watch_for(w, events);
    *out = w;
    return 0;
}

/* ---- to the peer of a stream ----------------------------------------------------------------------------------------------------- */

/* 0, or -1 when the peer has been lost. */
static int finish_rest(struct net_link *l)
{
    while (l->rest_at < l->rest_n) {
        ssize_t n = send(l->peer->fd, l->rest + l->rest_at, l->rest_n - l->rest_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            lose_peer(l, strerror(errno));
            return -1;
        }
        if (n < 0)
            break;
        l->rest_at += (size_t)n;
    }
    watch_for(l->peer, UV_READABLE | (l->rest_at < l->rest_n ? UV_WRITABLE : 0));
    return 0;
}

/* taken bytes of the frames with their prefixes are on their way: counts those that are whole, keeps the rest of the one that is not. */
static void account(struct net_link *l, const struct net_frame *frames, size_t count, uint8_t (*prefixes)[NET_PREFIX_MAX], size_t taken)
{
    size_t head = net_prefix_size(l->prefix);
    struct net_flow *flow = &l->counted.from_vm;
    for (size_t i = 0; i < count; i++) {
        size_t whole = head + frames[i].n;
        if (taken == 0) {
            flow->dropped++;
            continue;
        }
        flow->frames++;
        flow->bytes += frames[i].n;
        if (taken >= whole) {
            taken -= whole;
            continue;
        }
        memcpy(l->rest, prefixes[i], head);
        memcpy(l->rest + head, frames[i].p, frames[i].n);
        l->rest_at = taken;
        l->rest_n = whole;
        taken = 0;
    }
}

static void send_stream(struct net_link *l, const struct net_frame *frames, size_t count)
{
    uint8_t prefixes[NET_BATCH][NET_PREFIX_MAX];
    struct iovec pieces[2 * NET_BATCH];
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 * count };
    if (!l->peer || l->connecting || l->rest_at < l->rest_n) {
        l->counted.from_vm.dropped += count;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        net_prefix_put(l->prefix, prefixes[i], frames[i].n);
        pieces[2 * i] = (struct iovec){ prefixes[i], net_prefix_size(l->prefix) };
        pieces[2 * i + 1] = (struct iovec){ (void *)(uintptr_t)frames[i].p, frames[i].n };
    }
    ssize_t n = sendmsg(l->peer->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        l->counted.from_vm.dropped += count;
        lose_peer(l, strerror(errno));
        return;
    }
    account(l, frames, count, prefixes, n > 0 ? (size_t)n : 0);
    if (l->rest_at < l->rest_n)
        watch_for(l->peer, UV_READABLE | UV_WRITABLE);
}

/* ---- batches --------------------------------------------------------------------------------------------------------------------- */

static void on_vm(struct net_link *l, int events)
{
    struct net_frame frames[NET_BATCH];
    size_t count;
    (void)events;
    if (net_receive(l->vm->fd, l->room, frames, &count, &l->counted.from_vm) < 0 && errno != EAGAIN && errno != EINTR) {
        watch_for(l->vm, 0); /* QEMU is gone */
        return;
    }
    if (count == 0)
        return;
    if (l->endpoint.scheme != ENDPOINT_UDP)
        send_stream(l, frames, count);
    else if (l->peer)
        net_send(l->peer->fd, frames, count, &l->counted.from_vm);
    else
        l->counted.from_vm.dropped += count;
}

static void on_datagrams(struct net_link *l, int events)
{
    struct net_frame frames[NET_BATCH];
    size_t count;
    (void)events;
    /* Errors tell of datagrams of ours that nobody has taken; there may be somebody yet. */
    net_receive(l->peer->fd, l->room, frames, &count, &l->counted.to_vm);
    if (count > 0)
        net_send(l->vm->fd, frames, count, &l->counted.to_vm);
}

/* Passes on what is whole in the input. -1: there is something that cannot be a frame. */
static int take_input(struct net_link *l)
{
    struct net_frame frames[NET_BATCH];
    size_t at = 0, used = 0, count = 0;
    int got;
    while ((got = net_prefix_next(l->prefix, l->input + at, l->input_n - at, &frames[count], &used)) > 0) {
        at += used;
        if (frames[count].n < NET_FRAME_MIN)
            l->counted.to_vm.refused++;
        else if (++count == NET_BATCH) {
            net_send(l->vm->fd, frames, count, &l->counted.to_vm);
            count = 0;
        }
    }
    if (count > 0)
        net_send(l->vm->fd, frames, count, &l->counted.to_vm);
    memmove(l->input, l->input + at, l->input_n - at);
    l->input_n -= at;
    return got;
}

static void on_stream(struct net_link *l, int events)
{
    if ((events & UV_WRITABLE) && finish_rest(l) < 0)
        return;
    if (!(events & UV_READABLE))
        return;
    ssize_t n = recv(l->peer->fd, l->input + l->input_n, STREAM_INPUT - l->input_n, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose_peer(l, n < 0 ? strerror(errno) : "it has closed the connection");
        return;
    }
    l->input_n += (size_t)n;
    if (take_input(l) < 0) {
        l->counted.to_vm.refused++;
        lose_peer(l, "it sends what cannot be frames");
    }
}

/* ---- peers of streams ------------------------------------------------------------------------------------------------------------ */

static void on_retry(uv_timer_t *t)
{
    open_endpoint(t->data);
}

static void retry_later(struct net_link *l)
{
    if (!l->closed)
        uv_timer_start(&l->retry, on_retry, RETRY_MS, 0);
}

static void lose_peer(struct net_link *l, const char *why)
{
    gv_debug(l->log, "%s: the peer is lost: %s", l->name, why);
    watch_close(&l->peer);
    l->connecting = false;
    l->input_n = l->rest_at = l->rest_n = 0;
    if (l->listener)
        watch_for(l->listener, UV_READABLE);
    else
        retry_later(l);
}

/* Takes over fd. */
static void have_peer(struct net_link *l, int fd)
{
    struct gv_error err = GV_ERROR_INIT;
    endpoint_tune(fd);
    if (watch_open(l, &l->peer, fd, UV_READABLE, on_stream, &err) < 0) {
        gv_warn(l->log, "%s: %s", l->name, err.msg);
        return;
    }
    gv_debug(l->log, "%s: the peer is there", l->name);
    if (l->listener)
        watch_for(l->listener, 0); /* others wait until this one has gone */
}

static void on_caller(struct net_link *l, int events)
{
    (void)events;
    int fd = accept4(l->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        have_peer(l, fd);
}

static void on_connected(struct net_link *l, int events)
{
    struct gv_error err = GV_ERROR_INIT;
    (void)events;
    if (endpoint_connected(l->peer->fd, &err) < 0) {
        lose_peer(l, err.msg);
        return;
    }
    l->connecting = false;
    endpoint_tune(l->peer->fd);
    l->peer->ready = on_stream;
    watch_for(l->peer, UV_READABLE);
    gv_debug(l->log, "%s: connected", l->name);
}

/* ---- the endpoint ---------------------------------------------------------------------------------------------------------------- */

static int try_endpoint(struct net_link *l, struct gv_error *err)
{
    int fd;
    switch (l->endpoint.scheme) {
    case ENDPOINT_UDP:
        fd = endpoint_udp(&l->endpoint, err);
        return fd < 0 ? -1 : watch_open(l, &l->peer, fd, UV_READABLE, on_datagrams, err);
    case ENDPOINT_TCP_CONNECT:
        fd = endpoint_connect(&l->endpoint, err);
        if (fd < 0 || watch_open(l, &l->peer, fd, UV_WRITABLE, on_connected, err) < 0)
            return -1;
        l->connecting = true;
        return 0;
    case ENDPOINT_TCP_LISTEN:
    case ENDPOINT_UNIX:
        fd = endpoint_listen(&l->endpoint, err);
        return fd < 0 ? -1 : watch_open(l, &l->listener, fd, UV_READABLE, on_caller, err);
    }
    return -1;
}

static void open_endpoint(struct net_link *l)
{
    if (l->peer || l->listener)
        return;
    gv_error_clear(&l->problem);
    if (try_endpoint(l, &l->problem) == 0)
        return;
    gv_debug(l->log, "%s: %s", l->name, l->problem.msg);
    retry_later(l);
}

static int make_pair(int pair[2], struct gv_error *err)
{
    const int size = VM_BUFFER;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return gv_error_errno(err, "cannot make a socket pair");
    for (int i = 0; i < 2; i++)
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* that of the sender is the one that counts */
    return 0;
}

int net_open(struct net_link **out, uv_loop_t *loop, const struct net_config *config, int *vm_fd, struct gv_error *err)
{
    struct endpoint endpoint;
    int pair[2];
    if (endpoint_parse(&endpoint, config->url, config->unix_path, err) < 0 || make_pair(pair, err) < 0)
        return -1;
    struct net_link *l = gv_new(struct net_link);
    cleanup_close int theirs = pair[1];
    l->loop = loop;
    l->log = config->log;
    l->name = gv_strdup(config->name);
    l->endpoint = endpoint;
    l->prefix = endpoint.scheme == ENDPOINT_UNIX ? NET_PREFIX_NATIVE16 : NET_PREFIX_BE32;
    l->room = gv_alloc((size_t)NET_BATCH * NET_SLOT); /* of which only what frames need is ever touched */
    if (endpoint.scheme != ENDPOINT_UDP) {
        l->input = gv_alloc(STREAM_INPUT);
        l->rest = gv_alloc(NET_PREFIX_MAX + NET_FRAME_MAX);
    }
    uv_timer_init(loop, &l->retry);
    l->retry.data = l;
    l->handles = 1;
    if (watch_open(l, &l->vm, pair[0], UV_READABLE, on_vm, err) < 0) {
        net_close(l);
        return -1;
    }
    open_endpoint(l);
    *out = l;
    *vm_fd = steal_fd(&theirs);
    return 0;
}

int net_where(struct net_link *l, enum net_endpoint_kind *kind, const char **text, struct gv_error *err)
{
    open_endpoint(l);
    if (l->problem.code) {
        if (err)
            *err = l->problem;
        return -1;
    }
    free(l->where);
    if (l->endpoint.scheme == ENDPOINT_UDP)
        l->where = endpoint_name(l->peer->fd);
    else if (l->endpoint.scheme == ENDPOINT_TCP_CONNECT)
        l->where = endpoint_text(&l->endpoint.address, l->endpoint.size);
    else
        l->where = endpoint_name(l->listener->fd);
    *kind = l->endpoint.scheme == ENDPOINT_UDP ? NET_UDP_DATAGRAM : l->endpoint.scheme == ENDPOINT_UNIX ? NET_UNIX_STREAM : NET_TCP_STREAM;
    *text = l->where;
    return 0;
}

const struct net_counters *net_counted(const struct net_link *l)
{
    return &l->counted;
}

static void on_timer_closed(uv_handle_t *h)
{
    release(h->data);
}

void net_close(struct net_link *l)
{
    if (!l || l->closed)
        return;
    l->closed = true;
    if (l->listener && l->endpoint.scheme == ENDPOINT_UNIX)
        unlink(((const struct sockaddr_un *)&l->endpoint.address)->sun_path);
    watch_close(&l->vm);
    watch_close(&l->peer);
    watch_close(&l->listener);
    uv_close((uv_handle_t *)&l->retry, on_timer_closed);
}
