/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Extended attributes, kept once however many files have them: an image has few different sets.
 */
#ifndef GV_SOURCE_XATTRS_H
#define GV_SOURCE_XATTRS_H

#include "image/image.h"

struct xattr_pool;

/* The sets live in the arena, which must outlive the pool. */
struct xattr_pool *xattr_pool_new(struct gv_arena *arena, const struct gv_log *log) __attribute__((returns_nonnull));
void xattr_pool_free(struct xattr_pool *p);

/* Gives the inode those of the attributes (sorted by name) that an image can hold: user.*, trusted.* and security.*. Attributes of
 * overlayfs itself (trusted.overlay.*) would make the guest's overlay misread the image, and are left out, too. */
int xattr_pool_set(struct xattr_pool *p, struct image_inode *inode, const struct image_xattr *xattrs, size_t count, struct gv_error *err);

#endif
