/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The whole way: contents, outer compression, sparse files, bombs and limits, broken archives, the example image, fingerprints. */
#include "helper.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* Sanitizers keep freed memory for a while, which says nothing about ours. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static struct layer_bytes whole(const struct tarb *t)
{
    return (struct layer_bytes){ .p = t->out.data, .n = t->out.len };
}

static int load_file(const char *path, const struct source_options *options, struct source_image *image, struct gv_error *err)
{
    struct source_image scratch = { 0 };
    int status = source_load(image ? image : &scratch, path, options, err);
    source_image_clear(&scratch);
    return status;
}

static void expect_error(const char *path, const struct source_options *options, const char *error)
{
    struct gv_error err = GV_ERROR_INIT;
    struct source_image image = { 0 };
    if (source_load(&image, path, options, &err) == 0)
        fail_msg("accepted; expected `%s`", error);
    if (!strstr(err.msg, error))
        fail_msg("expected `%s` in: %s", error, err.msg);
    assert_null(strchr(err.msg, '\n'));
    assert_null(image.tree);
}

/* ---- contents ---- */

static void test_contents(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "i.tar");
    size_t n = (size_t)3 << 20;
    unsigned char *data = gv_alloc(n);
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        data[i] = i > 100000 && i < 2000000 ? 0 : (unsigned char)(x >> 24);
    }
    struct tarb t = { 0 };
    static const size_t sizes[] = { 0, 1, 511, 512, 513, 4096, 300000, (size_t)3 << 20 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%zu", sizes[i]);
        tarb_add(&t, &(struct tarb_member){ .name = name, .data = data, .size = sizes[i] });
    }
    tarb_end(&t);
    struct gv_buf packed = { 0 };
    gzip_into(&packed, t.out.data, t.out.len);
    for (int kind = 0; kind < 4; kind++) {
        struct layer_bytes layer = whole(&t);
        if (kind & 1)
            layer = (struct layer_bytes){ packed.data, packed.len, (const char *)t.out.data, t.out.len };
        write_docker_archive(path, &layer, 1, "a:b");
        struct source_image image = { 0 };
        struct source_options options = { .jobs = kind < 2 ? 1 : 0 };
        assert_int_equal(source_load(&image, path, &options, NULL), 0);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            char name[32];
            snprintf(name, sizeof(name), "/f%zu", sizes[i]);
            const struct image_inode *f = image_tree_lookup(image.tree, name, false)->inode;
            unsigned char *back = gv_alloc(sizes[i] + 1);
            assert_int_equal(f->size, sizes[i]);
            assert_int_equal(image_tree_read(image.tree, f, 0, back, sizes[i], NULL), 0);
            assert_int_equal(memcmp(back, data, sizes[i]), 0);
            if (sizes[i] > 10) { /* from the middle */
                assert_int_equal(image_tree_read(image.tree, f, 5, back, sizes[i] - 7, NULL), 0);
                assert_int_equal(memcmp(back, data + 5, sizes[i] - 7), 0);
            }
            assert_int_equal(image_tree_read(image.tree, f, 0, back, sizes[i] + 1, NULL), -1);
            free(back);
        }
        source_image_clear(&image);
    }
    gv_buf_clear(&packed);
    tarb_clear(&t);
    free(data);
    free(path);
    temp_remove(dir);
}

