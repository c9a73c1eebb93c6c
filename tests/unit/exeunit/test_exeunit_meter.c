/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the volumes of a deployment take. */
#include "exeunit_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "exeunit/meter.h"

#define BLOCK 4096U
#define MANY (UINT64_C(1) << 40)

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = gv_strdup("/tmp/test_exeunit_XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    cleanup_free char *volume = gv_asprintf("%s/vol-1", dir);
    return mkdir(volume, 0700);
}

static int teardown(void **state)
{
    (void)state;
    int status = gv_remove_tree(dir, NULL);
    free(dir);
    return status;
}

static void make_file(const char *name, size_t bytes, uint64_t size)
{
    cleanup_free char *path = gv_asprintf("%s/%s", dir, name), *data = gv_alloc(bytes + 1);
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    memset(data, 'x', bytes);
    assert_int_equal(gv_write_full(fd, data, bytes), 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(fsync(fd), 0);
}

static struct meter_count count(uint64_t limit)
{
    struct deployment_volume volumes[] = {
        { .kind = VM_VOLUME_DIRECTORY, .path = (char[]){ "/a" }, .name = (char[]){ "vol-1" } },
        { .kind = VM_VOLUME_DISK, .path = (char[]){ "/b" }, .name = (char[]){ "vol-2.img" }, .size = 1 << 20 },
        { .kind = VM_VOLUME_RAM, .path = (char[]){ "/c" }, .size = 1 << 30 },
    };
    const struct deployment d = { .volumes = volumes, .volume_count = 3 };
    atomic_bool stop = false;
    struct meter_count c;
    meter_count(&c, &d, dir, limit, &stop);
    return c;
}

/* Disks count with all of their size, directories with what is in them; memory does not count. */
static void test_sums(void **state)
{
    (void)state;
    assert_int_equal(count(MANY).reserved, 1 << 20);
    make_file("vol-2.img", 3 * BLOCK, 1 << 20);
    make_file("vol-1/full", 10 * BLOCK, 10 * BLOCK);
    make_file("vol-1/holes", BLOCK, 50 << 20);
    struct meter_count c = count(MANY);
    assert_in_range(c.reserved, (1 << 20) + 11 * BLOCK, (1 << 20) + 13 * BLOCK);
    assert_in_range(c.stored, 14 * BLOCK, 18 * BLOCK);
    assert_int_equal(c.largest, 50 << 20);
    assert_null(c.bad);
}

/* Nothing is for nothing: empty files, directories and further names count; a file with several names counts once. */
static void test_small_things(void **state)
{
    (void)state;
    uint64_t before = count(MANY).reserved;
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof(name), "vol-1/%d", i);
        make_file(name, 0, 0);
    }
    assert_true(count(MANY).reserved - before >= 100 * BLOCK);
    before = count(MANY).reserved;
    make_file("vol-1/large", 100 * BLOCK, 100 * BLOCK);
    for (int i = 0; i < 9; i++) {
        cleanup_free char *from = gv_asprintf("%s/vol-1/large", dir), *to = gv_asprintf("%s/vol-1/name-%d", dir, i);
        assert_int_equal(link(from, to), 0);
    }
    uint64_t grown = count(MANY).reserved - before;
    assert_in_range(grown, 100 * BLOCK, 102 * BLOCK);
    cleanup_free char *link = gv_asprintf("%s/vol-1/link", dir);
    assert_int_equal(symlink("/", link), 0); /* is not followed */
    assert_in_range(count(MANY).reserved - before, grown, grown + 2 * BLOCK);
}

static void test_ends(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof(name), "vol-1/%d", i);
        make_file(name, 0, 0);
    }
    /* More than the limit is enough to know. */
    struct meter_count c = count((1 << 20) + 10 * BLOCK);
    assert_in_range(c.reserved, (1 << 20) + 10 * BLOCK + 1, (1 << 20) + 12 * BLOCK);
    int at = open(dir, O_PATH | O_DIRECTORY);
    for (int i = 0; i < 500; i++) {
        const char *name = i ? "d" : "vol-1";
        int next = (i == 0 || mkdirat(at, name, 0700) == 0) ? openat(at, name, O_PATH | O_DIRECTORY) : -1;
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    c = count(MANY);
    assert_non_null(c.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sums, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_things, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
