/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The page of one image: what it is, what it starts, and the lines to copy. */
#include <inttypes.h>
#include <string.h>

#include "demand/demand.h"
#include "page/html.h"

static void add(struct gv_buf *b, const char *s)
{
    gv_buf_add(b, s, strlen(s));
}

static void fact(struct gv_buf *b, const char *label, const char *value)
{
    gv_buf_addf(b, "<div><dt>%s</dt><dd>", label);
    html_text(b, value);
    add(b, "</dd></div>\n");
}

/* A list of words, each in a box of its own, so that their borders are seen. */
static void words(struct gv_buf *b, const char *label, const struct gv_strv *v, bool lines)
{
    if (!v->count)
        return;
    gv_buf_addf(b, "<div><dt>%s</dt><dd class=\"%s\">", label, lines ? "lines" : "words");
    for (size_t i = 0; i < v->count; i++) {
        add(b, "<code>");
        html_text(b, v->items[i]);
        add(b, "</code> ");
    }
    add(b, "</dd></div>\n");
}

static void labels(struct gv_buf *b, const struct gv_strv *v)
{
    if (!v->count)
        return;
    add(b, "<div><dt>Labels</dt><dd class=\"lines\">");
    for (size_t i = 0; i + 1 < v->count; i += 2) {
        add(b, "<code>");
        html_text(b, v->items[i]);
        add(b, "=");
        html_text(b, v->items[i + 1]);
        add(b, "</code> ");
    }
    add(b, "</dd></div>\n");
}

static void configuration(struct gv_buf *b, const struct image_config *c)
{
    size_t before = b->len;
    add(b, "<h2>What it runs</h2>\n<dl class=\"facts\">\n");
    size_t empty = b->len;
    words(b, "Entrypoint", &c->entrypoint, false);
    words(b, "Command", &c->cmd, false);
    if (c->workdir)
        fact(b, "Directory", c->workdir);
    if (c->user)
        fact(b, "User", c->user);
    words(b, "Environment", &c->env, true);
    words(b, "Volumes", &c->volumes, true);
    words(b, "Ports", &c->exposed, false);
    labels(b, &c->labels);
    if (c->stop_signal)
        fact(b, "Stop signal", c->stop_signal);
    if (b->len == empty)
        b->len = before;
    else
        add(b, "</dl>\n");
}

static void lines_to_copy(struct gv_buf *b, const struct page_site *site, const struct page_image *i)
{
    struct demand d = { .url = i->url };
    memcpy(d.hash, i->hash, sizeof(d.hash));
    cleanup_free char *link = demand_task_package(&d), *python = demand_yapapi(&d), *js = demand_golem_js(&d);
    const struct page_tag *t = i->tag_count ? i->tags : NULL;
    cleanup_free char *run = t ? gv_asprintf("GOLEM_REGISTRY_URL=%s gvmkit run %s/%s:%s", site->url, t->user, t->repo, t->tag)
                               : gv_asprintf("gvmkit run %s", link);
    add(b, "<h2>Use it</h2>\n<dl class=\"copies\">\n");
    html_copy(b, "Run it here", run);
    html_copy(b, "Hash", i->hash);
    html_copy(b, "URL", i->url);
    html_copy(b, "Link", link);
    html_copy_block(b, "yapapi", python);
    html_copy_block(b, "golem-js", js);
    add(b, "</dl>\n");
}

static void comparisons(struct gv_buf *b, const struct page_image *i)
{
    if (!i->other_count)
        return;
    gv_buf_addf(b,
                "<h2>What has changed</h2>\n<form class=\"compare\" action=\"/compare\" method=\"get\">\n<input type=\"hidden\" "
                "name=\"to\" value=\"%s\">\n"
                "<label>Since <select name=\"from\">\n",
                i->hash);
    for (size_t k = 0; k < i->other_count; k++) {
        const struct page_tag *t = &i->others[k];
        gv_buf_addf(b, "<option value=\"%s\">", t->hash);
        html_text(b, t->user);
        add(b, "/");
        html_text(b, t->repo);
        add(b, ":");
        html_text(b, t->tag);
        add(b, "</option>\n");
    }
    add(b, "</select></label>\n<button>Compare</button>\n</form>\n");
}

void page_image(struct gv_buf *out, const struct page_site *site, const struct page_image *i)
{
    const struct gvmi_info *info = gvmi_info(i->file);
    cleanup_free char *title =
        i->tag_count ? gv_asprintf("%s/%s:%s", i->tags->user, i->tags->repo, i->tags->tag) : gv_asprintf("%.12s…", i->hash);
    html_begin(out, site, title, NULL);
    add(out, "<h1>");
    html_text(out, title);
    add(out, "</h1>\n");
    if (i->tag_count > 1) {
        add(out, "<p class=\"tags\">");
        for (size_t k = 0; k < i->tag_count; k++)
            html_tag(out, &i->tags[k]);
        add(out, "</p>\n");
    }
    add(out, "<dl class=\"facts\">\n<div><dt>Size</dt><dd>");
    html_size(out, i->size);
    gv_buf_addf(out, "</dd></div>\n<div><dt>Packed with</dt><dd>%s, blocks of %" PRIu32 " KiB</dd></div>\n",
                gvmi_compression_name(info->compression), info->block_size >> 10);
    gv_buf_addf(out, "<div><dt>Files</dt><dd><a href=\"/i/%s/files/\">%" PRIu32 " entries</a></dd></div>\n<div><dt>Came</dt><dd>", i->hash,
                info->inode_count);
    html_time(out, i->created);
    add(out, "</dd></div>\n");
    if (i->expires) {
        add(out, "<div><dt>Removed</dt><dd>");
        html_time(out, i->expires);
        add(out, ", unless it gets a tag</dd></div>\n");
    }
    if (i->signed_by) {
        add(out, "<div><dt>Signed</dt><dd>it is said, with the key <code>");
        html_text(out, i->signed_by);
        add(out, "</code>");
        if (*i->signed_name) {
            add(out, " as ");
            html_text(out, i->signed_name);
        }
        gv_buf_addf(out, "; <a href=\"/download/%s.gvmi.minisig\">the signature</a></dd></div>\n", i->hash);
    }
    gv_buf_addf(out, "<div><dt>Updates</dt><dd>%s</dd></div>\n</dl>\n",
                i->has_chunks ? "move only what has changed" : "move the whole file: there is no chunk map yet");
    lines_to_copy(out, site, i);
    configuration(out, gvmi_config(i->file));
    comparisons(out, i);
    html_end(out);
}
