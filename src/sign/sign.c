/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signatures. The file is read once, by both hashes: SHA3-224, which is the image's address, and BLAKE2b-512, which minisign signs.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "sign/format.h"

#define READ_SIZE (1U << 20)
#define PREHASH_SIZE 64U

static const char untrusted[] = "untrusted comment: ", trusted[] = "trusted comment: ";

struct signature {
    uint8_t algorithm[2], id[SIGN_ID_SIZE], bytes[SIGN_SIGNATURE_SIZE];
};

_Static_assert(sizeof(struct signature) == 74, "the file has no gaps");

struct parsed {
    struct signature first;
    uint8_t second[SIGN_SIGNATURE_SIZE];
    const char *comment;
    size_t comment_n;
};

struct digests {
    char sha3[GV_SHA3_224_HEX];
    uint8_t blake2[PREHASH_SIZE];
    uint64_t size;
};

DEFINE_CLEANUP(hash, struct gv_hash *, gv_hash_free)

static int digest_file(struct digests *d, int fd, const struct gv_progress *progress, struct gv_error *err)
{
    CLEANUP(hash) struct gv_hash *sha3 = gv_hash_new(GV_HASH_SHA3_224);
    cleanup_free unsigned char *buf = gv_alloc(READ_SIZE);
    unsigned char digest[GV_HASH_MAX];
    crypto_generichash_state blake2;
    off_t end = lseek(fd, 0, SEEK_END);
    crypto_generichash_init(&blake2, NULL, 0, PREHASH_SIZE);
    d->size = 0;
    for (;;) {
        ssize_t n = gv_pread_full(fd, buf, READ_SIZE, d->size);
        if (n < 0)
            return gv_error_errno(err, "cannot read it");
        if (n == 0)
            break;
        gv_hash_update(sha3, buf, (size_t)n);
        crypto_generichash_update(&blake2, buf, (unsigned long long)n);
        d->size += (uint64_t)n;
        gv_progress_update(progress, "hashing", d->size, end > 0 ? (uint64_t)end : 0);
    }
    gv_hash_final(sha3, digest);
    gv_hex(d->sha3, digest, GV_SHA3_224_SIZE);
    crypto_generichash_final(&blake2, d->blake2, PREHASH_SIZE);
    return 0;
}

/* The second signature is of the first one's bytes and the comment. */
static void second_message(struct gv_buf *b, const uint8_t first[SIGN_SIGNATURE_SIZE], const char *comment, size_t n)
{
    gv_buf_add(b, first, SIGN_SIGNATURE_SIZE);
    gv_buf_add(b, comment, n);
}

