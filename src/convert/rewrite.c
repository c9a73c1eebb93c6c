/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Another configuration for a finished .gvmi. The metadata is edited as JSON: of the keys that gvmkit knows those whose meaning has changed are replaced, all
 * else stays as it was, unknown keys (other tools' own, HEALTHCHECK) and empty values included. Keys come out sorted, as conversion writes them.
 */
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/edit.h"
#include "convert/rules.h"

static void cleanup_json_fn(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(cleanup_json_fn)))

/* What image_config_format() makes of it. */
static json_t *formatted(const struct image_config *config)
{
    cleanup_free char *text = image_config_format(config);
    return json_loads(text, 0, NULL);
}

/* The metadata `old`, whose known part means `before`, changed to mean `after`. The caller frees it. */
static char *merge(const char *old, const struct image_config *before, const struct image_config *after, struct gv_error *err)
{
    json_error_t why;
    cleanup_json json_t *all = json_loads(old, 0, &why), *was = formatted(before), *is = formatted(after);
    if (!all || !was || !is) {
        gv_error_set(err, GV_E_FORMAT, 0, "its metadata is not valid JSON (%s)", all ? "" : why.text);
        return NULL;
    }
    if (json_equal(was, is))
        return gv_strdup(old);
    const char *key;
    json_t *value;
    json_object_foreach (was, key, value)
        if (!json_object_get(is, key))
            json_object_del(all, key);
    json_object_foreach (is, key, value)
        if (!json_equal(value, json_object_get(was, key)))
            json_object_set(all, key, value);
    char *text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        gv_error_set(err, GV_E_INTERNAL, 0, "the metadata cannot be written as JSON");
    return text;
}

static int edit_metadata(struct gvmi_image *img, const struct convert_rewrite_options *o, char **json, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_image_config_fn))) struct image_config config = { 0 };
    const struct look look = { .img = img };
    if (image_config_parse(&config, gvmi_metadata(img), gvmi_info(img)->metadata_size, err) < 0)
        return -1;
    if (o->edits && edit_config(&config, o->edits, o->as_is ? NULL : &look, o->log, err) < 0)
        return -1;
    if (o->numeric_user && config_numeric_user(&config, &look, err) < 0)
        return -1;
    *json = merge(gvmi_metadata(img), gvmi_config(img), &config, err);
    return *json ? 0 : -1;
}

/* In place: the new file is the user's as the old one was. What cannot be kept is left, as with any new file. */
static void keep_owner(int fd, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return;
    (void)!fchown(fd, st.st_uid, st.st_gid);
    (void)!fchmod(fd, st.st_mode & 0777);
}

int convert_rewrite(const char *path, const char *output, const struct convert_rewrite_options *options, struct gvmi_write_result *result,
                    struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    cleanup_free char *json = NULL;
    /* A link to the file stays one. */
    cleanup_free char *real = output ? NULL : realpath(path, NULL);
    const char *target = output ? output : real ? real : path;
    if (output && !options->force && access(output, F_OK) == 0)
        return gv_error_set(err, GV_E_EXISTS, 0, "`%s` exists already; use --force to replace it, or another --output", output);
    if (gvmi_open(&img, path, err) < 0)
        return -1;
    if (edit_metadata(img, options, &json, err) < 0)
        return gv_error_prefix(err, "%s", path);
    struct gv_outfile *file;
    if (gv_outfile_open(&file, target, 0644, err) < 0)
        return -1;
    if (!output)
        keep_owner(gv_outfile_fd(file), target);
    if (gvmi_rewrite(img, gv_outfile_fd(file), json, options->progress, result, err) < 0) {
        gv_outfile_discard(file);
        return gv_error_prefix(err, "cannot write `%s`", target);
    }
    return gv_outfile_commit(file, err);
}
