/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A registry of the test's own, honest or not, with an image of LAYERS layers. */
#ifndef GV_TEST_FAKE_REGISTRY_H
#define GV_TEST_FAKE_REGISTRY_H

#include <stdatomic.h>

#include "helper.h"
#include "server.h"

#define LAYERS 5
#define DOCS_MAX 24
#define MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX "application/vnd.oci.image.index.v1+json"

struct doc {
    char digest[80], tag[32];
    const char *type;
    struct gv_buf data;
};

enum login { OPEN, BASIC, TOKEN, TOKEN_FOR_LOGIN, TOKEN_FOR_IDENTITY };

struct fake {
    char *dir;
    struct server *server, *elsewhere;
    struct doc docs[DOCS_MAX]; /* manifests and blobs */
    size_t count;
    char *manifest; /* digest */

    enum login login;
    const char *realm;      /* in place of the right one */
    const char *token_body; /* in place of the right one */
    unsigned token_uses;    /* a token is good for so many requests; 0 = for ever */
    bool redirect;          /* blobs are elsewhere */
    size_t cut;             /* blobs end after so many bytes */
    atomic_uint cuts;       /* so many times */
    bool no_digest_header;
    const char *digest_header;
    const char *type_header;
    const char *lie; /* digest of what comes with another content */
    int status;      /* of everything but /v2/ */
    unsigned slow_ms;

    atomic_uint tokens, used, blobs, ranged, heads, leaks, running, most;
};

/* Fills in the servers. The image is made by fake_add_image. */
void fake_start(struct fake *f);
/* A second one with the same content and TLS, whose certificate is written to ca_path. */
struct server *fake_start_tls(struct fake *f, const char *ca_path);
void fake_stop(struct fake *f);

struct doc *fake_find(struct fake *f, const char *digest_or_tag);
/* The same, of one that is there. */
const struct doc *fake_get(struct fake *f, const char *digest_or_tag) __attribute__((returns_nonnull));
struct doc *fake_add(struct fake *f, const char *type, const void *p, size_t n, const char *tag);
/* An image of LAYERS layers, each with a file of its number; the middle one also with a large file. Returns its manifest. */
struct doc *fake_add_image(struct fake *f, const char *architecture, const char *type, const char *layer_type, const char *tag);

#endif
