/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Logs: two streams in their order, the tail, rotation, followers, and files that are damaged. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state.h"

struct got {
    struct gv_buf streams[3];
    int seen; /* if not 0: gets a byte for each BLOCK of stream 1 */
};
#define BLOCK 65536U

static int put(void *user, int stream, const void *data, size_t n, struct gv_error *err)
{
    (void)err;
    struct got *g = user;
    gv_buf_add(&g->streams[stream], data, n);
    return g->seen && g->streams[1].len % BLOCK == 0 && write(g->seen, "", 1) != 1 ? -1 : 0;
}

static void check_read(const char *name, uint64_t tail, const char *out, const char *errors)
{
    struct got g = { 0 };
    assert_int_equal(vms_log_read(name, &(struct vms_log_options){ .tail = tail }, put, &g, NULL), 0);
    assert_string_equal(gv_buf_str(&g.streams[1]), out);
    assert_string_equal(gv_buf_str(&g.streams[2]), errors);
    gv_buf_clear(&g.streams[1]);
    gv_buf_clear(&g.streams[2]);
}

static void say(struct vms_log *l, int stream, const char *text)
{
    vms_log_write(l, stream, text, strlen(text));
}

static void test_tail(void **state)
{
    (void)state;
    struct vms_entry *e;
    struct vms_log *l;
    assert_int_equal(vms_entry_open(&e, "web", NULL), 0);
    assert_int_equal(vms_log_open(&l, vms_entry_dir(e), NULL), 0);
    check_read("web", UINT64_MAX, "", "");
    say(l, 1, "one\ntw");
    say(l, 2, "err");
    say(l, 1, "o\n");
    say(l, 2, "or\nopen");
    check_read("web", UINT64_MAX, "one\ntwo\n", "error\nopen");
    check_read("web", 4, "one\ntwo\n", "error\nopen");
    check_read("web", 3, "two\n", "error\nopen");
    check_read("web", 2, "", "error\nopen");
    check_read("web", 1, "", "open");
    check_read("web", 0, "", "");
    vms_log_close(l);
    vms_entry_end(e, 0, false);
}

static void test_rotation(void **state)
{
    struct vms_entry *e;
    struct vms_log *l;
    assert_int_equal(vms_entry_open(&e, "web", NULL), 0);
    assert_int_equal(vms_log_open(&l, vms_entry_dir(e), NULL), 0);
    cleanup_free char *block = gv_alloc(65536);
    for (unsigned i = 0; i < 1000; i++) {
        memset(block, 'a' + (int)(i % 26), 65535);
        block[65535] = '\n';
        vms_log_write(l, 1, block, 65536);
    }
    uint64_t total = 0;
    static const char *const files[] = { "log", "log.1" };
    for (size_t i = 0; i < 2; i++) {
        cleanup_free char *dir = state_path(state, "web"), *path = gv_asprintf("%s/%s", dir, files[i]);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size <= (off_t)VMS_LOG_MAX);
        total += (uint64_t)st.st_size;
    }
    struct got g = { 0 };
    assert_int_equal(vms_log_read("web", &(struct vms_log_options){ .tail = UINT64_MAX }, put, &g, NULL), 0);
    size_t blocks = g.streams[1].len / 65536;
    assert_true(g.streams[1].len > VMS_LOG_MAX && g.streams[1].len < total && g.streams[1].len % 65536 == 0);
    for (size_t i = 0; i < blocks; i++)
        assert_int_equal(g.streams[1].data[i * 65536], 'a' + (1000 - blocks + i) % 26);
    gv_buf_clear(&g.streams[1]);
    vms_log_close(l);
    vms_entry_end(e, 0, false);
}

/* A follower gets everything up to the end, over several rotations. */
static void test_follow(void **state)
{
    (void)state;
    struct vms_entry *e;
    struct vms_log *l;
    assert_int_equal(vms_entry_open(&e, "web", NULL), 0);
    assert_int_equal(vms_log_open(&l, vms_entry_dir(e), NULL), 0);
    enum { BLOCKS = 800 };
    int seen[2];
    assert_int_equal(pipe(seen), 0);
    pid_t follower = fork();
    if (follower == 0) {
        vms_log_close(l);
        vms_entry_forget(e); /* else we would own it, too */
        struct got g = { .seen = seen[1] };
        if (vms_log_read("web", &(struct vms_log_options){ .tail = UINT64_MAX, .follow = true }, put, &g, NULL) < 0)
            _exit(2);
        for (size_t i = 0; i < BLOCKS; i++)
            if (g.streams[1].len != (size_t)BLOCKS * BLOCK || g.streams[1].data[i * BLOCK] != (unsigned char)i)
                _exit(3);
        _exit(0);
    }
    cleanup_free char *block = gv_alloc(BLOCK);
    for (int i = 0; i < BLOCKS; i++) {
        memset(block, i, BLOCK);
        vms_log_write(l, 1, block, BLOCK);
        /* He may be one file behind, but not two. */
        char byte;
        if (i >= 100)
            assert_int_equal(read(seen[0], &byte, 1), 1);
    }
    vms_log_close(l);
    vms_entry_end(e, 0, true);
    int status;
    assert_int_equal(waitpid(follower, &status, 0), follower);
    assert_int_equal(status, 0);
    close(seen[0]);
    close(seen[1]);
}

/* What cannot be written is missing, and the log says so. */
static void test_full(void **state)
{
    (void)state;
    struct vms_entry *e;
    struct vms_log *l;
    assert_int_equal(vms_entry_open(&e, "web", NULL), 0);
    assert_int_equal(vms_log_open(&l, vms_entry_dir(e), NULL), 0);
    say(l, 1, "before\n");
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 30;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    say(l, 1, "lost\n");
    say(l, 2, "lost\n");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    say(l, 1, "after\n");
    check_read("web", UINT64_MAX, "before\nafter\n", "\ngvmkit: 10 bytes of output are missing here, which could not be written\n");
    vms_log_close(l);
    vms_entry_end(e, 0, false);
}

static void test_damaged(void **state)
{
    struct vms_entry *e;
    struct vms_log *l;
    struct gv_error err = GV_ERROR_INIT;
    struct got g = { 0 };
    const struct vms_log_options all = { .tail = UINT64_MAX };
    assert_int_equal(vms_entry_open(&e, "web", NULL), 0);
    assert_int_equal(vms_log_read("web", &all, put, &g, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_int_equal(vms_log_open(&l, vms_entry_dir(e), NULL), 0);
    say(l, 1, "text\n");
    cleanup_free char *dir = state_path(state, "web"), *path = gv_asprintf("%s/log", dir);
    cleanup_close int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "\0\0\0\0\0\0\0\0\xff", 9), 9); /* a frame that was cut */
    check_read("web", UINT64_MAX, "text\n", "");
    assert_int_equal(write(fd, "\xff\xff\xff\1\0\0\0", 7), 7);
    assert_int_equal(vms_log_read("web", &all, put, &g, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    gv_buf_clear(&g.streams[1]);
    vms_log_close(l);
    vms_entry_end(e, 0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tail, state_make, state_remove),
        cmocka_unit_test_setup_teardown(test_rotation, state_make, state_remove),
        cmocka_unit_test_setup_teardown(test_follow, state_make, state_remove),
        cmocka_unit_test_setup_teardown(test_full, state_make, state_remove),
        cmocka_unit_test_setup_teardown(test_damaged, state_make, state_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
