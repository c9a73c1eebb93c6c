/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which volumes a deployment has, and the record of it. */
#include "exeunit_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "exeunit/deployment.h"

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = gv_strdup("/tmp/test_exeunit_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    int status = gv_remove_tree(dir, NULL);
    free(dir);
    return status;
}

/* "host /a;disk /b 262144;ram /c 4096" of what a plan makes, or the error's text. */
static char *plan(const char *config_json, const char *override, uint64_t storage)
{
    static const char *const names[] = { [VM_VOLUME_DIRECTORY] = "host", [VM_VOLUME_DISK] = "disk", [VM_VOLUME_RAM] = "ram" };
    __attribute__((cleanup(gv_cleanup_image_config_fn))) struct image_config config = { 0 };
    cleanup_deployment struct deployment d = { .storage = storage };
    struct gv_error err = GV_ERROR_INIT;
    struct gv_buf b = { 0 };
    assert_int_equal(image_config_parse(&config, config_json, strlen(config_json), NULL), 0);
    if (deployment_plan(&d, &config, override, NULL, &err) < 0)
        return gv_strdup(err.msg);
    for (size_t i = 0; i < d.volume_count; i++) {
        gv_buf_addf(&b, "%s%s %s", i ? ";" : "", names[d.volumes[i].kind], d.volumes[i].path);
        if (d.volumes[i].kind != VM_VOLUME_DIRECTORY)
            gv_buf_addf(&b, " %llu", (unsigned long long)d.volumes[i].size);
    }
    return gv_buf_str(&b);
}

static void check(const char *config, const char *override, const char *want)
{
    cleanup_free char *got = plan(config, override, 1 << 30);
    assert_string_equal(got, want);
}

static void check_refused(const char *override, const char *why)
{
    cleanup_free char *got = plan("{}", override, 1 << 30);
    if (!strstr(got, why))
        fail_msg("%s: `%s` does not hold `%s`", override, got, why);
}

#define TWO "{\"Volumes\":{\"/b/\":{},\"/a\":{},\"relative\":{},\"/x/../y\":{},\"/\":{}}}"

static void test_plan(void **state)
{
    (void)state;
    check("{}", NULL, "");
    check(TWO, NULL, "host /a;host /b");
    check("{}", "{}", "");
    check(TWO, "{\"/b\":{\"host\":{}},\"/c\":{\"host\":{}}}", "host /a;host /b;host /c");
    check(TWO, "{\"/b\":{\"ram\":{\"size\":\"10.5 MB\"}},\"//a\":{\"storage\":{\"size\":1048577}}}", "disk /a 1048576;ram /b 10498048");
    check(TWO, "{\"/\":{\"ram\":{\"size\":4096}}}", "ram / 4096;host /a;host /b");
    check("{}", "{\"\":{\"storage\":{\"size\":\"1 MiB\",\"errors\":null,\"preallocate\":null}}}", "disk / 1048576");
    check("{}", "{\"/d\":{\"storage\":{\"size\":\"1 MiB\",\"errors\":\"remount-ro\",\"preallocate\":\"9 GB\",\"new\":1}}}",
          "disk /d 1048576");
}

static void test_refused(void **state)
{
    (void)state;
    check_refused("", "not JSON");
    check_refused("[]", "not a JSON object");
    check_refused("{\"/a\":1}", "exactly one");
    check_refused("{\"/a\":{}}", "exactly one");
    check_refused("{\"/a\":{\"host\":{},\"ram\":{\"size\":1}}}", "exactly one");
    check_refused("{\"/a\":{\"host\":null}}", "not an object");
    check_refused("{\"/a\":{\"tape\":{}}}", "not one of");
    check_refused("{\"/\":{\"host\":{}}}", "root");
    check_refused("{\"//\":{\"host\":{}}}", "root");
    check_refused("{\"a\":{\"host\":{}}}", "absolute");
    check_refused("{\"/a/..\":{\"host\":{}}}", "absolute");
    check_refused("{\"/a\":{\"host\":{}},\"/a/\":{\"host\":{}}}", "twice");
    check_refused("{\"/a\":{\"ram\":{}}}", "size");
    check_refused("{\"/a\":{\"ram\":{\"size\":0}}}", "size");
    check_refused("{\"/a\":{\"ram\":{\"size\":-5}}}", "size");
    check_refused("{\"/a\":{\"ram\":{\"size\":1.5}}}", "size");
    check_refused("{\"/a\":{\"ram\":{\"size\":\"x\"}}}", "not a size");
    check_refused("{\"/a\":{\"storage\":{\"size\":1000}}}", "size");
    check_refused("{\"/a\":{\"storage\":{\"size\":1000000,\"errors\":\"ignore,x\"}}}", "errors");
    check_refused("{\"/a\":{\"storage\":{\"size\":1000000,\"errors\":5}}}", "errors");
    check_refused("{\"/a\":{\"storage\":{\"size\":\"1.2 GB\"}}}", "--storage-gib");
}

