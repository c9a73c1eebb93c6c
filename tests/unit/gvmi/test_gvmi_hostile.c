/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Damaged and hostile files. Every byte of small images is changed in several ways and every length cut: nothing may crash, hang or read beyond what is
 * there, and what verify calls good must be readable. Some known attacks are built by hand.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../fuzz/gvmi/exercise.h"
#include "gvmi/squashfs.h"
#include "gvmi/trailer.h"
#include "helper.h"

struct image_bytes {
    unsigned char *data;
    size_t size; /* of the squashfs */
    int fd;
};

/* The squashfs with a good trailer, in a file that changes are written to. */
static struct image_bytes from_bytes(const void *data, size_t n)
{
    struct image_bytes b = { .data = gv_memdup(data, n), .size = n, .fd = scratch() };
    cleanup_buf struct gv_buf end = { 0 };
    const char *json = "{\"Cmd\":[\"file\"],\"Volumes\":{\"/dir\":{}}}";
    assert_int_equal(gvmi_trailer_format(&end, json, strlen(json), NULL), 0);
    assert_int_equal(gv_pwrite_full(b.fd, data, n, 0), 0);
    assert_int_equal(gv_pwrite_full(b.fd, end.data, end.len, n), 0);
    return b;
}

static struct image_bytes from_tree(struct image_tree *t, int compression)
{
    struct gvmi_write_options o = { .compression = compression, .block_size = 4096, .level = 1 };
    int fd = pack(t, NULL, &o, NULL);
    struct gvmi_image *img = open_fd(fd);
    size_t n = gvmi_info(img)->squashfs_size;
    gvmi_close(img);
    cleanup_free unsigned char *data = gv_alloc(n);
    assert_int_equal(gv_pread_full(fd, data, n, 0), n);
    close(fd);
    return from_bytes(data, n);
}

static void bytes_clear(struct image_bytes *b)
{
    free(b->data);
    close(b->fd);
}

struct counts {
    unsigned tried, opened, good;
};

static void try_it(int fd, struct counts *c)
{
    struct gvmi_image *img = NULL;
    struct gv_error err = GV_ERROR_INIT;
    c->tried++;
    if (gvmi_open_fd(&img, fd, "damaged", &err) < 0) {
        assert_true(err.code != GV_OK && err.msg[0]);
        return;
    }
    c->opened++;
    c->good += exercise_image(img);
    gvmi_close(img);
}

static void change_bytes(struct image_bytes *b, size_t step, struct counts *c)
{
    for (size_t i = 0; i < b->size; i += step) {
        const unsigned char old = b->data[i];
        const unsigned char values[] = { 0, 0xff, (unsigned char)(old + 1), (unsigned char)(old - 1), old ^ 0x80, old ^ 0x10 };
        for (size_t k = 0; k < sizeof(values); k++) {
            assert_int_equal(gv_pwrite_full(b->fd, &values[k], 1, i), 0);
            try_it(b->fd, c);
        }
        assert_int_equal(gv_pwrite_full(b->fd, &old, 1, i), 0);
        /* whole words */
        if (i + 4 <= b->size) {
            static const uint32_t words[] = { 0, UINT32_MAX, 0x7fffffff, 0x01000000, 0x10000 };
            for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
                unsigned char word[4];
                sqfs_put32(word, words[k]);
                assert_int_equal(gv_pwrite_full(b->fd, word, 4, i), 0);
                try_it(b->fd, c);
            }
            assert_int_equal(gv_pwrite_full(b->fd, b->data + i, 4, i), 0);
        }
    }
}

static void check_counts(const char *what, const struct counts *c)
{
    print_message("# %s: %u changes, %u opened, %u good\n", what, c->tried, c->opened, c->good);
    assert_true(c->tried > 100 && c->opened > 0 && c->opened < c->tried && c->good < c->tried);
}

/* The seeds of the fuzzer have metadata that is not compressed: every field is changed for itself. */
static void test_every_field(void **state)
{
    (void)state;
    DIR *dir = opendir(SEEDS);
    if (!dir) {
        print_message("# no seeds in " SEEDS "\n");
        skip();
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        cleanup_free char *path = gv_asprintf("%s/%s", SEEDS, e->d_name);
        cleanup_buf struct gv_buf data = { 0 };
        assert_int_equal(gv_read_file(path, 1 << 20, &data, NULL), 0);
        struct image_bytes b = from_bytes(data.data, data.len);
        struct counts c = { 0 }, whole = { 0 };
        try_it(b.fd, &whole);
        assert_int_equal(whole.good, 1);
        change_bytes(&b, data.len > 4000 ? 11 : 2, &c);
        check_counts(e->d_name, &c);
        bytes_clear(&b);
    }
    closedir(dir);
}

