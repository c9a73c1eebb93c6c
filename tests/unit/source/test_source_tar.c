/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tar reader: every dialect, what is refused, and the same members as libarchive finds, for archives built here and by GNU tar.
 */
#include "helper.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source/tar.h"

/* ---- reading an archive into text, by us and by libarchive ---- */

static int memory_file(const void *p, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(gv_pwrite_full(fd, p, n, 0), 0);
    return fd;
}

#define CONTENT_MAX ((uint64_t)16 << 20)

static uint32_t content_of(struct tar_reader *r, const struct tar_entry *e)
{
    assert_true(e->size <= CONTENT_MAX);
    unsigned char *data = gv_calloc(1, e->size + 1);
    struct tar_extent whole = { .length = e->size };
    const struct tar_extent *extents = e->sparse ? e->extents : &whole;
    for (size_t i = 0; i < (e->sparse ? e->extent_count : 1); i++) {
        for (uint64_t done = 0; done < extents[i].length;) {
            ssize_t got = tar_reader_data(r, data + extents[i].offset + done, extents[i].length - done, NULL);
            assert_true(got > 0);
            done += (uint64_t)got;
        }
    }
    assert_int_equal(tar_reader_data(r, data, 1, NULL), 0);
    uint32_t crc = gv_crc32(data, e->size);
    free(data);
    return crc;
}

static const char *type_name(enum tar_type t)
{
    static const char *const names[] = { [TAR_FILE] = "file",      [TAR_HARDLINK] = "link", [TAR_SYMLINK] = "symlink", [TAR_CHAR] = "char",
                                         [TAR_BLOCKDEV] = "block", [TAR_DIR] = "dir",       [TAR_FIFO] = "fifo" };
    return names[t];
}

/* One line a member; with_data also its content. */
static int our_text(const void *p, size_t n, struct gv_buf *out, bool with_data, struct gv_error *err)
{
    int fd = memory_file(p, n);
    struct stream *s = stream_file_new(fd, 0, n);
    struct tar_reader *r = tar_reader_new(s);
    struct tar_entry e;
    int got;
    while ((got = tar_reader_next(r, &e, err)) > 0) {
        gv_buf_addf(out, "%s %s", type_name(e.type), e.path);
        if (e.type == TAR_HARDLINK) {
            gv_buf_addf(out, " to %s\n", e.link);
            continue;
        }
        gv_buf_addf(out, " %o %u:%u %" PRId64, e.mode, e.uid, e.gid, e.mtime);
        if (e.link)
            gv_buf_addf(out, " to %s", e.link);
        if (e.type == TAR_CHAR || e.type == TAR_BLOCKDEV)
            gv_buf_addf(out, " %u:%u", e.major, e.minor);
        if (e.type == TAR_FILE)
            gv_buf_addf(out, " %" PRIu64, e.size);
        if (e.type == TAR_FILE && with_data)
            gv_buf_addf(out, " crc %08x", content_of(r, &e));
        for (uint32_t i = 0; i < e.xattr_count; i++)
            gv_buf_addf(out, " %s=%u", e.xattrs[i].name, e.xattrs[i].size);
        gv_buf_addf(out, "\n");
    }
    gv_buf_str(out);
    tar_reader_free(r);
    stream_close(s);
    close(fd);
    return got;
}

static uint32_t libarchive_content(struct archive *a, int64_t size)
{
    assert_true((uint64_t)size <= CONTENT_MAX);
    unsigned char *data = gv_calloc(1, (size_t)size + 1);
    const void *block;
    size_t len;
    la_int64_t offset;
    while (archive_read_data_block(a, &block, &len, &offset) == ARCHIVE_OK) {
        assert_true(offset >= 0 && (int64_t)len <= size - offset);
        memcpy(data + offset, block, len);
    }
    uint32_t crc = gv_crc32(data, (size_t)size);
    free(data);
    return crc;
}

static int libarchive_text(const void *p, size_t n, struct gv_buf *out, bool with_data)
{
    struct archive *a = archive_read_new();
    archive_read_support_format_tar(a);
    assert_int_equal(archive_read_open_memory(a, p, n), ARCHIVE_OK);
    struct archive_entry *e;
    int got;
    while ((got = archive_read_next_header(a, &e)) == ARCHIVE_OK || got == ARCHIVE_WARN) {
        mode_t type = archive_entry_filetype(e);
        const char *link = archive_entry_hardlink(e);
        if (link) {
            gv_buf_addf(out, "link %s to %s\n", archive_entry_pathname(e), link);
            continue;
        }
        gv_buf_addf(out, "%s %s",
                    type == AE_IFREG   ? "file"
                    : type == AE_IFLNK ? "symlink"
                    : type == AE_IFCHR ? "char"
                    : type == AE_IFBLK ? "block"
                    : type == AE_IFDIR ? "dir"
                                       : "fifo",
                    archive_entry_pathname(e));
        gv_buf_addf(out, " %o %" PRId64 ":%" PRId64 " %" PRId64, archive_entry_perm(e), archive_entry_uid(e), archive_entry_gid(e),
                    (int64_t)archive_entry_mtime(e));
        if (type == AE_IFLNK)
            gv_buf_addf(out, " to %s", archive_entry_symlink(e));
        if (type == AE_IFCHR || type == AE_IFBLK)
            gv_buf_addf(out, " %u:%u", (unsigned)archive_entry_rdevmajor(e), (unsigned)archive_entry_rdevminor(e));
        if (type == AE_IFREG)
            gv_buf_addf(out, " %" PRId64, archive_entry_size(e));
        if (type == AE_IFREG && with_data)
            gv_buf_addf(out, " crc %08x", libarchive_content(a, archive_entry_size(e)));
        archive_entry_xattr_reset(e);
        const char *name;
        const void *value;
        size_t size;
        while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK)
            gv_buf_addf(out, " %s=%zu", name, size);
        gv_buf_addf(out, "\n");
    }
    gv_buf_str(out);
    archive_read_free(a);
    return got == ARCHIVE_EOF ? 0 : -1;
}

