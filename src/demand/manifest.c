/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Manifests: made and judged. Judging follows what a provider does with one: it takes the first entry that fits its platform, has a URL and a
 * hash, and ignores keys that it does not know; but it reads all of the document, so that one wrong type anywhere refuses it.
 */
#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "demand/demand.h"

#define MANIFEST_VERSION "0.1.0"

static json_t *text_array(const struct gv_strv *v)
{
    json_t *a = json_array();
    for (size_t i = 0; i < v->count; i++)
        json_array_append_new(a, json_string(v->items[i]));
    return a;
}

/* RFC 3339, in UTC with milliseconds, as JavaScript writes it. */
static json_t *time_text(int64_t t)
{
    char text[48];
    struct tm tm;
    time_t v = (time_t)t;
    gmtime_r(&v, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
    return json_string(text);
}

static void set(json_t *o, const char *name, json_t *value)
{
    json_object_set_new(o, name, value);
}

/* The length of the scheme of "scheme://something", 0 when it is none. */
static size_t scheme_of(const char *url)
{
    size_t n = strspn(url, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    return strncmp(url + n, "://", 3) == 0 && url[n + 3] ? n : 0;
}

/* Whether the authority that begins here, up to the path, has a host, and behind it no port or one that can be. */
static bool authority_ok(const char *authority)
{
    const char *end = authority + strcspn(authority, "/?#"), *at = memrchr(authority, '@', (size_t)(end - authority));
    const char *host = at ? at + 1 : authority, *bracket = memrchr(host, ']', (size_t)(end - host));
    const char *from = bracket ? bracket : host, *colon = memchr(from, ':', (size_t)(end - from));
    if (!colon)
        return end > host;
    size_t digits = strspn(colon + 1, "0123456789");
    return colon > host && colon + 1 + digits == end && (digits == 0 || strtoul(colon + 1, NULL, 10) <= UINT16_MAX);
}

/* A URL as providers parse it. */
static bool url_ok(const char *url)
{
    size_t scheme = scheme_of(url);
    return scheme && authority_ok(url + scheme + 3);
}

/* Whether the URL is also one by the letter of RFC 3986, which golem-sdk insists on: nothing that must be percent-encoded. */
static bool is_encoded(const char *url)
{
    const char *path = url + scheme_of(url) + 3;
    path += strcspn(path, "/?#");
    for (const char *c = url; *c; c++) {
        bool good = isascii((unsigned char)*c) && (isalnum((unsigned char)*c) || strchr("-._~:/?#@!$&'()*+,;=", *c));
        if (*c == '%')
            good = isxdigit((unsigned char)c[1]) && isxdigit((unsigned char)c[2]);
        else if (*c == '[' || *c == ']')
            good = c < path;
        if (!good)
            return false;
    }
    return true;
}

static int check_urls(const char *what, const struct gv_strv *urls, struct gv_error *err)
{
    for (size_t i = 0; i < urls->count; i++) {
        const char *u = urls->items[i];
        if (!url_ok(u))
            return gv_error_set(err, GV_E_USAGE, 0, "%s `%s` is no URL; write it as https://HOST/...", what, u);
        if (!is_encoded(u))
            return gv_error_set(err, GV_E_USAGE, 0, "%s `%s` has a character that must be percent-encoded", what, u);
    }
    return 0;
}

/* The schemes of the URLs, each once: the default list of a provider is that of the web, udp:// and the like must be named. */
static json_t *protocols_of(const struct gv_strv *urls)
{
    json_t *list = json_array();
    for (size_t i = 0; i < urls->count; i++) {
        json_t *scheme = json_stringn(urls->items[i], scheme_of(urls->items[i])), *have;
        size_t at;
        bool known = false;
        json_array_foreach (list, at, have)
            known |= json_equal(have, scheme) == 1;
        if (known)
            json_decref(scheme);
        else
            json_array_append_new(list, scheme);
    }
    return list;
}

static json_t *comp_manifest(const struct demand_manifest *m)
{
    json_t *c = json_object();
    set(c, "version", json_string(MANIFEST_VERSION));
    if (m->commands && m->commands->count) {
        json_t *script = json_object();
        set(script, "commands", text_array(m->commands));
        set(script, "match", json_string(m->commands_regex ? "regex" : "strict"));
        set(c, "script", script);
    }
    if (m->outbound_any || (m->outbound && m->outbound->count)) {
        json_t *out = json_object(), *inet = json_object(), *net = json_object(), *any = json_object();
        if (m->outbound_any) {
            set(any, "urls", json_true());
            set(out, "protocols", json_pack("[s,s,s,s]", "http", "https", "ws", "wss"));
            set(out, "unrestricted", any);
        } else {
            json_decref(any);
            set(out, "protocols", protocols_of(m->outbound));
            set(out, "urls", text_array(m->outbound));
        }
        set(inet, "out", out);
        set(net, "inet", inet);
        set(c, "net", net);
    }
    return c;
}

int demand_manifest_make(char **text, const struct demand_manifest *m, struct gv_error *err)
{
    if (!m->urls || !m->urls->count)
        return gv_error_set(err, GV_E_USAGE, 0, "a manifest needs the URL from which providers fetch the image");
    if (check_urls("the image's", m->urls, err) < 0 || (m->outbound && check_urls("outbound", m->outbound, err) < 0))
        return -1;
    json_t *root = json_object(), *metadata = json_object(), *entry = json_object(), *list = json_array();
    cleanup_free char *hash = gv_asprintf("sha3:%s", m->hash);
    set(root, "version", json_string(MANIFEST_VERSION));
    set(root, "createdAt", time_text(m->created));
    set(root, "expiresAt", time_text(m->expires));
    if (m->name)
        set(metadata, "name", json_string(m->name));
    if (m->description)
        set(metadata, "description", json_string(m->description));
    set(metadata, "version", json_string(m->version ? m->version : MANIFEST_VERSION));
    if (m->name)
        set(root, "metadata", metadata);
    else
        json_decref(metadata);
    set(entry, "platform", json_pack("{s:s,s:s}", "arch", "x86_64", "os", "linux"));
    set(entry, "urls", text_array(m->urls));
    set(entry, "hash", json_string(hash));
    json_array_append_new(list, entry);
    set(root, "payload", list);
    set(root, "compManifest", comp_manifest(m));
    cleanup_free char *dump = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (!dump)
        return gv_error_set(err, GV_E_USAGE, 0, "a name, description or command of the manifest is not UTF-8");
    *text = gv_asprintf("%s\n", dump);
    return 0;
}

/* ---- judging --------------------------------------------------------------------------------------------------------------------- */

static int bad(struct gv_error *err, const char *what)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "the manifest is not valid: %s", what);
}

