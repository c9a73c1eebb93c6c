/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An image of a hostile registry: the input's documents (documents.h) are what it has under their digests, the first is what it says the
 * tag stands for. Its manifests and lists are read, a platform is chosen, and every layer is asked for.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "documents.h"
#include "source/plan.h"
#include "source/remote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DOCUMENT_MAX (1 << 20) /* nothing in an input is larger */

struct registry {
    struct document docs[DOCUMENTS];
    size_t count, asked;
    bool cancelled;
};

static const struct gv_buf *find(struct registry *r, const char *hex)
{
    for (size_t i = 0; i < r->count; i++)
        if (!strcmp(r->docs[i].hex, hex))
            return &r->docs[i].text;
    return NULL;
}

static int get_document(void *user, const char *digest, struct gv_buf *out, struct gv_error *err)
{
    struct registry *r = user;
    const struct gv_buf *text = strncmp(digest, "sha256:", 7) ? NULL : find(r, digest + 7);
    if (++r->asked > 1000)
        abort();
    if (!text)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "unknown");
    gv_buf_add(out, text->data, text->len);
    return 0;
}

static int get_blob(void *user, const struct digest *digest, uint64_t size, const struct remote_progress *progress, struct blob *out,
                    struct gv_error *err)
{
    struct registry *r = user;
    char hex[2 * GV_HASH_MAX + 1];
    gv_hex(hex, digest->bytes, digest->size);
    const struct gv_buf *text = find(r, hex);
    if (!text || text->len != size)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "unknown");
    if (progress)
        progress->update(progress->user, size);
    out->fd = memfd_create("blob", MFD_CLOEXEC);
    out->size = size;
    if (out->fd < 0 || gv_write_full(out->fd, text->data, text->len) < 0)
        abort();
    return 0;
}

static void cancel(void *user)
{
    ((struct registry *)user)->cancelled = true;
}

static void ask_for_layers(struct archive *a, const struct plan *p)
{
    struct gv_error err = GV_ERROR_INIT;
    uint64_t size;
    for (size_t i = 0; i < p->count; i++)
        if (archive_size_of(a, p->layers[i].name, &size, &err) < 0 && err.code == GV_OK)
            abort();
    for (size_t i = 0; i < p->count; i++) {
        cleanup_blob struct blob b = BLOB_INIT;
        if (archive_find(a, p->layers[i].name, &b, &err) < 0)
            return;
        if (b.fd < 0 || b.size > DOCUMENT_MAX)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct remote_ops ops = { .document = get_document, .blob = get_blob, .cancel = cancel };
    struct registry r = { 0 };
    struct platform platform = { 0 };
    struct plan plan = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    struct source_budget budget = { .max_bytes = 1 << 24 };
    const struct source_options options = { .jobs = 1 };
    r.count = documents_read(r.docs, data, size);
    if (platform_parse(&platform, NULL, NULL) < 0)
        abort();
    const struct source_context context = { .options = &options, .platform = &platform, .budget = &budget };
    struct archive *a = NULL;
    if (remote_open(&a, &ops, &r, "host/name:tag", size % 2 ? "" : "application/vnd.oci.image.index.v1+json", &r.docs[0].text, &context,
                    &err) == 0 &&
        oci_plan(&plan, a, "host/name:tag", &platform, &err) == 0)
        ask_for_layers(a, &plan);
    else if (err.code == GV_OK || err.code == GV_E_INTERNAL)
        abort();
    archive_close(a);
    plan_clear(&plan);
    platform_clear(&platform);
    for (size_t i = 0; i < r.count; i++)
        gv_buf_clear(&r.docs[i].text);
    return 0;
}
