/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * NET, over rtnetlink: the kernel answers each request with an errno, which is what the host gets. The order is that of ip(8) scripts:
 * MAC and MTU, up, addresses, default route, other routes. Doing the same again changes nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "guest/agent/agent.h"

#define NET_MAC 6
#define NET_NAME_MAX 16
#define NET_TIMEOUT_S 2

struct netlink {
    int fd;
    uint32_t sequence;
    size_t n;
    union {
        struct nlmsghdr header;
        uint8_t bytes[512];
    } out;
};

/* An address of either family, with a prefix length. */
struct address {
    uint8_t family, prefix;
    uint8_t bytes[16];
};

static size_t address_size(const struct address *a)
{
    return a->family == AF_INET ? 4 : 16;
}

/* ---- messages ---------------------------------------------------------------------------------------------------------------------- */

static int netlink_open(struct netlink *l, struct report *r)
{
    struct timeval timeout = { .tv_sec = NET_TIMEOUT_S };
    l->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    l->sequence = 0;
    if (l->fd < 0)
        return report_set(r, errno, "netlink");
    setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return 0;
}

static void netlink_begin(struct netlink *l, uint16_t type, uint16_t flags, const void *body, size_t n)
{
    memset(&l->out, 0, sizeof(l->out));
    l->out.header.nlmsg_type = type;
    l->out.header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    l->out.header.nlmsg_seq = ++l->sequence;
    memcpy(l->out.bytes + NLMSG_HDRLEN, body, n);
    l->n = NLMSG_HDRLEN + NLMSG_ALIGN(n);
}

/* The few attributes of any message here fit by far. */
static void netlink_attribute(struct netlink *l, uint16_t type, const void *value, size_t n)
{
    struct rtattr a = { .rta_type = type, .rta_len = (uint16_t)RTA_LENGTH(n) };
    memcpy(l->out.bytes + l->n, &a, sizeof(a));
    memcpy(l->out.bytes + l->n + RTA_LENGTH(0), value, n);
    l->n += RTA_ALIGN(RTA_LENGTH(n));
}

static int netlink_send(struct netlink *l)
{
    l->out.header.nlmsg_len = (uint32_t)l->n;
    return send(l->fd, l->out.bytes, l->n, 0) == (ssize_t)l->n ? 0 : -1;
}

/*
 * Reads answers until the acknowledgement or the end of the dump. each() is called for every other message, with the bytes after its
 * header. 0, or -1 with errno.
 */
