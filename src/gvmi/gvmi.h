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
    int jobs;            /* compressing threads; 0 = as many as there are CPUs */
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

/* What would surprise at run time; fn gets one line per finding ("no VOLUME: files cannot be transferred ..."). */
int gvmi_lint(struct gvmi_image *img, void (*fn)(void *user, const char *text), void *user, struct gv_error *err);

#endif
