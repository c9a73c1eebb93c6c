/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tar reader. What it returns must be inside of the archive and consistent, whatever the bytes are. */
#include <stdlib.h>
#include <string.h>

#include "source/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory_stream {
    struct stream base;
    const unsigned char *p;
    size_t n;
};

static ssize_t memory_read(struct stream *s, void *buf, size_t n, struct gv_error *err)
{
    (void)err;
    struct memory_stream *m = (struct memory_stream *)s;
    if (n > m->n)
        n = m->n;
    if (n)
        memcpy(buf, m->p, n);
    m->p += n;
    m->n -= n;
    return (ssize_t)n;
}

static void memory_close(struct stream *s)
{
    (void)s;
}

static void require(int what)
{
    if (!what)
        abort();
}

/* Makes the checksums of everything that looks like a header right: no fuzzer finds them by itself. */
static void mend_checksums(unsigned char *p, size_t n)
{
    for (size_t at = 0; at + TAR_BLOCK <= n; at += TAR_BLOCK) {
        unsigned char *b = p + at;
        if (memcmp(b + 257, "ustar", 5) != 0)
            continue;
        unsigned sum = 8 * ' ';
        for (size_t i = 0; i < TAR_BLOCK; i++)
            sum += i >= 148 && i < 156 ? 0 : b[i];
        for (size_t i = 6; i-- > 0; sum >>= 3)
            b[148 + i] = (unsigned char)('0' + (sum & 7));
        b[154] = '\0';
        b[155] = ' ';
    }
}

static void check(const struct tar_entry *e, size_t n)
{
    require(e->path && e->path_len && strlen(e->path) == e->path_len);
    require((e->type == TAR_HARDLINK || e->type == TAR_SYMLINK) == (e->link != NULL));
    require(!e->link || (e->link_len && strlen(e->link) == e->link_len));
    require(e->mode <= 07777 && e->uid < UINT32_MAX && e->gid < UINT32_MAX);
    require(e->size <= INT64_MAX);
    if (e->type != TAR_FILE)
        require(e->size == 0 && e->stored == 0 && !e->sparse);
    if (!e->sparse)
        require(e->size == e->stored);
    require(e->offset <= n);
    uint64_t end = 0, sum = 0;
    for (size_t i = 0; i < e->extent_count; i++) {
        require(e->extents[i].offset >= end && e->extents[i].length);
        end = e->extents[i].offset + e->extents[i].length;
        require(end <= e->size && end > e->extents[i].offset);
        sum += e->extents[i].length;
    }
    if (e->sparse)
        require(sum == e->stored);
    for (uint32_t i = 0; i < e->xattr_count; i++) {
        require(e->xattrs[i].size <= 65536 && e->xattrs[i].name[0]);
        require(i == 0 || strcmp(e->xattrs[i - 1].name, e->xattrs[i].name) < 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct stream_ops ops = { .read = memory_read, .close = memory_close };
    if (size < 1)
        return 0;
    cleanup_free unsigned char *copy = gv_memdup(data + 1, size - 1);
    if (data[0] & 1)
        mend_checksums(copy, size - 1);
    struct memory_stream m = { .base.ops = &ops, .p = copy, .n = size - 1 };
    CLEANUP(tar_reader) struct tar_reader *r = tar_reader_new(&m.base);
    struct tar_entry e;
    struct gv_error err = GV_ERROR_INIT;
    int got;
    while ((got = tar_reader_next(r, &e, &err)) > 0) {
        check(&e, size);
        unsigned char buf[300];
        uint64_t total = 0;
        for (ssize_t n = 1; n > 0 && (data[0] & 2);) {
            n = tar_reader_data(r, buf, sizeof(buf), &err);
            total += n > 0 ? (uint64_t)n : 0;
            require(total <= e.stored && (n != 0 || total == e.stored));
        }
    }
    require(got == 0 || err.code != GV_OK);
    return 0;
}
