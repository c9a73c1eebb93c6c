/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is in an image. A page reads one directory, or the beginning of one file, whatever the size of the image.
 */
#include <inttypes.h>
#include <string.h>

#include "page/html.h"

static void add(struct gv_buf *b, const char *s)
{
    gv_buf_add(b, s, strlen(s));
}

/* The way from the root, each part a link. */
static void crumbs(struct gv_buf *b, const char *hash, const char *path)
{
    gv_buf_addf(b, "<h1 class=\"crumbs\"><a href=\"/i/%s\">%.12s…</a> <a href=\"/i/%s/files/\">/</a>", hash, hash, hash);
    for (const char *at = path; *at;) {
        size_t n = strcspn(at, "/");
        cleanup_free char *so_far = gv_strndup(path, (size_t)(at - path) + n), *part = gv_strndup(at, n);
        gv_buf_addf(b, "<wbr><a href=\"/i/%s/files/", hash);
        html_path(b, so_far);
        add(b, "\">");
        html_text(b, part);
        gv_buf_addf(b, "</a>%s", at[n] ? "/" : "");
        at += n + (at[n] == '/');
    }
    add(b, "</h1>\n");
}

struct listing {
    struct gv_buf *b;
    struct gvmi_image *file;
    const char *hash, *path;
    uint64_t start, at;
    struct gv_error *err;
    bool failed;
};

static int row(struct listing *l, const struct gvmi_entry *e)
{
    struct gvmi_stat st;
    char mode[GVMI_MODE_TEXT];
    if (gvmi_stat(l->file, e->ref, &st, l->err) < 0)
        return -1;
    gvmi_mode_text(mode, &st);
    gv_buf_addf(l->b, "<tr><td data-label=\"Name\"><a class=\"%s\" href=\"/i/%s/files/", st.type == IMAGE_DIR ? "directory" : "file",
                l->hash);
    html_path(l->b, l->path);
    if (*l->path)
        add(l->b, "/");
    html_path(l->b, e->name);
    add(l->b, "\">");
    html_text(l->b, e->name);
    add(l->b, st.type == IMAGE_DIR ? "/</a>" : "</a>");
    if (st.type == IMAGE_SYMLINK) {
        cleanup_free char *target = NULL;
        if (gvmi_read_link(l->file, e->ref, &target, l->err) < 0)
            return -1;
        add(l->b, " <span class=\"target\">→ ");
        html_text(l->b, target);
        add(l->b, "</span>");
    }
    gv_buf_addf(l->b,
                "</td><td data-label=\"Mode\"><code>%s</code></td><td class=\"number\" data-label=\"Owner\">%" PRIu32 ":%" PRIu32
                "</td><td class=\"number\" data-label=\"Size\">",
                mode, st.uid, st.gid);
    if (st.type == IMAGE_FILE)
        html_size(l->b, st.size);
    add(l->b, "</td><td data-label=\"Changed\">");
    html_time(l->b, st.mtime);
    add(l->b, "</td></tr>\n");
    return 0;
}

static int on_entry(void *user, const struct gvmi_entry *e)
{
    struct listing *l = user;
    uint64_t at = l->at++;
    if (at < l->start)
        return 0;
    if (at >= l->start + PAGE_ENTRIES_MAX)
        return 1; /* there is more */
    l->failed = row(l, e) < 0;
    return l->failed ? -1 : 0;
}

static void page_link(struct listing *l, uint64_t start, const char *rel, const char *label)
{
    gv_buf_addf(l->b, "<a rel=\"%s\" href=\"/i/%s/files/", rel, l->hash);
    html_path(l->b, l->path);
    gv_buf_addf(l->b, "?start=%" PRIu64 "\">%s</a>\n", start, label);
}

static int directory(struct listing *l, const struct gvmi_stat *st)
{
    add(l->b, "<table class=\"rows files\" data-filter><thead><tr><th>Name</th><th>Mode</th><th class=\"number\">Owner</th><th "
              "class=\"number\">Size</th>"
              "<th>Changed</th></tr></thead>\n<tbody>\n");
    int more = gvmi_read_dir(l->file, st->ref, on_entry, l, l->err);
    if (more < 0)
        return -1;
    add(l->b, "</tbody></table>\n");
    if (l->at == 0)
        add(l->b, "<p class=\"empty\">The directory is empty.</p>\n");
    if (l->start || more) {
        add(l->b, "<nav class=\"pages\" aria-label=\"Pages\">\n");
        if (l->start)
            page_link(l, l->start > PAGE_ENTRIES_MAX ? l->start - PAGE_ENTRIES_MAX : 0, "prev", "← Before");
        if (more)
            page_link(l, l->start + PAGE_ENTRIES_MAX, "next", "After →");
        add(l->b, "</nav>\n");
    }
    return 0;
}

