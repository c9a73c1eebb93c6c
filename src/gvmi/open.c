/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Opening: the trailer from the end of the file, the superblock from its start, and a look at every table that the superblock names. The tables must
 * lie in the order in which every writer puts them and the kernel wants them: inodes, directories, fragments, export, ids, extended attributes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gvmi/read.h"
#include "gvmi/trailer.h"

static void decode_super(struct sqfs_super *s, const unsigned char *p)
{
    *s = (struct sqfs_super){
        .inodes = sqfs_get32(p + 4),
        .mkfs_time = sqfs_get32(p + 8),
        .block_size = sqfs_get32(p + 12),
        .fragments = sqfs_get32(p + 16),
        .compression = sqfs_get16(p + 20),
        .block_log = sqfs_get16(p + 22),
        .flags = sqfs_get16(p + 24),
        .ids = sqfs_get16(p + 26),
        .root = sqfs_get64(p + 32),
        .bytes_used = sqfs_get64(p + 40),
        .id_table = sqfs_get64(p + 48),
        .xattr_table = sqfs_get64(p + 56),
        .inode_table = sqfs_get64(p + 64),
        .directory_table = sqfs_get64(p + 72),
        .fragment_table = sqfs_get64(p + 80),
        .export_table = sqfs_get64(p + 88),
    };
}

static int read_super(struct gvmi_image *img, struct gv_error *err)
{
    struct sqfs_super *s = &img->super;
    unsigned char buf[SQFS_SUPER_SIZE];
    if (img->info.trailer_offset < sizeof(buf))
        return gv_error_set(err, GV_E_FORMAT, 0, "%s: there is no squashfs before the metadata", img->name);
    s->bytes_used = sizeof(buf);
    if (gvmi_read_at(img, 0, buf, sizeof(buf), err) < 0)
        return -1;
    if (sqfs_get32(buf) != SQFS_MAGIC)
        return gv_error_set(err, GV_E_FORMAT, 0, "%s: not a .gvmi: it does not begin with a squashfs", img->name);
    if (sqfs_get16(buf + 28) != 4 || sqfs_get16(buf + 30) != 0)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "%s: squashfs version %u.%u cannot be read, only 4.0", img->name,
                            sqfs_get16(buf + 28), sqfs_get16(buf + 30));
    decode_super(s, buf);
    if (s->block_size < SQFS_BLOCK_MIN || s->block_size > SQFS_BLOCK_MAX || (s->block_size & (s->block_size - 1)) != 0 ||
        s->block_log != __builtin_ctz(s->block_size))
        return gvmi_damaged(img, err, "block size %u is impossible", s->block_size);
    if (s->bytes_used > img->info.trailer_offset || s->bytes_used < sizeof(buf))
        return gvmi_damaged(img, err, "it claims %llu bytes, the file has %llu before its metadata: cut short, or not a .gvmi",
                            (unsigned long long)s->bytes_used, (unsigned long long)img->info.trailer_offset);
    if (s->inodes == 0 || s->ids == 0)
        return gvmi_damaged(img, err, "it has no inodes or no owners");
    if (s->inodes > GVMI_INODES_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "%s: it has %u inodes, which is more than %u", img->name, s->inodes, GVMI_INODES_MAX);
    return 0;
}

/* Checks that the list of a table's block positions lies inside and that its first block lies between *low and it; *low moves behind the list. */
static int check_table(struct gvmi_image *img, const char *what, uint64_t list, uint64_t entries, uint32_t entry_size, uint64_t *low,
                       struct gv_error *err)
{
    uint32_t per_block = SQFS_META_SIZE / entry_size;
    uint64_t bytes = (entries + per_block - 1) / per_block * 8;
    struct gvmi_cursor first;
    if (list < *low || list > img->super.bytes_used || bytes > img->super.bytes_used - list)
        return gvmi_damaged(img, err, "its %s table lies outside", what);
    if (gvmi_table_seek(img, &first, list, 0, entry_size, err) < 0)
        return -1;
    if (first.block < *low)
        return gvmi_damaged(img, err, "its %s table overlaps another", what);
    if (first.block < img->directory_end)
        img->directory_end = first.block;
    *low = list + bytes;
    return 0;
}

static int check_xattr_table(struct gvmi_image *img, uint64_t low, struct gv_error *err)
{
    const struct sqfs_super *s = &img->super;
    unsigned char head[16];
    img->xattr_pairs = SQFS_NONE;
    if (s->xattr_table == SQFS_NONE)
        return 0;
    if (s->xattr_table < low || gvmi_read_at(img, s->xattr_table, head, sizeof(head), err) < 0)
        return gvmi_damaged(img, err, "its table of extended attributes lies outside");
    img->xattr_count = sqfs_get32(head + 8);
    uint64_t pairs = sqfs_get64(head);
    if (img->xattr_count == 0)
        return 0;
    if (pairs < low || pairs >= s->xattr_table)
        return gvmi_damaged(img, err, "its extended attributes lie outside");
    if (pairs < img->directory_end)
        img->directory_end = pairs;
    low = pairs;
    img->xattr_pairs = pairs;
    return check_table(img, "extended attribute", s->xattr_table + sizeof(head), img->xattr_count, SQFS_XATTR_ID_SIZE, &low, err);
}

