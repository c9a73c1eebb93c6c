/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The upload descriptor: known vectors, what is kept beside a file, broken ones. */
#include "fit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static void check(int fd, uint64_t chunk, size_t bytes, const char *id, const char *hash)
{
    struct convert_descriptor d = { 0 }, known = { 0 }, parsed = { 0 };
    assert_int_equal(convert_descriptor_make(&d, fd, chunk, NULL, NULL, NULL), 0);
    assert_int_equal(d.bytes.len, bytes);
    assert_string_equal(d.id, id);
    assert_int_equal(d.chunks * 32 + 52, bytes);
    if (hash)
        assert_string_equal(d.hash, hash);
    /* with the hash known it is the same */
    assert_int_equal(convert_descriptor_make(&known, fd, chunk, d.hash, NULL, NULL), 0);
    assert_string_equal(known.id, id);
    assert_int_equal(convert_descriptor_parse(&parsed, d.bytes.data, d.bytes.len, NULL), 0);
    assert_string_equal(parsed.id, id);
    assert_string_equal(parsed.hash, d.hash);
    assert_int_equal(parsed.size, d.size);
    assert_int_equal(parsed.chunk_size, chunk);
    convert_descriptor_clear(&d);
    convert_descriptor_clear(&known);
    convert_descriptor_clear(&parsed);
}

static void test_vectors(void **state)
{
    (void)state;
    int fd = scratch();
    check(fd, 2 * MIB, 52, "542b430ab601ad30e35316270fd6c4c9fed9a4b83733ba0953d138c7852d90b3",
          "6b4e03423667dbb73b6e15454f0eb1abd4597f9a1b078e3f5b5a6bc7");
    assert_int_equal(write(fd, "hello", 5), 5);
    check(fd, 2 * MIB, 84, "39fd278bd7fb42ec992a5155c65743dd7ed3064af3f905baafe96045cafc0251",
          "b87f88c72702fff1748e58b87e9141a42c0dbedc29a78cb0d4a5cd81");
    close(fd);
    fd = scratch();
    unsigned char data[10001];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i % 251);
    assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
    check(fd, 1000, 404, "f0a431027823e1dfe579bc5a3abdc95e988fe6ac317e928aac5c2a97cb2c1396", NULL);
    close(fd);
}

static void test_real_file(void **state)
{
    (void)state;
    cleanup_free char *path = testdata("alpine.gvmi");
    if (!path) {
        print_message("the real files of the original tools are not here\n");
        skip();
    }
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    check(fd, 2 * MIB, 116, "b4368a6ec51a7b4a9cc6efd58edf22f276e1f9c5e29566a2096ef6e0d67d04df",
          "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1");
    close(fd);
}

static void test_chunk_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t size, chunk;
    } cases[] = { { 0, 2 },     { 200, 2 },   { 201, 5 },   { 500, 5 },   { 501, 10 },  { 1024, 10 },
                  { 1025, 20 }, { 2048, 20 }, { 2049, 50 }, { 5120, 50 }, { 5121, 100 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(convert_descriptor_chunk_size(cases[i].size * MIB), cases[i].chunk * MIB);
    assert_int_equal(convert_descriptor_chunk_size(200 * MIB + 1), 5 * MIB);
}

static void test_broken(void **state)
{
    (void)state;
    struct convert_descriptor d = { 0 }, other = { 0 };
    int fd = scratch();
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(convert_descriptor_make(&d, fd, 3, NULL, NULL, NULL), 0);
    for (size_t n = 0; n < d.bytes.len; n++)
        assert_int_equal(convert_descriptor_parse(&other, d.bytes.data, n, NULL), -1);
    gv_buf_add(&d.bytes, "x", 1);
    assert_int_equal(convert_descriptor_parse(&other, d.bytes.data, d.bytes.len, NULL), -1);
    d.bytes.len--;
    static const struct {
        size_t at;
        unsigned char value;
    } changes[] = { { 0, 1 }, { 7, 0x35 }, { 8, 0xff }, { 15, 7 }, { 23, 0 }, { 16, 0xff } };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        unsigned char was = d.bytes.data[changes[i].at];
        d.bytes.data[changes[i].at] = changes[i].value;
        assert_int_equal(convert_descriptor_parse(&other, d.bytes.data, d.bytes.len, NULL), -1);
        d.bytes.data[changes[i].at] = was;
    }
    /* what older tools wrote differs in the version alone */
    d.bytes.data[7] = 0x33;
    assert_int_equal(convert_descriptor_parse(&other, d.bytes.data, d.bytes.len, NULL), 0);
    convert_descriptor_clear(&other);
    convert_descriptor_clear(&d);
    assert_int_equal(convert_descriptor_make(&d, fd, 3, "no hash", NULL, NULL), -1);
    convert_descriptor_clear(&d);
    assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
    assert_int_equal(convert_descriptor_make(&d, fd, 1, NULL, NULL, NULL), -1);
    convert_descriptor_clear(&d);
    close(fd);
}

static void set_time(const char *path, time_t seconds)
{
    struct timespec t[2] = { { .tv_sec = seconds }, { .tv_sec = seconds } };
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

/* Makes or takes the descriptor of path and returns its file's content as the id. */
static void of_file(const char *path, uint64_t chunk, const char *hash, char id[65])
{
    struct convert_descriptor d = { 0 };
    cleanup_free char *file = NULL;
    assert_int_equal(convert_descriptor_of_file(&d, path, chunk, hash, NULL, &file, NULL), 0);
    cleanup_buf struct gv_buf data = { 0 };
    assert_int_equal(gv_read_file(file, 1000, &data, NULL), 0);
    assert_int_equal(data.len, d.bytes.len);
    assert_memory_equal(data.data, d.bytes.data, data.len);
    strcpy(id, d.id);
    convert_descriptor_clear(&d);
}

static void test_kept_beside_the_file(void **state)
{
    (void)state;
    char *dir = make_dir(), first[65], second[65];
    cleanup_free char *path = gv_asprintf("%s/a", dir), *kept = gv_asprintf("%s/a.descr.bin", dir);
    assert_int_equal(run("printf hello >%s", path), 0);
    of_file(path, 0, NULL, first);
    assert_string_equal(first, "39fd278bd7fb42ec992a5155c65743dd7ed3064af3f905baafe96045cafc0251");

    /* a newer one is believed: its hash is not that of the file here, as nobody looks */
    assert_int_equal(run("printf HELLO >%s", path), 0);
    set_time(path, 1000);
    set_time(kept, 1000);
    of_file(path, 0, NULL, second);
    assert_string_equal(first, second);

    /* but not when the hash is known, when it is older, or when other chunks are wanted */
    of_file(path, 0, "b87f88c72702fff1748e58b87e9141a42c0dbedc29a78cb0d4a5cd80", second);
    assert_string_not_equal(first, second);
    assert_int_equal(run("printf hello >%s", path), 0);
    set_time(path, 2000);
    set_time(kept, 1999);
    of_file(path, 0, NULL, second);
    assert_string_equal(first, second);
    of_file(path, 3, NULL, second);
    assert_string_not_equal(first, second);
    assert_int_equal(run("printf broken >%s", kept), 0);
    of_file(path, 0, NULL, second);
    assert_string_equal(first, second);

    struct convert_descriptor d = { 0 };
    cleanup_free char *file = NULL;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(convert_descriptor_of_file(&d, dir, 0, NULL, NULL, &file, &err), -1);
    assert_int_equal(convert_descriptor_of_file(&d, "/no/such/file", 0, NULL, NULL, &file, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_null(file);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_real_file),
        cmocka_unit_test(test_chunk_sizes),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_kept_beside_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
