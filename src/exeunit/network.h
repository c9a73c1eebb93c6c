/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: the networks of a VM that is served. The endpoints of the command line get a card of the VM each, whose frames the room
 * `net` carries; CreateNetwork says what the guest's end of a card is to be.
 */
#ifndef GV_EXEUNIT_NETWORK_H
#define GV_EXEUNIT_NETWORK_H

#include "exeunit/exeunit.h"
#include "exeunit/proto.h"

enum { NETWORK_VPN, NETWORK_INET, NETWORKS };

struct network;
struct server;

/* Opens the endpoints that the command line names; none is fine. */
int network_open(struct network **out, struct server *s, struct gv_error *err);
/* Fills the cards for vm_start(), of which the VM's ends stay ours. Returns how many there are. */
size_t network_links(const struct network *n, struct vm_link links[NETWORKS]);
/* vm_start() has been called: closes the VM's ends. */
void network_linked(struct network *n);
/* CreateNetwork. It is answered now or later; one after the other. */
void network_request(struct network *n, const struct proto_request *q);
/* Ends the endpoints; the loop has to run once more. Then network_free(). NULL is fine for both. */
void network_close(struct network *n);
void network_free(struct network *n);

/* ---- what is asked for, as pure functions ------------------------------------------------------------------------------------------ */

/* What becomes of a request. */
struct network_plan {
    struct gv_strv addresses, routes; /* as struct vm_net has them */
    char *gateway, *gateway6;         /* NULL = none */
    struct gv_strv hosts;             /* name, "ADDRESS NAME", ... */
    bool four, six;                   /* families of the addresses */
    uint8_t mac[VM_MAC_SIZE];         /* made of the first IPv4 address, or of the first one */
};

/* Works out the plan of a request for NETWORK_VPN or NETWORK_INET. GV_E_USAGE names the field that is wrong; *culprit is its network then, or NULL. p is to be
 * cleared in any case. */
int network_plan(struct network_plan *p, const struct proto_request *q, const struct proto_network **culprit, struct gv_error *err);
void network_plan_clear(struct network_plan *p);

#endif
