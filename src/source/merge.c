/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/merge.h"

#include <inttypes.h>
#include <string.h>

#include "source/xattrs.h"

#define LINKS_MAX 40                      /* symbolic links on the way to one name, as in Linux */
#define MEMORY_FREE ((uint64_t)64 << 20)  /* what names and attributes may take in any case, */
#define MEMORY_PER_ENTRY 512              /* and more for each entry */
#define FOLLOW_FREE ((uint64_t)256 << 20) /* bytes of link targets walked through, the same way */
#define FOLLOW_PER_ENTRY 1024
#define NAME_BYTES_MAX 255 /* of one name, as in Linux */
#define WHITEOUT ".wh."
#define WHITEOUT_META ".wh..wh." /* aufs' own files, never part of an image */
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define AUFS_LINKS ".wh..wh.plnk" /* where aufs keeps files with several names */

/* An entry of the layer being read. */
struct layer_entry {
    struct layer_entry *next;
    const char *path; /* normalised, "" for the root; names below AUFS_LINKS are relative to that */
    uint16_t len;     /* of path */
    uint16_t base;    /* where the last component begins */
    uint16_t link_len;
    bool aufs, link_aufs; /* path or link is below AUFS_LINKS */
    bool is_link;
    const char *link;          /* hard links: the normalised target */
    struct image_inode *inode; /* others: the new inode; hard links: what the target is in the layers below, if it is to be whited out */
};

struct whiteout {
    const char *path; /* the directory it is in, then the name it hides */
    uint16_t len, base;
    uint16_t depth;
    bool opaque; /* hides all below path[0..len) */
};

struct merge {
    struct image_tree *tree;
    struct image_node *root;
    const struct gv_log *log;
    struct xattr_pool *xattrs;
    uint64_t max_entries, entries;
    bool absolute_names;
    bool plain; /* no name is a whiteout */
    uint64_t file_bytes;
    uint64_t followed; /* bytes of link targets walked through */

    /* The layer being read. */
    struct gv_arena *layer;
    struct layer_entry *first, **last;
    size_t count;
    bool has_links;
    struct whiteout *whiteouts;
    size_t whiteout_count, whiteout_cap;
    struct layer_entry **by_path; /* sorted, made when first needed */
    struct image_node aufs;       /* a root of its own for what is below AUFS_LINKS */

    /* The directory that the last entry went into: entries of one directory come together. */
    const char *cached;
    size_t cached_len;
    struct image_node *cached_node;
};

struct merge *merge_new(struct image_tree *tree, uint64_t max_entries, bool absolute_names, const struct gv_log *log)
{
    struct merge *m = gv_new(struct merge);
    m->tree = tree;
    m->root = image_tree_root(tree);
    m->log = log;
    m->max_entries = max_entries;
    m->absolute_names = absolute_names;
    m->xattrs = xattr_pool_new(image_tree_arena(tree), log);
    m->aufs = (struct image_node){ .inode = image_inode_new(tree, IMAGE_DIR), .name = "" };
    m->aufs.parent = &m->aufs;
    return m;
}

static void layer_clear(struct merge *m)
{
    gv_arena_free(m->layer);
    m->layer = NULL;
    m->first = NULL;
    m->last = &m->first;
    m->count = 0;
    m->has_links = false;
    m->whiteout_count = 0;
    free(m->by_path);
    m->by_path = NULL;
    m->cached = NULL;
    image_node_remove(&m->aufs);
}

void merge_free(struct merge *m)
{
    if (!m)
        return;
    layer_clear(m);
    free(m->whiteouts);
    xattr_pool_free(m->xattrs);
    free(m);
}

bool merge_is_full(const struct merge *m)
{
    return m->entries > m->max_entries;
}

uint64_t merge_file_bytes(const struct merge *m)
{
    return m->file_bytes;
}

void merge_set_plain(struct merge *m)
{
    m->plain = true;
}

void merge_layer_begin(struct merge *m)
{
    layer_clear(m);
    m->layer = gv_arena_new();
}

