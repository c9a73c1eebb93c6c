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

/* Opens the file or directory at path. The budget pays for unpacking. */
int archive_open(struct archive **out, const char *path, struct source_budget *budget, bool threads, struct gv_error *err);
void archive_close(struct archive *a);
DEFINE_CLEANUP(archive, struct archive *, archive_close)

/* Bytes of the file as it is; 0 for a directory. */
uint64_t archive_input_bytes(const struct archive *a);

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
void blob_close(struct blob *b);
static inline void gv_cleanup_blob_fn(struct blob *b)
{
    blob_close(b);
}

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
