/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A strict streaming reader of tar archives: v7, ustar, star, pax and GNU, in one pass and with bounded memory. Where GNU tar, libarchive
 * and Docker (whose reader is Go's archive/tar) read the same bytes differently in a way that changes which members there are or what is
 * in them, the archive is refused rather than guessed at. docs/layers.md has the list.
 */
#ifndef GV_SOURCE_TAR_H
#define GV_SOURCE_TAR_H

#include "image/image.h"
#include "source/stream.h"

#define TAR_BLOCK 512
#define TAR_META_MAX ((size_t)1 << 20) /* bytes of one pax header or long name */
#define TAR_EXTENTS_MAX ((size_t)1 << 18)

enum tar_type { TAR_FILE, TAR_HARDLINK, TAR_SYMLINK, TAR_CHAR, TAR_BLOCKDEV, TAR_DIR, TAR_FIFO };

/* A piece of a sparse file that is not a hole. */
struct tar_extent {
    uint64_t offset, length;
};

/* One member. All pointers are the reader's and good until the next call of tar_reader_next. */
struct tar_entry {
    enum tar_type type;
    const char *path; /* as written, NUL-terminated, not empty */
    size_t path_len;
    const char *link; /* target of hard and symbolic links, not empty; else NULL */
    size_t link_len;
    uint16_t mode; /* the low 12 bits */
    uint32_t uid, gid;
    uint32_t major, minor; /* devices */
    int64_t mtime;         /* seconds, rounded down */
    uint64_t size;         /* files: bytes of content */
    uint64_t offset;       /* files: where the stored bytes begin in the uncompressed stream */
    uint64_t stored;       /* files: how many are stored there; differs from size only for sparse files */
    bool sparse;
    const struct tar_extent *extents; /* sparse files: ascending, apart, inside of size, together `stored` bytes */
    size_t extent_count;
    const struct image_xattr *xattrs; /* sorted by name, names unique */
    uint32_t xattr_count;
};

struct tar_reader;

/* Reads from s, which stays the caller's. */
struct tar_reader *tar_reader_new(struct stream *s) __attribute__((returns_nonnull));
void tar_reader_free(struct tar_reader *r);
DEFINE_CLEANUP(tar_reader, struct tar_reader *, tar_reader_free)

/* The next member: 1, 0 at the end of the archive (two zero blocks, one before the end of the stream, or just its end; what comes after is
 * not looked at), -1 on error. */
int tar_reader_next(struct tar_reader *r, struct tar_entry *e, struct gv_error *err);

/* Up to n of the stored bytes of the member last returned; 0 when there are no more, -1 on error. Reading them is optional. */
ssize_t tar_reader_data(struct tar_reader *r, void *buf, size_t n, struct gv_error *err);

/* Whether the TAR_BLOCK bytes at block are a member header, by its checksum. */
bool tar_is_header(const void *block);

/* ---- pax.c: numbers, extended headers and sparse maps ---- */

/* A numeric field of n bytes: octal with blanks around it, or base-256. */
int tar_number(const unsigned char *field, size_t n, int64_t *out);

/* What extended headers say about the next member. Strings point into `body`. */
struct tar_pax {
    struct gv_buf body;
    const char *path, *link;
    size_t path_len, link_len;
    bool has_size, has_uid, has_gid, has_mtime;
    uint64_t size;
    uint32_t uid, gid;
    int64_t mtime;
    struct image_xattr *xattrs;
    size_t xattr_count, xattr_cap;
    /* GNU.sparse.* */
    bool sparse, map_in_data; /* map_in_data: version 1.0 */
    int version_major, version_minor;
    const char *sparse_name;
    size_t sparse_name_len;
    bool has_real_size, has_blocks;
    uint64_t real_size, blocks;
    struct tar_extent *extents;
    size_t extent_count, extent_cap;
    bool half; /* an offset without its length yet */
};

void tar_pax_reset(struct tar_pax *p);
void tar_pax_clear(struct tar_pax *p);
/* Parses body, which must be filled. */
int tar_pax_parse(struct tar_pax *p, struct gv_error *err);
/* Checks a global header: what it may say about all members must not change which there are. */
int tar_pax_check_global(struct gv_buf *body, struct gv_error *err);
/* Adds to the list of extents. */
int tar_extent_add(struct tar_pax *p, uint64_t offset, uint64_t length, struct gv_error *err);
/* Extents must ascend, not overlap, lie inside of size, and hold `stored` bytes together. Empty ones are dropped. */
int tar_extents_check(struct tar_pax *p, uint64_t size, uint64_t stored, struct gv_error *err);

#endif
