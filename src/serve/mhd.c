/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/mhd.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define LIBRARY "libmicrohttpd.so.12"

/* Written once, by whoever comes first. */
static struct mhd_api api;
static bool loaded;

static void load(void)
{
#define ENTRY(name) GV_LIBRARY_ENTRY(struct mhd_api, "MHD_", name)
    static const struct gv_library_entry entries[] = {
        ENTRY(is_feature_supported),
        ENTRY(start_daemon),
        ENTRY(stop_daemon),
        ENTRY(suspend_connection),
        ENTRY(resume_connection),
        ENTRY(lookup_connection_value),
        ENTRY(get_connection_values),
        ENTRY(get_connection_info),
        ENTRY(queue_response),
        ENTRY(create_response_from_buffer),
        ENTRY(create_response_from_fd_at_offset64),
        ENTRY(create_response_from_callback),
        ENTRY(add_response_header),
        ENTRY(destroy_response),
        ENTRY(create_post_processor),
        ENTRY(post_process),
        ENTRY(destroy_post_processor),
    };
    _Static_assert(sizeof(entries) / sizeof(*entries) * sizeof(void *) == sizeof(struct mhd_api), "an entry for each function");
    loaded = gv_library_load(LIBRARY, entries, sizeof(entries) / sizeof(*entries), &api);
}

const struct mhd_api *mhd_load(struct gv_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (loaded)
        return &api;
    gv_error_set(err, GV_E_UNSUPPORTED, 0, "the library " LIBRARY " cannot be loaded; install the package libmicrohttpd12");
    return NULL;
}
