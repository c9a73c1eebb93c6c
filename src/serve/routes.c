/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What there is, by path. The letters are those by which the protocol's description knows the requests of Golem's clients; what comes without one is our
 * own.
 */
#include <string.h>

#include "serve/server.h"

#define LOGIN_MAX 4096
#define FORM_MAX ((uint64_t)64 << 10)
#define SIGNATURE_MAX ((uint64_t)68 << 10) /* with the form around it */
#define GET (METHOD_GET | METHOD_HEAD)

static const struct route routes[] = {
    /* A */ { "login", "/auth/pat/login", METHOD_POST, 0, BODY_BYTES, LOGIN_MAX, route_login, NULL },
    /* E */ { "attach", "/v1/image/descr/attach/", METHOD_POST, ROUTE_PREFIX, BODY_FORM, FORM_MAX, route_attach, NULL },
    /* B */ { "descriptor", "/v1/image/descr/", GET, ROUTE_PREFIX, BODY_NONE, FORM_MAX, route_descriptor, NULL },
    /* C */
    { "push-descriptor", "/v1/image/push/descr", METHOD_POST, 0, BODY_FORM, FORM_MAX, route_push_descriptor, route_push_descriptor_file },
    /* D */ { "push-chunk", "/v1/image/push/chunk", METHOD_POST, 0, BODY_FORM, 0, route_push_chunk, route_push_chunk_file },
    /* F */ { "info", "/v1/image/info", GET, ROUTE_OPEN, BODY_NONE, FORM_MAX, route_info, NULL },
    /* H */ { "redirect", "/v1/image/download", GET, ROUTE_OPEN, BODY_NONE, FORM_MAX, route_redirect, NULL },
    /* G */ { "download", "/download/", GET, ROUTE_PREFIX | ROUTE_OPEN, BODY_NONE, FORM_MAX, route_download, NULL },
    { "sign", "/v1/image/signature", METHOD_POST, 0, BODY_FORM, SIGNATURE_MAX, route_sign, route_sign_file },
    /* pages for people */
    { "search", "/", GET, 0, BODY_PAGE, FORM_MAX, route_search, NULL },
    { "repository", "/r/", GET, ROUTE_PREFIX, BODY_PAGE, FORM_MAX, route_repository, NULL },
    { "image", "/i/", GET, ROUTE_PREFIX, BODY_PAGE, FORM_MAX, route_image, NULL },
    { "compare", "/compare", GET, 0, BODY_PAGE, FORM_MAX, route_compare, NULL },
    { "asset", "/assets/", GET, ROUTE_PREFIX, BODY_NONE, FORM_MAX, route_asset, NULL },
    { "health", "/healthz", GET, 0, BODY_NONE, FORM_MAX, route_health, NULL },
    { "metrics", "/metrics", GET, 0, BODY_NONE, FORM_MAX, route_metrics, NULL },
};

const struct route *route_find(const char *path, unsigned method, const char **rest, unsigned *allowed)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];
        size_t n = strlen(route->path);
        if (strncmp(path, route->path, n) != 0 || (route->flags & ROUTE_PREFIX ? !path[n] : path[n] != '\0'))
            continue;
        *rest = path + n;
        if (route->methods & method)
            return route;
        *allowed |= route->methods;
    }
    return NULL;
}
