/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of `convert` share, beside the trees of the tests of `gvmi`. */
#ifndef GV_TEST_CONVERT_FIT_H
#define GV_TEST_CONVERT_FIT_H

#include "convert/rules.h"
#include "helper.h"

/* Notes and warnings, one after the other. */
struct notes {
    struct gv_log log;
    struct gv_strv lines;
};
void notes_begin(struct notes *n);
/* How many lines have the text in them. */
size_t notes_with(const struct notes *n, const char *text);
void notes_end(struct notes *n);

/* The tree packed and opened again. */
struct gvmi_image *packed(struct image_tree *t, const struct image_config *config);

/* Fails the test unless lint says nothing of what keeps an image from starting. */
void assert_boots(struct image_tree *t, const struct image_config *config);

/* The type at a path (links not followed), -1 when there is nothing. */
int type_at(struct image_tree *t, const char *path);
/* The content of a file of the tree, in a buffer of the function. */
const char *text_at(struct image_tree *t, const char *path);
/* The words of a list with blanks between, in a buffer of the function. */
const char *joined(const struct gv_strv *v);

/* Adds words up to NULL. */
void add_words(struct gv_strv *v, ...);

#endif
