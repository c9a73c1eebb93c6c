/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The file tree that boots everywhere (rules.h). Only what would keep a guest from starting, or what Docker's own containers always have, is touched:
 *
 *   /proc, /sys, /dev, /tmp, /etc, /var, /var/tmp    are directories
 *   /etc/hosts, /etc/resolv.conf, /etc/hostname      are regular files: the guest writes them from outside the root, where links lead astray
 *   /dev/pts, /dev/shm, /etc/mtab                    are there, as in every container, if nothing else is
 *
 * /etc and /var that are links to another directory keep what is in them: the directory moves to where the link was, and a link stays where it was. Links
 * inside that climb out of it through ".." are made absolute, as they would lead elsewhere now. Everything made is as old as the directory around it, so
 * that the same image gives the same bytes.
 */
#include <string.h>

#include "convert/rules.h"

struct fit {
    struct image_tree *tree;
    const struct gv_log *log;
    int64_t newest;
    struct gv_buf added; /* paths of what was missing, for one note */
};

static struct image_inode *new_inode(struct fit *f, const struct image_node *parent, enum image_type type, uint16_t mode)
{
    struct image_inode *inode = image_inode_new(f->tree, type);
    inode->mode = mode;
    inode->mtime = parent->inode->mtime > 0 ? parent->inode->mtime : f->newest;
    return inode;
}

static struct image_inode *new_link(struct fit *f, const struct image_node *parent, const char *target)
{
    struct image_inode *inode = new_inode(f, parent, IMAGE_SYMLINK, 0777);
    inode->size = strlen(target);
    inode->u.target = gv_arena_strndup(image_tree_arena(f->tree), target, inode->size);
    return inode;
}

static struct image_node *add_missing(struct fit *f, struct image_node *parent, const char *name, struct image_inode *inode)
{
    struct image_node *node = image_node_add(f->tree, parent, name, strlen(name), inode);
    cleanup_free char *path = image_node_path(node);
    gv_buf_addf(&f->added, "%s%s", f->added.len ? ", " : "", path);
    return node;
}

static struct image_node *replace(struct fit *f, struct image_node *node, struct image_inode *inode)
{
    struct image_node *parent = node->parent;
    cleanup_free char *name = gv_strdup(node->name);
    image_node_remove(node);
    return image_node_add(f->tree, parent, name, strlen(name), inode);
}

static const char *type_name(const struct image_inode *inode)
{
    switch ((enum image_type)inode->type) {
    case IMAGE_FILE:
        return "a file";
    case IMAGE_DIR:
        return "a directory";
    case IMAGE_SYMLINK:
        return "a symbolic link";
    case IMAGE_CHAR:
    case IMAGE_BLOCK:
        return "a device";
    case IMAGE_FIFO:
        return "a fifo";
    case IMAGE_SOCKET:
        return "a socket";
    }
    return "something else";
}

/* ---- directories that are links to others ---- */

/* One of those that have a place of their own, or the root. */
static bool has_own_place(const struct image_node *node)
{
    static const char *const places[] = { "/", "/proc", "/sys", "/dev", "/tmp", "/etc", "/var", "/var/tmp" };
    cleanup_free char *path = image_node_path(node);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (strcmp(path, places[i]) == 0)
            return true;
    return false;
}

/* The directory `depth` levels above the one at `path`, or all of it when it is not as deep. */
static size_t cut_levels(const char *path, size_t depth)
{
    size_t len = strlen(path);
    for (; depth > 0 && len > 0; depth--)
        while (len > 0 && path[--len] != '/')
            ;
    return len;
}

/* Makes a link absolute that leaves the moved directory through its "..": `from` is where that was, `depth` how far below it the link lies. */
static void straighten(struct fit *f, struct image_node *link, const char *from, size_t depth)
{
    const char *rest = link->inode->u.target;
    size_t up = 0;
    while (strncmp(rest, "..", 2) == 0 && (rest[2] == '/' || rest[2] == '\0')) {
        up++;
        rest += 2 + strspn(rest + 2, "/");
    }
    if (up <= depth)
        return;
    size_t keep = cut_levels(from, up - depth);
    cleanup_free char *target = gv_asprintf("%.*s/%s", (int)keep, from, rest);
    if (strlen(target) >= LOOK_PATH_MAX)
        return;                                                          /* nothing could follow it */
    struct image_inode *inode = image_inode_new(f->tree, IMAGE_SYMLINK); /* its other names stay where they are */
    *inode = *link->inode;
    inode->size = strlen(target);
    inode->u.target = gv_arena_strndup(image_tree_arena(f->tree), target, inode->size);
    link->inode = inode;
}

struct level {
    struct image_node **children;
    size_t count, next;
};