/* ---- reading entries ---- */

static int count_entry(struct merge *m, struct gv_error *err)
{
    if (++m->entries > m->max_entries)
        return gv_error_set(err, GV_E_LIMIT, 0, "the layers have more than %" PRIu64 " entries", m->max_entries);
    uint64_t allowed = MEMORY_FREE + m->entries * MEMORY_PER_ENTRY;
    if (gv_arena_size(image_tree_arena(m->tree)) > allowed || (m->layer && gv_arena_size(m->layer) > allowed))
        return gv_error_set(err, GV_E_LIMIT, 0, "the names and attributes of %" PRIu64 " entries take more than %" PRIu64 " MB", m->entries,
                            allowed >> 20);
    return 0;
}

/* The root itself may be written as a slash. */
static int check_absolute(const struct merge *m, const char *path, size_t normal_len, struct gv_error *err)
{
    if (path[0] != '/' || !normal_len || m->absolute_names)
        return 0;
    gv_error_set(err, GV_E_FORMAT, 0, "an absolute name");
    return gv_error_hint(err, "--absolute-names takes such names as names below the root");
}

static int name_too_long(size_t len, struct gv_error *err)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "a name of %zu bytes; %d are allowed", len, NAME_BYTES_MAX);
}

/* Writes the path without leading, doubled and trailing slashes and without "." to out, which has MERGE_PATH_MAX + 1 bytes. Its last name may have
 * `last_max` bytes. */
static int normalise(const char *path, size_t n, size_t last_max, char *out, size_t *len, struct gv_error *err)
{
    size_t o = 0;
    for (const char *p = path, *end = path + n; p < end;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t part = slash ? (size_t)(slash - p) : (size_t)(end - p);
        if (part == 2 && p[0] == '.' && p[1] == '.')
            return gv_error_set(err, GV_E_FORMAT, 0, "`..` leads out of the image");
        if (part > (slash ? NAME_BYTES_MAX : last_max))
            return name_too_long(part, err);
        if (part > 1 || (part == 1 && p[0] != '.')) {
            if (o + part + 1 > MERGE_PATH_MAX)
                return gv_error_set(err, GV_E_FORMAT, 0, "a path of more than %d bytes", MERGE_PATH_MAX);
            if (o)
                out[o++] = '/';
            memcpy(out + o, p, part);
            o += part;
        }
        p += part + 1;
    }
    out[o] = '\0';
    *len = o;
    return 0;
}

static bool begins(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static uint16_t base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (uint16_t)(slash + 1 - path) : 0;
}

/* Whether a component that begins in path[0..n) is the name of a whiteout. */
static bool has_whiteout(const struct merge *m, const char *path, size_t n)
{
    for (const char *p = path; !m->plain && p && p < path + n;) {
        if (begins(p, WHITEOUT))
            return true;
        p = strchr(p, '/');
        if (p)
            p++;
    }
    return false;
}

/* For paths below AUFS_LINKS: the rest of the path, else NULL. */
static const char *aufs_rest(const struct merge *m, const char *path)
{
    return !m->plain && begins(path, AUFS_LINKS "/") ? path + sizeof(AUFS_LINKS) : NULL;
}

static int add_whiteout(struct merge *m, const char *path, size_t len, size_t base, struct gv_error *err)
{
    const char *name = path + base + sizeof(WHITEOUT) - 1;
    bool opaque = !strcmp(path + base, WHITEOUT_OPAQUE);
    if (!opaque && (!*name || !strcmp(name, ".") || !strcmp(name, "..")))
        return gv_error_set(err, GV_E_FORMAT, 0, "a whiteout that names nothing");
    if (m->whiteout_count == m->whiteout_cap) {
        m->whiteout_cap = m->whiteout_cap ? m->whiteout_cap * 2 : 64;
        m->whiteouts = gv_reallocarray(m->whiteouts, m->whiteout_cap, sizeof(*m->whiteouts));
    }
    struct whiteout *w = &m->whiteouts[m->whiteout_count++];
    *w = (struct whiteout){ .opaque = opaque, .base = (uint16_t)base };
    size_t name_len = len - base - (sizeof(WHITEOUT) - 1);
    char *copy = gv_arena_strndup(m->layer, path, opaque ? base : base + name_len);
    if (!opaque)
        memcpy(copy + base, name, name_len);
    w->len = (uint16_t)(opaque && base ? base - 1 : base + (opaque ? 0 : name_len));
    copy[w->len] = '\0';
    w->path = copy;
    for (const char *p = copy; *p; p++)
        w->depth = (uint16_t)(w->depth + (*p == '/'));
    if (opaque && w->len)
        w->depth++; /* it acts on the names in the directory */
    return 0;
}

