/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The owner's end of the socket. A connection is one request. Nothing here waits for a caller: what he has sent is taken as it comes, an answer either fits into the socket or
 * he is hung up on, and he has REQUEST_MS for his request. Only our own user and root are heard.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vms/protocol.h"

#define REQUEST_MS 10000
#define READ_SIZE 16384U
#define BACKLOG 128

struct vms_conn {
    struct vms_server *server;
    struct vms_conn *next, *previous;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles;
    int fd, fds[3];
    size_t fd_count;
    struct gv_buf in;
    size_t scanned; /* bytes of in without a newline */
    struct heard heard;
    bool asked;  /* the request has been handed on */
    bool closed; /* the handles are being closed */
    void *data;
};

struct vms_server {
    uv_loop_t *loop;
    const struct vms_server_events *events;
    void *user;
    uv_poll_t poll;
    int fd;
    struct vms_conn *conns;
    unsigned count;
    bool full; /* not polled: as many as there may be */
};

static void server_listen(struct vms_server *s, bool listen);

/* ---- one connection --------------------------------------------------------------------------------------------------------------- */

static void on_conn_closed(uv_handle_t *h)
{
    struct vms_conn *c = h->data;
    if (--c->handles > 0)
        return;
    gv_buf_clear(&c->in);
    heard_clear(&c->heard);
    free(c);
}

static void conn_close(struct vms_conn *c)
{
    struct vms_server *s = c->server;
    if (c->closed) /* in a callback: `gone` may have been the last thing that the server was kept for */
        return;
    c->closed = true;
    if (c->previous)
        c->previous->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->previous = c->previous;
    s->count--;
    uv_poll_stop(&c->poll);
    close(c->fd);
    for (size_t i = 0; i < c->fd_count; i++)
        close(c->fds[i]);
    uv_close((uv_handle_t *)&c->poll, on_conn_closed);
    uv_close((uv_handle_t *)&c->timer, on_conn_closed);
    server_listen(s, true);
}

/* The caller is gone, or no caller of ours. */
static void conn_drop(struct vms_conn *c)
{
    if (c->asked)
        c->server->events->gone(c->server->user, c);
    conn_close(c);
}

void vms_conn_set(struct vms_conn *c, void *data)
{
    c->data = data;
}

void *vms_conn_get(const struct vms_conn *c)
{
    return c->data;
}

const struct vms_request *vms_conn_request(const struct vms_conn *c)
{
    return &c->heard.request;
}

void vms_conn_answer(struct vms_conn *c, const struct vms_answer *answer)
{
    cleanup_buf struct gv_buf line = { 0 };
    protocol_put_answer(&line, answer);
    ssize_t n;
    do
        n = send(c->fd, line.data, line.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (answer->kind != VMS_STARTED)
        conn_close(c);
    else if (n != (ssize_t)line.len)
        shutdown(c->fd, SHUT_RDWR); /* the loop sees its end */
}

/* One line. */
static int conn_hear(struct vms_conn *c, const char *line, size_t n, struct gv_error *err)
{
    struct vms_server *s = c->server;
    if (c->asked) {
        struct message m;
        if (protocol_get_message(&m, line, n, err) < 0)
            return -1;
        if (m.signal)
            s->events->signal(s->user, c, m.signal);
        else
            s->events->resize(s->user, c, m.rows, m.columns);
        return 0;
    }
    if (protocol_get_request(&c->heard, line, n, err) < 0)
        return -1;
    bool program = c->heard.request.op == VMS_EXEC || c->heard.request.op == VMS_BUILTIN;
    if (c->fd_count != (program ? 3 : 0))
        return gv_error_set(err, GV_E_PROTOCOL, 0, "a request on the VM's socket has %zu descriptors", c->fd_count);
    uv_timer_stop(&c->timer);
    int fds[3] = { -1, -1, -1 };
    memcpy(fds, c->fds, c->fd_count * sizeof(int));
    c->fd_count = 0;
    c->asked = true;
    s->events->request(s->user, c, &c->heard.request, fds);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return 0;
}

static void conn_refuse(struct vms_conn *c, const struct gv_error *err)
{
    if (c->asked)
        conn_drop(c);
    else
        vms_conn_answer(c, &(struct vms_answer){ .kind = VMS_FAILED, .error = *err });
}

/* All whole lines that have come. */
static void conn_lines(struct vms_conn *c)
{
    struct gv_error err = GV_ERROR_INIT;
    while (!c->closed) {
        unsigned char *from = c->in.data + c->scanned, *end = c->in.len > c->scanned ? memchr(from, '\n', c->in.len - c->scanned) : NULL;
        if (!end)
            break;
        size_t n = (size_t)(end - c->in.data);
        if (conn_hear(c, (const char *)c->in.data, n, &err) < 0) {
            conn_refuse(c, &err);
            return;
        }
        gv_buf_drop(&c->in, n + 1);
        c->scanned = 0;
    }
    c->scanned = c->in.len;
    if (!c->closed && c->in.len > VMS_LINE_MAX) {
        gv_error_set(&err, GV_E_LIMIT, 0, "a line on the VM's socket is too long");
        conn_refuse(c, &err);
    }
}

/* Keeps the descriptors of a message; -1 when there are too many, or some more than the first bytes have. */
static int conn_take_fds(struct vms_conn *c, struct msghdr *m)
{
    int status = m->msg_flags & MSG_CTRUNC ? -1 : 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            if (c->fd_count < 3 && !c->asked) {
                c->fds[c->fd_count++] = fd;
            } else {
                close(fd);
                status = -1;
            }
        }
    }
    return status;
}

