/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "source/store.h"
#include "source/tar.h"

#define MEMBERS_MAX 100000
#define MEMBER_NAME_MAX 1024
#define LINKS_MAX 8

struct member {
    char *name; /* normalised: no leading, doubled or trailing slash, no "." */
    char *link; /* the member it stands for, normalised; NULL for a file */
    uint64_t offset, size;
    size_t order; /* in the archive */
};

struct archive {
    bool directory;
    bool layer;    /* the file as a whole is the only blob */
    int fd;        /* of the directory, of the tar, or of what it was unpacked to */
    uint64_t size; /* of the tar, if layer */
    uint64_t input_bytes;
    const struct archive_ops *ops; /* not NULL: the blobs are elsewhere, and only `user` is used besides */
    void *user;
    struct member *members; /* sorted by name */
    size_t count;
};

void archive_close(struct archive *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->count; i++) {
        free(a->members[i].name);
        free(a->members[i].link);
    }
    free(a->members);
    if (a->ops && a->ops->release)
        a->ops->release(a->user);
    if (a->fd >= 0)
        close(a->fd);
    free(a);
}

uint64_t archive_input_bytes(const struct archive *a)
{
    return a->input_bytes;
}

void blob_close(struct blob *b)
{
    if (b->fd >= 0 && !b->shared)
        close(b->fd);
    *b = (struct blob)BLOB_INIT;
}

/* The path `name`, taken from the directory of `base` when that is not NULL, without ".", ".." and empty parts. NULL when it leaves the
 * archive or is too long. */
static char *normalise(const char *base, const char *name)
{
    cleanup_buf struct gv_buf out = { 0 };
    if (base && name[0] != '/') {
        const char *slash = strrchr(base, '/');
        if (slash)
            gv_buf_add(&out, base, (size_t)(slash - base));
    }
    for (const char *p = name;;) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/");
        if (len == 0)
            break;
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            if (out.len == 0)
                return NULL;
            while (out.len && out.data[out.len - 1] != '/')
                out.len--;
            if (out.len)
                out.len--;
        } else if (len != 1 || p[0] != '.') {
            if (out.len)
                gv_buf_add(&out, "/", 1);
            gv_buf_add(&out, p, len);
        }
        if (out.len > MEMBER_NAME_MAX)
            return NULL;
        p += len;
    }
    return gv_strdup(gv_buf_str(&out));
}

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    /* Of several members with one name the last in the archive counts; it comes first here. */
    return c ? c : x->order < y->order ? 1 : -1;
}

static int add_member(struct archive *a, const struct tar_entry *e, size_t *cap, struct gv_error *err)
{
    if (e->type != TAR_FILE && e->type != TAR_HARDLINK && e->type != TAR_SYMLINK)
        return 0;
    if (e->sparse)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "member `%.200s` is stored as a sparse file", e->path);
    if (a->count >= MEMBERS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "it has more than %d members", MEMBERS_MAX);
    cleanup_free char *name = normalise(NULL, e->path), *link = NULL;
    if (!name)
        return gv_error_set(err, GV_E_FORMAT, 0, "member `%.200s` has a name that leads out of the archive or is too long", e->path);
    if (e->type != TAR_FILE) {
        link = normalise(e->type == TAR_SYMLINK ? name : NULL, e->link);
        if (!link)
            return gv_error_set(err, GV_E_FORMAT, 0, "member `%.200s` is a link that leads out of the archive", e->path);
    }
    if (a->count == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        a->members = gv_reallocarray(a->members, *cap, sizeof(*a->members));
    }
    a->members[a->count] = (struct member){ .name = steal_ptr(name), .link = steal_ptr(link), .offset = e->offset, .size = e->size };
    a->members[a->count].order = a->count;
    a->count++;
    return 0;
}

bool archive_name_of_root(const char *name, size_t n)
{
    static const char *const names[] = { "bin", "boot", "dev",  "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt",
                                         "opt", "proc", "root", "run", "sbin", "srv", "sys",   "tmp",   "usr",    "var",   ".dockerenv" };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0)
            return true;
    return false;
}

/* Whether the member belongs to a root file system. No archive of images has such names. */
static bool belongs_to_root(const char *path)
{
    while (*path == '/' || (path[0] == '.' && path[1] == '/'))
        path++;
    return archive_name_of_root(path, strcspn(path, "/"));
}

