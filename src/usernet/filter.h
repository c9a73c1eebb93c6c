/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who may talk to whom. It stands between the guest and the stack and knows neither sockets nor clocks: it is given frames and the time.
 *
 * Nothing gets out that the list does not let out: by its address, or because an allowed name was resolved to that address a while ago. An
 * answer of DNS makes only public addresses reachable; one that points into a private network does so only when the list has that network
 * itself (DNS rebinding). Of TCP only what opens a connection is judged: the stack takes everything else for connections that it has, and
 * resets the rest. UDP has no connections, so those who have talked to each other are remembered, and answers come only from them; that is
 * also how the guest answers those who come in by a published port.
 *
 * All memory is taken at the start; when a table is full the entry that is closest to its end makes room.
 */
#ifndef GV_USERNET_FILTER_H
#define GV_USERNET_FILTER_H

#include "usernet/dns.h"
#include "usernet/frame.h"
#include "usernet/rules.h"

#define FILTER_LEARNED_MAX 4096U
#define FILTER_FLOWS_MAX 1024U
#define FILTER_NOTES_MAX 64U
#define FILTER_FLOW_MS 240000U /* as long as the stack keeps the socket of a silent flow */
/* Programs keep addresses for longer than they should, so an address stays reachable for a while. Connections that are open stay open. */
#define FILTER_TTL_MIN_S 300U
#define FILTER_TTL_MAX_S 86400U

enum filter_verdict {
    FILTER_DROP,
    FILTER_PASS,   /* to the stack */
    FILTER_REFUSE, /* to be answered with frame_build_prohibited() */
    FILTER_DNS,    /* a question for our own resolver */
};

struct filter;

/* The rules and ports must outlive the filter. note is told each refusal once, and at most FILTER_NOTES_MAX of them. */
struct filter *filter_new(const struct net_rules *rules, const struct net_publish *publish, size_t publish_count,
                          void (*note)(void *user, const char *text), void *user) __attribute__((returns_nonnull));
void filter_free(struct filter *f);

/* What to do with a frame of the guest. full: the stack has no room for another connection. now is in ms of any clock that only goes forwards. */
enum filter_verdict filter_outbound(struct filter *f, const struct frame *frame, bool full, uint64_t now);
/* Whether the guest gets a frame of the stack. */
bool filter_inbound(struct filter *f, const struct frame *frame, uint64_t now);

/* Whether the guest may ask for the name. */
bool filter_name(struct filter *f, const char *name);
/* The addresses that DNS gave to the name. */
void filter_learn(struct filter *f, const char *name, const struct dns_address *addresses, size_t count, uint64_t now);

/* The address that refuses: the gateway, of the family of the frame. */
const struct net_addr *filter_gateway(const struct filter *f, const struct frame *frame);

#endif
