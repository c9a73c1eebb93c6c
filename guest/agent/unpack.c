/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * UNPACK: the files of a tar on descriptor 0, made in a directory.
 *
 * No name leads out of it: a name with ".." is refused, and the directories on the way are opened by openat2 with RESOLVE_BENEATH, so that links
 * count only where they stay inside. (If it is the root, an absolute link does: RESOLVE_IN_ROOT.) What a name stands for is made under another name
 * beside it, and renamed when it is complete; directories that exist already stay as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "guest/agent/agent.h"
#include "guest/agent/sys.h"

#define UNPACK_MADE_MAX 256U
#define UNPACK_HOLE 4096U /* so many zeros become a hole */

/* Directories that get their time when what is in them is complete: each is inside of the one before it. */
struct made {
    size_t length; /* of its name, in unpacker.made_name */
    struct timespec mtime;
};

struct unpacker {
    struct tar_reader in;
    struct tar_entry e;
    int root;
    uint64_t resolve;
    int parent; /* the directory of the last entry */
    char parent_name[AGENT_PATH_MAX];
    struct made made[UNPACK_MADE_MAX];
    unsigned made_count;
    char made_name[AGENT_PATH_MAX];
};

/* What is being made: for the signal handler, too, which must not leave it behind. */
static struct {
    volatile sig_atomic_t parent; /* -1: nothing */
    char name[32];
} unfinished = { .parent = -1 };

__attribute__((noreturn)) static void on_signal(int signal)
{
    if (unfinished.parent >= 0)
        unlinkat(unfinished.parent, unfinished.name, 0);
    _exit(128 + signal);
}

bool unpack_name(char *name)
{
    char *out = name;
    for (const char *p = name; *p; p += strspn(p, "/")) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return false;
        if (n && !(n == 1 && *p == '.')) {
            if (out != name)
                *out++ = '/';
            memmove(out, p, n);
            out += n;
        }
        p += n;
    }
    *out = '\0';
    return true;
}

/* ---- directories ------------------------------------------------------------------------------------------------------------------- */

static int open_directory(const struct unpacker *u, const char *name)
{
    return sys_openat2(u->root, *name ? name : ".", O_PATH | O_DIRECTORY | O_CLOEXEC, u->resolve);
}

/* Makes the directories of a name that are missing, and opens the last. */
static int make_directories(const struct unpacker *u, char *name)
{
    for (char *slash = name;; slash++) {
        slash = strchrnul(slash, '/');
        char *last = slash, after = *slash;
        *slash = '\0';
        while (last > name && last[-1] != '/')
            last--;
        int fd = open_directory(u, name);
        if (fd < 0 && errno == ENOENT) {
            if (last > name)
                last[-1] = '\0';
            cleanup_close int parent = open_directory(u, last > name ? name : "");
            if (last > name)
                last[-1] = '/';
            if (parent >= 0 && (mkdirat(parent, last, 0755) == 0 || errno == EEXIST))
                fd = open_directory(u, name);
        }
        int error = errno;
        *slash = after;
        errno = error;
        if (fd < 0 || !after)
            return fd;
        close(fd);
    }
}

/* Opens the directory that a name is in, as u->parent; returns the last component, NULL when that cannot be done. */
static const char *enter_parent(struct unpacker *u, const char *name)
{
    const char *slash = strrchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : 0;
    if (u->parent < 0 || strlen(u->parent_name) != n || memcmp(u->parent_name, name, n) != 0) {
        if (u->parent >= 0)
            close(u->parent);
        memcpy(u->parent_name, name, n);
        u->parent_name[n] = '\0';
        u->parent = open_directory(u, u->parent_name);
        if (u->parent < 0 && errno == ENOENT)
            u->parent = make_directories(u, u->parent_name);
    }
    if (u->parent >= 0)
        return slash ? slash + 1 : name;
    builtin_fail(errno, errno == EXDEV ? "'%s' is behind a link that leads out of the directory" : "'%s'", name);
    return NULL;
}

