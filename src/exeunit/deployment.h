/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `exeunit`: what `deploy` leaves in the work directory for `start`. */
#ifndef GV_EXEUNIT_DEPLOYMENT_H
#define GV_EXEUNIT_DEPLOYMENT_H

#include "exeunit/exeunit.h"
#include "gvmi/gvmi.h"
#include "image/image.h"

#define DEPLOYMENT_FILE "deployment.json"
#define DEPLOYMENT_VOLUMES_MAX 100U

struct deployment_volume {
    enum vm_volume_kind kind;
    char *path;           /* in the guest, normal (gv_path_normal); "/" is what takes the root's writes */
    char *name;           /* of the directory or the disk image in the work directory; NULL for RAM, and before it has been made */
    uint64_t size, slack; /* bytes, of a disk or RAM; slack as from exeunit_size() */
    uint64_t preallocate; /* bytes of a disk that are taken from the host at once */
    char *errors;         /* of a disk: what its ext4 does on errors; NULL otherwise */
    bool seeded;          /* a directory that begins with what the image holds there, and has the owner that the image says */
};

/* Zero-initialised is empty. */
struct deployment {
    unsigned cpus;
    uint64_t memory, storage; /* bytes */
    struct gv_strv packages;  /* absolute paths, the first on top */
    struct gv_strv marks;     /* of each package, from deployment_mark() */
    char *hostname;
    struct deployment_volume *volumes; /* by path */
    size_t volume_count;
};

void deployment_clear(struct deployment *d);
static inline void gv_cleanup_deployment_fn(struct deployment *d)
{
    deployment_clear(d);
}
#define cleanup_deployment __attribute__((cleanup(gv_cleanup_deployment_fn)))

/* Fills d->volumes from the image's VOLUMEs and the JSON of --volume-override (NULL = none). VOLUMEs that cannot be volumes are left out with a
 * warning; in the override they are errors. Checks sizes against d->storage. */
int deployment_plan(struct deployment *d, const struct image_config *config, const char *override_json, const struct gv_log *log,
                    struct gv_error *err);

/* A text by which an image is known again: its size, and a hash of what its squashfs says about itself first. NULL on failure; the caller frees it. */
char *deployment_mark(const char *package, struct gv_error *err);
/* Whether the images are still those that were deployed. */
int deployment_check_images(const struct deployment *d, struct gv_error *err);

/* Writes the record; gv_outfile_commit() makes it appear in the directory, whole and at once. */
int deployment_prepare(struct gv_outfile **out, const struct deployment *d, const char *workdir, struct gv_error *err);
/* GV_E_NOT_FOUND when nothing has been deployed there. d is to be cleared in any case. */
int deployment_read(struct deployment *d, const char *workdir, struct gv_error *err);

/* Opens and locks a work directory. Returns the descriptor that holds the lock, or -1 (GV_E_BUSY when another deploy or start has it). */
int deployment_lock(const char *workdir, struct gv_error *err);

/* mkfs.c: an ext4 of that size, rounded down to whole blocks, in a new sparse file. Leaves none behind on failure. */
int deployment_make_disk(const char *path, const struct deployment_volume *v, struct gv_error *err);

/* seed.c: marks the directories that the image has something for. GV_E_LIMIT when that is more than d->storage leaves beside the disks. */
int deployment_seed_plan(struct deployment *d, struct gvmi_image *img, struct gv_error *err);
/* Makes the directory `target` with what the image holds at v->path. Leaves none behind on failure. */
int deployment_seed(const struct deployment *d, const struct deployment_volume *v, struct gvmi_image *img, const char *target,
                    const struct gv_log *log, struct gv_error *err);

#endif
