/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/network.h"

#include "usernet/plan.h"

/* In the guest's /etc/hosts, for those who may reach the host. */
#define HOST_NAME "host.gvmkit.internal"

struct network {
    struct usernet *usernet;
    struct vm_link link;
    vm_done_fn done;
    void *user;
    struct vm *vm;
};

int network_start(struct network **out, uv_loop_t *loop, const struct session_options *options, usernet_died_fn died, void *user,
                  struct gv_error *err)
{
    const struct usernet_config config = { .allow = &options->network->allow,
                                           .publish = &options->network->publish,
                                           .dns = &options->network->dns,
                                           .require_jail = options->require_jail,
                                           .log = options->log };
    struct usernet *usernet;
    if (usernet_start(&usernet, loop, &config, died, user, err) < 0)
        return -1;
    struct network *n = gv_new(struct network);
    n->usernet = usernet;
    n->link = (struct vm_link){ .fd = usernet_wire(usernet), .mac = NET_PLAN_MAC };
    *out = n;
    return 0;
}

const struct vm_link *network_link(const struct network *n)
{
    return &n->link;
}

void network_given(struct network *n)
{
    usernet_wire_given(n->usernet);
}

static void on_card(void *user, const struct gv_error *failed)
{
    static const char *const hosts[] = { NET_PLAN_GATEWAY4 " " HOST_NAME, NET_PLAN_GATEWAY6 " " HOST_NAME, NULL };
    static const char *const dns[] = { NET_PLAN_RESOLVER4, NULL };
    struct network *n = user;
    struct gv_error err = GV_ERROR_INIT;
    const struct vm_names names = { .hosts = hosts, .dns = dns };
    if (failed || vm_names_set(n->vm, &names, n->done, n->user, &err) < 0)
        n->done(n->user, failed ? failed : &err);
}

int network_configure(struct network *n, struct vm *vm, vm_done_fn done, void *user, struct gv_error *err)
{
    static const char *const addresses[] = { NET_PLAN_GUEST4 "/" NET_PLAN_TEXT(NET_PLAN_BITS4),
                                             NET_PLAN_GUEST6 "/" NET_PLAN_TEXT(NET_PLAN_BITS6), NULL };
    const struct vm_net net = { .addresses = addresses, .gateway = NET_PLAN_GATEWAY4, .gateway6 = NET_PLAN_GATEWAY6, .mtu = NET_PLAN_MTU };
    n->vm = vm;
    n->done = done;
    n->user = user;
    return vm_net_configure(vm, &net, on_card, n, err);
}

void network_stop(struct network *n)
{
    if (!n)
        return;
    usernet_stop(n->usernet);
    free(n);
}
