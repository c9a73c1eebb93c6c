/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The way of an image into memory. The archive is indexed (archive.c), its own description is turned into a plan (docker.c, oci.c), and
 * the layers are read from the lowest to the topmost: each once, as a stream through the stages of stream.h, its names into the merge
 * (merge.c), its bytes nowhere at all when it is stored uncompressed, or into the scratch file as they are (store.c), so that the place of
 * a file's content is its place in the layer's tar plus that of the layer. Digests are verified on the way: that of the blob as stored,
 * and that of the uncompressed layer.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "source/merge.h"
#include "source/plan.h"
#include "source/source.h"
#include "source/store.h"

#define DEFAULT_BYTES ((uint64_t)64 << 30)
#define DEFAULT_ENTRIES 1500000
#define SIZED_ENTRIES 10000000 /* for whoever gives a size: then the image is known to be large */

struct load {
    struct archive *archive;
    struct store *store;
    struct merge *merge;
    struct source_budget budget;
    const struct source_options *options;
    bool threads;
    uint64_t blob_bytes, blob_done; /* of all layers, for progress */
};

void source_image_clear(struct source_image *s)
{
    image_tree_free(s->tree);
    image_config_clear(&s->config);
    free(s->name);
    free(s->architecture);
    free(s->os);
    *s = (struct source_image){ 0 };
}

/* ---- a layer ---- */

/* Reports how far the reading of blobs has come; sits at the bottom of the stack. */
struct progress_stream {
    struct stream base;
    struct stream *inner;
    struct load *load;
};

static ssize_t progress_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    struct progress_stream *p = (struct progress_stream *)s;
    ssize_t got = stream_read(p->inner, buf, n, err);
    if (got > 0) {
        p->load->blob_done += (uint64_t)got;
        gv_progress_update(p->load->options->progress, "reading layers", p->load->blob_done, p->load->blob_bytes);
    }
    return got;
}

static void progress_close(struct stream *s)
{
    struct progress_stream *p = (struct progress_stream *)s;
    stream_close(p->inner);
    free(p);
}

static struct stream *progress_new(struct stream *inner, struct load *load)
{
    static const struct stream_ops ops = { .read = progress_read, .close = progress_close };
    struct progress_stream *p = gv_new(struct progress_stream);
    *p = (struct progress_stream){ .base.ops = &ops, .inner = inner, .load = load };
    return &p->base;
}

/* The digest of the uncompressed layer, as a follower. */
struct diff_check {
    struct gv_hash *hash;
    const struct digest *expected;
};

static int diff_data(void *user, const unsigned char *p, size_t n, struct gv_error *err)
{
    (void)err;
    gv_hash_update(((struct diff_check *)user)->hash, p, n);
    return 0;
}

static int diff_end(void *user, struct gv_error *err)
{
    struct diff_check *d = user;
    struct digest have = { .kind = d->expected->kind };
    have.size = gv_hash_final(d->hash, have.bytes);
    if (digest_equal(&have, d->expected))
        return 0;
    char want[DIGEST_SHORT], is[DIGEST_SHORT];
    digest_short(want, d->expected);
    digest_short(is, &have);
    return gv_error_set(err, GV_E_CORRUPT, 0, "its content has the digest %s... and not %s..., as the configuration says (diff_id)", is,
                        want);
}

static int read_entries(struct load *l, struct stream *s, uint32_t file, uint64_t base, struct gv_error *err)
{
    CLEANUP(tar_reader) struct tar_reader *r = tar_reader_new(s);
    struct tar_entry e;
    int got;
    while ((got = tar_reader_next(r, &e, err)) > 0) {
        struct image_content content = { .file = file, .offset = base + e.offset };
        if (e.sparse && (budget_take(&l->budget, e.size - e.stored, err) < 0 || store_sparse(l->store, r, &e, &content, err) < 0))
            return gv_error_prefix(err, "member `%.200s`", e.path);
        if (merge_layer_add(l->merge, &e, &content, err) < 0)
            return -1;
    }
    return got;
}