/* Both readers agree, and find what is expected (if that is not NULL). */
static void compare(const char *what, const void *p, size_t n, bool with_data, const char *expected)
{
    struct gv_buf ours = { 0 }, theirs = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (our_text(p, n, &ours, with_data, &err) < 0)
        fail_msg("%s: %s", what, err.msg);
    if (expected && strcmp((char *)ours.data, expected) != 0)
        fail_msg("%s: expected\n%sgot\n%s", what, expected, (char *)ours.data);
    if (libarchive_text(p, n, &theirs, with_data) < 0)
        fail_msg("%s: libarchive refuses it", what);
    if (strcmp((char *)ours.data, (char *)theirs.data) != 0)
        fail_msg("%s: we read\n%slibarchive reads\n%s", what, (char *)ours.data, (char *)theirs.data);
    gv_buf_clear(&ours);
    gv_buf_clear(&theirs);
}

static void compare_tar(const char *what, struct tarb *t, const char *expected)
{
    tarb_end(t);
    compare(what, t->out.data, t->out.len, true, expected);
    tarb_clear(t);
    t->format = TARB_PAX;
}

static void refuse(const char *what, struct tarb *t, const char *error)
{
    struct gv_buf ours = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (our_text(t->out.data, t->out.len, &ours, false, &err) == 0)
        fail_msg("%s: accepted as\n%s", what, (char *)ours.data);
    if (!strstr(err.msg, error))
        fail_msg("%s: expected `%s` in: %s", what, error, err.msg);
    gv_buf_clear(&ours);
    tarb_clear(t);
    t->format = TARB_PAX;
}

/* ---- dialects ---- */

static void test_types(void **state)
{
    (void)state;
    static const enum tarb_format formats[] = { TARB_V7, TARB_USTAR, TARB_GNU, TARB_PAX };
    for (size_t i = 0; i < 4; i++) {
        struct tarb t = { .format = formats[i] };
        tarb_text(&t, "f a hello | m=4755 u=1 g=2 t=3\nd d/\nl l a\nh h a");
        if (formats[i] != TARB_V7)
            tarb_text(&t, "c c 1 3\nb b 8 17\np p");
        compare_tar("types", &t,
                    formats[i] == TARB_V7
                        ? "file a 4755 1:2 3 5 crc 3610a686\ndir d/ 755 0:0 1000\nsymlink l 777 0:0 1000 to a\nlink h to a\n"
                        : "file a 4755 1:2 3 5 crc 3610a686\ndir d/ 755 0:0 1000\nsymlink l 777 0:0 1000 to a\nlink h to a\n"
                          "char c 644 0:0 1000 1:3\nblock b 644 0:0 1000 8:17\nfifo p 644 0:0 1000\n");
    }
}

static void test_names(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    char name[400], link[400];
    memset(name, 'n', sizeof(name));
    memset(link, 'k', sizeof(link));
    name[300] = link[300] = '\0';
    for (int i = 0; i < 2; i++) {
        t.format = i ? TARB_GNU : TARB_PAX;
        tarb_add(&t, &(struct tarb_member){ .name = name, .data = "x", .size = 1 });
        tarb_add(&t, &(struct tarb_member){ .name = name, .type = '2', .link = link, .mode = 0777 });
        tarb_add(&t, &(struct tarb_member){ .name = "short", .type = '1', .link = name });
        tarb_add(&t, &(struct tarb_member){ .name = "after", .data = "y", .size = 1 });
        compare_tar("long names", &t, NULL);
    }
    /* Exactly 100 bytes without a NUL, and with a prefix of 155. */
    name[100] = '\0';
    link[155] = '\0';
    tarb_add(&t, &(struct tarb_member){ .name = name, .data = "x", .size = 1, .prefix = link });
    tarb_add(&t, &(struct tarb_member){ .name = "n", .data = "x", .size = 1, .prefix = "a/b" });
    compare_tar("prefix", &t, NULL);

    /* Star ends the prefix at 131 bytes and has times behind it. */
    unsigned char block[512];
    memset(link, 'p', 131);
    link[131] = '\0';
    tarb_header(&t, &(struct tarb_member){ .name = "star", .prefix = link }, block);
    memcpy(block + 345 + 131, "00000001234 00000001234", 23);
    memcpy(block + 508, "tar", 4);
    tarb_checksum(block);
    tarb_raw(&t, block, 512);
    tarb_end(&t);
    struct gv_buf ours = { 0 };
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    char *expected = gv_asprintf("file %s/star 644 0:0 1000 0\n", link);
    assert_string_equal((char *)ours.data, expected);
    free(expected);
    gv_buf_clear(&ours);
    tarb_clear(&t);

    /* Go before 1.8 wrote a prefix into GNU headers. */
    t.format = TARB_GNU;
    tarb_add(&t, &(struct tarb_member){ .name = "n", .prefix = "some/dir", .data = "x", .size = 1 });
    tarb_end(&t);
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    assert_string_equal((char *)ours.data, "file some/dir/n 644 0:0 1000 1\n");
    gv_buf_clear(&ours);
    tarb_clear(&t);

    t.format = TARB_PAX;
    tarb_text(&t, "f \xc3\xa4\xff\x01 x");
    tarb_record(&t, "path", "\xfe\xff", 2);
    tarb_record(&t, "hdrcharset", "BINARY", 6);
    tarb_text(&t, "f replaced x");
    tarb_end(&t);
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    assert_string_equal((char *)ours.data, "file \xc3\xa4\xff\x01 644 0:0 1000 1\nfile \xfe\xff 644 0:0 1000 1\n");
    gv_buf_clear(&ours);
    tarb_clear(&t);
}