static int netlink_answer(struct netlink *l, void (*each)(void *user, const uint8_t *body, size_t n), void *user)
{
    union {
        struct nlmsghdr header;
        uint8_t bytes[32768];
    } in;
    for (;;) {
        struct sockaddr_nl from;
        socklen_t from_n = sizeof(from);
        ssize_t got = recvfrom(l->fd, in.bytes, sizeof(in.bytes), 0, (struct sockaddr *)&from, &from_n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        /* Any process of the network namespace may send to us; only the kernel answers. */
        if (from.nl_pid != 0)
            continue;
        for (size_t at = 0; (size_t)got - at >= NLMSG_HDRLEN;) {
            struct nlmsghdr h;
            memcpy(&h, in.bytes + at, sizeof(h));
            if (h.nlmsg_len < NLMSG_HDRLEN || h.nlmsg_len > (size_t)got - at)
                break;
            const uint8_t *body = in.bytes + at + NLMSG_HDRLEN;
            size_t n = h.nlmsg_len - NLMSG_HDRLEN;
            at += NLMSG_ALIGN(h.nlmsg_len) < (size_t)got - at ? NLMSG_ALIGN(h.nlmsg_len) : (size_t)got - at;
            if (h.nlmsg_seq != l->sequence)
                continue;
            if (h.nlmsg_type == NLMSG_DONE)
                return 0;
            if (h.nlmsg_type == NLMSG_ERROR) {
                int32_t error = -EPROTO;
                if (n >= sizeof(error))
                    memcpy(&error, body, sizeof(error));
                errno = -error;
                return error ? -1 : 0;
            }
            if (each)
                each(user, body, n);
        }
    }
}

static int netlink_do(struct netlink *l)
{
    l->out.header.nlmsg_flags |= NLM_F_ACK;
    return netlink_send(l) < 0 ? -1 : netlink_answer(l, NULL, NULL);
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------------- */

static bool mac_parse(const char *text, uint8_t mac[NET_MAC])
{
    unsigned b[NET_MAC];
    int end = 0;
    if (strlen(text) != 17 || sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) != NET_MAC ||
        end != 17)
        return false;
    for (int i = 0; i < NET_MAC; i++)
        mac[i] = (uint8_t)b[i];
    return true;
}

/* n bytes of text: an address, with "/prefix" or without, which means all of it. */
static bool address_parse(const char *text, size_t n, struct address *a)
{
    char copy[64];
    if (n >= sizeof(copy))
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    char *slash = strchr(copy, '/');
    if (slash)
        *slash++ = '\0';
    memset(a, 0, sizeof(*a));
    a->family = strchr(copy, ':') ? AF_INET6 : AF_INET;
    unsigned bits = a->family == AF_INET6 ? 128 : 32;
    a->prefix = (uint8_t)bits;
    if (inet_pton(a->family, copy, a->bytes) != 1)
        return false;
    if (!slash)
        return true;
    char *end;
    unsigned long v = strtoul(slash, &end, 10);
    if (*slash < '0' || *slash > '9' || *end || v > bits)
        return false;
    a->prefix = (uint8_t)v;
    return true;
}

/* ---- the interface ----------------------------------------------------------------------------------------------------------------- */

struct search {
    const char *name;
    bool by_mac;
    uint8_t mac[NET_MAC];
    int index;
    char found[NET_NAME_MAX]; /* its name */
};

static void link_each(void *user, const uint8_t *body, size_t n)
{
    struct search *s = user;
    struct ifinfomsg info;
    if (n < sizeof(info))
        return;
    memcpy(&info, body, sizeof(info));
    const uint8_t *mac = NULL;
    char name[NET_NAME_MAX] = "";
    bool permanent = false;
    for (size_t at = NLMSG_ALIGN(sizeof(info)); at < n && n - at >= sizeof(struct rtattr);) {
        struct rtattr a;
        memcpy(&a, body + at, sizeof(a));
        if (a.rta_len < sizeof(a) || a.rta_len > n - at)
            return;
        const uint8_t *value = body + at + sizeof(a);
        size_t size = a.rta_len - sizeof(a);
        if (size == NET_MAC && (a.rta_type == IFLA_PERM_ADDRESS || (a.rta_type == IFLA_ADDRESS && !permanent))) {
            mac = value;
            permanent = a.rta_type == IFLA_PERM_ADDRESS;
        }
        if (a.rta_type == IFLA_IFNAME && size > 1 && size <= sizeof(name))
            memcpy(name, value, size);
        at += RTA_ALIGN(a.rta_len);
    }
    name[sizeof(name) - 1] = '\0';
    if (s->by_mac ? !mac || memcmp(mac, s->mac, NET_MAC) != 0 : strcmp(name, s->name) != 0)
        return;
    s->index = info.ifi_index;
    memcpy(s->found, name, sizeof(name));
}

/* By name, or by the MAC address that the card was made with (which need not be the one it has by now). */
static int link_find(struct netlink *l, const char *name, struct search *s, struct report *r)
{
    struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
    *s = (struct search){ .name = name };
    s->by_mac = mac_parse(name, s->mac);
    netlink_begin(l, RTM_GETLINK, NLM_F_DUMP, &info, sizeof(info));
    if (netlink_send(l) < 0 || netlink_answer(l, link_each, s) < 0)
        return report_set(r, errno, "listing the network interfaces");
    return s->index > 0 ? s->index : report_set(r, ENODEV, "no network interface '%s'", name);
}

/* What the interface is to be, the host says. Others on the same wire may not give it routes and addresses by announcing themselves as routers. */
static void link_distrust(const char *name)
{
    char path[64];
    files_write("/proc/sys/net/ipv6/conf/default/accept_ra", "0"); /* for when it is first large enough for IPv6 only now */
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", name);
    files_write(path, "0");
}

static int link_change(struct netlink *l, int index, const struct net *net, struct report *r)
{
    uint8_t mac[NET_MAC];
    uint32_t mtu = (uint32_t)net->mtu;
    struct ifinfomsg info = { .ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
    netlink_begin(l, RTM_NEWLINK, 0, &info, sizeof(info));
    if (*net->mac) {
        if (!mac_parse(net->mac, mac))
            return report_set(r, EINVAL, "'%s' is not a MAC address", net->mac);
        netlink_attribute(l, IFLA_ADDRESS, mac, sizeof(mac));
    }
    if (mtu)
        netlink_attribute(l, IFLA_MTU, &mtu, sizeof(mtu));
    return netlink_do(l) < 0 ? report_set(r, errno, "starting interface '%s'", net->iface) : 0;
}

static int address_add(struct netlink *l, int index, const char *text, struct report *r)
{
    struct address a;
    if (!address_parse(text, strlen(text), &a))
        return report_set(r, EINVAL, "'%s' is not an address", text);
    struct ifaddrmsg m = { .ifa_family = a.family, .ifa_prefixlen = a.prefix, .ifa_index = (uint32_t)index };
    /* Nobody else can have the address: do not wait a second for a duplicate to be found. */
    m.ifa_flags = a.family == AF_INET6 ? IFA_F_NODAD : 0;
    netlink_begin(l, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &m, sizeof(m));
    netlink_attribute(l, IFA_LOCAL, a.bytes, address_size(&a));
    netlink_attribute(l, IFA_ADDRESS, a.bytes, address_size(&a));
    if (a.family == AF_INET && a.prefix < 31) {
        uint32_t v;
        memcpy(&v, a.bytes, sizeof(v));
        v |= htonl((uint32_t)(UINT64_C(0xffffffff) >> a.prefix));
        netlink_attribute(l, IFA_BROADCAST, &v, sizeof(v));
    }
    return netlink_do(l) < 0 ? report_set(r, errno, "address %s", text) : 0;
}

/* to NULL: the default route. */
static int route_set(struct netlink *l, int index, const struct address *to, const struct address *via, const char *text, struct report *r)
{
    uint32_t out = (uint32_t)index;
    struct rtmsg m = { .rtm_family = to ? to->family : via->family, .rtm_dst_len = to ? to->prefix : 0, .rtm_table = RT_TABLE_MAIN };
    m.rtm_protocol = RTPROT_STATIC;
    m.rtm_type = RTN_UNICAST;
    m.rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    netlink_begin(l, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &m, sizeof(m));
    if (to && to->prefix)
        netlink_attribute(l, RTA_DST, to->bytes, address_size(to));
    if (via)
        netlink_attribute(l, RTA_GATEWAY, via->bytes, address_size(via));
    netlink_attribute(l, RTA_OIF, &out, sizeof(out));
    return netlink_do(l) < 0 ? report_set(r, errno, "route '%s'", text) : 0;
}

/* Bits after the prefix are refused by the kernel; people write them all the same. */
static void address_mask(struct address *a)
{
    for (unsigned i = 0; i < address_size(a); i++) {
        unsigned keep = a->prefix > i * 8 ? a->prefix - i * 8 : 0;
        if (keep < 8)
            a->bytes[i] &= (uint8_t)(0xff00 >> keep);
    }
}

/* "TO/PREFIX" or "TO/PREFIX via ADDRESS". */
static int route_add(struct netlink *l, int index, const char *text, struct report *r)
{
    struct address to, via;
    size_t n = strcspn(text, " ");
    const char *gateway = strncmp(text + n, " via ", 5) == 0 ? text + n + 5 : NULL;
    if (!address_parse(text, n, &to) || (text[n] && !gateway) ||
        (gateway && (!address_parse(gateway, strlen(gateway), &via) || strchr(gateway, '/') || via.family != to.family)))
        return report_set(r, EINVAL, "'%s' is not a route", text);
    address_mask(&to);
    return route_set(l, index, &to, gateway ? &via : NULL, text, r);
}

static int net_steps(struct netlink *l, const struct net *net, struct report *r)
{
    struct address via;
    struct search found;
    int index = link_find(l, net->iface, &found, r);
    if (index < 0)
        return -1;
    link_distrust(found.found);
    if (link_change(l, index, net, r) < 0)
        return -1;
    for (size_t i = 0; i < net->addresses.n; i++)
        if (address_add(l, index, net->addresses.v[i], r) < 0)
            return -1;
    if (*net->gateway) {
        if (!address_parse(net->gateway, strlen(net->gateway), &via) || strchr(net->gateway, '/'))
            return report_set(r, EINVAL, "'%s' is not the address of a gateway", net->gateway);
        if (route_set(l, index, NULL, &via, net->gateway, r) < 0)
            return -1;
    }
    for (size_t i = 0; i < net->routes.n; i++)
        if (route_add(l, index, net->routes.v[i], r) < 0)
            return -1;
    return 0;
}

void net_configure(struct agent *a, void *arguments, struct report *r)
{
    struct netlink l;
    (void)a;
    if (netlink_open(&l, r) < 0)
        return;
    net_steps(&l, arguments, r);
    close(l.fd);
}

int net_loopback(struct report *r)
{
    /* By the old interface, since this is part of every start: the other one would be set up for this alone. */
    struct ifreq lo = { .ifr_name = "lo" };
    cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo) < 0)
        return report_set(r, errno, "loopback interface");
    lo.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &lo) < 0 ? report_set(r, errno, "loopback interface") : 0;
}
