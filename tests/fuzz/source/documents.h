/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A fuzzer's input as documents that name each other by digest: lines of "%%" are between them; "@N" in one stands for the digest of
 * document N and "#N" for its size, for N greater than its own number.
 */
#ifndef GV_FUZZ_DOCUMENTS_H
#define GV_FUZZ_DOCUMENTS_H

#include <string.h>

#include "core/core.h"

#define DOCUMENTS 8

struct document {
    struct gv_buf text;
    char hex[65];
};

/* Fills in the references; those to documents before this one stay as they are. */
static inline void document_resolve(struct document *docs, size_t n, size_t self, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t ref = i + 1 < len && p[i + 1] >= '0' ? (size_t)(p[i + 1] - '0') : n;
        if ((p[i] != '@' && p[i] != '#') || ref <= self || ref >= n) {
            gv_buf_add(&docs[self].text, p + i, 1);
            continue;
        }
        if (p[i] == '@')
            gv_buf_addf(&docs[self].text, "sha256:%s", docs[ref].hex);
        else
            gv_buf_addf(&docs[self].text, "%zu", docs[ref].text.len);
        i++;
    }
    unsigned char hash[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, docs[self].text.data, docs[self].text.len, hash);
    gv_hex(docs[self].hex, hash, 32);
}

/* Reads the input; the number of documents. */
static inline size_t documents_read(struct document docs[DOCUMENTS], const uint8_t *data, size_t size)
{
    const char *start[DOCUMENTS];
    size_t len[DOCUMENTS], n = 0;
    for (const char *p = (const char *)data, *end = p + size; n < DOCUMENTS && p <= end; n++) {
        const char *next = memmem(p, (size_t)(end - p), "\n%%\n", 4);
        start[n] = p;
        len[n] = (size_t)((next ? next : end) - p);
        p = next ? next + 4 : end + 1;
    }
    for (size_t i = n; i-- > 0;)
        document_resolve(docs, n, i, start[i], len[i]);
    return n;
}

#endif
