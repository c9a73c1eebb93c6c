/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two images side by side: what an update would move, and which files and settings differ. */
#include <inttypes.h>
#include <string.h>

#include "compare/compare.h"
#include "page/html.h"

static void add(struct gv_buf *b, const char *s)
{
    gv_buf_add(b, s, strlen(s));
}

static void side(struct gv_buf *b, const char *label, const struct page_side *s)
{
    gv_buf_addf(b, "<div><dt>%s</dt><dd>", label);
    if (s->name) {
        html_text(b, s->name);
        add(b, " ");
    }
    html_hash(b, s->hash);
    add(b, ", ");
    html_size(b, s->size);
    add(b, "</dd></div>\n");
}

static void update(struct gv_buf *b, uint64_t new_bytes, uint64_t size)
{
    if (new_bytes == UINT64_MAX) {
        add(b, "<p class=\"lead\">What an update would move is not known: the chunk maps are not made yet.</p>\n");
        return;
    }
    double share = size ? 100.0 * (double)new_bytes / (double)size : 0;
    add(b, "<p class=\"lead\">An update moves ");
    html_size(b, new_bytes);
    gv_buf_addf(b,
                ", %.1f %% of the image.</p>\n<progress max=\"100\" value=\"%.1f\" aria-label=\"Share that an update moves\"></progress>\n",
                share, share);
}

struct rows {
    struct gv_buf *b;
    const struct page_side *from, *to;
    size_t shown, hidden;
    uint64_t below; /* entries in the directory told last, which only one image has */
};

static void end_directory(struct rows *r)
{
    if (r->below)
        gv_buf_addf(r->b, " <span class=\"target\">with %" PRIu64 " below it</span>", r->below);
    r->below = 0;
}

static void end_row(struct rows *r)
{
    end_directory(r);
    if (r->shown)
        add(r->b, "</td></tr>\n");
}

static void aspects(struct gv_buf *b, unsigned what)
{
    static const char *const names[] = { "type", "content", "mode", "owner", "time", "attributes", "links" };
    const char *comma = "";
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!(what & 1U << i))
            continue;
        gv_buf_addf(b, "%s%s", comma, names[i]);
        comma = ", ";
    }
}

static int on_difference(void *user, const struct compare_entry *e)
{
    static const char *const marks[] = { [COMPARE_ADDED] = "added", [COMPARE_REMOVED] = "removed", [COMPARE_CHANGED] = "changed" };
    struct rows *r = user;
    if (e->inside) {
        r->below++;
        return 0;
    }
    /* Nothing but the time of a directory: that its content changed is told by what is in it. */
    if (e->kind == COMPARE_CHANGED && e->what == COMPARE_TIME && e->b->type == IMAGE_DIR)
        return 0;
    if (r->shown == PAGE_ENTRIES_MAX) {
        r->hidden++;
        return 0;
    }
    end_row(r);
    r->shown++;
    const struct page_side *where = e->kind == COMPARE_REMOVED ? r->from : r->to;
    gv_buf_addf(r->b, "<tr class=\"%s\"><td data-label=\"\">%s</td><td data-label=\"What\">", marks[e->kind], marks[e->kind]);
    aspects(r->b, e->what);
    gv_buf_addf(r->b, "</td><td data-label=\"Name\"><a href=\"/i/%s/files/", where->hash);
    html_path(r->b, e->path);
    add(r->b, "\">/");
    html_text(r->b, e->path);
    add(r->b, "</a>");
    if (e->a && e->b && e->a->type == IMAGE_FILE && e->b->type == IMAGE_FILE && e->a->size != e->b->size) {
        add(r->b, " <span class=\"target\">");
        html_size(r->b, e->a->size);
        add(r->b, " → ");
        html_size(r->b, e->b->size);
        add(r->b, "</span>");
    }
    return 0;
}

static void on_setting(void *user, const char *key, const char *old, const char *now)
{
    struct gv_buf *b = user;
    add(b, "<div><dt>");
    html_text(b, key);
    add(b, "</dt><dd class=\"lines\"><code><del>");
    html_text(b, old ? old : "not set");
    add(b, "</del></code> <code><ins>");
    html_text(b, now ? now : "not set");
    add(b, "</ins></code></dd></div>\n");
}

static void settings(struct gv_buf *b, const struct page_side *from, const struct page_side *to)
{
    cleanup_buf struct gv_buf list = { 0 };
    if (compare_config(gvmi_config(from->file), gvmi_config(to->file), on_setting, &list) == 0)
        return;
    add(b, "<h2>Settings</h2>\n<dl class=\"facts\">\n");
    gv_buf_add(b, list.data, list.len);
    add(b, "</dl>\n");
}

int page_compare(struct gv_buf *out, const struct page_site *site, const struct page_side *from, const struct page_side *to,
                 uint64_t new_bytes, struct gv_error *err)
{
    static const struct compare_options quick = { .by_attributes = true };
    cleanup_buf struct gv_buf table = { 0 };
    struct compare_totals totals = { 0 };
    struct rows rows = { .b = &table, .from = from, .to = to };
    if (compare_files(from->file, to->file, &quick, on_difference, &rows, &totals, err) < 0)
        return -1;
    end_row(&rows);
    html_begin(out, site, "What has changed", NULL);
    add(out, "<h1>What has changed</h1>\n<dl class=\"facts\">\n");
    side(out, "From", from);
    side(out, "To", to);
    gv_buf_addf(out,
                "<div><dt>Entries</dt><dd>%" PRIu64 " added, %" PRIu64 " removed, %" PRIu64 " changed, %" PRIu64
                " the same</dd></div>\n</dl>\n",
                totals.added, totals.removed, totals.changed, totals.same);
    update(out, new_bytes, to->size);
    settings(out, from, to);
    if (rows.shown) {
        add(out,
            "<h2>Files</h2>\n<table class=\"rows\" data-filter><thead><tr><th></th><th>What</th><th>Name</th></tr></thead>\n<tbody>\n");
        gv_buf_add(out, table.data, table.len);
        add(out, "</tbody></table>\n");
    }
    if (rows.hidden)
        gv_buf_addf(out, "<p class=\"empty\">And %zu more.</p>\n", rows.hidden);
    add(out, "<p class=\"empty\">Files are compared by size and time. <code>gvmkit diff</code> reads them.</p>\n");
    html_end(out);
    return 0;
}
