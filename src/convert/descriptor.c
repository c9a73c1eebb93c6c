/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The upload descriptor. The file is read once for all hashes; when its SHA3 is known, only the chunks are hashed.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/convert.h"

#define VERSION 0x333333334ULL
#define VERSION_BEFORE 0x333333333ULL /* of gvmkit-build before 0.3.9; the rest is the same */
#define PIECE ((size_t)1 << 20)
#define MIB ((uint64_t)1 << 20)
#define FILE_MAX ((size_t)64 << 20) /* a descriptor of two million chunks */

void convert_descriptor_clear(struct convert_descriptor *d)
{
    gv_buf_clear(&d->bytes);
    *d = (struct convert_descriptor){ 0 };
}

uint64_t convert_descriptor_chunk_size(uint64_t file_size)
{
    static const struct {
        uint64_t above, chunk;
    } sizes[] = {
        { 5120 * MIB, 100 * MIB }, { 2048 * MIB, 50 * MIB }, { 1024 * MIB, 20 * MIB }, { 500 * MIB, 10 * MIB }, { 200 * MIB, 5 * MIB }
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (file_size > sizes[i].above)
            return sizes[i].chunk;
    return 2 * MIB;
}

static void put64(struct gv_buf *b, uint64_t v)
{
    unsigned char p[8];
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (unsigned char)v;
    gv_buf_add(b, p, sizeof(p));
}

static uint64_t get64(const unsigned char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static void name_it(struct convert_descriptor *d)
{
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, d->bytes.data, d->bytes.len, digest);
    gv_hex(d->id, digest, GV_SHA256_SIZE);
}

/* Appends the digest of each chunk to `chunks`; `whole`, unless NULL, gets every byte. */
static int hash_chunks(const struct convert_descriptor *d, int fd, struct gv_hash *whole, struct gv_buf *chunks,
                       const struct gv_progress *progress, struct gv_error *err)
{
    cleanup_free unsigned char *piece = gv_alloc(PIECE);
    for (uint64_t at = 0; at < d->size;) {
        uint64_t left = d->size - at < d->chunk_size ? d->size - at : d->chunk_size;
        struct gv_hash *chunk = gv_hash_new(GV_HASH_SHA256);
        for (int status = 0; left > 0;) {
            size_t n = left < PIECE ? (size_t)left : PIECE;
            ssize_t got = gv_pread_full(fd, piece, n, at);
            if (got != (ssize_t)n)
                status = got < 0 ? gv_error_errno(err, "cannot read it")
                                 : gv_error_set(err, GV_E_CORRUPT, 0, "it became shorter while it was read");
            if (status < 0) {
                gv_hash_free(chunk);
                return -1;
            }
            gv_hash_update(chunk, piece, n);
            if (whole)
                gv_hash_update(whole, piece, n);
            at += n;
            left -= n;
            gv_progress_update(progress, "hashing chunks", at, d->size);
        }
        unsigned char digest[GV_HASH_MAX];
        gv_hash_final(chunk, digest);
        gv_hash_free(chunk);
        gv_buf_add(chunks, digest, GV_SHA256_SIZE);
    }
    return 0;
}

int convert_descriptor_make(struct convert_descriptor *d, int fd, uint64_t chunk_size, const char *hash, const struct gv_progress *progress,
                            struct gv_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gv_error_errno(err, "cannot read it");
    d->size = (uint64_t)st.st_size;
    d->chunk_size = chunk_size ? chunk_size : convert_descriptor_chunk_size(d->size);
    d->chunks = d->size / d->chunk_size + (d->size % d->chunk_size != 0);
    if (d->chunks > (FILE_MAX - CONVERT_DESCRIPTOR_HEAD) / GV_SHA256_SIZE)
        return gv_error_set(err, GV_E_USAGE, 0, "chunks of %llu bytes are too small for a file of %llu", (unsigned long long)d->chunk_size,
                            (unsigned long long)d->size);
    unsigned char digest[GV_HASH_MAX];
    cleanup_buf struct gv_buf chunks = { 0 };
    struct gv_hash *whole = hash ? NULL : gv_hash_new(GV_HASH_SHA3_224);
    int status = hash_chunks(d, fd, whole, &chunks, progress, err);
    if (status == 0 && whole)
        gv_hash_final(whole, digest);
    gv_hash_free(whole);
    if (status == 0 && hash && gv_unhex(digest, GV_SHA3_224_SIZE, hash) < 0)
        status = gv_error_set(err, GV_E_INTERNAL, 0, "`%s` is not a hash", hash);
    if (status < 0)
        return -1;
    put64(&d->bytes, VERSION);
    put64(&d->bytes, d->size);
    put64(&d->bytes, d->chunk_size);
    gv_buf_add(&d->bytes, digest, GV_SHA3_224_SIZE);
    gv_buf_add(&d->bytes, chunks.data, chunks.len);
    gv_hex(d->hash, digest, GV_SHA3_224_SIZE);
    name_it(d);
    return 0;
}

int convert_descriptor_parse(struct convert_descriptor *d, const unsigned char *data, size_t n, struct gv_error *err)
{
    if (n < CONVERT_DESCRIPTOR_HEAD || (get64(data) != VERSION && get64(data) != VERSION_BEFORE))
        return gv_error_set(err, GV_E_FORMAT, 0, "this is not an upload descriptor");
    uint64_t size = get64(data + 8), chunk = get64(data + 16), bytes;
    if (chunk == 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the descriptor's chunks are empty");
    uint64_t chunks = size / chunk + (size % chunk != 0);
    if (__builtin_mul_overflow(chunks, (uint64_t)GV_SHA256_SIZE, &bytes) || bytes != n - CONVERT_DESCRIPTOR_HEAD)
        return gv_error_set(err, GV_E_FORMAT, 0, "the descriptor has %zu bytes, which is not what it should have", n);
    d->size = size;
    d->chunk_size = chunk;
    d->chunks = chunks;
    gv_buf_add(&d->bytes, data, n);
    gv_hex(d->hash, data + 24, GV_SHA3_224_SIZE);
    name_it(d);
    return 0;
}

/* Whether the descriptor in `file` can be used as it is. */
static bool usable(struct convert_descriptor *d, const char *file, const struct stat *image, uint64_t chunk_size, const char *hash)
{
    struct stat st;
    cleanup_buf struct gv_buf data = { 0 };
    if (stat(file, &st) < 0 || !S_ISREG(st.st_mode) || st.st_mtim.tv_sec < image->st_mtim.tv_sec ||
        (st.st_mtim.tv_sec == image->st_mtim.tv_sec && st.st_mtim.tv_nsec < image->st_mtim.tv_nsec))
        return false;
    if (gv_read_file(file, FILE_MAX, &data, NULL) < 0 || convert_descriptor_parse(d, data.data, data.len, NULL) < 0)
        return false;
    if (get64(data.data) == VERSION && d->size == (uint64_t)image->st_size && d->chunk_size == chunk_size &&
        (!hash || !strcmp(hash, d->hash)))
        return true;
    convert_descriptor_clear(d);
    return false;
}

int convert_descriptor_of_file(struct convert_descriptor *d, const char *path, uint64_t chunk_size, const char *hash,
                               const struct gv_progress *progress, char **file, struct gv_error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return gv_error_set(err, GV_E_FORMAT, 0, "%s: not a regular file", path);
    if (!chunk_size)
        chunk_size = convert_descriptor_chunk_size((uint64_t)st.st_size);
    cleanup_free char *name = gv_asprintf("%s.descr.bin", path);
    if (!usable(d, name, &st, chunk_size, hash)) {
        struct gv_outfile *out;
        if (convert_descriptor_make(d, fd, chunk_size, hash, progress, err) < 0)
            return gv_error_prefix(err, "%s", path);
        if (gv_outfile_open(&out, name, 0644, err) < 0)
            return -1;
        if (gv_write_full(gv_outfile_fd(out), d->bytes.data, d->bytes.len) < 0) {
            gv_error_errno(err, "cannot write `%s`", name);
            gv_outfile_discard(out);
            return -1;
        }
        if (gv_outfile_commit(out, err) < 0)
            return -1;
    }
    *file = steal_ptr(name);
    return 0;
}
