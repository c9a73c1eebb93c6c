/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

enum { SALT = 16, KEY = 32, TOKEN = 32 };
/* N = 2^14, r = 8, p = 1: 16 MiB. */
#define LOG_N 14U
#define R 8U
#define P 1U
#define LOG_N_MAX 20U /* of a stored one */

static int derive(const char *password, const unsigned char salt[SALT], unsigned log_n, unsigned char out[KEY])
{
    return EVP_PBE_scrypt(password, strlen(password), salt, SALT, UINT64_C(1) << log_n, R, P, (uint64_t)128 << 20, out, KEY) == 1 ? 0 : -1;
}

int secret_password_hash(const char *password, char out[SECRET_PASSWORD_SIZE], struct gv_error *err)
{
    unsigned char salt[SALT], key[KEY];
    char salt_hex[2 * SALT + 1], key_hex[2 * KEY + 1];
    if (RAND_bytes(salt, SALT) != 1 || derive(password, salt, LOG_N, key) < 0)
        return gv_error_set(err, GV_E_INTERNAL, 0, "cannot hash the password: OpenSSL refuses");
    gv_hex(salt_hex, salt, SALT);
    gv_hex(key_hex, key, KEY);
    snprintf(out, SECRET_PASSWORD_SIZE, "scrypt %u %s %s", LOG_N, salt_hex, key_hex);
    return 0;
}

bool secret_password_check(const char *password, const char *stored)
{
    unsigned char salt[SALT] = { 0 }, key[KEY] = { 0 }, made[KEY];
    char salt_hex[2 * SALT + 1] = "", key_hex[2 * KEY + 1] = "";
    unsigned log_n = LOG_N;
    bool known = stored && sscanf(stored, "scrypt %2u %32[0-9a-f] %64[0-9a-f]", &log_n, salt_hex, key_hex) == 3 && log_n > 0 &&
                 log_n <= LOG_N_MAX && gv_unhex(salt, SALT, salt_hex) == 0 && gv_unhex(key, KEY, key_hex) == 0;
    if (derive(password, salt, known ? log_n : LOG_N, made) < 0)
        return false;
    return CRYPTO_memcmp(made, key, KEY) == 0 && known;
}

int secret_token_new(char out[SECRET_TOKEN_SIZE], struct gv_error *err)
{
    unsigned char bytes[TOKEN];
    if (RAND_bytes(bytes, TOKEN) != 1)
        return gv_error_set(err, GV_E_INTERNAL, 0, "cannot make a token: OpenSSL has no random bytes");
    memcpy(out, SECRET_TOKEN, sizeof(SECRET_TOKEN) - 1);
    gv_hex(out + sizeof(SECRET_TOKEN) - 1, bytes, TOKEN);
    return 0;
}

bool secret_is_token(const char *s)
{
    return strncmp(s, SECRET_TOKEN, sizeof(SECRET_TOKEN) - 1) == 0;
}

void secret_token_hash(const char *token, unsigned char out[GV_SHA256_SIZE])
{
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, token, strlen(token), digest);
    memcpy(out, digest, GV_SHA256_SIZE);
}
