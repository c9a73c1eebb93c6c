/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tar reader: every dialect, what is refused, and the same members as libarchive finds, for archives built here and by GNU tar.
 */
#include <inttypes.h>
#include <stdio.h>

#include "source/tar.h"
#include "tar_text.h"

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

    /* The last of several counts. */
    tarb_record(&t, "path", "x", 1);
    tarb_record(&t, "path", "a", 1);
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

    /* A directory with a size: libarchive goes on with the next block, GNU tar passes over as much. */
    tarb_add(&t, &(struct tarb_member){ .name = "dir/", .type = '5', .said_size = 4096 });
    tarb_text(&t, "f after x");
    refuse_tar("a directory with a size", &t, "no data");

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
    refuse_tar("an empty block in the middle", &t, "single empty block");

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

/* ---- what is refused ---- */

static void test_refused(void **state)
{
    (void)state;
    struct tarb t = { 0 };
    unsigned char block[512];

    tarb_raw(&t, "hello", 5);
    refuse_tar("text", &t, "not a tar archive");
    memset(block, 'x', 512);
    tarb_raw(&t, block, 512);
    refuse_tar("a block of text", &t, "not a tar archive");
    tarb_text(&t, "f a x");
    tarb_raw(&t, block, 512);
    refuse_tar("junk after a member", &t, "no header at byte 1024");
    tarb_header(&t, &(struct tarb_member){ .name = "a" }, block);
    block[0] = 'b';
    tarb_raw(&t, block, 512);
    refuse_tar("a wrong checksum", &t, "not a tar archive");
    tarb_text(&t, "f a x");
    tarb_header(&t, &(struct tarb_member){ .name = "a", .said_size = 5 }, block);
    tarb_raw(&t, block, 512);
    refuse_tar("data that is missing", &t, "cut short");
    tarb_header(&t, &(struct tarb_member){ .name = "a", .said_size = 077777777777 }, block);
    tarb_raw(&t, block, 512);
    refuse_tar("8 GiB that are missing", &t, "cut short");
    tarb_header(&t, &(struct tarb_member){ .name = "a" }, block);
    memset(block + 124, 0xff, 12);
    tarb_checksum(block);
    tarb_raw(&t, block, 512);
    refuse_tar("a negative size", &t, "negative");
    tarb_header(&t, &(struct tarb_member){ .name = "a" }, block);
    memset(block + 124, 0x7f, 12);
    block[124] = 0xbf;
    tarb_checksum(block);
    tarb_raw(&t, block, 512);
    refuse_tar("a size beyond 64 bits", &t, "not a number");
    tarb_header(&t, &(struct tarb_member){ .name = "a" }, block);
    memcpy(block + 108, "rootroot", 8);
    tarb_checksum(block);
    tarb_raw(&t, block, 512);
    refuse_tar("an owner that is no number", &t, "owner");
    tarb_text(&t, "f a x | u=4294967295");
    refuse_tar("the owner that is none", &t, "out of range");
    tarb_record(&t, "uid", "-1", 2);
    tarb_text(&t, "f a x");
    refuse_tar("a negative owner", &t, "wrong value");
    tarb_text(&t, "c a 5000 0");
    refuse_tar("a device number out of range", &t, "out of range");
    tarb_add(&t, &(struct tarb_member){ .name = "l", .type = '2' });
    refuse_tar("a symbolic link to nothing", &t, "without a target");
    tarb_add(&t, &(struct tarb_member){ .name = "", .data = "x", .size = 1 });
    refuse_tar("no name", &t, "without a name");
    tarb_add(&t, &(struct tarb_member){ .name = "dir/", .data = "x", .size = 1 });
    refuse_tar("a directory with data", &t, "different ways");
    static const char unknown[] = "89ADEIMNOPQRVXabz!";
    for (size_t i = 0; unknown[i]; i++) {
        tarb_add(&t, &(struct tarb_member){ .name = "a", .type = unknown[i] });
        refuse_tar("an unknown type", &t, "unknown type");
    }

    /* Two readings of one archive. */
    for (int i = 0; i < 2; i++)
        tarb_add(&t, &(struct tarb_member){ .name = "pax", .type = 'x', .data = "10 path=a\n", .size = 10 });
    tarb_text(&t, "f a x");
    refuse_tar("two pax headers", &t, "two pax headers");
    tarb_add(&t, &(struct tarb_member){ .name = "pax", .type = 'x', .data = "10 path=a\n", .size = 10 });
    tarb_add(&t, &(struct tarb_member){ .name = "L", .type = 'L', .data = "b", .size = 2 });
    tarb_text(&t, "f a x");
    refuse_tar("a pax name and another GNU name", &t, "differ");
    tarb_record(&t, "size", "5", 1);
    tarb_add(&t, &(struct tarb_member){ .name = "b", .type = '1', .link = "a" });
    tarb_text(&t, "f a x");
    refuse_tar("a hard link with a pax size, before a header", &t, "hard link with a size");
    static const char *const global[] = { "path", "linkpath", "size", "GNU.sparse.name" };
    for (size_t i = 0; i < 4; i++) {
        tarb_record(&t, global[i], "1", 1);
        struct gv_buf pax = t.pax;
        t.pax = (struct gv_buf){ 0 };
        tarb_add(&t, &(struct tarb_member){ .name = "g", .type = 'g', .data = pax.data, .size = pax.len });
        gv_buf_clear(&pax);
        tarb_text(&t, "f a x");
        refuse_tar("a global name or size", &t, "for all members");
    }

    /* Headers that nothing follows. */
    tarb_add(&t, &(struct tarb_member){ .name = "pax", .type = 'x', .data = "10 path=a\n", .size = 10 });
    refuse_tar("a pax header at the end", &t, "cut short");
    tarb_add(&t, &(struct tarb_member){ .name = "L", .type = 'L', .data = "b", .size = 2 });
    tarb_end(&t);
    refuse_tar("a long name at the end", &t, "cut short");
    tarb_add(&t, &(struct tarb_member){ .name = "x", .type = 'x', .said_size = (uint64_t)1 << 30 });
    refuse_tar("a pax header of 1 GB", &t, "1073741824 bytes");
    tarb_add(&t, &(struct tarb_member){ .name = "x", .type = 'L', .said_size = (uint64_t)1 << 30 });
    refuse_tar("a long name of 1 GB", &t, "1073741824 bytes");
    tarb_add(&t, &(struct tarb_member){ .name = "x", .type = 'g', .said_size = (uint64_t)1 << 30 });
    refuse_tar("a global header of 1 GB", &t, "1073741824 bytes");
    tarb_add(&t, &(struct tarb_member){ .name = "x", .type = 'x', .said_size = 1000 });
    refuse_tar("a pax header that is missing", &t, "cut short");
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
        { "8 path=\n", 8, "different ways" },
        { "8 size=\n", 8, "different ways" },
        { "7 uid=\n", 7, "different ways" },
        { "9 mtime=\n", 9, "different ways" },
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
            refuse_tar(bodies[i].body, &t, bodies[i].error);
        tarb_clear(&t);
    }
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
        compare_readers(kinds[i], tar.data, tar.len, true, NULL);
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
        cmocka_unit_test(test_types),   cmocka_unit_test(test_names),   cmocka_unit_test(test_pax_records),
        cmocka_unit_test(test_times),   cmocka_unit_test(test_numbers), cmocka_unit_test(test_header_details),
        cmocka_unit_test(test_end),     cmocka_unit_test(test_refused), cmocka_unit_test(test_refused_pax),
        cmocka_unit_test(test_gnu_tar),
    };
    return cmocka_run_group_tests_name("source_tar", tests, NULL, NULL);
}
