/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The forms of the protocol (multipart/form-data), taken apart by libmicrohttpd piece by piece as they arrive: short texts are kept, of the file nothing
 * is. A form that has something twice, or a text longer than any of the protocol's can be, is wrong.
 */
#ifndef GV_SERVE_FORM_H
#define GV_SERVE_FORM_H

#include <stdbool.h>
#include <stdint.h>

#include "serve/mhd.h"

#define FORM_TEXT_MAX 512

struct form;

/* file is called with what the part of that name has; false ends that. NULL when the request has no form. */
struct form *form_new(const struct mhd_api *mhd, struct MHD_Connection *connection,
                      bool (*file)(void *user, const void *p, size_t n, uint64_t at), void *user);
void form_free(struct form *f);
void form_add(struct form *f, const char *p, size_t n);
/* After the last byte: whether all of it was a form as it has to be. */
bool form_end(struct form *f);
/* NULL when there is none (yet). */
const char *form_text(struct form *f, const char *name);
/* Whether the file was there. */
bool form_has_file(const struct form *f);

/* Decimal digits only, 0..most. */
bool form_number(const char *s, uint64_t most, uint64_t *out);

#endif
