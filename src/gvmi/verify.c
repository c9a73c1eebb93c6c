/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verifying in two passes. The first walks the tree, reads every inode, block list and set of attributes and collects the places of all blocks of
 * data; the second sorts these, sees that none overlaps another, and decompresses each once, in the order of the file. So the work is bounded by the
 * size of the file, however often a hostile image names the same block, inode or attribute.
 */
#include <stdlib.h>

#include "gvmi/read.h"

struct extent {
    uint64_t at;
    uint32_t word;
    uint32_t length; /* unpacked; 0 = anything up to a block (fragments) */
};

struct seen_inode {
    uint64_t ref;
    uint32_t number; /* 0 = empty slot */
};

struct verify {
    struct gvmi_image *img;
    struct gvmi_walk_guard guard;
    /* the directories whose listings are still to be read */
    struct gvmi_inode *dirs;
    size_t dir_count, dir_room;
    /* inodes by number: open addressing, a power of two */
    struct seen_inode *inodes;
    size_t inode_mask, inode_count;
    uint64_t inode_bytes; /* what all inodes together may take */
    /* blocks by position: the same */
    struct extent *extents;
    size_t extent_mask, extent_count;
    uint64_t data_bytes; /* what all blocks together may take */
    uint32_t *fragment_need;
    unsigned char *xattrs_seen;
    unsigned char *value;
    uint64_t xattr_bytes;
};

static void verify_clear(struct verify *v)
{
    gvmi_walk_guard_clear(&v->guard);
    free(v->dirs);
    free(v->inodes);
    free(v->extents);
    free(v->fragment_need);
    free(v->xattrs_seen);
    free(v->value);
}
#define cleanup_verify __attribute__((cleanup(verify_clear)))

static size_t spread(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15ULL;
    return (size_t)(key ^ key >> 32);
}

static struct extent *find_extent(struct extent *table, size_t mask, uint64_t at)
{
    for (size_t i = spread(at);; i++)
        if (table[i & mask].at == 0 || table[i & mask].at == at)
            return &table[i & mask];
}

static void grow_extents(struct verify *v)
{
    size_t mask = v->extent_mask * 2 + 1;
    struct extent *table = gv_calloc(mask + 1, sizeof(*table));
    for (size_t i = 0; i <= v->extent_mask; i++)
        if (v->extents[i].at != 0)
            *find_extent(table, mask, v->extents[i].at) = v->extents[i];
    free(v->extents);
    v->extents = table;
    v->extent_mask = mask;
}

static int add_extent(struct verify *v, uint64_t at, uint32_t word, uint32_t length, struct gv_error *err)
{
    uint32_t size = gvmi_word_size(word);
    uint64_t end = v->img->super.inode_table;
    if (at < SQFS_SUPER_SIZE || at > end || size == 0 || size > end - at)
        return gvmi_damaged(v->img, err, "a block of data lies outside (%u bytes at %llu)", size, (unsigned long long)at);
    struct extent *e = find_extent(v->extents, v->extent_mask, at);
    if (e->at == at) {
        if (e->word != word || e->length != length)
            return gvmi_damaged(v->img, err, "two files disagree on the block of data at %llu", (unsigned long long)at);
        return 0;
    }
    if (size > v->data_bytes)
        return gvmi_damaged(v->img, err, "blocks of data overlap");
    v->data_bytes -= size;
    *e = (struct extent){ .at = at, .word = word, .length = length };
    if (++v->extent_count > v->extent_mask / 2)
        grow_extents(v);
    return 0;
}

static int check_file(struct verify *v, struct gvmi_inode *i, struct gv_error *err)
{
    const struct gvmi_image *img = v->img;
    uint64_t left = i->st.size, at = i->start;
    for (uint64_t k = 0; k < i->block_count; k++) {
        uint32_t length = left < img->super.block_size ? (uint32_t)left : img->super.block_size, word;
        if (gvmi_block_word(v->img, &i->rest, &word, err) < 0 || (word != 0 && add_extent(v, at, word, length, err) < 0))
            return -1;
        at += gvmi_word_size(word);
        left -= length;
    }
    if (left == 0)
        return 0;
    if (i->fragment >= img->super.fragments)
        return gvmi_damaged(img, err, "a file is in fragment %u, but there are only %u", i->fragment, img->super.fragments);
    uint64_t need = i->fragment_offset + left;
    if (need > img->super.block_size)
        return gvmi_damaged(img, err, "a file reaches beyond its fragment");
    if (need > v->fragment_need[i->fragment])
        v->fragment_need[i->fragment] = (uint32_t)need;
    return 0;
}

