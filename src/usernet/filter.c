/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "usernet/filter.h"

#include <string.h>

#include "usernet/plan.h"

/* An address that a name led to, and the ports that the name's rule allows there. */
struct learned {
    struct net_addr addr;
    struct net_ports ports;
    uint64_t until; /* 0 = free */
};

struct flow {
    struct net_addr remote;
    uint16_t guest_port, remote_port;
    uint64_t until; /* 0 = free */
};

struct side {
    struct net_addr guest, gateway, resolver, network;
    unsigned bits;
};

struct filter {
    const struct net_rules *rules;
    const struct net_publish *publish;
    size_t publish_count;
    struct side sides[2]; /* IPv4, IPv6 */
    struct learned *learned;
    size_t learned_count; /* places that have been used */
    struct flow *flows;
    size_t flow_count, last_flow; /* the one that was found last: datagrams come in rows */
    void (*note)(void *user, const char *text);
    void *user;
    uint64_t noted[FILTER_NOTES_MAX];
    size_t noted_count;
};

/* ---- notes ------------------------------------------------------------------------------------------------------------------------ */

/* FNV-1a: a collision only costs a note. */
static uint64_t hash_text(const char *text)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3U;
    return h;
}

static void note(struct filter *f, const char *text)
{
    if (f->noted_count == FILTER_NOTES_MAX)
        return;
    uint64_t h = hash_text(text);
    for (size_t i = 0; i < f->noted_count; i++)
        if (f->noted[i] == h)
            return;
    f->noted[f->noted_count++] = h;
    f->note(f->user, text);
    if (f->noted_count == FILTER_NOTES_MAX)
        f->note(f->user, "no further refusals will be told");
}

static void note_refused(struct filter *f, const struct frame *frame, bool full)
{
    char addr[NET_ADDR_TEXT], text[160];
    const char *why = full ? "refused: there are too many connections" : "not allowed";
    net_addr_text(&frame->dst, addr);
    if (frame->kind == FRAME_ECHO)
        snprintf(text, sizeof(text), "ping to %s: %s", addr, why);
    else
        snprintf(text, sizeof(text), "%s to %s port %u: %s", frame->kind == FRAME_TCP ? "TCP" : "UDP", addr, frame->dst_port, why);
    note(f, text);
}

/* ---- what was learned ------------------------------------------------------------------------------------------------------------- */

static void learn(struct filter *f, const struct net_addr *addr, const struct net_ports *ports, uint64_t until)
{
    struct learned *place = NULL;
    for (size_t i = 0; i < f->learned_count; i++) {
        struct learned *l = &f->learned[i];
        if (net_addr_equal(&l->addr, addr) && l->ports.from == ports->from && l->ports.to == ports->to) {
            if (until > l->until)
                l->until = until;
            return;
        }
        if (!place || l->until < place->until)
            place = l;
    }
    if (f->learned_count < FILTER_LEARNED_MAX)
        place = &f->learned[f->learned_count++];
    *place = (struct learned){ .addr = *addr, .ports = *ports, .until = until };
}

static bool is_learned(const struct filter *f, const struct net_addr *addr, int port, uint64_t now)
{
    for (size_t i = 0; i < f->learned_count; i++) {
        const struct learned *l = &f->learned[i];
        if (net_addr_equal(&l->addr, addr) && l->until > now && net_ports_have(&l->ports, port))
            return true;
    }
    return false;
}

bool filter_name(struct filter *f, const char *name)
{
    if (net_rules_name(f->rules, name))
        return true;
    char text[NET_NAME_MAX + 64];
    snprintf(text, sizeof(text), "the name %.*s: not allowed", (int)NET_NAME_MAX, name);
    note(f, text);
    return false;
}

void filter_learn(struct filter *f, const char *name, const struct dns_address *addresses, size_t count, uint64_t now)
{
    for (size_t i = 0; i < count; i++) {
        const struct dns_address *a = &addresses[i];
        if (net_addr_class(&a->addr) != NET_PUBLIC) {
            char addr[NET_ADDR_TEXT], text[NET_NAME_MAX + 160];
            snprintf(text, sizeof(text), "the name %.*s leads to %s, which is no public address: allow it by itself if it is right",
                     (int)NET_NAME_MAX, name, net_addr_text(&a->addr, addr));
            if (!net_rules_cover(f->rules, &a->addr))
                note(f, text);
            continue;
        }
        uint64_t ttl = a->ttl < FILTER_TTL_MIN_S ? FILTER_TTL_MIN_S : a->ttl > FILTER_TTL_MAX_S ? FILTER_TTL_MAX_S : a->ttl;
        for (size_t r = 0; r < f->rules->count; r++)
            if (net_rule_has_name(&f->rules->items[r], name))
                learn(f, &a->addr, &f->rules->items[r].ports, now + ttl * 1000);
    }
}

/* ---- flows of UDP ----------------------------------------------------------------------------------------------------------------- */

static bool flow_is(const struct flow *l, uint16_t guest_port, const struct net_addr *remote, uint16_t remote_port, uint64_t now)
{
    return l->until > now && l->guest_port == guest_port && l->remote_port == remote_port && net_addr_equal(&l->remote, remote);
}

/* Whether the two have talked; then they may for another while. */
static bool flow_touch(struct filter *f, uint16_t guest_port, const struct net_addr *remote, uint16_t remote_port, uint64_t now)
{
    size_t i = f->last_flow;
    if (i >= f->flow_count || !flow_is(&f->flows[i], guest_port, remote, remote_port, now))
        for (i = 0; i < f->flow_count && !flow_is(&f->flows[i], guest_port, remote, remote_port, now); i++)
            continue;
    if (i == f->flow_count)
        return false;
    f->last_flow = i;
    f->flows[i].until = now + FILTER_FLOW_MS;
    return true;
}

