/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is the same for all databases: images without any, and with several; files of several packages; and that time is bounded. */
#include <time.h>

#include "helper.h"

static void test_no_database(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/bin/a", "x");
    world_text(w, "/var/lib/rpm", "no directory");
    world_text(w, "/var/lib/dpkg/info", "no directory either");
    world_dir(w, "/lib/apk/db/installed");
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/bin/a"), 0);
    assert_false(w->sum.dpkg || w->sum.apk || w->sum.rpm);
    assert_int_equal(w->sum.packages, 0);
    assert_int_equal(w->sum.files, 0);
}

/* The smallest name has the file, in whatever order the databases come; one name in two databases is one package. */
static void test_shared_files(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/bin/one", "x");
    world_text(w, "/bin/two", "x");
    struct image_node *three = world_text(w, "/bin/three", "x");
    struct image_node *bin = three->parent;
    image_node_add(w->tree, bin, "four", 4, three->inode); /* a hard link */
    world_text(w, "/var/lib/dpkg/info/m.list", "/bin/one\n/bin/two\n/bin/four\n");
    world_text(w, "/lib/apk/db/installed", "P:a\nF:bin\nR:two\n\nP:z\nF:bin\nR:one\nR:three\n\nP:m\nF:bin\nR:one\n");
    world_assign_quietly(w);
    assert_int_equal(world_group(w, "/bin/two"), 1);
    assert_int_equal(world_group(w, "/bin/one"), 2);
    assert_int_equal(world_group(w, "/bin/three"), 2);
    assert_int_equal(world_group(w, "/bin/four"), 2);
    assert_int_equal(w->sum.packages, 3);
    assert_true(w->sum.dpkg && w->sum.apk);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Links that point to one another in a chain, each through a target of 4 KB: every line goes through all of them. Followed anew each time that would be
 * gigabytes to look at. */
static void test_links_are_followed_once(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    enum { CHAIN = 60, LINES = 100000 };
    static char targets[CHAIN][8200];
    for (int i = 0; i < CHAIN; i++) {
        char name[32];
        snprintf(name, sizeof(name), "/l%d", i);
        for (size_t j = 0; j < 8000; j += 2)
            memcpy(targets[i] + j, "./", 2);
        snprintf(targets[i] + 8000, 100, i == 0 ? "dir" : "l%d", i - 1);
        world_link(w, name, targets[i]);
    }
    world_text(w, "/dir/a", "x");
    world_text(w, "/dir/b", "x");
    cleanup_buf struct gv_buf list = { 0 };
    gv_buf_addf(&list, "/l30/a\n");
    for (int i = 0; i < LINES; i++)
        gv_buf_addf(&list, "/l%d/%c\n", i % 2 ? 30 : 29, 'a');
    gv_buf_addf(&list, "/l59/b\n"); /* more links than a kernel would follow */
    world_file(w, "/var/lib/dpkg/info/p.list", list.data, list.len);
    double start = seconds();
    world_assign_quietly(w);
    assert_true(seconds() - start < 10);
    assert_int_equal(world_group(w, "/dir/a"), 1);
}

/* Claims again and again of the same files, and packages without end. */
static void test_many_lines(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, "/a/x.py", "x");
    world_text(w, "/b/x.py", "x");
    cleanup_buf struct gv_buf text = { 0 };
    for (int i = 0; i < 300000; i++)
        gv_buf_addf(&text, "P:p%d\nF:%c\nR:x.py\n", i, i % 2 ? 'a' : 'b');
    world_file(w, "/lib/apk/db/installed", text.data, text.len);
    double start = seconds();
    world_assign_quietly(w);
    assert_true(seconds() - start < 20);
    assert_int_equal(w->sum.packages, PACKAGES_COUNT_MAX);
    assert_int_equal(world_group(w, "/b/x.py"), 1);
    assert_int_equal(world_group(w, "/a/x.py"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_database),
        cmocka_unit_test(test_shared_files),
        cmocka_unit_test(test_links_are_followed_once),
        cmocka_unit_test(test_many_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