/* Seconds since the epoch of an RFC 3339 time. */
static int parse_time(const json_t *v, int64_t *t)
{
    struct tm tm = { 0 };
    const char *s = json_string_value(v), *end = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (!end && s)
        end = strptime(s, "%Y-%m-%d %H:%M:%S", &tm); /* RFC 3339 lets a blank stand for the T */
    if (!end)
        return -1;
    if (*end == '.') {
        size_t digits = strspn(end + 1, "0123456789");
        if (!digits)
            return -1;
        end += 1 + digits;
    }
    *t = (int64_t)timegm(&tm);
    if (!strcmp(end, "Z") || !strcmp(end, "z"))
        return 0;
    unsigned hours, minutes;
    int n = 0;
    if ((*end != '+' && *end != '-') || sscanf(end + 1, "%2u:%2u%n", &hours, &minutes, &n) != 2 || n != 5 || end[6] || hours > 23 ||
        minutes > 59)
        return -1;
    *t += (*end == '+' ? -60 : 60) * (int64_t)(hours * 60 + minutes);
    return 0;
}

static bool version_ok(const json_t *v)
{
    unsigned a, b, c;
    int n = 0;
    const char *s = json_string_value(v);
    return s && sscanf(s, "%u.%u.%u%n", &a, &b, &c, &n) == 3 && n > 0 && (!s[n] || s[n] == '-' || s[n] == '+');
}

