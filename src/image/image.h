/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `image`: what an image is while it is in memory, one file tree and one configuration. `source` fills them, `gvmi`
 * writes them; neither knows the other.
 *
 * The tree. Nodes are names, inodes are what names stand for: hard links are several nodes with one inode. All memory belongs to
 * the tree (an arena), so nothing is freed singly; removing a node only unlinks it. Names are byte strings of 1..255 bytes without
 * '/' and NUL, never "." or ".."; a name can hold any other byte. Every directory keeps a hash table once it has grown, so building a
 * directory of n entries costs O(n). File data is not here: an inode says where it is (`content`), and the tree's reader fetches it.
 */
#ifndef GV_IMAGE_H
#define GV_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"

enum image_type { IMAGE_FILE, IMAGE_DIR, IMAGE_SYMLINK, IMAGE_CHAR, IMAGE_BLOCK, IMAGE_FIFO, IMAGE_SOCKET };

struct image_xattr {
    const char *name; /* full name with prefix, e.g. "security.capability" */
    const void *value;
    uint32_t size; /* bytes of value */
};

/* Where the bytes of a regular file are: for the tree's reader to interpret. */
struct image_content {
    uint32_t file;   /* which of the reader's files */
    uint64_t offset; /* of the first byte there */
};

struct image_inode {
    uint8_t type;  /* enum image_type */
    bool has_name; /* set by image_tree_finish: reachable from the root */
    uint16_t mode; /* the low 12 bits of st_mode */
    uint32_t uid, gid;
    uint32_t nlink; /* number of nodes (for directories: 2 + subdirectories); right only after image_tree_finish */
    int64_t mtime;  /* seconds since the epoch */
    uint64_t size;  /* regular files: bytes; symlinks: length of target */
    union {
        struct image_content content; /* IMAGE_FILE */
        const char *target;           /* IMAGE_SYMLINK, NUL-terminated */
        struct {
            uint32_t major, minor;
        } rdev; /* IMAGE_CHAR, IMAGE_BLOCK */
    } u;
    uint32_t xattr_count;
    uint32_t group; /* files of one group belong together (a package); 0 = none. The writer stores groups in the order of their numbers */
    const struct image_xattr *xattrs; /* sorted by name, names unique */
    void *user;                       /* for whoever walks the tree (the writer's inode number and block list) */
};

struct image_dir;

struct image_node {
    struct image_inode *inode;
    struct image_node *parent; /* the root is its own parent */
    struct image_dir *dir;     /* children, for directories */
    struct image_node *next;   /* hash chain */
    const char *name;          /* NUL-terminated; "" for the root */
    uint32_t hash;
    uint16_t tag;    /* free for the builder of the tree (source: the layer it came from) */
    uint8_t state;   /* free for the builder of the tree (source: merge state) */
    uint8_t namelen; /* bytes */
};

struct image_tree;

/* Reads len bytes at offset `at` of the file's content into buf. Called from several threads at once. Reading past the end of the content
 * is an error (a source that is shorter than it said). */
typedef int (*image_read_fn)(void *reader, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err);

/* A tree with a root directory 0755 root:root, mtime 0. */
struct image_tree *image_tree_new(void) __attribute__((returns_nonnull));
void image_tree_free(struct image_tree *t);
DEFINE_CLEANUP(image_tree, struct image_tree *, image_tree_free)

/* The tree takes the reader over and calls release(reader) (may be NULL) when it is freed. */
void image_tree_set_reader(struct image_tree *t, image_read_fn read, void *reader, void (*release)(void *reader));
int image_tree_read(struct image_tree *t, const struct image_inode *inode, uint64_t at, void *buf, size_t len, struct gv_error *err);

struct gv_arena *image_tree_arena(struct image_tree *t);
struct image_node *image_tree_root(struct image_tree *t);

/* A fresh inode of the tree, zeroed but for the type and nlink 0. */
struct image_inode *image_inode_new(struct image_tree *t, enum image_type type) __attribute__((returns_nonnull));

/* The child of that name, or NULL. dir must be a directory node (one without children yet is fine). */
struct image_node *image_node_child(const struct image_node *dir, const char *name, size_t len);

/* Adds a child; the name must not be there yet and must be valid (image_name_check). */
struct image_node *image_node_add(struct image_tree *t, struct image_node *dir, const char *name, size_t len, struct image_inode *inode)
    __attribute__((returns_nonnull));

/* Unlinks the node (with all below it) from its parent. */
void image_node_remove(struct image_node *node);

/* Number of children, and a fresh array of them sorted by name (as strcmp sorts bytes), for the caller to free. NULL when there are none. */
size_t image_node_child_count(const struct image_node *dir);
struct image_node **image_node_children(const struct image_node *dir) __attribute__((warn_unused_result));

/* 0 when name[0..len) can be a file's name: 1..255 bytes, no '/', no NUL, not "." or ".."; else -1. */
int image_name_check(const char *name, size_t len);

/* The node at a path inside the tree ("/a/b" or "a/b", "" = root), without following symbolic links in the last component when
 * follow is false. Symbolic links are followed inside the tree, at most 40, absolute ones from its root; ".." stops at the root.
 * NULL when there is none. */
struct image_node *image_tree_lookup(struct image_tree *t, const char *path, bool follow);

/* The path of a node, "/" for the root; the caller frees it. */
char *image_node_path(const struct image_node *node);

struct image_tree_totals {
    uint64_t nodes, inodes, dirs, files, symlinks, others; /* files counts inodes */
    uint64_t bytes;                                        /* content of regular files, each inode once */
    int64_t newest_mtime;
};

/* Computes nlink of every inode that has a name, and the totals. Call when the tree is complete. */
void image_tree_finish(struct image_tree *t, struct image_tree_totals *totals);

/* ---- the configuration ---------------------------------------------------------------------------------------------------------- */

/*
 * What Docker calls ContainerConfig (Engine API) and OCI calls `config` (image-spec, config.md): what to run and how. The same keys in
 * the same spelling ("Env", "Cmd", "WorkingDir", ...), so one parser serves the OCI configuration blob and the trailer of a .gvmi.
 * Zero-initialised is the empty configuration.
 */
struct image_config {
    struct gv_strv env;        /* NAME=value */
    struct gv_strv entrypoint; /* has_entrypoint tells an absent one from an empty one */
    struct gv_strv cmd;
    bool has_entrypoint, has_cmd;
    char *user; /* NULL = not set. "name", "uid", "name:group", "uid:gid", ... as Docker takes them */
    char *workdir;
    struct gv_strv volumes; /* absolute paths, sorted, unique */
    struct gv_strv exposed; /* "80/tcp", sorted, unique */
    struct gv_strv labels;  /* key, value, key, value, ... sorted by key */
    char *stop_signal;
    char *image; /* the image id: 64 hex digits, without "sha256:" */
};

void image_config_clear(struct image_config *c);
static inline void gv_cleanup_image_config_fn(struct image_config *c)
{
    image_config_clear(c);
}

/* Reads a JSON object of n bytes with the keys above (null and unknown keys are ignored; a known key of a wrong type is an error). At most
 * 1 MiB and 2048 levels deep. *c must be zero-initialised. */
int image_config_parse(struct image_config *c, const char *json, size_t n, struct gv_error *err);

/* The compact JSON of the configuration with sorted keys and no null values, the caller's to free: same configuration, same bytes. */
char *image_config_format(const struct image_config *c) __attribute__((returns_nonnull));

/* The value of NAME in the configuration's environment, NULL if unset. Owned by c. */
const char *image_config_getenv(const struct image_config *c, const char *name);

#endif
