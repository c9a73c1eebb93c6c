/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An image that is somewhere else, seen as an archive in the form of an OCI layout (archive.h). Documents are fetched when they are asked
 * for, and what they name is known from then on; nothing else can be asked for. Layers are fetched by threads of their own, four at a time
 * and in their order, from the moment on in which their sizes have been asked for (load.c does that for all of them before it reads the
 * first), so that the first is read while others are still coming. The first that fails ends them all.
 */
#ifndef GV_SOURCE_REMOTE_H
#define GV_SOURCE_REMOTE_H

#include "source/open.h"

#define REMOTE_DOCUMENT_MAX ((size_t)ARCHIVE_JSON_MAX)

/* Told how many bytes of a blob there are. */
struct remote_progress {
    void (*update)(void *user, uint64_t have);
    void *user;
};

struct remote_ops {
    /* The manifest or index with that digest ("sha256:..."), at most REMOTE_DOCUMENT_MAX bytes, appended to *out. The loading thread calls
     * this. */
    int (*document)(void *user, const char *digest, struct gv_buf *out, struct gv_error *err);
    /* A blob of that digest and size, both checked. Called from several threads. */
    int (*blob)(void *user, const struct digest *digest, uint64_t size, const struct remote_progress *progress, struct blob *out,
                struct gv_error *err);
    /* Calls of blob() that are under way are to fail soon. */
    void (*cancel)(void *user);
    void (*release)(void *user); /* may be NULL */
};

/* The image whose topmost document is given, with its media type as the server said it ("" = look into it). name is what the image is to be
 * called. `user` is taken over, also when this fails. */
int remote_open(struct archive **out, const struct remote_ops *ops, void *user, const char *name, const char *media,
                const struct gv_buf *top, const struct source_context *c, struct gv_error *err);

/* "sha256:..." of a document; the caller frees it. */
char *remote_digest(const struct gv_buf *document) __attribute__((returns_nonnull));

#endif