/* Whether something in it belongs to an archive of images, though perhaps what describes them is missing. */
static bool has_traces_of_images(const struct archive *a)
{
    static const char *const names[] = { "manifest.json", "repositories", "index.json", "oci-layout" };
    for (size_t i = 0; i < a->count; i++) {
        const char *name = a->members[i].name;
        size_t n = strlen(name);
        if (!strncmp(name, "blobs/", 6) || (n > 10 && !strcmp(name + n - 10, "/layer.tar")))
            return true;
        for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++)
            if (!strcmp(name, names[k]))
                return true;
    }
    return a->count == 0;
}

static int no_kind(struct gv_error *err)
{
    gv_error_set(err, GV_E_FORMAT, 0, "it holds no image, and does not look like a root file system (no bin, etc, usr, ...)");
    return gv_error_hint(err, "if it is one, write tar: before its name");
}

static int index_members(struct archive *a, uint64_t size, bool any, struct gv_error *err)
{
    CLEANUP(stream) struct stream *s = stream_file_new(a->fd, 0, size);
    CLEANUP(tar_reader) struct tar_reader *r = tar_reader_new(s);
    struct tar_entry e;
    struct gv_error refused = GV_ERROR_INIT;
    size_t cap = 0;
    int got;
    while ((got = tar_reader_next(r, &e, err)) > 0) {
        /* One such name tells, so the many members of a root file system are not gone through twice. */
        if (any && belongs_to_root(e.path)) {
            a->layer = true;
            a->size = size;
            return 0;
        }
        /* What an archive of images must not have, a root file system may. */
        if (!refused.code && add_member(a, &e, &cap, &refused) < 0 && !any)
            break;
    }
    if (got < 0)
        return -1;
    if (any && !has_traces_of_images(a))
        return no_kind(err);
    if (refused.code) {
        if (err)
            *err = refused;
        return -1;
    }
    if (a->count)
        qsort(a->members, a->count, sizeof(*a->members), compare_members);
    return 0;
}

/* Unpacks the file a->fd, which it replaces. */
static int unpack(struct archive *a, uint64_t *size, enum compression c, struct source_budget *budget, bool threads, struct gv_error *err)
{
    struct spool spool = { .fd = gv_scratch_file(err) };
    if (spool.fd < 0)
        return -1;
    struct stream *s = stream_limit_new(stream_decompress_new(stream_file_new(a->fd, 0, *size), c), budget);
    struct stream_follower writer = spool_follower(&spool);
    struct stream *pump = stream_pump_new(s, &writer, 1, threads);
    int status = stream_skip(pump, INT64_MAX, err) < 0 ? -1 : 0;
    stream_close(pump); /* its threads use the files */
    if (status < 0) {
        close(spool.fd);
        return -1;
    }
    close(a->fd);
    a->fd = spool.fd;
    *size = spool.at;
    return 0;
}

