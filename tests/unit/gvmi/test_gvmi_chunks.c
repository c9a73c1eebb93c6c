/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Chunk maps: that they cover any image, what two builds share, and their file form. */
#include <stdio.h>
#include <stdlib.h>

#include "helper.h"

static struct gvmi_chunk_map map_of(int fd)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_chunk_map map = { 0 };
    struct gvmi_image *img = open_fd(fd);
    if (gvmi_chunks(img, NULL, &map, &err) < 0)
        fail_msg("%s", err.msg);
    gvmi_close(img);
    return map;
}

/* The map is what the file is: every byte in exactly one chunk, with the digests that chunks and file really have. */
static void check_map(int fd, const struct gvmi_chunk_map *map)
{
    unsigned char digest[GV_HASH_MAX];
    cleanup_free unsigned char *buffer = gv_alloc(GVMI_CHUNK_MAX);
    uint64_t at = 0;
    for (size_t i = 0; i < map->count; i++) {
        const struct gvmi_chunk *c = &map->chunks[i];
        assert_int_equal(c->offset, at);
        assert_in_range(c->length, 1, GVMI_CHUNK_MAX);
        assert_int_equal(gv_pread_full(fd, buffer, c->length, at), c->length);
        gv_hash_bytes(GV_HASH_SHA256, buffer, c->length, digest);
        assert_memory_equal(digest, c->digest, GV_SHA256_SIZE);
        at += c->length;
    }
    assert_int_equal(at, map->file_size);
    assert_int_equal(gv_pread_full(fd, buffer, 1, at), 0);
    assert_int_equal(gv_hash_fd(GV_HASH_SHA3_224, fd, digest, NULL), 0);
    assert_memory_equal(digest, map->image, GV_SHA3_224_SIZE);
}

static bool is_cut(const struct gvmi_chunk_map *map, uint64_t at)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->chunks[i].offset == at)
            return true;
    return false;
}

static void test_covers_every_kind_of_image(void **state)
{
    (void)state;
    for (int compression = GVMI_GZIP; compression <= GVMI_ZSTD; compression++) {
        if (compression == GVMI_LZMA)
            continue;
        for (uint32_t block = 4096; block <= 1 << 20; block *= 16) {
            struct image_tree *t = tree_of_all_kinds();
            tree_file(t, "large/text", FILL_TEXT, 1, 3000000);
            tree_file(t, "large/random", FILL_RANDOM, 2, 2500001);
            const struct gvmi_write_options o = { .compression = compression,
                                                  .level = compression == GVMI_XZ ? 1 : 0,
                                                  .block_size = block };
            int fd = pack(t, NULL, &o, NULL);
            struct gvmi_chunk_map map = map_of(fd), again = map_of(fd);
            check_map(fd, &map);
            assert_int_equal(map.count, again.count);
            assert_memory_equal(map.chunks, again.chunks, map.count * sizeof(*map.chunks));
            struct gvmi_image *img = open_fd(fd);
            assert_true(is_cut(&map, gvmi_info(img)->squashfs_size)); /* the trailer */
            gvmi_close(img);
            gvmi_chunk_map_clear(&map);
            gvmi_chunk_map_clear(&again);
            image_tree_free(t);
            close(fd);
        }
    }
}

static void test_nothing_in_it(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_chunk_map map = map_of(fd);
    check_map(fd, &map);
    assert_true(map.count >= 3); /* superblock, tables, trailer */
    gvmi_chunk_map_clear(&map);
    image_tree_free(t);
    close(fd);
}

static void check_file(const char *path)
{
    cleanup_fclose FILE *f = fopen(path, "re");
    assert_non_null(f);
    struct gvmi_chunk_map map = map_of(fileno(f));
    check_map(fileno(f), &map);
    assert_true(map.count > 4);
    gvmi_chunk_map_clear(&map);
}

static void test_image_of_the_original_converter(void **state)
{
    (void)state;
    cleanup_free char *path = testdata("alpine.gvmi");
    if (!path) {
        print_message("# there is no test data\n");
        skip();
    }
    check_file(path);
}

