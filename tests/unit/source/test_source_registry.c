/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Images of registries: manifests and platforms, logins, digests, downloads that are interrupted, the cache, and registries that lie. The
 * registry is the test's own; e2e/remote.bats has a real one. */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "fake_registry.h"

#define NO_CACHE "/proc/nonexistent" /* cannot be made, by root neither */

static int setup(void **state)
{
    static const char *const variables[] = { "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG",
                                             "http_proxy",         "https_proxy",     "all_proxy" };
    for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
        unsetenv(variables[i]);
    struct fake *f = gv_new(struct fake);
    f->dir = temp_make();
    setenv("HOME", f->dir, 1);
    setenv("XDG_CACHE_HOME", f->dir, 1);
    f->manifest = fake_add_image(f, "amd64", MANIFEST, "application/vnd.docker.image.rootfs.diff.tar.gzip", "v1")->digest;
    fake_start(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fake *f = *state;
    fake_stop(f);
    temp_remove(f->dir);
    free(f);
    return 0;
}

static char *reference_of(const struct fake *f, const char *rest)
{
    return gv_asprintf("docker://127.0.0.1:%u/team/app%s", server_port(f->server), rest);
}

static int load(struct fake *f, const char *rest, const struct source_options *o, struct source_image *image, struct gv_error *err)
{
    cleanup_free char *reference = reference_of(f, rest);
    return source_load(image, reference, o, err);
}

/* Loads the image and looks at what came. */
static void expect_with(struct fake *f, const char *rest, const struct source_options *o)
{
    __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (load(f, rest, o, &image, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(image.layers, LAYERS);
    assert_int_equal(image.totals.files, LAYERS + 1);
    assert_string_equal(image.config.cmd.items[0], "/bin/sh");
    for (int i = 0; i < LAYERS; i++) {
        char name[8], text[16] = "", want[16];
        snprintf(name, sizeof(name), "%d", i);
        snprintf(want, sizeof(want), "layer-%d", i);
        const struct image_node *n = image_node_child(image_tree_root(image.tree), name, strlen(name));
        assert_non_null(n);
        assert_int_equal(image_tree_read(image.tree, n->inode, 0, text, n->inode->size, NULL), 0);
        assert_string_equal(text, want);
    }
}

static void expect(struct fake *f, const char *rest)
{
    expect_with(f, rest, NULL);
}

static void expect_failure_with(struct fake *f, const char *rest, const struct source_options *o, enum gv_code code, const char *text)
{
    __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(load(f, rest, o, &image, &err), -1);
    if (err.code != code || !strstr(err.msg, text))
        fail_msg("code %d: %s", (int)err.code, err.msg);
}

static void expect_failure(struct fake *f, const char *rest, enum gv_code code, const char *text)
{
    expect_failure_with(f, rest, NULL, code, text);
}

/* ---- manifests ---- */

static void test_image(void **state)
{
    struct fake *f = *state;
    expect(f, ":v1");
    cleanup_free char *by_digest = gv_asprintf("@%s", f->manifest);
    expect(f, by_digest);
    expect_with(f, ":v1", &(struct source_options){ .jobs = 1 });
    __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
    assert_int_equal(load(f, ":v1", NULL, &image, NULL), 0);
    cleanup_free char *name = gv_asprintf("127.0.0.1:%u/team/app:v1", server_port(f->server));
    assert_string_equal(image.name, name);
    expect_failure(f, ":none", GV_E_NOT_FOUND, "does not have the image");
    f->type_header = "text/plain"; /* what it is is in it */
    expect(f, ":v1");
}

static void test_oci(void **state)
{
    struct fake *f = *state;
    fake_add_image(f, "amd64", OCI_MANIFEST, "application/vnd.oci.image.layer.v1.tar+gzip", "oci");
    expect(f, ":oci");
}

static void test_platforms(void **state)
{
    struct fake *f = *state;
    const struct doc *arm = fake_add_image(f, "arm64", MANIFEST, "application/vnd.docker.image.rootfs.diff.tar.gzip", NULL);
    const struct doc *amd = fake_get(f, "v1");
    cleanup_buf struct gv_buf list = { 0 };
    gv_buf_addf(&list,
                "{\"schemaVersion\":2,\"mediaType\":\"" LIST "\",\"manifests\":["
                "{\"mediaType\":\"" MANIFEST
                "\",\"digest\":\"sha256:%064d\",\"size\":7,\"platform\":{\"os\":\"unknown\",\"architecture\":\"unknown\"},"
                "\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\"}},"
                "{\"mediaType\":\"" MANIFEST
                "\",\"digest\":\"%s\",\"size\":%zu,\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"}},"
                "{\"mediaType\":\"" MANIFEST
                "\",\"digest\":\"%s\",\"size\":%zu,\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}]}",
                0, arm->digest, arm->data.len, amd->digest, amd->data.len);
    const struct doc *d = fake_add(f, LIST, list.data, list.len, "multi");
    expect(f, ":multi");
    expect_with(f, ":multi", &(struct source_options){ .platform = "linux/amd64" });
    expect_with(f, ":multi", &(struct source_options){ .platform = "linux/arm64" });
    expect_with(f, ":multi", &(struct source_options){ .platform = "linux/arm64/v8" });
    expect_failure_with(f, ":multi", &(struct source_options){ .platform = "linux/riscv64" }, GV_E_NOT_FOUND,
                        "there is no image for linux/riscv64 in it; there are images for: linux/arm64/v8, linux/amd64");
    expect_failure_with(f, ":v1", &(struct source_options){ .platform = "linux/arm64" }, GV_E_NOT_FOUND,
                        "there are images for: linux/amd64");
    /* By the digest of the list, and with one of its manifests lying. */
    cleanup_free char *by_digest = gv_asprintf("@%s", d->digest);
    expect(f, by_digest);
    f->lie = amd->digest;
    expect_failure(f, ":multi", GV_E_CORRUPT, "the manifest that came is not");
}

static void test_refused_manifests(void **state)
{
    struct fake *f = *state;
    static const char old[] = "{\"schemaVersion\":1,\"name\":\"team/app\",\"fsLayers\":[]}";
    fake_add(f, "application/vnd.docker.distribution.manifest.v1+prettyjws", old, strlen(old), "old");
    expect_failure(f, ":old", GV_E_UNSUPPORTED, "schema 1");
    cleanup_buf struct gv_buf foreign = { 0 };
    const struct doc *m = fake_get(f, "v1");
    gv_buf_add(&foreign, m->data.data, m->data.len);
    char *at = strstr(gv_buf_str(&foreign), "image.rootfs.diff");
    cleanup_free char *text = gv_asprintf("%.*s%s%s", (int)(at - gv_buf_str(&foreign)), gv_buf_str(&foreign),
                                          "image.rootfs.foreign.diff.tar.gzip\",\"y\":\"", at + 17);
    fake_add(f, MANIFEST, text, strlen(text), "foreign");
    expect_failure(f, ":foreign", GV_E_UNSUPPORTED, "may not be distributed");
    fake_add(f, MANIFEST, "{ x", 3, "broken");
    expect_failure(f, ":broken", GV_E_FORMAT, "the manifest");
    static const char artifact[] =
        "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MANIFEST "\",\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\","
        "\"digest\":\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2},\"layers\":[]}";
    fake_add(f, OCI_MANIFEST, artifact, strlen(artifact), "artifact");
    expect_failure(f, ":artifact", GV_E_UNSUPPORTED, "it is not an image but");
}

/* ---- lies ---- */

static void test_wrong_digests(void **state)
{
    struct fake *f = *state;
    f->digest_header = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    expect_failure(f, ":v1", GV_E_CORRUPT, "has the digest");
    f->digest_header = "nonsense"; /* no statement */
    expect(f, ":v1");
    f->digest_header = NULL;
    f->lie = f->manifest;
    cleanup_free char *by_digest = gv_asprintf("@%s", f->manifest);
    f->no_digest_header = true;
    expect_failure(f, by_digest, GV_E_CORRUPT, "has the digest");
    f->no_digest_header = false;

    setenv("XDG_CACHE_HOME", NO_CACHE, 1); /* nothing from before */
    for (size_t i = 0; i < 6; i++) {       /* layers and configuration */
        f->lie = f->docs[i].digest;
        expect_failure(f, ":v1", GV_E_CORRUPT, "what came has the digest");
    }
}

static void test_wrong_sizes(void **state)
{
    struct fake *f = *state;
    for (int delta = -1; delta <= 1; delta += 2) {
        const struct doc *m = fake_get(f, "v1");
        cleanup_buf struct gv_buf b = { 0 };
        gv_buf_add(&b, m->data.data, m->data.len);
        char size[32];
        snprintf(size, sizeof(size), "\"size\":%zu}", f->docs[2].data.len);
        char *at = strstr(gv_buf_str(&b), size);
        snprintf(at, strlen(size) + 1, "\"size\":%zu", f->docs[2].data.len + (size_t)delta);
        at[strlen(size) - 1] = '}';
        char tag[8];
        snprintf(tag, sizeof(tag), "s%d", delta + 1);
        fake_add(f, MANIFEST, b.data, b.len, tag);
        cleanup_free char *rest = gv_asprintf(":%s", tag);
        expect_failure(f, rest, GV_E_CORRUPT, "bytes and should have");
    }
    expect_failure_with(f, ":v1", &(struct source_options){ .max_bytes = 1000 }, GV_E_LIMIT, "--max-size");
}

static void test_statuses(void **state)
{
    struct fake *f = *state;
    f->status = 429;
    expect_failure(f, ":v1", GV_E_BUSY, "slow down; it asks to try again in 1000 seconds");
    f->status = 418;
    expect_failure(f, ":v1", GV_E_IO, "status 418");
    f->status = 403;
    expect_failure(f, ":v1", GV_E_NOT_FOUND, "skopeo login");
    f->status = 0;
    /* A layer that is not there. */
    f->docs[3].digest[70] ^= 1;
    expect_failure(f, ":v1", GV_E_NOT_FOUND, "blob unknown");
}

/* ---- logins ---- */

static void write_login(struct fake *f, const char *entry)
{
    cleanup_free char *dir = path_in(f->dir, ".docker"), *path = path_in(dir, "config.json");
    assert_int_equal(gv_mkdir_p(dir, 0700, NULL), 0);
    cleanup_free char *text = gv_asprintf("{\"auths\":{\"127.0.0.1:%u\":%s}}", server_port(f->server), entry);
    write_file(path, text, strlen(text));
}

static void test_basic(void **state)
{
    struct fake *f = *state;
    f->login = BASIC;
    expect_failure(f, ":v1", GV_E_NOT_FOUND, "docker login 127.0.0.1");
    write_login(f, "{\"auth\":\"dXNlcjp3cm9uZw==\"}");
    expect_failure(f, ":v1", GV_E_NOT_FOUND, "with the login from");
    write_login(f, "{\"auth\":\"dXNlcjpwOnc=\"}");
    expect(f, ":v1");
}

static void test_token(void **state)
{
    struct fake *f = *state;
    f->login = TOKEN;
    expect(f, ":v1");
    assert_int_equal(atomic_load(&f->tokens), 1);
}

static void test_token_ends(void **state)
{
    struct fake *f = *state;
    f->login = TOKEN;
    f->token_uses = 2;
    expect(f, ":v1");
    assert_true(atomic_load(&f->tokens) >= 2);
}

static void test_token_for_login(void **state)
{
    struct fake *f = *state;
    f->login = TOKEN_FOR_LOGIN;
    expect_failure(f, ":v1", GV_E_NOT_FOUND, "docker login");
    write_login(f, "{\"auth\":\"dXNlcjp3cm9uZw==\"}");
    expect_failure(f, ":v1", GV_E_NOT_FOUND, "is refused (status 401): incorrect username or password");
    write_login(f, "{\"auth\":\"dXNlcjpwOnc=\"}");
    expect(f, ":v1");
    f->login = TOKEN_FOR_IDENTITY;
    write_login(f, "{\"auth\":\"dXNlcjpwOnc=\",\"identitytoken\":\"ident/ity\"}");
    expect(f, ":v1");
}

static void test_bad_tokens(void **state)
{
    struct fake *f = *state;
    f->login = TOKEN;
    static const char *const bodies[] = { "{}",
                                          "[]",
                                          "{\"token\":7}",
                                          "{\"token\":\"\"}",
                                          "{\"token\":\"a\\r\\nX-Evil: 1\"}",
                                          "{\"token\":\"a b\"}",
                                          "{\"token\":\"\\u00e9\"}" };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        f->token_body = bodies[i];
        expect_failure(f, ":v1", GV_E_PROTOCOL, "no usable token");
    }
    f->token_body = "nonsense";
    expect_failure(f, ":v1", GV_E_FORMAT, "");
    f->token_body = "{\"token\":\"never-good\"}"; /* and no end of asking */
    expect_failure(f, ":v1", GV_E_NOT_FOUND, "authentication required");
    assert_true(atomic_load(&f->tokens) < 40);
    f->token_body = NULL;
    f->realm = "http://192.0.2.1/token"; /* not on this machine: the login would be seen on the way */
    expect_failure(f, ":v1", GV_E_PROTOCOL, "without encryption");
    f->realm = "file:///etc/passwd";
    expect_failure(f, ":v1", GV_E_PROTOCOL, "without encryption");
    f->realm = "https://user:password@127.0.0.1/";
    expect_failure(f, ":v1", GV_E_USAGE, "is not a URL");
}

