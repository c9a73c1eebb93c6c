/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * CreateNetwork. Requests wait in a line, because the guest works on what it is asked side by side: for each, the files about names come first, then the
 * interface, then the answer, which says where the supervisor has to send frames to. What one request has done, a later one adds to.
 */
#include "exeunit/network.h"

#include <string.h>

#include "exeunit/server.h"
#include "net/net.h"

#define REQUESTS_MAX 64U
#define HOSTS_MAX 4096U
/* The tunnels between the nodes of a VPN carry no more in one piece. IPv6 does not work on less than its own minimum, so that an interface
 * with such an address gets this. */
#define MTU_VPN 1220U
#define MTU_IPV6 1280U

static const char *const names[NETWORKS] = { [NETWORK_VPN] = "VPN", [NETWORK_INET] = "INET" };
static const char *const options[NETWORKS] = { [NETWORK_VPN] = "--vpn-endpoint", [NETWORK_INET] = "--inet-endpoint" };
/* What a card is called until it has an address. */
static const uint8_t first_mac[VM_MAC_SIZE] = { 0xa0, 0x13, 0, 0, 0, 1 };

struct request {
    struct request *next;
    uint64_t id;
    int interface;
    struct network_plan plan;
    struct gv_strv hosts; /* what the guest is to know of names when this is done */
};

struct network {
    struct server *s;
    struct interface {
        struct net_link *link; /* NULL: there is no endpoint for it */
        int vm_fd;             /* the VM's end, until it has it, or -1 */
        size_t card;
        bool named, six; /* it has got its hardware address; it has IPv6 */
    } interfaces[NETWORKS];
    struct gv_strv hosts; /* name, line, ... as the guest has them */
    bool resolves;        /* the guest has its name servers */
    struct request *first, *last;
    size_t waiting;
};

static void start_next(struct network *n);

/* ---- endpoints ------------------------------------------------------------------------------------------------------------------- */

static int open_interface(struct network *n, int which, const char *url, const char *workdir, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/%s.sock", workdir, which == NETWORK_VPN ? "vpn" : "inet");
    const struct net_config config = { .url = url, .name = names[which], .unix_path = path, .log = n->s->log };
    struct interface *i = &n->interfaces[which];
    return net_open(&i->link, &n->s->loop, &config, &i->vm_fd, err) < 0 ? gv_error_prefix(err, "%s", options[which]) : 0;
}

int network_open(struct network **out, struct server *s, struct gv_error *err)
{
    const char *const urls[NETWORKS] = { [NETWORK_VPN] = s->o->vpn_endpoint, [NETWORK_INET] = s->o->inet_endpoint };
    struct network *n = *out = gv_new(struct network);
    size_t cards = 0;
    n->s = s;
    for (int i = 0; i < NETWORKS; i++)
        n->interfaces[i].vm_fd = -1;
    for (int i = 0; i < NETWORKS; i++) {
        if (!urls[i])
            continue;
        if (open_interface(n, i, urls[i], s->workdir, err) < 0)
            return -1;
        n->interfaces[i].card = cards++;
    }
    return 0;
}

size_t network_links(const struct network *n, struct vm_link links[NETWORKS])
{
    size_t count = 0;
    for (int i = 0; i < NETWORKS; i++) {
        if (!n->interfaces[i].link)
            continue;
        links[count].fd = n->interfaces[i].vm_fd;
        memcpy(links[count].mac, first_mac, VM_MAC_SIZE);
        links[count].mac[VM_MAC_SIZE - 1] = (uint8_t)(1 + i);
        count++;
    }
    return count;
}

void network_linked(struct network *n)
{
    for (int i = 0; i < NETWORKS; i++)
        if (n->interfaces[i].vm_fd >= 0)
            close(steal_fd(&n->interfaces[i].vm_fd));
}

/* ---- answers --------------------------------------------------------------------------------------------------------------------- */

