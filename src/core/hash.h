/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hashes, by OpenSSL. SHA3-224 addresses images (FIPS 202), SHA-256 names layers and upload chunks, CRC-32 (ISO-HDLC, the one
 * of zlib) guards the metadata trailer.
 */
#ifndef GV_CORE_HASH_H
#define GV_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum gv_hash_kind { GV_HASH_SHA256, GV_HASH_SHA512, GV_HASH_SHA3_224, GV_HASH_SHA3_256, GV_HASH_SHA3_384, GV_HASH_SHA3_512 };

#define GV_HASH_MAX 64
#define GV_SHA256_SIZE 32
#define GV_SHA3_224_SIZE 28
#define GV_SHA3_224_HEX 57 /* with the final NUL */

struct gv_hash;
struct gv_hash *gv_hash_new(enum gv_hash_kind kind) __attribute__((returns_nonnull));
void gv_hash_update(struct gv_hash *h, const void *p, size_t n);
/* Writes the digest and returns its length; h can only be freed afterwards. */
size_t gv_hash_final(struct gv_hash *h, unsigned char out[GV_HASH_MAX]);
void gv_hash_free(struct gv_hash *h);

/* Hashes the n bytes at p at once. */
size_t gv_hash_bytes(enum gv_hash_kind kind, const void *p, size_t n, unsigned char out[GV_HASH_MAX]);

/* Hashes everything that can be read from fd, from its start (it must be seekable; its offset is not changed). */
int gv_hash_fd(enum gv_hash_kind kind, int fd, unsigned char out[GV_HASH_MAX], struct gv_error *err);

/* The same of a file of `size` bytes, told to progress (may be NULL) as "hashing". */
struct gv_progress;
int gv_hash_fd_shown(enum gv_hash_kind kind, int fd, uint64_t size, const struct gv_progress *progress, unsigned char out[GV_HASH_MAX],
                     struct gv_error *err);

uint32_t gv_crc32(const void *p, size_t n);

/* Lower-case hex of n bytes with a final NUL into out, which has 2 n + 1 bytes. */
void gv_hex(char *out, const unsigned char *p, size_t n);
/* Reads exactly n bytes from 2 n hex digits of either case; -1 when s holds anything else. */
int gv_unhex(unsigned char *out, size_t n, const char *s);

#endif