static const enum image_type image_types[] = {
    [TAR_FILE] = IMAGE_FILE,      [TAR_SYMLINK] = IMAGE_SYMLINK, [TAR_CHAR] = IMAGE_CHAR,
    [TAR_BLOCKDEV] = IMAGE_BLOCK, [TAR_DIR] = IMAGE_DIR,         [TAR_FIFO] = IMAGE_FIFO,
};

static int make_inode(struct merge *m, const struct tar_entry *e, const struct image_content *content, struct image_inode **out,
                      struct gv_error *err)
{
    struct image_inode *i = image_inode_new(m->tree, image_types[e->type]);
    i->mode = e->mode;
    i->uid = e->uid;
    i->gid = e->gid;
    i->mtime = e->mtime;
    if (e->type == TAR_FILE) {
        i->size = e->size;
        i->u.content = *content;
        m->file_bytes += e->size;
    } else if (e->type == TAR_SYMLINK) {
        if (e->link_len > MERGE_TARGET_MAX)
            return gv_error_set(err, GV_E_FORMAT, 0, "the target of a symbolic link has %zu bytes; %d are allowed", e->link_len,
                                MERGE_TARGET_MAX);
        i->size = e->link_len;
        i->u.target = gv_arena_strndup(image_tree_arena(m->tree), e->link, e->link_len);
    } else if (e->type == TAR_CHAR || e->type == TAR_BLOCKDEV) {
        i->u.rdev.major = e->major;
        i->u.rdev.minor = e->minor;
    }
    if (e->xattr_count && xattr_pool_set(m->xattrs, i, e->xattrs, e->xattr_count, err) < 0)
        return -1;
    *out = i;
    return 0;
}

static int set_link(struct merge *m, struct layer_entry *l, const struct tar_entry *e, struct gv_error *err)
{
    char path[MERGE_PATH_MAX + 1];
    size_t len;
    if (normalise(e->link, e->link_len, NAME_BYTES_MAX, path, &len, err) < 0 || check_absolute(m, e->link, len, err) < 0)
        return gv_error_prefix(err, "a hard link to `%.200s`", e->link);
    const char *rest = aufs_rest(m, path), *start = rest ? rest : path;
    if (!len || has_whiteout(m, start, len - (size_t)(start - path)))
        return gv_error_set(err, GV_E_FORMAT, 0, "a hard link to `%.200s`, which is not a file", e->link);
    l->is_link = m->has_links = true;
    l->link_aufs = rest != NULL;
    l->link_len = (uint16_t)(len - (size_t)(start - path));
    l->link = gv_arena_strndup(m->layer, start, l->link_len);
    return 0;
}

