/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames of the guest through the filter. The input is a row of frames, each after its length in two bytes. What passes must be what the list
 * of this program has, seen with the eyes of somebody who reads the packet anew.
 */
#include <string.h>

#include "usernet/filter.h"
#include "usernet/plan.h"

static void on_note(void *user, const char *text)
{
    (void)user;
    if (!*text)
        __builtin_trap();
}

/* Whether a packet that passed was one of those that may: for 8.8.0.0/16 port 80 by IPv4, or 2600::/16 by IPv6. */
static bool may_pass(const uint8_t *p, size_t n)
{
    if (n < 14 + 28)
        return false;
    unsigned type = (unsigned)p[12] << 8 | p[13];
    const uint8_t *ip = p + 14;
    if (type == 0x0806)
        return true;
    bool v4 = type == 0x0800;
    if (!v4 && (type != 0x86dd || n < 14 + 48))
        return false;
    if (v4 ? ip[0] != 0x45 || (ip[6] & 0x3f) || ip[7] : ip[0] >> 4 != 6)
        return false;
    const uint8_t *l4 = ip + (v4 ? 20 : 40);
    unsigned proto = v4 ? ip[9] : ip[6], port = (unsigned)l4[2] << 8 | l4[3];
    if (proto == 6 && (l4[13] & 0x12) != 2)
        return true; /* opens nothing */
    if (proto == 58 && (l4[0] == 135 || l4[0] == 136))
        return true;
    if (v4 ? ip[16] == 192 && ip[17] == 0 && ip[18] == 2 : ip[24] == 0xfd) /* the gateway and the resolver answer pings */
        return proto == 1 || proto == 58;
    if (!v4)
        return ip[24] == 0x26 && ip[25] == 0;
    return ip[16] == 8 && ip[17] == 8 && proto != 1 && port == 80;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct frame_link link = { .to = NET_PLAN_MAC };
    struct net_rules rules = { 0 };
    struct net_publish publish = { .udp = true, .guest_port = 9000, .count = 2 };
    if (net_rules_add(&rules, "8.8.0.0/16:80", NULL) < 0 || net_rules_add(&rules, "2600::/16", NULL) < 0)
        __builtin_trap();
    struct filter *filter = filter_new(&rules, &publish, 1, on_note, NULL);
    for (uint64_t now = 0; size >= 2; now += 1000) {
        size_t n = (size_t)data[0] << 8 | data[1];
        data += 2;
        size -= 2;
        n = n < size ? n : size;
        uint8_t *p = gv_alloc(n + 1), reply[1024];
        memcpy(p, data, n);
        data += n;
        size -= n;
        struct frame f;
        frame_parse(&f, p, n);
        if (f.len > n || (f.kind == FRAME_UDP && (f.payload < p || f.payload + f.payload_len != p + f.len)))
            __builtin_trap();
        enum filter_verdict verdict = filter_outbound(filter, &f, false, now);
        if (verdict == FILTER_PASS && !may_pass(p, f.len))
            __builtin_trap();
        if (verdict == FILTER_REFUSE) {
            struct frame again;
            size_t len = frame_build_prohibited(reply, &link, filter_gateway(filter, &f), &f);
            if (len < FRAME_HEADER + 28 || len > sizeof(reply))
                __builtin_trap();
            frame_parse(&again, reply, len);
        }
        free(p);
    }
    filter_free(filter);
    net_rules_clear(&rules);
    return 0;
}