int sign_make(struct gv_buf *text, struct sign_claim *claim, int fd, const struct sign_secret *k, const struct gv_progress *progress,
              struct gv_error *err)
{
    struct digests d;
    struct signature first = { .algorithm = "ED" };
    uint8_t second[SIGN_SIGNATURE_SIZE];
    cleanup_buf struct gv_buf comment = { 0 }, message = { 0 };
    for (const char *c = claim->name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return gv_error_set(err, GV_E_USAGE, 0, "a name to be signed cannot hold control characters");
    if (sodium_init() < 0)
        return gv_error_set(err, GV_E_INTERNAL, 0, "libsodium cannot be started");
    if (digest_file(&d, fd, progress, err) < 0)
        return -1;
    memcpy(claim->hash, d.sha3, sizeof(claim->hash));
    claim->size = d.size;
    claim->timestamp = (uint64_t)time(NULL);
    memcpy(first.id, k->id, sizeof(first.id));
    crypto_sign_detached(first.bytes, NULL, d.blake2, sizeof(d.blake2), k->key);
    sign_claim_put(&comment, claim);
    second_message(&message, first.bytes, (const char *)comment.data, comment.len);
    crypto_sign_detached(second, NULL, message.data, message.len, k->key);

    gv_buf_addf(text, "%ssignature by gvmkit\n", untrusted);
    sign_base64_put(text, &first, sizeof(first));
    gv_buf_addf(text, "%s%s\n", trusted, gv_buf_str(&comment));
    sign_base64_put(text, second, sizeof(second));
    return 0;
}

static int parse(struct parsed *p, const void *text, size_t n, struct gv_error *err)
{
    struct sign_lines l = { text, (const char *)text + n };
    const char *line;
    size_t length;
    if (sign_line(&l, &line, &length) && sign_after(&line, &length, untrusted) && sign_line(&l, &line, &length) &&
        sign_base64_get((uint8_t *)&p->first, sizeof(p->first), line, length) == 0 && sign_line(&l, &p->comment, &p->comment_n) &&
        sign_after(&p->comment, &p->comment_n, trusted) && p->comment_n <= SIGN_COMMENT_MAX && sign_line(&l, &line, &length) &&
        sign_base64_get(p->second, sizeof(p->second), line, length) == 0)
        return 0;
    return gv_error_set(err, GV_E_FORMAT, 0, "this is no signature of minisign");
}

/* Whether the comment is this key's. */
static int check_comment(const struct parsed *p, const struct sign_public *k, struct gv_error *err)
{
    cleanup_buf struct gv_buf message = { 0 };
    if (sodium_init() < 0)
        return gv_error_set(err, GV_E_INTERNAL, 0, "libsodium cannot be started");
    if (memcmp(p->first.algorithm, "ED", 2) != 0)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "the signature is of minisign's old kind, which is not over a hash; sign again");
    if (memcmp(p->first.id, k->id, sizeof(k->id)) != 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "it is signed with another key");
    second_message(&message, p->first.bytes, p->comment, p->comment_n);
    if (crypto_sign_verify_detached(p->second, message.data, message.len, k->key) != 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the signature is wrong");
    return 0;
}

int sign_key_for(const struct sign_public **out, const void *text, size_t n, const struct sign_public *keys, size_t count,
                 struct gv_error *err)
{
    struct parsed p;
    if (parse(&p, text, n, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (memcmp(p.first.id, keys[i].id, sizeof(keys[i].id)) == 0) {
            *out = &keys[i];
            return 0;
        }
    return gv_error_set(err, GV_E_CORRUPT, 0, "it is signed with another key");
}

/* The claim of what has been parsed, whether it is checked or not. */
static int take_claim(struct sign_claim *claim, const struct parsed *p, struct gv_error *err)
{
    return sign_claim_get(claim, p->comment, p->comment_n)
               ? 0
               : gv_error_set(err, GV_E_UNSUPPORTED, 0, "the signature names no image; sign it with `gvmkit sign`");
}

int sign_peek(struct sign_claim *claim, char id[SIGN_ID_TEXT], const void *text, size_t n, struct gv_error *err)
{
    struct parsed p;
    if (parse(&p, text, n, err) < 0 || take_claim(claim, &p, err) < 0)
        return -1;
    for (size_t i = 0; i < SIGN_ID_SIZE; i++) /* the file has the number's last byte first */
        snprintf(id + 2 * i, 3, "%02X", p.first.id[SIGN_ID_SIZE - 1 - i]);
    return 0;
}

int sign_open(struct sign_claim *claim, const void *text, size_t n, const struct sign_public *k, struct gv_error *err)
{
    struct parsed p;
    if (parse(&p, text, n, err) < 0 || check_comment(&p, k, err) < 0)
        return -1;
    return take_claim(claim, &p, err);
}

int sign_verify(struct sign_claim *claim, const void *text, size_t n, const struct sign_public *k, int fd,
                const struct gv_progress *progress, struct gv_error *err)
{
    struct parsed p;
    struct digests d;
    if (parse(&p, text, n, err) < 0 || check_comment(&p, k, err) < 0 || digest_file(&d, fd, progress, err) < 0)
        return -1;
    if (!sign_claim_get(claim, p.comment, p.comment_n)) {
        *claim = (struct sign_claim){ .size = d.size };
        memcpy(claim->hash, d.sha3, sizeof(claim->hash));
    }
    if (strcmp(claim->hash, d.sha3) != 0 || claim->size != d.size ||
        crypto_sign_verify_detached(p.first.bytes, d.blake2, sizeof(d.blake2), k->key) != 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "it is not what was signed");
    return 0;
}

int sign_read_beside(struct gv_buf *text, const char *image, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s%s", image, SIGN_SUFFIX);
    return gv_read_file(path, SIGN_FILE_MAX, text, err);
}
