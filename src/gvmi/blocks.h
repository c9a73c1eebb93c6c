/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The pipeline that compresses and stores data blocks: one thread fills buffers in the order of the file, a pool compresses, and the blocks land in
 * the image in the order in which they were handed in, however many threads there are.
 */
#ifndef GV_GVMI_BLOCKS_H
#define GV_GVMI_BLOCKS_H

#include "core/core.h"
#include "gvmi/squashfs.h"

/* Where the content of a file lies in the image. Files with the same content share one. The fields that the pipeline sets (start, blocks) are right
 * after gvmi_blocks_finish(). */
struct gvmi_placement {
    uint64_t start;  /* of the first stored block; SQFS_NONE when none is stored */
    uint64_t sparse; /* bytes in blocks that are not stored because they are all zero */
    uint32_t fragment, fragment_offset;
    uint32_t count;    /* blocks, the tail in a fragment not counted */
    uint32_t blocks[]; /* size word of each: 0 = not stored */
};

struct gvmi_blocks;

struct gvmi_blocks_options {
    int fd;
    uint64_t at; /* where the first block goes */
    int compression, level, jobs;
    uint32_t block_size;
};

int gvmi_blocks_new(struct gvmi_blocks **out, const struct gvmi_blocks_options *options, struct gv_error *err);
/* Ends the threads if they still run. NULL is fine. */
void gvmi_blocks_free(struct gvmi_blocks *b);
DEFINE_CLEANUP(gvmi_blocks, struct gvmi_blocks *, gvmi_blocks_free)

/* An empty buffer of one block, waiting for one if all are in use; the same one until it is handed in. NULL when the pipeline has failed;
 * gvmi_blocks_finish() then tells why. */
unsigned char *gvmi_blocks_buffer(struct gvmi_blocks *b);
/* Hands in the buffer with len bytes as block number `index` of the placement, which must live until the pipeline is finished. */
void gvmi_blocks_add(struct gvmi_blocks *b, struct gvmi_placement *placement, uint32_t index, size_t len);
/* A second buffer of one block, in which fragments are gathered, and the number its block will have. */
unsigned char *gvmi_blocks_fragment_buffer(struct gvmi_blocks *b);
uint32_t gvmi_blocks_fragment_number(const struct gvmi_blocks *b);
/* Hands that buffer in with len bytes; there is an empty one in its place then. -1 when the pipeline has failed. */
int gvmi_blocks_add_fragments(struct gvmi_blocks *b, size_t len);

/* Waits until everything is stored and ends the threads. *end is where the next byte of the image goes. */
int gvmi_blocks_finish(struct gvmi_blocks *b, uint64_t *end, struct gv_error *err);
/* The entries of the fragment table in the form of the disk. Right after gvmi_blocks_finish(); owned by b. */
const unsigned char *gvmi_blocks_fragment_table(const struct gvmi_blocks *b, uint32_t *count);

#endif
