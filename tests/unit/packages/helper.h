/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of the room `packages` have in common: a tree with contents in memory, and makers of databases. */
#ifndef TEST_PACKAGES_HELPER_H
#define TEST_PACKAGES_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "packages/db.h"
#include "packages/packages.h"

struct world {
    struct image_tree *tree;
    struct gv_buf *contents; /* image_content.file is the index */
    uint32_t count;
    int fail_reads; /* reading this often works, then fails; -1 = always works */
    struct gv_buf notes;
    struct packages_summary sum;
    struct gv_error err;
};

struct world *world_new(void);
void world_free(struct world *w);
DEFINE_CLEANUP(world, struct world *, world_free)

/* Makes a file, a directory or a link, and the directories above it. */
struct image_node *world_file(struct world *w, const char *path, const void *data, size_t n);
struct image_node *world_text(struct world *w, const char *path, const char *text);
void world_link(struct world *w, const char *path, const char *target);
void world_dir(struct world *w, const char *path);

/* packages_assign; the result is packages_assign's. Notes are in w->notes, one a line with its level before it. */
int world_assign(struct world *w);
/* The same and it must succeed, without a note. */
void world_assign_quietly(struct world *w);
/* The group of the file at a path, which must be there. */
uint32_t world_group(struct world *w, const char *path);

/* Something that is put together by hand: big and little endian. */
void put_be32(struct gv_buf *b, uint32_t v);
void put_le32(struct gv_buf *b, uint32_t v);

/* A header of rpm: a list of paths, NULL at its end. */
void make_rpm_header(struct gv_buf *out, const char *name, const char *const *paths);

#endif
