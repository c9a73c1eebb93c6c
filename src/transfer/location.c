/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/location.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "http/http.h"

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* Decodes n bytes of text once. NULL with err for a `%` without its digits, or one that would be a NUL. */
static char *percent_decode(const char *text, size_t n, struct gv_error *err)
{
    cleanup_free char *out = gv_alloc(n + 1);
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '%') {
            out[len++] = text[i];
            continue;
        }
        int high = n - i > 2 ? hex_digit(text[i + 1]) : -1, low = n - i > 2 ? hex_digit(text[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0)) {
            gv_error_set(err, GV_E_USAGE, 0, "`%.300s`: a `%%` in a path is written %%25", text);
            return NULL;
        }
        out[len++] = (char)(high << 4 | low);
        i += 2;
    }
    out[len] = '\0';
    return steal_ptr(out);
}

/* ---- hash:sha3:HEX: --------------------------------------------------------------------------------------------------------------- */

static bool kind_of_digest(size_t digits, enum gv_hash_kind *kind)
{
    static const struct {
        size_t digits;
        enum gv_hash_kind kind;
    } kinds[] = { { 56, GV_HASH_SHA3_224 }, { 64, GV_HASH_SHA3_256 }, { 96, GV_HASH_SHA3_384 }, { 128, GV_HASH_SHA3_512 } };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (kinds[i].digits == digits) {
            *kind = kinds[i].kind;
            return true;
        }
    }
    return false;
}

/* Reads "hash:sha3:HEX:URL" with all its spellings: "hash://", "0x" before the digits, letters of either case. *rest is what comes after it. *digest_size is 0
 * when the text has no hash; a text that begins like one and is none is GV_E_USAGE. */
