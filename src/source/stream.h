/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Byte streams with a pull interface, stacked: each stage owns the one below it and asks it for bytes when it is asked.
 *
 *     file range ─► pump ─► decompression ─► limit ─► pump ─► the tar reader
 *                    └─► follower: digest               ├─► follower: digest of the uncompressed bytes
 *                                                       └─► follower: the scratch file
 *
 * A stage that checks something (a gzip checksum, a limit, a follower with a digest) fails in the read that would have delivered the end or
 * the excess, so whoever has read a stream to its end without an error has verified it. The pump is where threads begin: everything below it
 * runs in a thread of its own that reads ahead, and each follower sees every byte in yet another one.
 */
#ifndef GV_SOURCE_STREAM_H
#define GV_SOURCE_STREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/core.h"

struct stream;

struct stream_ops {
    /* Up to n bytes into buf. 0 only at the end (and again whenever asked after it), -1 on error. */
    ssize_t (*read)(struct stream *s, void *buf, size_t n, struct gv_error *err);
    /* Passes over up to n bytes; the count, less than n only at the end, -1 on error. NULL: by reading. */
    int64_t (*skip)(struct stream *s, uint64_t n, struct gv_error *err);
    void (*close)(struct stream *s);
};

struct stream {
    const struct stream_ops *ops;
};

ssize_t stream_read(struct stream *s, void *buf, size_t n, struct gv_error *err);
/* Reads n bytes, fewer only at the end. */
ssize_t stream_read_full(struct stream *s, void *buf, size_t n, struct gv_error *err);
/* Passes over n bytes (at most INT64_MAX), fewer only at the end; the count or -1. */
int64_t stream_skip(struct stream *s, uint64_t n, struct gv_error *err);
/* Closes the stage and all below it. NULL is fine. */
void stream_close(struct stream *s);
DEFINE_CLEANUP(stream, struct stream *, stream_close)

/* The `length` bytes at `offset` of fd, which stays the caller's and must outlive the stream. A file that ends before is an error. */
struct stream *stream_file_new(int fd, uint64_t offset, uint64_t length) __attribute__((returns_nonnull));

/* A digest as manifests write it. */
struct digest {
    enum gv_hash_kind kind;
    size_t size; /* bytes used; 0 = no digest */
    unsigned char bytes[GV_HASH_MAX];
};

/* Reads "sha256:" or "sha512:" and lower-case hex digits. */
int digest_parse(struct digest *d, const char *text, struct gv_error *err);
bool digest_equal(const struct digest *a, const struct digest *b);
/* "sha256:0123456789ab", for messages; out has DIGEST_SHORT bytes. */
#define DIGEST_SHORT 24
void digest_short(char out[DIGEST_SHORT], const struct digest *d);

/* What a whole conversion may unpack. Shared by the streams and the merge, and by their threads. */
struct source_budget {
    uint64_t max_bytes;        /* of everything unpacked */
    bool ratio;                /* also refuse what grows by more than BUDGET_RATIO once it is larger than BUDGET_FREE */
    uint64_t input;            /* bytes read so far or about to be read, before decompression */
    _Atomic uint64_t unpacked; /* bytes after it */
};
#define BUDGET_RATIO 200
#define BUDGET_FREE ((uint64_t)1 << 30)

/* Accounts for n more unpacked bytes, and fails when that is too much. */
int budget_take(struct source_budget *b, uint64_t n, struct gv_error *err);

/* Passes the bytes of `inner` on and charges them to the budget. */
struct stream *stream_limit_new(struct stream *inner, struct source_budget *budget) __attribute__((returns_nonnull));

/* ---- compression (decompress.c) ---- */

enum compression {
    COMPRESSION_NONE,
    COMPRESSION_GZIP,
    COMPRESSION_ZSTD,
    COMPRESSION_XZ,
    COMPRESSION_BZIP2,
    COMPRESSION_LZ4,
    COMPRESSION_LZIP,
    COMPRESSION_LZMA, /* the format before xz: one member only, without a checksum */
};

/* By the first n bytes of a file. What starts with a tar header is not compressed, whatever its first member is called. */
enum compression compression_sniff(const void *head, size_t n);
#define COMPRESSION_SNIFF_SIZE 512

/* The uncompressed bytes of `inner` (which is taken over; for COMPRESSION_NONE it is returned itself). Several members or frames after each
 * other are one stream, as are zero bytes after the last gzip member; anything else after it is an error, as is an end before it. */
struct stream *stream_decompress_new(struct stream *inner, enum compression c) __attribute__((returns_nonnull));

/* ---- threads (pump.c) ---- */

/* Somebody who also wants to see all bytes, in order. Each function is called from one thread only, 0 or -1 with err. */
struct stream_follower {
    int (*data)(void *user, const unsigned char *p, size_t n, struct gv_error *err);
    int (*end)(void *user, struct gv_error *err); /* after the last byte, not after a failure */
    void *user;
};
#define PUMP_FOLLOWERS 2

/* A follower that fails at the end when the digest of all bytes is not the expected one. */
struct digest_check {
    const char *what; /* begins the message, "the digest of the content" */
    struct digest expected;
    struct gv_hash *hash;
};
void digest_check_begin(struct digest_check *c, const char *what, const struct digest *expected);
struct stream_follower digest_check_follower(struct digest_check *c);
/* A zeroed one is fine. The pump must be closed. */
void digest_check_clear(struct digest_check *c);

/* The bytes of `inner`, read ahead by a thread in chunks of PUMP_CHUNK bytes (only the last one is shorter), which are also shown to the
 * followers, at most PUMP_FOLLOWERS. With `threads` false all happens in the caller's thread. A failure of inner or of a follower fails
 * the read after the bytes that have come before it; the end is delivered when every follower has seen it. */
#define PUMP_CHUNK ((size_t)256 * 1024)
struct stream *stream_pump_new(struct stream *inner, const struct stream_follower *followers, size_t count, bool threads)
    __attribute__((returns_nonnull));

#endif
