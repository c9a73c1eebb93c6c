/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where file contents are: ranges of the image's own files where those are not compressed, and of unnamed scratch files otherwise. The
 * store is the reader of the finished tree and lives as long as that.
 */
#ifndef GV_SOURCE_STORE_H
#define GV_SOURCE_STORE_H

#include "image/image.h"
#include "source/stream.h"
#include "source/tar.h"

/* Writes a stream into a file, leaving holes where there are only zeros. */
struct spool {
    int fd;      /* borrowed */
    uint64_t at; /* the next byte goes here */
};
/* A follower of a pump that writes everything to the spool. */
struct stream_follower spool_follower(struct spool *s);
int spool_write(struct spool *s, const unsigned char *p, size_t n, struct gv_error *err);
/* Gives the file its full length when it ends in a hole. */
int spool_finish(struct spool *s, struct gv_error *err);

struct store;
struct store *store_new(void) __attribute__((returns_nonnull));
void store_free(struct store *s);
DEFINE_CLEANUP(store, struct store *, store_free)

/* Takes a duplicate of fd; *index is what image_content.file has to be. */
int store_add(struct store *s, int fd, uint32_t *index, struct gv_error *err);

/* A spool at the next whole page of the scratch file for layers, which is created when first needed. */
int store_spool_begin(struct store *s, struct spool *spool, uint32_t *index, struct gv_error *err);
void store_spool_end(struct store *s, const struct spool *spool);

/* Lays the sparse file `e`, whose pieces are read from r, out in a second scratch file. */
int store_sparse(struct store *s, struct tar_reader *r, const struct tar_entry *e, struct image_content *out, struct gv_error *err);

/* image_read_fn and its release. */
int store_read(void *store, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err);
void store_release(void *store);

#endif
