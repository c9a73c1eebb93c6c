/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "transfer/libarchive.h"
#include "transfer/move.h"

#define CHUNK ((size_t)256 << 10)
#define NAMES_MAX 1000000U          /* in one directory */
#define METADATA ".virtfs_metadata" /* where 9p keeps what the file system cannot; the guest does not see it */
#define BUCKETS 4096U
#define LINKS_MAX                                                                                                                          \
    ((size_t)64 << 20) /* bytes of what is remembered of files with several names; with more, further names become further files */

/* The first name of a file that has several. */
struct known {
    struct known *next;
    dev_t device;
    ino_t inode;
    char name[];
};

struct packer {
    const struct archive_api *api;
    struct archive *a;
    struct move *m;
    const struct inside *in;
    const struct fileset *set;
    unsigned char *chunk;
    struct gv_buf path;
    const struct copying *copying; /* NULL = for a transfer */
    struct known **known;          /* of copying: BUCKETS */
    size_t known_size;
};

static int archive_failed(const struct packer *p, struct gv_error *err)
{
    const char *why = p->api->error_string(p->a);
    return gv_error_set(err, GV_E_IO, 0, "cannot write the archive: %s", why ? why : "no reason given");
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory, sorted, so that the same files make the same archive. */
static int list_names(int dir, const char *path, struct gv_strv *names, struct gv_error *err)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        return gv_error_set(err, GV_E_IO, sys, "cannot read the directory `%s`", path);
    }
    int result = 0;
    errno = 0;
    for (struct dirent *e; result == 0 && (e = readdir(d)); errno = 0) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !strcmp(e->d_name, METADATA))
            continue;
        if (names->count == NAMES_MAX)
            result = gv_error_set(err, GV_E_LIMIT, 0, "the directory `%s` has more than %u names", path, NAMES_MAX);
        else
            gv_strv_add(names, e->d_name);
    }
    if (result == 0 && errno)
        result = gv_error_errno(err, "cannot read the directory `%s`", path);
    closedir(d);
    if (names->count)
        qsort(names->items, names->count, sizeof(*names->items), compare_names);
    return result;
}

static int write_header(struct packer *p, const struct inside_stat *st, const char *target, const char *hard, struct gv_error *err)
{
    bool owners = p->copying ? p->copying->owners : p->in->guest;
    const struct archive_api *api = p->api;
    struct archive_entry *e = api->entry_new();
    if (!e)
        return gv_error_set(err, GV_E_INTERNAL, 0, "libarchive has no memory");
    api->entry_set_pathname(e, gv_buf_str(&p->path));
    api->entry_set_filetype(e, st->mode & S_IFMT);
    api->entry_set_perm(e, st->mode & 07777);
    api->entry_set_uid(e, owners ? st->uid : 0);
    api->entry_set_gid(e, owners ? st->gid : 0);
    api->entry_set_mtime(e, st->mtime.tv_sec, p->copying ? st->mtime.tv_nsec : 0);
    api->entry_set_size(e, S_ISREG(st->mode) && !hard ? (int64_t)st->size : 0);
    if (target)
        api->entry_set_symlink(e, target);
    if (hard)
        api->entry_set_hardlink(e, hard);
    int status = api->write_header(p->a, e);
    api->entry_free(e);
    return status < ARCHIVE_WARN ? archive_failed(p, err) : 0;
}

static int pack_data(struct packer *p, int fd, uint64_t size, struct gv_error *err)
{
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        ssize_t got = gv_pread_full(fd, p->chunk, n, at);
        if (got != (ssize_t)n)
            return gv_error_set(err, GV_E_IO, got < 0 ? errno : 0, "cannot read `%s`%s", gv_buf_str(&p->path),
                                got < 0 ? "" : ": it has become shorter");
        if (p->api->write_data(p->a, p->chunk, n) != (la_ssize_t)n)
            return archive_failed(p, err);
        at += n;
        if (move_more(p->m, n, err) < 0)
            return -1;
    }
    return 0;
}

