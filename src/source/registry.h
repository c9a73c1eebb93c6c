/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A session with one repository of one registry (Distribution API v2, docs/sources.md): registry.c opens it and fetches images, artifact.c sends
 * and fetches files, auth.c has the logins.
 */
#ifndef GV_SOURCE_REGISTRY_H
#define GV_SOURCE_REGISTRY_H

#include <pthread.h>

#include "http/http.h"
#include "source/blobs.h"
#include "source/credentials.h"
#include "source/open.h"
#include "source/remote.h"

struct registry {
    const struct gv_log *log;
    char *host;       /* as names have it: "docker.io", "localhost:5000" */
    char *repository; /* "library/alpine" */
    char *reference;  /* the tag, or a digest */
    char *name;       /* of the image as people write it, for messages and results */
    char *base;       /* "https://registry-1.docker.io" */
    bool insecure;    /* the user does not ask for TLS, nor for certificates */
    bool local;       /* nor does anybody on this machine */
    struct http_client *client;
    struct blobs *blobs;
    atomic_bool cancelled;

    pthread_mutex_t lock; /* of what follows */
    char *authorization;  /* for the registry; NULL until it asks for one */
    unsigned generation;  /* of the authorization */
    bool looked;          /* for credentials */
    struct credentials credentials;
};

/* Opens a session for the image's name in any form. */
int registry_session(struct registry **out, const char *name, const struct source_options *options, struct gv_error *err);
void registry_free(struct registry *r);
DEFINE_CLEANUP(registry, struct registry *, registry_free)

/* Sends a request, into memory (max bytes) or (file not NULL) into a file, with authorization as far as one is wanted. */
int registry_send(struct registry *r, struct http_request *q, size_t max, struct http_file *file, struct http_response *out,
                  struct gv_error *err);

/* BASE/v2/REPOSITORY/what/which; the caller frees it. */
char *registry_endpoint(const struct registry *r, const char *what, const char *which) __attribute__((returns_nonnull));

/* A blob of the repository, checked, from the cache of blobs or the registry. From any thread. progress may be NULL. */
int registry_blob(struct registry *r, const struct digest *digest, uint64_t size, const struct remote_progress *progress, struct blob *out,
                  struct gv_error *err);

/* Asks ("GET", also NULL, or "HEAD") for a manifest or index in every form that we can read; an answer that is none is an error. */
int registry_get_manifest(struct registry *r, const char *method, const char *reference, struct http_response *out, struct gv_error *err);

/* Whether the answer is what was asked for, which is the manifest with that reference. */
int registry_check_manifest(const struct registry *r, const struct http_response *response, struct gv_error *err);

/* Answers the demand for authorization in `response` (401): sets r->authorization and counts r->generation up. The lock is held. */
int registry_authorize(struct registry *r, const struct http_response *response, struct gv_error *err);

/* Fills err from a response that is not what was wanted, of which `what` says what it was: "the manifest of". */
int registry_refused(const struct registry *r, const struct http_response *response, const char *what, struct gv_error *err);

/* The token in the answer of a token service, n bytes of JSON; the caller frees it. NULL with err. */
char *registry_token(const void *answer, size_t n, struct gv_error *err);

#endif
