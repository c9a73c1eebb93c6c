/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ROOT: the agent's half. It mounts the disks and what takes the writes in its own world, where payloads never see them as such, makes the
 * file systems of which it keeps a hold (/dev and /dev/pts, so that it can open terminals without going through the payload's paths),
 * and starts the payload's PID 1, which does the rest (payload.c) and reports. Until that report nothing else runs, so paths below
 * the agent's own root are safe here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#include "guest/agent/agent.h"
#include "guest/agent/sys.h"

#define ROOT_DISKS_MAX 32U
#define ROOT_DISK_WAIT_MS 5000U

/* ---- disks ------------------------------------------------------------------------------------------------------------------------- */

static bool disk_is(const char *name, const char *serial)
{
    char path[300], text[64];
    snprintf(path, sizeof(path), "/sys/class/block/%s/serial", name);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return false;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return strcmp(text, serial) == 0;
}

static bool disk_find(const char *serial, char *node, size_t size)
{
    DIR *d = opendir("/sys/class/block");
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d)) != NULL;)
        if (strncmp(e->d_name, "vd", 2) == 0 && disk_is(e->d_name, serial)) {
            snprintf(node, size, "/dev/%s", e->d_name);
            found = true;
        }
    if (d)
        closedir(d);
    return found;
}

int root_disk(const char *serial, char *node, size_t size, struct report *r)
{
    /* The kernel finds the disks it is started with before it starts us; one that is plugged in needs a moment. */
    uint64_t until = clock_ms() + ROOT_DISK_WAIT_MS;
    for (long wait = 500000; !disk_find(serial, node, size); wait = wait < 16000000 ? wait * 2 : wait) {
        if (*serial == '\0' || clock_ms() >= until)
            return report_set(r, ENODEV, "no virtio disk has the serial number '%s'", serial);
        nanosleep(&(struct timespec){ .tv_nsec = wait }, NULL);
    }
    return 0;
}

/* Mounts disk i at /l<i> and adds that to the overlay's list. */
static int root_lower(const char *serial, unsigned i, char *lower, size_t size, struct report *r)
{
    char node[300], at[16];
    size_t n = strlen(lower);
    snprintf(at, sizeof(at), "/l%u", i);
    if (root_disk(serial, node, sizeof(node), r) < 0)
        return -1;
    if (mkdir(at, 0755) < 0 && errno != EEXIST)
        return report_set(r, errno, "making %s", at);
    if (mount(node, at, "squashfs", MS_RDONLY | MS_NODEV, NULL) < 0)
        return report_set(r, errno, "mounting the squashfs of disk '%s'", serial);
    snprintf(lower + n, size - n, "%s%s", i ? ":" : "", at);
    return 0;
}

/* ---- what takes the writes --------------------------------------------------------------------------------------------------------- */

static int upper_mount(const struct root *root, struct report *r)
{
    char text[300];
    if (mkdir("/u", 0755) < 0 && errno != EEXIST)
        return report_set(r, errno, "making /u");
    if (root->upper_disk) {
        if (root_disk(root->upper_disk, text, sizeof(text), r) < 0)
            return -1;
        if (mount(text, "/u", "ext4", MS_NODEV, NULL) < 0)
            return report_set(r, errno, "mounting the ext4 of disk '%s'", root->upper_disk);
        return 0;
    }
    /* The kernel's default number of inodes follows the memory, and small files run out of it long before the size is used. */
    uint64_t inodes = root->upper_size / 1024 < 65536 ? 65536 : root->upper_size / 1024;
    snprintf(text, sizeof(text), "size=%llu,nr_inodes=%llu,mode=755", (unsigned long long)root->upper_size, (unsigned long long)inodes);
    if (mount("tmpfs", "/u", "tmpfs", MS_NODEV, text) < 0)
        return report_set(r, errno, "mounting a tmpfs of %llu bytes for writes", (unsigned long long)root->upper_size);
    return 0;
}

/* The merged root shows the mode and owner of the upper directory: they are to be the image's. */
static int upper_prepare(struct report *r)
{
    struct stat st;
    if (mkdir("/u/work", 0700) < 0 && errno != EEXIST)
        return report_set(r, errno, "making the overlay's work directory");
    if (mkdir("/u/upper", 0755) < 0)
        return errno == EEXIST ? 0 : report_set(r, errno, "making the overlay's upper directory");
    if (stat("/l0", &st) < 0 || chown("/u/upper", st.st_uid, st.st_gid) < 0 || chmod("/u/upper", st.st_mode & 07777) < 0)
        return report_set(r, errno, "giving the root the image's owner and mode");
    return 0;
}

/* ---- /dev -------------------------------------------------------------------------------------------------------------------------- */

static int dev_populate(int dev, struct report *r)
{
    static const struct {
        const char *name;
        mode_t mode;
        unsigned major, minor;
    } nodes[] = {
        { "null", 0666, 1, 3 },    { "zero", 0666, 1, 5 },    { "full", 0666, 1, 7 },
        { "random", 0666, 1, 8 },  { "urandom", 0666, 1, 9 }, { "tty", 0666, 5, 0 },
        { "console", 0600, 5, 1 }, { "fuse", 0666, 10, 229 }, { "net/tun", 0666, 10, 200 },
    };
    static const char *const links[][2] = {
        { "pts/ptmx", "ptmx" },          { "/proc/self/fd", "fd" },       { "/proc/self/fd/0", "stdin" },
        { "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" },
    };
    static const char *const directories[] = { "pts", "shm", "mqueue", "net" };
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
        if (mkdirat(dev, directories[i], 0755) < 0)
            return report_set(r, errno, "making /dev/%s", directories[i]);
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
        if (mknodat(dev, nodes[i].name, S_IFCHR | nodes[i].mode, makedev(nodes[i].major, nodes[i].minor)) < 0)
            return report_set(r, errno, "making /dev/%s", nodes[i].name);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        if (symlinkat(links[i][0], dev, links[i][1]) < 0)
            return report_set(r, errno, "making /dev/%s", links[i][1]);
    return 0;
}

