/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A peer that sends anything down a stream, in pieces, to a link as it is: what comes out at the VM's end are the frames that a slow reading of
 * the same bytes finds, and nothing else. The first byte chooses the kind of stream, the second the size of the pieces.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/frames.h"

#define INPUT_MAX 8192U

static struct stream {
    struct net_link *link;
    enum net_prefix prefix;
    int vm;
    struct sockaddr_storage where;
    socklen_t where_n;
} streams[2];
static uv_loop_t loop;
static char path[64];

static void fail_if(bool failed)
{
    if (failed)
        __builtin_trap();
}

static void remove_path(void)
{
    unlink(path);
}

static void set_up(void)
{
    uv_loop_init(&loop);
    snprintf(path, sizeof(path), "/tmp/gvmkit-fuzz-net-%d", (int)getpid());
    atexit(remove_path);
    for (int i = 0; i < 2; i++) {
        struct stream *s = &streams[i];
        const struct net_config config = { .url = i ? "unix://" : "tcp-listen://", .name = "fuzz", .unix_path = path };
        enum net_endpoint_kind kind;
        const char *text;
        fail_if(net_open(&s->link, &loop, &config, &s->vm, NULL) < 0 || net_where(s->link, &kind, &text, NULL) < 0);
        s->prefix = i ? NET_PREFIX_NATIVE16 : NET_PREFIX_BE32;
        if (i) {
            struct sockaddr_un *u = (struct sockaddr_un *)&s->where;
            u->sun_family = AF_UNIX;
            memcpy(u->sun_path, path, sizeof(path));
            s->where_n = sizeof(*u);
        } else {
            struct sockaddr_in *in = (struct sockaddr_in *)&s->where;
            in->sin_family = AF_INET;
            in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            in->sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
            s->where_n = sizeof(*in);
        }
    }
}

/* Until the link has done all that it can do now. */
static void turn(void)
{
    for (int i = 0; i < 4; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

/* Every frame of these bytes has come out, and nothing more. */
static void compare(const struct stream *s, const uint8_t *p, size_t n)
{
    static uint8_t got[NET_SLOT];
    struct net_frame f;
    size_t at = 0, used;
    while (net_prefix_next(s->prefix, p + at, n - at, &f, &used) == 1) {
        at += used;
        if (f.n < NET_FRAME_MIN)
            continue;
        ssize_t size = recv(s->vm, got, sizeof(got), MSG_DONTWAIT);
        fail_if(size != (ssize_t)f.n || memcmp(got, f.p, f.n) != 0);
    }
    fail_if(recv(s->vm, got, sizeof(got), MSG_DONTWAIT) >= 0 || errno != EAGAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct linger at_once = { .l_onoff = 1 }; /* no port is kept for a connection that has ended */
    if (size < 2 || size > INPUT_MAX)
        return 0;
    if (!streams[0].link)
        set_up();
    const struct stream *s = &streams[data[0] & 1];
    size_t piece = 1 + data[1] * 32U;
    data += 2;
    size -= 2;
    int fd = socket(s->where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fail_if(fd < 0 || connect(fd, (const struct sockaddr *)&s->where, s->where_n) < 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    turn();
    for (size_t at = 0; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
            break; /* the link has had enough */
        if (size / piece < 64 || at % 64 == 0)
            turn();
    }
    turn();
    compare(s, data, size);
    close(fd);
    turn();
    return 0;
}
