/* SPDX-License-Identifier: GPL-3.0-or-later */
/* OCI layouts as directories and archives: choosing by name and platform, and everything a hostile or damaged one can say. */
#include "helper.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define M_INDEX "application/vnd.oci.image.index.v1+json"
#define M_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define M_CONFIG "application/vnd.oci.image.config.v1+json"
#define M_LAYER "application/vnd.oci.image.layer.v1.tar"
#define D_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define D_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define D_CONFIG "application/vnd.docker.container.image.v1+json"
#define D_LAYER "application/vnd.docker.image.rootfs.diff.tar.gzip"

struct layout {
    char *dir;
    struct gv_buf index; /* descriptors so far */
};

static struct layout layout_new(void)
{
    struct layout l = { .dir = temp_make() };
    char *blobs = path_in(l.dir, "blobs"), *a = path_in(blobs, "sha256"), *b = path_in(blobs, "sha512");
    assert_int_equal(mkdir(blobs, 0755) | mkdir(a, 0755) | mkdir(b, 0755), 0);
    free(blobs);
    free(a);
    free(b);
    char *marker = path_in(l.dir, "oci-layout");
    write_file(marker, "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
    free(marker);
    return l;
}

static void layout_free(struct layout *l)
{
    temp_remove(l->dir);
    gv_buf_clear(&l->index);
}

/* Writes a blob; the result is its descriptor without closing brace, for the caller to extend and free. */
static char *put_kind(struct layout *l, enum gv_hash_kind kind, const char *media, const void *p, size_t n)
{
    unsigned char hash[GV_HASH_MAX];
    char hex[2 * GV_HASH_MAX + 1], name[256];
    size_t len = gv_hash_bytes(kind, p, n, hash);
    gv_hex(hex, hash, len);
    const char *algorithm = kind == GV_HASH_SHA512 ? "sha512" : "sha256";
    snprintf(name, sizeof(name), "blobs/%s/%s", algorithm, hex);
    char *path = path_in(l->dir, name);
    write_file(path, p, n);
    free(path);
    return gv_asprintf("{\"mediaType\":\"%s\",\"digest\":\"%s:%s\",\"size\":%zu", media, algorithm, hex, n);
}

static char *put(struct layout *l, const char *media, const char *text)
{
    return put_kind(l, GV_HASH_SHA256, media, text, strlen(text));
}

struct image_kind {
    enum gv_hash_kind hash;
    const char *manifest, *config, *layer; /* media types */
    void (*pack)(struct gv_buf *out, const void *p, size_t n);
    const char *os, *architecture, *variant;
};

static const struct image_kind plain = { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER, NULL, "linux", "amd64", NULL };

/* An image whose only layer is `text`; the result is its open descriptor. */
static char *put_image(struct layout *l, const struct image_kind *k, const char *text)
{
    struct tarb t = { 0 };
    struct gv_buf packed = { 0 };
    tarb_text(&t, text);
    tarb_end(&t);
    if (k->pack)
        k->pack(&packed, t.out.data, t.out.len);
    else
        gv_buf_add(&packed, t.out.data, t.out.len);
    unsigned char hash[GV_HASH_MAX];
    char diff[65];
    gv_hash_bytes(GV_HASH_SHA256, t.out.data, t.out.len, hash);
    gv_hex(diff, hash, 32);
    char *config_text = gv_asprintf(
        "{\"os\":\"%s\",\"architecture\":\"%s\"%s%s%s,\"config\":{\"WorkingDir\":\"/w\"},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]},\"history\":[{\"empty_layer\":true},{}]}",
        k->os, k->architecture, k->variant ? ",\"variant\":\"" : "", k->variant ? k->variant : "", k->variant ? "\"" : "", diff);
    char *config = put_kind(l, k->hash, k->config, config_text, strlen(config_text));
    char *layer = put_kind(l, k->hash, k->layer, packed.data, packed.len);
    char *manifest_text =
        gv_asprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":%s},\"layers\":[%s}]}", k->manifest, config, layer);
    char *manifest = put_kind(l, k->hash, k->manifest, manifest_text, strlen(manifest_text));
    free(config_text);
    free(config);
    free(layer);
    free(manifest_text);
    gv_buf_clear(&packed);
    tarb_clear(&t);
    return manifest;
}

/* Closes the descriptor (which is freed) with `more` and lists it in the index. */
static void list(struct layout *l, char *descriptor, const char *more)
{
    gv_buf_addf(&l->index, "%s%s%s}", l->index.len ? "," : "", descriptor, more);
    free(descriptor);
}

