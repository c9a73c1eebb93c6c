/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/tar.h"

#include <inttypes.h>
#include <string.h>

/* Where the fields of a header are (POSIX.1-1988 ustar; GNU and star share the front part). */
enum {
    F_NAME = 0,
    F_MODE = 100,
    F_UID = 108,
    F_GID = 116,
    F_SIZE = 124,
    F_MTIME = 136,
    F_CHECKSUM = 148,
    F_TYPE = 156,
    F_LINK = 157,
    F_MAGIC = 257,
    F_MAJOR = 329,
    F_MINOR = 337,
    F_PREFIX = 345,
    /* GNU */
    F_GNU_ATIME = 345,
    F_GNU_CTIME = 357,
    F_GNU_SPARSE = 386,
    F_GNU_EXTENDED = 482,
    F_GNU_REALSIZE = 483,
    F_STAR_TRAILER = 508,
};

enum dialect { TAR_V7, TAR_USTAR, TAR_STAR, TAR_GNU };

struct tar_reader {
    struct stream *stream;
    uint64_t at;       /* bytes taken from the stream */
    uint64_t left;     /* stored bytes of the current member not taken yet */
    uint64_t padding;  /* and what fills up its last block */
    uint64_t unwanted; /* data of a hard link, with its padding */
    bool started, done;
    bool pushed_back; /* `block` holds a header that was looked at ahead of time */
    unsigned char block[TAR_BLOCK];
    bool have_pax, have_name, have_link;
    struct tar_pax pax;
    struct gv_buf name, link; /* GNU long names, later the composed ones */
};

struct tar_reader *tar_reader_new(struct stream *s)
{
    struct tar_reader *r = gv_new(struct tar_reader);
    r->stream = s;
    return r;
}

void tar_reader_free(struct tar_reader *r)
{
    if (!r)
        return;
    tar_pax_clear(&r->pax);
    gv_buf_clear(&r->name);
    gv_buf_clear(&r->link);
    free(r);
}

static bool is_zero(const unsigned char *block)
{
    static const unsigned char zero[TAR_BLOCK];
    return memcmp(block, zero, TAR_BLOCK) == 0;
}

bool tar_is_header(const void *block)
{
    const unsigned char *b = block;
    int64_t said;
    if (tar_number(b + F_CHECKSUM, 8, &said) < 0)
        return false;
    int64_t plain = 8 * ' ', with_sign = 8 * ' '; /* some old programs summed up signed bytes */
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        if (i >= F_CHECKSUM && i < F_CHECKSUM + 8)
            continue;
        plain += b[i];
        with_sign += (signed char)b[i];
    }
    return said == plain || said == with_sign;
}

static int cut_short(struct gv_error *err)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "the tar archive is cut short");
}

/* 1, 0 at the end, -1. */
static int read_block(struct tar_reader *r, struct gv_error *err)
{
    if (r->pushed_back) {
        r->pushed_back = false;
        return 1;
    }
    ssize_t got = stream_read_full(r->stream, r->block, TAR_BLOCK, err);
    if (got < 0)
        return -1;
    r->at += (uint64_t)got;
    if (got != 0 && got < TAR_BLOCK)
        return r->started ? cut_short(err) : gv_error_set(err, GV_E_FORMAT, 0, "this is not a tar archive");
    return got != 0;
}

