/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The way of an image: loaded by `source`, put right (rules.h), edited, stripped, its files grouped by packages, written by `gvmi`. Configuration rules come
 * before the edits, so that editing the finished file gives the same.
 */
#include "convert/convert.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

#include "convert/edit.h"
#include "convert/rules.h"
#include "convert/strip.h"
#include "packages/packages.h"

void convert_result_clear(struct convert_result *r)
{
    free(r->name);
    free(r->path);
    for (size_t i = 0; i < CONVERT_STRIP_CLASSES; i++)
        gv_strv_clear(&r->stripped[i].paths);
    *r = (struct convert_result){ 0 };
}

/* "localhost:5000/a/b:1.0" and the id give "a-b-1.0-0123456789.gvmi": neither the registry's host nor a digest belongs into a file's name. */
static char *derive_name(const char *name, const char *id)
{
    const char *rest = name ? name : "image";
    const char *slash = strchr(rest, '/');
    if (slash) {
        size_t host = (size_t)(slash - rest);
        if (memchr(rest, '.', host) || memchr(rest, ':', host) || (host == 9 && !memcmp(rest, "localhost", 9)))
            rest = slash + 1;
    }
    int len = (int)strcspn(rest, "@");
    cleanup_free char *base = gv_asprintf("%.*s", len > 180 ? 180 : len, rest);
    char *out = gv_asprintf("%s%s-%.10s.gvmi", base, name && !strchr(base, ':') ? "-latest" : "", id ? id : "0");
    for (char *p = out; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            *p = '-';
    if (out[0] == '.' || out[0] == '-')
        out[0] = '_';
    return out;
}

/* "dir:/srv/root" and "tar:root.tar.gz" give "root.gvmi": what is no image has neither name nor id. */
static char *name_after_path(const char *reference)
{
    cleanup_free char *path = gv_strdup(reference);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    const char *base = path + strcspn(path, ":");
    base = *base ? base + 1 : path;
    base = strrchr(base, '/') ? strrchr(base, '/') + 1 : base;
    const char *end = strstr(base, ".tar");
    int len = (int)(end ? (size_t)(end - base) : strlen(base));
    if (len == 0 || *base == '.' || *base == '-')
        return gv_strdup("image.gvmi");
    return gv_asprintf("%.*s.gvmi", len > 180 ? 180 : len, base);
}

/* The tree and the configuration as they shall be. */
static int prepare(struct source_image *image, const struct convert_options *o, struct convert_result *result, struct gv_error *err)
{
    const struct look look = { .tree = image->tree };
    const struct gv_log *log = o->source.log;
    if (!o->as_is) {
        root_fit(image->tree, image->totals.newest_mtime, log);
        if (config_fit(&image->config, &look, log, err) < 0)
            return -1;
    }
    if (o->edits && edit_config(&image->config, o->edits, o->as_is ? NULL : &look, log, err) < 0)
        return -1;
    if (o->numeric_user && config_numeric_user(&image->config, &look, err) < 0)
        return -1;
    image_tree_finish(image->tree, &image->totals);
    if (o->strip) {
        strip_tree(image->tree, &image->config, o->strip, result->stripped);
        image_tree_finish(image->tree, &image->totals);
    }
    struct packages_summary packages;
    return packages_assign(image->tree, &packages, log, err);
}

/* Whether the file at path is a .gvmi of the same image; `whole`: with the same configuration, too. */
static bool holds_image(const char *path, const struct image_config *config, bool whole)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (!config->image || access(path, F_OK) < 0 || gvmi_open(&img, path, NULL) < 0)
        return false;
    const struct image_config *have = gvmi_config(img);
    if (!have->image || strcmp(have->image, config->image) != 0)
        return false;
    if (!whole)
        return true;
    cleanup_free char *is = image_config_format(have), *wanted = image_config_format(config);
    return strcmp(is, wanted) == 0;
}

/*
 * Whether the file is there already, told without loading the image: the daemon can say which image a name is. output NULL is the derived name, as far as it
 * follows from the reference.
 */
static bool kept_unloaded(const char *reference, const char *output, const struct convert_options *options, struct convert_result *result)
{
    static const char daemon[] = "docker-daemon:", exact[] = "docker-daemon:sha256:";
    cleanup_free char *resolved = NULL, *derived = NULL;
    if (source_resolve(reference, &options->source, &resolved, NULL) < 0 || strncmp(resolved, exact, strlen(exact)) != 0)
        return false;
    struct image_config wanted = { .image = resolved + strlen(exact) };
    const char *name = strncmp(reference, daemon, strlen(daemon)) ? reference : reference + strlen(daemon);
    if (!output)
        output = derived = derive_name(name, wanted.image);
    if (!holds_image(output, &wanted, false))
        return false;
    result->name = gv_strdup(name);
    result->path = gv_strdup(output);
    result->kept = true;
    return true;
}

static int refuse_existing(const char *output, struct gv_error *err)
{
    if (access(output, F_OK) < 0)
        return 0;
    return gv_error_set(err, GV_E_EXISTS, 0, "`%s` exists already; use --force to replace it, or --output for another name", output);
}

int convert_to_file(const char *reference, const char *output, bool force, const struct convert_options *options,
                    struct convert_result *result, struct gv_error *err)
{
    if (gvmi_write_check(&options->write, err) < 0)
        return -1;
    /* Edits may make another configuration of the same image, which is known when they are done. */
    bool edited = options->numeric_user || options->strip || (options->edits && options->edits->count > 0);
    bool keep = options->replace_other && !force;
    if (keep && !edited && kept_unloaded(reference, output, options, result))
        return 0;
    force |= options->replace_other;
    /* A name that the user gave is checked before the work, a derived one as soon as it is known. */
    if (output && !force && refuse_existing(output, err) < 0)
        return -1;
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
        bool named = image.name || image.config.image;
        output = derived = named ? derive_name(image.name, image.config.image) : name_after_path(reference);
        if ((!force && refuse_existing(output, err) < 0) || gv_outfile_open(&file, output, 0644, err) < 0)
            return -1;
    }
    result->name = steal_ptr(image.name);
    result->path = gv_strdup(output);
    result->archive_bytes = image.archive_bytes;
    result->layer_bytes = image.layer_bytes;
    result->layers = image.layers;
    result->kept = keep && !edited && holds_image(output, &image.config, false);
    int status = result->kept ? 0 : prepare(&image, options, result, err);
    if (keep && edited && !options->strip && status == 0)
        result->kept = holds_image(output, &image.config, true);
    if (status < 0 || result->kept) {
        gv_outfile_discard(file);
        return status;
    }
    result->totals = image.totals;
    if (gvmi_write(gv_outfile_fd(file), image.tree, &image.config, &options->write, &result->image, err) < 0) {
        gv_outfile_discard(file);
        return gv_error_prefix(err, "cannot write `%s`", output);
    }
    return gv_outfile_commit(file, err);
}
