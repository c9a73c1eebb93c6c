/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a jail is made: what the program gets, what it does not, what happens when the host refuses, and who dies with whom. */
#include "jail_test.h"

#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

const char *captive;

struct stage {
    char *dir;
    int fd; /* of dir */
};

static int setup(void **state)
{
    struct stage *s = gv_new(struct stage);
    s->dir = jail_test_directory();
    s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = s;
    return s->fd < 0;
}

static int teardown(void **state)
{
    struct stage *s = *state;
    close(s->fd);
    int status = gv_remove_tree(s->dir, NULL);
    free(s->dir);
    free(s);
    return status;
}

/* Of a process as seen from here: a line of /proc/PID/status, without its name; the caller's to free. */
static char *status_line(pid_t pid, const char *name)
{
    cleanup_free char *path = gv_asprintf("/proc/%d/status", (int)pid), *key = gv_asprintf("\n%s:\t", name);
    cleanup_buf struct gv_buf b = { 0 };
    assert_int_equal(gv_read_file(path, 65536, &b, NULL), 0);
    const char *at = strstr(gv_buf_str(&b), key);
    assert_non_null(at);
    at += strlen(key);
    return gv_strndup(at, strcspn(at, "\n"));
}

/* Starts the captive and leaves it running; when this returns it has said that it waits. */
static struct jail_result start_waiting(struct jail_spec spec)
{
    int out[2];
    const char *const argv[] = { captive, "wait", NULL };
    struct jail_result result;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    spec.argv = argv;
    spec.stdio[0] = spec.stdio[2] = -1;
    spec.stdio[1] = out[1];
    CLEANUP(jail) struct jail *jail = NULL;
    assert_int_equal(jail_new(&jail, &spec, &err), 0);
    if (jail_start(jail, &result) < 0) {
        jail_explain(jail, &result, &err);
        fail_msg("%s", err.msg);
    }
    char text[8];
    assert_int_equal(gv_read_full(out[0], text, sizeof(text)), sizeof(text));
    close(out[0]);
    close(out[1]);
    return result;
}

static void stop(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void assert_line(pid_t pid, const char *name, const char *value)
{
    cleanup_free char *line = status_line(pid, name);
    if (strcmp(line, value) != 0)
        fail_msg("%s: %s, not %s", name, line, value);
}

static void test_seen_from_outside(void **state)
{
    (void)state;
    static const char *const namespaces[] = { "user", "mnt", "pid", "net", "ipc", "uts" };
    struct jail_result r = start_waiting((struct jail_spec){ .measures = JAIL_ALL });
    for (int m = 0; m < 6; m++) {
        char theirs[64], ours[64];
        struct stat a, b;
        snprintf(theirs, sizeof(theirs), "/proc/%d/ns/%s", (int)r.pid, namespaces[m]);
        snprintf(ours, sizeof(ours), "/proc/self/ns/%s", namespaces[m]);
        assert_int_equal(stat(theirs, &a), 0);
        assert_int_equal(stat(ours, &b), 0);
        assert_int_equal(a.st_ino == b.st_ino, r.refused[m] != 0);
    }
    assert_line(r.pid, "NoNewPrivs", "1");
    assert_line(r.pid, "Seccomp", "2");
    assert_line(r.pid, "SigIgn", "0000000001000000"); /* SIGXFSZ: what would grow too large is told by the write */
    assert_line(r.pid, "SigBlk", "0000000000000000");
    static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapAmb" };
    for (size_t i = 0; i < 4; i++)
        assert_line(r.pid, sets[i], "0000000000000000");
    cleanup_free char *uid = status_line(r.pid, "Uid");
    cleanup_free char *mine = status_line(getpid(), "Uid");
    assert_string_equal(uid, mine);
    stop(r.pid);
}

static void test_foreign_files(void **state)
{
    (void)state;
    struct jail_result r = start_waiting((struct jail_spec){ .measures = JAIL_ALL, .foreign_files = true });
    static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapAmb" };
    for (size_t i = 0; i < 4; i++) {
        cleanup_free char *line = status_line(r.pid, sets[i]);
        uint64_t caps = strtoull(line, NULL, 16);
        assert_int_equal(caps & ~UINT64_C(0xa), 0); /* CAP_DAC_OVERRIDE, CAP_FOWNER */
        assert_true(geteuid() == 0 || caps == 0);
    }
    stop(r.pid);
}

static void test_descriptors(void **state)
{
    (void)state;
    int p[2], q[2];
    assert_int_equal(pipe(p), 0); /* not even O_CLOEXEC */
    assert_int_equal(pipe(q), 0);
    struct jail_result r = start_waiting((struct jail_spec){ .measures = JAIL_ALL, .keep = &p[1], .keep_count = 1 });
    for (int fd = 0; fd < 64; fd++) {
        char path[64];
        struct stat st;
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)r.pid, fd);
        assert_int_equal(lstat(path, &st) == 0, fd < 3 || fd == p[1]);
    }
    stop(r.pid);
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(q[i]);
    }
}

