/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * OCI image layouts (image-spec 1.1, image-layout.md, image-index.md, manifest.md): index.json points at manifests or at further indexes,
 * a manifest at a configuration and layers, all of them blobs named by their digest. Docker's schema-2 documents have the same form under
 * other media types and are taken as well. Every blob is checked against the size and digest that its descriptor gives, so that with the
 * index everything is pinned.
 */
#include <inttypes.h>
#include <string.h>

#include "source/plan.h"

#define DEPTH_MAX 4      /* indexes inside of each other */
#define DOCUMENTS_MAX 64 /* indexes and manifests looked at to find the right one */
#define ANNOTATION_REF "org.opencontainers.image.ref.name"
#define ANNOTATION_NAME "io.containerd.image.name"
#define ANNOTATION_KIND "vnd.docker.reference.type" /* of attestations, which are no images */

struct descriptor {
    const char *media; /* "" if not said */
    const char *digest_text;
    struct digest digest;
    uint64_t size;
};

enum document { DOC_UNKNOWN, DOC_INDEX, DOC_MANIFEST, DOC_SCHEMA1, DOC_OTHER };

/* A manifest that may be the one. */
struct candidate {
    json_t *descriptor;
    char *name;
    struct platform platform;
};

struct search {
    struct archive *archive;
    const char *name; /* wanted, or NULL */
    const struct platform *platform;
    struct candidate *found;
    size_t count;
    size_t documents;
    struct gv_strv names;     /* of all there are */
    struct gv_strv platforms; /* of those that would fit by name but not by platform */
};

static void candidate_clear(struct candidate *c)
{
    json_decref(c->descriptor);
    free(c->name);
    platform_clear(&c->platform);
}

static void search_clear(struct search *s)
{
    for (size_t i = 0; i < s->count; i++)
        candidate_clear(&s->found[i]);
    free(s->found);
    gv_strv_clear(&s->names);
    gv_strv_clear(&s->platforms);
}

static int read_descriptor(const json_t *j, struct descriptor *d, struct gv_error *err)
{
    const json_t *size = json_object_get(j, "size");
    const char *media = json_string_of(j, "mediaType"), *digest = json_string_of(j, "digest");
    *d = (struct descriptor){ .media = media ? media : "", .digest_text = digest };
    if (!digest || !json_is_integer(size) || json_integer_value(size) < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "a descriptor without digest or size");
    d->size = (uint64_t)json_integer_value(size);
    return digest_parse(&d->digest, digest, err);
}

static char *blob_name(const struct descriptor *d)
{
    const char *colon = strchr(d->digest_text, ':');
    return gv_asprintf("blobs/%.*s/%s", (int)(colon - d->digest_text), d->digest_text, colon + 1);
}

