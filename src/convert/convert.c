/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "convert/convert.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

void convert_result_clear(struct convert_result *r)
{
    free(r->name);
    free(r->path);
    *r = (struct convert_result){ 0 };
}

/* "localhost:5000/a/b:1.0" and the id give "a-b-1.0-0123456789.gvmi": the registry's host does not belong into a file's name. */
static char *derive_name(const char *name, const char *id)
{
    const char *rest = name ? name : "image";
    const char *slash = strchr(rest, '/');
    if (slash) {
        size_t host = (size_t)(slash - rest);
        if (memchr(rest, '.', host) || memchr(rest, ':', host) || (host == 9 && !memcmp(rest, "localhost", 9)))
            rest = slash + 1;
    }
    char *out = gv_asprintf("%.180s-%.10s.gvmi", rest, id ? id : "0");
    for (char *p = out; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            *p = '-';
    if (out[0] == '.')
        out[0] = '-';
    return out;
}

int convert_to_file(const char *reference, const char *output, bool force, const struct convert_options *options,
                    struct convert_result *result, struct gv_error *err)
{
    /* A name that the user gave is checked before the work, a derived one as soon as it is known. */
    if (output && !force && access(output, F_OK) == 0)
        return gv_error_set(err, GV_E_EXISTS, 0, "`%s` exists already; use --force to replace it, or another --output", output);
    struct gv_outfile *file = NULL;
    if (output && gv_outfile_open(&file, output, 0644, err) < 0)
        return -1;
    __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
    if (source_load(&image, reference, &options->source, err) < 0) {
        gv_outfile_discard(file);
        return -1;
    }
    cleanup_free char *derived = NULL;
    if (!output) {
        output = derived = derive_name(image.name, image.config.image);
        if (!force && access(output, F_OK) == 0)
            return gv_error_set(err, GV_E_EXISTS, 0, "`%s` exists already; use --force to replace it, or --output for another name",
                                output);
        if (gv_outfile_open(&file, output, 0644, err) < 0)
            return -1;
    }
    if (gvmi_write(gv_outfile_fd(file), image.tree, &image.config, &options->write, &result->image, err) < 0) {
        gv_outfile_discard(file);
        return gv_error_prefix(err, "cannot write `%s`", output);
    }
    if (gv_outfile_commit(file, err) < 0)
        return -1;
    result->name = steal_ptr(image.name);
    result->totals = image.totals;
    result->archive_bytes = image.archive_bytes;
    result->layer_bytes = image.layer_bytes;
    result->layers = image.layers;
    result->path = gv_strdup(output);
    return 0;
}
