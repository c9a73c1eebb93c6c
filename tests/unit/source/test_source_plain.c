/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A tar of a whole root file system: names like whiteouts, kinds of tar and compression, its size, and how a bare file is told from an archive of images. */
#include "helper.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int load(const char *transport, const char *path, const struct source_options *options, struct source_image *image,
                struct gv_error *err)
{
    cleanup_free char *reference = gv_asprintf("%s%s", transport, path);
    return source_load(image, reference, options, err);
}

static void must_load(const char *transport, const char *path, const struct source_options *options, struct source_image *image)
{
    struct gv_error err = GV_ERROR_INIT;
    if (load(transport, path, options, image, &err) < 0)
        fail_msg("%s%s: %s", transport, path, err.msg);
}

static void expect_error(const char *transport, const char *path, const struct source_options *options, const char *error)
{
    struct gv_error err = GV_ERROR_INIT;
    struct source_image image = { 0 };
    if (load(transport, path, options, &image, &err) == 0)
        fail_msg("accepted; expected `%s`", error);
    if (!strstr(err.msg, error))
        fail_msg("expected `%s` in: %s", error, err.msg);
    assert_null(image.tree);
    assert_null(image.architecture);
}

static void write_tarb(const char *path, struct tarb *t)
{
    tarb_end(t);
    write_file(path, t->out.data, t->out.len);
    tarb_clear(t);
}

/* In a layer these would be whiteouts, or refused; here they are names. */
static void test_whiteouts(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "root.tar");
    struct tarb t = { 0 };
    tarb_text(&t, "d usr\n f usr/a 1\n f usr/.wh.a 2\n f .wh. 3\n f .wh..wh..opq 4\n d .wh..wh.plnk\n f .wh..wh.plnk/9 5\n"
                  "d .wh.dir\n f .wh.dir/f 6\n h twin .wh.dir/f\n h aufs .wh..wh.plnk/9\n f .wh.made/f 7");
    write_tarb(path, &t);
    struct source_image image = { 0 };
    must_load("tar:", path, NULL, &image);
    assert_tree(&image, "/.wh. f 3\n/.wh..wh..opq f 4\n/.wh..wh.plnk d\n/.wh..wh.plnk/9 f 5\n/.wh.dir d\n/.wh.dir/f f 6\n/.wh.made d\n"
                        "/.wh.made/f f 7\n/aufs = /.wh..wh.plnk/9\n/twin = /.wh.dir/f\n/usr d\n/usr/.wh.a f 2\n/usr/a f 1\n");
    assert_int_equal(image.layers, 1);
    assert_string_equal(image.architecture, "amd64");
    assert_string_equal(image.os, "linux");
    assert_null(image.name);
    char *config = image_config_format(&image.config);
    assert_string_equal(config, "{}");
    free(config);
    source_image_clear(&image);
    must_load("tar:", path, &(struct source_options){ .platform = "linux/arm64" }, &image);
    assert_string_equal(image.architecture, "arm64");
    source_image_clear(&image);
    free(path);
    temp_remove(dir);
}

static void test_kinds(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "root.tar");
    for (int format = TARB_PAX; format <= TARB_V7; format++) {
        struct tarb t = { .format = (enum tarb_format)format };
        tarb_text(&t, "d etc\n f etc/hostname name\n h etc/twin etc/hostname\n l bin usr/bin");
        tarb_end(&t);
        for (int packing = 0; packing < 4; packing++) {
            struct gv_buf b = { 0 };
            size_t half = 1000; /* two members of gzip, or two frames, cut somewhere */
            if (packing == 0)
                gv_buf_add(&b, t.out.data, t.out.len);
            if (packing == 1 || packing == 2) {
                gzip_into(&b, t.out.data, packing == 1 ? half : t.out.len);
                if (packing == 1)
                    gzip_into(&b, t.out.data + half, t.out.len - half);
            }
            if (packing == 3) {
                zstd_into(&b, t.out.data, half);
                zstd_into(&b, t.out.data + half, t.out.len - half);
            }
            write_file(path, b.data, b.len);
            static const char *const transports[] = { "tar:", "" };
            for (int k = 0; k < 2; k++) {
                struct source_image image = { 0 };
                must_load(transports[k], path, NULL, &image);
                assert_tree(&image, "/bin l usr/bin\n/etc d\n/etc/hostname f name\n/etc/twin = /etc/hostname\n");
                assert_int_equal(image.archive_bytes, b.len);
                assert_int_equal(image.layer_bytes, 4);
                source_image_clear(&image);
            }
            gv_buf_clear(&b);
        }
        tarb_clear(&t);
    }
    free(path);
    temp_remove(dir);
}

