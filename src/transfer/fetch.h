/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `transfer`: files from servers and to them. */
#ifndef GV_TRANSFER_FETCH_H
#define GV_TRANSFER_FETCH_H

#include "http/http.h"
#include "transfer/move.h"

int fetch_client(struct http_client **out, const struct transfer_options *o, struct gv_error *err);
/* An error for a response that is no success; -1. */
int fetch_status(const char *url, const struct http_response *r, struct gv_error *err);

/* Fetches what `from` names into fd, and verifies its hash. */
int fetch_into(struct move *m, const struct location *from, int fd, struct gv_error *err);

/* Sends `size` bytes of fd with PUT to `to`. When `from` has a hash and they have another one, the request ends before the last of them. */
int fetch_out(struct move *m, int fd, uint64_t size, const struct location *from, const struct location *to, struct gv_error *err);

#endif
