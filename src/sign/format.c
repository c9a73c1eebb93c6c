/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sign/format.h"

#include <sodium.h>
#include <string.h>

static const char claim_start[] = "gvmkit sha3-224:";

int sign_line(struct sign_lines *l, const char **line, size_t *n)
{
    if (l->at == l->end)
        return 0;
    const char *newline = memchr(l->at, '\n', (size_t)(l->end - l->at));
    *line = l->at;
    *n = (size_t)((newline ? newline : l->end) - l->at);
    l->at = newline ? newline + 1 : l->end;
    if (*n && (*line)[*n - 1] == '\r')
        --*n;
    return 1;
}

int sign_after(const char **line, size_t *n, const char *prefix)
{
    size_t length = strlen(prefix);
    if (*n < length || memcmp(*line, prefix, length) != 0)
        return 0;
    *line += length;
    *n -= length;
    return 1;
}

int sign_base64_get(uint8_t *out, size_t size, const char *line, size_t n)
{
    size_t got = 0;
    const char *end = NULL;
    if (sodium_base642bin(out, size, line, n, NULL, &got, &end, sodium_base64_VARIANT_ORIGINAL) != 0)
        return -1;
    return got == size && end == line + n ? 0 : -1;
}

void sign_base64_put(struct gv_buf *b, const void *p, size_t n)
{
    size_t size = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_ORIGINAL);
    gv_buf_reserve(b, size);
    sodium_bin2base64((char *)b->data + b->len, size, p, n, sodium_base64_VARIANT_ORIGINAL);
    b->len += size - 1;
    gv_buf_add(b, "\n", 1);
}

/* Decimal digits up to a space, which is taken too. */
static int take_number(const char **at, size_t *n, uint64_t *v)
{
    *v = 0;
    size_t digits = 0;
    for (; *n && **at >= '0' && **at <= '9'; ++*at, --*n, digits++)
        if (__builtin_mul_overflow(*v, UINT64_C(10), v) || __builtin_add_overflow(*v, (uint64_t)(**at - '0'), v))
            return 0;
    return digits > 0 && sign_after(at, n, " ");
}

int sign_claim_get(struct sign_claim *claim, const char *comment, size_t n)
{
    unsigned char digest[GV_SHA3_224_SIZE];
    *claim = (struct sign_claim){ 0 };
    if (!sign_after(&comment, &n, claim_start) || n < GV_SHA3_224_HEX - 1)
        return 0;
    memcpy(claim->hash, comment, GV_SHA3_224_HEX - 1);
    if (gv_unhex(digest, sizeof(digest), claim->hash) < 0)
        return 0;
    gv_hex(claim->hash, digest, sizeof(digest));
    comment += GV_SHA3_224_HEX - 1;
    n -= GV_SHA3_224_HEX - 1;
    if (!sign_after(&comment, &n, " size:") || !take_number(&comment, &n, &claim->size) || !sign_after(&comment, &n, "timestamp:") ||
        !take_number(&comment, &n, &claim->timestamp) || !sign_after(&comment, &n, "name:") || n > SIGN_NAME_MAX)
        return 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)comment[i] < 0x20 || comment[i] == 0x7f)
            return 0;
    memcpy(claim->name, comment, n);
    return 1;
}

void sign_claim_put(struct gv_buf *b, const struct sign_claim *claim)
{
    gv_buf_addf(b, "%s%s size:%llu timestamp:%llu name:%s", claim_start, claim->hash, (unsigned long long)claim->size,
                (unsigned long long)claim->timestamp, claim->name);
}
