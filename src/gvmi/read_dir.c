/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "gvmi/read.h"

#define LINKS_MAX 40

int gvmi_listing_open(struct gvmi_image *img, const struct gvmi_inode *dir, struct gvmi_listing *l, struct gv_error *err)
{
    *l = (struct gvmi_listing){ .left = dir->listing_size };
    if (dir->st.type != IMAGE_DIR)
        return gv_error_set(err, GV_E_USAGE, 0, "%s: not a directory", img->name);
    if (l->left == 0)
        return 0; /* the reference of an empty listing may point anywhere */
    return gvmi_meta_seek(img, &l->at, img->super.directory_table, img->directory_end, dir->listing, err);
}

static int next_header(struct gvmi_image *img, struct gvmi_listing *l, struct gv_error *err)
{
    unsigned char head[12];
    if (l->left < sizeof(head))
        return gvmi_damaged(img, err, "a directory ends in the middle of a header");
    if (gvmi_meta_read(img, &l->at, head, sizeof(head), err) < 0)
        return -1;
    l->left -= (uint32_t)sizeof(head);
    uint32_t count = sqfs_get32(head);
    if (count >= SQFS_HEADER_ENTRIES)
        return gvmi_damaged(img, err, "a directory header counts too many entries");
    l->run = count + 1;
    l->block = sqfs_get32(head + 4);
    l->number = sqfs_get32(head + 8);
    return 0;
}

static uint8_t entry_type(unsigned type)
{
    static const uint8_t types[] = {
        [SQFS_DIR] = IMAGE_DIR,   [SQFS_FILE] = IMAGE_FILE, [SQFS_SYMLINK] = IMAGE_SYMLINK, [SQFS_BLOCK] = IMAGE_BLOCK,
        [SQFS_CHAR] = IMAGE_CHAR, [SQFS_FIFO] = IMAGE_FIFO, [SQFS_SOCKET] = IMAGE_SOCKET,
    };
    return types[type];
}

int gvmi_listing_next(struct gvmi_image *img, struct gvmi_listing *l, struct gvmi_entry *entry, uint32_t *number, struct gv_error *err)
{
    unsigned char head[8];
    if (l->run == 0) {
        if (l->left == 0)
            return 0;
        if (next_header(img, l, err) < 0)
            return -1;
    }
    if (l->left < sizeof(head))
        return gvmi_damaged(img, err, "a directory ends in the middle of an entry");
    if (gvmi_meta_read(img, &l->at, head, sizeof(head), err) < 0)
        return -1;
    l->left -= (uint32_t)sizeof(head);
    unsigned type = sqfs_get16(head + 4), len = sqfs_get16(head + 6) + 1U;
    if (type < SQFS_DIR || type > SQFS_SOCKET || len > SQFS_NAME_MAX || len > l->left)
        return gvmi_damaged(img, err, "a directory entry is impossible");
    if (gvmi_meta_read(img, &l->at, entry->name, len, err) < 0)
        return -1;
    l->left -= len;
    l->run--;
    entry->name[len] = '\0';
    if (image_name_check(entry->name, len) < 0)
        return gvmi_damaged(img, err, "a directory holds the name `%s`, which no file can have", entry->name);
    entry->ref = (uint64_t)l->block << 16 | sqfs_get16(head);
    entry->type = entry_type(type);
    *number = (uint32_t)((int64_t)l->number + (int16_t)sqfs_get16(head + 2));
    return 1;
}

int gvmi_read_dir(struct gvmi_image *img, uint64_t ref, int (*fn)(void *user, const struct gvmi_entry *e), void *user, struct gv_error *err)
{
    struct gvmi_inode dir;
    struct gvmi_listing l;
    struct gvmi_entry entry;
    uint32_t number;
    if (gvmi_inode_read(img, ref, &dir, err) < 0 || gvmi_listing_open(img, &dir, &l, err) < 0)
        return -1;
    for (;;) {
        int r = gvmi_listing_next(img, &l, &entry, &number, err);
        if (r <= 0)
            return r;
        r = fn(user, &entry);
        if (r != 0)
            return r;
    }
}

