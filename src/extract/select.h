/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which parts of the image are wanted: a list of paths in it, of which an empty list means everything. */
#ifndef GV_EXTRACT_SELECT_H
#define GV_EXTRACT_SELECT_H

#include "core/core.h"
#include "gvmi/gvmi.h"

enum selection {
    SELECT_NOT,
    SELECT_WAY, /* a directory above something wanted */
    SELECT_IN,
};

/*
 * Adds what the user calls `path` ("/usr/bin/sh", "usr/bin/", ...) to the list, as the path that it really has in the image. Symbolic links on the way
 * are added themselves, so that the path leads to the same place in what is extracted; the last component is not followed.
 */
int select_add(struct gv_strv *chosen, struct gvmi_image *img, const char *path, struct gv_error *err);

enum selection select_path(const struct gv_strv *chosen, const char *path);

#endif
