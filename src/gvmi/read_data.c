/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gvmi/read.h"

static unsigned char *buffer(struct gvmi_image *img, unsigned char **slot)
{
    if (!*slot)
        *slot = gv_alloc(img->super.block_size);
    return *slot;
}

int gvmi_block_word(struct gvmi_image *img, struct gvmi_cursor *list, uint32_t *word, struct gv_error *err)
{
    unsigned char raw[4];
    if (gvmi_meta_read(img, list, raw, sizeof(raw), err) < 0)
        return -1;
    *word = sqfs_get32(raw);
    if (*word >= 2 * SQFS_RAW_BLOCK || *word == SQFS_RAW_BLOCK || gvmi_word_size(*word) > img->super.block_size)
        return gvmi_damaged(img, err, "a block of data has an impossible size");
    return 0;
}

int64_t gvmi_block_read(struct gvmi_image *img, uint64_t at, uint32_t word, unsigned char *out, size_t cap, struct gv_error *err)
{
    uint32_t size = gvmi_word_size(word);
    bool raw = word & SQFS_RAW_BLOCK;
    uint64_t end = img->super.inode_table;
    if (at < SQFS_SUPER_SIZE || at > end || size > end - at || size == 0 || size > img->super.block_size || (raw && size > cap))
        return gvmi_damaged(img, err, "a block of data lies outside (%u bytes at %llu)", size, (unsigned long long)at);
    if (gvmi_read_at(img, at, raw ? out : buffer(img, &img->packed), size, err) < 0)
        return -1;
    int64_t length = raw ? (int64_t)size : gvmi_unpacker_run(img->unpacker, img->packed, size, out, cap);
    if (length < 0)
        return gvmi_damaged(img, err, "the block of data at %llu cannot be decompressed", (unsigned long long)at);
    return length;
}

int gvmi_fragment_find(struct gvmi_image *img, uint32_t i, uint64_t *at, uint32_t *word, struct gv_error *err)
{
    struct gvmi_cursor c;
    unsigned char entry[SQFS_FRAGMENT_SIZE];
    if (i >= img->super.fragments)
        return gvmi_damaged(img, err, "a file is in fragment %u, but there are only %u", i, img->super.fragments);
    if (gvmi_table_seek(img, &c, img->super.fragment_table, i, sizeof(entry), err) < 0 ||
        gvmi_meta_read(img, &c, entry, sizeof(entry), err) < 0)
        return -1;
    *at = sqfs_get64(entry);
    *word = sqfs_get32(entry + 8);
    if (*word >= 2 * SQFS_RAW_BLOCK)
        return gvmi_damaged(img, err, "a fragment has an impossible size");
    return 0;
}

static int load_fragment(struct gvmi_image *img, uint32_t i, struct gv_error *err)
{
    uint64_t at;
    uint32_t word;
    if (gvmi_fragment_find(img, i, &at, &word, err) < 0)
        return -1;
    if (img->fragment_at == at)
        return 0;
    img->fragment_at = SQFS_NONE;
    int64_t length = gvmi_block_read(img, at, word, buffer(img, &img->fragment), img->super.block_size, err);
    if (length < 0)
        return -1;
    img->fragment_at = at;
    img->fragment_length = (uint32_t)length;
    return 0;
}

static int read_tail(struct gvmi_image *img, const struct gvmi_inode *inode, size_t size, int (*fn)(void *user, const void *p, size_t n),
                     void *user, struct gv_error *err)
{
    if (load_fragment(img, inode->fragment, err) < 0)
        return -1;
    if (inode->fragment_offset > img->fragment_length || size > img->fragment_length - inode->fragment_offset)
        return gvmi_damaged(img, err, "a file reaches beyond its fragment");
    return fn(user, img->fragment + inode->fragment_offset, size);
}

/* Reads or makes up the block of `size` bytes that the word describes. */
static int fill_block(struct gvmi_image *img, uint64_t at, uint32_t word, size_t size, struct gv_error *err)
{
    unsigned char *out = buffer(img, &img->block);
    if (gvmi_word_size(word) == 0) {
        memset(out, 0, size);
        return 0;
    }
    int64_t length = gvmi_block_read(img, at, word, out, img->super.block_size, err);
    if (length < 0)
        return -1;
    if ((size_t)length != size)
        return gvmi_damaged(img, err, "the block of data at %llu has %lld bytes instead of %zu", (unsigned long long)at, (long long)length,
                            size);
    return 0;
}

int gvmi_read_file(struct gvmi_image *img, uint64_t ref, int (*fn)(void *user, const void *p, size_t n), void *user, struct gv_error *err)
{
    struct gvmi_inode inode;
    if (gvmi_inode_read(img, ref, &inode, err) < 0)
        return -1;
    if (inode.st.type != IMAGE_FILE)
        return gv_error_set(err, GV_E_USAGE, 0, "%s: not a regular file", img->name);
    uint64_t left = inode.st.size, at = inode.start;
    for (uint64_t i = 0; i < inode.block_count; i++) {
        size_t size = left < img->super.block_size ? (size_t)left : img->super.block_size;
        uint32_t word;
        if (gvmi_block_word(img, &inode.rest, &word, err) < 0 || fill_block(img, at, word, size, err) < 0)
            return -1;
        at += gvmi_word_size(word);
        left -= size;
        int r = fn(user, img->block, size);
        if (r != 0)
            return r;
    }
    return left == 0 ? 0 : read_tail(img, &inode, (size_t)left, fn, user, err);
}
