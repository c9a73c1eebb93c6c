/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/conns.h"

#include <sys/socket.h>

#include "core/core.h"

void conns_init(struct conns *c)
{
    *c = (struct conns){ 0 };
    pthread_mutex_init(&c->lock, NULL);
}

void conns_clear(struct conns *c)
{
    while (c->first)
        conns_remove(c, c->first);
    pthread_mutex_destroy(&c->lock);
}

struct conn *conns_add(struct conns *c, int fd, uint64_t now)
{
    struct conn *conn = gv_new(struct conn);
    *conn = (struct conn){ .fd = fd, .state = CONN_IDLE, .since = now };
    pthread_mutex_lock(&c->lock);
    conn->next = c->first;
    if (c->first)
        c->first->previous = conn;
    c->first = conn;
    c->count++;
    pthread_mutex_unlock(&c->lock);
    return conn;
}

void conns_remove(struct conns *c, struct conn *conn)
{
    pthread_mutex_lock(&c->lock);
    if (conn->next)
        conn->next->previous = conn->previous;
    if (conn->previous)
        conn->previous->next = conn->next;
    else
        c->first = conn->next;
    c->count--;
    pthread_mutex_unlock(&c->lock);
    free(conn);
}

void conns_set(struct conns *c, struct conn *conn, enum conn_state state, uint64_t now)
{
    pthread_mutex_lock(&c->lock);
    conn->state = state;
    conn->since = now;
    conn->received = 0;
    pthread_mutex_unlock(&c->lock);
}

void conns_received(struct conns *c, struct conn *conn, uint64_t bytes)
{
    pthread_mutex_lock(&c->lock);
    conn->received += bytes;
    pthread_mutex_unlock(&c->lock);
}

uint64_t conns_reap(struct conns *c, uint64_t now, uint64_t idle, uint64_t rate)
{
    uint64_t count = 0;
    pthread_mutex_lock(&c->lock);
    for (struct conn *conn = c->first; conn; conn = conn->next) {
        uint64_t ms = now > conn->since ? now - conn->since : 0;
        if (conn->state == CONN_BUSY || ms <= idle || (conn->state == CONN_RECEIVING && conn->received / rate >= ms / 1000))
            continue;
        /* Its descriptor is not closed before conns_remove(). */
        shutdown(conn->fd, SHUT_RDWR);
        count++;
    }
    pthread_mutex_unlock(&c->lock);
    return count;
}

uint64_t conns_count(struct conns *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t count = c->count;
    pthread_mutex_unlock(&c->lock);
    return count;
}