static int on_bytes(void *user, const void *p, size_t n)
{
    struct gv_buf *b = user;
    size_t room = PAGE_PREVIEW_MAX - b->len;
    gv_buf_add(b, p, n < room ? n : room);
    return b->len == PAGE_PREVIEW_MAX;
}

/* As text when it is that; what is not shows its first bytes only. */
static void preview(struct gv_buf *b, struct gv_buf *content, uint64_t size)
{
    bool binary = memchr(content->data ? content->data : (unsigned char *)"", 0, content->len) != NULL;
    if (binary) {
        add(b, "<pre class=\"hex\">");
        for (size_t i = 0; i < content->len && i < 512; i++)
            gv_buf_addf(b, "%02x%s", content->data[i], i % 16 == 15 ? "\n" : " ");
        add(b, "</pre>\n");
    } else {
        html_copy_block(b, "Content", gv_buf_str(content));
    }
    if (size > (binary ? 512 : content->len))
        add(b, "<p class=\"empty\">Only the beginning is shown.</p>\n");
}

static int regular(struct listing *l, const struct gvmi_stat *st)
{
    cleanup_buf struct gv_buf content = { 0 };
    if (gvmi_read_file(l->file, st->ref, on_bytes, &content, l->err) < 0)
        return -1;
    if (content.len)
        preview(l->b, &content, st->size);
    else
        add(l->b, "<p class=\"empty\">The file is empty.</p>\n");
    return 0;
}

static void facts(struct gv_buf *b, const struct gvmi_stat *st)
{
    char mode[GVMI_MODE_TEXT];
    gvmi_mode_text(mode, st);
    gv_buf_addf(
        b, "<dl class=\"facts\"><div><dt>Mode</dt><dd><code>%s</code></dd></div><div><dt>Owner</dt><dd>%" PRIu32 ":%" PRIu32 "</dd></div>",
        mode, st->uid, st->gid);
    if (st->type == IMAGE_FILE) {
        add(b, "<div><dt>Size</dt><dd>");
        html_size(b, st->size);
        add(b, "</dd></div>");
    }
    add(b, "<div><dt>Changed</dt><dd>");
    html_time(b, st->mtime);
    add(b, "</dd></div></dl>\n");
}

static int symlink_target(struct listing *l, const struct gvmi_stat *st)
{
    cleanup_free char *target = NULL;
    if (gvmi_read_link(l->file, st->ref, &target, l->err) < 0)
        return -1;
    add(l->b, "<p class=\"lead\">A symbolic link to <code>");
    html_text(l->b, target);
    add(l->b, "</code></p>\n");
    return 0;
}

int page_files(struct gv_buf *out, const struct page_site *site, struct gvmi_image *file, const char *hash, const char *path,
               uint64_t start, struct gv_error *err)
{
    struct gvmi_stat st;
    cleanup_free char *absolute = gv_asprintf("/%s", path), *normal = gv_path_normal(absolute);
    cleanup_free char *title = gv_asprintf("%s in %.12s…", normal ? normal : path, hash);
    if (!normal)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%s` is not a path of an image", path);
    if (gvmi_lookup(file, normal, false, &st, err) < 0)
        return -1;
    size_t before = out->len;
    struct listing l = { .b = out, .file = file, .hash = hash, .path = normal + 1, .start = start, .err = err };
    html_begin(out, site, title, NULL);
    crumbs(out, hash, l.path);
    facts(out, &st);
    int status = st.type == IMAGE_DIR       ? directory(&l, &st)
                 : st.type == IMAGE_FILE    ? regular(&l, &st)
                 : st.type == IMAGE_SYMLINK ? symlink_target(&l, &st)
                                            : 0;
    if (status < 0) {
        out->len = before;
        return -1;
    }
    html_end(out);
    return 0;
}
