/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose images are taken. A signature of `sign` has the hash in what is signed, and images of the store are what their hash says: so the signature alone decides, before anything
 * of the image has been fetched. It lies beside the image, as URL.minisig or in the artifact of a registry of OCI, and is kept beside it in the store: the next
 * time nobody has to be asked.
 */
#include <string.h>
#include <unistd.h>

#include "store/inside.h"

static int judge(const struct store_signers *who, const struct registry_image *want, const struct gv_buf *text, struct gv_error *err)
{
    const struct sign_public *key;
    struct sign_claim claim;
    if (sign_key_for(&key, text->data, text->len, who->keys, who->count, err) < 0 || sign_open(&claim, text->data, text->len, key, err) < 0)
        return -1;
    if (strcmp(claim.hash, want->hash) != 0 || (want->size != HTTP_SIZE_UNKNOWN && want->size != claim.size))
        return gv_error_set(err, GV_E_CORRUPT, 0, "it is of another image, %s of %llu bytes", claim.hash, (unsigned long long)claim.size);
    return 0;
}

/* What lies beside the image at that URL. */
static int fetch(struct image_store *s, const char *url, struct gv_buf *text, struct gv_error *err)
{
    if (strncmp(url, STORE_OCI, strlen(STORE_OCI)) == 0)
        return store_oci_signature(s, url, text, err);
    cleanup_response struct http_response r = { 0 };
    size_t n = strcspn(url, "?#");
    cleanup_free char *beside = gv_asprintf("%.*s" SIGN_SUFFIX "%s", (int)n, url, url + n);
    const struct http_request q = { .url = beside };
    struct http_client *http = store_http(s, err);
    if (!http || http_fetch(http, &q, SIGN_FILE_MAX, &r, err) < 0)
        return -1;
    if (r.status != 200)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is none (status %ld)", r.status);
    gv_buf_add(text, r.body.data, r.body.len);
    return 0;
}

/* GV_E_CORRUPT, whatever was the reason: an image that nobody has signed is not one that is missing. */
static int refuse(const struct registry_image *want, const char *where, const struct gv_error *why, struct gv_error *err)
{
    if (why->code == GV_E_CANCELLED || why->code == GV_E_TIMEOUT) {
        if (err)
            *err = *why;
        return -1;
    }
    return gv_error_set(err, GV_E_CORRUPT, 0, "the image %s is not signed as required: the signature %.300s: %s", want->hash, where,
                        why->msg);
}

int store_judge(struct image_store *s, const struct registry_image *want, struct gv_buf *text, struct gv_error *err)
{
    const struct store_signers *who = s->options.signers;
    cleanup_free char *kept = store_file(s, want->hash, STORE_SIGNATURE);
    struct gv_error why = GV_ERROR_INIT;
    if (who->signature) {
        if (judge(who, want, who->signature, &why) < 0)
            return refuse(want, "that is given", &why, err);
        gv_buf_add(text, who->signature->data, who->signature->len);
        return 0;
    }
    if (gv_read_file(kept, SIGN_FILE_MAX, text, &why) == 0 && judge(who, want, text, &why) == 0) {
        gv_buf_clear(text);
        return 0;
    }
    cleanup_free char *where = gv_strdup("in the store");
    for (size_t i = 0; i < want->urls.count && why.code != GV_E_CANCELLED; i++) {
        gv_buf_clear(text);
        gv_error_clear(&why);
        if (fetch(s, want->urls.items[i], text, &why) == 0 && judge(who, want, text, &why) == 0)
            return 0;
        free(where);
        where = gv_asprintf("beside `%.200s`", want->urls.items[i]);
    }
    gv_buf_clear(text);
    return refuse(want, where, &why, err);
}

int store_keep_signature(struct image_store *s, const char *hash, const struct gv_buf *text, struct gv_error *err)
{
    cleanup_free char *path = store_file(s, hash, STORE_SIGNATURE);
    return text->len ? store_write(path, text->data, text->len, err) : 0;
}
