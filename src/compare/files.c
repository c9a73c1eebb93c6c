/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two walks side by side. Both give paths in the same order, in which '/' sorts before everything else, because the directories of a squashfs are
 * sorted; so the path that comes first is the one that the other image has not. The order is checked, for everything rests on it.
 */
#include <string.h>

#include "compare/content.h"

#define PATH_LIMIT 65536

struct side {
    struct gvmi_image *img;
    struct gvmi_walker *walker;
    struct gvmi_step step;
    bool at_end;
    struct gv_buf before; /* path of the step before */
    struct gv_buf gone;   /* the directory that was last told to be on this side alone; what is below it is `inside` */
    bool has_gone;
};

struct comparison {
    struct side a, b;
    const struct compare_options *options;
    int (*fn)(void *user, const struct compare_entry *e);
    void *user;
    struct compare_totals *totals;
    struct content_known known;
    uint64_t bytes_done;
};

static void side_clear(struct side *s)
{
    gvmi_walker_free(s->walker);
    gv_buf_clear(&s->before);
    gv_buf_clear(&s->gone);
}

static void comparison_clear(struct comparison *c)
{
    side_clear(&c->a);
    side_clear(&c->b);
    content_known_clear(&c->known);
}
#define cleanup_comparison __attribute__((cleanup(comparison_clear)))

static int rank(char c)
{
    return c == '\0' ? -1 : c == '/' ? 0 : (unsigned char)c;
}

/* The order in which a walk gives paths. */
static int compare_paths(const char *x, const char *y)
{
    while (*x && *x == *y) {
        x++;
        y++;
    }
    return rank(*x) - rank(*y);
}