static void test_sparse(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "root.tar");
    struct tarb t = { 0 };
    char data[1024] = "1\n50000\n4\n";
    memcpy(data + 512, "data", 4);
    tarb_text(&t, "d var");
    tarb_record(&t, "GNU.sparse.major", "1", 1);
    tarb_record(&t, "GNU.sparse.minor", "0", 1);
    tarb_record(&t, "GNU.sparse.name", "var/sparse", 10);
    tarb_record(&t, "GNU.sparse.realsize", "100000", 6);
    tarb_add(&t, &(struct tarb_member){ .name = "GNUSparseFile.0/x", .data = data, .size = 516 });
    write_tarb(path, &t);
    static const char *const transports[] = { "tar:", "" };
    for (int k = 0; k < 2; k++) {
        struct source_image image = { 0 };
        char buf[8];
        must_load(transports[k], path, NULL, &image);
        const struct image_inode *i = image_tree_lookup(image.tree, "var/sparse", false)->inode;
        assert_int_equal(i->size, 100000);
        assert_int_equal(image_tree_read(image.tree, i, 49998, buf, 8, NULL), 0);
        assert_memory_equal(buf, "\0\0data\0", 8);
        source_image_clear(&image);
    }
    free(path);
    temp_remove(dir);
}

static void test_absolute(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "root.tar");
    struct tarb t = { 0 };
    tarb_text(&t, "d /etc\n f /etc/a 1\n h /b /etc/a");
    write_tarb(path, &t);
    expect_error("tar:", path, NULL, "an absolute name; --absolute-names");
    expect_error("", path, NULL, "an absolute name; --absolute-names");
    struct source_image image = { 0 };
    must_load("", path, &(struct source_options){ .absolute_names = true }, &image);
    assert_tree(&image, "/b f 1\n/etc d\n/etc/a = /b\n");
    source_image_clear(&image);
    tarb_text(&t, "d etc\n f etc/../../a 1");
    write_tarb(path, &t);
    expect_error("tar:", path, NULL, "`..` leads out of the image");
    free(path);
    temp_remove(dir);
}

/* Neither unpacked nor bounded by what an archive of images may hold. */
static void test_large(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "root.tar"), *old = getenv("TMPDIR") ? gv_strdup(getenv("TMPDIR")) : NULL;
    struct tarb t = { 0 };
    for (int i = 0; i < 120000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "data/d%d/f%d", i / 1000, i);
        tarb_add(&t, &(struct tarb_member){ .name = name });
    }
    tarb_text(&t, "f etc/last 1");
    write_tarb(path, &t);
    setenv("TMPDIR", "/does/not/exist", 1);
    static const char *const transports[] = { "tar:", "" };
    for (int k = 0; k < 2; k++) {
        struct source_image image = { 0 };
        must_load(transports[k], path, NULL, &image);
        assert_int_equal(image.totals.files, 120001);
        source_image_clear(&image);
    }
    expect_error("tar:", path, &(struct source_options){ .max_entries = 1000 }, "more than 1000 entries");
    expect_error("tar:", path, &(struct source_options){ .max_bytes = 100000 }, "larger than 100000 bytes");
    expect_error("docker-archive:", path, NULL, "more than 100000 members");
    if (old)
        setenv("TMPDIR", old, 1);
    else
        unsetenv("TMPDIR");
    free(old);
    free(path);
    temp_remove(dir);
}

/* ---- what a bare file is ---- */

