/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files of volumes: links of both kinds, owners, and a guest who changes them while we work. */
#include "transfer_test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static void link_to(const char *target, const char *name)
{
    cleanup_free char *path = test_path(name);
    assert_int_equal(symlink(target, path), 0);
}

/* As the guest makes one with mapped-xattr. */
static void mapped_link(const char *target, const char *name)
{
    test_text(name, target);
    test_mark(name, "user.virtfs.mode", S_IFLNK | 0777);
}

static void files(void **state)
{
    (void)state;
    cleanup_free char *in = test_url("in"), *out = test_url("out");
    test_text("in", "content");
    test_transfer(in, "container:/data/a/b/c", NULL);
    assert_file("vol-1/a/b/c", "content");
    test_transfer("/data/a/b/c", "/data/inner/x", NULL);
    assert_file("vol-2/x", "content");
    test_transfer("container:/data/inner/x", out, NULL);
    assert_file("out", "content");
    /* Something else at the same path, shorter, leaves nothing of what was there. */
    test_text("in", "new");
    test_transfer(in, "container:/data/a/b/c", NULL);
    assert_file("vol-1/a/b/c", "new");
    test_refused("container:/data/none", out, NULL, GV_E_NOT_FOUND, "cannot open `/data/none`");
    test_refused("container:/data/a", out, NULL, GV_E_USAGE, "format");
    test_refused(in, "container:/data/", NULL, GV_E_USAGE, "names no file");
    test_refused(in, "container:/data/a", NULL, GV_E_IO, "Is a directory");
    test_refused(in, "container:/elsewhere/a", NULL, GV_E_NOT_FOUND, "path not found in container");
}

/* The runtime is not believed either: a volume is a directory in the work directory. */
static void volumes(void **state)
{
    (void)state;
    static const char *const bad[] = { "../elsewhere", "/etc", ".", "..", "", "a/b" };
    cleanup_free char *out = test_url("out");
    test_text("f", "x");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct transfer_volume v = { (char[]){ "/data" }, gv_strdup(bad[i]) };
        const struct transfer_options o = { .workdir = test_workdir, .volumes = &v, .volume_count = 1 };
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(transfer_run(&o, &(struct transfer_request){ .from = "/data/f", .to = out }, &err), -1);
        assert_int_equal(err.code, GV_E_PROTOCOL);
        free(v.name);
    }
    link_to("..", "vol-3");
    struct transfer_volume v = { (char[]){ "/data" }, (char[]){ "vol-3" } };
    const struct transfer_options o = { .workdir = test_workdir, .volumes = &v, .volume_count = 1 };
    assert_int_equal(transfer_run(&o, &(struct transfer_request){ .from = "/data/f", .to = out }, NULL), -1);
}

static void modes(void **state)
{
    (void)state;
    cleanup_free char *in = test_url("in"), *path = test_path("in");
    test_text("in", "#!/bin/sh\n");
    assert_int_equal(chmod(path, 0755), 0);
    test_map_volume("vol-1");
    test_transfer(in, "/data/d/program", NULL);
    assert_int_equal(test_marked("vol-1/d/program", "user.virtfs.uid"), 7);
    assert_int_equal(test_marked("vol-1/d/program", "user.virtfs.gid"), 8);
    assert_int_equal(test_marked("vol-1/d/program", "user.virtfs.mode"), S_IFREG | 0755);
    assert_int_equal(test_marked("vol-1/d", "user.virtfs.uid"), 7);
    assert_int_equal(test_marked("vol-1/d", "user.virtfs.mode"), S_IFDIR | 0755);
    /* What is replaced keeps whose it was. */
    test_mark("vol-1/d/program", "user.virtfs.uid", 99);
    test_mark("vol-1/d/program", "user.virtfs.mode", S_IFREG | 0600);
    test_transfer(in, "/data/d/program", NULL);
    assert_int_equal(test_marked("vol-1/d/program", "user.virtfs.uid"), 99);
    assert_int_equal(test_marked("vol-1/d/program", "user.virtfs.mode"), S_IFREG | 0600);
}

static void links(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        void (*make)(const char *target, const char *name) = mapped ? mapped_link : link_to;
        cleanup_free char *out = test_url("out"), *in = test_url("secret"), *self = test_path("secret");
        test_text("secret", "of the host");
        test_mkdir("vol-1/dir");
        test_text("vol-1/dir/file", "inside");
        if (mapped)
            test_map_volume("vol-1");
        make("dir/file", "vol-1/good");
        make("/data/dir/../dir", "vol-1/absolute");
        make("..", "vol-1/dir/up");
        make("/data", "vol-1/dir/top");
        test_transfer("/data/good", out, NULL);
        assert_file("out", "inside");
        test_transfer("/data/absolute/up/dir/top/good", out, NULL);
        assert_file("out", "inside");
        make("../secret", "vol-1/out1");
        make(self, "vol-1/out2");
        make("../../../../../../../etc", "vol-1/out3");
        make("/data/../../etc", "vol-1/out4");
        make("loop", "vol-1/loop");
        test_refused("/data/out1", out, NULL, GV_E_IO, "leads out of the volume");
        test_refused("/data/out2", out, NULL, GV_E_IO, "leads out of the volume");
        test_refused("/data/out3/passwd", out, NULL, GV_E_IO, "leads out of the volume");
        test_refused("/data/out4/passwd", out, NULL, GV_E_IO, "leads out of the volume");
        test_refused("/data/loop", out, NULL, GV_E_IO, "symbolic links");
        test_refused(in, "/data/out3/gvmkit-test", NULL, GV_E_IO, "leads out of the volume");
        /* A link at the destination is replaced, not followed. */
        test_transfer(in, "/data/out1", NULL);
        assert_file("vol-1/out1", "of the host");
        assert_file("secret", "of the host");
        test_teardown(NULL);
        test_setup(NULL);
    }
}

