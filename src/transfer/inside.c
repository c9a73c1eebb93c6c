/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define LINKS_MAX 40U
#define NAME_BYTES_MAX (64U << 10) /* of a path with its links in it */
#define SELF_FD 40                 /* "/proc/self/fd/N" */

static void self_fd(char out[SELF_FD], int fd)
{
    snprintf(out, SELF_FD, "/proc/self/fd/%d", fd);
}

/* A number of 9p's mapped-xattr: 32 bits, little-endian. fd may be of O_PATH, which fgetxattr does not take. */
static bool mapped_number(int fd, const char *name, uint32_t *v)
{
    unsigned char b[4];
    char path[SELF_FD];
    self_fd(path, fd);
    if (getxattr(path, name, b, sizeof(b)) != (ssize_t)sizeof(b))
        return false;
    *v = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return true;
}

void inside_init(struct inside *in, int root, bool guest, const char *path)
{
    uint32_t uid;
    *in = (struct inside){ .root = root, .guest = guest, .path = path };
    in->mapped = guest && mapped_number(root, "user.virtfs.uid", &uid);
}

void inside_clear(struct inside *in)
{
    if (in->root >= 0)
        close(in->root);
    in->root = -1;
}

int inside_failed(const struct inside *in, const char *path, const char *what, int sys, struct gv_error *err)
{
    const char *slash = !path[0] || (in->path[0] && in->path[strlen(in->path) - 1] == '/') ? "" : "/";
    return gv_error_set(err, sys == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, sys, "%s `%.300s%s%.300s`", what, in->path, slash, path);
}

int inside_stat(const struct inside *in, int fd, struct inside_stat *st)
{
    struct stat s;
    uint32_t v;
    if (fstat(fd, &s) < 0)
        return -1;
    *st = (struct inside_stat){ .mode = s.st_mode, .uid = s.st_uid, .gid = s.st_gid, .size = (uint64_t)s.st_size, .mtime = s.st_mtim };
    if (!in->mapped || (!S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode)))
        return 0;
    if (mapped_number(fd, "user.virtfs.uid", &v))
        st->uid = v;
    if (mapped_number(fd, "user.virtfs.gid", &v))
        st->gid = v;
    /* The type can only be refined: links, devices, sockets and pipes are kept as files. */
    if (mapped_number(fd, "user.virtfs.mode", &v))
        st->mode = (S_ISDIR(s.st_mode) || !(v & S_IFMT) ? s.st_mode & S_IFMT : v & S_IFMT) | (v & 07777);
    if (S_ISREG(s.st_mode) && S_ISDIR(st->mode))
        st->mode = S_IFREG | (st->mode & 07777);
    return 0;
}

