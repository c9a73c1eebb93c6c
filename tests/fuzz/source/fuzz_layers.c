/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The merge. The input is a list of entries in several layers, in a form that lets a fuzzer go straight to the point: two bytes an entry for
 * its kind and attributes, then its path, and for links the target, both as bytes that stand for parts of paths. The tree must keep its
 * promises after each layer.
 */
#include <stdlib.h>
#include <string.h>

#include "source/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *p;
    size_t n;
};

static unsigned take(struct input *in)
{
    if (!in->n)
        return 0;
    in->n--;
    return *in->p++;
}

static void require(int what)
{
    if (!what)
        abort();
}

static const char *const parts[] = {
    "a",    "b",   "c",   "d", "/", ".",      "..", ".wh.", ".wh.a", "..", "./", "//", ".wh..wh.", ".wh..wh..opq", ".wh..wh.plnk",
    "\xff", "a/b", "c/d", "e", "f", "a/../b", "/a", "..a",  "...",   ".a"
};

static void take_path(struct input *in, struct gv_buf *out)
{
    unsigned count = 1 + take(in) % 4;
    out->len = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned c = take(in);
        if (i)
            gv_buf_add(out, "/", 1);
        const char *part = parts[c % (sizeof(parts) / sizeof(*parts))];
        if (c == 255) {
            for (int k = 0; k < 300; k++)
                gv_buf_add(out, "n", 1);
        } else {
            gv_buf_add(out, part, strlen(part));
        }
    }
}

static void check_node(struct image_tree *t, const struct image_node *root, const struct image_node *n, size_t depth)
{
    require(depth <= MERGE_PATH_MAX);
    require(n->inode != NULL);
    if (n != root) {
        require(image_name_check(n->name, n->namelen) == 0 && strlen(n->name) == n->namelen);
        require(strncmp(n->name, ".wh.", 4) != 0);
        require(image_node_child(n->parent, n->name, n->namelen) == n);
    }
    require(n->inode->type == IMAGE_DIR || image_node_child_count(n) == 0);
    require(n->inode->type != IMAGE_SYMLINK || strlen(n->inode->u.target) == n->inode->size);
    size_t count = image_node_child_count(n);
    cleanup_free struct image_node **children = image_node_children(n);
    for (size_t i = 0; i < count; i++) {
        require(children[i]->parent == n);
        require(i == 0 || strcmp(children[i - 1]->name, children[i]->name) < 0);
        check_node(t, root, children[i], depth + 1);
    }
}

static int one_layer(struct merge *m, struct input *in, struct gv_error *err)
{
    cleanup_buf struct gv_buf path = { 0 }, link = { 0 };
    merge_layer_begin(m);
    unsigned entries = take(in) % 64;
    for (unsigned i = 0; i < entries && in->n; i++) {
        unsigned kind = take(in);
        struct tar_entry e = { .type = (enum tar_type)(kind % 7), .mode = (uint16_t)(kind << 4), .uid = take(in), .mtime = i };
        struct image_xattr x = { .name = kind & 32 ? "user.x" : "trusted.overlay.x", .value = "v", .size = 1 };
        take_path(in, &path);
        e.path = gv_buf_str(&path);
        e.path_len = path.len;
        if (e.type == TAR_HARDLINK || e.type == TAR_SYMLINK) {
            take_path(in, &link);
            e.link = gv_buf_str(&link);
            e.link_len = link.len;
        }
        if (kind & 16) {
            e.xattrs = &x;
            e.xattr_count = 1;
        }
        if (e.type == TAR_FILE)
            e.size = 1;
        if (merge_layer_add(m, &e, &(struct image_content){ 0 }, err) < 0)
            return -1;
    }
    return merge_layer_end(m, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    CLEANUP(image_tree) struct image_tree *t = image_tree_new();
    CLEANUP(merge) struct merge *m = merge_new(t, 300, true, NULL);
    while (in.n) {
        struct gv_error err = GV_ERROR_INIT;
        int status = one_layer(m, &in, &err);
        struct image_tree_totals totals;
        image_tree_finish(t, &totals);
        check_node(t, image_tree_root(t), image_tree_root(t), 0);
        require(image_tree_root(t)->inode->type == IMAGE_DIR);
        require(totals.nodes >= totals.inodes && totals.nodes <= 301);
        if (status < 0) {
            require(err.code != GV_OK && err.msg[0]);
            break;
        }
    }
    return 0;
}
