/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Extended attributes. Each distinct set is stored once: names and values in one metadata stream, and a table that tells where each set begins. A
 * set is recognised by comparing it with the inode that brought it first, so nothing is copied.
 */
#include <stdlib.h>
#include <string.h>

#include "gvmi/write.h"

/* Only these three name spaces can be stored; the order is that of their numbers on the disk. */
static const char *const prefixes[] = { "user.", "trusted.", "security." };
#define PREFIXES (sizeof(prefixes) / sizeof(prefixes[0]))

#define VALUE_MAX 65536U /* Linux has no larger ones */

struct set {
    const struct image_inode *inode; /* the first that had it */
    uint64_t hash;
    uint64_t ref;
    uint32_t count, size;
};

struct gvmi_out_xattrs {
    struct gvmi_meta pairs;
    struct set *sets;
    uint32_t set_count, set_room;
    uint32_t *slots; /* hash table: set + 1 */
    uint32_t mask;
    uint64_t dropped;
};

struct gvmi_out_xattrs *gvmi_out_xattrs_new(struct gvmi_packer *packer)
{
    struct gvmi_out_xattrs *x = gv_new(struct gvmi_out_xattrs);
    x->pairs.packer = packer;
    x->mask = 63;
    x->slots = gv_calloc(x->mask + 1, sizeof(*x->slots));
    return x;
}

void gvmi_out_xattrs_free(struct gvmi_out_xattrs *x)
{
    if (!x)
        return;
    gvmi_meta_clear(&x->pairs);
    free(x->sets);
    free(x->slots);
    free(x);
}

/* The number of the name space of the attribute, and the rest of its name; -1 when it cannot be stored. */
static int name_space(const struct image_xattr *a, const char **rest)
{
    *rest = "";
    for (size_t i = 0; i < PREFIXES; i++) {
        size_t len = strlen(prefixes[i]);
        if (strncmp(a->name, prefixes[i], len) != 0)
            continue;
        *rest = a->name + len;
        size_t left = strlen(*rest);
        return left >= 1 && left <= SQFS_NAME_MAX && a->size <= VALUE_MAX ? (int)i : -1;
    }
    return -1;
}

static bool storable(const struct image_xattr *a)
{
    const char *rest;
    return name_space(a, &rest) >= 0;
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
    const unsigned char *at = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ at[i]) * 1099511628211ULL;
    return h;
}

static uint64_t hash_set(const struct image_inode *inode)
{
    uint64_t h = 14695981039346656037ULL;
    for (uint32_t i = 0; i < inode->xattr_count; i++) {
        const struct image_xattr *a = &inode->xattrs[i];
        h = hash_bytes(h, a->name, strlen(a->name) + 1);
        h = hash_bytes(h, &a->size, sizeof(a->size));
        h = hash_bytes(h, a->value, a->size);
    }
    return h ^ h >> 32;
}

static bool same_set(const struct image_inode *a, const struct image_inode *b)
{
    if (a->xattr_count != b->xattr_count)
        return false;
    for (uint32_t i = 0; i < a->xattr_count; i++) {
        const struct image_xattr *x = &a->xattrs[i], *y = &b->xattrs[i];
        if (x->size != y->size || strcmp(x->name, y->name) != 0 || (x->size && memcmp(x->value, y->value, x->size) != 0))
            return false;
    }
    return true;
}

static uint32_t *find_slot(const struct gvmi_out_xattrs *x, uint64_t hash, const struct image_inode *inode)
{
    for (uint64_t at = hash;; at++) {
        uint32_t *slot = &x->slots[at & x->mask];
        if (*slot == 0 || (x->sets[*slot - 1].hash == hash && same_set(x->sets[*slot - 1].inode, inode)))
            return slot;
    }
}

static void grow_slots(struct gvmi_out_xattrs *x)
{
    free(x->slots);
    x->mask = x->mask * 2 + 1;
    x->slots = gv_calloc((size_t)x->mask + 1, sizeof(*x->slots));
    for (uint32_t i = 0; i < x->set_count; i++)
        *find_slot(x, x->sets[i].hash, x->sets[i].inode) = i + 1;
}

