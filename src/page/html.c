/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "page/html.h"

#include <string.h>
#include <time.h>

static void add(struct gv_buf *b, const char *s)
{
    gv_buf_add(b, s, strlen(s));
}

/* Length of the UTF-8 sequence at s, and its character; 0 when it is none in shortest form. */
static size_t utf8(const unsigned char *s, uint32_t *c)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    *c = s[0] & first[n];
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *c = *c << 6 | (s[i] & 0x3f);
    }
    return n && *c >= least[n] && *c <= 0x10ffff && (*c < 0xd800 || *c > 0xdfff) ? n : 0;
}

/* Characters that are not seen, or that move others. */
static bool is_deceptive(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb);
}

static void text(struct gv_buf *b, const char *s, bool lines)
{
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        uint32_t c;
        size_t n = utf8(p, &c);
        if (n == 0 || (is_deceptive(c) && !(lines && (c == '\n' || c == '\t'))))
            for (size_t i = 0; i < (n ? n : 1); i++)
                gv_buf_addf(b, "\\x%02x", p[i]);
        else if (c == '&')
            add(b, "&amp;");
        else if (c == '<')
            add(b, "&lt;");
        else if (c == '>')
            add(b, "&gt;");
        else if (c == '"')
            add(b, "&quot;");
        else if (c == '\'')
            add(b, "&#39;");
        else
            gv_buf_add(b, p, n);
        p += n ? n : 1;
    }
}

void html_text(struct gv_buf *b, const char *s)
{
    text(b, s, false);
}

void html_path(struct gv_buf *b, const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    for (; *s; s++) {
        if (strchr(plain, *s))
            gv_buf_add(b, s, 1);
        else
            gv_buf_addf(b, "%%%02X", (unsigned char)*s);
    }
}

void html_size(struct gv_buf *b, uint64_t bytes)
{
    char size[GV_SIZE_TEXT];
    gv_format_size(size, bytes);
    gv_buf_addf(b, "<span title=\"%llu bytes\">%s</span>", (unsigned long long)bytes, size);
}

void html_time(struct gv_buf *b, int64_t t)
{
    char exact[32], day[16];
    struct tm tm;
    time_t v = (time_t)t;
    if (!gmtime_r(&v, &tm) || tm.tm_year < 0 || tm.tm_year > 8099) {
        gv_buf_addf(b, "%lld", (long long)t);
        return;
    }
    strftime(exact, sizeof(exact), "%Y-%m-%dT%H:%M:%SZ", &tm);
    strftime(day, sizeof(day), "%Y-%m-%d", &tm);
    gv_buf_addf(b, "<time datetime=\"%s\" title=\"%s\">%s</time>", exact, exact, day);
}

void html_copy(struct gv_buf *b, const char *label, const char *value)
{
    gv_buf_addf(b, "<div class=\"copy\"><dt>%s</dt><dd><code data-copy>", label);
    html_text(b, value);
    add(b, "</code></dd></div>\n");
}

void html_copy_block(struct gv_buf *b, const char *label, const char *value)
{
    gv_buf_addf(b, "<div class=\"copy block\"><dt>%s</dt><dd><pre data-copy>", label);
    text(b, value, true);
    add(b, "</pre></dd></div>\n");
}

void html_hash(struct gv_buf *b, const char *hash)
{
    gv_buf_addf(b, "<a class=\"hash\" href=\"/i/%s\" title=\"%s\">%.12s…</a>", hash, hash, hash);
}

void html_tag(struct gv_buf *b, const struct page_tag *t)
{
    add(b, "<a href=\"/r/");
    html_path(b, t->user);
    add(b, "/");
    html_path(b, t->repo);
    add(b, "\">");
    html_text(b, t->user);
    add(b, "/<wbr>");
    html_text(b, t->repo);
    gv_buf_addf(b, "</a><a class=\"tag\" href=\"/i/%s\">", t->hash);
    html_text(b, t->tag);
    add(b, "</a>");
}

void html_begin(struct gv_buf *b, const struct page_site *site, const char *title, const char *query)
{
    add(b, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light "
           "dark\">\n<title>");
    if (title) {
        html_text(b, title);
        add(b, " · ");
    }
    html_text(b, site->name);
    add(b, "</title>\n<link rel=\"stylesheet\" href=\"/assets/style.css\">\n<link rel=\"icon\" href=\"/assets/icon.svg\">\n"
           "<script src=\"/assets/page.js\" defer></script>\n</head>\n<body>\n"
           "<a class=\"skip\" href=\"#content\">Skip to the content</a>\n<header>\n<a class=\"home\" href=\"/\">");
    html_text(b, site->name);
    add(b, "</a>\n<form role=\"search\" action=\"/\" method=\"get\">\n"
           "<input type=\"search\" name=\"q\" aria-label=\"Search images\" placeholder=\"Search images, or paste a hash\" "
           "maxlength=\"200\" value=\"");
    html_text(b, query ? query : "");
    add(b, "\">\n<button>Search</button>\n</form>\n</header>\n<main id=\"content\">\n");
}

void html_end(struct gv_buf *b)
{
    add(b, "</main>\n<footer>Images for Golem's network, served by gvmkit</footer>\n</body>\n</html>\n");
}