/* Directories in which the entry is not are complete. */
static void leave_made(struct unpacker *u, const char *name)
{
    while (u->made_count) {
        const struct made *m = &u->made[u->made_count - 1];
        if (strncmp(u->made_name, name, m->length) == 0 && name[m->length] == '/')
            return;
        u->made_name[m->length] = '\0';
        cleanup_close int fd = sys_openat2(u->root, u->made_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, u->resolve);
        const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, m->mtime };
        if (fd >= 0)
            futimens(fd, times);
        u->made_count--;
    }
}

static int unpack_directory(struct unpacker *u, const char *last)
{
    const struct tar_entry *e = &u->e;
    if (mkdirat(u->parent, last, 0700) < 0) {
        if (errno != EEXIST)
            return builtin_fail(errno, "'%s'", e->name);
        cleanup_close int fd = open_directory(u, e->name);
        return fd < 0 ? builtin_fail(errno, "'%s' exists and is no directory", e->name) : 0;
    }
    cleanup_close int fd = openat(u->parent, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (fchown(fd, e->uid, e->gid) < 0 && errno != EPERM) || fchmod(fd, e->mode) < 0)
        return builtin_fail(errno, "'%s'", e->name);
    if (u->made_count < UNPACK_MADE_MAX) {
        size_t n = strlen(e->name);
        memcpy(u->made_name, e->name, n + 1);
        u->made[u->made_count++] = (struct made){ .length = n, .mtime = e->mtime };
    }
    return 0;
}

/* ---- everything else --------------------------------------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

static size_t piece_of(size_t n)
{
    return n < UNPACK_HOLE ? n : UNPACK_HOLE;
}

/* Zeros become holes. What is given ends anywhere, also in the middle of one. */
static int write_data(int fd, const uint8_t *p, size_t n)
{
    for (size_t at = 0, end; at < n; at = end) {
        for (end = at; end < n && !all_zero(p + end, piece_of(n - end));)
            end += piece_of(n - end);
        size_t hole = piece_of(n - end);
        if (write_all(fd, p + at, end - at) < 0 || (hole && lseek(fd, (off_t)hole, SEEK_CUR) < 0))
            return -1;
        end += hole;
    }
    return 0;
}