/* mksquashfs may leave out fragments, tables and compression. */
static void test_images_of_mksquashfs(void **state)
{
    (void)state;
    if (run("command -v mksquashfs") != 0) {
        print_message("# there is no mksquashfs\n");
        skip();
    }
    static const char *const options[] = { "-comp lzo", "-no-fragments -no-exports -no-xattrs", "-noI -noD -noF -b 4096",
                                           "-always-use-fragments -b 8192", "-comp xz -b 1M -Xbcj x86" };
    char *dir = make_dir();
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        assert_int_equal(
            run("cd '%s' && rm -rf s s.gvmi && mkdir s && seq 1 60000 >s/numbers && cp s/numbers s/same && for i in $(seq 1 70); do "
                "seq $i $((i * 50)) >s/file$i; done && mksquashfs s s.gvmi %s -noappend -quiet -no-progress",
                dir, options[i]),
            0);
        cleanup_free char *path = gv_asprintf("%s/s.gvmi", dir);
        cleanup_fclose FILE *f = fopen(path, "ae");
        assert_non_null(f);
        unsigned char end[] = { 0, 0, 0, 0, '{', '}', '0', '0', '0', '0', '0', '0', '0', '2' };
        uint32_t crc = gv_crc32("{}", 2);
        for (size_t k = 0; k < 4; k++)
            end[k] = (unsigned char)(crc >> 8 * k);
        assert_int_equal(fwrite(end, 1, sizeof(end), f), sizeof(end));
        assert_int_equal(fflush(f), 0);
        check_file(path);
    }
    remove_dir(dir);
}

/* Packages of a few small files and a large one each; those from `first` to `last` are in another version. */
static int pack_release(uint32_t first, uint32_t last, int jobs, bool groups)
{
    struct image_tree *t = tree_new();
    for (uint32_t p = 0; p < 40; p++) {
        uint32_t version = p >= first && p <= last ? 1000 : 0;
        for (uint32_t i = 0; i < 30; i++) {
            char path[64];
            snprintf(path, sizeof(path), "usr/share/p%u/file%u.%s", p, i, i % 3 ? "txt" : "bin");
            struct image_node *node = tree_file(t, path, i % 3 ? FILL_TEXT : FILL_RANDOM, p * 100 + i + version, 1000 + 300 * i + version);
            node->inode->group = groups ? p + 1 : 0;
        }
        char path[64];
        snprintf(path, sizeof(path), "usr/lib/p%u.so.%u", p, p);
        tree_file(t, path, FILL_RANDOM, p + 7000 + version, 300000)->inode->group = groups ? p + 1 : 0;
    }
    const struct gvmi_write_options o = { .jobs = jobs };
    int fd = pack(t, NULL, &o, NULL);
    image_tree_free(t);
    return fd;
}

static void test_releases_share_what_did_not_change(void **state)
{
    (void)state;
    int old = pack_release(1, 0, 2, true), new = pack_release(10, 13, 2, true);
    struct gvmi_chunk_map a = map_of(old), b = map_of(new);
    size_t chunks;
    uint64_t fetch = gvmi_chunks_new_bytes(&a, &b, &chunks);
    /* Four of forty packages: a tenth, and what is at their edges. */
    assert_in_range(fetch, b.file_size / 11, b.file_size / 7);
    assert_in_range(chunks, 4, b.count / 2);
    assert_int_equal(gvmi_chunks_new_bytes(&a, &a, &chunks), 0);
    assert_int_equal(chunks, 0);
    const struct gvmi_chunk_map none = { 0 };
    assert_in_range(gvmi_chunks_new_bytes(&none, &a, NULL), a.file_size * 9 / 10, a.file_size);
    assert_int_equal(gvmi_chunks_new_bytes(&a, &none, NULL), 0);
    gvmi_chunk_map_clear(&a);
    gvmi_chunk_map_clear(&b);
    close(old);
    close(new);

    old = pack_release(1, 0, 2, false);
    new = pack_release(10, 13, 2, false);
    a = map_of(old);
    b = map_of(new);
    assert_in_range(gvmi_chunks_new_bytes(&a, &b, NULL), b.file_size / 11, b.file_size / 5);
    gvmi_chunk_map_clear(&a);
    gvmi_chunk_map_clear(&b);
    close(old);
    close(new);
}

