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

/* A block of data is never at 0, which marks what is empty. */
static bool holds(const struct gvmi_cached_fragment *f, uint64_t at, uint32_t word)
{
    return at != 0 && f->at == at && f->word == word;
}

/* The place of a fragment in the cache: its own if it is there, else the one that was not used for the longest time. */
static struct gvmi_cached_fragment *find_fragment(struct gvmi_image *img, uint64_t at, uint32_t word)
{
    if (!img->fragments) {
        size_t room = GVMI_FRAGMENT_CACHE / img->super.block_size;
        img->fragment_room = room < GVMI_FRAGMENT_CACHE_MAX ? room : GVMI_FRAGMENT_CACHE_MAX;
        img->fragments = gv_calloc(img->fragment_room, sizeof(*img->fragments));
    }
    struct gvmi_cached_fragment *oldest = &img->fragments[0];
    for (size_t i = 0; i < img->fragment_room; i++) {
        struct gvmi_cached_fragment *f = &img->fragments[i];
        if (holds(f, at, word))
            return f;
        if (f->used < oldest->used)
            oldest = f;
    }
    return oldest;
}

/* The fragment unpacked; valid until the next call. NULL on failure. */
static const struct gvmi_cached_fragment *load_fragment(struct gvmi_image *img, uint32_t i, struct gv_error *err)
{
    uint64_t at;
    uint32_t word;
    if (gvmi_fragment_find(img, i, &at, &word, err) < 0)
        return NULL;
    struct gvmi_cached_fragment *f = find_fragment(img, at, word);
    f->used = ++img->clock;
    if (holds(f, at, word))
        return f;
    f->at = 0;
    int64_t length = gvmi_block_read(img, at, word, buffer(img, &f->data), img->super.block_size, err);
    if (length < 0)
        return NULL;
    f->at = at;
    f->word = word;
    f->length = (uint32_t)length;
    return f;
}

static int read_tail(struct gvmi_image *img, const struct gvmi_inode *inode, size_t size, int (*fn)(void *user, const void *p, size_t n),
                     void *user, struct gv_error *err)
{
    const struct gvmi_cached_fragment *f = load_fragment(img, inode->fragment, err);
    if (!f)
        return -1;
    if (inode->fragment_offset > f->length || size > f->length - inode->fragment_offset)
        return gvmi_damaged(img, err, "a file reaches beyond its fragment");
    return fn(user, f->data + inode->fragment_offset, size);
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