static void test_outer_compression(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "i.tar");
    struct tarb t = { 0 };
    tarb_text(&t, "f a hello\nf b world");
    tarb_end(&t);
    struct layer_bytes layer = whole(&t);
    static const char *const tools[] = { "gzip", "zstd -q --rm", "xz", "bzip2" };
    static const char *const suffixes[] = { ".gz", ".zst", ".xz", ".bz2" };
    for (size_t i = 0; i < 4; i++) {
        write_docker_archive(path, &layer, 1, "a:b");
        char *command = gv_asprintf("%s '%s' 2>/dev/null", tools[i], path);
        if (system(command) == 0) {
            char *packed = gv_asprintf("%s%s", path, suffixes[i]);
            struct source_image image = { 0 };
            assert_int_equal(source_load(&image, packed, NULL, NULL), 0);
            assert_tree(&image, "/a f hello\n/b f world\n");
            struct stat st;
            assert_int_equal(stat(packed, &st), 0);
            assert_int_equal(image.archive_bytes, st.st_size);
            assert_int_equal(image.layer_bytes, 10);
            assert_int_equal(image.layers, 1);
            assert_string_equal(image.name, "a:b");
            source_image_clear(&image);
            assert_int_equal(truncate(packed, st.st_size / 2), 0);
            assert_int_equal(load_file(packed, NULL, NULL, NULL), -1);
            free(packed);
        } else {
            print_message("# skipped: %s is not there\n", tools[i]);
        }
        free(command);
        unlink(path);
    }
    tarb_clear(&t);
    free(path);
    temp_remove(dir);
}

/* A sparse member of `size` bytes with "data" at `at`. */
static void sparse_member(struct tarb *t, const char *name, uint64_t size, uint64_t at)
{
    char map[100], real[32];
    unsigned char data[1024] = { 0 };
    snprintf(map, sizeof(map), "1\n%" PRIu64 "\n4\n", at);
    snprintf(real, sizeof(real), "%" PRIu64, size);
    memcpy(data, map, strlen(map));
    memcpy(data + 512, "data", 4);
    tarb_record(t, "GNU.sparse.major", "1", 1);
    tarb_record(t, "GNU.sparse.minor", "0", 1);
    tarb_record(t, "GNU.sparse.name", name, strlen(name));
    tarb_record(t, "GNU.sparse.realsize", real, strlen(real));
    tarb_add(t, &(struct tarb_member){ .name = "GNUSparseFile.0/x", .data = data, .size = 516 });
}

static void test_sparse(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "i.tar");
    struct tarb t = { 0 };
    sparse_member(&t, "one", 100000, 50000);
    tarb_text(&t, "f two hello");
    sparse_member(&t, "three", (uint64_t)900 << 20, (uint64_t)800 << 20);
    sparse_member(&t, "four", 5000, 4996);
    tarb_end(&t);
    struct gv_buf packed = { 0 };
    gzip_into(&packed, t.out.data, t.out.len);
    for (int kind = 0; kind < 2; kind++) {
        struct layer_bytes layer = whole(&t);
        if (kind)
            layer = (struct layer_bytes){ packed.data, packed.len, (const char *)t.out.data, t.out.len };
        write_docker_archive(path, &layer, 1, "a:b");
        struct source_image image = { 0 };
        assert_int_equal(source_load(&image, path, NULL, NULL), 0);
        static const struct {
            const char *name;
            uint64_t size, at;
        } files[] = { { "one", 100000, 50000 }, { "three", (uint64_t)900 << 20, (uint64_t)800 << 20 }, { "four", 5000, 4996 } };
        for (size_t i = 0; i < 3; i++) {
            const struct image_inode *f = image_tree_lookup(image.tree, files[i].name, false)->inode;
            char buf[12], expected[12] = { 0 };
            assert_int_equal(f->size, files[i].size);
            memcpy(expected + 4, "data", 4);
            size_t len = files[i].size - files[i].at < 8 ? 8 : 12;
            assert_int_equal(image_tree_read(image.tree, f, files[i].at - 4, buf, len, NULL), 0);
            assert_memory_equal(buf, expected, len);
            assert_int_equal(image_tree_read(image.tree, f, 0, buf, 12, NULL), 0);
            assert_memory_equal(buf, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
            assert_int_equal(image_tree_read(image.tree, f, files[i].size - 4, buf, 4, NULL), 0);
        }
        source_image_clear(&image);
    }
    gv_buf_clear(&packed);
    tarb_clear(&t);
    /* Too large is told from the sizes alone. */
    static const uint64_t sizes[] = { (uint64_t)2 << 30, (uint64_t)100 << 30, INT64_MAX };
    static const char *const errors[] = { "looks like a decompression bomb", "larger than 68719476736 bytes",
                                          "larger than 68719476736 bytes" };
    for (size_t i = 0; i < 3; i++) {
        sparse_member(&t, "huge", sizes[i], 0);
        tarb_end(&t);
        struct layer_bytes layer = whole(&t);
        write_docker_archive(path, &layer, 1, "a:b");
        expect_error(path, NULL, errors[i]);
        if (i == 0) {
            struct source_options options = { .max_bytes = (uint64_t)3 << 30 };
            assert_int_equal(load_file(path, &options, NULL, NULL), 0);
        }
        tarb_clear(&t);
    }
    free(path);
    temp_remove(dir);
}

