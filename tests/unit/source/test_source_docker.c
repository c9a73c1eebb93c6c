/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `docker save` writes, in its three layouts: choosing an image, and all that can be missing or wrong. */
#include "helper.h"

#include <stdio.h>
#include <unistd.h>

static const char *const layer_text = "f a hello";

static void layer_tar(struct gv_buf *out, const char *text)
{
    struct tarb t = { 0 };
    tarb_text(&t, text);
    tarb_end(&t);
    gv_buf_add(out, t.out.data, t.out.len);
    tarb_clear(&t);
}

static void sha256_hex(char out[65], const void *p, size_t n)
{
    unsigned char hash[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, p, n, hash);
    gv_hex(out, hash, 32);
}

static void put(struct tarb *t, const char *name, const char *text)
{
    tarb_add(t, &(struct tarb_member){ .name = name, .data = text, .size = strlen(text) });
}

/* Writes t as an archive, loads `what` of it, expects success or an error that contains `error`. */
static void load(struct tarb *t, const char *name, struct source_image *image, const char *error)
{
    struct gv_error err = GV_ERROR_INIT;
    tarb_end(t);
    char *dir = temp_make(), *path = path_in(dir, "image.tar");
    write_file(path, t->out.data, t->out.len);
    char *reference = gv_asprintf("docker-archive:%s%s%s", path, name ? ":" : "", name ? name : "");
    struct source_image scratch = { 0 };
    int status = source_load(image ? image : &scratch, reference, NULL, &err);
    if ((status < 0) != (error != NULL))
        fail_msg("%s: %s", name ? name : "-", status < 0 ? err.msg : "accepted");
    if (error && !strstr(err.msg, error))
        fail_msg("expected `%s` in: %s", error, err.msg);
    source_image_clear(&scratch);
    free(reference);
    free(path);
    temp_remove(dir);
    tarb_clear(t);
}

/* A configuration for one layer; returns its hex digest. */
static char *config_for(const struct gv_buf *layer, const char *extra, char hex[65])
{
    char diff[65];
    sha256_hex(diff, layer->data, layer->len);
    char *config = gv_asprintf(
        "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{%s},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]}}",
        extra, diff);
    sha256_hex(hex, config, strlen(config));
    return config;
}

static void test_several_images(void **state)
{
    (void)state;
    static const struct {
        const char *name, *content, *error;
    } choices[] = {
        { "one", "1", NULL },
        { "one:latest", "1", NULL },
        { "docker.io/library/one:latest", "1", NULL },
        { "two:v2", "2", NULL },
        { "host:5000/team/two:x", "2", NULL },
        { "two", NULL, "there is no image `two` in it; there are: one:latest, two:v2, host:5000/team/two:x, sha256:" },
        { "One!", NULL, "there is no image" },
        { NULL, NULL, "several images" },
        { "ID3", "3", NULL },
        { "sha256:ID3", "3", NULL },
        { "ID3SHORT", "3", NULL },
        { "0123456789ab", NULL, "there is no image" },
    };
    for (size_t c = 0; c < sizeof(choices) / sizeof(*choices); c++) {
        struct tarb t = { 0 };
        char hex[3][65];
        for (int i = 0; i < 3; i++) {
            struct gv_buf layer = { 0 };
            char text[32], name[256];
            snprintf(text, sizeof(text), "f a %d", i + 1);
            layer_tar(&layer, text);
            char *config = config_for(&layer, "\"User\":\"me\"", hex[i]);
            snprintf(name, sizeof(name), "%s.json", hex[i]);
            put(&t, name, config);
            snprintf(name, sizeof(name), "l%d/layer.tar", i);
            tarb_add(&t, &(struct tarb_member){ .name = name, .data = layer.data, .size = layer.len });
            free(config);
            gv_buf_clear(&layer);
        }
        char *manifest =
            gv_asprintf("[{\"Config\":\"%s.json\",\"RepoTags\":[\"one:latest\"],\"Layers\":[\"l0/layer.tar\"]},"
                        "{\"Config\":\"%s.json\",\"RepoTags\":[\"two:v2\",\"host:5000/team/two:x\"],\"Layers\":[\"l1/layer.tar\"]},"
                        "{\"Config\":\"%s.json\",\"RepoTags\":null,\"Layers\":[\"l2/layer.tar\"]}]",
                        hex[0], hex[1], hex[2]);
        put(&t, "manifest.json", manifest);
        free(manifest);
        char name[256];
        snprintf(name, sizeof(name), "%s", choices[c].name ? choices[c].name : "");
        if (!strcmp(name, "ID3"))
            snprintf(name, sizeof(name), "%s", hex[2]);
        else if (!strcmp(name, "sha256:ID3"))
            snprintf(name, sizeof(name), "sha256:%s", hex[2]);
        else if (!strcmp(name, "ID3SHORT"))
            snprintf(name, sizeof(name), "%.12s", hex[2]);
        struct source_image image = { 0 };
        load(&t, choices[c].name ? name : NULL, &image, choices[c].error);
        if (choices[c].content) {
            char *expected = gv_asprintf("/a f %s\n", choices[c].content);
            assert_tree(&image, expected);
            assert_string_equal(image.config.user, "me");
            assert_string_equal(image.config.image, hex[choices[c].content[0] - '1']);
            assert_string_equal(image.architecture, "amd64");
            free(expected);
        }
        source_image_clear(&image);
    }
}