/* A registry with TLS must not have the login sent somewhere without. */
static void test_token_over_tls(void **state)
{
    struct fake *f = *state;
    struct server *plain = f->server;
    cleanup_free char *ca = path_in(f->dir, "ca.pem");
    f->login = TOKEN;
    f->server = fake_start_tls(f, ca);
    expect_failure(f, ":v1", GV_E_PROTOCOL, "without encryption");
    cleanup_free char *realm = gv_asprintf("https://127.0.0.1:%u/token", server_port(f->server));
    f->realm = realm;
    expect(f, ":v1");
    server_stop(f->server);
    f->server = plain;
}

static void test_redirected_blobs(void **state)
{
    struct fake *f = *state;
    f->login = TOKEN;
    f->redirect = true;
    expect(f, ":v1");
    assert_true(server_calls(f->elsewhere) >= LAYERS);
    assert_int_equal(atomic_load(&f->leaks), 0);
}

/* ---- downloads ---- */

static void test_interrupted(void **state)
{
    struct fake *f = *state;
    f->cut = 100000;
    atomic_store(&f->cuts, 2);
    expect(f, ":v1");
    assert_int_equal(atomic_load(&f->ranged), 2);
}

static int count_files(const char *path, const char *suffix)
{
    DIR *d = opendir(path);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.' && (suffix ? strstr(e->d_name, suffix) != NULL : true);
    if (d)
        closedir(d);
    return n;
}

