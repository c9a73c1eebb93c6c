/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `sign`: signatures of images, in the files of minisign (https://jedisct1.github.io/minisign/), so that whoever has no gvmkit can check
 * them too: `minisign -Vm IMAGE.gvmi -p KEY.pub`.
 *
 * A signature file is text of four lines:
 *
 *     untrusted comment: anything
 *     base64 of   "ED", key id (8 bytes), Ed25519 signature (64) of the BLAKE2b-512 of the file
 *     trusted comment: gvmkit sha3-224:HEX size:BYTES timestamp:SECONDS name:NAME
 *     base64 of   Ed25519 signature (64) of the 64 bytes of the first one and the trusted comment
 *
 * The second signature makes hash, size and name of the image part of what is signed: with them an image can be judged before it has been fetched, and
 * one that is known by its hash need not be read again. NAME is the rest of the line; it may be empty.
 *
 * A public key is 42 bytes ("Ed", key id, key), a secret one 158 ("Ed", the KDF, "B2", salt and cost of scrypt, and key id, secret key and BLAKE2b-256
 * of these, encrypted when there is a password); both as base64 after a line of comment.
 */
#ifndef GV_SIGN_H
#define GV_SIGN_H

#include <stdint.h>

#include "core/core.h"

#define SIGN_SUFFIX ".minisig"
#define SIGN_ID_SIZE 8U
#define SIGN_PUBLIC_SIZE 32U
#define SIGN_SECRET_SIZE 64U
#define SIGN_SIGNATURE_SIZE 64U
#define SIGN_FILE_MAX 65536U
#define SIGN_NAME_MAX 255U

struct sign_public {
    uint8_t id[SIGN_ID_SIZE], key[SIGN_PUBLIC_SIZE];
};

struct sign_secret {
    uint8_t id[SIGN_ID_SIZE], key[SIGN_SECRET_SIZE];
};

/* Reads a public key: the path of a file, or the base64 itself as minisign's -P takes it. */
int sign_public_read(struct sign_public *k, const char *path_or_text, struct gv_error *err);
/* The same from n bytes of a file. */
int sign_public_parse(struct sign_public *k, const void *text, size_t n, struct gv_error *err);

/* Reads a secret key. password may be NULL. 0: done; 1: the key needs a password; -1: it cannot be read, or the password is wrong. */
int sign_secret_read(struct sign_secret *k, const char *path, const char *password, struct gv_error *err);
/* Forgets it. Safe on a zeroed one. */
void sign_secret_clear(struct sign_secret *k);

/* What deriving a key from its password costs: of scrypt, as in minisign's files. */
struct sign_cost {
    uint64_t operations, memory; /* bytes */
};
/* That of minisign: a second and 1 GiB. */
extern const struct sign_cost sign_cost_default;

/* Makes a pair of keys in two new files; neither may exist (GV_E_EXISTS). password NULL: the secret key is not encrypted. cost NULL: the default. */
int sign_keys_make(const char *secret_path, const char *public_path, const char *password, const struct sign_cost *cost,
                   struct gv_error *err);

/* What a signature says of an image. */
struct sign_claim {
    char hash[GV_SHA3_224_HEX];
    uint64_t size, timestamp; /* bytes; seconds since the epoch */
    char name[SIGN_NAME_MAX + 1];
};

/* Signs what can be read from fd, of which one pass is made. claim->name is given; the rest of *claim is filled. The file's text is added to *text. */
int sign_make(struct gv_buf *text, struct sign_claim *claim, int fd, const struct sign_secret *k, const struct gv_progress *progress,
              struct gv_error *err);

/* Checks that the n bytes of a signature file are of this key, and says what they claim. GV_E_FORMAT: they are no such file; GV_E_CORRUPT: they are not
 * what this key has signed; GV_E_UNSUPPORTED: a good signature, but of minisign alone, without a claim. Nothing is said of any image yet: compare. */
int sign_open(struct sign_claim *claim, const void *text, size_t n, const struct sign_public *k, struct gv_error *err);

/* sign_open(), and that the file fd is what was signed: hash and size as claimed, and the BLAKE2b-512 as well. Reads all of it. Here a signature without a
 * claim is good too; then claim->hash and size are those of the file, the name is empty and the timestamp 0. */
int sign_verify(struct sign_claim *claim, const void *text, size_t n, const struct sign_public *k, int fd,
                const struct gv_progress *progress, struct gv_error *err);

/* Which of the keys a signature file says it is of: *out points into keys. GV_E_CORRUPT when none; nothing is checked yet. */
int sign_key_for(const struct sign_public **out, const void *text, size_t n, const struct sign_public *keys, size_t count,
                 struct gv_error *err);

/* What a signature file says, and the id of the key by which it says it was made, as minisign writes it. Nothing of it is checked: for who keeps
 * signatures of others. Errors as of sign_open(), without GV_E_CORRUPT. */
#define SIGN_ID_TEXT (2 * SIGN_ID_SIZE + 1)
int sign_peek(struct sign_claim *claim, char id[SIGN_ID_TEXT], const void *text, size_t n, struct gv_error *err);

/* The signature beside an image: the file IMAGE.minisig is appended to *text. GV_E_NOT_FOUND when there is none. */
int sign_read_beside(struct gv_buf *text, const char *image, struct gv_error *err);

#endif