/* Docker 25: everything in blobs/sha256, named by its digest, and a layer may be compressed. */
static void test_blobs_layout(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct tarb t = { 0 };
        struct gv_buf layer = { 0 }, packed = { 0 };
        char hex[65], blob[65], name[100];
        layer_tar(&layer, layer_text);
        char *config = config_for(&layer, "", hex);
        if (kind == 1)
            gzip_into(&packed, layer.data, layer.len);
        else
            gv_buf_add(&packed, layer.data, layer.len);
        sha256_hex(blob, packed.data, packed.len);
        if (kind == 2)
            packed.data[packed.len - 1] ^= 1; /* in the padding: only the digest can tell */
        snprintf(name, sizeof(name), "blobs/sha256/%s", blob);
        tarb_add(&t, &(struct tarb_member){ .name = name, .data = packed.data, .size = packed.len });
        snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
        put(&t, name, kind == 3 ? "{}" : config);
        char *manifest =
            gv_asprintf("[{\"Config\":\"blobs/sha256/%s\",\"RepoTags\":[\"a:b\"],\"Layers\":[\"blobs/sha256/%s\"]}]", hex, blob);
        put(&t, "manifest.json", manifest);
        put(&t, "index.json", "{}"); /* manifest.json is Docker's own word and comes first */
        put(&t, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
        load(&t, NULL, NULL, kind == 2 ? "digest is wrong" : kind == 3 ? "another digest than its name" : NULL);
        free(manifest);
        free(config);
        gv_buf_clear(&layer);
        gv_buf_clear(&packed);
    }
}

/* Layers that are links to others, as Docker before 25 wrote them when two images share one. */
static void test_linked_layers(void **state)
{
    (void)state;
    static const struct {
        char type;
        const char *target, *error;
    } links[] = {
        { '2', "../x/layer.tar", NULL },
        { '2', "../x/../x/./layer.tar", NULL },
        { '1', "x/layer.tar", NULL },
        { '2', "layer2.tar", NULL },
        { '2', "../../layer.tar", "leads out of the archive" },
        { '2', "../y/layer.tar", "is missing" },
        { '2', "layer.tar", "is missing" }, /* itself */
        { '1', "../etc/passwd", "leads out of the archive" },
        { '2', "/etc/passwd", "is missing" },
    };
    for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
        struct tarb t = { 0 };
        struct gv_buf layer = { 0 };
        char hex[65], name[80];
        layer_tar(&layer, layer_text);
        char *config = config_for(&layer, "", hex);
        tarb_add(&t, &(struct tarb_member){ .name = "x/layer.tar", .data = layer.data, .size = layer.len });
        tarb_add(&t, &(struct tarb_member){ .name = "l/layer2.tar", .type = '2', .link = "../x/layer.tar" });
        tarb_add(&t, &(struct tarb_member){ .name = "l/layer.tar", .type = links[i].type, .link = links[i].target });
        snprintf(name, sizeof(name), "./%s.json", hex);
        put(&t, name, config);
        char *manifest = gv_asprintf("[{\"Config\":\"%s.json\",\"RepoTags\":[\"a:b\"],\"Layers\":[\"l/layer.tar\"]}]", hex);
        put(&t, "./manifest.json", manifest);
        load(&t, NULL, NULL, links[i].error);
        free(manifest);
        free(config);
        gv_buf_clear(&layer);
    }
}

