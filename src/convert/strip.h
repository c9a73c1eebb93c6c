/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef GV_CONVERT_STRIP_H
#define GV_CONVERT_STRIP_H

#include "convert/convert.h"

/* Takes what the classes (bits) mean out of the tree (image_tree_finish() called, and to be called again); stripped[class] is added to. Languages that
 * the configuration's environment names are kept. */
void strip_tree(struct image_tree *tree, const struct image_config *config, unsigned classes, struct convert_stripped *stripped);

#endif
