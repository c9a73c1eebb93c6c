/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The contents of files. A file is cut into blocks; a short rest at its end, and files smaller than a block, are gathered in shared blocks of
 * fragments.
 *
 * Files with the same content are stored once, and are recognised before anything is compressed: by SHA-256, but only files whose size occurs more
 * than once are hashed at all. A file larger than a block is read twice for that, which is rare and cheap beside compressing it twice.
 */
#include <stdlib.h>
#include <string.h>

#include "gvmi/write.h"

/* A list of block sizes longer than this (64 MiB of memory) is not from a sane image; with blocks of 128 KiB the limit is a file of 2 TiB. */
#define BLOCKS_MAX ((uint64_t)1 << 24)

/* A tail of at least this part of a block becomes a short block of its own. Gathered with others it would be no smaller (measured on a Debian root:
 * 0.01 %), but reading it would mean decompressing all of them. */
#define TAIL_SHARE 4

struct known {
    unsigned char digest[GV_SHA256_SIZE];
    uint64_t size;
    struct gvmi_placement *placement;
};

struct data {
    struct gvmi_out *out;
    struct gvmi_blocks *blocks;
    size_t fragment_used; /* bytes in the buffer of fragments */
    uint64_t *shared;     /* sizes that several files have, sorted */
    size_t shared_count;
    struct known **table; /* open addressing, by the digest's first bytes; a power of two */
    size_t table_mask, known_count;
    uint64_t done;
};

static void data_clear(struct data *d)
{
    gvmi_blocks_free(d->blocks);
    free(d->shared);
    free(d->table);
}
#define cleanup_data __attribute__((cleanup(data_clear)))

static int compare_sizes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void find_shared_sizes(struct data *d)
{
    size_t n = d->out->file_count;
    uint64_t *sizes = gv_reallocarray(NULL, n, sizeof(*sizes));
    for (size_t i = 0; i < n; i++)
        sizes[i] = d->out->files[i].node->inode->size;
    if (n > 1)
        qsort(sizes, n, sizeof(*sizes), compare_sizes);
    size_t kept = 0;
    for (size_t i = 1; i < n; i++)
        if (sizes[i] == sizes[i - 1] && (kept == 0 || sizes[kept - 1] != sizes[i]))
            sizes[kept++] = sizes[i];
    d->shared = gv_reallocarray(sizes, kept, sizeof(*sizes));
    d->shared_count = kept;
    d->table_mask = 1023;
    d->table = gv_calloc(d->table_mask + 1, sizeof(struct known *));
}

static bool size_is_shared(const struct data *d, uint64_t size)
{
    return d->shared_count > 0 && bsearch(&size, d->shared, d->shared_count, sizeof(size), compare_sizes) != NULL;
}

/* The slot of the content, or the empty one where it belongs. */
static struct known **find_known(struct known **table, size_t mask, const unsigned char *digest, uint64_t size)
{
    uint64_t at;
    memcpy(&at, digest, sizeof(at));
    for (;; at++) {
        struct known **k = &table[at & mask];
        if (!*k || ((*k)->size == size && memcmp((*k)->digest, digest, GV_SHA256_SIZE) == 0))
            return k;
    }
}

static void grow_table(struct data *d)
{
    size_t mask = (d->table_mask + 1) * 2 - 1;
    struct known **table = gv_calloc(mask + 1, sizeof(struct known *));
    for (size_t i = 0; i <= d->table_mask; i++)
        if (d->table[i])
            *find_known(table, mask, d->table[i]->digest, d->table[i]->size) = d->table[i];
    free(d->table);
    d->table = table;
    d->table_mask = mask;
}

static void remember(struct data *d, const unsigned char *digest, uint64_t size, struct gvmi_placement *placement)
{
    struct known *k = gv_arena_alloc(d->out->arena, sizeof(*k));
    memcpy(k->digest, digest, GV_SHA256_SIZE);
    k->size = size;
    k->placement = placement;
    if (++d->known_count > d->table_mask / 2)
        grow_table(d);
    *find_known(d->table, d->table_mask, digest, size) = k;
}

