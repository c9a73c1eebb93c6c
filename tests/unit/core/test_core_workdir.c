/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Directories that end with their owner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "core/core.h"

static char parent[] = "/tmp/gvmkit-test-XXXXXX";

static int make_parent(void **state)
{
    (void)state;
    return mkdtemp(parent) ? 0 : -1;
}

static int remove_parent(void **state)
{
    (void)state;
    return gv_remove_tree(parent, NULL);
}

/* Whether parent becomes empty within two seconds. */
static bool becomes_empty(void)
{
    for (int i = 0; i < 200; i++) {
        DIR *d = opendir(parent);
        int n = 0;
        while (readdir(d))
            n++;
        closedir(d);
        if (n == 2)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    return false;
}

static void fill(const struct gv_workdir *w)
{
    cleanup_free char *deep = gv_asprintf("%s/a/b/c", gv_workdir_path(w)), *file = gv_asprintf("%s/a/b/file", gv_workdir_path(w));
    assert_int_equal(gv_mkdir_p(deep, 0700, NULL), 0);
    cleanup_close int fd = open(file, O_WRONLY | O_CREAT, 0400);
    assert_true(fd >= 0);
}

static void test_removed_on_request(void **state)
{
    (void)state;
    struct gv_workdir *w;
    struct gv_error err = GV_ERROR_INIT;
    struct stat st;
    assert_int_equal(gv_workdir_open(&w, parent, "one", &err), 0);
    assert_int_equal(stat(gv_workdir_path(w), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(st.st_uid, getuid());
    fill(w);
    assert_int_equal(gv_workdir_remove(w, &err), 0);
    assert_true(becomes_empty());
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    assert_int_equal(errno, ECHILD);
    assert_int_equal(gv_workdir_remove(NULL, &err), 0);
}

static void test_removed_when_the_owner_is_killed(void **state)
{
    (void)state;
    int ready[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t owner = fork();
    if (owner == 0) {
        struct gv_workdir *w;
        if (gv_workdir_open(&w, parent, "two", NULL) == 0) {
            fill(w);
            (void)!write(ready[1], "x", 1);
        }
        for (;;)
            pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    assert_true(becomes_empty());
    /* The keeper holds nothing of ours open: else this end of file would not come. */
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 0);
    close(ready[0]);
}

static void test_removed_when_the_owner_is_killed_at_any_moment(void **state)
{
    (void)state;
    for (long ns = 0; ns < 3000000; ns += 100000) {
        pid_t owner = fork();
        if (owner == 0) {
            struct gv_workdir *w;
            gv_workdir_open(&w, parent, "three", NULL);
            for (;;)
                pause();
        }
        nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
        kill(owner, SIGKILL);
        waitpid(owner, NULL, 0);
    }
    assert_true(becomes_empty());
}

static void test_no_place(void **state)
{
    (void)state;
    struct gv_workdir *w;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gv_workdir_open(&w, "/nonexistent/place", "x", &err), -1);
    assert_int_equal(err.sys, ENOENT);
    gv_error_clear(&err);
    assert_int_equal(gv_workdir_open(&w, "/proc", "x", &err), -1);
    assert_true(err.sys != 0);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_removed_on_request), cmocka_unit_test(test_removed_when_the_owner_is_killed),
                                        cmocka_unit_test(test_removed_when_the_owner_is_killed_at_any_moment),
                                        cmocka_unit_test(test_no_place) };
    return cmocka_run_group_tests(tests, make_parent, remove_parent);
}