static void on_conn(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct vms_conn *c = poll->data;
    char part[READ_SIZE];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(3 * sizeof(int))];
    } control;
    struct iovec v = { .iov_base = part, .iov_len = sizeof(part) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || conn_take_fds(c, &m) < 0) {
        conn_drop(c);
        return;
    }
    gv_buf_add(&c->in, part, (size_t)n);
    conn_lines(c);
}

static void on_conn_timer(uv_timer_t *t)
{
    conn_drop(t->data);
}

/* ---- all of them ------------------------------------------------------------------------------------------------------------------ */

static void server_accept(struct vms_server *s)
{
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct ucred who;
    socklen_t n = sizeof(who);
    struct vms_conn *c = gv_new(struct vms_conn);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0 || (who.uid != geteuid() && who.uid != 0) ||
        uv_poll_init(s->loop, &c->poll, fd) != 0) {
        close(fd);
        free(c);
        return;
    }
    uv_timer_init(s->loop, &c->timer);
    c->handles = 2;
    c->poll.data = c->timer.data = c;
    c->server = s;
    c->fd = fd;
    c->next = s->conns;
    if (s->conns)
        s->conns->previous = c;
    s->conns = c;
    s->count++;
    uv_timer_start(&c->timer, on_conn_timer, REQUEST_MS, 0);
    uv_poll_start(&c->poll, UV_READABLE, on_conn);
    if (s->count == VMS_CONNECTIONS_MAX)
        server_listen(s, false);
}

static void on_server(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    server_accept(poll->data);
}

/* Those whom we do not listen to wait in the kernel's queue. */
static void server_listen(struct vms_server *s, bool listen)
{
    if (uv_is_closing((uv_handle_t *)&s->poll) || s->full != listen)
        return;
    s->full = !listen;
    if (listen)
        uv_poll_start(&s->poll, UV_READABLE, on_server);
    else
        uv_poll_stop(&s->poll);
}

int vms_server_open(struct vms_server **out, uv_loop_t *loop, int dir, const struct vms_server_events *events, void *user,
                    struct gv_error *err)
{
    struct sockaddr_un a;
    protocol_address(&a, dir);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
        return gv_error_errno(err, "cannot listen for those who call the VM");
    struct vms_server *s = gv_new(struct vms_server);
    int failed = uv_poll_init(loop, &s->poll, fd);
    if (failed) {
        free(s);
        return gv_error_set(err, GV_E_IO, -failed, "cannot listen for those who call the VM");
    }
    s->loop = loop;
    s->events = events;
    s->user = user;
    s->fd = steal_fd(&fd);
    s->poll.data = s;
    s->full = true;
    server_listen(s, true);
    *out = s;
    return 0;
}

static void on_server_closed(uv_handle_t *h)
{
    free(h->data);
}

void vms_server_close(struct vms_server *s)
{
    if (!s)
        return;
    uv_poll_stop(&s->poll);
    uv_close((uv_handle_t *)&s->poll, on_server_closed);
    while (s->conns)
        conn_close(s->conns);
    close(s->fd);
}