/* The name of a file that has been packed already; NULL for one that has not, which is remembered. */
static const char *known_name(struct packer *p, const struct stat *st)
{
    struct known **bucket = &p->known[(st->st_ino ^ st->st_dev) % BUCKETS];
    for (const struct known *k = *bucket; k; k = k->next)
        if (k->inode == st->st_ino && k->device == st->st_dev)
            return k->name;
    size_t n = p->path.len + 1;
    if (p->known_size + sizeof(struct known) + n > LINKS_MAX)
        return NULL;
    struct known *k = gv_alloc(sizeof(*k) + n);
    *k = (struct known){ .next = *bucket, .device = st->st_dev, .inode = st->st_ino };
    memcpy(k->name, gv_buf_str(&p->path), n);
    p->known_size += sizeof(*k) + n;
    *bucket = k;
    return NULL;
}

static void forget_known(struct packer *p)
{
    for (size_t i = 0; p->known && i < BUCKETS; i++)
        for (struct known *k = p->known[i], *next; k; k = next) {
            next = k->next;
            free(k);
        }
    free(p->known);
}

static int pack_file(struct packer *p, int at, struct inside_stat *st, struct gv_error *err)
{
    cleanup_close int fd = inside_reopen(at, O_RDONLY);
    struct stat now;
    if (fd < 0 || fstat(fd, &now) < 0)
        return gv_error_errno(err, "cannot open `%s`", gv_buf_str(&p->path));
    st->size = (uint64_t)now.st_size;
    const char *first = p->copying && now.st_nlink > 1 ? known_name(p, &now) : NULL;
    if (write_header(p, st, NULL, first, err) < 0)
        return -1;
    return first ? 0 : pack_data(p, fd, st->size, err);
}

static int pack_link(struct packer *p, int at, const struct inside_stat *st, struct gv_error *err)
{
    char target[INSIDE_LINK_MAX + 1];
    if (inside_read_link(p->in, at, target) < 0)
        return gv_error_errno(err, "cannot read the link `%s`", gv_buf_str(&p->path));
    return write_header(p, st, target, NULL, err);
}

/* Directories that are being packed, the innermost last. */
struct level {
    int fd;
    struct gv_strv names;
    size_t next, path_size;
};

static int enter(struct packer *p, struct level *levels, size_t *count, int fd, struct gv_error *err)
{
    struct level *l = &levels[(*count)++];
    *l = (struct level){ .fd = fd, .path_size = p->path.len };
    return list_names(fd, p->path.len ? gv_buf_str(&p->path) : p->in->path, &l->names, err);
}

static void leave(struct level *levels, size_t *count)
{
    struct level *l = &levels[--*count];
    close(l->fd);
    gv_strv_clear(&l->names);
}

/* Packs what at, of O_PATH, is of. *into is the directory to go on in, -1 if there is none. */
static int pack_at(struct packer *p, int at, size_t levels, int *into, struct gv_error *err)
{
    struct inside_stat st;
    if (inside_stat(p->in, at, &st) < 0)
        return gv_error_errno(err, "cannot look at `%s`", gv_buf_str(&p->path));
    bool wanted = !p->set || fileset_has(p->set, gv_buf_str(&p->path));
    if (S_ISDIR(st.mode)) {
        if (wanted && p->path.len && write_header(p, &st, NULL, NULL, err) < 0)
            return -1;
        if (p->set && !fileset_enters(p->set, levels + 1))
            return 0;
        if (levels + 1 >= INSIDE_DEPTH_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "`%s` is more than %u directories deep", gv_buf_str(&p->path), INSIDE_DEPTH_MAX);
        *into = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return *into < 0 ? gv_error_errno(err, "cannot open `%s`", gv_buf_str(&p->path)) : 0;
    }
    if (!wanted)
        return 0;
    if (S_ISREG(st.mode))
        return pack_file(p, at, &st, err);
    if (S_ISLNK(st.mode))
        return pack_link(p, at, &st, err);
    gv_note(p->m->o->log, "`%s` is neither a file nor a directory nor a link, and is left out", gv_buf_str(&p->path));
    return 0;
}

/* Packs one name of a directory. */
static int pack_name(struct packer *p, int dir, const char *name, size_t levels, int *into, struct gv_error *err)
{
    cleanup_close int at = inside_at(dir, name);
    if (at < 0 && errno == ENOENT)
        return 0; /* gone since the directory was read */
    return at < 0 ? gv_error_errno(err, "cannot look at `%s`", gv_buf_str(&p->path)) : pack_at(p, at, levels, into, err);
}

