/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Accounts. The file has an object for each registry, by its URL: {"https://HOST": {"user": ..., "token": ...}}. It is replaced as a
 * whole, under a lock, and is its owner's alone.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/answer.h"
#include "registry/registry.h"

#define FILE_MAX ((size_t)1 << 20)
#define ANSWER_MAX ((size_t)64 << 10)

void registry_login_clear(struct registry_login *l)
{
    if (l->token)
        explicit_bzero(l->token, strlen(l->token));
    free(l->user);
    free(l->token);
    *l = (struct registry_login){ 0 };
}

static char *file_path(struct gv_error *err)
{
    cleanup_free char *dir = gv_config_dir(err);
    return dir ? gv_asprintf("%s/registry.json", dir) : NULL;
}

/* The whole file as an object, an empty one if there is none; NULL on failure. */
static json_t *read_file(const char *path, struct gv_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0 && errno == ENOENT)
        return json_object();
    cleanup_buf struct gv_buf data = { 0 };
    if (gv_read_file(path, FILE_MAX, &data, err) < 0)
        return NULL;
    json_t *o = json_loadb((const char *)data.data, data.len, JSON_REJECT_DUPLICATES, NULL);
    if (data.data)
        explicit_bzero(data.data, data.len);
    if (json_is_object(o) && (st.st_mode & 077) == 0)
        return o;
    if (json_is_object(o))
        gv_error_set(err, GV_E_USAGE, 0, "`%s` has a token and can be read by others; chmod 600 it", path);
    else
        gv_error_set(err, GV_E_FORMAT, 0, "`%s` is not a JSON object; remove it and log in again", path);
    json_decref(o);
    return NULL;
}

/* Puts `entry` in the place of the registry's one, or removes that when entry is NULL. Takes entry over. */
static int change_file(const char *base, json_t *entry, bool *was_there, struct gv_error *err)
{
    cleanup_free char *path = file_path(err), *lock_path = path ? gv_asprintf("%s.lock", path) : NULL;
    cleanup_close int lock = path ? gv_lock_open(lock_path, LOCK_EX, err) : -1;
    json_t *o = lock < 0 ? NULL : read_file(path, err);
    int status = -1;
    if (o) {
        *was_there = json_object_get(o, base) != NULL;
        status = entry ? json_object_set(o, base, entry) : *was_there ? json_object_del(o, base) : 0;
        cleanup_free char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
        struct gv_outfile *out = NULL;
        if (status < 0 || !text)
            status = gv_error_set(err, GV_E_USAGE, 0, "user and token have to be UTF-8");
        else
            status = gv_outfile_open(&out, path, 0600, err);
        if (status == 0 && gv_write_full(gv_outfile_fd(out), text, strlen(text)) < 0) {
            status = gv_error_errno(err, "cannot write `%s`", path);
            gv_outfile_discard(out);
        } else if (status == 0) {
            status = gv_outfile_commit(out, err);
        }
        if (text)
            explicit_bzero(text, strlen(text));
    }
    json_decref(o);
    json_decref(entry);
    return status;
}

int registry_login_save(const char *base, const struct registry_login *l, struct gv_error *err)
{
    bool was_there;
    json_t *entry = json_pack("{s:s, s:s}", "user", l->user, "token", l->token);
    if (!entry)
        return gv_error_set(err, GV_E_USAGE, 0, "user and token have to be UTF-8");
    return change_file(base, entry, &was_there, err);
}

int registry_login_forget(const char *base, bool *forgotten, struct gv_error *err)
{
    return change_file(base, NULL, forgotten, err);
}

int registry_login_find(const char *base, struct registry_login *out, struct gv_error *err)
{
    const char *user = getenv("REGISTRY_USER"), *token = getenv("REGISTRY_TOKEN");
    if (user && *user && token && *token) {
        *out = (struct registry_login){ .user = gv_strdup(user), .token = gv_strdup(token) };
        return 0;
    }
    cleanup_free char *path = file_path(err);
    json_t *o = path ? read_file(path, err) : NULL;
    if (!o)
        return -1;
    const json_t *entry = json_object_get(o, base);
    user = json_string_value(json_object_get(entry, "user"));
    token = json_string_value(json_object_get(entry, "token"));
    int status = 0;
    if (user && token)
        *out = (struct registry_login){ .user = gv_strdup(user), .token = gv_strdup(token) };
    else
        status = gv_error_set(err, GV_E_NOT_FOUND, 0, "not logged in at `%s`; use `gvmkit login`, or set REGISTRY_USER and REGISTRY_TOKEN",
                              base);
    json_decref(o);
    return status;
}

int registry_may_tell(const char *base, bool insecure, struct gv_error *err)
{
    if (insecure || strncasecmp(base, "https:", 6) == 0 || http_is_loopback(base))
        return 0;
    return gv_error_set(err, GV_E_USAGE, 0,
                        "`%s` is not encrypted, so everybody on the way could read the token; --insecure sends it anyway", base);
}

int registry_login_check(struct http_client *c, const char *base, const struct registry_login *l, bool insecure, struct gv_error *err)
{
    if (registry_may_tell(base, insecure, err) < 0)
        return -1;
    json_t *o = json_pack("{s:s, s:s}", "username", l->user, "password", l->token);
    cleanup_free char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text)
        return gv_error_set(err, GV_E_USAGE, 0, "user and token have to be UTF-8");
    cleanup_free char *url = gv_asprintf("%s/auth/pat/login", base);
    cleanup_response struct http_response r = { 0 };
    const struct http_request q = {
        .method = "POST", .url = url, .body = text, .body_size = strlen(text), .body_type = "application/json"
    };
    if (http_fetch(c, &q, ANSWER_MAX, &r, err) < 0)
        return gv_error_prefix(err, "logging in");
    if (r.status == 200)
        return 0;
    cleanup_free char *what = gv_asprintf("%s: `%s` at `%s`", r.status == 401 ? "not logged in" : "logging in", l->user, base);
    return registry_refusal(&r, what, err);
}
