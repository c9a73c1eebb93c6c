/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packages, their files, and the numbers in the end.
 *
 * While databases are read, a file's group is the number of the package's record, in order of reading; records of one name may be several,
 * and the record with the smallest name keeps a file that several claim. In the end the names are sorted, equal ones become one, and the groups are
 * renumbered. So neither the order of reading nor that of the tree's hash tables shows in the result.
 *
 * Paths in databases go through symbolic links (/bin/sh where /bin points to usr/bin). Each link is followed once and its end remembered: a
 * hostile image cannot make a few bytes of a list cost a long walk again and again. Lists name the files of a directory one after the other,
 * so the last directory is remembered too.
 */
#include <stdlib.h>
#include <string.h>

#include "packages/db.h"

#define LINKS_MAX 40          /* symbolic links that lead to one another; also the depth of the recursion */
#define DIVERSIONS_MAX 65536U /* more are not looked at */

struct package {
    const char *name;
    uint32_t rank; /* the number it gets in the end */
};

struct link_end {
    const struct image_node *link;
    struct image_node *dir; /* NULL: leads to no directory */
};

struct diversion {
    const struct image_node *dir; /* of the diverted name */
    const char *base;
    size_t base_len;
    struct image_node *to;
    const char *owner;
    size_t owner_len;
};

struct packages_set {
    struct image_tree *tree;
    const struct gv_log *log;
    struct gv_arena *arena; /* names */
    uint64_t left;          /* bytes that may still be read */
    struct package *packages;
    uint32_t count, cap;
    struct image_inode **files; /* that have a group */
    size_t file_count, file_cap;
    const struct image_node **python; /* directories in which a package has *.py */
    size_t python_count, python_cap;
    struct link_end *links; /* hash table, open addressing */
    size_t link_count, link_cap;
    struct diversion *diversions; /* sorted once they are looked at */
    size_t diversion_count, diversion_cap;
    bool diversions_sorted;
    char last[PACKAGES_LINE_MAX];
    size_t last_len;
    struct image_node *last_dir; /* where `last` leads; valid when last_known */
    bool last_known;
};

/* Room for one more element at the end of a growing array. */
#define GROW(array, count, cap)                                                                                                            \
    do {                                                                                                                                   \
        if ((count) == (cap)) {                                                                                                            \
            (cap) = (cap) ? (cap)*2 : 64;                                                                                                  \
            (array) = gv_reallocarray((array), (cap), sizeof(*(array)));                                                                   \
        }                                                                                                                                  \
    } while (0)

struct packages_set *packages_set_new(struct image_tree *tree, const struct gv_log *log)
{
    struct packages_set *s = gv_new(struct packages_set);
    s->tree = tree;
    s->log = log;
    s->arena = gv_arena_new();
    s->left = PACKAGES_DB_MAX;
    return s;
}

void packages_set_free(struct packages_set *s)
{
    if (!s)
        return;
    gv_arena_free(s->arena);
    free(s->packages);
    free(s->files);
    free(s->python);
    free(s->links);
    free(s->diversions);
    free(s);
}

struct image_tree *packages_set_tree(const struct packages_set *s)
{
    return s->tree;
}

const struct gv_log *packages_set_log(const struct packages_set *s)
{
    return s->log;
}

bool packages_set_spend(struct packages_set *s, uint64_t bytes)
{
    if (bytes > s->left)
        return false;
    s->left -= bytes;
    return true;
}

uint32_t packages_set_package(struct packages_set *s, const char *name, size_t len)
{
    if (len == 0 || len > PACKAGES_NAME_MAX || memchr(name, '\0', len))
        return 0;
    const char *last = s->count ? s->packages[s->count - 1].name : NULL;
    if (last && strlen(last) == len && memcmp(last, name, len) == 0)
        return s->count;
    if (s->count == PACKAGES_COUNT_MAX)
        return 0;
    GROW(s->packages, s->count, s->cap);
    s->packages[s->count++] = (struct package){ .name = gv_arena_strndup(s->arena, name, len) };
    return s->count;
}

/* ---- paths ---------------------------------------------------------------------------------------------------------------------- */

static size_t pointer_hash(const void *p)
{
    uint64_t h = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15U;
    return (size_t)(h ^ h >> 29);
}

/* The place of the link in the table, which has free places. */
static struct link_end *link_slot(const struct packages_set *s, const struct image_node *link)
{
    size_t at = pointer_hash(link) & (s->link_cap - 1);
    while (s->links[at].link && s->links[at].link != link)
        at = (at + 1) & (s->link_cap - 1);
    return &s->links[at];
}

