/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an image holds at the place of a volume, as the volume's first content. */
#include "extract/extract.h"

#include "image/image.h"

/* 1 when the image has a directory there, 0 when it has none, -1. */
static int has_directory(struct gvmi_image *img, const char *path, struct gv_error *err)
{
    struct gvmi_stat st;
    struct gv_error why = GV_ERROR_INIT;
    if (gvmi_lookup(img, path, true, &st, &why) == 0)
        return st.type == IMAGE_DIR;
    if (why.code == GV_E_NOT_FOUND)
        return 0;
    if (err)
        *err = why;
    return -1;
}

int extract_share_size(struct gvmi_image *img, const char *path, const char *const *volumes, uint64_t *bytes, struct gv_error *err)
{
    const struct extract_options o = { .root = path, .hollow = volumes, .share = true };
    int there = has_directory(img, path, err);
    return there == 1 && extract_measure(img, &o, bytes, err) < 0 ? -1 : there;
}

int extract_share(struct gvmi_image *img, const char *path, const char *const *volumes, const char *target, const struct gv_log *log,
                  struct gv_error *err)
{
    const struct extract_options o = { .root = path, .hollow = volumes, .share = true, .log = log };
    int there = has_directory(img, path, err);
    return there == 1 && extract_image(img, target, &o, NULL, err) < 0 ? -1 : there;
}
