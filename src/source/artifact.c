/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files in registries (opencontainers/distribution-spec 1.1, image-spec 1.1 "Guidelines for Artifact Usage"). A blob is sent in pieces: POST opens an
 * upload, each PATCH adds a piece and says where the next one goes, PUT closes it with the digest. After a lost connection the registry is asked how
 * much it has. Manifests come last, so that no tag points to what is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "source/registry.h"
#include "source/remote.h"

#define PIECE ((size_t)8 << 20)
#define ATTEMPTS 5 /* of a piece */
#define ANSWER_MAX ((size_t)256 << 10)
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define EMPTY_TYPE "application/vnd.oci.empty.v1+json"
#define EMPTY "{}"
#define TITLE "org.opencontainers.image.title"

static char *digest_text(const unsigned char *sha256)
{
    char hex[2 * GV_SHA256_SIZE + 1];
    gv_hex(hex, sha256, GV_SHA256_SIZE);
    return gv_asprintf("sha256:%s", hex);
}

/* ---- sending --------------------------------------------------------------------------------------------------------------------- */

/* What is sent: a file, or a few bytes. */
struct content {
    int fd; /* or -1 */
    const void *bytes;
    uint64_t size;
    const char *digest;
    const struct gv_progress *progress; /* NULL for the bytes */
};

static int refuse_push(const struct registry *r, const struct http_response *response, struct gv_error *err)
{
    if (response->status == 404 || response->status == 405)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "`%s` does not take uploads (status %ld)", r->host, response->status);
    return registry_refused(r, response, "leave to write to", err);
}

/* Where the upload goes on: the header Location, which may be relative. Only the registry itself is told who we are, so it must be there. */
static int take_location(const struct registry *r, const struct http_response *response, char **location, struct gv_error *err)
{
    size_t at = 0;
    const char *said = http_response_header(response, "location", &at);
    cleanup_free char *url = !said ? NULL : *said == '/' ? gv_asprintf("%s%s", r->base, said) : gv_strdup(said);
    cleanup_free char *origin = url ? http_origin(url) : NULL, *own = http_origin(r->base);
    if (!origin || !own || strcmp(origin, own) != 0)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "`%s` does not say where the upload goes, or sends it to another server", r->host);
    free(*location);
    *location = steal_ptr(url);
    return 0;
}

static int request(struct registry *r, const char *method, const char *url, const void *body, size_t n, const char *range,
                   struct http_response *out, struct gv_error *err)
{
    const char *headers[] = { range, NULL };
    struct http_request q = { .method = method,
                              .url = url,
                              .headers = headers,
                              .body = body,
                              .body_size = n,
                              .body_type = "application/octet-stream",
                              .attempts = range ? 1 : 0 }; /* a piece is not sent again blindly */
    return registry_send(r, &q, ANSWER_MAX, NULL, out, err);
}

/* Bytes the registry has of an upload: the header "Range: 0-LAST", which is missing while there are none. */
static int64_t range_end(const struct http_response *response)
{
    size_t at = 0;
    uint64_t last;
    int n = 0;
    const char *range = http_response_header(response, "range", &at);
    if (!range)
        return 0;
    if (!strncmp(range, "bytes=", 6))
        range += 6;
    if (sscanf(range, "0-%" SCNu64 "%n", &last, &n) != 1 || range[n] || last >= INT64_MAX)
        return -1;
    return last ? (int64_t)last + 1 : 0; /* registries say 0-0 for nothing, and no piece is one byte */
}

/* After a piece that may or may not have arrived. */
static int ask_how_far(struct registry *r, char **location, uint64_t *have, struct gv_error *err)
{
    cleanup_response struct http_response response = { 0 };
    if (request(r, NULL, *location, NULL, 0, NULL, &response, err) < 0)
        return -1;
    int64_t end = range_end(&response);
    if (response.status != 204 || end < 0)
        return gv_error_set(err, GV_E_IO, 0, "`%s` has lost the upload (status %ld); try again", r->host, response.status);
    *have = (uint64_t)end;
    size_t at = 0;
    return http_response_header(&response, "location", &at) ? take_location(r, &response, location, err) : 0;
}