static void flow_add(struct filter *f, uint16_t guest_port, const struct net_addr *remote, uint16_t remote_port, uint64_t now)
{
    size_t at = 0;
    if (f->flow_count < FILTER_FLOWS_MAX)
        at = f->flow_count++;
    else
        for (size_t i = 1; i < f->flow_count; i++)
            if (f->flows[i].until < f->flows[at].until)
                at = i;
    f->flows[at] = (struct flow){ .remote = *remote, .guest_port = guest_port, .remote_port = remote_port, .until = now + FILTER_FLOW_MS };
    f->last_flow = at;
}

static bool is_published(const struct filter *f, uint16_t guest_port)
{
    for (size_t i = 0; i < f->publish_count; i++)
        if (f->publish[i].udp && guest_port >= f->publish[i].guest_port && guest_port - f->publish[i].guest_port < f->publish[i].count)
            return true;
    return false;
}

/* ---- frames ----------------------------------------------------------------------------------------------------------------------- */

static const struct side *side_of(const struct filter *f, const struct frame *frame)
{
    return &f->sides[!net_addr_is_v4(&frame->dst)];
}

const struct net_addr *filter_gateway(const struct filter *f, const struct frame *frame)
{
    return &side_of(f, frame)->gateway;
}

static bool destination_allowed(const struct filter *f, const struct side *side, const struct frame *frame, uint64_t now)
{
    int port = frame->kind == FRAME_ECHO ? -1 : frame->dst_port;
    if (net_addr_equal(&frame->dst, &side->gateway))
        return frame->kind == FRAME_ECHO || net_rules_host(f->rules, port); /* the stack itself answers pings there */
    if (net_addr_in(&frame->dst, &side->network, side->bits))
        return frame->kind == FRAME_ECHO && net_addr_equal(&frame->dst, &side->resolver);
    return net_rules_address(f->rules, &frame->dst, port) || is_learned(f, &frame->dst, port, now);
}

static enum filter_verdict refuse(struct filter *f, const struct frame *frame, bool full)
{
    note_refused(f, frame, full);
    return FILTER_REFUSE;
}

static bool is_multicast(const struct net_addr *a)
{
    return net_addr_is_v4(a) ? a->b[12] >= 224 : a->b[0] == 0xff;
}

enum filter_verdict filter_outbound(struct filter *f, const struct frame *frame, bool full, uint64_t now)
{
    if (frame->kind == FRAME_ARP)
        return FILTER_PASS;
    if (frame->kind == FRAME_BAD)
        return FILTER_DROP;
    const struct side *side = side_of(f, frame);
    bool own = net_addr_equal(&frame->src, &side->guest);
    if (frame->kind == FRAME_NEIGHBOUR) {
        static const struct net_addr link_local = { { 0xfe, 0x80 } };
        return own || net_addr_in(&frame->src, &link_local, 10) ? FILTER_PASS : FILTER_DROP;
    }
    if (!own || is_multicast(&frame->dst)) /* what every system says now and then to nobody in particular */
        return FILTER_DROP;
    if (frame->kind == FRAME_TCP && !frame->opens)
        return FILTER_PASS;
    if (frame->kind == FRAME_UDP) {
        if (frame->dst_port == 53 && net_addr_equal(&frame->dst, &side->resolver))
            return FILTER_DNS;
        if (flow_touch(f, frame->src_port, &frame->dst, frame->dst_port, now))
            return FILTER_PASS;
    }
    if (!destination_allowed(f, side, frame, now))
        return refuse(f, frame, false);
    if (full)
        return refuse(f, frame, true);
    if (frame->kind == FRAME_UDP)
        flow_add(f, frame->src_port, &frame->dst, frame->dst_port, now);
    return FILTER_PASS;
}

bool filter_inbound(struct filter *f, const struct frame *frame, uint64_t now)
{
    if (frame->kind != FRAME_UDP || flow_touch(f, frame->dst_port, &frame->src, frame->src_port, now))
        return true;
    if (!is_published(f, frame->dst_port))
        return false;
    flow_add(f, frame->dst_port, &frame->src, frame->src_port, now);
    return true;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------- */

static void address(struct net_addr *out, const char *text)
{
    net_addr_parse(text, strlen(text), out); /* of plan.h: they are addresses */
}

struct filter *filter_new(const struct net_rules *rules, const struct net_publish *publish, size_t publish_count,
                          void (*tell)(void *user, const char *text), void *user)
{
    struct filter *f = gv_new(struct filter);
    f->rules = rules;
    f->publish = publish;
    f->publish_count = publish_count;
    f->note = tell;
    f->user = user;
    f->learned = gv_calloc(FILTER_LEARNED_MAX, sizeof(*f->learned));
    f->flows = gv_calloc(FILTER_FLOWS_MAX, sizeof(*f->flows));
    address(&f->sides[0].guest, NET_PLAN_GUEST4);
    address(&f->sides[0].gateway, NET_PLAN_GATEWAY4);
    address(&f->sides[0].resolver, NET_PLAN_RESOLVER4);
    address(&f->sides[0].network, NET_PLAN_NETWORK4);
    f->sides[0].bits = 96 + NET_PLAN_BITS4;
    address(&f->sides[1].guest, NET_PLAN_GUEST6);
    address(&f->sides[1].gateway, NET_PLAN_GATEWAY6);
    address(&f->sides[1].resolver, NET_PLAN_RESOLVER6);
    address(&f->sides[1].network, NET_PLAN_NETWORK6);
    f->sides[1].bits = NET_PLAN_BITS6;
    return f;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    free(f->learned);
    free(f->flows);
    free(f);
}