static void test_old_layout(void **state)
{
    (void)state;
    static const char id1[] = "1111111111111111111111111111111111111111111111111111111111111111";
    static const char id2[] = "2222222222222222222222222222222222222222222222222222222222222222";
    for (int kind = 0; kind < 4; kind++) {
        struct tarb t = { 0 };
        struct gv_buf one = { 0 }, two = { 0 };
        layer_tar(&one, "f a 1\nf b 1");
        layer_tar(&two, "f a 2\nf .wh.b");
        char name[100];
        snprintf(name, sizeof(name), "%s/layer.tar", id1);
        tarb_add(&t, &(struct tarb_member){ .name = name, .data = one.data, .size = one.len });
        snprintf(name, sizeof(name), "%s/json", id1);
        char *json =
            gv_asprintf("{\"id\":\"%s\"%s%s%s}", id1, kind == 2 ? ",\"parent\":\"" : "", kind == 2 ? id2 : "", kind == 2 ? "\"" : "");
        put(&t, name, json); /* kind 2: each is the other's parent */
        free(json);
        snprintf(name, sizeof(name), "%s/layer.tar", id2);
        tarb_add(&t, &(struct tarb_member){ .name = name, .data = two.data, .size = two.len });
        snprintf(name, sizeof(name), "%s/json", id2);
        json = gv_asprintf("{\"id\":\"%s\",\"parent\":\"%s\",\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[\"A=b\"]}}",
                           id2, kind == 3 ? "../../etc" : id1);
        put(&t, name, json);
        free(json);
        char *repositories = gv_asprintf("{\"old\":{\"v1\":\"%s\",\"also\":\"%s\"},\"other\":{\"v1\":\"%s\"}}", id2, id2, id1);
        put(&t, "repositories", repositories);
        free(repositories);
        struct source_image image = { 0 };
        load(&t, kind == 1 ? NULL : "old:v1", &image,
             kind == 0   ? NULL
             : kind == 1 ? "several images"
             : kind == 2 ? "more than 500"
                         : "not the id");
        if (kind == 0) {
            assert_tree(&image, "/a f 2\n");
            assert_string_equal(image.name, "old:v1");
            assert_string_equal(image.config.image, id2);
            assert_string_equal(image.config.env.items[0], "A=b");
        }
        source_image_clear(&image);
        gv_buf_clear(&one);
        gv_buf_clear(&two);
    }
}