static uint64_t padding_of(uint64_t size)
{
    return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

static int pass_over(struct tar_reader *r, uint64_t n, bool may_end, struct gv_error *err)
{
    while (n) {
        uint64_t step = n < INT64_MAX ? n : INT64_MAX;
        int64_t got = stream_skip(r->stream, step, err);
        if (got < 0)
            return -1;
        r->at += (uint64_t)got;
        if ((uint64_t)got < step)
            return may_end ? 0 : cut_short(err);
        n -= step;
    }
    return 0;
}

/* Takes the rest of the current member. The padding of the last member may be missing. */
static int finish_member(struct tar_reader *r, struct gv_error *err)
{
    if (pass_over(r, r->left, false, err) < 0 || pass_over(r, r->unwanted, false, err) < 0 || pass_over(r, r->padding, true, err) < 0)
        return -1;
    r->left = r->unwanted = r->padding = 0;
    return 0;
}

ssize_t tar_reader_data(struct tar_reader *r, void *buf, size_t n, struct gv_error *err)
{
    if (n > r->left)
        n = (size_t)r->left;
    if (n == 0)
        return 0;
    ssize_t got = stream_read(r->stream, buf, n, err);
    if (got == 0)
        return cut_short(err);
    if (got > 0) {
        r->at += (uint64_t)got;
        r->left -= (uint64_t)got;
    }
    return got;
}

static int number(const struct tar_reader *r, size_t field, size_t n, const char *what, int64_t *out, struct gv_error *err)
{
    if (tar_number(r->block + field, n, out) < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the %s in the tar header at byte %" PRIu64 " is not a number", what, r->at - TAR_BLOCK);
    return 0;
}

static int read_size(const struct tar_reader *r, uint64_t *size, struct gv_error *err)
{
    int64_t v = 0;
    if (number(r, F_SIZE, 12, "size", &v, err) < 0)
        return -1;
    if (v < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the size in the tar header at byte %" PRIu64 " is negative", r->at - TAR_BLOCK);
    *size = (uint64_t)v;
    return 0;
}

/* The data of a member that describes the next one. */
static int read_meta(struct tar_reader *r, struct gv_buf *out, struct gv_error *err)
{
    uint64_t size = 0;
    if (read_size(r, &size, err) < 0)
        return -1;
    if (size > TAR_META_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "an extended tar header of %" PRIu64 " bytes; %zu is the most that is read", size,
                            TAR_META_MAX);
    out->len = 0;
    gv_buf_reserve(out, (size_t)size + 1);
    ssize_t got = stream_read_full(r->stream, out->data, (size_t)size, err);
    if (got < 0)
        return -1;
    r->at += (uint64_t)got;
    if ((uint64_t)got < size)
        return cut_short(err);
    out->len = (size_t)size;
    return pass_over(r, padding_of(size), false, err);
}

static int read_long_name(struct tar_reader *r, struct gv_buf *out, bool *have, struct gv_error *err)
{
    if (read_meta(r, out, err) < 0)
        return -1;
    out->len = strlen(gv_buf_str(out));
    *have = out->len > 0;
    return 0;
}

static int read_pax(struct tar_reader *r, struct gv_error *err)
{
    if (r->have_pax)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "two pax headers for one member, which programs read in different ways");
    r->have_pax = true;
    if (read_meta(r, &r->pax.body, err) < 0)
        return -1;
    return tar_pax_parse(&r->pax, err);
}

static int read_global(struct tar_reader *r, struct gv_error *err)
{
    cleanup_buf struct gv_buf body = { 0 };
    if (read_meta(r, &body, err) < 0)
        return -1;
    return tar_pax_check_global(&body, err);
}

/* Go's writer before 1.8 put a prefix into headers of the GNU kind, where access and change times are: then those are no numbers. */
static bool has_gnu_prefix(const unsigned char *b)
{
    int64_t v = 0;
    if (!b[F_PREFIX] || (tar_number(b + F_GNU_ATIME, 12, &v) == 0 && tar_number(b + F_GNU_CTIME, 12, &v) == 0))
        return false;
    for (size_t i = 0; i < 155 && b[F_PREFIX + i]; i++)
        if (b[F_PREFIX + i] >= 0x80)
            return false;
    return true;
}

static enum dialect dialect_of(const unsigned char *b)
{
    if (memcmp(b + F_MAGIC, "ustar  \0", 8) == 0)
        return TAR_GNU;
    if (memcmp(b + F_MAGIC, "ustar\0", 6) != 0)
        return TAR_V7;
    return memcmp(b + F_STAR_TRAILER, "tar\0", 4) == 0 ? TAR_STAR : TAR_USTAR;
}

/* The name in the header itself into r->name. */
static void header_name(struct tar_reader *r, enum dialect dialect)
{
    const char *b = (const char *)r->block;
    size_t prefix = dialect == TAR_USTAR ? 155 : dialect == TAR_STAR ? 131 : has_gnu_prefix(r->block) && dialect == TAR_GNU ? 155 : 0;
    prefix = strnlen(b + F_PREFIX, prefix);
    r->name.len = 0;
    if (prefix) {
        gv_buf_add(&r->name, b + F_PREFIX, prefix);
        gv_buf_add(&r->name, "/", 1);
    }
    gv_buf_add(&r->name, b + F_NAME, strnlen(b + F_NAME, 100));
}

static int choose_names(struct tar_reader *r, struct tar_entry *e, enum dialect dialect, struct gv_error *err)
{
    const struct tar_pax *p = &r->pax;
    bool clash = (r->have_name && p->path_len && (r->name.len != p->path_len || memcmp(r->name.data, p->path, p->path_len) != 0)) ||
                 (r->have_link && p->link_len && (r->link.len != p->link_len || memcmp(r->link.data, p->link, p->link_len) != 0));
    if (clash)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0,
                            "a pax header and a GNU long name that differ, which programs read in different ways");
    if (!r->have_name)
        header_name(r, dialect);
    if (!r->have_link) {
        r->link.len = 0;
        gv_buf_add(&r->link, r->block + F_LINK, strnlen((const char *)r->block + F_LINK, 100));
    }
    e->path = gv_buf_str(&r->name);
    e->path_len = r->name.len;
    e->link = gv_buf_str(&r->link);
    e->link_len = r->link.len;
    if (p->path_len) {
        e->path = p->path;
        e->path_len = p->path_len;
    }
    if (p->link_len) {
        e->link = p->link;
        e->link_len = p->link_len;
    }
    if (p->sparse && p->sparse_name_len) {
        e->path = p->sparse_name;
        e->path_len = p->sparse_name_len;
    }
    return e->path_len ? 0 : gv_error_set(err, GV_E_FORMAT, 0, "a member without a name at byte %" PRIu64, r->at - TAR_BLOCK);
}

static int owner(const struct tar_reader *r, size_t field, const char *what, uint32_t *out, struct gv_error *err)
{
    int64_t v = 0;
    if (number(r, field, 8, what, &v, err) < 0)
        return -1;
    if (v < 0 || v >= UINT32_MAX)
        return gv_error_set(err, GV_E_FORMAT, 0, "the %s %" PRId64 " is out of range", what, v);
    *out = (uint32_t)v;
    return 0;
}

static int device(const struct tar_reader *r, struct tar_entry *e, struct gv_error *err)
{
    int64_t major, minor;
    /* The first tar had no devices. Others read such a header as device 0:0, whatever its fields say. */
    if (dialect_of(r->block) == TAR_V7)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a device in a header of the oldest kind (v7), which has no place for its number");
    if (number(r, F_MAJOR, 8, "device number", &major, err) < 0 || number(r, F_MINOR, 8, "device number", &minor, err) < 0)
        return -1;
    /* 12 and 20 bits are what Linux has. */
    if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff)
        return gv_error_set(err, GV_E_FORMAT, 0, "the device number %" PRId64 ":%" PRId64 " is out of range", major, minor);
    e->major = (uint32_t)major;
    e->minor = (uint32_t)minor;
    return 0;
}

