/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as what a VM's owner, its callers and its record may say: what is understood is said again, and understood the same. */
#include <string.h>

#include "vms/protocol.h"

static void check(bool right)
{
    if (!right)
        abort();
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static void request(const char *line, size_t n)
{
    struct heard h = { 0 }, again = { 0 };
    cleanup_buf struct gv_buf said = { 0 };
    if (protocol_get_request(&h, line, n, NULL) < 0)
        return;
    check(protocol_put_request(&said, &h.request, NULL) == 0 && said.data[said.len - 1] == '\n');
    check(protocol_get_request(&again, (const char *)said.data, said.len - 1, NULL) == 0);
    check(again.request.op == h.request.op && again.argv.count == h.argv.count && again.request.builtin == h.request.builtin);
    for (size_t i = 0; i < h.argv.count; i++)
        check(same(h.argv.items[i], again.argv.items[i]));
    if (h.request.op == VMS_EXEC)
        check(same(h.cwd, again.cwd) && same(h.user, again.user) && h.request.tty == again.request.tty && h.env.count == again.env.count);
    check(h.request.grace_ms == again.request.grace_ms && h.request.signal == again.request.signal);
    heard_clear(&h);
    heard_clear(&again);
}

static void answer(const char *line, size_t n)
{
    struct vms_answer a, again;
    cleanup_buf struct gv_buf said = { 0 };
    if (protocol_get_answer(&a, line, n, NULL) < 0)
        return;
    protocol_put_answer(&said, &a);
    check(protocol_get_answer(&again, (const char *)said.data, said.len - 1, NULL) == 0);
    check(again.kind == a.kind && again.status == a.status && again.error.code == a.error.code && again.stats.memory == a.stats.memory);
}

static void record(const char *text, size_t n)
{
    cleanup_vms_record struct vms_record r = { 0 }, again = { 0 };
    if (vms_record_parse(&r, text, n, NULL) < 0)
        return;
    cleanup_free char *said = vms_record_format(&r);
    check(vms_record_parse(&again, said, strlen(said), NULL) == 0);
    check(same(r.name, again.name) && r.state == again.state && r.volume_count == again.volume_count && r.argv.count == again.argv.count);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    const char *text = (const char *)data;
    struct message m;
    request(text, n);
    answer(text, n);
    record(text, n);
    (void)protocol_get_message(&m, text, n, NULL);
    return 0;
}