static bool all_zero(const unsigned char *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int read_piece(struct data *d, const struct image_inode *inode, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    return image_tree_read(d->out->tree, inode, at, buf, len, err);
}

static int hash_file(struct data *d, const struct image_inode *inode, unsigned char digest[GV_HASH_MAX], struct gv_error *err)
{
    unsigned char *buffer = gvmi_blocks_buffer(d->blocks);
    if (!buffer)
        return -1;
    struct gv_hash *h = gv_hash_new(GV_HASH_SHA256);
    int r = 0;
    for (uint64_t at = 0; r == 0 && at < inode->size;) {
        size_t len = d->out->block_size;
        if (len > inode->size - at)
            len = (size_t)(inode->size - at);
        r = read_piece(d, inode, at, buffer, len, err);
        if (r == 0)
            gv_hash_update(h, buffer, len);
        at += len;
    }
    if (r == 0)
        gv_hash_final(h, digest);
    gv_hash_free(h);
    return r;
}

static struct gvmi_placement *new_placement(struct data *d, uint32_t blocks)
{
    struct gvmi_placement *p = gv_arena_alloc(d->out->arena, sizeof(*p) + (size_t)blocks * sizeof(p->blocks[0]));
    *p = (struct gvmi_placement){ .start = SQFS_NONE, .fragment = SQFS_NO_FRAGMENT, .count = blocks };
    return p;
}

static int flush_fragments(struct data *d)
{
    size_t used = d->fragment_used;
    d->fragment_used = 0;
    return used > 0 ? gvmi_blocks_add_fragments(d->blocks, used) : 0;
}

static int make_fragment_room(struct data *d, size_t len)
{
    return d->fragment_used + len <= d->out->block_size ? 0 : flush_fragments(d);
}

/* Reads the last len bytes of the file to the end of the fragments. They are part of the block only once take_fragment() is called. */
static int read_fragment(struct data *d, const struct image_inode *inode, size_t len, struct gv_error *err)
{
    if (make_fragment_room(d, len) < 0)
        return -1;
    return read_piece(d, inode, inode->size - len, gvmi_blocks_fragment_buffer(d->blocks) + d->fragment_used, len, err);
}

static void take_fragment(struct data *d, struct gvmi_placement *p, size_t len)
{
    p->fragment = gvmi_blocks_fragment_number(d->blocks);
    p->fragment_offset = (uint32_t)d->fragment_used;
    d->fragment_used += len;
}

static void note_duplicate(struct data *d, uint64_t size)
{
    d->out->result->duplicate_files++;
    d->out->result->duplicate_bytes += size;
}

/* A file smaller than a block: read once, into the place where it will stay unless it turns out to be known. */
static int store_small(struct data *d, const struct image_inode *inode, struct gvmi_placement **placement, struct gv_error *err)
{
    size_t len = (size_t)inode->size;
    if (read_fragment(d, inode, len, err) < 0)
        return -1;
    unsigned char digest[GV_HASH_MAX];
    bool shared = size_is_shared(d, len);
    if (shared) {
        gv_hash_bytes(GV_HASH_SHA256, gvmi_blocks_fragment_buffer(d->blocks) + d->fragment_used, len, digest);
        struct known *k = *find_known(d->table, d->table_mask, digest, len);
        if (k) {
            note_duplicate(d, len);
            *placement = k->placement;
            return 0;
        }
    }
    *placement = new_placement(d, 0);
    take_fragment(d, *placement, len);
    if (shared)
        remember(d, digest, len, *placement);
    return 0;
}

static int store_blocks(struct data *d, const struct image_inode *inode, struct gvmi_placement *p, struct gv_error *err)
{
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t at = (uint64_t)i * d->out->block_size;
        size_t len = d->out->block_size;
        if (len > inode->size - at)
            len = (size_t)(inode->size - at);
        unsigned char *buffer = gvmi_blocks_buffer(d->blocks);
        if (!buffer || read_piece(d, inode, at, buffer, len, err) < 0)
            return -1;
        if (all_zero(buffer, len)) {
            p->blocks[i] = 0;
            p->sparse += len;
        } else {
            gvmi_blocks_add(d->blocks, p, i, len);
        }
        gv_progress_update(d->out->progress, "compressing", d->done + at, d->out->content_bytes);
    }
    return 0;
}