static int check_xattrs(struct verify *v, uint32_t index, struct gv_error *err)
{
    struct gvmi_cursor pairs;
    uint32_t count;
    if (index == SQFS_NO_XATTR)
        return 0;
    if (gvmi_xattrs_find(v->img, index, &pairs, &count, err) < 0)
        return -1;
    unsigned char bit = (unsigned char)(1U << (index & 7));
    if (v->xattrs_seen[index / 8] & bit)
        return 0;
    v->xattrs_seen[index / 8] |= bit;
    for (uint32_t k = 0; k < count; k++) {
        char name[GVMI_XATTR_NAME_ROOM];
        size_t size;
        if (gvmi_xattr_next(v->img, &pairs, name, v->value, &size, err) < 0)
            return -1;
        uint64_t bytes = strlen(name) + size;
        if (bytes > v->xattr_bytes)
            return gvmi_damaged(v->img, err, "its extended attributes claim more than there is");
        v->xattr_bytes -= bytes;
    }
    return 0;
}

static struct seen_inode *find_inode(struct seen_inode *table, size_t mask, uint32_t number)
{
    for (size_t i = spread(number);; i++)
        if (table[i & mask].number == 0 || table[i & mask].number == number)
            return &table[i & mask];
}

static void grow_inodes(struct verify *v)
{
    size_t mask = v->inode_mask * 2 + 1;
    struct seen_inode *table = gv_calloc(mask + 1, sizeof(*table));
    for (size_t i = 0; i <= v->inode_mask; i++)
        if (v->inodes[i].number != 0)
            *find_inode(table, mask, v->inodes[i].number) = v->inodes[i];
    free(v->inodes);
    v->inodes = table;
    v->inode_mask = mask;
}

static int check_export(struct verify *v, uint32_t number, uint64_t ref, struct gv_error *err)
{
    struct gvmi_cursor c;
    unsigned char word[8];
    if (v->img->super.export_table == SQFS_NONE)
        return 0;
    if (gvmi_table_seek(v->img, &c, v->img->super.export_table, number - 1, sizeof(word), err) < 0 ||
        gvmi_meta_read(v->img, &c, word, sizeof(word), err) < 0)
        return -1;
    if (sqfs_get64(word) != ref)
        return gvmi_damaged(v->img, err, "the export table does not know inode %u", number);
    return 0;
}

/* What an entry of type `type` with inode number `number` (0 = not known) refers to. */
static int check_inode(struct verify *v, uint64_t ref, uint32_t number, int type, struct gv_error *err)
{
    struct gvmi_image *img = v->img;
    if (number != 0) {
        struct seen_inode *s = find_inode(v->inodes, v->inode_mask, number);
        if (s->number == number && s->ref == ref && type != IMAGE_DIR)
            return 0; /* another name of the same file */
        if (s->number == number)
            return gvmi_damaged(img, err, "inode %u is in two places", number);
    }
    struct gvmi_inode i;
    if (gvmi_inode_read(img, ref, &i, err) < 0)
        return -1;
    if (i.st.type != type || (number != 0 && i.st.inode != number))
        return gvmi_damaged(img, err, "a directory entry and its inode %u disagree", i.st.inode);
    if (i.length > v->inode_bytes)
        return gvmi_damaged(img, err, "its inodes claim more than there is");
    v->inode_bytes -= i.length;
    *find_inode(v->inodes, v->inode_mask, i.st.inode) = (struct seen_inode){ .ref = ref, .number = i.st.inode };
    if (++v->inode_count > v->inode_mask / 2)
        grow_inodes(v);
    if (check_export(v, i.st.inode, ref, err) < 0 || check_xattrs(v, i.st.xattr, err) < 0)
        return -1;
    if (type == IMAGE_FILE)
        return check_file(v, &i, err);
    if (type == IMAGE_SYMLINK) {
        cleanup_free char *target = NULL;
        return gvmi_read_link(img, ref, &target, err);
    }
    if (type != IMAGE_DIR)
        return 0;
    if (gvmi_walk_guard_enter(img, &v->guard, &i, err) < 0)
        return -1;
    if (v->dir_count == v->dir_room) {
        v->dir_room = v->dir_room ? v->dir_room * 2 : 64;
        v->dirs = gv_reallocarray(v->dirs, v->dir_room, sizeof(*v->dirs));
    }
    v->dirs[v->dir_count++] = i;
    return 0;
}

/* Names must ascend, for the kernel stops looking at the first greater one; that also shows a name that is there twice. */
static int check_listing(struct verify *v, const struct gvmi_inode *dir, struct gv_error *err)
{
    struct gvmi_listing l;
    struct gvmi_entry entry;
    char before[sizeof(entry.name)] = "";
    uint32_t number;
    if (gvmi_listing_open(v->img, dir, &l, err) < 0)
        return -1;
    for (;;) {
        int r = gvmi_listing_next(v->img, &l, &entry, &number, err);
        if (r <= 0)
            return r;
        int order = strcmp(before, entry.name);
        if (order == 0)
            return gvmi_damaged(v->img, err, "a directory holds `%s` twice", entry.name);
        if (order > 0)
            return gvmi_damaged(v->img, err, "a directory is not sorted (`%s` after `%s`)", entry.name, before);
        memcpy(before, entry.name, strlen(entry.name) + 1);
        if (number == 0)
            return gvmi_damaged(v->img, err, "`%s` has the inode number 0", entry.name);
        if (check_inode(v, entry.ref, number, entry.type, err) < 0)
            return -1;
    }
}

