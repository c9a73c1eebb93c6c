/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `http`: what is fetched from servers, over libcurl. It knows nothing of images or registries.
 *
 *   curl.c       libcurl, loaded when it is first needed
 *   client.c     one exchange: connection, redirects, headers, the way of the body
 *   retry.c      exchanges that are repeated, and files that are resumed
 *   challenge.c  WWW-Authenticate
 *   url.c        escaping, origins
 *
 * What all requests have in common: only http and https, and never from https to http; the proxies of the environment (not for loopback
 * addresses, as in Docker); the system's certificates; every length bounded; a server that stalls is given up. What may go better the next
 * time (connection lost, stalled, 408, 429, 5xx) is tried again with growing waits, or after as long as the server asks for (Retry-After).
 */
#ifndef GV_HTTP_H
#define GV_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"

/* ---- clients ---- */

struct http_client;

struct http_options {
    const char *unix_socket; /* connect to this socket, whatever the URL's host is; NULL = as the URL says */
    const char *ca_file;     /* certificates to trust beside the system's, PEM; NULL = none */
    const char *cert_file;   /* our own certificate and key, PEM; NULL = none */
    const char *key_file;
    bool insecure;          /* any certificate will do */
    bool insecure_loopback; /* on this machine any certificate will do */
    unsigned connect_ms;    /* for a connection to be made; 0 = 20 s */
    /* Rounded up to seconds: no answer, or less than HTTP_STALL_RATE bytes a second, for so long is a lost connection; 0 = 30 s. */
    unsigned stall_ms;
    unsigned attempts; /* of a request in all; 0 = 5 */
    unsigned wait_ms;  /* before the second attempt, doubled for each one more; 0 = 500 */
    /* Becomes true when everything is to stop: requests then fail with GV_E_CANCELLED within a second. May be NULL. */
    const atomic_bool *cancelled;
    const struct gv_log *log; /* is told of repetitions, and of waits of some seconds as notes; may be NULL */
};
#define HTTP_STALL_RATE 64

/* Strings are copied; cancelled and log must outlive the client. Connections are kept and used again. A client may be used by several
 * threads. */
int http_client_new(struct http_client **out, const struct http_options *options, struct gv_error *err);
/* No request may be under way. NULL is fine. */
void http_client_free(struct http_client *c);
DEFINE_CLEANUP(http_client, struct http_client *, http_client_free)

/* ---- requests ---- */

struct http_request {
    const char *method; /* "GET" (also NULL), "HEAD", "POST", "PUT", "PATCH" */
    const char *
        url; /* http or https, without user name; redirects are followed; of what has a body only those that say GET (303), and for PUT those that keep it (307, 308) */
    /* Value of the header Authorization. It is sent to the origin (scheme, host and port) of url alone; after a redirect away from there it
     * is gone. */
    const char *authorization;
    const char *const *headers; /* "Name: value", the last one NULL; may be NULL. Not for secrets: they go along with redirects */
    const void *body;           /* of POST, PUT, PATCH, in memory */
    size_t body_size;
    const char *body_type;
    /* Instead of body, for a large one: fills p with the n bytes of it from `at` on, in order, and from 0 on again when they have to be sent again.
     * Its -1 ends the request, before these bytes are sent: so nothing is complete at the server. */
    int (*read_body)(void *user, uint64_t at, void *p, size_t n, struct gv_error *err);
    void *user;
    unsigned attempts; /* 0 = as the client has it */
};

/* Zero-initialised is valid. */
struct http_response {
    long status;
    char *type;             /* the media type without parameters, in lower case; "" if there is none */
    int64_t length;         /* Content-Length; -1 if not said */
    struct gv_strv headers; /* "name: value", names in lower case; of the last response */
    struct gv_buf body;     /* http_fetch(): all of it; http_download(): only that of an error */
};
void http_response_clear(struct http_response *r);
static inline void gv_cleanup_http_response_fn(struct http_response *r)
{
    http_response_clear(r);
}
#define cleanup_response __attribute__((cleanup(gv_cleanup_http_response_fn)))

/* The value of the header `name` (lower case) for *at == 0, of the next one of that name for each further call with the same *at. NULL = no
 * more. */
const char *http_response_header(const struct http_response *r, const char *name, size_t *at);

static inline bool http_ok(const struct http_response *r)
{
    return r->status >= 200 && r->status < 300;
}

