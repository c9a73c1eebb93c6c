/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The network of a session's VM: gvmkit-net, and what the guest has to know of it. */
#ifndef GV_SESSION_NETWORK_H
#define GV_SESSION_NETWORK_H

#include "session/session.h"
#include "usernet/usernet.h"

struct network;

/* Starts gvmkit-net. options->network is not NULL, and must outlive it. died: see usernet.h. */
int network_start(struct network **out, uv_loop_t *loop, const struct session_options *options, usernet_died_fn died, void *user,
                  struct gv_error *err);
/* What vm_start() is to be given. */
const struct vm_link *network_link(const struct network *n);
/* QEMU has its end of the wire: ours is closed. */
void network_given(struct network *n);
/* Sets up the guest's card and its files about names; done as with vm_net_configure(). */
int network_configure(struct network *n, struct vm *vm, vm_done_fn done, void *user, struct gv_error *err);
/* While the loop still runs. NULL is fine. */
void network_stop(struct network *n);

#endif
