/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `registry`: a client of Golem's image registry, by its protocol (docs/registry.md). It knows which image a name or a hash
 * stands for and from where it comes; fetching it is `store`'s.
 *
 *   info.c   what a registry knows of an image   push.c   an image goes there, in chunks
 *   form.c   the form of what is sent            login.c  who we are
 *
 * A registry is trusted for which hash a name has, and for nothing else: bytes are taken for what their hash says.
 */
#ifndef GV_REGISTRY_H
#define GV_REGISTRY_H

#include <stdbool.h>

#include "convert/convert.h" /* descriptors */
#include "core/core.h"
#include "http/http.h"
#include "refs/refs.h"

#define REGISTRY_DEFAULT_URL "https://registry.golem.network"

/* The registry that $GOLEM_REGISTRY_URL or else $REGISTRY_URL names, without slashes at its end, or else the public one. The caller frees
 * it. NULL when it is not a URL. */
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
 * Asks the registry at base for `name` ("USER/REPO:TAG"), or when that is NULL for `hash`. GV_E_NOT_FOUND when it has no such image, with
 * what the server says. An answer with another hash than was asked for is refused. A host that is no registry but has the link file of the
 * former repository (BASE/image.HEX.link) serves a hash, too. *out must be zero-initialised and is the caller's to clear.
 */
int registry_find(struct http_client *c, const char *base, const char *name, const char *hash, struct registry_image *out,
                  struct gv_error *err);

/* Adds the URL that a link file has. */
int registry_read_link(struct http_client *c, const char *url, struct registry_image *out, struct gv_error *err);

/* ---- accounts ---- */

/* A user and his access token. Zero-initialised is valid. */
struct registry_login {
    char *user, *token;
};
void registry_login_clear(struct registry_login *l);
static inline void gv_cleanup_registry_login_fn(struct registry_login *l)
{
    registry_login_clear(l);
}
#define cleanup_login __attribute__((cleanup(gv_cleanup_registry_login_fn)))

/* Who we are at the registry: $REGISTRY_USER and $REGISTRY_TOKEN when both are set, else what registry_login_save() has kept.
 * GV_E_NOT_FOUND when nobody. *out is the caller's to clear. */
int registry_login_find(const char *base, struct registry_login *out, struct gv_error *err);
/* Keeps it in $XDG_CONFIG_HOME/gvmkit/registry.json, which only its owner may read; forgets what was kept for that registry, *forgotten is
 * whether there was something. */
int registry_login_save(const char *base, const struct registry_login *l, struct gv_error *err);
int registry_login_forget(const char *base, bool *forgotten, struct gv_error *err);
/* Asks the registry whether it knows them. Nothing secret goes unencrypted to another machine unless `insecure`. */
int registry_login_check(struct http_client *c, const char *base, const struct registry_login *l, bool insecure, struct gv_error *err);

/* ---- publishing ---- */

struct registry_push {
    const char *base;
    const struct registry_login *login; /* NULL = anonymous: no tags, and the registry may remove it */
    const struct refs *tags;            /* names that the image gets */
    size_t tag_count;
    const struct gv_buf *signature; /* of the image, which the registry is to keep beside it; NULL = none. Needs a login */
    unsigned workers;               /* chunks on their way at a time; 0 = 4 */
    bool insecure;                  /* as of registry_login_check() */
    const struct gv_log *log;
    const struct gv_progress *progress;
};
struct registry_pushed {
    uint64_t chunks, bytes; /* that were sent: 0 when the registry had all of it */
};

/*
 * Uploads the open file that d describes: only chunks that the registry has not, several at a time, each repeated when it is lost. Whether
 * the tags can be set is asked before any data moves; they are set in the end, when the registry says that the image is complete. A
 * registry that does not keep signatures (an extension of ours) gets the image all the same, and the log a note. Can be repeated after any
 * failure, and goes on where it was.
 */
int registry_push(struct http_client *c, int fd, const struct convert_descriptor *d, const struct registry_push *o,
                  struct registry_pushed *out, struct gv_error *err);

/* Gives more names to an image that the registry has, by the id of its descriptor. */
int registry_tag(struct http_client *c, const char *id, const struct registry_push *o, struct gv_error *err);

/* The id of the descriptor in a download URL (.../download/ID); whether there is one. */
bool registry_descriptor_id(const char *url, char id[2 * GV_SHA256_SIZE + 1]);

/* What a registry has of an upload. */
enum registry_known { REGISTRY_UNKNOWN, REGISTRY_PART, REGISTRY_FULL };
struct registry_state {
    enum registry_known known;
    bool has_status;
    unsigned char *chunks; /* 1 = it is there; NULL if not said */
    size_t count;
};

/* ---- what the text of the answers says ---- */

int registry_parse_state(const char *text, size_t n, struct registry_state *out, struct gv_error *err);
int registry_parse_info(const char *text, size_t n, struct registry_image *out, struct gv_error *err);
int registry_parse_link(const char *text, size_t n, struct registry_image *out, struct gv_error *err);

#endif
