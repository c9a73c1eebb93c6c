/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/descriptor.h"

#include <string.h>

/* Of gvmkit-build since 0.3.9, and before. */
#define MAGIC 0x333333334U
#define MAGIC_OLD 0x333333333U

static uint64_t get64(const unsigned char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

int descriptor_parse(const unsigned char *p, size_t n, struct descriptor *out, struct gv_error *err)
{
    if (n < DESCRIPTOR_HEAD)
        return gv_error_set(err, GV_E_FORMAT, 0, "the descriptor has %zu bytes, less than the %d of its head", n, DESCRIPTOR_HEAD);
    uint64_t magic = get64(p);
    struct descriptor d = { .size = get64(p + 8), .chunk_size = get64(p + 16) };
    if (magic != MAGIC && magic != MAGIC_OLD)
        return gv_error_set(err, GV_E_FORMAT, 0, "these are not the first bytes of a descriptor");
    if (d.size == 0 || d.size > INT64_MAX || d.chunk_size == 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the descriptor tells of %llu bytes in chunks of %llu", (unsigned long long)d.size,
                            (unsigned long long)d.chunk_size);
    uint64_t chunks = (d.size - 1) / d.chunk_size + 1;
    if (chunks > DESCRIPTOR_CHUNKS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the image would come in %llu chunks, and %d is the limit; use larger chunks",
                            (unsigned long long)chunks, DESCRIPTOR_CHUNKS_MAX);
    d.chunks = (uint32_t)chunks;
    if (n != DESCRIPTOR_HEAD + (size_t)d.chunks * GV_SHA256_SIZE)
        return gv_error_set(err, GV_E_FORMAT, 0, "the descriptor has %zu bytes, and %zu with the %u chunks it tells of", n,
                            DESCRIPTOR_HEAD + (size_t)d.chunks * GV_SHA256_SIZE, d.chunks);
    memcpy(d.hash, p + 24, sizeof(d.hash));
    d.digests = p + DESCRIPTOR_HEAD;
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, p, n, digest);
    memcpy(d.id, digest, sizeof(d.id));
    *out = d;
    return 0;
}

uint64_t descriptor_chunk_length(const struct descriptor *d, uint32_t number)
{
    uint64_t at = d->chunk_size * number; /* below the size, number being below the count */
    return d->size - at < d->chunk_size ? d->size - at : d->chunk_size;
}
