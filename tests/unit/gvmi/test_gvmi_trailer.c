/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The end of the file: the format's test vectors, and every way in which it can be wrong. */
#include <stdio.h>
#include <stdlib.h>

#include "gvmi/trailer.h"
#include "helper.h"

static char *hex_of(const struct gv_buf *b)
{
    char *hex = gv_alloc(2 * b->len + 1);
    gv_hex(hex, b->data, b->len);
    return hex;
}

static void test_vectors(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf a = { 0 }, b = { 0 };
    assert_int_equal(gvmi_trailer_format(&a, "{}", 2, NULL), 0);
    cleanup_free char *hex = hex_of(&a);
    assert_string_equal(hex, "43bfa6a37b7d3030303030303032");

    const char *json = "{\"Volumes\":{\"/golem/work\":{}},\"WorkingDir\":\"/golem/work\"}";
    assert_int_equal(strlen(json), 57);
    assert_int_equal(gvmi_trailer_format(&b, json, 57, NULL), 0);
    assert_int_equal(b.len, 57 + 12);
    assert_memory_equal(b.data, "\x5b\x5e\x53\xb0", 4);
    assert_memory_equal(b.data + 4, json, 57);
    assert_memory_equal(b.data + 61, "00000057", 8);
}

static void test_writer_uses_it(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    struct image_config config = { .workdir = gv_strdup("/golem/work") };
    gv_strv_add(&config.volumes, "/golem/work");
    struct gvmi_write_result result;
    int fd = pack(t, &config, NULL, &result);
    struct gvmi_image *img = open_fd(fd);
    const char *json = "{\"Volumes\":{\"/golem/work\":{}},\"WorkingDir\":\"/golem/work\"}";
    assert_string_equal(gvmi_metadata(img), json);
    assert_int_equal(gvmi_info(img)->metadata_size, 57);
    assert_int_equal(gvmi_info(img)->trailer_offset % 4096, 0);
    assert_int_equal(gvmi_info(img)->trailer_offset + 57 + 12, result.size);
    assert_string_equal(gvmi_config(img)->workdir, "/golem/work");
    assert_int_equal(gvmi_config(img)->volumes.count, 1);
    gvmi_close(img);
    close(fd);
    image_config_clear(&config);
    image_tree_free(t);
}

static void test_json_that_is_too_long(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    cleanup_buf struct gv_buf out = { 0 };
    cleanup_free char *json = gv_calloc(1, GVMI_JSON_MAX + 2);
    memset(json, ' ', GVMI_JSON_MAX + 1);
    assert_int_equal(gvmi_trailer_format(&out, json, GVMI_JSON_MAX, &err), 0);
    assert_int_equal(gvmi_trailer_format(&out, json, GVMI_JSON_MAX + 1, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
}

/* A file of the given end behind a valid squashfs. */
static int with_end(const void *end, size_t n)
{
    struct image_tree *t = tree_new();
    int fd = pack(t, NULL, NULL, NULL);
    image_tree_free(t);
    struct gvmi_image *img = open_fd(fd);
    uint64_t at = gvmi_info(img)->trailer_offset;
    gvmi_close(img);
    assert_int_equal(ftruncate(fd, (off_t)at), 0);
    assert_int_equal(gv_pwrite_full(fd, end, n, at), 0);
    return fd;
}

static void refuse(const void *end, size_t n, enum gv_code code, const char *part)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_image *img = NULL;
    int fd = with_end(end, n);
    assert_int_equal(gvmi_open_fd(&img, fd, "this file", &err), -1);
    assert_null(img);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, part) || !strstr(err.msg, "this file"))
        fail_msg("`%s` does not say `%s`", err.msg, part);
    close(fd);
}

static void refuse_json(const char *json, enum gv_code code, const char *part)
{
    cleanup_buf struct gv_buf end = { 0 };
    assert_int_equal(gvmi_trailer_format(&end, json, strlen(json), NULL), 0);
    refuse(end.data, end.len, code, part);
}