/* One piece, from *have on. */
static int send_piece(struct registry *r, const struct content *c, char **location, uint64_t *have, unsigned char *buf,
                      struct gv_error *err)
{
    cleanup_response struct http_response response = { 0 };
    size_t n = c->size - *have < PIECE ? (size_t)(c->size - *have) : PIECE;
    if (gv_pread_full(c->fd, buf, n, *have) != (ssize_t)n)
        return gv_error_set(err, GV_E_IO, errno, "the file has changed while it was sent");
    cleanup_free char *range = gv_asprintf("Content-Range: %" PRIu64 "-%" PRIu64, *have, *have + n - 1);
    if (request(r, "PATCH", *location, buf, n, range, &response, err) < 0)
        return 1;
    if (response.status == 202) {
        *have += n;
        return take_location(r, &response, location, err);
    }
    refuse_push(r, &response, err);
    return response.status == 416 || response.status == 429 || response.status >= 500 ? 1 : -1;
}

static int send_pieces(struct registry *r, const struct content *c, char **location, struct gv_error *err)
{
    cleanup_free unsigned char *buf = gv_alloc(PIECE);
    unsigned failures = 0;
    for (uint64_t have = 0; have < c->size;) {
        int status = send_piece(r, c, location, &have, buf, err);
        failures = status ? failures + 1 : 0;
        if (status < 0 || failures == ATTEMPTS)
            return -1;
        if (status) {
            gv_debug(r->log, "%s; asking how much has arrived", err->msg);
            gv_error_clear(err);
            if (ask_how_far(r, location, &have, err) < 0)
                return -1;
        }
        if (have > c->size)
            return gv_error_set(err, GV_E_PROTOCOL, 0, "`%s` has more of the file than there is", r->host);
        gv_progress_update(c->progress, "uploading", have, c->size);
    }
    return 0;
}

static int has_blob(struct registry *r, const char *digest, struct gv_error *err)
{
    cleanup_free char *url = registry_endpoint(r, "blobs", digest);
    cleanup_response struct http_response response = { 0 };
    struct http_request q = { .method = "HEAD", .url = url };
    if (registry_send(r, &q, ANSWER_MAX, NULL, &response, err) < 0)
        return -1;
    return http_ok(&response);
}

static int send_blob(struct registry *r, const struct content *c, struct gv_error *err)
{
    cleanup_free char *url = gv_asprintf("%s/v2/%s/blobs/uploads/", r->base, r->repository), *location = NULL;
    cleanup_response struct http_response opened = { 0 }, closed = { 0 };
    int there = has_blob(r, c->digest, err);
    if (there)
        return there < 0 ? -1 : 0;
    if (request(r, "POST", url, NULL, 0, NULL, &opened, err) < 0)
        return -1;
    if (opened.status != 202)
        return refuse_push(r, &opened, err);
    if (take_location(r, &opened, &location, err) < 0 || (c->fd >= 0 && send_pieces(r, c, &location, err) < 0))
        return -1;
    cleanup_free char *last = gv_asprintf("%s%cdigest=%s", location, strchr(location, '?') ? '&' : '?', c->digest);
    if (request(r, "PUT", last, c->bytes, c->bytes ? (size_t)c->size : 0, NULL, &closed, err) < 0)
        return -1;
    return http_ok(&closed) ? 0 : refuse_push(r, &closed, err);
}

static int put_manifest(struct registry *r, const char *reference, const char *text, struct gv_error *err)
{
    cleanup_free char *url = registry_endpoint(r, "manifests", reference);
    cleanup_response struct http_response response = { 0 };
    struct http_request q = { .method = "PUT", .url = url, .body = text, .body_size = strlen(text), .body_type = MANIFEST_TYPE };
    if (registry_send(r, &q, ANSWER_MAX, NULL, &response, err) < 0)
        return -1;
    return http_ok(&response) ? 0 : refuse_push(r, &response, err);
}

static json_t *make_layer(const char *type, const struct content *c, const char *title)
{
    return json_pack("{s:s,s:s,s:I,s:{s:s}}", "mediaType", type, "digest", c->digest, "size", (json_int_t)c->size, "annotations", TITLE,
                     title);
}

