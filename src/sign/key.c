/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys. The secret one is exclusive-or'ed with a stream that scrypt makes of the password; its checksum tells a wrong password from a right one.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>

#include "sign/format.h"

/* The longest an unlocking may be made to last by a file: minisign's default is 2^25 operations in 1 GiB. */
#define OPERATIONS_MAX (UINT64_C(1) << 28)
#define MEMORY_MAX (UINT64_C(2) << 30)

#define CHECKSUM_SIZE 32U
#define SALT_SIZE 32U

static const char untrusted[] = "untrusted comment: ";

const struct sign_cost sign_cost_default = { UINT64_C(1) << 25, UINT64_C(1) << 30 };

struct public_file {
    uint8_t algorithm[2], id[SIGN_ID_SIZE], key[SIGN_PUBLIC_SIZE];
};

struct secret_file {
    uint8_t algorithm[2], kdf[2], checksum_algorithm[2], salt[SALT_SIZE], operations[8], memory[8];
    struct locked {
        uint8_t id[SIGN_ID_SIZE], key[SIGN_SECRET_SIZE], checksum[CHECKSUM_SIZE];
    } locked;
};

_Static_assert(sizeof(struct public_file) == 42 && sizeof(struct secret_file) == 158, "the files have no gaps");

static uint64_t le64_get(const uint8_t p[8])
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static void le64_put(uint8_t p[8], uint64_t v)
{
    for (int i = 0; i < 8; i++, v >>= 8)
        p[i] = (uint8_t)v;
}

static int start_library(struct gv_error *err)
{
    return sodium_init() < 0 ? gv_error_set(err, GV_E_INTERNAL, 0, "libsodium cannot be started") : 0;
}

/* The base64 after the comment of a key file, or all of it when there is no comment. */
static int key_line(const void *text, size_t n, uint8_t *out, size_t size)
{
    struct sign_lines l = { text, (const char *)text + n };
    const char *line;
    size_t length;
    if (!sign_line(&l, &line, &length))
        return -1;
    const char *after = line;
    size_t after_length = length;
    if (sign_after(&after, &after_length, untrusted) && !sign_line(&l, &line, &length))
        return -1;
    return sign_base64_get(out, size, line, length);
}

int sign_public_parse(struct sign_public *k, const void *text, size_t n, struct gv_error *err)
{
    struct public_file f;
    if (key_line(text, n, (uint8_t *)&f, sizeof(f)) < 0 || memcmp(f.algorithm, "Ed", 2) != 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "this is no public key of minisign");
    memcpy(k->id, f.id, sizeof(k->id));
    memcpy(k->key, f.key, sizeof(k->key));
    return 0;
}

int sign_public_read(struct sign_public *k, const char *path_or_text, struct gv_error *err)
{
    struct gv_error no_text = GV_ERROR_INIT;
    if (sign_public_parse(k, path_or_text, strlen(path_or_text), &no_text) == 0)
        return 0;
    cleanup_buf struct gv_buf text = { 0 };
    if (gv_read_file(path_or_text, SIGN_FILE_MAX, &text, err) < 0)
        return -1;
    if (sign_public_parse(k, text.data, text.len, err) < 0)
        return gv_error_prefix(err, "%s", path_or_text);
    return 0;
}

static void checksum(uint8_t out[CHECKSUM_SIZE], const struct secret_file *f)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, CHECKSUM_SIZE);
    crypto_generichash_update(&state, f->algorithm, sizeof(f->algorithm));
    crypto_generichash_update(&state, f->locked.id, sizeof(f->locked.id));
    crypto_generichash_update(&state, f->locked.key, sizeof(f->locked.key));
    crypto_generichash_final(&state, out, CHECKSUM_SIZE);
}

