/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Chunk maps. The blocks of data are found through the inodes and the fragment table; where one begins a chunk may begin. A chunk never ends in the
 * middle of a block, where compression spreads a difference to the block's end. A block of a usual size is a chunk of its own; small ones are gathered,
 * for a long list would cost more than it saves, and which of them end a chunk is decided by a checksum of what is in them and by nothing before. So
 * after a difference the cuts of two images fall together again soon, as with any content-defined chunking. Whoever fetches chunks asks for those that
 * follow one another in one request.
 *
 * The superblock, the table of inodes, that of directories, all other tables, and the trailer are chunks of their own: they differ between any two
 * builds. Nothing here trusts the image beyond what gvmi_open() has checked: a wrong block list gives other cuts, never a map that does not cover the
 * file.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gvmi/read.h"

/* By measurement, see docs/image-format.md: longer chunks make a shorter map, but more to fetch, and neighbours can be fetched in one request. */
#define CHUNK_LEAST ((uint64_t)8 << 10)
#define CHUNK_MOST ((uint64_t)1 << 20)
#define BLOCK_ALONE ((uint64_t)16 << 10) /* a block of this size always ends its chunk */
#define CUT_MASK 3U                      /* a smaller one when these bits of its checksum are zero */
#define PIECE_MOST ((uint64_t)SQFS_BLOCK_MAX)

/* No image with fewer inodes than can be opened has more blocks unless its contents are larger than 8 TiB. */
#define STARTS_MAX ((size_t)1 << 26)

void gvmi_chunk_map_clear(struct gvmi_chunk_map *map)
{
    free(map->chunks);
    *map = (struct gvmi_chunk_map){ 0 };
}

/* ---- where blocks begin ---- */

struct starts {
    struct gvmi_image *img;
    struct gv_error *err;
    uint64_t *at;
    size_t count, room;
    unsigned char *seen;  /* inodes whose blocks are known, by number */
    uint64_t inode_bytes; /* what the inodes together may still take, against lists that are used twice */
};

static void starts_clear(struct starts *s)
{
    free(s->at);
    free(s->seen);
}

