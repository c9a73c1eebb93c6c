/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any word as a reference: what is read again from what it says of itself is the same. */
#include <string.h>

#include "refs/refs.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    cleanup_free char *text = gv_strndup((const char *)data, n);
    cleanup_refs struct refs r = { 0 }, again = { 0 };
    if (refs_parse(&r, text, NULL) < 0)
        return 0;
    if (r.kind == REFS_NAME) {
        cleanup_free char *name = refs_name(&r);
        if (refs_parse(&again, name, NULL) < 0 || again.kind != REFS_NAME || strcmp(again.tag, r.tag) != 0)
            abort();
    } else if (r.kind == REFS_IMAGE && r.url && *r.hash) {
        cleanup_free char *demand = gv_asprintf("hash:sha3:%s:%s", r.hash, r.url);
        if (refs_parse(&again, demand, NULL) < 0 || strcmp(again.url, r.url) != 0 || strcmp(again.hash, r.hash) != 0)
            abort();
    } else if (r.kind == REFS_PATH && !*r.path) {
        abort();
    }
    return 0;
}