/* 1 when the directory has such an entry, 0 when not. */
static int find_entry(struct gvmi_image *img, const struct gvmi_inode *dir, const char *name, size_t len, uint64_t *ref,
                      struct gv_error *err)
{
    struct gvmi_listing l;
    struct gvmi_entry entry;
    uint32_t number;
    if (gvmi_listing_open(img, dir, &l, err) < 0)
        return -1;
    for (;;) {
        int r = gvmi_listing_next(img, &l, &entry, &number, err);
        if (r <= 0)
            return r;
        if (strncmp(entry.name, name, len) == 0 && entry.name[len] == '\0') {
            *ref = entry.ref;
            return 1;
        }
    }
}

/* A path on the way: the inode reached, and those of the directories above it, for "..". */
struct lookup {
    struct gvmi_inode at;
    uint64_t *above;
    size_t depth, room;
};

static void lookup_clear(struct lookup *l)
{
    free(l->above);
}
#define cleanup_lookup __attribute__((cleanup(lookup_clear)))

static int enter(struct gvmi_image *img, struct lookup *l, uint64_t ref, struct gv_error *err)
{
    if (l->depth == l->room) {
        l->room = l->room ? l->room * 2 : 16;
        l->above = gv_reallocarray(l->above, l->room, sizeof(*l->above));
    }
    l->above[l->depth++] = l->at.st.ref;
    return gvmi_inode_read(img, ref, &l->at, err);
}

static int leave(struct gvmi_image *img, struct lookup *l, struct gv_error *err)
{
    return l->depth == 0 ? 0 : gvmi_inode_read(img, l->above[--l->depth], &l->at, err);
}

static int not_found(const struct gvmi_image *img, const char *path, const char *why, struct gv_error *err)
{
    return gv_error_set(err, GV_E_NOT_FOUND, 0, "%s: `%s`: %s", img->name, path, why);
}

/* Replaces what is left of the path by the target of the link that has just been entered, and goes where the target begins. */
static int follow_link(struct gvmi_image *img, struct lookup *l, char **rest, char **at, struct gv_error *err)
{
    cleanup_free char *target = NULL;
    if (gvmi_read_link(img, l->at.st.ref, &target, err) < 0)
        return -1;
    char *joined = gv_asprintf("%s/%s", target, *at);
    free(*rest);
    *rest = *at = joined;
    if (joined[0] != '/')
        return leave(img, l, err);
    l->depth = 0;
    return gvmi_inode_read(img, img->super.root, &l->at, err);
}

int gvmi_lookup(struct gvmi_image *img, const char *path, bool follow_last, struct gvmi_stat *st, struct gv_error *err)
{
    cleanup_lookup struct lookup l = { 0 };
    cleanup_free char *rest = gv_strdup(path);
    char *at = rest;
    if (gvmi_inode_read(img, img->super.root, &l.at, err) < 0)
        return -1;
    for (int links = 0;;) {
        at += strspn(at, "/");
        size_t len = strcspn(at, "/");
        if (len == 0)
            break;
        if (l.at.st.type != IMAGE_DIR)
            return not_found(img, path, "a component is not a directory", err);
        const char *name = at;
        at += len;
        if (len == 1 && name[0] == '.')
            continue;
        if (len == 2 && name[0] == '.' && name[1] == '.') {
            if (leave(img, &l, err) < 0)
                return -1;
            continue;
        }
        uint64_t ref = 0;
        int r = find_entry(img, &l.at, name, len, &ref, err);
        if (r < 0)
            return -1;
        if (r == 0)
            return not_found(img, path, "no such file in the image", err);
        if (enter(img, &l, ref, err) < 0)
            return -1;
        if (l.at.st.type != IMAGE_SYMLINK || (!follow_last && *at == '\0'))
            continue;
        if (++links > LINKS_MAX)
            return not_found(img, path, "too many symbolic links", err);
        if (follow_link(img, &l, &rest, &at, err) < 0)
            return -1;
    }
    *st = l.at.st;
    return 0;
}

void gvmi_walk_guard_init(const struct gvmi_image *img, struct gvmi_walk_guard *g)
{
    g->seen = gv_calloc(img->super.inodes / 8 + 1, 1);
    /* A block of metadata takes three bytes at the least. Listings of honest images do not overlap. */
    g->listing_bytes = ((img->directory_end - img->super.directory_table) / 3 + 1) * SQFS_META_SIZE;
}

int gvmi_walk_guard_enter(const struct gvmi_image *img, struct gvmi_walk_guard *g, const struct gvmi_inode *dir, struct gv_error *err)
{
    unsigned char bit = (unsigned char)(1U << (dir->st.inode & 7));
    if (g->seen[dir->st.inode / 8] & bit)
        return gvmi_damaged(img, err, "directory %u is in two places", dir->st.inode);
    if (dir->listing_size > g->listing_bytes)
        return gvmi_damaged(img, err, "its directories claim more than there is");
    g->seen[dir->st.inode / 8] |= bit;
    g->listing_bytes -= dir->listing_size;
    return 0;
}

