/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gvmi_write() and what belongs to no part of the writer alone: the plan, the tables behind the data, the superblock, the hash. See write.h.
 *
 * The superblock is at the start of the file and known last, and SHA3 cannot be begun without it; so the finished file is read once more, from the
 * page cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "gvmi/trailer.h"
#include "gvmi/write.h"

#define JOBS_MAX 256

/* What threads may take together when nobody has said how many there shall be. With the rest of the program that keeps to 64 MiB and 300 bytes a file, and
 * 200 MiB for xz, whose threads are large. */
#define THREADS_MEMORY ((size_t)36 << 20)
#define THREADS_MEMORY_XZ ((size_t)144 << 20)

struct gvmi_out_level *gvmi_out_push(struct gvmi_out_stack *stack, struct image_node *dir)
{
    if (stack->depth == stack->room) {
        stack->room = stack->room ? stack->room * 2 : 32;
        stack->levels = gv_reallocarray(stack->levels, stack->room, sizeof(*stack->levels));
    }
    struct gvmi_out_level *level = &stack->levels[stack->depth++];
    *level = (struct gvmi_out_level){ .dir = dir, .children = image_node_children(dir), .count = image_node_child_count(dir) };
    return level;
}

void gvmi_out_pop(struct gvmi_out_stack *stack)
{
    free(stack->levels[--stack->depth].children);
}

void gvmi_out_stack_clear(struct gvmi_out_stack *stack)
{
    while (stack->depth > 0)
        gvmi_out_pop(stack);
    free(stack->levels);
    *stack = (struct gvmi_out_stack){ 0 };
}

static void add_file(struct gvmi_out *out, struct image_node *node, const struct gvmi_out_level *dir)
{
    if (out->file_count == out->file_room) {
        out->file_room = out->file_room ? out->file_room + out->file_room / 2 : 256;
        out->files = gv_reallocarray(out->files, out->file_room, sizeof(*out->files));
    }
    out->files[out->file_count++] = (struct gvmi_out_file){
        .node = node,
        .extension = gvmi_out_extension(out, node),
        .group = node->inode->group,
        .place = node->inode->group ? 0 : dir->place,
        .turn = out->inode_count,
        .path = gvmi_out_path_hash(dir->path, node),
    };
    out->content_bytes += node->inode->size;
}

/* 1 when the inode is new, 0 when another name of it had it numbered. */
static int number_inode(struct gvmi_out *out, const struct image_node *node, struct gv_error *err)
{
    struct image_inode *inode = node->inode;
    if (gvmi_out_number(out, inode) != 0)
        return 0;
    if (out->inode_count == UINT32_MAX - 1)
        return gv_error_set(err, GV_E_LIMIT, 0, "more inodes than a squashfs can hold");
    if (out->inode_count == out->inode_room) {
        out->inode_room = out->inode_room ? out->inode_room + out->inode_room / 2 : 256;
        out->inodes = gv_reallocarray(out->inodes, out->inode_room, sizeof(*out->inodes));
    }
    out->inodes[out->inode_count++] = (struct gvmi_out_inode){ .inode = inode, .ref = SQFS_NONE };
    inode->user = (void *)(uintptr_t)out->inode_count;
    if (inode->mtime > out->newest)
        out->newest = inode->mtime;
    return 1;
}

static int plan_dir(struct gvmi_out *out, struct gvmi_out_stack *stack, struct image_node *dir, struct gv_error *err)
{
    uint32_t parent = stack->depth > 0 ? stack->levels[stack->depth - 1].path : 0;
    struct gvmi_out_level *level = gvmi_out_push(stack, dir);
    level->place = out->inode_count;
    level->path = gvmi_out_path_hash(parent, dir);
    for (size_t i = 0; i < level->count; i++) {
        struct image_node *child = level->children[i];
        int r = number_inode(out, child, err);
        if (r < 0)
            return -1;
        if (r > 0 && child->inode->type == IMAGE_FILE && child->inode->size > 0)
            add_file(out, child, level);
    }
    return 0;
}

