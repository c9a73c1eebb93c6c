/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nothing of an archive is believed: libarchive reads its form, and which names, links and sizes become files is decided here. What would lead
 * out of the directory, and what is no file, directory or link, fails the transfer by name, because leaving it out would be a loss that nobody sees.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "transfer/libarchive.h"
#include "transfer/move.h"

#define UNPACKED_MAX ((uint64_t)64 << 30)
#define BOMB_FREE ((uint64_t)1 << 30) /* from here on it must not have grown by more than */
#define BOMB_RATIO 200U
#define FILE_READ ((size_t)256 << 10)
#define STREAM_READ ((size_t)64 << 10) /* what a pipe holds */
#define HOLE 4096U                     /* so many zeros of a stream become a hole */

struct unpacker {
    const struct archive_api *api;
    struct archive *a;
    struct move *m;
    const struct inside *in;
    const struct fileset *set;
    uint64_t packed, unpacked;
    unsigned entries;
    const struct copying *copying; /* NULL = for a transfer */
};

char *unpack_name(const char *name, struct gv_error *err)
{
    cleanup_buf struct gv_buf out = { 0 };
    size_t components = 0;
    if (name[0] == '/' || strlen(name) > UNPACK_PATH_MAX) {
        gv_error_set(err, GV_E_FORMAT, 0, "the archive has the name `%.200s`, which is %s", name, name[0] == '/' ? "absolute" : "too long");
        return NULL;
    }
    for (const char *p = name; *p; p += strspn(p, "/")) {
        size_t n = strcspn(p, "/");
        bool up = n == 2 && !strncmp(p, "..", 2);
        if (up || n > NAME_MAX || ++components > INSIDE_DEPTH_MAX) {
            gv_error_set(err, GV_E_FORMAT, 0, "the archive has the name `%.200s`, which %s", name,
                         up ? "leads out of it" : "is too long or too deep");
            return NULL;
        }
        if (n != 1 || *p != '.')
            gv_buf_addf(&out, "%s%.*s", out.len ? "/" : "", (int)n, p);
        p += n;
    }
    return gv_strdup(gv_buf_str(&out));
}

/* Only ".." at the beginning, and no more of them than there are directories above: what comes after a name could be another link's way out. */
bool unpack_link_stays(const char *target, size_t levels)
{
    bool named = false;
    if (target[0] == '/')
        return false;
    for (const char *p = target; *p; p += strspn(p, "/")) {
        size_t n = strcspn(p, "/");
        if (n == 2 && !strncmp(p, "..", 2)) {
            if (named || levels == 0)
                return false;
            levels--;
        } else if (n != 1 || *p != '.') {
            named = true;
        }
        p += n;
    }
    return true;
}

static int archive_failed(const struct unpacker *u, struct gv_error *err)
{
    const char *why = u->api->error_string(u->a);
    return gv_error_set(err, GV_E_FORMAT, 0, "cannot read the archive: %s", why ? why : "no reason given");
}

static int take_bytes(struct unpacker *u, uint64_t n, struct gv_error *err)
{
    uint64_t max = u->m->o->max_unpacked ? u->m->o->max_unpacked : UNPACKED_MAX;
    if (__builtin_add_overflow(u->unpacked, n, &u->unpacked) || u->unpacked > max)
        return gv_error_set(err, GV_E_LIMIT, 0, "the archive unpacks to more than the %llu bytes that are allowed",
                            (unsigned long long)max);
    if (u->unpacked > BOMB_FREE && u->unpacked / BOMB_RATIO > u->packed)
        return gv_error_set(err, GV_E_LIMIT, 0, "the archive unpacks to more than %u times its size", BOMB_RATIO);
    return move_more(u->m, u->copying ? n : 0, err);
}

static bool all_zero(const unsigned char *p, size_t n)
{
    return p[0] == 0 && !memcmp(p, p + 1, n - 1);
}

static size_t piece_of(size_t n)
{
    return n < HOLE ? n : HOLE;
}

/* A guest sends the holes of its files as zeros. A block ends anywhere, also in the middle of one. */
static int put_block(const struct unpacker *u, int fd, const void *block, size_t size, uint64_t offset)
{
    const unsigned char *p = block;
    if (!u->copying)
        return gv_pwrite_full(fd, p, size, offset);
    for (size_t at = 0, end; at < size; at = end + piece_of(size - end)) {
        for (end = at; end < size && !all_zero(p + end, piece_of(size - end));)
            end += piece_of(size - end);
        if (end > at && gv_pwrite_full(fd, p + at, end - at, offset + at) < 0)
            return -1;
    }
    return 0;
}

