/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `convert`: from a reference to a finished .gvmi, which is `source` and `gvmi` joined. Either to a file of the user's, or into a
 * cache of conversions, so that a Docker archive can be run as if it were a .gvmi.
 */
#ifndef GV_CONVERT_H
#define GV_CONVERT_H

#include <stdbool.h>

#include "core/core.h"
#include "gvmi/gvmi.h"
#include "source/source.h"

struct convert_options {
    struct source_options source;
    struct gvmi_write_options write;
};

struct convert_result {
    char *name; /* the image's name in its archive; NULL if it has none */
    struct gvmi_write_result image;
    struct image_tree_totals totals;
    uint64_t archive_bytes; /* size of the input */
    uint64_t layer_bytes;   /* of all layers, uncompressed: what Docker reports, roughly */
    uint32_t layers;
    char *path; /* of the file written */
};

void convert_result_clear(struct convert_result *r);
static inline void gv_cleanup_convert_result_fn(struct convert_result *r)
{
    convert_result_clear(r);
}

/*
 * Converts `reference` (see source_load) into the file `output`; NULL derives a name in the current directory from the image's name and
 * id, as gvmkit-build does: USER-REPO-TAG-<10 digits of the id>.gvmi. An existing file is refused unless force is set. Nothing is left when it
 * fails. *result must be zero-initialised and is the caller's to clear.
 */
int convert_to_file(const char *reference, const char *output, bool force, const struct convert_options *options,
                    struct convert_result *result, struct gv_error *err);

/*
 * The path of a .gvmi for `image`: the file itself when it is a .gvmi, else a conversion in the cache, made now unless it is there already. The
 * caller frees *path and keeps *lock (a descriptor, -1 for the user's own file) open while the file is in use. At most CONVERT_CACHE_MAX
 * bytes of conversions are kept; the least recently used ones that nobody uses go first.
 */
#define CONVERT_CACHE_MAX ((uint64_t)10 << 30)
int convert_for_use(const char *image, const struct convert_options *options, char **path, int *lock, struct gv_error *err);

#endif