static int dev_make(struct agent *a, struct payload_plan *plan, struct report *r)
{
    char size[40];
    const char *dev_options[] = { "source=dev", "mode=755", "size=65536", NULL };
    const char *terminal_options[] = { "source=devpts", "gid=5", "mode=620", "ptmxmode=666", NULL };
    const char *shm_options[] = { "source=shm", "mode=1777", plan->root->shm_size ? size : NULL, NULL };
    snprintf(size, sizeof(size), "size=%llu", (unsigned long long)plan->root->shm_size);
    plan->dev = mount_make("tmpfs", dev_options, SYS_MOUNT_NOSUID, r);
    if (plan->dev < 0 || dev_populate(plan->dev, r) < 0)
        return -1;
    plan->terminals = mount_make("devpts", terminal_options, SYS_MOUNT_NOSUID | SYS_MOUNT_NOEXEC, r);
    if (plan->terminals < 0)
        return -1;
    plan->shm = mount_make("tmpfs", shm_options, SYS_MOUNT_NOSUID | SYS_MOUNT_NODEV | SYS_MOUNT_NOEXEC, r);
    if (plan->shm < 0)
        return -1;
    a->payload.null = openat(plan->dev, "null", O_RDWR | O_CLOEXEC);
    return a->payload.null < 0 ? report_set(r, errno, "opening /dev/null") : 0;
}

/* ------------------------------------------------------------------------------------------------------------------------------------ */

static int root_prepare(struct agent *a, struct payload_plan *plan, char *lower, size_t size, struct report *r)
{
    const struct root *root = plan->root;
    if (root->disks.n > ROOT_DISKS_MAX)
        return report_set(r, E2BIG, "%zu image disks: at most %u are possible", root->disks.n, ROOT_DISKS_MAX);
    *lower = '\0';
    for (unsigned i = 0; i < root->disks.n; i++)
        if (root_lower(root->disks.v[i], i, lower, size, r) < 0)
            return -1;
    plan->lower = lower;
    if (upper_mount(root, r) < 0 || upper_prepare(r) < 0)
        return -1;
    a->payload.upper_disk = root->upper_disk != NULL;
    a->payload.upper = open("/u", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (mkdir("/r", 0755) < 0 && errno != EEXIST)
        return report_set(r, errno, "making /r");
    return dev_make(a, plan, r);
}

static void root_done(struct agent *a, uint64_t id, const struct report *r)
{
    a->payload.rooted = r->error == 0 && a->payload.init > 0;
    channel_answer(a, id, r);
}

static int root_start(struct agent *a, uint64_t id, struct payload_plan *plan, struct report *r)
{
    int fd[2];
    if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
        return report_set(r, errno, "pipe");
    /* payload_main() knows these by their places. */
    const int theirs[] = { fd[1], plan->dev, plan->terminals, plan->shm };
    pid_t pid = spawn_fork(a, true, theirs, 4, payload_main, plan);
    int error = errno;
    close(fd[1]);
    if (pid < 0) {
        close(fd[0]);
        return report_set(r, error, "starting the payload's process 1");
    }
    a->payload.init = pid;
    a->payload.init_fd = sys_pidfd_open(pid);
    a->payload.terminals = fcntl(plan->terminals, F_DUPFD_CLOEXEC, 3);
    if (a->payload.init_fd < 0 || a->payload.terminals < 0) {
        close(fd[0]);
        return report_set(r, errno, "holding on to the payload's world");
    }
    return job_watch(a, id, fd[0], root_done) < 0 ? report_set(r, ENOMEM, "no memory") : 0;
}

void root_mount(struct agent *a, uint64_t id, const struct root *root)
{
    struct report r = { 0 };
    char lower[ROOT_DISKS_MAX * 8];
    struct payload_plan plan = { .root = root, .dev = -1, .terminals = -1, .shm = -1 };
    if (root_prepare(a, &plan, lower, sizeof(lower), &r) < 0 || root_start(a, id, &plan, &r) < 0)
        channel_answer(a, id, &r);
    else if (net_loopback(&r) < 0) /* while the child waits for the disk */
        channel_note(a, "%s: errno %d", r.text, r.error);
    if (plan.dev >= 0)
        close(plan.dev);
    if (plan.terminals >= 0)
        close(plan.terminals);
    if (plan.shm >= 0)
        close(plan.shm);
}

void payload_died(struct agent *a, int status)
{
    a->payload.init = 0;
    if (a->shutdown.phase != SHUTDOWN_NOT)
        return;
    channel_note(a, "process 1 of the payload is dead (%s %d): nothing can be run any more", WIFSIGNALED(status) ? "signal" : "exit code",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int payload_enter(struct agent *a, struct report *r)
{
    if (a->payload.init_fd >= 0 && setns(a->payload.init_fd, CLONE_NEWNS) < 0)
        return report_set(r, errno, "entering the payload's world");
    return 0;
}
