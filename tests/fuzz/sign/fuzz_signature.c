/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Signature files and keys that say anything. */
#include <string.h>

#include "sign/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sign_public key = { .id = { 1 } };
    struct sign_public read;
    struct sign_claim claim;
    struct gv_error err = GV_ERROR_INIT;
    sign_open(&claim, data, size, &key, &err);
    gv_error_clear(&err);
    char id[SIGN_ID_TEXT];
    const struct sign_public *named;
    if (sign_peek(&claim, id, data, size, &err) == 0 && (strlen(id) != 16 || strlen(claim.hash) != 56))
        abort();
    gv_error_clear(&err);
    sign_key_for(&named, data, size, &key, 1, &err);
    gv_error_clear(&err);
    if (sign_public_parse(&read, data, size, &err) == 0 && size < 42)
        abort();
    if (sign_claim_get(&claim, (const char *)data, size) == 1) {
        /* What is read is written the same, but for the case of the hash and leading zeros. */
        cleanup_buf struct gv_buf text = { 0 };
        struct sign_claim again;
        sign_claim_put(&text, &claim);
        if (sign_claim_get(&again, (const char *)text.data, text.len) != 1 || memcmp(&again, &claim, sizeof(claim)) != 0)
            abort();
    }
    return 0;
}