static enum document document_of(const char *media)
{
    static const struct {
        const char *media;
        enum document kind;
    } known[] = {
        { "", DOC_UNKNOWN },
        { "application/vnd.oci.image.index.v1+json", DOC_INDEX },
        { "application/vnd.docker.distribution.manifest.list.v2+json", DOC_INDEX },
        { "application/vnd.oci.image.manifest.v1+json", DOC_MANIFEST },
        { "application/vnd.docker.distribution.manifest.v2+json", DOC_MANIFEST },
        { "application/vnd.docker.distribution.manifest.v1+json", DOC_SCHEMA1 },
        { "application/vnd.docker.distribution.manifest.v1+prettyjws", DOC_SCHEMA1 },
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (!strcmp(media, known[i].media))
            return known[i].kind;
    return DOC_OTHER;
}

static int read_blob(struct archive *a, const struct descriptor *d, struct gv_buf *out, struct gv_error *err)
{
    cleanup_free char *name = blob_name(d);
    cleanup_blob struct blob b = BLOB_INIT;
    if (archive_find(a, name, &b, err) < 0)
        return -1;
    if (b.size != d->size)
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.100s` has %" PRIu64 " bytes and should have %" PRIu64, name, b.size, d->size);
    if (blob_read(&b, out, err) < 0)
        return gv_error_prefix(err, "`%.100s`", name);
    struct digest have = { .kind = d->digest.kind };
    have.size = gv_hash_bytes(have.kind, out->data, out->len, have.bytes);
    if (!digest_equal(&have, &d->digest))
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.100s` has another digest than its name says", name);
    return 0;
}

/* A document that could be read both ways, or is not what its descriptor says, is an attempt to show different images to different
 * readers (CVE-2021-41190). */
static int check_document(const json_t *doc, enum document *kind, struct gv_error *err)
{
    bool index = json_object_get(doc, "manifests") != NULL;
    bool manifest = json_object_get(doc, "layers") != NULL || json_object_get(doc, "config") != NULL;
    const char *media = json_string_of(doc, "mediaType");
    enum document said = document_of(media ? media : "");
    if (!json_is_object(doc))
        return gv_error_set(err, GV_E_FORMAT, 0, "not a JSON object");
    if (index && manifest)
        return gv_error_set(err, GV_E_FORMAT, 0, "it is an index and a manifest at once");
    if (*kind == DOC_UNKNOWN)
        *kind = index ? DOC_INDEX : manifest ? DOC_MANIFEST : DOC_OTHER;
    if ((said != DOC_UNKNOWN && said != *kind) || (*kind == DOC_INDEX && manifest) || (*kind == DOC_MANIFEST && index))
        return gv_error_set(err, GV_E_FORMAT, 0, "its media type and its content do not agree");
    return 0;
}

/* Reads the index or manifest of the descriptor; *kind says what it has to be, or becomes what it is. */
static json_t *read_document(struct archive *a, const json_t *descriptor, enum document *kind, struct gv_error *err)
{
    struct descriptor d;
    cleanup_buf struct gv_buf text = { 0 };
    if (read_descriptor(descriptor, &d, err) < 0 || read_blob(a, &d, &text, err) < 0)
        return NULL;
    json_t *doc = json_parse(text.data, text.len, err);
    if (doc && check_document(doc, kind, err) < 0) {
        json_decref(doc);
        doc = NULL;
    }
    if (!doc)
        gv_error_prefix(err, "the manifest %.80s", d.digest_text);
    return doc;
}

/* ---- the manifest ---- */

static bool in_list(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(s, *list))
            return true;
    return false;
}

static int check_layer_media(const char *media, struct gv_error *err)
{
    /* Compression is told by the bytes; the media type only has to be that of a layer. */
    static const char *const layers[] = {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        NULL,
    };
    if (in_list(media, layers))
        return 0;
    if (strstr(media, "nondistributable") || strstr(media, "foreign"))
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a layer of the image may not be distributed and is not part of it (%.100s)", media);
    return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a layer of the unknown media type `%.100s`", media);
}

static int plan_layers(struct plan *p, const json_t *layers, struct gv_error *err)
{
    if (!json_is_array(layers))
        return gv_error_set(err, GV_E_FORMAT, 0, "it has no list of layers");
    if (json_array_size(layers) > PLAN_LAYERS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "it has %zu layers; %d are allowed", json_array_size(layers), PLAN_LAYERS_MAX);
    for (size_t i = 0; i < json_array_size(layers); i++) {
        struct descriptor d;
        if (read_descriptor(json_array_get(layers, i), &d, err) < 0 || check_layer_media(d.media, err) < 0)
            return -1;
        struct plan_layer *l = plan_add_layer(p);
        l->name = blob_name(&d);
        l->digest = d.digest;
        l->has_size = true;
        l->size = d.size;
    }
    return 0;
}

static int plan_manifest(struct plan *p, struct archive *a, const json_t *descriptor, struct gv_error *err)
{
    static const char *const configs[] = { "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json",
                                           NULL };
    enum document kind = DOC_MANIFEST;
    cleanup_json json_t *doc = read_document(a, descriptor, &kind, err);
    if (!doc)
        return -1;
    struct descriptor config;
    if (read_descriptor(json_object_get(doc, "config"), &config, err) < 0)
        return gv_error_prefix(err, "the image's manifest");
    if (!in_list(config.media, configs))
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "it is not an image but something of the type `%.100s`", config.media);
    if (plan_layers(p, json_object_get(doc, "layers"), err) < 0)
        return gv_error_prefix(err, "the image's manifest");
    cleanup_buf struct gv_buf blob = { 0 };
    if (read_blob(a, &config, &blob, err) < 0)
        return gv_error_prefix(err, "the image's configuration");
    return plan_config(p, &blob, err);
}

