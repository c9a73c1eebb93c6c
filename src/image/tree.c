/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

/* Children of a directory: a plain chain while small, a hash table of chains beyond that. */
struct image_dir {
    uint32_t count;
    uint32_t mask; /* number of chains - 1 */
    struct image_node **chains;
    struct image_node *single; /* the one chain while mask is 0 */
};

struct image_tree {
    struct gv_arena *arena;
    struct image_node *root;
    image_read_fn read;
    void *reader;
    void (*release)(void *reader);
};

#define SMALL_DIR 8    /* nodes in the one chain of a directory before it gets a table */
#define CHAIN_TARGET 2 /* nodes to a chain before the table grows: each step along a chain is a miss of the caches */

struct image_tree *image_tree_new(void)
{
    struct image_tree *t = gv_new(struct image_tree);
    t->arena = gv_arena_new();
    struct image_inode *inode = image_inode_new(t, IMAGE_DIR);
    inode->mode = 0755;
    struct image_node *root = gv_arena_alloc(t->arena, sizeof(*root));
    *root = (struct image_node){ .inode = inode, .name = "" };
    root->parent = root;
    t->root = root;
    return t;
}

void image_tree_free(struct image_tree *t)
{
    if (!t)
        return;
    if (t->release)
        t->release(t->reader);
    /* The hash tables are the only memory outside the arena. They are reachable from the directories that still have a name and, for
     * removed ones, were freed on removal. */
    struct image_node *n = t->root;
    struct gv_arena *arena = t->arena;
    if (n)
        image_node_remove(n);
    gv_arena_free(arena);
    free(t);
}

void image_tree_set_reader(struct image_tree *t, image_read_fn read, void *reader, void (*release)(void *reader))
{
    if (t->release)
        t->release(t->reader);
    t->read = read;
    t->reader = reader;
    t->release = release;
}

int image_tree_read(struct image_tree *t, const struct image_inode *inode, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    if (inode->type != IMAGE_FILE || at > inode->size || len > inode->size - at)
        return gv_error_set(err, GV_E_INTERNAL, 0, "read outside of a file's content");
    if (len == 0)
        return 0;
    if (!t->read)
        return gv_error_set(err, GV_E_INTERNAL, 0, "the tree has no reader");
    return t->read(t->reader, &inode->u.content, at, buf, len, err);
}

struct gv_arena *image_tree_arena(struct image_tree *t)
{
    return t->arena;
}

struct image_node *image_tree_root(struct image_tree *t)
{
    return t->root;
}

struct image_inode *image_inode_new(struct image_tree *t, enum image_type type)
{
    struct image_inode *i = gv_arena_alloc(t->arena, sizeof(*i));
    *i = (struct image_inode){ .type = (uint8_t)type };
    return i;
}

static uint64_t multiply_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 r = (unsigned __int128)a * b;
    return (uint64_t)(r >> 64) ^ (uint64_t)r;
}

/* Names come from images, and could be chosen to fall into one chain: n names would then cost n * n steps. So the hash depends on where the
 * directory happens to lie in memory, which whoever made the image cannot know; nothing that is written out depends on the order of
 * chains. Both factors of each multiplication hold a part of that secret, so that no difference between names cancels out for all
 * secrets. */
static uint32_t name_hash(const struct image_dir *d, const char *name, size_t len)
{
    uint64_t secret = multiply_fold((uint64_t)(uintptr_t)d ^ 0x9e3779b97f4a7c15U, 0xd6e8feb86659fd93U);
    uint64_t h = secret ^ len;
    for (; len > 0; name += len < 16 ? len : 16, len -= len < 16 ? len : 16) {
        uint64_t word[2] = { 0, 0 };
        memcpy(word, name, len < 16 ? len : 16);
        h = multiply_fold(word[0] ^ h, word[1] ^ secret);
    }
    h = multiply_fold(h ^ 0xa0761d6478bd642fU, secret);
    return (uint32_t)(h ^ h >> 32);
}

static struct image_node **dir_chain(const struct image_dir *d, uint32_t hash)
{
    return d->mask ? &d->chains[hash & d->mask] : (struct image_node **)(uintptr_t)&d->single;
}

struct image_node *image_node_child(const struct image_node *dir, const char *name, size_t len)
{
    if (!dir->dir)
        return NULL;
    uint32_t hash = name_hash(dir->dir, name, len);
    for (struct image_node *n = *dir_chain(dir->dir, hash); n; n = n->next)
        if (n->hash == hash && n->namelen == len && memcmp(n->name, name, len) == 0)
            return n;
    return NULL;
}