static void refuse(struct network *n, uint64_t id, int interface, enum proto_error code, const struct gv_error *why,
                   const struct proto_network *culprit)
{
    cleanup_strv struct gv_strv context = { 0 };
    cleanup_free char *number = gv_asprintf("%d", interface);
    const bool known = interface >= 0 && interface < NETWORKS;
    gv_strv_add(&context, "interface");
    gv_strv_add(&context, known ? names[interface] : number);
    for (int i = 0; culprit && i < 4; i++) {
        static const char *const fields[] = { "addr", "gateway", "mask", "if_addr" };
        const char *const values[] = { culprit->addr, culprit->gateway, culprit->mask, culprit->if_addr };
        gv_strv_add(&context, fields[i]);
        gv_strv_add(&context, values[i]);
    }
    cleanup_free char *text = gv_asprintf("cannot create the network%s%s: %s", known ? " " : "", known ? names[interface] : "", why->msg);
    server_refuse(n->s, id, code, text, &context);
}

static void request_free(struct request *r)
{
    network_plan_clear(&r->plan);
    gv_strv_clear(&r->hosts);
    free(r);
}

/* The first request is over, with or without an error. */
static void end_first(struct network *n, const struct gv_error *failed)
{
    struct request *r = n->first;
    cleanup_buf struct gv_buf frame = { 0 };
    static const uint32_t fields[] = { [NET_UNIX_STREAM] = 1, [NET_UDP_DATAGRAM] = 3, [NET_TCP_STREAM] = 5 };
    struct gv_error err = GV_ERROR_INIT;
    enum net_endpoint_kind kind;
    const char *where;
    n->first = r->next;
    n->waiting--;
    if (failed) {
        refuse(n, r->id, r->interface, failed->code == GV_E_GUEST ? PROTO_BAD_REQUEST : PROTO_INTERNAL, failed, NULL);
    } else if (net_where(n->interfaces[r->interface].link, &kind, &where, &err) < 0) {
        refuse(n, r->id, r->interface, PROTO_INTERNAL, &err, NULL);
    } else {
        proto_put_network(&frame, r->id, fields[kind], where);
        outbox_put(&n->s->out, &frame);
    }
    request_free(r);
    start_next(n);
    server_balance(n->s);
}

/* ---- what the guest is told ------------------------------------------------------------------------------------------------------ */

static void on_configured(void *user, const struct gv_error *failed)
{
    struct network *n = user;
    struct interface *i = &n->interfaces[n->first->interface];
    i->named = true; /* if it has failed it was most likely later, at an address */
    end_first(n, failed);
}

static void configure(struct network *n)
{
    const struct request *r = n->first;
    struct interface *i = &n->interfaces[r->interface];
    struct gv_error err = GV_ERROR_INIT;
    if (r->plan.addresses.count == 0) { /* names only */
        end_first(n, NULL);
        return;
    }
    i->six = i->six || r->plan.six;
    const unsigned mtu_vpn = i->six ? MTU_IPV6 : MTU_VPN;
    const struct vm_net net = { .link = i->card,
                                .addresses = (const char *const *)r->plan.addresses.items,
                                .routes = (const char *const *)r->plan.routes.items,
                                .gateway = r->plan.gateway,
                                .gateway6 = r->plan.gateway6,
                                .mtu = r->interface == NETWORK_INET ? n->s->o->inet_mtu : mtu_vpn,
                                .mac = i->named ? NULL : r->plan.mac };
    if (vm_net_configure(n->s->vm, &net, on_configured, n, &err) < 0)
        end_first(n, &err);
}

static void on_named(void *user, const struct gv_error *failed)
{
    struct network *n = user;
    struct request *r = n->first;
    if (failed) {
        end_first(n, failed);
        return;
    }
    gv_strv_clear(&n->hosts);
    n->hosts = r->hosts;
    r->hosts = (struct gv_strv){ 0 };
    n->resolves = n->resolves || r->interface == NETWORK_INET;
    configure(n);
}

/* All hosts that were asked for so far; of two addresses for a name the later one. */
static int merge_hosts(const struct network *n, struct request *r, struct gv_error *err)
{
    gv_strv_copy(&r->hosts, &n->hosts);
    for (size_t i = 0; i < r->plan.hosts.count; i += 2) {
        size_t at = 0;
        while (at < r->hosts.count && strcmp(r->hosts.items[at], r->plan.hosts.items[i]) != 0)
            at += 2;
        if (at < r->hosts.count) {
            free(r->hosts.items[at + 1]);
            r->hosts.items[at + 1] = gv_strdup(r->plan.hosts.items[i + 1]);
            continue;
        }
        if (r->hosts.count >= 2UL * HOSTS_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "hosts: more than %u names", HOSTS_MAX);
        gv_strv_add(&r->hosts, r->plan.hosts.items[i]);
        gv_strv_add(&r->hosts, r->plan.hosts.items[i + 1]);
    }
    return 0;
}