static void link_store(struct packages_set *s, const struct image_node *link, struct image_node *dir)
{
    if ((s->link_count + 1) * 2 > s->link_cap) {
        struct link_end *old = s->links;
        size_t old_cap = s->link_cap;
        s->link_cap = old_cap ? old_cap * 2 : 64;
        s->links = gv_calloc(s->link_cap, sizeof(*s->links));
        for (size_t i = 0; i < old_cap; i++)
            if (old[i].link)
                *link_slot(s, old[i].link) = old[i];
        free(old);
    }
    struct link_end *e = link_slot(s, link);
    if (!e->link)
        s->link_count++;
    *e = (struct link_end){ .link = link, .dir = dir };
}

static struct image_node *walk(struct packages_set *s, struct image_node *at, const char *path, size_t len, int depth);

/* The directory to which a symbolic link leads, NULL if there is none. */
static struct image_node *follow(struct packages_set *s, const struct image_node *link, int depth)
{
    if (s->link_cap) {
        const struct link_end *known = link_slot(s, link);
        if (known->link)
            return known->dir;
    }
    link_store(s, link, NULL); /* a link that leads to itself leads nowhere */
    if (depth >= LINKS_MAX)
        return NULL;
    const char *target = link->inode->u.target;
    struct image_node *from = target[0] == '/' ? image_tree_root(s->tree) : link->parent;
    struct image_node *end = walk(s, from, target, strlen(target), depth + 1);
    link_store(s, link, end);
    return end;
}

/* The directory at a path that starts in the directory `at`, NULL if there is none. */
static struct image_node *walk(struct packages_set *s, struct image_node *at, const char *path, size_t len, int depth)
{
    const char *end = path + len;
    while (path < end) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        size_t n = (size_t)((slash ? slash : end) - path);
        const char *name = path;
        path += n + (slash ? 1 : 0);
        if (n == 0 || (n == 1 && name[0] == '.'))
            continue;
        if (n == 2 && name[0] == '.' && name[1] == '.') {
            at = at->parent;
            continue;
        }
        struct image_node *child = image_node_child(at, name, n);
        if (child && child->inode->type == IMAGE_SYMLINK)
            child = follow(s, child, depth);
        if (!child || child->inode->type != IMAGE_DIR)
            return NULL;
        at = child;
    }
    return at;
}

static struct image_node *directory(struct packages_set *s, const char *path, size_t len)
{
    if (len > sizeof(s->last))
        return NULL;
    if (s->last_known && s->last_len == len && memcmp(s->last, path, len) == 0)
        return s->last_dir;
    s->last_dir = walk(s, image_tree_root(s->tree), path, len, 0);
    memcpy(s->last, path, len);
    s->last_len = len;
    s->last_known = true;
    return s->last_dir;
}

/* Splits at the last slash: the length of the directory, and where the name begins. */
static size_t split(const char *path, size_t len, size_t *base)
{
    const char *slash = memrchr(path, '/', len);
    *base = slash ? (size_t)(slash - path) + 1 : 0;
    return slash ? (size_t)(slash - path) : 0;
}

/* ---- diversions ----------------------------------------------------------------------------------------------------------------- */

static int compare_bytes(const char *a, size_t an, const char *b, size_t bn)
{
    int c = memcmp(a, b, an < bn ? an : bn);
    return c ? c : (an > bn) - (an < bn);
}

/* By directory and name; a valid file diverts no name twice. */
static int compare_diversions(const void *a, const void *b)
{
    const struct diversion *x = a, *y = b;
    if (x->dir != y->dir)
        return (uintptr_t)x->dir < (uintptr_t)y->dir ? -1 : 1;
    return compare_bytes(x->base, x->base_len, y->base, y->base_len);
}

void packages_set_divert(struct packages_set *s, const char *from, size_t from_len, const char *to, size_t to_len, const char *owner,
                         size_t owner_len)
{
    size_t base;
    size_t dir_len = split(to, to_len, &base);
    const struct image_node *to_dir = directory(s, to, dir_len);
    struct image_node *end = to_dir ? image_node_child(to_dir, to + base, to_len - base) : NULL;
    dir_len = split(from, from_len, &base);
    const struct image_node *dir = directory(s, from, dir_len);
    if (!dir || !end || s->diversion_count == DIVERSIONS_MAX || from_len - base > 255 || owner_len > PACKAGES_NAME_MAX)
        return;
    GROW(s->diversions, s->diversion_count, s->diversion_cap);
    s->diversions[s->diversion_count++] = (struct diversion){
        .dir = dir,
        .base = gv_arena_strndup(s->arena, from + base, from_len - base),
        .base_len = from_len - base,
        .to = end,
        .owner = gv_arena_strndup(s->arena, owner, owner_len),
        .owner_len = owner_len,
    };
    s->diversions_sorted = false;
}

/* Where the package's file of that name is. */
static struct image_node *diverted(struct packages_set *s, uint32_t package, const struct image_node *dir, const char *base, size_t len)
{
    if (s->diversion_count) {
        if (!s->diversions_sorted)
            qsort(s->diversions, s->diversion_count, sizeof(*s->diversions), compare_diversions);
        s->diversions_sorted = true;
        const struct diversion key = { .dir = dir, .base = base, .base_len = len };
        const struct diversion *d = bsearch(&key, s->diversions, s->diversion_count, sizeof(*s->diversions), compare_diversions);
        const char *name = s->packages[package - 1].name;
        if (d && compare_bytes(d->owner, d->owner_len, name, strlen(name)) != 0)
            return d->to;
    }
    return image_node_child(dir, base, len);
}