static int read_layer(struct load *l, const struct plan_layer *layer, const struct blob *b, struct gv_error *err)
{
    unsigned char head[COMPRESSION_SNIFF_SIZE];
    ssize_t got = gv_pread_full(b->fd, head, b->size < sizeof(head) ? (size_t)b->size : sizeof(head), b->offset);
    if (got < 0)
        return gv_error_errno(err, "cannot read");
    enum compression compression = compression_sniff(head, (size_t)got);

    struct spool spool = { .fd = -1 };
    uint32_t file;
    if (compression == COMPRESSION_NONE ? store_add(l->store, b->fd, &file, err) : store_spool_begin(l->store, &spool, &file, err))
        return -1;
    uint64_t base = compression == COMPRESSION_NONE ? b->offset : spool.at;

    struct diff_check check = { .expected = &layer->diff_id };
    struct stream_follower followers[PUMP_FOLLOWERS];
    size_t count = 0;
    /* An uncompressed blob is its own content: one digest then says both. */
    bool same = compression == COMPRESSION_NONE && layer->digest.size && digest_equal(&layer->digest, &layer->diff_id);
    if (layer->diff_id.size && !same) {
        check.hash = gv_hash_new(layer->diff_id.kind);
        followers[count++] = (struct stream_follower){ .data = diff_data, .end = diff_end, .user = &check };
    }
    if (spool.fd >= 0)
        followers[count++] = spool_follower(&spool);

    struct stream *s = progress_new(stream_file_new(b->fd, b->offset, b->size), l);
    if (layer->digest.size)
        s = stream_verify_new(s, &layer->digest);
    s = stream_limit_new(stream_decompress_new(s, compression), &l->budget);
    s = stream_pump_new(s, followers, count, l->threads);
    int status = read_entries(l, s, file, base, err);
    if (status == 0)
        status = stream_pump_finish(s, err);
    stream_close(s); /* first: its threads use what follows */
    gv_hash_free(check.hash);
    if (status == 0 && spool.fd >= 0)
        store_spool_end(l->store, &spool);
    return status;
}

static int load_layer(struct load *l, const struct plan_layer *layer, struct gv_error *err)
{
    cleanup_blob struct blob b = BLOB_INIT;
    if (archive_find(l->archive, layer->name, &b, err) < 0)
        return -1;
    if (layer->has_size && layer->size != b.size)
        return gv_error_set(err, GV_E_CORRUPT, 0, "it has %" PRIu64 " bytes and should have %" PRIu64, b.size, layer->size);
    l->budget.input += b.size;
    merge_layer_begin(l->merge);
    if (b.size && read_layer(l, layer, &b, err) < 0) /* nothing at all is a layer without changes */
        return -1;
    return merge_layer_end(l->merge, err);
}

/* ---- the image ---- */

static int make_plan(struct plan *p, struct load *l, const struct source_reference *ref, const struct platform *platform,
                     struct gv_error *err)
{
    enum transport t = ref->transport;
    if (t == TRANSPORT_ANY)
        t = archive_has(l->archive, "manifest.json") || !archive_has(l->archive, "index.json") ? TRANSPORT_DOCKER_ARCHIVE : TRANSPORT_OCI;
    if (t == TRANSPORT_DOCKER_ARCHIVE ? docker_plan(p, l->archive, ref->name, err) : oci_plan(p, l->archive, ref->name, platform, err))
        return -1;
    if (platform_fits(platform, &p->platform))
        return 0;
    cleanup_free char *want = platform_format(platform), *have = platform_format(&p->platform);
    return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image for %s in it; there are images for: %s", want, have);
}

static int load_plan(struct load *l, const struct plan *p, struct gv_error *err)
{
    for (size_t i = 0; i < p->count; i++) {
        cleanup_blob struct blob b = BLOB_INIT;
        /* All of them first: nothing is worse than minutes of work before the news that something is missing. */
        if (archive_find(l->archive, p->layers[i].name, &b, err) < 0)
            return gv_error_prefix(err, "layer %zu of %zu", i + 1, p->count);
        l->blob_bytes += b.size;
    }
    for (size_t i = 0; i < p->count; i++) {
        if (load_layer(l, &p->layers[i], err) == 0)
            continue;
        gv_error_prefix(err, "layer %zu of %zu (`%.100s`)", i + 1, p->count, p->layers[i].name);
        if (merge_is_full(l->merge) && !l->options->max_entries && !l->options->max_bytes)
            gv_error_hint(err, "if that is right, give its size with --max-size");
        return -1;
    }
    return 0;
}

