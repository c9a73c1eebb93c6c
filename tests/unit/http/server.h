/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A server inside of the test: it listens on a port of 127.0.0.1 (or a unix socket), reads requests, and leaves the answers, right or
 * wrong, to a function of the test. Each connection has a thread, so the function may be called by several at once.
 */
#ifndef GV_TEST_HTTP_SERVER_H
#define GV_TEST_HTTP_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/core.h"

struct server;
struct connection;

struct call {
    unsigned number; /* of the request, over all connections, from 0 */
    char method[8];
    char path[4096]; /* with the query */
    char *head;      /* everything before the empty line */
    char *body;      /* NUL-terminated */
    struct connection *connection;
    bool hang_up; /* after this call */
};

typedef void (*server_fn)(void *user, struct call *c);

struct server *server_start(server_fn answer, void *user);
struct server *server_start_unix(const char *path, server_fn answer, void *user);
/* With TLS and a certificate of its own making for localhost and 127.0.0.1, which is written to ca_path. */
struct server *server_start_tls(const char *ca_path, server_fn answer, void *user);
/* Ends all connections, waits for all threads and frees it. */
void server_stop(struct server *s);
unsigned short server_port(const struct server *s);
/* Requests so far. */
unsigned server_calls(const struct server *s);

/* "http://127.0.0.1:PORT/PATH"; the caller frees it. */
char *server_url(const struct server *s, const char *path);

/* The value of a header; NULL if there is none. Valid until the call ends. */
const char *call_header(struct call *c, const char *name);

/* Answers with a status, further header lines (each with \r\n; may be NULL) and a body. Nothing but the headers for HEAD. */
void call_reply(struct call *c, int status, const char *headers, const void *body, size_t n);
void call_text(struct call *c, int status, const char *headers, const char *body);
/* Sends bytes as they are; whether they went. */
bool call_raw(struct call *c, const void *p, size_t n);
void call_print(struct call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Ends the connection the hard way. */
void call_reset(struct call *c);

/* Answers as a server of the n bytes at p that knows ranges; headers as above. */
void call_file(struct call *c, const char *headers, const void *p, size_t n);

void sleep_ms(unsigned ms);

#endif