/* ---- finding it ---- */

static bool name_matches(const char *want, const char *ref, const char *full, const char *digest)
{
    if ((ref && !strcmp(want, ref)) || (full && !strcmp(want, full)) || !strcmp(want, digest))
        return true;
    if (want[0] == '@' && !strcmp(want + 1, digest))
        return true;
    if ((full && name_equal(want, full)) || (ref && strchr(ref, '/') && name_equal(want, ref)))
        return true;
    /* NAME@DIGEST: the name is as good as any, the digest decides. */
    const char *at = strchr(want, '@');
    return at && !strcmp(at + 1, digest);
}

static void read_platform(const json_t *descriptor, struct platform *out)
{
    const json_t *j = json_object_get(descriptor, "platform");
    const char *os = json_string_of(j, "os"), *architecture = json_string_of(j, "architecture"), *variant = json_string_of(j, "variant");
    out->os = os ? gv_strdup(os) : NULL;
    out->architecture = architecture ? gv_strdup(architecture) : NULL;
    out->variant = variant ? gv_strdup(variant) : NULL;
}

static void add_candidate(struct search *s, json_t *descriptor, const char *name)
{
    __attribute__((cleanup(gv_cleanup_platform_fn))) struct platform have = { 0 };
    read_platform(descriptor, &have);
    if (!platform_fits(s->platform, &have)) {
        gv_strv_take(&s->platforms, platform_format(&have));
        return;
    }
    const char *digest = json_string_of(descriptor, "digest");
    for (size_t i = 0; i < s->count; i++)
        if (digest && !strcmp(digest, json_string_of(s->found[i].descriptor, "digest")))
            return; /* the same image under two names */
    s->found = gv_reallocarray(s->found, s->count + 1, sizeof(*s->found));
    s->found[s->count++] =
        (struct candidate){ .descriptor = json_incref(descriptor), .name = name ? gv_strdup(name) : NULL, .platform = have };
    have = (struct platform){ 0 };
}

static int search_index(struct search *s, const json_t *index, int depth, const char *outer, bool chosen, struct gv_error *err);

static int search_descriptor(struct search *s, json_t *descriptor, int depth, const char *outer, bool chosen, struct gv_error *err)
{
    struct descriptor d;
    const json_t *annotations = json_object_get(descriptor, "annotations");
    const char *ref = json_string_of(annotations, ANNOTATION_REF), *full = json_string_of(annotations, ANNOTATION_NAME);
    const char *name = full ? full : ref ? ref : outer, *kind = json_string_of(annotations, ANNOTATION_KIND);
    if (read_descriptor(descriptor, &d, err) < 0)
        return -1;
    if (kind && !strcmp(kind, "attestation-manifest"))
        return 0;
    if (!outer || full || ref)
        gv_strv_add(&s->names, name ? name : d.digest_text);
    chosen = chosen || !s->name || name_matches(s->name, ref, full, d.digest_text);
    enum document document = document_of(d.media);
    if (document == DOC_MANIFEST && chosen)
        add_candidate(s, descriptor, name);
    if (document == DOC_SCHEMA1 && chosen)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "the image has a manifest of the old kind (schema 1)");
    if (document != DOC_INDEX && document != DOC_UNKNOWN)
        return 0;
    if (depth >= DEPTH_MAX || ++s->documents > DOCUMENTS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "there are too many image indexes in each other");
    cleanup_json json_t *doc = read_document(s->archive, descriptor, &document, err);
    if (!doc)
        return -1;
    if (document == DOC_INDEX)
        return search_index(s, doc, depth + 1, name ? name : d.digest_text, chosen, err);
    if (document == DOC_MANIFEST && chosen)
        add_candidate(s, descriptor, name);
    return 0;
}

static int search_index(struct search *s, const json_t *index, int depth, const char *outer, bool chosen, struct gv_error *err)
{
    const json_t *manifests = json_object_get(index, "manifests");
    if (!json_is_array(manifests))
        return gv_error_set(err, GV_E_FORMAT, 0, "an image index without a list of manifests");
    for (size_t i = 0; i < json_array_size(manifests); i++)
        if (search_descriptor(s, json_array_get(manifests, i), depth, outer, chosen, err) < 0)
            return -1;
    return 0;
}