/* What one attempt has left the next one goes on with, as another process would. */
static void test_resumed_later(void **state)
{
    struct fake *f = *state;
    cleanup_free char *blobs = path_in(f->dir, "gvmkit/blobs/sha256");
    f->cut = 100000;
    atomic_store(&f->cuts, 5); /* as many as there are attempts */
    expect_failure(f, ":v1", GV_E_IO, "");
    assert_int_equal(count_files(blobs, ".part"), 1);
    unsigned before = atomic_load(&f->ranged);
    expect(f, ":v1");
    assert_int_equal(atomic_load(&f->ranged), before + 1);
    assert_int_equal(count_files(blobs, ".part"), 0);
    assert_int_equal(count_files(blobs, NULL), LAYERS + 1);
}

static char *blob_path(const struct fake *f, size_t i, const char *suffix)
{
    return gv_asprintf("%s/gvmkit/blobs/sha256/%s%s", f->dir, f->docs[i].digest + 7, suffix);
}

static void test_cache(void **state)
{
    struct fake *f = *state;
    expect(f, ":v1");
    unsigned all = atomic_load(&f->blobs);
    assert_int_equal(all, LAYERS + 1);
    expect(f, ":v1");
    assert_int_equal(atomic_load(&f->blobs), all);
    /* Damage, of the same size and of another, costs a download. */
    cleanup_free char *path = blob_path(f, 2, ""), *short_one = blob_path(f, 1, "");
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fputc('x', file), 'x');
    fclose(file);
    write_file(short_one, "x", 1);
    expect(f, ":v1");
    assert_int_equal(atomic_load(&f->blobs), all + 2);
    expect(f, ":v1");
    assert_int_equal(atomic_load(&f->blobs), all + 2);
}

