/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tar_text.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source/tar.h"

/* ---- reading an archive into text, by us and by libarchive ---- */

static int memory_file(const void *p, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(gv_pwrite_full(fd, p, n, 0), 0);
    return fd;
}

#define CONTENT_MAX ((uint64_t)16 << 20)

static uint32_t content_of(struct tar_reader *r, const struct tar_entry *e)
{
    assert_true(e->size <= CONTENT_MAX);
    unsigned char *data = gv_calloc(1, e->size + 1);
    struct tar_extent whole = { .length = e->size };
    const struct tar_extent *extents = e->sparse ? e->extents : &whole;
    for (size_t i = 0; i < (e->sparse ? e->extent_count : 1); i++) {
        for (uint64_t done = 0; done < extents[i].length;) {
            ssize_t got = tar_reader_data(r, data + extents[i].offset + done, extents[i].length - done, NULL);
            assert_true(got > 0);
            done += (uint64_t)got;
        }
    }
    assert_int_equal(tar_reader_data(r, data, 1, NULL), 0);
    uint32_t crc = gv_crc32(data, e->size);
    free(data);
    return crc;
}

static const char *type_name(enum tar_type t)
{
    static const char *const names[] = { [TAR_FILE] = "file",      [TAR_HARDLINK] = "link", [TAR_SYMLINK] = "symlink", [TAR_CHAR] = "char",
                                         [TAR_BLOCKDEV] = "block", [TAR_DIR] = "dir",       [TAR_FIFO] = "fifo" };
    return names[t];
}

/* One line a member; with_data also its content. */
int our_text(const void *p, size_t n, struct gv_buf *out, bool with_data, struct gv_error *err)
{
    int fd = memory_file(p, n);
    struct stream *s = stream_file_new(fd, 0, n);
    struct tar_reader *r = tar_reader_new(s);
    struct tar_entry e;
    int got;
    while ((got = tar_reader_next(r, &e, err)) > 0) {
        gv_buf_addf(out, "%s %s", type_name(e.type), e.path);
        if (e.type == TAR_HARDLINK) {
            gv_buf_addf(out, " to %s\n", e.link);
            continue;
        }
        gv_buf_addf(out, " %o %u:%u %" PRId64, e.mode, e.uid, e.gid, e.mtime);
        if (e.link)
            gv_buf_addf(out, " to %s", e.link);
        if (e.type == TAR_CHAR || e.type == TAR_BLOCKDEV)
            gv_buf_addf(out, " %u:%u", e.major, e.minor);
        if (e.type == TAR_FILE)
            gv_buf_addf(out, " %" PRIu64, e.size);
        if (e.type == TAR_FILE && with_data)
            gv_buf_addf(out, " crc %08x", content_of(r, &e));
        for (uint32_t i = 0; i < e.xattr_count; i++)
            gv_buf_addf(out, " %s=%u", e.xattrs[i].name, e.xattrs[i].size);
        gv_buf_addf(out, "\n");
    }
    gv_buf_str(out);
    tar_reader_free(r);
    stream_close(s);
    close(fd);
    return got;
}

static uint32_t libarchive_content(struct archive *a, int64_t size)
{
    assert_true((uint64_t)size <= CONTENT_MAX);
    unsigned char *data = gv_calloc(1, (size_t)size + 1);
    const void *block;
    size_t len;
    la_int64_t offset;
    while (archive_read_data_block(a, &block, &len, &offset) == ARCHIVE_OK) {
        assert_true(offset >= 0 && (int64_t)len <= size - offset);
        memcpy(data + offset, block, len);
    }
    uint32_t crc = gv_crc32(data, (size_t)size);
    free(data);
    return crc;
}

