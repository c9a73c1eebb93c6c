/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SquashFS 4.0 as it lies on the disk: numbers and helpers shared by the writer and the reader. Everything is little-endian. The format is
 * described in docs/image-format.md; the law is what the kernel's fs/squashfs accepts.
 */
#ifndef GV_GVMI_SQUASHFS_H
#define GV_GVMI_SQUASHFS_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define SQFS_MAGIC 0x73717368U /* "hsqs" */
#define SQFS_NONE UINT64_MAX   /* "there is no such table" */
#define SQFS_NO_FRAGMENT UINT32_MAX
#define SQFS_NO_XATTR UINT32_MAX
#define SQFS_RAW_BLOCK (1U << 24) /* in the size of a data block: stored as it is */
#define SQFS_RAW_META 0x8000U     /* the same in the header of a metadata block */
#define SQFS_XATTR_INDIRECT 0x100U

enum {
    SQFS_SUPER_SIZE = 96,
    SQFS_META_SIZE = 8192, /* bytes of a metadata block before compression */
    SQFS_BLOCK_MIN = 4096,
    SQFS_BLOCK_MAX = 1 << 20,
    SQFS_PAD = 4096,
    SQFS_NAME_MAX = 255,
    SQFS_HEADER_ENTRIES = 256, /* directory entries below one header */
    SQFS_DIR_EXTRA = 3,        /* a directory's size counts "." and ".." as three bytes */
    SQFS_IDS_MAX = 65535,
    SQFS_INDEX_MAX = 65535,
    SQFS_TARGET_MAX = 4095, /* of a symbolic link: the kernel refuses what does not fit in a page */
    SQFS_FRAGMENT_SIZE = 16,
    SQFS_XATTR_ID_SIZE = 16,
    SQFS_INODE_HEADER = 16,
};

enum {
    SQFS_FLAG_NO_FRAGMENTS = 0x10,
    SQFS_FLAG_DEDUPLICATED = 0x40,
    SQFS_FLAG_EXPORT = 0x80,
    SQFS_FLAG_OPTIONS = 0x400,
};

/* Inode types; the extended form of type n is n + 7. Directory entries always carry the basic one. */
enum {
    SQFS_DIR = 1,
    SQFS_FILE,
    SQFS_SYMLINK,
    SQFS_BLOCK,
    SQFS_CHAR,
    SQFS_FIFO,
    SQFS_SOCKET,
    SQFS_EXTENDED = 7,
};

struct sqfs_super {
    uint32_t inodes, mkfs_time, block_size, fragments;
    uint16_t compression, block_log, flags, ids;
    uint64_t root, bytes_used, id_table, xattr_table, inode_table, directory_table, fragment_table, export_table;
};

static inline uint16_t sqfs_get16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return le16toh(v);
}

static inline uint32_t sqfs_get32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static inline uint64_t sqfs_get64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static inline unsigned char *sqfs_put16(unsigned char *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static inline unsigned char *sqfs_put32(unsigned char *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static inline unsigned char *sqfs_put64(unsigned char *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

/* Device numbers are packed as the kernel's new_encode_dev() does: 12 bits of major, 20 of minor. */
static inline uint32_t sqfs_pack_rdev(uint32_t major, uint32_t minor)
{
    return (minor & 0xffU) | major << 8 | (minor & 0xfff00U) << 12;
}

static inline void sqfs_unpack_rdev(uint32_t rdev, uint32_t *major, uint32_t *minor)
{
    *major = (rdev & 0xfff00U) >> 8;
    *minor = (rdev & 0xffU) | ((rdev >> 12) & 0xfff00U);
}

#endif