static void test_compressed_images(void **state)
{
    (void)state;
    for (int compression = GVMI_GZIP; compression <= GVMI_ZSTD; compression++) {
        if (compression == GVMI_LZMA)
            continue;
        struct image_tree *t = tree_new();
        tree_file(t, "dir/file", FILL_TEXT, 1, 3000);
        tree_file(t, "dir/blocks", FILL_TEXT, 2, 9000);
        tree_link(t, "dir/link", "file");
        tree_xattr(t, tree_text(t, "capable", "x"), "security.capability", "\1\2\3", 3);
        struct image_bytes b = from_tree(t, compression);
        struct counts c = { 0 };
        change_bytes(&b, 3, &c);
        check_counts(gvmi_compression_name(compression), &c);
        bytes_clear(&b);
        image_tree_free(t);
    }
}

static void test_every_length(void **state)
{
    (void)state;
    struct image_tree *t = tree_new();
    tree_file(t, "dir/file", FILL_TEXT, 1, 3000);
    tree_file(t, "dir/blocks", FILL_RANDOM, 2, 9000);
    int fd = pack(t, NULL, NULL, NULL);
    struct gvmi_image *img = open_fd(fd);
    uint64_t size = gvmi_info(img)->file_size, used = gvmi_info(img)->squashfs_size;
    gvmi_close(img);
    cleanup_free unsigned char *data = gv_alloc(size);
    assert_int_equal(gv_pread_full(fd, data, size, 0), size);
    /* cut anywhere: there is no trailer */
    for (uint64_t n = size; n-- > 0;) {
        struct gv_error err = GV_ERROR_INIT;
        img = NULL;
        assert_int_equal(ftruncate(fd, (off_t)n), 0);
        assert_int_equal(gvmi_open_fd(&img, fd, "cut", &err), -1);
        assert_non_null(err.msg[0] ? err.msg : NULL);
    }
    /* the squashfs cut, a good trailer behind it */
    for (uint64_t n = 0; n < used; n++) {
        struct gv_error err = GV_ERROR_INIT;
        img = NULL;
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(gv_pwrite_full(fd, data, n, 0), 0);
        assert_int_equal(gv_pwrite_full(fd, "\x43\xbf\xa6\xa3{}00000002", 14, n), 0);
        assert_int_equal(gvmi_open_fd(&img, fd, "cut", &err), -1);
    }
    close(fd);
    image_tree_free(t);
}

/* ---- attacks built by hand -------------------------------------------------------------------------------------------------------- */

/* A squashfs with tables of one uncompressed block each, from inodes and listings given as they are. */
struct forged {
    struct gv_buf inodes, listings, data;
    uint32_t inode_count;
};

static void put16(struct gv_buf *b, unsigned v)
{
    unsigned char w[2];
    sqfs_put16(w, (uint16_t)v);
    gv_buf_add(b, w, 2);
}

static void put32(struct gv_buf *b, uint64_t v)
{
    unsigned char w[4];
    sqfs_put32(w, (uint32_t)v);
    gv_buf_add(b, w, 4);
}

static void put64(struct gv_buf *b, uint64_t v)
{
    unsigned char w[8];
    sqfs_put64(w, v);
    gv_buf_add(b, w, 8);
}

static unsigned forge_head(struct forged *f, unsigned type, unsigned number)
{
    unsigned at = (unsigned)f->inodes.len;
    put16(&f->inodes, type);
    put16(&f->inodes, 0755);
    put16(&f->inodes, 0);
    put16(&f->inodes, 0);
    put32(&f->inodes, 0);
    put32(&f->inodes, number);
    return at;
}

static unsigned forge_dir(struct forged *f, unsigned number, unsigned listing, unsigned size)
{
    unsigned at = forge_head(f, SQFS_DIR, number);
    put32(&f->inodes, 0);
    put32(&f->inodes, 2);
    put16(&f->inodes, size + 3);
    put16(&f->inodes, listing);
    put32(&f->inodes, 1);
    return at;
}

