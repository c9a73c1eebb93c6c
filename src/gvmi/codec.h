/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The compressors of SquashFS behind two small objects, one to pack and one to unpack blocks of at most one block size. Neither is thread
 * safe: each thread has its own.
 */
#ifndef GV_GVMI_CODEC_H
#define GV_GVMI_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "core/core.h"

struct gvmi_packer;
struct gvmi_unpacker;

/* Room that gvmi_packer_run needs for its output, for n bytes of input (one of the libraries cannot be told to stop at the end of a buffer). */
#define GVMI_PACKED_ROOM(n) ((n) + (n) / 16 + 128)

/* The level to use for `level` (0 = the default of the compression), or -1 with err set when the compression cannot be written or has no such
 * level. */
int gvmi_codec_level(int compression, int level, struct gv_error *err);

/* About how many bytes of memory a packer for blocks of that size takes. */
size_t gvmi_codec_memory(int compression, int level, uint32_t block_size);

/* compression is one of enum gvmi_compression, level as gvmi_codec_level returned it. NULL when the library refuses. */
struct gvmi_packer *gvmi_packer_new(int compression, int level, struct gv_error *err);
void gvmi_packer_free(struct gvmi_packer *p);
DEFINE_CLEANUP(gvmi_packer, struct gvmi_packer *, gvmi_packer_free)

/* Compresses n bytes (1..block size) into out, which has GVMI_PACKED_ROOM(n) bytes. Returns the compressed size, always less than n, or 0 when
 * the data does not get smaller, or looks so much as if it would not that it is not worth the time. Same input, same output, whatever the packer
 * did before. */
size_t gvmi_packer_run(struct gvmi_packer *p, const unsigned char *in, size_t n, unsigned char *out);

/* The block of compressor options that follows the superblock, as the kernel wants it for this compression; at most 8 bytes into out. Returns
 * their number, 0 when none is needed. */
size_t gvmi_codec_options(int compression, int level, uint32_t block_size, unsigned char out[8]);

/* NULL (with err set) for a compression that is not known. */
struct gvmi_unpacker *gvmi_unpacker_new(int compression, struct gv_error *err);
void gvmi_unpacker_free(struct gvmi_unpacker *u);
DEFINE_CLEANUP(gvmi_unpacker, struct gvmi_unpacker *, gvmi_unpacker_free)

/* Decompresses the n bytes at `in` into out, never more than cap bytes. Returns the number of bytes or -1 when the data is not valid or holds
 * more. Memory is bounded whatever the input claims. */
int64_t gvmi_unpacker_run(struct gvmi_unpacker *u, const unsigned char *in, size_t n, unsigned char *out, size_t cap);

#endif