static int plan_walk(struct gvmi_out *out, struct gvmi_out_stack *stack, struct gv_error *err)
{
    if (number_inode(out, image_tree_root(out->tree), err) < 0 || plan_dir(out, stack, image_tree_root(out->tree), err) < 0)
        return -1;
    while (stack->depth > 0) {
        struct gvmi_out_level *level = &stack->levels[stack->depth - 1];
        if (level->next == level->count) {
            gvmi_out_pop(stack);
            continue;
        }
        struct image_node *child = level->children[level->next++];
        if (child->inode->type == IMAGE_DIR && plan_dir(out, stack, child, err) < 0)
            return -1;
    }
    return 0;
}

/* Numbers the inodes, those of one directory in a row, and puts the files into the order of their contents. */
static int plan(struct gvmi_out *out, struct gv_error *err)
{
    struct gvmi_out_stack stack = { 0 };
    int r = plan_walk(out, &stack, err);
    gvmi_out_stack_clear(&stack);
    gvmi_out_order(out);
    return r;
}

static int append(struct gvmi_out *out, const void *p, size_t n, struct gv_error *err)
{
    if (n > 0 && gv_pwrite_full(out->fd, p, n, out->at) < 0)
        return gv_error_errno(err, "cannot write the image");
    out->at += n;
    return 0;
}

/* Writes n bytes cut into metadata blocks, and behind them the positions of the blocks. *start is where those are: what the superblock names. */
static int append_table(struct gvmi_out *out, struct gvmi_meta *m, uint64_t *start, struct gv_error *err)
{
    gvmi_meta_finish(m);
    uint64_t base = out->at;
    if (append(out, m->packed.data, m->packed.len, err) < 0)
        return -1;
    *start = out->at;
    for (size_t i = 0; i < m->starts.len; i += 8) {
        uint64_t offset;
        memcpy(&offset, m->starts.data + i, sizeof(offset));
        sqfs_put64(m->starts.data + i, base + offset);
    }
    return append(out, m->starts.data, m->starts.len, err);
}

static int append_export_table(struct gvmi_out *out, uint64_t *start, struct gv_error *err)
{
    struct gvmi_meta m = { .packer = out->packer };
    for (uint32_t i = 0; i < out->inode_count; i++) {
        unsigned char ref[8];
        sqfs_put64(ref, out->inodes[i].ref);
        gvmi_meta_add(&m, ref, sizeof(ref));
    }
    int r = append_table(out, &m, start, err);
    gvmi_meta_clear(&m);
    return r;
}

static int append_id_table(struct gvmi_out *out, uint64_t *start, struct gv_error *err)
{
    struct gvmi_meta m = { .packer = out->packer };
    for (uint32_t i = 0; i < out->ids.count; i++) {
        unsigned char id[4];
        sqfs_put32(id, out->ids.ids[i]);
        gvmi_meta_add(&m, id, sizeof(id));
    }
    int r = append_table(out, &m, start, err);
    gvmi_meta_clear(&m);
    return r;
}

static int append_fragment_table(struct gvmi_out *out, const struct gv_buf *fragments, uint64_t *start, struct gv_error *err)
{
    *start = SQFS_NONE;
    if (fragments->len == 0)
        return 0;
    struct gvmi_meta m = { .packer = out->packer };
    gvmi_meta_add(&m, fragments->data, fragments->len);
    int r = append_table(out, &m, start, err);
    gvmi_meta_clear(&m);
    return r;
}

static int append_xattr_table(struct gvmi_out *out, uint64_t *start, struct gv_error *err)
{
    cleanup_buf struct gv_buf table = { 0 };
    gvmi_out_xattrs_table(out, out->at, &table, start);
    return append(out, table.data, table.len, err);
}

