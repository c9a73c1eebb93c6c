/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inodes and directories. A listing names its inodes by their place in the inode table, so a directory comes after all that is in it. For each
 * directory: first the insides of its subdirectories, then the inodes of all its children in one run, then its listing; its own inode belongs to the
 * run of its parent. Inodes in one run and numbered in a row make the headers of listings few.
 */
#include <stdlib.h>
#include <string.h>

#include "gvmi/write.h"

int gvmi_out_id(struct gvmi_out *out, uint32_t id, uint16_t *index, struct gv_error *err)
{
    struct gvmi_out_ids *t = &out->ids;
    if (!t->slots) {
        t->mask = 2 * (SQFS_IDS_MAX + 1) - 1;
        t->slots = gv_calloc((size_t)t->mask + 1, sizeof(*t->slots));
    }
    uint32_t at = id * 2654435761U >> 15;
    uint32_t *slot;
    while (slot = &t->slots[at & t->mask], *slot != 0 && t->ids[*slot - 1] != id)
        at++;
    if (*slot == 0) {
        if (t->count == SQFS_IDS_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "more than %d different user and group ids, which is all a squashfs can hold",
                                SQFS_IDS_MAX);
        if ((t->count & (t->count - 1)) == 0)
            t->ids = gv_reallocarray(t->ids, t->count ? (size_t)t->count * 2 : 1, sizeof(*t->ids));
        t->ids[t->count++] = id;
        *slot = t->count;
    }
    *index = (uint16_t)(*slot - 1);
    return 0;
}

static uint32_t clamp_time(int64_t t)
{
    return t < 0 ? 0 : t > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)t;
}

static uint16_t basic_type(const struct image_inode *inode)
{
    static const uint16_t types[] = {
        [IMAGE_FILE] = SQFS_FILE,   [IMAGE_DIR] = SQFS_DIR,   [IMAGE_SYMLINK] = SQFS_SYMLINK, [IMAGE_CHAR] = SQFS_CHAR,
        [IMAGE_BLOCK] = SQFS_BLOCK, [IMAGE_FIFO] = SQFS_FIFO, [IMAGE_SOCKET] = SQFS_SOCKET,
    };
    return types[inode->type];
}

/* One inode on its way to the table. */
struct record {
    const struct image_node *node;
    const struct image_inode *inode;
    struct gvmi_out_inode *entry;
    uint32_t number, xattr;
    uint16_t uid, gid;
};

static unsigned char *put_head(const struct record *r, unsigned char *p, bool extended)
{
    p = sqfs_put16(p, (uint16_t)(basic_type(r->inode) + (extended ? SQFS_EXTENDED : 0)));
    p = sqfs_put16(p, r->inode->mode & 07777);
    p = sqfs_put16(p, r->uid);
    p = sqfs_put16(p, r->gid);
    p = sqfs_put32(p, clamp_time(r->inode->mtime));
    return sqfs_put32(p, r->number);
}

static void add_file(struct gvmi_out *out, const struct record *r)
{
    static const struct gvmi_placement empty = { .start = SQFS_NONE, .fragment = SQFS_NO_FRAGMENT };
    const struct gvmi_placement *at = r->entry->u.placement ? r->entry->u.placement : &empty;
    uint64_t start = at->start == SQFS_NONE ? 0 : at->start;
    bool extended = r->inode->nlink > 1 || r->xattr != SQFS_NO_XATTR || at->sparse > 0 || start > UINT32_MAX || r->inode->size > UINT32_MAX;
    unsigned char buf[64], *p = put_head(r, buf, extended);
    if (extended) {
        p = sqfs_put64(p, start);
        p = sqfs_put64(p, r->inode->size);
        p = sqfs_put64(p, at->sparse);
        p = sqfs_put32(p, r->inode->nlink);
        p = sqfs_put32(p, at->fragment);
        p = sqfs_put32(p, at->fragment_offset);
        p = sqfs_put32(p, r->xattr);
    } else {
        p = sqfs_put32(p, (uint32_t)start);
        p = sqfs_put32(p, at->fragment);
        p = sqfs_put32(p, at->fragment_offset);
        p = sqfs_put32(p, (uint32_t)r->inode->size);
    }
    gvmi_meta_add(&out->inode_table, buf, (size_t)(p - buf));
    for (uint32_t i = 0; i < at->count; i++) {
        unsigned char word[4];
        sqfs_put32(word, at->blocks[i]);
        gvmi_meta_add(&out->inode_table, word, sizeof(word));
    }
}

