/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names: what the user calls an image (transport, file, name in it), and the names of images as Docker understands them.
 */
#ifndef GV_SOURCE_NAMES_H
#define GV_SOURCE_NAMES_H

#include "source/stream.h"

enum transport {
    TRANSPORT_ANY, /* a file or directory, recognised by its content */
    TRANSPORT_DOCKER_ARCHIVE,
    TRANSPORT_OCI,
    TRANSPORT_OCI_ARCHIVE,
    TRANSPORT_TAR,
    TRANSPORT_DIR,
    TRANSPORT_DOCKERFILE,
    TRANSPORT_DAEMON,
    TRANSPORT_REGISTRY,
    TRANSPORT_NAME, /* no file of that name, but an image's name: the daemon knows it, or else a registry */
};

struct source_reference {
    enum transport transport;
    char *path; /* of the file or directory, "-" for standard input; NULL for what is found by name only */
    char *name; /* which image in it, NULL for the only one; for DAEMON, REGISTRY and NAME the image's name as the user wrote it */
};
void source_reference_clear(struct source_reference *r);
static inline void gv_cleanup_source_reference_fn(struct source_reference *r)
{
    source_reference_clear(r);
}

/* Takes a reference (see source_load) apart. A colon in the name of an existing file belongs to it. *out must be zero-initialised. */
int source_reference_parse(struct source_reference *out, const char *text, struct gv_error *err);

/* The full form of an image's name: "docker.io/library/alpine:latest" for "alpine", as Docker completes it; a digest after "@" is kept in
 * place of a tag. The caller frees it. NULL when the name is not a valid one. */
char *name_normalise(const char *name);

/* What people call the image with that full name: "alpine:latest" for "docker.io/library/alpine:latest". The caller frees it. */
char *name_familiar(const char *full) __attribute__((returns_nonnull));

/* The full form of a valid name without tag and digest. The caller frees it. */
char *name_repository(const char *name) __attribute__((returns_nonnull));

/* Whether two names of images mean the same. */
bool name_equal(const char *a, const char *b);

/* A list of names for messages: "a, b and 7 more"; "none" when empty. The caller frees it. */
char *name_list(const struct gv_strv *names);

struct platform {
    char *os, *architecture, *variant; /* NULL where not said */
};
void platform_clear(struct platform *p);
static inline void gv_cleanup_platform_fn(struct platform *p)
{
    platform_clear(p);
}
/* "os/arch[/variant]"; NULL is linux/amd64. *out must be zero-initialised. */
int platform_parse(struct platform *out, const char *text, struct gv_error *err);
/* Whether an image for `have` is what was wanted. What either does not say fits everything. */
bool platform_fits(const struct platform *want, const struct platform *have);
/* "linux/arm64/v8"; the caller frees it. */
char *platform_format(const struct platform *p) __attribute__((returns_nonnull));

#endif
