/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vms/inside.h"
#include "vms/protocol.h"

#define READ_SIZE 4096U

struct vms_call {
    char *name;
    int fd;
    bool started;
    int fds[3], flags[3]; /* whose flags may have been changed; -1 = none */
    struct gv_buf in;
};

static int call_connect(const char *name, int *out, struct gv_error *err)
{
    cleanup_close int lock = -1, dir = vms_dir_open(name, &lock, err);
    if (dir < 0)
        return -1;
    if (!vms_dir_runs(lock)) {
        gv_error_set(err, GV_E_NOT_FOUND, 0, "the VM `%s` does not run any more", name);
        return gv_error_hint(err, "`gvmkit ps` lists those that do");
    }
    struct sockaddr_un a;
    protocol_address(&a, dir);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
        gv_error_errno(err, "cannot speak to the VM `%s`", name);
        return errno == ENOENT || errno == ECONNREFUSED ? gv_error_hint(err, "it is just starting or ending; try again") : -1;
    }
    *out = steal_fd(&fd);
    return 0;
}

/* Sends the line with the descriptors, if there are any, at its first byte. */
static int call_send(int fd, const struct gv_buf *line, const int *fds)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(3 * sizeof(int))];
    } control = { 0 };
    struct iovec v = { .iov_base = line->data, .iov_len = line->len };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    if (fds) {
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(3 * sizeof(int));
        memcpy(CMSG_DATA(c), fds, 3 * sizeof(int));
    }
    while (v.iov_len > 0) {
        ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            v.iov_base = (char *)v.iov_base + n;
            v.iov_len -= (size_t)n;
            m.msg_control = NULL;
            m.msg_controllen = 0;
        }
    }
    return 0;
}

int vms_call_start(struct vms_call **out, const char *name, const struct vms_request *request, const int *fds, struct gv_error *err)
{
    CLEANUP(vms_call) struct vms_call *c = gv_new(struct vms_call);
    c->fd = -1;
    for (int i = 0; i < 3; i++)
        c->fds[i] = -1;
    c->name = gv_strdup(name);
    cleanup_buf struct gv_buf line = { 0 };
    if (protocol_put_request(&line, request, err) < 0 || call_connect(name, &c->fd, err) < 0)
        return -1;
    bool program = request->op == VMS_EXEC || request->op == VMS_BUILTIN;
    cleanup_close int null = program ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    if (program && null < 0)
        return gv_error_errno(err, "cannot open /dev/null");
    int all[3] = { null, null, null };
    for (int i = 0; program && fds && i < 3; i++) {
        if (fds[i] < 0)
            continue;
        all[i] = c->fds[i] = fds[i];
        c->flags[i] = fcntl(fds[i], F_GETFL);
    }
    if (call_send(c->fd, &line, program ? all : NULL) < 0)
        return gv_error_errno(err, "cannot speak to the VM `%s`", name);
    *out = steal_ptr(c);
    return 0;
}

int vms_call_fd(const struct vms_call *c)
{
    return c->fd;
}

/* 1: it is the end. */
static int take_answer(struct vms_call *c, const struct vms_answer *a, struct vms_outcome *out, struct gv_error *err)
{
    switch (a->kind) {
    case VMS_STARTED:
        c->started = true;
        return 0;
    case VMS_EXITED:
    case VMS_SIGNALLED:
        out->signalled = a->kind == VMS_SIGNALLED;
        out->status = a->status;
        return 1;
    case VMS_FAILED:
        if (err)
            *err = a->error;
        return -1;
    case VMS_DONE:
        return 1;
    case VMS_STATS_ARE:
        out->stats = a->stats;
        return 1;
    }
    return 0;
}

int vms_call_read(struct vms_call *c, struct vms_outcome *out, struct gv_error *err)
{
    char part[READ_SIZE];
    ssize_t n = recv(c->fd, part, sizeof(part), MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0)
        return gv_error_set(err, GV_E_DIED, 0, "the VM `%s` has ended before it answered", c->name);
    gv_buf_add(&c->in, part, (size_t)n);
    for (unsigned char *end; (end = memchr(c->in.data, '\n', c->in.len));) {
        struct vms_answer a;
        size_t line = (size_t)(end - c->in.data);
        if (protocol_get_answer(&a, (const char *)c->in.data, line, err) < 0)
            return -1;
        gv_buf_drop(&c->in, line + 1);
        int status = take_answer(c, &a, out, err);
        if (status != 0)
            return status;
    }
    return c->in.len > VMS_LINE_MAX ? gv_error_set(err, GV_E_PROTOCOL, 0, "the VM `%s` does not end its answer", c->name) : 0;
}

int vms_call_wait(struct vms_call *call, struct vms_outcome *out, struct gv_error *err)
{
    CLEANUP(vms_call) struct vms_call *c = call;
    *out = (struct vms_outcome){ 0 };
    int status = 0;
    while (status == 0) {
        struct pollfd p = { .fd = c->fd, .events = POLLIN };
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return gv_error_errno(err, "cannot wait for the VM `%s`", c->name);
        status = vms_call_read(c, out, err);
    }
    return status < 0 ? -1 : 0;
}

static void call_say(struct vms_call *c, const struct message *m)
{
    cleanup_buf struct gv_buf line = { 0 };
    protocol_put_message(&line, m);
    (void)call_send(c->fd, &line, NULL);
}

void vms_call_signal(struct vms_call *c, int signal)
{
    call_say(c, &(struct message){ .signal = signal });
}

void vms_call_resize(struct vms_call *c, uint16_t rows, uint16_t columns)
{
    call_say(c, &(struct message){ .rows = rows, .columns = columns });
}

void vms_call_close(struct vms_call *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    /* An owner that was killed may have left them non-blocking (core/stdio.h). */
    for (int i = 0; i < 3; i++)
        if (c->fds[i] >= 0 && c->flags[i] >= 0 && !(c->flags[i] & O_NONBLOCK) && (fcntl(c->fds[i], F_GETFL) & O_NONBLOCK))
            (void)fcntl(c->fds[i], F_SETFL, c->flags[i]);
    gv_buf_clear(&c->in);
    free(c->name);
    free(c);
}

int vms_call(const char *name, const struct vms_request *request, const int *fds, struct vms_outcome *out, struct gv_error *err)
{
    struct vms_call *c;
    return vms_call_start(&c, name, request, fds, err) < 0 ? -1 : vms_call_wait(c, out, err);
}
