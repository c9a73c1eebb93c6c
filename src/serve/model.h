/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the database knows: accounts, images, tags and uploads. Functions that look something up return 1 with it, 0 without, -1 on failure; the others
 * 0 or -1. Hashes are binary. Times are seconds since 1970.
 */
#ifndef GV_SERVE_MODEL_H
#define GV_SERVE_MODEL_H

#include "serve/db.h"
#include "serve/descriptor.h"
#include "serve/names.h"

enum image_chunks { CHUNKS_PENDING, CHUNKS_READY, CHUNKS_IMPOSSIBLE };

struct image_row {
    int64_t id;
    unsigned char hash[GV_SHA3_224_SIZE];
    unsigned char descriptor[GV_SHA256_SIZE]; /* the first one with which it came: names it in URLs */
    uint64_t size;
    int64_t created;
    int64_t untagged; /* since when it has had no tag, -1 = it has one */
    enum image_chunks chunks;
};

int model_image_by_hash(struct db *db, const unsigned char hash[GV_SHA3_224_SIZE], struct image_row *out, struct gv_error *err);
int model_image_by_tag(struct db *db, const struct reference *ref, struct image_row *out, struct gv_error *err);
int model_image_by_descriptor(struct db *db, const unsigned char id[GV_SHA256_SIZE], struct image_row *out, struct gv_error *err);
/* Chunks of a complete upload. */
int model_descriptor_chunks(struct db *db, const unsigned char id[GV_SHA256_SIZE], uint32_t *out, struct gv_error *err);
/* The next image after id whose chunk map is yet to be made. */
int model_image_without_chunks(struct db *db, int64_t after, struct image_row *out, struct gv_error *err);
int model_image_set_chunks(struct db *db, int64_t id, enum image_chunks chunks, struct gv_error *err);
int model_image_count(struct db *db, int64_t id, uint64_t uses, uint64_t downloads, struct gv_error *err);

struct upload_row {
    int64_t id;
    bool reserved;
    int64_t claimed; /* a user, 0 = nobody */
};

/* descriptor gets the bytes appended. */
int model_upload_find(struct db *db, const unsigned char name[GV_SHA256_SIZE], struct upload_row *out, struct gv_buf *descriptor,
                      struct gv_error *err);
/* GV_E_LIMIT when there are `most` already. Nothing happens when it is there. lost: the image with the hash whose file is not there, or 0 for no such
 * image; 1 when by now there is another one than that, which has been published meanwhile. */
int model_upload_add(struct db *db, const struct descriptor *d, const unsigned char *bytes, size_t n, int64_t lost, int64_t now,
                     uint64_t most, struct gv_error *err);
/* Sets *(stored + number) to 1 for each chunk that is stored. */
int model_upload_chunks(struct db *db, int64_t upload, unsigned char *stored, uint32_t chunks, struct gv_error *err);
int model_upload_store(struct db *db, int64_t upload, uint32_t chunk, int64_t now, struct gv_error *err);
int model_upload_remove(struct db *db, int64_t upload, struct gv_error *err);
/* Another upload than the last one, untouched since `before`: its name and id. Start with after = 0. */
int model_upload_idle(struct db *db, int64_t before, int64_t after, int64_t *id, unsigned char name[GV_SHA256_SIZE], struct gv_error *err);
/* Takes room for all of the upload from the quota of whoever has claimed it, or from that of the anonymous; once. GV_E_LIMIT. */
int model_upload_reserve(struct db *db, int64_t upload, uint64_t anonymous_quota, uint64_t user_quota, struct gv_error *err);

/* Makes the upload an image, or another name of one that is there. */
int model_publish(struct db *db, int64_t upload, const struct descriptor *d, int64_t now, struct gv_error *err);
/* Makes a descriptor another name of the image. */
int model_descriptor_add(struct db *db, const struct descriptor *d, int64_t image, struct gv_error *err);
/* Removes the images that have had no tag since `before`: the database's part. How many. */
int model_expire(struct db *db, int64_t before, int64_t *count, struct gv_error *err);
/* Of the images without a tag: removes those that have had none since `before`, the oldest first, until all together have at most most bytes. How many. */
int model_evict(struct db *db, int64_t before, uint64_t most, int64_t *count, struct gv_error *err);

/* Whether `more` fits into a quota of which `used` is gone. */
static inline bool quota_fits(uint64_t used, uint64_t more, uint64_t quota)
{
    return more <= quota && used <= quota - more;
}

/* ---- accounts ---- */

/* Whether the secret is the user's password or one of the user's tokens: 1 with the user's id. */
int model_login(struct db *db, const char *name, const char *secret, int64_t now, int64_t *user, struct gv_error *err);

struct quotas {
    uint64_t bytes, images; /* of a user */
};

/* Points the tag to the image, or, with check, says whether it could; then the descriptor may be of an upload in progress, which is claimed for the
 * repository's owner. login is who wants it. GV_E_NOT_FOUND (repository or descriptor), GV_E_USAGE (not allowed), GV_E_BUSY (not complete),
 * GV_E_LIMIT. */
int model_attach(struct db *db, const struct reference *ref, const unsigned char descriptor[GV_SHA256_SIZE], int64_t login, bool check,
                 const struct quotas *quotas, int64_t now, struct gv_error *err);

/* In how many repositories the image has a tag, and in how many of those this user may set tags. */
int model_repositories(struct db *db, int64_t image, int64_t user, int64_t *all, int64_t *own, struct gv_error *err);

/* 0 = there is none. */
int model_user_id(struct db *db, const char *name, int64_t *id, struct gv_error *err);
int model_repo_id(struct db *db, const struct reference *ref, int64_t *id, int64_t *owner, struct gv_error *err);
/* The tag, whether it is new or moves. */
int model_tag_set(struct db *db, int64_t repo, const char *tag, int64_t image, int64_t now, struct gv_error *err);

struct totals {
    int64_t images, image_bytes, untagged, untagged_bytes, uploads, upload_bytes, users, repositories, tags;
};
int model_totals(struct db *db, struct totals *out, struct gv_error *err);

#endif
