/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

ssize_t stream_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    return s->ops->read(s, buf, n, err);
}

ssize_t stream_read_full(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = s->ops->read(s, (unsigned char *)buf + done, n - done, err);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

int64_t stream_skip(struct stream *s, uint64_t n, struct gv_error *err)
{
    if (s->ops->skip)
        return s->ops->skip(s, n, err);
    unsigned char junk[16384];
    uint64_t done = 0;
    while (done < n) {
        ssize_t got = s->ops->read(s, junk, n - done < sizeof(junk) ? (size_t)(n - done) : sizeof(junk), err);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (uint64_t)got;
    }
    return (int64_t)done;
}

void stream_close(struct stream *s)
{
    if (s)
        s->ops->close(s);
}

/* ---- a range of a file ---- */

struct file_stream {
    struct stream base;
    int fd;
    uint64_t at, left;
};

static ssize_t file_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    struct file_stream *f = (struct file_stream *)s;
    if (n > f->left)
        n = (size_t)f->left;
    if (n == 0)
        return 0;
    ssize_t got = gv_pread_full(f->fd, buf, n, f->at);
    if (got < 0)
        return gv_error_errno(err, "cannot read");
    if (got == 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the file is cut short: %" PRIu64 " bytes are missing", f->left);
    f->at += (uint64_t)got;
    f->left -= (uint64_t)got;
    return got;
}

static int64_t file_skip(struct stream *s, uint64_t n, struct gv_error *err)
{
    (void)err;
    struct file_stream *f = (struct file_stream *)s;
    if (n > f->left)
        n = f->left;
    f->at += n;
    f->left -= n;
    return (int64_t)n;
}

static void file_close(struct stream *s)
{
    free(s);
}

struct stream *stream_file_new(int fd, uint64_t offset, uint64_t length)
{
    static const struct stream_ops ops = { .read = file_read, .skip = file_skip, .close = file_close };
    struct file_stream *f = gv_new(struct file_stream);
    *f = (struct file_stream){ .base.ops = &ops, .fd = fd, .at = offset, .left = length };
    return &f->base;
}

/* ---- digests ---- */

static const struct digest_kind {
    const char *prefix;
    enum gv_hash_kind kind;
    size_t size;
} digest_kinds[] = { { "sha256:", GV_HASH_SHA256, 32 }, { "sha512:", GV_HASH_SHA512, 64 } };

int digest_parse(struct digest *d, const char *text, struct gv_error *err)
{
    for (size_t i = 0; i < sizeof(digest_kinds) / sizeof(*digest_kinds); i++) {
        const struct digest_kind *k = &digest_kinds[i];
        size_t len = strlen(k->prefix);
        if (strncmp(text, k->prefix, len) != 0)
            continue;
        *d = (struct digest){ .kind = k->kind, .size = k->size };
        /* Upper-case digits are not allowed by the specification, and would make a second name of the same blob. */
        if (strspn(text + len, "0123456789abcdef") == 2 * k->size && gv_unhex(d->bytes, k->size, text + len) == 0)
            return 0;
        break;
    }
    *d = (struct digest){ 0 };
    const char *colon = strchr(text, ':');
    if (colon && strncmp(text, "sha256:", 7) != 0 && strncmp(text, "sha512:", 7) != 0)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "the digest `%.80s` is of a kind we do not know; sha256 and sha512 are known", text);
    return gv_error_set(err, GV_E_FORMAT, 0, "`%.150s` is not a digest", text);
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return a->size == b->size && a->kind == b->kind && memcmp(a->bytes, b->bytes, a->size) == 0;
}

void digest_short(char out[DIGEST_SHORT], const struct digest *d)
{
    char hex[13];
    gv_hex(hex, d->bytes, 6);
    snprintf(out, DIGEST_SHORT, "%s:%s", d->kind == GV_HASH_SHA512 ? "sha512" : "sha256", hex);
}

void digest_check_begin(struct digest_check *c, const char *what, const struct digest *expected)
{
    *c = (struct digest_check){ .what = what, .expected = *expected, .hash = gv_hash_new(expected->kind) };
}

static int check_data(void *user, const unsigned char *p, size_t n, struct gv_error *err)
{
    (void)err;
    gv_hash_update(((struct digest_check *)user)->hash, p, n);
    return 0;
}

static int check_end(void *user, struct gv_error *err)
{
    struct digest_check *c = user;
    struct digest found = { .kind = c->expected.kind };
    found.size = gv_hash_final(c->hash, found.bytes);
    if (digest_equal(&found, &c->expected))
        return 0;
    char want[DIGEST_SHORT], have[DIGEST_SHORT];
    digest_short(want, &c->expected);
    digest_short(have, &found);
    return gv_error_set(err, GV_E_CORRUPT, 0, "%s is wrong: it should be %s... and is %s...", c->what, want, have);
}

struct stream_follower digest_check_follower(struct digest_check *c)
{
    return (struct stream_follower){ .data = check_data, .end = check_end, .user = c };
}

void digest_check_clear(struct digest_check *c)
{
    gv_hash_free(c->hash);
    c->hash = NULL;
}

/* ---- limits ---- */

int budget_take(struct source_budget *b, uint64_t n, struct gv_error *err)
{
    uint64_t before = atomic_load(&b->unpacked);
    if (n > b->max_bytes || before > b->max_bytes - n) {
        gv_error_set(err, GV_E_LIMIT, 0, "unpacked it is larger than %" PRIu64 " bytes", b->max_bytes);
        return gv_error_hint(err, "a larger limit can be given with --max-size");
    }
    uint64_t total = atomic_fetch_add(&b->unpacked, n) + n;
    if (b->ratio && total > BUDGET_FREE && total / BUDGET_RATIO > b->input) {
        gv_error_set(err, GV_E_LIMIT, 0, "this looks like a decompression bomb: %" PRIu64 " bytes have become more than %" PRIu64, b->input,
                     total);
        return gv_error_hint(err, "if it is not, give its size with --max-size");
    }
    return 0;
}

struct limit_stream {
    struct stream base;
    struct stream *inner;
    struct source_budget *budget;
};

static ssize_t limit_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    struct limit_stream *l = (struct limit_stream *)s;
    ssize_t got = stream_read(l->inner, buf, n, err);
    if (got > 0 && budget_take(l->budget, (uint64_t)got, err) < 0)
        return -1;
    return got;
}

static void limit_close(struct stream *s)
{
    struct limit_stream *l = (struct limit_stream *)s;
    stream_close(l->inner);
    free(l);
}

struct stream *stream_limit_new(struct stream *inner, struct source_budget *budget)
{
    static const struct stream_ops ops = { .read = limit_read, .close = limit_close };
    struct limit_stream *l = gv_new(struct limit_stream);
    *l = (struct limit_stream){ .base.ops = &ops, .inner = inner, .budget = budget };
    return &l->base;
}
