/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What `docker save` writes. Since Docker 1.10 a manifest.json lists the images (Config, RepoTags, Layers as names of members); in the
 * layout of Docker 25 and later those names lie in blobs/sha256 and are digests. Before 1.10 there were only `repositories` (name, tag,
 * id of the topmost layer) and, for each layer, ID/json with the parent's id, and ID/layer.tar.
 */
#include <string.h>

#include "source/plan.h"

#define ID_HEX 64
#define ID_PREFIX_MIN 12 /* digits of an image id that may be given instead of a name */

static bool is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") >= n;
}

/* The digest that a member's name says it has: blobs/sha256/HEX, HEX.json, sha256:HEX. Others say nothing: size 0. */
static struct digest named_digest(const char *name)
{
    struct digest d = { 0 };
    const char *hex = NULL;
    size_t n = strlen(name);
    if (n == 13 + ID_HEX && !strncmp(name, "blobs/sha256/", 13))
        hex = name + 13;
    else if (n == ID_HEX + 5 && !strcmp(name + ID_HEX, ".json"))
        hex = name;
    else if (n == 7 + ID_HEX && !strncmp(name, "sha256:", 7))
        hex = name + 7;
    if (!hex || !is_hex(hex, ID_HEX))
        return d;
    cleanup_free char *text = gv_asprintf("sha256:%.*s", ID_HEX, hex);
    if (digest_parse(&d, text, NULL) < 0)
        d.size = 0;
    return d;
}