static void specials(void **state)
{
    (void)state;
    cleanup_free char *out = test_url("out"), *pipe = test_path("vol-1/pipe");
    assert_int_equal(mkfifo(pipe, 0644), 0);
    test_refused("/data/pipe", out, NULL, GV_E_IO, "neither a file nor a directory");
    test_map_volume("vol-1");
    test_text("vol-1/device", "");
    test_mark("vol-1/device", "user.virtfs.mode", S_IFBLK | 0644);
    test_refused("/data/device", out, NULL, GV_E_IO, "neither a file nor a directory");
    test_text("in", "x");
    cleanup_free char *in = test_url("in");
    test_transfer(in, "file:/dev/null", NULL);
}

static void holes(void **state)
{
    (void)state;
    cleanup_free char *in = test_path("vol-1/sparse"), *out = test_path("out"), *url = test_url("out");
    cleanup_close int fd = open(in, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(gv_pwrite_full(fd, "begin", 5, 0), 0);
    assert_int_equal(gv_pwrite_full(fd, "end", 3, 300 << 20), 0);
    assert_int_equal(ftruncate(fd, 400 << 20), 0);
    test_transfer("/data/sparse", url, NULL);
    struct stat st;
    char got[3];
    assert_int_equal(stat(out, &st), 0);
    assert_int_equal(st.st_size, 400 << 20);
    assert_true(st.st_blocks < 4096);
    cleanup_close int copy = open(out, O_RDONLY | O_CLOEXEC);
    assert_int_equal(gv_pread_full(copy, got, 3, 300 << 20), 3);
    assert_memory_equal(got, "end", 3);
}

static void hashed(void **state)
{
    (void)state;
    cleanup_free char *in = test_url("in");
    unsigned char digest[GV_HASH_MAX];
    char hex[2 * GV_HASH_MAX + 1];
    test_text("in", "content");
    gv_hex(hex, digest, gv_hash_bytes(GV_HASH_SHA3_256, "content", 7, digest));
    cleanup_free char *right = gv_asprintf("hash:sha3:%s:%s", hex, in);
    test_transfer(right, "/data/a", NULL);
    assert_file("vol-1/a", "content");
    hex[0] = hex[0] == '0' ? '1' : '0';
    cleanup_free char *wrong = gv_asprintf("hash:sha3:%s:%s", hex, in);
    test_text("vol-1/a", "before");
    test_refused(wrong, "/data/a", NULL, GV_E_CORRUPT, "another hash");
    assert_file("vol-1/a", "before");
}

/* ---- a guest who races ------------------------------------------------------------------------------------------------------------ */

static atomic_bool racing;

static void *race(void *arg)
{
    (void)arg;
    cleanup_free char *path = test_path("vol-1/way"), *dir = test_path("vol-1/real"), *link = test_path("vol-1/link");
    cleanup_free char *inside = test_path("vol-1/inside");
    while (atomic_load(&racing)) {
        /* "way" is a directory, a link out, the directory, a link inside, and so on, and always there; "real" is the directory while "way" is not. */
        renameat2(AT_FDCWD, path, AT_FDCWD, dir, RENAME_EXCHANGE);
        renameat2(AT_FDCWD, path, AT_FDCWD, link, RENAME_EXCHANGE);
        sched_yield();
        renameat2(AT_FDCWD, path, AT_FDCWD, link, RENAME_EXCHANGE);
        renameat2(AT_FDCWD, path, AT_FDCWD, inside, RENAME_EXCHANGE);
        sched_yield();
        renameat2(AT_FDCWD, path, AT_FDCWD, inside, RENAME_EXCHANGE);
        renameat2(AT_FDCWD, path, AT_FDCWD, dir, RENAME_EXCHANGE);
        sched_yield();
    }
    return NULL;
}

static void raced(void **state)
{
    (void)state;
    pthread_t thread;
    unsigned succeeded = 0, failed = 0;
    cleanup_free char *in = test_url("in"), *out = test_url("out");
    test_mkdir("outside");
    test_text("outside/file", "secret");
    test_mkdir("vol-1/way");
    test_text("vol-1/way/file", "inside");
    test_text("in", "inside");
    link_to("nothing", "vol-1/real");
    link_to("../outside", "vol-1/link");
    link_to("real", "vol-1/inside");
    atomic_store(&racing, true);
    assert_int_equal(pthread_create(&thread, NULL, race, NULL), 0);
    for (int i = 0; i < 2000; i++) {
        cleanup_free char *to = gv_asprintf("/data/way/new-%d", i % 10);
        int got = transfer_run(&test_options, &(struct transfer_request){ .from = "/data/way/file", .to = out }, NULL);
        if (got == 0)
            assert_file("out", "inside");
        succeeded += got == 0;
        failed += got != 0;
        got = transfer_run(&test_options, &(struct transfer_request){ .from = in, .to = to }, NULL);
        succeeded += got == 0;
        failed += got != 0;
    }
    atomic_store(&racing, false);
    pthread_join(thread, NULL);
    print_message("%u transfers have succeeded, %u have met the other link\n", succeeded, failed);
    assert_true(succeeded > 0 && failed > 0);
    assert_file("outside/file", "secret");
    for (int i = 0; i < 10; i++) {
        cleanup_free char *name = gv_asprintf("outside/new-%d", i);
        assert_false(test_exists(name));
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, test_setup, test_teardown)
    const struct CMUnitTest tests[] = { TEST(files),    TEST(volumes), TEST(modes),  TEST(links),
                                        TEST(specials), TEST(holes),   TEST(hashed), TEST(raced) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
