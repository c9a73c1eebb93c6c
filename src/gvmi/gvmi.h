/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `gvmi`: the file format. A .gvmi is
 *
 *     a SquashFS 4.0 image, padded with zeros to a multiple of 4096
 *     u32 LE   CRC-32 of the JSON
 *     JSON     the configuration, Docker's ContainerConfig (see image.h)
 *     8 bytes  length of the JSON as ASCII decimal digits
 *
 * and its address is the SHA3-224 of all of it (format: Golem's gvmkit-build 0.3 and ya-runtime-vm 0.5 read and write the same).
 *
 * Writing: gvmi_write() packs a finished image_tree. Same tree, same configuration, same options: same bytes, whatever the number of threads.
 * Reading: gvmi_open() and what follows trust nothing in the file; every table, offset and length is checked, memory and recursion are
 * bounded, and only what is asked for is read.
 */
#ifndef GV_GVMI_H
#define GV_GVMI_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "image/image.h"

/* The ids of SquashFS. */
enum gvmi_compression { GVMI_GZIP = 1, GVMI_LZMA = 2, GVMI_LZO = 3, GVMI_XZ = 4, GVMI_LZ4 = 5, GVMI_ZSTD = 6 };

/* "gzip", "lzo", ...; "unknown" for other numbers. */
const char *gvmi_compression_name(int compression);
/* The number for a name, -1 if there is none. */
int gvmi_compression_by_name(const char *name);

struct gvmi_write_options {
    int compression;     /* 0 = GVMI_GZIP; all but lzma can be written */
    int level;           /* 0 = the default of the compression (gzip: 6 by libdeflate) */
    uint32_t block_size; /* bytes, a power of two 4 KiB..1 MiB; 0 = 128 KiB */
    int jobs;            /* compressing threads; 0 = as many as there are CPUs, as far as memory is to be kept (docs/image-format.md) */
    const struct gv_progress *progress;
    const struct gv_log *log; /* what could not be stored; NULL = silent */
};

struct gvmi_write_result {
    uint64_t size;            /* of the whole file */
    uint64_t squashfs_size;   /* without padding and trailer */
    uint64_t duplicate_bytes; /* content that was there already and not stored again */
    uint64_t duplicate_files;
    char hash[GV_SHA3_224_HEX];
};

/* A named choice of compression, level and block size, by measurement (docs/image-format.md). */
struct gvmi_profile {
    const char *name, *summary; /* summary: a line for a list of them */
    int compression, level;
    uint32_t block_size;
};

/* All of them, the default first; the last one has no name. */
const struct gvmi_profile *gvmi_profiles(void);
/* Sets compression, level and block size to those of the profile and leaves the rest. GV_E_USAGE, with the names there are, for another name. */
int gvmi_profile(const char *name, struct gvmi_write_options *options, struct gv_error *err);

/* Whether the options can be used, as gvmi_write() would find: for whoever wants to know before there is a tree. */
int gvmi_write_check(const struct gvmi_write_options *options, struct gv_error *err);

/*
 * Packs the tree (image_tree_finish called) into fd, an empty seekable file open for reading and writing; options and result may be NULL. The time of
 * the file system is the newest mtime in the tree; times before 1970 and after 2106 become the first and last that can be stored. Adds nothing that is
 * not in the tree. Contents are read by the calling thread alone, in the order of the tree; image_inode.user is overwritten.
 * Errors name the path of what cannot be read or stored: GV_E_LIMIT and GV_E_UNSUPPORTED for what the format cannot hold (docs/image-format.md),
 * GV_E_IO when fd cannot be written, and whatever the tree's reader says. The content of fd is undefined then.
 */
int gvmi_write(int fd, struct image_tree *tree, const struct image_config *config, const struct gvmi_write_options *options,
               struct gvmi_write_result *result, struct gv_error *err);

/* ---- reading -------------------------------------------------------------------------------------------------------------------- */

struct gvmi_image;

struct gvmi_info {
    uint64_t file_size;
    uint64_t squashfs_size; /* bytes_used of the superblock */
    uint64_t trailer_offset;
    uint32_t metadata_size; /* bytes of JSON */
    int compression;
    uint32_t block_size;
    uint32_t inode_count, fragment_count;
    uint16_t id_count;
    uint16_t flags; /* of the superblock */
    int64_t mkfs_time;
};

/* Opens and checks trailer (CRC, JSON), superblock and the bounds of every table. path is kept for messages. */
int gvmi_open(struct gvmi_image **out, const char *path, struct gv_error *err);
/* The same on an open file, which stays the caller's and must outlive the image. name is for messages. */
int gvmi_open_fd(struct gvmi_image **out, int fd, const char *name, struct gv_error *err);
void gvmi_close(struct gvmi_image *img);
DEFINE_CLEANUP(gvmi, struct gvmi_image *, gvmi_close)

const struct gvmi_info *gvmi_info(const struct gvmi_image *img);
const struct image_config *gvmi_config(const struct gvmi_image *img);
/* Appends what the file says of its compressor beyond the name ("level 9, window 15"); nothing when it says nothing, which means the defaults. */
int gvmi_compressor_options(struct gvmi_image *img, struct gv_buf *out, struct gv_error *err);
/* The JSON of the trailer as it is in the file (gvmi_info()->metadata_size bytes, NUL added). */
const char *gvmi_metadata(const struct gvmi_image *img);

struct gvmi_entry {
    char name[256]; /* NUL-terminated; "" for the root */
    uint64_t ref;   /* reference of its inode, for gvmi_stat and the like */
    uint8_t type;   /* enum image_type */
};

struct gvmi_stat {
    uint64_t ref;
    uint32_t inode; /* number */
    uint8_t type;   /* enum image_type */
    uint16_t mode;
    uint32_t uid, gid, nlink;
    int64_t mtime;
    uint64_t size;
    uint32_t rdev_major, rdev_minor;
    uint32_t xattr; /* index, UINT32_MAX = none */
};

/* Type and mode as ls(1) writes them, "drwxr-xr-x". */
#define GVMI_MODE_TEXT 11
void gvmi_mode_text(char out[GVMI_MODE_TEXT], const struct gvmi_stat *st);

uint64_t gvmi_root(const struct gvmi_image *img);
int gvmi_stat(struct gvmi_image *img, uint64_t ref, struct gvmi_stat *st, struct gv_error *err);
/* Follows symbolic links inside the image only; GV_E_NOT_FOUND when there is no such path. */
int gvmi_lookup(struct gvmi_image *img, const char *path, bool follow_last, struct gvmi_stat *st, struct gv_error *err);
/* Calls fn for each entry in the order of the directory; a non-zero return of fn ends it and is returned. */
int gvmi_read_dir(struct gvmi_image *img, uint64_t ref, int (*fn)(void *user, const struct gvmi_entry *e), void *user,
                  struct gv_error *err);
/* Calls fn for everything in the image, a directory before what is in it, with its path without a leading '/' ("" for the root), valid during the
 * call; fn as above. Ends with an error on an image whose directories form a loop, which a recursion over gvmi_read_dir() would not notice. */
int gvmi_walk(struct gvmi_image *img, int (*fn)(void *user, const char *path, const struct gvmi_stat *st), void *user,
              struct gv_error *err);

/* The same a step at a time, from any place in the image, so that two images can be walked side by side and parts left out. */
struct gvmi_walker;
struct gvmi_step {
    const char *path; /* below the start, without a leading '/'; "" for the start. Valid until the next step */
    const char *name; /* the last component of path */
    size_t depth;     /* 0 for the start, 1 for what is in it, ... */
    struct gvmi_stat st;
};
/* ref is where to start; what is not a directory is the only step. img must outlive the walker, and can be asked other things meanwhile. */
int gvmi_walker_open(struct gvmi_walker **out, struct gvmi_image *img, uint64_t ref, struct gv_error *err);
/* 1 with the next step, 0 at the end, -1. */
int gvmi_walker_next(struct gvmi_walker *w, struct gvmi_step *step, struct gv_error *err);
/* Leaves out what is in the directory of the last step. */
void gvmi_walker_skip(struct gvmi_walker *w);
void gvmi_walker_free(struct gvmi_walker *w);
DEFINE_CLEANUP(gvmi_walker, struct gvmi_walker *, gvmi_walker_free)
/* The target of a symbolic link, NUL-terminated, the caller frees it. */
int gvmi_read_link(struct gvmi_image *img, uint64_t ref, char **target, struct gv_error *err);
/* Calls fn with the content of a regular file piece by piece, in order; fn as above, and it must not read other files of the image. */
int gvmi_read_file(struct gvmi_image *img, uint64_t ref, int (*fn)(void *user, const void *p, size_t n), void *user, struct gv_error *err);
/* Calls fn for each extended attribute, with its full name. */
int gvmi_read_xattrs(struct gvmi_image *img, uint64_t ref, int (*fn)(void *user, const char *name, const void *value, size_t n), void *user,
                     struct gv_error *err);

/* SHA3-224 of the whole file as hex. */
int gvmi_hash(struct gvmi_image *img, char hex[GV_SHA3_224_HEX], struct gv_error *err);

/* Reads every table, every inode, every block of data. 0 when all can be read and agrees with itself. */
int gvmi_verify(struct gvmi_image *img, const struct gv_progress *progress, struct gv_error *err);

/*
 * Writes to fd (empty, seekable) the same image with other metadata: the file system part byte by byte, shared with the old file where the disk's file
 * system can do that, and a trailer of the JSON. Of *result, size, squashfs_size and hash are set. progress may be NULL.
 */
int gvmi_rewrite(struct gvmi_image *img, int fd, const char *json, const struct gv_progress *progress, struct gvmi_write_result *result,
                 struct gv_error *err);

/* ---- chunks --------------------------------------------------------------------------------------------------------------------- */

/*
 * A chunk map says of which pieces an image consists, with the SHA-256 of each, so that somebody who has one version of an image needs to fetch
 * of the next one only the pieces that he has not. Pieces are cut where blocks of data and metadata tables end, so they survive that what is before
 * them in the file becomes longer or shorter. Same image, same map; any valid .gvmi has one, whoever made it.
 */
struct gvmi_chunk {
    uint64_t offset; /* in the file; a chunk begins where the one before it ends, the first at 0, the last ends with the file */
    uint32_t length; /* bytes, 1..GVMI_CHUNK_MAX */
    unsigned char digest[GV_SHA256_SIZE];
};
#define GVMI_CHUNK_MAX ((uint32_t)4 << 20)

/* Zero-initialised is the empty map. */
struct gvmi_chunk_map {
    uint64_t file_size;
    unsigned char image[GV_SHA3_224_SIZE]; /* SHA3-224 of the whole file, as gvmi_hash() gives it */
    struct gvmi_chunk *chunks;
    size_t count;
};
void gvmi_chunk_map_clear(struct gvmi_chunk_map *map);
static inline void gv_cleanup_gvmi_chunk_map_fn(struct gvmi_chunk_map *map)
{
    gvmi_chunk_map_clear(map);
}
#define cleanup_chunk_map __attribute__((cleanup(gv_cleanup_gvmi_chunk_map_fn)))

/* The map of an image; reads all of it once. *map must be zero-initialised and is the caller's to clear. progress may be NULL. */
int gvmi_chunks(struct gvmi_image *img, const struct gv_progress *progress, struct gvmi_chunk_map *map, struct gv_error *err);

/* Bytes of `wanted` in chunks that `have` does not hold, each distinct chunk counted once: what has to be fetched. *chunks (may be NULL) is their
 * number. */
uint64_t gvmi_chunks_new_bytes(const struct gvmi_chunk_map *have, const struct gvmi_chunk_map *wanted, size_t *chunks);

/* The map as the file IMAGE.gvmi.chunks holds it (docs/image-format.md), appended to *out. */
void gvmi_chunks_format(const struct gvmi_chunk_map *map, struct gv_buf *out);
/* Reads n bytes of such a file; anything but exactly one whole valid map is an error. *map must be zero-initialised. */
int gvmi_chunks_parse(const unsigned char *data, size_t n, struct gvmi_chunk_map *map, struct gv_error *err);
/* The same from the file at path. */
int gvmi_chunks_load(const char *path, struct gvmi_chunk_map *map, struct gv_error *err);

/* What would surprise at run time; fn gets one line per finding ("no VOLUME: files cannot be transferred ..."). */
int gvmi_lint(struct gvmi_image *img, void (*fn)(void *user, const char *text), void *user, struct gv_error *err);

#endif