/*
 * Sends the request and takes the whole body into memory; more than max bytes are GV_E_LIMIT. 0 when there is a response, whatever its
 * status; -1 when there is none: GV_E_TIMEOUT, GV_E_CANCELLED, GV_E_PROTOCOL for a peer that does not follow the rules, GV_E_IO else (sys
 * as the system had it, 0 if unknown). A response is complete within two minutes, or is none, but for a body of more than a MiB, which may
 * take longer. *out is cleared first, and is the caller's to clear.
 */
int http_fetch(struct http_client *c, const struct http_request *request, size_t max, struct http_response *out, struct gv_error *err);

/* A file on its way. */
#define HTTP_SIZE_UNKNOWN UINT64_MAX
struct http_file {
    int fd;        /* written from its beginning on, by position */
    uint64_t have; /* bytes that are there already; on return, also after a failure, what there is now */
    uint64_t size; /* what it must have; HTTP_SIZE_UNKNOWN = as much as comes, at most max; on success the size it has */
    uint64_t max;  /* 0 = no limit but size */
    /* The URL names the content (by a digest): what is there is a beginning of it, whatever the server says. Else it is kept only when
     * `etag` proves that the file is the same. */
    bool by_content;
    /* What the server calls the version of which bytes are there: a strong entity tag, or the date of its last change when that is old
     * enough to tell versions apart; "" if nothing. Set by what comes. */
    char etag[256];
    /* Is asked first when an answer has the file, or the rest of it: its -1 ends the download, and what is there stays. May be NULL. */
    int (*accept)(void *user, const struct http_response *r, struct gv_error *err);
    /* The body comes next, after the `have` bytes that stay: 0 when what was there has been thrown away. -1 ends the download. May be
     * NULL. */
    int (*begin)(void *user, struct gv_error *err);
    uint64_t said; /* the size that the server says it has, HTTP_SIZE_UNKNOWN if it does not; set by what comes */
    void (*progress)(void *user, uint64_t have); /* called now and then with what there is; may be NULL */
    /* Sees every byte that is kept, in order; what comes at a position before the last one replaces what was seen from there on. May be NULL. */
    int (*data)(void *user, uint64_t at, const void *p, size_t n, struct gv_error *err);
    void *user;
};

/*
 * Fetches the rest of a file. It goes on after lost connections for as long as it gets ahead. 0 when there is a response: with http_ok(out)
 * the file is complete, else (404, 401 ...) nothing has changed. -1 as above, also GV_E_CORRUPT when the server's file has another size,
 * and GV_E_LIMIT. What a server sends that does not know ranges, or for a file that has changed, replaces everything that was there.
 */
int http_download(struct http_client *c, const struct http_request *request, struct http_file *file, struct http_response *out,
                  struct gv_error *err);

/* ---- words of HTTP ---- */

/* Seconds that a refusal (429, 503) asks to wait, -1 if it does not. */
long http_retry_after(const struct http_response *r);

/* Appends s with everything but letters, digits and "-._~" escaped; characters in `also` stay, too ("/" for paths). */
void http_escape(struct gv_buf *out, const char *s, const char *also);

/* "Basic ..." for a name and a password; the caller frees it. */
char *http_basic(const char *user, const char *password) __attribute__((returns_nonnull));

/* Scheme, host and port of a URL in their shortest form, "https://example.org" or "http://[::1]:5000"; the caller frees it. NULL if it is
 * not one of http or https. */
char *http_origin(const char *url);
/* Whether the host of the URL is this machine: localhost, 127.0.0.0/8, ::1. */
bool http_is_loopback(const char *url);

#define HTTP_CHALLENGES_MAX 8
#define HTTP_PARAMETERS_MAX 16
struct http_challenge {
    char *scheme; /* lower case */
    struct {
        char *name; /* lower case */
        char *value;
    } parameters[HTTP_PARAMETERS_MAX];
    size_t count;
};
struct http_challenges {
    struct http_challenge list[HTTP_CHALLENGES_MAX];
    size_t count;
};
void http_challenges_clear(struct http_challenges *c);
static inline void gv_cleanup_http_challenges_fn(struct http_challenges *c)
{
    http_challenges_clear(c);
}
#define cleanup_challenges __attribute__((cleanup(gv_cleanup_http_challenges_fn)))
/* Adds the challenges of one header WWW-Authenticate (RFC 9110, 11.6.1). What is not of that form, or too much, ends the reading; what came
 * before it stays. *out must be zero-initialised before the first call. */
void http_challenges_parse(struct http_challenges *out, const char *value);
/* The first challenge of that scheme (lower case), NULL if there is none. */
const struct http_challenge *http_challenges_find(const struct http_challenges *c, const char *scheme);
/* The value of a parameter, NULL if it is not there. */
const char *http_challenge_parameter(const struct http_challenge *c, const char *name);

#endif