/* signature may be NULL. */
static char *make_manifest(const struct content *empty, const struct content *file, const struct content *signature, const char *title,
                           const char *hash, struct gv_error *err)
{
    cleanup_free char *signature_title = gv_asprintf("%s.minisig", title);
    cleanup_json json_t *m =
        json_pack("{s:i,s:s,s:s,s:{s:s,s:s,s:I,s:s},s:[o],s:{s:s}}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE, "artifactType",
                  SOURCE_ARTIFACT_TYPE, "config", "mediaType", EMPTY_TYPE, "digest", empty->digest, "size", (json_int_t)empty->size, "data",
                  "e30=", "layers", make_layer(SOURCE_ARTIFACT_TYPE, file, title), "annotations", SOURCE_ARTIFACT_HASH, hash);
    if (m && signature)
        json_array_append_new(json_object_get(m, "layers"), make_layer(SOURCE_SIGNATURE_TYPE, signature, signature_title));
    char *text = m ? json_dumps(m, JSON_COMPACT) : NULL;
    if (!text)
        gv_error_set(err, GV_E_USAGE, 0, "the file's name `%s` is not UTF-8, as a registry wants it", title);
    return text;
}

/* Bytes as a content; *digest keeps what it points to. */
static struct content content_of(const void *bytes, size_t n, char **digest)
{
    unsigned char sha256[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, bytes, n, sha256);
    *digest = digest_text(sha256);
    return (struct content){ .fd = -1, .bytes = bytes, .size = n, .digest = *digest };
}