int inside_at(int dir, const char *component)
{
    return openat(dir, component, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

int inside_reopen(int path_fd, int flags)
{
    char path[SELF_FD];
    struct stat st;
    self_fd(path, path_fd);
    /* Opening anything else could do something, or wait for ever. */
    if (fstat(path_fd, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int inside_read_link(const struct inside *in, int fd, char out[INSIDE_LINK_MAX + 1])
{
    ssize_t n = readlinkat(fd, "", out, INSIDE_LINK_MAX + 1);
    if (n < 0 && in->mapped) {
        cleanup_close int file = inside_reopen(fd, O_RDONLY);
        n = file < 0 ? -1 : gv_read_full(file, out, INSIDE_LINK_MAX + 1);
    }
    if (n < 0)
        return -1;
    if ((size_t)n > INSIDE_LINK_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    out[n] = '\0';
    return 0;
}

/* ---- the way ---------------------------------------------------------------------------------------------------------------------- */

/* From the directory to where a name has led so far. */
struct way {
    const struct inside *in;
    int fds[INSIDE_DEPTH_MAX]; /* of O_PATH; [0] is a copy of the root */
    size_t depth;
    struct gv_buf rest; /* what is to be followed yet */
    unsigned links;
};

static void way_clear(struct way *w)
{
    while (w->depth)
        close(w->fds[--w->depth]);
    gv_buf_clear(&w->rest);
}

static void way_back(struct way *w, size_t depth)
{
    while (w->depth > depth)
        close(w->fds[--w->depth]);
}

/* Puts a link's target in front of what is to be followed. */
static int way_link(struct way *w, int link)
{
    char target[INSIDE_LINK_MAX + 1];
    if (++w->links > LINKS_MAX) {
        errno = ELOOP;
        return -1;
    }
    if (inside_read_link(w->in, link, target) < 0)
        return -1;
    const char *from = target;
    if (target[0] == '/') {
        size_t n = strlen(w->in->path);
        if (!w->in->guest || strncmp(target, w->in->path, n) != 0 || (target[n] && target[n] != '/')) {
            errno = EXDEV;
            return -1;
        }
        from = target + n;
        way_back(w, 1);
    }
    if (w->rest.len + strlen(from) + 1 > NAME_BYTES_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    cleanup_buf struct gv_buf next = { 0 };
    gv_buf_addf(&next, "%s/%s", from, gv_buf_str(&w->rest));
    gv_buf_clear(&w->rest);
    w->rest = next;
    next = (struct gv_buf){ 0 };
    return 0;
}

/* Takes the next component out of the rest: its length, 0 when there is none. */
static size_t next_component(struct way *w, char out[NAME_MAX + 1])
{
    const char *p = gv_buf_str(&w->rest);
    size_t slashes = strspn(p, "/"), n = strcspn(p + slashes, "/");
    if (n > NAME_MAX)
        return n;
    memcpy(out, p + slashes, n);
    out[n] = '\0';
    gv_buf_drop(&w->rest, slashes + n);
    return n;
}

/* Goes to the component; what is missing is made with `make`. */
static int way_step(struct way *w, const char *component, bool make)
{
    int dir = w->fds[w->depth - 1];
    cleanup_close int fd = inside_at(dir, component);
    if (fd < 0 && errno == ENOENT && make) {
        /* If somebody makes it at the same time it is theirs, whatever it is. */
        if (inside_mkdir(w->in, dir, component) < 0 && errno != EEXIST)
            return -1;
        fd = inside_at(dir, component);
    }
    struct inside_stat st;
    if (fd < 0 || inside_stat(w->in, fd, &st) < 0)
        return -1;
    if (S_ISLNK(st.mode))
        return way_link(w, fd);
    if (w->depth == INSIDE_DEPTH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    w->fds[w->depth++] = steal_fd(&fd);
    return 0;
}

static int way_walk(struct way *w, bool make)
{
    char component[NAME_MAX + 1];
    for (size_t n; (n = next_component(w, component)) > 0;) {
        if (n > NAME_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        if (!strcmp(component, "."))
            continue;
        if (!strcmp(component, "..")) {
            if (w->depth == 1) {
                errno = EXDEV;
                return -1;
            }
            way_back(w, w->depth - 1);
            continue;
        }
        if (way_step(w, component, make) < 0)
            return -1;
    }
    return 0;
}

/* The whole name at once; -1 when it has to be walked. */
static int at_once(const struct inside *in, const char *path)
{
    const struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    struct inside_stat st;
    cleanup_close int fd = (int)syscall(SYS_openat2, in->root, path[0] ? path : ".", &how, sizeof(how));
    if (fd < 0 || inside_stat(in, fd, &st) < 0 || S_ISLNK(st.mode))
        return -1;
    return steal_fd(&fd);
}

/* What the name leads to, of O_PATH. -1 with errno. */
static int resolve(const struct inside *in, const char *path, bool make)
{
    int fd = at_once(in, path);
    if (fd >= 0)
        return fd;
    __attribute__((cleanup(way_clear))) struct way w = { .in = in };
    int root = fcntl(in->root, F_DUPFD_CLOEXEC, 0);
    if (root < 0)
        return -1;
    w.fds[w.depth++] = root;
    gv_buf_add(&w.rest, path, strlen(path));
    if (way_walk(&w, make) < 0)
        return -1;
    return w.fds[--w.depth];
}

/* Words for errors that the system has no good ones for. */
static int explain(const struct inside *in, const char *path, const char *what, struct gv_error *err)
{
    int sys = errno;
    if (sys == EXDEV) {
        inside_failed(in, path, what, 0, err);
        return gv_error_hint(err, "it leads out of %s", in->guest ? "the volume" : "the directory");
    }
    return inside_failed(in, path, what, sys, err);
}

int inside_open(const struct inside *in, const char *path, struct inside_stat *st, struct gv_error *err)
{
    cleanup_close int at = resolve(in, path, false);
    if (at < 0 || inside_stat(in, at, st) < 0)
        return explain(in, path, "cannot open", err);
    if (!S_ISREG(st->mode) && !S_ISDIR(st->mode)) {
        inside_failed(in, path, "cannot read", 0, err);
        return gv_error_hint(err, "it is neither a file nor a directory");
    }
    int fd = inside_reopen(at, O_RDONLY);
    return fd < 0 ? explain(in, path, "cannot open", err) : fd;
}

int inside_make_dir(const struct inside *in, const char *path, struct gv_error *err)
{
    cleanup_close int at = resolve(in, path, true);
    int fd = at < 0 ? -1 : openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? explain(in, path, "cannot make the directory", err) : fd;
}

int inside_parent(const struct inside *in, const char *path, const char **last, struct gv_error *err)
{
    const char *slash = strrchr(path, '/');
    *last = slash ? slash + 1 : path;
    if (!**last || !strcmp(*last, ".") || !strcmp(*last, ".."))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s/%.300s` names no file; add its name", in->path, path);
    cleanup_free char *above = gv_strndup(path, (size_t)(*last - path));
    return inside_make_dir(in, above, err);
}
