/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "helper.h"

#define INFO "/var/lib/dpkg/info/"

static void test_numbers_in_order_of_names(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/usr/bin/zip", "z");
    world_text(w, "/usr/bin/awk", "a");
    world_text(w, "/usr/bin/libtool", "l");
    world_text(w, "/usr/local/bin/mine", "m");
    world_text(w, INFO "zip.list", "/.\n/usr\n/usr/bin\n/usr/bin/zip\n");
    world_text(w, INFO "libtool.list", "/.\n/usr/bin/libtool\n/usr/share/doc/libtool/README\n");
    world_text(w, INFO "awk.list", "/usr/bin/awk"); /* no newline at the end */
    world_text(w, INFO "format", "1\n");
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/usr/bin/awk"), 1);
    assert_int_equal(world_group(w, "/usr/bin/libtool"), 2);
    assert_int_equal(world_group(w, "/usr/bin/zip"), 3);
    assert_int_equal(world_group(w, "/usr/local/bin/mine"), 0);
    assert_int_equal(world_group(w, INFO "format"), 0);
    assert_true(w->sum.dpkg);
    assert_false(w->sum.apk);
    assert_false(w->sum.rpm);
    assert_int_equal(w->sum.packages, 3);
    assert_int_equal(w->sum.files, 6);
}

/* Architectures are no part of the name; what dpkg keeps of a package belongs to it. */
static void test_info_files(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/usr/lib/x/libz.so.1", "1");
    world_text(w, "/usr/lib/i/libz.so.1", "2");
    world_text(w, "/usr/include/z.h", "3");
    world_text(w, "/usr/bin/python3.11", "4");
    world_text(w, INFO "libz:amd64.list", "/usr/lib/x/libz.so.1\n");
    world_text(w, INFO "libz:amd64.md5sums", "x");
    world_text(w, INFO "libz:i386.list", "/usr/lib/i/libz.so.1\n");
    world_text(w, INFO "libz-dev.list", "/usr/include/z.h\n");
    world_text(w, INFO "libz-dev.postinst", "x");
    world_text(w, INFO "python3.11.list", "/usr/bin/python3.11\n");
    world_text(w, INFO "python3.11.triggers", "x");
    world_assign_quietly(w);
    static const struct {
        const char *path;
        uint32_t group;
    } want[] = {
        { "/usr/lib/x/libz.so.1", 1 }, { "/usr/lib/i/libz.so.1", 1 },     { INFO "libz:amd64.list", 1 },   { INFO "libz:amd64.md5sums", 1 },
        { INFO "libz:i386.list", 1 },  { "/usr/include/z.h", 2 },         { INFO "libz-dev.postinst", 2 }, { INFO "libz-dev.list", 2 },
        { "/usr/bin/python3.11", 3 },  { INFO "python3.11.triggers", 3 }, { INFO "python3.11.list", 3 },
    };
    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
        assert_int_equal(world_group(w, want[i].path), want[i].group);
    assert_int_equal(w->sum.packages, 3);
}

static void test_merged_usr(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/usr/bin/sh", "s");
    world_text(w, "/usr/lib/x/libc.so.6", "c");
    world_link(w, "/bin", "usr/bin");
    world_link(w, "/lib", "/usr/lib64/../lib");
    world_dir(w, "/usr/lib64");
    world_link(w, "/loop", "loop2/x");
    world_link(w, "/loop2", "loop");
    world_link(w, "/usr/bin/link", "sh"); /* the last name is not followed: it is not the package's file */
    world_text(w, INFO "dash.list", "/bin/sh\n/loop/sh\n/loop2/sh\n/bin/../bin/./sh\n");
    world_text(w, INFO "libc6.list", "/lib/x/libc.so.6\n");
    world_text(w, INFO "a.list", "/usr/bin/link\n");
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/usr/bin/sh"), 2);
    assert_int_equal(world_group(w, "/usr/lib/x/libc.so.6"), 3);
    assert_int_equal(world_group(w, "/usr/bin/link"), 0);
}

