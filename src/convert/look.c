/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Paths are walked one component at a time, so that both kinds of root are asked only about paths without links. What is still to be walked and what has
 * been are texts of at most LOOK_PATH_MAX bytes, and links are followed 40 times: that bounds the work that an image can cause.
 */
#include "convert/look.h"

#include <string.h>

#define LINKS_MAX 40

void look_end_clear(struct look_end *e)
{
    free(e->real);
    *e = (struct look_end){ 0 };
}

/* What is at a path, itself and not what it links to. */
struct item {
    enum { ITEM_NONE, ITEM_LINK, ITEM_THING } kind;
    uint8_t type; /* enum image_type */
    uint16_t mode;
    char *target; /* of a link */
};

static int item_of_image(const struct look *l, const char *path, struct item *item, struct gv_error *err)
{
    struct gvmi_stat st;
    struct gv_error why = GV_ERROR_INIT;
    if (gvmi_lookup(l->img, path, false, &st, &why) < 0) {
        if (why.code == GV_E_NOT_FOUND)
            return 0;
        if (err)
            *err = why;
        return -1;
    }
    *item = (struct item){ .kind = st.type == IMAGE_SYMLINK ? ITEM_LINK : ITEM_THING, .type = st.type, .mode = st.mode };
    return st.type == IMAGE_SYMLINK ? gvmi_read_link(l->img, st.ref, &item->target, err) : 0;
}

static int item_at(const struct look *l, const char *path, struct item *item, struct gv_error *err)
{
    *item = (struct item){ .kind = ITEM_NONE };
    if (l->img)
        return item_of_image(l, path, item, err);
    const struct image_node *node = image_tree_lookup(l->tree, path, false);
    if (!node)
        return 0;
    const struct image_inode *inode = node->inode;
    *item = (struct item){ .kind = inode->type == IMAGE_SYMLINK ? ITEM_LINK : ITEM_THING, .type = inode->type, .mode = inode->mode };
    if (inode->type == IMAGE_SYMLINK)
        item->target = gv_strdup(inode->u.target);
    return 0;
}

static bool is_dot(const char *p, size_t len)
{
    return len == 1 && p[0] == '.';
}

static bool is_dots(const char *p, size_t len)
{
    return len == 2 && p[0] == '.' && p[1] == '.';
}

/* Takes the last component off a path without a slash at its end; "" is the root. */
static void leave(struct gv_buf *path)
{
    while (path->len > 0 && path->data[--path->len] != '/')
        ;
}

char *look_clean(const char *path)
{
    cleanup_buf struct gv_buf out = { 0 };
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/");
        if (is_dots(p, len)) {
            leave(&out);
        } else if (len && !is_dot(p, len)) {
            gv_buf_add(&out, "/", 1);
            gv_buf_add(&out, p, len);
        }
        p += len;
    }
    return gv_strdup(out.len ? gv_buf_str(&out) : "/");
}

static enum look_found found_by(const struct item *item)
{
    if (item->kind == ITEM_NONE)
        return LOOK_MISSING;
    return item->type == IMAGE_DIR ? LOOK_DIR : item->type == IMAGE_FILE ? LOOK_FILE : LOOK_OTHER;
}

/* Walks *rest to its end or to the next link, whose target it puts before what is left. 1 when it is to be called again. */
static int walk(const struct look *l, char **rest, struct gv_buf *done, struct look_end *end, struct gv_error *err)
{
    for (const char *p = *rest;;) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/"), before = done->len;
        if (len == 0)
            return 0;
        if (is_dots(p, len)) {
            leave(done);
        } else if (!is_dot(p, len)) {
            gv_buf_add(done, "/", 1);
            gv_buf_add(done, p, len);
        }
        p += len;
        if ((end->found != LOOK_DIR && end->found != LOOK_MISSING) || done->len >= LOOK_PATH_MAX) {
            end->found = LOOK_NOWHERE;
            return 0;
        }
        struct item item = { .kind = ITEM_THING, .type = IMAGE_DIR, .mode = 0755 }; /* the root */
        if (done->len > 0 && item_at(l, gv_buf_str(done), &item, err) < 0)
            return -1;
        if (item.kind == ITEM_LINK) {
            cleanup_free char *target = item.target;
            done->len = target[0] == '/' ? 0 : before;
            end->found = strlen(target) + strlen(p) < LOOK_PATH_MAX ? LOOK_DIR : LOOK_NOWHERE;
            char *joined = gv_asprintf("%s/%s", target, p);
            free(*rest);
            *rest = joined;
            return end->found == LOOK_DIR;
        }
        end->mode = item.mode;
        end->found = found_by(&item);
    }
}

int look_up(const struct look *l, const char *path, struct look_end *end, struct gv_error *err)
{
    cleanup_free char *rest = look_clean(path);
    cleanup_buf struct gv_buf done = { 0 };
    int links = 0, more = 1;
    *end = (struct look_end){ .found = strlen(rest) < LOOK_PATH_MAX ? LOOK_DIR : LOOK_NOWHERE, .mode = 0755 };
    while (end->found != LOOK_NOWHERE && (more = walk(l, &rest, &done, end, err)) > 0)
        if (++links > LINKS_MAX)
            end->found = LOOK_NOWHERE;
    if (more < 0)
        return -1;
    if (end->found != LOOK_NOWHERE)
        end->real = gv_strdup(done.len ? gv_buf_str(&done) : "/");
    return 0;
}

/* ---- contents ---- */

struct reading {
    struct gv_buf *out;
    size_t left;
};

static int take_piece(void *user, const void *p, size_t n)
{
    struct reading *r = user;
    if (n > r->left)
        return 1;
    r->left -= n;
    gv_buf_add(r->out, p, n);
    return 0;
}

static int read_from_image(const struct look *l, const char *real, size_t max, struct gv_buf *out, struct gv_error *err)
{
    struct gvmi_stat st;
    struct reading r = { .out = out, .left = max };
    if (gvmi_lookup(l->img, real, false, &st, err) < 0)
        return -1;
    int status = gvmi_read_file(l->img, st.ref, take_piece, &r, err);
    if (status > 0)
        return gv_error_set(err, GV_E_LIMIT, 0, "the image's `%s` is larger than %zu bytes", real, max);
    return status;
}

int look_read(const struct look *l, const char *real, size_t max, struct gv_buf *out, struct gv_error *err)
{
    if (l->img)
        return read_from_image(l, real, max, out, err);
    const struct image_node *node = image_tree_lookup(l->tree, real, false);
    if (!node || node->inode->type != IMAGE_FILE)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the image has no file `%s`", real);
    if (node->inode->size > max)
        return gv_error_set(err, GV_E_LIMIT, 0, "the image's `%s` is larger than %zu bytes", real, max);
    size_t n = (size_t)node->inode->size;
    gv_buf_reserve(out, n);
    if (image_tree_read(l->tree, node->inode, 0, out->data + out->len, n, err) < 0)
        return gv_error_prefix(err, "reading the image's `%s`", real);
    out->len += n;
    return 0;
}