static void test_pax_records(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    tarb_record(&t, "path", "p", 1);
    tarb_record(&t, "uid", "3000000", 7);
    tarb_record(&t, "gid", "4000000", 7);
    tarb_record(&t, "mtime", "1234567890.75", 13);
    tarb_record(&t, "atime", "1.5", 3);
    tarb_record(&t, "comment", "a=b\nc", 5);
    tarb_record(&t, "SCHILY.xattr.user.a", "v\0\n=", 4);
    tarb_text(&t, "f a hello");
    tarb_record(&t, "linkpath", "q", 1);
    tarb_text(&t, "l b x");
    tarb_text(&t, "f c x"); /* nothing of it is left */
    compare_tar(
        "pax records", &t,
        "file p 644 3000000:4000000 1234567890 5 crc 3610a686 user.a=4\nsymlink b 777 0:0 1000 to q\nfile c 644 0:0 1000 1 crc 8cdc1683\n");

    /* The size of the pax header counts, not that of the tar header, and only for the member itself (CVE-2025-62518, CVE-2026-53655). */
    unsigned char block[512], data[1024];
    memset(data, 'd', sizeof(data));
    tarb_header(&t, &(struct tarb_member){ .name = "inner", .data = "x", .size = 512 }, block);
    memcpy(data, block, 512); /* what looks like a member inside of the data */
    tarb_record(&t, "size", "1024", 4);
    gv_buf_addf(&t.out, "%s", ""); /* the header below says 0 */
    struct tarb inner = { 0 };
    tarb_add(&inner, &(struct tarb_member){ .name = "pax", .type = 'x', .data = t.pax.data, .size = t.pax.len });
    tarb_raw(&t, inner.out.data, inner.out.len);
    tarb_clear(&inner);
    t.pax.len = 0;
    tarb_header(&t, &(struct tarb_member){ .name = "outer" }, block);
    tarb_raw(&t, block, 512);
    tarb_raw(&t, data, 1024);
    tarb_text(&t, "f after x");
    compare_tar("size in pax", &t, NULL);
    assert_int_equal(t.out.len, 0);

    /* A pax size in front of a long name. */
    tarb_record(&t, "size", "1", 1);
    struct tarb long_one = { .format = TARB_GNU };
    char name[200];
    memset(name, 'n', sizeof(name));
    name[150] = '\0';
    tarb_add(&inner, &(struct tarb_member){ .name = "pax", .type = 'x', .data = t.pax.data, .size = t.pax.len });
    t.pax.len = 0;
    tarb_raw(&t, inner.out.data, inner.out.len);
    tarb_clear(&inner);
    tarb_add(&long_one, &(struct tarb_member){ .name = name, .data = "x", .size = 1 });
    tarb_raw(&t, long_one.out.data, long_one.out.len);
    tarb_clear(&long_one);
    compare_tar("size in pax before a long name", &t, NULL);

    /* Empty values take earlier ones back; the last of several counts. */
    tarb_record(&t, "path", "x", 1);
    tarb_record(&t, "path", "", 0);
    tarb_record(&t, "mtime", "5", 1);
    tarb_record(&t, "mtime", "6", 1);
    tarb_text(&t, "f a x");
    tarb_end(&t);
    struct gv_buf ours = { 0 };
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    assert_string_equal((char *)ours.data, "file a 644 0:0 6 1\n");
    gv_buf_clear(&ours);
    tarb_clear(&t);
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } times[] = {
        { "0", 0 }, { "-1", -1 }, { "-1.5", -2 }, { "-1.0", -1 }, { "1.999999999999", 1 }, { "-0.1", -1 }, { "99999999999", 99999999999 },
        { "5.", 5 }
    };
    for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
        struct tarb t = { 0 };
        struct gv_buf ours = { 0 };
        tarb_record(&t, "mtime", times[i].text, strlen(times[i].text));
        tarb_text(&t, "f a x");
        tarb_end(&t);
        assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
        char *expected = gv_asprintf("file a 644 0:0 %" PRId64 " 1\n", times[i].seconds);
        assert_string_equal((char *)ours.data, expected);
        free(expected);
        gv_buf_clear(&ours);
        tarb_clear(&t);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        size_t n;
        int64_t value;
        int status;
    } numbers[] = {
        { "0000644\0", 8, 0644, 0 },
        { "    644 ", 8, 0644, 0 },
        { "644     ", 8, 0644, 0 },
        { "\0\0\0\0\0\0\0\0", 8, 0, 0 },
        { "        ", 8, 0, 0 },
        { "77777777", 8, 077777777, 0 },
        { "777777777777", 12, 0777777777777, 0 },
        { "\x80\0\0\0\0\0\0\0\0\0\1\0", 12, 256, 0 },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, -1, 0 },
        { "\xff\xff\xff\xff\xff\xff\xff\xfe", 8, -2, 0 },
        { "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12, INT64_MAX, 0 },
        { "\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", 12, INT64_MIN, 0 },
        { "\x80\0\0\0\x80\0\0\0\0\0\0\0", 12, 0, -1 },
        { "\x80\0\0\1\0\0\0\0\0\0\0\0", 12, 0, -1 },
        { "\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, 0, -1 },
        { "0000648\0", 8, 0, -1 },
        { "-000001\0", 8, 0, -1 },
        { "12 34   ", 8, 0, -1 },
        { "0x1     ", 8, 0, -1 },
        { "abc\0\0\0\0\0", 8, 0, -1 },
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        int64_t v = 0;
        assert_int_equal(tar_number((const unsigned char *)numbers[i].field, numbers[i].n, &v), numbers[i].status);
        if (!numbers[i].status)
            assert_true(v == numbers[i].value);
    }
}

