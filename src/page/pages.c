/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "page/html.h"

static void add(struct gv_buf *b, const char *s)
{
    gv_buf_add(b, s, strlen(s));
}

static void tag_row(struct gv_buf *b, const struct page_tag *t, bool in_repository)
{
    add(b, "<tr><td data-label=\"Image\">");
    if (in_repository) {
        gv_buf_addf(b, "<a class=\"tag\" href=\"/i/%s\">", t->hash);
        html_text(b, t->tag);
        add(b, "</a>");
    } else {
        html_tag(b, t);
    }
    add(b, "</td><td data-label=\"Hash\">");
    html_hash(b, t->hash);
    add(b, "</td><td class=\"number\" data-label=\"Size\">");
    html_size(b, t->size);
    gv_buf_addf(b, "</td><td class=\"number\" data-label=\"Fetched\">%" PRIu64 "</td><td data-label=\"Set\">", t->fetched);
    html_time(b, t->created);
    add(b, "</td></tr>\n");
}

static void tag_table(struct gv_buf *b, const struct page_tag *tags, size_t count, bool in_repository)
{
    gv_buf_addf(b,
                "<table class=\"rows\"><thead><tr><th>%s</th><th>Hash</th><th class=\"number\">Size</th><th class=\"number\">Fetched</th>"
                "<th>Set</th></tr></thead>\n<tbody>\n",
                in_repository ? "Tag" : "Image");
    for (size_t i = 0; i < count; i++)
        tag_row(b, &tags[i], in_repository);
    add(b, "</tbody></table>\n");
}

static void page_link(struct gv_buf *b, const char *query, uint64_t start, const char *rel, const char *label)
{
    gv_buf_addf(b, "<a rel=\"%s\" href=\"/?", rel);
    if (query && *query) {
        add(b, "q=");
        for (const char *c = query; *c; c++) /* a '/' is no part of a path here */
            if (*c == '/')
                add(b, "%2F");
            else
                html_path(b, (char[]){ *c, '\0' });
        add(b, "&amp;");
    }
    gv_buf_addf(b, "start=%" PRIu64 "\">%s</a>\n", start, label);
}

void page_search(struct gv_buf *out, const struct page_site *site, const char *query, const struct page_tag *tags, size_t count,
                 uint64_t start, bool more)
{
    bool searched = query && *query;
    html_begin(out, site, searched ? query : NULL, query);
    if (searched) {
        add(out, "<h1>Images like “");
        html_text(out, query);
        add(out, "”</h1>\n");
    } else {
        add(out, "<h1>Images</h1>\n<p class=\"lead\">Root file systems for microVMs. Fetch one by name, run it on your machine or on "
                 "Golem’s network.</p>\n");
    }
    if (count)
        tag_table(out, tags, count, false);
    else
        add(out, searched ? "<p class=\"empty\">No image has a name like that.</p>\n"
                          : "<p class=\"empty\">There is no image with a tag yet. Publish one: <code>gvmkit push IMAGE.gvmi "
                            "USER/REPO:TAG</code></p>\n");
    if (start || more) {
        add(out, "<nav class=\"pages\" aria-label=\"Pages\">\n");
        if (start)
            page_link(out, query, start > PAGE_ENTRIES_MAX ? start - PAGE_ENTRIES_MAX : 0, "prev", "← Newer");
        if (more)
            page_link(out, query, start + count, "next", "Older →");
        add(out, "</nav>\n");
    }
    html_end(out);
}

void page_repository(struct gv_buf *out, const struct page_site *site, const char *user, const char *repo, const struct page_tag *tags,
                     size_t count)
{
    cleanup_free char *name = gv_asprintf("%s/%s", user, repo);
    html_begin(out, site, name, NULL);
    add(out, "<h1>");
    html_text(out, name);
    add(out, "</h1>\n");
    if (count)
        tag_table(out, tags, count, true);
    else
        add(out, "<p class=\"empty\">This repository has no tags.</p>\n");
    if (count > 1) {
        add(out, "<h2>What has changed</h2>\n<form class=\"compare\" action=\"/compare\" method=\"get\">\n");
        for (int side = 0; side < 2; side++) {
            gv_buf_addf(out, "<label>%s <select name=\"%s\">\n", side ? "to" : "From", side ? "to" : "from");
            for (size_t i = 0; i < count; i++) {
                gv_buf_addf(out, "<option value=\"%s\"%s>", tags[i].hash, i == (side ? 0U : 1U) ? " selected" : "");
                html_text(out, tags[i].tag);
                add(out, "</option>\n");
            }
            add(out, "</select></label>\n");
        }
        add(out, "<button>Compare</button>\n</form>\n");
    }
    html_end(out);
}

void page_error(struct gv_buf *out, const struct page_site *site, unsigned status, const char *text)
{
    const char *title = status == 404 ? "Not found" : status >= 500 ? "Something went wrong here" : "That cannot be done";
    html_begin(out, site, title, NULL);
    gv_buf_addf(out, "<h1>%s</h1>\n<p class=\"lead\">", title);
    html_text(out, text);
    add(out, "</p>\n<p><a href=\"/\">All images</a></p>\n");
    html_end(out);
}