static int add_dir(struct gvmi_out *out, const struct record *r, struct gv_error *err)
{
    struct gvmi_out_dir *d = r->entry->u.dir;
    uint32_t size = d->size + SQFS_DIR_EXTRA, start = (uint32_t)(d->ref >> 16);
    uint16_t offset = (uint16_t)(d->ref & 0xffff);
    if (d->ref >> 16 > UINT32_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the directory table is larger than 4 GiB");
    /* The parent of the root is a number that no inode has. */
    bool root = r->node->parent == r->node;
    uint32_t parent = root ? out->inode_count + 1 : gvmi_out_number(out, r->node->parent->inode);
    bool extended = size > UINT16_MAX || r->xattr != SQFS_NO_XATTR || d->index_count > 0;
    unsigned char buf[64], *p = put_head(r, buf, extended);
    if (extended) {
        p = sqfs_put32(p, r->inode->nlink);
        p = sqfs_put32(p, size);
        p = sqfs_put32(p, start);
        p = sqfs_put32(p, parent);
        p = sqfs_put16(p, (uint16_t)d->index_count);
        p = sqfs_put16(p, offset);
        p = sqfs_put32(p, r->xattr);
    } else {
        p = sqfs_put32(p, start);
        p = sqfs_put32(p, r->inode->nlink);
        p = sqfs_put16(p, (uint16_t)size);
        p = sqfs_put16(p, offset);
        p = sqfs_put32(p, parent);
    }
    gvmi_meta_add(&out->inode_table, buf, (size_t)(p - buf));
    gvmi_meta_add(&out->inode_table, d->index, d->index_size);
    return 0;
}

static int add_symlink(struct gvmi_out *out, const struct record *r, struct gv_error *err)
{
    size_t len = strlen(r->inode->u.target);
    if (len == 0 || len > SQFS_TARGET_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the target of the symbolic link has %zu bytes; 1 to %d can be stored", len,
                            SQFS_TARGET_MAX);
    bool extended = r->xattr != SQFS_NO_XATTR;
    unsigned char buf[64], *p = put_head(r, buf, extended);
    p = sqfs_put32(sqfs_put32(p, r->inode->nlink), (uint32_t)len);
    gvmi_meta_add(&out->inode_table, buf, (size_t)(p - buf));
    gvmi_meta_add(&out->inode_table, r->inode->u.target, len);
    if (extended) {
        sqfs_put32(buf, r->xattr);
        gvmi_meta_add(&out->inode_table, buf, 4);
    }
    return 0;
}

static int add_special(struct gvmi_out *out, const struct record *r, struct gv_error *err)
{
    bool extended = r->xattr != SQFS_NO_XATTR;
    unsigned char buf[64], *p = put_head(r, buf, extended);
    p = sqfs_put32(p, r->inode->nlink);
    if (r->inode->type == IMAGE_CHAR || r->inode->type == IMAGE_BLOCK) {
        uint32_t major = r->inode->u.rdev.major, minor = r->inode->u.rdev.minor;
        if (major > 0xfff || minor > 0xfffff)
            return gv_error_set(err, GV_E_UNSUPPORTED, 0, "device number %u:%u cannot be stored; 4095:1048575 is the largest", major,
                                minor);
        p = sqfs_put32(p, sqfs_pack_rdev(major, minor));
    }
    if (extended)
        p = sqfs_put32(p, r->xattr);
    gvmi_meta_add(&out->inode_table, buf, (size_t)(p - buf));
    return 0;
}

static int add_inode_body(struct gvmi_out *out, struct record *r, struct gv_error *err)
{
    if (gvmi_out_id(out, r->inode->uid, &r->uid, err) < 0 || gvmi_out_id(out, r->inode->gid, &r->gid, err) < 0 ||
        gvmi_out_xattr_index(out, r->node, &r->xattr, err) < 0)
        return -1;
    r->entry->ref = gvmi_meta_ref(&out->inode_table);
    if (r->entry->ref >> 16 > UINT32_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the inode table is larger than 4 GiB");
    switch ((enum image_type)r->inode->type) {
    case IMAGE_FILE:
        add_file(out, r);
        return 0;
    case IMAGE_DIR:
        return add_dir(out, r, err);
    case IMAGE_SYMLINK:
        return add_symlink(out, r, err);
    case IMAGE_CHAR:
    case IMAGE_BLOCK:
    case IMAGE_FIFO:
    case IMAGE_SOCKET:
        return add_special(out, r, err);
    }
    return gv_error_set(err, GV_E_INTERNAL, 0, "inode of unknown type %d", r->inode->type);
}

/* Adds the inode of the node unless another name of it has brought it already. */
static int add_inode(struct gvmi_out *out, const struct image_node *node, struct gv_error *err)
{
    struct record r = { .node = node, .inode = node->inode, .number = gvmi_out_number(out, node->inode) };
    r.entry = &out->inodes[r.number - 1];
    if (r.entry->ref != SQFS_NONE)
        return 0;
    if (add_inode_body(out, &r, err) < 0) {
        cleanup_free char *path = image_node_path(node);
        return gv_error_prefix(err, "%s", path);
    }
    return 0;
}

/* A listing on its way to the directory table. */
struct listing {
    struct gvmi_out *out;
    uint64_t size;
    uint32_t index_count;
    struct gv_buf index;
    uint64_t indexed_block; /* the metadata block that the last index entry (or the listing's start) is in */
};

/* How many of the children, from the first on, fit below one header. */
static uint32_t header_run(const struct gvmi_out *out, struct image_node *const *children, size_t count)
{
    uint32_t first = gvmi_out_number(out, children[0]->inode), n = 1;
    uint64_t block = out->inodes[first - 1].ref >> 16;
    while (n < count && n < SQFS_HEADER_ENTRIES) {
        uint32_t number = gvmi_out_number(out, children[n]->inode);
        int64_t delta = (int64_t)number - first;
        if (out->inodes[number - 1].ref >> 16 != block || delta < INT16_MIN || delta > INT16_MAX)
            break;
        n++;
    }
    return n;
}

/* An index entry for the header about to be written tells a name and where its header is, so that the kernel can skip the blocks before it. */
static void add_index(struct listing *l, const struct image_node *first)
{
    uint64_t block = gvmi_meta_ref(&l->out->directory_table) >> 16;
    if (l->size == 0)
        l->indexed_block = block;
    if (block == l->indexed_block || l->index_count == SQFS_INDEX_MAX)
        return;
    l->indexed_block = block;
    unsigned char head[12];
    sqfs_put32(sqfs_put32(sqfs_put32(head, (uint32_t)l->size), (uint32_t)block), (uint32_t)first->namelen - 1);
    gv_buf_add(&l->index, head, sizeof(head));
    gv_buf_add(&l->index, first->name, first->namelen);
    l->index_count++;
}

static void add_run(struct listing *l, struct image_node *const *children, uint32_t count)
{
    struct gvmi_out *out = l->out;
    uint32_t first = gvmi_out_number(out, children[0]->inode);
    add_index(l, children[0]);
    unsigned char head[12], entry[8];
    sqfs_put32(sqfs_put32(sqfs_put32(head, count - 1), (uint32_t)(out->inodes[first - 1].ref >> 16)), first);
    gvmi_meta_add(&out->directory_table, head, sizeof(head));
    l->size += sizeof(head);
    for (uint32_t i = 0; i < count; i++) {
        const struct image_node *c = children[i];
        uint32_t number = gvmi_out_number(out, c->inode);
        unsigned char *p = sqfs_put16(entry, (uint16_t)(out->inodes[number - 1].ref & 0xffff));
        p = sqfs_put16(p, (uint16_t)(number - first));
        p = sqfs_put16(p, basic_type(c->inode));
        sqfs_put16(p, (uint16_t)(c->namelen - 1));
        gvmi_meta_add(&out->directory_table, entry, sizeof(entry));
        gvmi_meta_add(&out->directory_table, c->name, c->namelen);
        l->size += sizeof(entry) + c->namelen;
    }
}

static int finish_dir(struct gvmi_out *out, const struct gvmi_out_level *level, struct gv_error *err)
{
    for (size_t i = 0; i < level->count; i++)
        if (add_inode(out, level->children[i], err) < 0)
            return -1;
    struct gvmi_out_dir *dir = gv_arena_alloc(out->arena, sizeof(*dir));
    *dir = (struct gvmi_out_dir){ .ref = gvmi_meta_ref(&out->directory_table) };
    struct listing l = { .out = out };
    for (size_t i = 0; i < level->count;) {
        uint32_t n = header_run(out, level->children + i, level->count - i);
        add_run(&l, level->children + i, n);
        i += n;
    }
    if (l.size >= 2 * (uint64_t)SQFS_META_SIZE && l.index_count > 0) { /* else an index would save nothing */
        unsigned char *index = gv_arena_alloc(out->arena, l.index.len);
        memcpy(index, l.index.data, l.index.len);
        dir->index = index;
        dir->index_size = l.index.len;
        dir->index_count = l.index_count;
    }
    gv_buf_clear(&l.index);
    if (l.size > UINT32_MAX - SQFS_DIR_EXTRA)
        return gv_error_set(err, GV_E_LIMIT, 0, "a directory is larger than 4 GiB");
    dir->size = (uint32_t)l.size;
    out->inodes[gvmi_out_number(out, level->dir->inode) - 1].u.dir = dir;
    return 0;
}

static int walk_tree(struct gvmi_out *out, struct gvmi_out_stack *stack, struct gv_error *err)
{
    gvmi_out_push(stack, image_tree_root(out->tree));
    while (stack->depth > 0) {
        struct gvmi_out_level *level = &stack->levels[stack->depth - 1];
        while (level->next < level->count && level->children[level->next]->inode->type != IMAGE_DIR)
            level->next++;
        if (level->next < level->count) {
            gvmi_out_push(stack, level->children[level->next++]);
            continue;
        }
        if (finish_dir(out, level, err) < 0)
            return -1;
        gvmi_out_pop(stack);
    }
    return add_inode(out, image_tree_root(out->tree), err);
}

int gvmi_out_tree(struct gvmi_out *out, struct gv_error *err)
{
    struct gvmi_out_stack stack = { 0 };
    int r = walk_tree(out, &stack, err);
    gvmi_out_stack_clear(&stack);
    gvmi_meta_finish(&out->inode_table);
    gvmi_meta_finish(&out->directory_table);
    return r;
}
