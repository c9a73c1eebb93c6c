/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How often images are used. A write to the database for each question would cost more than the answer; so it is noted, and brought there from time to
 * time. What a killed server has noted in the last second is lost: it is statistics.
 */
#ifndef GV_SERVE_USAGE_H
#define GV_SERVE_USAGE_H

#include "serve/db.h"

struct usage;
struct usage *usage_new(void);
void usage_free(struct usage *u);
/* A use (count=true), or a download. */
void usage_note(struct usage *u, int64_t image, bool download);
/* Writes what has been noted. */
int usage_flush(struct usage *u, struct db *db, struct gv_error *err);

#endif