static int set_names(struct network *n, struct gv_error *err)
{
    struct request *r = n->first;
    const bool resolves = n->resolves || r->interface == NETWORK_INET;
    if (merge_hosts(n, r, err) < 0)
        return -1;
    cleanup_free const char **lines = gv_calloc(r->hosts.count / 2 + 1, sizeof(*lines));
    for (size_t i = 0; i < r->hosts.count / 2; i++)
        lines[i] = r->hosts.items[2 * i + 1];
    const struct vm_names all = { .hosts = lines, .dns = resolves ? (const char *const *)n->s->o->dns.items : NULL };
    return vm_names_set(n->s->vm, &all, on_named, n, err);
}

static void start_next(struct network *n)
{
    struct gv_error err = GV_ERROR_INIT;
    if (!n->first)
        return;
    if (n->first->plan.hosts.count == 0 && (n->resolves || n->first->interface != NETWORK_INET))
        configure(n);
    else if (set_names(n, &err) < 0)
        end_first(n, &err);
}

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

static int check(struct network *n, const struct proto_request *q, struct network_plan *plan, const struct proto_network **culprit,
                 struct gv_error *err)
{
    if (q->interface < 0 || q->interface >= NETWORKS)
        return gv_error_set(err, GV_E_USAGE, 0, "there is no interface %d; 0 is the VPN, 1 is INET", q->interface);
    if (!n->interfaces[q->interface].link)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "this VM was started without %s", options[q->interface]);
    if (n->waiting >= REQUESTS_MAX)
        return gv_error_set(err, GV_E_BUSY, 0, "%zu such requests are being worked on already", n->waiting);
    return network_plan(plan, q, culprit, err);
}

void network_request(struct network *n, const struct proto_request *q)
{
    struct gv_error err = GV_ERROR_INIT;
    const struct proto_network *culprit = NULL;
    struct network_plan plan = { 0 };
    if (check(n, q, &plan, &culprit, &err) < 0) {
        enum proto_error code = err.code == GV_E_NOT_FOUND ? PROTO_NOT_FOUND : err.code == GV_E_USAGE ? PROTO_BAD_REQUEST : PROTO_INTERNAL;
        network_plan_clear(&plan);
        refuse(n, q->id, q->interface, code, &err, culprit);
        return;
    }
    struct request *r = gv_new(struct request);
    r->id = q->id;
    r->interface = q->interface;
    r->plan = plan;
    if (n->first)
        n->last->next = r;
    else
        n->first = r;
    n->last = r;
    if (n->waiting++ == 0)
        start_next(n);
}

/* ---- the end --------------------------------------------------------------------------------------------------------------------- */

static void tell(const struct network *n, int which)
{
    const struct net_counters *c = net_counted(n->interfaces[which].link);
    const struct net_flow *out = &c->from_vm, *in = &c->to_vm;
    gv_debug(n->s->log,
             "%s: out %llu frames (%llu bytes, %llu dropped, %llu refused), in %llu frames (%llu bytes, %llu dropped, %llu refused)",
             names[which], (unsigned long long)out->frames, (unsigned long long)out->bytes, (unsigned long long)out->dropped,
             (unsigned long long)out->refused, (unsigned long long)in->frames, (unsigned long long)in->bytes,
             (unsigned long long)in->dropped, (unsigned long long)in->refused);
}

void network_close(struct network *n)
{
    for (int i = 0; n && i < NETWORKS; i++) {
        if (!n->interfaces[i].link)
            continue;
        tell(n, i);
        net_close(steal_ptr(n->interfaces[i].link));
    }
}

void network_free(struct network *n)
{
    if (!n)
        return;
    network_linked(n);
    while (n->first) {
        struct request *r = n->first;
        n->first = r->next;
        request_free(r);
    }
    gv_strv_clear(&n->hosts);
    free(n);
}
