/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "compare/compare.h"

static json_t *as_json(const struct image_config *c)
{
    cleanup_free char *text = image_config_format(c);
    json_t *o = json_loads(text, 0, NULL);
    return o ? o : json_object();
}

static char *as_text(const json_t *v)
{
    return v ? json_dumps(v, JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
}

size_t compare_config(const struct image_config *a, const struct image_config *b,
                      void (*fn)(void *user, const char *key, const char *old, const char *now), void *user)
{
    json_t *x = as_json(a), *y = as_json(b), *all = json_object();
    size_t differences = 0;
    const char *key;
    json_t *value;
    /* The keys of both, in the order of the formatted configurations, which is sorted. */
    json_object_update(all, x);
    json_object_update_missing(all, y);
    size_t count = 0;
    cleanup_free const char **keys = gv_calloc(json_object_size(all) + 1, sizeof(*keys));
    json_object_foreach (all, key, value) {
        size_t at = count++;
        for (; at > 0 && strcmp(keys[at - 1], key) > 0; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *old = json_object_get(x, keys[i]), *now = json_object_get(y, keys[i]);
        if (old && now && json_equal(old, now))
            continue;
        cleanup_free char *old_text = as_text(old), *now_text = as_text(now);
        fn(user, keys[i], old_text, now_text);
        differences++;
    }
    json_decref(all);
    json_decref(x);
    json_decref(y);
    return differences;
}
