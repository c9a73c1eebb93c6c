/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The room `compare`: what is different between two .gvmi. */
#ifndef GV_COMPARE_H
#define GV_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "gvmi/gvmi.h"

enum compare_kind { COMPARE_ADDED, COMPARE_REMOVED, COMPARE_CHANGED };

/* What has changed, as bits. */
enum {
    COMPARE_TYPE = 1,    /* nothing else is compared then */
    COMPARE_CONTENT = 2, /* bytes of a file, target of a symbolic link, number of a device */
    COMPARE_MODE = 4,
    COMPARE_OWNER = 8,
    COMPARE_TIME = 16,
    COMPARE_XATTRS = 32,
    COMPARE_LINKS = 64, /* number of names of what is not a directory */
};

struct compare_entry {
    enum compare_kind kind;
    unsigned what;                   /* COMPARE_CHANGED: bits from above */
    const char *path;                /* without a leading '/'; "" for the root */
    bool inside;                     /* the directory it is in was added or removed itself, and told before */
    const struct gvmi_stat *a, *b;   /* NULL where it is not there */
    const char *a_target, *b_target; /* of symbolic links, else NULL */
};

struct compare_options {
    bool ignore_times;
    bool by_attributes; /* no content is read: files of the same size are taken for the same */
    const struct gv_progress *progress;
};

struct compare_totals {
    uint64_t added, removed, changed, same; /* entries */
};

/*
 * Calls fn for each entry that differs, in the order of the tree (a directory before what is in it, names as bytes); a non-zero return of fn ends it and
 * is returned. Contents of files of equal size are read; memory does not grow with the images, except for hard links. options and totals may be NULL.
 * GV_E_CORRUPT when a directory of an image is not sorted, as the format demands, which also means: when it holds a name twice.
 */
int compare_files(struct gvmi_image *a, struct gvmi_image *b, const struct compare_options *options,
                  int (*fn)(void *user, const struct compare_entry *e), void *user, struct compare_totals *totals, struct gv_error *err);

/* Calls fn for each key of the configuration that differs, with the JSON of both values, NULL for one that is not there. Returns the number of
 * differences. */
size_t compare_config(const struct image_config *a, const struct image_config *b,
                      void (*fn)(void *user, const char *key, const char *old, const char *now), void *user);

#endif
