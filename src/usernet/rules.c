/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "usernet/rules.h"

#include <string.h>

/* ---- pieces ----------------------------------------------------------------------------------------------------------------------- */

/* A port, of the n bytes at text and no others. */
static int parse_port(const char *text, size_t n, uint16_t *out)
{
    unsigned value = 0;
    if (n == 0 || n > 5)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value == 0 || value > 65535)
        return -1;
    *out = (uint16_t)value;
    return 0;
}

/* "80" or "80-90". */
static int parse_ports(const char *text, size_t n, struct net_ports *out)
{
    const char *dash = memchr(text, '-', n);
    size_t first = dash ? (size_t)(dash - text) : n;
    if (parse_port(text, first, &out->from) < 0)
        return -1;
    out->to = out->from;
    if (dash && (parse_port(dash + 1, n - first - 1, &out->to) < 0 || out->to < out->from))
        return -1;
    return 0;
}

/* Splits "HEAD", "HEAD:PORTS", "[HEAD]", "[HEAD]:PORTS", or a HEAD that is an IPv6 address and so has colons of its own. tail is NULL when there
 * are no ports. */
static int split(const char *text, const char **head, size_t *head_len, const char **tail)
{
    *tail = NULL;
    *head = text;
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (!end || (end[1] != '\0' && end[1] != ':'))
            return -1;
        *head = text + 1;
        *head_len = (size_t)(end - text) - 1;
        if (end[1] == ':')
            *tail = end + 2;
        return 0;
    }
    const char *colon = strchr(text, ':');
    if (colon && !strchr(colon + 1, ':')) {
        *head_len = (size_t)(colon - text);
        *tail = colon + 1;
    } else {
        *head_len = strlen(text);
    }
    return 0;
}

/* ---- the allow-list --------------------------------------------------------------------------------------------------------------- */

/* The host name as small letters without its last dot, or NULL. Its last label is no number: that would be a mistyped address. */
static char *parse_name(const char *text, size_t n)
{
    if (n && text[n - 1] == '.')
        n--;
    if (n == 0 || n > NET_NAME_MAX)
        return NULL;
    cleanup_free char *name = gv_strndup(text, n);
    size_t label = 0;
    bool number = true;
    for (size_t i = 0; i <= n; i++) {
        char c = name[i];
        if (c == '.' || c == '\0') {
            if (label == 0 || label > 63 || name[i - 1] == '-' || name[i - label] == '-')
                return NULL;
            if (c == '\0' && number)
                return NULL;
            label = 0;
            number = true;
            continue;
        }
        if (c >= 'A' && c <= 'Z')
            name[i] = c = (char)(c - 'A' + 'a');
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_')
            return NULL;
        number = number && c >= '0' && c <= '9';
        label++;
    }
    return steal_ptr(name);
}

static int parse_prefix(struct net_rule *r, const char *head, size_t n, const char *text, struct gv_error *err)
{
    const char *slash = memchr(head, '/', n);
    size_t len = slash ? (size_t)(slash - head) : n;
    if (net_addr_parse(head, len, &r->prefix) < 0)
        return slash ? gv_error_set(err, GV_E_USAGE, 0, "`%s`: what is before the slash is not an address", text) : 1;
    bool v4 = net_addr_is_v4(&r->prefix);
    unsigned max = v4 ? 32 : 128, bits = max;
    if (slash) {
        size_t digits = n - len - 1;
        bits = 0;
        for (size_t i = 0; i < digits && digits <= 3; i++)
            bits = slash[1 + i] >= '0' && slash[1 + i] <= '9' ? bits * 10 + (unsigned)(slash[1 + i] - '0') : 1000;
        if (digits == 0 || digits > 3 || bits > max)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s`: what is after the slash is not a number of bits up to %u", text, max);
    }
    r->kind = NET_RULE_PREFIX;
    r->bits = v4 ? bits + 96 : bits;
    for (unsigned i = r->bits; i < 128; i++)
        if (r->prefix.b[i / 8] & (0x80 >> i % 8))
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a network: the address has bits after the first %u", text, bits);
    return 0;
}

int net_rules_add(struct net_rules *rules, const char *text, struct gv_error *err)
{
    static const struct {
        const char *word;
        enum net_rule_kind kind;
    } words[] = { { "host", NET_RULE_HOST }, { "all", NET_RULE_ALL }, { "internet", NET_RULE_INTERNET } };
    struct net_rule r = { .kind = NET_RULE_NAME, .ports = { 0, 65535 } };
    const char *head, *tail;
    size_t n;
    if (rules->count >= NET_RULES_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "more than %u entries in the allow-list", NET_RULES_MAX);
    if (split(text, &head, &n, &tail) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not ADDRESS, NETWORK/BITS or NAME, with :PORT behind it or not", text);
    if (tail && parse_ports(tail, strlen(tail), &r.ports) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s`: what is after the colon is not a port or FROM-TO", text);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (n == strlen(words[i].word) && strncmp(head, words[i].word, n) == 0)
            r.kind = words[i].kind;
    if (r.kind == NET_RULE_NAME) {
        int got = parse_prefix(&r, head, n, text, err);
        if (got < 0)
            return -1;
        if (got > 0) {
            r.below = n > 2 && head[0] == '*' && head[1] == '.';
            r.name = parse_name(head + (r.below ? 2 : 0), n - (r.below ? 2 : 0));
            if (!r.name && n == 1 && head[0] == '*')
                return gv_error_set(err, GV_E_USAGE, 0, "`%s`: write `all` for everything, or `internet` for all but private networks",
                                    text);
            if (!r.name)
                return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not an address, a network or a name that DNS knows (xn--... for others)",
                                    text);
        }
    }
    rules->items = gv_reallocarray(rules->items, rules->count + 1, sizeof(*rules->items));
    rules->items[rules->count++] = r;
    return 0;
}