static void test_storage(void **state)
{
    (void)state;
    /* 512 MiB, rounded up on the way; and the same where even the slack does not help. */
    cleanup_free char *fits = plan("{}", "{\"/a\":{\"storage\":{\"size\":\"536.9 MB\"}}}", 512 << 20);
    assert_string_equal(fits, "disk /a 536870912");
    cleanup_free char *over = plan("{}", "{\"/a\":{\"storage\":{\"size\":\"537.0 MB\"}}}", 512 << 20);
    assert_non_null(strstr(over, "--storage-gib"));
    cleanup_free char *together =
        plan("{}", "{\"/a\":{\"storage\":{\"size\":\"300 MiB\"}},\"/b\":{\"storage\":{\"size\":\"300 MiB\"}}}", 512 << 20);
    assert_non_null(strstr(together, "`/b`"));
    cleanup_free char *ram = plan("{}", "{\"/a\":{\"ram\":{\"size\":\"9 GiB\"}}}", 512 << 20);
    assert_string_equal(ram, "ram /a 9663676416");
}

static void test_too_many(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf b = { 0 };
    for (unsigned i = 0; i <= DEPLOYMENT_VOLUMES_MAX; i++)
        gv_buf_addf(&b, "%s\"/%u\":{\"host\":{}}", i ? "," : "{", i);
    gv_buf_addf(&b, "}");
    check_refused(gv_buf_str(&b), "more than");
}

static void write_file(const char *path, const char *text)
{
    cleanup_fclose FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
}

