/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Directories that somebody exchanges for symbolic links while we are in them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "extract/place.h"
#include "helper.h"

static const struct gvmi_stat any = { .mode = 0755 };

static struct place open_place(const char *dir)
{
    struct place p;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    place_init(&p, fd, &any);
    return p;
}

static bool same_dir(int fd, const char *path)
{
    struct stat a, b;
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(stat(path, &b), 0);
    return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static void test_links_are_not_entered(void **state)
{
    (void)state;
    char *dir = make_dir();
    assert_int_equal(run("cd %s && mkdir in out && ln -s ../out in/link && touch in/file", dir), 0);
    cleanup_free char *in = gv_asprintf("%s/in", dir);
    struct place p = open_place(in);
    static const char *const names[] = { "link", "file", "..", ".", "", "../out", "link/", "nothing" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(place_enter(&p, names[i], &any), -1);
        assert_int_not_equal(errno, 0);
        assert_int_equal(p.count, 1);
    }
    assert_true(same_dir(place_fd(&p), in));
    place_clear(&p);
    remove_dir(dir);
}

static void test_coming_back(void **state)
{
    (void)state;
    char *dir = make_dir();
    struct place p = open_place(dir);
    const struct place_dir *places[201];
    places[0] = place_remember(&p);
    assert_null(places[0]);
    for (int i = 1; i <= 200; i++) {
        assert_int_equal(mkdirat(place_fd(&p), "down", 0700), 0);
        assert_int_equal(place_enter(&p, "down", &any), 0);
        if (i % 50 == 0)
            places[i] = place_remember(&p);
    }
    /* no more descriptors are open than a process may have */
    int probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(probe < 100);
    close(probe);
    cleanup_free char *path = place_path(&p);
    assert_int_equal(strlen(path), 200 * 5 - 1);
    for (int i = 200; i >= 50; i -= 50) {
        cleanup_free char *at = gv_asprintf("%s/%.*s", dir, i * 5 - 1, path);
        cleanup_close int found = place_find(&p, places[i]);
        assert_true(found >= 0 && same_dir(found, at));
    }
    cleanup_close int top = place_find(&p, NULL);
    assert_true(same_dir(top, dir));
    for (int i = 199; i >= 0; i--) {
        place_leave(&p);
        cleanup_free char *at = gv_asprintf("%s/%.*s", dir, i ? i * 5 - 1 : 0, path);
        assert_true(same_dir(place_fd(&p), at));
    }
    place_clear(&p);
    remove_dir(dir);
}

static void test_exchanged_for_links(void **state)
{
    (void)state;
    char *dir = make_dir();
    cleanup_free char *in = gv_asprintf("%s/in", dir);
    assert_int_equal(run("cd %s && mkdir in out", dir), 0);
    assert_int_equal(run("cd %s/out && for i in $(seq 100); do mkdir a && cd a; done", dir), 0);
    struct place p = open_place(in);
    assert_int_equal(run("cd %s/in && for i in $(seq 100); do mkdir a && cd a; done", dir), 0);
    assert_int_equal(place_enter(&p, "a", &any), 0);
    const struct place_dir *first = place_remember(&p);
    for (int i = 1; i < 100; i++)
        assert_int_equal(place_enter(&p, "a", &any), 0);
    /* the descriptors of the innermost are ours whatever becomes of the names; the others are not found through the link */
    assert_int_equal(run("cd %s/in && mv a moved && ln -s ../out/a a", dir), 0);
    assert_true(place_fd(&p) >= 0);
    assert_int_equal(place_find(&p, first), -1);
    assert_true(errno == ELOOP || errno == ENOTDIR);
    while (p.count > 2)
        place_leave(&p);
    assert_int_equal(place_fd(&p), -1);
    assert_true(errno == ELOOP || errno == ENOTDIR);
    place_leave(&p);
    assert_true(same_dir(place_fd(&p), in));
    place_clear(&p);
    remove_dir(dir);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    char *dir = make_dir();
    struct place p = open_place(dir);
    int depth = 0;
    while (mkdirat(place_fd(&p), "d", 0700) == 0 && place_enter(&p, "d", &any) == 0)
        depth++;
    assert_int_equal(errno, ENAMETOOLONG);
    assert_int_equal(depth, PLACE_DEPTH_MAX);
    place_clear(&p);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links_are_not_entered),
        cmocka_unit_test(test_coming_back),
        cmocka_unit_test(test_exchanged_for_links),
        cmocka_unit_test(test_depth_is_bounded),
    };
    return cmocka_run_group_tests_name("extract_place", tests, NULL, NULL);
}
