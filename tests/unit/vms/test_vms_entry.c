/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names, their locks, and their records. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state.h"

static struct vms_entry *take(const char *name)
{
    struct vms_entry *e = NULL;
    struct gv_error err = GV_ERROR_INIT;
    if (vms_entry_open(&e, name, &err) < 0)
        fail_msg("%s", err.msg);
    return e;
}

static enum vms_state state_of(const char *name)
{
    cleanup_vms_record struct vms_record r = { 0 };
    assert_int_equal(vms_find(&r, name, NULL), 0);
    assert_string_equal(r.name, name);
    return r.state;
}

/* The whole life of one that is kept. */
static void test_life(void **state)
{
    (void)state;
    struct vms_entry *e = take("web"), *other;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(state_of("web"), VMS_STARTING);
    assert_int_equal(vms_entry_open(&other, "web", &err), -1);
    assert_int_equal(err.code, GV_E_EXISTS);
    struct vms_record r = { .name = gv_strdup("web"), .image = gv_strdup("caf\xe9"), .state = VMS_RUNNING, .qemu = 5, .detached = true };
    gv_strv_add(&r.argv, "sleep");
    assert_int_equal(vms_entry_write(e, &r, NULL), 0);
    assert_int_equal(state_of("web"), VMS_RUNNING);
    r.state = VMS_ENDED;
    r.status = 3;
    assert_int_equal(vms_entry_write(e, &r, NULL), 0);
    vms_entry_end(e, 3, true);
    vms_record_clear(&r);
    assert_int_equal(state_of("web"), VMS_ENDED);
    int status = 0;
    assert_int_equal(vms_wait("web", &status, NULL), 0);
    assert_int_equal(status, 3);
    assert_int_equal(vms_find(&r, "web", NULL), 0);
    assert_string_equal(r.image, "caf\xc3\xa9");
    assert_int_equal(r.status, 3);
    vms_record_clear(&r);
    e = take("web");
    assert_int_equal(state_of("web"), VMS_STARTING);
    vms_entry_end(e, 0, false);
    assert_int_equal(vms_find(&r, "web", &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
}

/* An owner that is killed has died, and those who wait are told. */
static void test_killed(void **state)
{
    (void)state;
    int up[2];
    assert_int_equal(pipe(up), 0);
    pid_t owner = fork();
    if (owner == 0) {
        struct vms_entry *e = take("web");
        struct vms_record r = { .name = (char[]){ "web" }, .state = VMS_RUNNING };
        _exit(vms_entry_write(e, &r, NULL) < 0 || write(up[1], "", 1) != 1 || pause());
    }
    char byte;
    assert_int_equal(read(up[0], &byte, 1), 1);
    assert_int_equal(state_of("web"), VMS_RUNNING);
    pid_t waiter = fork();
    if (waiter == 0) {
        struct gv_error err = GV_ERROR_INIT;
        int status;
        _exit(vms_wait("web", &status, &err) == 0 || err.code != GV_E_DIED);
    }
    kill(owner, SIGKILL);
    int ended;
    assert_int_equal(waitpid(owner, NULL, 0), owner);
    assert_int_equal(waitpid(waiter, &ended, 0), waiter);
    assert_int_equal(ended, 0);
    assert_int_equal(state_of("web"), VMS_DIED);
    vms_entry_end(take("web"), 0, false);
    close(up[0]);
    close(up[1]);
}

/* Of those who want the same name at once one gets it. */
static void test_race(void **state)
{
    (void)state;
    enum { PROCESSES = 12 };
    int go[2], hold[2], won[2];
    assert_true(pipe(go) == 0 && pipe(hold) == 0 && pipe(won) == 0);
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() != 0)
            continue;
        char byte;
        close(go[1]);
        close(hold[1]);
        struct vms_entry *e;
        struct gv_error err = GV_ERROR_INIT;
        if (read(go[0], &byte, 1) != 0)
            _exit(2);
        int got = vms_entry_open(&e, "one", &err);
        byte = got == 0 ? 'y' : err.code == GV_E_EXISTS ? 'n' : '?';
        _exit(write(won[1], &byte, 1) != 1 || read(hold[0], &byte, 1) != 0);
    }
    close(go[1]);
    int yes = 0, no = 0;
    for (int i = 0; i < PROCESSES; i++) {
        char byte;
        assert_int_equal(read(won[0], &byte, 1), 1);
        yes += byte == 'y';
        no += byte == 'n';
    }
    assert_int_equal(yes, 1);
    assert_int_equal(no, PROCESSES - 1);
    close(hold[1]);
    for (int i = 0, status; i < PROCESSES; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    const int fds[] = { go[0], hold[0], won[0], won[1] };
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
}

static void test_names(void **state)
{
    static const char *const good[] = { "a", "0", "web-1.2_x", "A23456789012345678901234567890123456789012345678901234567890123" };
    static const char *const bad[] = {
        "", ".", "..", ".a", "-a", "_a", "a/b", "a b", "\xc3\xa9", "a\n", "A234567890123456789012345678901234567890123456789012345678901234"
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(vms_name_check(good[i], NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct vms_record r = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(vms_find(&r, bad[i], &err), -1);
        assert_int_equal(err.code, GV_E_USAGE);
    }
    struct vms_entry *a = take(NULL), *b = take(NULL);
    assert_string_not_equal(vms_entry_name(a), vms_entry_name(b));
    struct stat st;
    cleanup_free char *path = state_path(state, vms_entry_name(a));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    vms_entry_end(a, 0, false);
    vms_entry_end(b, 0, false);
}

/* What has ended is bounded, the oldest goes first; what runs, however old, stays; the unfinished goes; what is no VM is passed over. */
static void test_bounded(void **state)
{
    struct vms_entry *old = take("old");
    char name[16];
    for (int i = 0; i < 25; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        vms_entry_end(take(name), i, true);
        cleanup_free char *path = state_path(state, name);
        const struct timespec times[2] = { { .tv_sec = 1000 + i }, { .tv_sec = 1000 + i } };
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    cleanup_free char *unfinished = state_path(state, ".new-x"), *foreign = state_path(state, "foreign");
    assert_true(mkdir(unfinished, 0700) == 0 && mkdir(foreign, 0700) == 0);
    vms_entry_end(take("last"), 0, true);
    struct vms_record *list;
    size_t count, ended = 0;
    assert_int_equal(vms_list(&list, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        ended += list[i].state >= VMS_ENDED;
    assert_string_equal(list[0].name, "old");
    vms_list_free(list, count);
    assert_true(ended <= VMS_ENDED_MAX && ended >= VMS_ENDED_MAX - 1);
    struct vms_record r = { 0 };
    assert_int_equal(vms_find(&r, "n0", NULL), -1);
    assert_int_equal(vms_find(&r, "n24", NULL), 0);
    vms_record_clear(&r);
    assert_true(access(unfinished, F_OK) < 0 && errno == ENOENT);
    vms_entry_end(old, 0, false);
}

static void test_records(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",
                                         "[]",
                                         "{}",
                                         "{\"name\":\"a\"}",
                                         "{\"name\":1,\"command\":[],\"ports\":[],\"volumes\":[],\"state\":\"ended\"}",
                                         "{\"name\":\"a\",\"command\":[1],\"ports\":[],\"volumes\":[],\"state\":\"ended\"}",
                                         "{\"name\":\"a\",\"command\":[],\"ports\":[],\"volumes\":[{}],\"state\":\"ended\"}",
                                         "{\"name\":\"a\",\"command\":[],\"ports\":[],\"volumes\":[],\"state\":\"odd\"}",
                                         "{\"name\":\"a\",\"command\":[],\"ports\":[],\"volumes\":[],\"state\":\"ended\",\"owner\":-1}" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct vms_record r = { 0 };
        assert_int_equal(vms_record_parse(&r, wrong[i], strlen(wrong[i]), NULL), -1);
        assert_null(r.name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, state_make, state_remove),
        cmocka_unit_test_setup_teardown(test_killed, state_make, state_remove),
        cmocka_unit_test_setup_teardown(test_race, state_make, state_remove),
        cmocka_unit_test_setup_teardown(test_names, state_make, state_remove),
        cmocka_unit_test_setup_teardown(test_bounded, state_make, state_remove),
        cmocka_unit_test(test_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