static void test_header_details(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    unsigned char block[512];
    /* Base-256 owners, a contiguous file, a directory by its slash. */
    tarb_text(&t, "f big x | u=3000000000 g=4000000000");
    tarb_add(&t, &(struct tarb_member){ .name = "seven", .type = '7', .data = "x", .size = 1 });
    compare_tar("large owners", &t, NULL);

    t.format = TARB_V7;
    tarb_add(&t, &(struct tarb_member){ .name = "dir/", .mode = 0755 });
    compare_tar("a directory by its slash", &t, "dir dir/ 755 0:0 1000\n");

    /* A directory with a size has no data all the same. */
    tarb_add(&t, &(struct tarb_member){ .name = "dir/", .type = '5', .said_size = 4096 });
    tarb_text(&t, "f after x");
    compare_tar("a directory with a size", &t, "dir dir/ 755 0:0 1000\nfile after 644 0:0 1000 1 crc 8cdc1683\n");

    /* The sum of signed bytes. */
    tarb_header(&t, &(struct tarb_member){ .name = "\xe4\xf6\xfc" }, block);
    int sum = 0;
    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += (signed char)block[i];
    snprintf((char *)block + 148, 8, "%06o", (unsigned)sum);
    tarb_raw(&t, block, 512);
    struct gv_buf ours = { 0 };
    tarb_end(&t);
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    assert_string_equal((char *)ours.data, "file \xe4\xf6\xfc 644 0:0 1000 0\n");
    gv_buf_clear(&ours);
    tarb_clear(&t);

    /* Hard links: with a size but no data, and with data (pax -o linkdata). */
    tarb_text(&t, "f a 12345");
    tarb_add(&t, &(struct tarb_member){ .name = "b", .type = '1', .link = "a", .said_size = 5 });
    tarb_text(&t, "f c x");
    tarb_end(&t);
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    assert_string_equal((char *)ours.data, "file a 644 0:0 1000 5\nlink b to a\nfile c 644 0:0 1000 1\n");
    gv_buf_clear(&ours);
    tarb_clear(&t);
    for (size_t size = 500; size < 1600; size += 12) {
        char data[1600];
        memset(data, 'z', sizeof(data));
        tarb_text(&t, "f a 12345");
        tarb_add(&t, &(struct tarb_member){ .name = "b", .type = '1', .link = "a", .data = data, .size = size });
        tarb_text(&t, "f c x");
        tarb_end(&t);
        assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
        assert_string_equal((char *)ours.data, "file a 644 0:0 1000 5\nlink b to a\nfile c 644 0:0 1000 1\n");
        gv_buf_clear(&ours);
        tarb_clear(&t);
    }

    /* Global headers as `git archive` writes them. */
    tarb_record(&t, "comment", "0123456789", 10);
    tarb_record(&t, "mtime", "17", 2);
    struct gv_buf pax = t.pax;
    t.pax = (struct gv_buf){ 0 };
    tarb_add(&t, &(struct tarb_member){ .name = "pax_global_header", .type = 'g', .data = pax.data, .size = pax.len });
    gv_buf_clear(&pax);
    tarb_text(&t, "f a x");
    compare_tar("a global header", &t, "file a 644 0:0 1000 1 crc 8cdc1683\n");
}