static int open_tar(struct archive *a, bool any, struct source_budget *budget, bool threads, struct gv_error *err)
{
    unsigned char head[COMPRESSION_SNIFF_SIZE];
    uint64_t size = a->input_bytes;
    ssize_t got = gv_pread_full(a->fd, head, sizeof(head), 0);
    if (got < 0)
        return gv_error_errno(err, "cannot read");
    if (got == 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the file is empty");
    enum compression c = compression_sniff(head, (size_t)got);
    if (c != COMPRESSION_NONE) {
        /* The archive and its layers are unpacked one after the other, each with the full allowance. */
        budget->input = size;
        if (unpack(a, &size, c, budget, threads, err) < 0)
            return -1;
        budget->input = 0;
        atomic_store(&budget->unpacked, 0);
    }
    return index_members(a, size, any, err);
}

static int file_size(int fd, uint64_t *size, struct gv_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gv_error_errno(err, "cannot look at it");
    *size = (uint64_t)st.st_size;
    return 0;
}

static int open_archive(struct archive **out, int fd, bool any, struct source_budget *budget, bool threads, struct gv_error *err)
{
    CLEANUP(archive) struct archive *a = gv_new(struct archive);
    a->fd = fd;
    if (file_size(fd, &a->input_bytes, err) < 0 || open_tar(a, any, budget, threads, err) < 0)
        return -1;
    *out = steal_ptr(a);
    return 0;
}

int archive_open_fd(struct archive **out, int fd, struct source_budget *budget, bool threads, struct gv_error *err)
{
    return open_archive(out, fd, false, budget, threads, err);
}

int archive_open_any(struct archive **out, int fd, struct source_budget *budget, bool threads, struct gv_error *err)
{
    return open_archive(out, fd, true, budget, threads, err);
}

int archive_open_layer(struct archive **out, int fd, struct gv_error *err)
{
    CLEANUP(archive) struct archive *a = gv_new(struct archive);
    a->fd = fd;
    if (file_size(fd, &a->size, err) < 0)
        return -1;
    if (a->size == 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the file is empty");
    a->input_bytes = a->size;
    a->layer = true;
    *out = steal_ptr(a);
    return 0;
}

struct archive *archive_open_directory(int fd)
{
    struct archive *a = gv_new(struct archive);
    *a = (struct archive){ .directory = true, .fd = fd };
    return a;
}

bool archive_is_layer(const struct archive *a)
{
    return a->layer;
}

struct archive *archive_new(const struct archive_ops *ops, void *user)
{
    struct archive *a = gv_new(struct archive);
    *a = (struct archive){ .fd = -1, .ops = ops, .user = user };
    return a;
}

bool archive_is_busy(const struct archive *a)
{
    return a->ops && a->ops->busy && a->ops->busy(a->user);
}

static const struct member *find_member(const struct archive *a, const char *name)
{
    size_t low = 0, high = a->count; /* the first of several with this name */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(a->members[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < a->count && strcmp(a->members[low].name, name) == 0 ? &a->members[low] : NULL;
}

static int find_file(struct archive *a, const char *name, struct blob *out)
{
    struct blob b = { .fd = openat(a->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK) };
    struct stat st;
    if (b.fd < 0)
        return -1;
    if (fstat(b.fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        blob_close(&b);
        errno = EINVAL;
        return -1;
    }
    b.size = (uint64_t)st.st_size;
    *out = b;
    return 0;
}

static int find_in_tar(struct archive *a, const char *name, struct blob *out)
{
    const struct member *m = find_member(a, name);
    for (int links = 0; m && m->link && links < LINKS_MAX; links++)
        m = find_member(a, m->link);
    errno = ENOENT;
    if (!m || m->link)
        return -1;
    *out = (struct blob){ .fd = a->fd, .shared = true, .offset = m->offset, .size = m->size };
    return 0;
}

int archive_find(struct archive *a, const char *name, struct blob *out, struct gv_error *err)
{
    cleanup_free char *clean = normalise(NULL, name);
    if (!clean || !*clean)
        return gv_error_set(err, GV_E_FORMAT, 0, "`%.200s` cannot be the name of a part of an image", name);
    if (a->ops)
        return a->ops->find(a->user, clean, out, err);
    if (a->layer && !strcmp(clean, ARCHIVE_LAYER)) {
        *out = (struct blob){ .fd = a->fd, .shared = true, .size = a->size };
        return 0;
    }
    if ((a->directory ? find_file(a, clean, out) : find_in_tar(a, clean, out)) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno == ENOENT ? 0 : errno, "`%.200s` is missing", name);
    return 0;
}

int archive_size_of(struct archive *a, const char *name, uint64_t *size, struct gv_error *err)
{
    int64_t told = a->ops ? a->ops->size_of(a->user, name) : -1;
    if (told >= 0) {
        *size = (uint64_t)told;
        return 0;
    }
    cleanup_blob struct blob b = BLOB_INIT;
    if (archive_find(a, name, &b, err) < 0)
        return -1;
    *size = b.size;
    return 0;
}

bool archive_has(const struct archive *a, const char *name)
{
    struct stat st;
    if (a->ops)
        return a->ops->size_of(a->user, name) >= 0;
    if (a->layer)
        return !strcmp(name, ARCHIVE_LAYER);
    if (!a->directory)
        return find_member(a, name) != NULL;
    return fstatat(a->fd, name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

int blob_read(const struct blob *b, struct gv_buf *out, struct gv_error *err)
{
    if (b->size > ARCHIVE_JSON_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "%" PRIu64 " bytes are too many for a description in JSON", b->size);
    gv_buf_reserve(out, (size_t)b->size + 1);
    ssize_t got = gv_pread_full(b->fd, out->data + out->len, (size_t)b->size, b->offset);
    if (got < 0)
        return gv_error_errno(err, "cannot read");
    if ((uint64_t)got < b->size)
        return gv_error_set(err, GV_E_FORMAT, 0, "the file is cut short");
    out->len += (size_t)got;
    return 0;
}

json_t *json_parse(const void *text, size_t n, struct gv_error *err)
{
    json_error_t e;
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!j)
        gv_error_set(err, GV_E_FORMAT, 0, "not valid JSON: %s (line %d)", e.text, e.line);
    return j;
}

const char *json_string_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}
