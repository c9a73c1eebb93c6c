/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which volumes a deployment has. The image's VOLUMEs are directories of the host. --volume-override is a JSON object from paths to one of
 * {"host":{}}, {"ram":{"size":S}} and {"storage":{"size":S, "preallocate":S, "errors":TEXT}}; it adds volumes, and replaces the image's of the same
 * path. Paths are compared in their normal form, because the image and the requestor may spell them differently.
 */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "exeunit/deployment.h"

#define BLOCK 4096U
/* An ext4 smaller than this has no room for files. */
#define DISK_MIN (UINT64_C(256) << 10)

static struct deployment_volume *find(struct deployment *d, const char *path)
{
    for (size_t i = 0; i < d->volume_count; i++)
        if (!strcmp(d->volumes[i].path, path))
            return &d->volumes[i];
    return NULL;
}

static void clear_volume(struct deployment_volume *v)
{
    free(v->path);
    free(v->name);
    free(v->errors);
}

void deployment_clear(struct deployment *d)
{
    gv_strv_clear(&d->packages);
    gv_strv_clear(&d->marks);
    free(d->hostname);
    for (size_t i = 0; i < d->volume_count; i++)
        clear_volume(&d->volumes[i]);
    free(d->volumes);
    *d = (struct deployment){ 0 };
}

/* Takes over v's strings. */
static int add_volume(struct deployment *d, const struct deployment_volume *v, struct gv_error *err)
{
    if (d->volume_count == DEPLOYMENT_VOLUMES_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "more than %u volumes", DEPLOYMENT_VOLUMES_MAX);
    d->volumes = gv_reallocarray(d->volumes, d->volume_count + 1, sizeof(*d->volumes));
    d->volumes[d->volume_count++] = *v;
    return 0;
}

static int add_image_volumes(struct deployment *d, const struct image_config *config, const struct gv_log *log, struct gv_error *err)
{
    for (size_t i = 0; i < config->volumes.count; i++) {
        cleanup_free char *path = gv_path_normal(config->volumes.items[i]);
        if (!path || !strcmp(path, "/")) {
            gv_warn(log, "the image's VOLUME `%s` is not a path below / and is left out", config->volumes.items[i]);
            continue;
        }
        if (find(d, path))
            continue;
        struct deployment_volume v = { .kind = VM_VOLUME_DIRECTORY, .path = gv_strdup(path) };
        if (add_volume(d, &v, err) < 0) {
            clear_volume(&v);
            return -1;
        }
    }
    return 0;
}

/* ---- the override ---------------------------------------------------------------------------------------------------------------- */

/* A number of bytes, or a text that exeunit_size() takes; absent and null leave *bytes alone. */
static int get_size(const json_t *object, const char *key, uint64_t *bytes, uint64_t *slack, struct gv_error *err)
{
    const json_t *v = json_object_get(object, key);
    if (!v || json_is_null(v))
        return 0;
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *bytes = (uint64_t)json_integer_value(v);
        return 0;
    }
    if (!json_is_string(v))
        return gv_error_set(err, GV_E_USAGE, 0, "its %s is neither a number of bytes nor a text such as \"1073.7 MB\"", key);
    return exeunit_size(json_string_value(v), bytes, slack, err);
}

static int get_errors(const json_t *object, struct deployment_volume *v, struct gv_error *err)
{
    static const char *const known[] = { "continue", "remount-ro", "panic" };
    const json_t *errors = json_object_get(object, "errors");
    const char *text = json_is_string(errors) ? json_string_value(errors) : NULL;
    if (!errors || json_is_null(errors))
        text = known[0];
    for (size_t i = 0; text && i < sizeof(known) / sizeof(known[0]); i++) {
        if (!strcmp(text, known[i])) {
            v->errors = gv_strdup(text);
            return 0;
        }
    }
    return gv_error_set(err, GV_E_USAGE, 0, "its `errors` is not one of continue, remount-ro, panic");
}