#define REF(name) ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"" name "\"}"
#define FULL(name) ",\"annotations\":{\"io.containerd.image.name\":\"" name "\"}"
#define PLATFORM(os, arch) ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"}"

static void write_index(struct layout *l)
{
    char *path = path_in(l->dir, "index.json"), *text = gv_asprintf("{\"schemaVersion\":2,\"manifests\":[%s]}", gv_buf_str(&l->index));
    write_file(path, text, strlen(text));
    free(path);
    free(text);
}

/* Loads and expects a tree, or an error that contains `expected`. */
static void load(struct layout *l, const char *name, const char *platform, const char *tree, const char *error)
{
    write_index(l);
    for (int archive = 0; archive < 2; archive++) {
        char *tar = path_in(l->dir, "layout.tar"), *reference;
        if (archive) {
            char *command = gv_asprintf("tar -C '%s' -cf '%s' oci-layout index.json blobs", l->dir, tar);
            assert_int_equal(system(command), 0);
            free(command);
            reference = gv_asprintf("oci-archive:%s%s%s", tar, name ? ":" : "", name ? name : "");
        } else {
            reference = gv_asprintf("oci:%s%s%s", l->dir, name ? ":" : "", name ? name : "");
        }
        struct source_image image = { 0 };
        struct source_options options = { .platform = platform };
        struct gv_error err = GV_ERROR_INIT;
        int status = source_load(&image, reference, &options, &err);
        if ((status == 0) != (tree != NULL))
            fail_msg("%s: %s", reference, status < 0 ? err.msg : "accepted");
        if (error && !strstr(err.msg, error))
            fail_msg("expected `%s` in: %s", error, err.msg);
        if (tree)
            assert_tree(&image, tree);
        if (tree && !archive)
            assert_in_range(image.archive_bytes, 1, 10240); /* one layer, once */
        source_image_clear(&image);
        free(reference);
        unlink(tar);
        free(tar);
    }
}

static void load_done(struct layout *l, const char *name, const char *platform, const char *tree, const char *error)
{
    load(l, name, platform, tree, error);
    layout_free(l);
}

static void test_kinds(void **state)
{
    (void)state;
    static const struct image_kind kinds[] = {
        { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER, NULL, "linux", "amd64", NULL },
        { GV_HASH_SHA512, M_MANIFEST, M_CONFIG, M_LAYER "+gzip", gzip_into, "linux", "amd64", NULL },
        { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER "+zstd", zstd_into, "linux", "amd64", NULL },
        { GV_HASH_SHA256, D_MANIFEST, D_CONFIG, D_LAYER, gzip_into, "linux", "amd64", NULL },
        /* What it is packed with is told by the bytes. */
        { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER "+gzip", zstd_into, "linux", "amd64", NULL },
        { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER "+gzip", NULL, "linux", "amd64", NULL },
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        struct layout l = layout_new();
        list(&l, put_image(&l, &kinds[i], "f a hello\nd d | m=700"), REF("v1"));
        load(&l, NULL, NULL, "/a f hello\n/d d m=700\n", NULL);
        load(&l, "v1", NULL, "/a f hello\n/d d m=700\n", NULL);
        load_done(&l, "v2", NULL, NULL, "there is no image `v2` in it; there are: v1");
    }
}

static void test_choice(void **state)
{
    (void)state;
    struct layout l = layout_new();
    list(&l, put_image(&l, &plain, "f a 1"), REF("v1"));
    list(&l, put_image(&l, &plain, "f a 2"), FULL("docker.io/library/two:v2"));
    char *three = put_image(&l, &plain, "f a 3");
    char digest[80];
    snprintf(digest, sizeof(digest), "%.71s", strstr(three, "sha256:"));
    list(&l, three, "");
    load(&l, NULL, NULL, NULL, "several images in it; add the name of one of them, :NAME: v1, docker.io/library/two:v2, sha256:");
    load(&l, "v1", NULL, "/a f 1\n", NULL);
    load(&l, "two:v2", NULL, "/a f 2\n", NULL);
    load(&l, "docker.io/library/two:v2", NULL, "/a f 2\n", NULL);
    load(&l, digest, NULL, "/a f 3\n", NULL);
    char *at = gv_asprintf("any/name@%s", digest);
    load(&l, at, NULL, "/a f 3\n", NULL);
    load(&l, at + 8, NULL, "/a f 3\n", NULL); /* "@sha256:..." */
    free(at);
    load(&l, "two", NULL, NULL, "there is no image `two`");
    load_done(&l, "v1", "linux/arm64", NULL, "there are images for: linux/amd64");

    /* One image under two names is one image. */
    l = layout_new();
    list(&l, put_image(&l, &plain, "f a 1"), REF("v1"));
    list(&l, put_image(&l, &plain, "f a 1"), REF("v2"));
    load_done(&l, NULL, NULL, "/a f 1\n", NULL);

    l = layout_new();
    load_done(&l, NULL, NULL, NULL, "there is no image in it");
}

