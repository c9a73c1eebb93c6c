/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The system calls that a jailed program may make. Three answers:
 *
 *   done       what is in the list of the profile
 *   ENOSYS     what is in no list: the program finds an older kernel, and does without, as libraries are used to
 *   the end    what no program here ever needs, and what an intruder would try first: it is killed at once
 *
 * How the lists were found: the calls of real VMs (strace of boots, 9p, disks, many CPUs, the end), the calls behind libc's functions that QEMU's
 * sources use on the devices we give it, and libc's own. A call with arguments that matter is allowed with these arguments only.
 *
 * execve is needed once, for the program itself. It is allowed for one address of its first argument; the string there lies at a random place that
 * is gone when the program runs. A wrong guess is the end, so nobody guesses twice.
 */
#include "jail/filter.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CALL(name) SCMP_SYS(name)

/* Any program of C with threads. */
static const int common[] = {
    /* memory */
    CALL(brk),
    CALL(mmap),
    CALL(munmap),
    CALL(mprotect),
    CALL(mremap),
    CALL(madvise),
    CALL(membarrier),
    CALL(memfd_create),
    /* threads: clone is below */
    CALL(arch_prctl),
    CALL(set_tid_address),
    CALL(set_robust_list),
    CALL(get_robust_list),
    CALL(rseq),
    CALL(futex),
    CALL(sched_yield),
    CALL(sched_getaffinity),
    CALL(getcpu),
    CALL(gettid),
    CALL(exit),
    CALL(exit_group),
    CALL(restart_syscall),
    /* signals: those to itself are below */
    CALL(rt_sigaction),
    CALL(rt_sigprocmask),
    CALL(rt_sigreturn),
    CALL(rt_sigpending),
    CALL(rt_sigtimedwait),
    CALL(rt_sigsuspend),
    CALL(sigaltstack),
    CALL(signalfd4),
    CALL(pause),
    /* time */
    CALL(clock_gettime),
    CALL(clock_getres),
    CALL(clock_nanosleep),
    CALL(nanosleep),
    CALL(gettimeofday),
    CALL(time),
    CALL(times),
    CALL(timerfd_create),
    CALL(timerfd_settime),
    CALL(timerfd_gettime),
    /* who and where am I */
    CALL(getpid),
    CALL(getppid),
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
    CALL(uname),
    CALL(sysinfo),
    CALL(getrusage),
    CALL(getrlimit),
    CALL(getcwd),
    CALL(capget),
    /* a second filter, and what belongs to it */
    CALL(seccomp),
    CALL(getrandom),
    /* descriptors it has */
    CALL(read),
    CALL(write),
    CALL(readv),
    CALL(writev),
    CALL(pread64),
    CALL(pwrite64),
    CALL(preadv),
    CALL(pwritev),
    CALL(preadv2),
    CALL(pwritev2),
    CALL(lseek),
    CALL(close),
    CALL(close_range),
    CALL(dup),
    CALL(dup2),
    CALL(dup3),
    CALL(fcntl),
    CALL(pipe),
    CALL(pipe2),
    CALL(eventfd2),
    CALL(poll),
    CALL(ppoll),
    CALL(select),
    CALL(pselect6),
    CALL(epoll_create1),
    CALL(epoll_create),
    CALL(epoll_ctl),
    CALL(epoll_wait),
    CALL(epoll_pwait),
    CALL(epoll_pwait2),
    CALL(fstat),
    CALL(fstatfs),
    CALL(sendto),
    CALL(recvfrom),
    CALL(sendmsg),
    CALL(recvmsg),
    CALL(sendmmsg),
    CALL(recvmmsg),
    CALL(shutdown),
    CALL(getsockname),
    CALL(getpeername),
    CALL(getsockopt),
    CALL(setsockopt),
    /* looking at files; opening is below */
    CALL(stat),
    CALL(lstat),
    CALL(newfstatat),
    CALL(statx),
    CALL(statfs),
    CALL(access),
    CALL(faccessat),
    CALL(faccessat2),
    CALL(readlink),
    CALL(readlinkat),
    CALL(getdents64),
    CALL(fadvise64),
};

