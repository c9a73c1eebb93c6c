/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of this room share. */
#ifndef GV_STORE_INSIDE_H
#define GV_STORE_INSIDE_H

#include "store/store.h"

struct image_store {
    char *dir;    /* of everything */
    char *images; /* dir/images */
    struct store_options options;
    struct http_client *http; /* NULL until it is needed */
};

/* "DIR/images/HASH.SUFFIX"; the caller frees it. */
char *store_file(const struct image_store *s, const char *hash, const char *suffix);

/* Writes a small file that appears whole. */
int store_write(const char *path, const void *data, size_t n, struct gv_error *err);

/* Removes the names of images that are not there. */
void store_drop_names(struct image_store *s);

/* Syncs the directory of the images, so that a rename lasts. */
int store_sync(const struct image_store *s, struct gv_error *err);

/* Adds a URL to where the image came from. */
int store_add_origin(struct image_store *s, const char *hash, const char *url, struct gv_error *err);

/* Fetches the image into its place, over whatever is there. The caller has the lock alone. */
int store_download(struct image_store *s, const struct registry_image *want, struct gv_error *err);

/* Gives the open, verified file at `part` its place; the caller has the lock alone. */
int store_commit(struct image_store *s, int fd, const char *part, const char *hash, const char *origin, struct gv_error *err);

/* Copies all of fd to the empty file `to`; hash is that of what was copied. */
int store_copy(int fd, int to, char hash[GV_SHA3_224_HEX], struct gv_error *err);

/* ---- artifacts of registries of OCI ---- */

#define STORE_OCI "oci://"
/* What the name (what follows oci://) stands for now: its hash, and an oci:// URL that names it by its digest. */
int store_oci_find(struct image_store *s, const char *name, struct registry_image *want, struct gv_error *err);
/* The file behind such a URL, copied into the empty file `to`; hash is what it has. */
int store_oci_copy(struct image_store *s, const char *url, int to, char hash[GV_SHA3_224_HEX], struct gv_error *err);

/* ---- the hash of a file while it arrives ---- */

struct store_follow;
/* Begins to hash fd from its start on, in a thread. fd stays the caller's, and must outlive it. */
int store_follow_start(struct store_follow **out, int fd, struct gv_error *err);
/* What was there is going to be replaced from its beginning. */
void store_follow_reset(struct store_follow *f);
/* There are `have` bytes now. */
void store_follow_have(struct store_follow *f, uint64_t have);
/* Waits until all `size` bytes are hashed. */
int store_follow_finish(struct store_follow *f, uint64_t size, char hash[GV_SHA3_224_HEX], struct gv_error *err);
/* Ends the thread. NULL is fine. */
void store_follow_free(struct store_follow *f);
DEFINE_CLEANUP(store_follow, struct store_follow *, store_follow_free)

#endif