void gvmi_walk_guard_clear(struct gvmi_walk_guard *g)
{
    free(g->seen);
}

/* A hostile image can be so deep that its paths alone would fill the memory. */
#define WALK_PATH_MAX (1 << 20)

/* The directories from the start to the one being listed. */
struct gvmi_walker {
    struct gvmi_image *img;
    struct gvmi_walk_guard guard;
    struct walk_level {
        struct gvmi_listing listing;
        size_t path_length;
    } * levels;
    size_t depth, room;
    struct gv_buf path;
    struct gvmi_inode last; /* of the last step */
    bool started, go_in;    /* go_in: the last step was a directory that is still to be entered */
};

int gvmi_walker_open(struct gvmi_walker **out, struct gvmi_image *img, uint64_t ref, struct gv_error *err)
{
    CLEANUP(gvmi_walker) struct gvmi_walker *w = gv_new(struct gvmi_walker);
    w->img = img;
    gvmi_walk_guard_init(img, &w->guard);
    if (gvmi_inode_read(img, ref, &w->last, err) < 0)
        return -1;
    *out = steal_ptr(w);
    return 0;
}

void gvmi_walker_free(struct gvmi_walker *w)
{
    if (!w)
        return;
    gvmi_walk_guard_clear(&w->guard);
    free(w->levels);
    gv_buf_clear(&w->path);
    free(w);
}

void gvmi_walker_skip(struct gvmi_walker *w)
{
    w->go_in = false;
}

static int walk_into(struct gvmi_walker *w, struct gv_error *err)
{
    if (gvmi_walk_guard_enter(w->img, &w->guard, &w->last, err) < 0)
        return -1;
    if (w->depth == w->room) {
        w->room = w->room ? w->room * 2 : 16;
        w->levels = gv_reallocarray(w->levels, w->room, sizeof(*w->levels));
    }
    struct walk_level *level = &w->levels[w->depth++];
    level->path_length = w->path.len;
    return gvmi_listing_open(w->img, &w->last, &level->listing, err);
}

static int take_step(struct gvmi_walker *w, struct gvmi_step *step, size_t name_at)
{
    w->go_in = w->last.st.type == IMAGE_DIR;
    *step = (struct gvmi_step){ .path = gv_buf_str(&w->path), .depth = w->depth, .st = w->last.st };
    step->name = step->path + name_at;
    return 1;
}

int gvmi_walker_next(struct gvmi_walker *w, struct gvmi_step *step, struct gv_error *err)
{
    struct gvmi_entry entry;
    uint32_t number;
    if (!w->started) {
        w->started = true;
        return take_step(w, step, 0);
    }
    if (w->go_in && walk_into(w, err) < 0)
        return -1;
    w->go_in = false;
    while (w->depth > 0) {
        struct walk_level *level = &w->levels[w->depth - 1];
        w->path.len = level->path_length;
        int more = gvmi_listing_next(w->img, &level->listing, &entry, &number, err);
        if (more < 0)
            return -1;
        if (more == 0) {
            w->depth--;
            continue;
        }
        if (w->path.len > 0)
            gv_buf_add(&w->path, "/", 1);
        size_t name_at = w->path.len;
        gv_buf_add(&w->path, entry.name, strlen(entry.name));
        if (w->path.len > WALK_PATH_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "%s: paths of more than %d bytes", w->img->name, WALK_PATH_MAX);
        if (gvmi_inode_read(w->img, entry.ref, &w->last, err) < 0)
            return -1;
        return take_step(w, step, name_at);
    }
    return 0;
}

int gvmi_walk(struct gvmi_image *img, int (*fn)(void *user, const char *path, const struct gvmi_stat *st), void *user, struct gv_error *err)
{
    CLEANUP(gvmi_walker) struct gvmi_walker *w = NULL;
    struct gvmi_step step;
    if (gvmi_walker_open(&w, img, img->super.root, err) < 0)
        return -1;
    for (;;) {
        int r = gvmi_walker_next(w, &step, err);
        if (r <= 0)
            return r;
        r = fn(user, step.path, &step.st);
        if (r != 0)
            return r;
    }
}