/* size: what the header says, 0 if it says nothing: a hole at the end is in no block. */
static int unpack_data(struct unpacker *u, int fd, uint64_t size, struct gv_error *err)
{
    const void *block;
    size_t n;
    la_int64_t offset;
    uint64_t end = 0;
    for (int status; (status = u->api->read_data_block(u->a, &block, &n, &offset)) != ARCHIVE_EOF;) {
        if (status < ARCHIVE_WARN)
            return archive_failed(u, err);
        uint64_t to;
        if (offset < 0 || __builtin_add_overflow((uint64_t)offset, n, &to) || to > INT64_MAX || (uint64_t)offset < end)
            return gv_error_set(err, GV_E_FORMAT, 0, "the archive has data at an impossible place");
        if (take_bytes(u, to - end, err) < 0)
            return -1;
        if (put_block(u, fd, block, n, (uint64_t)offset) < 0)
            return gv_error_errno(err, "cannot write");
        end = to;
    }
    if (size > end) {
        if (take_bytes(u, size - end, err) < 0)
            return -1;
        end = size;
    }
    return ftruncate(fd, (off_t)end) < 0 ? gv_error_errno(err, "cannot write") : 0;
}

static void owner_here(const struct unpacker *u, int dir, mode_t mode, struct inside_owner *owner)
{
    struct inside_stat st = { 0 };
    (void)inside_stat(u->in, dir, &st);
    *owner = (struct inside_owner){ .uid = st.uid, .gid = st.gid, .mode = mode & 0777 };
    if (u->copying)
        owner->mode &= ~u->copying->umask;
}

static int make_file(struct unpacker *u, struct archive_entry *e, int dir, const char *name, struct gv_error *err)
{
    struct inside_file f;
    int64_t size = u->api->entry_size_is_set(e) ? u->api->entry_size(e) : 0;
    int result = inside_file_open(&f, u->in, dir, name, err);
    if (result == 0)
        owner_here(u, f.dir, u->api->entry_perm(e), &f.owner);
    if (result == 0 && unpack_data(u, f.fd, size > 0 ? (uint64_t)size : 0, err) < 0)
        result = gv_error_prefix(err, "unpacking `%.200s`", name);
    if (result == 0 && u->api->entry_mtime_is_set(e)) {
        const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
                                           { .tv_sec = u->api->entry_mtime(e), .tv_nsec = u->api->entry_mtime_nsec(e) } };
        (void)futimens(f.fd, times); /* a time that the file system cannot keep is no loss of data */
    }
    if (result == 0)
        return inside_file_commit(&f, err);
    inside_file_discard(&f);
    return result;
}

/* Whether a directory has to be made, and stays as it is otherwise. -1 with err. */
static int is_missing(struct unpacker *u, const char *name, struct gv_error *err)
{
    const char *last;
    cleanup_close int dir = inside_parent(u->in, name, &last, err);
    cleanup_close int at = dir < 0 ? -1 : inside_at(dir, last);
    return dir < 0 ? -1 : at < 0;
}

static int make_dir(struct unpacker *u, struct archive_entry *e, const char *name, struct gv_error *err)
{
    struct inside_owner owner;
    int missing = u->copying ? is_missing(u, name, err) : 1;
    cleanup_close int fd = missing < 0 ? -1 : inside_make_dir(u->in, name, err);
    if (fd < 0)
        return -1;
    if (!missing)
        return 0;
    owner_here(u, fd, u->api->entry_perm(e), &owner);
    if (inside_give(u->in, fd, S_IFDIR, &owner) < 0)
        return inside_failed(u->in, name, "cannot set the mode of", errno, err);
    return 0;
}

static int make_link(struct unpacker *u, int dir, const char *name, const char *last, const char *target, struct gv_error *err)
{
    struct inside_owner owner;
    size_t levels = 0;
    for (const char *p = name; (p = strchr(p, '/')); p++)
        levels++;
    if (!target || !target[0] || strlen(target) > INSIDE_LINK_MAX)
        return gv_error_set(err, GV_E_FORMAT, 0, "the archive has a link `%.200s` without a target, or with one that is too long", name);
    /* The guest's links are its own affair: we follow them only inside. On the host somebody else would follow them, unless he knows that they are a guest's. */
    if (!u->in->guest && !u->copying && !unpack_link_stays(target, levels))
        return gv_error_set(err, GV_E_FORMAT, 0, "the archive has a link `%.200s` to `%.200s`, which may lead out of the directory", name,
                            target);
    owner_here(u, dir, 0777, &owner);
    if (inside_symlink(u->in, dir, last, target, &owner) < 0)
        return inside_failed(u->in, name, "cannot make the link", errno, err);
    return 0;
}

/* What is copied has one name, and nothing else of the directory is its business. */
static int check_asked_for(const struct unpacker *u, const char *name, struct gv_error *err)
{
    const char *only = u->copying ? u->copying->name : "";
    size_t n = strlen(only);
    if (n == 0 || (!strncmp(name, only, n) && (!name[n] || name[n] == '/')))
        return 0;
    return gv_error_set(err, GV_E_FORMAT, 0, "the archive has the name `%.200s`, which was not asked for", name);
}

