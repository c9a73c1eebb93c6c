/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/mem.h"

struct gv_hash {
    EVP_MD_CTX *ctx;
};

static const EVP_MD *kind_md(enum gv_hash_kind kind)
{
    switch (kind) {
    case GV_HASH_SHA256:
        return EVP_sha256();
    case GV_HASH_SHA512:
        return EVP_sha512();
    case GV_HASH_SHA3_224:
        return EVP_sha3_224();
    case GV_HASH_SHA3_256:
        return EVP_sha3_256();
    case GV_HASH_SHA3_384:
        return EVP_sha3_384();
    case GV_HASH_SHA3_512:
        return EVP_sha3_512();
    }
    abort();
}

/* OpenSSL fails here only without memory or with a broken installation: nothing a caller could handle. */
static void must(int ok)
{
    if (!ok)
        abort();
}

struct gv_hash *gv_hash_new(enum gv_hash_kind kind)
{
    struct gv_hash *h = gv_new(struct gv_hash);
    h->ctx = EVP_MD_CTX_new();
    must(h->ctx != NULL);
    must(EVP_DigestInit_ex(h->ctx, kind_md(kind), NULL));
    return h;
}

void gv_hash_update(struct gv_hash *h, const void *p, size_t n)
{
    must(EVP_DigestUpdate(h->ctx, p, n));
}

size_t gv_hash_final(struct gv_hash *h, unsigned char out[GV_HASH_MAX])
{
    unsigned int len = 0;
    must(EVP_DigestFinal_ex(h->ctx, out, &len));
    return len;
}

void gv_hash_free(struct gv_hash *h)
{
    if (h) {
        EVP_MD_CTX_free(h->ctx);
        free(h);
    }
}

size_t gv_hash_bytes(enum gv_hash_kind kind, const void *p, size_t n, unsigned char out[GV_HASH_MAX])
{
    unsigned int len = 0;
    must(EVP_Digest(p, n, out, &len, kind_md(kind), NULL));
    return len;
}

int gv_hash_fd(enum gv_hash_kind kind, int fd, unsigned char out[GV_HASH_MAX], struct gv_error *err)
{
    return gv_hash_fd_shown(kind, fd, 0, NULL, out, err);
}

int gv_hash_fd_shown(enum gv_hash_kind kind, int fd, uint64_t size, const struct gv_progress *progress, unsigned char out[GV_HASH_MAX],
                     struct gv_error *err)
{
    enum { CHUNK = 1 << 18 };
    cleanup_free unsigned char *buf = gv_alloc(CHUNK);
    struct gv_hash *h = gv_hash_new(kind);
    for (off_t at = 0;;) {
        ssize_t n = pread(fd, buf, CHUNK, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            gv_hash_free(h);
            return gv_error_errno(err, "cannot read");
        }
        if (n == 0)
            break;
        gv_hash_update(h, buf, (size_t)n);
        at += n;
        gv_progress_update(progress, "hashing", (uint64_t)at, size);
    }
    gv_hash_final(h, out);
    gv_hash_free(h);
    return 0;
}

uint32_t gv_crc32(const void *p, size_t n)
{
    return (uint32_t)crc32_z(0, p, n);
}

void gv_hex(char *out, const unsigned char *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int gv_unhex(unsigned char *out, size_t n, const char *s)
{
    if (strnlen(s, 2 * n + 1) != 2 * n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_value(s[2 * i]), lo = hex_value(s[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return -1;
        out[i] = (unsigned char)(hi << 4 | lo);
    }
    return 0;
}