static int load_archive(struct source_image *out, struct load *l, const struct source_reference *ref, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_platform_fn))) struct platform platform = { 0 };
    __attribute__((cleanup(gv_cleanup_plan_fn))) struct plan plan = { 0 };
    CLEANUP(image_tree) struct image_tree *tree = image_tree_new();
    if (platform_parse(&platform, l->options->platform, err) < 0)
        return -1;
    uint64_t entries = l->options->max_entries ? l->options->max_entries : l->options->max_bytes ? SIZED_ENTRIES : DEFAULT_ENTRIES;
    CLEANUP(merge) struct merge *merge = merge_new(tree, entries, l->options->absolute_names, l->options->log);
    l->merge = merge;
    if (make_plan(&plan, l, ref, &platform, err) < 0 || load_plan(l, &plan, err) < 0)
        return gv_error_prefix(err, "`%s`", ref->path);
    image_tree_finish(tree, &out->totals);
    image_tree_set_reader(tree, store_read, steal_ptr(l->store), store_release);
    out->tree = steal_ptr(tree);
    out->config = plan.config;
    plan.config = (struct image_config){ 0 };
    out->name = steal_ptr(plan.name);
    out->architecture = steal_ptr(plan.platform.architecture);
    out->os = steal_ptr(plan.platform.os);
    out->archive_bytes = archive_input_bytes(l->archive) ? archive_input_bytes(l->archive) : l->blob_bytes;
    out->layer_bytes = merge_file_bytes(merge);
    out->layers = (uint32_t)plan.count;
    return 0;
}

int source_load(struct source_image *out, const char *reference, const struct source_options *options, struct gv_error *err)
{
    static const struct source_options defaults;
    __attribute__((cleanup(gv_cleanup_source_reference_fn))) struct source_reference ref = { 0 };
    if (source_reference_parse(&ref, reference, err) < 0)
        return -1;
    struct load l = { .options = options ? options : &defaults };
    l.budget.max_bytes = l.options->max_bytes ? l.options->max_bytes : DEFAULT_BYTES;
    l.budget.ratio = l.options->max_bytes == 0;
    l.threads = l.options->jobs != 1;
    CLEANUP(archive) struct archive *archive = NULL;
    if (archive_open(&archive, ref.path, &l.budget, l.threads, err) < 0)
        return -1;
    l.archive = archive;
    l.store = store_new();
    int status = load_archive(out, &l, &ref, err);
    store_free(l.store);
    return status;
}

bool source_recognises(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return false;
    if (S_ISDIR(st.st_mode)) {
        cleanup_free char *index = gv_asprintf("%s/index.json", path);
        return stat(index, &st) == 0 && S_ISREG(st.st_mode);
    }
    unsigned char head[COMPRESSION_SNIFF_SIZE];
    FILE *f = S_ISREG(st.st_mode) ? fopen(path, "re") : NULL;
    if (!f)
        return false;
    size_t got = fread(head, 1, sizeof(head), f);
    fclose(f);
    return compression_sniff(head, got) != COMPRESSION_NONE || (got == TAR_BLOCK && tar_is_header(head));
}

int source_fingerprint(const char *reference, char **out, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_source_reference_fn))) struct source_reference ref = { 0 };
    if (source_reference_parse(&ref, reference, err) < 0)
        return -1;
    struct stat st;
    cleanup_free char *index = gv_asprintf("%s/index.json", ref.path);
    if (stat(ref.path, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open `%s`", ref.path);
    /* Blobs are named by their digests, so of a directory only the index can change. */
    if (S_ISDIR(st.st_mode) && stat(index, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open `%s`", index);
    *out = gv_asprintf("%d %ju:%ju %ju %jd.%09ld %jd.%09ld %s", (int)ref.transport, (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                       (uintmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (intmax_t)st.st_ctim.tv_sec,
                       st.st_ctim.tv_nsec, ref.name ? ref.name : "");
    return 0;
}
