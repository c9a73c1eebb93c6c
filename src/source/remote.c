/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/remote.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define WORKERS 4
#define ITEMS_MAX 2000 /* documents and blobs that one image may name */
#define INDEX "index.json"

enum kind { KIND_INDEX, KIND_DOCUMENT, KIND_BLOB, KIND_LAYER };
enum state { STATE_KNOWN, STATE_QUEUED, STATE_RUNNING, STATE_THERE };

/* Something that the image consists of. Items are never removed, and do not move. */
struct item {
    struct remote *remote;
    enum kind kind;
    char *name, *digest_text; /* "blobs/sha256/HEX", "sha256:HEX" */
    struct digest digest;
    uint64_t size;
    enum state state;
    struct blob blob; /* when it is there */
    uint64_t have;    /* as last told */
};

struct remote {
    const struct remote_ops *ops;
    void *user;
    const struct gv_progress *progress;
    uint64_t max_bytes;
    bool threads;
    struct item *items[ITEMS_MAX];
    size_t count;

    pthread_mutex_t lock; /* of what follows, and of the items' state, blob and have */
    pthread_cond_t changed;
    pthread_t workers[WORKERS];
    size_t worker_count;
    bool stop, failed;
    struct gv_error failure;   /* the first one */
    const struct item *guilty; /* whose that is; NULL if nobody's */
    size_t pending;            /* layers queued or under way */
    uint64_t done, total;      /* bytes of layers */
};

char *remote_digest(const struct gv_buf *document)
{
    unsigned char hash[GV_HASH_MAX];
    char hex[2 * GV_SHA256_SIZE + 1];
    gv_hash_bytes(GV_HASH_SHA256, document->data, document->len, hash);
    gv_hex(hex, hash, GV_SHA256_SIZE);
    return gv_asprintf("sha256:%s", hex);
}

/* ---- items ---- */

static struct item *find_item(const struct remote *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (!strcmp(r->items[i]->name, name))
            return r->items[i];
    return NULL;
}

static struct item *add_item(struct remote *r, enum kind kind, const char *name, uint64_t size)
{
    struct item *i = gv_new(struct item);
    *i = (struct item){ .remote = r, .kind = kind, .name = gv_strdup(name), .size = size, .blob = BLOB_INIT };
    r->items[r->count++] = i;
    return i;
}

