/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/credentials.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "source/archive.h"

#define FILE_MAX ((size_t)1 << 20)
#define SECRET_MAX ((size_t)64 << 10)

void credentials_clear(struct credentials *c)
{
    if (c->password)
        explicit_bzero(c->password, strlen(c->password));
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    free(c->user);
    free(c->password);
    free(c->token);
    free(c->from);
    *c = (struct credentials){ 0 };
}

bool credentials_is_hub(const char *host)
{
    return !strcmp(host, "docker.io") || !strcmp(host, "index.docker.io") || !strcmp(host, "registry-1.docker.io");
}

/* ---- one file ---- */

/* The part of a key that counts: "https://example.org/v2/" and "example.org" are the same. Of older versions of Docker there are keys of
 * all these forms. */
static char *plain_key(const char *key)
{
    if (!strncmp(key, "https://", 8))
        key += 8;
    else if (!strncmp(key, "http://", 7))
        key += 7;
    size_t n = strlen(key);
    while (n && key[n - 1] == '/')
        n--;
    if (n > 3 && (!strncmp(key + n - 3, "/v1", 3) || !strncmp(key + n - 3, "/v2", 3)))
        n -= 3;
    return gv_strndup(key, n);
}

/* How well a key fits: 0 not at all, else the more the longer. podman also keeps logins for a part of a registry, "example.org/team". */
static size_t key_fits(const char *key, const char *host, const char *repository)
{
    cleanup_free char *plain = plain_key(key);
    if (credentials_is_hub(host) && credentials_is_hub(plain))
        return strlen(plain);
    cleanup_free char *full = gv_asprintf("%s/%s", host, repository);
    size_t n = strlen(plain);
    return n >= strlen(host) && !strncmp(full, plain, n) && (full[n] == '/' || full[n] == '\0') ? n : 0;
}

/* "auth": base64 of "user:password". */
static int take_auth(struct credentials *out, const char *auth, struct gv_error *err)
{
    size_t n = strlen(auth);
    if (n > SECRET_MAX || n % 4)
        return gv_error_set(err, GV_E_FORMAT, 0, "its `auth` is not base64");
    cleanup_free char *text = gv_calloc(1, n / 4 * 3 + 1);
    int got = EVP_DecodeBlock((unsigned char *)text, (const unsigned char *)auth, (int)n);
    char *colon = got < 0 ? NULL : strchr(text, ':'); /* padding has become NULs */
    if (colon) {
        out->user = gv_strndup(text, (size_t)(colon - text));
        out->password = gv_strdup(colon + 1);
    }
    explicit_bzero(text, n / 4 * 3);
    return colon ? 0 : gv_error_set(err, GV_E_FORMAT, 0, "its `auth` is not base64 of USER:PASSWORD");
}

static int take_entry(struct credentials *out, const json_t *entry, struct gv_error *err)
{
    const char *auth = json_string_of(entry, "auth"), *token = json_string_of(entry, "identitytoken");
    const char *user = json_string_of(entry, "username"), *password = json_string_of(entry, "password");
    if (auth && *auth) {
        if (take_auth(out, auth, err) < 0)
            return -1;
    } else if (user && *user && password) {
        out->user = gv_strdup(user);
        out->password = gv_strdup(password);
    }
    if (token && *token)
        out->token = gv_strdup(token);
    return out->user || out->token;
}

int credentials_in_file(struct credentials *out, const json_t *file, const char *host, const char *repository, char **helper,
                        struct gv_error *err)
{
    json_t *auths = json_object_get(file, "auths"), *helpers = json_object_get(file, "credHelpers"), *entry, *name;
    const char *key, *all = json_string_of(file, "credsStore");
    size_t best = 0;
    const json_t *found = NULL;
    *helper = NULL;
    json_object_foreach (helpers, key, name) {
        if (!*helper && json_is_string(name) && *json_string_value(name) && key_fits(key, host, ""))
            *helper = gv_strdup(json_string_value(name));
    }
    if (!*helper && all && *all)
        *helper = gv_strdup(all);
    json_object_foreach (auths, key, entry) {
        size_t fits = key_fits(key, host, repository);
        if (fits > best) {
            best = fits;
            found = entry;
        }
    }
    if (!found)
        return 0;
    int got = take_entry(out, found, err);
    if (got < 0)
        return gv_error_prefix(err, "the login for `%.200s`", host);
    if (got) {
        free(*helper);
        *helper = NULL;
    }
    return got;
}

/* ---- all of them ---- */

/* Looks into the file at path (taken over; NULL = none): 1 when it knew, 0 when not. */
static int look(struct credentials *out, char *path, const char *host, const char *repository, const struct gv_log *log)
{
    cleanup_free char *owned = path, *helper = NULL;
    cleanup_buf struct gv_buf text = { 0 };
    struct gv_error why = GV_ERROR_INIT;
    if (!path)
        return 0;
    if (gv_read_file(path, FILE_MAX, &text, &why) < 0) {
        if (why.code != GV_E_NOT_FOUND && why.sys != ENOTDIR)
            gv_warn(log, "no logins from there: %s", why.msg);
        return 0;
    }
    cleanup_json json_t *file = json_parse(text.data, text.len, &why);
    explicit_bzero(text.data, text.len);
    int got = file ? credentials_in_file(out, file, host, repository, &helper, &why) : -1;
    if (got > 0)
        out->from = gv_strdup(owned);
    if (got == 0 && helper) {
        got = credentials_from_helper(out, helper, host, &why);
        if (got > 0)
            out->from = gv_asprintf("docker-credential-%s", helper);
    }
    if (got < 0) {
        credentials_clear(out);
        gv_warn(log, "no logins from `%.300s`: %s", owned, why.msg);
    }
    return got > 0;
}

static char *below(const char *variable, const char *otherwise, const char *rest)
{
    const char *dir = getenv(variable), *home = getenv("HOME");
    if (dir && *dir)
        return gv_asprintf("%s/%s", dir, rest);
    return otherwise && home && *home ? gv_asprintf("%s/%s/%s", home, otherwise, rest) : NULL;
}

int credentials_find(struct credentials *out, const char *host, const char *repository, const struct gv_log *log, struct gv_error *err)
{
    const char *only = getenv("REGISTRY_AUTH_FILE");
    if (only && *only) {
        struct gv_error why = GV_ERROR_INIT;
        cleanup_buf struct gv_buf probe = { 0 };
        /* Somebody meant this one. */
        if (gv_read_file(only, FILE_MAX, &probe, &why) < 0)
            return gv_error_set(err, why.code, 0, "REGISTRY_AUTH_FILE: %s", why.msg);
        explicit_bzero(probe.data, probe.len);
        look(out, gv_strdup(only), host, repository, log);
        return 0;
    }
    if (!look(out, below("XDG_RUNTIME_DIR", NULL, "containers/auth.json"), host, repository, log) &&
        !look(out, below("XDG_CONFIG_HOME", ".config", "containers/auth.json"), host, repository, log))
        look(out, below("DOCKER_CONFIG", ".docker", "config.json"), host, repository, log);
    return 0;
}
