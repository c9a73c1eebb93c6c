/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "extract/select.h"

#include <string.h>

#define LINKS_MAX 40

/* Drops the last component. */
static void go_up(struct gv_buf *at)
{
    while (at->len > 0 && at->data[--at->len] != '/')
        continue;
}

int select_add(struct gv_strv *chosen, struct gvmi_image *img, const char *path, struct gv_error *err)
{
    cleanup_buf struct gv_buf at = { 0 }; /* the real path so far */
    cleanup_free char *rest = gv_strdup(path);
    char *p = rest;
    for (int links = 0;;) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/");
        if (len == 0)
            break;
        const char *component = p;
        p += len;
        if (len == 1 && component[0] == '.')
            continue;
        if (len == 2 && component[0] == '.' && component[1] == '.') {
            go_up(&at);
            continue;
        }
        if (at.len > 0)
            gv_buf_add(&at, "/", 1);
        gv_buf_add(&at, component, len);
        struct gvmi_stat st;
        if (gvmi_lookup(img, gv_buf_str(&at), false, &st, err) < 0)
            return -1;
        if (st.type != IMAGE_SYMLINK || p[strspn(p, "/")] == '\0')
            continue;
        if (++links > LINKS_MAX)
            return gv_error_set(err, GV_E_NOT_FOUND, 0, "%s: too many symbolic links", path);
        gv_strv_add(chosen, gv_buf_str(&at));
        cleanup_free char *target = NULL;
        if (gvmi_read_link(img, st.ref, &target, err) < 0)
            return -1;
        char *joined = gv_asprintf("%s/%s", target, p);
        free(rest);
        rest = p = joined;
        if (joined[0] == '/')
            at.len = 0;
        else
            go_up(&at);
    }
    gv_strv_add(chosen, gv_buf_str(&at));
    return 0;
}

/* Whether `inner` is `outer` or below it. */
static bool is_below(const char *inner, const char *outer)
{
    size_t n = strlen(outer);
    return n == 0 || (strncmp(inner, outer, n) == 0 && (inner[n] == '\0' || inner[n] == '/'));
}

enum selection select_path(const struct gv_strv *chosen, const char *path)
{
    if (chosen->count == 0)
        return SELECT_IN;
    enum selection how = SELECT_NOT;
    for (size_t i = 0; i < chosen->count; i++) {
        if (is_below(path, chosen->items[i]))
            return SELECT_IN;
        if (is_below(chosen->items[i], path))
            how = SELECT_WAY;
    }
    return how;
}
