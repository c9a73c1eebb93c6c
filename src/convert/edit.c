/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Edits of a configuration. They are checked when they are given, so that wrong ones are refused before any work, and carried out in their order. Nothing is
 * changed that no edit names; a new ENTRYPOINT takes CMD away, as in a Dockerfile and with `docker run`, unless CMD is given too.
 */
#include "convert/edit.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "convert/rules.h"

#define VALUE_MAX ((size_t)128 << 10) /* no longer argument reaches a program on Linux */
#define BLANKS " \t\n\v\f\r"

enum { CLEAR_ENV, CLEAR_LABELS, CLEAR_VOLUMES, CLEAR_WORKDIR, CLEAR_USER, CLEAR_ENTRYPOINT, CLEAR_CMD, CLEAR_EXPOSED, CLEAR_KINDS };
static const char *const clear_names[CLEAR_KINDS] = { "env", "labels", "volumes", "workdir", "user", "entrypoint", "cmd", "exposed" };

static void cleanup_json_fn(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(cleanup_json_fn)))

void convert_edits_clear(struct convert_edits *e)
{
    for (size_t i = 0; i < e->count; i++)
        free(e->items[i].value);
    free(e->items);
    *e = (struct convert_edits){ 0 };
}

/* ---- words ---- */

static int words_of_json(const char *text, struct gv_strv *words, struct gv_error *err)
{
    json_error_t why;
    cleanup_json json_t *array = json_loads(text, 0, &why);
    if (!array)
        return gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not a JSON array (%s)", text, why.text);
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (!json_is_string(json_array_get(array, i)))
            return gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not an array of strings", text);
        gv_strv_add(words, json_string_value(json_array_get(array, i)));
    }
    return 0;
}

/* One word from *at, with the quotes taken away; *at moves behind it. */
static int word(const char **at, struct gv_buf *out, struct gv_error *err)
{
    const char *p = *at, *text = *at;
    for (char quote = 0; *p && (quote || !isspace((unsigned char)*p)); p++) {
        if (quote ? *p == quote : *p == '\'' || *p == '"') {
            quote = quote ? '\0' : *p;
        } else if (*p == '\\' && quote != '\'') {
            /* Between double quotes a backslash only makes these plain. */
            if (quote && !strchr("\"\\$`", p[1]))
                gv_buf_add(out, p, 1);
            else if (!*++p)
                return gv_error_set(err, GV_E_USAGE, 0, "`%.200s` ends with a backslash", text);
            else
                gv_buf_add(out, p, 1);
        } else {
            gv_buf_add(out, p, 1);
        }
        if (quote && !p[1])
            return gv_error_set(err, GV_E_USAGE, 0, "`%.200s` has a quote that is not closed", text);
    }
    *at = p;
    return 0;
}

int convert_words(const char *text, struct gv_strv *words, struct gv_error *err)
{
    text += strspn(text, BLANKS);
    if (*text == '[')
        return words_of_json(text, words, err);
    for (const char *p = text; *p; p += strspn(p, BLANKS)) {
        cleanup_buf struct gv_buf one = { 0 };
        if (word(&p, &one, err) < 0)
            return -1;
        gv_strv_add(words, gv_buf_str(&one));
    }
    return 0;
}

/* ---- checks ---- */

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

static int check_utf8(const char *value, struct gv_error *err)
{
    cleanup_json json_t *string = json_string(value); /* refuses what is not */
    return string ? 0 : gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not valid UTF-8", value);
}

/* NAME=value with a name that has no control characters. */
static int check_pair(const char *value, const char *form, struct gv_error *err)
{
    size_t n = strcspn(value, "=");
    cleanup_free char *name = gv_strndup(value, n);
    if (n == 0 || value[n] != '=' || has_control(name))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not of the form %s", value, form);
    return 0;
}

static int check_name(const char *value, struct gv_error *err)
{
    if (!*value || has_control(value) || strchr(value, '='))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not a name", value);
    return 0;
}

static int check_path(const char *value, struct gv_error *err)
{
    if (value[0] != '/' || has_control(value))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not an absolute path", value);
    return strlen(value) < LOOK_PATH_MAX ? 0 : gv_error_set(err, GV_E_USAGE, 0, "the path is longer than %u bytes", LOOK_PATH_MAX - 1);
}

static int check_volume(const char *value, struct gv_error *err)
{
    if (check_path(value, err) < 0)
        return -1;
    cleanup_free char *clean = look_clean(value);
    if (strcmp(clean, "/") == 0)
        return gv_error_set(err, GV_E_USAGE, 0, "a volume at / would hide the whole image");
    return 0;
}

static int check_command(const char *value, struct gv_error *err)
{
    cleanup_strv struct gv_strv words = { 0 };
    if (convert_words(value, &words, err) < 0)
        return -1;
    if (words.count && !words.items[0][0])
        return gv_error_set(err, GV_E_USAGE, 0, "the program is an empty word");
    return 0;
}