static int hash_prefix(const char *text, enum gv_hash_kind *kind, unsigned char digest[GV_HASH_MAX], size_t *digest_size, const char **rest,
                       struct gv_error *err)
{
    *digest_size = 0;
    *rest = text;
    if (strncasecmp(text, "hash:", 5) != 0)
        return 0;
    const char *p = text + 5;
    if (!strncmp(p, "//", 2))
        p += 2;
    /* Other algorithms are none of the protocol, though their names may be well known. */
    size_t n = strcspn(p, ":");
    if (n != 4 || strncmp(p, "sha3", 4) != 0 || !p[n])
        return gv_error_set(err, GV_E_USAGE, 0, "unsupported hash `%.*s`; write hash:sha3:HEX:URL", (int)(n > 40 ? 40 : n), p);
    p += 5;
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
        p += 2;
    n = strcspn(p, ":");
    if (!p[n] || !kind_of_digest(n, kind))
        return gv_error_set(err, GV_E_USAGE, 0, "a SHA3 hash has 56, 64, 96 or 128 digits, followed by `:` and the URL");
    cleanup_free char *hex = gv_strndup(p, n);
    if (gv_unhex(digest, n / 2, hex) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a hash in hexadecimal digits", hex);
    *digest_size = n / 2;
    *rest = p + n + 1;
    return 0;
}

/* ---- URLs ------------------------------------------------------------------------------------------------------------------------- */

int location_split_user(const char *url, char **plain, char **authorization, struct gv_error *err)
{
    const char *authority = strstr(url, "://");
    authority = authority ? authority + 3 : url;
    size_t n = strcspn(authority, "/?#");
    const char *at = memrchr(authority, '@', n);
    *authorization = NULL;
    if (!at) {
        *plain = gv_strdup(url);
        return 0;
    }
    size_t user_size = strcspn(authority, ":@");
    const char *colon = authority + user_size;
    cleanup_free char *user = percent_decode(authority, user_size, err);
    cleanup_free char *password = colon < at ? percent_decode(colon + 1, (size_t)(at - colon - 1), err) : gv_strdup("");
    if (!user || !password) /* the message would show the password */
        return gv_error_set(err, GV_E_USAGE, 0, "user name and password of the URL `%s` are not encoded as they should be", at + 1);
    *authorization = http_basic(user, password);
    *plain = gv_asprintf("%.*s%s", (int)(authority - url), url, at + 1);
    return 0;
}

static bool has_dots(const char *path)
{
    for (const char *p = path; *p; p += *p == '/') {
        size_t n = strcspn(p, "/");
        if (n == 2 && !strncmp(p, "..", 2))
            return true;
        p += n;
    }
    return false;
}

static int parse_container(struct location *l, const char *path, const char *text, struct gv_error *err)
{
    l->kind = LOCATION_CONTAINER;
    if (!strncmp(path, "//", 2))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s`: what follows `//` would be a host; write container:/PATH", text);
    if (strpbrk(path, "?#"))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s`: a path ends before `?` or `#`; write %%3F or %%23", text);
    l->path = percent_decode(path, strlen(path), err);
    if (!l->path)
        return -1;
    if (l->path[0] != '/' || strstr(l->path, "//") || has_dots(l->path))
        return gv_error_set(err, GV_E_USAGE, 0, "invalid path format: [%.300s]", text);
    return 0;
}

static int parse_file(struct location *l, const char *path, const char *text, struct gv_error *err)
{
    l->kind = LOCATION_FILE;
    if (!strncmp(path, "//", 2)) {
        path += 2;
        if (!strncmp(path, "localhost/", 10))
            path += 9;
        if (path[0] != '/')
            return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is on another host; write file:PATH or file:///PATH", text);
    }
    l->path = percent_decode(path, strlen(path), err);
    if (!l->path)
        return -1;
    return l->path[0] ? 0 : gv_error_set(err, GV_E_USAGE, 0, "`%.300s` names no file", text);
}

int location_parse(struct location *l, const char *text, struct gv_error *err)
{
    const char *rest;
    *l = (struct location){ 0 };
    if (hash_prefix(text, &l->hash, l->digest, &l->digest_size, &rest, err) < 0)
        return -1;
    size_t n = 0;
    while (isalnum((unsigned char)rest[n]) || (n && rest[n] && strchr("+-.", rest[n])))
        n++;
    if (n == 0 || rest[n] != ':' || !isalpha((unsigned char)rest[0]))
        return parse_container(l, rest, text, err);
    if (n == 9 && !strncasecmp(rest, "container", n))
        return parse_container(l, rest + n + 1, text, err);
    if (n == 4 && !strncasecmp(rest, "file", n))
        return parse_file(l, rest + n + 1, text, err);
    if ((n == 4 && !strncasecmp(rest, "http", n)) || (n == 5 && !strncasecmp(rest, "https", n))) {
        l->kind = LOCATION_HTTP;
        return location_split_user(rest, &l->url, &l->authorization, err);
    }
    gv_error_set(err, GV_E_USAGE, 0, "Unsupported scheme: %.*s", (int)(n > 40 ? 40 : n), rest);
    return gv_error_hint(err, "there are http, https, file and container%s",
                         n == 4 && !strncasecmp(rest, "gftp", n) ? "; gftp needs a node of the network" : "");
}

void location_clear(struct location *l)
{
    free(l->url);
    free(l->authorization);
    free(l->path);
    *l = (struct location){ 0 };
}

const struct transfer_volume *location_volume(const struct transfer_options *o, const char *path, const char **rest, struct gv_error *err)
{
    const struct transfer_volume *best = NULL;
    size_t best_size = 0;
    for (size_t i = 0; i < o->volume_count; i++) {
        const struct transfer_volume *v = &o->volumes[i];
        size_t n = strlen(v->path);
        while (n && v->path[n - 1] == '/')
            n--;
        if (strncmp(v->path, path, n) != 0 || (path[n] && path[n] != '/') || (best && n <= best_size))
            continue;
        best = v;
        best_size = n;
    }
    if (!best) {
        gv_error_set(err, GV_E_NOT_FOUND, 0, "path not found in container: %.300s", path);
        gv_error_hint(err, "only directories that the host shares as volumes can be reached");
        return NULL;
    }
    *rest = path + best_size + strspn(path + best_size, "/");
    return best;
}
