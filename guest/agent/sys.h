/* SPDX-License-Identifier: GPL-3.0-or-later */
/* System calls and constants that musl 1.2.3 has no declarations for. Numbers from the kernel's uapi headers. */
#ifndef GUEST_SYS_H
#define GUEST_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define SYS_FSCONFIG_SET_FLAG 0U
#define SYS_FSCONFIG_SET_STRING 1U
#define SYS_FSCONFIG_CMD_CREATE 6U
#define SYS_MOUNT_RDONLY 0x1U
#define SYS_MOUNT_NOSUID 0x2U
#define SYS_MOUNT_NODEV 0x4U
#define SYS_MOUNT_NOEXEC 0x8U
#define SYS_MOVE_F_EMPTY_PATH 0x4U
#define SYS_MOVE_T_EMPTY_PATH 0x40U
#define SYS_RESOLVE_NO_XDEV 0x01U
#define SYS_RESOLVE_NO_SYMLINKS 0x04U
#define SYS_RESOLVE_BENEATH 0x08U
#define SYS_RESOLVE_IN_ROOT 0x10U

static inline int sys_fsopen(const char *fs)
{
    return (int)syscall(SYS_fsopen, fs, 1U /* FSOPEN_CLOEXEC */);
}

static inline int sys_fsconfig(int fd, unsigned command, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, fd, command, key, value, 0);
}

static inline int sys_fsmount(int fd, unsigned attributes)
{
    return (int)syscall(SYS_fsmount, fd, 1U /* FSMOUNT_CLOEXEC */, attributes);
}

static inline int sys_move_mount(int from, int to, const char *path, unsigned flags)
{
    return (int)syscall(SYS_move_mount, from, "", to, path, flags | SYS_MOVE_F_EMPTY_PATH);
}

struct sys_mount_attr {
    uint64_t set, clear, propagation, userns;
};

static inline int sys_mount_readonly(int mount)
{
    struct sys_mount_attr attr = { .set = SYS_MOUNT_RDONLY };
    return (int)syscall(SYS_mount_setattr, mount, "", 0x1000U /* AT_EMPTY_PATH */, &attr, sizeof(attr));
}

struct sys_open_how {
    uint64_t flags, mode, resolve;
};

static inline int sys_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve)
{
    struct sys_open_how how = { .flags = flags, .resolve = resolve };
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
}

static inline int sys_pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0U);
}

static inline int sys_close_range(unsigned first)
{
    return (int)syscall(SYS_close_range, first, ~0U, 0U);
}

/* setrlimit(), whose first argument glibc and musl give different types. */
static inline int sys_setrlimit(int resource, const struct rlimit *limit)
{
    return (int)syscall(SYS_prlimit64, 0, resource, limit, NULL);
}

static inline int sys_pivot_root(const char *to, const char *old)
{
    return (int)syscall(SYS_pivot_root, to, old);
}

#endif
