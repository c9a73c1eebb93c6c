/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The rules of an image that boots everywhere. Docker puts things into every container that images therefore do not have, and is forgiving about paths; the
 * guests of Golem's providers (ya-runtime-vm up to 0.5) are neither. root.c puts the file tree right, config.c the configuration.
 */
#ifndef GV_CONVERT_RULES_H
#define GV_CONVERT_RULES_H

#include "convert/convert.h"
#include "convert/look.h"

/*
 * Makes what every guest needs, and real directories and files of what must not be anything else; log gets a line for each change. Directories that were
 * links to others are moved to where the link was, and leave a link behind. newest (image_tree_totals.newest_mtime) is the time of what is made where
 * the directory around it has none. image_tree_finish() has to be called again.
 */
void root_fit(struct image_tree *tree, int64_t newest, const struct gv_log *log);

/* Paths of VOLUME as they can be mounted, the program with its whole path, an absolute WORKDIR. */
int config_fit(struct image_config *config, const struct look *look, const struct gv_log *log, struct gv_error *err);

/* The three of them alone. config_fit_volume() gives one VOLUME's path as it can be mounted, the caller's to free, and NULL (after a warning) when it
 * cannot be. */
int config_fit_volume(const char *volume, const struct look *look, const struct gv_log *log, char **path, struct gv_error *err);
int config_fit_program(struct image_config *config, const struct look *look, const struct gv_log *log, struct gv_error *err);
void config_fit_workdir(struct image_config *config, const struct gv_log *log);

/* Replaces USER by "uid:gid" from the image's passwd and group, as Docker reads them; without USER nothing is done. */
int config_numeric_user(struct image_config *config, const struct look *look, struct gv_error *err);

/* Adds a path to the sorted set of volumes unless it is there. */
void config_add_volume(struct image_config *config, const char *path);

#endif