/* A further name for a file that the archive had before. */
static int make_hard_link(struct unpacker *u, int dir, const char *name, const char *last, const char *target, struct gv_error *err)
{
    const char *old_last;
    cleanup_free char *old = unpack_name(target, err);
    if (!old || check_asked_for(u, old, err) < 0)
        return -1;
    cleanup_close int old_dir = inside_parent(u->in, old, &old_last, err);
    if (old_dir < 0)
        return -1;
    if (!strcmp(old, name) || linkat(old_dir, old_last, dir, last, 0) == 0)
        return 0;
    /* What has the name already is replaced, as by any other entry. */
    if (errno == EEXIST && unlinkat(dir, last, 0) == 0 && linkat(old_dir, old_last, dir, last, 0) == 0)
        return 0;
    return inside_failed(u->in, name, "cannot link", errno, err);
}

static int unpack_entry(struct unpacker *u, struct archive_entry *e, struct gv_error *err)
{
    const struct archive_api *api = u->api;
    const char *raw = api->entry_pathname(e), *hard = api->entry_hardlink(e), *last;
    if (!raw)
        return gv_error_set(err, GV_E_FORMAT, 0, "the archive has a name that cannot be read");
    if (++u->entries > UNPACK_ENTRIES_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the archive has more than %u files", UNPACK_ENTRIES_MAX);
    cleanup_free char *name = unpack_name(raw, err);
    if (!name)
        return -1;
    if (!name[0] || (u->set && !fileset_has(u->set, name)))
        return 0;
    if (check_asked_for(u, name, err) < 0)
        return -1;
    unsigned type = api->entry_filetype(e);
    if (!hard && type == AE_IFDIR)
        return make_dir(u, e, name, err);
    if (!hard && type != AE_IFREG && type != AE_IFLNK && u->copying) {
        gv_warn(u->m->o->log, "`%s` is neither a file nor a directory nor a link, and is left out", name);
        return 0;
    }
    if (!hard && type != AE_IFREG && type != AE_IFLNK)
        return gv_error_set(err, GV_E_FORMAT, 0, "the archive has `%.200s`, which is neither a file nor a directory nor a link", name);
    cleanup_close int dir = inside_parent(u->in, name, &last, err);
    if (dir < 0)
        return -1;
    if (hard)
        return make_hard_link(u, dir, name, last, hard, err);
    if (type == AE_IFLNK)
        return make_link(u, dir, name, last, api->entry_symlink(e), err);
    return make_file(u, e, steal_fd(&dir), name, err);
}

static int open_archive(struct unpacker *u, const struct archive_format *f, int fd, struct gv_error *err)
{
    const struct archive_api *api = u->api;
    int status = f->zip ? api->read_support_format_zip(u->a) : api->read_support_format_tar(u->a);
    if (status >= ARCHIVE_WARN && f->filter != FILTER_NONE)
        status = f->filter == FILTER_GZIP    ? api->read_support_filter_gzip(u->a)
                 : f->filter == FILTER_BZIP2 ? api->read_support_filter_bzip2(u->a)
                                             : api->read_support_filter_xz(u->a);
    if (status >= ARCHIVE_WARN && !u->copying && lseek(fd, 0, SEEK_SET) < 0)
        status = ARCHIVE_FATAL;
    if (status >= ARCHIVE_WARN)
        status = api->read_open_fd(u->a, fd, u->copying ? STREAM_READ : FILE_READ);
    if (status >= ARCHIVE_WARN)
        return 0;
    archive_failed(u, err);
    return gv_error_hint(err, "is it a %s?", f->name);
}

static int unpack_all(struct unpacker *u, struct gv_error *err)
{
    for (;;) {
        struct archive_entry *e;
        int status = u->api->read_next_header(u->a, &e);
        if (status == ARCHIVE_EOF)
            return 0;
        if (status < ARCHIVE_WARN)
            return archive_failed(u, err);
        if (unpack_entry(u, e, err) < 0 || move_more(u->m, 0, err) < 0)
            return -1;
    }
}

static int unpack(struct unpacker *u, int fd, const struct archive_format *f, struct gv_error *err)
{
    struct archive_locale locale;
    u->api = archive_load(err);
    if (!u->api)
        return -1;
    u->a = u->api->read_new();
    if (!u->a)
        return gv_error_set(err, GV_E_INTERNAL, 0, "libarchive has no memory");
    archive_locale_begin(&locale);
    int result = open_archive(u, f, fd, err);
    if (result == 0)
        result = unpack_all(u, err);
    u->api->read_free(u->a);
    archive_locale_end(&locale);
    return result;
}

int unpack_file(struct move *m, int fd, uint64_t size, const struct inside *in, const struct fileset *set, const char *format,
                struct gv_error *err)
{
    const struct archive_format *f = archive_format_find(format, err);
    struct unpacker u = { .m = m, .in = in, .set = set, .packed = size };
    return f ? unpack(&u, fd, f, err) : -1;
}

int unpack_stream(struct move *m, int fd, const struct inside *in, const struct copying *c, struct gv_error *err)
{
    /* Nothing is packed in it, so it cannot be a bomb. */
    struct unpacker u = { .m = m, .in = in, .packed = UINT64_MAX, .copying = c };
    if (unpack(&u, fd, archive_format_find("tar", err), err) < 0)
        return -1;
    return u.entries ? 0 : gv_error_set(err, GV_E_FORMAT, 0, "the archive is empty");
}
