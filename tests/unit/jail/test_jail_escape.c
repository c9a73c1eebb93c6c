/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a program in the jail tries, and what comes of it: the profile of QEMU with everything, as the host allows it. */
#include "jail_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

const char *captive;

static struct cell whole(void)
{
    return (struct cell){ .spec = { .profile = JAIL_PROFILE_QEMU, .measures = JAIL_ALL } };
}

/* Nothing around it. What is refused here cannot show that the jail refuses it. */
static struct cell open_air(void)
{
    return (struct cell){ .spec = { .profile = JAIL_PROFILE_QEMU } };
}

static void expect(struct cell c, const char *what, const char *argument, const char *outcome)
{
    cleanup_free char *got = cell_run(&c, what, argument);
    if (strcmp(got, outcome) != 0)
        fail_msg("%s %s: %s, not %s", what, argument, got, outcome);
}

/* What no program of ours ever does ends it. */
static void test_killed(void **state)
{
    static const char *const attempts[] = {
        "mount",  "fsopen", "unshare",     "clone", "fork",   "setns", "chroot", "ptrace",
        "memory", "keyctl", "userfaultfd", "bpf",   "module", "perf",  "setuid",
#ifdef __x86_64__
        "int80",
#endif
    };
    (void)state;
    char self[16];
    snprintf(self, sizeof(self), "%d", (int)getpid());
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
        expect(whole(), attempts[i], self, "SIGSYS");
}

/* What looks like an older kernel. */
static void test_not_known(void **state)
{
    static const char *const attempts[] = { "raw", "packet", "unix", "io_uring", "clone3", "pdeathsig", "tiocsti" };
    (void)state;
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
        expect(whole(), attempts[i], "", "ENOSYS");
}

/* The one exec that was allowed has been the program's own. */
static void test_exec(void **state)
{
    static const char *const programs[] = { "/bin/sh", "/usr/bin/id", "/lib64/ld-linux-x86-64.so.2" };
    (void)state;
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
        expect(whole(), "exec", programs[i], "SIGSYS");
        expect(whole(), "execveat", programs[i], "SIGSYS");
    }
    expect(whole(), "exec", captive, "SIGSYS");
}

static void test_other_processes(void **state)
{
    (void)state;
    pid_t victim = fork();
    if (victim == 0)
        for (;;)
            pause();
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)victim);
    expect(whole(), "kill", pid, "ENOSYS");
    assert_int_equal(waitpid(victim, NULL, WNOHANG), 0);
    /* Without the list of system calls the namespace is still in the way. */
    struct cell c = whole();
    c.spec.measures &= ~JAIL_BIT(JAIL_SECCOMP);
    cleanup_free char *got = cell_run(&c, "kill", pid);
    if (!c.result.refused[JAIL_PID])
        assert_string_equal(got, "ESRCH");
    expect(open_air(), "kill", pid, c.result.refused[JAIL_PID] ? "ESRCH" : "done");
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
}

static void test_network(void **state)
{
    (void)state;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(at);
    cleanup_close int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server >= 0 && bind(server, (struct sockaddr *)&at, n) == 0 && listen(server, 5) == 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&at, &n), 0);
    char port[16];
    snprintf(port, sizeof(port), "%d", ntohs(at.sin_port));
    expect(open_air(), "tcp", port, "done");
    expect(whole(), "tcp", port, "ENOSYS");
    struct cell c = whole();
    c.spec.measures &= ~JAIL_BIT(JAIL_SECCOMP);
    cleanup_free char *got = cell_run(&c, "tcp", port);
    SKIP_WITHOUT(c.result, JAIL_NET);
    assert_string_equal(got, "ENETUNREACH");
}

static void test_files(void **state)
{
    static const char *const hidden[] = { "/etc/passwd", "/etc/hostname", "/proc/self/mem", "/proc/1/environ", "/proc/self/environ",
                                          "/sys/class",  "/dev/tty",      "/dev/kvm",       "/bin/sh",         "/usr/bin/id" };
    (void)state;
    struct cell c = whole();
    free(cell_run(&c, "open", "/"));
    SKIP_WITHOUT(c.result, JAIL_ROOT);
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        expect(whole(), "open", hidden[i], "ENOENT");
    expect(open_air(), "open", "/etc/passwd", "done");
    static const char *const readonly[] = { "/new", "/usr/lib/new", "/dev/new", "/proc/self/new" };
    for (size_t i = 0; i < sizeof(readonly) / sizeof(readonly[0]); i++) {
        struct cell w = whole();
        cleanup_free char *got = cell_run(&w, "write", readonly[i]);
        /* Who may not write there anyway is told so. */
        assert_true(!strcmp(got, "EROFS") || !strcmp(got, "EACCES") || !strcmp(got, "ENOENT"));
    }
    if (geteuid() == 0)
        expect(whole(), "write", "/new", "EROFS");
}

static void test_limits(void **state)
{
    (void)state;
    expect(whole(), "rlimit", "", "ENOSYS");
    struct cell c = whole();
    c.spec.measures &= ~JAIL_BIT(JAIL_SECCOMP);
    cleanup_free char *got = cell_run(&c, "rlimit", "");
    SKIP_WITHOUT(c.result, JAIL_USER);
    assert_string_equal(got, "EPERM");
}

static void test_what_it_can_do(void **state)
{
    (void)state;
    expect(whole(), "thread", "", "done");
    expect(whole(), "urandom", "", "done");
    expect(whole(), "open", "/dev/null", "done");
    expect(whole(), "open", captive, "done");
    expect(whole(), "descriptor", "1", "done");
    expect(whole(), "descriptor", "9", "ENOENT");
}

/* The helper for networks has sockets of the Internet, and no others. */
static void test_profile_net(void **state)
{
    (void)state;
    struct cell net = { .spec = { .profile = JAIL_PROFILE_NET, .measures = JAIL_ALL & ~JAIL_BIT(JAIL_NET) } };
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(at);
    cleanup_close int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server >= 0 && bind(server, (struct sockaddr *)&at, n) == 0 && listen(server, 5) == 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&at, &n), 0);
    char port[16];
    snprintf(port, sizeof(port), "%d", ntohs(at.sin_port));
    expect(net, "tcp", port, "done");
    expect(net, "packet", "", "ENOSYS");
    expect(net, "unix", "", "ENOSYS");
    expect(net, "write", "/new", "ENOSYS");
    expect(net, "fork", "", "SIGSYS");
    expect(net, "exec", "/bin/sh", "SIGSYS");
    expect(net, "thread", "", "done");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    captive = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),          cmocka_unit_test(test_not_known),      cmocka_unit_test(test_exec),
        cmocka_unit_test(test_other_processes), cmocka_unit_test(test_network),        cmocka_unit_test(test_files),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_what_it_can_do), cmocka_unit_test(test_profile_net),
    };
    return cmocka_run_group_tests_name("jail_escape", tests, NULL, NULL);
}
