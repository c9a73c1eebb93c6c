/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `usernet`: a network for a VM without any right on the host. A program of its own, gvmkit-net, holds a user-space TCP/IP stack, a
 * resolver, and in front of both a filter that lets nothing out that is not allowed; so neither the supervisor nor QEMU parses what a guest
 * sends. This header is the supervisor's side; the others are those of the program, but for rules.h, by which the user's words are checked.
 *
 * gvmkit-net runs in a jail (jail.h) that has the host's network and nothing else. It has two descriptors: 0, its end of the wire to QEMU's
 * card, one Ethernet frame a datagram; and 1, a socket of messages to the supervisor. There it is told what it has to do, one word and its argument a message ("allow example.org", "publish 8080:80",
 * "dns 192.0.2.1", last "start"), and answers "ready" or "error TEXT", later perhaps "note TEXT". The end of that socket is its own end;
 * and it dies with the supervisor.
 */
#ifndef GV_USERNET_USERNET_H
#define GV_USERNET_USERNET_H

#include <stdbool.h>
#include <uv.h>

#include "core/core.h"

struct usernet_config {
    /* As net_rules_add(), net_publish_parse() and net_server_parse() of rules.h take them. dns empty: those of /etc/resolv.conf. */
    const struct gv_strv *allow, *publish, *dns;
    bool require_jail;        /* all of gvmkit-net's jail, or it does not run */
    const struct gv_log *log; /* notes about what was refused; used until usernet_stop() */
};

struct usernet;

/* It has ended by itself, which it should not; called once, from the loop. */
typedef void (*usernet_died_fn)(void *user, const struct gv_error *why);

/* Starts gvmkit-net and waits until it has its ports. */
int usernet_start(struct usernet **out, uv_loop_t *loop, const struct usernet_config *config, usernet_died_fn died, void *user,
                  struct gv_error *err);
/* The end of the wire that is for QEMU: for vm_config.links, until usernet_wire_given(), which closes it. */
int usernet_wire(const struct usernet *u);
void usernet_wire_given(struct usernet *u);
/* Ends it and waits for its end. u is freed once the loop has run again. NULL is fine. */
void usernet_stop(struct usernet *u);

#endif
