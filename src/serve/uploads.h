/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Images on their way in. A chunk is received into a nameless file, and only when it has the length and the hash that the descriptor promised is it
 * copied to its place in the upload's file, synced, and written down as stored. So what somebody sends under a wrong name, or stops sending, never touches
 * what is there already, and several clients can send the same upload.
 *
 * The SHA3-224 of the whole is computed while chunks come, as far as they are there without a gap, so that the last one does not wait for it. That one
 * makes the image: hash compared, file opened as a .gvmi, published. An image that is not what its descriptor said is thrown away with its upload.
 */
#ifndef GV_SERVE_UPLOADS_H
#define GV_SERVE_UPLOADS_H

#include "serve/db.h"
#include "serve/descriptor.h"
#include "serve/disk.h"

struct upload;
struct uploads;

struct uploads *uploads_new(struct disk *disk);
void uploads_free(struct uploads *u);

/* The upload of that name: 1 with a reference to it, 0 when there is none, -1. */
int uploads_get(struct uploads *all, struct db *db, const unsigned char name[GV_SHA256_SIZE], struct upload **out, struct gv_error *err);
void uploads_put(struct uploads *all, struct upload *u);

const struct descriptor *upload_descriptor(const struct upload *u);
int64_t upload_row(const struct upload *u);
bool upload_has(struct upload *u, uint32_t chunk);
/* Appends a '0' or '1' for each chunk; whether all are stored. */
bool upload_flags(struct upload *u, struct gv_buf *out);

/*
 * Stores a chunk that has been received and checked, from the file fd, which has exactly its bytes. When it is the last one the image is finished, see
 * upload_finish(). Nothing happens to one that is stored.
 */
int upload_store(struct uploads *all, struct upload *u, struct db *db, uint32_t chunk, int fd, int64_t now, bool *published,
                 struct gv_error *err);
/* Makes the image of an upload of which all chunks are stored; *published when it has become one now. GV_E_CORRUPT, GV_E_FORMAT: it was not what it
 * claimed to be, and is gone. Nothing happens as long as chunks are missing, or while another thread stores one, which will do this itself. */
int upload_finish(struct uploads *all, struct upload *u, struct db *db, int64_t now, bool *published, struct gv_error *err);

/* Removes the uploads that nobody has touched since `before` and nobody has a reference to; adds their number. */
int uploads_expire(struct uploads *all, struct db *db, int64_t before, uint64_t *count, struct gv_error *err);
/* Removes files that a server which was killed left without an upload. Before the first request only. */
int uploads_sweep(struct uploads *all, struct db *db, struct gv_error *err);

#endif