/* ---- bombs ---- */

/* A layer with one file of n zero bytes, as a gzip file at path. */
static void write_bomb(const char *path, uint64_t n)
{
    struct tarb t = { 0 };
    unsigned char header[512], *zeros = gv_calloc(1, 1 << 20);
    tarb_header(&t, &(struct tarb_member){ .name = "zeros", .said_size = n }, header);
    gzFile f = gzopen(path, "wb1");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, header, 512), 512);
    for (uint64_t left = n; left; left -= 1 << 20)
        assert_int_equal(gzwrite(f, zeros, 1 << 20), 1 << 20);
    assert_int_equal(gzclose(f), Z_OK);
    free(zeros);
}

static long peak_kb(void)
{
    struct rusage r;
    assert_int_equal(getrusage(RUSAGE_SELF, &r), 0);
    return r.ru_maxrss;
}

static void test_bomb(void **state)
{
    (void)state;
    char *dir = temp_make(), *bomb = path_in(dir, "bomb.gz"), *path = path_in(dir, "i.tar");
    write_bomb(bomb, (uint64_t)1200 << 20);
    struct gv_buf b = { 0 };
    assert_int_equal(gv_read_file(bomb, (size_t)64 << 20, &b, NULL), 0);
    struct layer_bytes layer = { b.data, b.len, "", 0 };
    write_docker_archive(path, &layer, 1, "a:b");
    gv_buf_clear(&b);
    long before = peak_kb();
    expect_error(path, NULL, "looks like a decompression bomb");
    struct source_options options = { .max_bytes = (uint64_t)1 << 24 };
    expect_error(path, &options, "larger than 16777216 bytes");
    /* As a whole archive. */
    expect_error(bomb, NULL, "looks like a decompression bomb");
    expect_error(bomb, &options, "larger than 16777216 bytes");
    if (!SANITIZED)
        assert_true(peak_kb() - before < 65536);
    /* Allowed when its size is given; the digest is what is wrong then. */
    options.max_bytes = (uint64_t)2 << 30;
    expect_error(path, &options, "(diff_id)");
    free(bomb);
    free(path);
    temp_remove(dir);
}

static void test_many_entries(void **state)
{
    (void)state;
    char *dir = temp_make(), *layer_path = path_in(dir, "layer.gz"), *path = path_in(dir, "i.tar");
    struct tarb t = { 0 };
    gzFile f = gzopen(layer_path, "wb1");
    assert_non_null(f);
    for (int i = 0; i < 2000000; i++) {
        unsigned char header[512];
        char name[32];
        snprintf(name, sizeof(name), "d%d/f%d", i / 1000, i);
        tarb_header(&t, &(struct tarb_member){ .name = name }, header);
        assert_int_equal(gzwrite(f, header, 512), 512);
    }
    assert_int_equal(gzclose(f), Z_OK);
    struct gv_buf b = { 0 };
    assert_int_equal(gv_read_file(layer_path, (size_t)256 << 20, &b, NULL), 0);
    struct layer_bytes layer = { b.data, b.len, "", 0 };
    write_docker_archive(path, &layer, 1, "a:b");
    gv_buf_clear(&b);
    long before = peak_kb();
    expect_error(path, NULL, "more than 1500000 entries; if that is right, give its size with --max-size");
    /* Bounded memory: 300 bytes an entry, and 64 MB. */
    if (!SANITIZED)
        assert_true(peak_kb() - before < 1500000 / 1024 * 300 + 65536);
    /* Whoever gives a size may have more; the digest is what is wrong then. */
    struct source_options options = { .max_bytes = (uint64_t)2 << 30 };
    expect_error(path, &options, "(diff_id)");
    free(layer_path);
    free(path);
    temp_remove(dir);
}