static struct cell with_share(const struct jail_share *share)
{
    return (struct cell){ .spec = { .measures = JAIL_ALL, .shares = share, .share_count = 1, .foreign_files = true } };
}

static void expect(struct cell c, const char *what, const char *argument, const char *outcome)
{
    cleanup_free char *got = cell_run(&c, what, argument);
    if (strcmp(got, outcome) != 0)
        fail_msg("%s %s: %s, not %s", what, argument, got, outcome);
}

/* A directory is used through its descriptor, and is not left through it. */
static void test_share(void **state)
{
    struct stage *s = *state;
    char fd[16];
    snprintf(fd, sizeof(fd), "%d", s->fd);
    struct cell open_air = { .spec = { .keep = &s->fd, .keep_count = 1 } };
    expect(open_air, "climb", fd, "done"); /* without a jail it is */
    const struct jail_share writable = { s->fd, false }, readonly = { s->fd, true };
    struct cell c = with_share(&readonly);
    free(cell_run(&c, "thread", ""));
    SKIP_WITHOUT(c.result, JAIL_ROOT);
    expect(with_share(&writable), "climb", fd, "ENOENT");
    expect(with_share(&readonly), "make", fd, "EROFS");
    expect(with_share(&readonly), "mknod", fd, "ENOSYS");
    expect(with_share(&writable), "make", fd, "done");
    expect(with_share(&writable), "share-by-name", fd, "done");
    expect(with_share(&readonly), "share-by-name", fd, "done");
    cleanup_free char *made = gv_asprintf("%s/made", s->dir);
    assert_int_equal(access(made, F_OK), 0);
}