/* dash has diverted bash's sh. */
static void test_diversions(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/usr/bin/sh", "dash");
    world_text(w, "/usr/bin/sh.distrib", "bash");
    world_text(w, "/usr/share/man/sh.old", "bash's page, which the administrator moved away");
    world_link(w, "/bin", "usr/bin");
    world_text(w, "/var/lib/dpkg/diversions",
               "/bin/sh\n/bin/sh.distrib\ndash\n"
               "/usr/share/man/sh\n/usr/share/man/sh.old\n:\n"
               "/gone\n/gone.distrib\nx\n"
               "/cut\n/short\n");
    world_text(w, INFO "bash.list", "/bin/sh\n/usr/share/man/sh\n/gone\n");
    world_text(w, INFO "dash.list", "/bin/sh\n");
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/usr/bin/sh.distrib"), 1);
    assert_int_equal(world_group(w, "/usr/share/man/sh.old"), 1);
    assert_int_equal(world_group(w, "/usr/bin/sh"), 2);
}

static void test_distroless(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/usr/lib/libssl.so", "s");
    world_text(w, "/etc/with  blanks", "s");
    world_text(w, "/usr/share/zoneinfo/UTC", "u");
    world_text(w, "/var/lib/dpkg/status.d/tzdata", "Package: tzdata\n");
    world_text(w, "/var/lib/dpkg/status.d/tzdata.md5sums", "0123456789abcdef0123456789abcdef  usr/share/zoneinfo/UTC\nnonsense\n\n");
    world_text(w, "/var/lib/dpkg/status.d/libssl3", "Package: libssl3\n");
    world_text(w, "/var/lib/dpkg/status.d/libssl3.md5sums",
               "0123456789abcdef0123456789abcdef  usr/lib/libssl.so\n"
               "0123456789abcdef0123456789abcdef  etc/with  blanks\n");
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/usr/lib/libssl.so"), 1);
    assert_int_equal(world_group(w, "/etc/with  blanks"), 1);
    assert_int_equal(world_group(w, "/var/lib/dpkg/status.d/libssl3"), 1);
    assert_int_equal(world_group(w, "/usr/share/zoneinfo/UTC"), 2);
    assert_int_equal(world_group(w, "/var/lib/dpkg/status.d/tzdata.md5sums"), 2);
    assert_true(w->sum.dpkg);
}

/* Bytecode that was made when the package was installed. */
static void test_bytecode(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    static const char *const files[] = { "os.py",
                                         "mine.py",
                                         "__pycache__/os.cpython-311.pyc",
                                         "__pycache__/os.cpython-311.opt-1.pyc",
                                         "__pycache__/os.cpython-311.pyc.tmp",
                                         "__pycache__/mine.cpython-311.pyc",
                                         "__pycache__/nothing.cpython-311.pyc",
                                         "__pycache__/owned.cpython-311.pyc",
                                         "__pycache__/os.pyc",
                                         "__pycache__/.cpython-311.pyc" };
    char path[100];
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "/usr/lib/python3/%s", files[i]);
        world_text(w, path, "x");
    }
    world_text(w, INFO "a.list", "/usr/lib/python3/__pycache__/owned.cpython-311.pyc\n");
    world_text(w, INFO "b.list", "/usr/lib/python3/os.py\n");
    world_assign_quietly(w);
    static const uint32_t want[] = { 2, 0, 2, 2, 0, 0, 0, 1, 0, 0 };
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "/usr/lib/python3/%s", files[i]);
        assert_int_equal(world_group(w, path), want[i]);
    }
}

/* An update changes contents and adds files, but no number: the order of groups is the same. */
static void test_an_update_keeps_the_order(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        CLEANUP(world) struct world *w = world_new();
        if (version == 2)
            world_text(w, "/usr/lib/b-2.1", "new");
        world_text(w, "/usr/lib/a", "a");
        world_text(w, version == 1 ? "/usr/lib/b-1.0" : "/usr/lib/b-2.0", "b");
        world_text(w, "/usr/lib/c", "c");
        world_text(w, version == 1 ? INFO "b.list" : INFO "b:amd64.list", "/usr/lib/b-1.0\n/usr/lib/b-2.0\n/usr/lib/b-2.1\n");
        world_text(w, INFO "c.list", "/usr/lib/c\n");
        world_text(w, INFO "a.list", "/usr/lib/a\n");
        world_assign_quietly(w);
        assert_int_equal(world_group(w, "/usr/lib/a"), 1);
        assert_int_equal(world_group(w, version == 1 ? "/usr/lib/b-1.0" : "/usr/lib/b-2.0"), 2);
        assert_int_equal(world_group(w, "/usr/lib/c"), 3);
    }
}

