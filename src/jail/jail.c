/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parent's side: the plan, the namespaces, and what came of it. */
#include "jail/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "jail/order.h"

#define NAMESPACES 6 /* the first measures */
#define MAP_MAX 4096U

struct jail {
    struct gv_strv argv, envp; /* of gvmkit-jail, the program's arguments at the end */
    const char *program;       /* in argv */
    unsigned measures;
    bool own_session, lock_memory;
    int stdio[3];
    int *keep; /* sorted: all that the child keeps above 2, its pipes at the end */
    size_t keep_count;
    int order_fd, report_fd; /* the numbers the pipes have in the child */
};

static const int clone_flags[NAMESPACES] = {
    [JAIL_USER] = CLONE_NEWUSER, [JAIL_MOUNT] = CLONE_NEWNS, [JAIL_PID] = CLONE_NEWPID,
    [JAIL_NET] = CLONE_NEWNET,   [JAIL_IPC] = CLONE_NEWIPC,  [JAIL_UTS] = CLONE_NEWUTS,
};

/* ---- the plan -------------------------------------------------------------------------------------------------------------------- */

int jail_find_program(const char *name, const char *env, char **path, struct gv_error *err)
{
    const char *given = getenv(env);
    if (given && *given) {
        if (given[0] != '/' || access(given, X_OK) < 0)
            return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%s` (%s) is not the absolute path of a program", given, env);
        *path = gv_strdup(given);
        return 0;
    }
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    const size_t length = slash ? (size_t)(slash - exe) : 0;
    /* Beside PREFIX/bin/gvmkit, and beside PREFIX/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm. */
    static const char *const places[] = { "/../lib/gvmkit", "/../../../gvmkit" };
    for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
        cleanup_free char *beside = gv_asprintf("%.*s%s/%s", (int)length, exe, places[i], name), *absolute = realpath(beside, NULL);
        if (absolute && access(absolute, X_OK) == 0) {
            *path = steal_ptr(absolute);
            return 0;
        }
    }
    cleanup_free char *installed = gv_asprintf(GVMKIT_LIBDIR "/%s", name);
    if (access(installed, X_OK) < 0) {
        gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no program `%s`", installed);
        return gv_error_hint(err, "install gvmkit completely");
    }
    *path = steal_ptr(installed);
    return 0;
}

static void add_text(struct jail *j, enum jail_option option, const char *value)
{
    gv_strv_take(&j->argv, gv_asprintf("-%c%s", option, value));
}

static void add_number(struct jail *j, enum jail_option option, unsigned value)
{
    gv_strv_take(&j->argv, gv_asprintf("-%c%u", option, value));
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static int plan_descriptors(struct jail *j, const struct jail_spec *spec, struct gv_error *err)
{
    size_t n = 0;
    j->keep = gv_reallocarray(NULL, spec->keep_count + spec->share_count + 2, sizeof(*j->keep));
    for (size_t i = 0; i < spec->keep_count; i++)
        j->keep[n++] = spec->keep[i];
    for (size_t i = 0; i < spec->share_count; i++)
        j->keep[n++] = spec->shares[i].fd;
    qsort(j->keep, n, sizeof(*j->keep), compare_ints);
    if (n && j->keep[0] < 3)
        return gv_error_set(err, GV_E_INTERNAL, 0, "a standard descriptor was closed before the jail was made");
    memcpy(j->stdio, spec->stdio, sizeof(j->stdio));
    j->order_fd = n ? j->keep[n - 1] + 1 : 3;
    j->report_fd = j->order_fd + 1;
    j->keep[n++] = j->order_fd;
    j->keep[n++] = j->report_fd;
    j->keep_count = n;
    return 0;
}

bool jail_demanded(void)
{
    const char *value = getenv("GVMKIT_REQUIRE_JAIL");
    return value && *value && strcmp(value, "0") != 0;
}

int jail_new(struct jail **out, const struct jail_spec *spec, struct gv_error *err)
{
    cleanup_free char *program = NULL;
    if (jail_find_program(JAIL_PROGRAM, JAIL_PROGRAM_ENV, &program, err) < 0)
        return -1;
    CLEANUP(jail) struct jail *j = gv_new(struct jail);
    j->measures = spec->measures & JAIL_ALL;
    j->own_session = spec->own_session;
    j->lock_memory = spec->lock_memory;
    if (plan_descriptors(j, spec, err) < 0)
        return -1;
    gv_strv_take(&j->argv, steal_ptr(program));
    gv_strv_take(&j->argv, gv_asprintf("-%c%d,%d", JAIL_OPTION_CHANNEL, j->order_fd, j->report_fd));
    add_number(j, JAIL_OPTION_MEASURES, j->measures);
    add_number(j, JAIL_OPTION_PROFILE, spec->profile);
    if (spec->required || jail_demanded())
        add_text(j, JAIL_OPTION_REQUIRE, "");
    if (spec->foreign_files)
        add_text(j, JAIL_OPTION_FOREIGN, "");
    if (spec->lock_memory)
        add_text(j, JAIL_OPTION_LOCK, "");
    for (size_t i = 0; spec->files && spec->files[i]; i++)
        add_text(j, JAIL_OPTION_FILE, spec->files[i]);
    for (size_t i = 0; spec->devices && spec->devices[i]; i++)
        add_text(j, JAIL_OPTION_DEVICE, spec->devices[i]);
    for (size_t i = 0; i < spec->share_count; i++)
        add_number(j, spec->shares[i].readonly ? JAIL_OPTION_READONLY : JAIL_OPTION_WRITABLE, (unsigned)spec->shares[i].fd);
    gv_strv_add(&j->argv, "--");
    size_t first = j->argv.count;
    for (size_t i = 0; spec->argv[i]; i++)
        gv_strv_add(&j->argv, spec->argv[i]);
    for (size_t i = 0; spec->envp && spec->envp[i]; i++)
        gv_strv_add(&j->envp, spec->envp[i]);
    j->program = j->argv.items[first];
    *out = steal_ptr(j);
    return 0;
}

void jail_free(struct jail *j)
{
    if (!j)
        return;
    gv_strv_clear(&j->argv);
    gv_strv_clear(&j->envp);
    free(j->keep);
    free(j);
}

const char *jail_program(const struct jail *j)
{
    return j->program;
}

/* ---- in the child: system calls only --------------------------------------------------------------------------------------------- */

static void close_from_to(unsigned first, unsigned last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0U) == 0)
        return;
    struct rlimit limit;
    unsigned end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (unsigned)limit.rlim_cur : 65536;
    for (unsigned fd = first; fd <= last && fd < end; fd++)
        close((int)fd);
}

void jail_close_all_but(const int *keep, size_t n)
{
    unsigned next = 3;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned)keep[i] > next)
            close_from_to(next, (unsigned)keep[i] - 1);
        next = (unsigned)keep[i] + 1;
    }
    close_from_to(next, ~0U);
}

void jail_reset_signals(void)
{
    static const unsigned long def[8]; /* the kernel's struct sigaction, all zero: SIG_DFL without flags */
    for (int s = 1; s <= 64; s++)
        syscall(SYS_rt_sigaction, s, def, NULL, 8UL);
}

/* exec takes the capabilities of whoever is not root in the namespace. gvmkit-jail needs those that it has to take away itself. */
static void keep_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];
    if (geteuid() == 0 || syscall(SYS_capget, &header, data) < 0)
        return;
    data[0].inheritable = data[0].permitted;
    data[1].inheritable = data[1].permitted;
    if (syscall(SYS_capset, &header, data) < 0)
        return;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETPCAP, 0, 0);
}

static void place_descriptors(const struct jail *j, int order, int report)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), given[3];
    /* First up, where nothing can be overwritten that is still needed, then to where they belong. */
    for (int i = 0; i < 3; i++)
        given[i] = fcntl(j->stdio[i] < 0 ? null : j->stdio[i], F_DUPFD, j->report_fd + 1);
    order = fcntl(order, F_DUPFD, j->report_fd + 1);
    report = fcntl(report, F_DUPFD, j->report_fd + 1);
    for (int i = 0; i < 3; i++)
        if (dup2(given[i], i) < 0)
            _exit(127);
    if (dup2(order, j->order_fd) < 0 || dup2(report, j->report_fd) < 0)
        _exit(127);
    jail_close_all_but(j->keep, j->keep_count);
    for (size_t i = 0; i < j->keep_count; i++)
        fcntl(j->keep[i], F_SETFD, 0);
}

static _Noreturn void become_jail(const struct jail *j, int order, int report)
{
    sigset_t none;
    if (j->own_session)
        setsid();
    jail_reset_signals();
    /* A file that would become too large (vm_limit_files) is an error of the guest's write, and not QEMU's end. */
    signal(SIGXFSZ, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    place_descriptors(j, order, report);
    /* Until the ids are mapped nothing can be executed in the namespace. The end of the pipe: our parent is gone. */
    struct pollfd ready = { .fd = j->order_fd, .events = POLLIN };
    while (poll(&ready, 1, -1) < 0 && errno == EINTR)
        continue;
    if (!(ready.revents & POLLIN))
        _exit(127);
    keep_capabilities();
    execve(j->argv.items[0], j->argv.items, j->envp.items ? j->envp.items : (char *const[]){ NULL });
    _exit(errno < 126 ? errno : 127);
}

/* ---- in the parent: system calls only -------------------------------------------------------------------------------------------- */

static int write_text(pid_t pid, const char *name, const char *text, size_t n)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, n) != (ssize_t)n ? -1 : 0;
}

/* Every id that there is here, as itself: root's program finds the owners of files as they are. */
static int map_all(pid_t pid, const char *name)
{
    char ours[MAP_MAX], map[MAP_MAX], path[64];
    snprintf(path, sizeof(path), "/proc/self/%s", name);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ours, sizeof(ours) - 1);
    if (n < 0)
        return -1;
    ours[n] = '\0';
    size_t used = 0;
    unsigned inside, outside, count;
    int taken;
    for (const char *at = ours; used < sizeof(map) && sscanf(at, "%u %u %u%n", &inside, &outside, &count, &taken) == 3; at += taken)
        used += (size_t)snprintf(map + used, sizeof(map) - used, "%u %u %u\n", inside, inside, count);
    if (used >= sizeof(map)) {
        errno = E2BIG;
        return -1;
    }
    return write_text(pid, name, map, used);
}

static int map_one(pid_t pid, const char *name, unsigned id)
{
    char map[64];
    int n = snprintf(map, sizeof(map), "%u %u 1\n", id, id);
    return write_text(pid, name, map, (size_t)n);
}

static int map_ids(pid_t pid)
{
    if (geteuid() == 0)
        return map_all(pid, "uid_map") < 0 || map_all(pid, "gid_map") < 0 ? -1 : 0;
    if (write_text(pid, "setgroups", "deny", 4) < 0)
        return -1;
    return map_one(pid, "uid_map", geteuid()) < 0 || map_one(pid, "gid_map", getegid()) < 0 ? -1 : 0;
}

static void reap(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* A child in namespaces of its own that waits for the order. Returns its pid, or -errno. */
static pid_t clone_child(const struct jail *j, unsigned measures, int order, int report)
{
    unsigned long flags = SIGCHLD;
    for (int m = 0; m < NAMESPACES; m++)
        if (measures & JAIL_BIT(m))
            flags |= (unsigned long)clone_flags[m];
    pid_t pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
    if (pid == 0)
        become_jail(j, order, report);
    if (pid < 0)
        return -errno;
    if ((measures & JAIL_BIT(JAIL_USER)) && map_ids(pid) < 0) {
        int sys = errno;
        reap(pid);
        return -sys;
    }
    return pid;
}

/* The child with as many of the namespaces as the host gives. */
static pid_t clone_best(const struct jail *j, int order, int report, int *refused)
{
    unsigned accepted = 0;
    pid_t pid = clone_child(j, j->measures, order, report);
    if (pid > 0)
        return pid;
    for (unsigned m = 0; m < NAMESPACES; m++) {
        if (!(j->measures & JAIL_BIT(m)))
            continue;
        pid = clone_child(j, accepted | JAIL_BIT(m), order, report);
        if (pid > 0) {
            reap(pid);
            accepted |= JAIL_BIT(m);
        } else {
            refused[m] = -pid;
        }
    }
    return clone_child(j, accepted, order, report);
}

/* The last report before the pipe ends, which it does with a successful exec. */
static bool read_reports(int fd, struct jail_report *last)
{
    struct jail_report r;
    bool any = false;
    while (gv_read_full(fd, &r, sizeof(r)) == (ssize_t)sizeof(r)) {
        *last = r;
        any = true;
    }
    return any;
}

static int supervise(const struct jail *j, struct jail_result *result, int order_read, int order_write, int report_read, int *report_write)
{
    struct jail_order order = { 0 };
    struct jail_report report = { 0 };
    pid_t pid = clone_best(j, order_read, *report_write, order.refused);
    if (pid < 0) {
        result->exec_errno = -pid;
        return -1;
    }
    close(steal_fd(report_write));
    if (j->lock_memory) /* only root may raise it, and in a namespace it is root no more */
        prlimit(pid, RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }, NULL);
    /* A child that has died already is noticed by the end of its report. */
    (void)!write(order_write, &order, sizeof(order));
    result->started = read_reports(report_read, &report);
    if (result->started) {
        memcpy(result->refused, report.refused, sizeof(result->refused));
        result->exec_errno = report.exec_errno;
        if (report.enough && !report.exec_errno) {
            result->pid = pid;
            return 0;
        }
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!result->started)
        result->exec_errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return -1;
}

int jail_start(const struct jail *j, struct jail_result *result)
{
    int order[2], report[2];
    *result = (struct jail_result){ .pid = -1 };
    if (pipe2(order, O_CLOEXEC) < 0) {
        result->exec_errno = errno;
        return -1;
    }
    cleanup_close int order_read = order[0], order_write = order[1];
    if (pipe2(report, O_CLOEXEC) < 0) {
        result->exec_errno = errno;
        return -1;
    }
    cleanup_close int report_read = report[0], report_write = report[1];
    /* Until the child has its own dispositions, a signal must not run our handlers there. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = supervise(j, result, order_read, order_write, report_read, &report_write);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