static int check_tree(struct verify *v, const struct gv_progress *progress, struct gv_error *err)
{
    struct gvmi_image *img = v->img;
    if (check_inode(v, img->super.root, 0, IMAGE_DIR, err) < 0)
        return -1;
    while (v->dir_count > 0) {
        struct gvmi_inode dir = v->dirs[--v->dir_count];
        if (check_listing(v, &dir, err) < 0)
            return -1;
        gv_progress_update(progress, "checking files", v->inode_count, img->super.inodes);
    }
    if (v->inode_count != img->super.inodes)
        return gvmi_damaged(img, err, "it claims %u inodes and has %zu", img->super.inodes, v->inode_count);
    return 0;
}

static int check_fragments(struct verify *v, struct gv_error *err)
{
    for (uint32_t i = 0; i < v->img->super.fragments; i++) {
        uint64_t at;
        uint32_t word;
        if (gvmi_fragment_find(v->img, i, &at, &word, err) < 0 || add_extent(v, at, word, 0, err) < 0)
            return -1;
    }
    return 0;
}

static int compare_extents(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* Turns the hash table into a list in the order of the file. */
static void sort_extents(struct verify *v)
{
    size_t n = 0;
    for (size_t i = 0; i <= v->extent_mask; i++)
        if (v->extents[i].at != 0)
            v->extents[n++] = v->extents[i];
    if (n > 1)
        qsort(v->extents, n, sizeof(*v->extents), compare_extents);
}

/* The lengths that the blocks of fragments turned out to have, against what files want of them. */
static int check_fragment_length(struct verify *v, const struct extent *fragments, struct gv_error *err)
{
    for (uint32_t i = 0; i < v->img->super.fragments; i++) {
        struct extent key;
        uint32_t word;
        if (gvmi_fragment_find(v->img, i, &key.at, &word, err) < 0)
            return -1;
        const struct extent *e = bsearch(&key, fragments, v->extent_count, sizeof(key), compare_extents);
        if (!e || e->length < v->fragment_need[i])
            return gvmi_damaged(v->img, err, "a file reaches beyond its fragment");
    }
    return 0;
}

static int check_data(struct verify *v, const struct gv_progress *progress, struct gv_error *err)
{
    struct gvmi_image *img = v->img;
    cleanup_free unsigned char *out = gv_alloc(img->super.block_size);
    sort_extents(v);
    uint64_t end = 0;
    for (size_t i = 0; i < v->extent_count; i++) {
        struct extent *e = &v->extents[i];
        if (e->at < end)
            return gvmi_damaged(img, err, "blocks of data overlap at %llu", (unsigned long long)e->at);
        end = e->at + gvmi_word_size(e->word);
        int64_t length = gvmi_block_read(img, e->at, e->word, out, img->super.block_size, err);
        if (length < 0)
            return -1;
        if (e->length != 0 && (uint64_t)length != e->length)
            return gvmi_damaged(img, err, "the block of data at %llu has %lld bytes instead of %u", (unsigned long long)e->at,
                                (long long)length, e->length);
        e->length = (uint32_t)length;
        gv_progress_update(progress, "checking data", end, img->super.inode_table);
    }
    return check_fragment_length(v, v->extents, err);
}

int gvmi_verify(struct gvmi_image *img, const struct gv_progress *progress, struct gv_error *err)
{
    cleanup_verify struct verify v = { .img = img, .inode_mask = 255, .extent_mask = 255 };
    const struct sqfs_super *s = &img->super;
    /* Every fragment has a byte of data of its own at the least. This keeps what follows in proportion to the size of the file. */
    if (s->fragments > s->inode_table)
        return gvmi_damaged(img, err, "it claims %u fragments, which is more than there is room for", s->fragments);
    gvmi_walk_guard_init(img, &v.guard);
    v.inodes = gv_calloc(v.inode_mask + 1, sizeof(*v.inodes));
    v.inode_bytes = ((s->directory_table - s->inode_table) / 3 + 1) * SQFS_META_SIZE;
    v.extents = gv_calloc(v.extent_mask + 1, sizeof(*v.extents));
    v.data_bytes = s->inode_table;
    v.fragment_need = gv_calloc(s->fragments, sizeof(*v.fragment_need));
    v.xattrs_seen = gv_calloc(img->xattr_count / 8 + 1, 1);
    v.value = gv_alloc(GVMI_XATTR_VALUE_ROOM);
    /* Values may be shared between sets; nobody has a gigabyte of them. */
    v.xattr_bytes = (uint64_t)1 << 30;
    if (check_tree(&v, progress, err) < 0 || check_fragments(&v, err) < 0)
        return -1;
    return check_data(&v, progress, err);
}
