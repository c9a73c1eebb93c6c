/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "http/curl.h"

#include <pthread.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

/* Written once, by whoever comes first. */
static struct curl_api api;
static bool loaded;

static void load(void)
{
#define ENTRY(name) GV_LIBRARY_ENTRY(struct curl_api, "curl_", name)
    static const struct gv_library_entry entries[] = {
        ENTRY(global_init),  ENTRY(easy_init),     ENTRY(easy_cleanup), ENTRY(easy_reset),     ENTRY(easy_setopt), ENTRY(easy_getinfo),
        ENTRY(easy_perform), ENTRY(easy_strerror), ENTRY(slist_append), ENTRY(slist_free_all), ENTRY(url),         ENTRY(url_set),
        ENTRY(url_get),      ENTRY(url_cleanup),   ENTRY(free),         ENTRY(getdate),
    };
    _Static_assert(sizeof(entries) / sizeof(*entries) * sizeof(void *) == sizeof(struct curl_api), "an entry for each function");
    loaded =
        gv_library_load(LIBRARY, entries, sizeof(entries) / sizeof(*entries), &api) && api.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

const struct curl_api *curl_load(struct gv_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (loaded)
        return &api;
    gv_error_set(err, GV_E_UNSUPPORTED, 0,
                 "the library " LIBRARY " is needed for what is not on this machine, and cannot be loaded; install the package libcurl4");
    return NULL;
}