static int check_tables(struct gvmi_image *img, struct gv_error *err)
{
    const struct sqfs_super *s = &img->super;
    if (s->inode_table < SQFS_SUPER_SIZE || s->inode_table >= s->directory_table || s->directory_table > s->bytes_used)
        return gvmi_damaged(img, err, "its inode and directory tables lie outside");
    img->directory_end = s->bytes_used;
    uint64_t low = s->directory_table;
    if (s->fragments > 0 && check_table(img, "fragment", s->fragment_table, s->fragments, SQFS_FRAGMENT_SIZE, &low, err) < 0)
        return -1;
    if (s->export_table != SQFS_NONE && check_table(img, "export", s->export_table, s->inodes, 8, &low, err) < 0)
        return -1;
    if (check_table(img, "id", s->id_table, s->ids, 4, &low, err) < 0 || check_xattr_table(img, low, err) < 0)
        return -1;
    struct gvmi_cursor root;
    return gvmi_meta_seek(img, &root, s->inode_table, s->directory_table, s->root, err);
}

static int read_ids(struct gvmi_image *img, struct gv_error *err)
{
    uint32_t n = img->super.ids;
    img->ids = gv_reallocarray(NULL, n, sizeof(*img->ids));
    struct gvmi_cursor c = { 0 };
    for (uint32_t i = 0; i < n; i++) {
        unsigned char id[4];
        if (i % (SQFS_META_SIZE / sizeof(id)) == 0 && gvmi_table_seek(img, &c, img->super.id_table, i, sizeof(id), err) < 0)
            return -1;
        if (gvmi_meta_read(img, &c, id, sizeof(id), err) < 0)
            return -1;
        img->ids[i] = sqfs_get32(id);
    }
    return 0;
}

static int open_image(struct gvmi_image *img, struct gv_error *err)
{
    struct stat st;
    if (fstat(img->fd, &st) < 0)
        return gv_error_errno(err, "%s", img->name);
    if (!S_ISREG(st.st_mode))
        return gv_error_set(err, GV_E_FORMAT, 0, "%s: not a regular file", img->name);
    struct gvmi_info *info = &img->info;
    info->file_size = (uint64_t)st.st_size;
    size_t json_size = 0;
    if (gvmi_trailer_read(img->fd, info->file_size, &img->json, &json_size, &info->trailer_offset, err) < 0 ||
        image_config_parse(&img->config, img->json, json_size, err) < 0)
        return gv_error_prefix(err, "%s", img->name);
    info->metadata_size = (uint32_t)json_size;
    if (read_super(img, err) < 0)
        return -1;
    img->unpacker = gvmi_unpacker_new(img->super.compression, err);
    if (!img->unpacker)
        return gv_error_prefix(err, "%s", img->name);
    img->cache = gv_calloc(GVMI_META_CACHE, sizeof(*img->cache));
    for (size_t i = 0; i < GVMI_META_CACHE; i++)
        img->cache[i].at = SQFS_NONE;
    if (check_tables(img, err) < 0 || read_ids(img, err) < 0)
        return -1;
    const struct sqfs_super *s = &img->super;
    info->squashfs_size = s->bytes_used;
    info->compression = s->compression;
    info->block_size = s->block_size;
    info->inode_count = s->inodes;
    info->fragment_count = s->fragments;
    info->id_count = s->ids;
    info->flags = s->flags;
    info->mkfs_time = s->mkfs_time;
    return 0;
}

int gvmi_open_fd(struct gvmi_image **out, int fd, const char *name, struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = gv_new(struct gvmi_image);
    img->fd = fd;
    img->name = gv_strdup(name);
    if (open_image(img, err) < 0)
        return -1;
    *out = steal_ptr(img);
    return 0;
}

int gvmi_open(struct gvmi_image **out, const char *path, struct gv_error *err)
{
    /* Not blocking, should the name be a fifo. */
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", path);
    if (gvmi_open_fd(out, fd, path, err) < 0)
        return -1;
    (*out)->owns_fd = true;
    steal_fd(&fd);
    return 0;
}

void gvmi_close(struct gvmi_image *img)
{
    if (!img)
        return;
    if (img->owns_fd)
        close(img->fd);
    image_config_clear(&img->config);
    gvmi_unpacker_free(img->unpacker);
    free(img->name);
    free(img->json);
    free(img->ids);
    free(img->cache);
    free(img->packed);
    free(img->block);
    for (size_t i = 0; i < img->fragment_room; i++)
        free(img->fragments[i].data);
    free(img->fragments);
    free(img);
}

const struct gvmi_info *gvmi_info(const struct gvmi_image *img)
{
    return &img->info;
}

const struct image_config *gvmi_config(const struct gvmi_image *img)
{
    return &img->config;
}

const char *gvmi_metadata(const struct gvmi_image *img)
{
    return img->json;
}

uint64_t gvmi_root(const struct gvmi_image *img)
{
    return img->super.root;
}

int gvmi_hash(struct gvmi_image *img, char hex[GV_SHA3_224_HEX], struct gv_error *err)
{
    unsigned char digest[GV_HASH_MAX];
    if (gv_hash_fd(GV_HASH_SHA3_224, img->fd, digest, err) < 0)
        return gv_error_prefix(err, "%s", img->name);
    gv_hex(hex, digest, GV_SHA3_224_SIZE);
    return 0;
}
