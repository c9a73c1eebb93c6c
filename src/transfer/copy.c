/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "transfer/move.h"

#define CHUNK ((size_t)1 << 20)
#define KERNEL_CHUNK ((size_t)64 << 20) /* at a time, so that it can be stopped and shown */

int move_more(struct move *m, uint64_t n, struct gv_error *err)
{
    m->done += n;
    if (m->o->progress)
        m->o->progress(m->o->user, m->done, m->total);
    if (m->o->cancelled && atomic_load(m->o->cancelled))
        return gv_error_set(err, GV_E_CANCELLED, 0, "interrupted");
    return 0;
}

void check_init(struct check *c, const struct location *of)
{
    *c = (struct check){ .of = of };
    check_begin(c);
}

void check_begin(struct check *c)
{
    if (!c->of->digest_size)
        return;
    gv_hash_free(c->hash);
    c->hash = gv_hash_new(c->of->hash);
}

void check_add(struct check *c, const void *p, size_t n)
{
    if (c->hash)
        gv_hash_update(c->hash, p, n);
}

int check_end(struct check *c, struct gv_error *err)
{
    unsigned char digest[GV_HASH_MAX];
    char hex[2 * GV_HASH_MAX + 1];
    if (!c->hash)
        return 0;
    size_t n = gv_hash_final(c->hash, digest);
    if (n == c->of->digest_size && !memcmp(digest, c->of->digest, n))
        return 0;
    gv_hex(hex, digest, n);
    return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` has another hash than was asked for: sha3:%s",
                        c->of->url ? c->of->url : c->of->path, hex);
}

void check_clear(struct check *c)
{
    gv_hash_free(c->hash);
    c->hash = NULL;
}

static int shrunk(struct gv_error *err)
{
    return gv_error_set(err, GV_E_IO, 0, "the file has become shorter while it was read");
}

/* By our hands: when there is a hash, or the kernel cannot. */
static int copy_bytes(struct move *m, int from, uint64_t at, uint64_t end, int to, struct check *check, struct gv_error *err)
{
    cleanup_free unsigned char *chunk = gv_alloc(CHUNK);
    while (at < end) {
        size_t n = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
        ssize_t got = gv_pread_full(from, chunk, n, at);
        if (got < 0)
            return gv_error_errno(err, "cannot read");
        if ((size_t)got < n)
            return shrunk(err);
        check_add(check, chunk, n);
        if (gv_pwrite_full(to, chunk, n, at) < 0)
            return gv_error_errno(err, "cannot write");
        at += n;
        if (move_more(m, n, err) < 0)
            return -1;
    }
    return 0;
}

static int copy_extent(struct move *m, int from, uint64_t at, uint64_t end, int to, struct check *check, struct gv_error *err)
{
    while (at < end && !check->hash) {
        off_t in = (off_t)at, out = (off_t)at;
        ssize_t n = copy_file_range(from, &in, to, &out, end - at < KERNEL_CHUNK ? (size_t)(end - at) : KERNEL_CHUNK, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* also where it says that there is nothing, as for files of some special file systems */
            break;
        at += (uint64_t)n;
        if (move_more(m, (uint64_t)n, err) < 0)
            return -1;
    }
    return copy_bytes(m, from, at, end, to, check, err);
}

int copy_file(struct move *m, int from, uint64_t size, int to, struct check *check, struct gv_error *err)
{
    if (ftruncate(to, (off_t)size) < 0)
        return gv_error_errno(err, "cannot write");
    if (check->hash)
        return copy_bytes(m, from, 0, size, to, check, err);
    for (uint64_t at = 0; at < size;) {
        off_t data = lseek(from, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return move_more(m, size - at, err); /* nothing but a hole */
        off_t hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
        uint64_t begin = data < 0 ? at : (uint64_t)data, end = hole < 0 ? size : (uint64_t)hole;
        begin = begin < size ? begin : size;
        end = end < size ? end : size;
        if (move_more(m, begin - at, err) < 0 || copy_extent(m, from, begin, end, to, check, err) < 0)
            return -1;
        if (end <= at)
            return shrunk(err);
        at = end;
    }
    return 0;
}
