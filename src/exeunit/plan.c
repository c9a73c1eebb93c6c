/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From CreateNetwork's texts to addresses and routes. An address is "10.0.0.2" with a mask ("255.255.255.0", "24", "ffff::"), or "10.0.0.2/24".
 * What the gateway leads to is in the VPN the network `addr`/`mask` (all of the world when addr is empty), and for INET all of the world; no
 * gateway is no route. A network that the interface is in anyway needs no route.
 */
#include <arpa/inet.h>
#include <string.h>

#include "exeunit/network.h"

#define NETWORKS_MAX 64U
#define NAME_MAX_BYTES 253U
/* What the routers of the VPN look for in hardware addresses: behind these two bytes are the four of an IPv4 address. */
#define MAC_0 0xa0
#define MAC_1 0x13

struct address {
    int family;
    uint8_t bytes[16];
    bool has_prefix;
    unsigned prefix;
};

static unsigned bits(int family)
{
    return family == AF_INET6 ? 128 : 32;
}

static bool parse_count(const char *text, unsigned max, unsigned *out)
{
    size_t n = strlen(text);
    if (n == 0 || n > 3 || strspn(text, "0123456789") != n)
        return false;
    *out = (unsigned)atoi(text);
    return *out <= max;
}

/* "ADDRESS" or "ADDRESS/PREFIX". */
static bool parse_address(const char *text, struct address *a)
{
    char copy[INET6_ADDRSTRLEN];
    size_t n = strcspn(text, "/");
    *a = (struct address){ .family = memchr(text, ':', n) ? AF_INET6 : AF_INET };
    if (n >= sizeof(copy))
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    a->has_prefix = text[n] == '/';
    return inet_pton(a->family, copy, a->bytes) == 1 && (!a->has_prefix || parse_count(text + n + 1, bits(a->family), &a->prefix));
}

/* Ones, and then nothing but zeros. */
static bool parse_mask(const char *text, int family, unsigned *prefix)
{
    struct address a;
    if (parse_count(text, bits(family), prefix))
        return true;
    if (!parse_address(text, &a) || a.family != family || a.has_prefix)
        return false;
    for (*prefix = 0; *prefix < bits(family) && (a.bytes[*prefix / 8] << (*prefix % 8) & 0x80); ++*prefix)
        ;
    for (unsigned i = *prefix; i < bits(family); i++)
        if (a.bytes[i / 8] << (i % 8) & 0x80)
            return false;
    return true;
}

static void apply_prefix(struct address *a)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned keep = a->prefix > i * 8 ? a->prefix - i * 8 : 0;
        if (keep < 8)
            a->bytes[i] &= (uint8_t)(0xff00 >> keep);
    }
}

/* "ADDRESS/PREFIX" */
static char *address_text(const struct address *a)
{
    char text[INET6_ADDRSTRLEN] = "";
    inet_ntop(a->family, a->bytes, text, sizeof(text));
    return gv_asprintf("%s/%u", text, a->prefix);
}

static int wrong(struct gv_error *err, const char *field, const char *value, const char *what)
{
    return gv_error_set(err, GV_E_USAGE, 0, "%s: `%s` is not %s", field, value, what);
}

/* An address of a network with its prefix, which `mask` gives unless it says it itself. */
static int take_address(struct address *a, const char *field, const char *text, const char *mask, struct gv_error *err)
{
    if (!parse_address(text, a))
        return wrong(err, field, text, "an address");
    if (a->has_prefix)
        return 0;
    if (*mask)
        return parse_mask(mask, a->family, &a->prefix) ? 0 : wrong(err, "mask", mask, "a mask for such addresses");
    if (a->family == AF_INET)
        return gv_error_set(err, GV_E_USAGE, 0, "mask: `%s` needs one; write it as 255.255.255.0, or behind the address as /24", text);
    a->prefix = bits(a->family);
    return 0;
}

static int plan_gateway(struct network_plan *p, bool inet, const struct address *own, const struct proto_network *n, struct gv_error *err)
{
    struct address gateway, to, on_link = *own;
    if (!parse_address(n->gateway, &gateway) || gateway.has_prefix || gateway.family != own->family)
        return wrong(err, "gateway", n->gateway, "an address of the interface's family");
    if (inet || !*n->addr) {
        char **default_route = own->family == AF_INET6 ? &p->gateway6 : &p->gateway;
        free(*default_route);
        *default_route = gv_strdup(n->gateway);
        return 0;
    }
    cleanup_free char *own_prefix = gv_asprintf("%u", own->prefix);
    if (take_address(&to, "addr", n->addr, *n->mask ? n->mask : own_prefix, err) < 0)
        return -1;
    if (to.family != own->family)
        return wrong(err, "addr", n->addr, "an address of the interface's family");
    apply_prefix(&to);
    apply_prefix(&on_link);
    if (to.prefix == on_link.prefix && memcmp(to.bytes, on_link.bytes, sizeof(to.bytes)) == 0)
        return 0;
    cleanup_free char *destination = address_text(&to);
    gv_strv_take(&p->routes, gv_asprintf("%s via %s", destination, n->gateway));
    return 0;
}

static void plan_mac(struct network_plan *p, const struct address *own)
{
    const bool first = !p->four && (own->family == AF_INET || !p->six);
    if (first) {
        p->mac[0] = MAC_0;
        p->mac[1] = MAC_1;
        memcpy(p->mac + 2, own->bytes + (own->family == AF_INET6 ? 12 : 0), 4);
    }
    *(own->family == AF_INET ? &p->four : &p->six) = true;
}

static int plan_network(struct network_plan *p, bool inet, const struct proto_network *n, struct gv_error *err)
{
    struct address own;
    if (take_address(&own, "if_addr", n->if_addr, n->mask, err) < 0)
        return -1;
    plan_mac(p, &own);
    gv_strv_take(&p->addresses, address_text(&own));
    return *n->gateway ? plan_gateway(p, inet, &own, n, err) : 0;
}

/* What may stand in /etc/hosts without beginning a line or a comment of its own. */
static int plan_host(struct network_plan *p, const char *name, const char *address, struct gv_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    struct address a;
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES || strspn(name, allowed) != n)
        return wrong(err, "hosts", name, "a host name");
    if (!parse_address(address, &a) || a.has_prefix)
        return wrong(err, "hosts", address, "an address");
    gv_strv_add(&p->hosts, name);
    gv_strv_take(&p->hosts, gv_asprintf("%s %s", address, name));
    return 0;
}

int network_plan(struct network_plan *p, const struct proto_request *q, const struct proto_network **culprit, struct gv_error *err)
{
    *p = (struct network_plan){ 0 };
    *culprit = NULL;
    if (q->network_count > NETWORKS_MAX)
        return gv_error_set(err, GV_E_USAGE, 0, "networks: %zu are too many for one interface; at most %u are possible", q->network_count,
                            NETWORKS_MAX);
    for (size_t i = 0; i + 1 < q->hosts.count; i += 2)
        if (plan_host(p, q->hosts.items[i], q->hosts.items[i + 1], err) < 0)
            return -1;
    for (size_t i = 0; i < q->network_count; i++)
        if (plan_network(p, q->interface == NETWORK_INET, &q->networks[i], err) < 0) {
            *culprit = &q->networks[i];
            return -1;
        }
    return 0;
}

void network_plan_clear(struct network_plan *p)
{
    gv_strv_clear(&p->addresses);
    gv_strv_clear(&p->routes);
    gv_strv_clear(&p->hosts);
    free(p->gateway);
    free(p->gateway6);
    *p = (struct network_plan){ 0 };
}