static void test_end(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    const char *expected = "file a 644 0:0 1000 1\n";
    static const struct {
        size_t zeros;
        const char *junk;
    } ends[] = { { 0, NULL }, { 512, NULL }, { 1024, NULL }, { 10240, NULL }, { 1024, "anything at all" } };
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        struct gv_buf ours = { 0 };
        tarb_text(&t, "f a x");
        tarb_raw(&t, NULL, ends[i].zeros);
        if (ends[i].junk)
            tarb_raw(&t, ends[i].junk, strlen(ends[i].junk));
        assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
        assert_string_equal((char *)ours.data, expected);
        gv_buf_clear(&ours);
        /* Without the padding of the last member. */
        if (!ends[i].zeros) {
            assert_int_equal(our_text(t.out.data, 513, &ours, false, NULL), 0);
            assert_string_equal((char *)ours.data, expected);
            gv_buf_clear(&ours);
        }
        tarb_clear(&t);
    }
    /* An empty archive is two empty blocks; nothing at all is one as well. */
    struct gv_buf ours = { 0 };
    tarb_end(&t);
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    assert_int_equal(our_text("", 0, &ours, false, NULL), 0);
    assert_int_equal(ours.len, 0);
    gv_buf_clear(&ours);

    tarb_clear(&t);
    tarb_text(&t, "f a x");
    tarb_raw(&t, NULL, 512);
    tarb_text(&t, "f b x");
    refuse("an empty block in the middle", &t, "single empty block");

    /* Cut at every place: only where a member's data is whole it may end, with its padding or a part of it. */
    tarb_text(&t, "f a hello");
    tarb_record(&t, "path", "longer", 6);
    tarb_text(&t, "f b world");
    assert_int_equal(t.out.len, 3072);
    for (size_t n = 1; n <= t.out.len; n++) {
        struct gv_error err = GV_ERROR_INIT;
        bool whole = (n >= 512 + 5 && n <= 1024) || n >= 2560 + 5;
        if ((our_text(t.out.data, n, &ours, false, &err) == 0) != whole)
            fail_msg("cut at %zu: %s", n, whole ? err.msg : "accepted");
        gv_buf_clear(&ours);
    }
    tarb_clear(&t);
}

/* ---- sparse files ---- */

static char pattern[4096];

static void fill_pattern(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (char)('a' + i % 23);
}

/* Old GNU: up to four pieces in the header, 21 in each block after it. */
static void gnu_sparse(struct tarb *t, const struct tar_extent *pieces, size_t n, uint64_t real)
{
    unsigned char block[512];
    uint64_t stored = 0;
    for (size_t i = 0; i < n; i++)
        stored += pieces[i].length;
    tarb_header(t, &(struct tarb_member){ .name = "sparse", .type = 'S', .said_size = stored }, block);
    for (size_t i = 0; i < n && i < 4; i++) {
        snprintf((char *)block + 386 + 24 * i, 12, "%011" PRIo64, pieces[i].offset);
        snprintf((char *)block + 398 + 24 * i, 12, "%011" PRIo64, pieces[i].length);
    }
    block[482] = n > 4;
    snprintf((char *)block + 483, 12, "%011" PRIo64, real);
    tarb_checksum(block);
    tarb_raw(t, block, 512);
    for (size_t at = 4; at < n; at += 21) {
        memset(block, 0, 512);
        for (size_t i = 0; i < 21 && at + i < n; i++) {
            snprintf((char *)block + 24 * i, 12, "%011" PRIo64, pieces[at + i].offset);
            snprintf((char *)block + 12 + 24 * i, 12, "%011" PRIo64, pieces[at + i].length);
        }
        block[504] = at + 21 < n;
        tarb_raw(t, block, 512);
    }
    for (uint64_t left = stored; left;) {
        size_t step = left < sizeof(pattern) ? (size_t)left : sizeof(pattern);
        tarb_raw(t, pattern, step);
        left -= step;
    }
    tarb_pad(t);
}

static void test_gnu_sparse(void **state)
{
    (void)state;
    fill_pattern();
    struct tarb t = { .format = TARB_GNU };
    struct tar_extent pieces[60];
    for (size_t n = 0; n <= 60; n += 3) {
        for (size_t i = 0; i < n; i++)
            pieces[i] = (struct tar_extent){ .offset = 512 + i * 2048, .length = 512 };
        gnu_sparse(&t, pieces, n, 512 + n * 2048 + 1000);
        tarb_text(&t, "f after x");
        compare_tar("old GNU sparse", &t, NULL);
        t.format = TARB_GNU;
    }
    pieces[0] = (struct tar_extent){ 0, 512 };
    pieces[1] = (struct tar_extent){ 256, 512 };
    gnu_sparse(&t, pieces, 2, 4096);
    refuse("pieces that overlap", &t, "overlap");
    t.format = TARB_GNU;
    pieces[1] = (struct tar_extent){ 4000, 512 };
    gnu_sparse(&t, pieces, 2, 4096);
    refuse("a piece outside", &t, "outside");
    t.format = TARB_GNU;
    pieces[0] = (struct tar_extent){ 1024, 512 };
    pieces[1] = (struct tar_extent){ 0, 512 };
    gnu_sparse(&t, pieces, 2, 4096);
    refuse("pieces out of order", &t, "overlap");
}

static void pax_sparse_01(struct tarb *t, const char *map, const char *blocks, const char *real, size_t stored)
{
    tarb_record(t, "GNU.sparse.size", real, strlen(real));
    tarb_record(t, "GNU.sparse.numblocks", blocks, strlen(blocks));
    tarb_record(t, "GNU.sparse.name", "name", 4);
    tarb_record(t, "GNU.sparse.map", map, strlen(map));
    tarb_add(t, &(struct tarb_member){ .name = "GNUSparseFile.1/name", .data = pattern, .size = stored });
    tarb_text(t, "f after x");
}

