/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The descriptor with which an upload begins: which image comes, and in which chunks. Its form is that of gvmkit-build, all numbers big endian: u64
 * magic, u64 size of the image, u64 size of a chunk, 28 bytes SHA3-224 of the image, and 32 bytes SHA-256 for each chunk. Its SHA-256 is the name of
 * the upload.
 */
#ifndef GV_SERVE_DESCRIPTOR_H
#define GV_SERVE_DESCRIPTOR_H

#include <stdint.h>

#include "core/core.h"

#define DESCRIPTOR_HEAD 52
#define DESCRIPTOR_CHUNKS_MAX 1000
#define DESCRIPTOR_MAX (DESCRIPTOR_HEAD + DESCRIPTOR_CHUNKS_MAX * GV_SHA256_SIZE)

struct descriptor {
    unsigned char id[GV_SHA256_SIZE];
    unsigned char hash[GV_SHA3_224_SIZE];
    uint64_t size, chunk_size; /* of the image, and of every chunk but the last one, which may be shorter */
    uint32_t chunks;
    const unsigned char *digests; /* chunks times 32 bytes, in what was parsed */
};

/* Reads the n bytes at p, which must outlive the result. Every field is checked against the others; images of no bytes are refused. */
int descriptor_parse(const unsigned char *p, size_t n, struct descriptor *out, struct gv_error *err);
/* Bytes of a chunk; number is below d->chunks. */
uint64_t descriptor_chunk_length(const struct descriptor *d, uint32_t number);

#endif
