/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define PAGE ((size_t)4096)

struct store {
    int *fds;
    size_t count;
    bool has_layers, has_sparse;
    uint32_t layers, sparse; /* indices of the scratch files */
    uint64_t layers_at, sparse_at;
};

/* ---- spooling ---- */

static bool all_zero(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int no_write(struct gv_error *err)
{
    gv_error_errno(err, "cannot write to a temporary file");
    return gv_error_hint(err, "TMPDIR can name a directory with more space (now %s)", getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
}

int spool_write(struct spool *s, const unsigned char *p, size_t n, struct gv_error *err)
{
    while (n) {
        /* A run of pages (as the file has them) that are all zero is left out, one of others written at once. */
        size_t run = 0;
        bool zero = false;
        while (run < n) {
            size_t page = PAGE - (size_t)((s->at + run) % PAGE);
            if (page > n - run)
                page = n - run;
            bool z = all_zero(p + run, page);
            if (run && z != zero)
                break;
            zero = z;
            run += page;
        }
        if (!zero && gv_pwrite_full(s->fd, p, run, s->at) < 0)
            return no_write(err);
        s->at += run;
        p += run;
        n -= run;
    }
    return 0;
}

int spool_finish(struct spool *s, struct gv_error *err)
{
    return ftruncate(s->fd, (off_t)s->at) < 0 ? no_write(err) : 0;
}

static int follow_data(void *user, const unsigned char *p, size_t n, struct gv_error *err)
{
    return spool_write(user, p, n, err);
}

static int follow_end(void *user, struct gv_error *err)
{
    return spool_finish(user, err);
}

struct stream_follower spool_follower(struct spool *s)
{
    return (struct stream_follower){ .data = follow_data, .end = follow_end, .user = s };
}

/* ---- the store ---- */

struct store *store_new(void)
{
    return gv_new(struct store);
}

void store_free(struct store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        close(s->fds[i]);
    free(s->fds);
    free(s);
}

void store_release(void *store)
{
    store_free(store);
}

/* Takes fd itself. */
static uint32_t append(struct store *s, int fd)
{
    s->fds = gv_reallocarray(s->fds, s->count + 1, sizeof(*s->fds));
    s->fds[s->count] = fd;
    return (uint32_t)s->count++;
}

int store_add(struct store *s, int fd, uint32_t *index, struct gv_error *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return gv_error_errno(err, "cannot keep a layer open");
    *index = append(s, copy);
    return 0;
}

static int scratch(struct store *s, bool *has, uint32_t *index, struct gv_error *err)
{
    if (*has)
        return 0;
    int fd = gv_scratch_file(err);
    if (fd < 0)
        return -1;
    *index = append(s, fd);
    *has = true;
    return 0;
}

int store_spool_begin(struct store *s, struct spool *spool, uint32_t *index, struct gv_error *err)
{
    if (scratch(s, &s->has_layers, &s->layers, err) < 0)
        return -1;
    *index = s->layers;
    *spool = (struct spool){ .fd = s->fds[s->layers], .at = s->layers_at };
    return 0;
}

void store_spool_end(struct store *s, const struct spool *spool)
{
    s->layers_at = (spool->at + PAGE - 1) / PAGE * PAGE;
}

int store_sparse(struct store *s, struct tar_reader *r, const struct tar_entry *e, struct image_content *out, struct gv_error *err)
{
    if (scratch(s, &s->has_sparse, &s->sparse, err) < 0)
        return -1;
    uint64_t base = s->sparse_at, end;
    if (__builtin_add_overflow(base, e->size, &end) || end > INT64_MAX - PAGE)
        return gv_error_set(err, GV_E_LIMIT, 0, "the sparse files are too large together");
    struct spool spool = { .fd = s->fds[s->sparse] };
    cleanup_free unsigned char *buf = gv_alloc(65536);
    for (size_t i = 0; i < e->extent_count; i++) {
        spool.at = base + e->extents[i].offset;
        for (uint64_t left = e->extents[i].length; left;) {
            ssize_t got = tar_reader_data(r, buf, left < 65536 ? (size_t)left : 65536, err);
            if (got <= 0)
                return got < 0 ? -1 : gv_error_set(err, GV_E_INTERNAL, 0, "a sparse file has less data than its map says");
            if (spool_write(&spool, buf, (size_t)got, err) < 0)
                return -1;
            left -= (uint64_t)got;
        }
    }
    spool.at = end;
    if (spool_finish(&spool, err) < 0)
        return -1;
    *out = (struct image_content){ .file = s->sparse, .offset = base };
    s->sparse_at = (end + PAGE - 1) / PAGE * PAGE;
    return 0;
}

int store_read(void *store, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    struct store *s = store;
    if (content->file >= s->count)
        return gv_error_set(err, GV_E_INTERNAL, 0, "a file's content is nowhere");
    ssize_t got = gv_pread_full(s->fds[content->file], buf, len, content->offset + at);
    if (got < 0)
        return gv_error_errno(err, "cannot read from a layer");
    if ((size_t)got < len)
        return gv_error_set(err, GV_E_IO, 0, "a layer has become shorter while it was read");
    return 0;
}