static void pax_sparse_10(struct tarb *t, const char *map, const char *real, size_t stored)
{
    struct gv_buf data = { 0 };
    gv_buf_add(&data, map, strlen(map));
    gv_buf_reserve(&data, 1024);
    size_t fill = (512 - data.len % 512) % 512;
    memset(data.data + data.len, 0, fill);
    data.len += fill;
    gv_buf_add(&data, pattern, stored);
    tarb_record(t, "GNU.sparse.major", "1", 1);
    tarb_record(t, "GNU.sparse.minor", "0", 1);
    tarb_record(t, "GNU.sparse.name", "name", 4);
    tarb_record(t, "GNU.sparse.realsize", real, strlen(real));
    tarb_add(t, &(struct tarb_member){ .name = "GNUSparseFile.1/name", .data = data.data, .size = data.len });
    tarb_text(t, "f after x");
    gv_buf_clear(&data);
}

static void test_pax_sparse(void **state)
{
    (void)state;
    fill_pattern();
    struct tarb t = { 0 };
    tarb_record(&t, "GNU.sparse.size", "9000", 4);
    tarb_record(&t, "GNU.sparse.numblocks", "2", 1);
    tarb_record(&t, "GNU.sparse.offset", "512", 3);
    tarb_record(&t, "GNU.sparse.numbytes", "100", 3);
    tarb_record(&t, "GNU.sparse.offset", "8000", 4);
    tarb_record(&t, "GNU.sparse.numbytes", "1000", 4);
    tarb_add(&t, &(struct tarb_member){ .name = "name", .data = pattern, .size = 1100 });
    tarb_text(&t, "f after x");
    compare_tar("pax sparse 0.0", &t, NULL);
    pax_sparse_01(&t, "512,100,8000,1000", "2", "9000", 1100);
    compare_tar("pax sparse 0.1", &t, NULL);
    pax_sparse_01(&t, "0,0", "1", "9000", 0);
    compare_tar("pax sparse 0.1, all hole", &t, "file name 644 0:0 1000 9000 crc a70d74d0\nfile after 644 0:0 1000 1 crc 8cdc1683\n");
    pax_sparse_10(&t, "2\n512\n100\n8000\n1000\n", "9000", 1100);
    compare_tar("pax sparse 1.0", &t, NULL);
    pax_sparse_10(&t, "0\n", "9000", 0);
    compare_tar("pax sparse 1.0, all hole", &t, NULL);
    /* A map of more than one block. */
    struct gv_buf map = { 0 };
    gv_buf_addf(&map, "200\n");
    for (int i = 0; i < 200; i++)
        gv_buf_addf(&map, "%d\n5\n", i * 100);
    pax_sparse_10(&t, gv_buf_str(&map), "20000", 1000);
    compare_tar("pax sparse 1.0, long map", &t, NULL);
    gv_buf_clear(&map);

    pax_sparse_01(&t, "512,100,8000,1001", "2", "9000", 1100);
    refuse("a piece outside", &t, "outside");
    pax_sparse_01(&t, "512,100,8000,900", "2", "9000", 1100);
    refuse("too little data", &t, "not the 1100 stored");
    pax_sparse_01(&t, "512,100,8000", "2", "9000", 1100);
    refuse("an odd map", &t, "wrong value");
    pax_sparse_01(&t, "512,100,", "1", "9000", 100);
    refuse("a comma too many", &t, "wrong value");
    pax_sparse_01(&t, "512,100", "2", "9000", 100);
    refuse("a wrong count", &t, "incomplete");
    pax_sparse_10(&t, "1\n-1\n100\n", "9000", 100);
    refuse("a negative number", &t, "not a number");
    pax_sparse_10(&t, "1\n99999999999999999999\n100\n", "9000", 100);
    refuse("a large number", &t, "not a number");
    pax_sparse_10(&t, "99999999\n1\n1\n", "9000", 100);
    refuse("a map longer than the data", &t, "sparse file");
    pax_sparse_10(&t, "1\n0\n9223372036854775807\n", "9223372036854775807", 100);
    refuse("more than is stored", &t, "not the 100 stored");
    tarb_record(&t, "GNU.sparse.major", "2", 1);
    tarb_record(&t, "GNU.sparse.minor", "0", 1);
    tarb_text(&t, "f a x");
    refuse("an unknown version", &t, "version 2.0");
    tarb_record(&t, "GNU.sparse.size", "10", 2);
    tarb_record(&t, "GNU.sparse.offset", "1", 1);
    tarb_text(&t, "f a x");
    refuse("an offset alone", &t, "incomplete");
    tarb_record(&t, "GNU.sparse.numbytes", "1", 1);
    tarb_text(&t, "f a x");
    refuse("a length alone", &t, "wrong value");
    tarb_record(&t, "GNU.sparse.map", "0,1", 3);
    tarb_record(&t, "GNU.sparse.size", "1", 1);
    tarb_text(&t, "d a/");
    refuse("a sparse directory", &t, "not a file");
}