static int parse_clear(const char *list, unsigned *kinds, struct gv_error *err)
{
    *kinds = 0;
    for (const char *p = list;; p++) {
        size_t n = strcspn(p, ","), k = 0;
        while (k < CLEAR_KINDS && (strlen(clear_names[k]) != n || strncmp(p, clear_names[k], n) != 0))
            k++;
        if (k == CLEAR_KINDS)
            return gv_error_set(err, GV_E_USAGE, 0, "`%.*s` is not one of env, labels, volumes, workdir, user, entrypoint, cmd, exposed",
                                (int)n, p);
        *kinds |= 1U << k;
        p += n;
        if (!*p)
            return 0;
    }
}

static int check(enum convert_edit_kind kind, const char *value, struct gv_error *err)
{
    unsigned kinds;
    if (strlen(value) > VALUE_MAX)
        return gv_error_set(err, GV_E_USAGE, 0, "the value is longer than %zu bytes", VALUE_MAX);
    if (check_utf8(value, err) < 0)
        return -1;
    switch (kind) {
    case CONVERT_SET_ENV:
        return check_pair(value, "NAME=value", err);
    case CONVERT_SET_LABEL:
        return check_pair(value, "KEY=value", err);
    case CONVERT_UNSET_ENV:
    case CONVERT_UNSET_LABEL:
        return check_name(value, err);
    case CONVERT_ADD_VOLUME:
        return check_volume(value, err);
    case CONVERT_REMOVE_VOLUME:
        return *value && !has_control(value) ? 0 : gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not a path", value);
    case CONVERT_SET_WORKDIR:
        return *value ? check_path(value, err) : 0;
    case CONVERT_SET_USER:
        return has_control(value) || strchr(value, ' ') ? gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not a user", value) : 0;
    case CONVERT_SET_ENTRYPOINT:
    case CONVERT_SET_CMD:
        return check_command(value, err);
    case CONVERT_CLEAR:
        return parse_clear(value, &kinds, err);
    case CONVERT_EDIT_KINDS:
        break;
    }
    return gv_error_set(err, GV_E_INTERNAL, 0, "there is no such edit");
}

int convert_edits_add(struct convert_edits *e, enum convert_edit_kind kind, const char *value, struct gv_error *err)
{
    if (check(kind, value, err) < 0)
        return -1;
    e->items = gv_reallocarray(e->items, e->count + 1, sizeof(*e->items));
    e->items[e->count++] = (struct convert_edit){ .kind = kind, .value = gv_strdup(value) };
    return 0;
}

/* ---- carrying out ---- */

static void remove_at(struct gv_strv *v, size_t at, size_t n)
{
    for (size_t i = at; i < at + n; i++)
        free(v->items[i]);
    memmove(v->items + at, v->items + at + n, (v->count - at - n + 1) * sizeof(*v->items)); /* with the NULL at the end */
    v->count -= n;
}

/* Removes "NAME=..." and "NAME" but for the first one when keep says so; the index of that, or the end. */
static size_t remove_env(struct gv_strv *env, const char *name, size_t len, bool keep)
{
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < env->count;) {
        const char *have = env->items[i];
        if (strncmp(have, name, len) != 0 || (have[len] != '=' && have[len] != '\0')) {
            i++;
        } else if (keep && first == SIZE_MAX) {
            first = i++;
        } else {
            remove_at(env, i, 1);
        }
    }
    return first;
}

static void set_env(struct gv_strv *env, const char *pair)
{
    size_t at = remove_env(env, pair, strcspn(pair, "="), true);
    if (at == SIZE_MAX) {
        gv_strv_add(env, pair);
        return;
    }
    free(env->items[at]);
    env->items[at] = gv_strdup(pair);
}

/* Labels are key, value, key, value, sorted by key. value NULL removes. */
static void set_label(struct gv_strv *labels, const char *key, const char *value)
{
    struct gv_strv after = { 0 };
    bool put = value == NULL;
    for (size_t i = 0; i + 1 < labels->count; i += 2) {
        int order = strcmp(labels->items[i], key);
        if (order >= 0 && !put) {
            gv_strv_add(&after, key);
            gv_strv_add(&after, value);
            put = true;
        }
        if (order == 0)
            continue;
        gv_strv_add(&after, labels->items[i]);
        gv_strv_add(&after, labels->items[i + 1]);
    }
    if (!put) {
        gv_strv_add(&after, key);
        gv_strv_add(&after, value);
    }
    gv_strv_clear(labels);
    *labels = after;
}

static void set_text(char **field, const char *value)
{
    free(*field);
    *field = *value ? gv_strdup(value) : NULL;
}

