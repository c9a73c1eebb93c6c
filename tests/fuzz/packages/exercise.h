/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A small tree whose files' contents are in memory, for the fuzzers of the room `packages`. */
#ifndef FUZZ_PACKAGES_EXERCISE_H
#define FUZZ_PACKAGES_EXERCISE_H

#include <stdlib.h>
#include <string.h>

#include "packages/db.h"

struct contents {
    const uint8_t *data[8];
};

static inline int exercise_read(void *reader, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    (void)err;
    const struct contents *c = reader;
    memcpy(buf, c->data[content->file] + at, len);
    return 0;
}

static inline struct image_node *exercise_dir(struct image_tree *t, const char *path)
{
    struct image_node *at = image_tree_root(t);
    for (size_t n; path += strspn(path, "/"), (n = strcspn(path, "/")); path += n) {
        struct image_node *child = image_node_child(at, path, n);
        at = child ? child : image_node_add(t, at, path, n, image_inode_new(t, IMAGE_DIR));
    }
    return at;
}

static inline struct image_inode *exercise_file(struct image_tree *t, const char *dir, const char *name, uint32_t content, size_t size)
{
    struct image_inode *i = image_inode_new(t, IMAGE_FILE);
    i->u.content.file = content;
    i->size = size;
    image_node_add(t, exercise_dir(t, dir), name, strlen(name), i);
    return i;
}

static inline void exercise_link(struct image_tree *t, const char *name, const char *target)
{
    struct image_inode *i = image_inode_new(t, IMAGE_SYMLINK);
    i->u.target = target;
    i->size = strlen(target);
    image_node_add(t, image_tree_root(t), name, strlen(name), i);
}

/* What packages own. */
static inline struct image_tree *exercise_tree(void)
{
    struct image_tree *t = image_tree_new();
    exercise_file(t, "/usr/bin", "sh", 0, 0);
    exercise_file(t, "/usr/bin", "sh.distrib", 0, 0);
    exercise_file(t, "/usr/lib/python3", "os.py", 0, 0);
    exercise_file(t, "/usr/lib/python3/__pycache__", "os.cpython-311.pyc", 0, 0);
    exercise_link(t, "bin", "usr/bin");
    exercise_link(t, "lib", "/usr/lib");
    exercise_link(t, "loop", "loop/loop");
    return t;
}

/* The numbers must be those of packages. */
static inline void exercise_finish(struct packages_set *s, struct image_tree *t)
{
    struct packages_summary sum = { 0 };
    packages_set_finish(s, &sum);
    static const char *const files[] = { "/usr/bin/sh", "/usr/bin/sh.distrib", "/usr/lib/python3/os.py",
                                         "/usr/lib/python3/__pycache__/os.cpython-311.pyc" };
    uint64_t in_groups = 0;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        uint32_t group = image_tree_lookup(t, files[i], false)->inode->group;
        if (group > sum.packages)
            abort();
        in_groups += group > 0;
    }
    if (in_groups > sum.files)
        abort();
}

#endif