static int libarchive_text(const void *p, size_t n, struct gv_buf *out, bool with_data)
{
    struct archive *a = archive_read_new();
    archive_read_support_format_tar(a);
    assert_int_equal(archive_read_open_memory(a, p, n), ARCHIVE_OK);
    struct archive_entry *e;
    int got;
    while ((got = archive_read_next_header(a, &e)) == ARCHIVE_OK || got == ARCHIVE_WARN) {
        mode_t type = archive_entry_filetype(e);
        const char *path = archive_entry_pathname(e);
        /* Files that end in a slash are directories; it forgets that where it has warned of something else in the header. */
        if (got == ARCHIVE_WARN && type == AE_IFREG && archive_entry_size(e) == 0 && path && *path && path[strlen(path) - 1] == '/')
            type = AE_IFDIR;
        const char *link = archive_entry_hardlink(e);
        if (link) {
            gv_buf_addf(out, "link %s to %s\n", archive_entry_pathname(e), link);
            continue;
        }
        gv_buf_addf(out, "%s %s",
                    type == AE_IFREG   ? "file"
                    : type == AE_IFLNK ? "symlink"
                    : type == AE_IFCHR ? "char"
                    : type == AE_IFBLK ? "block"
                    : type == AE_IFDIR ? "dir"
                                       : "fifo",
                    archive_entry_pathname(e));
        gv_buf_addf(out, " %o %" PRId64 ":%" PRId64 " %" PRId64, archive_entry_perm(e), archive_entry_uid(e), archive_entry_gid(e),
                    (int64_t)archive_entry_mtime(e));
        if (type == AE_IFLNK)
            gv_buf_addf(out, " to %s", archive_entry_symlink(e));
        if (type == AE_IFCHR || type == AE_IFBLK)
            gv_buf_addf(out, " %u:%u", (unsigned)archive_entry_rdevmajor(e), (unsigned)archive_entry_rdevminor(e));
        if (type == AE_IFREG)
            gv_buf_addf(out, " %" PRId64, archive_entry_size(e));
        if (type == AE_IFREG && with_data)
            gv_buf_addf(out, " crc %08x", libarchive_content(a, archive_entry_size(e)));
        archive_entry_xattr_reset(e);
        const char *name;
        const void *value;
        size_t size;
        while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK)
            gv_buf_addf(out, " %s=%zu", name, size);
        gv_buf_addf(out, "\n");
    }
    gv_buf_str(out);
    archive_read_free(a);
    return got == ARCHIVE_EOF ? 0 : -1;
}

/* Both readers agree, and find what is expected (if that is not NULL). */
void compare_readers(const char *what, const void *p, size_t n, bool with_data, const char *expected)
{
    struct gv_buf ours = { 0 }, theirs = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (our_text(p, n, &ours, with_data, &err) < 0)
        fail_msg("%s: %s", what, err.msg);
    if (expected && strcmp((char *)ours.data, expected) != 0)
        fail_msg("%s: expected\n%sgot\n%s", what, expected, (char *)ours.data);
    if (libarchive_text(p, n, &theirs, with_data) < 0)
        fail_msg("%s: libarchive refuses it", what);
    if (strcmp((char *)ours.data, (char *)theirs.data) != 0)
        fail_msg("%s: we read\n%slibarchive reads\n%s", what, (char *)ours.data, (char *)theirs.data);
    gv_buf_clear(&ours);
    gv_buf_clear(&theirs);
}

void compare_tar(const char *what, struct tarb *t, const char *expected)
{
    tarb_end(t);
    compare_readers(what, t->out.data, t->out.len, true, expected);
    tarb_clear(t);
    t->format = TARB_PAX;
}

void refuse_tar(const char *what, struct tarb *t, const char *error)
{
    struct gv_buf ours = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (our_text(t->out.data, t->out.len, &ours, false, &err) == 0)
        fail_msg("%s: accepted as\n%s", what, (char *)ours.data);
    if (!strstr(err.msg, error))
        fail_msg("%s: expected `%s` in: %s", what, error, err.msg);
    gv_buf_clear(&ours);
    tarb_clear(t);
    t->format = TARB_PAX;
}