static int attributes(struct tar_reader *r, struct tar_entry *e, struct gv_error *err)
{
    const struct tar_pax *p = &r->pax;
    int64_t mode;
    if (number(r, F_MODE, 8, "mode", &mode, err) < 0 || owner(r, F_UID, "owner", &e->uid, err) < 0 ||
        owner(r, F_GID, "group", &e->gid, err) < 0 || number(r, F_MTIME, 12, "time", &e->mtime, err) < 0)
        return -1;
    if (mode < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the mode is negative");
    e->mode = (uint16_t)(mode & 07777);
    if (p->has_uid)
        e->uid = p->uid;
    if (p->has_gid)
        e->gid = p->gid;
    if (p->has_mtime)
        e->mtime = p->mtime;
    e->xattrs = p->xattrs;
    e->xattr_count = (uint32_t)p->xattr_count;
    return 0;
}

static int type_of(unsigned char flag, enum tar_type *out, struct gv_error *err)
{
    switch (flag) {
    case '\0':
    case '0':
    case '7': /* contiguous: files like others today */
    case 'S':
        *out = TAR_FILE;
        return 0;
    case '1':
        *out = TAR_HARDLINK;
        return 0;
    case '2':
        *out = TAR_SYMLINK;
        return 0;
    case '3':
        *out = TAR_CHAR;
        return 0;
    case '4':
        *out = TAR_BLOCKDEV;
        return 0;
    case '5':
        *out = TAR_DIR;
        return 0;
    case '6':
        *out = TAR_FIFO;
        return 0;
    default:
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a member of the unknown type `%c`", flag);
    }
}

/* Old GNU: four pieces in the header and more in blocks after it, until an empty piece or the end of the list. */
static int gnu_extents(struct tar_reader *r, const unsigned char *list, size_t n, bool *more, struct gv_error *err)
{
    for (size_t i = 0; i < n && *more; i++, list += 24) {
        if (list[0] == 0 && list[12] == 0) {
            *more = false;
            break;
        }
        int64_t offset, length;
        if (tar_number(list, 12, &offset) < 0 || tar_number(list + 12, 12, &length) < 0 || offset < 0 || length < 0)
            return gv_error_set(err, GV_E_FORMAT, 0, "the map of a sparse file is wrong: not a number");
        if (tar_extent_add(&r->pax, (uint64_t)offset, (uint64_t)length, err) < 0)
            return -1;
    }
    return 0;
}

static int gnu_sparse(struct tar_reader *r, struct tar_entry *e, struct gv_error *err)
{
    int64_t real;
    if (r->pax.sparse)
        return gv_error_set(err, GV_E_FORMAT, 0, "a sparse file with two maps");
    if (number(r, F_GNU_REALSIZE, 12, "real size", &real, err) < 0)
        return -1;
    if (real < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the real size of a sparse file is negative");
    e->size = (uint64_t)real;
    bool more = true, extended = r->block[F_GNU_EXTENDED] != 0;
    if (gnu_extents(r, r->block + F_GNU_SPARSE, 4, &more, err) < 0)
        return -1;
    while (extended) {
        int got = read_block(r, err);
        if (got <= 0)
            return got < 0 ? -1 : cut_short(err);
        if (gnu_extents(r, r->block, 21, &more, err) < 0)
            return -1;
        extended = r->block[504] != 0;
    }
    e->sparse = true;
    return 0;
}

/* One line of the map in front of the data (pax sparse 1.0): digits up to a newline. */
static int map_number(struct tar_reader *r, size_t *in_block, uint64_t *out, struct gv_error *err)
{
    uint64_t v = 0;
    for (size_t digits = 0; digits < 21; digits++) {
        if (*in_block == TAR_BLOCK) {
            if (r->left < TAR_BLOCK)
                return gv_error_set(err, GV_E_FORMAT, 0, "the map of a sparse file is longer than its data");
            int got = read_block(r, err);
            if (got <= 0)
                return got < 0 ? -1 : cut_short(err);
            r->left -= TAR_BLOCK;
            *in_block = 0;
        }
        unsigned char c = r->block[(*in_block)++];
        if (c == '\n' && digits > 0) {
            *out = v;
            return 0;
        }
        if (c < '0' || c > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(c - '0'), &v))
            break;
    }
    return gv_error_set(err, GV_E_FORMAT, 0, "the map of a sparse file is wrong: not a number");
}

static int pax_sparse(struct tar_reader *r, struct tar_entry *e, struct gv_error *err)
{
    struct tar_pax *p = &r->pax;
    e->sparse = true;
    e->size = p->real_size;
    if (!p->map_in_data)
        return 0;
    size_t in_block = TAR_BLOCK;
    uint64_t count;
    if (map_number(r, &in_block, &count, err) < 0)
        return -1;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset, length;
        if (map_number(r, &in_block, &offset, err) < 0 || map_number(r, &in_block, &length, err) < 0 ||
            tar_extent_add(p, offset, length, err) < 0)
            return -1;
    }
    return 0;
}