/* Takes in what a descriptor names. One that is broken is left to the reader of the document, who can say where it is. */
static int add_descriptor(struct remote *r, enum kind kind, const json_t *descriptor, struct gv_error *err)
{
    const char *text = json_string_of(descriptor, "digest");
    const json_t *size = json_object_get(descriptor, "size");
    struct digest digest;
    if (!text || digest_parse(&digest, text, NULL) < 0 || !json_is_integer(size) || json_integer_value(size) < 0)
        return 0;
    const char *colon = strchr(text, ':');
    cleanup_free char *name = gv_asprintf("blobs/%.*s/%s", (int)(colon - text), text, colon + 1);
    if (find_item(r, name))
        return 0;
    if (r->count == ITEMS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the image consists of more than %d parts", ITEMS_MAX);
    struct item *i = add_item(r, kind, name, (uint64_t)json_integer_value(size));
    i->digest = digest;
    i->digest_text = gv_strdup(text);
    return 0;
}

static int add_list(struct remote *r, enum kind kind, const json_t *list, struct gv_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (add_descriptor(r, kind, json_array_get(list, i), err) < 0)
            return -1;
    return 0;
}

/* Takes in what a document names. */
static int add_document(struct remote *r, const struct gv_buf *text, struct gv_error *err)
{
    cleanup_json json_t *doc = json_parse(text->data, text->len, NULL);
    if (!doc)
        return 0; /* its reader will say so */
    if (add_list(r, KIND_DOCUMENT, json_object_get(doc, "manifests"), err) < 0 ||
        add_descriptor(r, KIND_BLOB, json_object_get(doc, "config"), err) < 0)
        return -1;
    return add_list(r, KIND_LAYER, json_object_get(doc, "layers"), err);
}

/* A document becomes a file in memory, as blobs are files. */
static int store_document(struct item *i, const struct gv_buf *text, struct gv_error *err)
{
    cleanup_close int fd = memfd_create("document", MFD_CLOEXEC);
    if (fd < 0 || gv_write_full(fd, text->data, text->len) < 0)
        return gv_error_errno(err, "cannot make a file in memory");
    i->blob = (struct blob){ .fd = steal_fd(&fd), .size = text->len };
    i->state = STATE_THERE;
    return 0;
}

/* ---- layers ---- */

static void on_progress(void *user, uint64_t have)
{
    struct item *i = user;
    struct remote *r = i->remote;
    pthread_mutex_lock(&r->lock);
    r->done += have - i->have; /* also less than before, when one begins anew */
    i->have = have;
    uint64_t done = r->done, total = r->total;
    pthread_mutex_unlock(&r->lock);
    gv_progress_update(r->progress, "downloading", done, total);
}

static void keep_failure(struct remote *r, const struct item *guilty, const struct gv_error *why)
{
    if (r->failed)
        return;
    r->failed = true;
    r->guilty = guilty;
    r->failure = *why;
    r->ops->cancel(r->user);
}

/* Fetches the item, which the caller has made RUNNING. The lock is held before and after, not meanwhile. */
static void run_item(struct remote *r, struct item *i)
{
    const struct remote_progress progress = { .update = on_progress, .user = i };
    struct gv_error why = GV_ERROR_INIT;
    struct blob blob = BLOB_INIT;
    pthread_mutex_unlock(&r->lock);
    int status = r->ops->blob(r->user, &i->digest, i->size, i->kind == KIND_LAYER ? &progress : NULL, &blob, &why);
    if (status == 0 && i->kind == KIND_LAYER)
        on_progress(i, i->size);
    pthread_mutex_lock(&r->lock);
    i->blob = blob;
    i->state = status == 0 ? STATE_THERE : STATE_KNOWN;
    if (i->kind == KIND_LAYER)
        r->pending--;
    if (status < 0)
        keep_failure(r, i, &why);
    pthread_cond_broadcast(&r->changed);
}

static struct item *next_queued(const struct remote *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->items[i]->state == STATE_QUEUED)
            return r->items[i];
    return NULL;
}

