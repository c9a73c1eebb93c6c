/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the user's words mean: the allow-list, the published ports, the resolvers. The same functions read them in gvmkit, for an error before
 * anything is started, and in gvmkit-net, which acts by them.
 */
#ifndef GV_USERNET_RULES_H
#define GV_USERNET_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "usernet/address.h"

#define NET_NAME_MAX 253U
#define NET_RULES_MAX 1024U
#define NET_PUBLISH_MAX 256U /* ports, counted one by one */
#define NET_SERVERS_MAX 3U

struct net_ports {
    uint16_t from, to; /* both included; 0..65535 = no ports were named, which covers pings too */
};

enum net_rule_kind {
    NET_RULE_PREFIX,
    NET_RULE_NAME,
    NET_RULE_HOST,     /* the host's own loopback, behind the gateway's address */
    NET_RULE_ALL,      /* everything but NET_LINK and NET_NEVER, and every name */
    NET_RULE_INTERNET, /* everything that is NET_PUBLIC, and every name */
};

struct net_rule {
    enum net_rule_kind kind;
    struct net_ports ports;
    struct net_addr prefix; /* PREFIX */
    unsigned bits;          /* PREFIX: as net_addr_in() counts them */
    char *name;             /* NAME: small letters, no dot at its end */
    bool below;             /* NAME: it was "*.name": what is below it, not itself */
};

struct net_rules {
    struct net_rule *items;
    size_t count;
};

/* Adds one entry of the list: "example.org:443", "*.example.org", "10.0.0.0/8", "[fd00::/8]:80-90", "host:8000", "all", "internet". */
int net_rules_add(struct net_rules *rules, const char *text, struct gv_error *err);
void net_rules_clear(struct net_rules *rules);

/* Whether a name (small letters) may be asked for. */
bool net_rules_name(const struct net_rules *rules, const char *name);
/* Whether rule i is the reason why the name may be asked for. */
bool net_rule_has_name(const struct net_rule *rule, const char *name);
/* Whether an address lets the port pass without any name: by a prefix, by `all` or `internet`. port -1 asks for a ping. */
bool net_rules_address(const struct net_rules *rules, const struct net_addr *a, int port);
/* Whether some port of the address is let pass so. */
bool net_rules_cover(const struct net_rules *rules, const struct net_addr *a);
/* Whether the host's loopback may be reached there. */
bool net_rules_host(const struct net_rules *rules, int port);
/* Whether a rule of that kind is there. */
bool net_rules_have(const struct net_rules *rules, enum net_rule_kind kind);
bool net_ports_have(const struct net_ports *ports, int port);

/* Ports of the host that lead to the guest. */
struct net_publish {
    bool udp;
    struct net_addr host;
    uint16_t host_port, guest_port, count; /* count ports from there on */
};

/* "[IP:]HOST:GUEST[/tcp|/udp]", where HOST and GUEST are ports or ranges of the same length; [IP] in brackets when it is IPv6. */
int net_publish_parse(struct net_publish *out, const char *text, struct gv_error *err);

struct net_server {
    struct net_addr addr;
    uint16_t port;
};

/* "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353". */
int net_server_parse(struct net_server *out, const char *text, struct gv_error *err);

#endif
