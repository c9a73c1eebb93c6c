/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A program that has gone over to the enemy: it is started in a jail and tries what its first argument says. It prints `done`, or the name of the
 * errno; when the jail ends it instead, that is seen from outside. System calls are made bare, so that no library is in between.
 *
 * In QEMU's place, with QEMU's arguments, it finds what to try in the name of its directory, "attempt=argument" with % for /, and fails so that what
 * it has printed is shown.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char *argument; /* argv[2] */

static int open_to_read(void)
{
    return open(argument, O_RDONLY);
}

static int open_to_write(void)
{
    return open(argument, O_WRONLY | O_CREAT, 0600);
}

/* Out of a directory that we have as a descriptor. */
static int climb(void)
{
    return openat(atoi(argument), "../../../../../../../../../../etc/passwd", O_RDONLY);
}

static int make_in_share(void)
{
    return openat(atoi(argument), "made", O_WRONLY | O_CREAT | O_EXCL, 0600);
}

/* The same way that 9p goes. */
static int share_by_name(void)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%s/made", argument);
    return open(path, O_RDONLY);
}

static int connect_tcp(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)atoi(argument)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof(to));
}

static int raw_socket(void)
{
    return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int packet_socket(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0);
}

static int unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int kill_other(void)
{
    return kill(atoi(argument), SIGKILL);
}

static int trace_parent(void)
{
    return (int)ptrace(PTRACE_SEIZE, atoi(argument), NULL, NULL);
}

static int read_memory(void)
{
    return (int)syscall(SYS_process_vm_readv, atoi(argument), NULL, 0, NULL, 0, 0);
}

static int mount_something(void)
{
    return (int)syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL);
}

static int mount_newly(void)
{
    return (int)syscall(SYS_fsopen, "tmpfs", 0);
}

static int unshare_user(void)
{
    return (int)syscall(SYS_unshare, CLONE_NEWUSER);
}

static int clone_user(void)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    return (int)pid;
}

static int fork_child(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    return (int)pid;
}

static int clone_new(void)
{
    return (int)syscall(SYS_clone3, NULL, 0);
}

static int enter_namespace(void)
{
    return (int)syscall(SYS_setns, 0, 0);
}

static int change_root(void)
{
    return (int)syscall(SYS_chroot, "/");
}

static int execute(void)
{
    char *const argv[] = { (char[]){ "sh" }, NULL };
    return execve(argument, argv, NULL);
}

static int execute_at(void)
{
    char *const argv[] = { (char[]){ "sh" }, NULL };
    return (int)syscall(SYS_execveat, AT_FDCWD, argument, argv, NULL, 0);
}

static int key(void)
{
    return (int)syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0);
}

static int bpf(void)
{
    return (int)syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, NULL, 0);
}

static int perf(void)
{
    struct perf_event_attr attr = { .size = sizeof(attr) };
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static int uring(void)
{
    struct io_uring_params p = { 0 };
    return (int)syscall(SYS_io_uring_setup, 8, &p);
}

static int user_faults(void)
{
    return (int)syscall(SYS_userfaultfd, 0);
}

static int load_module(void)
{
    return (int)syscall(SYS_init_module, NULL, 0, "");
}

static int set_user(void)
{
    return (int)syscall(SYS_setuid, getuid());
}

static int outlive(void)
{
    return prctl(PR_SET_PDEATHSIG, 0);
}

static int raise_limit(void)
{
    return setrlimit(RLIMIT_CORE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
}

static int type_for_others(void)
{
    return ioctl(0, TIOCSTI, "x");
}

static int make_device(void)
{
    return mknodat(atoi(argument), "device", S_IFBLK | 0600, 0x100);
}

#ifdef __x86_64__
/* The calls of another architecture have other numbers. 20 is getpid there. */
static int old_calls(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
    return (int)result;
}
#endif

/* And what a jailed program can do. */

static void *in_thread(void *user)
{
    *(bool *)user = true;
    return NULL;
}

static int thread(void)
{
    bool ran = false;
    pthread_t t;
    int sys = pthread_create(&t, NULL, in_thread, &ran);
    if (sys == 0)
        pthread_join(t, NULL);
    errno = sys;
    return ran ? 0 : -1;
}

static int random_bytes(void)
{
    char c;
    int fd = open("/dev/urandom", O_RDONLY);
    return fd < 0 || read(fd, &c, 1) != 1 ? -1 : 0;
}

static int own_descriptor(void)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%s", argument);
    return open(path, O_RDONLY);
}

static const struct attempt {
    const char *name;
    int (*act)(void);
} attempts[] = {
    { "open", open_to_read },
    { "write", open_to_write },
    { "climb", climb },
    { "make", make_in_share },
    { "share-by-name", share_by_name },
    { "tcp", connect_tcp },
    { "raw", raw_socket },
    { "packet", packet_socket },
    { "unix", unix_socket },
    { "kill", kill_other },
    { "ptrace", trace_parent },
    { "memory", read_memory },
    { "mount", mount_something },
    { "fsopen", mount_newly },
    { "unshare", unshare_user },
    { "clone", clone_user },
    { "fork", fork_child },
    { "clone3", clone_new },
    { "setns", enter_namespace },
    { "chroot", change_root },
    { "exec", execute },
    { "execveat", execute_at },
    { "keyctl", key },
    { "bpf", bpf },
    { "perf", perf },
    { "io_uring", uring },
    { "userfaultfd", user_faults },
    { "module", load_module },
    { "setuid", set_user },
    { "pdeathsig", outlive },
    { "rlimit", raise_limit },
    { "tiocsti", type_for_others },
    { "mknod", make_device },
#ifdef __x86_64__
    { "int80", old_calls },
#endif
    { "thread", thread },
    { "urandom", random_bytes },
    { "descriptor", own_descriptor },
};

int main(int argc, char **argv)
{
    static char directory[4096];
    const char *what = argc > 1 ? argv[1] : "";
    bool is_qemu = what[0] == '-';
    argument = argc > 2 ? argv[2] : "";
    if (is_qemu) {
        snprintf(directory, sizeof(directory), "%s", argv[0]);
        *strrchr(directory, '/') = '\0';
        what = strrchr(directory, '/') + 1;
        argument = "";
        for (char *c = strrchr(directory, '/') + 1; *c; c++) {
            if (*c == '=') {
                *c = '\0';
                argument = c + 1;
            } else if (*c == '%') {
                *c = '/';
            }
        }
    }
    if (!strcmp(what, "wait")) {
        dprintf(1, "waiting\n");
        for (;;)
            poll(NULL, 0, -1);
    }
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        if (strcmp(what, attempts[i].name) != 0)
            continue;
        errno = 0;
        int status = attempts[i].act();
        dprintf(1, "%s", status >= 0 ? "done" : strerrorname_np(errno));
        return is_qemu ? 3 : 0;
    }
    return 2;
}
