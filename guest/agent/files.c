/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mounts, directories and files in a root that somebody else made. The callers stand inside that root (chroot or PID 1 of the payload), so a
 * path cannot lead out of it; what remains is to get along with whatever is in the way.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "guest/agent/agent.h"
#include "guest/agent/sys.h"

#define FILES_LINKS_MAX 40
#define FILES_TEMPORARY ".gvmkit-new"

/* The kernel's own words about a failed mount, when it has any. */
static void mount_complain(int fs, const char *type, int error, struct report *r)
{
    char text[160];
    ssize_t n = read(fs, text, sizeof(text) - 1);
    if (n > 2) {
        text[n] = '\0';
        char *end = strchr(text, '\n');
        if (end)
            *end = '\0';
        report_set(r, error, "mounting %s: %s", type, text[1] == ' ' ? text + 2 : text);
    } else {
        report_set(r, error, "mounting %s", type);
    }
}

int mount_make(const char *type, const char *const *options, unsigned attributes, struct report *r)
{
    cleanup_close int fs = sys_fsopen(type);
    if (fs < 0)
        return report_set(r, errno, "no file system %s in this kernel", type);
    for (; *options; options++) {
        char key[32];
        const char *value = strchr(*options, '=');
        size_t n = value ? (size_t)(value - *options) : strlen(*options);
        if (n >= sizeof(key))
            return report_set(r, EINVAL, "mounting %s: option '%s'", type, *options);
        memcpy(key, *options, n);
        key[n] = '\0';
        if (sys_fsconfig(fs, value ? SYS_FSCONFIG_SET_STRING : SYS_FSCONFIG_SET_FLAG, key, value ? value + 1 : NULL) < 0) {
            mount_complain(fs, type, errno, r);
            return -1;
        }
    }
    int mount = -1;
    if (sys_fsconfig(fs, SYS_FSCONFIG_CMD_CREATE, NULL, NULL) == 0)
        mount = sys_fsmount(fs, attributes);
    if (mount < 0)
        mount_complain(fs, type, errno, r);
    return mount;
}

int mount_attach(int mount, int directory, const char *path, const char *what, struct report *r)
{
    if (sys_move_mount(mount, directory, path, *path ? 0 : SYS_MOVE_T_EMPTY_PATH) < 0)
        return report_set(r, errno, "mounting on %s", what);
    return 0;
}

int files_directory(int directory, const char *name, mode_t mode, struct report *r)
{
    struct stat st;
    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(st.st_mode))
            return 0;
        if (unlinkat(directory, name, 0) < 0)
            return report_set(r, errno, "removing '%s', which is in the way of a directory", name);
    }
    if (mkdirat(directory, name, mode) < 0)
        return report_set(r, errno, "making directory '%s'", name);
    return 0;
}

/* The rest of a path being walked, in front of which the targets of links are put. */
struct walk {
    char rest[2 * AGENT_PATH_MAX];
    size_t at;
    unsigned links;
    int here;
};

static int walk_to(struct walk *w, int fd)
{
    if (fd < 0)
        return -1;
    close(w->here);
    w->here = fd;
    return 0;
}

static int walk_link(struct walk *w, const char *name, size_t next)
{
    char target[AGENT_PATH_MAX], rest[sizeof(w->rest)];
    ssize_t n = readlinkat(w->here, name, target, sizeof(target) - 1);
    if (n < 0)
        return -1;
    target[n] = '\0';
    int length = snprintf(rest, sizeof(rest), "%s/%s", target, w->rest + next);
    errno = ++w->links > FILES_LINKS_MAX ? ELOOP : ENAMETOOLONG;
    if (w->links > FILES_LINKS_MAX || length < 0 || (size_t)length >= sizeof(rest))
        return -1;
    memcpy(w->rest, rest, (size_t)length + 1);
    w->at = 0;
    return target[0] == '/' ? walk_to(w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)) : 0;
}

