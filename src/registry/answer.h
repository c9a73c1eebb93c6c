/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of this room share. */
#ifndef GV_REGISTRY_ANSWER_H
#define GV_REGISTRY_ANSWER_H

#include "http/http.h"

/* Fills err with what a response says that is not a success, and returns -1: GV_E_NOT_FOUND for 404, GV_E_USAGE for 401 and 403, GV_E_PROTOCOL else.
 * `what` is what was asked for. */
int registry_refusal(const struct http_response *r, const char *what, struct gv_error *err);

/* Whether a token may be sent there: encrypted, to this machine, or because the user wants it. */
int registry_may_tell(const char *base, bool insecure, struct gv_error *err);

#endif
