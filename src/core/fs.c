/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/mem.h"

ssize_t gv_read_full(int fd, void *p, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = read(fd, (char *)p + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

ssize_t gv_pread_full(int fd, void *p, size_t n, uint64_t at)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(fd, (char *)p + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

int gv_write_full(int fd, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t put = write(fd, (const char *)p + done, n - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        done += (size_t)put;
    }
    return 0;
}

int gv_pwrite_full(int fd, const void *p, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(fd, (const char *)p + done, n - done, (off_t)(at + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        done += (size_t)put;
    }
    return 0;
}

int gv_read_file(const char *path, size_t max, struct gv_buf *out, struct gv_error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open `%s`", path);
    for (size_t total = 0;;) {
        gv_buf_reserve(out, 16384);
        ssize_t n = gv_read_full(fd, out->data + out->len, 16384);
        if (n < 0)
            return gv_error_errno(err, "cannot read `%s`", path);
        if (n == 0)
            return 0;
        total += (size_t)n;
        if (total > max)
            return gv_error_set(err, GV_E_LIMIT, 0, "`%s` is larger than %zu bytes", path, max);
        out->len += (size_t)n;
    }
}

struct gv_outfile {
    int fd, dirfd;
    char *path; /* as the user said it, for messages */
    char *name; /* last component */
    char *temp; /* temporary name while there is one */
};

static void outfile_free(struct gv_outfile *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->dirfd >= 0)
        close(f->dirfd);
    free(f->path);
    free(f->name);
    free(f->temp);
    free(f);
}

static char *temp_name(const char *name)
{
    unsigned char r[6] = { 0 };
    char hex[2 * sizeof(r) + 1];
    (void)!getrandom(r, sizeof(r), 0);
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof(r); i++) {
        hex[2 * i] = digits[r[i] >> 4];
        hex[2 * i + 1] = digits[r[i] & 15];
    }
    hex[2 * sizeof(r)] = '\0';
    return gv_asprintf(".%.200s.%s.part", name, hex);
}

int gv_outfile_open(struct gv_outfile **out, const char *path, mode_t mode, struct gv_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` does not name a file", path);
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` exists and is not a regular file", path);
    cleanup_free char *dir = slash ? gv_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : gv_strdup(".");
    struct gv_outfile *f = gv_new(struct gv_outfile);
    f->fd = f->dirfd = -1;
    f->path = gv_strdup(path);
    f->name = gv_strdup(name);
    f->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dirfd < 0) {
        gv_error_errno(err, "cannot open the directory `%s`", dir);
        outfile_free(f);
        return -1;
    }
    f->fd = openat(f->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (f->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL)) {
        f->temp = temp_name(f->name);
        f->fd = openat(f->dirfd, f->temp, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);
        if (f->fd < 0) {
            free(f->temp);
            f->temp = NULL;
        }
    }
    if (f->fd < 0) {
        gv_error_errno(err, "cannot create `%s`", path);
        outfile_free(f);
        return -1;
    }
    *out = f;
    return 0;
}

int gv_outfile_fd(const struct gv_outfile *f)
{
    return f->fd;
}

void gv_outfile_discard(struct gv_outfile *f)
{
    if (!f)
        return;
    if (f->temp)
        unlinkat(f->dirfd, f->temp, 0);
    outfile_free(f);
}

int gv_outfile_commit(struct gv_outfile *f, struct gv_error *err)
{
    if (fsync(f->fd) < 0) {
        gv_error_errno(err, "cannot write `%s` to the disk", f->path);
        gv_outfile_discard(f);
        return -1;
    }
    sigset_t hold, before;
    sigemptyset(&hold);
    sigaddset(&hold, SIGINT);
    sigaddset(&hold, SIGTERM);
    sigaddset(&hold, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &hold, &before);
    int status = 0;
    if (!f->temp) {
        char proc[64];
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", f->fd);
        char *temp = temp_name(f->name);
        if (linkat(AT_FDCWD, proc, f->dirfd, temp, AT_SYMLINK_FOLLOW) < 0) {
            status = gv_error_errno(err, "cannot give `%s` its name", f->path);
            free(temp);
        } else {
            f->temp = temp;
        }
    }
    if (status == 0 && renameat(f->dirfd, f->temp, f->dirfd, f->name) < 0)
        status = gv_error_errno(err, "cannot give `%s` its name", f->path);
    if (status == 0) {
        free(f->temp);
        f->temp = NULL;
        if (fsync(f->dirfd) < 0 && errno != EINVAL)
            status = gv_error_errno(err, "cannot sync the directory of `%s`", f->path);
    }
    gv_outfile_discard(f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

int gv_scratch_file(struct gv_error *err)
{
    const char *dir = getenv("TMPDIR");
    if (!dir || !*dir)
        dir = "/var/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    cleanup_free char *name = gv_asprintf("%s/gvmkit-XXXXXX", dir);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) {
        gv_error_errno(err, "cannot create a temporary file in `%s`", dir);
        return gv_error_hint(err, "set TMPDIR to a writable directory with enough space");
    }
    unlink(name);
    return fd;
}

int gv_mkdir_p(const char *path, mode_t mode, struct gv_error *err)
{
    cleanup_free char *p = gv_strdup(path);
    for (char *s = p + 1; *p; s++) {
        if (*s != '/' && *s != '\0')
            continue;
        char c = *s;
        *s = '\0';
        if (mkdir(p, mode) < 0 && errno != EEXIST)
            return gv_error_errno(err, "cannot create the directory `%s`", p);
        *s = c;
        if (!c)
            break;
    }
    struct stat st;
    if (stat(path, &st) < 0)
        return gv_error_errno(err, "cannot create the directory `%s`", path);
    if (!S_ISDIR(st.st_mode))
        return gv_error_set(err, GV_E_IO, ENOTDIR, "cannot use `%s`", path);
    return 0;
}

/* A guest can make directories as deep as it likes: only so many levels are open at a time. */
#define REMOVE_DEPTH 64

struct remove_level {
    DIR *dir;
    char *name;
};

static DIR *open_directory_at(int parent, const char *name, dev_t dev)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, 0) == 0)
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    struct stat st;
    if (fstat(fd, &st) < 0 || (dev && st.st_dev != dev)) {
        if (dev)
            errno = EXDEV;
        close(fd);
        return NULL;
    }
    if ((st.st_mode & 0300) != 0300)
        (void)!fchmod(fd, st.st_mode | 0700);
    DIR *d = fdopendir(fd);
    if (!d)
        close(fd);
    return d;
}