static int add_entry(struct merge *m, const struct tar_entry *e, const struct image_content *content, struct gv_error *err)
{
    char path[MERGE_PATH_MAX + 1];
    size_t len;
    /* A whiteout's own name is never that of a file, so that it can be longer than any: Docker writes it so. */
    if (count_entry(m, err) < 0 || normalise(e->path, e->path_len, NAME_BYTES_MAX + sizeof(WHITEOUT) - 1, path, &len, err) < 0 ||
        check_absolute(m, e->path, len, err) < 0)
        return -1;
    size_t base = base_of(path);
    const char *start = path;
    if (!m->plain && begins(path, WHITEOUT_META) && strcmp(path, WHITEOUT_OPAQUE) != 0) {
        start = aufs_rest(m, path);
        if (!start)
            return 0;
        base -= (size_t)(start - path);
        len -= (size_t)(start - path);
    } else if (has_whiteout(m, path, base)) {
        return gv_error_set(err, GV_E_FORMAT, 0, "it is below a whiteout");
    } else if (!m->plain && begins(path + base, WHITEOUT)) {
        return add_whiteout(m, path, len, base, err);
    } else if (!len && e->type != TAR_DIR) {
        return gv_error_set(err, GV_E_FORMAT, 0, "the root of the image is not a directory in this layer");
    }
    if (len - base > NAME_BYTES_MAX)
        return name_too_long(len - base, err);
    struct layer_entry *l = gv_arena_alloc(m->layer, sizeof(*l));
    *l = (struct layer_entry){ .len = (uint16_t)len, .base = (uint16_t)base, .aufs = start != path };
    l->path = gv_arena_strndup(m->layer, start, len);
    if ((e->type == TAR_HARDLINK ? set_link(m, l, e, err) : make_inode(m, e, content, &l->inode, err)) < 0)
        return -1;
    *m->last = l;
    m->last = &l->next;
    m->count++;
    return 0;
}

int merge_layer_add(struct merge *m, const struct tar_entry *e, const struct image_content *content, struct gv_error *err)
{
    return add_entry(m, e, content, err) < 0 ? gv_error_prefix(err, "member `%.200s`", e->path) : 0;
}

/* ---- walking ---- */

static int compare_paths(const void *a, const void *b)
{
    return strcmp((*(struct layer_entry *const *)a)->path, (*(struct layer_entry *const *)b)->path);
}

