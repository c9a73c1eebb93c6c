/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `registry`: a client of Golem's image registry, by its protocol (docs/registry.md). It knows which image a name or a hash stands for and
 * from where it comes; fetching it is `store`'s.
 *
 *   info.c      what a registry knows of an image      push.c    an image goes there, in chunks
 *   multipart.c the form of what is sent               login.c   who we are
 *
 * A registry is trusted for which hash a name has, and for nothing else: bytes are taken for what their hash says.
 */
#ifndef GV_REGISTRY_H
#define GV_REGISTRY_H

#include <stdbool.h>

#include "convert/convert.h"
#include "core/core.h"
#include "http/http.h"
#include "refs/refs.h"

#define REGISTRY_DEFAULT_URL "https://registry.golem.network"

/* The registry that $GOLEM_REGISTRY_URL or else $REGISTRY_URL names, without slashes at its end, or else the public one. The caller frees it. NULL when it is
 * not a URL. */
char *registry_url(struct gv_error *err);
/* Whether one of the variables is set. */
bool registry_is_chosen(void);

/* Where an image comes from. Zero-initialised is valid. */
struct registry_image {
    char hash[GV_SHA3_224_HEX];
    uint64_t size;       /* HTTP_SIZE_UNKNOWN if not said */
    struct gv_strv urls; /* the best first; all of http or https */
};
void registry_image_clear(struct registry_image *i);
static inline void gv_cleanup_registry_image_fn(struct registry_image *i)
{
    registry_image_clear(i);
}
#define cleanup_registry_image __attribute__((cleanup(gv_cleanup_registry_image_fn)))

/*
 * Asks the registry at base for `name` ("USER/REPO:TAG"), or when that is NULL for `hash`. GV_E_NOT_FOUND when it has no such image, with what the server says. An answer with
 * another hash than was asked for is refused. A host that is no registry but has the link file of the former repository (BASE/image.HEX.link) serves a hash, too. *out must be
 * zero-initialised and is the caller's to clear.
 */
int registry_find(struct http_client *c, const char *base, const char *name, const char *hash, struct registry_image *out,
                  struct gv_error *err);

/* Adds the URL that a link file has. */
int registry_read_link(struct http_client *c, const char *url, struct registry_image *out, struct gv_error *err);

/* What the text of the answers says; for tests, too. */
int registry_parse_info(const char *text, size_t n, struct registry_image *out, struct gv_error *err);
int registry_parse_link(const char *text, size_t n, struct registry_image *out, struct gv_error *err);

#endif
