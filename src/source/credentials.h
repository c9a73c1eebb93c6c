/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who we are to a registry: what `docker login`, `podman login` and their helpers have kept. Looked up in the files that those write, in
 * this order; the first that knows the registry counts:
 *
 *     $REGISTRY_AUTH_FILE                       alone, if it is set
 *     $XDG_RUNTIME_DIR/containers/auth.json     podman, skopeo, buildah
 *     $XDG_CONFIG_HOME/containers/auth.json     (default ~/.config)
 *     $DOCKER_CONFIG/config.json                docker (default ~/.docker)
 */
#ifndef GV_SOURCE_CREDENTIALS_H
#define GV_SOURCE_CREDENTIALS_H

#include <jansson.h>

#include "core/core.h"

struct credentials {
    char *user, *password; /* both or none */
    char *token;           /* an identity token, which is changed for others; used in place of the password */
    char *from;            /* the file or helper that knew; NULL if nobody did */
};
void credentials_clear(struct credentials *c);
static inline void gv_cleanup_credentials_fn(struct credentials *c)
{
    credentials_clear(c);
}
#define cleanup_credentials __attribute__((cleanup(gv_cleanup_credentials_fn)))

/* What is known for `host` (with its port) and `repository`. 0 also when nothing is. A file that cannot be read, or a helper that fails, is
 * told to the log. *out must be zero-initialised. */
int credentials_find(struct credentials *out, const char *host, const char *repository, const struct gv_log *log, struct gv_error *err);

/* The same from one parsed file: 1 when it knows the registry; 0 when not, and *helper is then the name of the program to ask, or NULL; -1
 * when its entry is broken. */
int credentials_in_file(struct credentials *out, const json_t *file, const char *host, const char *repository, char **helper,
                        struct gv_error *err);

/* Asks docker-credential-NAME for the registry: 1 when it knew, 0 when not, -1 when it failed. */
int credentials_from_helper(struct credentials *out, const char *name, const char *host, struct gv_error *err);
/* Its answer, n bytes of JSON. */
int credentials_from_answer(struct credentials *out, const void *answer, size_t n, struct gv_error *err);

#define DOCKER_HUB "docker.io"
#define DOCKER_HUB_KEY "https://index.docker.io/v1/" /* what Docker's files and helpers call it */
bool credentials_is_hub(const char *host);

#endif