/* ---- broken archives ---- */

static void test_not_archives(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "x");
    expect_error(path, NULL, "cannot open");
    expect_error(dir, NULL, "neither an image nor a root file system");
    write_file(path, "", 0);
    expect_error(path, NULL, "the file is empty");
    write_file(path, "hello", 5);
    expect_error(path, NULL, "not a tar archive");
    write_file(path, "\x1f\x8b\x08hello", 8);
    expect_error(path, NULL, "gzip");
    char *zeros = gv_calloc(1, 10240);
    write_file(path, zeros, 10240);
    expect_error(path, NULL, "neither manifest.json nor repositories");
    free(zeros);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_error(path, NULL, "neither a file nor a directory");
    expect_error("/dev/null", NULL, "neither a file nor a directory");
    expect_error("", NULL, "names no file");
    free(path);
    temp_remove(dir);
}

static void test_cut_archives(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "i.tar");
    struct tarb t = { 0 };
    struct gv_buf packed = { 0 };
    tarb_text(&t, "f a hello\nf b world");
    tarb_end(&t);
    gzip_into(&packed, t.out.data, t.out.len);
    struct layer_bytes layers[] = { whole(&t), { packed.data, packed.len, (const char *)t.out.data, t.out.len } };
    write_docker_archive(path, layers, 2, "a:b");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (off_t n = st.st_size - 1536; n > 0; n -= 700) /* all of it is there before the end marks and the padding */ {
        assert_int_equal(truncate(path, n), 0);
        assert_int_equal(load_file(path, NULL, NULL, NULL), -1);
    }
    gv_buf_clear(&packed);
    tarb_clear(&t);
    free(path);
    temp_remove(dir);
}

/* A layer of no bytes at all is one without changes. */
static void test_empty_layer(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "i.tar");
    struct tarb t = { 0 };
    tarb_text(&t, "f a hello");
    tarb_end(&t);
    struct layer_bytes layers[] = { whole(&t), { "", 0, "", 0 }, whole(&t) };
    write_docker_archive(path, layers, 3, "a:b");
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (source_load(&image, path, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    assert_tree(&image, "/a f hello\n");
    assert_int_equal(image.layers, 3);
    source_image_clear(&image);
    tarb_clear(&t);
    free(path);
    temp_remove(dir);
}

static void test_scratch_directory(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "i.tar"), *old = getenv("TMPDIR") ? gv_strdup(getenv("TMPDIR")) : NULL;
    struct tarb t = { 0 };
    struct gv_buf packed = { 0 };
    tarb_text(&t, "f a hello");
    tarb_end(&t);
    gzip_into(&packed, t.out.data, t.out.len);
    struct layer_bytes layer = { packed.data, packed.len, (const char *)t.out.data, t.out.len };
    write_docker_archive(path, &layer, 1, "a:b");
    setenv("TMPDIR", "/does/not/exist", 1);
    expect_error(path, NULL, "set TMPDIR");
    if (old)
        setenv("TMPDIR", old, 1);
    else
        unsetenv("TMPDIR");
    assert_int_equal(load_file(path, NULL, NULL, NULL), 0);
    gv_buf_clear(&packed);
    tarb_clear(&t);
    free(old);
    free(path);
    temp_remove(dir);
}

/* ---- the rest of the header ---- */