static int parse_mount(struct deployment_volume *v, const json_t *mount, struct gv_error *err)
{
    if (!json_is_object(mount) || json_object_size(mount) != 1)
        return gv_error_set(err, GV_E_USAGE, 0, "it is not an object with exactly one of host, ram and storage");
    const char *kind = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)mount));
    const json_t *body = json_object_get(mount, kind);
    if (!json_is_object(body))
        return gv_error_set(err, GV_E_USAGE, 0, "its `%s` is not an object", kind);
    if (!strcmp(kind, "host")) {
        if (!strcmp(v->path, "/"))
            return gv_error_set(err, GV_E_USAGE, 0, "the root cannot be a host directory; give it ram or storage");
        v->kind = VM_VOLUME_DIRECTORY;
        return 0;
    }
    if (strcmp(kind, "ram") != 0 && strcmp(kind, "storage") != 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not one of host, ram and storage", kind);
    v->kind = kind[0] == 'r' ? VM_VOLUME_RAM : VM_VOLUME_DISK;
    if (get_size(body, "size", &v->size, &v->slack, err) < 0)
        return -1;
    if (v->kind == VM_VOLUME_RAM)
        return v->size >= BLOCK ? 0 : gv_error_set(err, GV_E_USAGE, 0, "its size is missing, or less than %u bytes", BLOCK);
    if (v->size < DISK_MIN)
        return gv_error_set(err, GV_E_USAGE, 0, "its size is missing, or less than %" PRIu64 " KiB", DISK_MIN >> 10);
    if (get_size(body, "preallocate", &v->preallocate, NULL, err) < 0)
        return -1;
    if (v->preallocate > v->size)
        v->preallocate = v->size;
    return get_errors(body, v, err);
}

/* Puts an override in the place of the image's volume of that path, or adds it. Takes over v's strings. */
static int place(struct deployment *d, struct deployment_volume *v, struct gv_error *err)
{
    struct deployment_volume *there = find(d, v->path);
    if (!there)
        return add_volume(d, v, err);
    clear_volume(there);
    *there = *v;
    return 0;
}

static int apply_override(struct deployment *d, const char *text, struct gv_error *err)
{
    json_error_t where;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return gv_error_set(err, GV_E_USAGE, 0, "it is not JSON (column %d: %s)", where.column, where.text);
    int status = 0;
    cleanup_strv struct gv_strv seen = { 0 };
    if (!json_is_object(root))
        status = gv_error_set(err, GV_E_USAGE, 0, "it is not a JSON object");
    const char *key;
    json_t *mount;
    json_object_foreach (root, key, mount) {
        if (status < 0)
            break;
        /* Of "" and "//" the original made the root, and so do we. */
        struct deployment_volume v = { .path = *key ? gv_path_normal(key) : gv_strdup("/") };
        if (!v.path) {
            status = gv_error_set(err, GV_E_USAGE, 0, "`%s` is not an absolute path without `..`", key);
            break;
        }
        for (size_t i = 0; i < seen.count && status == 0; i++)
            if (!strcmp(seen.items[i], v.path))
                status = gv_error_set(err, GV_E_USAGE, 0, "`%s` is there twice", v.path);
        gv_strv_add(&seen, v.path);
        if (status == 0 && parse_mount(&v, mount, err) < 0)
            status = gv_error_prefix(err, "`%s`", key);
        if (status == 0)
            status = place(d, &v, err);
        if (status < 0)
            clear_volume(&v);
    }
    json_decref(root);
    return status;
}

/* ---- together -------------------------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct deployment_volume *)a)->path, ((const struct deployment_volume *)b)->path);
}

/* What was rounded up on its way to us is not more than was agreed: a size may be over by its slack, and is cut to fit then. */
static int check_storage(struct deployment *d, struct gv_error *err)
{
    uint64_t left = d->storage;
    for (size_t i = 0; i < d->volume_count; i++) {
        struct deployment_volume *v = &d->volumes[i];
        if (v->kind == VM_VOLUME_RAM)
            v->size -= v->size % BLOCK;
        if (v->kind != VM_VOLUME_DISK)
            continue;
        if (v->size > left && v->size - v->slack <= left)
            v->size = left;
        if (v->size > left)
            return gv_error_set(
                err, GV_E_LIMIT, 0,
                "the storage volumes want more than the %.3f GiB of --storage-gib: `%s` has %.3f GiB, and %.3f GiB are left",
                (double)d->storage / (1 << 30), v->path, (double)v->size / (1 << 30), (double)left / (1 << 30));
        v->size -= v->size % BLOCK;
        left -= v->size;
    }
    return 0;
}

int deployment_plan(struct deployment *d, const struct image_config *config, const char *override_json, const struct gv_log *log,
                    struct gv_error *err)
{
    if (add_image_volumes(d, config, log, err) < 0)
        return -1;
    if (override_json && apply_override(d, override_json, err) < 0)
        return gv_error_prefix(err, "--volume-override");
    if (d->volume_count)
        qsort(d->volumes, d->volume_count, sizeof(*d->volumes), compare);
    return check_storage(d, err);
}
