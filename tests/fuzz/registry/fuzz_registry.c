/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The answers of a registry: what an image is, what of an upload is there, a link file, a URL with an id. The first byte says which. */
#include <string.h>

#include "registry/registry.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    if (n < 1)
        return 0;
    const char *text = (const char *)data + 1;
    n--;
    cleanup_registry_image struct registry_image image = { 0 };
    if (data[0] % 4 == 0) {
        if (registry_parse_info(text, n, &image, NULL) == 0 && (strlen(image.hash) != 56 || !image.urls.count))
            abort();
    } else if (data[0] % 4 == 1) {
        if (registry_parse_link(text, n, &image, NULL) == 0 && image.urls.count != 1)
            abort();
    } else if (data[0] % 4 == 2) {
        struct registry_state state = { 0 };
        if (registry_parse_state(text, n, &state, NULL) == 0)
            for (size_t i = 0; i < state.count; i++)
                if (state.chunks[i] > 1)
                    abort();
        free(state.chunks);
    } else {
        cleanup_free char *url = gv_strndup(text, n);
        char id[2 * GV_SHA256_SIZE + 1];
        if (registry_descriptor_id(url, id) && !strstr(url, id))
            abort();
    }
    return 0;
}
