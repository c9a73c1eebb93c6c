/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Records are for people and scripts, too (`gvmkit ps --json`), so their texts are plain JSON; what is not UTF-8 is taken as Latin-1. */
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "vms/vms.h"

#define LIST_MAX 65536U

static inline void json_cleanup(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(json_cleanup)))

static const char *const states[] = { [VMS_STARTING] = "starting", [VMS_RUNNING] = "running", [VMS_ENDED] = "ended", [VMS_DIED] = "died" };

const char *vms_state_text(enum vms_state state)
{
    return states[state];
}

int64_t vms_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void vms_record_clear(struct vms_record *r)
{
    free(r->name);
    free(r->image);
    free(r->hash);
    free(r->error);
    gv_strv_clear(&r->argv);
    gv_strv_clear(&r->ports);
    for (size_t i = 0; i < r->volume_count; i++) {
        free(r->volumes[i].host);
        free(r->volumes[i].guest);
    }
    free(r->volumes);
    *r = (struct vms_record){ 0 };
}

/* ---- writing ---------------------------------------------------------------------------------------------------------------------- */

static json_t *text_json(const char *s)
{
    json_t *j = json_string(s ? s : "");
    if (j)
        return j;
    cleanup_buf struct gv_buf b = { 0 };
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s, two[2] = { (unsigned char)(0xc0 | c >> 6), (unsigned char)(0x80 | (c & 0x3f)) };
        gv_buf_add(&b, c < 0x80 ? &c : two, c < 0x80 ? 1 : 2);
    }
    return json_string(gv_buf_str(&b));
}

static json_t *list_json(const struct gv_strv *list)
{
    json_t *a = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(a, text_json(list->items[i]));
    return a;
}

static void put_text(json_t *o, const char *key, const char *value)
{
    if (value)
        json_object_set_new(o, key, text_json(value));
}

static void put_number(json_t *o, const char *key, int64_t value)
{
    if (value)
        json_object_set_new(o, key, json_integer(value));
}

char *vms_record_format(const struct vms_record *r)
{
    cleanup_json json_t *o = json_object();
    put_text(o, "name", r->name);
    put_text(o, "image", r->image);
    put_text(o, "hash", r->hash);
    json_object_set_new(o, "command", list_json(&r->argv));
    json_object_set_new(o, "state", json_string(states[r->state]));
    json_object_set_new(o, "detached", json_boolean(r->detached));
    if (r->state == VMS_ENDED)
        json_object_set_new(o, "status", json_integer(r->status));
    put_text(o, "error", r->error);
    put_number(o, "created_ms", r->created_ms);
    put_number(o, "started_ms", r->started_ms);
    put_number(o, "ended_ms", r->ended_ms);
    put_number(o, "owner", r->owner);
    put_number(o, "qemu", r->qemu);
    json_object_set_new(o, "ports", list_json(&r->ports));
    json_t *volumes = json_array();
    for (size_t i = 0; i < r->volume_count; i++)
        json_array_append_new(volumes, json_pack("{s:o, s:o, s:b}", "host", text_json(r->volumes[i].host), "guest",
                                                 text_json(r->volumes[i].guest), "readonly", r->volumes[i].readonly));
    json_object_set_new(o, "volumes", volumes);
    char *text = json_dumps(o, JSON_COMPACT);
    if (!text)
        abort(); /* no memory */
    return text;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------------- */

static int get_text(const json_t *o, const char *key, char **out)
{
    const json_t *j = json_object_get(o, key);
    if (j && !json_is_string(j))
        return -1;
    *out = j ? gv_strdup(json_string_value(j)) : NULL;
    return 0;
}

static int get_number(const json_t *o, const char *key, int64_t max, int64_t *out)
{
    const json_t *j = json_object_get(o, key);
    *out = json_integer_value(j);
    return j && (!json_is_integer(j) || *out < 0 || *out > max) ? -1 : 0;
}

static int get_list(const json_t *o, const char *key, struct gv_strv *out)
{
    const json_t *list = json_object_get(o, key);
    if (!json_is_array(list) || json_array_size(list) > LIST_MAX)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (!s)
            return -1;
        gv_strv_add(out, s);
    }
    return 0;
}

static int get_volumes(const json_t *o, struct vms_record *r)
{
    const json_t *list = json_object_get(o, "volumes");
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > LIST_MAX)
        return -1;
    r->volumes = gv_calloc(n + 1, sizeof(*r->volumes));
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        struct vms_volume *to = &r->volumes[r->volume_count++];
        if (get_text(v, "host", &to->host) < 0 || get_text(v, "guest", &to->guest) < 0 || !to->host || !to->guest)
            return -1;
        to->readonly = json_is_true(json_object_get(v, "readonly"));
    }
    return 0;
}

static int get_state(const json_t *o, enum vms_state *out)
{
    const char *word = json_string_value(json_object_get(o, "state"));
    for (size_t i = 0; word && i < sizeof(states) / sizeof(states[0]); i++) {
        if (!strcmp(word, states[i])) {
            *out = (enum vms_state)i;
            return 0;
        }
    }
    return -1;
}

static int get_record(struct vms_record *r, const json_t *o)
{
    int64_t status, owner, qemu;
    if (get_text(o, "name", &r->name) < 0 || !r->name || get_text(o, "image", &r->image) < 0 || get_text(o, "hash", &r->hash) < 0 ||
        get_text(o, "error", &r->error) < 0 || get_list(o, "command", &r->argv) < 0 || get_list(o, "ports", &r->ports) < 0 ||
        get_volumes(o, r) < 0 || get_state(o, &r->state) < 0 || get_number(o, "status", 255, &status) < 0 ||
        get_number(o, "owner", INT32_MAX, &owner) < 0 || get_number(o, "qemu", INT32_MAX, &qemu) < 0 ||
        get_number(o, "created_ms", INT64_MAX, &r->created_ms) < 0 || get_number(o, "started_ms", INT64_MAX, &r->started_ms) < 0 ||
        get_number(o, "ended_ms", INT64_MAX, &r->ended_ms) < 0)
        return -1;
    r->detached = json_is_true(json_object_get(o, "detached"));
    r->status = (int)status;
    r->owner = (pid_t)owner;
    r->qemu = (pid_t)qemu;
    return 0;
}

int vms_record_parse(struct vms_record *r, const char *json, size_t n, struct gv_error *err)
{
    cleanup_json json_t *o = json_loadb(json, n, 0, NULL);
    if (!json_is_object(o) || get_record(r, o) < 0) {
        vms_record_clear(r);
        return gv_error_set(err, GV_E_FORMAT, 0, "it is no record of a VM");
    }
    return 0;
}