static void test_order_does_not_depend_on_threads(void **state)
{
    (void)state;
    int one = pack_release(3, 5, 1, true);
    for (int jobs = 2; jobs <= 5; jobs++) {
        int many = pack_release(3, 5, jobs, true);
        assert_same_file(one, many);
        close(many);
    }
    close(one);
}

/* A map of chunks that need no image. */
static struct gvmi_chunk_map made_map(size_t count)
{
    struct gvmi_chunk_map map = { .count = count, .chunks = gv_calloc(count, sizeof(*map.chunks)) };
    memset(map.image, 0xa5, sizeof(map.image));
    for (size_t i = 0; i < count; i++) {
        map.chunks[i] = (struct gvmi_chunk){ .offset = map.file_size, .length = (uint32_t)(i * 977 % GVMI_CHUNK_MAX + 1) };
        memset(map.chunks[i].digest, (int)i, sizeof(map.chunks[i].digest));
        map.file_size += map.chunks[i].length;
    }
    return map;
}

static void test_equal_chunks_count_once(void **state)
{
    (void)state;
    struct gvmi_chunk_map have = made_map(3), want = made_map(6);
    want.chunks[5] = want.chunks[4]; /* one content in two places */
    size_t chunks;
    assert_int_equal(gvmi_chunks_new_bytes(&have, &want, &chunks), want.chunks[3].length + want.chunks[4].length);
    assert_int_equal(chunks, 2);
    gvmi_chunk_map_clear(&have);
    gvmi_chunk_map_clear(&want);
}

static void test_file_form(void **state)
{
    (void)state;
    const size_t counts[] = { 0, 1, 2, 1000 };
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct gvmi_chunk_map map = made_map(counts[i]), read = { 0 };
        cleanup_buf struct gv_buf file = { 0 };
        gvmi_chunks_format(&map, &file);
        assert_int_equal(file.len, 52 + 36 * counts[i] + 32);
        assert_int_equal(gvmi_chunks_parse(file.data, file.len, &read, NULL), 0);
        assert_int_equal(read.count, map.count);
        assert_int_equal(read.file_size, map.file_size);
        assert_memory_equal(read.image, map.image, sizeof(map.image));
        for (size_t k = 0; k < map.count; k++) {
            assert_int_equal(read.chunks[k].offset, map.chunks[k].offset);
            assert_int_equal(read.chunks[k].length, map.chunks[k].length);
            assert_memory_equal(read.chunks[k].digest, map.chunks[k].digest, GV_SHA256_SIZE);
        }
        gvmi_chunk_map_clear(&map);
        gvmi_chunk_map_clear(&read);
    }
}

/* The bytes of docs/image-format.md. */
static void test_file_form_bytes(void **state)
{
    (void)state;
    struct gvmi_chunk_map map = made_map(2);
    cleanup_buf struct gv_buf file = { 0 };
    gvmi_chunks_format(&map, &file);
    static const unsigned char head[] = { 'g', 'v', 'm', 'i', 'c', 'h', 'n', 'k', 1, 0, 0, 0, 2, 0, 0, 0, 0xd3, 3, 0, 0, 0, 0, 0, 0, 0xa5 };
    assert_memory_equal(file.data, head, sizeof(head));
    static const unsigned char second[] = { 0xd2, 3, 0, 0, 1, 1, 1, 1 };
    assert_memory_equal(file.data + 52 + 36, second, sizeof(second));
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, file.data, 52 + 72, digest);
    assert_memory_equal(file.data + 52 + 72, digest, GV_SHA256_SIZE);
    gvmi_chunk_map_clear(&map);
}

static void refuse(const unsigned char *data, size_t n, enum gv_code code, const char *part)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_chunk_map map = { 0 };
    assert_int_equal(gvmi_chunks_parse(data, n, &map, &err), -1);
    assert_null(map.chunks);
    if (code)
        assert_int_equal(err.code, code);
    if (!strstr(err.msg, part))
        fail_msg("`%s` does not say `%s`", err.msg, part);
}

