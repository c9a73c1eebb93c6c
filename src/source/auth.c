/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Authorization for a registry. A registry that wants one says so by 401 and WWW-Authenticate: Basic, then the login goes to the registry
 * itself; or Bearer, then it goes to the token service that the challenge names (realm), which gives a short-lived token, also to somebody
 * who has no login. With an identity token the service is asked in the manner of OAuth2. Logins are sent over TLS only, except to a
 * registry that itself is reached without.
 */
#include <string.h>

#include "source/registry.h"

#define ANSWER_MAX ((size_t)256 << 10)
#define TOKEN_MAX ((size_t)64 << 10)
#define CLIENT_ID "gvmkit"

char *registry_token(const void *answer, size_t n, struct gv_error *err)
{
    cleanup_json json_t *j = json_parse(answer, n, err);
    if (!j)
        return NULL;
    const char *token = json_string_of(j, "token");
    if (!token || !*token)
        token = json_string_of(j, "access_token");
    size_t len = token ? strlen(token) : 0;
    bool clean = len > 0 && len <= TOKEN_MAX;
    for (size_t i = 0; i < len && clean; i++)
        clean = token[i] > 0x20 && token[i] < 0x7f;
    if (clean)
        return gv_strdup(token);
    gv_error_set(err, GV_E_PROTOCOL, 0, "the answer of the token service has no usable token");
    return NULL;
}

static void add_parameter(struct gv_buf *b, const char *name, const char *value)
{
    gv_buf_addf(b, "%s%s=", b->len ? "&" : "", name);
    http_escape(b, value, "");
}

/* The text of an answer's error, {"errors":[{"code","message"}]} or {"message"} or {"details"}; "" if there is none. */
static char *error_text(const struct http_response *r)
{
    cleanup_json json_t *j = json_parse(r->body.data, r->body.len, NULL);
    const json_t *first = json_array_get(json_object_get(j, "errors"), 0);
    const char *text = json_string_of(first, "message");
    if (!text || !*text)
        text = json_string_of(first, "code");
    if (!text)
        text = json_string_of(j, "details");
    if (!text)
        text = json_string_of(j, "message");
    return gv_strdup(text ? text : "");
}

int registry_refused(const struct registry *r, const struct http_response *response, const char *what, struct gv_error *err)
{
    cleanup_free char *text = error_text(response);
    const char *sep = *text ? ": " : "";
    const char *login = credentials_is_hub(r->host) ? "" : r->host;
    switch (response->status) {
    case 401:
    case 403:
        if (r->credentials.from)
            return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%s` does not give us %s `%s` with the login from `%s`%s%.200s", r->host, what,
                                r->name, r->credentials.from, sep, text);
        return gv_error_set(err, GV_E_NOT_FOUND, 0,
                            "`%s` does not give us %s `%s`%s%.200s; the name is wrong, or the image is private: then `docker login%s%s`, "
                            "or `skopeo login %s`",
                            r->host, what, r->name, sep, text, *login ? " " : "", login, r->host);
    case 404:
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%s` does not have %s `%s`%s%.200s", r->host, what, r->name, sep, text);
    case 429: {
        long after = http_retry_after(response);
        gv_error_set(err, GV_E_BUSY, 0, "`%s` has had too many requests%s%.200s", r->host, sep, text);
        if (after > 0)
            return gv_error_hint(err, "it asks to try again in %ld seconds", after);
        return gv_error_hint(err, "try again later%s", r->credentials.from ? "" : ", or log in");
    }
    default:
        return gv_error_set(err, GV_E_IO, 0, "`%s` answers with status %ld when asked for %s `%s`%s%.200s", r->host, response->status, what,
                            r->name, sep, text);
    }
}

static bool is_https(const char *url)
{
    return !strncasecmp(url, "https://", 8);
}

/* Asks the token service. */
static int take_token(struct registry *r, const struct http_challenge *c, struct gv_error *err)
{
    const char *realm = http_challenge_parameter(c, "realm"), *service = http_challenge_parameter(c, "service"),
               *scope = http_challenge_parameter(c, "scope");
    cleanup_free char *own_scope = gv_asprintf("repository:%s:pull", r->repository);
    cleanup_buf struct gv_buf query = { 0 }, url = { 0 };
    cleanup_free char *basic = NULL;
    cleanup_response struct http_response response = { 0 };
    if (!realm)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "`%s` wants a token and does not say from where", r->host);
    if (!is_https(realm) && (is_https(r->base) || !(r->insecure || http_is_loopback(realm))))
        return gv_error_set(err, GV_E_PROTOCOL, 0, "`%s` wants us to get a token without encryption, from `%.200s`", r->host, realm);
    if (service)
        add_parameter(&query, "service", service);
    add_parameter(&query, "scope", scope ? scope : own_scope);

    struct http_request q = { .url = realm };
    if (r->credentials.token) {
        add_parameter(&query, "client_id", CLIENT_ID);
        add_parameter(&query, "grant_type", "refresh_token");
        add_parameter(&query, "refresh_token", r->credentials.token);
        q.method = "POST";
        q.body_type = "application/x-www-form-urlencoded";
        q.body = query.data;
        q.body_size = query.len;
    } else {
        if (r->credentials.user) {
            add_parameter(&query, "account", r->credentials.user);
            q.authorization = basic = http_basic(r->credentials.user, r->credentials.password);
        }
        gv_buf_addf(&url, "%s%c%s", realm, strchr(realm, '?') ? '&' : '?', gv_buf_str(&query));
        q.url = gv_buf_str(&url);
    }
    int status = http_fetch(r->client, &q, ANSWER_MAX, &response, err);
    if (basic)
        explicit_bzero(basic, strlen(basic));
    if (r->credentials.token)
        explicit_bzero(query.data, query.len);
    if (status < 0)
        return gv_error_prefix(err, "a token for `%s`", r->host);
    if (!http_ok(&response)) {
        cleanup_free char *text = error_text(&response);
        if (r->credentials.from)
            return gv_error_set(err, GV_E_NOT_FOUND, 0, "the login for `%s` from `%s` is refused (status %ld)%s%.200s; log in again",
                                r->host, r->credentials.from, response.status, *text ? ": " : "", text);
        return registry_refused(r, &response, "a token for", err);
    }
    cleanup_free char *token = registry_token(response.body.data, response.body.len, err);
    if (!token)
        return gv_error_prefix(err, "`%.200s`", realm);
    free(r->authorization);
    r->authorization = gv_asprintf("Bearer %s", token);
    return 0;
}

int registry_authorize(struct registry *r, const struct http_response *response, struct gv_error *err)
{
    cleanup_challenges struct http_challenges challenges = { 0 };
    size_t at = 0;
    for (const char *value; (value = http_response_header(response, "www-authenticate", &at));)
        http_challenges_parse(&challenges, value);
    if (!r->looked && credentials_find(&r->credentials, r->host, r->repository, r->log, err) < 0)
        return -1;
    r->looked = true;
    const struct http_challenge *bearer = http_challenges_find(&challenges, "bearer");
    if (bearer) {
        if (take_token(r, bearer, err) < 0)
            return -1;
    } else if (http_challenges_find(&challenges, "basic") && r->credentials.user && !r->authorization) {
        r->authorization = http_basic(r->credentials.user, r->credentials.password);
    } else {
        return registry_refused(r, response, "the image", err);
    }
    r->generation++;
    return 0;
}
