/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The way of an image into memory. The archive is indexed (archive.c), its own description is turned into a plan (docker.c, oci.c), and
 * the layers are read from the lowest to the topmost: each once, as a stream through the stages of stream.h, its names into the merge
 * (merge.c), its bytes nowhere at all when it is stored uncompressed, or into the scratch file as they are (store.c), so that the place of
 * a file's content is its place in the layer's tar plus that of the layer. Digests are verified on the way: that of the blob as stored,
 * and that of the uncompressed layer.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "source/merge.h"
#include "source/open.h"
#include "source/plan.h"
#include "source/source.h"
#include "source/store.h"

#define DAEMON_ID "sha256:" /* before the id of an image of the daemon */
#define DEFAULT_BYTES ((uint64_t)64 << 30)
#define DEFAULT_ENTRIES 1500000
#define SIZED_ENTRIES 10000000 /* for whoever gives a size: then the image is known to be large */

/* What describes the image in an archive. */
enum form { FORM_DOCKER, FORM_OCI, FORM_TAR };

struct load {
    struct source_context context;
    struct archive *archive;
    enum form form;
    bool guessed;  /* that it is a tar of a root file system */
    bool exported; /* by a daemon, for us alone */
    struct store *store;
    struct merge *merge;
    struct source_budget budget;
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
        if (!archive_is_busy(p->load->archive))
            gv_progress_update(p->load->context.options->progress, "reading layers", p->load->blob_done, p->load->blob_bytes);
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

    struct stream *s = progress_new(stream_file_new(b->fd, b->offset, b->size), l);
    struct digest_check stored = { 0 }, diff = { 0 };
    struct stream_follower followers[PUMP_FOLLOWERS];
    size_t count = 0;
    if (layer->digest.size) {
        digest_check_begin(&stored, "the digest", &layer->digest);
        followers[count++] = digest_check_follower(&stored);
    }
    if (compression != COMPRESSION_NONE && count) {
        s = stream_pump_new(s, followers, count, l->threads);
        count = 0;
    }
    /* An uncompressed blob is its own content: one digest then says both. */
    if (layer->diff_id.size && !(count && digest_equal(&layer->digest, &layer->diff_id))) {
        digest_check_begin(&diff, "the digest of its content (diff_id)", &layer->diff_id);
        followers[count++] = digest_check_follower(&diff);
    }
    if (spool.fd >= 0)
        followers[count++] = spool_follower(&spool);

