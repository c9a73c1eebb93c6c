/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the blobs of an image are: the members of a tar archive, or the files of a directory, by name. An archive that is compressed as a
 * whole is unpacked once into an unnamed scratch file. Members are found by their place in the tar, nothing is extracted.
 */
#ifndef GV_SOURCE_ARCHIVE_H
#define GV_SOURCE_ARCHIVE_H

#include <jansson.h>

#include "source/stream.h"

struct archive;

/* A blob: a range of an open file. */
struct blob {
    int fd; /* the archive's when shared, else the blob's own */
    bool shared;
    uint64_t offset, size;
};
#define BLOB_INIT                                                                                                                          \
    {                                                                                                                                      \
        .fd = -1                                                                                                                           \
    }

/* An archive on an open regular file, which is taken over (closed when this fails, too). The budget pays for unpacking. */
int archive_open_fd(struct archive **out, int fd, struct source_budget *budget, bool threads, struct gv_error *err);
/*
 * The same for a file of which only its content says what it is. When that is a whole root file system and no archive of images, its only blob is
 * ARCHIVE_LAYER, the (uncompressed) tar itself: archive_is_layer(). What is neither is an error. A tar that could be both is taken for the root
 * file system; the caller has to look (load.c).
 */
int archive_open_any(struct archive **out, int fd, struct source_budget *budget, bool threads, struct gv_error *err);
/* The open regular file as such a layer, whatever its compression; taken over as well. */
int archive_open_layer(struct archive **out, int fd, struct gv_error *err);
/* The files of an open directory, which is taken over. */
struct archive *archive_open_directory(int fd) __attribute__((returns_nonnull));
bool archive_is_layer(const struct archive *a);
#define ARCHIVE_LAYER "layer"
/* Whether `name`, the first n bytes of a path, is that of a directory in the root of a Linux system ("bin", "etc", ...). */
bool archive_name_of_root(const char *name, size_t n);
void archive_close(struct archive *a);
DEFINE_CLEANUP(archive, struct archive *, archive_close)

/*
 * An archive whose blobs are elsewhere. Names are as in an OCI layout: "index.json" and "blobs/sha256/HEX". find() is called from the loading thread
 * alone and gives a blob for good, GV_E_NOT_FOUND when there is none; it may take its time (a download). size_of() tells the size of a blob without
 * fetching it, -1 if it cannot. busy() says whether blobs are still on their way, and then tells the progress of that itself. busy and release may be NULL.
 * `user` is taken over.
 */
struct archive_ops {
    int (*find)(void *user, const char *name, struct blob *out, struct gv_error *err);
    int64_t (*size_of)(void *user, const char *name);
    bool (*busy)(void *user);
    void (*release)(void *user);
};
struct archive *archive_new(const struct archive_ops *ops, void *user) __attribute__((returns_nonnull));

/* Whether blobs are still on their way, and their progress is what should be shown. */
bool archive_is_busy(const struct archive *a);

/* Bytes of the file as it is; 0 for a directory. */
uint64_t archive_input_bytes(const struct archive *a);

void blob_close(struct blob *b);
static inline void gv_cleanup_blob_fn(struct blob *b)
{
    blob_close(b);
}

/* The size of a blob, without fetching it where it is elsewhere; GV_E_NOT_FOUND as below. */
int archive_size_of(struct archive *a, const char *name, uint64_t *size, struct gv_error *err);
/* Whether there is a regular file of that name (its slashes normalised). */
bool archive_has(const struct archive *a, const char *name);
/* Finds it, GV_E_NOT_FOUND otherwise. *out is the caller's to close. Links between members are followed. */
int archive_find(struct archive *a, const char *name, struct blob *out, struct gv_error *err);

#define ARCHIVE_JSON_MAX ((uint64_t)4 << 20)
/* The whole blob, which may have at most ARCHIVE_JSON_MAX bytes, appended to *out. */
int blob_read(const struct blob *b, struct gv_buf *out, struct gv_error *err);

#define cleanup_blob __attribute__((cleanup(gv_cleanup_blob_fn)))

/* ---- JSON ---- */

static inline void gv_cleanup_json_fn(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(gv_cleanup_json_fn)))

/* Parses JSON text that comes from outside: names twice in one object and trailing text are refused. NULL on failure. */
json_t *json_parse(const void *text, size_t n, struct gv_error *err);
/* The string member of an object, NULL if it is absent, null or not a string. */
const char *json_string_of(const json_t *object, const char *key);

#endif