static void test_record(void **state)
{
    (void)state;
    struct deployment_volume volumes[] = {
        { .kind = VM_VOLUME_DIRECTORY, .path = (char[]){ "/a" }, .name = (char[]){ "vol-1" }, .seeded = true },
        { .kind = VM_VOLUME_DISK, .path = (char[]){ "/b" }, .name = (char[]){ "vol-2.img" }, .size = 1 << 20 },
        { .kind = VM_VOLUME_RAM, .path = (char[]){ "/" }, .size = 4096 },
    };
    struct deployment d = {
        .cpus = 3, .memory = 300U << 20, .storage = 12345, .hostname = (char[]){ "h" }, .volumes = volumes, .volume_count = 3
    };
    gv_strv_add(&d.packages, "/img \"1\".gvmi");
    gv_strv_add(&d.packages, "/img2");
    gv_strv_add(&d.marks, "1");
    gv_strv_add(&d.marks, "2");
    struct gv_outfile *record;
    assert_int_equal(deployment_prepare(&record, &d, dir, NULL), 0);
    assert_int_equal(gv_outfile_commit(record, NULL), 0);
    cleanup_deployment struct deployment got = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (deployment_read(&got, dir, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(got.cpus, 3);
    assert_int_equal(got.memory, d.memory);
    assert_int_equal(got.storage, 12345);
    assert_string_equal(got.hostname, "h");
    assert_int_equal(got.packages.count, 2);
    assert_string_equal(got.packages.items[0], "/img \"1\".gvmi");
    assert_string_equal(got.marks.items[1], "2");
    assert_int_equal(got.volume_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(got.volumes[i].kind, volumes[i].kind);
        assert_string_equal(got.volumes[i].path, volumes[i].path);
        assert_int_equal(got.volumes[i].size, volumes[i].size);
        assert_int_equal(got.volumes[i].seeded, volumes[i].seeded);
    }
    assert_string_equal(got.volumes[1].name, "vol-2.img");
    assert_null(got.volumes[2].name);
    gv_strv_clear(&d.packages);
    gv_strv_clear(&d.marks);
}

/* An image is known again by what is in it, not by its times. */
static void test_images(void **state)
{
    (void)state;
    cleanup_free char *path = gv_asprintf("%s/image", dir);
    struct deployment d = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    write_file(path, "hsqs and more");
    gv_strv_add(&d.packages, path);
    gv_strv_take(&d.marks, deployment_mark(path, &err));
    assert_int_equal(deployment_check_images(&d, &err), 0);
    const struct timespec times[2] = { { .tv_sec = 7 }, { .tv_sec = 7 } };
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(deployment_check_images(&d, &err), 0);
    write_file(path, "hsqs and MORE");
    assert_int_equal(deployment_check_images(&d, &err), -1);
    assert_non_null(strstr(err.msg, "not the one that was deployed"));
    write_file(path, "hsqs and more, and more");
    assert_int_equal(deployment_check_images(&d, &err), -1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(deployment_check_images(&d, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    gv_strv_clear(&d.packages);
    gv_strv_clear(&d.marks);
}

static void write_record(const char *text)
{
    cleanup_free char *path = gv_asprintf("%s/" DEPLOYMENT_FILE, dir);
    write_file(path, text);
}

static void test_bad_records(void **state)
{
    (void)state;
#define HEAD "{\"version\":1,\"cpu_cores\":1,\"mem_mib\":256,\"storage_bytes\":1,\"hostname\":\"h\","
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"cpu_cores\":1,\"mem_mib\":256,\"task_packages\":[\"/"
        "a\"],\"package_marks\":[\"m\"],\"user\":[0,0],\"volumes\":[],\"mounts\":[],\"hostname\":\"golem\"}",
        HEAD "\"task_packages\":[],\"volumes\":[]}",
        HEAD "\"task_packages\":[1],\"volumes\":[]}",
        HEAD "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"]}",
        HEAD "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"],\"volumes\":[{}]}",
        HEAD "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"],\"volumes\":[{\"type\":\"host\",\"path\":\"/v\"}]}",
        HEAD "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"],\"volumes\":[{\"type\":\"host\",\"path\":\"/v\",\"name\":\"../etc\"}]}",
        HEAD
        "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"],\"volumes\":[{\"type\":\"host\",\"path\":\"/v\",\"name\":\"vol-/../x\"}]}",
        HEAD "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"],\"volumes\":[{\"type\":\"host\",\"path\":\"v\",\"name\":\"vol-x\"}]}",
        HEAD "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"],\"volumes\":[{\"type\":\"host\",\"path\":\"/\",\"name\":\"vol-x\"}]}",
        HEAD "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"],\"volumes\":[{\"type\":\"ram\",\"path\":\"/r\"}]}",
        HEAD "\"task_packages\":[\"/a\"],\"package_marks\":[\"m\"],\"volumes\":[{\"type\":\"ram\",\"path\":\"/r\",\"size\":-1}]}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cleanup_deployment struct deployment d = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        write_record(bad[i]);
        if (deployment_read(&d, dir, &err) == 0)
            fail_msg("%s was taken", bad[i]);
        assert_non_null(strstr(err.msg, "deploy again"));
    }
    cleanup_deployment struct deployment d = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *path = gv_asprintf("%s/" DEPLOYMENT_FILE, dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(deployment_read(&d, dir, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
}

static void test_lock(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    int first = deployment_lock(dir, &err);
    assert_true(first >= 0);
    assert_int_equal(deployment_lock(dir, &err), -1);
    assert_int_equal(err.code, GV_E_BUSY);
    close(first);
    int second = deployment_lock(dir, &err);
    assert_true(second >= 0);
    close(second);
    assert_int_equal(deployment_lock("/nowhere/at/all", &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
}

static void test_disk(void **state)
{
    (void)state;
    cleanup_free char *path = gv_asprintf("%s/vol.img", dir), *nowhere = gv_asprintf("%s/no/vol.img", dir);
    struct deployment_volume v = { .kind = VM_VOLUME_DISK, .path = (char[]){ "/d" }, .size = 64 << 20, .preallocate = 1 << 20 };
    struct gv_error err = GV_ERROR_INIT;
    if (deployment_make_disk(path, &v, &err) < 0)
        fail_msg("%s", err.msg);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 64 << 20);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(st.st_blocks * 512 >= 1 << 20); /* preallocated */
    assert_true(st.st_blocks * 512 < 16 << 20); /* and sparse otherwise */
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char magic[2];
    assert_int_equal(gv_pread_full(fd, magic, 2, 1024 + 56), 2);
    assert_true(magic[0] == 0x53 && magic[1] == 0xef);
    assert_int_equal(deployment_make_disk(path, &v, &err), -1); /* never over what is there */
    assert_int_equal(deployment_make_disk(nowhere, &v, &err), -1);
    v.size = 4096; /* too small for mkfs: nothing is left */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(deployment_make_disk(path, &v, &err), -1);
    assert_non_null(strstr(err.msg, "mkfs.ext4"));
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_storage),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test_setup_teardown(test_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_images, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