int gv_remove_tree(const char *path, struct gv_error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : gv_error_errno(err, "cannot remove `%s`", path);
    if (!S_ISDIR(st.st_mode))
        return unlink(path) < 0 ? gv_error_errno(err, "cannot remove `%s`", path) : 0;

    struct remove_level stack[REMOVE_DEPTH];
    size_t depth = 0;
    int status = 0;
    DIR *top = open_directory_at(AT_FDCWD, path, st.st_dev);
    if (!top)
        return gv_error_errno(err, "cannot remove `%s`", path);
    stack[depth++] = (struct remove_level){ .dir = top, .name = NULL };

    while (depth > 0) {
        DIR *d = stack[depth - 1].dir;
        int fd = dirfd(d);
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            if (errno)
                status = gv_error_errno(err, "cannot read a directory below `%s`", path);
            char *name = stack[depth - 1].name;
            closedir(d);
            depth--;
            if (depth > 0) {
                if (!status && unlinkat(dirfd(stack[depth - 1].dir), name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                    status = gv_error_errno(err, "cannot remove `%s` below `%s`", name, path);
            }
            free(name);
            if (status)
                break;
            continue;
        }
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT)
            continue;
        int why = errno; /* EPERM can mean that it is a directory, or what it says */
        if (why != EISDIR && why != EPERM) {
            status = gv_error_errno(err, "cannot remove `%s` below `%s`", e->d_name, path);
            break;
        }
        if (unlinkat(fd, e->d_name, AT_REMOVEDIR) == 0)
            continue;
        DIR *sub = errno == ENOTDIR ? NULL : open_directory_at(fd, e->d_name, st.st_dev);
        if ((sub && depth >= REMOVE_DEPTH) || (!sub && errno == EMFILE && depth > 1)) {
            /* Too deep to keep every level open: move the directory up to the top, where it is found again. */
            if (sub)
                closedir(sub);
            cleanup_free char *moved = temp_name("deep");
            if (renameat(fd, e->d_name, dirfd(stack[0].dir), moved) < 0) {
                status = gv_error_errno(err, "cannot remove `%s` below `%s`", e->d_name, path);
                break;
            }
            rewinddir(stack[0].dir);
            continue;
        }
        if (!sub) {
            status = gv_error_set(err, GV_E_IO, errno == ENOTDIR ? why : errno, "cannot remove `%s` below `%s`", e->d_name, path);
            break;
        }
        stack[depth++] = (struct remove_level){ .dir = sub, .name = gv_strdup(e->d_name) };
    }
    while (depth > 0) {
        depth--;
        closedir(stack[depth].dir);
        free(stack[depth].name);
    }
    if (!status && rmdir(path) < 0)
        status = gv_error_errno(err, "cannot remove `%s`", path);
    return status;
}

/* The directory for gvmkit in a place of the XDG base directories, whose variable counts when it is absolute; made if missing. */
static char *place_dir(const char *variable, const char *below_home, const char *what, struct gv_error *err)
{
    const char *xdg = getenv(variable), *home = getenv("HOME");
    cleanup_free char *dir = NULL;
    if (xdg && *xdg == '/')
        dir = gv_asprintf("%s/gvmkit", xdg);
    else if (home && *home == '/')
        dir = gv_asprintf("%s/%s/gvmkit", home, below_home);
    else
        gv_error_set(err, GV_E_NOT_FOUND, 0, "no place for %s; set HOME or %s", what, variable);
    return dir && gv_mkdir_p(dir, 0700, err) == 0 ? steal_ptr(dir) : NULL;
}

char *gv_cache_dir(struct gv_error *err)
{
    return place_dir("XDG_CACHE_HOME", ".cache", "the cache", err);
}

char *gv_data_dir(struct gv_error *err)
{
    return place_dir("XDG_DATA_HOME", ".local/share", "images", err);
}

char *gv_config_dir(struct gv_error *err)
{
    return place_dir("XDG_CONFIG_HOME", ".config", "settings", err);
}

char *gv_state_dir(struct gv_error *err)
{
    return place_dir("XDG_STATE_HOME", ".local/state", "the history", err);
}

char *gv_path_normal(const char *path)
{
    if (path[0] != '/')
        return NULL;
    char *out = gv_alloc(strlen(path) + 2);
    size_t n = 0;
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/");
        if (len == 2 && !memcmp(p, "..", 2)) {
            free(out);
            return NULL;
        }
        if (len > 0 && !(len == 1 && p[0] == '.')) {
            out[n++] = '/';
            memcpy(out + n, p, len);
            n += len;
        }
        p += len;
    }
    if (n == 0)
        out[n++] = '/';
    out[n] = '\0';
    return out;
}
