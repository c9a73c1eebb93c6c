/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One exchange, as client.c gives it to retry.c. */
#ifndef GV_HTTP_EXCHANGE_H
#define GV_HTTP_EXCHANGE_H

#include "http/http.h"

/* Where the body of a successful response goes. */
struct http_sink {
    /* Before the first byte, when status and headers are known. */
    int (*begin)(void *user, const struct http_response *r, struct gv_error *err);
    int (*data)(void *user, const void *p, size_t n, struct gv_error *err);
    void *user;
    unsigned long whole_ms; /* for everything; 0 = no limit */
};

/* What became of it. */
enum http_outcome {
    HTTP_DONE,   /* a response, complete */
    HTTP_LOST,   /* no response, or not all of it: it may be better the next time */
    HTTP_REFUSED /* no response, and there never will be one */
};

/* Sends the request once, following redirects. The body of a response that is not a success goes to out->body, as far as it fits. range is
 * the value of the header Range, if_range of If-Range; both may be NULL. */
enum http_outcome http_exchange(struct http_client *c, const struct http_request *request, const char *range, const char *if_range,
                                const struct http_sink *sink, struct http_response *out, struct gv_error *err);

const struct http_options *http_client_options(const struct http_client *c);
static inline bool http_is_cancelled(const struct http_options *o)
{
    return o->cancelled && atomic_load(o->cancelled);
}

#endif