/*
 * A hard link has no data of its own in nearly all archives, whatever its size says (GNU tar and Docker never look for any); in pax
 * archives it may have some (pax -o linkdata, cpio). What comes next tells: a header or the end of the archive means no data.
 */
static int link_data(struct tar_reader *r, uint64_t size, struct gv_error *err)
{
    if (size == 0)
        return 0;
    int got = read_block(r, err);
    if (got < 0)
        return -1;
    if (got == 0)
        return 0;
    if (is_zero(r->block) || tar_is_header(r->block)) {
        r->pushed_back = true;
        if (r->pax.has_size)
            return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a hard link with a size, which programs read in different ways");
        return 0;
    }
    uint64_t padded;
    if (__builtin_add_overflow(size, padding_of(size), &padded))
        return cut_short(err);
    r->unwanted = padded - TAR_BLOCK;
    return 0;
}

static int content(struct tar_reader *r, struct tar_entry *e, unsigned char flag, uint64_t size, struct gv_error *err)
{
    if (e->type == TAR_HARDLINK)
        return link_data(r, size, err);
    if (e->type != TAR_FILE) {
        if (r->pax.sparse)
            return gv_error_set(err, GV_E_FORMAT, 0, "a sparse map for something that is not a file");
        /* GNU tar takes it that data of that size follows; Docker and libarchive go on with the next block. */
        return size ? gv_error_set(err, GV_E_UNSUPPORTED, 0, "a size where there can be no data, which programs read in different ways")
                    : 0;
    }
    r->left = e->size = size;
    r->padding = padding_of(size);
    if ((flag == 'S' ? gnu_sparse(r, e, err) : r->pax.sparse ? pax_sparse(r, e, err) : 0) < 0)
        return -1;
    if (e->size > INT64_MAX)
        return gv_error_set(err, GV_E_FORMAT, 0, "the size is out of range");
    e->offset = r->at;
    e->stored = r->left;
    if (!e->sparse)
        return 0;
    if (tar_extents_check(&r->pax, e->size, e->stored, err) < 0)
        return -1;
    e->extents = r->pax.extents;
    e->extent_count = r->pax.extent_count;
    e->sparse = e->stored != e->size;
    return 0;
}

