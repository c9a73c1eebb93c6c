/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the parts of the writer share. gvmi_write() (write.c) runs them in this order:
 *
 *     plan    every inode gets its number, every file its turn                          write.c, order.c
 *     data    contents, without what is there already, through the block pipeline       write_data.c, blocks.c
 *     tree    inodes and directory listings, with the tables of ids and xattrs          write_tree.c, write_xattr.c
 *     tables  all of that behind the data, superblock, padding, trailer                 write.c, trailer.c
 */
#ifndef GV_GVMI_WRITE_H
#define GV_GVMI_WRITE_H

#include "gvmi/blocks.h"
#include "gvmi/gvmi.h"
#include "gvmi/meta_write.h"

/* What the writer knows of an inode; its number is its place in the list, plus one. Found through image_inode.user, which holds the number and is
 * believed only when the list agrees, so that whatever stood there before does no harm. */
struct gvmi_out_inode {
    const struct image_inode *inode;
    uint64_t ref; /* in the inode table; SQFS_NONE = not written yet */
    union {
        struct gvmi_placement *placement; /* files; NULL for empty ones */
        struct gvmi_out_dir *dir;         /* directories, once their listing is written */
    } u;
};

struct gvmi_out_dir {
    uint64_t ref;               /* of the listing, in the directory table */
    uint32_t size;              /* bytes of the listing */
    uint32_t index_count;       /* entries of the index */
    const unsigned char *index; /* in the form of the disk */
    size_t index_size;
};

/* A regular file with content, and what decides its turn (see order.c). */
struct gvmi_out_file {
    struct image_node *node; /* its first name */
    uint64_t extension;      /* of that name, see gvmi_out_extension() */
    uint32_t group;          /* image_inode.group */
    uint32_t place;          /* where its directory is in the walk over the tree; 0 if it has a group */
    uint32_t turn;           /* its own place in that walk */
    uint32_t path;           /* a hash of its path */
};

/* The table of user and group ids: inodes hold 16-bit indices into it. */
struct gvmi_out_ids {
    uint32_t *ids;
    uint32_t count;
    uint32_t *slots; /* hash table: index + 1 */
    uint32_t mask;
};

struct gvmi_out_xattrs;

struct gvmi_out {
    int fd;
    struct image_tree *tree;
    int compression, level, jobs;
    uint32_t block_size;
    const struct gv_log *log;
    const struct gv_progress *progress;
    struct gvmi_write_result *result;

    struct gv_arena *arena;
    struct gvmi_out_inode *inodes;
    uint32_t inode_count, inode_room;
    struct gvmi_out_file *files; /* in the order in which they are stored, each inode once */
    size_t file_count, file_room;
    uint64_t content_bytes;
    int64_t newest;

    struct gvmi_packer *packer; /* for metadata */
    struct gvmi_meta inode_table, directory_table;
    struct gvmi_out_ids ids;
    struct gvmi_out_xattrs *xattrs;
    uint64_t at; /* end of what is written so far */
};

/* The number of an inode, 0 when it has none yet. */
static inline uint32_t gvmi_out_number(const struct gvmi_out *out, const struct image_inode *inode)
{
    uintptr_t number = (uintptr_t)inode->user;
    return number >= 1 && number <= out->inode_count && out->inodes[number - 1].inode == inode ? (uint32_t)number : 0;
}

/* Children of a directory that is being walked: a level of the explicit stacks, for trees can be deeper than any stack of calls. */
struct gvmi_out_level {
    struct image_node *dir;
    struct image_node **children;
    size_t count, next;
    uint32_t place, path; /* of the directory: see struct gvmi_out_file */
};

struct gvmi_out_stack {
    struct gvmi_out_level *levels;
    size_t depth, room;
};

/* Adds the directory with its children, sorted by name. */
struct gvmi_out_level *gvmi_out_push(struct gvmi_out_stack *stack, struct image_node *dir);
void gvmi_out_pop(struct gvmi_out_stack *stack);
void gvmi_out_stack_clear(struct gvmi_out_stack *stack);

/* A hash of the path of `name` in a directory whose path has the hash `parent`. */
uint32_t gvmi_out_path_hash(uint32_t parent, const struct image_node *node);
/* What stands for a file's extension in the order: equal for files of one kind, and for all where that does not matter. */
uint64_t gvmi_out_extension(const struct gvmi_out *out, const struct image_node *node);
/* Puts the files into the order in which they are stored. */
void gvmi_out_order(struct gvmi_out *out);
/* Whether a block of fragments that holds `used` bytes should end before `file`, which comes after `before`. */
bool gvmi_out_cut(const struct gvmi_out *out, const struct gvmi_out_file *before, const struct gvmi_out_file *file, size_t used);

/* Stores the contents of all files. The fragment table, in the form of the disk, is appended to *fragments. */
int gvmi_out_data(struct gvmi_out *out, struct gv_buf *fragments, uint32_t *fragment_count, struct gv_error *err);

/* Fills the inode and the directory table. */
int gvmi_out_tree(struct gvmi_out *out, struct gv_error *err);

/* The index of an id. -1 when there are more ids than a squashfs can hold. */
int gvmi_out_id(struct gvmi_out *out, uint32_t id, uint16_t *index, struct gv_error *err);

struct gvmi_out_xattrs *gvmi_out_xattrs_new(struct gvmi_packer *packer);
void gvmi_out_xattrs_free(struct gvmi_out_xattrs *x);
/* The index of the inode's set of extended attributes, SQFS_NO_XATTR when it has none that can be stored. node is for messages. */
int gvmi_out_xattr_index(struct gvmi_out *out, const struct image_node *node, uint32_t *index, struct gv_error *err);
/* The whole table for a file position of `at`, appended to *table; *start is the position of its header, SQFS_NONE when there are no attributes. */
void gvmi_out_xattrs_table(struct gvmi_out *out, uint64_t at, struct gv_buf *table, uint64_t *start);

#endif
