/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `transfer`: what `from` and `to` say. */
#ifndef GV_TRANSFER_LOCATION_H
#define GV_TRANSFER_LOCATION_H

#include "transfer/transfer.h"

enum location_kind { LOCATION_HTTP, LOCATION_FILE, LOCATION_CONTAINER };

/* Zero-initialised is empty. */
struct location {
    enum location_kind kind;
    char *url;           /* of HTTP, without user name */
    char *authorization; /* of HTTP; NULL = none */
    char *path;          /* of the others, decoded; absolute for the container */
    enum gv_hash_kind hash;
    unsigned char digest[GV_HASH_MAX];
    size_t digest_size; /* 0 = no hash */
};

/* The rules of an ExeUnit, but for what it loses without a word: a host in container://, and what follows `?` or `#` in a path, are errors, and so
 * are "..". `l` is filled also on failure, and to be cleared in any case. */
int location_parse(struct location *l, const char *text, struct gv_error *err);
void location_clear(struct location *l);

/* Takes user name and password out of a URL. Both results are the caller's to free; *authorization is NULL when there are none. */
int location_split_user(const char *url, char **plain, char **authorization, struct gv_error *err);

/* The volume that a path of the container is in (the one with the longest path), and the rest of the path, without a slash before it. NULL with err. */
const struct transfer_volume *location_volume(const struct transfer_options *o, const char *path, const char **rest, struct gv_error *err);

#endif