static const int qemu[] = {
    /* opening and changing files, as 9p does below a shared directory */
    CALL(open),
    CALL(openat),
    CALL(chdir),
    CALL(fchdir),
    CALL(mkdirat),
    CALL(unlinkat),
    CALL(renameat),
    CALL(renameat2),
    CALL(linkat),
    CALL(utimensat),
    CALL(ftruncate),
    CALL(fallocate),
    CALL(fsync),
    CALL(fdatasync),
    CALL(sync_file_range),
    CALL(syncfs),
    /* the guest's owners and modes live in extended attributes */
    CALL(getxattr),
    CALL(lgetxattr),
    CALL(fgetxattr),
    CALL(setxattr),
    CALL(lsetxattr),
    CALL(fsetxattr),
    CALL(listxattr),
    CALL(llistxattr),
    CALL(flistxattr),
    CALL(removexattr),
    CALL(lremovexattr),
    CALL(fremovexattr),
};

static const int net[] = {
    CALL(bind), CALL(connect), CALL(listen), CALL(accept), CALL(accept4), CALL(socketpair),
};

/* Nothing that a jailed program or a library of it does, whatever its version. */
static const int forbidden[] = {
    CALL(fork),
    CALL(vfork),
    CALL(execveat),
    CALL(ptrace),
    CALL(process_vm_readv),
    CALL(process_vm_writev),
    CALL(process_madvise),
    CALL(pidfd_getfd),
    CALL(kcmp),
    CALL(unshare),
    CALL(setns),
    CALL(mount),
    CALL(umount2),
    CALL(pivot_root),
    CALL(chroot),
    CALL(open_tree),
    CALL(move_mount),
    CALL(fsopen),
    CALL(fsconfig),
    CALL(fsmount),
    CALL(fspick),
    CALL(mount_setattr),
    CALL(open_by_handle_at),
    CALL(bpf),
    CALL(perf_event_open),
    CALL(userfaultfd),
    CALL(add_key),
    CALL(request_key),
    CALL(keyctl),
    CALL(init_module),
    CALL(finit_module),
    CALL(delete_module),
    CALL(kexec_load),
    CALL(kexec_file_load),
    CALL(reboot),
    CALL(swapon),
    CALL(swapoff),
    CALL(acct),
    CALL(quotactl),
    CALL(iopl),
    CALL(ioperm),
    CALL(modify_ldt),
    CALL(settimeofday),
    CALL(clock_settime),
    CALL(clock_adjtime),
    CALL(adjtimex),
    CALL(sethostname),
    CALL(setdomainname),
    CALL(syslog),
    CALL(vhangup),
    CALL(personality),
    CALL(setuid),
    CALL(setgid),
    CALL(setreuid),
    CALL(setregid),
    CALL(setresuid),
    CALL(setresgid),
    CALL(setfsuid),
    CALL(setfsgid),
    CALL(setgroups),
    CALL(capset),
};

/* The first argument of prctl. Not PR_SET_PDEATHSIG: the program has to die with its parent. */
static const unsigned long prctls[] = { PR_SET_NAME,    PR_GET_NAME,     PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS,
                                        PR_MCE_KILL,    PR_GET_DUMPABLE, PR_SET_TIMERSLACK,   PR_CAPBSET_READ,
                                        PR_GET_SECCOMP, 0x53564d41UL /* PR_SET_VMA: names of memory, only for show */ };

/* The second argument of ioctl: kinds of requests by the byte that says which driver they are for. */
static const unsigned long ioctl_kinds_qemu[] = { 0xae /* KVM */, ';' /* VFIO */, 0x12 /* block devices: size, discard */,
                                                  'v' /* FS_IOC_GETVERSION */, 'f' /* FS_IOC_FIEMAP */ };
/* And single ones that libraries ask of descriptors: TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. Not TIOCSTI, which types into a terminal. */
static const unsigned long ioctls[] = { 0x5401, 0x541b, 0x5421, 0x5450, 0x5451 };

/* What clone must have asked for: a thread, and nothing of namespaces or ptrace. */
#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NOT_THREAD                                                                                                                         \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PTRACE)

/* Allows or forbids calls; the first failure stays. */
struct list {
    scmp_filter_ctx ctx;
    int status;
};

