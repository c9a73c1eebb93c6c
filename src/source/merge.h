/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The rules of layers. Layers are given from the lowest to the topmost; of each, all entries are collected first (names and attributes,
 * no data) and then applied to the tree in two steps, so that the place of a whiteout inside a layer makes no difference:
 *
 *   1. whiteouts take away what the layers below have left, the ones nearer to the root first;
 *   2. the other entries are added in their order, each as Docker would unpack it.
 *
 * Only names are handled, so what a later layer hides costs nothing but its entry, and a hard link finds the file that its name stood for
 * at that moment, however hidden that is in the end. docs/layers.md gives every rule and the reason for it.
 */
#ifndef GV_SOURCE_MERGE_H
#define GV_SOURCE_MERGE_H

#include "image/image.h"
#include "source/tar.h"

#define MERGE_PATH_MAX 4095   /* bytes, as in Linux */
#define MERGE_TARGET_MAX 4095 /* of a symbolic link */

struct merge;

/* Fills the tree, which stays the caller's. max_entries counts tar entries and implied directories over all layers; absolute_names takes names
 * with a leading slash, which are refused else. */
struct merge *merge_new(struct image_tree *tree, uint64_t max_entries, bool absolute_names, const struct gv_log *log)
    __attribute__((returns_nonnull));
void merge_free(struct merge *m);
DEFINE_CLEANUP(merge, struct merge *, merge_free)

/* The layer is a whole root file system and no list of changes: names that begin with ".wh." are names like others. */
void merge_set_plain(struct merge *m);

void merge_layer_begin(struct merge *m);
/* Takes the entry in. content says where the data of a file is. */
int merge_layer_add(struct merge *m, const struct tar_entry *e, const struct image_content *content, struct gv_error *err);
/* Applies the layer. */
int merge_layer_end(struct merge *m, struct gv_error *err);

/* Whether max_entries was what made it fail. */
bool merge_is_full(const struct merge *m);

/* The bytes of all files added so far, in all layers. */
uint64_t merge_file_bytes(const struct merge *m);

#endif
