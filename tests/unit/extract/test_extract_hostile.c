/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attacks: the seeds of fuzz_extract (tests/fuzz/extract/make-seeds.sh says what each of them is), extracted beside a directory that they want to reach,
 * into a new target and into one where others have left traps.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "extract/extract.h"
#include "gvmi/trailer.h"
#include "helper.h"

struct ground {
    char *dir, *target;
    struct gvmi_image *img;
    int fd;
};

static struct ground prepare(const char *seed)
{
    struct ground g = { .dir = make_dir(), .fd = scratch() };
    cleanup_free char *path = gv_asprintf("%s/%s", SEEDS, seed);
    cleanup_buf struct gv_buf data = { 0 }, end = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (gv_read_file(path, 1 << 20, &data, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(gvmi_trailer_format(&end, "{}", 2, NULL), 0);
    assert_int_equal(gv_pwrite_full(g.fd, data.data, data.len, 0), 0);
    assert_int_equal(gv_pwrite_full(g.fd, end.data, end.len, data.len), 0);
    g.img = open_fd(g.fd);
    g.target = gv_asprintf("%s/out", g.dir);
    assert_int_equal(
        run("cd %s && mkdir victim && echo untouched >victim/file && touch -d @1000 victim/file && chmod 600 victim/file", g.dir), 0);
    return g;
}

static void check_victim(const struct ground *g)
{
    if (run("cd %s && test \"$(ls -A victim)\" = file && test \"$(cat victim/file)\" = untouched && "
            "test \"$(stat -c '%%a %%h %%Y %%F' victim/file)\" = '600 1 1000 regular file'",
            g->dir) != 0)
        fail_msg("what is beside the target was changed");
}

static void finish(struct ground *g)
{
    check_victim(g);
    gvmi_close(g->img);
    close(g->fd);
    free(g->target);
    remove_dir(g->dir);
}

/* A name twice: nothing is left of a new target; in one that is there, later ones replace earlier ones and reach nothing. */
static void try_twins(const char *seed)
{
    struct gv_error err = GV_ERROR_INIT;
    struct ground g = prepare(seed);
    assert_int_equal(extract_image(g.img, g.target, NULL, NULL, &err), -1);
    if (!strstr(err.msg, "twice"))
        fail_msg("%s: %s", seed, err.msg);
    assert_int_equal(run("test \"$(ls -A %s)\" = victim", g.dir), 0);
    check_victim(&g);
    assert_int_equal(run("mkdir %s", g.target), 0);
    struct extract_options o = { .force = true };
    extract_image(g.img, g.target, &o, NULL, &err);
    finish(&g);
}

static void test_names_twice(void **state)
{
    (void)state;
    try_twins("twins-link-dir");
    try_twins("twins-dir-link");
    try_twins("twins-link-file");
    try_twins("hard-link-to-link");
    try_twins("deep-twins");
}

static void test_names_that_climb(void **state)
{
    (void)state;
    static const char *const seeds[] = { "dotdot", "slash", "absolute" };
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        struct ground g = prepare(seeds[i]);
        assert_int_equal(extract_image(g.img, g.target, NULL, NULL, &err), -1);
        assert_non_null(strstr(err.msg, "which no file can have"));
        assert_int_equal(run("test \"$(ls -A %s)\" = victim", g.dir), 0);
        finish(&g);
    }
}

static unsigned mode_of(const struct ground *g, const char *name)
{
    cleanup_free char *path = gv_asprintf("%s/%s", g->target, name);
    struct stat st;
    if (lstat(path, &st) < 0)
        fail_msg("there is no %s", path);
    return st.st_mode & 07777;
}

static bool has_capability(const struct ground *g)
{
    cleanup_free char *path = gv_asprintf("%s/setgid", g->target);
    char value[64];
    return lgetxattr(path, "security.capability", value, sizeof(value)) == 20;
}

static void test_privileges_are_left_out(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct extract_result r;
    struct ground g = prepare("privileges");
    if (extract_image(g.img, g.target, NULL, &r, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(mode_of(&g, "setuid"), 0755);
    assert_int_equal(mode_of(&g, "setgid"), 0755);
    assert_int_equal(mode_of(&g, "shared"), 0775);
    assert_int_equal(mode_of(&g, "sticky"), 01777);
    assert_int_equal(run("cd %s && test -p fifo && test -S socket && test ! -e null && test ! -e disk", g.target), 0);
    assert_false(has_capability(&g));
    assert_int_equal(r.devices_left_out, 2);
    assert_int_equal(r.bits_left_out, 3);
    assert_int_equal(r.specials, 2);
    finish(&g);
}

static void test_privileges_when_asked_for(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("# only root can have device nodes and capabilities\n");
        skip();
    }
    struct gv_error err = GV_ERROR_INIT;
    struct extract_result r;
    struct extract_options o = { .setuid = true, .devices = true };
    struct ground g = prepare("privileges");
    if (extract_image(g.img, g.target, &o, &r, &err) < 0) {
        finish(&g);
        if (err.sys == 1) {
            print_message("# this root cannot make device nodes\n");
            skip();
        }
        fail_msg("%s", err.msg);
    }
    assert_int_equal(mode_of(&g, "setuid"), 04755);
    assert_int_equal(mode_of(&g, "setgid"), 02755);
    assert_int_equal(mode_of(&g, "shared"), 02775);
    assert_int_equal(run("cd %s && test -c null && test -b disk && test \"$(stat -c %%t:%%T null)\" = 1:3", g.target), 0);
    assert_true(has_capability(&g));
    assert_int_equal(r.devices_left_out + r.bits_left_out + r.capabilities_left_out, 0);
    finish(&g);
}

/* What somebody put into the target before, knowing the names that will come. */
static void test_traps_in_the_target(void **state)
{
    (void)state;
    static const char *const traps[] = {
        "ln -s ../victim out/bin && ln -s ../victim/file out/link",
        "ln -s ../victim out/etc && ln -s ../../victim out/locked",
        "mkdir out/bin && ln -s ../../victim/file out/bin/tool && ln victim/file out/bin/same",
        "mkdir out/bin && mkfifo out/bin/tool && ln -s tool out/bin/same",
    };
    for (size_t i = 0; i < sizeof(traps) / sizeof(traps[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        struct extract_options o = { .force = true };
        struct ground g = prepare("plain");
        assert_int_equal(run("cd %s && mkdir out && { %s; }", g.dir, traps[i]), 0);
        if (extract_image(g.img, g.target, &o, NULL, &err) < 0)
            fail_msg("%s: %s", traps[i], err.msg);
        assert_int_equal(
            run("cd %s && test \"$(cat bin/tool bin/same)\" = \"$(printf 'tool\\ntool')\" && test bin/tool -ef bin/same && test ! -L bin",
                g.target),
            0);
        assert_int_equal(mode_of(&g, "locked"), 0555);
        finish(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_twice),
        cmocka_unit_test(test_names_that_climb),
        cmocka_unit_test(test_privileges_are_left_out),
        cmocka_unit_test(test_privileges_when_asked_for),
        cmocka_unit_test(test_traps_in_the_target),
    };
    return cmocka_run_group_tests_name("extract_hostile", tests, NULL, NULL);
}