static void test_wrong_ends(void **state)
{
    (void)state;
    refuse("", 0, GV_E_FORMAT, "no metadata");
    refuse("\x43\xbf\xa6\xa3{}0000000 ", 14, GV_E_FORMAT, "no metadata");
    refuse("\x43\xbf\xa6\xa3{}+0000002", 14, GV_E_FORMAT, "no metadata");
    refuse("\x43\xbf\xa6\xa3{}      2 ", 14, GV_E_FORMAT, "no metadata");
    refuse("\x43\xbf\xa6\xa3{}0x000002", 14, GV_E_FORMAT, "no metadata");
    refuse("\x43\xbf\xa6\xa3{}00000003", 14, GV_E_CORRUPT, "checksum");
    refuse("\x43\xbf\xa6\xa4{}00000002", 14, GV_E_CORRUPT, "checksum");
    refuse("\x43\xbf\xa6\xa3{]00000002", 14, GV_E_CORRUPT, "checksum");
    refuse("\x43\xbf\xa6\xa3{}99999999", 14, GV_E_LIMIT, "claims");
    refuse("\x43\xbf\xa6\xa3{}00500000", 14, GV_E_FORMAT, "claims");
    refuse("\0\0\0\0"
           "00000000",
           12, GV_E_FORMAT, "JSON");
    refuse_json("[]", GV_E_FORMAT, "not a JSON object");
    refuse_json("{\"Env\":\"PATH=/bin\"}", GV_E_FORMAT, "Env");
    refuse_json("{\"Cmd\":", GV_E_FORMAT, "JSON");
}

static void test_tolerant_where_the_runtime_is(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf end = { 0 };
    const char *json = "{\"Env\":null,\"Unknown\":[1,2,{}],\"User\":\"\",\"GVMKIT\":{\"generator\":\"gvmkit-build-py\"}}";
    assert_int_equal(gvmi_trailer_format(&end, json, strlen(json), NULL), 0);
    int fd = with_end(end.data, end.len);
    struct gvmi_image *img = open_fd(fd);
    assert_string_equal(gvmi_metadata(img), json);
    gvmi_close(img);
    /* the padding is no part of the format */
    assert_int_equal(ftruncate(fd, (off_t)0), 0);
    struct image_tree *t = tree_of_all_kinds();
    int whole = pack(t, NULL, NULL, NULL);
    img = open_fd(whole);
    uint64_t used = gvmi_info(img)->squashfs_size;
    gvmi_close(img);
    cleanup_free unsigned char *data = gv_alloc(used);
    assert_int_equal(gv_pread_full(whole, data, used, 0), used);
    assert_int_equal(gv_pwrite_full(fd, data, used, 0), 0);
    assert_int_equal(gv_pwrite_full(fd, end.data, end.len, used), 0);
    img = open_fd(fd);
    assert_same_tree(t, img);
    gvmi_close(img);
    close(fd);
    close(whole);
    image_tree_free(t);
}

static void test_files_that_are_no_images(void **state)
{
    (void)state;
    char *dir = make_dir();
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_image *img = NULL;
    cleanup_free char *missing = gv_asprintf("%s/missing.gvmi", dir);
    assert_int_equal(gvmi_open(&img, missing, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "missing.gvmi"));
    assert_int_equal(gvmi_open(&img, dir, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    cleanup_free char *fifo = gv_asprintf("%s/fifo", dir);
    assert_int_equal(run("mkfifo %s", fifo), 0);
    assert_int_equal(gvmi_open(&img, fifo, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);

    cleanup_free char *text = gv_asprintf("%s/text", dir);
    FILE *f = fopen(text, "w");
    fputs("this is not an image, but long enough to have an end\n", f);
    fclose(f);
    assert_int_equal(gvmi_open(&img, text, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    assert_non_null(strstr(err.msg, "not a .gvmi"));
    f = fopen(text, "w");
    fclose(f);
    assert_int_equal(gvmi_open(&img, text, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    /* a good trailer behind something else */
    f = fopen(text, "w");
    for (int i = 0; i < 100; i++)
        fputc('x', f);
    cleanup_buf struct gv_buf end = { 0 };
    gvmi_trailer_format(&end, "{}", 2, NULL);
    fwrite(end.data, 1, end.len, f);
    fclose(f);
    assert_int_equal(gvmi_open(&img, text, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    assert_non_null(strstr(err.msg, "does not begin with a squashfs"));
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_writer_uses_it),
        cmocka_unit_test(test_json_that_is_too_long),
        cmocka_unit_test(test_wrong_ends),
        cmocka_unit_test(test_tolerant_where_the_runtime_is),
        cmocka_unit_test(test_files_that_are_no_images),
    };
    return cmocka_run_group_tests_name("gvmi_trailer", tests, NULL, NULL);
}
