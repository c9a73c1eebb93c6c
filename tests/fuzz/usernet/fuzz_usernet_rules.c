/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The user's words: every text is taken, or refused with a reason. */
#include "usernet/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = gv_strndup((const char *)data, size);
    struct net_rules rules = { 0 };
    struct net_publish publish;
    struct net_server server;
    struct gv_error err = GV_ERROR_INIT;
    if (net_rules_add(&rules, text, &err) == 0 ? rules.count != 1 : err.code == GV_OK)
        __builtin_trap();
    if (rules.count && rules.items[0].kind == NET_RULE_PREFIX && rules.items[0].bits > 128)
        __builtin_trap();
    net_rules_clear(&rules);
    if (net_publish_parse(&publish, text, NULL) == 0 &&
        (publish.count == 0 || publish.host_port + publish.count > 65536 || publish.guest_port + publish.count > 65536))
        __builtin_trap();
    if (net_server_parse(&server, text, NULL) == 0 && server.port == 0)
        __builtin_trap();
    return 0;
}