static void test_platforms(void **state)
{
    (void)state;
    static const struct image_kind arm64 = { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER, NULL, "linux", "arm64", "v8" };
    static const struct image_kind arm6 = { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER, NULL, "linux", "arm", "v6" };
    static const struct image_kind arm7 = { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER, NULL, "linux", "arm", "v7" };
    static const struct image_kind amd3 = { GV_HASH_SHA256, M_MANIFEST, M_CONFIG, M_LAYER, NULL, "linux", "amd64", "v3" };
    for (int said = 0; said < 2; said++) { /* in the descriptors, or only in the configurations */
        struct layout l = layout_new(), outer;
        list(&l, put_image(&l, &arm64, "f a arm64"), said ? PLATFORM("linux", "arm64") : "");
        list(&l, put_image(&l, &plain, "f a amd64"), said ? PLATFORM("linux", "amd64") : "");
        if (said) {
            list(&l, put_image(&l, &arm6, "f a arm6"), ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"}");
            list(&l, put_image(&l, &arm7, "f a arm7"), ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"}");
            list(&l, put_image(&l, &amd3, "f a amd3"), ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"v3\"}");
            /* As BuildKit adds them. */
            list(&l, put(&l, M_MANIFEST, "{\"config\":{},\"layers\":[]}"),
                 PLATFORM("unknown", "unknown") ",\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\"}");
        }
        load(&l, NULL, NULL, "/a f amd64\n", NULL);
        load(&l, NULL, "linux/arm64", "/a f arm64\n", NULL);
        load(&l, NULL, "linux/arm64/v8", "/a f arm64\n", NULL);
        load(&l, NULL, "linux/s390x", NULL, said ? "there are images for: linux/arm64, linux/amd64" : "there are images for: ");
        load(&l, NULL, "windows/amd64", NULL, "there is no image for windows/amd64");
        load(&l, NULL, "nonsense", NULL, "is not a platform");
        if (said) {
            load(&l, NULL, "linux/arm/v7", "/a f arm7\n", NULL);
            load(&l, NULL, "linux/arm", NULL, "several images");
            load(&l, NULL, "linux/amd64/v3", "/a f amd3\n", NULL);
        }
        /* The same inside of an index that has the name. */
        char *text =
            gv_asprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[%s]}", said ? M_INDEX : D_LIST, gv_buf_str(&l.index));
        outer = l;
        outer.index = (struct gv_buf){ 0 };
        gv_buf_clear(&l.index);
        list(&outer, put(&outer, said ? M_INDEX : D_LIST, text), REF("multi"));
        free(text);
        load(&outer, NULL, NULL, "/a f amd64\n", NULL);
        load(&outer, "multi", "linux/arm64", "/a f arm64\n", NULL);
        load_done(&outer, "other", NULL, NULL, "there is no image `other` in it; there are: multi");
    }
}

static void test_deep_indexes(void **state)
{
    (void)state;
    struct layout l = layout_new();
    list(&l, put_image(&l, &plain, "f a 1"), "");
    for (int depth = 1; depth < 8; depth++) {
        char *text = gv_asprintf("{\"manifests\":[%s]}", gv_buf_str(&l.index));
        gv_buf_clear(&l.index);
        list(&l, put(&l, M_INDEX, text), REF("deep"));
        free(text);
        load(&l, NULL, NULL, depth <= 4 ? "/a f 1\n" : NULL, depth <= 4 ? NULL : "too many image indexes");
    }
    layout_free(&l);
    /* Very many in one. */
    l = layout_new();
    for (int i = 0; i < 100; i++) {
        char text[100];
        snprintf(text, sizeof(text), "{\"manifests\":[],\"x\":%d}", i);
        list(&l, put(&l, M_INDEX, text), "");
    }
    load_done(&l, NULL, NULL, NULL, "too many image indexes");
}