/* One component. ".." of the root is the root: the kernel sees to that, since the caller's root is the image's. */
static int walk_step(struct walk *w)
{
    char name[256];
    size_t n = strcspn(w->rest + w->at, "/"), next = w->at + n;
    if (n >= sizeof(name)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(name, w->rest + w->at, n);
    name[n] = '\0';
    next += strspn(w->rest + next, "/");
    struct stat st;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
        if (fstatat(w->here, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno != ENOENT || (mkdirat(w->here, name, 0755) < 0 && errno != EEXIST))
                return -1;
        } else if (S_ISLNK(st.st_mode)) {
            return walk_link(w, name, next);
        }
    }
    w->at = next;
    return walk_to(w, openat(w->here, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

int files_make_path(const char *path, struct report *r)
{
    struct walk w = { .here = open(path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC) };
    int result = w.here < 0 ? -1 : 0;
    size_t n = strlen(path);
    if (n >= AGENT_PATH_MAX) {
        errno = ENAMETOOLONG;
        result = -1;
    } else {
        memcpy(w.rest, path, n + 1);
        w.at = strspn(path, "/");
    }
    while (result == 0 && w.rest[w.at]) {
        /* A link's target may begin with slashes. */
        w.at += strspn(w.rest + w.at, "/");
        if (w.rest[w.at])
            result = walk_step(&w);
    }
    if (result == 0)
        return w.here;
    report_set(r, errno, "directory '%s'", path);
    if (w.here >= 0)
        close(w.here);
    return -1;
}

static int write_all(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t put = write(fd, text, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        text += put;
        n -= (size_t)put;
    }
    return 0;
}

/* Opens /etc below root, made if it does not exist or is no directory. */
static int etc_open(int root, struct report *r)
{
    const uint64_t flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    int fd = sys_openat2(root, "etc", flags, SYS_RESOLVE_IN_ROOT);
    if (fd >= 0)
        return fd;
    if (files_directory(root, "etc", 0755, r) < 0)
        return -1;
    /* A link that leads nowhere was no directory either, and is one now. */
    fd = openat(root, "etc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? report_set(r, errno, "/etc") : fd;
}

int files_etc(int root, const char *name, const char *text, size_t n, struct report *r)
{
    cleanup_close int etc = etc_open(root, r);
    if (etc < 0)
        return -1;
    unlinkat(etc, FILES_TEMPORARY, 0);
    int fd = openat(etc, FILES_TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return report_set(r, errno, "writing /etc/%s", name);
    int done = fchmod(fd, 0644) < 0 || write_all(fd, text, n) < 0 ? -1 : 0;
    int error = errno;
    close(fd);
    if (done == 0 && renameat(etc, FILES_TEMPORARY, etc, name) == 0)
        return 0;
    if (done == 0)
        error = errno;
    unlinkat(etc, FILES_TEMPORARY, 0);
    if (error == EBUSY) {
        /* The payload has mounted something on it: then that is what it wants to be written. */
        fd = openat(etc, name, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        done = fd < 0 ? -1 : write_all(fd, text, n);
        error = errno;
        if (fd >= 0)
            close(fd);
        if (done == 0)
            return 0;
    }
    return report_set(r, error, "writing /etc/%s", name);
}

int files_read(const char *path, size_t max, char **text, size_t *n)
{
    struct stat st;
    /* O_NONBLOCK: a fifo in its place must not hold us up. */
    cleanup_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    size_t size = st.st_size < 0 || (uint64_t)st.st_size > max ? max : (size_t)st.st_size;
    /* /proc says 0. */
    if (size == 0)
        size = max < 16384 ? max : 16384;
    cleanup_free char *p = malloc(size);
    if (!p)
        return -1;
    size_t have = 0;
    while (have < size) {
        ssize_t got = read(fd, p + have, size - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    *text = steal_ptr(p);
    *n = have;
    return 0;
}

int files_write(const char *path, const char *text)
{
    cleanup_close int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -1 : write_all(fd, text, strlen(text));
}
