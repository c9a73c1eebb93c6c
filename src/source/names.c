/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/names.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

#define LISTED 20

void source_reference_clear(struct source_reference *r)
{
    free(r->path);
    free(r->name);
    *r = (struct source_reference){ 0 };
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* Splits FILE[:NAME] where FILE exists, at the first colon otherwise. */
static void split_path(struct source_reference *out, const char *text)
{
    const char *colon = strchr(text, ':');
    if (!colon || exists(text)) {
        out->path = gv_strdup(text);
        return;
    }
    for (const char *c = colon; c; c = strchr(c + 1, ':')) {
        cleanup_free char *path = gv_strndup(text, (size_t)(c - text));
        if (exists(path)) {
            colon = c;
            break;
        }
    }
    out->path = gv_strndup(text, (size_t)(colon - text));
    if (colon[1])
        out->name = gv_strdup(colon + 1);
}

/* Whether the text, which is no existing file, was meant as one all the same. */
static bool looks_like_path(const char *text)
{
    static const char *const suffixes[] = { ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2", ".gvmi", ".oci" };
    if (text[0] == '/' || text[0] == '.' || text[0] == '-')
        return true;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        size_t n = strlen(text), m = strlen(suffixes[i]);
        if (n > m && strcmp(text + n - m, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static int take_name(struct source_reference *out, const char *name, struct gv_error *err)
{
    cleanup_free char *full = name_normalise(name);
    if (!full)
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is not the name of an image; names look like [HOST[:PORT]/]NAME[:TAG|@DIGEST]",
                            name);
    out->name = gv_strdup(name);
    return 0;
}

int source_reference_parse(struct source_reference *out, const char *text, struct gv_error *err)
{
    enum form { ARCHIVE, PATH, NAME };
    static const struct {
        const char *prefix;
        enum transport transport;
        enum form form;
    } known[] = {
        { "docker-archive:", TRANSPORT_DOCKER_ARCHIVE, ARCHIVE },
        { "oci-archive:", TRANSPORT_OCI_ARCHIVE, ARCHIVE },
        { "oci:", TRANSPORT_OCI, ARCHIVE },
        { "tar:", TRANSPORT_TAR, PATH },
        { "dir:", TRANSPORT_DIR, PATH },
        { "dockerfile:", TRANSPORT_DOCKERFILE, PATH },
        { "docker-daemon:", TRANSPORT_DAEMON, NAME },
        { "docker://", TRANSPORT_REGISTRY, NAME },
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        size_t n = strlen(known[i].prefix);
        if (strncmp(text, known[i].prefix, n) != 0)
            continue;
        out->transport = known[i].transport;
        if (known[i].form == NAME)
            return take_name(out, text + n, err);
        if (known[i].form == PATH)
            out->path = gv_strdup(text + n);
        else
            split_path(out, text + n);
        break;
    }
    if (!out->path) {
        split_path(out, text);
        if (!exists(out->path) && !looks_like_path(text)) {
            cleanup_free char *full = name_normalise(text);
            if (full) {
                source_reference_clear(out);
                out->transport = TRANSPORT_NAME;
                out->name = gv_strdup(text);
                return 0;
            }
        }
    }
    if (!*out->path)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` names no file; see `gvmkit build --help` for the forms of a source", text);
    return 0;
}

/* ---- names of images (distribution's reference grammar) ---- */

static bool valid_tag(const char *s, size_t n)
{
    if (n == 0 || n > 128 || s[0] == '.' || s[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("_.-", s[i]))
            return false;
    return true;
}

static bool valid_path(const char *s, size_t n)
{
    bool start = true;
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool plain = (c >= 'a' && c <= 'z') || isdigit(c);
        if (!plain && (start || !strchr("._-/", c) || c == '\0'))
            return false;
        start = c == '/';
    }
    return !start;
}

static bool valid_host(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr(".-:[]", s[i]))
            return false;
    return n > 0;
}

char *name_normalise(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > 512)
        return NULL;
    const char *at = strchr(name, '@');
    size_t front = at ? (size_t)(at - name) : len;
    struct digest digest;
    if (at && digest_parse(&digest, at + 1, NULL) < 0)
        return NULL;

    /* A colon after the last slash begins the tag. */
    size_t path_end = front;
    for (size_t i = front; i-- > 0 && name[i] != '/';)
        if (name[i] == ':')
            path_end = i;
    const char *tag = path_end < front ? name + path_end + 1 : NULL;
    if (tag && !valid_tag(tag, front - path_end - 1))
        return NULL;

    /* What is before the first slash is a host when it looks like one. */
    const char *slash = memchr(name, '/', path_end);
    size_t host = 0;
    if (slash) {
        size_t n = (size_t)(slash - name);
        bool upper = false;
        for (size_t i = 0; i < n; i++)
            upper = upper || isupper((unsigned char)name[i]);
        if (memchr(name, '.', n) || memchr(name, ':', n) || upper || (n == 9 && !strncmp(name, "localhost", 9)))
            host = n;
    }
    const char *path = host ? slash + 1 : name;
    size_t path_len = path_end - (size_t)(path - name);
    if (!valid_path(path, path_len) || (host && !valid_host(name, host)))
        return NULL;
    const char *domain = host ? name : "docker.io";
    int domain_len = host ? (int)host : 9;
    if (host == 15 && !strncmp(name, "index.docker.io", 15)) {
        domain = "docker.io";
        domain_len = 9;
    }
    bool library = domain_len == 9 && !strncmp(domain, "docker.io", 9) && !memchr(path, '/', path_len);
    if (at)
        return gv_asprintf("%.*s/%s%.*s%s", domain_len, domain, library ? "library/" : "", (int)path_len, path, at);
    return gv_asprintf("%.*s/%s%.*s:%.*s", domain_len, domain, library ? "library/" : "", (int)path_len, path,
                       tag ? (int)(front - path_end - 1) : 6, tag ? tag : "latest");
}

char *name_familiar(const char *full)
{
    if (strncmp(full, "docker.io/", 10) != 0)
        return gv_strdup(full);
    full += 10;
    return gv_strdup(!strncmp(full, "library/", 8) && !strchr(full + 8, '/') ? full + 8 : full);
}

char *name_repository(const char *name)
{
    char *full = name_normalise(name);
    char *at = full ? strchr(full, '@') : NULL, *colon = full && !at ? strrchr(full, ':') : NULL;
    if (at || colon)
        *(at ? at : colon) = '\0';
    return full ? full : gv_strdup(name);
}

bool name_equal(const char *a, const char *b)
{
    cleanup_free char *x = name_normalise(a), *y = name_normalise(b);
    return x && y && strcmp(x, y) == 0;
}

char *name_list(const struct gv_strv *names)
{
    cleanup_buf struct gv_buf b = { 0 };
    for (size_t i = 0; i < names->count && i < LISTED; i++)
        gv_buf_addf(&b, "%s%s", i ? ", " : "", names->items[i]);
    if (names->count > LISTED)
        gv_buf_addf(&b, " and %zu more", names->count - LISTED);
    return gv_strdup(b.len ? gv_buf_str(&b) : "none");
}

/* ---- platforms ---- */

void platform_clear(struct platform *p)
{
    free(p->os);
    free(p->architecture);
    free(p->variant);
    *p = (struct platform){ 0 };
}

int platform_parse(struct platform *out, const char *text, struct gv_error *err)
{
    if (!text)
        text = "linux/amd64";
    const char *first = strchr(text, '/');
    const char *second = first ? strchr(first + 1, '/') : NULL;
    if (!first || first == text || !first[1] || first + 1 == second || (second && (!second[1] || strchr(second + 1, '/'))))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a platform; write OS/ARCHITECTURE, like linux/amd64", text);
    out->os = gv_strndup(text, (size_t)(first - text));
    out->architecture = second ? gv_strndup(first + 1, (size_t)(second - first - 1)) : gv_strdup(first + 1);
    out->variant = second ? gv_strdup(second + 1) : NULL;
    return 0;
}

static bool fits(const char *want, const char *have)
{
    return !want || !have || strcmp(want, have) == 0;
}

bool platform_fits(const struct platform *want, const struct platform *have)
{
    return fits(want->os, have->os) && fits(want->architecture, have->architecture) && fits(want->variant, have->variant);
}

char *platform_format(const struct platform *p)
{
    return gv_asprintf("%s/%s%s%s", p->os ? p->os : "unknown", p->architecture ? p->architecture : "unknown", p->variant ? "/" : "",
                       p->variant ? p->variant : "");
}
