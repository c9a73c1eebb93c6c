/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gvmkit-jail: takes from itself what the program that it becomes does not need. It was cloned into its namespaces by jail.c and has all capabilities
 * there; each step needs those that the next one takes away.
 *
 *     root, limits, capabilities, no_new_privs, die with the parent, system calls, exec
 *
 * A step that the host refuses is told to the parent, and the others are done all the same. It is not meant to be called by people.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "jail/filter.h"
#include "jail/order.h"
#include "jail/view.h"

/* Enough for 9p, which keeps the files of the guest open and closes them again when it comes near the limit. */
#define DESCRIPTORS 4096U

struct jailer {
    int order_fd, report_fd;
    unsigned measures;
    enum jail_profile profile;
    bool required, foreign_files, lock_memory;
    struct view view;
    char **argv;
    struct jail_report report;
};

/* The parent sees the end of our report: it knows that we have died, and says so. */
static _Noreturn void give_up(void)
{
    _exit(1);
}

static int number(const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || n > INT_MAX)
        give_up();
    return (int)n;
}

static void take_options(struct jailer *j, int argc, char **argv)
{
    /* No list is longer than the command line. */
    const char **files = calloc((size_t)argc, sizeof(*files)), **devices = calloc((size_t)argc, sizeof(*devices));
    struct jail_share *shares = calloc((size_t)argc, sizeof(*shares));
    if (!files || !devices || !shares)
        give_up();
    struct view *v = &j->view;
    *v = (struct view){ .files = files, .devices = devices, .shares = shares };
    j->order_fd = j->report_fd = -1;
    char *comma;
    for (int c; (c = getopt(argc, argv, JAIL_OPTIONS)) != -1;) {
        switch (c) {
        case JAIL_OPTION_CHANNEL:
            comma = strchr(optarg, ',');
            if (!comma)
                give_up();
            *comma = '\0';
            j->order_fd = number(optarg);
            j->report_fd = number(comma + 1);
            break;
        case JAIL_OPTION_DEVICE:
            devices[v->device_count++] = optarg;
            break;
        case JAIL_OPTION_FILE:
            files[v->file_count++] = optarg;
            break;
        case JAIL_OPTION_READONLY:
        case JAIL_OPTION_WRITABLE:
            shares[v->share_count++] = (struct jail_share){ number(optarg), c == JAIL_OPTION_READONLY };
            break;
        case JAIL_OPTION_MEASURES:
            j->measures = (unsigned)number(optarg);
            break;
        case JAIL_OPTION_PROFILE:
            j->profile = (enum jail_profile)number(optarg);
            break;
        case JAIL_OPTION_FOREIGN:
            j->foreign_files = true;
            break;
        case JAIL_OPTION_LOCK:
            j->lock_memory = true;
            break;
        case JAIL_OPTION_REQUIRE:
            j->required = true;
            break;
        default:
            give_up();
        }
    }
    if (optind == argc || j->order_fd < 0)
        give_up();
    j->argv = argv + optind;
    v->program = j->argv[0];
}

/* ---- the steps: 0 or an errno ---------------------------------------------------------------------------------------------------- */

static int limit(int resource, rlim_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)resource, &now) < 0)
        return errno;
    rlim_t value = now.rlim_max < most ? now.rlim_max : most;
    return setrlimit((__rlimit_resource_t)resource, &(struct rlimit){ value, value }) < 0 ? errno : 0;
}

static int set_limits(const struct jailer *j)
{
    const struct {
        int resource;
        rlim_t most;
    } limits[] = {
        { RLIMIT_CORE, 0 }, /* it would hold the guest's memory */
        { RLIMIT_MEMLOCK, j->lock_memory ? RLIM_INFINITY : 0 },
        { RLIMIT_MSGQUEUE, 0 },
        { RLIMIT_NICE, 0 },
        { RLIMIT_RTPRIO, 0 },
        { RLIMIT_NOFILE, DESCRIPTORS },
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        int sys = limit(limits[i].resource, limits[i].most);
        failed = failed ? failed : sys;
    }
    return failed;
}

static int set_capabilities(uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++) {
        data[i].permitted = data[i].effective = (uint32_t)(permitted >> (32 * i));
        data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
    }
    return syscall(SYS_capset, &header, data) < 0 ? errno : 0;
}

