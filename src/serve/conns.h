/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The connections, to end those that only hold a place: the HTTP library knows how long nothing has come, and so does not notice a client that sends
 * a byte now and then. A connection has a time to say what it wants, from its beginning or from the end of the last request; and what it uploads has to
 * come at some least rate.
 */
#ifndef GV_SERVE_CONNS_H
#define GV_SERVE_CONNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum conn_state { CONN_IDLE, CONN_RECEIVING, CONN_BUSY };

struct certificate;

struct conn {
    int fd;
    enum conn_state state;
    uint64_t since;                  /* ms: of the state */
    uint64_t received;               /* bytes since then */
    struct certificate *certificate; /* that it has begun with; the owner gives it back */
    void *request;                   /* that has begun and not ended; the owner's, too */
    struct conn *next, *previous;
};

struct conns {
    pthread_mutex_t lock;
    struct conn *first;
    uint64_t count;
};

void conns_init(struct conns *c);
void conns_clear(struct conns *c);
struct conn *conns_add(struct conns *c, int fd, uint64_t now);
void conns_remove(struct conns *c, struct conn *conn);
/* Another state, which begins now. */
void conns_set(struct conns *c, struct conn *conn, enum conn_state state, uint64_t now);
void conns_received(struct conns *c, struct conn *conn, uint64_t bytes);
/* Shuts down those that have been idle longer than idle ms, and those that have received less than rate bytes a second over at least that time. How many. */
uint64_t conns_reap(struct conns *c, uint64_t now, uint64_t idle, uint64_t rate);
uint64_t conns_count(struct conns *c);

#endif