/* Without recursion: an image can be as deep as it likes. */
static void straighten_all(struct fit *f, struct image_node *dir, const char *from)
{
    struct level *stack = NULL;
    size_t depth = 0, room = 0;
    struct image_node *enter = dir;
    do {
        if (enter) {
            if (depth == room)
                stack = gv_reallocarray(stack, room = room ? room * 2 : 16, sizeof(*stack));
            stack[depth++] = (struct level){ .children = image_node_children(enter), .count = image_node_child_count(enter) };
            enter = NULL;
        }
        struct level *top = &stack[depth - 1];
        if (top->next == top->count) {
            free(top->children);
            depth--;
            continue;
        }
        struct image_node *child = top->children[top->next++];
        if (child->inode->type == IMAGE_SYMLINK)
            straighten(f, child, from, depth - 1);
        else if (child->inode->type == IMAGE_DIR)
            enter = child;
    } while (depth > 0);
    free(stack);
}

/* Puts the directory `from` in the place of `link`, and a link to there in its own. */
static struct image_node *move_here(struct fit *f, struct image_node *link, struct image_node *from)
{
    cleanup_free char *old = image_node_path(from), *name = gv_strdup(from->name), *here = image_node_path(link);
    struct image_node *parent = from->parent, *node = replace(f, link, from->inode);
    node->dir = steal_ptr(from->dir);
    struct image_node **children = image_node_children(node);
    for (size_t i = 0; i < image_node_child_count(node); i++)
        children[i]->parent = node;
    free(children);
    image_node_remove(from);
    image_node_add(f->tree, parent, name, strlen(name), new_link(f, parent, here));
    straighten_all(f, node, old);
    gv_note(f->log, "%s was a symbolic link to %s: the directory is at %s now, and %s a link to it", here, old, here, old);
    return node;
}

/* ---- the rules ---- */

static struct image_node *fit_dir(struct fit *f, struct image_node *parent, const char *name, uint16_t mode, bool keep_content)
{
    struct image_node *node = image_node_child(parent, name, strlen(name));
    if (!node)
        return add_missing(f, parent, name, new_inode(f, parent, IMAGE_DIR, mode));
    if (node->inode->type == IMAGE_DIR)
        return node;
    cleanup_free char *path = image_node_path(node);
    if (keep_content && node->inode->type == IMAGE_SYMLINK) {
        struct image_node *target = image_tree_lookup(f->tree, path, true);
        if (target && target->inode->type == IMAGE_DIR && !has_own_place(target))
            return move_here(f, node, target);
    }
    gv_note(f->log, "%s was %s: an empty directory now, as a guest needs it", path, type_name(node->inode));
    return replace(f, node, new_inode(f, parent, IMAGE_DIR, mode));
}

/* A regular file: empty if there is none, with the content of the one that a link leads to. */
static void fit_file(struct fit *f, struct image_node *etc, const char *name)
{
    struct image_node *node = image_node_child(etc, name, strlen(name));
    if (!node) {
        add_missing(f, etc, name, new_inode(f, etc, IMAGE_FILE, 0644));
        return;
    }
    if (node->inode->type == IMAGE_FILE)
        return;
    cleanup_free char *path = image_node_path(node);
    struct image_node *target = node->inode->type == IMAGE_SYMLINK ? image_tree_lookup(f->tree, path, true) : NULL;
    struct image_inode *inode = new_inode(f, etc, IMAGE_FILE, 0644);
    bool copied = target && target->inode->type == IMAGE_FILE;
    if (copied)
        *inode = *target->inode;
    gv_note(f->log, "%s was %s: %s now, since the guest writes it", path, type_name(node->inode),
            copied ? "a file with the content it led to" : "an empty file");
    replace(f, node, inode);
}

static void fit_missing(struct fit *f, struct image_node *parent, const char *name, struct image_inode *inode)
{
    if (!image_node_child(parent, name, strlen(name)))
        add_missing(f, parent, name, inode);
}

void root_fit(struct image_tree *tree, int64_t newest, const struct gv_log *log)
{
    struct fit f = { .tree = tree, .log = log, .newest = newest };
    struct image_node *root = image_tree_root(tree);
    fit_dir(&f, root, "proc", 0555, false);
    fit_dir(&f, root, "sys", 0555, false);
    fit_dir(&f, root, "tmp", 01777, false);
    struct image_node *dev = fit_dir(&f, root, "dev", 0755, false);
    fit_missing(&f, dev, "pts", new_inode(&f, dev, IMAGE_DIR, 0755));
    fit_missing(&f, dev, "shm", new_inode(&f, dev, IMAGE_DIR, 01777));
    struct image_node *etc = fit_dir(&f, root, "etc", 0755, true);
    fit_file(&f, etc, "hostname");
    fit_file(&f, etc, "hosts");
    fit_file(&f, etc, "resolv.conf");
    fit_missing(&f, etc, "mtab", new_link(&f, etc, "/proc/mounts"));
    struct image_node *var = fit_dir(&f, root, "var", 0755, true);
    fit_dir(&f, var, "tmp", 01777, false);
    if (f.added.len)
        gv_note(log, "added what every container has: %s", gv_buf_str(&f.added));
    gv_buf_clear(&f.added);
}
