/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "gvmi/read.h"

/* Bytes that follow the 16 of the header, up to the list, target or index; by type. */
static const uint8_t body_sizes[] = {
    [SQFS_DIR] = 16,
    [SQFS_FILE] = 16,
    [SQFS_SYMLINK] = 8,
    [SQFS_BLOCK] = 8,
    [SQFS_CHAR] = 8,
    [SQFS_FIFO] = 4,
    [SQFS_SOCKET] = 4,
    [SQFS_DIR + SQFS_EXTENDED] = 24,
    [SQFS_FILE + SQFS_EXTENDED] = 40,
    [SQFS_SYMLINK + SQFS_EXTENDED] = 8,
    [SQFS_BLOCK + SQFS_EXTENDED] = 12,
    [SQFS_CHAR + SQFS_EXTENDED] = 12,
    [SQFS_FIFO + SQFS_EXTENDED] = 8,
    [SQFS_SOCKET + SQFS_EXTENDED] = 8,
};

static void decode_file(const struct gvmi_image *img, struct gvmi_inode *i, const unsigned char *p, bool extended)
{
    if (extended) {
        i->start = sqfs_get64(p);
        i->st.size = sqfs_get64(p + 8);
        i->st.nlink = sqfs_get32(p + 24);
        i->fragment = sqfs_get32(p + 28);
        i->fragment_offset = sqfs_get32(p + 32);
        i->st.xattr = sqfs_get32(p + 36);
    } else {
        i->start = sqfs_get32(p);
        i->fragment = sqfs_get32(p + 4);
        i->fragment_offset = sqfs_get32(p + 8);
        i->st.size = sqfs_get32(p + 12);
        i->st.nlink = 1;
    }
    uint32_t block = img->super.block_size;
    i->block_count = i->st.size / block + (i->fragment == SQFS_NO_FRAGMENT && i->st.size % block != 0);
    i->length += i->block_count * 4; /* at most 2^52 blocks: no overflow */
}

static void decode_dir(struct gvmi_inode *i, const unsigned char *p, bool extended)
{
    uint32_t size, start, offset;
    if (extended) {
        i->st.nlink = sqfs_get32(p);
        size = sqfs_get32(p + 4);
        start = sqfs_get32(p + 8);
        i->parent = sqfs_get32(p + 12);
        offset = sqfs_get16(p + 18);
        i->st.xattr = sqfs_get32(p + 20);
    } else {
        start = sqfs_get32(p);
        i->st.nlink = sqfs_get32(p + 4);
        size = sqfs_get16(p + 8);
        offset = sqfs_get16(p + 10);
        i->parent = sqfs_get32(p + 12);
    }
    i->listing = (uint64_t)start << 16 | offset;
    i->listing_size = size < SQFS_DIR_EXTRA ? 0 : size - SQFS_DIR_EXTRA;
    i->st.size = size;
}

static int decode_symlink(struct gvmi_image *img, struct gvmi_inode *i, const unsigned char *p, bool extended, struct gv_error *err)
{
    i->st.nlink = sqfs_get32(p);
    i->st.size = sqfs_get32(p + 4);
    if (i->st.size == 0 || i->st.size > SQFS_TARGET_MAX)
        return gvmi_damaged(img, err, "a symbolic link has a target of %llu bytes", (unsigned long long)i->st.size);
    i->length += i->st.size;
    if (!extended)
        return 0;
    struct gvmi_cursor behind = i->rest;
    unsigned char word[4];
    if (gvmi_meta_read(img, &behind, NULL, (size_t)i->st.size, err) < 0 || gvmi_meta_read(img, &behind, word, sizeof(word), err) < 0)
        return -1;
    i->st.xattr = sqfs_get32(word);
    return 0;
}

static void decode_special(struct gvmi_inode *i, const unsigned char *p, bool device, bool extended)
{
    i->st.nlink = sqfs_get32(p);
    p += 4;
    if (device) {
        sqfs_unpack_rdev(sqfs_get32(p), &i->st.rdev_major, &i->st.rdev_minor);
        p += 4;
    }
    if (extended)
        i->st.xattr = sqfs_get32(p);
}

