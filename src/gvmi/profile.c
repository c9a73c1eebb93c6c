/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the profiles are is measured in docs/image-format.md. */
#include <string.h>

#include "gvmi/gvmi.h"

static const struct gvmi_profile profiles[] = {
    { "golem", "gzip; every provider can mount it, and updates share most of their bytes", GVMI_GZIP, 6, 128U << 10 },
    { "small", "xz; the smallest, slower to make and to read", GVMI_XZ, 6, 1U << 20 },
    { "fast", "zstd; made fastest, for this runtime only: the original one cannot mount it", GVMI_ZSTD, 1, 128U << 10 },
    { 0 },
};

const struct gvmi_profile *gvmi_profiles(void)
{
    return profiles;
}

int gvmi_profile(const char *name, struct gvmi_write_options *options, struct gv_error *err)
{
    for (const struct gvmi_profile *p = profiles; p->name; p++) {
        if (strcmp(p->name, name) != 0)
            continue;
        options->compression = p->compression;
        options->level = p->level;
        options->block_size = p->block_size;
        return 0;
    }
    return gv_error_set(err, GV_E_USAGE, 0, "there is no profile `%s`; there are golem, small and fast", name);
}
