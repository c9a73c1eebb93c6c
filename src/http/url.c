/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <string.h>

#include "http/curl.h"
#include "http/http.h"

void http_escape(struct gv_buf *out, const char *s, const char *also)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c < 0x80 && isalnum(c)) || strchr("-._~", c) || strchr(also, c))
            gv_buf_add(out, s, 1);
        else
            gv_buf_addf(out, "%%%02X", c);
    }
}

char *http_basic(const char *user, const char *password)
{
    cleanup_free char *both = gv_asprintf("%s:%s", user, password);
    size_t n = strlen(both);
    /* EVP_EncodeBlock counts in int, and adds a NUL to four characters for every three bytes. */
    if (n > 1 << 20)
        both[n = 1 << 20] = '\0';
    char *out = gv_alloc(6 + (n + 2) / 3 * 4 + 1);
    memcpy(out, "Basic ", 6);
    EVP_EncodeBlock((unsigned char *)out + 6, (const unsigned char *)both, (int)n);
    return out;
}

/* The parts of a URL of http or https, as libcurl itself would understand it. */
struct parts {
    char *scheme, *host, *port; /* port: NULL for the usual one */
};

static void parts_clear(struct parts *p)
{
    free(p->scheme);
    free(p->host);
    free(p->port);
}

static char *part(const struct curl_api *api, CURLU *u, CURLUPart which, unsigned flags)
{
    char *text = NULL;
    if (api->url_get(u, which, &text, flags) != CURLUE_OK)
        return NULL;
    char *copy = gv_strdup(text);
    api->free(text);
    for (char *c = copy; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return copy;
}

static bool split(struct parts *p, const char *url)
{
    const struct curl_api *api = curl_load(NULL);
    CURLU *u = api ? api->url() : NULL;
    if (u && api->url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK) {
        p->scheme = part(api, u, CURLUPART_SCHEME, 0);
        p->host = part(api, u, CURLUPART_HOST, 0);
        p->port = part(api, u, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
    }
    if (u)
        api->url_cleanup(u);
    return p->scheme && p->host && (!strcmp(p->scheme, "http") || !strcmp(p->scheme, "https"));
}

char *http_origin(const char *url)
{
    __attribute__((cleanup(parts_clear))) struct parts p = { 0 };
    return split(&p, url) ? gv_asprintf("%s://%s%s%s", p.scheme, p.host, p.port ? ":" : "", p.port ? p.port : "") : NULL;
}

bool http_is_loopback(const char *url)
{
    __attribute__((cleanup(parts_clear))) struct parts p = { 0 };
    struct in_addr v4;
    struct in6_addr v6;
    if (!split(&p, url))
        return false;
    if (!strcmp(p.host, "localhost") || (inet_pton(AF_INET, p.host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127))
        return true;
    size_t n = strlen(p.host);
    if (n < 3 || p.host[0] != '[' || p.host[n - 1] != ']')
        return false;
    p.host[n - 1] = '\0';
    return inet_pton(AF_INET6, p.host + 1, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