static void *worker(void *user)
{
    struct remote *r = user;
    pthread_mutex_lock(&r->lock);
    while (!r->stop && !r->failed) {
        struct item *i = next_queued(r);
        if (!i) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        i->state = STATE_RUNNING;
        run_item(r, i);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Puts a layer into the queue. The lock is held. */
static void enqueue(struct remote *r, struct item *i)
{
    uint64_t total;
    if (__builtin_add_overflow(r->total, i->size, &total) || total > r->max_bytes) {
        struct gv_error why = GV_ERROR_INIT;
        gv_error_set(&why, GV_E_LIMIT, 0, "the layers have more than the %" PRIu64 " bytes that are allowed; see --max-size", r->max_bytes);
        keep_failure(r, NULL, &why);
        return;
    }
    r->total = total;
    r->pending++;
    i->state = STATE_QUEUED;
    if (r->threads && r->worker_count < WORKERS && r->worker_count < r->pending &&
        pthread_create(&r->workers[r->worker_count], NULL, worker, r) == 0)
        r->worker_count++;
    pthread_cond_broadcast(&r->changed);
}

/* Waits until the blob is there. What nobody has begun with is fetched by the caller itself. */
static int await_item(struct remote *r, struct item *i, struct gv_error *err)
{
    pthread_mutex_lock(&r->lock);
    if (i->state == STATE_KNOWN && i->kind == KIND_LAYER)
        enqueue(r, i);
    while (i->state != STATE_THERE && !r->failed) {
        if (i->state == STATE_RUNNING) {
            pthread_cond_wait(&r->changed, &r->lock);
        } else {
            i->state = STATE_RUNNING;
            run_item(r, i);
        }
    }
    bool there = i->state == STATE_THERE;
    if (!there && err) {
        *err = r->failure;
        if (r->guilty && r->guilty != i)
            gv_error_prefix(err, "not come, because of %.19s...", r->guilty->digest_text);
    }
    pthread_mutex_unlock(&r->lock);
    return there ? 0 : -1;
}

/* ---- the archive ---- */

static int get_document(struct remote *r, struct item *i, struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    if (r->ops->document(r->user, i->digest_text, &text, err) < 0)
        return -1;
    struct digest have = { .kind = i->digest.kind };
    have.size = gv_hash_bytes(have.kind, text.data, text.len, have.bytes);
    if (!digest_equal(&have, &i->digest))
        return gv_error_set(err, GV_E_CORRUPT, 0, "the manifest that came is not %.80s, as was asked for", i->digest_text);
    return store_document(i, &text, err) < 0 ? -1 : add_document(r, &text, err);
}

static int remote_find(void *user, const char *name, struct blob *out, struct gv_error *err)
{
    struct remote *r = user;
    struct item *i = find_item(r, name);
    if (!i)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%.200s` is not part of the image", name);
    if (i->kind == KIND_DOCUMENT && i->state != STATE_THERE && get_document(r, i, err) < 0)
        return -1;
    if (i->kind > KIND_DOCUMENT && await_item(r, i, err) < 0)
        return -1;
    *out = i->blob;
    out->shared = true; /* the item keeps it until the end */
    return 0;
}

static int64_t remote_size_of(void *user, const char *name)
{
    struct remote *r = user;
    struct item *i = find_item(r, name);
    if (!i)
        return -1;
    pthread_mutex_lock(&r->lock);
    if (i->kind == KIND_LAYER && i->state == STATE_KNOWN && !r->failed)
        enqueue(r, i);
    pthread_mutex_unlock(&r->lock);
    return i->size <= INT64_MAX ? (int64_t)i->size : -1;
}

static bool remote_busy(void *user)
{
    struct remote *r = user;
    pthread_mutex_lock(&r->lock);
    bool busy = r->pending > 0;
    pthread_mutex_unlock(&r->lock);
    return busy;
}

static void remote_release(void *user)
{
    struct remote *r = user;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    if (r->pending)
        r->ops->cancel(r->user);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->worker_count; i++)
        pthread_join(r->workers[i], NULL);
    if (r->ops->release)
        r->ops->release(r->user);
    for (size_t i = 0; i < r->count; i++) {
        blob_close(&r->items[i]->blob);
        free(r->items[i]->name);
        free(r->items[i]->digest_text);
        free(r->items[i]);
    }
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* index.json, with the topmost document as its only entry. */
static int make_index(struct remote *r, const char *name, const char *media, const struct gv_buf *top, struct gv_error *err)
{
    cleanup_free char *digest = remote_digest(top);
    cleanup_json json_t *index = json_pack("{s:i, s:[{s:s, s:s, s:I, s:{s:s}}]}", "schemaVersion", 2, "manifests", "mediaType", media,
                                           "digest", digest, "size", (json_int_t)top->len, "annotations", "io.containerd.image.name", name);
    cleanup_free char *text = index ? json_dumps(index, JSON_COMPACT) : NULL;
    if (!text)
        return gv_error_set(err, GV_E_FORMAT, 0, "the image's name or media type is no text");
    const struct gv_buf b = { .data = (unsigned char *)text, .len = strlen(text) };
    struct item *i = add_item(r, KIND_INDEX, INDEX, b.len);
    if (store_document(i, &b, err) < 0 || add_list(r, KIND_DOCUMENT, json_object_get(index, "manifests"), err) < 0)
        return -1;
    return store_document(r->items[1], top, err) < 0 ? -1 : add_document(r, top, err);
}

int remote_open(struct archive **out, const struct remote_ops *ops, void *user, const char *name, const char *media,
                const struct gv_buf *top, const struct source_context *c, struct gv_error *err)
{
    static const struct archive_ops archive_ops = {
        .find = remote_find, .size_of = remote_size_of, .busy = remote_busy, .release = remote_release
    };
    struct remote *r = gv_new(struct remote);
    r->ops = ops;
    r->user = user;
    r->progress = c->options->progress;
    r->max_bytes = c->budget->max_bytes;
    r->threads = c->threads;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    if (make_index(r, name, media, top, err) < 0) {
        remote_release(r);
        return -1;
    }
    *out = archive_new(&archive_ops, r);
    return 0;
}