static int read_json(struct archive *a, const char *name, const struct digest *expected, struct gv_buf *out, struct gv_error *err)
{
    cleanup_blob struct blob b = BLOB_INIT;
    if (archive_find(a, name, &b, err) < 0)
        return -1;
    if (blob_read(&b, out, err) < 0)
        return gv_error_prefix(err, "`%.200s`", name);
    if (!expected || !expected->size)
        return 0;
    struct digest found = { .kind = expected->kind };
    found.size = gv_hash_bytes(found.kind, out->data, out->len, found.bytes);
    if (!digest_equal(&found, expected))
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.200s` has another digest than its name says", name);
    return 0;
}

/* ---- manifest.json ---- */

static bool id_matches(const json_t *image, const char *name)
{
    const char *config = json_string_of(image, "Config");
    struct digest id = config ? named_digest(config) : (struct digest){ 0 };
    if (!strncmp(name, "sha256:", 7))
        name += 7;
    size_t n = strlen(name);
    if (!id.size || n < ID_PREFIX_MIN || n > ID_HEX || !is_hex(name, n))
        return false;
    char hex[ID_HEX + 1];
    gv_hex(hex, id.bytes, id.size);
    return !strncmp(hex, name, n);
}

static const char *tag_matching(const json_t *image, const char *name)
{
    const json_t *tags = json_object_get(image, "RepoTags");
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const char *tag = json_string_value(json_array_get(tags, i));
        if (tag && (!name || name_equal(tag, name)))
            return tag;
    }
    return NULL;
}

/* What can be chosen, for messages. */
static char *list_images(const json_t *manifest)
{
    cleanup_strv struct gv_strv names = { 0 };
    for (size_t i = 0; i < json_array_size(manifest); i++) {
        const json_t *image = json_array_get(manifest, i), *tags = json_object_get(image, "RepoTags");
        size_t before = names.count;
        for (size_t k = 0; k < json_array_size(tags); k++)
            if (json_is_string(json_array_get(tags, k)))
                gv_strv_add(&names, json_string_value(json_array_get(tags, k)));
        const char *config = json_string_of(image, "Config");
        struct digest id = config ? named_digest(config) : (struct digest){ 0 };
        char text[DIGEST_SHORT];
        if (names.count == before && id.size) {
            digest_short(text, &id);
            gv_strv_add(&names, text);
        }
    }
    return name_list(&names);
}

static const json_t *choose_image(const json_t *manifest, const char *name, const char **tag, struct gv_error *err)
{
    size_t count = json_array_size(manifest);
    *tag = NULL;
    if (!name && count == 1) {
        *tag = tag_matching(json_array_get(manifest, 0), NULL);
        return json_array_get(manifest, 0);
    }
    for (size_t i = 0; name && i < count; i++) {
        const json_t *image = json_array_get(manifest, i);
        *tag = tag_matching(image, name);
        if (*tag)
            return image;
    }
    for (size_t i = 0; name && i < count; i++)
        if (id_matches(json_array_get(manifest, i), name))
            return json_array_get(manifest, i);
    cleanup_free char *list = list_images(manifest);
    if (!count)
        gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image in it");
    else if (name)
        gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image `%.200s` in it; there are: %s", name, list);
    else
        gv_error_set(err, GV_E_USAGE, 0, "there are several images in it; add the name of one of them, docker-archive:FILE:NAME: %s", list);
    return NULL;
}

static int plan_image(struct plan *p, struct archive *a, const json_t *image, struct gv_error *err)
{
    const char *config = json_string_of(image, "Config");
    const json_t *layers = json_object_get(image, "Layers");
    if (!config || (layers && !json_is_array(layers) && !json_is_null(layers)))
        return gv_error_set(err, GV_E_FORMAT, 0, "manifest.json does not say what the image is made of (Config, Layers)");
    if (json_array_size(layers) > PLAN_LAYERS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the image has %zu layers; %d are allowed", json_array_size(layers), PLAN_LAYERS_MAX);
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const char *name = json_string_value(json_array_get(layers, i));
        if (!name)
            return gv_error_set(err, GV_E_FORMAT, 0, "manifest.json has a layer without a name");
        struct plan_layer *l = plan_add_layer(p);
        l->name = gv_strdup(name);
        l->digest = named_digest(name);
    }
    cleanup_buf struct gv_buf blob = { 0 };
    struct digest id = named_digest(config);
    if (read_json(a, config, &id, &blob, err) < 0)
        return gv_error_prefix(err, "the image's configuration");
    return plan_config(p, &blob, err);
}

static int plan_manifest(struct plan *p, struct archive *a, const char *name, struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    if (read_json(a, "manifest.json", NULL, &text, err) < 0)
        return -1;
    cleanup_json json_t *manifest = json_parse(text.data, text.len, err);
    if (!manifest)
        return gv_error_prefix(err, "manifest.json");
    if (!json_is_array(manifest))
        return gv_error_set(err, GV_E_FORMAT, 0, "manifest.json is not a list of images");
    const char *tag;
    const json_t *image = choose_image(manifest, name, &tag, err);
    if (!image)
        return -1;
    p->name = tag ? gv_strdup(tag) : NULL;
    return plan_image(p, a, image, err);
}

/* ---- repositories ---- */

/* The id of the topmost layer of the image called `name`. */
static const char *choose_repository(json_t *repositories, const char *name, char **chosen, struct gv_error *err)
{
    cleanup_strv struct gv_strv names = { 0 };
    const char *repo, *tag, *found = NULL;
    json_t *tags, *id;
    size_t matches = 0;
    json_object_foreach (repositories, repo, tags) {
        if (!json_is_object(tags))
            continue;
        json_object_foreach (tags, tag, id) {
            cleanup_free char *full = gv_asprintf("%s:%s", repo, tag);
            gv_strv_add(&names, full);
            if (!json_is_string(id) || (name && !name_equal(full, name)))
                continue;
            if (!found || strcmp(found, json_string_value(id)) != 0)
                matches++;
            found = json_string_value(id);
            free(*chosen);
            *chosen = gv_strdup(full);
        }
    }
    cleanup_free char *list = name_list(&names);
    if (matches == 1)
        return found;
    if (matches)
        gv_error_set(err, GV_E_USAGE, 0, "there are several images in it; add the name of one of them, docker-archive:FILE:NAME: %s", list);
    else
        gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image `%.200s` in it; there are: %s", name ? name : "", list);
    return NULL;
}

/* The layers' ids from the topmost to the lowest, and the configuration of the topmost. */
static int walk_parents(struct plan *p, struct archive *a, const char *top, struct gv_strv *ids, struct gv_error *err)
{
    cleanup_free char *id = gv_strdup(top);
    while (id) {
        if (strlen(id) != ID_HEX || !is_hex(id, ID_HEX))
            return gv_error_set(err, GV_E_FORMAT, 0, "`%.80s` is not the id of a layer", id);
        if (ids->count >= PLAN_LAYERS_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "the image has more than %d layers", PLAN_LAYERS_MAX);
        cleanup_free char *name = gv_asprintf("%s/json", id);
        cleanup_buf struct gv_buf text = { 0 };
        if (read_json(a, name, NULL, &text, err) < 0)
            return -1;
        cleanup_json json_t *object = json_parse(text.data, text.len, err);
        if (!object || (ids->count == 0 && plan_config_object(p, object, id, err) < 0))
            return gv_error_prefix(err, "`%s`", name);
        const char *parent = json_string_of(object, "parent");
        gv_strv_add(ids, id);
        free(id);
        id = parent && *parent ? gv_strdup(parent) : NULL;
    }
    return 0;
}

static int plan_repositories(struct plan *p, struct archive *a, const char *name, struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    cleanup_strv struct gv_strv ids = { 0 };
    if (read_json(a, "repositories", NULL, &text, err) < 0)
        return -1;
    cleanup_json json_t *repositories = json_parse(text.data, text.len, err);
    if (!repositories)
        return gv_error_prefix(err, "repositories");
    const char *top = choose_repository(repositories, name, &p->name, err);
    if (!top || walk_parents(p, a, top, &ids, err) < 0)
        return -1;
    for (size_t i = ids.count; i-- > 0;)
        plan_add_layer(p)->name = gv_asprintf("%s/layer.tar", ids.items[i]);
    return 0;
}

int docker_plan(struct plan *p, struct archive *a, const char *name, struct gv_error *err)
{
    if (archive_has(a, "manifest.json"))
        return plan_manifest(p, a, name, err);
    if (archive_has(a, "repositories"))
        return plan_repositories(p, a, name, err);
    return gv_error_set(err, GV_E_FORMAT, 0, "this is not a Docker archive: it has neither manifest.json nor repositories");
}
