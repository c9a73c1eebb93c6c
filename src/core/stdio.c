/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/stdio.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"

static bool is_pollable(int fd)
{
    cleanup_close int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN };
    return ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0;
}

void gv_stdio_open(struct gv_stdio *s, int std, int flags)
{
    *s = (struct gv_stdio){ .fd = -1 };
    int now = fcntl(std, F_GETFL);
    if (now < 0)
        return;
    s->pollable = is_pollable(std);
    if (!s->pollable || (now & O_NONBLOCK)) {
        s->fd = std;
        return;
    }
    struct stat st;
    if (fstat(std, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        char path[32];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", std);
        s->fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        s->own = s->fd >= 0;
    }
    if (s->fd < 0) {
        s->fd = std;
        s->restore = fcntl(std, F_SETFL, now | O_NONBLOCK) == 0;
    }
}

void gv_stdio_close(struct gv_stdio *s)
{
    if (s->restore) {
        int now = fcntl(s->fd, F_GETFL);
        if (now >= 0)
            (void)fcntl(s->fd, F_SETFL, now & ~O_NONBLOCK);
    }
    if (s->own)
        close(s->fd);
    *s = (struct gv_stdio){ .fd = -1 };
}
