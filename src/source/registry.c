/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Images of registries (github.com/distribution/distribution, docs/spec/api.md; opencontainers/distribution-spec). The manifest is asked
 * for by tag or digest in every form that we can read, and everything else by the digests in it (remote.c). Whatever comes is checked
 * against those, so that the registry, its mirrors and the servers it redirects to have to be believed in one thing only: what a tag stands
 * for.
 */
#include "source/registry.h"

#include <inttypes.h>
#include <string.h>

#include "source/remote.h"

#define AUTHORIZE_MAX 3 /* times in one request: tokens end while a download is under way */
#define MANIFEST_V1 "application/vnd.docker.distribution.manifest.v1"

static const char *const accept_manifests[] = {
    "Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json",
    NULL,
};

void registry_free(struct registry *r)
{
    http_client_free(r->client);
    blobs_free(r->blobs);
    free(r->host);
    free(r->repository);
    free(r->reference);
    free(r->name);
    free(r->base);
    if (r->authorization)
        explicit_bzero(r->authorization, strlen(r->authorization));
    free(r->authorization);
    credentials_clear(&r->credentials);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- requests ---- */

static char *copy_authorization(struct registry *r, unsigned *generation)
{
    pthread_mutex_lock(&r->lock);
    char *copy = r->authorization ? gv_strdup(r->authorization) : NULL;
    *generation = r->generation;
    pthread_mutex_unlock(&r->lock);
    return copy;
}

int registry_send(struct registry *r, struct http_request *q, size_t max, struct http_file *file, struct http_response *out,
                  struct gv_error *err)
{
    for (int authorized = 0;; authorized++) {
        unsigned generation;
        cleanup_free char *authorization = copy_authorization(r, &generation);
        uint64_t before = file ? file->have : 0;
        q->authorization = authorization;
        int status = file ? http_download(r->client, q, file, out, err) : http_fetch(r->client, q, max, out, err);
        q->authorization = NULL;
        if (status < 0 || out->status != 401 || authorized == AUTHORIZE_MAX)
            return status;
        if (file && file->have > before)
            authorized = 0;
        pthread_mutex_lock(&r->lock);
        /* Another thread may have been here before. */
        status = r->generation == generation ? registry_authorize(r, out, err) : 0;
        pthread_mutex_unlock(&r->lock);
        if (status < 0)
            return -1;
    }
}

char *registry_endpoint(const struct registry *r, const char *what, const char *which)
{
    return gv_asprintf("%s/v2/%s/%s/%s", r->base, r->repository, what, which);
}

int registry_get_manifest(struct registry *r, const char *method, const char *reference, struct http_response *out, struct gv_error *err)
{
    cleanup_free char *url = registry_endpoint(r, "manifests", reference);
    struct http_request q = { .method = method, .url = url, .headers = accept_manifests };
    if (registry_send(r, &q, REMOTE_DOCUMENT_MAX, NULL, out, err) < 0)
        return -1;
    if (!http_ok(out))
        return registry_refused(r, out, strcmp(reference, r->reference) ? "a manifest of" : "the image", err);
    return 0;
}

/* ---- the session ---- */

/* Takes a full name (name_normalise) apart. */
static void take_name(struct registry *r, const char *full)
{
    const char *slash = strchr(full, '/'), *at = strchr(full, '@');
    const char *end = at ? at : strrchr(full, ':');
    r->host = gv_strndup(full, (size_t)(slash - full));
    r->repository = gv_strndup(slash + 1, (size_t)(end - slash - 1));
    r->reference = gv_strdup(end + 1);
    r->name = name_familiar(full);
}

static int ping(const struct registry *r, const char *base, struct gv_error *err)
{
    cleanup_free char *url = gv_asprintf("%s/v2/", base);
    cleanup_response struct http_response response = { 0 };
    struct http_request q = { .url = url, .attempts = 1 };
    return http_fetch(r->client, &q, REMOTE_DOCUMENT_MAX, &response, err);
}

/* Where the registry is. Only on this machine, or when the user says so, may it be one without TLS, as in Docker. */
static int find_base(struct registry *r, struct gv_error *err)
{
    const char *host = !strcmp(r->host, DOCKER_HUB) ? "registry-1.docker.io" : r->host;
    cleanup_free char *https = gv_asprintf("https://%s", host), *http = gv_asprintf("http://%s", host);
    struct gv_error why = GV_ERROR_INIT;
    if (!(r->insecure || r->local) || ping(r, https, &why) == 0) {
        r->base = steal_ptr(https);
        return 0;
    }
    if (why.code == GV_E_CANCELLED || ping(r, http, err) < 0)
        return gv_error_hint(err, "and with encryption: %s", why.msg);
    r->base = steal_ptr(http);
    return 0;
}

int registry_session(struct registry **out, const char *name, const struct source_options *options, struct gv_error *err)
{
    CLEANUP(registry) struct registry *r = gv_new(struct registry);
    pthread_mutex_init(&r->lock, NULL);
    cleanup_free char *full = name_normalise(name);
    if (!full)
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is not the name of an image", name);
    take_name(r, full);
    cleanup_free char *origin = gv_asprintf("http://%s/", r->host);
    r->log = options->log;
    r->insecure = options->insecure;
    r->local = http_is_loopback(origin);
    struct http_options o = { .insecure = r->insecure, .insecure_loopback = true, .cancelled = &r->cancelled, .log = r->log };
    if (http_client_new(&r->client, &o, err) < 0 || find_base(r, err) < 0)
        return -1;
    r->blobs = blobs_new(r->log);
    *out = steal_ptr(r);
    return 0;
}

/* ---- what remote.c asks for ---- */

static int fetch_document(void *user, const char *digest, struct gv_buf *out, struct gv_error *err)
{
    cleanup_response struct http_response response = { 0 };
    if (registry_get_manifest(user, NULL, digest, &response, err) < 0)
        return -1;
    gv_buf_add(out, response.body.data, response.body.len);
    return 0;
}

struct blob_request {
    struct registry *registry;
    const struct digest *digest;
    uint64_t size;
    const struct remote_progress *progress;
};

static int fetch_rest(void *user, int fd, uint64_t have, struct gv_error *err)
{
    struct blob_request *b = user;
    char hex[2 * GV_HASH_MAX + 1];
    gv_hex(hex, b->digest->bytes, b->digest->size);
    cleanup_free char *text = gv_asprintf("sha%zu:%s", b->digest->size * 8, hex);
    cleanup_free char *url = registry_endpoint(b->registry, "blobs", text);
    cleanup_response struct http_response response = { 0 };
    struct http_request q = { .url = url };
    struct http_file file = { .fd = fd, .have = have, .size = b->size, .by_content = true };
    if (b->progress) {
        file.progress = b->progress->update;
        file.user = b->progress->user;
        file.progress(file.user, have); /* where it begins */
    }
    if (registry_send(b->registry, &q, 0, &file, &response, err) < 0)
        return -1;
    return http_ok(&response) ? 0 : registry_refused(b->registry, &response, "a part of", err);
}

int registry_blob(struct registry *r, const struct digest *digest, uint64_t size, const struct remote_progress *progress, struct blob *out,
                  struct gv_error *err)
{
    struct blob_request b = { .registry = r, .digest = digest, .size = size, .progress = progress };
    return blobs_get(r->blobs, digest, size, fetch_rest, &b, &r->cancelled, out, err);
}

static int fetch_blob(void *user, const struct digest *digest, uint64_t size, const struct remote_progress *progress, struct blob *out,
                      struct gv_error *err)
{
    return registry_blob(user, digest, size, progress, out, err);
}

static void cancel(void *user)
{
    atomic_store(&((struct registry *)user)->cancelled, true);
}

static void release(void *user)
{
    registry_free(user);
}

/* ---- the image ---- */

/* The digest that the registry says its answer has, NULL if it says none that we could compare. */
static const char *said_digest(const struct http_response *response)
{
    size_t at = 0;
    struct digest d;
    const char *said = http_response_header(response, "docker-content-digest", &at);
    return said && digest_parse(&d, said, NULL) == 0 && d.kind == GV_HASH_SHA256 ? said : NULL;
}

int registry_check_manifest(const struct registry *r, const struct http_response *response, struct gv_error *err)
{
    struct digest wanted;
    const char *said = said_digest(response);
    cleanup_free char *have = remote_digest(&response->body);
    if (digest_parse(&wanted, r->reference, NULL) == 0) {
        struct digest is = { .kind = wanted.kind };
        is.size = gv_hash_bytes(is.kind, response->body.data, response->body.len, is.bytes);
        if (!digest_equal(&is, &wanted))
            return gv_error_set(err, GV_E_CORRUPT, 0, "`%s`: the manifest that came has the digest %s", r->name, have);
    } else if (said && strcmp(said, have) != 0) {
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%s`: the manifest that came has the digest %s and not %s, as `%s` says", r->name, have,
                            said, r->host);
    }
    cleanup_json json_t *j = json_parse(response->body.data, response->body.len, err);
    if (!j)
        return gv_error_prefix(err, "`%s`: the manifest", r->name);
    bool old = json_integer_value(json_object_get(j, "schemaVersion")) == 1;
    if (old || !strncmp(response->type, MANIFEST_V1, strlen(MANIFEST_V1)))
        return gv_error_set(
            err, GV_E_UNSUPPORTED, 0,
            "`%s` is there in the old form only (schema 1), which does not prove what it contains; push it again with a tool of today",
            r->name);
    return 0;
}

/* The media type of the topmost document: as it says itself, else as the server says if that is one of a manifest. */
static char *media_type(const struct http_response *response)
{
    cleanup_json json_t *j = json_parse(response->body.data, response->body.len, NULL);
    const char *own = json_string_of(j, "mediaType");
    if (own)
        return gv_strdup(own);
    bool manifest = strstr(response->type, "manifest") || strstr(response->type, "image.index");
    return gv_strdup(manifest ? response->type : "");
}

int registry_open(struct archive **out, const char *name, const struct source_context *c, struct gv_error *err)
{
    static const struct remote_ops ops = { .document = fetch_document, .blob = fetch_blob, .cancel = cancel, .release = release };
    CLEANUP(registry) struct registry *r = NULL;
    cleanup_response struct http_response response = { 0 };
    if (registry_session(&r, name, c->options, err) < 0 || registry_get_manifest(r, NULL, r->reference, &response, err) < 0 ||
        registry_check_manifest(r, &response, err) < 0)
        return -1;
    cleanup_free char *media = media_type(&response), *familiar = gv_strdup(r->name);
    return remote_open(out, &ops, steal_ptr(r), familiar, media, &response.body, c, err);
}

int registry_digest(char **out, const char *name, const struct source_context *c, struct gv_error *err)
{
    CLEANUP(registry) struct registry *r = NULL;
    cleanup_response struct http_response head = { 0 }, whole = { 0 };
    if (registry_session(&r, name, c->options, err) < 0)
        return -1;
    struct digest known;
    if (digest_parse(&known, r->reference, NULL) == 0) {
        *out = gv_strdup(r->reference);
        return 0;
    }
    /* A question for the head alone is not counted where there is a limit. */
    if (registry_get_manifest(r, "HEAD", r->reference, &head, err) < 0)
        return -1;
    const char *said = said_digest(&head);
    if (said) {
        *out = gv_strdup(said);
        return 0;
    }
    if (registry_get_manifest(r, NULL, r->reference, &whole, err) < 0)
        return -1;
    *out = remote_digest(&whole.body);
    return 0;
}