    s = stream_limit_new(stream_decompress_new(s, compression), &l->budget);
    s = stream_pump_new(s, followers, count, l->threads);
    struct gv_error failure = GV_ERROR_INIT;
    int status = read_entries(l, s, file, base, &failure);
    /* On to the end, where digests and checksums are; when one is wrong, that is also why the entries make no sense. */
    if ((status == 0 || failure.code == GV_E_FORMAT) && stream_skip(s, INT64_MAX, &failure) < 0)
        status = -1;
    if (status < 0 && err)
        *err = failure;
    stream_close(s); /* first: its threads use what follows */
    digest_check_clear(&stored);
    digest_check_clear(&diff);
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

static int make_plan(struct plan *p, struct load *l, const struct source_reference *ref, struct gv_error *err)
{
    const struct platform *want = l->context.platform;
    if (l->form == FORM_TAR)
        return plan_tar(p, want);
    /* The daemon exports what it was asked for, and nothing else; it may have been asked by id. */
    const char *name = l->exported ? NULL : ref->name;
    if (l->form == FORM_DOCKER ? docker_plan(p, l->archive, name, err) : oci_plan(p, l->archive, name, want, err))
        return -1;
    if (platform_fits(want, &p->platform))
        return 0;
    cleanup_free char *wanted = platform_format(want), *have = platform_format(&p->platform);
    return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image for %s in it; there are images for: %s", wanted, have);
}

static int load_plan(struct load *l, const struct plan *p, struct gv_error *err)
{
    for (size_t i = 0; i < p->count; i++) {
        uint64_t size;
        /* All of them first: nothing is worse than minutes of work before the news that something is missing. */
        if (archive_size_of(l->archive, p->layers[i].name, &size, err) < 0)
            return gv_error_prefix(err, "layer %zu of %zu", i + 1, p->count);
        l->blob_bytes += size;
    }
    for (size_t i = 0; i < p->count; i++) {
        if (load_layer(l, &p->layers[i], err) == 0)
            continue;
        if (l->form != FORM_TAR)
            gv_error_prefix(err, "layer %zu of %zu (`%.100s`)", i + 1, p->count, p->layers[i].name);
        if (merge_is_full(l->merge) && !l->context.options->max_entries && !l->context.options->max_bytes)
            gv_error_hint(err, "if that is right, give its size with --max-size");
        return -1;
    }
    return 0;
}

/* Puts what the user called it before the error. */
static int on_reference(const struct source_reference *ref, struct gv_error *err)
{
    if (ref->path && strcmp(ref->path, "-") == 0)
        return gv_error_prefix(err, "standard input");
    return gv_error_prefix(err, "`%s`", ref->path ? ref->path : ref->name);
}

/* The file in the root of the tree as JSON; NULL when it is none. */
static json_t *json_in_root(struct image_tree *tree, const char *name)
{
    const struct image_node *node = image_node_child(image_tree_root(tree), name, strlen(name));
    if (!node || node->inode->type != IMAGE_FILE || node->inode->size > ARCHIVE_JSON_MAX)
        return NULL;
    size_t n = (size_t)node->inode->size;
    cleanup_free char *text = gv_alloc(n + 1);
    return image_tree_read(tree, node->inode, 0, text, n, NULL) < 0 ? NULL : json_parse(text, n, NULL);
}

/* What was told to be a root file system by one name may describe images as well. Others would see those in it, so we do not choose. */
static int check_guess(struct image_tree *tree, struct gv_error *err)
{
    cleanup_json json_t *manifest = json_in_root(tree, "manifest.json"), *index = json_in_root(tree, "index.json");
    bool docker = json_is_array(json_object_get(json_array_get(manifest, 0), "Layers"));
    if (!docker && !json_is_array(json_object_get(index, "manifests")))
        return 0;
    gv_error_set(err, GV_E_FORMAT, 0, "it could be a root file system or an archive of images: `%s` is in it, and directories like /etc",
                 docker ? "manifest.json" : "index.json");
    return gv_error_hint(err, "write tar: before its name, or %s", docker ? "docker-archive:" : "oci-archive:");
}

static int load_archive(struct source_image *out, struct load *l, const struct source_reference *ref, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_plan_fn))) struct plan plan = { 0 };
    CLEANUP(image_tree) struct image_tree *tree = image_tree_new();
    const struct source_options *o = l->context.options;
    CLEANUP(merge) struct merge *merge = merge_new(tree, l->context.max_entries, o->absolute_names, o->log);
    l->merge = merge;
    if (l->form == FORM_TAR)
        merge_set_plain(merge);
    if (make_plan(&plan, l, ref, err) < 0 || load_plan(l, &plan, err) < 0)
        return on_reference(ref, err);
    image_tree_finish(tree, &out->totals);
    image_tree_set_reader(tree, store_read, steal_ptr(l->store), store_release);
    if (l->guessed && check_guess(tree, err) < 0)
        return on_reference(ref, err);
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

static int load_directory(struct source_image *out, struct load *l, const struct source_reference *ref, struct gv_error *err)
{
    CLEANUP(image_tree) struct image_tree *tree = image_tree_new();
    if (dir_load(tree, ref->path, &l->context, &out->layer_bytes, err) < 0)
        return gv_error_prefix(err, "`%s`", ref->path);
    image_tree_finish(tree, &out->totals);
    out->tree = steal_ptr(tree);
    out->architecture = gv_strdup(l->context.platform->architecture);
    out->os = gv_strdup(l->context.platform->os);
    out->archive_bytes = out->layer_bytes;
    return 0;
}

static int open_daemon(struct load *l, const char *name, struct gv_error *err)
{
    l->exported = true;
    if (daemon_open(&l->archive, name, &l->context, err) < 0)
        return -1;
    l->form = archive_has(l->archive, "manifest.json") ? FORM_DOCKER : FORM_OCI;
    return 0;
}

static int open_registry(struct load *l, const char *name, struct gv_error *err)
{
    l->form = FORM_OCI;
    l->exported = false;
    return registry_open(&l->archive, name, &l->context, err);
}

/* What became of a name for which the daemon was asked, and then a registry; always -1. */
static int neither(const char *name, const struct gv_error *daemon, const struct gv_error *registry, struct gv_error *err)
{
    if (!registry->code)
        return gv_error_set(err, daemon->code, 0, "%s", daemon->msg);
    return gv_error_set(err, registry->code, 0, "`%.100s` is no file, and no image that can be had: %.400s; and %.400s", name, daemon->msg,
                        registry->msg);
}

/* An image's name without more: what the daemon has is taken from there, as docker run would. */
static int open_name(struct load *l, const char *name, struct gv_error *err)
{
    struct gv_error daemon = GV_ERROR_INIT, registry = GV_ERROR_INIT;
    l->context.fallback = true;
    if (open_daemon(l, name, &daemon) == 0 || (daemon.code == GV_E_NOT_FOUND && open_registry(l, name, &registry) == 0))
        return 0;
    return neither(name, &daemon, &registry, err);
}

