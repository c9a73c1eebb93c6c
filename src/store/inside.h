/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of this room share. */
#ifndef GV_STORE_INSIDE_H
#define GV_STORE_INSIDE_H

#include "gvmi/gvmi.h"
#include "store/store.h"

struct image_store {
    char *dir;    /* of everything */
    char *images; /* dir/images */
    struct store_options options;
    struct http_client *http; /* NULL until it is needed */
    uint64_t artifact_bytes;  /* that came for artifacts of OCI and have not been told */
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

/* Fetches the image into its place, over whatever is there; *received (may be NULL) is how many bytes of it came. The caller has the lock
 * alone. */
int store_download(struct image_store *s, const struct registry_image *want, uint64_t *received, struct gv_error *err);

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

/* The signature that comes with the artifact behind such a URL, appended to *text: GV_E_NOT_FOUND when there is none. */
int store_oci_signature(struct image_store *s, const char *url, struct gv_buf *text, struct gv_error *err);

/* ---- signatures ---- */

/*
 * Whether the image is signed as the options want it, which is told from the signature alone: the given one, the kept one, or the first good one beside
 * the URLs. *text (empty) gets what is to be kept when the image is there; nothing when it is kept already. GV_E_CORRUPT.
 */
int store_judge(struct image_store *s, const struct registry_image *want, struct gv_buf *text, struct gv_error *err);
/* Keeps it, unless there is nothing in it. The image is in use by the caller. */
int store_keep_signature(struct image_store *s, const char *hash, const struct gv_buf *text, struct gv_error *err);
#define STORE_SIGNATURE "gvmi" SIGN_SUFFIX

/* ---- updates ---- */

/* The chunk map beside the image at url: 1 when there is one of the image that is wanted, 0 when not, -1 when the server does not answer
 * at all. */
int store_fetch_map(struct image_store *s, const struct registry_image *want, const char *url, struct gvmi_chunk_map *map,
                    struct gv_error *err);
/* Keeps the map of an image, for the next update. */
void store_keep_map(struct image_store *s, const char *hash, const struct gvmi_chunk_map *map);

struct store_follow;
struct store_updated {
    bool begun;       /* the file has been changed */
    uint64_t fetched; /* bytes that came from the server */
};
/*
 * Completes the file, of which there may be `have` bytes, by the map: from other images of the store, and from url. 1 when all of it is
 * there, what came from url as the map says, and the rest too unless something has rotted; 0 when that is not worth while or the server
 * cannot do it; -1 on errors that a download would have, too.
 *
 * With `mend`, after that has given another hash than it should: replaces the chunks that are not as the map says by those of url. 0 also
 * when there are none.
 */
int store_update(struct image_store *s, const struct gvmi_chunk_map *map, const char *url, int fd, uint64_t have, bool mend,
                 struct store_follow *follow, struct store_updated *out, struct gv_error *err);

struct store_range {
    uint64_t offset;
    uint32_t length; /* at least 1 */
};
/* One range of the file at url, which has file_size bytes. 1 with its bytes, 0 when the server cannot do that or has another file, -1.
 * *out is replaced. */
int store_range(struct http_client *http, const char *url, uint64_t file_size, const struct store_range *range, struct gv_buf *out,
                struct gv_error *err);

/* Several ranges, some asked for ahead. url and list must outlive it. */
struct store_ranges;
int store_ranges_start(struct store_ranges **out, struct image_store *s, const char *url, uint64_t file_size,
                       const struct store_range *list, size_t count, struct gv_error *err);
/* The next one of the list, as store_range(); what is not 1 is the last. */
int store_ranges_next(struct store_ranges *r, struct gv_buf *body, struct gv_error *err);
/* Ends what is on its way. NULL is fine. */
void store_ranges_free(struct store_ranges *r);
DEFINE_CLEANUP(store_ranges, struct store_ranges *, store_ranges_free)

/* ---- the hash of a file while it arrives ---- */

/* Begins to hash fd from its start on, in a thread. fd stays the caller's, and must outlive it. */
int store_follow_start(struct store_follow **out, int fd, struct gv_error *err);
/* What was there is going to be replaced from its beginning. */
void store_follow_reset(struct store_follow *f);
/* There are `have` bytes now. */
void store_follow_have(struct store_follow *f, uint64_t have);
/* A buffer for STORE_PIECE bytes; waits until the hash needs one less. store_follow_filled() gives it back. */
#define STORE_PIECE ((uint32_t)256 << 10) /* what a CPU's cache holds */
unsigned char *store_follow_buffer(struct store_follow *f) __attribute__((returns_nonnull));
/* There are n bytes more in the file, from `at` on, where it ended so far, and they are those in the buffer. */
void store_follow_filled(struct store_follow *f, uint64_t at, size_t n);
/* Waits until all `size` bytes are hashed. */
int store_follow_finish(struct store_follow *f, uint64_t size, char hash[GV_SHA3_224_HEX], struct gv_error *err);
/* Ends the thread. NULL is fine. */
void store_follow_free(struct store_follow *f);
DEFINE_CLEANUP(store_follow, struct store_follow *, store_follow_free)

#endif
