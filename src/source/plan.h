/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The plan: which layers, in which order, with which digests, and the configuration. docker.c and oci.c read it from what an archive says
 * about itself; load.c carries it out.
 */
#ifndef GV_SOURCE_PLAN_H
#define GV_SOURCE_PLAN_H

#include "image/image.h"
#include "source/archive.h"
#include "source/names.h"

#define PLAN_LAYERS_MAX 500

struct plan_layer {
    char *name;            /* where the archive has it */
    struct digest digest;  /* of the blob as it is stored; size 0 if nothing says so */
    struct digest diff_id; /* of the uncompressed tar; size 0 if nothing says so */
    bool has_size;
    uint64_t size; /* of the blob as it must be */
};

struct plan {
    char *name; /* of the image in its archive, or NULL */
    struct image_config config;
    struct platform platform;
    struct plan_layer *layers;
    size_t count;
};

void plan_clear(struct plan *p);
static inline void gv_cleanup_plan_fn(struct plan *p)
{
    plan_clear(p);
}

/* Appends a layer, zeroed; the pointer is good until the next call. */
struct plan_layer *plan_add_layer(struct plan *p) __attribute__((returns_nonnull));

/* Takes configuration, platform and the layers' diff_ids from the image's configuration blob; the layers must be there already. */
int plan_config(struct plan *p, const struct gv_buf *blob, struct gv_error *err);
/* The same from a parsed object, without diff_ids; `id` (hex) becomes the image id. */
int plan_config_object(struct plan *p, const json_t *object, const char *id, struct gv_error *err);

/* The only layer of a tar that is a whole root file system (tar_open()). */
int plan_tar(struct plan *p, const struct platform *platform);
/* Which image of a Docker archive (NULL: the only one). */
int docker_plan(struct plan *p, struct archive *a, const char *name, struct gv_error *err);
/* Which image of an OCI layout. */
int oci_plan(struct plan *p, struct archive *a, const char *name, const struct platform *platform, struct gv_error *err);

#endif