static void dir_grow(struct image_dir *d)
{
    uint32_t chains = d->mask ? (d->mask + 1) * 4 : 8;
    struct image_node **table = gv_calloc(chains, sizeof(struct image_node *));
    for (uint32_t i = 0; i <= d->mask; i++) {
        for (struct image_node *n = d->mask ? d->chains[i] : d->single, *next; n; n = next) {
            next = n->next;
            struct image_node **to = &table[n->hash & (chains - 1)];
            n->next = *to;
            *to = n;
        }
    }
    free(d->chains);
    d->chains = table;
    d->mask = chains - 1;
    d->single = NULL;
}

struct image_node *image_node_add(struct image_tree *t, struct image_node *dir, const char *name, size_t len, struct image_inode *inode)
{
    if (!dir->dir) {
        dir->dir = gv_arena_alloc(t->arena, sizeof(*dir->dir));
        *dir->dir = (struct image_dir){ 0 };
    }
    struct image_dir *d = dir->dir;
    if (d->count >= (d->mask ? (d->mask + 1) * CHAIN_TARGET : SMALL_DIR) && d->mask < (1U << 28))
        dir_grow(d);
    struct image_node *n = gv_arena_alloc(t->arena, sizeof(*n));
    *n = (struct image_node){
        .inode = inode,
        .parent = dir,
        .name = gv_arena_strndup(t->arena, name, len),
        .hash = name_hash(d, name, len),
        .namelen = (uint8_t)len,
    };
    struct image_node **chain = dir_chain(d, n->hash);
    n->next = *chain;
    *chain = n;
    d->count++;
    return n;
}

/* Frees the hash tables of the node and of everything below it, without recursion: a hostile image can be as deep as it likes. Emptied
 * directories are left through their parent pointer. */
static void free_tables(struct image_node *top)
{
    struct image_node *at = top;
    for (;;) {
        struct image_node *child = NULL;
        struct image_dir *d = at->dir;
        if (d) {
            while (!child && d->count) {
                if (d->mask == 0) {
                    child = d->single;
                    d->single = child ? child->next : NULL;
                } else {
                    child = d->chains[d->mask];
                    if (child)
                        d->chains[d->mask] = child->next;
                    else
                        d->mask--; /* this chain is empty: never look at it again */
                    if (d->mask == 0 && d->chains) {
                        d->single = d->chains[0];
                        free(d->chains);
                        d->chains = NULL;
                    }
                }
                if (child)
                    d->count--;
            }
        }
        if (child) {
            at = child;
            continue;
        }
        if (d) {
            free(d->chains);
            *d = (struct image_dir){ 0 };
        }
        if (at == top)
            return;
        at = at->parent;
    }
}

void image_node_remove(struct image_node *node)
{
    free_tables(node);
    node->dir = NULL;
    if (node->parent == node)
        return;
    struct image_dir *d = node->parent->dir;
    for (struct image_node **p = dir_chain(d, node->hash); *p; p = &(*p)->next) {
        if (*p == node) {
            *p = node->next;
            d->count--;
            return;
        }
    }
}

size_t image_node_child_count(const struct image_node *dir)
{
    return dir->dir ? dir->dir->count : 0;
}

/* A node and the part of its name by which most comparisons are decided, so that sorting need not fetch names from all over the memory. */
struct sort_key {
    uint64_t part; /* the 8 bytes behind what all names begin with, big endian, padded with NULs */
    struct image_node *node;
};

static int compare_keys(const void *a, const void *b)
{
    const struct sort_key *x = a, *y = b;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return strcmp(x->node->name, y->node->name); /* strcmp compares unsigned bytes; names hold no NUL */
}