static void test_fingerprint(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "x"), *a, *b, *c;
    assert_int_equal(source_fingerprint(path, &a, NULL), -1);
    assert_int_equal(source_fingerprint(dir, &a, NULL), -1);
    write_file(path, "1", 1);
    assert_int_equal(source_fingerprint(path, &a, NULL), 0);
    assert_int_equal(source_fingerprint(path, &b, NULL), 0);
    assert_string_equal(a, b);
    char *named = gv_asprintf("docker-archive:%s:name", path);
    assert_int_equal(source_fingerprint(named, &c, NULL), 0);
    assert_string_not_equal(a, c);
    free(b);
    free(c);
    usleep(20000);
    write_file(path, "2", 1); /* same size */
    assert_int_equal(source_fingerprint(path, &b, NULL), 0);
    assert_string_not_equal(a, b);
    free(a);
    free(b);
    char *index = path_in(dir, "index.json");
    write_file(index, "{}", 2);
    assert_int_equal(source_fingerprint(dir, &a, NULL), 0);
    free(a);
    free(index);
    free(named);
    free(path);
    temp_remove(dir);
}

struct seen {
    uint64_t done, total;
    bool wrong;
};

static void on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct seen *s = user;
    s->wrong = s->wrong || done < s->done || done > total || strcmp(what, "reading layers") != 0;
    s->done = done;
    s->total = total;
}

static void test_progress(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "i.tar");
    struct tarb t = { 0 };
    tarb_text(&t, "f a hello");
    tarb_end(&t);
    struct layer_bytes layers[] = { whole(&t), whole(&t) };
    write_docker_archive(path, layers, 2, "a:b");
    struct seen seen = { 0 };
    struct gv_progress progress = { .update = on_progress, .user = &seen };
    struct source_options options = { .progress = &progress };
    assert_int_equal(load_file(path, &options, NULL, NULL), 0);
    assert_false(seen.wrong);
    assert_int_equal(seen.total, 2 * t.out.len);
    assert_int_equal(seen.done, seen.total);
    tarb_clear(&t);
    free(path);
    temp_remove(dir);
}

static void test_example(void **state)
{
    (void)state;
    const char *path = EXAMPLE_IMAGE;
    if (access(path, R_OK) < 0) {
        print_message("# skipped: no %s\n", path);
        return;
    }
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (source_load(&image, path, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(image.name, "hello:v1");
    assert_string_equal(image.architecture, "amd64");
    assert_string_equal(image.os, "linux");
    assert_int_equal(image.layers, 5);
    char *config = image_config_format(&image.config);
    assert_string_equal(config,
                        "{\"Cmd\":[\"--default\"],\"Entrypoint\":[\"hello.sh\"],"
                        "\"Env\":[\"PATH=/bin:/golem/entrypoints\",\"GREETING=nice to meet you\"],"
                        "\"Image\":\"c3942dc4a2cc16d59625194c63520caeb6b0c2563e43414d27d54e229f90b5c8\","
                        "\"Volumes\":{\"/golem/input\":{},\"/golem/output\":{},\"/golem/work\":{}},\"WorkingDir\":\"/golem/work\"}");
    free(config);
    struct image_node *busybox = image_tree_lookup(image.tree, "/bin/sh", true);
    assert_non_null(busybox);
    assert_int_equal(busybox->inode->mode, 0755);
    char magic[4];
    assert_int_equal(image_tree_read(image.tree, busybox->inode, 0, magic, 4, NULL), 0);
    assert_memory_equal(magic,
                        "\x7f"
                        "ELF",
                        4);
    assert_non_null(image_tree_lookup(image.tree, "/golem/entrypoints/hello.sh", false));
    source_image_clear(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),     cmocka_unit_test(test_outer_compression), cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_bomb),         cmocka_unit_test(test_many_entries),      cmocka_unit_test(test_not_archives),
        cmocka_unit_test(test_cut_archives), cmocka_unit_test(test_empty_layer),       cmocka_unit_test(test_scratch_directory),
        cmocka_unit_test(test_fingerprint),  cmocka_unit_test(test_progress),          cmocka_unit_test(test_example),
    };
    return cmocka_run_group_tests_name("source_load", tests, NULL, NULL);
}