/* One thing wrong at a time. CONFIG and LAYER stand for names of what is there. */
static void test_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *config, *error;
    } cases[] = {
        { "[]", NULL, "there is no image in it" },
        { "{}", NULL, "not a list" },
        { "[1]", NULL, "what the image is made of" },
        { "[{}]", NULL, "what the image is made of" },
        { "nonsense", NULL, "not valid JSON" },
        { "[{\"Config\":\"CONFIG\",\"Config\":\"CONFIG\"}]", NULL, "not valid JSON" },
        { "", NULL, "not valid JSON" },
        { "[{\"Config\":\"CONFIG\",\"Layers\":[\"missing\"]}]", NULL, "`missing` is missing" },
        { "[{\"Config\":\"missing.json\",\"Layers\":[\"LAYER\"]}]", NULL, "`missing.json` is missing" },
        { "[{\"Config\":\"../CONFIG\",\"Layers\":[\"LAYER\"]}]", NULL, "cannot be the name" },
        { "[{\"Config\":\"\",\"Layers\":[\"LAYER\"]}]", NULL, "cannot be the name" },
        { "[{\"Config\":\"CONFIG\",\"Layers\":[\"../../../etc/passwd\"]}]", NULL, "cannot be the name" },
        { "[{\"Config\":\"CONFIG\",\"Layers\":[1]}]", NULL, "layer without a name" },
        { "[{\"Config\":\"CONFIG\",\"Layers\":\"LAYER\"}]", NULL, "what the image is made of" },
        { "[{\"Config\":\"CONFIG\",\"Layers\":[]}]", NULL, "manifest has 0 layers and its configuration 1" },
        { "[{\"Config\":\"CONFIG\",\"Layers\":[\"LAYER\",\"LAYER\"]}]", NULL, "manifest has 2 layers and its configuration 1" },
        { "[{\"Config\":\"plain\",\"Layers\":[\"LAYER\"]}]",
          "{\"rootfs\":{\"diff_ids\":[\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"]}}", "(diff_id)" },
        { "[{\"Config\":\"plain\",\"Layers\":[\"LAYER\"]}]", "{\"rootfs\":{\"diff_ids\":[\"nonsense\"]}}", "not a digest" },
        { "[{\"Config\":\"plain\",\"Layers\":[\"LAYER\"]}]", "{\"rootfs\":{\"diff_ids\":[7]}}", "not a digest" },
        { "[{\"Config\":\"plain\",\"Layers\":[\"LAYER\"]}]", "{}", "does not name its layers" },
        { "[{\"Config\":\"plain\",\"Layers\":[\"LAYER\"]}]", "[]", "not a JSON object" },
        { "[{\"Config\":\"plain\",\"Layers\":[\"LAYER\"]}]", "{\"rootfs\":{\"type\":\"flat\"}}", "of the kind `flat`" },
        { "[{\"Config\":\"plain\",\"Layers\":[]}]", "{\"config\":{\"Env\":7}}", "`Env`" },
        { "[{\"Config\":\"plain\",\"Layers\":[]}]", "{\"config\":7}", "not a JSON object" },
        { "[{\"Config\":\"plain\",\"Layers\":[]}]", "{\"os\":\"windows\",\"architecture\":\"amd64\"}", "images for: windows/amd64" },
        { "[{\"Config\":\"plain\",\"Layers\":[]}]", "{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"}",
          "images for: linux/arm64/v8" },
        { "[{\"Config\":\"plain\",\"Layers\":null}]", "{\"config\":null}", NULL },
        { "[{\"Config\":\"CONFIG\",\"RepoTags\":[1,null],\"Layers\":[\"LAYER\"]}]", NULL, NULL },
        { "[{\"Config\":\"CONFIG\",\"Layers\":[\"./LAYER\"]}]", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct tarb t = { 0 };
        struct gv_buf layer = { 0 }, manifest = { 0 };
        char hex[65], name[80];
        layer_tar(&layer, layer_text);
        char *config = config_for(&layer, "", hex);
        snprintf(name, sizeof(name), "%s.json", hex);
        put(&t, name, config);
        put(&t, "plain", cases[i].config ? cases[i].config : "");
        tarb_add(&t, &(struct tarb_member){ .name = "layer", .data = layer.data, .size = layer.len });
        for (const char *p = cases[i].manifest; *p;) {
            if (!strncmp(p, "CONFIG", 6)) {
                gv_buf_addf(&manifest, "%s", name);
                p += 6;
            } else if (!strncmp(p, "LAYER", 5)) {
                gv_buf_addf(&manifest, "layer");
                p += 5;
            } else {
                gv_buf_add(&manifest, p++, 1);
            }
        }
        put(&t, "manifest.json", gv_buf_str(&manifest));
        load(&t, NULL, NULL, cases[i].error);
        free(config);
        gv_buf_clear(&layer);
        gv_buf_clear(&manifest);
    }
}

static void test_wrong_archives(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    put(&t, "etc/passwd", "root");
    load(&t, NULL, NULL, "neither manifest.json nor repositories");
    put(&t, "../manifest.json", "[]");
    load(&t, NULL, NULL, "leads out of the archive");
    char *deep = gv_alloc(200001);
    memset(deep, '[', 100000);
    memset(deep + 100000, ']', 100000);
    deep[200000] = '\0';
    put(&t, "manifest.json", deep);
    load(&t, NULL, NULL, "not valid JSON");
    free(deep);
    size_t n = (size_t)5 << 20;
    char *large = gv_alloc(n + 1);
    memset(large, ' ', n);
    large[n] = '\0';
    put(&t, "manifest.json", large);
    load(&t, NULL, NULL, "too many for a description");
    free(large);
    struct gv_buf many = { 0 };
    gv_buf_addf(&many, "[{\"Config\":\"c\",\"Layers\":[\"x\"");
    for (int i = 0; i < 600; i++)
        gv_buf_addf(&many, ",\"x\"");
    gv_buf_addf(&many, "]}]");
    put(&t, "manifest.json", gv_buf_str(&many));
    load(&t, NULL, NULL, "601 layers");
    gv_buf_clear(&many);
    /* Of members with one name the last counts. */
    put(&t, "manifest.json", "nonsense");
    put(&t, "manifest.json", "[]");
    load(&t, NULL, NULL, "there is no image in it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_images), cmocka_unit_test(test_blobs_layout), cmocka_unit_test(test_linked_layers),
        cmocka_unit_test(test_old_layout),     cmocka_unit_test(test_wrong),        cmocka_unit_test(test_wrong_archives),
    };
    return cmocka_run_group_tests_name("source_docker", tests, NULL, NULL);
}