static int decode_body(struct gvmi_image *img, struct gvmi_inode *i, unsigned type, const unsigned char *p, struct gv_error *err)
{
    bool extended = type > SQFS_EXTENDED;
    switch (extended ? type - SQFS_EXTENDED : type) {
    case SQFS_DIR:
        i->st.type = IMAGE_DIR;
        decode_dir(i, p, extended);
        return 0;
    case SQFS_FILE:
        i->st.type = IMAGE_FILE;
        decode_file(img, i, p, extended);
        return 0;
    case SQFS_SYMLINK:
        i->st.type = IMAGE_SYMLINK;
        return decode_symlink(img, i, p, extended, err);
    case SQFS_BLOCK:
        i->st.type = IMAGE_BLOCK;
        decode_special(i, p, true, extended);
        return 0;
    case SQFS_CHAR:
        i->st.type = IMAGE_CHAR;
        decode_special(i, p, true, extended);
        return 0;
    case SQFS_FIFO:
        i->st.type = IMAGE_FIFO;
        decode_special(i, p, false, extended);
        return 0;
    default:
        i->st.type = IMAGE_SOCKET;
        decode_special(i, p, false, extended);
        return 0;
    }
}

int gvmi_inode_read(struct gvmi_image *img, uint64_t ref, struct gvmi_inode *i, struct gv_error *err)
{
    unsigned char head[SQFS_INODE_HEADER], body[64];
    *i = (struct gvmi_inode){ .st = { .ref = ref, .xattr = SQFS_NO_XATTR }, .fragment = SQFS_NO_FRAGMENT };
    if (gvmi_meta_seek(img, &i->rest, img->super.inode_table, img->super.directory_table, ref, err) < 0 ||
        gvmi_meta_read(img, &i->rest, head, sizeof(head), err) < 0)
        return -1;
    unsigned type = sqfs_get16(head), uid = sqfs_get16(head + 4), gid = sqfs_get16(head + 6);
    if (type < SQFS_DIR || type > SQFS_SOCKET + SQFS_EXTENDED)
        return gvmi_damaged(img, err, "an inode has the unknown type %u", type);
    if (uid >= img->super.ids || gid >= img->super.ids)
        return gvmi_damaged(img, err, "an inode has an owner that is not in the table of ids");
    i->st.mode = sqfs_get16(head + 2) & 07777;
    i->st.uid = img->ids[uid];
    i->st.gid = img->ids[gid];
    i->st.mtime = sqfs_get32(head + 8);
    i->st.inode = sqfs_get32(head + 12);
    if (i->st.inode == 0 || i->st.inode > img->super.inodes)
        return gvmi_damaged(img, err, "an inode has the number %u, but there are only %u", i->st.inode, img->super.inodes);
    i->length = sizeof(head) + body_sizes[type];
    if (gvmi_meta_read(img, &i->rest, body, body_sizes[type], err) < 0)
        return -1;
    return decode_body(img, i, type, body, err);
}

int gvmi_stat(struct gvmi_image *img, uint64_t ref, struct gvmi_stat *st, struct gv_error *err)
{
    struct gvmi_inode i;
    if (gvmi_inode_read(img, ref, &i, err) < 0)
        return -1;
    *st = i.st;
    return 0;
}

int gvmi_read_link(struct gvmi_image *img, uint64_t ref, char **target, struct gv_error *err)
{
    struct gvmi_inode i;
    if (gvmi_inode_read(img, ref, &i, err) < 0)
        return -1;
    if (i.st.type != IMAGE_SYMLINK)
        return gv_error_set(err, GV_E_USAGE, 0, "%s: not a symbolic link", img->name);
    cleanup_free char *text = gv_alloc((size_t)i.st.size + 1);
    if (gvmi_meta_read(img, &i.rest, text, (size_t)i.st.size, err) < 0)
        return -1;
    text[i.st.size] = '\0';
    if (strlen(text) != i.st.size)
        return gvmi_damaged(img, err, "the target of a symbolic link holds a NUL");
    *target = steal_ptr(text);
    return 0;
}