static int open_file(struct load *l, const struct source_reference *ref, struct gv_error *err)
{
    int fd;
    struct stat st;
    bool any = ref->transport == TRANSPORT_ANY;
    l->form = FORM_TAR;
    if (input_open(&fd, ref->path, &l->context, err) < 0)
        return -1;
    if (ref->transport == TRANSPORT_TAR)
        return tar_open(&l->archive, fd, err) < 0 ? on_reference(ref, err) : 0;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        l->archive = archive_open_directory(fd);
    else if ((any ? archive_open_any : archive_open_fd)(&l->archive, fd, l->context.budget, l->threads, err) < 0)
        return on_reference(ref, err);
    l->guessed = archive_is_layer(l->archive);
    if (l->guessed)
        return 0;
    bool docker = archive_has(l->archive, "manifest.json"), oci = archive_has(l->archive, "index.json");
    l->form = ref->transport == TRANSPORT_DOCKER_ARCHIVE || (any && (docker || !oci)) ? FORM_DOCKER : FORM_OCI;
    return 0;
}

static int open_archive(struct load *l, const struct source_reference *ref, struct gv_error *err)
{
    switch (ref->transport) {
    case TRANSPORT_DAEMON:
        return open_daemon(l, ref->name, err);
    case TRANSPORT_REGISTRY:
        return open_registry(l, ref->name, err);
    case TRANSPORT_NAME:
        return open_name(l, ref->name, err);
    case TRANSPORT_DOCKERFILE:
        l->form = FORM_DOCKER;
        return dockerfile_open(&l->archive, ref->path, &l->context, err);
    case TRANSPORT_TAR:
    case TRANSPORT_ANY:
    case TRANSPORT_DOCKER_ARCHIVE:
    case TRANSPORT_OCI:
    case TRANSPORT_OCI_ARCHIVE:
    case TRANSPORT_DIR:
        break;
    }
    return open_file(l, ref, err);
}