static int store_large(struct data *d, const struct image_inode *inode, struct gvmi_placement **placement, struct gv_error *err)
{
    uint64_t count = inode->size / d->out->block_size;
    size_t tail = (size_t)(inode->size % d->out->block_size);
    if (tail >= d->out->block_size / TAIL_SHARE) {
        tail = 0;
        count++;
    }
    if (count > BLOCKS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "larger than %llu blocks", (unsigned long long)BLOCKS_MAX);
    unsigned char digest[GV_HASH_MAX];
    bool shared = size_is_shared(d, inode->size);
    if (shared) {
        if (hash_file(d, inode, digest, err) < 0)
            return -1;
        struct known *k = *find_known(d->table, d->table_mask, digest, inode->size);
        if (k) {
            note_duplicate(d, inode->size);
            *placement = k->placement;
            return 0;
        }
    }
    struct gvmi_placement *p = *placement = new_placement(d, (uint32_t)count);
    if (store_blocks(d, inode, p, err) < 0)
        return -1;
    if (tail > 0) {
        if (read_fragment(d, inode, tail, err) < 0)
            return -1;
        take_fragment(d, p, tail);
    }
    if (shared)
        remember(d, digest, inode->size, p);
    return 0;
}

static int store_files(struct data *d, struct gv_error *err)
{
    struct gvmi_out *out = d->out;
    for (size_t i = 0; i < out->file_count; i++) {
        const struct image_inode *inode = out->files[i].node->inode;
        struct gvmi_placement **placement = &out->inodes[gvmi_out_number(out, inode) - 1].u.placement;
        if (i > 0 && gvmi_out_cut(out, &out->files[i - 1], &out->files[i], d->fragment_used) && flush_fragments(d) < 0)
            return -1;
        int r = inode->size < out->block_size ? store_small(d, inode, placement, err) : store_large(d, inode, placement, err);
        if (r < 0) {
            if (err && err->code != GV_OK) {
                cleanup_free char *path = image_node_path(out->files[i].node);
                gv_error_prefix(err, "%s", path);
            }
            return -1;
        }
        d->done += inode->size;
        gv_progress_update(out->progress, "compressing", d->done, out->content_bytes);
    }
    return flush_fragments(d);
}

int gvmi_out_data(struct gvmi_out *out, struct gv_buf *fragments, uint32_t *fragment_count, struct gv_error *err)
{
    cleanup_data struct data d = { .out = out };
    const struct gvmi_blocks_options options = {
        .fd = out->fd,
        .at = out->at,
        .compression = out->compression,
        .level = out->level,
        .jobs = out->jobs,
        .block_size = out->block_size,
    };
    if (gvmi_blocks_new(&d.blocks, &options, err) < 0)
        return -1;
    find_shared_sizes(&d);
    /* A failure of the pipeline is told by gvmi_blocks_finish(), one of reading here. */
    struct gv_error reading = GV_ERROR_INIT;
    if (store_files(&d, &reading) < 0 && reading.code != GV_OK) {
        if (err)
            *err = reading;
        return -1;
    }
    if (gvmi_blocks_finish(d.blocks, &out->at, err) < 0)
        return -1;
    const unsigned char *table = gvmi_blocks_fragment_table(d.blocks, fragment_count);
    gv_buf_add(fragments, table, (size_t)*fragment_count * SQFS_FRAGMENT_SIZE);
    return 0;
}