int gvmi_xattrs_find(struct gvmi_image *img, uint32_t index, struct gvmi_cursor *pairs, uint32_t *count, struct gv_error *err)
{
    if (img->xattr_pairs == SQFS_NONE || index >= img->xattr_count)
        return gvmi_damaged(img, err, "an inode has extended attributes that do not exist");
    struct gvmi_cursor c;
    unsigned char entry[SQFS_XATTR_ID_SIZE];
    if (gvmi_table_seek(img, &c, img->super.xattr_table + 16, index, sizeof(entry), err) < 0 ||
        gvmi_meta_read(img, &c, entry, sizeof(entry), err) < 0)
        return -1;
    *count = sqfs_get32(entry + 8);
    return gvmi_meta_seek(img, pairs, img->xattr_pairs, img->super.xattr_table, sqfs_get64(entry), err);
}

int gvmi_xattr_next(struct gvmi_image *img, struct gvmi_cursor *pairs, char name[GVMI_XATTR_NAME_ROOM], unsigned char *value, size_t *size,
                    struct gv_error *err)
{
    static const char *const prefixes[] = { "user.", "trusted.", "security." };
    unsigned char head[4], word[4], where[8];
    if (gvmi_meta_read(img, pairs, head, sizeof(head), err) < 0)
        return -1;
    unsigned type = sqfs_get16(head), len = sqfs_get16(head + 2), space = type & ~SQFS_XATTR_INDIRECT;
    if (space >= sizeof(prefixes) / sizeof(prefixes[0]) || len == 0 || len > SQFS_NAME_MAX)
        return gvmi_damaged(img, err, "an extended attribute has an impossible name");
    size_t prefix = strlen(prefixes[space]);
    memcpy(name, prefixes[space], prefix);
    if (gvmi_meta_read(img, pairs, name + prefix, len, err) < 0 || gvmi_meta_read(img, pairs, word, sizeof(word), err) < 0)
        return -1;
    name[prefix + len] = '\0';
    if (strlen(name) != prefix + len)
        return gvmi_damaged(img, err, "the name of an extended attribute holds a NUL");
    struct gvmi_cursor elsewhere, *from = pairs;
    if (type & SQFS_XATTR_INDIRECT) {
        if (sqfs_get32(word) != sizeof(where))
            return gvmi_damaged(img, err, "the value of an extended attribute is misplaced");
        from = &elsewhere;
        if (gvmi_meta_read(img, pairs, where, sizeof(where), err) < 0 ||
            gvmi_meta_seek(img, from, img->xattr_pairs, img->super.xattr_table, sqfs_get64(where), err) < 0 ||
            gvmi_meta_read(img, from, word, sizeof(word), err) < 0)
            return -1;
    }
    *size = sqfs_get32(word);
    if (*size > GVMI_XATTR_VALUE_ROOM)
        return gvmi_damaged(img, err, "an extended attribute has a value of %zu bytes", *size);
    return gvmi_meta_read(img, from, value, *size, err);
}

int gvmi_read_xattrs(struct gvmi_image *img, uint64_t ref, int (*fn)(void *user, const char *name, const void *value, size_t n), void *user,
                     struct gv_error *err)
{
    struct gvmi_inode i;
    struct gvmi_cursor pairs;
    uint32_t count;
    if (gvmi_inode_read(img, ref, &i, err) < 0)
        return -1;
    if (i.st.xattr == SQFS_NO_XATTR)
        return 0;
    if (gvmi_xattrs_find(img, i.st.xattr, &pairs, &count, err) < 0)
        return -1;
    cleanup_free unsigned char *value = gv_alloc(GVMI_XATTR_VALUE_ROOM);
    for (uint32_t k = 0; k < count; k++) {
        char name[GVMI_XATTR_NAME_ROOM];
        size_t size;
        if (gvmi_xattr_next(img, &pairs, name, value, &size, err) < 0)
            return -1;
        int r = fn(user, name, value, size);
        if (r != 0)
            return r;
    }
    return 0;
}
