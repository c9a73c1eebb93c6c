/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Manifests that say anything. */
#include "demand/demand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char hash[GV_SHA3_224_HEX] = "";
    cleanup_free char *url = NULL;
    struct gv_error err = GV_ERROR_INIT;
    if (demand_manifest_check(data, size, 0, hash, &url, &err) == 0 && (!url || !*hash))
        abort();
    return 0;
}
