/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "usernet/resolver.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define ROUNDS 2U /* how often each server is asked */

struct pending {
    bool used;
    int fd; /* -1 between two servers */
    uint16_t id;
    unsigned attempt;
    uint64_t deadline; /* of this attempt */
    struct resolver_client client;
    struct dns_query query;
};

struct resolver {
    const struct net_server *servers;
    size_t count;
    resolver_reply_fn reply;
    void *user;
    struct pending pending[RESOLVER_PENDING_MAX];
};

struct resolver *resolver_new(const struct net_server *servers, size_t count, resolver_reply_fn reply, void *user)
{
    struct resolver *r = gv_new(struct resolver);
    r->servers = servers;
    r->count = count;
    r->reply = reply;
    r->user = user;
    return r;
}

static void forget(struct pending *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->used = false;
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++)
        if (r->pending[i].used)
            forget(&r->pending[i]);
    free(r);
}

/* Sends the question to one server. 0 or -1. */
static int ask(struct pending *p, const struct net_server *server)
{
    struct sockaddr_storage to;
    socklen_t len = net_addr_sockaddr(&server->addr, server->port, &to);
    uint8_t message[DNS_QUERY_MAX];
    if (getrandom(&p->id, sizeof(p->id), 0) != sizeof(p->id))
        return -1;
    p->fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Connected, so that only the server itself can answer. */
    return p->fd < 0 || connect(p->fd, (struct sockaddr *)&to, len) < 0 ||
                   send(p->fd, message, dns_query_build(&p->query, p->id, message), MSG_NOSIGNAL) < 0
               ? -1
               : 0;
}

/* Asks the next server, or gives up. */
static void next(struct resolver *r, struct pending *p, uint64_t now)
{
    if (p->fd >= 0)
        close(steal_fd(&p->fd));
    while (p->attempt < r->count * ROUNDS) {
        if (ask(p, &r->servers[p->attempt++ % r->count]) == 0) {
            p->deadline = now + RESOLVER_TRY_MS;
            return;
        }
        if (p->fd >= 0)
            close(steal_fd(&p->fd));
    }
    r->reply(r->user, &p->client, &p->query, NULL, 0);
    forget(p);
}

void resolver_ask(struct resolver *r, const struct resolver_client *client, const struct dns_query *query, uint64_t now)
{
    struct pending *place = NULL;
    for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++) {
        struct pending *p = &r->pending[i];
        if (!p->used)
            place = place ? place : p;
        else if (p->query.id == query->id && p->client.port == client->port && net_addr_equal(&p->client.guest, &client->guest))
            return; /* the guest asks again what is on its way */
    }
    if (!place) {
        r->reply(r->user, client, query, NULL, 0);
        return;
    }
    *place = (struct pending){ .used = true, .fd = -1, .client = *client, .query = *query };
    next(r, place, now);
}

size_t resolver_fill(struct resolver *r, struct pollfd *fds, int *timeout, uint64_t now)
{
    size_t n = 0;
    for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++) {
        const struct pending *p = &r->pending[i];
        if (!p->used)
            continue;
        fds[n++] = (struct pollfd){ .fd = p->fd, .events = POLLIN };
        int left = p->deadline > now ? (int)(p->deadline - now) : 0;
        if (*timeout < 0 || left < *timeout)
            *timeout = left;
    }
    return n;
}

static void receive(struct resolver *r, struct pending *p, uint64_t now)
{
    uint8_t answer[DNS_MESSAGE_MAX];
    ssize_t n = recv(p->fd, answer, sizeof(answer), MSG_TRUNC);
    if (n < 0 && errno != EAGAIN && errno != EINTR) /* nobody is there */
        next(r, p, now);
    else if (n > 0 && (size_t)n <= sizeof(answer) && dns_answer_matches(&p->query, p->id, answer, (size_t)n)) {
        r->reply(r->user, &p->client, &p->query, answer, (size_t)n);
        forget(p);
    }
}

void resolver_handle(struct resolver *r, const struct pollfd *fds, size_t count, uint64_t now)
{
    for (size_t i = 0; i < RESOLVER_PENDING_MAX; i++) {
        struct pending *p = &r->pending[i];
        if (!p->used)
            continue;
        bool ready = false;
        for (size_t k = 0; k < count; k++)
            ready = ready || (fds[k].fd == p->fd && fds[k].revents);
        if (ready)
            receive(r, p, now);
        else if (p->deadline <= now)
            next(r, p, now);
    }
}
