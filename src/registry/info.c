/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Questions: which image is it, and from where does it come. Answers are JSON of a stranger: what is not of the form that is needed is refused, the
 * rest is not looked at.
 */
#include <ctype.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "registry/answer.h"
#include "registry/registry.h"

#define ANSWER_MAX ((size_t)1 << 20)
#define LINK_MAX ((size_t)8 << 10)

void registry_image_clear(struct registry_image *i)
{
    gv_strv_clear(&i->urls);
    *i = (struct registry_image){ 0 };
}

static const char *chosen_url(void)
{
    const char *url = getenv("GOLEM_REGISTRY_URL");
    if (!url || !*url)
        url = getenv("REGISTRY_URL");
    return url && *url ? url : NULL;
}

bool registry_is_chosen(void)
{
    return chosen_url() != NULL;
}

static bool is_web(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

char *registry_url(struct gv_error *err)
{
    const char *url = chosen_url();
    if (!url)
        return gv_strdup(REGISTRY_DEFAULT_URL);
    if (!is_web(url)) {
        gv_error_set(err, GV_E_USAGE, 0, "the registry `%.200s`, of GOLEM_REGISTRY_URL or REGISTRY_URL, is not a URL of http or https",
                     url);
        return NULL;
    }
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    return gv_strndup(url, n);
}

int registry_refusal(const struct http_response *r, const char *what, struct gv_error *err)
{
    /* The server's own words: a line of text, or the message of a JSON object. */
    json_t *o = json_loadb((const char *)r->body.data, r->body.len, 0, NULL);
    const char *message = json_string_value(json_object_get(o, "message"));
    if (!message)
        message = json_string_value(json_object_get(o, "error"));
    cleanup_free char *text = message ? gv_strdup(message) : gv_strndup(r->body.len ? (const char *)r->body.data : "", r->body.len);
    json_decref(o);
    bool page = !message && (strcmp(r->type, "text/html") == 0 || strchr(text, '<'));
    size_t n = page ? 0 : strcspn(text, "\r\n");
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '.'))
        n--;
    enum gv_code code = r->status == 404 ? GV_E_NOT_FOUND : r->status == 401 || r->status == 403 ? GV_E_USAGE : GV_E_PROTOCOL;
    return gv_error_set(err, code, 0, "%s: the server says %ld%s%.*s", what, r->status, n ? ", " : "", (int)(n < 300 ? n : 300), text);
}

/* ---- answers ---- */

static void add_url(struct registry_image *out, const char *url)
{
    for (size_t i = 0; i < out->urls.count; i++)
        if (strcmp(out->urls.items[i], url) == 0)
            return;
    if (is_web(url) && !strpbrk(url, " \t\r\n"))
        gv_strv_add(&out->urls, url);
}

int registry_parse_info(const char *text, size_t n, struct registry_image *out, struct gv_error *err)
{
    json_error_t why;
    json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(o)) {
        json_decref(o);
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the answer is not a JSON object%s%s", o ? "" : ": ", o ? "" : why.text);
    }
    const char *hash = json_string_value(json_object_get(o, "sha3"));
    const json_t *size = json_object_get(o, "size");
    int status =
        hash && refs_hash(out->hash, hash) == 0 ? 0 : gv_error_set(err, GV_E_PROTOCOL, 0, "the answer has no `sha3` of 56 hex digits");
    out->size = json_is_integer(size) && json_integer_value(size) >= 0 ? (uint64_t)json_integer_value(size) : HTTP_SIZE_UNKNOWN;
    static const char *const keys[] = { "https", "http" };
    for (size_t i = 0; status == 0 && i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *url = json_string_value(json_object_get(o, keys[i]));
        if (url)
            add_url(out, url);
    }
    json_decref(o);
    if (status == 0 && !out->urls.count)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the answer has no URL in `https` or `http`");
    return status;
}

int registry_parse_link(const char *text, size_t n, struct registry_image *out, struct gv_error *err)
{
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    cleanup_free char *url = gv_strndup(n ? text : "", n);
    size_t before = out->urls.count;
    if (strlen(url) == n)
        add_url(out, url);
    return out->urls.count > before ? 0 : gv_error_set(err, GV_E_PROTOCOL, 0, "`%.200s` is not the URL that a link file has", url);
}

/* ---- requests ---- */

int registry_read_link(struct http_client *c, const char *url, struct registry_image *out, struct gv_error *err)
{
    cleanup_response struct http_response r = { 0 };
    const struct http_request q = { .url = url };
    out->size = HTTP_SIZE_UNKNOWN;
    if (http_fetch(c, &q, LINK_MAX, &r, err) < 0)
        return -1;
    if (r.status != 200)
        return registry_refusal(&r, url, err);
    return registry_parse_link((const char *)r.body.data, r.body.len, out, err) < 0 ? gv_error_prefix(err, "%.300s", url) : 0;
}

/* The former repository, or any host that has its files. */
static bool has_link(struct http_client *c, const char *base, const char *hash, struct registry_image *out)
{
    cleanup_free char *url = gv_asprintf("%s/image.%s.link", base, hash);
    if (registry_read_link(c, url, out, NULL) < 0)
        return false;
    memcpy(out->hash, hash, sizeof(out->hash));
    return true;
}

/* As the SDKs: downloads count in the registry's statistics unless somebody is developing. */
static const char *statistics(void)
{
    const char *dev = getenv("GOLEM_DEV_MODE");
    return dev && strcmp(dev, "true") == 0 ? "dev=true" : "count=true";
}

int registry_find(struct http_client *c, const char *base, const char *name, const char *hash, struct registry_image *out,
                  struct gv_error *err)
{
    cleanup_buf struct gv_buf url = { 0 };
    cleanup_response struct http_response r = { 0 };
    gv_buf_addf(&url, "%s/v1/image/info?%s=", base, name ? "tag" : "hash");
    http_escape(&url, name ? name : hash, "/:");
    gv_buf_addf(&url, "&%s", statistics());
    const struct http_request q = { .url = gv_buf_str(&url) };
    if (http_fetch(c, &q, ANSWER_MAX, &r, err) < 0)
        return gv_error_prefix(err, "asking for `%s`", name ? name : hash);
    if (r.status == 404 && !name && has_link(c, base, hash, out))
        return 0;
    cleanup_free char *what = gv_asprintf("`%s` at `%s`", name ? name : hash, base);
    if (r.status != 200)
        return registry_refusal(&r, what, err);
    if (registry_parse_info((const char *)r.body.data, r.body.len, out, err) < 0)
        return gv_error_prefix(err, "%s", what);
    if (!name && strcmp(hash, out->hash) != 0)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "%s: the server answers for another image, %s", what, out->hash);
    return 0;
}