void net_rules_clear(struct net_rules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        free(rules->items[i].name);
    free(rules->items);
    *rules = (struct net_rules){ 0 };
}

bool net_ports_have(const struct net_ports *ports, int port)
{
    return port < 0 ? ports->from == 0 : port >= ports->from && port <= ports->to;
}

bool net_rule_has_name(const struct net_rule *rule, const char *name)
{
    if (rule->kind != NET_RULE_NAME)
        return false;
    size_t n = strlen(name), own = strlen(rule->name);
    if (!rule->below)
        return n == own && memcmp(name, rule->name, n) == 0;
    return n > own + 1 && name[n - own - 1] == '.' && memcmp(name + n - own, rule->name, own) == 0;
}

bool net_rules_name(const struct net_rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct net_rule *r = &rules->items[i];
        if (r->kind == NET_RULE_ALL || r->kind == NET_RULE_INTERNET || net_rule_has_name(r, name))
            return true;
    }
    return false;
}

static bool covers(const struct net_rule *r, const struct net_addr *a, enum net_class class)
{
    switch (r->kind) {
    case NET_RULE_PREFIX: /* ::/0 is no IPv4, however we write that */
        return class != NET_NEVER && net_addr_is_v4(a) == net_addr_is_v4(&r->prefix) && net_addr_in(a, &r->prefix, r->bits);
    case NET_RULE_ALL:
        return class == NET_PUBLIC || class == NET_PRIVATE;
    case NET_RULE_INTERNET:
        return class == NET_PUBLIC;
    case NET_RULE_NAME:
    case NET_RULE_HOST:
    default:
        return false;
    }
}

bool net_rules_address(const struct net_rules *rules, const struct net_addr *a, int port)
{
    enum net_class class = net_addr_class(a);
    for (size_t i = 0; i < rules->count; i++)
        if (covers(&rules->items[i], a, class) && net_ports_have(&rules->items[i].ports, port))
            return true;
    return false;
}

bool net_rules_cover(const struct net_rules *rules, const struct net_addr *a)
{
    enum net_class class = net_addr_class(a);
    for (size_t i = 0; i < rules->count; i++)
        if (covers(&rules->items[i], a, class))
            return true;
    return false;
}

bool net_rules_host(const struct net_rules *rules, int port)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rules->items[i].kind == NET_RULE_HOST && net_ports_have(&rules->items[i].ports, port))
            return true;
    return false;
}

bool net_rules_have(const struct net_rules *rules, enum net_rule_kind kind)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rules->items[i].kind == kind)
            return true;
    return false;
}

/* ---- published ports -------------------------------------------------------------------------------------------------------------- */

int net_publish_parse(struct net_publish *out, const char *text, struct gv_error *err)
{
    static const uint8_t any[4];
    *out = (struct net_publish){ .host = net_addr_v4(any) };
    size_t n = strcspn(text, "/");
    if (text[n]) {
        out->udp = !strcmp(text + n, "/udp");
        if (!out->udp && strcmp(text + n, "/tcp") != 0)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s`: a port is /tcp or /udp", text);
    }
    /* From the right, because an address may have colons. */
    const char *guest = memrchr(text, ':', n);
    if (!guest)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not [IP:]HOSTPORT:GUESTPORT[/udp]", text);
    size_t left = (size_t)(guest - text);
    const char *colon = memrchr(text, ':', left), *host = colon ? colon + 1 : text;
    struct net_ports from, to;
    if (parse_ports(host, (size_t)(guest - host), &from) < 0 || parse_ports(guest + 1, n - left - 1, &to) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not [IP:]HOSTPORT:GUESTPORT[/udp] with ports from 1 to 65535", text);
    if (from.to - from.from != to.to - to.from || to.to - to.from >= (int)NET_PUBLISH_MAX)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s`: the two ranges of ports must have the same length, at most %u", text,
                            NET_PUBLISH_MAX);
    if (colon) {
        const char *ip = text;
        size_t len = (size_t)(colon - text);
        bool brackets = len > 2 && ip[0] == '[' && ip[len - 1] == ']';
        if (net_addr_parse(brackets ? ip + 1 : ip, brackets ? len - 2 : len, &out->host) < 0 || brackets == net_addr_is_v4(&out->host))
            return gv_error_set(err, GV_E_USAGE, 0, "`%s`: the part before the ports is not an IPv4 address or an IPv6 address in brackets",
                                text);
    }
    out->host_port = from.from;
    out->guest_port = to.from;
    out->count = (uint16_t)(to.to - to.from + 1);
    return 0;
}

int net_server_parse(struct net_server *out, const char *text, struct gv_error *err)
{
    const char *head, *tail;
    size_t n;
    out->port = 53;
    if (split(text, &head, &n, &tail) < 0 || net_addr_parse(head, n, &out->addr) < 0 ||
        (tail && parse_port(tail, strlen(tail), &out->port) < 0))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not the address of a resolver, with :PORT behind it or not", text);
    return 0;
}