/* 8 EiB of nothing. */
static void test_huge_sparse(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    pax_sparse_10(&t, "0\n", "9223372036854775807", 0);
    struct gv_buf ours = { 0 };
    assert_int_equal(our_text(t.out.data, t.out.len, &ours, false, NULL), 0);
    assert_string_equal((char *)ours.data, "file name 644 0:0 1000 9223372036854775807\nfile after 644 0:0 1000 1\n");
    gv_buf_clear(&ours);
    tarb_clear(&t);
    pax_sparse_10(&t, "0\n", "9223372036854775808", 0);
    refuse("more than 8 EiB", &t, "out of range");
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    unsigned char block[512];

    tarb_raw(&t, "hello", 5);
    refuse("text", &t, "not a tar archive");
    memset(block, 'x', 512);
    tarb_raw(&t, block, 512);
    refuse("a block of text", &t, "not a tar archive");
    tarb_text(&t, "f a x");
    tarb_raw(&t, block, 512);
    refuse("junk after a member", &t, "no header at byte 1024");
    tarb_header(&t, &(struct tarb_member){ .name = "a" }, block);
    block[0] = 'b';
    tarb_raw(&t, block, 512);
    refuse("a wrong checksum", &t, "not a tar archive");
    tarb_text(&t, "f a x");
    tarb_header(&t, &(struct tarb_member){ .name = "a", .said_size = 5 }, block);
    tarb_raw(&t, block, 512);
    refuse("data that is missing", &t, "cut short");
    tarb_header(&t, &(struct tarb_member){ .name = "a", .said_size = 077777777777 }, block);
    tarb_raw(&t, block, 512);
    refuse("8 GiB that are missing", &t, "cut short");
    tarb_header(&t, &(struct tarb_member){ .name = "a" }, block);
    memset(block + 124, 0xff, 12);
    tarb_checksum(block);
    tarb_raw(&t, block, 512);
    refuse("a negative size", &t, "negative");
    tarb_header(&t, &(struct tarb_member){ .name = "a" }, block);
    memset(block + 124, 0x7f, 12);
    block[124] = 0xbf;
    tarb_checksum(block);
    tarb_raw(&t, block, 512);
    refuse("a size beyond 64 bits", &t, "not a number");
    tarb_header(&t, &(struct tarb_member){ .name = "a" }, block);
    memcpy(block + 108, "rootroot", 8);
    tarb_checksum(block);
    tarb_raw(&t, block, 512);
    refuse("an owner that is no number", &t, "owner");
    tarb_text(&t, "f a x | u=4294967295");
    refuse("the owner that is none", &t, "out of range");
    tarb_record(&t, "uid", "-1", 2);
    tarb_text(&t, "f a x");
    refuse("a negative owner", &t, "wrong value");
    tarb_text(&t, "c a 5000 0");
    refuse("a device number out of range", &t, "out of range");
    tarb_add(&t, &(struct tarb_member){ .name = "l", .type = '2' });
    refuse("a symbolic link to nothing", &t, "without a target");
    tarb_add(&t, &(struct tarb_member){ .name = "", .data = "x", .size = 1 });
    refuse("no name", &t, "without a name");
    tarb_add(&t, &(struct tarb_member){ .name = "dir/", .data = "x", .size = 1 });
    refuse("a directory with data", &t, "different ways");
    static const char unknown[] = "89ADEIMNOPQRVXabz!";
    for (size_t i = 0; unknown[i]; i++) {
        tarb_add(&t, &(struct tarb_member){ .name = "a", .type = unknown[i] });
        refuse("an unknown type", &t, "unknown type");
    }

    /* Two readings of one archive. */
    for (int i = 0; i < 2; i++)
        tarb_add(&t, &(struct tarb_member){ .name = "pax", .type = 'x', .data = "10 path=a\n", .size = 10 });
    tarb_text(&t, "f a x");
    refuse("two pax headers", &t, "two pax headers");
    tarb_add(&t, &(struct tarb_member){ .name = "pax", .type = 'x', .data = "10 path=a\n", .size = 10 });
    tarb_add(&t, &(struct tarb_member){ .name = "L", .type = 'L', .data = "b", .size = 2 });
    tarb_text(&t, "f a x");
    refuse("a pax name and another GNU name", &t, "differ");
    tarb_record(&t, "size", "5", 1);
    tarb_add(&t, &(struct tarb_member){ .name = "b", .type = '1', .link = "a" });
    tarb_text(&t, "f a x");
    refuse("a hard link with a pax size, before a header", &t, "hard link with a size");
    static const char *const global[] = { "path", "linkpath", "size", "GNU.sparse.name" };
    for (size_t i = 0; i < 4; i++) {
        tarb_record(&t, global[i], "1", 1);
        struct gv_buf pax = t.pax;
        t.pax = (struct gv_buf){ 0 };
        tarb_add(&t, &(struct tarb_member){ .name = "g", .type = 'g', .data = pax.data, .size = pax.len });
        gv_buf_clear(&pax);
        tarb_text(&t, "f a x");
        refuse("a global name or size", &t, "for all members");
    }

    /* Headers that nothing follows. */
    tarb_add(&t, &(struct tarb_member){ .name = "pax", .type = 'x', .data = "10 path=a\n", .size = 10 });
    refuse("a pax header at the end", &t, "cut short");
    tarb_add(&t, &(struct tarb_member){ .name = "L", .type = 'L', .data = "b", .size = 2 });
    tarb_end(&t);
    refuse("a long name at the end", &t, "cut short");
    tarb_add(&t, &(struct tarb_member){ .name = "x", .type = 'x', .said_size = (uint64_t)1 << 30 });
    refuse("a pax header of 1 GB", &t, "1073741824 bytes");
    tarb_add(&t, &(struct tarb_member){ .name = "x", .type = 'L', .said_size = (uint64_t)1 << 30 });
    refuse("a long name of 1 GB", &t, "1073741824 bytes");
    tarb_add(&t, &(struct tarb_member){ .name = "x", .type = 'g', .said_size = (uint64_t)1 << 30 });
    refuse("a global header of 1 GB", &t, "1073741824 bytes");
    tarb_add(&t, &(struct tarb_member){ .name = "x", .type = 'x', .said_size = 1000 });
    refuse("a pax header that is missing", &t, "cut short");
}