/* A listing of one entry; returns its offset. */
static unsigned forge_entry(struct forged *f, unsigned inode_offset, unsigned number, unsigned type, const char *name, size_t len)
{
    unsigned at = (unsigned)f->listings.len;
    put32(&f->listings, 0);
    put32(&f->listings, 0);
    put32(&f->listings, number);
    put16(&f->listings, inode_offset);
    put16(&f->listings, 0);
    put16(&f->listings, type);
    put16(&f->listings, (unsigned)(len - 1));
    gv_buf_add(&f->listings, name, len);
    return at;
}

static void add_table(struct gv_buf *out, const struct gv_buf *table)
{
    put16(out, (unsigned)table->len | SQFS_RAW_META);
    gv_buf_add(out, table->data, table->len);
}

static struct image_bytes forge(struct forged *f, unsigned root)
{
    cleanup_buf struct gv_buf out = { 0 }, ids = { 0 };
    uint64_t inodes = 96 + f->data.len, listings = inodes + 2 + f->inodes.len, id_block = listings + 2 + f->listings.len;
    put32(&out, SQFS_MAGIC);
    put32(&out, f->inode_count);
    put32(&out, 0);
    put32(&out, 4096);
    put32(&out, 0);
    put16(&out, GVMI_GZIP);
    put16(&out, 12);
    put16(&out, 0);
    put16(&out, 1);
    put16(&out, 4);
    put16(&out, 0);
    put64(&out, root);
    put64(&out, id_block + 6 + 8);
    put64(&out, id_block + 6);
    put64(&out, SQFS_NONE);
    put64(&out, inodes);
    put64(&out, listings);
    put64(&out, SQFS_NONE);
    put64(&out, SQFS_NONE);
    gv_buf_add(&out, f->data.data, f->data.len);
    add_table(&out, &f->inodes);
    add_table(&out, &f->listings);
    put32(&ids, 0);
    add_table(&out, &ids);
    put64(&out, id_block);
    struct image_bytes b = from_bytes(out.data, out.len);
    gv_buf_clear(&f->inodes);
    gv_buf_clear(&f->listings);
    gv_buf_clear(&f->data);
    return b;
}

static int count_entry(void *user, const char *path, const struct gvmi_stat *st)
{
    (void)path;
    (void)st;
    return ++*(int *)user > 10000 ? 99 : 0;
}

/* Verify must refuse it and say `part`; a walk must end by itself. */
static void must_fail(struct forged *f, unsigned root, const char *part)
{
    struct image_bytes b = forge(f, root);
    struct gvmi_image *img = open_fd(b.fd);
    struct gv_error err = GV_ERROR_INIT;
    int count = 0;
    assert_int_equal(gvmi_verify(img, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    if (!strstr(err.msg, part))
        fail_msg("`%s` does not say `%s`", err.msg, part);
    assert_int_not_equal(gvmi_walk(img, count_entry, &count, &err), 99);
    gvmi_close(img);
    bytes_clear(&b);
}

static void test_forging_works(void **state)
{
    (void)state;
    struct forged f = { .inode_count = 2 };
    unsigned inner = forge_dir(&f, 2, 0, 0);
    unsigned listing = forge_entry(&f, inner, 2, SQFS_DIR, "inner", 5);
    unsigned root = forge_dir(&f, 1, listing, (unsigned)f.listings.len);
    struct image_bytes b = forge(&f, root);
    struct gvmi_image *img = open_fd(b.fd);
    struct gv_error err = GV_ERROR_INIT;
    if (gvmi_verify(img, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    gvmi_close(img);
    bytes_clear(&b);
}

static void test_directory_loops(void **state)
{
    (void)state;
    /* a directory that contains itself */
    struct forged f = { .inode_count = 1 };
    unsigned root = 0;
    forge_entry(&f, root, 1, SQFS_DIR, "self", 4);
    forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "in two places");

    /* two that contain each other */
    f = (struct forged){ .inode_count = 3 };
    unsigned first = forge_entry(&f, 32, 2, SQFS_DIR, "a", 1), size = (unsigned)f.listings.len;
    unsigned second = forge_entry(&f, 64, 3, SQFS_DIR, "b", 1), third = forge_entry(&f, 32, 2, SQFS_DIR, "a", 1);
    root = forge_dir(&f, 1, first, size);
    forge_dir(&f, 2, second, size);
    forge_dir(&f, 3, third, size);
    must_fail(&f, root, "in two places");

    /* the same through another inode with the same number is no way around it */
    f = (struct forged){ .inode_count = 1 };
    forge_entry(&f, 32, 1, SQFS_DIR, "x", 1);
    size = (unsigned)f.listings.len;
    root = forge_dir(&f, 1, 0, size);
    forge_dir(&f, 1, 0, size);
    must_fail(&f, root, "in two places");
}

static void test_wrong_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t len;
    } names[] = { { ".", 1 }, { "..", 2 }, { "a/b", 3 }, { "/", 1 }, { "a\0b", 3 }, { "../../etc/passwd", 16 } };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct forged f = { .inode_count = 2 };
        unsigned inner = forge_dir(&f, 2, 0, 0);
        forge_entry(&f, inner, 2, SQFS_DIR, names[i].name, names[i].len);
        unsigned root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
        must_fail(&f, root, "which no file can have");
    }
    /* 256 bytes fit in the format, but in no file system */
    char longer[256];
    memset(longer, 'n', sizeof(longer));
    struct forged f = { .inode_count = 2 };
    unsigned inner = forge_dir(&f, 2, 0, 0);
    forge_entry(&f, inner, 2, SQFS_DIR, longer, sizeof(longer));
    unsigned root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "impossible");
}

