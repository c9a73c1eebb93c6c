/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "helper.h"

static const char installed[] =
    "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1x=\nR:libc.musl-x86_64.so.1\n"
    "\n"
    "C:Q1def=\nP:busybox\nF:bin\nR:busybox\nF:etc\nF:etc/logrotate.d\nR:acpid\nR:.keep\n"
    "\n"
    "P:alpine-baselayout\nF:\nR:top\nF:etc\nR:fstab\n"
    "\n"
    "R:nobodys\nF:etc\nR:nobodys\n";

static void fill(struct world *w)
{
    static const char *const files[] = { "/bin/busybox", "/etc/logrotate.d/acpid", "/top", "/etc/fstab", "/etc/nobodys", "/etc/hostname" };
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        world_text(w, files[i], "x");
}

static void check(struct world *w, const char *musl)
{
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/top"), 1);
    assert_int_equal(world_group(w, "/etc/fstab"), 1);
    assert_int_equal(world_group(w, "/bin/busybox"), 2);
    assert_int_equal(world_group(w, "/etc/logrotate.d/acpid"), 2);
    assert_int_equal(world_group(w, musl), 3);
    assert_int_equal(world_group(w, "/etc/nobodys"), 0);
    assert_int_equal(world_group(w, "/etc/hostname"), 0);
    assert_true(w->sum.apk);
    assert_false(w->sum.dpkg);
    assert_int_equal(w->sum.packages, 3);
    assert_int_equal(w->sum.files, 5);
}

static void test_installed(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    fill(w);
    world_text(w, "/lib/ld-musl-x86_64.so.1", "x");
    world_text(w, "/lib/apk/db/installed", installed);
    check(w, "/lib/ld-musl-x86_64.so.1");
}

/* The same database by two names, and paths through the link. */
static void test_merged_usr(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    fill(w);
    world_text(w, "/usr/lib/ld-musl-x86_64.so.1", "x");
    world_text(w, "/usr/lib/apk/db/installed", installed);
    world_link(w, "/lib", "usr/lib");
    check(w, "/usr/lib/ld-musl-x86_64.so.1");
}

static void test_nonsense(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/bin/a", "x");
    cleanup_buf struct gv_buf text = { 0 };
    gv_buf_addf(&text, "P:\nF:bin\nR:a\nP:%0300d\nF:bin\nR:a\n:\nP\nR\nP:b\nR:../bin/a\nF:..\nR:bin/a\nR:\nR:.\nR:..\nF:bin/a\nR:a\n", 7);
    world_file(w, "/lib/apk/db/installed", text.data, text.len);
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/bin/a"), 0);
}

static void test_unreadable_image(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/lib/apk/db/installed", installed);
    w->fail_reads = 0;
    assert_int_equal(world_assign(w), -1);
    assert_non_null(strstr(w->err.msg, "apk database"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_installed),
        cmocka_unit_test(test_merged_usr),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_unreadable_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
