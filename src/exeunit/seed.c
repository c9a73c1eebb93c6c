/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * --seed-volumes: the directories of a deployment begin with what the image holds at their places. All that they will take is counted before the first
 * is made, against what --storage-gib leaves beside the disks.
 */
#include "exeunit/deployment.h"
#include "extract/extract.h"

/* The paths of all volumes, NULL-terminated, the array for the caller to free. */
static const char **paths_of(const struct deployment *d)
{
    const char **paths = gv_calloc(d->volume_count + 1, sizeof(*paths));
    for (size_t i = 0; i < d->volume_count; i++)
        paths[i] = d->volumes[i].path;
    return paths;
}

int deployment_seed_plan(struct deployment *d, struct gvmi_image *img, struct gv_error *err)
{
    cleanup_free const char **paths = paths_of(d);
    uint64_t left = d->storage;
    if (d->packages.count > 1)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "--seed-volumes takes one image; with several only the VM knows what lies over what");
    for (size_t i = 0; i < d->volume_count; i++)
        left -= d->volumes[i].kind == VM_VOLUME_DISK ? d->volumes[i].size : 0; /* deployment_plan() has seen to it that they fit */
    for (size_t i = 0; i < d->volume_count; i++) {
        struct deployment_volume *v = &d->volumes[i];
        uint64_t bytes = 0;
        int there = v->kind == VM_VOLUME_DIRECTORY ? extract_share_size(img, v->path, paths, &bytes, err) : 0;
        if (there < 0)
            return gv_error_prefix(err, "--seed-volumes: `%s`", v->path);
        if (bytes > left)
            return gv_error_set(err, GV_E_LIMIT, 0,
                                "--seed-volumes: what the image holds in `%s` needs %.3f GiB, and --storage-gib leaves %.3f", v->path,
                                (double)bytes / (1 << 30), (double)left / (1 << 30));
        left -= bytes;
        v->seeded = there == 1;
    }
    return 0;
}

int deployment_seed(const struct deployment *d, const struct deployment_volume *v, struct gvmi_image *img, const char *target,
                    const struct gv_log *log, struct gv_error *err)
{
    cleanup_free const char **paths = paths_of(d);
    int done = extract_share(img, v->path, paths, target, log, err);
    if (done == 0)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the image has no directory `%s` any more", v->path);
    return done < 0 ? gv_error_prefix(err, "--seed-volumes: `%s`", v->path) : 0;
}
