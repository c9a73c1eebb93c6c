/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

#define CONFIG_MAX ((size_t)1 << 20)

static void cleanup_json_fn(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(cleanup_json_fn)))

void image_config_clear(struct image_config *c)
{
    gv_strv_clear(&c->env);
    gv_strv_clear(&c->entrypoint);
    gv_strv_clear(&c->cmd);
    gv_strv_clear(&c->volumes);
    gv_strv_clear(&c->exposed);
    gv_strv_clear(&c->labels);
    free(c->user);
    free(c->workdir);
    free(c->stop_signal);
    free(c->image);
    *c = (struct image_config){ 0 };
}

static int wrong_type(const char *key, const char *want, struct gv_error *err)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "the configuration's `%s` is not %s", key, want);
}

static int get_string(const json_t *o, const char *key, char **out, struct gv_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_string(v))
        return wrong_type(key, "a string", err);
    if (*json_string_value(v))
        *out = gv_strdup(json_string_value(v));
    return 0;
}

static int get_list(const json_t *o, const char *key, struct gv_strv *out, bool *present, struct gv_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_array(v))
        return wrong_type(key, "a list of strings", err);
    size_t n = json_array_size(v);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(v, i);
        if (!json_is_string(s))
            return wrong_type(key, "a list of strings", err);
        gv_strv_add(out, json_string_value(s));
    }
    if (present)
        *present = true;
    return 0;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Docker writes a set as an object whose values are empty objects. */
static int get_set(json_t *o, const char *key, struct gv_strv *out, struct gv_error *err)
{
    json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_object(v))
        return wrong_type(key, "an object", err);
    const char *name;
    json_t *member;
    json_object_foreach (v, name, member)
        gv_strv_add(out, name);
    if (out->count)
        qsort(out->items, out->count, sizeof(char *), compare_strings);
    return 0;
}

static int get_labels(json_t *o, struct gv_strv *out, struct gv_error *err)
{
    json_t *v = json_object_get(o, "Labels");
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_object(v))
        return wrong_type("Labels", "an object of strings", err);
    cleanup_strv struct gv_strv keys = { 0 };
    const char *name;
    json_t *member;
    json_object_foreach (v, name, member) {
        if (!json_is_string(member))
            return wrong_type("Labels", "an object of strings", err);
        gv_strv_add(&keys, name);
    }
    if (keys.count)
        qsort(keys.items, keys.count, sizeof(char *), compare_strings);
    for (size_t i = 0; i < keys.count; i++) {
        gv_strv_add(out, keys.items[i]);
        gv_strv_add(out, json_string_value(json_object_get(v, keys.items[i])));
    }
    return 0;
}

int image_config_parse(struct image_config *c, const char *json, size_t n, struct gv_error *err)
{
    if (n > CONFIG_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the configuration is larger than %zu bytes", CONFIG_MAX);
    json_error_t je;
    /* Jansson itself refuses more than 2048 levels, duplicate keys on request, invalid UTF-8 and (by default) "\u0000" in strings. */
    cleanup_json json_t *o = json_loadb(json, n, JSON_REJECT_DUPLICATES, &je);
    if (!o)
        return gv_error_set(err, GV_E_FORMAT, 0, "the configuration is not valid JSON (%s)", je.text);
    if (!json_is_object(o))
        return gv_error_set(err, GV_E_FORMAT, 0, "the configuration is not a JSON object");
    if (get_list(o, "Env", &c->env, NULL, err) < 0 || get_list(o, "Entrypoint", &c->entrypoint, &c->has_entrypoint, err) < 0 ||
        get_list(o, "Cmd", &c->cmd, &c->has_cmd, err) < 0 || get_string(o, "User", &c->user, err) < 0 ||
        get_string(o, "WorkingDir", &c->workdir, err) < 0 || get_set(o, "Volumes", &c->volumes, err) < 0 ||
        get_set(o, "ExposedPorts", &c->exposed, err) < 0 || get_labels(o, &c->labels, err) < 0 ||
        get_string(o, "StopSignal", &c->stop_signal, err) < 0 || get_string(o, "Image", &c->image, err) < 0) {
        image_config_clear(c);
        return -1;
    }
    return 0;
}

static void must(int failed)
{
    if (failed)
        abort(); /* jansson fails on invalid UTF-8, which the setters of image_config keep out, and without memory */
}

static void put_list(json_t *o, const char *key, const struct gv_strv *v)
{
    json_t *a = json_array();
    for (size_t i = 0; i < v->count; i++)
        must(json_array_append_new(a, json_string(v->items[i])));
    must(json_object_set_new(o, key, a));
}

static void put_set(json_t *o, const char *key, const struct gv_strv *v)
{
    if (!v->count)
        return;
    json_t *s = json_object();
    for (size_t i = 0; i < v->count; i++)
        must(json_object_set_new(s, v->items[i], json_object()));
    must(json_object_set_new(o, key, s));
}

static void put_string(json_t *o, const char *key, const char *s)
{
    if (s && *s)
        must(json_object_set_new(o, key, json_string(s)));
}

char *image_config_format(const struct image_config *c)
{
    cleanup_json json_t *o = json_object();
    if (c->env.count)
        put_list(o, "Env", &c->env);
    if (c->has_entrypoint)
        put_list(o, "Entrypoint", &c->entrypoint);
    if (c->has_cmd)
        put_list(o, "Cmd", &c->cmd);
    put_string(o, "User", c->user);
    put_string(o, "WorkingDir", c->workdir);
    put_set(o, "Volumes", &c->volumes);
    put_set(o, "ExposedPorts", &c->exposed);
    if (c->labels.count) {
        json_t *l = json_object();
        for (size_t i = 0; i + 1 < c->labels.count; i += 2)
            must(json_object_set_new(l, c->labels.items[i], json_string(c->labels.items[i + 1])));
        must(json_object_set_new(o, "Labels", l));
    }
    put_string(o, "StopSignal", c->stop_signal);
    put_string(o, "Image", c->image);
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    must(text == NULL);
    return text;
}

const char *image_config_getenv(const struct image_config *c, const char *name)
{
    size_t len = strlen(name);
    const char *value = NULL;
    for (size_t i = 0; i < c->env.count; i++)
        if (!strncmp(c->env.items[i], name, len) && c->env.items[i][len] == '=')
            value = c->env.items[i] + len + 1;
    return value;
}