static int advance(struct side *s, struct gv_error *err)
{
    bool first = !s->step.path;
    if (!first) {
        s->before.len = 0;
        gv_buf_add(&s->before, s->step.path, strlen(s->step.path));
    }
    int more = gvmi_walker_next(s->walker, &s->step, err);
    if (more < 0)
        return -1;
    if (more == 0) {
        s->at_end = true;
        return 0;
    }
    if (strlen(s->step.path) > PATH_LIMIT)
        return gv_error_set(err, GV_E_LIMIT, 0, "a path has more than %d bytes: `%.200s...`", PATH_LIMIT, s->step.path);
    if (!first && compare_paths(gv_buf_str(&s->before), s->step.path) >= 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the directory of `%s` is not sorted, or holds a name twice", s->step.path);
    return 0;
}

/* 1 when the targets are the same. Both strings are the caller's to free. */
static int compare_targets(const struct comparison *c, char **x, char **y, struct gv_error *err)
{
    if (gvmi_read_link(c->a.img, c->a.step.st.ref, x, err) < 0 || gvmi_read_link(c->b.img, c->b.step.st.ref, y, err) < 0)
        return -1;
    return strcmp(*x, *y) == 0;
}

static int same_content(struct comparison *c, char **a_target, char **b_target, struct gv_error *err)
{
    const struct gvmi_stat *x = &c->a.step.st, *y = &c->b.step.st;
    switch ((enum image_type)x->type) {
    case IMAGE_SYMLINK:
        return compare_targets(c, a_target, b_target, err);
    case IMAGE_CHAR:
    case IMAGE_BLOCK:
        return x->rdev_major == y->rdev_major && x->rdev_minor == y->rdev_minor;
    case IMAGE_FILE:
        if (x->size != y->size)
            return 0;
        if (c->options->by_attributes)
            return 1;
        c->bytes_done += x->size;
        gv_progress_update(c->options->progress, "comparing", c->bytes_done, 0);
        return content_same(c->a.img, x, c->b.img, y, &c->known, err);
    case IMAGE_DIR:
    case IMAGE_FIFO:
    case IMAGE_SOCKET:
        break;
    }
    return 1;
}

static unsigned changed_attributes(const struct comparison *c, const struct gvmi_stat *x, const struct gvmi_stat *y)
{
    unsigned what = 0;
    if (x->mode != y->mode && x->type != IMAGE_SYMLINK)
        what |= COMPARE_MODE;
    if (x->uid != y->uid || x->gid != y->gid)
        what |= COMPARE_OWNER;
    if (x->mtime != y->mtime && !c->options->ignore_times)
        what |= COMPARE_TIME;
    if (x->type != IMAGE_DIR && x->nlink != y->nlink)
        what |= COMPARE_LINKS;
    return what;
}

static void set_gone(struct side *s)
{
    s->has_gone = true;
    s->gone.len = 0;
    gv_buf_add(&s->gone, s->step.path, strlen(s->step.path));
}

static bool is_inside(struct side *s)
{
    size_t n = s->gone.len;
    if (!s->has_gone)
        return false;
    return strncmp(s->step.path, gv_buf_str(&s->gone), n) == 0 && (n == 0 || s->step.path[n] == '/');
}

/* Both have the path. */
static int compare_entries(struct comparison *c, struct gv_error *err)
{
    const struct gvmi_stat *x = &c->a.step.st, *y = &c->b.step.st;
    cleanup_free char *a_target = NULL, *b_target = NULL;
    struct compare_entry e = { .kind = COMPARE_CHANGED, .path = c->a.step.path, .a = x, .b = y };
    if (x->type != y->type) {
        e.what = COMPARE_TYPE;
        if (x->type == IMAGE_DIR)
            set_gone(&c->a);
        if (y->type == IMAGE_DIR)
            set_gone(&c->b);
    } else {
        e.what = changed_attributes(c, x, y);
        int same = same_content(c, &a_target, &b_target, err);
        int same_xattrs = same < 0 ? -1 : content_same_xattrs(c->a.img, x, c->b.img, y, err);
        if (same_xattrs < 0)
            return gv_error_prefix(err, "`%s`", e.path);
        e.what |= (same ? 0 : COMPARE_CONTENT) | (same_xattrs ? 0 : COMPARE_XATTRS);
    }
    if (e.what == 0) {
        c->totals->same++;
        return 0;
    }
    c->totals->changed++;
    e.a_target = a_target;
    e.b_target = b_target;
    return c->fn(c->user, &e);
}

/* Only this side has the path. */
static int tell_single(struct comparison *c, struct side *s, struct gv_error *err)
{
    cleanup_free char *target = NULL;
    bool removed = s == &c->a;
    struct compare_entry e = { .kind = removed ? COMPARE_REMOVED : COMPARE_ADDED, .path = s->step.path, .inside = is_inside(s) };
    if (s->step.st.type == IMAGE_SYMLINK && gvmi_read_link(s->img, s->step.st.ref, &target, err) < 0)
        return -1;
    if (s->step.st.type == IMAGE_DIR && !e.inside)
        set_gone(s);
    *(removed ? &e.a : &e.b) = &s->step.st;
    *(removed ? &e.a_target : &e.b_target) = target;
    (*(removed ? &c->totals->removed : &c->totals->added))++;
    return c->fn(c->user, &e);
}

static int side_open(struct side *s, struct gvmi_image *img, struct gv_error *err)
{
    s->img = img;
    if (gvmi_walker_open(&s->walker, img, gvmi_root(img), err) < 0)
        return -1;
    return advance(s, err);
}

int compare_files(struct gvmi_image *a, struct gvmi_image *b, const struct compare_options *options,
                  int (*fn)(void *user, const struct compare_entry *e), void *user, struct compare_totals *totals, struct gv_error *err)
{
    static const struct compare_options none;
    struct compare_totals mine;
    cleanup_comparison struct comparison c = {
        .options = options ? options : &none, .fn = fn, .user = user, .totals = totals ? totals : &mine
    };
    *c.totals = (struct compare_totals){ 0 };
    if (side_open(&c.a, a, err) < 0 || side_open(&c.b, b, err) < 0)
        return -1;
    while (!c.a.at_end || !c.b.at_end) {
        int order = c.a.at_end ? 1 : c.b.at_end ? -1 : compare_paths(c.a.step.path, c.b.step.path);
        int r = order == 0 ? compare_entries(&c, err) : tell_single(&c, order < 0 ? &c.a : &c.b, err);
        if (r != 0)
            return r;
        if ((order <= 0 && advance(&c.a, err) < 0) || (order >= 0 && advance(&c.b, err) < 0))
            return -1;
    }
    return 0;
}