static int member(struct tar_reader *r, struct tar_entry *e, struct gv_error *err)
{
    unsigned char flag = r->block[F_TYPE];
    uint64_t size = 0;
    if (choose_names(r, e, dialect_of(r->block), err) < 0)
        return -1;
    if (type_of(flag, &e->type, err) < 0 || attributes(r, e, err) < 0 || read_size(r, &size, err) < 0)
        return -1;
    if (r->pax.has_size)
        size = r->pax.size;
    if (e->type == TAR_FILE && e->path[e->path_len - 1] == '/') {
        /* How directories were written before there was a type for them. */
        if (size || flag == 'S' || flag == '7' || r->pax.sparse)
            return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a directory with data, which programs read in different ways");
        e->type = TAR_DIR;
    }
    if (e->type == TAR_HARDLINK || e->type == TAR_SYMLINK) {
        if (!e->link_len)
            return gv_error_set(err, GV_E_FORMAT, 0, "a link without a target");
    } else {
        e->link = NULL;
        e->link_len = 0;
    }
    if ((e->type == TAR_CHAR || e->type == TAR_BLOCKDEV) && device(r, e, err) < 0)
        return -1;
    return content(r, e, flag, size, err);
}

/* After one zero block: 0 when this is the end of the archive. */
static int end_of_archive(struct tar_reader *r, struct gv_error *err)
{
    if (r->have_pax || r->have_name || r->have_link)
        return cut_short(err);
    int got = read_block(r, err);
    if (got < 0)
        return -1;
    if (got > 0 && !is_zero(r->block))
        return gv_error_set(err, GV_E_FORMAT, 0, "there is a single empty block in the middle of the tar archive, at byte %" PRIu64,
                            r->at - 2 * (uint64_t)TAR_BLOCK);
    r->done = true;
    return 0;
}

int tar_reader_next(struct tar_reader *r, struct tar_entry *e, struct gv_error *err)
{
    *e = (struct tar_entry){ 0 };
    if (r->done)
        return 0;
    if (finish_member(r, err) < 0)
        return -1;
    tar_pax_reset(&r->pax);
    r->have_pax = r->have_name = r->have_link = false;
    for (;;) {
        int got = read_block(r, err);
        if (got < 0)
            return -1;
        if (got == 0) {
            r->done = true;
            return r->have_pax || r->have_name || r->have_link ? cut_short(err) : 0;
        }
        if (is_zero(r->block))
            return end_of_archive(r, err);
        if (!tar_is_header(r->block))
            return r->started
                       ? gv_error_set(err, GV_E_FORMAT, 0, "the tar archive is damaged: no header at byte %" PRIu64, r->at - TAR_BLOCK)
                       : gv_error_set(err, GV_E_FORMAT, 0, "this is not a tar archive");
        r->started = true;
        int status;
        switch (r->block[F_TYPE]) {
        case 'x':
            status = read_pax(r, err);
            break;
        case 'g':
            status = read_global(r, err);
            break;
        case 'L':
            status = read_long_name(r, &r->name, &r->have_name, err);
            break;
        case 'K':
            status = read_long_name(r, &r->link, &r->have_link, err);
            break;
        default:
            if (member(r, e, err) == 0)
                return 1;
            return e->path ? gv_error_prefix(err, "member `%.200s`", e->path) : -1;
        }
        if (status < 0)
            return -1;
    }
}