static void test_names_twice_or_not_sorted(void **state)
{
    (void)state;
    struct forged f = { .inode_count = 3 };
    unsigned a = forge_dir(&f, 2, 0, 0), b = forge_dir(&f, 3, 0, 0);
    forge_entry(&f, a, 2, SQFS_DIR, "x", 1);
    forge_entry(&f, b, 3, SQFS_DIR, "x", 1);
    unsigned root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "twice");
    f = (struct forged){ .inode_count = 3 };
    a = forge_dir(&f, 2, 0, 0), b = forge_dir(&f, 3, 0, 0);
    forge_entry(&f, a, 2, SQFS_DIR, "y", 1);
    forge_entry(&f, b, 3, SQFS_DIR, "x", 1);
    root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "not sorted");
}

static void test_disagreements(void **state)
{
    (void)state;
    struct forged f = { .inode_count = 2 };
    unsigned inner = forge_dir(&f, 2, 0, 0);
    forge_entry(&f, inner, 2, SQFS_FILE, "x", 1);
    unsigned root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "disagree");

    f = (struct forged){ .inode_count = 5 };
    inner = forge_dir(&f, 2, 0, 0);
    forge_entry(&f, inner, 2, SQFS_DIR, "x", 1);
    root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "claims 5 inodes and has 2");

    f = (struct forged){ .inode_count = 1 };
    inner = forge_dir(&f, 2, 0, 0);
    forge_entry(&f, inner, 2, SQFS_DIR, "x", 1);
    root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "there are only 1");
}

static unsigned forge_file(struct forged *f, unsigned number, uint64_t start, uint64_t size)
{
    unsigned at = forge_head(f, SQFS_FILE, number);
    put32(&f->inodes, start);
    put32(&f->inodes, SQFS_NO_FRAGMENT);
    put32(&f->inodes, 0);
    put32(&f->inodes, size);
    return at;
}

static void test_data_blocks(void **state)
{
    (void)state;
    char data[4096 + 100];
    memset(data, 'd', sizeof(data));
    static const struct {
        uint64_t start, size;
        uint32_t word;
        const char *part;
    } cases[] = {
        { 96, 4096, 4096 | SQFS_RAW_BLOCK, NULL },
        { 96, 4095, 4096 | SQFS_RAW_BLOCK, "bytes instead of" },
        { 96, 4096, 4095 | SQFS_RAW_BLOCK, "bytes instead of" },
        { 96, 4096, 4096, "cannot be decompressed" },
        { 95, 4096, 4096 | SQFS_RAW_BLOCK, "lies outside" },
        { 0, 4096, 4096 | SQFS_RAW_BLOCK, "lies outside" },
        { 200, 4096, 4096 | SQFS_RAW_BLOCK, "lies outside" },
        { UINT32_MAX, 4096, 4096 | SQFS_RAW_BLOCK, "lies outside" },
        { 96, 4096, 4097 | SQFS_RAW_BLOCK, "impossible size" },
        { 96, 4096, 0x02000000 | 4096, "impossible size" },
        { 96, 4096, SQFS_RAW_BLOCK, "impossible size" },
        { 96, 4096, UINT32_MAX, "impossible size" },
        { 96, 8192, 4096 | SQFS_RAW_BLOCK, "" }, /* the second word is what follows in the table */
        { UINT32_MAX, 4096, 0, NULL },           /* a hole needs no place */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct forged f = { .inode_count = 2 };
        gv_buf_add(&f.data, data, sizeof(data));
        unsigned file = forge_file(&f, 2, cases[i].start, cases[i].size);
        put32(&f.inodes, cases[i].word);
        forge_entry(&f, file, 2, SQFS_FILE, "file", 4);
        unsigned root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
        if (cases[i].part) {
            must_fail(&f, root, cases[i].part);
            continue;
        }
        struct image_bytes b = forge(&f, root);
        struct gvmi_image *img = open_fd(b.fd);
        struct gv_error err = GV_ERROR_INIT;
        if (gvmi_verify(img, NULL, &err) < 0)
            fail_msg("case %zu: %s", i, err.msg);
        gvmi_close(img);
        bytes_clear(&b);
    }
}