/* Packs what is in a directory, which is taken over. */
static int pack_tree(struct packer *p, int top, struct gv_error *err)
{
    struct level levels[INSIDE_DEPTH_MAX + 1];
    size_t count = 0;
    int result = enter(p, levels, &count, top, err);
    while (result == 0 && count) {
        struct level *l = &levels[count - 1];
        p->path.len = l->path_size;
        if (l->next == l->names.count) {
            leave(levels, &count);
            continue;
        }
        const char *name = l->names.items[l->next++];
        int into = -1;
        gv_buf_addf(&p->path, "%s%s", l->path_size ? "/" : "", name);
        if (p->path.len > UNPACK_PATH_MAX)
            result = gv_error_set(err, GV_E_LIMIT, 0, "a path has more than %u bytes", UNPACK_PATH_MAX);
        else
            result = pack_name(p, l->fd, name, count - 1, &into, err);
        if (result == 0 && into >= 0)
            result = enter(p, levels, &count, into, err);
        if (result == 0)
            result = move_more(p->m, 0, err);
    }
    while (count)
        leave(levels, &count);
    return result;
}

static int open_archive(struct packer *p, const struct archive_format *f, int fd, struct gv_error *err)
{
    const struct archive_api *api = p->api;
    int status = f->zip       ? api->write_set_format_zip(p->a)
                 : p->copying ? api->write_set_format_pax(p->a) /* has nanoseconds in any case */
                              : api->write_set_format_pax_restricted(p->a);
    if (status >= ARCHIVE_WARN && f->stored)
        status = api->write_zip_set_compression_store(p->a);
    if (status >= ARCHIVE_WARN && f->filter != FILTER_NONE)
        status = f->filter == FILTER_GZIP    ? api->write_add_filter_gzip(p->a)
                 : f->filter == FILTER_BZIP2 ? api->write_add_filter_bzip2(p->a)
                                             : api->write_add_filter_xz(p->a);
    if (status >= ARCHIVE_WARN)
        status = api->write_open_fd(p->a, fd);
    return status < ARCHIVE_WARN ? archive_failed(p, err) : 0;
}

static int pack_begin(struct packer *p, const struct archive_format *f, int fd, struct archive_locale *locale, struct gv_error *err)
{
    p->api = archive_load(err);
    if (!p->api)
        return -1;
    p->a = p->api->write_new();
    if (!p->a)
        return gv_error_set(err, GV_E_INTERNAL, 0, "libarchive has no memory");
    p->chunk = gv_alloc(CHUNK);
    archive_locale_begin(locale);
    return open_archive(p, f, fd, err);
}

static int pack_end(struct packer *p, int result, struct archive_locale *locale, struct gv_error *err)
{
    if (result == 0 && p->api->write_close(p->a) < ARCHIVE_WARN)
        result = archive_failed(p, err);
    if (p->a) {
        /* Else libarchive would fill what is missing with zeros, and put an end to it that looks like one. */
        if (result < 0)
            p->api->write_fail(p->a);
        p->api->write_free(p->a);
        archive_locale_end(locale);
    }
    free(p->chunk);
    gv_buf_clear(&p->path);
    return result;
}

int pack_dir(struct move *m, const struct inside *in, int dir, const struct fileset *set, const char *format, int fd, struct gv_error *err)
{
    const struct archive_format *f = archive_format_find(format, err);
    struct packer p = { .m = m, .in = in, .set = set };
    struct archive_locale locale;
    int top = f ? openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (top < 0)
        return f ? gv_error_errno(err, "cannot open the directory `%s`", in->path) : -1;
    int result = pack_begin(&p, f, fd, &locale, err);
    if (result == 0)
        result = pack_tree(&p, top, err);
    else
        close(top);
    return pack_end(&p, result, &locale, err);
}

int pack_one(struct move *m, int at, const char *path, const struct copying *c, int fd, struct gv_error *err)
{
    const struct inside in = { .root = -1, .path = path };
    struct packer p = { .m = m, .in = &in, .copying = c, .known = gv_calloc(BUCKETS, sizeof(struct known *)) };
    struct archive_locale locale;
    int into = -1;
    gv_buf_addf(&p.path, "%s", c->name);
    int result = pack_begin(&p, archive_format_find("tar", err), fd, &locale, err);
    if (result == 0)
        result = pack_at(&p, at, 0, &into, err);
    if (result == 0 && into >= 0)
        result = pack_tree(&p, into, err);
    forget_known(&p);
    return pack_end(&p, result, &locale, err);
}