static bool is_file_in(const char *dir, const char *name)
{
    struct stat st;
    cleanup_free char *path = gv_asprintf("%s/%s", dir, name);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Whether the directory looks like the root of a system. */
static bool is_root(const char *path)
{
    DIR *d = opendir(path);
    bool found = false;
    for (const struct dirent *e; d && !found && (e = readdir(d));)
        found = archive_name_of_root(e->d_name, strlen(e->d_name));
    if (d)
        closedir(d);
    return found;
}

/* What is in a directory of which nothing else is known; TRANSPORT_ANY when it is none of them. */
static enum transport recognise_directory(const char *path)
{
    if (is_file_in(path, "oci-layout"))
        return TRANSPORT_OCI;
    if (is_root(path))
        return TRANSPORT_DIR;
    if (is_file_in(path, "manifest.json") || is_file_in(path, "repositories"))
        return TRANSPORT_DOCKER_ARCHIVE;
    return is_file_in(path, "index.json") ? TRANSPORT_OCI : TRANSPORT_ANY;
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Makes up its mind about a directory that was given without a transport. */
static int choose_directory(struct source_reference *ref, struct gv_error *err)
{
    if (ref->transport != TRANSPORT_ANY || strcmp(ref->path, "-") == 0 || !is_directory(ref->path))
        return 0;
    ref->transport = recognise_directory(ref->path);
    if (ref->transport != TRANSPORT_ANY)
        return 0;
    gv_error_set(err, GV_E_FORMAT, 0, "`%s` is a directory with neither an image nor a root file system (no bin, etc, usr, ...) in it",
                 ref->path);
    if (is_file_in(ref->path, "Dockerfile") || is_file_in(ref->path, "Containerfile"))
        return gv_error_hint(err, "dockerfile:%s builds the image that its Dockerfile describes", ref->path);
    return gv_error_hint(err, "if it is the root of one, write dir:%s", ref->path);
}

int source_load(struct source_image *out, const char *reference, const struct source_options *options, struct gv_error *err)
{
    static const struct source_options defaults;
    __attribute__((cleanup(gv_cleanup_source_reference_fn))) struct source_reference ref = { 0 };
    __attribute__((cleanup(gv_cleanup_platform_fn))) struct platform platform = { 0 };
    const struct source_options *o = options ? options : &defaults;
    struct load l = { .context = { .options = o, .platform = &platform, .budget = &l.budget } };
    if (source_reference_parse(&ref, reference, err) < 0 || platform_parse(&platform, o->platform, err) < 0 ||
        choose_directory(&ref, err) < 0)
        return -1;
    l.context.max_entries = o->max_entries ? o->max_entries : o->max_bytes ? SIZED_ENTRIES : DEFAULT_ENTRIES;
    l.budget.max_bytes = o->max_bytes ? o->max_bytes : DEFAULT_BYTES;
    l.budget.ratio = o->max_bytes == 0;
    l.context.threads = l.threads = o->jobs != 1;
    if (ref.transport == TRANSPORT_DIR)
        return load_directory(out, &l, &ref, err);
    l.store = store_new();
    int status = open_archive(&l, &ref, err);
    if (status == 0)
        status = load_archive(out, &l, &ref, err);
    if (status < 0)
        source_image_clear(out);
    archive_close(l.archive);
    store_free(l.store);
    return status;
}

/* The reference of an image's name that stands for nothing else later. */
static int resolve_name(const struct source_reference *ref, const struct source_context *c, char **out, struct gv_error *err)
{
    struct gv_error daemon = GV_ERROR_INIT, registry = GV_ERROR_INIT;
    cleanup_free char *found = NULL;
    if (ref->transport != TRANSPORT_REGISTRY) {
        if (daemon_image_id(&found, ref->name, c, &daemon) == 0) {
            *out = gv_asprintf("docker-daemon:" DAEMON_ID "%s", found);
            return 0;
        }
        if (ref->transport == TRANSPORT_DAEMON || daemon.code != GV_E_NOT_FOUND)
            return neither(ref->name, &daemon, &registry, err);
    }
    if (registry_digest(&found, ref->name, c, &registry) == 0) {
        cleanup_free char *bare = name_repository(ref->name);
        *out = gv_asprintf("docker://%s@%s", bare, found);
        return 0;
    }
    return ref->transport == TRANSPORT_REGISTRY ? gv_error_set(err, registry.code, 0, "%s", registry.msg)
                                                : neither(ref->name, &daemon, &registry, err);
}

int source_resolve(const char *reference, const struct source_options *options, char **out, struct gv_error *err)
{
    static const struct source_options defaults;
    __attribute__((cleanup(gv_cleanup_source_reference_fn))) struct source_reference ref = { 0 };
    __attribute__((cleanup(gv_cleanup_platform_fn))) struct platform platform = { 0 };
    const struct source_options *o = options ? options : &defaults;
    if (source_reference_parse(&ref, reference, err) < 0 || platform_parse(&platform, o->platform, err) < 0)
        return -1;
    struct source_context c = { .options = o, .platform = &platform, .fallback = ref.transport == TRANSPORT_NAME };
    if (ref.transport == TRANSPORT_DAEMON || ref.transport == TRANSPORT_REGISTRY || ref.transport == TRANSPORT_NAME)
        return resolve_name(&ref, &c, out, err);
    *out = gv_strdup(reference);
    return 0;
}

/* The digest or id in a name as source_resolve() gives it, NULL in another one. */
static const char *fixed_part(const struct source_reference *ref)
{
    const char *at = ref->name ? strchr(ref->name, '@') : NULL;
    if (ref->transport == TRANSPORT_REGISTRY)
        return at ? at + 1 : NULL;
    bool id = ref->transport == TRANSPORT_DAEMON && !strncmp(ref->name, DAEMON_ID, strlen(DAEMON_ID));
    return id && strlen(ref->name) == strlen(DAEMON_ID) + 2 * GV_SHA256_SIZE ? ref->name : NULL;
}

int source_fingerprint(const char *reference, char **out, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_source_reference_fn))) struct source_reference ref = { 0 };
    if (source_reference_parse(&ref, reference, err) < 0 || choose_directory(&ref, err) < 0)
        return -1;
    const char *fixed = fixed_part(&ref);
    if (fixed) {
        *out = gv_asprintf("%d %s", (int)ref.transport, fixed);
        return 0;
    }
    struct stat st;
    const char *path = ref.path;
    cleanup_free char *index = NULL;
    bool layout = ref.transport == TRANSPORT_OCI;
    /* Only what is in a file has an outside that changes with it. */
    if (!path || !strcmp(path, "-") || ref.transport == TRANSPORT_DIR || ref.transport == TRANSPORT_DOCKERFILE)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "`%s`: whether it has changed can only be told by reading it", reference);
    if (is_directory(path)) {
        if (!layout)
            return gv_error_set(err, GV_E_UNSUPPORTED, 0, "`%s`: whether it has changed can only be told by reading it", reference);
        /* Blobs are named by their digests, so of a layout only the index can change. */
        path = index = gv_asprintf("%s/index.json", ref.path);
    }
    if (stat(path, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open `%s`", path);
    *out = gv_asprintf("%d %ju:%ju %ju %jd.%09ld %jd.%09ld %s", (int)ref.transport, (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                       (uintmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (intmax_t)st.st_ctim.tv_sec,
                       st.st_ctim.tv_nsec, ref.name ? ref.name : "");
    return 0;
}