/* ---- claims --------------------------------------------------------------------------------------------------------------------- */

static bool ends_with(const struct image_node *n, const char *suffix)
{
    size_t len = strlen(suffix);
    return n->namelen > len && memcmp(n->name + n->namelen - len, suffix, len) == 0;
}

/* Whether it is the first claim of the file. */
static bool claim_inode(struct packages_set *s, uint32_t package, struct image_inode *i)
{
    if (i->group == 0) {
        GROW(s->files, s->file_count, s->file_cap);
        s->files[s->file_count++] = i;
        i->group = package;
        return true;
    }
    if (i->group != package && strcmp(s->packages[package - 1].name, s->packages[i->group - 1].name) < 0)
        i->group = package;
    return false;
}

void packages_set_claim_node(struct packages_set *s, uint32_t package, struct image_node *node)
{
    if (package == 0 || node->inode->type != IMAGE_FILE)
        return;
    if (!claim_inode(s, package, node->inode) || !ends_with(node, ".py") ||
        (s->python_count && s->python[s->python_count - 1] == node->parent))
        return;
    GROW(s->python, s->python_count, s->python_cap);
    s->python[s->python_count++] = node->parent;
}

void packages_set_claim(struct packages_set *s, uint32_t package, const char *dir, size_t dir_len, const char *base, size_t base_len)
{
    if (package == 0 || base_len == 0 || base_len > 255)
        return;
    const struct image_node *d = directory(s, dir, dir_len);
    struct image_node *node = d ? diverted(s, package, d, base, base_len) : NULL;
    if (node)
        packages_set_claim_node(s, package, node);
}

void packages_set_claim_path(struct packages_set *s, uint32_t package, const char *path, size_t len)
{
    size_t base;
    size_t dir_len = split(path, len, &base);
    packages_set_claim(s, package, path, dir_len, path + base, len - base);
}

/* ---- the end -------------------------------------------------------------------------------------------------------------------- */

static int compare_directories(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (const struct image_node *const *)a, y = (uintptr_t) * (const struct image_node *const *)b;
    return (x > y) - (x < y);
}

/* The bytecode of a directory's modules is in __pycache__/NAME.cpython-VERSION[.opt-LEVEL].pyc (PEP 3147, PEP 488). It is made when a package is
 * installed, and no list has it. */
static void claim_bytecode(struct packages_set *s, const struct image_node *dir)
{
    static const char cache[] = "__pycache__", mark[] = ".cpython-";
    const struct image_node *below = image_node_child(dir, cache, sizeof(cache) - 1);
    if (!below || below->inode->type != IMAGE_DIR)
        return;
    cleanup_free struct image_node **children = image_node_children(below);
    for (size_t i = 0, n = image_node_child_count(below); i < n; i++) {
        const struct image_node *c = children[i];
        const char *at = ends_with(c, ".pyc") ? memmem(c->name, c->namelen, mark, sizeof(mark) - 1) : NULL;
        if (!at || c->inode->type != IMAGE_FILE || c->inode->group)
            continue;
        char source[256 + sizeof(".py")];
        size_t stem = (size_t)(at - c->name);
        memcpy(source, c->name, stem);
        memcpy(source + stem, ".py", sizeof(".py"));
        const struct image_node *module = image_node_child(dir, source, stem + 3);
        if (module && module->inode->type == IMAGE_FILE && module->inode->group)
            claim_inode(s, module->inode->group, c->inode);
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(struct package *const *)a)->name, (*(struct package *const *)b)->name);
}

void packages_set_finish(struct packages_set *s, struct packages_summary *out)
{
    if (s->python_count)
        qsort(s->python, s->python_count, sizeof(*s->python), compare_directories);
    for (size_t i = 0; i < s->python_count; i++)
        if (i == 0 || s->python[i] != s->python[i - 1])
            claim_bytecode(s, s->python[i]);

    cleanup_free struct package **sorted = gv_reallocarray(NULL, s->count, sizeof(struct package *));
    for (uint32_t i = 0; i < s->count; i++)
        sorted[i] = &s->packages[i];
    if (s->count)
        qsort(sorted, s->count, sizeof(*sorted), compare_names);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < s->count; i++)
        sorted[i]->rank = i > 0 && strcmp(sorted[i]->name, sorted[i - 1]->name) == 0 ? rank : ++rank;
    for (size_t i = 0; i < s->file_count; i++)
        s->files[i]->group = s->packages[s->files[i]->group - 1].rank;
    out->packages = rank;
    out->files = s->file_count;
}
