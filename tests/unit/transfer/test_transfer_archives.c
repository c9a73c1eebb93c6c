/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Archives: every format there and back, and those that mean harm. */
#include "transfer_test.h"

#include <archive.h>
#include <archive_entry.h>

static const char *const formats[] = { "tar", "tar.gz", "tar.bz2", "tar.xz", "zip", "zip.0" };

static void make_tree(void)
{
    cleanup_free char *link = test_path("vol-1/d/link"), *program = test_path("vol-1/program");
    test_mkdir("vol-1/d/e");
    test_mkdir("vol-1/empty");
    test_text("vol-1/one", "1");
    test_text("vol-1/d/zwei-\xc3\xa4", "22");
    test_text("vol-1/d/e/three.tmp", "333");
    test_text("vol-1/program", "#!/bin/sh\n");
    assert_int_equal(chmod(program, 0755), 0);
    assert_int_equal(symlink("../one", link), 0);
}

static void assert_tree(const char *top)
{
    static const char *const names[][2] = { { "one", "1" }, { "d/zwei-\xc3\xa4", "22" }, { "d/e/three.tmp", "333" }, { "d/link", "1" } };
    struct stat st;
    for (size_t i = 0; i < 4; i++) {
        cleanup_free char *name = gv_asprintf("%s/%s", top, names[i][0]);
        assert_file(name, names[i][1]);
    }
    cleanup_free char *empty = gv_asprintf("%s/%s/empty", test_workdir, top), *program = gv_asprintf("%s/%s/program", test_workdir, top);
    cleanup_free char *link = gv_asprintf("%s/%s/d/link", test_workdir, top);
    assert_int_equal(stat(empty, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(stat(program, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void there_and_back(void **state)
{
    (void)state;
    make_tree();
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
        cleanup_free char *file = test_url("archive"), *to = gv_asprintf("/data/inner/%zu", i), *top = gv_asprintf("vol-2/%zu", i);
        cleanup_free char *host = gv_asprintf("file:%s/host-%zu/", test_workdir, i), *host_top = gv_asprintf("host-%zu", i);
        test_transfer("/data", file, formats[i]);
        test_transfer(file, to, formats[i]);
        assert_tree(top);
        test_transfer(file, host, formats[i]);
        assert_tree(host_top);
        /* Once more over what is there. */
        test_transfer(file, to, formats[i]);
        assert_tree(top);
    }
    /* From container to container, the archive is not seen by anybody. */
    test_transfer("/data", "/data/inner/direct", "tar");
    assert_tree("vol-2/direct");
    test_refused("/data/one", "/data/inner/x", "tar", GV_E_FORMAT, "archive");
    test_refused("/data/one", "/data/inner/x", "rar", GV_E_USAGE, "rar");
}

static void chosen(void **state)
{
    (void)state;
    uint64_t depth = 1;
    make_tree();
    cleanup_free char *file = test_url("archive");
    struct transfer_request r = { .from = "/data", .to = file, .format = "tar", .depth = &depth };
    gv_strv_add(&r.excludes, "**/*.tmp");
    gv_strv_add(&r.excludes, "one");
    assert_int_equal(transfer_run(&test_options, &r, NULL), 0);
    test_transfer(file, "/data/inner/x", "tar");
    assert_false(test_exists("vol-2/x/one"));
    assert_false(test_exists("vol-2/x/d/e/three.tmp"));
    assert_true(test_exists("vol-2/x/program"));
    assert_true(test_exists("vol-2/x/d/link"));
    struct transfer_request out = { .from = file, .to = "/data/inner/y", .format = "tar" };
    gv_strv_add(&out.includes, "{program,d/**}");
    assert_int_equal(transfer_run(&test_options, &out, NULL), 0);
    assert_true(test_exists("vol-2/y/program"));
    assert_false(test_exists("vol-2/y/empty"));
    gv_strv_clear(&r.excludes);
    gv_strv_clear(&out.includes);
}

static void mapped(void **state)
{
    (void)state;
    test_map_volume("vol-1");
    test_map_volume("vol-2");
    test_text("vol-1/f", "1");
    test_mark("vol-1/f", "user.virtfs.mode", S_IFREG | 04755);
    test_text("vol-1/link", "/etc/passwd");
    test_mark("vol-1/link", "user.virtfs.mode", S_IFLNK | 0777);
    test_text("vol-1/socket", "");
    test_mark("vol-1/socket", "user.virtfs.mode", S_IFSOCK | 0777);
    test_transfer("/data", "/data/inner/x", "tar.gz");
    assert_file("vol-2/x/link", "/etc/passwd");
    assert_int_equal(test_marked("vol-2/x/link", "user.virtfs.mode"), S_IFLNK | 0777);
    assert_int_equal(test_marked("vol-2/x/f", "user.virtfs.mode"), S_IFREG | 0755);
    assert_int_equal(test_marked("vol-2/x/f", "user.virtfs.uid"), 7);
    assert_false(test_exists("vol-2/x/socket"));
    /* On the host nobody gets a link out. */
    cleanup_free char *host = test_url("host/");
    test_refused("/data", host, "tar", GV_E_FORMAT, "may lead out");
}

/* ---- archives that mean harm ------------------------------------------------------------------------------------------------------ */

static void add(struct archive *a, const char *name, unsigned type, const char *link, const char *data)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_perm(e, 0644);
    if (type)
        archive_entry_set_filetype(e, type);
    if (type == AE_IFLNK)
        archive_entry_set_symlink(e, link);
    else if (link)
        archive_entry_set_hardlink(e, link);
    archive_entry_set_size(e, data ? (int64_t)strlen(data) : 0);
    assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
    if (data)
        assert_int_equal(archive_write_data(a, data, strlen(data)), strlen(data));
    archive_entry_free(e);
}

static struct archive *begin(void)
{
    cleanup_free char *path = test_path("bad.tar");
    struct archive *a = archive_write_new();
    archive_write_set_format_pax_restricted(a);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    return a;
}

static void bad(const char *name, unsigned type, const char *link, const char *why, bool host)
{
    cleanup_free char *file = test_url("bad.tar"), *to = host ? test_url("host/") : gv_strdup("/data/x");
    struct archive *a = begin();
    add(a, "good", AE_IFREG, NULL, "1");
    add(a, name, type, link, type == AE_IFREG ? "evil" : NULL);
    archive_write_free(a);
    test_refused(file, to, "tar", GV_E_FORMAT, why);
}

static void hostile(void **state)
{
    (void)state;
    char deep[2 * 300 + 2], *p = deep;
    for (int i = 0; i < 300; i++)
        p = stpcpy(p, "d/");
    *p++ = 'f';
    *p = '\0';
    bad("../evil", AE_IFREG, NULL, "leads out", false);
    bad("a/../../evil", AE_IFREG, NULL, "leads out", false);
    bad("a/..", AE_IFDIR, NULL, "leads out", false);
    bad("/tmp/evil", AE_IFREG, NULL, "absolute", false);
    bad(deep, AE_IFREG, NULL, "too deep", false);
    bad("device", AE_IFBLK, NULL, "neither", false);
    bad("pipe", AE_IFIFO, NULL, "neither", false);
    bad("hard", 0, "../../secret", "leads out", false);
    bad("hard", 0, "/etc/passwd", "absolute", false);
    bad("link", AE_IFLNK, "/etc/passwd", "may lead out", true);
    bad("d/link", AE_IFLNK, "../../secret", "may lead out", true);
    bad("d/link", AE_IFLNK, "x/../../y", "may lead out", true);
    assert_false(test_exists("evil"));
    assert_false(test_exists("vol-1/evil"));
}

/* A link that the archive makes itself is no way out for what comes after it. */
static void through_own_link(void **state)
{
    (void)state;
    cleanup_free char *file = test_url("bad.tar"), *dir = test_path("outside");
    test_mkdir("outside");
    struct archive *a = begin();
    add(a, "way", AE_IFLNK, dir, NULL);
    add(a, "way/evil", AE_IFREG, NULL, "evil");
    archive_write_free(a);
    test_refused(file, "/data/x", "tar", GV_E_IO, "leads out of the volume");
    assert_false(test_exists("outside/evil"));
    a = begin();
    add(a, "real/f", AE_IFREG, NULL, "1");
    add(a, "way", AE_IFLNK, "real", NULL);
    add(a, "way/g", AE_IFREG, NULL, "2");
    add(a, "hard", 0, "real/f", NULL);
    add(a, "hard", 0, "real/f", NULL);
    add(a, "hard", AE_IFREG, NULL, "3"); /* does not write into real/f */
    archive_write_free(a);
    test_transfer(file, "/data/y", "tar");
    assert_file("vol-1/y/real/g", "2");
    assert_file("vol-1/y/real/f", "1");
    assert_file("vol-1/y/hard", "3");
}

static void bombs(void **state)
{
    (void)state;
    cleanup_free char *file = test_url("bad.tar");
    struct archive *a = begin();
    add(a, "a", AE_IFREG, NULL, "0123456789");
    add(a, "b", AE_IFREG, NULL, "0123456789");
    archive_write_free(a);
    test_options.max_unpacked = 15;
    test_refused(file, "/data/x", "tar", GV_E_LIMIT, "more than the 15 bytes");
    test_options.max_unpacked = 0;
    /* A file of 2 GiB that is nothing but a hole, in an archive of some bytes: a header of GNU tar. */
    cleanup_free char *path = test_path("bad.tar");
    char header[3 * 512] = { 0 };
    unsigned sum = 8 * ' ';
    strcpy(header, "hole");
    strcpy(header + 100, "0000644");
    strcpy(header + 124, "00000000000");
    strcpy(header + 136, "00000000000");
    header[156] = 'S';
    memcpy(header + 257, "ustar  ", 8);
    strcpy(header + 386, "20000000000"); /* one piece of no bytes at the end */
    strcpy(header + 398, "00000000000");
    strcpy(header + 483, "20000000000");
    for (size_t i = 0; i < 512; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    header[155] = ' ';
    test_write("bad.tar", header, sizeof(header));
    test_refused(file, "/data/x", "tar", GV_E_LIMIT, "times its size");
    a = begin();
    add(a, "a", AE_IFREG, NULL, "0123456789");
    archive_write_free(a);
    assert_int_equal(truncate(path, 700), 0);
    test_refused(file, "/data/x", "tar", GV_E_FORMAT, "cannot read the archive");
}

static void link_rules(void **state)
{
    (void)state;
    assert_true(unpack_link_stays("a", 0));
    assert_true(unpack_link_stays("./a/./b", 0));
    assert_true(unpack_link_stays("../a", 1));
    assert_true(unpack_link_stays("../..", 2));
    assert_false(unpack_link_stays("..", 0));
    assert_false(unpack_link_stays("../../a", 1));
    assert_false(unpack_link_stays("a/..", 5));
    assert_false(unpack_link_stays("/a", 5));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(there_and_back), TEST(chosen), TEST(mapped), TEST(hostile), TEST(through_own_link), TEST(bombs), cmocka_unit_test(link_rules)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