/* Lines of every length around the reader's window arrive whole, or not at all when they are too long. */
static void test_long_lines(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    cleanup_buf struct gv_buf list = { 0 };
    for (size_t i = 0; i < 400; i++) {
        char name[256];
        memset(name, 'n', sizeof(name));
        snprintf(name + 150, sizeof(name) - 150, "%04zu", i);
        char path[300];
        snprintf(path, sizeof(path), "/dir/%s", name);
        world_text(w, path, "x");
        gv_buf_addf(&list, "%s\n", path);
        for (size_t j = 0; j < i * 37 % 9000; j++)
            gv_buf_add(&list, "/", 1);
        gv_buf_addf(&list, "dir/%s\n", name);
    }
    /* The too long ones: what they end with must not be taken for a path of its own. */
    world_text(w, "/end", "x");
    for (size_t length = 8150; length < 8200; length++) {
        for (size_t j = 0; j < length; j++)
            gv_buf_add(&list, "x", 1);
        gv_buf_addf(&list, "/end\n");
    }
    for (size_t j = 0; j < 200000; j++)
        gv_buf_add(&list, "/", 1);
    gv_buf_addf(&list, "end\n/dir/last");
    world_text(w, "/dir/last", "x");
    world_file(w, INFO "a.list", list.data, list.len);
    world_assign_quietly(w);
    assert_int_equal(w->sum.files, 402);
    assert_int_equal(world_group(w, "/end"), 0);
    assert_int_equal(world_group(w, "/dir/last"), 1);
}

static void test_nonsense(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/file", "x");
    world_text(w, "/dir/file", "x");
    world_dir(w, INFO "directory.list");
    world_link(w, INFO "link.list", "/file");
    world_text(w, INFO ".list", "/file\n");
    world_text(w, INFO ":amd64.list", "/file\n");
    world_file(w, INFO "b.list", "/file\0/x\n\n\n/\n/.\n/..\n//\n../\n/file/\n/file/x\n/dir\n/dir/\n.\n\xff\xfe\n", 55);
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/file"), 0);
    assert_int_equal(world_group(w, "/dir/file"), 0);
    assert_int_equal(w->sum.packages, 1);
    assert_int_equal(w->sum.files, 1); /* b.list itself */
}

/* A file that says it is larger than all that may be read, of which no byte is read. */
static void test_too_large(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/file", "x");
    world_text(w, "/other", "x");
    struct image_node *list = world_text(w, INFO "a.list", "/file\n");
    world_text(w, INFO "b.list", "/other\n");
    list->inode->size = PACKAGES_DB_MAX + 1;
    assert_int_equal(world_assign(w), 0);
    assert_int_equal(world_group(w, "/file"), 0);
    assert_int_equal(world_group(w, "/other"), 2);
    assert_non_null(strstr((char *)w->notes.data, "note the image's dpkg database is too large: `a.list` is not read"));
}

static void test_unreadable_image(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/file", "x");
    world_text(w, INFO "z.list", "/file\n");
    world_text(w, INFO "a.list", "/other\n");
    world_text(w, "/other", "x");
    w->fail_reads = 1;
    assert_int_equal(world_assign(w), -1);
    assert_int_equal(w->err.code, GV_E_IO);
    assert_non_null(strstr(w->err.msg, "reading `z.list` of the image's dpkg database: the disk is gone"));
    assert_true(world_group(w, "/other") <= w->sum.packages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_in_order_of_names),
        cmocka_unit_test(test_info_files),
        cmocka_unit_test(test_merged_usr),
        cmocka_unit_test(test_diversions),
        cmocka_unit_test(test_distroless),
        cmocka_unit_test(test_bytecode),
        cmocka_unit_test(test_an_update_keeps_the_order),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_unreadable_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