int source_artifact_push(const char *path, const char *hash, const struct gv_buf *signature, const char *name, const char *const *more_tags,
                         size_t more_count, const struct source_options *options, char **digest, struct gv_error *err)
{
    CLEANUP(registry) struct registry *r = NULL;
    unsigned char sha256[GV_HASH_MAX];
    struct stat st;
    const char *slash = strrchr(path, '/');
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open `%s`", path);
    if (registry_session(&r, name, options, err) < 0)
        return -1;
    if (strchr(r->reference, ':'))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` names a digest; an upload needs a tag", name);
    if (gv_hash_fd_shown(GV_HASH_SHA256, fd, (uint64_t)st.st_size, options->progress, sha256, err) < 0)
        return gv_error_prefix(err, "%s", path);
    cleanup_free char *file_digest = digest_text(sha256), *empty_digest = NULL, *signature_digest = NULL;
    const struct content file = { .fd = fd, .size = (uint64_t)st.st_size, .digest = file_digest, .progress = options->progress };
    const struct content empty = content_of(EMPTY, strlen(EMPTY), &empty_digest);
    struct content signed_by = { 0 };
    if (signature)
        signed_by = content_of(signature->data, signature->len, &signature_digest);
    cleanup_free char *manifest = make_manifest(&empty, &file, signature ? &signed_by : NULL, slash ? slash + 1 : path, hash, err);
    if (!manifest || send_blob(r, &empty, err) < 0 || (signature && send_blob(r, &signed_by, err) < 0) || send_blob(r, &file, err) < 0 ||
        put_manifest(r, r->reference, manifest, err) < 0)
        return -1;
    for (size_t i = 0; i < more_count; i++)
        if (put_manifest(r, more_tags[i], manifest, err) < 0)
            return -1;
    unsigned char manifest_sha256[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, manifest, strlen(manifest), manifest_sha256);
    *digest = digest_text(manifest_sha256);
    return 0;
}

/* ---- fetching -------------------------------------------------------------------------------------------------------------------- */

void source_artifact_clear(struct source_artifact *a)
{
    if (a->registry)
        registry_free(a->registry);
    free(a->digest);
    free(a->title);
    free(a->layer);
    free(a->signature);
    *a = (struct source_artifact){ 0 };
}

/* The name of a file without anything that would lead elsewhere. */
static char *safe_title(const char *title)
{
    const char *slash = title ? strrchr(title, '/') : NULL;
    const char *name = slash ? slash + 1 : title;
    if (!name || !*name || *name == '.' || strlen(name) > 255)
        return NULL;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            return NULL;
    return gv_strdup(name);
}

/* The second layer. */
static int take_signature(struct source_artifact *a, const json_t *layer, struct gv_error *err)
{
    const json_t *size = json_object_get(layer, "size");
    const char *type = json_string_of(layer, "mediaType"), *digest = json_string_of(layer, "digest");
    struct digest d;
    if (!type || strcmp(type, SOURCE_SIGNATURE_TYPE) != 0)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "it has another layer than an image and its signature");
    if (!digest || digest_parse(&d, digest, NULL) < 0 || d.kind != GV_HASH_SHA256 || !json_is_integer(size) ||
        json_integer_value(size) < 0 || json_integer_value(size) > SOURCE_SIGNATURE_MAX)
        return gv_error_set(err, GV_E_FORMAT, 0, "the manifest does not say what the signature is");
    a->signature = gv_strdup(digest);
    a->signature_size = (uint64_t)json_integer_value(size);
    return 0;
}

static int take_manifest(struct source_artifact *a, const struct gv_buf *text, struct gv_error *err)
{
    cleanup_json json_t *m = json_parse(text->data, text->len, err);
    if (!m)
        return -1;
    const json_t *layers = json_object_get(m, "layers"), *layer = json_array_get(layers, 0);
    const json_t *size = json_object_get(layer, "size");
    const char *type = json_string_of(m, "artifactType"), *digest = json_string_of(layer, "digest");
    const char *hash = json_string_of(json_object_get(m, "annotations"), SOURCE_ARTIFACT_HASH);
    unsigned char sha3[GV_SHA3_224_SIZE];
    struct digest d;
    if (!type || strcmp(type, SOURCE_ARTIFACT_TYPE) != 0 || json_array_size(layers) < 1 || json_array_size(layers) > 2)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "it is no .gvmi; an image of containers is converted with docker://");
    if (!digest || digest_parse(&d, digest, NULL) < 0 || d.kind != GV_HASH_SHA256 || !json_is_integer(size) || json_integer_value(size) < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the manifest does not say what the file is");
    if (json_array_size(layers) == 2 && take_signature(a, json_array_get(layers, 1), err) < 0)
        return -1;
    a->layer = gv_strdup(digest);
    a->size = (uint64_t)json_integer_value(size);
    a->title = safe_title(json_string_of(json_object_get(layer, "annotations"), TITLE));
    if (hash && gv_unhex(sha3, sizeof(sha3), hash) == 0)
        gv_hex(a->hash, sha3, sizeof(sha3));
    a->digest = remote_digest(text);
    return 0;
}

int source_artifact_find(struct source_artifact *out, const char *name, const struct source_options *options, struct gv_error *err)
{
    CLEANUP(registry) struct registry *r = NULL;
    cleanup_response struct http_response response = { 0 };
    *out = (struct source_artifact){ 0 };
    if (registry_session(&r, name, options, err) < 0 || registry_get_manifest(r, NULL, r->reference, &response, err) < 0)
        return -1;
    if (registry_check_manifest(r, &response, err) < 0)
        return -1;
    if (take_manifest(out, &response.body, err) < 0) {
        source_artifact_clear(out);
        return gv_error_prefix(err, "`%s`", r->name);
    }
    out->registry = steal_ptr(r);
    return 0;
}

struct shown {
    const struct gv_progress *progress;
    uint64_t size;
    uint64_t last, received; /* bytes */
    bool begun;
};

static void show(void *user, uint64_t have)
{
    struct shown *s = user;
    if (s->begun && have > s->last)
        s->received += have - s->last;
    s->begun = true;
    s->last = have;
    gv_progress_update(s->progress, "downloading", have, s->size);
}

int source_artifact_open(const struct source_artifact *a, const struct gv_progress *progress, int *fd, uint64_t *received,
                         struct gv_error *err)
{
    struct shown shown = { .progress = progress, .size = a->size };
    const struct remote_progress update = { .update = show, .user = &shown };
    struct digest digest;
    struct blob blob;
    int status = digest_parse(&digest, a->layer, err);
    if (status == 0)
        status = registry_blob(a->registry, &digest, a->size, &update, &blob, err);
    *received += shown.received;
    if (status == 0)
        *fd = blob.fd;
    return status;
}

int source_artifact_signature(const struct source_artifact *a, struct gv_buf *text, struct gv_error *err)
{
    struct digest digest;
    struct blob blob;
    if (!a->signature)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the artifact has none");
    if (digest_parse(&digest, a->signature, err) < 0 || registry_blob(a->registry, &digest, a->signature_size, NULL, &blob, err) < 0)
        return -1;
    cleanup_close int fd = blob.fd;
    size_t n = (size_t)a->signature_size;
    gv_buf_reserve(text, n);
    if (gv_pread_full(fd, text->data + text->len, n, 0) != (ssize_t)n)
        return gv_error_errno(err, "cannot read what was fetched");
    text->len += n;
    return 0;
}
