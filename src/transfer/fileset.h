/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `transfer`: which files of a directory are meant. The globs are those of an ExeUnit: `*` and `?` stay within a component, `**` is
 * any number of them, `[a-z]` and `[!a-z]`, `{one,two}`, and a backslash before what is meant as it is. A path is matched in time proportional to the
 * product of both lengths, whatever the guest calls its files.
 */
#ifndef GV_TRANSFER_FILESET_H
#define GV_TRANSFER_FILESET_H

#include "transfer/transfer.h"

struct fileset;

/* GV_E_USAGE for a glob that is none. */
int fileset_new(struct fileset **out, const struct transfer_request *r, struct gv_error *err);
void fileset_free(struct fileset *f);
DEFINE_CLEANUP(fileset, struct fileset *, fileset_free)

/* Whether the path (relative, without slashes at its ends) is one of them. */
bool fileset_has(const struct fileset *f, const char *path);
/* Whether what is in a directory `levels` below the top can be one of them: the top itself has 0. */
bool fileset_enters(const struct fileset *f, size_t levels);

#endif
