/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What there is, by path. The letters are those by which the protocol's description knows the requests of Golem's clients; what comes without one is our
 * own.
 */
#include <string.h>

#include "serve/server.h"

#define LOGIN_MAX 4096
#define FORM_MAX ((uint64_t)64 << 10)

static const struct route routes[] = {
    /* A */ { "login", "/auth/pat/login", false, METHOD_POST, BODY_BYTES, LOGIN_MAX, route_login, NULL },
    /* E */
    { "attach", "/v1/image/descr/attach/", true, METHOD_POST, BODY_FORM, FORM_MAX, route_attach, NULL },
    /* B */ { "descriptor", "/v1/image/descr/", true, METHOD_GET | METHOD_HEAD, BODY_NONE, FORM_MAX, route_descriptor, NULL },
    /* C */
    { "push-descriptor", "/v1/image/push/descr", false, METHOD_POST, BODY_FORM, FORM_MAX, route_push_descriptor,
      route_push_descriptor_file },
    /* D */
    { "push-chunk", "/v1/image/push/chunk", false, METHOD_POST, BODY_FORM, 0, route_push_chunk, route_push_chunk_file },
    /* F */ { "info", "/v1/image/info", false, METHOD_GET | METHOD_HEAD, BODY_NONE, FORM_MAX, route_info, NULL },
    /* H */ { "redirect", "/v1/image/download", false, METHOD_GET | METHOD_HEAD, BODY_NONE, FORM_MAX, route_redirect, NULL },
    /* G */ { "download", "/download/", true, METHOD_GET | METHOD_HEAD, BODY_NONE, FORM_MAX, route_download, NULL },
    /* pages for people */
    { "search", "/", false, METHOD_GET | METHOD_HEAD, BODY_PAGE, FORM_MAX, route_search, NULL },
    { "repository", "/r/", true, METHOD_GET | METHOD_HEAD, BODY_PAGE, FORM_MAX, route_repository, NULL },
    { "image", "/i/", true, METHOD_GET | METHOD_HEAD, BODY_PAGE, FORM_MAX, route_image, NULL },
    { "compare", "/compare", false, METHOD_GET | METHOD_HEAD, BODY_PAGE, FORM_MAX, route_compare, NULL },
    { "asset", "/assets/", true, METHOD_GET | METHOD_HEAD, BODY_NONE, FORM_MAX, route_asset, NULL },
    { "health", "/healthz", false, METHOD_GET | METHOD_HEAD, BODY_NONE, FORM_MAX, route_health, NULL },
    { "metrics", "/metrics", false, METHOD_GET | METHOD_HEAD, BODY_NONE, FORM_MAX, route_metrics, NULL },
};

const struct route *route_find(const char *path, unsigned method, const char **rest, unsigned *allowed)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];
        size_t n = strlen(route->path);
        if (strncmp(path, route->path, n) != 0 || (route->prefix ? !path[n] : path[n] != '\0'))
            continue;
        *rest = path + n;
        if (route->methods & method)
            return route;
        *allowed |= route->methods;
    }
    return NULL;
}
