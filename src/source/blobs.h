/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blobs of registries on this machine: $XDG_CACHE_HOME/gvmkit/blobs/sha256/HEX. A blob that is still coming is HEX.part, locked by whoever
 * writes it; what an interrupted download has left there is gone on with by the next one, also of another process. A blob gets its name
 * only when its digest is right, and is checked again whenever it is used, so that a broken disk or a meddler costs a download and nothing
 * else. Without a place for the cache blobs come into scratch files.
 */
#ifndef GV_SOURCE_BLOBS_H
#define GV_SOURCE_BLOBS_H

#include "source/archive.h"

#define BLOBS_CACHE_MAX ((uint64_t)10 << 30)

struct blobs;

/* Never fails: what is wrong with the cache is told to the log. */
struct blobs *blobs_new(const struct gv_log *log) __attribute__((returns_nonnull));
/* Trims the cache when something has been added. NULL is fine. */
void blobs_free(struct blobs *b);
DEFINE_CLEANUP(blobs, struct blobs *, blobs_free)

/* Fetches what is missing of a blob: fd holds its first `have` bytes; the rest is to be written behind them, or all of it anew. */
typedef int (*blobs_fetch_fn)(void *user, int fd, uint64_t have, struct gv_error *err);

/* The blob with that digest and size, checked. fetch() is called if it is not there, with user, perhaps a second time when what was left of
 * an earlier download turns out to be wrong. May be called from several threads. cancelled (may be NULL) ends the wait for another process
 * that is fetching the same blob. */
int blobs_get(struct blobs *b, const struct digest *digest, uint64_t size, blobs_fetch_fn fetch, void *user, const atomic_bool *cancelled,
              struct blob *out, struct gv_error *err);

#endif
