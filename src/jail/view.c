/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The root of a jail: a tmpfs with nothing but mounts of what the program needs, read-only in the end.
 *
 * It is put together by descriptors: a copy of each mount is taken (open_tree), restricted while nobody can reach it (mount_setattr), and
 * attached (move_mount). So no path of the host is written to, and no moment exists in which something is there with more rights than it shall
 * have. The new root lies on top of the old one, where an existing process does not see it, so that no directory of the host has to exist for
 * it; pivot_root makes it ours.
 *
 * Directories that come as descriptors belong to the mount namespace outside: from there `..` leads through all of the host. They are
 * replaced by descriptors of mounts of their own, whose `..` ends in our root.
 */
#include "jail/view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/cleanup.h"

#define ATTRS_FILE (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define ATTRS_DEVICE (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
#define ATTRS_SHARE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define ATTRS_ROOT (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* Where libraries are. What is a link on this host (/lib to usr/lib) is one in the jail. */
static const char *const library_places[] = { "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64" };
/* For every program. What a host does not have is left out. */
static const char *const common_files[] = { "/etc/ld.so.cache" };
static const char *const common_devices[] = { "/dev/null", "/dev/urandom" };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A name below the new root, links followed as they will be followed when it is the root. */
static int look_up(int root, const char *path, unsigned flags)
{
    struct open_how how = { .flags = flags | O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
    return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/* Makes what is missing of path ("/a/b/c"): directories, and at its end a directory or an empty file. Returns its O_PATH descriptor, or -1. */
static int make_place(int root, const char *path, bool directory)
{
    cleanup_close int parent = look_up(root, "/", O_DIRECTORY);
    char prefix[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof(prefix)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (size_t at = 0; parent >= 0 && at < length;) {
        size_t name = at + strspn(path + at, "/"), end = name + strcspn(path + name, "/");
        if (name == end)
            break;
        memcpy(prefix, path, end);
        prefix[end] = '\0';
        bool is_directory = directory || path[end] == '/';
        int next = look_up(root, prefix, is_directory ? O_DIRECTORY : 0);
        if (next < 0 && errno == ENOENT) {
            int made = is_directory ? mkdirat(parent, prefix + name, 0755) : mknodat(parent, prefix + name, S_IFREG | 0444, 0);
            next = made < 0 ? -1 : look_up(root, prefix, 0);
        }
        close(parent);
        parent = next;
        at = end;
    }
    return steal_fd(&parent);
}

static int restrict_mount(int fd, uint64_t attrs)
{
    struct mount_attr attr = { .attr_set = attrs, .propagation = MS_PRIVATE };
    return mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr));
}

static bool same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int attach(int tree, int root, const char *path)
{
    struct stat st;
    if (fstat(tree, &st) < 0)
        return -1;
    cleanup_close int place = make_place(root, path, S_ISDIR(st.st_mode));
    if (place < 0)
        return -1;
    return move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/* Shows path at its own place. What is not there on the host either is no error. */
static int show(int root, const char *path, uint64_t attrs)
{
    cleanup_close int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    cleanup_close int there = look_up(root, path, 0);
    if (there >= 0 && same_file(tree, there)) /* in a directory that is shown already */
        return 0;
    return restrict_mount(tree, attrs) < 0 ? -1 : attach(tree, root, path);
}

/* A link in the root directory stays one. Its target is made relative, since the root in which it is looked up is not ours yet. */
static int show_libraries(int root, const char *path)
{
    char target[PATH_MAX];
    ssize_t n = strchr(path + 1, '/') ? -1 : readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return show(root, path, ATTRS_FILE);
    target[n] = '\0';
    const char *relative = target + strspn(target, "/");
    return symlinkat(*relative ? relative : ".", root, path + 1);
}

/* The descriptor's directory as a mount of its own. It is found by its name and compared, because a mount of another namespace cannot be copied. */
static int enclose(int root, const struct jail_share *share)
{
    char link[32], path[PATH_MAX], place[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", share->fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return -1;
    path[n] = '\0';
    cleanup_close int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
    if (tree < 0)
        return -1;
    if (!same_file(tree, share->fd)) {
        errno = ESTALE;
        return -1;
    }
    snprintf(place, sizeof(place), "/share/%d", share->fd);
    if (restrict_mount(tree, ATTRS_SHARE | (share->readonly ? MOUNT_ATTR_RDONLY : 0)) < 0 || attach(tree, root, place) < 0)
        return -1;
    cleanup_close int inside = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return inside < 0 || dup2(inside, share->fd) < 0 ? -1 : 0;
}

static int fill(int root, const struct view *v)
{
    for (size_t i = 0; i < COUNT(library_places); i++)
        if (show_libraries(root, library_places[i]) < 0)
            return -1;
    for (size_t i = 0; i < COUNT(common_files); i++)
        if (show(root, common_files[i], ATTRS_FILE) < 0)
            return -1;
    for (size_t i = 0; i < COUNT(common_devices); i++)
        if (show(root, common_devices[i], ATTRS_DEVICE) < 0)
            return -1;
    for (size_t i = 0; i < v->file_count; i++)
        if (show(root, v->files[i], ATTRS_FILE) < 0)
            return -1;
    for (size_t i = 0; i < v->device_count; i++)
        if (show(root, v->devices[i], ATTRS_DEVICE) < 0)
            return -1;
    for (size_t i = 0; i < v->share_count; i++)
        if (enclose(root, &v->shares[i]) < 0)
            return -1;
    /* This process's own descriptors, by the names that they have on the host, without any other process's. */
    if (show(root, "/proc/self/fd", ATTRS_FILE | MOUNT_ATTR_NOEXEC) < 0)
        return -1;
    return show(root, v->program, ATTRS_FILE);
}

/* An empty tmpfs on top of our root. */
static int make_root(void)
{
    cleanup_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "64k", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    cleanup_close int root = fsmount(fs, FSMOUNT_CLOEXEC, ATTRS_ROOT);
    if (root < 0 || move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return -1;
    return steal_fd(&root);
}

int view_enter(const struct view *v)
{
    /* Nothing of what is mounted here may spread to the namespace that ours is a copy of. */
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return errno;
    cleanup_close int root = make_root();
    if (root < 0 || fill(root, v) < 0 || fchdir(root) < 0)
        return errno;
    /* The old root ends up on top of the new one, and is taken away from there. */
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return errno;
    struct mount_attr sealed = { .attr_set = ATTRS_ROOT | MOUNT_ATTR_RDONLY };
    return mount_setattr(root, "", AT_EMPTY_PATH, &sealed, sizeof(sealed)) < 0 ? errno : 0;
}