static void rule(struct list *l, uint32_t action, int call, unsigned n, const struct scmp_arg_cmp *args)
{
    if (l->status == 0)
        l->status = seccomp_rule_add_array(l->ctx, action, call, n, args);
}

static void allow_all(struct list *l, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++)
        rule(l, SCMP_ACT_ALLOW, calls[i], 0, NULL);
}

static void allow_if(struct list *l, int call, struct scmp_arg_cmp arg)
{
    rule(l, SCMP_ACT_ALLOW, call, 1, &arg);
}

static void allow_arguments(struct list *l)
{
    for (size_t i = 0; i < COUNT(prctls); i++)
        allow_if(l, CALL(prctl), SCMP_A0(SCMP_CMP_EQ, prctls[i]));
    for (size_t i = 0; i < COUNT(ioctls); i++)
        allow_if(l, CALL(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffUL, ioctls[i]));
    /* Limits can be read, not set. */
    allow_if(l, CALL(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0));
    /* A thread is made by clone, whose flags can be seen. clone3 is not known to us, so that libc takes the former. */
    allow_if(l, CALL(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, THREAD | NOT_THREAD, THREAD));
    rule(l, SCMP_ACT_KILL_PROCESS, CALL(clone), 1, &SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    /* The number that we have, also after exec. */
    allow_if(l, CALL(tgkill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    allow_if(l, CALL(kill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
}

static void allow_qemu(struct list *l)
{
    allow_all(l, qemu, COUNT(qemu));
    for (size_t i = 0; i < COUNT(ioctl_kinds_qemu); i++)
        allow_if(l, CALL(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xff00UL, ioctl_kinds_qemu[i] << 8));
    /* Whatever the guest makes is a plain file on the host. */
    allow_if(l, CALL(mknodat), SCMP_A2(SCMP_CMP_MASKED_EQ, S_IFMT, S_IFREG));
}

static void allow_net(struct list *l)
{
    static const int families[] = { AF_INET, AF_INET6 };
    const unsigned writing = O_ACCMODE | O_CREAT | O_TRUNC;
    allow_all(l, net, COUNT(net));
    for (size_t i = 0; i < COUNT(families); i++)
        allow_if(l, CALL(socket), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
    /* libc asks which addresses there are before it sorts those of a name. */
    const struct scmp_arg_cmp netlink[] = { SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE) };
    rule(l, SCMP_ACT_ALLOW, CALL(socket), COUNT(netlink), netlink);
    allow_if(l, CALL(open), SCMP_A1(SCMP_CMP_MASKED_EQ, writing, O_RDONLY));
    allow_if(l, CALL(openat), SCMP_A2(SCMP_CMP_MASKED_EQ, writing, O_RDONLY));
}

/* The same text at an address that nobody else can guess: somewhere in a large mapping, which lies somewhere itself. NULL and errno on failure. */
static const char *hide(const char *text)
{
    const size_t space = 64U << 20, n = strlen(text) + 1;
    size_t at;
    char *area = mmap(NULL, space, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED || getrandom(&at, sizeof(at), 0) != (ssize_t)sizeof(at))
        return NULL;
    return memcpy(area + at % (space - n), text, n);
}

int filter_install(enum jail_profile profile, const char **program)
{
    const char *hidden = hide(*program);
    if (!hidden)
        return errno;
    struct list l = { .ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS)) };
    if (!l.ctx)
        return ENOMEM;
    seccomp_attr_set(l.ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    seccomp_attr_set(l.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    allow_all(&l, common, COUNT(common));
    allow_arguments(&l);
    if (profile == JAIL_PROFILE_QEMU)
        allow_qemu(&l);
    else
        allow_net(&l);
    for (size_t i = 0; i < COUNT(forbidden); i++)
        rule(&l, SCMP_ACT_KILL_PROCESS, forbidden[i], 0, NULL);
    allow_if(&l, CALL(execve), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)(uintptr_t)hidden));
    rule(&l, SCMP_ACT_KILL_PROCESS, CALL(execve), 1, &SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)(uintptr_t)hidden));
    if (l.status == 0)
        l.status = seccomp_load(l.ctx);
    seccomp_release(l.ctx);
    if (l.status < 0)
        return -l.status;
    *program = hidden;
    return 0;
}
