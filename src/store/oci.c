/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Images that are artifacts of a registry of OCI. `source` fetches them, into its cache of blobs, where an interrupted download goes on; here they become images of the
 * store, whose hash is made of their bytes and not of what a registry says.
 */
#include <string.h>

#include "source/source.h"
#include "store/inside.h"

static struct source_options options_of(const struct image_store *s)
{
    return (struct source_options){ .insecure = s->options.insecure, .log = s->options.log, .progress = s->options.progress };
}

static int hash_of(const struct source_artifact *a, struct image_store *s, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    unsigned char digest[GV_HASH_MAX];
    int fd = -1;
    if (source_artifact_open(a, s->options.progress, &fd, &s->artifact_bytes, err) < 0)
        return -1;
    cleanup_close int file = fd;
    if (gv_hash_fd_shown(GV_HASH_SHA3_224, file, a->size, s->options.progress, digest, err) < 0)
        return -1;
    gv_hex(hash, digest, GV_SHA3_224_SIZE);
    return 0;
}

int store_oci_find(struct image_store *s, const char *name, struct registry_image *want, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_source_artifact_fn))) struct source_artifact a = { 0 };
    const struct source_options options = options_of(s);
    if (source_artifact_find(&a, name, &options, err) < 0)
        return -1;
    want->size = a.size;
    if (*a.hash)
        memcpy(want->hash, a.hash, sizeof(want->hash));
    else if (s->options.signers)
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` does not say which image it is, so that its signature cannot be checked first",
                            name);
    else if (hash_of(&a, s, want->hash, err) < 0)
        return -1;
    const char *at = strchr(name, '@'), *slash = strrchr(name, '/'), *colon = strrchr(name, ':');
    size_t n = at ? (size_t)(at - name) : colon && slash && colon > slash ? (size_t)(colon - name) : strlen(name);
    gv_strv_take(&want->urls, gv_asprintf("%s%.*s@%s", STORE_OCI, (int)n, name, a.digest));
    return 0;
}

int store_oci_copy(struct image_store *s, const char *url, int to, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_source_artifact_fn))) struct source_artifact a = { 0 };
    const struct source_options options = options_of(s);
    int fd = -1;
    if (source_artifact_find(&a, url + strlen(STORE_OCI), &options, err) < 0 ||
        source_artifact_open(&a, s->options.progress, &fd, &s->artifact_bytes, err) < 0)
        return -1;
    cleanup_close int file = fd;
    return store_copy(file, to, hash, err);
}

int store_oci_signature(struct image_store *s, const char *url, struct gv_buf *text, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_source_artifact_fn))) struct source_artifact a = { 0 };
    const struct source_options options = options_of(s);
    return source_artifact_find(&a, url + strlen(STORE_OCI), &options, err) < 0 ? -1 : source_artifact_signature(&a, text, err);
}
