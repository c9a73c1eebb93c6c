/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The parts of a running server, and what handlers of requests have to do with.
 *
 * A request goes through handle() in http.c: its route is found, its body is received (into memory, or by a form's parser to the route's `file`), then the
 * route's answer() is called: for routes with a body in a thread of jobs, while the connection is suspended, since it writes to the disk; for others at
 * once, in the serving thread, which must not wait. It makes r->response by one of the answer_*().
 */
#ifndef GV_SERVE_SERVER_H
#define GV_SERVE_SERVER_H

#include <stdatomic.h>
#include <time.h>

#include "serve/conns.h"
#include "serve/db.h"
#include "serve/disk.h"
#include "serve/form.h"
#include "serve/jobs.h"
#include "serve/limits.h"
#include "serve/mhd.h"
#include "serve/model.h"
#include "serve/serve.h"
#include "serve/tls.h"
#include "serve/uploads.h"
#include "serve/usage.h"

struct metrics {
    atomic_uint_fast64_t responses[6]; /* by the first digit of the status */
    atomic_uint_fast64_t aborted;      /* requests that ended before their answer had gone out */
    atomic_uint_fast64_t received;     /* bytes of bodies */
    atomic_uint_fast64_t promised;     /* bytes of answers, as far as they were wanted */
    atomic_uint_fast64_t limited, login_failures, reaped;
    atomic_uint_fast64_t chunks, published; /* stored; images made of them */
    atomic_uint_fast64_t expired_images, expired_uploads, collections;
};

struct server {
    const struct serve_options *options;
    const struct gv_log *log;
    const struct mhd_api *mhd;
    struct disk disk;
    struct db_pool *dbs;
    struct uploads *uploads;
    struct jobs *jobs;  /* for requests */
    struct jobs *pages; /* for people */
    struct jobs *maps;  /* chunk maps, one after the other */
    struct limits *rate, *logins;
    struct conns conns;
    struct tls *tls; /* NULL without */
    struct usage *usage;
    struct metrics metrics;
    char *url;                      /* where it listens */
    atomic_uint_fast64_t active;    /* requests */
    atomic_uint_fast64_t receiving; /* bytes of chunks that have been let in and are not stored yet */
    atomic_bool ending;
};

struct request;

enum body { BODY_NONE, BODY_PAGE, BODY_BYTES, BODY_FORM }; /* BODY_PAGE: none, and the answer is made in a thread of pages */
enum { METHOD_GET = 1, METHOD_HEAD = 2, METHOD_POST = 4 };

/* PREFIX: the path goes on with something, which is r->rest. OPEN: pages of other sites may read it in a browser, as golem-js does. */
enum { ROUTE_PREFIX = 1, ROUTE_OPEN = 2 };

struct route {
    const char *name; /* in logs */
    const char *path;
    unsigned methods;
    unsigned flags;
    enum body body;
    uint64_t max_body; /* bytes; 0 = a chunk of the largest image */
    void (*answer)(struct request *r);
    /* Takes n bytes of the form's file, which begin there at `at`; false to be called no more, with or without an answer made. */
    bool (*file)(void *request, const void *p, size_t n, uint64_t at);
};

struct request {
    struct server *server;
    const struct route *route;
    struct MHD_Connection *connection;
    struct conn *conn;
    struct address address;
    char *target;     /* as it came, for the log; cut at some length */
    const char *rest; /* of the path, in url */
    char *url;
    const char *method; /* one of ours, or "-" */
    bool head;
    bool has_nul; /* the library ends a path there, and would answer for another one */
    enum { REQUEST_NEW, REQUEST_RECEIVING, REQUEST_WORKING, REQUEST_DONE } state;
    struct timespec began;
    uint64_t received;
    struct gv_buf body;
    struct form *form;
    struct MHD_Response *response;
    unsigned status;
    uint64_t length; /* of the answer's body */
    void *user;      /* the route's, released by free_user */
    void (*free_user)(struct request *r);
};

/* Seconds since 1970, and ms that do not go back. */
int64_t server_now(void);
uint64_t server_ticks(void);

/* ---- making an answer; only the first one counts ---- */

void answer_text(struct request *r, unsigned status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Takes over what is in body. */
void answer_bytes(struct request *r, unsigned status, const char *type, struct gv_buf *body);
/* The status that suits the error, and its text. */
void answer_error(struct request *r, const struct gv_error *err);
/* Takes over the response; whether it is the answer. */
bool answer_response(struct request *r, unsigned status, struct MHD_Response *response, uint64_t length);
void answer_header(struct request *r, const char *name, const char *value);

/* An argument of the URL, a header; NULL when it is not there. Owned by the connection. */
const char *request_argument(struct request *r, const char *name);
const char *request_header(struct request *r, const char *name);
/* Appends "http://HOST": how the client reaches us, or by what it was told to. */
void request_base_url(struct request *r, bool https, struct gv_buf *out);
/* The database, for one request; NULL when that has been answered with the failure. */
struct db *request_db(struct request *r);

/* Who sends the request: 1 with the user; otherwise it is answered with the refusal. In a thread of jobs, for it may take a while. */
int request_login(struct request *r, struct db *db, const char *name, const char *secret, int64_t *user);

/* ---- the routes (routes.c has their table) ---- */

/* NULL when there is none; then *allowed has the methods of the path, 0 = there is no such path. */
const struct route *route_find(const char *path, unsigned method, const char **rest, unsigned *allowed);

void route_login(struct request *r);
void route_descriptor(struct request *r);
void route_push_descriptor(struct request *r);
bool route_push_descriptor_file(void *request, const void *p, size_t n, uint64_t at);
void route_push_chunk(struct request *r);
bool route_push_chunk_file(void *request, const void *p, size_t n, uint64_t at);
void route_attach(struct request *r);
void route_sign(struct request *r);
bool route_sign_file(void *request, const void *p, size_t n, uint64_t at);
void route_info(struct request *r);
void route_redirect(struct request *r);
void route_download(struct request *r);
void route_search(struct request *r);
void route_repository(struct request *r);
void route_image(struct request *r);
void route_compare(struct request *r);
void route_asset(struct request *r);
void route_health(struct request *r);
void route_metrics(struct request *r);

/* ---- http.c ---- */

/* What the library calls; cls is the server. */
enum MHD_Result http_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                            const char *upload_data, size_t *upload_data_size, void **request);
void *http_begin(void *cls, const char *uri, struct MHD_Connection *connection);
void http_completed(void *cls, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode code);
void http_connection(void *cls, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code);
void http_log(struct request *r, bool complete);

/* ---- collect.c ---- */

/* Removes what has expired, and files of images that nobody knows any more. */
void server_collect(struct server *s);
/* Has the chunk maps made that are missing. */
void server_make_chunks(struct server *s);

#endif
