/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The resolver that the guest talks to: it passes questions on to the real ones, each from a socket and under an id of its own, one after the
 * other until an answer comes. It keeps nothing.
 */
#ifndef GV_USERNET_RESOLVER_H
#define GV_USERNET_RESOLVER_H

#include <poll.h>

#include "usernet/dns.h"
#include "usernet/rules.h"

#define RESOLVER_PENDING_MAX 64U
#define RESOLVER_TRY_MS 2000U

/* Who asked, and by which of our addresses. */
struct resolver_client {
    struct net_addr guest, resolver;
    uint16_t port;
};

/* answer (DNS_MESSAGE_MAX bytes at most, to be changed at will) matches the query; NULL when none came. */
typedef void (*resolver_reply_fn)(void *user, const struct resolver_client *client, const struct dns_query *query, uint8_t *answer,
                                  size_t n);

struct resolver;
struct resolver *resolver_new(const struct net_server *servers, size_t count, resolver_reply_fn reply, void *user)
    __attribute__((returns_nonnull));
void resolver_free(struct resolver *r);

void resolver_ask(struct resolver *r, const struct resolver_client *client, const struct dns_query *query, uint64_t now);

/* Adds what it waits for to fds, which has RESOLVER_PENDING_MAX places; returns how many. *timeout (ms) is made smaller when it must be called
 * again before. */
size_t resolver_fill(struct resolver *r, struct pollfd *fds, int *timeout, uint64_t now);
/* After the poll, with the same fds. */
void resolver_handle(struct resolver *r, const struct pollfd *fds, size_t count, uint64_t now);

#endif