/* The beginning of something else, and more than there should be. */
static void test_wrong_parts(void **state)
{
    struct fake *f = *state;
    cleanup_free char *dir = path_in(f->dir, "gvmkit/blobs/sha256"), *wrong = blob_path(f, 2, ".part"), *large = blob_path(f, 1, ".part"),
                      *whole = blob_path(f, 3, ".part");
    assert_int_equal(gv_mkdir_p(dir, 0700, NULL), 0);
    write_file(wrong, "something else", 14);
    char *zeros = gv_calloc(1, 100000);
    write_file(large, zeros, 100000);
    free(zeros);
    write_file(whole, f->docs[3].data.data, f->docs[3].data.len); /* all of it, but not yet under its name */
    expect(f, ":v1");
    assert_int_equal(count_files(dir, ".part"), 0);
    assert_int_equal(atomic_load(&f->ranged), 1);
    assert_int_equal(atomic_load(&f->blobs), LAYERS + 1); /* one twice, one not at all */
}

static void test_no_cache(void **state)
{
    struct fake *f = *state;
    setenv("XDG_CACHE_HOME", NO_CACHE, 1);
    expect(f, ":v1");
    expect(f, ":v1");
    assert_int_equal(atomic_load(&f->blobs), 2 * (LAYERS + 1));
}

