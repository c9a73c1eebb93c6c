/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The reader of references. A prefix decides which form is read; what has none is a hash, a name, or a path, in this order. Nothing is guessed: what
 * begins like one form and is not one is refused, so that a mistyped hash is never taken for a file.
 */
#include "refs/refs.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define HEX_DIGITS (2 * GV_SHA3_224_SIZE)
#define TEXT_MAX 8192U
/* Names become names of files in the store, with two characters escaped. */
#define NAME_MAX_LENGTH 240U

void refs_clear(struct refs *r)
{
    free(r->path);
    free(r->user);
    free(r->repository);
    free(r->tag);
    free(r->url);
    *r = (struct refs){ 0 };
}

char *refs_name(const struct refs *r)
{
    return gv_asprintf("%s/%s:%s", r->user, r->repository, r->tag);
}

int refs_hash(char out[GV_SHA3_224_HEX], const char *text)
{
    unsigned char digest[GV_SHA3_224_SIZE];
    if (gv_unhex(digest, sizeof(digest), text) < 0)
        return -1;
    gv_hex(out, digest, sizeof(digest));
    return 0;
}

/* What follows the prefix, NULL when the text does not begin with it. */
static const char *after(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncasecmp(text, prefix, n) == 0 ? text + n : NULL;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* Undoes %XX; NULL when a % is followed by something else, or stands for a NUL. The caller frees it. */
static char *unescape(const char *text)
{
    cleanup_free char *out = gv_alloc(strlen(text) + 1);
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        out[n] = *p;
        if (*p == '%') {
            int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);
            if (low < 0 || (high | low) == 0)
                return NULL;
            out[n] = (char)(high << 4 | low);
            p += 2;
        }
        n++;
    }
    out[n] = '\0';
    return steal_ptr(out);
}

/* The digits of a hash up to `end`, with or without 0x. */
static int take_hash(struct refs *out, const char *text, size_t n, struct gv_error *err)
{
    if (n > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        text += 2;
        n -= 2;
    }
    for (size_t i = 0; i < n; i++)
        if (hex_digit(text[i]) < 0)
            return gv_error_set(err, GV_E_USAGE, 0, "`%.*s` is not a hash: it has to be %d hex digits", (int)(n < 200 ? n : 200), text,
                                HEX_DIGITS);
    if (n != HEX_DIGITS)
        return gv_error_set(err, n == 64 || n == 96 || n == 128 ? GV_E_UNSUPPORTED : GV_E_USAGE, 0,
                            "`%.*s` is not the hash of an image: SHA3-224 has %d hex digits, this has %zu", (int)(n < 200 ? n : 200), text,
                            HEX_DIGITS, n);
    char digits[GV_SHA3_224_HEX];
    memcpy(digits, text, HEX_DIGITS);
    digits[HEX_DIGITS] = '\0';
    return refs_hash(out->hash, digits);
}

static bool is_web(const char *text)
{
    return after(text, "http://") || after(text, "https://");
}

static int take_path(struct refs *out, const char *text, struct gv_error *err)
{
    const char *path = after(text, "//");
    /* file://HOST/PATH has to be this machine. */
    if (path && *path != '/') {
        path = after(path, "localhost/");
        if (!path)
            return gv_error_set(err, GV_E_USAGE, 0, "`file:%.300s` is a file of another machine; write file:///PATH", text);
        path--;
    }
    out->kind = REFS_PATH;
    out->is_explicit = true;
    out->path = unescape(path ? path : text);
    if (!out->path)
        return gv_error_set(err, GV_E_USAGE, 0, "`file:%.300s` has a %% that is no escape; write %%25", text);
    return *out->path ? 0 : gv_error_set(err, GV_E_USAGE, 0, "`file:%.300s` does not say which file", text);
}