/* Whether the layer itself has an entry of that path. */
static bool layer_has(struct merge *m, const char *path, size_t len)
{
    if (!m->count)
        return false;
    if (!m->by_path) {
        m->by_path = gv_reallocarray(NULL, m->count, sizeof(struct layer_entry *));
        size_t n = 0;
        for (struct layer_entry *l = m->first; l; l = l->next)
            m->by_path[n++] = l;
        qsort(m->by_path, n, sizeof(*m->by_path), compare_paths);
    }
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = strncmp(m->by_path[mid]->path, path, len);
        if (c == 0 && m->by_path[mid]->path[len] == '\0')
            return !m->by_path[mid]->aufs;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

/* A directory that no entry describes: root's, 0755, as old as what first needed it. `instead` is a file in its place, or NULL. */
static int imply(struct merge *m, struct image_node *dir, struct image_node *instead, const char *name, size_t len, int64_t mtime,
                 struct image_node **out, struct gv_error *err)
{
    if (image_name_check(name, len) < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "a directory on the way has a name of %zu bytes; 255 are allowed", len);
    if (!m->plain && len >= sizeof(WHITEOUT) - 1 &&
        memcmp(name, WHITEOUT, sizeof(WHITEOUT) - 1) == 0) /* a link can lead to such a name, but no layer can make it */
        return gv_error_set(err, GV_E_FORMAT, 0, "it is below a whiteout");
    if (count_entry(m, err) < 0)
        return -1;
    struct image_inode *i = image_inode_new(m->tree, IMAGE_DIR);
    i->mode = 0755;
    i->mtime = mtime;
    if (instead)
        instead->inode = i;
    else
        instead = image_node_add(m->tree, dir, name, len, i);
    *out = instead;
    return 0;
}

/* Through symbolic links a path can become longer than any that is written down. */
static int check_depth(const struct image_node *node, size_t more, struct gv_error *err)
{
    size_t len = more;
    for (const struct image_node *n = node; n->parent != n; n = n->parent) {
        len += 1 + (size_t)n->namelen;
        if (len > MERGE_PATH_MAX)
            return gv_error_set(err, GV_E_FORMAT, 0, "a path of more than %d bytes", MERGE_PATH_MAX);
    }
    return 0;
}

enum walk_mode {
    WALK_FIND,     /* what is not there is NULL */
    WALK_WHITEOUT, /* and so is what lies behind a symbolic link that the layer replaces */
    WALK_CREATE,   /* it is made; files in the way are replaced */
};

/* The directory at path[0..len). Symbolic links are followed inside the tree, the way a process would whose root it is, with one
 * exception: a link that leads above the root is an attempt to get out, and refused. */
static int walk(struct merge *m, const char *path, size_t len, enum walk_mode mode, int64_t mtime, struct image_node **out,
                struct gv_error *err)
{
    cleanup_free char *joined = NULL;
    struct image_node *at = m->root;
    const char *p = path, *end = path + len;
    int links = 0;
    *out = NULL;
    for (;;) {
        while (p < end && *p == '/')
            p++;
        if (p == end)
            break;
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t n = slash ? (size_t)(slash - p) : (size_t)(end - p);
        const char *name = p;
        p += n;
        if (n == 1 && name[0] == '.')
            continue;
        if (n == 2 && name[0] == '.' && name[1] == '.') {
            if (at == m->root)
                return gv_error_set(err, GV_E_FORMAT, 0, "a symbolic link on the way leads out of the image");
            at = at->parent;
            continue;
        }
        struct image_node *child = image_node_child(at, name, n);
        if (child && child->inode->type == IMAGE_SYMLINK) {
            if (mode == WALK_WHITEOUT && links == 0 && layer_has(m, path, (size_t)(p - path)))
                return 0;
            if (++links > LINKS_MAX)
                return gv_error_set(err, GV_E_FORMAT, 0, "there are too many symbolic links on the way, perhaps in a circle");
            const char *target = child->inode->u.target;
            size_t target_len = (size_t)child->inode->size, rest = (size_t)(end - p);
            m->followed += target_len + rest;
            if (m->followed > FOLLOW_FREE + m->entries * FOLLOW_PER_ENTRY)
                return gv_error_set(err, GV_E_LIMIT, 0, "the layers lead through too many symbolic links");
            char *next = gv_alloc(target_len + rest + 1);
            memcpy(next, target, target_len);
            next[target_len] = '/';
            if (rest)
                memcpy(next + target_len, p, rest); /* begins with a slash */
            free(joined);
            joined = next;
            p = joined;
            end = joined + target_len + rest;
            if (target[0] == '/')
                at = m->root;
            continue;
        }
        if (!child || child->inode->type != IMAGE_DIR) {
            if (mode != WALK_CREATE)
                return 0;
            if (child)
                m->cached = NULL;
            if (imply(m, at, child, name, n, mtime, &child, err) < 0)
                return -1;
        }
        at = child;
    }
    *out = at;
    return links ? check_depth(at, 256, err) : 0;
}

/* The node of a hard link's target, NULL if there is none. */
static int find_target(struct merge *m, const struct layer_entry *l, struct image_node **out, struct gv_error *err)
{
    if (l->link_aufs) {
        *out = image_node_child(&m->aufs, l->link, l->link_len);
        return 0;
    }
    size_t base = base_of(l->link);
    struct image_node *dir;
    *out = NULL;
    if (walk(m, l->link, base, WALK_FIND, 0, &dir, err) < 0)
        return gv_error_prefix(err, "a hard link to `%.200s`", l->link);
    if (dir)
        *out = image_node_child(dir, l->link + base, l->link_len - base);
    return 0;
}

/* ---- applying a layer ---- */

static int compare_depth(const void *a, const void *b)
{
    const struct whiteout *x = a, *y = b;
    return x->depth != y->depth ? (x->depth < y->depth ? -1 : 1) : 0;
}

static int apply_whiteout(struct merge *m, const struct whiteout *w, struct gv_error *err)
{
    struct image_node *dir;
    if (walk(m, w->path, w->opaque ? w->len : w->base, WALK_WHITEOUT, 0, &dir, err) < 0)
        return -1;
    if (!dir)
        return 0;
    if (!w->opaque) {
        struct image_node *node = image_node_child(dir, w->path + w->base, w->len - w->base);
        if (node)
            image_node_remove(node);
        return 0;
    }
    size_t n = image_node_child_count(dir);
    cleanup_free struct image_node **children = image_node_children(dir);
    for (size_t i = 0; i < n; i++)
        image_node_remove(children[i]);
    return 0;
}

/* Hard links of a layer may mean files of the layers below that the same layer hides: remember those before they go. */
static int remember_targets(struct merge *m, struct gv_error *err)
{
    for (struct layer_entry *l = m->first; l; l = l->next) {
        struct image_node *target;
        if (!l->is_link || l->link_aufs)
            continue;
        if (find_target(m, l, &target, err) < 0)
            return gv_error_prefix(err, "member `%.200s`", l->path);
        l->inode = target ? target->inode : NULL;
    }
    return 0;
}

/* Puts the inode at that name, in place of what is there; only a directory over a directory keeps what is below it. */
static void place(struct merge *m, struct image_node *dir, const char *name, size_t len, struct image_inode *inode)
{
    struct image_node *node = image_node_child(dir, name, len);
    if (!node) {
        image_node_add(m->tree, dir, name, len, inode);
        return;
    }
    if (node->inode->type == IMAGE_SYMLINK)
        m->cached = NULL;
    if (node->inode->type == IMAGE_DIR && inode->type != IMAGE_DIR) {
        m->cached = NULL;
        image_node_remove(node);
        image_node_add(m->tree, dir, name, len, inode);
    } else {
        node->inode = inode;
    }
}

static int link_inode(struct merge *m, const struct layer_entry *l, struct image_inode **out, struct gv_error *err)
{
    struct image_node *target;
    if (find_target(m, l, &target, err) < 0)
        return -1;
    *out = target ? target->inode : l->inode;
    if (!*out)
        return gv_error_set(err, GV_E_FORMAT, 0, "a hard link to `%.200s`, which is not there", l->link);
    if ((*out)->type == IMAGE_DIR)
        return gv_error_set(err, GV_E_FORMAT, 0, "a hard link to the directory `%.200s`", l->link);
    return 0;
}

static int apply_entry(struct merge *m, const struct layer_entry *l, struct gv_error *err)
{
    struct image_inode *inode = l->inode;
    struct image_node *dir;
    if (l->aufs) {
        /* Only plain names are there; anything else aufs never made. */
        if (l->base == 0 && !l->is_link && inode->type != IMAGE_DIR)
            place(m, &m->aufs, l->path, l->len, inode);
        return 0;
    }
    if (l->len == 0) {
        m->root->inode = inode;
        return 0;
    }
    if (l->is_link && link_inode(m, l, &inode, err) < 0)
        return -1;
    size_t dir_len = l->base ? (size_t)l->base - 1 : 0;
    if (m->cached && m->cached_len == dir_len && memcmp(m->cached, l->path, dir_len) == 0) {
        dir = m->cached_node;
    } else {
        m->cached = NULL;
        if (walk(m, l->path, dir_len, WALK_CREATE, inode->mtime, &dir, err) < 0)
            return -1;
        m->cached = l->path;
        m->cached_len = dir_len;
        m->cached_node = dir;
    }
    place(m, dir, l->path + l->base, (size_t)l->len - l->base, inode);
    return 0;
}

int merge_layer_end(struct merge *m, struct gv_error *err)
{
    if (m->whiteout_count) {
        if (m->has_links && remember_targets(m, err) < 0)
            return -1;
        qsort(m->whiteouts, m->whiteout_count, sizeof(*m->whiteouts), compare_depth);
    }
    for (size_t i = 0; i < m->whiteout_count; i++)
        if (apply_whiteout(m, &m->whiteouts[i], err) < 0)
            return gv_error_prefix(err, "the whiteout of `%.200s`", m->whiteouts[i].path);
    for (struct layer_entry *l = m->first; l; l = l->next)
        if (apply_entry(m, l, err) < 0)
            return gv_error_prefix(err, "member `%.200s`", l->path);
    layer_clear(m);
    return 0;
}