static void test_refused_pax(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        size_t n;
        const char *error;
    } bodies[] = {
        { "10 path=a", 9, "damaged" },
        { "11 path=a\n", 10, "damaged" },
        { "9 path=a\n", 9, "" },
        { "path=a\n", 7, "damaged" },
        { "x path=a\n", 9, "damaged" },
        { "-1 path=a\n", 10, "damaged" },
        { "7 path\n", 7, "damaged" },
        { "5 =a\n", 5, "damaged" },
        { "3 \n", 3, "damaged" },
        { "99999999999999999999 a=b\n", 25, "damaged" },
        { "4 a\n", 4, "damaged" },
        { " 10 path=a\n", 11, "damaged" },
        { "12 path=a\0b\n", 12, "wrong value" },
        { "12 size=abc\n", 12, "wrong value" },
        { "11 size=-1\n", 11, "wrong value" },
        { "28 size=9223372036854775808\n", 28, "wrong value" },
        { "11 mtime=x\n", 11, "wrong value" },
        { "13 mtime=1.x\n", 13, "wrong value" },
        { "14 mtime=1e10\n", 14, "wrong value" },
        { "18 uid=4294967295\n", 18, "wrong value" },
        { "19 SCHILY.xattr.=a\n", 19, "name of 0 bytes" },
        { "20 GNU.sparse.foo=1\n", 20, "not known" },
        { "0 path=a\n", 9, "damaged" },
        { "\0\0\0\0", 4, "damaged" },
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        struct tarb t = { 0 };
        tarb_add(&t, &(struct tarb_member){ .name = "pax", .type = 'x', .data = bodies[i].body, .size = bodies[i].n });
        tarb_text(&t, "f a x");
        if (*bodies[i].error)
            refuse(bodies[i].body, &t, bodies[i].error);
        tarb_clear(&t);
    }
}

static void test_extent_limit(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    struct gv_buf map = { 0 };
    gv_buf_addf(&map, "%zu\n", TAR_EXTENTS_MAX + 1);
    for (size_t i = 0; i <= TAR_EXTENTS_MAX; i++)
        gv_buf_addf(&map, "%zu\n0\n", i);
    pax_sparse_10(&t, gv_buf_str(&map), "9000000", 0);
    refuse("too many pieces", &t, "pieces");
    gv_buf_clear(&map);
}

/* ---- GNU tar as the writer ---- */

static void run(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void test_gnu_tar(void **state)
{
    (void)state;
    if (system("tar --version 2>/dev/null | grep -q 'GNU tar'") != 0) {
        print_message("# skipped: no GNU tar\n");
        return;
    }
    char *dir = temp_make(), *quoted = gv_asprintf("cd '%s' && ", dir);
    char *make = gv_asprintf(
        "%smkdir -p t/d && cd t && printf hello > a && ln a b && ln -s a s && mkfifo p && printf '' > empty && chmod 4751 a && "
        "n=$(printf 'x%%.0s' $(seq 120)) && mkdir -p $n/$n && printf long > $n/$n/$n && ln -s $n/$n $n/l && ln $n/$n/$n hl && "
        "touch -d @-100 old && touch -d 2040-01-01 new && touch -d @1234567890.987654321 frac && "
        "truncate -s 1M hole && printf data | dd of=hole bs=1 seek=500000 conv=notrunc status=none && "
        "for i in $(seq 0 30); do printf x | dd of=many bs=1 seek=$((i*30000)) conv=notrunc status=none; done && truncate -s 2M allhole",
        quoted);
    run(make);
    static const char *const kinds[] = {
        "--format=v7",
        "--format=oldgnu",
        "--format=gnu",
        "--format=gnu -S",
        "--format=oldgnu -S",
        "--format=ustar",
        "--format=posix",
        "--format=posix -S --sparse-version=0.0",
        "--format=posix -S --sparse-version=0.1",
        "--format=posix -S --sparse-version=1.0",
        "--format=posix --xattrs",
        "--format=posix -b 1",
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        /* v7 and ustar cannot hold everything: what they leave out is the same for both readers. */
        char *command = gv_asprintf("%star %s --sort=name -cf o.tar t 2>/dev/null || true", quoted, kinds[i]);
        run(command);
        free(command);
        char *path = path_in(dir, "o.tar");
        struct gv_buf tar = { 0 };
        assert_int_equal(gv_read_file(path, (size_t)64 << 20, &tar, NULL), 0);
        assert_true(tar.len > 10240);
        compare(kinds[i], tar.data, tar.len, true, NULL);
        gv_buf_clear(&tar);
        free(path);
    }
    free(make);
    free(quoted);
    temp_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),        cmocka_unit_test(test_names),      cmocka_unit_test(test_pax_records),
        cmocka_unit_test(test_times),        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_header_details),
        cmocka_unit_test(test_end),          cmocka_unit_test(test_gnu_sparse), cmocka_unit_test(test_pax_sparse),
        cmocka_unit_test(test_huge_sparse),  cmocka_unit_test(test_refused),    cmocka_unit_test(test_refused_pax),
        cmocka_unit_test(test_extent_limit), cmocka_unit_test(test_gnu_tar),
    };
    return cmocka_run_group_tests_name("source_tar", tests, NULL, NULL);
}