/* image.HEX.link as the last part of the path: the hash is in the name. */
static int take_link(struct refs *out, struct gv_error *err)
{
    static const char head[] = "image.", tail[] = ".link";
    const char *end = out->url + strcspn(out->url, "?#"), *last = end;
    while (last > out->url && last[-1] != '/')
        last--;
    size_t n = (size_t)(end - last);
    if (n != sizeof(head) - 1 + HEX_DIGITS + sizeof(tail) - 1 || strncasecmp(last, head, sizeof(head) - 1) != 0 ||
        strncasecmp(end - (sizeof(tail) - 1), tail, sizeof(tail) - 1) != 0)
        return 0;
    char said[GV_SHA3_224_HEX];
    memcpy(said, out->hash, sizeof(said));
    if (take_hash(out, last + sizeof(head) - 1, HEX_DIGITS, err) < 0)
        return -1;
    if (*said && strcmp(said, out->hash) != 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is a link file for another hash than %s", out->url, said);
    out->is_link = true;
    return 0;
}

/* http(s)://..., possibly with the hash as its fragment. */
static int take_url(struct refs *out, const char *text, struct gv_error *err)
{
    size_t n = strcspn(text, "#");
    for (const char *p = text; p < text + n; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is not a URL: it has blanks or control characters", text);
    if (text[n] == '#') {
        const char *fragment = text + n + 1;
        static const char *const words[] = { "hash=", "hash:", "sha3:", "sha3=", "sha3-224:", "sha3-224=" };
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
            const char *rest = after(fragment, words[i]);
            fragment = rest ? rest : fragment;
        }
        char *before = *out->hash ? gv_strdup(out->hash) : NULL;
        int status = take_hash(out, fragment, strlen(fragment), err);
        if (status == 0 && before && strcmp(before, out->hash) != 0)
            status = gv_error_set(err, GV_E_USAGE, 0, "`%.300s` names another hash than %s", text, before);
        free(before);
        if (status < 0)
            return -1;
    }
    out->kind = REFS_IMAGE;
    out->is_explicit = true;
    out->url = gv_strndup(text, n);
    return take_link(out, err);
}

/* After "hash:": //, the algorithm, the digits, the URL. */
static int take_demand(struct refs *out, const char *text, struct gv_error *err)
{
    const char *p = after(text, "//");
    p = p ? p : text;
    size_t n = strcspn(p, ":");
    if (!p[n])
        return gv_error_set(err, GV_E_USAGE, 0, "`hash:%.300s` is not hash:sha3:HEX:URL", text);
    if (n != 4 || strncasecmp(p, "sha3", 4) != 0)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "`hash:%.300s`: the hash of an image is called sha3, not `%.*s`", text,
                            (int)(n < 100 ? n : 100), p);
    p += n + 1;
    n = strcspn(p, ":");
    out->kind = REFS_IMAGE;
    out->is_explicit = true;
    if (take_hash(out, p, n, err) < 0)
        return -1;
    if (!p[n] || !p[n + 1])
        return 0; /* any registry may have it */
    p += n + 1;
    cleanup_free char *plain = after(p, "http%3a") || after(p, "https%3a") || after(p, "file%3a") ? unescape(p) : gv_strdup(p);
    if (plain && is_web(plain))
        return take_url(out, plain, err);
    const char *file = plain ? after(plain, "file:") : NULL;
    if (file)
        return take_path(out, file, err);
    return gv_error_set(err, plain && after(plain, "gftp:") ? GV_E_UNSUPPORTED : GV_E_USAGE, 0,
                        "`%.300s` is not a URL of http, https or file", p);
}

/* The part of a name at *p, up to one of `ends`. */
static char *take_part(const char **p, const char *ends)
{
    size_t n = strcspn(*p, ends);
    if (n == 0 || !isalnum((unsigned char)**p))
        return NULL;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)(*p)[i];
        if (c >= 0x80 || (!isalnum(c) && c != '-' && c != '_' && c != '.'))
            return NULL;
    }
    char *part = gv_strndup(*p, n);
    *p += n;
    return part;
}

int refs_parse_name(struct refs *out, const char *text, struct gv_error *err)
{
    const char *p = text;
    out->kind = REFS_NAME;
    out->user = take_part(&p, "/");
    if (out->user && *p == '/') {
        p++;
        out->repository = take_part(&p, ":");
    }
    if (out->repository && *p == ':') {
        p++;
        out->tag = take_part(&p, "");
    } else if (out->repository) {
        out->tag = gv_strdup("latest");
    }
    if (!out->tag || strlen(out->user) + strlen(out->repository) + strlen(out->tag) > NAME_MAX_LENGTH)
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is not USER/REPO:TAG, of letters, digits, `-`, `_` and `.`", text);
    return 0;
}

/* A bare name has its tag: else it could be any path. */
static bool is_bare_name(const char *text)
{
    cleanup_refs struct refs r = { 0 };
    return strchr(text, ':') && refs_parse_name(&r, text, NULL) == 0;
}

int refs_parse(struct refs *out, const char *text, struct gv_error *err)
{
    if (!*text || strnlen(text, TEXT_MAX + 1) > TEXT_MAX)
        return gv_error_set(err, GV_E_USAGE, 0, *text ? "the reference is too long" : "the reference is empty");
    cleanup_free char *plain = NULL;
    if (after(text, "hash%3a")) {
        plain = unescape(text);
        if (!plain)
            return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` has a %% that is no escape", text);
        text = plain;
    }
    const char *rest = after(text, "hash:");
    if (rest)
        return take_demand(out, rest, err);
    rest = after(text, "file:");
    if (rest)
        return take_path(out, rest, err);
    if (is_web(text))
        return take_url(out, text, err);
    rest = after(text, "oci://");
    if (rest) {
        if (!*rest)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` names nothing; write oci://HOST/REPO:TAG", text);
        out->kind = REFS_OCI;
        out->is_explicit = true;
        out->path = gv_strdup(rest);
        return 0;
    }
    rest = after(text, "golem:");
    if (rest && strchr(rest, '/')) { /* else Docker may have an image golem */
        const char *name = after(rest, "//");
        out->is_explicit = true;
        return refs_parse_name(out, name ? name : rest, err);
    }
    if (refs_hash(out->hash, text) == 0) {
        out->kind = REFS_IMAGE;
        return 0;
    }
    if (is_bare_name(text))
        return refs_parse_name(out, text, err);
    out->kind = REFS_PATH;
    out->path = gv_strdup(text);
    return 0;
}