static uint64_t permitted_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { 0 };
    if (syscall(SYS_capget, &header, data) < 0)
        return 0;
    return (uint64_t)data[1].permitted << 32 | data[0].permitted;
}

#define CAPABILITY(c) (UINT64_C(1) << (c))

/* Leaves what is kept, as ambient capabilities, since nothing else survives exec once root is nothing special. Where even CAP_SETPCAP is missing (root of
 * a container), no_new_privs alone sees to it that exec gives nothing back. */
static int drop_capabilities(const struct jailer *j)
{
    const uint64_t has = permitted_capabilities(), setpcap = has & CAPABILITY(CAP_SETPCAP);
    const uint64_t keep = j->foreign_files && geteuid() == 0 ? has & (CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_FOWNER)) : 0;
    const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                               SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long c = 0; setpcap && c < 64 && prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        if (!(keep & CAPABILITY(c)) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
            return errno;
    int sys = set_capabilities(keep | setpcap, keep);
    for (unsigned long c = 0; sys == 0 && c < 64; c++)
        if ((keep & CAPABILITY(c)) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
            sys = errno;
    if (sys == 0 && setpcap && prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
        sys = errno;
    return sys ? sys : set_capabilities(keep, keep);
}

static bool wanted(const struct jailer *j, enum jail_measure m)
{
    return (j->measures & JAIL_BIT(m)) != 0;
}

static bool in_force(const struct jailer *j, enum jail_measure m)
{
    return wanted(j, m) && !j->report.refused[m];
}

static void confine(struct jailer *j)
{
    int *refused = j->report.refused;
    /* The name of the host is nobody's business. */
    if (in_force(j, JAIL_UTS))
        (void)!sethostname("gvmkit", 6);
    /* Without a namespace of ours the mounts would be everybody's. */
    if (wanted(j, JAIL_ROOT))
        refused[JAIL_ROOT] = in_force(j, JAIL_MOUNT) ? view_enter(&j->view) : wanted(j, JAIL_MOUNT) ? refused[JAIL_MOUNT] : EINVAL;
    if (wanted(j, JAIL_LIMITS))
        refused[JAIL_LIMITS] = set_limits(j);
    if (wanted(j, JAIL_CAPABILITIES))
        refused[JAIL_CAPABILITIES] = drop_capabilities(j);
    if (wanted(j, JAIL_PRIVILEGES) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        refused[JAIL_PRIVILEGES] = errno;
}

/* The parent may have died before prctl; then its death is not signalled any more, but its end of the pipe is gone. From another PID namespace there is
 * no getppid() to ask. */
static void tie_to_parent(const struct jailer *j)
{
    struct pollfd parent = { .fd = j->order_fd };
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || poll(&parent, 1, 0) < 0 || parent.revents)
        give_up();
}

static void tell(const struct jailer *j)
{
    if (write(j->report_fd, &j->report, sizeof(j->report)) != (ssize_t)sizeof(j->report))
        give_up();
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], JAIL_NOTHING))
        return 0;
    if (argc < 2) {
        fputs("gvmkit-jail: it is started by gvmkit\n", stderr);
        return 2;
    }
    struct jailer j = { 0 };
    struct jail_order order;
    take_options(&j, argc, argv);
    if (read(j.order_fd, &order, sizeof(order)) != (ssize_t)sizeof(order) || fcntl(j.order_fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(j.report_fd, F_SETFD, FD_CLOEXEC) < 0)
        give_up();
    memcpy(j.report.refused, order.refused, sizeof(order.refused));
    confine(&j);
    tie_to_parent(&j);
    const char *program = j.argv[0];
    if (wanted(&j, JAIL_SECCOMP))
        j.report.refused[JAIL_SECCOMP] = filter_install(j.profile, &program);
    j.report.enough = true;
    for (int m = 0; m < JAIL_MEASURES; m++)
        j.report.enough = j.report.enough && !(j.required && j.report.refused[m]);
    tell(&j);
    if (!j.report.enough)
        give_up();
    execve(program, j.argv, environ);
    j.report.exec_errno = errno;
    tell(&j);
    give_up();
}
