/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exeunit/selftest/echo.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <string.h>

#include "exeunit/selftest/selftest.h"

static const uint8_t mac[ETH_ALEN] = { 0xa0, 0x13, 0, 0, 0, 0xfe };

static void swap(uint8_t *a, uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t t = a[i];
        a[i] = b[i];
        b[i] = t;
    }
}

static bool is_ours(const uint8_t *address)
{
    struct in_addr host;
    return inet_pton(AF_INET, SELFTEST_HOST, &host) == 1 && memcmp(address, &host, sizeof(host)) == 0;
}

static void answer_sender(uint8_t *frame)
{
    memcpy(frame, frame + ETH_ALEN, ETH_ALEN);
    memcpy(frame + ETH_ALEN, mac, ETH_ALEN);
}

/* ARP for Ethernet and IPv4: after 8 bytes of header the sender's addresses, 6 and 4 bytes, and then those that are asked for. */
static int echo_arp(uint8_t *frame, size_t n)
{
    struct arphdr arp;
    uint8_t *sender = frame + ETH_HLEN + sizeof(arp), *target = sender + ETH_ALEN + 4;
    if (n < ETH_HLEN + sizeof(arp) + 2 * (ETH_ALEN + 4))
        return 0;
    memcpy(&arp, frame + ETH_HLEN, sizeof(arp));
    if (arp.ar_op != htons(ARPOP_REQUEST) || !is_ours(target + ETH_ALEN))
        return 0;
    arp.ar_op = htons(ARPOP_REPLY);
    memcpy(frame + ETH_HLEN, &arp, sizeof(arp));
    swap(sender, target, ETH_ALEN + 4);
    memcpy(sender, mac, ETH_ALEN);
    answer_sender(frame);
    return 1;
}

/* With the addresses and the ports exchanged all checksums stay right. */
static int echo_udp(uint8_t *frame, size_t n)
{
    struct iphdr ip;
    uint8_t *packet = frame + ETH_HLEN;
    if (n < ETH_HLEN + sizeof(ip) + sizeof(struct udphdr))
        return 0;
    memcpy(&ip, packet, sizeof(ip));
    if (ip.version != 4 || ip.ihl != 5 || ip.protocol != IPPROTO_UDP || (ip.frag_off & htons(IP_MF | IP_OFFMASK)) ||
        !is_ours(packet + offsetof(struct iphdr, daddr)))
        return 0;
    swap(packet + offsetof(struct iphdr, saddr), packet + offsetof(struct iphdr, daddr), 4);
    swap(packet + sizeof(ip), packet + sizeof(ip) + 2, 2);
    answer_sender(frame);
    return 1;
}

int selftest_echo(uint8_t *frame, size_t n)
{
    uint16_t type;
    if (n < ETH_HLEN)
        return 0;
    memcpy(&type, frame + 2 * (size_t)ETH_ALEN, sizeof(type));
    return type == htons(ETHERTYPE_ARP) ? echo_arp(frame, n) : type == htons(ETHERTYPE_IP) ? echo_udp(frame, n) : 0;
}
