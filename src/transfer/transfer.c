/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "transfer/fetch.h"
#include "transfer/libarchive.h"
#include "transfer/move.h"

/* A transfer under way. */
struct job {
    struct move move;
    const struct transfer_request *request;
    struct location from, to;
    struct fileset *set;
};

static void job_clear(struct job *j)
{
    location_clear(&j->from);
    location_clear(&j->to);
    fileset_free(j->set);
}

/* What a location of this machine turns out to be. */
struct local {
    struct inside in;
    char *dir;  /* the path of `in` */
    char *path; /* below it, "" = the directory itself */
};

static void local_clear(struct local *l)
{
    inside_clear(&l->in);
    free(l->dir);
    free(l->path);
}

static int parse(struct job *j, struct gv_error *err)
{
    const struct transfer_request *r = j->request;
    if (location_parse(&j->from, r->from, err) < 0 || location_parse(&j->to, r->to, err) < 0)
        return -1;
    if (j->to.digest_size)
        return gv_error_set(err, GV_E_USAGE, 0, "only what is transferred from can have a hash");
    if (r->format && !archive_format_find(r->format, err))
        return -1;
    return fileset_new(&j->set, r, err);
}

/* ---- places on this machine ------------------------------------------------------------------------------------------------------- */

static int open_volume(const struct transfer_options *o, const char *path, struct local *l, struct gv_error *err)
{
    const char *rest;
    const struct transfer_volume *v = location_volume(o, path, &rest, err);
    if (!v)
        return -1;
    if (!v->name[0] || strchr(v->name, '/') || !strcmp(v->name, ".") || !strcmp(v->name, ".."))
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the runtime calls a volume `%.100s`, which is no name of a directory", v->name);
    cleanup_close int workdir = open(o->workdir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int root = workdir < 0 ? -1 : openat(workdir, v->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root < 0)
        return gv_error_errno(err, "cannot open the volume `%.300s`", v->path);
    l->dir = gv_strndup(v->path, strlen(v->path));
    for (size_t n = strlen(l->dir); n && l->dir[n - 1] == '/';)
        l->dir[--n] = '\0';
    l->path = gv_strdup(rest);
    inside_init(&l->in, root, true, l->dir);
    return 0;
}

/* A path of the host belongs to who calls us: links above its last component are followed, and for a file that is there, the last one too. */
static int open_host(const char *path, struct local *l, struct gv_error *err)
{
    cleanup_free char *real = realpath(path, NULL);
    const char *p = real ? real : path, *slash = strrchr(p, '/');
    struct stat st;
    if (real && stat(real, &st) == 0 && S_ISDIR(st.st_mode)) {
        l->dir = gv_strdup(real);
        l->path = gv_strdup("");
    } else {
        l->dir = !slash ? gv_strdup(".") : slash == p ? gv_strdup("/") : gv_strndup(p, (size_t)(slash - p));
        l->path = gv_strdup(slash ? slash + 1 : p);
    }
    int root = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open the directory `%.300s`", l->dir);
    inside_init(&l->in, root, false, l->dir);
    return 0;
}

static int open_local(const struct job *j, const struct location *at, struct local *l, struct gv_error *err)
{
    *l = (struct local){ .in = { .root = -1 } };
    return at->kind == LOCATION_CONTAINER ? open_volume(j->move.o, at->path, l, err) : open_host(at->path, l, err);
}

/* ---- the first step: one file ----------------------------------------------------------------------------------------------------- */

/* What is to be sent or made: a file that can be read from its beginning. */
struct payload {
    int fd;
    uint64_t size;
    mode_t mode; /* of the source; 0 = it has none */
};

static int no_directory(const struct job *j, struct gv_error *err)
{
    return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is a directory; say in which `format` it is to be packed", j->request->from);
}

static int file_size(struct payload *p, struct gv_error *err)
{
    struct stat st;
    if (fstat(p->fd, &st) < 0)
        return gv_error_errno(err, "cannot read what was written");
    p->size = (uint64_t)st.st_size;
    return 0;
}

static int copy_checked(struct job *j, int from, uint64_t size, int to, struct gv_error *err)
{
    struct check check;
    j->move.total = size;
    check_init(&check, &j->from);
    int result = copy_file(&j->move, from, size, to, &check, err);
    if (result < 0)
        gv_error_prefix(err, "transferring `%.300s`", j->from.path);
    else
        result = check_end(&check, err);
    check_clear(&check);
    return result;
}

/* Writes what is at `from` into the file `to`. p->mode is filled. */
static int local_into(struct job *j, int to, struct payload *p, struct gv_error *err)
{
    struct local l;
    struct inside_stat st;
    int result = open_local(j, &j->from, &l, err);
    cleanup_close int fd = result < 0 ? -1 : inside_open(&l.in, l.path, &st, err);
    if (fd < 0)
        result = -1;
    else if (S_ISREG(st.mode))
        result = copy_checked(j, fd, st.size, to, err);
    else if (!j->request->format)
        result = no_directory(j, err);
    else if (j->from.digest_size)
        result = gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is a directory, which has no hash", j->request->from);
    else
        result = pack_dir(&j->move, &l.in, fd, j->set, j->request->format, to, err);
    if (result == 0 && S_ISREG(st.mode))
        p->mode = st.mode;
    local_clear(&l);
    return result;
}

/* The same for any source. */
static int source_into(struct job *j, int to, struct payload *p, struct gv_error *err)
{
    return j->from.kind == LOCATION_HTTP ? fetch_into(&j->move, &j->from, to, err) : local_into(j, to, p, err);
}

/* A source that can be read where it is; a directory, or what comes from a server, is written to a file without a name before. With `verified` what is
 * read must have the right hash already. */
static int source_open(struct job *j, bool verified, struct payload *p, struct gv_error *err)
{
    *p = (struct payload){ .fd = -1 };
    if (j->from.kind != LOCATION_HTTP && !(verified && j->from.digest_size)) {
        struct local l;
        struct inside_stat st = { 0 };
        int result = open_local(j, &j->from, &l, err);
        cleanup_close int fd = result < 0 ? -1 : inside_open(&l.in, l.path, &st, err);
        local_clear(&l);
        if (fd < 0)
            return -1;
        if (S_ISREG(st.mode)) {
            p->fd = steal_fd(&fd);
            return file_size(p, err);
        }
    }
    p->fd = gv_scratch_file(err);
    if (p->fd < 0 || source_into(j, p->fd, p, err) < 0)
        return -1;
    return file_size(p, err);
}

/* ---- the second step -------------------------------------------------------------------------------------------------------------- */

static int to_server(struct job *j, struct gv_error *err)
{
    struct payload p;
    int result = source_open(j, false, &p, err);
    cleanup_close int fd = p.fd;
    j->move.done = 0;
    return result < 0 ? -1 : fetch_out(&j->move, fd, p.size, &j->from, &j->to, err);
}

/* A name on the host that is neither a file nor a directory is written into: /dev/null, a pipe. */
static int to_special(struct job *j, const char *path, struct gv_error *err)
{
    struct payload p;
    int result = source_open(j, true, &p, err);
    cleanup_close int fd = p.fd;
    cleanup_close int to = result < 0 ? -1 : open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    cleanup_free unsigned char *chunk = gv_alloc(65536);
    if (result < 0)
        return -1;
    for (uint64_t at = 0; to >= 0 && at < p.size;) {
        ssize_t n = gv_pread_full(fd, chunk, 65536, at);
        if (n <= 0 || gv_write_full(to, chunk, (size_t)n) < 0)
            return gv_error_errno(err, "cannot write `%.300s`", path);
        at += (uint64_t)n;
        if (move_more(&j->move, 0, err) < 0)
            return -1;
    }
    return to < 0 ? gv_error_errno(err, "cannot open `%.300s`", path) : 0;
}

static int to_file(struct job *j, struct local *l, struct gv_error *err)
{
    struct inside_file f;
    struct payload p = { .fd = -1 };
    const char *last;
    int dir = inside_parent(&l->in, l->path, &last, err);
    if (dir < 0)
        return -1;
    cleanup_close int before = inside_at(dir, last);
    int result = inside_file_open(&f, &l->in, dir, l->path, err);
    if (result == 0)
        result = source_into(j, f.fd, &p, err);
    /* A program stays one. What a guest says of a file does not let others of the host write it. */
    if (result == 0 && before < 0 && p.mode)
        f.owner.mode = p.mode & (l->in.guest ? 0777 : 0755);
    if (result == 0)
        return inside_file_commit(&f, err);
    inside_file_discard(&f);
    return result;
}

static int to_directory(struct job *j, struct local *l, struct gv_error *err)
{
    struct payload p;
    int result = source_open(j, true, &p, err);
    cleanup_close int fd = p.fd;
    int dir = result < 0 ? -1 : inside_make_dir(&l->in, l->path, err);
    if (dir < 0)
        return -1;
    cleanup_free char *path = gv_asprintf("%s%s%s", l->dir, l->path[0] ? "/" : "", l->path);
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/';)
        path[--n] = '\0';
    struct inside in;
    inside_init(&in, dir, l->in.guest, path);
    in.mapped = l->in.mapped;
    j->move.done = 0;
    j->move.total = TRANSFER_SIZE_UNKNOWN;
    result = unpack_file(&j->move, fd, p.size, &in, j->set, j->request->format, err);
    inside_clear(&in);
    return result;
}

static bool ends_with_slash(const char *path)
{
    size_t n = strlen(path);
    return n && path[n - 1] == '/';
}

/* Whether an archive is to be unpacked here: in the container always; on the host when it is said to be a directory, or is one. */
static bool wants_unpacking(const struct job *j)
{
    struct stat st;
    if (!j->request->format)
        return false;
    return j->to.kind == LOCATION_CONTAINER || ends_with_slash(j->to.path) || (stat(j->to.path, &st) == 0 && S_ISDIR(st.st_mode));
}

static int to_local(struct job *j, struct gv_error *err)
{
    struct local l;
    struct stat st;
    bool host = j->to.kind == LOCATION_FILE;
    if (host && stat(j->to.path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return to_special(j, j->to.path, err);
    bool unpack = wants_unpacking(j);
    if (host && unpack && gv_mkdir_p(j->to.path, 0755, err) < 0)
        return -1;
    int result = open_local(j, &j->to, &l, err);
    if (result == 0)
        result = unpack ? to_directory(j, &l, err) : to_file(j, &l, err);
    local_clear(&l);
    return result;
}

int transfer_run(const struct transfer_options *o, const struct transfer_request *r, struct gv_error *err)
{
    struct job j = { .move = { .o = o, .total = TRANSFER_SIZE_UNKNOWN }, .request = r };
    int result = parse(&j, err);
    if (result == 0)
        result = j.to.kind == LOCATION_HTTP ? to_server(&j, err) : to_local(&j, err);
    job_clear(&j);
    return result;
}