static int compare_starts(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void sort_starts(struct starts *s)
{
    if (s->count < 2)
        return;
    qsort(s->at, s->count, sizeof(*s->at), compare_starts);
    size_t kept = 1;
    for (size_t i = 1; i < s->count; i++)
        if (s->at[i] != s->at[kept - 1])
            s->at[kept++] = s->at[i];
    s->count = kept;
}

/* Repetitions are dropped before the list grows, so that a hostile image has to have as many blocks as it wants memory for. */
static int add_start(struct starts *s, uint64_t at)
{
    if (at < SQFS_SUPER_SIZE || at >= s->img->super.inode_table)
        return gvmi_damaged(s->img, s->err, "a block of data lies outside (at %llu)", (unsigned long long)at);
    if (s->count == s->room) {
        sort_starts(s);
        if (s->count >= s->room / 2) {
            if (s->room >= STARTS_MAX)
                return gv_error_set(s->err, GV_E_LIMIT, 0, "%s: it has more than %zu blocks", s->img->name, STARTS_MAX);
            s->room = s->room ? s->room * 2 : 1024;
            s->at = gv_reallocarray(s->at, s->room, sizeof(*s->at));
        }
    }
    s->at[s->count++] = at;
    return 0;
}

static int add_inode(void *user, const char *path, const struct gvmi_stat *st)
{
    (void)path;
    struct starts *s = user;
    struct gvmi_inode inode;
    unsigned char bit = (unsigned char)(1U << (st->inode & 7));
    if (st->type != IMAGE_FILE || (s->seen[st->inode / 8] & bit) != 0)
        return 0;
    s->seen[st->inode / 8] |= bit;
    if (gvmi_inode_read(s->img, st->ref, &inode, s->err) < 0)
        return -1;
    if (inode.length > s->inode_bytes)
        return gvmi_damaged(s->img, s->err, "its inodes claim more than there is");
    s->inode_bytes -= inode.length;
    uint64_t at = inode.start;
    for (uint64_t i = 0; i < inode.block_count; i++) {
        uint32_t word;
        if (gvmi_block_word(s->img, &inode.rest, &word, s->err) < 0 || (gvmi_word_size(word) > 0 && add_start(s, at) < 0))
            return -1;
        at += gvmi_word_size(word);
    }
    return 0;
}

static int find_starts(struct starts *s)
{
    const struct sqfs_super *super = &s->img->super;
    s->seen = gv_calloc((size_t)super->inodes / 8 + 1, 1);
    s->inode_bytes = ((super->directory_table - super->inode_table) / 3 + 1) * SQFS_META_SIZE;
    if (gvmi_walk(s->img, add_inode, s, s->err) < 0)
        return -1;
    for (uint32_t i = 0; i < super->fragments; i++) {
        uint64_t at;
        uint32_t word;
        if (gvmi_fragment_find(s->img, i, &at, &word, s->err) < 0 || add_start(s, at) < 0)
            return -1;
    }
    sort_starts(s);
    return 0;
}

/* ---- cutting ---- */

struct cutter {
    struct gvmi_image *img;
    const struct gv_progress *progress;
    struct gvmi_chunk_map *map;
    size_t room;
    struct gv_hash *whole, *chunk;
    unsigned char *buffer; /* of PIECE_MOST bytes */
    uint64_t at;           /* the end of what is read */
    uint64_t length;       /* of the chunk so far */
};

static void cutter_clear(struct cutter *c)
{
    gv_hash_free(c->whole);
    gv_hash_free(c->chunk);
    free(c->buffer);
}

static void end_chunk(struct cutter *c)
{
    struct gvmi_chunk_map *map = c->map;
    if (c->length == 0)
        return;
    if (map->count == c->room) {
        c->room = c->room ? c->room * 2 : 256;
        map->chunks = gv_reallocarray(map->chunks, c->room, sizeof(*map->chunks));
    }
    struct gvmi_chunk *chunk = &map->chunks[map->count++];
    unsigned char digest[GV_HASH_MAX];
    gv_hash_final(c->chunk, digest);
    gv_hash_free(c->chunk);
    c->chunk = gv_hash_new(GV_HASH_SHA256);
    *chunk = (struct gvmi_chunk){ .offset = c->at - c->length, .length = (uint32_t)c->length };
    memcpy(chunk->digest, digest, sizeof(chunk->digest));
    c->length = 0;
}

/* Adds n bytes, at most PIECE_MOST, to the chunk, or to a new one if it would become too long. They stay in the buffer. */
static int add_piece(struct cutter *c, size_t n, struct gv_error *err)
{
    if (c->length + n > CHUNK_MOST)
        end_chunk(c);
    ssize_t r = gv_pread_full(c->img->fd, c->buffer, n, c->at);
    if (r < 0)
        return gv_error_errno(err, "%s: cannot read", c->img->name);
    if ((size_t)r != n)
        return gv_error_set(err, GV_E_IO, 0, "%s: the file became shorter while it was read", c->img->name);
    gv_hash_update(c->whole, c->buffer, n);
    gv_hash_update(c->chunk, c->buffer, n);
    c->at += n;
    c->length += n;
    gv_progress_update(c->progress, "making the chunk map", c->at, c->map->file_size);
    return 0;
}

/* What lies up to `end`, in as few pieces as possible. */
static int add_range(struct cutter *c, uint64_t end, struct gv_error *err)
{
    while (c->at < end)
        if (add_piece(c, end - c->at < PIECE_MOST ? (size_t)(end - c->at) : (size_t)PIECE_MOST, err) < 0)
            return -1;
    return 0;
}

/* Whether the block of that length, of which the last piece is in the buffer, is the last one of its chunk. */
static bool ends_chunk(const struct cutter *c, uint64_t length)
{
    if (c->length < CHUNK_LEAST)
        return false;
    return length >= BLOCK_ALONE || (gv_crc32(c->buffer, (size_t)length) & CUT_MASK) == 0;
}

static int cut_data(struct cutter *c, const struct starts *s, struct gv_error *err)
{
    for (size_t i = 0; i < s->count; i++) {
        uint64_t end = i + 1 < s->count ? s->at[i + 1] : c->img->super.inode_table, length = end - c->at;
        if (add_range(c, end, err) < 0)
            return -1;
        if (ends_chunk(c, length))
            end_chunk(c);
    }
    end_chunk(c);
    return 0;
}

static int cut_image(struct cutter *c, const struct starts *s, struct gv_error *err)
{
    const struct sqfs_super *super = &c->img->super;
    if (add_range(c, s->count > 0 ? s->at[0] : super->inode_table, err) < 0)
        return -1;
    end_chunk(c);
    if (cut_data(c, s, err) < 0)
        return -1;
    const uint64_t ends[] = { super->directory_table, c->img->directory_end, super->bytes_used, c->map->file_size };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (add_range(c, ends[i], err) < 0)
            return -1;
        end_chunk(c);
    }
    return 0;
}

