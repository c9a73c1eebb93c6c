/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A log is frames one after another: when (8 bytes, milliseconds since 1970), how many bytes (4), which stream (4), all little-endian, then the bytes. When the next frame
 * would make `log` larger than VMS_LOG_MAX, it becomes `log.1`, in place of the one before, and a new `log` begins. A frame is never
 * divided. A reader keeps open what it reads, and goes on with the file that came after it; only one that is two whole files behind loses something.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "vms/inside.h"

#define HEADER 16U
#define DATA_MAX (1U << 20) /* bytes of a frame */
#define FILL (256U << 10)
#define FOLLOW_NS 100000000

struct vms_log {
    int dir, fd;
    uint64_t size, lost;
};

/* ---- writing ---------------------------------------------------------------------------------------------------------------------- */

static int open_log(int dir)
{
    return openat(dir, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

int vms_log_open(struct vms_log **out, int dir, struct gv_error *err)
{
    int fd = open_log(dir);
    if (fd < 0)
        return gv_error_errno(err, "cannot create the log of the VM");
    struct vms_log *l = gv_new(struct vms_log);
    l->dir = dir;
    l->fd = fd;
    *out = l;
    return 0;
}

void vms_log_close(struct vms_log *l)
{
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}

static int rotate(struct vms_log *l)
{
    if (renameat(l->dir, "log", l->dir, "log.1") < 0)
        return -1;
    close(l->fd);
    l->fd = open_log(l->dir);
    l->size = 0;
    return l->fd < 0 ? -1 : 0;
}

/* A frame, whole or not at all. */
static int put_frame(struct vms_log *l, int stream, const void *data, size_t n)
{
    if (l->fd < 0 && (l->fd = open_log(l->dir)) < 0)
        return -1;
    if (l->size + HEADER + n > VMS_LOG_MAX && rotate(l) < 0)
        return -1;
    unsigned char header[HEADER];
    uint64_t when = htole64((uint64_t)vms_now_ms());
    uint32_t size = htole32((uint32_t)n), which = htole32((uint32_t)stream);
    memcpy(header, &when, sizeof(when));
    memcpy(header + 8, &size, sizeof(size));
    memcpy(header + 12, &which, sizeof(which));
    struct iovec v[2] = { { .iov_base = header, .iov_len = HEADER }, { .iov_base = (void *)(uintptr_t)data, .iov_len = n } };
    ssize_t put;
    do
        put = writev(l->fd, v, 2);
    while (put < 0 && errno == EINTR);
    if (put != (ssize_t)(HEADER + n)) {
        (void)!ftruncate(l->fd, (off_t)l->size);
        return -1;
    }
    l->size += HEADER + n;
    return 0;
}

void vms_log_write(struct vms_log *l, int stream, const void *data, size_t n)
{
    if (l->lost) {
        char text[96];
        int len = snprintf(text, sizeof(text), "\ngvmkit: %llu bytes of output are missing here, which could not be written\n",
                           (unsigned long long)l->lost);
        if (put_frame(l, 2, text, (size_t)len) == 0)
            l->lost = 0;
    }
    for (const unsigned char *at = data; n > 0;) {
        size_t part = n > DATA_MAX ? DATA_MAX : n;
        if (l->lost || put_frame(l, stream, at, part) < 0)
            l->lost += part;
        at += part;
        n -= part;
    }
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------------- */

struct frame {
    int64_t when;
    int stream; /* 1 or 2 */
    const unsigned char *data;
    size_t n;
};

struct reader {
    int dir, fds[2]; /* log.1 (or -1), log */
    int current;
    uint64_t at; /* in the current file: where buf begins */
    struct gv_buf buf;
    size_t used; /* of buf */
};

static void reader_close(struct reader *r)
{
    for (int i = 0; i < 2; i++)
        if (r->fds[i] >= 0)
            close(r->fds[i]);
    gv_buf_clear(&r->buf);
}

static bool same_file(int fd, int dir, const char *name)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstatat(dir, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int reader_file(const struct reader *r, const char *name)
{
    return openat(r->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static void reader_rewind(struct reader *r)
{
    r->current = r->fds[0] < 0;
    r->at = r->used = r->buf.len = 0;
}

static int reader_open(struct reader *r, int dir, struct gv_error *err)
{
    *r = (struct reader){ .dir = dir, .fds = { -1, -1 } };
    for (;;) {
        r->fds[0] = reader_file(r, "log.1");
        r->fds[1] = reader_file(r, "log");
        if (r->fds[1] >= 0 && same_file(r->fds[1], dir, "log"))
            break;
        if (r->fds[1] < 0 && r->fds[0] < 0)
            return gv_error_set(err, GV_E_NOT_FOUND, 0,
                                "it has no log, since its output is where it was started; only `gvmkit run -d` keeps one");
        for (int i = 0; i < 2; i++)
            if (r->fds[i] >= 0)
                close(r->fds[i]);
    }
    reader_rewind(r);
    return 0;
}

/* Sees to it that n bytes are there: 1 yes, 0 the file has no more now, -1 an error. */
static int reader_fill(struct reader *r, size_t n, struct gv_error *err)
{
    if (r->buf.len - r->used >= n)
        return 1;
    r->at += r->used;
    gv_buf_drop(&r->buf, r->used);
    r->used = 0;
    size_t want = n > FILL ? n : FILL;
    gv_buf_reserve(&r->buf, want - r->buf.len);
    ssize_t got = gv_pread_full(r->fds[r->current], r->buf.data + r->buf.len, want - r->buf.len, r->at + r->buf.len);
    if (got < 0)
        return gv_error_errno(err, "cannot read the log");
    r->buf.len += (size_t)got;
    return r->buf.len >= n;
}

/* 1: *f is the next frame, until the next call; 0: there is none now; -1: an error. */
static int reader_next(struct reader *r, struct frame *f, struct gv_error *err)
{
    int status;
    while ((status = reader_fill(r, HEADER, err)) == 0 && r->current == 0) {
        r->current = 1;
        r->at = r->used = r->buf.len = 0;
    }
    if (status <= 0)
        return status;
    uint64_t when;
    uint32_t size, stream;
    memcpy(&when, r->buf.data + r->used, sizeof(when));
    memcpy(&size, r->buf.data + r->used + 8, sizeof(size));
    memcpy(&stream, r->buf.data + r->used + 12, sizeof(stream));
    size = le32toh(size);
    stream = le32toh(stream);
    if (size > DATA_MAX || stream < 1 || stream > 2)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the log is damaged");
    status = reader_fill(r, HEADER + size, err);
    if (status <= 0)
        return status;
    *f = (struct frame){ .when = (int64_t)le64toh(when), .stream = (int)stream, .data = r->buf.data + r->used + HEADER, .n = size };
    r->used += HEADER + size;
    return 1;
}

/* ---- telling ---------------------------------------------------------------------------------------------------------------------- */

struct teller {
    const struct vms_log_options *o;
    int (*put)(void *user, int stream, const void *data, size_t n, struct gv_error *err);
    void *user;
    uint64_t skip[3]; /* lines of a stream that are not told */
    bool inside[3];   /* of a line */
};

static int tell_time(const struct teller *t, const struct frame *f, struct gv_error *err)
{
    char text[64];
    time_t seconds = (time_t)(f->when / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(text + n, sizeof(text) - n, ".%03dZ ", (int)(f->when % 1000));
    return t->put(t->user, f->stream, text, n, err);
}

static int tell(struct teller *t, const struct frame *f, struct gv_error *err)
{
    const unsigned char *at = f->data, *end = at + f->n;
    while (at < end && t->skip[f->stream] > 0) {
        const unsigned char *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline)
            return 0;
        at = newline + 1;
        t->skip[f->stream]--;
    }
    if (!t->o->timestamps)
        return at < end ? t->put(t->user, f->stream, at, (size_t)(end - at), err) : 0;
    while (at < end) {
        const unsigned char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = newline ? (size_t)(newline - at) + 1 : (size_t)(end - at);
        if ((!t->inside[f->stream] && tell_time(t, f, err) < 0) || t->put(t->user, f->stream, at, n, err) < 0)
            return -1;
        t->inside[f->stream] = !newline;
        at += n;
    }
    return 0;
}

/* Counts the ends of lines, up to max of them, for each stream; open[] says which streams end within a line. */
static int count_lines(struct reader *r, uint64_t max, uint64_t counts[3], bool open[3], struct gv_error *err)
{
    struct frame f;
    uint64_t total = 0;
    int status = 0;
    while (total < max && (status = reader_next(r, &f, err)) > 0) {
        const unsigned char *at = f.data, *end = at + f.n, *newline;
        while (total < max && (newline = memchr(at, '\n', (size_t)(end - at)))) {
            counts[f.stream]++;
            total++;
            at = newline + 1;
        }
        open[f.stream] = at < end;
    }
    return status < 0 ? -1 : 0;
}

/* Fills t->skip so that the last o->tail lines remain. */
static int find_tail(struct teller *t, struct reader *r, struct gv_error *err)
{
    uint64_t counts[3] = { 0 };
    bool open[3] = { false };
    if (count_lines(r, UINT64_MAX, counts, open, err) < 0)
        return -1;
    if (t->o->tail == 0)
        return 0; /* we are at the end */
    uint64_t lines = counts[1] + counts[2] + open[1] + open[2];
    reader_rewind(r);
    if (lines <= t->o->tail)
        return 0;
    if (count_lines(r, lines - t->o->tail, t->skip, open, err) < 0)
        return -1;
    reader_rewind(r);
    return 0;
}

/* The file after the one that has been read to its end, if there is one: 1. */
static int reader_follow(struct reader *r)
{
    if (same_file(r->fds[1], r->dir, "log"))
        return 0;
    int next = reader_file(r, same_file(r->fds[1], r->dir, "log.1") ? "log" : "log.1");
    if (next < 0)
        return 0; /* it is being made */
    close(r->fds[1]);
    r->fds[1] = next;
    r->at = r->used = r->buf.len = 0;
    return 1;
}

static int tell_all(struct teller *t, struct reader *r, int lock, struct gv_error *err)
{
    for (;;) {
        /* In this order, so that nothing is missed: whether more may come, then what there is. */
        bool more = t->o->follow && vms_dir_runs(lock), rotated = t->o->follow && !same_file(r->fds[1], r->dir, "log");
        struct frame f;
        int status;
        while ((status = reader_next(r, &f, err)) > 0)
            if (tell(t, &f, err) < 0)
                return -1;
        if (status < 0)
            return -1;
        if (rotated && reader_follow(r))
            continue;
        if (!more)
            return 0;
        nanosleep(&(struct timespec){ .tv_nsec = FOLLOW_NS }, NULL);
    }
}

int vms_log_read(const char *name, const struct vms_log_options *options,
                 int (*put)(void *user, int stream, const void *data, size_t n, struct gv_error *err), void *user, struct gv_error *err)
{
    cleanup_close int lock = -1, dir = vms_dir_open(name, &lock, err);
    if (dir < 0)
        return -1;
    struct reader r;
    if (reader_open(&r, dir, err) < 0)
        return gv_error_prefix(err, "the VM `%s`", name);
    struct teller t = { .o = options, .put = put, .user = user };
    int status = options->tail == UINT64_MAX ? 0 : find_tail(&t, &r, err);
    if (status == 0)
        status = tell_all(&t, &r, lock, err);
    reader_close(&r);
    return status;
}