static void test_damaged_files(void **state)
{
    (void)state;
    struct gvmi_chunk_map map = made_map(5);
    cleanup_buf struct gv_buf file = { 0 };
    gvmi_chunks_format(&map, &file);
    for (size_t i = 0; i < file.len; i++) {
        file.data[i] ^= 0x10;
        refuse(file.data, file.len, 0, "chunk map");
        file.data[i] ^= 0x10;
    }
    for (size_t n = 0; n < file.len; n++) {
        cleanup_free unsigned char *cut = gv_memdup(file.data, n); /* so that a read behind its end is noticed */
        refuse(cut, n, GV_E_FORMAT, "chunk map");
    }
    gv_buf_add(&file, "x", 1);
    refuse(file.data, file.len, GV_E_FORMAT, "cut short, or something follows it");
    gvmi_chunk_map_clear(&map);
}

/* Files with the right checksum and wrong numbers. */
static void test_wrong_numbers(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint32_t value;
        enum gv_code code;
        const char *part;
    } cases[] = {
        { 8, 2, GV_E_UNSUPPORTED, "version 2" },
        { 12, 0xffffffff, GV_E_LIMIT, "4294967295 chunks" },
        { 12, 4, GV_E_FORMAT, "should have" },
        { 16, 1, GV_E_FORMAT, "the image has 1" },
        { 20, 0x80000000, GV_E_FORMAT, "together" },
        { 52, 0, GV_E_FORMAT, "has 0 bytes" },
        { 52 + 36, GVMI_CHUNK_MAX + 1, GV_E_FORMAT, "chunk 1 of" },
        { 52, 0xffffffff, GV_E_FORMAT, "chunk 0 of" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gvmi_chunk_map map = made_map(5);
        cleanup_buf struct gv_buf file = { 0 };
        unsigned char digest[GV_HASH_MAX];
        gvmi_chunks_format(&map, &file);
        for (size_t k = 0; k < 4; k++)
            file.data[cases[i].at + k] = (unsigned char)(cases[i].value >> 8 * k);
        gv_hash_bytes(GV_HASH_SHA256, file.data, file.len - GV_SHA256_SIZE, digest);
        memcpy(file.data + file.len - GV_SHA256_SIZE, digest, GV_SHA256_SIZE);
        refuse(file.data, file.len, cases[i].code, cases[i].part);
        gvmi_chunk_map_clear(&map);
    }
}

static void test_load(void **state)
{
    (void)state;
    char *dir = make_dir();
    cleanup_free char *path = gv_asprintf("%s/x.gvmi.chunks", dir);
    struct gvmi_chunk_map map = made_map(7), read = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gvmi_chunks_load(path, &read, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    cleanup_buf struct gv_buf file = { 0 };
    gvmi_chunks_format(&map, &file);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(file.data, 1, file.len, f), file.len);
    fclose(f);
    assert_int_equal(gvmi_chunks_load(path, &read, NULL), 0);
    assert_int_equal(read.count, 7);
    gvmi_chunk_map_clear(&read);
    f = fopen(path, "ae");
    assert_non_null(f);
    fputc('x', f);
    fclose(f);
    err = (struct gv_error)GV_ERROR_INIT;
    assert_int_equal(gvmi_chunks_load(path, &read, &err), -1);
    assert_non_null(strstr(err.msg, path));
    gvmi_chunk_map_clear(&map);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_covers_every_kind_of_image),
        cmocka_unit_test(test_nothing_in_it),
        cmocka_unit_test(test_image_of_the_original_converter),
        cmocka_unit_test(test_images_of_mksquashfs),
        cmocka_unit_test(test_releases_share_what_did_not_change),
        cmocka_unit_test(test_order_does_not_depend_on_threads),
        cmocka_unit_test(test_equal_chunks_count_once),
        cmocka_unit_test(test_file_form),
        cmocka_unit_test(test_file_form_bytes),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_wrong_numbers),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests_name("gvmi_chunks", tests, NULL, NULL);
}