static int add_volume(struct image_config *config, const char *value, const struct look *look, const struct gv_log *log,
                      struct gv_error *err)
{
    cleanup_free char *path = NULL, *clean = look_clean(value);
    if (!look) {
        path = steal_ptr(clean);
    } else if (config_fit_volume(clean, look, log, &path, err) < 0) {
        return -1;
    } else if (!path) {
        return gv_error_set(err, GV_E_USAGE, 0, "the image can have no volume at `%s`", value);
    }
    config_add_volume(config, path);
    return 0;
}

/* By the name that it has, or by another one for the same place. */
static int remove_volume(struct image_config *config, const char *value, const struct look *look, struct gv_error *err)
{
    cleanup_look_end struct look_end end = { 0 };
    cleanup_free char *clean = look_clean(value);
    struct gv_strv *v = &config->volumes;
    if (look && look_up(look, value, &end, err) < 0)
        return -1;
    size_t before = v->count;
    for (size_t i = v->count; i-- > 0;)
        if (strcmp(v->items[i], value) == 0 || strcmp(v->items[i], clean) == 0 || (end.real && strcmp(v->items[i], end.real) == 0))
            remove_at(v, i, 1);
    return v->count < before ? 0 : gv_error_set(err, GV_E_NOT_FOUND, 0, "the image has no volume at `%s`", value);
}

static int set_words(struct gv_strv *words, bool *present, const char *value, struct gv_error *err)
{
    gv_strv_clear(words);
    if (convert_words(value, words, err) < 0)
        return -1;
    *present = words->count > 0;
    return 0;
}

static void clear_words(struct gv_strv *words, bool *present)
{
    gv_strv_clear(words);
    *present = false;
}

static int clear(struct image_config *config, const char *list, struct gv_error *err)
{
    unsigned kinds;
    if (parse_clear(list, &kinds, err) < 0)
        return -1;
    if (kinds & 1U << CLEAR_ENV)
        gv_strv_clear(&config->env);
    if (kinds & 1U << CLEAR_LABELS)
        gv_strv_clear(&config->labels);
    if (kinds & 1U << CLEAR_VOLUMES)
        gv_strv_clear(&config->volumes);
    if (kinds & 1U << CLEAR_EXPOSED)
        gv_strv_clear(&config->exposed);
    if (kinds & 1U << CLEAR_WORKDIR)
        set_text(&config->workdir, "");
    if (kinds & 1U << CLEAR_USER)
        set_text(&config->user, "");
    if (kinds & 1U << CLEAR_ENTRYPOINT)
        clear_words(&config->entrypoint, &config->has_entrypoint);
    if (kinds & 1U << CLEAR_CMD)
        clear_words(&config->cmd, &config->has_cmd);
    return 0;
}

static int apply(struct image_config *config, const struct convert_edit *e, const struct look *look, const struct gv_log *log,
                 struct gv_error *err)
{
    cleanup_free char *text = NULL;
    size_t n = strcspn(e->value, "=");
    switch (e->kind) {
    case CONVERT_SET_ENV:
        set_env(&config->env, e->value);
        break;
    case CONVERT_UNSET_ENV:
        remove_env(&config->env, e->value, strlen(e->value), false);
        break;
    case CONVERT_SET_LABEL:
        text = gv_strndup(e->value, n);
        set_label(&config->labels, text, e->value + n + 1);
        break;
    case CONVERT_UNSET_LABEL:
        set_label(&config->labels, e->value, NULL);
        break;
    case CONVERT_ADD_VOLUME:
        return add_volume(config, e->value, look, log, err);
    case CONVERT_REMOVE_VOLUME:
        return remove_volume(config, e->value, look, err);
    case CONVERT_SET_WORKDIR:
        text = *e->value ? look_clean(e->value) : gv_strdup("");
        set_text(&config->workdir, text);
        break;
    case CONVERT_SET_USER:
        set_text(&config->user, e->value);
        break;
    case CONVERT_SET_ENTRYPOINT:
        return set_words(&config->entrypoint, &config->has_entrypoint, e->value, err);
    case CONVERT_SET_CMD:
        return set_words(&config->cmd, &config->has_cmd, e->value, err);
    case CONVERT_CLEAR:
        return clear(config, e->value, err);
    case CONVERT_EDIT_KINDS:
        break;
    }
    return 0;
}

int edit_config(struct image_config *config, const struct convert_edits *edits, const struct look *look, const struct gv_log *log,
                struct gv_error *err)
{
    bool entrypoint = false, cmd = false;
    for (size_t i = 0; i < edits->count; i++) {
        if (apply(config, &edits->items[i], look, log, err) < 0)
            return -1;
        entrypoint |= edits->items[i].kind == CONVERT_SET_ENTRYPOINT;
        cmd |= edits->items[i].kind == CONVERT_SET_CMD;
    }
    if (entrypoint && !cmd && config->has_cmd) {
        clear_words(&config->cmd, &config->has_cmd);
        gv_note(log, "CMD of the image went with its ENTRYPOINT; --cmd gives a new one");
    }
    return (entrypoint || cmd) && look ? config_fit_program(config, look, log, err) : 0;
}