/* A file that has no name yet, and with a SIGKILL is gone; where there are none such (9p), one with the name that nobody waits for. */
static int open_file(const struct unpacker *u, bool *nameless)
{
    int fd = openat(u->parent, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    *nameless = fd >= 0;
    return *nameless ? fd : openat(u->parent, unfinished.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int name_file(const struct unpacker *u, int fd)
{
    char self[32];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    return linkat(fd, "", u->parent, unfinished.name, AT_EMPTY_PATH) < 0 && /* for which it takes a capability */
           linkat(AT_FDCWD, self, u->parent, unfinished.name, AT_SYMLINK_FOLLOW) < 0;
}

static int make_file(struct unpacker *u)
{
    const uint8_t *data;
    ssize_t n;
    bool nameless;
    cleanup_close int fd = open_file(u, &nameless);
    if (fd < 0)
        return builtin_fail(errno, "'%s'", u->e.name);
    while ((n = tar_data(&u->in, &data)) > 0)
        if (write_data(fd, data, (size_t)n) < 0)
            return builtin_fail(errno, "'%s'", u->e.name);
    if (n < 0)
        return -1;
    if (ftruncate(fd, (off_t)u->e.size) < 0 || (nameless && name_file(u, fd)))
        return builtin_fail(errno, "'%s'", u->e.name);
    return 0;
}

/* The other name is one of the tar, so it is taken below the directory, too. */
static int make_hard_link(struct unpacker *u)
{
    char *target = u->e.target, *slash;
    if (!unpack_name(target) || !*target)
        return builtin_fail(0, "'%s' is a link to '%s', which leads out of the tar", u->e.name, target);
    slash = strrchr(target, '/');
    if (slash)
        *slash = '\0';
    cleanup_close int from = open_directory(u, slash ? target : "");
    if (from < 0 || linkat(from, slash ? slash + 1 : target, u->parent, unfinished.name, 0) < 0)
        return builtin_fail(errno, "'%s', a link to another file of the tar", u->e.name);
    return 0;
}

static int make_special(struct unpacker *u)
{
    const struct tar_entry *e = &u->e;
    mode_t type = e->type == '3' ? S_IFCHR : e->type == '4' ? S_IFBLK : S_IFIFO;
    int done = e->type == '2' ? symlinkat(e->target, u->parent, unfinished.name)
                              : mknodat(u->parent, unfinished.name, type | 0600, makedev(e->major, e->minor));
    return done < 0 ? builtin_fail(errno, "'%s'", e->name) : 0;
}

/* Owner, mode and time, then the name. The owner comes first, because its change takes set-user-id off. A file system without owners is no error. */
static int finish(struct unpacker *u, const char *last)
{
    const struct tar_entry *e = &u->e;
    const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, e->mtime };
    if (e->type != '1' && ((fchownat(u->parent, unfinished.name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != EPERM) ||
                           (e->type != '2' && fchmodat(u->parent, unfinished.name, e->mode, 0) < 0) ||
                           utimensat(u->parent, unfinished.name, times, AT_SYMLINK_NOFOLLOW) < 0))
        return builtin_fail(errno, "'%s'", e->name);
    if (renameat(u->parent, unfinished.name, u->parent, last) < 0)
        return builtin_fail(errno, "'%s'", e->name);
    return 0;
}

static int unpack_entry(struct unpacker *u)
{
    struct tar_entry *e = &u->e;
    if (!unpack_name(e->name))
        return builtin_fail(0, "the tar has the name '%s', which leads out of it", e->name);
    leave_made(u, e->name);
    if (!*e->name)
        return e->type == '5' ? 0 : builtin_fail(0, "the tar has a file without a name");
    const char *last = enter_parent(u, e->name);
    if (!last)
        return -1;
    if (e->type == '5')
        return unpack_directory(u, last);
    unlinkat(u->parent, unfinished.name, 0);
    unfinished.parent = u->parent;
    int result = e->type == '0' ? make_file(u) : e->type == '1' ? make_hard_link(u) : make_special(u);
    if (result == 0)
        result = finish(u, last);
    /* Also after the renaming, which does nothing when both names are of one file. */
    unlinkat(u->parent, unfinished.name, 0);
    unfinished.parent = -1;
    return result;
}

/* Reads what comes after the tar's end, so that its writer does not fail. */
static void drain(struct unpacker *u)
{
    ssize_t n;
    do {
        n = read(u->in.fd, u->in.buf, sizeof(u->in.buf));
    } while (n > 0 || (n < 0 && errno == EINTR));
}

int unpack_main(const char *directory)
{
    static struct unpacker u;
    struct stat here, root;
    int got;
    u.in.fd = 0;
    u.parent = -1;
    u.root = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (u.root < 0 || fstat(u.root, &here) < 0 || stat("/", &root) < 0)
        return builtin_fail(errno, "'%s'", directory) < 0;
    u.resolve = here.st_dev == root.st_dev && here.st_ino == root.st_ino ? SYS_RESOLVE_IN_ROOT : SYS_RESOLVE_BENEATH;
    snprintf(unfinished.name, sizeof(unfinished.name), ".gvmkit-%d", (int)getpid());
    signal(SIGHUP, on_signal);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    while ((got = tar_next(&u.in, &u.e)) > 0)
        if (unpack_entry(&u) < 0)
            return 1;
    leave_made(&u, "");
    if (got == 0)
        drain(&u);
    return got < 0;
}
