/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A requestor's networks and hosts. The first byte chooses the interface; then lines, of which four are a network (addr, gateway, mask, if_addr) and what
 * follows, two by two, hosts. What comes out holds nothing that the guest's files or its agent could take for more than it is.
 */
#include <arpa/inet.h>
#include <string.h>

#include "exeunit/network.h"

static void fail_if(bool failed)
{
    if (failed)
        __builtin_trap();
}

static bool is_address(const char *text, size_t n)
{
    char copy[64];
    uint8_t bytes[16];
    if (n >= sizeof(copy))
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    return inet_pton(AF_INET, copy, bytes) == 1 || inet_pton(AF_INET6, copy, bytes) == 1;
}

/* "ADDRESS/N", with " via ADDRESS" behind it or not. */
static bool is_target(const char *text, bool via)
{
    size_t n = strcspn(text, "/"), digits = text[n] ? strspn(text + n + 1, "0123456789") : 0;
    if (!is_address(text, n) || !digits || digits > 3 || atoi(text + n + 1) > 128)
        return false;
    text += n + 1 + digits;
    return via ? !strncmp(text, " via ", 5) && is_address(text + 5, strlen(text + 5)) : !*text;
}

static void check(const struct network_plan *p)
{
    for (size_t i = 0; i < p->addresses.count; i++)
        fail_if(!is_target(p->addresses.items[i], false));
    for (size_t i = 0; i < p->routes.count; i++)
        fail_if(!is_target(p->routes.items[i], true));
    fail_if(p->gateway && (!is_address(p->gateway, strlen(p->gateway)) || strchr(p->gateway, ':')));
    fail_if(p->gateway6 && (!is_address(p->gateway6, strlen(p->gateway6)) || !strchr(p->gateway6, ':')));
    for (size_t i = 0; i < p->hosts.count; i += 2) {
        const char *line = p->hosts.items[i + 1], *space = strchr(line, ' ');
        fail_if(!space || !is_address(line, (size_t)(space - line)) || strcmp(space + 1, p->hosts.items[i]) != 0);
        fail_if(strpbrk(p->hosts.items[i], " \t\r\n#") || !*p->hosts.items[i]);
    }
    fail_if(p->addresses.count && (p->mac[0] != 0xa0 || p->mac[1] != 0x13 || !(p->four || p->six)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_strv struct gv_strv lines = { 0 };
    if (size < 1 || size > 4096)
        return 0;
    for (const uint8_t *at = data + 1, *end = data + size; at < end;) {
        const uint8_t *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        if (!memchr(at, 0, n))
            gv_strv_take(&lines, gv_strndup((const char *)at, n));
        at += n + 1;
    }
    struct proto_network networks[8];
    struct proto_request q = { .command = PROTO_NETWORK, .interface = data[0] & 1, .networks = networks };
    size_t at = 0;
    for (; at + 4 <= lines.count && q.network_count < 1U + (data[0] >> 1 & 7); at += 4)
        networks[q.network_count++] =
            (struct proto_network){ lines.items[at], lines.items[at + 1], lines.items[at + 2], lines.items[at + 3] };
    q.hosts.items = lines.items ? lines.items + at : NULL;
    q.hosts.count = (lines.count - at) / 2 * 2;
    struct network_plan p;
    const struct proto_network *culprit;
    struct gv_error err = GV_ERROR_INIT;
    if (network_plan(&p, &q, &culprit, &err) == 0)
        check(&p);
    else
        fail_if(err.code != GV_E_USAGE || !err.msg[0]);
    network_plan_clear(&p);
    return 0;
}
