/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who outlives whom: supervisor, guardian and QEMU, the last one played by the shell, which is at home in half a jail only: it starts programs. */
#include "vm_test.h"

#include <poll.h>
#include <signal.h>

#include "vm/guardian.h"

struct stage {
    char *dir; /* for files of the test */
};

static int setup(void **state)
{
    struct stage *s = gv_new(struct stage);
    s->dir = test_directory();
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct stage *s = *state;
    int status = gv_remove_tree(s->dir, NULL);
    free(s->dir);
    free(s);
    return status;
}

/* Starts `sh -c script` as QEMU. What it prints can be read from *output. */
static int start(struct vm_guardian *g, const char *program, const char *script, const int *keep, size_t keep_count, int *output,
                 struct gv_error *err)
{
    int out[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    const char *const argv[] = { program, "-c", script, NULL };
    const char *const envp[] = { "PATH=/usr/bin:/bin", NULL };
    int all[8];
    for (size_t i = 0; i < keep_count; i++)
        all[i] = keep[i];
    all[keep_count] = out[1];
    const struct jail_spec inside = { .measures = JAIL_ALL & ~JAIL_BIT(JAIL_ROOT) & ~JAIL_BIT(JAIL_SECCOMP),
                                      .argv = argv,
                                      .envp = envp,
                                      .keep = keep,
                                      .keep_count = keep_count,
                                      .stdio = { -1, out[1], out[1] } };
    CLEANUP(jail) struct jail *jail = NULL;
    assert_int_equal(jail_new(&jail, &inside, err), 0);
    const struct vm_guardian_spec spec = { .jail = jail, .keep = all, .keep_count = keep_count + 1 };
    int status = vm_guardian_start(g, &spec, err);
    close(out[1]);
    if (status == 0 && output)
        *output = out[0];
    else
        close(out[0]);
    return status;
}

/* Everything has ended: the guardian says so within a second. */
static void assert_ended(struct vm_guardian *g, int *wait_status)
{
    struct pollfd p = { .fd = g->report_fd, .events = POLLIN };
    int got;
    pid_t guardian = g->pid, qemu = g->qemu_pid;
    do {
        assert_int_equal(poll(&p, 1, 2000), 1);
        got = vm_guardian_report(g, wait_status);
    } while (got >= 0);
    vm_guardian_finish(g);
    assert_false(test_alive(guardian));
    assert_true(test_gone_within(qemu, 1000));
}

static void test_qemu_ends(void **state)
{
    (void)state;
    struct vm_guardian g;
    struct gv_error err = GV_ERROR_INIT;
    int status = -1, output;
    assert_int_equal(start(&g, "/bin/sh", "echo out; echo err >&2; exit 7", NULL, 0, &output, &err), 0);
    assert_true(g.qemu_pid > 0);
    assert_ended(&g, &status);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    char text[64] = "";
    assert_int_equal(gv_read_full(output, text, sizeof(text) - 1), 8);
    assert_string_equal(text, "out\nerr\n");
    close(output);
}

static void test_qemu_is_killed(void **state)
{
    (void)state;
    struct vm_guardian g;
    struct gv_error err = GV_ERROR_INIT;
    int status = -1;
    assert_int_equal(start(&g, "/bin/sh", "exec sleep 60", NULL, 0, NULL, &err), 0);
    kill(g.qemu_pid, SIGKILL);
    assert_ended(&g, &status);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_release(void **state)
{
    (void)state;
    struct vm_guardian g;
    struct gv_error err = GV_ERROR_INIT;
    int status = -1;
    assert_int_equal(start(&g, "/bin/sh", "trap '' TERM INT HUP; exec sleep 60", NULL, 0, NULL, &err), 0);
    vm_guardian_release(&g);
    assert_ended(&g, &status);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_guardian_is_killed(void **state)
{
    (void)state;
    struct vm_guardian g;
    struct gv_error err = GV_ERROR_INIT;
    int status = -1;
    assert_int_equal(start(&g, "/bin/sh", "exec sleep 60", NULL, 0, NULL, &err), 0);
    pid_t qemu = g.qemu_pid;
    kill(g.pid, SIGKILL);
    assert_int_equal(poll(&(struct pollfd){ .fd = g.report_fd, .events = POLLIN }, 1, 2000), 1);
    assert_int_equal(vm_guardian_report(&g, &status), -1);
    vm_guardian_finish(&g);
    assert_true(test_gone_within(qemu, 1000));
}

static void test_supervisor_is_killed(void **state)
{
    (void)state;
    int pids[2];
    assert_int_equal(pipe2(pids, O_CLOEXEC), 0);
    pid_t supervisor = fork();
    if (supervisor == 0) {
        struct vm_guardian g;
        if (start(&g, "/bin/sh", "exec sleep 60", NULL, 0, NULL, NULL) < 0)
            _exit(1);
        pid_t both[2] = { g.pid, g.qemu_pid };
        (void)!write(pids[1], both, sizeof(both));
        for (;;)
            pause();
    }
    close(pids[1]);
    pid_t both[2];
    assert_int_equal(gv_read_full(pids[0], both, sizeof(both)), sizeof(both));
    close(pids[0]);
    assert_true(test_alive(both[0]) && test_alive(both[1]));
    kill(supervisor, SIGKILL);
    waitpid(supervisor, NULL, 0);
    assert_true(test_gone_within(both[1], 1000));
    assert_true(test_gone_within(both[0], 1000));
}

static void test_signals_of_the_terminal(void **state)
{
    (void)state;
    struct vm_guardian g;
    struct gv_error err = GV_ERROR_INIT;
    int status = -1;
    assert_int_equal(start(&g, "/bin/sh", "exec sleep 60", NULL, 0, NULL, &err), 0);
    assert_int_not_equal(getsid(g.pid), getsid(0));
    assert_int_not_equal(getsid(g.qemu_pid), getsid(0));
    kill(g.pid, SIGINT);
    kill(g.pid, SIGTERM);
    kill(g.pid, SIGHUP);
    kill(g.pid, SIGQUIT);
    usleep(50000);
    assert_true(test_alive(g.pid) && test_alive(g.qemu_pid));
    vm_guardian_release(&g);
    assert_ended(&g, &status);
}

/* Two descriptors are handed on, the others of the supervisor are not; nor are its signal mask and dispositions. */
static void test_what_qemu_inherits(void **state)
{
    (void)state;
    struct vm_guardian g;
    struct gv_error err = GV_ERROR_INIT;
    sigset_t block, before;
    int a[2], b[2], status = -1, output = -1;
    assert_int_equal(pipe2(a, O_CLOEXEC), 0);
    assert_int_equal(pipe(b), 0); /* not even O_CLOEXEC */
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &before);
    signal(SIGUSR1, SIG_IGN);
    cleanup_free char *script = gv_asprintf("cd /proc/self/fd && for f in *; do [ ! -e $f ] || printf '%%s ' $f; done; echo; grep -E "
                                            "'Sig(Blk|Ign)' /proc/self/status; ulimit -c; echo hi >&%d",
                                            a[1]);
    assert_int_equal(start(&g, "/bin/sh", script, &a[1], 1, &output, &err), 0);
    signal(SIGUSR1, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_ended(&g, &status);
    char text[512] = "";
    assert_true(gv_read_full(output, text, sizeof(text) - 1) > 0);
    char expected[64];
    snprintf(expected, sizeof(expected), "0 1 2 %d \n", a[1]);
    assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
    assert_non_null(strstr(text, "SigBlk:\t0000000000000000\n"));
    assert_non_null(strstr(text, "SigIgn:\t0000000001000000\n"));
    assert_non_null(strstr(text, "\n0\n"));
    assert_int_equal(read(a[0], text, 3), 3);
    assert_int_equal(strncmp(text, "hi\n", 3), 0);
    close(output);
    close(a[0]);
    close(a[1]);
    close(b[0]);
    close(b[1]);
}

/* A guardian that kept the supervisor's stdout would keep `gvmkit run ... | cat` from ending. */
static void test_what_the_guardian_keeps(void **state)
{
    (void)state;
    struct vm_guardian g;
    struct gv_error err = GV_ERROR_INIT;
    int p[2], status = -1;
    assert_int_equal(pipe(p), 0);
    assert_int_equal(start(&g, "/bin/sh", "exec sleep 60", NULL, 0, NULL, &err), 0);
    close(p[1]);
    char c;
    assert_int_equal(poll(&(struct pollfd){ .fd = p[0], .events = POLLIN }, 1, 1000), 1);
    assert_int_equal(read(p[0], &c, 1), 0);
    close(p[0]);
    char path[64], target[64];
    for (int fd = 0; fd < 3; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)g.pid, fd);
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        assert_int_equal(n, 9);
        assert_int_equal(strncmp(target, "/dev/null", 9), 0);
    }
    vm_guardian_release(&g);
    assert_ended(&g, &status);
}

static void test_exec_fails(void **state)
{
    (void)state;
    struct vm_guardian g;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(start(&g, "/nonexistent/qemu", "", NULL, 0, NULL, &err), -1);
    assert_int_equal(err.sys, ENOENT);
    assert_non_null(strstr(err.msg, "/nonexistent/qemu"));
    assert_int_equal(start(&g, "/", "", NULL, 0, NULL, &err), -1);
    assert_int_equal(err.sys, EACCES);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_qemu_ends),          TEST(test_qemu_is_killed),          TEST(test_release),
        TEST(test_guardian_is_killed), TEST(test_supervisor_is_killed),    TEST(test_signals_of_the_terminal),
        TEST(test_what_qemu_inherits), TEST(test_what_the_guardian_keeps), TEST(test_exec_fails),
    };
    return cmocka_run_group_tests_name("vm_guardian", tests, NULL, NULL);
}
