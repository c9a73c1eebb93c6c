/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * PID 1 of the payload. While nobody else is in its namespaces yet it makes them: the overlay, then what must be mounted from inside (proc
 * shows the PID namespace of whoever mounts it, mqueue the IPC namespace), then pivot_root, after which the agent's file systems are
 * not to be seen from here. It reports, gives up all descriptors, and reaps orphans until the agent tells it to end.
 *
 * An image may have anything in the places where it is mounted: the directories themselves are used, without following links; what is
 * not a directory is replaced, in the layer that takes the writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "guest/agent/agent.h"
#include "guest/agent/sys.h"

enum { PLAN_REPORT, PLAN_DEV, PLAN_TERMINALS, PLAN_SHM };

#define PAYLOAD_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static int payload_overlay(const struct payload_plan *plan, struct report *r)
{
    char options[600];
    /* redirect_dir: directories of the image can be renamed, as on any other file system. */
    snprintf(options, sizeof(options), "lowerdir=%s,upperdir=/u/upper,workdir=/u/work,redirect_dir=on", plan->lower);
    if (mount("overlay", "/r", "overlay", 0, options) < 0)
        return report_set(r, errno, "mounting the overlay");
    if (chdir("/r") < 0)
        return report_set(r, errno, "entering the new root");
    return 0;
}

static int payload_file_systems(struct report *r)
{
    static const struct {
        const char *at, *fs, *options;
        mode_t mode;
        unsigned long flags;
        bool optional; /* a kernel may lack it */
    } mounts[] = {
        { "proc", "proc", NULL, 0555, PAYLOAD_FLAGS, false },
        { "sys", "sysfs", NULL, 0555, PAYLOAD_FLAGS | MS_RDONLY, false },
        { "sys/fs/cgroup", "cgroup2", "nsdelegate", 0, PAYLOAD_FLAGS, true },
        { "dev/mqueue", "mqueue", NULL, 0, PAYLOAD_FLAGS, true },
    };
    for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
        if (mounts[i].mode && files_directory(AT_FDCWD, mounts[i].at, mounts[i].mode, r) < 0)
            return -1;
        if (mount(mounts[i].fs, mounts[i].at, mounts[i].fs, mounts[i].flags, mounts[i].options) < 0 && !mounts[i].optional)
            return report_set(r, errno, "mounting /%s", mounts[i].at);
    }
    return 0;
}

static int payload_dev(struct report *r)
{
    if (files_directory(AT_FDCWD, "dev", 0755, r) < 0 || mount_attach(PLAN_DEV, AT_FDCWD, "dev", "/dev", r) < 0 ||
        mount_attach(PLAN_TERMINALS, AT_FDCWD, "dev/pts", "/dev/pts", r) < 0)
        return -1;
    return mount_attach(PLAN_SHM, AT_FDCWD, "dev/shm", "/dev/shm", r);
}

/* A directory that may be a link to another one; a link that leads nowhere is replaced. */
static int payload_directory(const char *name, mode_t mode, struct report *r)
{
    int fd = sys_openat2(AT_FDCWD, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, SYS_RESOLVE_IN_ROOT);
    if (fd < 0) {
        if (files_directory(AT_FDCWD, name, mode & 0777, r) < 0)
            return -1;
        fd = openat(AT_FDCWD, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fchmod(fd, mode) < 0) {
            report_set(r, errno, "/%s", name);
            if (fd >= 0)
                close(fd);
            return -1;
        }
    }
    return fd;
}

static int payload_tmp(const struct root *root, struct report *r)
{
    struct stat st;
    cleanup_close int tmp = payload_directory("tmp", 01777, r);
    if (tmp < 0)
        return -1;
    if (root->tmp_size) {
        char options[60];
        snprintf(options, sizeof(options), "size=%llu,mode=1777", (unsigned long long)root->tmp_size);
        /* By way of the descriptor, since /tmp may be a link. */
        if (fchdir(tmp) < 0 || mount("tmpfs", ".", "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
            return report_set(r, errno, "mounting /tmp");
        return chdir("/r") < 0 ? report_set(r, errno, "entering the new root") : 0;
    }
    if (fstat(tmp, &st) == 0 && (st.st_mode & 07777) != 01777 && fchmod(tmp, 01777) < 0)
        return report_set(r, errno, "mode of /tmp");
    return 0;
}

static void payload_sysctl(void)
{
    /* As Docker sets them: any group may ping, any user may listen on port 80. A kernel that does not know them is fine too. */
    files_write("proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    files_write("proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
}

static int payload_pivot(struct report *r)
{
    /* Both at one place: the old root comes to lie on the new one and is taken off again. */
    if (sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return report_set(r, errno, "changing to the new root");
    return 0;
}

static int payload_build(const struct payload_plan *plan, struct report *r)
{
    setsid();
    prctl(PR_SET_NAME, "init");
    if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return report_set(r, errno, "making namespaces");
    int run;
    if (payload_overlay(plan, r) < 0 || payload_dev(r) < 0 || payload_file_systems(r) < 0 || payload_tmp(plan->root, r) < 0 ||
        (run = payload_directory("run", 0755, r)) < 0)
        return -1;
    close(run);
    payload_sysctl();
    const char *name = plan->root->hostname;
    if (sethostname(name, strlen(name)) < 0)
        return report_set(r, errno, "host name '%s'", name);
    return payload_pivot(r);
}

__attribute__((noreturn)) static void payload_reap(void)
{
    bool ending = false;
    sigset_t set;
    sigfillset(&set);
    for (;;) {
        siginfo_t info;
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
            continue;
        if (ending && pid < 0)
            _exit(0);
        if (sigwaitinfo(&set, &info) < 0)
            continue;
        /* Only the agent, which has no pid in here, may tell it to end, once the last process of RUN is gone. Not by the signal that it sends to
         * everybody: processes of RUN are not children of this one, which would leave at once and take them with it. */
        if (info.si_signo == PAYLOAD_END && info.si_code == SI_USER && info.si_pid == 0)
            ending = true;
    }
}

void payload_main(void *plan)
{
    struct report r = { 0 };
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    payload_build(plan, &r);
    if (write(PLAN_REPORT, &r, sizeof(r)) < 0 || r.error)
        _exit(1);
    sys_close_range(0);
    payload_reap();
}