/* Another directory has its name meanwhile: that one is not what was handed over. */
static void test_share_is_replaced(void **state)
{
    struct stage *s = *state;
    cleanup_free char *was = gv_asprintf("%s/d", s->dir), *is = gv_asprintf("%s/e", s->dir);
    assert_int_equal(mkdir(was, 0700), 0);
    cleanup_close int fd = open(was, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct jail_share share = { fd, false };
    struct cell c = with_share(&share);
    cleanup_free char *got = cell_run(&c, "thread", "");
    SKIP_WITHOUT(c.result, JAIL_ROOT);
    assert_int_equal(rename(was, is), 0); /* the descriptor knows its new name */
    expect(with_share(&share), "thread", "", "done");
    assert_int_equal(rmdir(is), 0);
    c = with_share(&share);
    free(got);
    got = cell_run(&c, "thread", "");
    assert_string_equal(got, "done");
    assert_true(c.result.refused[JAIL_ROOT] == ENOENT || c.result.refused[JAIL_ROOT] == ESTALE);
    c.spec.required = true;
    free(got);
    got = cell_run(&c, "thread", "");
    assert_string_equal(got, "not started");
    assert_non_null(strstr(c.err.msg, "root of its own"));
}

/* Files are where they are on the host, through links as well, also below what is shown already; what is missing is left out. */
static void test_files(void **state)
{
    struct stage *s = *state;
    cleanup_free char *deep = gv_asprintf("%s/a/b", s->dir), *file = gv_asprintf("%s/file", deep), *link = gv_asprintf("%s/link", s->dir),
                      *other = gv_asprintf("%s/other", s->dir), *missing = gv_asprintf("%s/missing/x", s->dir);
    assert_int_equal(gv_mkdir_p(deep, 0755, NULL), 0);
    assert_int_equal(chmod(s->dir, 0755), 0);
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    assert_int_equal(symlink(file, link), 0);
    const char *const files[] = { deep, file, link, missing, "/nonexistent", NULL };
    struct cell c = { .spec = { .measures = JAIL_ALL, .files = files } };
    free(cell_run(&c, "thread", ""));
    SKIP_WITHOUT(c.result, JAIL_ROOT);
    expect(c, "open", file, "done");
    expect(c, "open", link, "done");
    expect(c, "open", other, "ENOENT");
    expect(c, "open", missing, "ENOENT");
    expect(c, "write", link, "EROFS");
}

static void test_errors(void **state)
{
    struct stage *s = *state;
    cleanup_free char *text = gv_asprintf("%s/program", s->dir);
    struct jail_result r;
    struct gv_error err = GV_ERROR_INIT;
    const char *const programs[] = { "/nonexistent/program", text };
    close(open(text, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    for (int i = 0; i < 2; i++) {
        const char *const argv[] = { programs[i], NULL };
        const struct jail_spec spec = { .measures = JAIL_ALL, .argv = argv, .stdio = { -1, -1, -1 } };
        CLEANUP(jail) struct jail *jail = NULL;
        assert_int_equal(jail_new(&jail, &spec, &err), 0);
        assert_int_equal(jail_start(jail, &r), -1);
        assert_int_equal(r.pid, -1);
        assert_true(r.started);
        assert_int_equal(jail_explain(jail, &r, &err), -1);
        assert_int_equal(err.sys, i ? EACCES : ENOENT);
        assert_non_null(strstr(err.msg, programs[i]));
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
    }
    cleanup_free char *was = gv_strdup(getenv("GVMKIT_JAIL"));
    const char *const argv[] = { captive, NULL };
    struct jail *jail = NULL;
    setenv("GVMKIT_JAIL", "/nonexistent/jail", 1);
    assert_int_equal(jail_new(&jail, &(struct jail_spec){ .argv = argv }, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/jail"));
    setenv("GVMKIT_JAIL", was, 1);
}

/* A host that gives no user namespaces: the one of the child does not. What is in force is reported by the exit status: 0 all as it should be. */
static int without_user_namespaces(void)
{
    struct cell c = { .spec = { .measures = JAIL_ALL } };
    int fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        return 77;
    close(fd);
    cleanup_free char *got = cell_run(&c, "mount", "");
    if (c.result.refused[JAIL_USER] != ENOSPC || strcmp(got, "SIGSYS") != 0)
        return 1;
    c.spec.required = true;
    free(got);
    got = cell_run(&c, "mount", "");
    if (strcmp(got, "not started") != 0 || !strstr(c.err.msg, "user namespace (No space left") ||
        !strstr(c.err.msg, "user.max_user_namespaces"))
        return 2;
    c.spec.required = false;
    setenv("GVMKIT_REQUIRE_JAIL", "1", 1);
    free(got);
    got = cell_run(&c, "mount", "");
    return strcmp(got, "not started") ? 3 : 0;
}

static void test_refused(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER) < 0 ? 77 : without_user_namespaces());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("# skip: no user namespace to try it in\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_dies_with_its_parent(void **state)
{
    (void)state;
    int pids[2];
    pid_t captive_pid = -1;
    assert_int_equal(pipe2(pids, O_CLOEXEC), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct jail_result r = start_waiting((struct jail_spec){ .measures = JAIL_ALL });
        (void)!write(pids[1], &r.pid, sizeof(r.pid));
        for (;;)
            pause();
    }
    assert_int_equal(read(pids[0], &captive_pid, sizeof(captive_pid)), sizeof(captive_pid));
    assert_int_equal(kill(captive_pid, 0), 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* so that its end can be seen */
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    int status;
    assert_int_equal(waitpid(captive_pid, &status, 0), captive_pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    close(pids[0]);
    close(pids[1]);
}

/* The parent dies at any moment of the start: there is never an orphan. */
static void test_parent_dies_early(void **state)
{
    (void)state;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (unsigned us = 0; us < 6000; us += 150) {
        pid_t parent = fork();
        if (parent == 0) {
            start_waiting((struct jail_spec){ .measures = JAIL_ALL });
            for (;;)
                pause();
        }
        usleep(us);
        kill(parent, SIGKILL);
        /* Everybody ends: else this waits for ever. */
        while (waitpid(-1, NULL, 0) > 0)
            continue;
        assert_int_equal(errno, ECHILD);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void test_try(void **state)
{
    (void)state;
    struct jail_result r;
    struct gv_error err = GV_ERROR_INIT;
    if (jail_try(&r, &err) < 0)
        fail_msg("%s", err.msg);
    for (int m = 0; m < JAIL_MEASURES; m++) {
        assert_true(strlen(jail_measure_name((enum jail_measure)m)) > 3);
        assert_true(strlen(jail_measure_remedy((enum jail_measure)m, EPERM)) > 3);
    }
    assert_int_equal(r.refused[JAIL_PRIVILEGES], 0);
    assert_int_equal(r.refused[JAIL_SECCOMP], 0);
    assert_int_equal(r.refused[JAIL_LIMITS], 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    captive = argv[1];
    unsetenv("GVMKIT_REQUIRE_JAIL");
    const struct CMUnitTest tests[] = {
        TEST(test_seen_from_outside),
        TEST(test_foreign_files),
        TEST(test_descriptors),
        TEST(test_share),
        TEST(test_share_is_replaced),
        TEST(test_files),
        TEST(test_errors),
        TEST(test_refused),
        TEST(test_try),
        TEST(test_dies_with_its_parent),
        TEST(test_parent_dies_early),
    };
    return cmocka_run_group_tests_name("jail_start", tests, NULL, NULL);
}