static int append_tables(struct gvmi_out *out, struct sqfs_super *s, const struct gv_buf *fragments, struct gv_error *err)
{
    s->inode_table = out->at;
    if (append(out, out->inode_table.packed.data, out->inode_table.packed.len, err) < 0)
        return -1;
    s->directory_table = out->at;
    if (append(out, out->directory_table.packed.data, out->directory_table.packed.len, err) < 0)
        return -1;
    return append_fragment_table(out, fragments, &s->fragment_table, err) < 0 || append_export_table(out, &s->export_table, err) < 0 ||
                   append_id_table(out, &s->id_table, err) < 0 || append_xattr_table(out, &s->xattr_table, err) < 0
               ? -1
               : 0;
}

static int write_super(struct gvmi_out *out, const struct sqfs_super *s, struct gv_error *err)
{
    unsigned char buf[SQFS_SUPER_SIZE], *p = sqfs_put32(buf, SQFS_MAGIC);
    p = sqfs_put32(p, s->inodes);
    p = sqfs_put32(p, s->mkfs_time);
    p = sqfs_put32(p, s->block_size);
    p = sqfs_put32(p, s->fragments);
    p = sqfs_put16(p, s->compression);
    p = sqfs_put16(p, s->block_log);
    p = sqfs_put16(p, s->flags);
    p = sqfs_put16(p, s->ids);
    p = sqfs_put16(p, 4); /* version 4.0 */
    p = sqfs_put16(p, 0);
    p = sqfs_put64(p, s->root);
    p = sqfs_put64(p, s->bytes_used);
    p = sqfs_put64(p, s->id_table);
    p = sqfs_put64(p, s->xattr_table);
    p = sqfs_put64(p, s->inode_table);
    p = sqfs_put64(p, s->directory_table);
    p = sqfs_put64(p, s->fragment_table);
    sqfs_put64(p, s->export_table);
    if (gv_pwrite_full(out->fd, buf, sizeof(buf), 0) < 0)
        return gv_error_errno(err, "cannot write the image");
    return 0;
}

static int write_squashfs(struct gvmi_out *out, struct gv_error *err)
{
    struct sqfs_super s = {
        .block_size = out->block_size,
        .block_log = (uint16_t)__builtin_ctz(out->block_size),
        .compression = (uint16_t)out->compression,
        .flags = SQFS_FLAG_DEDUPLICATED | SQFS_FLAG_EXPORT,
    };
    unsigned char options[10];
    size_t option_size = gvmi_codec_options(out->compression, out->level, out->block_size, options + 2);
    out->at = SQFS_SUPER_SIZE;
    if (option_size > 0) {
        s.flags |= SQFS_FLAG_OPTIONS;
        sqfs_put16(options, (uint16_t)(option_size | SQFS_RAW_META));
        if (append(out, options, 2 + option_size, err) < 0)
            return -1;
    }
    cleanup_buf struct gv_buf fragments = { 0 };
    if (plan(out, err) < 0 || gvmi_out_data(out, &fragments, &s.fragments, err) < 0 || gvmi_out_tree(out, err) < 0 ||
        append_tables(out, &s, &fragments, err) < 0)
        return -1;
    if (s.fragments == 0)
        s.flags |= SQFS_FLAG_NO_FRAGMENTS;
    s.inodes = out->inode_count;
    s.mkfs_time = out->newest < 0 ? 0 : out->newest > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)out->newest;
    s.ids = (uint16_t)out->ids.count;
    s.root = out->inodes[0].ref;
    s.bytes_used = out->at;
    out->result->squashfs_size = out->at;
    return write_super(out, &s, err);
}

