/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server's certificate, and its renewal while it serves. libmicrohttpd knows one certificate from start to end; so each new connection is given the
 * one that is good now by GnuTLS itself, before its handshake, and holds it until it ends: connections that are there never notice a renewal.
 *
 * A renewal replaces two files one after the other, and may be seen between the two, or within one. So a pair is taken when it can be read and
 * belongs together; until then everybody gets the old one.
 */
#ifndef GV_SERVE_TLS_H
#define GV_SERVE_TLS_H

#include <gnutls/gnutls.h>

#include "core/core.h"

struct tls;
struct certificate;

/* Reads the two PEM files, whose paths have to stay; pem_cert and pem_key, empty before, get what they say. GV_E_USAGE when they do not belong together. */
int tls_new(struct tls **out, const char *cert, const char *key, struct gv_buf *pem_cert, struct gv_buf *pem_key, struct gv_error *err);
void tls_free(struct tls *t); /* may be NULL */

/*
 * Reads the files again if one is another than it was, or in any case if `always`. Says in the log that they are used, or once why not. One thread at
 * a time; the following two can run meanwhile.
 */
void tls_renew(struct tls *t, bool always, const struct gv_log *log);

/* Gives a session that has not begun the certificate of now. The result has to be given back after the session has ended. */
struct certificate *tls_certify(struct tls *t, gnutls_session_t session);
void tls_give_back(struct certificate *c); /* may be NULL */

#endif
