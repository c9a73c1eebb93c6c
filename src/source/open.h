/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ways to open a source, one per transport. What ends in an archive (archive.h) goes on through plan.h and load.c; a directory has no layers and
 * fills the tree itself.
 */
#ifndef GV_SOURCE_OPEN_H
#define GV_SOURCE_OPEN_H

#include "image/image.h"
#include "source/archive.h"
#include "source/names.h"
#include "source/source.h"

/* What every way in may need. All borrowed. */
struct source_context {
    const struct source_options *options;
    const struct platform *platform; /* wanted */
    struct source_budget *budget;
    uint64_t max_entries;
    bool threads;
    bool fallback; /* another source will be tried: no advice is wanted */
};

/* The file or directory at path, or standard input for "-", which is read to its end into a scratch file unless it is a regular file already. */
int input_open(int *fd, const char *path, const struct source_context *c, struct gv_error *err);

/* A file that is one layer as a whole, whatever compression it has: ARCHIVE_LAYER is the only name in it. Takes fd over, also when it fails. */
int tar_open(struct archive **out, int fd, struct gv_error *err);

/* The image that the Dockerfile in dir describes, built by buildah or docker: an archive as of `docker save`. */
int dockerfile_open(struct archive **out, const char *dir, const struct source_context *c, struct gv_error *err);

/* The image as the Docker daemon (DOCKER_HOST, else its socket) exports it: an archive as of `docker save`. GV_E_NOT_FOUND when there is no daemon, or no
 * such image in it. */
int daemon_open(struct archive **out, const char *name, const struct source_context *c, struct gv_error *err);
/* The id of that image, 64 hex digits; the caller frees *out. Errors as above. */
int daemon_image_id(char **out, const char *name, const struct source_context *c, struct gv_error *err);

/* The image of a registry (Distribution API), as an archive in the form of an OCI layout with one manifest. Blobs are downloaded when they are asked for
 * or before. */
int registry_open(struct archive **out, const char *name, const struct source_context *c, struct gv_error *err);
/* The digest of what the name stands for now, manifest or index; the caller frees *out. Nothing is downloaded. */
int registry_digest(char **out, const char *name, const struct source_context *c, struct gv_error *err);

/* Fills the tree, whose reader it sets, with the directory's content, as an ordinary user too. *bytes is the size of all files. */
int dir_load(struct image_tree *tree, const char *path, const struct source_context *c, uint64_t *bytes, struct gv_error *err);

#endif
