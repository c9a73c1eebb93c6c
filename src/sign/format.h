/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `sign`: minisign's files as text. Pure functions. */
#ifndef GV_SIGN_FORMAT_H
#define GV_SIGN_FORMAT_H

#include "sign/sign.h"

#define SIGN_COMMENT_MAX 8192U

/* The next line of the n bytes at *at, without its end ("\n" or "\r\n"). 1, or 0 at the end. */
struct sign_lines {
    const char *at, *end;
};
int sign_line(struct sign_lines *l, const char **line, size_t *n);

/* Whether the line begins with prefix; then line and n become the rest. */
int sign_after(const char **line, size_t *n, const char *prefix);

/* Exactly size bytes out of the base64 of a line; -1 when it is anything else. */
int sign_base64_get(uint8_t *out, size_t size, const char *line, size_t n);
/* Adds the base64 of n bytes and a newline. */
void sign_base64_put(struct gv_buf *b, const void *p, size_t n);

/* The claim in a trusted comment: 1 it is one of ours, 0 it is not. */
int sign_claim_get(struct sign_claim *claim, const char *comment, size_t n);
/* The comment for a claim, without the newline. */
void sign_claim_put(struct gv_buf *b, const struct sign_claim *claim);

#endif