static int write_end(struct gvmi_out *out, const struct image_config *config, struct gv_error *err)
{
    static const unsigned char zeros[SQFS_PAD] = { 0 };
    cleanup_buf struct gv_buf end = { 0 };
    cleanup_free char *json = image_config_format(config);
    gv_buf_add(&end, zeros, (size_t)(-out->at & (SQFS_PAD - 1)));
    if (gvmi_trailer_format(&end, json, strlen(json), err) < 0 || append(out, end.data, end.len, err) < 0)
        return -1;
    out->result->size = out->at;
    unsigned char digest[GV_HASH_MAX];
    if (gv_hash_fd_shown(GV_HASH_SHA3_224, out->fd, out->at, out->progress, digest, err) < 0)
        return gv_error_prefix(err, "hashing the image");
    gv_hex(out->result->hash, digest, GV_SHA3_224_SIZE);
    return 0;
}

static int count_cpus(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n;
}

/* As many threads as there are CPUs, but no more than the memory is for: each has its tables, a buffer, and two of the ring's. */
static int default_jobs(const struct gvmi_out *out)
{
    size_t each = gvmi_codec_memory(out->compression, out->level, out->block_size) + 3 * (size_t)out->block_size;
    size_t most = (out->compression == GVMI_XZ ? THREADS_MEMORY_XZ : THREADS_MEMORY) / each;
    int cpus = count_cpus();
    return most < 2 ? (cpus < 2 ? 1 : 2) : most < (size_t)cpus ? (int)most : cpus;
}

static int read_options(struct gvmi_out *out, const struct gvmi_write_options *o, struct gv_error *err)
{
    out->compression = o->compression ? o->compression : GVMI_GZIP;
    out->level = gvmi_codec_level(out->compression, o->level, err);
    if (out->level < 0)
        return -1;
    out->block_size = o->block_size ? o->block_size : 128U << 10;
    if (out->block_size < SQFS_BLOCK_MIN || out->block_size > SQFS_BLOCK_MAX || (out->block_size & (out->block_size - 1)) != 0)
        return gv_error_set(err, GV_E_USAGE, 0, "the block size must be a power of two from %d to %d, not %u", SQFS_BLOCK_MIN,
                            SQFS_BLOCK_MAX, out->block_size);
    if (o->jobs < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "the number of jobs cannot be negative");
    out->jobs = o->jobs ? o->jobs : default_jobs(out);
    if (out->jobs > JOBS_MAX)
        out->jobs = JOBS_MAX;
    out->log = o->log;
    out->progress = o->progress;
    return 0;
}

int gvmi_write_check(const struct gvmi_write_options *options, struct gv_error *err)
{
    struct gvmi_out out = { 0 };
    return read_options(&out, options, err);
}

static void out_clear(struct gvmi_out *out)
{
    gvmi_meta_clear(&out->inode_table);
    gvmi_meta_clear(&out->directory_table);
    gvmi_out_xattrs_free(out->xattrs);
    gvmi_packer_free(out->packer);
    gv_arena_free(out->arena);
    free(out->inodes);
    free(out->files);
    free(out->ids.ids);
    free(out->ids.slots);
}
#define cleanup_out __attribute__((cleanup(out_clear)))

int gvmi_write(int fd, struct image_tree *tree, const struct image_config *config, const struct gvmi_write_options *options,
               struct gvmi_write_result *result, struct gv_error *err)
{
    static const struct gvmi_write_options defaults = { 0 };
    struct gvmi_write_result ignored;
    cleanup_out struct gvmi_out out = { .fd = fd, .tree = tree, .result = result ? result : &ignored };
    *out.result = (struct gvmi_write_result){ 0 };
    if (read_options(&out, options ? options : &defaults, err) < 0)
        return -1;
    out.packer = gvmi_packer_new(out.compression, out.level, err);
    if (!out.packer)
        return -1;
    out.arena = gv_arena_new();
    out.xattrs = gvmi_out_xattrs_new(out.packer);
    out.inode_table.packer = out.directory_table.packer = out.packer;
    if (write_squashfs(&out, err) < 0)
        return -1;
    return write_end(&out, config, err);
}
