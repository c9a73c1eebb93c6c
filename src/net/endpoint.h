/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `net`: what a URL names, and the sockets to get there. All sockets are non-blocking and closed on exec.
 */
#ifndef GV_NET_ENDPOINT_H
#define GV_NET_ENDPOINT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "net/net.h"

enum endpoint_scheme { ENDPOINT_UDP, ENDPOINT_TCP_CONNECT, ENDPOINT_TCP_LISTEN, ENDPOINT_UNIX };

struct endpoint {
    enum endpoint_scheme scheme;
    struct sockaddr_storage address; /* the peer's, or ours where we listen */
    socklen_t size;
};

/* Reads a URL. unix_path is for `unix://`, NULL = none. GV_E_USAGE when it is none of ours, GV_E_NOT_FOUND when its host has no address. */
int endpoint_parse(struct endpoint *e, const char *url, const char *unix_path, struct gv_error *err);

/* A UDP socket at the address by which this host reaches the peer, that talks to the peer alone. */
int endpoint_udp(const struct endpoint *e, struct gv_error *err);
/* A socket that listens. An address that is taken gives another port, as what it is is told; a path that nobody listens at any more is taken over. */
int endpoint_listen(const struct endpoint *e, struct gv_error *err);
/* A TCP socket on its way to the peer. */
int endpoint_connect(const struct endpoint *e, struct gv_error *err);
/* Whether it has got there: 0, or -1 and why not. */
int endpoint_connected(int fd, struct gv_error *err);
/* What is common to streams once they are there. */
void endpoint_tune(int fd);

/* "127.0.0.1:80", "[::1]:80", or the path; the caller's to free. */
char *endpoint_text(const struct sockaddr_storage *address, socklen_t size) __attribute__((returns_nonnull));
/* The same for where the socket is. */
char *endpoint_name(int fd) __attribute__((returns_nonnull));

#endif