static void test_overlapping_data(void **state)
{
    (void)state;
    struct forged f = { .inode_count = 3 };
    char data[4096 + 100];
    memset(data, 'd', sizeof(data));
    gv_buf_add(&f.data, data, sizeof(data));
    unsigned a = forge_file(&f, 2, 96, 4096);
    put32(&f.inodes, 4096 | SQFS_RAW_BLOCK);
    unsigned b = forge_file(&f, 3, 100, 4096);
    put32(&f.inodes, 4096 | SQFS_RAW_BLOCK);
    forge_entry(&f, a, 2, SQFS_FILE, "a", 1);
    forge_entry(&f, b, 3, SQFS_FILE, "b", 1);
    unsigned root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "overlap");
}

/* A file that claims eight exabytes: its list of blocks ends with the table. */
static void test_endless_file(void **state)
{
    (void)state;
    struct forged f = { .inode_count = 2 };
    unsigned file = forge_head(&f, SQFS_FILE + SQFS_EXTENDED, 2);
    put64(&f.inodes, 96);
    put64(&f.inodes, (uint64_t)1 << 63);
    put64(&f.inodes, 0);
    put32(&f.inodes, 1);
    put32(&f.inodes, SQFS_NO_FRAGMENT);
    put32(&f.inodes, 0);
    put32(&f.inodes, SQFS_NO_XATTR);
    forge_entry(&f, file, 2, SQFS_FILE, "file", 4);
    unsigned root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "more than there is");
}

static void test_impossible_superblocks(void **state)
{
    (void)state;
    static const struct {
        unsigned at, bytes;
        uint64_t value;
        enum gv_code code;
    } cases[] = {
        { 0, 4, 0x12345678, GV_E_FORMAT },
        { 4, 4, 0, GV_E_CORRUPT },
        { 4, 4, UINT32_MAX, GV_E_LIMIT },
        { 12, 4, 0, GV_E_CORRUPT },
        { 12, 4, 2048, GV_E_CORRUPT },
        { 12, 4, 2 << 20, GV_E_CORRUPT },
        { 12, 4, 4097, GV_E_CORRUPT },
        { 16, 4, UINT32_MAX, GV_E_CORRUPT },
        { 20, 2, 0, GV_E_UNSUPPORTED },
        { 20, 2, 7, GV_E_UNSUPPORTED },
        { 22, 2, 13, GV_E_CORRUPT },
        { 26, 2, 0, GV_E_CORRUPT },
        { 26, 2, 65535, GV_E_CORRUPT },
        { 28, 2, 3, GV_E_UNSUPPORTED },
        { 30, 2, 1, GV_E_UNSUPPORTED },
        { 32, 8, UINT64_MAX, GV_E_CORRUPT },
        { 32, 8, 8192, GV_E_CORRUPT },
        { 40, 8, UINT64_MAX, GV_E_CORRUPT },
        { 40, 8, 95, GV_E_CORRUPT },
        { 48, 8, 0, GV_E_CORRUPT },
        { 48, 8, UINT64_MAX, GV_E_CORRUPT },
        { 56, 8, 0, GV_E_CORRUPT },
        { 56, 8, UINT64_MAX - 1, GV_E_CORRUPT },
        { 64, 8, 0, GV_E_CORRUPT },
        { 64, 8, UINT64_MAX, GV_E_CORRUPT },
        { 72, 8, 0, GV_E_CORRUPT },
        { 72, 8, UINT64_MAX, GV_E_CORRUPT },
        { 88, 8, 0, GV_E_CORRUPT },
        { 88, 8, UINT64_MAX - 7, GV_E_CORRUPT },
    };
    struct forged f = { .inode_count = 1 };
    unsigned root = forge_dir(&f, 1, 0, 0);
    struct image_bytes b = forge(&f, root);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        struct gvmi_image *img = NULL;
        uint64_t value = htole64(cases[i].value);
        assert_int_equal(gv_pwrite_full(b.fd, &value, cases[i].bytes, cases[i].at), 0);
        if (gvmi_open_fd(&img, b.fd, "this", &err) == 0)
            fail_msg("value %#llx at %u was accepted", (unsigned long long)cases[i].value, cases[i].at);
        if (err.code != cases[i].code)
            fail_msg("value %#llx at %u: code %d: %s", (unsigned long long)cases[i].value, cases[i].at, err.code, err.msg);
        assert_int_equal(gv_pwrite_full(b.fd, b.data + cases[i].at, cases[i].bytes, cases[i].at), 0);
    }
    bytes_clear(&b);
}