static void test_recognised(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "file.tar");
    static const struct {
        const char *text, *error; /* error NULL: a root file system */
    } cases[] = {
        { "d etc", NULL },
        { "d ./\n d ./usr\n f ./usr/x 1", NULL },
        { "f .dockerenv\n f hello 1", NULL },
        { "f data/x 1\n f other 2\n l bin usr/bin", NULL },
        { "f manifest.json {}\n d usr", NULL }, /* of a web page */
        { "f index.json {}\n f etc/x 1", NULL },
        { "f manifest.json [{}]\n d usr", NULL },
        { "f manifest.json [{\"Layers\":[]}]\n d usr", "could be a root file system or an archive of images: `manifest.json` is in it" },
        { "d usr\n f manifest.json [{\"Layers\":[]}]", "write tar: before its name, or docker-archive:" },
        { "d usr\n f index.json {\"manifests\":[]}", "write tar: before its name, or oci-archive:" },
        { "f hello 1\n f world/etc/x 2", "no bin, etc, usr, ...); if it is one, write tar: before its name" },
        { "f linux-6.1/usr/x 2", "write tar:" },
        { "f etcetera 1", "write tar:" },
        { "f 0/layer.tar 1\n f 0/json 2", "neither manifest.json nor repositories" },
        { "f blobs/sha256/00 1", "neither manifest.json nor repositories" },
        { "f oci-layout {}", "neither manifest.json nor repositories" },
        { "", "neither manifest.json nor repositories" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct tarb t = { 0 };
        tarb_text(&t, cases[i].text);
        write_tarb(path, &t);
        struct source_image image = { 0 };
        if (cases[i].error) {
            expect_error("", path, NULL, cases[i].error);
        } else {
            must_load("", path, NULL, &image);
            source_image_clear(&image);
        }
        if (*cases[i].text) {
            must_load("tar:", path, NULL, &image);
            source_image_clear(&image);
        }
        /* Who says what it is gets that, or what is missing. */
        expect_error("docker-archive:", path, NULL, path);
        expect_error("oci-archive:", path, NULL, path);
    }
    /* An archive of images stays one. */
    struct tarb t = { 0 };
    tarb_text(&t, "d etc\n f etc/in-layer 1");
    tarb_end(&t);
    struct layer_bytes layer = { .p = t.out.data, .n = t.out.len };
    write_docker_archive(path, &layer, 1, "a:b");
    tarb_clear(&t);
    struct source_image image = { 0 };
    must_load("", path, NULL, &image);
    assert_tree(&image, "/etc d\n/etc/in-layer f 1\n");
    assert_string_equal(image.name, "a:b");
    source_image_clear(&image);
    /* As a root file system it is what is in it. */
    must_load("tar:", path, NULL, &image);
    assert_non_null(image_tree_lookup(image.tree, "manifest.json", false));
    source_image_clear(&image);
    free(path);
    temp_remove(dir);
}

static void test_wrong(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "root.tar"), *missing = path_in(dir, "missing");
    expect_error("tar:", missing, NULL, "cannot open");
    expect_error("tar:", dir, NULL, "it is not a file; a directory is given as dir:PATH");
    expect_error("tar:", "/dev/null", NULL, "neither a file nor a directory");
    write_file(path, "", 0);
    expect_error("tar:", path, NULL, "the file is empty");
    write_file(path, "hello", 5);
    expect_error("tar:", path, NULL, "this is not a tar archive");
    struct tarb t = { 0 };
    tarb_text(&t, "d etc\n f etc/a hello\n f etc/b world");
    static const size_t cuts[] = { 700, 1026, 1700 }; /* in a header, in the data, in a header */
    for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
        struct source_image image = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        write_file(path, t.out.data, cuts[i]);
        assert_int_equal(load("tar:", path, NULL, &image, &err), -1);
        assert_non_null(strstr(err.msg, "cut short"));
        assert_null(strstr(err.msg, "layer"));
    }
    tarb_clear(&t);
    free(missing);
    free(path);
    temp_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whiteouts), cmocka_unit_test(test_kinds),      cmocka_unit_test(test_sparse), cmocka_unit_test(test_absolute),
        cmocka_unit_test(test_large),     cmocka_unit_test(test_recognised), cmocka_unit_test(test_wrong),
    };
    return cmocka_run_group_tests_name("source_plain", tests, NULL, NULL);
}
