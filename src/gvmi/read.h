/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the parts of the reader share.
 *
 *     open.c       trailer, superblock, bounds of all tables          read_meta.c   metadata blocks and a cache of them
 *     read_inode.c inodes, links, extended attributes                 read_dir.c    listings, lookup, the walk over everything
 *     read_data.c  contents of files                                  verify.c, lint.c
 *
 * Nothing in the file is believed. Positions are checked against the end of their region before they are read, sizes against what is left; nothing is
 * allocated by a number from the file that the size of the file does not justify; metadata is read through a cursor that can only go forward, so every
 * loop over it ends; directories are walked with a stack of our own and each at most once.
 */
#ifndef GV_GVMI_READ_H
#define GV_GVMI_READ_H

#include "gvmi/codec.h"
#include "gvmi/gvmi.h"
#include "gvmi/squashfs.h"

#define GVMI_META_CACHE 32 /* blocks of 8 KiB */
#define GVMI_INODES_MAX (1U << 26)

struct gvmi_cached_meta {
    uint64_t at; /* position in the file; SQFS_NONE = empty */
    uint64_t next;
    uint64_t used; /* for choosing the one to replace */
    uint32_t length;
    unsigned char data[SQFS_META_SIZE];
};

/* Small files that are read one after the other are in many fragments at a time: the writer puts them in the order of packages, a directory has files
 * of several. */
#define GVMI_FRAGMENT_CACHE ((size_t)32 << 20) /* bytes of unpacked fragments to keep at most */
#define GVMI_FRAGMENT_CACHE_MAX 256            /* ... and their number */

struct gvmi_cached_fragment {
    uint64_t at; /* position in the file; 0 = empty */
    uint64_t used;
    uint32_t word, length;
    unsigned char *data;
};

struct gvmi_image {
    int fd;
    bool owns_fd;
    char *name;
    struct gvmi_info info;
    struct sqfs_super super;
    uint64_t directory_end, xattr_pairs; /* xattr_pairs: SQFS_NONE = no extended attributes */
    uint32_t xattr_count;
    char *json;
    struct image_config config;
    uint32_t *ids;
    struct gvmi_unpacker *unpacker;
    struct gvmi_cached_meta *cache;
    uint64_t clock;
    /* Buffers of one block, made when first needed. */
    unsigned char *packed, *block;
    struct gvmi_cached_fragment *fragments; /* fragment_room of them, made when first needed */
    size_t fragment_room;
};

/* For the many ways in which a file can be wrong; gives -1. */
int gvmi_damaged(const struct gvmi_image *img, struct gv_error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Reads exactly n bytes of the squashfs. */
int gvmi_read_at(struct gvmi_image *img, uint64_t at, void *buf, size_t n, struct gv_error *err);

/* A place in a stream of metadata: the block at file position `block`, `offset` bytes into it unpacked; no block reaches beyond `end`. */
struct gvmi_cursor {
    uint64_t block, end;
    uint32_t offset;
};

/* Reads n bytes and moves on. buf may be NULL to skip them. */
int gvmi_meta_read(struct gvmi_image *img, struct gvmi_cursor *c, void *buf, size_t n, struct gv_error *err);
/* The place that a reference names in the table that starts at `table`. */
int gvmi_meta_seek(const struct gvmi_image *img, struct gvmi_cursor *c, uint64_t table, uint64_t end, uint64_t ref, struct gv_error *err);
/* The place of entry number i, of entry_size bytes, in a table whose list of block positions is at `list`. */
int gvmi_table_seek(struct gvmi_image *img, struct gvmi_cursor *c, uint64_t list, uint64_t i, uint32_t entry_size, struct gv_error *err);

/* An inode, unpacked. */
struct gvmi_inode {
    struct gvmi_stat st;
    uint64_t start, block_count; /* files: blocks in the list that follows */
    uint32_t fragment, fragment_offset;
    uint64_t listing; /* directories: reference in the directory table */
    uint32_t listing_size;
    uint32_t parent;
    uint64_t length;         /* bytes of the inode in the table, with its list, target or index */
    struct gvmi_cursor rest; /* behind the fixed part: block list or target */
};

int gvmi_inode_read(struct gvmi_image *img, uint64_t ref, struct gvmi_inode *inode, struct gv_error *err);

/* A listing being read. */
struct gvmi_listing {
    struct gvmi_cursor at;
    uint32_t left; /* bytes */
    uint32_t run;  /* entries left below the current header */
    uint32_t block, number;
};

int gvmi_listing_open(struct gvmi_image *img, const struct gvmi_inode *dir, struct gvmi_listing *l, struct gv_error *err);
/* 1 with the next entry and its inode number, 0 at the end, -1. */
int gvmi_listing_next(struct gvmi_image *img, struct gvmi_listing *l, struct gvmi_entry *entry, uint32_t *number, struct gv_error *err);

/* A set of directories' inode numbers and a limit for what a walk may read, against images whose directories form a loop or share listings. */
struct gvmi_walk_guard {
    unsigned char *seen;
    uint64_t listing_bytes;
};
void gvmi_walk_guard_init(const struct gvmi_image *img, struct gvmi_walk_guard *g);
int gvmi_walk_guard_enter(const struct gvmi_image *img, struct gvmi_walk_guard *g, const struct gvmi_inode *dir, struct gv_error *err);
void gvmi_walk_guard_clear(struct gvmi_walk_guard *g);

/* Unpacks a data block of `word` (size and flags as in a block list) at file position `at` into out; no more than cap bytes. Returns the number of
 * bytes, -1 on failure. */
int64_t gvmi_block_read(struct gvmi_image *img, uint64_t at, uint32_t word, unsigned char *out, size_t cap, struct gv_error *err);
/* Entry i of the fragment table. */
int gvmi_fragment_find(struct gvmi_image *img, uint32_t i, uint64_t *at, uint32_t *word, struct gv_error *err);
/* Next word of the inode's block list, checked. */
int gvmi_block_word(struct gvmi_image *img, struct gvmi_cursor *list, uint32_t *word, struct gv_error *err);

static inline uint32_t gvmi_word_size(uint32_t word)
{
    return word & (SQFS_RAW_BLOCK - 1);
}

/* A set of extended attributes: where its pairs begin and how many there are. */
int gvmi_xattrs_find(struct gvmi_image *img, uint32_t index, struct gvmi_cursor *pairs, uint32_t *count, struct gv_error *err);
/* Reads the pair at the cursor: full name (with its NUL at most 275 bytes) and value, of at most 64 KiB, into buffers of that size. */
#define GVMI_XATTR_NAME_ROOM 280
#define GVMI_XATTR_VALUE_ROOM 65536
int gvmi_xattr_next(struct gvmi_image *img, struct gvmi_cursor *pairs, char name[GVMI_XATTR_NAME_ROOM], unsigned char *value, size_t *size,
                    struct gv_error *err);

#endif
