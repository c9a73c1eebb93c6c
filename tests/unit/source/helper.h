/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the tests of `source` share: a builder of tar archives that can also write wrong ones, a small language for layers, archives made
 * of layers, and a text form of trees to compare with.
 */
#ifndef GV_TEST_SOURCE_HELPER_H
#define GV_TEST_SOURCE_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source/source.h"

/* ---- tar ---- */

enum tarb_format { TARB_PAX, TARB_USTAR, TARB_GNU, TARB_V7 };

struct tarb {
    struct gv_buf out;
    struct gv_buf pax; /* records for the next member */
    enum tarb_format format;
};

/* The fields of a header; zeroed fields have the obvious default. */
struct tarb_member {
    const char *name;
    char type; /* 0 = '0' */
    const char *link;
    int mode; /* -1 = 0; 0 = 0644, for directories 0755 */
    uint64_t uid, gid;
    int64_t mtime; /* 0 = 1000 */
    unsigned major, minor;
    const void *data;
    uint64_t size;      /* of data */
    uint64_t said_size; /* what the header says instead, if not 0 */
    const char *prefix;
};

void tarb_record(struct tarb *t, const char *key, const char *value, size_t n);
/* Also writes pending pax records before it. */
void tarb_add(struct tarb *t, const struct tarb_member *m);
/* Header alone, into block; checksum included. */
void tarb_header(struct tarb *t, const struct tarb_member *m, unsigned char block[512]);
void tarb_checksum(unsigned char block[512]);
void tarb_raw(struct tarb *t, const void *p, size_t n); /* p NULL: zeros */
void tarb_pad(struct tarb *t);
void tarb_end(struct tarb *t);
void tarb_clear(struct tarb *t);

/*
 * Adds the entries described by text, one a line:
 *     d NAME | f NAME CONTENT | l NAME TARGET | h NAME TARGET | c NAME MAJOR MINOR | b NAME MAJOR MINOR | p NAME
 * each with attributes after " | ": m=OCTAL u=N g=N t=N x=NAME:VALUE.
 */
void tarb_text(struct tarb *t, const char *text);

/* ---- archives ---- */

/* A directory of the test's own, removed by temp_remove. */
char *temp_make(void);
void temp_remove(char *dir);
void write_file(const char *path, const void *p, size_t n);
char *path_in(const char *dir, const char *name);

/* gzip, zstd of a buffer. */
void gzip_into(struct gv_buf *out, const void *p, size_t n);
void zstd_into(struct gv_buf *out, const void *p, size_t n);

/* A Docker archive at path whose layers are the given bytes. */
struct layer_bytes {
    const void *p;
    size_t n;
    const char *uncompressed; /* bytes the diff_id is of, if not p */
    size_t uncompressed_n;
};
void write_docker_archive(const char *path, const struct layer_bytes *layers, size_t count, const char *tag);

/* Loads layers in the language above as a Docker archive. 0 or -1 with err. */
int load_layers(struct source_image *out, const char *const *layers, size_t count, struct gv_error *err);

/* ---- trees ---- */

/*
 * One line a node, sorted: PATH TYPE [CONTENT|TARGET|MAJOR:MINOR], and what differs from root's 0644/0755 of time 1000: m= u= g= t= x=.
 * Further names of an inode: PATH = FIRST-PATH. The root's line is only there when it has attributes of its own.
 */
char *tree_text(struct image_tree *t);

/* Compares and prints both on a difference. */
#define assert_tree(image, expected)                                                                                                       \
    do {                                                                                                                                   \
        char *text_ = tree_text((image)->tree);                                                                                            \
        assert_string_equal(text_, expected);                                                                                              \
        free(text_);                                                                                                                       \
    } while (0)

#endif
