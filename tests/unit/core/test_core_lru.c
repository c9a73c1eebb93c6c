/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Caches: locks on files that others may remove, and what goes first. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/core.h"

static char *temp(void)
{
    char *dir = gv_strdup("/tmp/gvmkit-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void finish(char *dir)
{
    assert_int_equal(gv_remove_tree(dir, NULL), 0);
    free(dir);
}

static void locks(void **state)
{
    (void)state;
    char *dir = temp();
    cleanup_free char *path = gv_asprintf("%s/lock", dir);
    int first = gv_lock_open(path, LOCK_SH, NULL), second = gv_lock_open(path, LOCK_SH | LOCK_NB, NULL);
    assert_true(first >= 0 && second >= 0);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gv_lock_open(path, LOCK_EX | LOCK_NB, &err), -1);
    assert_int_equal(err.code, GV_E_BUSY);
    close(first);
    close(second);
    int alone = gv_lock_open(path, LOCK_EX | LOCK_NB, &err);
    assert_true(alone >= 0);
    /* When the file has lost its name the lock guards nothing: the next one gets a file of its own. */
    unlink(path);
    int next = gv_lock_open(path, LOCK_EX | LOCK_NB, &err);
    assert_true(next >= 0);
    close(alone);
    close(next);
    /* A link is not followed: what it leads to is somebody else's. */
    cleanup_free char *target = gv_asprintf("%s/target", dir);
    unlink(path);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(gv_lock_open(path, LOCK_EX | LOCK_NB, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(access(target, F_OK), -1);
    finish(dir);
}

static bool counts(const char *name)
{
    return name[0] == 'e';
}

static bool remove_unless_held(int dir, const char *path, const char *name)
{
    (void)path;
    return strcmp(name, "e-held") != 0 && unlinkat(dir, name, 0) == 0;
}

static void add(const char *dir, const char *name, time_t used)
{
    static const char block[4096] = { 1 };
    cleanup_free char *path = gv_asprintf("%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    for (int i = 0; i < 16; i++)
        assert_int_equal(gv_write_full(fd, block, sizeof(block)), 0);
    const struct timespec times[2] = { { .tv_sec = used }, { .tv_sec = used } };
    assert_int_equal(futimens(fd, times), 0);
    fsync(fd); /* so that it takes its place on the disk now */
    close(fd);
}

static bool has(const char *dir, const char *name)
{
    cleanup_free char *path = gv_asprintf("%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static void trims(void **state)
{
    (void)state;
    static const struct gv_lru lru = { .counts = counts, .remove = remove_unless_held };
    char *dir = temp();
    add(dir, "e-new", 5000);
    add(dir, "e-held", 1000);
    add(dir, "e-old", 2000);
    add(dir, "e-middle", 3000);
    add(dir, "other", 1);
    gv_lru_trim(dir, (uint64_t)1 << 30, &lru);
    assert_true(has(dir, "e-new") && has(dir, "e-held") && has(dir, "e-old") && has(dir, "e-middle"));
    gv_lru_trim(dir, 150000, &lru); /* of four times 64 KiB two remain */
    assert_true(has(dir, "e-new"));
    assert_true(has(dir, "e-held"));
    assert_false(has(dir, "e-old"));
    assert_false(has(dir, "e-middle"));
    assert_true(has(dir, "other"));
    gv_lru_trim(dir, 0, &lru);
    assert_false(has(dir, "e-new"));
    assert_true(has(dir, "e-held"));
    cleanup_free char *none = gv_asprintf("%s/none", dir);
    gv_lru_trim(none, 0, &lru); /* no cache is no trouble */
    finish(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(locks), cmocka_unit_test(trims) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
