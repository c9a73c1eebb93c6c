/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether two files, or two sets of extended attributes, are the same. */
#ifndef GV_COMPARE_CONTENT_H
#define GV_COMPARE_CONTENT_H

#include "compare/compare.h"

/* Verdicts on files with several names, so that each pair of inodes is read once. Zero-initialised is empty; size is a power of two. */
struct content_known {
    struct content_pair {
        uint64_t a, b; /* references */
        bool same, used;
    } * slots;
    size_t size, count;
};
void content_known_clear(struct content_known *k);

/* 1 when two regular files of the same size have the same bytes, 0 when not, -1. */
int content_same(struct gvmi_image *a, const struct gvmi_stat *sa, struct gvmi_image *b, const struct gvmi_stat *sb,
                 struct content_known *known, struct gv_error *err);

/* 1 when both have the same extended attributes, in whatever order, 0 when not, -1. */
int content_same_xattrs(struct gvmi_image *a, const struct gvmi_stat *sa, struct gvmi_image *b, const struct gvmi_stat *sb,
                        struct gv_error *err);

#endif
