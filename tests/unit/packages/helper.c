/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "helper.h"

#include <stdlib.h>

static int read_content(void *reader, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    struct world *w = reader;
    const struct gv_buf *b = &w->contents[content->file];
    if (w->fail_reads == 0)
        return gv_error_set(err, GV_E_IO, 5, "the disk is gone");
    if (w->fail_reads > 0)
        w->fail_reads--;
    assert_true(at + len <= b->len);
    memcpy(buf, b->data + at, len);
    return 0;
}

struct world *world_new(void)
{
    struct world *w = gv_new(struct world);
    w->tree = image_tree_new();
    w->fail_reads = -1;
    image_tree_set_reader(w->tree, read_content, w, NULL);
    return w;
}

void world_free(struct world *w)
{
    image_tree_free(w->tree);
    for (uint32_t i = 0; i < w->count; i++)
        gv_buf_clear(&w->contents[i]);
    free(w->contents);
    gv_buf_clear(&w->notes);
    free(w);
}

static struct image_node *make(struct world *w, const char *path, struct image_inode *inode)
{
    struct image_node *at = image_tree_root(w->tree);
    for (;;) {
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        const char *rest = path + n + strspn(path + n, "/");
        struct image_node *child = image_node_child(at, path, n);
        if (!*rest) {
            assert_null(child);
            return image_node_add(w->tree, at, path, n, inode);
        }
        at = child ? child : image_node_add(w->tree, at, path, n, image_inode_new(w->tree, IMAGE_DIR));
        path = rest;
    }
}

struct image_node *world_file(struct world *w, const char *path, const void *data, size_t n)
{
    struct image_inode *i = image_inode_new(w->tree, IMAGE_FILE);
    w->contents = gv_reallocarray(w->contents, w->count + 1U, sizeof(*w->contents));
    w->contents[w->count] = (struct gv_buf){ 0 };
    gv_buf_add(&w->contents[w->count], data, n);
    i->u.content.file = w->count++;
    i->size = n;
    return make(w, path, i);
}

struct image_node *world_text(struct world *w, const char *path, const char *text)
{
    return world_file(w, path, text, strlen(text));
}

void world_link(struct world *w, const char *path, const char *target)
{
    struct image_inode *i = image_inode_new(w->tree, IMAGE_SYMLINK);
    i->u.target = target;
    i->size = strlen(target);
    make(w, path, i);
}

void world_dir(struct world *w, const char *path)
{
    make(w, path, image_inode_new(w->tree, IMAGE_DIR));
}

static void note(void *user, enum gv_log_level level, const char *text)
{
    struct world *w = user;
    gv_buf_addf(&w->notes, "%s %s\n", level == GV_LOG_DEBUG ? "debug" : level == GV_LOG_NOTE ? "note" : "warning", text);
}

int world_assign(struct world *w)
{
    const struct gv_log log = { .write = note, .user = w };
    gv_buf_clear(&w->notes);
    gv_error_clear(&w->err);
    memset(&w->sum, 0x5a, sizeof(w->sum));
    int status = packages_assign(w->tree, &w->sum, &log, &w->err);
    gv_buf_str(&w->notes);
    return status;
}

void world_assign_quietly(struct world *w)
{
    if (world_assign(w) < 0)
        fail_msg("%s", w->err.msg);
    assert_string_equal((char *)w->notes.data, "");
}

uint32_t world_group(struct world *w, const char *path)
{
    const struct image_node *n = image_tree_lookup(w->tree, path, false);
    if (!n)
        fail_msg("%s is not there", path);
    return n ? n->inode->group : 0;
}

void put_be32(struct gv_buf *b, uint32_t v)
{
    const unsigned char p[4] = { (unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v };
    gv_buf_add(b, p, 4);
}

void put_le32(struct gv_buf *b, uint32_t v)
{
    put_be32(b, __builtin_bswap32(v));
}

void make_rpm_header(struct gv_buf *out, const char *name, const char *const *paths)
{
    uint32_t n = 0;
    cleanup_buf struct gv_buf names = { 0 }, dirs = { 0 }, indexes = { 0 };
    for (; paths[n]; n++) {
        const char *base = strrchr(paths[n], '/') + 1;
        gv_buf_add(&names, base, strlen(base) + 1);
        gv_buf_add(&dirs, paths[n], (size_t)(base - paths[n]));
        gv_buf_add(&dirs, "", 1);
        put_be32(&indexes, n);
    }
    uint32_t name_len = (uint32_t)strlen(name) + 1, pad = (4 - name_len % 4) % 4;
    put_be32(out, 5);
    put_be32(out, (uint32_t)(name_len + pad + indexes.len + names.len + dirs.len));
    const uint32_t entries[5][4] = {
        { 1000, 6, 0, 1 },
        { 1001, 6, 0, 1 }, /* VERSION: of no interest */
        { 1116, 4, name_len + pad, n },
        { 1117, 8, (uint32_t)(name_len + pad + indexes.len), n },
        { 1118, 8, (uint32_t)(name_len + pad + indexes.len + names.len), n },
    };
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < 4; j++)
            put_be32(out, entries[i][j]);
    gv_buf_add(out, name, name_len);
    gv_buf_add(out, "\0\0\0", pad);
    gv_buf_add(out, indexes.data, indexes.len);
    gv_buf_add(out, names.data, names.len);
    gv_buf_add(out, dirs.data, dirs.len);
}