static void write_pairs(struct gvmi_out_xattrs *x, struct set *set)
{
    set->ref = gvmi_meta_ref(&x->pairs);
    for (uint32_t i = 0; i < set->inode->xattr_count; i++) {
        const struct image_xattr *a = &set->inode->xattrs[i];
        const char *rest;
        int space = name_space(a, &rest);
        if (space < 0)
            continue;
        uint16_t len = (uint16_t)strlen(rest);
        unsigned char head[4], size[4];
        sqfs_put16(sqfs_put16(head, (uint16_t)space), len);
        sqfs_put32(size, a->size);
        gvmi_meta_add(&x->pairs, head, sizeof(head));
        gvmi_meta_add(&x->pairs, rest, len);
        gvmi_meta_add(&x->pairs, size, sizeof(size));
        gvmi_meta_add(&x->pairs, a->value, a->size);
        set->count++;
        set->size += (uint32_t)strlen(a->name) + 1 + a->size; /* as mksquashfs counts: what listing and reading them gives */
    }
}

/* Names the first attribute that cannot be kept; one line for an image is enough to know. */
static void warn_dropped(struct gvmi_out *out, const struct image_node *node)
{
    for (uint32_t i = 0; i < node->inode->xattr_count; i++) {
        const struct image_xattr *a = &node->inode->xattrs[i];
        if (storable(a))
            continue;
        if (out->xattrs->dropped++ == 0) {
            cleanup_free char *path = image_node_path(node);
            gv_warn(out->log,
                    "%s: extended attribute `%s` is left out: a squashfs holds those of user., trusted. and security. only, values up to "
                    "64 KiB; "
                    "more of the kind will not be named",
                    path, a->name);
        }
    }
}

int gvmi_out_xattr_index(struct gvmi_out *out, const struct image_node *node, uint32_t *index, struct gv_error *err)
{
    *index = SQFS_NO_XATTR;
    struct gvmi_out_xattrs *x = out->xattrs;
    uint32_t keep = 0;
    uint64_t total = 0;
    for (uint32_t i = 0; i < node->inode->xattr_count; i++) {
        keep += storable(&node->inode->xattrs[i]);
        total += node->inode->xattrs[i].size;
    }
    if (keep < node->inode->xattr_count)
        warn_dropped(out, node);
    if (keep == 0)
        return 0;
    if (total > (1U << 30))
        return gv_error_set(err, GV_E_LIMIT, 0, "more than 1 GiB of extended attributes");
    uint64_t hash = hash_set(node->inode);
    uint32_t *slot = find_slot(x, hash, node->inode);
    if (*slot == 0) {
        if (x->set_count == x->set_room) {
            x->set_room = x->set_room ? x->set_room * 2 : 16;
            x->sets = gv_reallocarray(x->sets, x->set_room, sizeof(*x->sets));
        }
        struct set *set = &x->sets[x->set_count++];
        *set = (struct set){ .inode = node->inode, .hash = hash };
        write_pairs(x, set);
        *slot = x->set_count;
        *index = x->set_count - 1;
        if (x->set_count > x->mask / 2)
            grow_slots(x);
        return 0;
    }
    *index = *slot - 1;
    return 0;
}

void gvmi_out_xattrs_table(struct gvmi_out *out, uint64_t at, struct gv_buf *table, uint64_t *start)
{
    struct gvmi_out_xattrs *x = out->xattrs;
    *start = SQFS_NONE;
    if (x->set_count == 0)
        return;
    gvmi_meta_finish(&x->pairs);
    gv_buf_add(table, x->pairs.packed.data, x->pairs.packed.len);

    struct gvmi_meta list = { .packer = out->packer };
    for (uint32_t i = 0; i < x->set_count; i++) {
        unsigned char entry[SQFS_XATTR_ID_SIZE];
        sqfs_put32(sqfs_put32(sqfs_put64(entry, x->sets[i].ref), x->sets[i].count), x->sets[i].size);
        gvmi_meta_add(&list, entry, sizeof(entry));
    }
    gvmi_meta_finish(&list);
    uint64_t list_at = at + table->len;
    gv_buf_add(table, list.packed.data, list.packed.len);

    *start = at + table->len;
    unsigned char head[16], word[8];
    sqfs_put32(sqfs_put32(sqfs_put64(head, at), x->set_count), 0);
    gv_buf_add(table, head, sizeof(head));
    for (size_t i = 0; i < list.starts.len / 8; i++) {
        uint64_t offset;
        memcpy(&offset, list.starts.data + 8 * i, sizeof(offset));
        sqfs_put64(word, list_at + offset);
        gv_buf_add(table, word, sizeof(word));
    }
    gvmi_meta_clear(&list);
}