/* What kernels have fallen over: an inode with the number 0 (CVE-2024-26982), a symbolic link longer than a page or of no length (CVE-2024-46744). */
static void test_holes_of_kernels(void **state)
{
    (void)state;
    struct forged f = { .inode_count = 1 };
    must_fail(&f, forge_dir(&f, 0, 0, 0), "has the number 0");
    f = (struct forged){ .inode_count = 2 };
    unsigned inner = forge_dir(&f, 0, 0, 0);
    forge_entry(&f, inner, 0, SQFS_DIR, "x", 1);
    unsigned root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "inode number 0");

    static const uint32_t sizes[] = { 0, 4096, 65536, INT32_MAX, UINT32_MAX };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        f = (struct forged){ .inode_count = 2 };
        unsigned link = forge_head(&f, SQFS_SYMLINK, 2);
        put32(&f.inodes, 1);
        put32(&f.inodes, sizes[i]);
        for (int k = 0; k < 1100; k++)
            put32(&f.inodes, 0x61616161);
        forge_entry(&f, link, 2, SQFS_SYMLINK, "link", 4);
        root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
        must_fail(&f, root, "a symbolic link has a target of");
    }
    f = (struct forged){ .inode_count = 2 };
    unsigned link = forge_head(&f, SQFS_SYMLINK, 2);
    put32(&f.inodes, 1);
    put32(&f.inodes, 8);
    gv_buf_add(&f.inodes, "abc\0defg", 8);
    forge_entry(&f, link, 2, SQFS_SYMLINK, "link", 4);
    root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "holds a NUL");
}

/* A symbolic link over a directory of the same name, the way out of unsquashfs (CVE-2021-41072), and names that lead out (CVE-2021-40153). */
static void test_holes_of_unsquashfs(void **state)
{
    (void)state;
    struct forged f = { .inode_count = 3 };
    unsigned dir = forge_dir(&f, 2, 0, 0), link = forge_head(&f, SQFS_SYMLINK, 3);
    put32(&f.inodes, 1);
    put32(&f.inodes, 4);
    gv_buf_add(&f.inodes, "/etc", 4);
    unsigned first = forge_entry(&f, link, 3, SQFS_SYMLINK, "x", 1);
    forge_entry(&f, dir, 2, SQFS_DIR, "x", 1);
    unsigned root = forge_dir(&f, 1, first, (unsigned)f.listings.len);
    must_fail(&f, root, "twice");
    f = (struct forged){ .inode_count = 2 };
    dir = forge_dir(&f, 2, 0, 0);
    forge_entry(&f, dir, 2, SQFS_DIR, "../../../../tmp/x", 17);
    root = forge_dir(&f, 1, 0, (unsigned)f.listings.len);
    must_fail(&f, root, "which no file can have");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_compressed_images),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_forging_works),
        cmocka_unit_test(test_directory_loops),
        cmocka_unit_test(test_wrong_names),
        cmocka_unit_test(test_names_twice_or_not_sorted),
        cmocka_unit_test(test_disagreements),
        cmocka_unit_test(test_data_blocks),
        cmocka_unit_test(test_overlapping_data),
        cmocka_unit_test(test_endless_file),
        cmocka_unit_test(test_impossible_superblocks),
        cmocka_unit_test(test_holes_of_kernels),
        cmocka_unit_test(test_holes_of_unsquashfs),
    };
    return cmocka_run_group_tests_name("gvmi_hostile", tests, NULL, NULL);
}