static void drop(struct search *s, size_t i)
{
    candidate_clear(&s->found[i]);
    s->count--;
    memmove(&s->found[i], &s->found[i + 1], (s->count - i) * sizeof(*s->found));
}

/* Whether the candidate says of its variant exactly what was asked for. */
static bool says_variant(const struct search *s, size_t i)
{
    return (s->found[i].platform.variant != NULL) == (s->platform->variant != NULL);
}

/* When there are several: ask the configuration of those whose descriptor names no platform, and prefer the variant that was asked for. */
static int narrow(struct search *s, struct gv_error *err)
{
    for (size_t i = s->count; s->count > 1 && i-- > 0;) {
        struct candidate *c = &s->found[i];
        if (c->platform.architecture)
            continue;
        if (++s->documents > DOCUMENTS_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "there are too many images in it to look at all; give the name of one");
        __attribute__((cleanup(gv_cleanup_plan_fn))) struct plan p = { 0 };
        struct gv_error ignored = GV_ERROR_INIT; /* what is not an image is not what is looked for */
        if (plan_manifest(&p, s->archive, c->descriptor, &ignored) < 0) {
            drop(s, i);
        } else if (!platform_fits(s->platform, &p.platform)) {
            gv_strv_take(&s->platforms, platform_format(&p.platform));
            drop(s, i);
        }
    }
    bool any = false;
    for (size_t i = 0; i < s->count; i++)
        any = any || says_variant(s, i);
    for (size_t i = s->count; any && i-- > 0;)
        if (!says_variant(s, i))
            drop(s, i);
    return 0;
}

static int choose(struct search *s, struct gv_error *err)
{
    if (narrow(s, err) < 0)
        return -1;
    if (s->count == 1)
        return 0;
    cleanup_free char *names = name_list(&s->names), *platforms = name_list(&s->platforms), *want = platform_format(s->platform);
    if (s->count > 1)
        return gv_error_set(err, GV_E_USAGE, 0, "there are several images in it; add the name of one of them, :NAME: %s", names);
    if (s->platforms.count)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image for %s in it; there are images for: %s", want, platforms);
    if (s->name)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image `%.200s` in it; there are: %s", s->name, names);
    return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image in it");
}

static int check_layout(struct archive *a, struct gv_error *err)
{
    if (!archive_has(a, "oci-layout"))
        return 0; /* the specification wants it, but all that it says is the version */
    cleanup_blob struct blob b = BLOB_INIT;
    cleanup_buf struct gv_buf text = { 0 };
    if (archive_find(a, "oci-layout", &b, err) < 0 || blob_read(&b, &text, err) < 0)
        return -1;
    cleanup_json json_t *layout = json_parse(text.data, text.len, err);
    if (!layout)
        return gv_error_prefix(err, "oci-layout");
    const char *version = json_string_of(layout, "imageLayoutVersion");
    if (!version || strncmp(version, "1.", 2) != 0)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "an image layout of version `%.20s`; 1.0.0 is known", version ? version : "");
    return 0;
}

int oci_plan(struct plan *p, struct archive *a, const char *name, const struct platform *platform, struct gv_error *err)
{
    if (!archive_has(a, "index.json"))
        return gv_error_set(err, GV_E_FORMAT, 0, "this is not an OCI image layout: it has no index.json");
    cleanup_blob struct blob b = BLOB_INIT;
    cleanup_buf struct gv_buf text = { 0 };
    if (check_layout(a, err) < 0 || archive_find(a, "index.json", &b, err) < 0 || blob_read(&b, &text, err) < 0)
        return -1;
    cleanup_json json_t *index = json_parse(text.data, text.len, err);
    enum document kind = DOC_INDEX;
    if (!index || check_document(index, &kind, err) < 0)
        return gv_error_prefix(err, "index.json");
    __attribute__((cleanup(search_clear))) struct search s = { .archive = a, .name = name, .platform = platform };
    if (search_index(&s, index, 0, NULL, false, err) < 0 || choose(&s, err) < 0)
        return -1;
    p->name = s.found[0].name ? gv_strdup(s.found[0].name) : NULL;
    return plan_manifest(p, a, s.found[0].descriptor, err);
}
