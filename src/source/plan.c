/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/plan.h"

#include <string.h>

void plan_clear(struct plan *p)
{
    free(p->name);
    image_config_clear(&p->config);
    platform_clear(&p->platform);
    for (size_t i = 0; i < p->count; i++)
        free(p->layers[i].name);
    free(p->layers);
    *p = (struct plan){ 0 };
}

struct plan_layer *plan_add_layer(struct plan *p)
{
    p->layers = gv_reallocarray(p->layers, p->count + 1, sizeof(*p->layers));
    p->layers[p->count] = (struct plan_layer){ 0 };
    return &p->layers[p->count++];
}

static char *copy_of(const json_t *object, const char *key)
{
    const char *s = json_string_of(object, key);
    return s && *s ? gv_strdup(s) : NULL;
}

int plan_config_object(struct plan *p, const json_t *object, const char *id, struct gv_error *err)
{
    if (!json_is_object(object))
        return gv_error_set(err, GV_E_FORMAT, 0, "the image's configuration is not a JSON object");
    platform_clear(&p->platform);
    p->platform.os = copy_of(object, "os");
    p->platform.architecture = copy_of(object, "architecture");
    p->platform.variant = copy_of(object, "variant");
    const json_t *config = json_object_get(object, "config");
    if (config && !json_is_null(config) && !json_is_object(config))
        return gv_error_set(err, GV_E_FORMAT, 0, "its `config` is not a JSON object");
    if (json_is_object(config)) {
        cleanup_free char *text = json_dumps(config, JSON_COMPACT);
        if (!text)
            return gv_error_set(err, GV_E_FORMAT, 0, "the image's configuration cannot be read");
        if (image_config_parse(&p->config, text, strlen(text), err) < 0)
            return -1;
    }
    free(p->config.image);
    p->config.image = gv_strdup(id);
    return 0;
}

static int diff_ids(struct plan *p, const json_t *object, struct gv_error *err)
{
    const json_t *rootfs = json_object_get(object, "rootfs"), *ids = json_object_get(rootfs, "diff_ids");
    const char *type = json_string_of(rootfs, "type");
    if (type && strcmp(type, "layers") != 0)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "the image's root file system is of the kind `%.60s`, not of layers", type);
    if (!json_is_array(ids) && p->count)
        return gv_error_set(err, GV_E_FORMAT, 0, "the image's configuration does not name its layers (rootfs.diff_ids)");
    if (json_array_size(ids) != p->count)
        return gv_error_set(err, GV_E_FORMAT, 0, "the image's manifest has %zu layers and its configuration %zu", p->count,
                            json_array_size(ids));
    for (size_t i = 0; i < p->count; i++) {
        const char *text = json_string_value(json_array_get(ids, i));
        if (digest_parse(&p->layers[i].diff_id, text ? text : "", err) < 0)
            return gv_error_prefix(err, "rootfs.diff_ids");
    }
    return 0;
}

int plan_config(struct plan *p, const struct gv_buf *blob, struct gv_error *err)
{
    unsigned char hash[GV_HASH_MAX];
    char id[2 * GV_SHA256_SIZE + 1];
    gv_hash_bytes(GV_HASH_SHA256, blob->data, blob->len, hash);
    gv_hex(id, hash, GV_SHA256_SIZE);
    cleanup_json json_t *object = json_parse(blob->data, blob->len, err);
    if (!object || plan_config_object(p, object, id, err) < 0 || diff_ids(p, object, err) < 0)
        return gv_error_prefix(err, "the image's configuration");
    return 0;
}
