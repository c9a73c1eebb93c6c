/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Trees in memory, images in unnamed files, and the comparison of one with the other. */
#ifndef GV_TEST_GVMI_HELPER_H
#define GV_TEST_GVMI_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/core.h"
#include "gvmi/gvmi.h"

/* Files made up while they are read. */
enum fill {
    FILL_ZERO,
    FILL_TEXT,   /* compresses well, differs by seed */
    FILL_RANDOM, /* does not compress */
    FILL_ISLAND, /* zeros, with 5000 bytes of text at every 100 MiB */
};

/* A tree with a reader that knows the contents; made with tree_new(), freed with image_tree_free(). */
struct image_tree *tree_new(void);

/* The node at a path whose parents are made when missing. */
struct image_node *tree_dir(struct image_tree *t, const char *path);
struct image_node *tree_file(struct image_tree *t, const char *path, enum fill fill, uint32_t seed, uint64_t size);
struct image_node *tree_text(struct image_tree *t, const char *path, const char *text);
struct image_node *tree_link(struct image_tree *t, const char *path, const char *target);
struct image_node *tree_special(struct image_tree *t, const char *path, enum image_type type, uint32_t major, uint32_t minor);
/* One more name of what `node` names. */
struct image_node *tree_hardlink(struct image_tree *t, const char *path, const struct image_node *node);
void tree_xattr(struct image_tree *t, struct image_node *node, const char *name, const void *value, size_t n);

/* A tree with everything that can be in one, small. */
struct image_tree *tree_of_all_kinds(void);

/* Packs the tree into an unnamed file and returns its fd; fails the test when that fails. options and result may be NULL. */
int pack(struct image_tree *t, const struct image_config *config, const struct gvmi_write_options *options,
         struct gvmi_write_result *result);
int scratch(void);
/* Opens, or fails the test. */
struct gvmi_image *open_fd(int fd);

/* Fails the test unless the image holds exactly the tree. */
void assert_same_tree(struct image_tree *t, struct gvmi_image *img);
void assert_same_file(int a, int b);

/* A fresh directory, removed by remove_dir(), which frees the name. */
char *make_dir(void);
void remove_dir(char *path);
/* Runs a shell command and returns its exit status; output is thrown away. */
int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Standard output of a shell command, to be freed; NULL when it fails. */
char *output_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The file of that name in the shared test data, to be freed; NULL when it is not there. */
char *testdata(const char *name);

#endif
