/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fit.h"

#include <unistd.h>

static void take_note(void *user, enum gv_log_level level, const char *text)
{
    if (level != GV_LOG_DEBUG)
        gv_strv_add(user, text);
}

void notes_begin(struct notes *n)
{
    *n = (struct notes){ 0 };
    n->log = (struct gv_log){ .write = take_note, .user = &n->lines };
}

size_t notes_with(const struct notes *n, const char *text)
{
    size_t count = 0;
    for (size_t i = 0; i < n->lines.count; i++)
        count += strstr(n->lines.items[i], text) != NULL;
    return count;
}

void notes_end(struct notes *n)
{
    gv_strv_clear(&n->lines);
}

struct gvmi_image *packed(struct image_tree *t, const struct image_config *config)
{
    static const struct image_config none;
    image_tree_finish(t, NULL);
    return open_fd(pack(t, config ? config : &none, NULL, NULL));
}

static void take_finding(void *user, const char *text)
{
    gv_strv_add(user, text);
}

void assert_boots(struct image_tree *t, const struct image_config *config)
{
    cleanup_strv struct gv_strv findings = { 0 };
    struct gvmi_image *img = packed(t, config);
    assert_int_equal(gvmi_lint(img, take_finding, &findings, NULL), 0);
    for (size_t i = 0; i < findings.count; i++)
        if (strstr(findings.items[i], "roviders") || strstr(findings.items[i], "not absolute") ||
            strstr(findings.items[i], "not a directory"))
            fail_msg("lint: %s", findings.items[i]);
    gvmi_close(img);
}

int type_at(struct image_tree *t, const char *path)
{
    const struct image_node *node = image_tree_lookup(t, path, false);
    return node ? node->inode->type : -1;
}

const char *text_at(struct image_tree *t, const char *path)
{
    static char text[256];
    const struct image_node *node = image_tree_lookup(t, path, true);
    if (!node || node->inode->type != IMAGE_FILE || node->inode->size >= sizeof(text))
        return "(no file)";
    assert_int_equal(image_tree_read(t, node->inode, 0, text, (size_t)node->inode->size, NULL), 0);
    text[node->inode->size] = '\0';
    return text;
}

const char *joined(const struct gv_strv *v)
{
    static char text[1024];
    text[0] = '\0';
    for (size_t i = 0; i < v->count; i++) {
        strncat(text, i ? " " : "", sizeof(text) - strlen(text) - 1);
        strncat(text, v->items[i], sizeof(text) - strlen(text) - 1);
    }
    return text;
}

void add_words(struct gv_strv *v, ...)
{
    va_list ap;
    va_start(ap, v);
    for (const char *word; (word = va_arg(ap, const char *));)
        gv_strv_add(v, word);
    va_end(ap);
}