/* Locks, or unlocks. */
static int cipher(struct secret_file *f, const char *password, struct gv_error *err)
{
    uint64_t operations = le64_get(f->operations), memory = le64_get(f->memory);
    if (operations > OPERATIONS_MAX || memory > MEMORY_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the password of this key costs more to check than is allowed");
    struct locked stream;
    uint8_t *p = (uint8_t *)&f->locked;
    if (crypto_pwhash_scryptsalsa208sha256((unsigned char *)&stream, sizeof(stream), password, strlen(password), f->salt, operations,
                                           (size_t)memory) != 0)
        return gv_error_set(err, GV_E_LIMIT, errno, "there is not enough memory to check a password (%llu MiB are needed)",
                            (unsigned long long)(memory >> 20));
    for (size_t i = 0; i < sizeof(stream); i++)
        p[i] ^= ((const uint8_t *)&stream)[i];
    sodium_memzero(&stream, sizeof(stream));
    return 0;
}

/* minisign leaves the checksum of a key without password zero: but the key's second half follows from the first. */
static bool key_is_sound(const struct secret_file *f, bool encrypted)
{
    uint8_t sum[CHECKSUM_SIZE], seed[crypto_sign_SEEDBYTES], key[SIGN_SECRET_SIZE], public_key[SIGN_PUBLIC_SIZE];
    checksum(sum, f);
    if (encrypted)
        return sodium_memcmp(sum, f->locked.checksum, sizeof(sum)) == 0;
    crypto_sign_ed25519_sk_to_seed(seed, f->locked.key);
    crypto_sign_seed_keypair(public_key, key, seed);
    bool sound = sodium_memcmp(key, f->locked.key, sizeof(key)) == 0;
    sodium_memzero(seed, sizeof(seed));
    sodium_memzero(key, sizeof(key));
    return sound;
}

static int unlock(struct sign_secret *k, struct secret_file *f, const char *password, struct gv_error *err)
{
    bool encrypted = memcmp(f->kdf, "Sc", 2) == 0;
    if (memcmp(f->algorithm, "Ed", 2) != 0 || memcmp(f->checksum_algorithm, "B2", 2) != 0 || (!encrypted && memcmp(f->kdf, "\0\0", 2) != 0))
        return gv_error_set(err, GV_E_FORMAT, 0, "this is no secret key of minisign");
    if (encrypted && !password)
        return 1;
    if (encrypted && cipher(f, password, err) < 0)
        return -1;
    if (!key_is_sound(f, encrypted))
        return gv_error_set(err, GV_E_CORRUPT, 0, encrypted ? "the password is wrong" : "the key is damaged");
    memcpy(k->id, f->locked.id, sizeof(k->id));
    memcpy(k->key, f->locked.key, sizeof(k->key));
    return 0;
}

int sign_secret_read(struct sign_secret *k, const char *path, const char *password, struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    struct secret_file f;
    if (start_library(err) < 0 || gv_read_file(path, SIGN_FILE_MAX, &text, err) < 0)
        return -1;
    int status = key_line(text.data, text.len, (uint8_t *)&f, sizeof(f));
    if (status < 0)
        gv_error_set(err, GV_E_FORMAT, 0, "this is no secret key of minisign");
    else
        status = unlock(k, &f, password, err);
    sodium_memzero(&f, sizeof(f));
    sodium_memzero(text.data, text.len);
    return status < 0 ? gv_error_prefix(err, "%s", path) : status;
}

void sign_secret_clear(struct sign_secret *k)
{
    sodium_memzero(k, sizeof(*k));
}

/* A new file with a comment and a line of base64. */
static int write_key(const char *path, mode_t mode, const char *comment, const void *p, size_t n, struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    gv_buf_reserve(&text, 1024); /* so that it does not move, leaving a copy of the key behind */
    gv_buf_addf(&text, "%s%s\n", untrusted, comment);
    sign_base64_put(&text, p, n);
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return gv_error_set(err, errno == EEXIST ? GV_E_EXISTS : GV_E_IO, errno, "cannot make the key `%s`", path);
    int status = gv_write_full(fd, text.data, text.len);
    if (status == 0)
        status = fsync(fd);
    sodium_memzero(text.data, text.len);
    if (status == 0)
        return 0;
    gv_error_errno(err, "cannot write the key `%s`", path);
    unlink(path);
    return -1;
}

int sign_keys_make(const char *secret_path, const char *public_path, const char *password, const struct sign_cost *cost,
                   struct gv_error *err)
{
    struct secret_file s = { .algorithm = "Ed", .checksum_algorithm = "B2" };
    struct public_file p = { .algorithm = "Ed" };
    char comment[64];
    if (start_library(err) < 0)
        return -1;
    if (access(public_path, F_OK) == 0) /* found before the secret key is made, whose file would have to be removed */
        return gv_error_set(err, GV_E_EXISTS, EEXIST, "cannot make the key `%s`", public_path);
    crypto_sign_keypair(p.key, s.locked.key);
    randombytes_buf(p.id, sizeof(p.id));
    memcpy(s.locked.id, p.id, sizeof(p.id));
    checksum(s.locked.checksum, &s);
    int status = 0;
    if (password) {
        memcpy(s.kdf, "Sc", 2);
        randombytes_buf(s.salt, sizeof(s.salt));
        le64_put(s.operations, (cost ? cost : &sign_cost_default)->operations);
        le64_put(s.memory, (cost ? cost : &sign_cost_default)->memory);
        status = cipher(&s, password, err);
    }
    if (status == 0)
        status = write_key(secret_path, 0600, password ? "gvmkit encrypted secret key" : "gvmkit secret key without password", &s,
                           sizeof(s), err);
    sodium_memzero(&s, sizeof(s));
    if (status < 0)
        return -1;
    snprintf(comment, sizeof(comment), "gvmkit public key %016llX", (unsigned long long)le64_get(p.id));
    if (write_key(public_path, 0644, comment, &p, sizeof(p), err) == 0)
        return 0;
    unlink(secret_path);
    return -1;
}