int gvmi_chunks(struct gvmi_image *img, const struct gv_progress *progress, struct gvmi_chunk_map *map, struct gv_error *err)
{
    __attribute__((cleanup(starts_clear))) struct starts starts = { .img = img, .err = err };
    if (find_starts(&starts) < 0)
        return -1;
    cleanup_chunk_map struct gvmi_chunk_map made = { .file_size = img->info.file_size };
    __attribute__((cleanup(cutter_clear))) struct cutter c = {
        .img = img,
        .progress = progress,
        .map = &made,
        .whole = gv_hash_new(GV_HASH_SHA3_224),
        .chunk = gv_hash_new(GV_HASH_SHA256),
        .buffer = gv_alloc(PIECE_MOST),
    };
    if (cut_image(&c, &starts, err) < 0)
        return -1;
    unsigned char digest[GV_HASH_MAX];
    gv_hash_final(c.whole, digest);
    memcpy(made.image, digest, sizeof(made.image));
    *map = made;
    made = (struct gvmi_chunk_map){ 0 };
    return 0;
}

/* ---- comparing ---- */

static int compare_chunks(const void *a, const void *b)
{
    const struct gvmi_chunk *const *x = a, *const *y = b;
    int order = memcmp((*x)->digest, (*y)->digest, sizeof((*x)->digest));
    return order != 0 ? order : ((*x)->length > (*y)->length) - ((*x)->length < (*y)->length);
}

static const struct gvmi_chunk **sorted_chunks(const struct gvmi_chunk_map *map)
{
    const struct gvmi_chunk **list = gv_reallocarray(NULL, map->count, sizeof(*list));
    for (size_t i = 0; i < map->count; i++)
        list[i] = &map->chunks[i];
    if (map->count > 1)
        qsort(list, map->count, sizeof(*list), compare_chunks);
    return list;
}

uint64_t gvmi_chunks_new_bytes(const struct gvmi_chunk_map *have, const struct gvmi_chunk_map *wanted, size_t *chunks)
{
    cleanup_free const struct gvmi_chunk **a = sorted_chunks(have), **b = sorted_chunks(wanted);
    uint64_t bytes = 0;
    size_t count = 0, k = 0;
    for (size_t i = 0; i < wanted->count; i++) {
        if (i > 0 && compare_chunks(&b[i], &b[i - 1]) == 0)
            continue;
        while (k < have->count && compare_chunks(&a[k], &b[i]) < 0)
            k++;
        if (k < have->count && compare_chunks(&a[k], &b[i]) == 0)
            continue;
        bytes += b[i]->length;
        count++;
    }
    if (chunks)
        *chunks = count;
    return bytes;
}