/* The only manifest is the given text. */
static void wrong_manifest(const char *text, const char *error)
{
    struct layout l = layout_new();
    list(&l, put(&l, M_MANIFEST, text), "");
    load_done(&l, NULL, NULL, NULL, error);
}

static void test_wrong_manifests(void **state)
{
    (void)state;
    wrong_manifest("nonsense", "not valid JSON");
    wrong_manifest("[]", "not a JSON object");
    wrong_manifest("{}", "a descriptor without digest or size");
    wrong_manifest("{\"manifests\":[],\"layers\":[]}", "an index and a manifest at once");
    wrong_manifest("{\"manifests\":[],\"config\":{}}", "an index and a manifest at once");
    wrong_manifest("{\"manifests\":[]}", "do not agree");
    wrong_manifest("{\"mediaType\":\"" M_INDEX "\",\"layers\":[]}", "do not agree");
    wrong_manifest("{\"mediaType\":\"x\",\"layers\":[]}", "do not agree");
    wrong_manifest("{\"config\":{\"digest\":7,\"size\":1},\"layers\":[]}", "a descriptor without digest");
    wrong_manifest("{\"config\":{\"mediaType\":\"" M_CONFIG "\",\"digest\":\"sha256:../../x\",\"size\":1},\"layers\":[]}", "not a digest");
    wrong_manifest("{\"config\":{\"mediaType\":\"" M_CONFIG "\",\"digest\":\"sha384:aa\",\"size\":1},\"layers\":[]}",
                   "of a kind we do not know");
#define ZERO "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    wrong_manifest("{\"config\":{\"mediaType\":\"" M_CONFIG "\",\"digest\":\"" ZERO "\",\"size\":1},\"layers\":[]}", "is missing");
    wrong_manifest("{\"config\":{\"mediaType\":\"" M_CONFIG "\",\"digest\":\"" ZERO "\",\"size\":-1},\"layers\":[]}",
                   "without digest or size");
    wrong_manifest("{\"config\":{\"mediaType\":\"" M_CONFIG "\",\"digest\":\"" ZERO "\",\"size\":1.5},\"layers\":[]}",
                   "without digest or size");
    wrong_manifest("{\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"" ZERO "\",\"size\":2},\"layers\":[]}",
                   "it is not an image but something of the type");
    wrong_manifest("{\"config\":{\"mediaType\":\"" M_CONFIG "\",\"digest\":\"" ZERO "\",\"size\":1}}", "no list of layers");
    static const char *const layers[][2] = {
        { "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "may not be distributed" },
        { "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "may not be distributed" },
        { "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "unknown media type" },
        { "application/json", "unknown media type" },
        { "", "unknown media type" },
    };
    for (size_t i = 0; i < sizeof(layers) / sizeof(*layers); i++) {
        char *text = gv_asprintf("{\"config\":{\"mediaType\":\"" M_CONFIG "\",\"digest\":\"" ZERO "\",\"size\":1},"
                                 "\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"" ZERO "\",\"size\":1}]}",
                                 layers[i][0]);
        wrong_manifest(text, layers[i][1]);
        free(text);
    }
    struct gv_buf many = { 0 };
    gv_buf_addf(&many, "{\"config\":{\"mediaType\":\"" M_CONFIG "\",\"digest\":\"" ZERO "\",\"size\":1},\"layers\":[0");
    for (int i = 0; i < 600; i++)
        gv_buf_addf(&many, ",0");
    gv_buf_addf(&many, "]}");
    wrong_manifest(gv_buf_str(&many), "601 layers");
    gv_buf_clear(&many);
}

static void wrong_index(const char *text, const char *error)
{
    struct layout l = layout_new();
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    char *path = path_in(l.dir, "index.json"), *reference = gv_asprintf("oci:%s", l.dir);
    if (text)
        write_file(path, text, strlen(text));
    assert_int_equal(source_load(&image, reference, NULL, &err), -1);
    if (!strstr(err.msg, error))
        fail_msg("expected `%s` in: %s", error, err.msg);
    free(path);
    free(reference);
    layout_free(&l);
}

static void test_wrong_indexes(void **state)
{
    (void)state;
    wrong_index(NULL, "it has no index.json");
    wrong_index("", "not valid JSON");
    wrong_index("7", "not valid JSON");
    wrong_index("[]", "not a JSON object");
    wrong_index("{}", "without a list of manifests");
    wrong_index("{\"manifests\":{}}", "without a list of manifests");
    wrong_index("{\"manifests\":[],\"layers\":[]}", "an index and a manifest at once");
    wrong_index("{\"manifests\":[7]}", "a descriptor without digest or size");
    wrong_index("{\"manifests\":[{}]}", "a descriptor without digest or size");
    wrong_index("{\"manifests\":[],\"manifests\":[]}", "not valid JSON");
    wrong_index("{\"manifests\":[{\"digest\":\"" ZERO "\",\"size\":1}]}", "is missing");
    wrong_index("{\"manifests\":[{\"mediaType\":\"application/vnd.docker.distribution.manifest.v1+json\",\"digest\":\"" ZERO
                "\",\"size\":1}]}",
                "schema 1");
    wrong_index("{\"manifests\":[{\"mediaType\":\"something/else\",\"digest\":\"" ZERO "\",\"size\":1}]}", "there is no image in it");
    struct layout l = layout_new();
    char *marker = path_in(l.dir, "oci-layout");
    write_file(marker, "{\"imageLayoutVersion\":\"2.0.0\"}", 30);
    free(marker);
    load_done(&l, NULL, NULL, NULL, "version `2.0.0`");
}

/* Finds the blob whose content begins with `begin` and changes it: each byte of an image is pinned by the index. */
static void damage(struct layout *l, const char *begin, int how)
{
    char *command = gv_asprintf("cd '%s/blobs/sha256' && for f in *; do if [ \"$(head -c %zu $f)\" = '%s' ]; then echo $f; fi; done",
                                l->dir, strlen(begin), begin);
    FILE *p = popen(command, "r");
    char name[80] = "";
    assert_int_equal(fread(name, 1, 64, p), 64);
    pclose(p);
    free(command);
    char *blobs = path_in(l->dir, "blobs/sha256"), *path = path_in(blobs, name);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    if (how == 0)
        assert_int_equal(unlink(path), 0);
    else if (how == 1)
        assert_int_equal(truncate(path, st.st_size - 1), 0);
    else if (how == 2)
        assert_int_equal(truncate(path, st.st_size + 1), 0);
    else {
        FILE *f = fopen(path, "r+b");
        assert_int_equal(fseek(f, how == 3 ? st.st_size - 1 : st.st_size / 2, SEEK_SET), 0);
        fputc('~', f);
        fclose(f);
    }
    free(blobs);
    free(path);
}

static void test_damaged_blobs(void **state)
{
    (void)state;
    static const char *const blobs[] = { "{\"schemaVersion\"", "{\"os\"", "aaaa" };
    static const char *const errors[] = { "is missing", "bytes and should have", "bytes and should have", "digest", "digest" };
    for (size_t b = 0; b < 3; b++) {
        for (int how = 0; how < 5; how++) {
            struct layout l = layout_new();
            list(&l, put_image(&l, &plain, "f aaaa hello"), "");
            load(&l, NULL, NULL, "/aaaa f hello\n", NULL);
            damage(&l, blobs[b], how);
            load_done(&l, NULL, NULL, NULL, errors[how]);
        }
    }
}

/* A blob that is no file must not be opened for reading by name: a FIFO would hang, a directory confuse. */
static void test_special_blobs(void **state)
{
    (void)state;
    struct layout l = layout_new();
    char *fifo = path_in(l.dir, "blobs/sha256/"
                                "0000000000000000000000000000000000000000000000000000000000000000");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    gv_buf_addf(&l.index, "{\"mediaType\":\"" M_MANIFEST "\",\"digest\":\"" ZERO "\",\"size\":0}");
    write_index(&l);
    struct source_image image = { 0 };
    char *reference = gv_asprintf("oci:%s", l.dir);
    assert_int_equal(source_load(&image, reference, NULL, NULL), -1);
    assert_int_equal(unlink(fifo) | mkdir(fifo, 0700), 0);
    assert_int_equal(source_load(&image, reference, NULL, NULL), -1);
    free(reference);
    free(fifo);
    layout_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),         cmocka_unit_test(test_choice),          cmocka_unit_test(test_platforms),
        cmocka_unit_test(test_deep_indexes),  cmocka_unit_test(test_wrong_manifests), cmocka_unit_test(test_wrong_indexes),
        cmocka_unit_test(test_damaged_blobs), cmocka_unit_test(test_special_blobs),
    };
    return cmocka_run_group_tests_name("source_oci", tests, NULL, NULL);
}
