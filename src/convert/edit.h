/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef GV_CONVERT_EDIT_H
#define GV_CONVERT_EDIT_H

#include "convert/convert.h"
#include "convert/look.h"

/* Carries the edits out. With a root to look into, paths and programs are put right as config_fit() does, but only those that the edits name; look NULL takes
 * them as they are written. */
int edit_config(struct image_config *config, const struct convert_edits *edits, const struct look *look, const struct gv_log *log,
                struct gv_error *err);

#endif