/* Length of what both names begin with, at most n. */
static size_t common_length(const char *a, const char *b, size_t n)
{
    size_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

struct image_node **image_node_children(const struct image_node *dir)
{
    size_t n = image_node_child_count(dir);
    if (!n)
        return NULL;
    cleanup_free struct sort_key *keys = gv_reallocarray(NULL, n, sizeof(*keys));
    size_t at = 0, common = 0;
    const struct image_dir *d = dir->dir;
    for (uint32_t i = 0; i <= d->mask; i++) {
        for (struct image_node *c = d->mask ? d->chains[i] : d->single; c; c = c->next) {
            common = at == 0 ? c->namelen : common_length(keys[0].node->name, c->name, common);
            keys[at++].node = c;
        }
    }
    for (size_t i = 0; i < n; i++) {
        size_t left = keys[i].node->namelen - common;
        keys[i].part = 0;
        memcpy(&keys[i].part, keys[i].node->name + common, left < sizeof(uint64_t) ? left : sizeof(uint64_t));
        keys[i].part = be64toh(keys[i].part);
    }
    qsort(keys, n, sizeof(*keys), compare_keys);
    struct image_node **list = gv_reallocarray(NULL, n, sizeof(struct image_node *));
    for (size_t i = 0; i < n; i++)
        list[i] = keys[i].node;
    return list;
}

int image_name_check(const char *name, size_t len)
{
    if (len == 0 || len > 255 || memchr(name, '/', len) || memchr(name, '\0', len))
        return -1;
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return -1;
    return 0;
}

struct image_node *image_tree_lookup(struct image_tree *t, const char *path, bool follow)
{
    cleanup_free char *rest = gv_strdup(path);
    struct image_node *at = t->root;
    char *p = rest;
    int links = 0;
    for (;;) {
        p += strspn(p, "/");
        if (!*p)
            return at;
        size_t len = strcspn(p, "/");
        if (at->inode->type != IMAGE_DIR)
            return NULL;
        if (len == 1 && p[0] == '.') {
            p += len;
            continue;
        }
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            at = at->parent;
            p += len;
            continue;
        }
        struct image_node *child = image_node_child(at, p, len);
        if (!child)
            return NULL;
        p += len;
        if (child->inode->type == IMAGE_SYMLINK && (follow || *p)) {
            if (++links > 40)
                return NULL;
            char *joined = gv_asprintf("%s/%s", child->inode->u.target, p);
            if (joined[0] == '/')
                at = t->root;
            free(rest);
            rest = p = joined;
            continue;
        }
        at = child;
    }
}

char *image_node_path(const struct image_node *node)
{
    if (node->parent == node)
        return gv_strdup("/");
    size_t len = 0;
    for (const struct image_node *n = node; n->parent != n; n = n->parent)
        len += 1 + (size_t)n->namelen;
    char *path = gv_alloc(len + 1);
    path[len] = '\0';
    for (const struct image_node *n = node; n->parent != n; n = n->parent) {
        len -= n->namelen;
        memcpy(path + len, n->name, n->namelen);
        path[--len] = '/';
    }
    return path;
}

static void count_inode(struct image_inode *i, struct image_tree_totals *totals)
{
    totals->inodes++;
    switch ((enum image_type)i->type) {
    case IMAGE_DIR:
        totals->dirs++;
        break;
    case IMAGE_FILE:
        totals->files++;
        totals->bytes += i->size;
        break;
    case IMAGE_SYMLINK:
        totals->symlinks++;
        break;
    case IMAGE_CHAR:
    case IMAGE_BLOCK:
    case IMAGE_FIFO:
    case IMAGE_SOCKET:
        totals->others++;
        break;
    }
    if (i->mtime > totals->newest_mtime)
        totals->newest_mtime = i->mtime;
}

/* Calls fn for every node, parents before children, in no particular order of siblings. */
static void walk(struct image_node *root, void (*fn)(struct image_node *, void *), void *user)
{
    /* The explicit stack holds nodes whose subtree is still to be visited; chains are walked through `next`, so it never holds more than
     * the directories seen. */
    struct image_node **stack = gv_reallocarray(NULL, 64, sizeof(struct image_node *));
    size_t n = 0, cap = 64;
    fn(root, user);
    stack[n++] = root;
    while (n > 0) {
        struct image_dir *d = stack[--n]->dir;
        if (!d)
            continue;
        for (uint32_t i = 0; i <= d->mask; i++) {
            for (struct image_node *c = d->mask ? d->chains[i] : d->single; c; c = c->next) {
                fn(c, user);
                if (!c->dir)
                    continue;
                if (n == cap)
                    stack = gv_reallocarray(stack, cap *= 2, sizeof(struct image_node *));
                stack[n++] = c;
            }
        }
    }
    free(stack);
}

static void finish_reset(struct image_node *n, void *user)
{
    (void)user;
    n->inode->nlink = 0;
    n->inode->has_name = false;
}

static void finish_count(struct image_node *n, void *user)
{
    struct image_tree_totals *totals = user;
    totals->nodes++;
    if (!n->inode->has_name) {
        n->inode->has_name = true;
        count_inode(n->inode, totals);
    }
    if (n->inode->type == IMAGE_DIR) {
        n->inode->nlink += 2;
        if (n->parent != n)
            n->parent->inode->nlink++;
    } else {
        n->inode->nlink++;
    }
}

void image_tree_finish(struct image_tree *t, struct image_tree_totals *totals)
{
    struct image_tree_totals sums = { 0 };
    walk(t->root, finish_reset, NULL);
    walk(t->root, finish_count, &sums);
    if (totals)
        *totals = sums;
}
