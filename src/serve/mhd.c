/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/mhd.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libmicrohttpd.so.12"

/* Written once, by whoever comes first. */
static struct mhd_api api;
static bool loaded;

static void load(void)
{
#define ENTRY(name)                                                                                                                        \
    {                                                                                                                                      \
        "MHD_" #name, offsetof(struct mhd_api, name)                                                                                       \
    }
    static const struct {
        const char *symbol;
        size_t offset;
    } entries[] = {
        ENTRY(is_feature_supported),
        ENTRY(start_daemon),
        ENTRY(stop_daemon),
        ENTRY(suspend_connection),
        ENTRY(resume_connection),
        ENTRY(lookup_connection_value),
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
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++) {
        void *f = dlsym(library, entries[i].symbol);
        if (!f)
            return;
        memcpy((char *)&api + entries[i].offset, &f, sizeof(f)); /* POSIX has them alike */
    }
    loaded = true;
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