/* A member that may be left out: null is as good as nothing. */
static json_t *optional(const json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

static bool optional_text(const json_t *o, const char *name)
{
    const json_t *v = optional(o, name);
    return !v || json_is_string(v);
}

static bool texts(const json_t *v)
{
    const json_t *item;
    size_t i;
    json_array_foreach (v, i, item)
        if (!json_is_string(item))
            return false;
    return json_is_array(v);
}

static bool urls_ok(const json_t *v)
{
    const json_t *item;
    size_t i;
    json_array_foreach (v, i, item)
        if (!json_is_string(item) || !url_ok(json_string_value(item)))
            return false;
    return json_is_array(v);
}

static int check_metadata(const json_t *m, struct gv_error *err)
{
    const json_t *authors = json_object_get(m, "authors");
    if (!m)
        return 0;
    if (!json_is_string(json_object_get(m, "name")))
        return bad(err, "`metadata` has no `name`");
    if (optional(m, "version") && !version_ok(json_object_get(m, "version")))
        return bad(err, "the `version` of `metadata` is none like 0.1.0");
    if (!optional_text(m, "description") || !optional_text(m, "homepage") || (authors && !texts(authors)))
        return bad(err, "`metadata` has something other than texts");
    return 0;
}

static int check_entry(const json_t *entry, struct gv_error *err)
{
    const json_t *platform = optional(entry, "platform");
    if (platform && (!json_is_string(json_object_get(platform, "arch")) || !json_is_string(json_object_get(platform, "os")) ||
                     !optional_text(platform, "osVersion")))
        return bad(err, "a `platform` does not say `arch` and `os`");
    if (!urls_ok(json_object_get(entry, "urls")))
        return bad(err, "an entry of `payload` has no list of `urls`, or what is none is in it");
    return json_is_string(json_object_get(entry, "hash")) ? 0 : bad(err, "an entry of `payload` has no `hash`");
}

/* Whether a provider of x86-64 Linux takes the entry. */
static bool fits(const json_t *entry)
{
    const json_t *platform = optional(entry, "platform");
    if (platform && (strcmp(json_string_value(json_object_get(platform, "arch")), "x86_64") != 0 ||
                     strcmp(json_string_value(json_object_get(platform, "os")), "linux") != 0))
        return false;
    return json_array_size(json_object_get(entry, "urls")) > 0 && json_string_length(json_object_get(entry, "hash")) > 0;
}

static int check_payload(const json_t *root, char hash[GV_SHA3_224_HEX], char **url, struct gv_error *err)
{
    const json_t *list = json_object_get(root, "payload"), *entry = NULL, *candidate;
    unsigned char digest[GV_SHA3_224_SIZE];
    size_t i;
    if (!json_is_array(list))
        return bad(err, "it has no `payload`");
    json_array_foreach (list, i, candidate) {
        if (check_entry(candidate, err) < 0)
            return -1;
        if (!entry && fits(candidate))
            entry = candidate;
    }
    if (!entry)
        return bad(err, "no entry of `payload` has a URL and a hash for linux on x86_64");
    const char *h = json_string_value(json_object_get(entry, "hash"));
    if (strncmp(h, "sha3:", 5) != 0 || gv_unhex(digest, sizeof(digest), h + 5) < 0)
        return bad(err, "the hash of the image is not `sha3:` and 56 hex digits");
    if (hash)
        gv_hex(hash, digest, sizeof(digest));
    if (url)
        *url = gv_strdup(json_string_value(json_array_get(json_object_get(entry, "urls"), 0)));
    return 0;
}

static int check_network(const json_t *net, struct gv_error *err)
{
    const json_t *inet = optional(net, "inet"), *out = optional(inet, "out");
    const json_t *urls = optional(out, "urls"), *any = optional(out, "unrestricted"), *protocols = json_object_get(out, "protocols");
    if ((net && !json_is_object(net)) || (inet && !json_is_object(inet)))
        return bad(err, "`net` or its `inet` is no object");
    if (!out)
        return 0;
    if (!json_is_object(out) || (urls && !json_is_array(urls)) || (any && !json_is_object(any)))
        return bad(err, "`net.inet.out` has neither a list of `urls` nor `unrestricted`");
    if (protocols && !texts(protocols))
        return bad(err, "`protocols` is no list of names");
    if (urls && json_is_true(json_object_get(any, "urls")))
        return bad(err, "`net.inet.out` has `urls` and is `unrestricted` as well");
    return urls && !urls_ok(urls) ? bad(err, "one of the outbound URLs is none") : 0;
}

static int check_comp(const json_t *comp, struct gv_error *err)
{
    const json_t *script = optional(comp, "script"), *match = json_object_get(script, "match");
    if (!comp)
        return 0;
    if (!json_is_object(comp) || !version_ok(json_object_get(comp, "version")))
        return bad(err, "`compManifest` has no `version` like 0.1.0");
    if (script && !texts(json_object_get(script, "commands")))
        return bad(err, "`script` has no list of `commands`, each a text");
    const char *how = json_string_value(match);
    if (match && (!how || (strcmp(how, "strict") != 0 && strcmp(how, "regex") != 0)))
        return bad(err, "`match` is neither `strict` nor `regex`");
    return check_network(optional(comp, "net"), err);
}

DEFINE_CLEANUP(json, json_t *, json_decref)

int demand_manifest_check(const void *text, size_t n, int64_t now, char hash[GV_SHA3_224_HEX], char **url, struct gv_error *err)
{
    json_error_t why;
    int64_t created = 0, expires = 0;
    if (n > DEMAND_MANIFEST_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "a manifest of %zu bytes is too large", n);
    CLEANUP(json) json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!root || !json_is_object(root))
        return gv_error_set(err, GV_E_FORMAT, 0, "the manifest is no JSON object: line %d: %s", root ? 1 : why.line,
                            root ? "another value" : why.text);
    if (!version_ok(json_object_get(root, "version")))
        return bad(err, "it has no `version` like 0.1.0");
    if (parse_time(json_object_get(root, "createdAt"), &created) < 0)
        return bad(err, "`createdAt` is no time of RFC 3339");
    if (parse_time(json_object_get(root, "expiresAt"), &expires) < 0)
        return bad(err, "`expiresAt` is no time of RFC 3339");
    if (expires <= created)
        return bad(err, "it expires before it was created");
    if (expires <= now)
        return gv_error_set(err, GV_E_TIMEOUT, 0, "the manifest has expired (%s); make a new one",
                            json_string_value(json_object_get(root, "expiresAt")));
    if (check_metadata(optional(root, "metadata"), err) < 0 || check_comp(optional(root, "compManifest"), err) < 0)
        return -1;
    return check_payload(root, hash, url, err);
}