static void test_parallel(void **state)
{
    struct fake *f = *state;
    f->slow_ms = 150;
    expect(f, ":v1");
    assert_in_range(atomic_load(&f->most), 2, 5);
    setenv("XDG_CACHE_HOME", NO_CACHE, 1);
    atomic_store(&f->most, 0);
    expect_with(f, ":v1", &(struct source_options){ .jobs = 1 });
    assert_int_equal(atomic_load(&f->most), 1);
}

static void *load_in_thread(void *user)
{
    struct fake *f = user;
    expect(f, ":v1");
    return NULL;
}

/* Two that want the same image at the same time download it once. */
static void test_together(void **state)
{
    struct fake *f = *state;
    pthread_t t[3];
    f->slow_ms = 50;
    for (size_t i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, load_in_thread, f);
    for (size_t i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&f->blobs), LAYERS + 1);
}

struct progress_seen {
    atomic_bool downloading, wrong;
    _Atomic uint64_t done, total;
};

static void see(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct progress_seen *s = user;
    if (strcmp(what, "downloading") != 0)
        return;
    atomic_store(&s->downloading, true);
    atomic_store(&s->total, total);
    if (done > total)
        atomic_store(&s->wrong, true);
    if (done > atomic_load(&s->done))
        atomic_store(&s->done, done);
}

static void test_progress(void **state)
{
    struct fake *f = *state;
    struct progress_seen seen = { 0 };
    const struct gv_progress p = { .update = see, .user = &seen };
    uint64_t all = 0;
    for (size_t i = 0; i < LAYERS; i++)
        all += f->docs[i].data.len;
    expect_with(f, ":v1", &(struct source_options){ .progress = &p });
    assert_true(atomic_load(&seen.downloading));
    assert_false(atomic_load(&seen.wrong));
    assert_int_equal(atomic_load(&seen.done), all);
    assert_int_equal(atomic_load(&seen.total), all);
}

/* ---- what a name stands for ---- */

static void test_resolve(void **state)
{
    struct fake *f = *state;
    cleanup_free char *reference = reference_of(f, ":v1"), *exact = NULL, *again = NULL, *print = NULL, *got = NULL;
    cleanup_free char *want = gv_asprintf("docker://127.0.0.1:%u/team/app@%s", server_port(f->server), f->manifest);
    assert_int_equal(source_resolve(reference, NULL, &exact, NULL), 0);
    assert_string_equal(exact, want);
    assert_int_equal(atomic_load(&f->heads), 1);
    assert_int_equal(source_fingerprint(exact, &print, NULL), 0);
    assert_non_null(strstr(print, f->manifest));
    assert_int_equal(source_resolve(exact, NULL, &again, NULL), 0);
    assert_string_equal(again, want);
    /* A registry that does not say the digest is asked for the manifest. */
    f->no_digest_header = true;
    assert_int_equal(source_resolve(reference, NULL, &got, NULL), 0);
    assert_string_equal(got, want);
    assert_int_equal(atomic_load(&f->blobs), 0);
    expect(f, strchr(exact, '@'));
    struct gv_error err = GV_ERROR_INIT;
    char *none = NULL;
    cleanup_free char *missing = reference_of(f, ":none");
    assert_int_equal(source_resolve(missing, NULL, &none, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
}

int main(void)
{
    unsetenv("DOCKER_HOST");
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_image),           TEST(test_oci),
        TEST(test_platforms),       TEST(test_refused_manifests),
        TEST(test_wrong_digests),   TEST(test_wrong_sizes),
        TEST(test_statuses),        TEST(test_basic),
        TEST(test_token),           TEST(test_token_ends),
        TEST(test_token_for_login), TEST(test_bad_tokens),
        TEST(test_token_over_tls),  TEST(test_redirected_blobs),
        TEST(test_interrupted),     TEST(test_resumed_later),
        TEST(test_cache),           TEST(test_wrong_parts),
        TEST(test_no_cache),        TEST(test_parallel),
        TEST(test_together),        TEST(test_progress),
        TEST(test_resolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
